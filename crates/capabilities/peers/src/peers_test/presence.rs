//! Presence of peers: who is alive, suspect, dead or gone.

use omnirelay_host::log::captured;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::*;
use prost::Message as _;

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_suspect_at_its_deadline_and_dead_later() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 3).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Alive), "renewals keep it alive");
    let fell_silent = Instant::now();
    drop(b);
    while status_of(&a, "b") == Some(PeerStatus::Alive) {
        sleep(Duration::from_millis(10)).await;
    }
    let took = fell_silent.elapsed();
    assert!(took >= TTL - TTL / 4 && took <= TTL + TTL / 2, "suspect after {took:?}");
    assert_eq!(shown(&a, "b").unwrap().status_reason, "session_expired");
    while status_of(&a, "b") == Some(PeerStatus::Suspect) {
        sleep(Duration::from_millis(10)).await;
    }
    let took = fell_silent.elapsed();
    assert!(took >= TTL * 5 - TTL / 4 && took <= TTL * 6, "dead after {took:?}");
    assert_eq!(shown(&a, "b").unwrap().status_reason, "silent");
}

#[tokio::test(start_paused = true)]
async fn one_verdict_is_made_however_many_daemons_watch() {
    let store = store();
    let watchers = [joined(&store, "a").await, joined(&store, "c").await, joined(&store, "d").await];
    let b = joined(&store, "b").await;
    sleep(TTL * 2).await;
    let version = shown(&watchers[0], "b").unwrap().version;
    drop(b);
    sleep(TTL * 10).await;
    for watcher in &watchers {
        let peer = shown(watcher, "b").unwrap();
        assert_eq!((peer.status(), peer.version), (PeerStatus::Dead, version + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_are_no_events() {
    let store = store();
    let a = joined(&store, "a").await;
    let head = a.registry.view().head();
    let seen = shown(&a, "a").unwrap().last_seen;
    sleep(TTL * 20).await;
    assert_eq!(a.registry.view().head(), head, "nothing was committed");
    assert!(shown(&a, "a").unwrap().last_seen > seen, "yet it was seen");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_has_left_and_is_not_judged() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    b.presence.leave().await;
    drop(b);
    sleep(TTL * 10).await;
    let peer = shown(&a, "b").unwrap();
    assert_eq!((peer.status(), peer.status_reason.as_str()), (PeerStatus::Left, "stopped"));
}

#[tokio::test(start_paused = true)]
async fn what_operators_said_outlives_a_restart_of_the_node() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    a.peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    let set = BTreeMap::from([("tier".to_owned(), "ctl".to_owned())]);
    let request =
        pb::UpdatePeerLabelsRequest { node_id: "b".to_owned(), set, overwrite: true, ..Default::default() };
    a.peers.update_labels(called(request, |_| {})).await.unwrap();
    drop(b);
    sleep(TTL * 2).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Suspect));
    let _b = joined(&store, "b").await;
    let peer = shown(&a, "b").unwrap();
    assert_eq!(
        (peer.status(), peer.cordoned, peer.cordon_reason.as_str()),
        (PeerStatus::Alive, true, "disk")
    );
    assert_eq!(peer.metadata.unwrap().labels["tier"], "ctl");
}

#[tokio::test(start_paused = true)]
async fn another_daemon_with_the_same_id_waits_for_the_session_to_end() {
    let store = store();
    let first = joined(&store, "a").await;
    let second = daemon(&store, "a", "another secret").await;
    sleep(TTL * 5).await;
    assert!(!second.presence.has_session(), "the first one keeps its id");
    drop(first);
    sleep(TTL * 2).await;
    assert!(second.presence.has_session());
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_the_secret_replaces_its_session_at_once() {
    let store = store();
    let first = joined(&store, "a").await;
    drop(first);
    let second = daemon(&store, "a", "a").await;
    sleep(Duration::from_millis(100)).await;
    assert!(second.presence.has_session());
}

#[tokio::test(start_paused = true)]
async fn of_two_daemons_with_one_id_and_secret_the_newer_keeps_the_session() {
    let store = store();
    let first = joined(&store, "a").await;
    sleep(TTL).await;
    let second = daemon(&store, "a", "a").await;
    sleep(TTL).await;
    let session = || first.registry.view().group(&session_id("a")).unwrap().of;
    let held = session();
    assert!(second.presence.has_session() && !first.presence.has_session());
    sleep(TTL * 10).await;
    assert_eq!(session(), held, "they do not take turns");
    drop(second);
    sleep(TTL * 2).await;
    assert!(first.presence.is_registered(), "the other one is gone");
}

#[tokio::test(start_paused = true)]
async fn long_gone_peers_are_collected_unless_cordoned() {
    let store = store();
    let (a, b, c) = (joined(&store, "a").await, joined(&store, "b").await, joined(&store, "c").await);
    a.peers.cordon(called(cordon("c", "keep"), |_| {})).await.unwrap();
    for gone in [b, c] {
        gone.presence.leave().await;
    }
    sleep(Duration::from_secs(3590)).await;
    assert!(shown(&a, "b").is_some());
    sleep(Duration::from_secs(30)).await;
    assert_eq!((shown(&a, "b"), status_of(&a, "c")), (None, Some(PeerStatus::Left)));
}

#[tokio::test(start_paused = true)]
async fn a_short_silence_of_the_store_makes_nobody_suspect() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 3 + Duration::from_millis(130)).await;
    let versions = || [shown(&a, "a").unwrap().version, shown(&a, "b").unwrap().version];
    let before = versions();
    for silence in [900, 1600, 1900] {
        store.mute.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(silence)).await;
        store.mute.store(false, Ordering::Relaxed);
        sleep(TTL * 3).await;
        let statuses = [status_of(&a, "a"), status_of(&b, "b")];
        assert_eq!(statuses, [Some(PeerStatus::Alive); 2], "after {silence} ms");
    }
    // Whoever's session ran out has registered anew; nobody was called suspect in between.
    assert!(versions()[1] <= before[1] + 2, "{:?} {before:?}", versions());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_before_it_says_that_it_is_back_is_suspect_all_the_same() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    sleep(TTL * 2).await;
    drop(b);
    let epoch = a.registry.view().head().epoch;
    let open = OpenGroup { epoch, id: session_id("b"), ttl: TTL, secret: "b".to_owned() };
    assert!(matches!(store.inner.open_group(open).await.unwrap(), OpenedGroup::Open(_)));
    sleep(TTL * 2).await;
    assert_eq!(status_of(&a, "b"), Some(PeerStatus::Suspect));
}

#[tokio::test(start_paused = true)]
async fn a_configured_label_that_was_removed_stays_away() {
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let remove = vec!["tier".to_owned()];
    let request = pb::UpdatePeerLabelsRequest { node_id: "b".to_owned(), remove, ..Default::default() };
    a.peers.update_labels(called(request, |_| {})).await.unwrap();
    drop(b);
    sleep(TTL * 2).await;
    let _b = joined(&store, "b").await;
    assert_eq!(shown(&a, "b").unwrap().metadata.unwrap().labels, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_told_with_who_it_is_about() {
    let told = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(told.reopen().unwrap());
    let _guard = captured(tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish());
    let store = store();
    let (a, b) = (joined(&store, "a").await, joined(&store, "b").await);
    let profile = shown(&a, "b").unwrap().metadata.unwrap();
    drop(b);
    while status_of(&a, "b") != Some(PeerStatus::Dead) {
        sleep(Duration::from_millis(10)).await;
    }
    let log = std::fs::read_to_string(told.path()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("peer judged")).collect();
    for (line, verdict) in lines.iter().zip(["suspect", "dead"]) {
        let (role, cluster, version) = (&profile.role, &profile.cluster_id, &profile.mesh_version);
        for (name, value) in
            [("peer", "b"), ("verdict", verdict), ("role", role), ("cluster", cluster), ("version", version)]
        {
            assert!(line.contains(&format!("{name}=\"{value}\"")), "{name} {value}: {line}");
        }
    }
    assert_eq!(lines.len(), 2, "{log}");
}

#[tokio::test(start_paused = true)]
async fn the_trail_has_one_record_of_each_who_comes_goes_or_dies_whoever_has_noticed() {
    let store = store();
    let audited = async |node: &str| {
        let lab = Lab::on(store.clone(), node).config(|config| config.audit.membership = true);
        let lab = lab.kinds(&[crate::KINDS]);
        let (node, presence) = lab.with(|node| mount_alone(node, StartupAnnouncement::default()));
        let node = node.start();
        node.registered().await;
        (node, presence)
    };
    let watchers = [audited("a").await, audited("b").await, audited("c").await];
    let (leaves, dies) = (audited("d").await, audited("e").await);
    leaves.1.leave().await;
    drop((leaves, dies));
    sleep(TTL * 10).await;
    let again = audited("e").await;
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    let records = again.0.registry.store().scan(scan).await.unwrap();
    let mut told: Vec<String> = records
        .records
        .iter()
        .map(|record| AuditValue::decode(record.value.clone()).unwrap())
        .map(|value| format!("{} {} {}", value.object, value.action, value.reason))
        .collect();
    told.sort();
    let expected = [
        "peer/a peers.join registered",
        "peer/b peers.join registered",
        "peer/c peers.join registered",
        "peer/d peers.join registered",
        "peer/d peers.leave stopped",
        "peer/e peers.die silent",
        "peer/e peers.join registered",
        "peer/e peers.join registered",
    ];
    assert_eq!(told, expected);
    drop(watchers);
}
