//! Outages of the store: they do nothing to peers, except to those who do not come back.

use omnirelay_scripted::{EVERY_CALL, Faulty, Ill, Method};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;

use super::*;

/// Nodes whose paths to one store fall ill each on its own.
pub(super) struct Mesh {
    pub(super) paths: Vec<Arc<Faulty>>,
    pub(super) daemons: Vec<Daemon>,
}

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) async fn mesh(node_ids: &[&str]) -> Mesh {
    let shared = memory();
    let mut mesh = Mesh { paths: Vec::new(), daemons: Vec::new() };
    for node_id in node_ids {
        let path = Faulty::over(shared.clone());
        mesh.daemons.push(joined(&path, node_id).await);
        mesh.paths.push(path);
    }
    sleep(TTL * 3 + MS * 130).await;
    mesh
}

/// Every status that a record of a peer has had, from the log.
async fn verdicts(store: &Faulty) -> Vec<(String, PeerStatus)> {
    let page = store.log(Revision(0), PAGE_MAX, Duration::ZERO).await.unwrap();
    let changes = page.entries.iter().flat_map(|entry| entry.changes.iter());
    let of_peers = changes.filter(|change| change.after.id.kind == PEER && !change.after.deleted);
    let shown = of_peers.map(|change| {
        let value = PeerValue::decode(change.after.value.clone()).unwrap();
        (change.after.id.key.clone(), value.status())
    });
    shown.filter(|(_, status)| *status != PeerStatus::Alive).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_is_judged_for_an_outage_however_long_and_of_whatever_kind() {
    for ill in [Ill::Fails, Ill::Hangs, Ill::LosesReplies] {
        let mesh = mesh(&["a", "b", "c"]).await;
        for outage in [700, 1200, 1990, 2600, 9000, 61_000] {
            mesh.paths.iter().for_each(|path| path.fall_ill(EVERY_CALL, ill));
            sleep(MS * outage).await;
            mesh.paths.iter().for_each(|path| path.recover());
            let back = Instant::now();
            while !mesh.daemons.iter().all(|daemon| daemon.presence.is_registered()) {
                sleep(MS * 5).await;
            }
            assert!(back.elapsed() < TTL / 2, "{ill:?}: back after {:?}", back.elapsed());
            sleep(TTL * 4).await;
            let all_there = mesh.daemons.iter().all(|daemon| daemon.presence.is_registered());
            assert!(all_there, "{ill:?} for {outage} ms");
        }
        assert_eq!(verdicts(&mesh.paths[0]).await, [], "{ill:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_right_after_the_first_start_judges_nobody_either() {
    let path = Faulty::over(memory());
    let daemons = [joined(&path, "a").await, joined(&path, "b").await];
    path.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(TTL * 10).await;
    path.recover();
    sleep(TTL * 4).await;
    assert!(daemons.iter().all(|daemon| daemon.presence.is_registered()));
    assert_eq!(verdicts(&path).await, []);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_after_an_outage_is_judged_after_the_grace() {
    let mut mesh = mesh(&["a", "b", "c"]).await;
    mesh.paths.iter().for_each(|path| path.fall_ill(EVERY_CALL, Ill::Hangs));
    sleep(TTL * 10).await;
    drop(mesh.daemons.pop());
    mesh.paths.iter().for_each(|path| path.recover());
    sleep(TTL).await;
    assert_eq!(verdicts(&mesh.paths[0]).await, []);
    sleep(TTL).await;
    assert_eq!(verdicts(&mesh.paths[0]).await[0], ("c".to_owned(), PeerStatus::Suspect));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_alone_judges_nobody_when_it_is_back() {
    let mesh = mesh(&["a", "b", "c"]).await;
    mesh.paths[0].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL * 3).await;
    assert_eq!(verdicts(&mesh.paths[1]).await, [("a".to_owned(), PeerStatus::Suspect)]);
    mesh.paths[0].recover();
    sleep(TTL * 3).await;
    assert_eq!(verdicts(&mesh.paths[1]).await.len(), 1, "b and c were heard by the store all the time");
    assert_eq!(status_of(&mesh.daemons[1], "a"), Some(PeerStatus::Alive));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_judges_who_is_gone_and_nobody_else() {
    let mut mesh = mesh(&["a", "b"]).await;
    drop(mesh.daemons.pop());
    sleep(TTL * 2).await;
    let path = mesh.paths[1].clone();
    mesh.daemons.push(joined(&path, "c").await);
    sleep(TTL * 2).await;
    assert_eq!(verdicts(&path).await, [("b".to_owned(), PeerStatus::Suspect)]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_costs_a_node_few_calls() {
    let mesh = mesh(&["a", "b"]).await;
    mesh.paths[0].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(MS * 10_000).await;
    let calls = || EVERY_CALL.map(|call| mesh.paths[0].count(call)).iter().sum::<usize>();
    let before = calls();
    sleep(MS * 600_000).await;
    assert!(calls() - before <= 3 * 600, "{} calls in ten minutes", calls() - before);
    assert!(mesh.paths[0].most_at_once() <= 4);
    mesh.paths[0].recover();
    mesh.paths[0].fall_ill([Method::Open, Method::Commit], Ill::Fails);
    sleep(MS * 10_000).await;
    let before = calls();
    sleep(MS * 60_000).await;
    assert!(calls() - before <= 5 * 60, "{} calls in a minute", calls() - before);
}

/// A store in another epoch whose clock agrees with the first one's.
pub(super) fn next_store(clock: PausedClock) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(clock))
}

/// Puts another store in the place of the present one, with the quarantine that a new epoch has.
pub(super) fn fail_over(mesh: &Mesh, next: &Arc<MemoryStore>) {
    next.quarantine(TTL + TTL / 2);
    mesh.paths.iter().for_each(|path| path.swap(next.clone()));
}

async fn audited(store: &MemoryStore) -> Vec<AuditValue> {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 100 };
    let records = store.scan(scan).await.unwrap().records;
    records.into_iter().map(|record| AuditValue::decode(record.value).unwrap()).collect()
}

pub(super) async fn copy(from: &Faulty, key: &str, to: &MemoryStore) {
    let scan = Scan { kind: PEER, after: None, backwards: false, limit: 100 };
    let records = from.scan(scan).await.unwrap().records;
    let value = records.into_iter().find(|record| record.id.key == key).unwrap().value;
    put_peer(to, key, value).await;
}

pub(super) async fn put_peer(store: &MemoryStore, key: &str, value: bytes::Bytes) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let writes = vec![Write::Put { id: peer_id(key), value, group: None }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
}

pub(super) async fn label(daemon: &Daemon, node_id: &str, value: &str) {
    let set = BTreeMap::from([("tier".to_owned(), value.to_owned())]);
    let request = pb::UpdatePeerLabelsRequest {
        node_id: node_id.to_owned(),
        set,
        overwrite: true,
        ..Default::default()
    };
    daemon.peers.update_labels(called(request, |_| {})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_each_node_restores_its_own_record_and_any_the_rest() {
    let clock = PausedClock(Instant::now());
    let mut mesh = mesh(&["a", "b", "c"]).await;
    mesh.daemons[0].peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    label(&mesh.daemons[0], "b", "ctl").await;
    mesh.daemons[2].presence.leave().await;
    drop(mesh.daemons.pop());
    sleep(TTL).await;
    let next = next_store(clock);
    fail_over(&mesh, &next);
    sleep(TTL).await;
    for daemon in &mesh.daemons {
        assert!(daemon.presence.is_registered(), "a quarantine keeps nobody from coming back");
        let told = daemon.registry.losses().told(daemon.registry.view());
        assert_eq!(
            (told.len(), told[0].count() - told[0].restored),
            (1, 1),
            "c alone, which may come: {told:?}"
        );
    }
    sleep(TTL).await;
    for daemon in &mesh.daemons {
        let told = daemon.registry.losses().told(daemon.registry.view());
        assert_eq!(told[0].count(), told[0].restored, "{told:?}");
    }
    let b = shown(&mesh.daemons[0], "b").unwrap();
    assert_eq!((b.status(), b.cordoned, b.cordon_reason.as_str()), (PeerStatus::Alive, true, "disk"));
    assert_eq!(b.metadata.unwrap().labels["tier"], "ctl");
    assert_eq!(status_of(&mesh.daemons[0], "c"), Some(PeerStatus::Left), "as it was");
    let audited = audited(&next).await;
    let actors: Vec<_> = audited.iter().map(|body| (body.actor.as_str(), body.action.as_str())).collect();
    let (changed, restored): (Vec<_>, Vec<_>) =
        audited.iter().partition(|body| body.action == "registry.epoch-changed");
    assert_eq!((changed.len(), restored.len()), (2, 1), "{actors:?}");
    assert_eq!(
        (restored[0].action.as_str(), &*restored[0].changes),
        ("registry.restore", &["peer/c".to_owned()][..])
    );
    assert!(audited[0].changes.iter().any(|line| line.ends_with(" lost")), "{:?}", audited[0].changes);
    sleep(TTL * 10).await;
    assert_eq!(verdicts(&mesh.paths[0]).await, [("c".to_owned(), PeerStatus::Left)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_no_list_lacks_anybody_and_says_that_it_is_whole() {
    let clock = PausedClock(Instant::now());
    let mut mesh = mesh(&["a", "b", "c"]).await;
    // Others restore it, later.
    mesh.daemons[2].presence.leave().await;
    drop(mesh.daemons.pop());
    sleep(TTL).await;
    fail_over(&mesh, &next_store(clock));
    let (flushed, mut lacked) = (Instant::now(), 0);
    while flushed.elapsed() < TTL * 3 {
        for daemon in &mesh.daemons {
            let list = daemon.peers.list(called(pb::ListPeersRequest::default(), |_| {})).await;
            let list = list.unwrap().into_inner();
            assert!(list.peers.len() == 3 || list.stale, "after {:?}: {list:?}", flushed.elapsed());
            assert!(list.peers.len() < 3 || !list.stale, "after {:?}: {list:?}", flushed.elapsed());
            lacked += usize::from(list.peers.len() < 3);
        }
        sleep(MS).await;
    }
    assert!(lacked > 0, "there is a moment at which it does");
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_whoever_asks_for_a_peer_waits_until_it_is_there() {
    for after in [0, 3, 60, 300, 450] {
        let clock = PausedClock(Instant::now());
        let mesh = mesh(&["a", "b"]).await;
        fail_over(&mesh, &next_store(clock));
        sleep(MS * after).await;
        for node_id in ["a", "b"] {
            let cordoned = mesh.daemons[0].peers.cordon(called(cordon(node_id, "disk"), |_| {})).await;
            assert!(cordoned.is_ok(), "{after} ms: {cordoned:?}");
            let get = pb::GetPeerRequest { node_id: node_id.to_owned(), ..Default::default() };
            let got = mesh.daemons[1].peers.get(called(get, |_| {})).await;
            assert!(got.is_ok(), "{after} ms: {got:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_stands_while_its_session_is_made_anew_and_no_longer() {
    let clock = PausedClock(Instant::now());
    let mesh = mesh(&["a"]).await;
    let a = &mesh.daemons[0].presence;
    assert!(a.stands());
    for (what, lasts) in [("a store that refuses sessions", false), ("a store that is silent", true)] {
        mesh.paths[0].fall_ill([Method::Open], Ill::Fails);
        fail_over(&mesh, &next_store(clock));
        while a.has_session() {
            assert!(a.stands(), "{what}");
            sleep(MS).await;
        }
        if lasts {
            mesh.paths[0].fall_ill(EVERY_CALL, Ill::Fails);
        }
        sleep(TTL - MS * 100).await;
        assert!(a.stands() && !a.is_registered(), "{what}");
        sleep(TTL).await;
        assert_eq!(a.stands(), lasts, "{what}");
        mesh.paths[0].recover();
        sleep(TTL).await;
        assert!(a.stands() && a.is_registered(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_ordered_of_a_node_that_was_down_outlives_a_flush_whenever_it_starts() {
    for (when, starts_after, gone) in [
        ("it was stopped and starts at once", Duration::ZERO, PeerStatus::Left),
        ("it was stopped and starts later", TTL * 2, PeerStatus::Left),
        ("it was killed and starts later", TTL * 2, PeerStatus::Suspect),
    ] {
        let clock = PausedClock(Instant::now());
        let mut mesh = mesh(&["a", "b", "c"]).await;
        mesh.daemons[0].peers.cordon(called(cordon("c", "disk"), |_| {})).await.unwrap();
        let drain = pb::DrainPeerRequest { node_id: "c".to_owned(), ..Default::default() };
        mesh.daemons[0].peers.drain(called(drain, |_| {})).await.unwrap();
        label(&mesh.daemons[0], "c", "ctl").await;
        if gone == PeerStatus::Left {
            mesh.daemons[2].presence.leave().await;
        }
        drop(mesh.daemons.pop());
        sleep(TTL / 2).await;
        let next = next_store(clock);
        fail_over(&mesh, &next);
        sleep(TTL / 4 + starts_after).await;
        let before = shown(&mesh.daemons[0], "c").map(|c| (c.status(), c.cordoned));
        assert_eq!(before, (!starts_after.is_zero()).then_some((gone, true)), "{when}");
        mesh.daemons.push(joined(&mesh.paths[2], "c").await);
        let told = mesh.daemons[0].registry.losses().told(mesh.daemons[0].registry.view());
        let poorer = usize::from(starts_after.is_zero());
        let missing = told[0].count() - told[0].restored;
        assert!(missing >= poorer, "{when}: what is poorer is not restored: {told:?}");
        sleep(TTL * 2).await;
        for daemon in &mesh.daemons {
            let c = shown(daemon, "c").unwrap();
            assert_eq!((c.status(), c.cordoned, c.draining), (PeerStatus::Alive, true, true), "{when}");
            assert_eq!(
                (c.cordon_reason.as_str(), &*c.metadata.unwrap().labels["tier"]),
                ("disk", "ctl"),
                "{when}"
            );
        }
        for daemon in &mesh.daemons[..2] {
            let told = daemon.registry.losses().told(daemon.registry.view());
            assert_eq!(told[0].restored, told[0].count(), "{when}: {told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_was_taken_back_in_the_new_epoch_is_not_restored() {
    let clock = PausedClock(Instant::now());
    let mut mesh = mesh(&["a", "b", "c"]).await;
    mesh.daemons[0].peers.cordon(called(cordon("c", "disk"), |_| {})).await.unwrap();
    mesh.daemons[2].presence.leave().await;
    drop(mesh.daemons.pop());
    sleep(TTL).await;
    fail_over(&mesh, &next_store(clock));
    // One of those who would restore it comes late.
    mesh.paths[1].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL * 2).await;
    let request = pb::UncordonPeerRequest { node_id: "c".to_owned(), ..Default::default() };
    mesh.daemons[0].peers.uncordon(called(request, |_| {})).await.unwrap();
    mesh.paths[1].recover();
    mesh.daemons.push(joined(&mesh.paths[2], "c").await);
    sleep(TTL * 3).await;
    for daemon in &mesh.daemons {
        assert!(!shown(daemon, "c").unwrap().cordoned);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cordon_that_a_failover_lost_is_restored_by_its_node() {
    let clock = PausedClock(Instant::now());
    let mesh = mesh(&["a", "b"]).await;
    let next = next_store(clock);
    copy(&mesh.paths[0], "a", &next).await;
    copy(&mesh.paths[0], "b", &next).await;
    sleep(TTL).await;
    mesh.daemons[0].peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    sleep(TTL).await;
    fail_over(&mesh, &next);
    sleep(TTL).await;
    let b = shown(&mesh.daemons[0], "b").unwrap();
    assert_eq!((b.status(), b.cordoned, b.cordon_reason.as_str()), (PeerStatus::Alive, true, "disk"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_cordon_is_restored_beside_what_an_operator_said_in_the_new_epoch() {
    let clock = PausedClock(Instant::now());
    let mesh = mesh(&["a", "b"]).await;
    let next = next_store(clock);
    copy(&mesh.paths[0], "b", &next).await;
    sleep(TTL).await;
    mesh.daemons[0].peers.cordon(called(cordon("b", "disk"), |_| {})).await.unwrap();
    sleep(TTL).await;
    mesh.paths[1].fall_ill(EVERY_CALL, Ill::Hangs);
    fail_over(&mesh, &next);
    sleep(TTL).await;
    label(&mesh.daemons[0], "b", "new").await;
    let told = mesh.daemons[0].registry.losses().told(mesh.daemons[0].registry.view());
    assert_eq!(told[0].restored, 1, "a alone, which has entered itself again: {told:?}");
    mesh.paths[1].recover();
    sleep(TTL).await;
    let b = shown(&mesh.daemons[0], "b").unwrap();
    assert_eq!((b.status(), b.cordoned, b.cordon_reason.as_str()), (PeerStatus::Alive, true, "disk"));
    for daemon in &mesh.daemons {
        let told = daemon.registry.losses().told(daemon.registry.view());
        assert_eq!(told[0].restored, told[0].count(), "{told:?}");
    }
    assert_eq!(b.metadata.unwrap().labels["tier"], "new");
}

async fn cordoned(daemon: &Daemon, key: Option<&str>) -> Result<pb::PeerChange, Fault> {
    let key = key.map(str::to_owned);
    let request = called(cordon("a", "disk"), |caller| caller.idempotency_key = key);
    daemon.peers.cordon(request).await.map(Response::into_inner).map_err(|status| Fault::from(&status))
}

fn repeat_key(fault: &Fault) -> String {
    fault.details.get("idempotencyKey").expect("a key to repeat it with").clone()
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_a_reply_is_looked_for_before_it_is_called_unknown() {
    let mesh = mesh(&["a", "b"]).await;
    mesh.paths[0].fall_ill([Method::Commit], Ill::LosesReplies);
    let done = cordoned(&mesh.daemons[0], None).await.unwrap();
    assert!(done.changed, "its answer was there");
    assert_eq!(mesh.paths[0].count(Method::Recall), 1, "only after the fact");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_can_be_repeated_on_another_daemon_with_the_key_it_names() {
    for ill in [Ill::LosesReplies, Ill::Hangs] {
        let mesh = mesh(&["a", "b"]).await;
        mesh.paths[0].fall_ill([Method::Commit], ill);
        mesh.paths[0].fall_ill([Method::Recall], Ill::Fails);
        let fault = cordoned(&mesh.daemons[0], None).await.unwrap_err();
        assert_eq!(fault.reason, "OUTCOME_UNKNOWN");
        let key = repeat_key(&fault);
        assert!(key.starts_with("auto-") && fault.hint.as_deref().unwrap().contains(&key), "{fault:?}");
        let done = cordoned(&mesh.daemons[1], Some(&key)).await.unwrap();
        assert!(done.changed, "{ill:?}: done once, by whichever of the two");
        mesh.paths[0].recover();
        let again = cordoned(&mesh.daemons[0], Some(&key)).await.unwrap();
        assert_eq!((again.changed, again.cursor), (true, done.cursor), "{ill:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_a_change_is_refused_soon_and_nothing_is_sent() {
    let mesh = mesh(&["a", "b"]).await;
    mesh.paths[0].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL).await;
    let sent = mesh.paths[0].count(Method::Commit);
    let asked = Instant::now();
    for _ in 0..100 {
        let fault = cordoned(&mesh.daemons[0], None).await.unwrap_err();
        assert_eq!(fault.reason, "STORE_UNAVAILABLE");
        assert!(fault.message.contains("nothing was changed"), "{fault}");
    }
    assert!(asked.elapsed() <= MS * 1000 * 101, "{:?}", asked.elapsed());
    assert_eq!(mesh.paths[0].count(Method::Commit), sent);
    mesh.paths[0].recover();
    cordoned(&mesh.daemons[0], None).await.expect("as soon as the store is back");
}
