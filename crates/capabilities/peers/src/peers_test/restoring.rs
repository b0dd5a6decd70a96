//! Restoring of one peer by several daemons, each by what it has seen of it.

use omnirelay_scripted::{EVERY_CALL, Ill, LATE, Method};
use prost::Message;

use super::outages::{MS, Mesh, copy, fail_over, label, mesh, next_store, put_peer};
use super::*;

async fn said(daemon: &Daemon, node_id: &str) -> (bool, String) {
    let peer = shown(daemon, node_id).unwrap();
    (peer.cordoned, peer.metadata.unwrap().labels["tier"].clone())
}

async fn epoch_of(store: &MemoryStore) -> Epoch {
    store.pulse(Pulse::default()).await.unwrap().epoch
}

/// Waits until a daemon knows the epoch of a store.
async fn knows(daemon: &Daemon, store: &MemoryStore) {
    let epoch = epoch_of(store).await;
    daemon.registry.view().connectivity().note_epoch(epoch);
    while daemon.registry.view().head().epoch != epoch {
        sleep(MS).await;
    }
}

fn uncordon(node_id: &str) -> pb::UncordonPeerRequest {
    pb::UncordonPeerRequest { node_id: node_id.to_owned(), ..Default::default() }
}

/// The second node has not seen all that was ordered of it before the registry fell back.
async fn fell_back(clock: PausedClock) -> Mesh {
    let mesh = mesh(&["a", "n"]).await;
    let next = next_store(clock);
    copy(&mesh.paths[0], "a", &next).await;
    copy(&mesh.paths[0], "n", &next).await;
    let (a, n) = (&mesh.daemons[0], &mesh.daemons[1]);
    a.peers.cordon(called(cordon("n", "disk"), |_| {})).await.unwrap();
    sleep(TTL).await;
    // The call under way hears of the first change, and the next of nothing.
    mesh.paths[1].fall_ill([Method::Log], Ill::Hangs);
    label(a, "n", "seen").await;
    sleep(MS).await;
    label(a, "n", "newest").await;
    a.peers.uncordon(called(uncordon("n"), |_| {})).await.unwrap();
    assert_eq!(said(n, "n").await, (true, "seen".to_owned()));
    fail_over(&mesh, &next);
    mesh.paths[1].recover();
    mesh
}

#[tokio::test(start_paused = true)]
async fn what_was_restored_from_an_older_version_gives_way_to_the_newest() {
    for (order, expected) in [(None, "newest"), (Some("ordered"), "ordered")] {
        let mesh = fell_back(PausedClock(Instant::now())).await;
        let (a, n) = (&mesh.daemons[0], &mesh.daemons[1]);
        sleep(TTL).await;
        assert_eq!(said(n, "n").await, (true, "seen".to_owned()), "it comes first");
        if let Some(tier) = order {
            label(a, "n", tier).await;
        }
        sleep(TTL * 2).await;
        for daemon in &mesh.daemons {
            assert_eq!(said(daemon, "n").await, (false, expected.to_owned()));
            let told = daemon.registry.losses().told(daemon.registry.view());
            assert_eq!(told[0].restored, told[0].count(), "{told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_came_before_an_older_version_was_restored_stands() {
    let mesh = fell_back(PausedClock(Instant::now())).await;
    let a = &mesh.daemons[0];
    // Before the node is there again, and later than what was lost.
    mesh.paths[1].fall_ill(EVERY_CALL, Ill::Fails);
    sleep(MS * 5).await;
    label(a, "n", "ordered").await;
    mesh.paths[1].recover();
    sleep(TTL * 3).await;
    for daemon in &mesh.daemons {
        assert_eq!(said(daemon, "n").await, (false, "ordered".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_tell_any_more_is_not_called_restored() {
    let clock = PausedClock(Instant::now());
    let mesh = mesh(&["a", "n"]).await;
    mesh.daemons[0].peers.cordon(called(cordon("n", "disk"), |_| {})).await.unwrap();
    sleep(TTL).await;
    let next = next_store(clock);
    mesh.paths[1].fall_ill([Method::Commit], Ill::Fails);
    fail_over(&mesh, &next);
    for daemon in &mesh.daemons {
        knows(daemon, &next).await;
    }
    sleep(MS).await;
    // More than is followed back.
    for _ in 0..70 {
        put_peer(&next, "n", PeerValue::default().encode_to_vec().into()).await;
    }
    mesh.paths[1].recover();
    sleep(TTL * 3).await;
    let n = &mesh.daemons[1];
    assert!(n.presence.is_registered());
    let told = n.registry.losses().told(n.registry.view());
    assert_eq!(told[0].count() - told[0].restored, 1, "its own: {told:?}");
    let version = || n.registry.view().get(&peer_id("n")).unwrap().record.version;
    let before = version();
    sleep(TTL * 3).await;
    assert_eq!(version(), before, "it is entered once");
}

/// Opens the session of a node as one of the same life is known elsewhere.
async fn open_as(store: &MemoryStore, known: &GroupRef) {
    let (epoch, id) = (epoch_of(store).await, known.id.clone());
    let OpenedGroup::Open(group) =
        store.open_group(OpenGroup { epoch, id, ttl: TTL, secret: "a".to_owned() }).await.unwrap()
    else {
        panic!("it is held")
    };
    assert_eq!(group.of, *known);
}

#[tokio::test(start_paused = true)]
async fn what_is_restored_in_one_epoch_is_not_written_over_the_same_version_in_the_next() {
    let clock = PausedClock(Instant::now());
    let mut mesh = mesh(&["a", "c"]).await;
    mesh.daemons[0].peers.cordon(called(cordon("c", "disk"), |_| {})).await.unwrap();
    mesh.daemons[1].presence.leave().await;
    drop(mesh.daemons.pop());
    sleep(TTL).await;
    let (a, path) = (&mesh.daemons[0], &mesh.paths[0]);
    let second = next_store(clock);
    fail_over(&mesh, &second);
    knows(a, &second).await;
    // Not so long ago that it is forgotten.
    let since = Some(timestamp(a.registry.view().now()));
    let value = PeerValue { status: PeerStatus::Left.into(), status_since: since, ..PeerValue::default() };
    put_peer(&second, "c", value.encode_to_vec().into()).await;
    sleep(TTL - MS * 20).await;
    // It looks at what there is of the peer, and comes to know it late.
    let before = path.count(Method::Log);
    path.fall_ill([Method::Log], Ill::AnswersLate);
    while path.count(Method::Log) == before {
        sleep(MS).await;
    }
    path.recover();
    let third = next_store(clock);
    let session = a.registry.held_groups().life_of(&session_id("a")).unwrap();
    open_as(&third, &session).await;
    let value = PeerValue { draining: true, ..value };
    put_peer(&third, "c", value.encode_to_vec().into()).await;
    path.swap(third.clone());
    knows(a, &third).await;
    let commits = path.count(Method::Commit);
    sleep(LATE + MS * 50).await;
    assert!(path.count(Method::Commit) > commits, "it was tried");
    let scan = Scan { kind: PEER, after: Some("b".to_owned()), backwards: false, limit: 10 };
    let of_c = third.scan(scan).await.unwrap().records;
    let versions: Vec<_> = of_c.iter().map(|record| record.version).collect();
    assert_eq!(versions, [Version(1)], "{of_c:?}");
}
