//! Reads of the pool: who sees what.

use super::*;

#[tokio::test(start_paused = true)]
async fn registers_of_all_nodes_are_seen_once_with_the_greatest_versions() {
    let store = memory();
    let (a, b, c) =
        (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await, daemon(store, "c").await);
    let one = |version, docket, name: &str, state| {
        vec![AdvertisedRegister {
            latest_version: Some(version),
            latest_docket_version: Some(docket),
            name: Some(name.to_owned()),
            sync_state: Some(i32::from(state)),
            ..item("r")
        }]
    };
    a.try_push(&catalogue(), &one(5, 9, "", SyncState::Active), UnpushedEntries::Stays).await.unwrap();
    b.try_push(&catalogue(), &one(150, 1, "from b", SyncState::FullyReplicated), UnpushedEntries::Stays)
        .await
        .unwrap();
    b.try_push(&outside(), &one(1, 1, "", SyncState::FullyReplicated), UnpushedEntries::Stays).await.unwrap();
    c.try_push(&catalogue(), &one(100, 3, "from c", SyncState::FullyReplicated), UnpushedEntries::Stays)
        .await
        .unwrap();
    sleep(MS * 600).await;
    let seen = |daemon: &Daemon| {
        let register = listed(&daemon.pool, &[]).remove(0);
        (
            register.peer_count,
            register.full_replica_peer_count,
            (register.latest_version, register.latest_docket_version),
            register.name,
            register.sources.join(" "),
        )
    };
    assert_eq!(seen(&a), (2, 2, (150, 9), "from b".to_owned(), "a b c".to_owned()));
    assert_eq!(seen(&c), (2, 1, (150, 9), "from c".to_owned(), "a b c".to_owned()), "its own name first");
    assert_eq!(listed(&a.pool, &["nobody".to_owned()]), []);
    assert_eq!(listed(&a.pool, &["c".to_owned()])[0].latest_version, 100);
}

#[tokio::test(start_paused = true)]
async fn what_is_hidden_is_seen_by_its_own_node_only() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store, "b").await);
    let hidden = AdvertisedRegister { is_public: Some(false), ..item("r") };
    a.try_push(&outside(), &[hidden.clone(), item("open")], UnpushedEntries::Stays).await.unwrap();
    sleep(MS * 600).await;
    assert_eq!((a.available(), b.available()), (vec!["open".to_owned()], vec!["open".to_owned()]));
    assert_eq!(a.shown(), ["a/open/http:registers active", "a/r/http:registers active"]);
    assert_eq!(b.shown(), ["a/open/http:registers active"]);
    // Public again: what was known of it is still there.
    let version = AdvertisedRegister { latest_version: Some(4), ..hidden };
    a.try_push(&outside(), &[version], UnpushedEntries::Stays).await.unwrap();
    assert_eq!(a.push(&outside(), &["r"], UnpushedEntries::Stays).await, [0, 1, 0, 0, 0, 0]);
    sleep(MS * 600).await;
    assert_eq!(b.available(), ["open", "r"]);
    assert_eq!(listed(&b.pool, &[])[1].latest_version, 4);
    for daemon in [&a, &b] {
        let shown = all(&daemon.pool, |_, register| register == "r").remove(0);
        assert_eq!(
            (shown.version, shown.last_writer_id.as_str()),
            (3, "a"),
            "each push has changed its record"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_private_or_of_another_mesh_is_offered_to_nobody() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store, "b").await);
    let hidden = AdvertisedRegister { is_public: Some(false), ..item("private") };
    a.try_push(&catalogue(), &[item("own"), hidden], UnpushedEntries::Stays).await.unwrap();
    a.try_push(&outside(), &[item("pushed")], UnpushedEntries::Stays).await.unwrap();
    let neighbour = Producer::http("node:west/n").unwrap();
    a.try_push(&neighbour, &[item("of-west")], UnpushedEntries::Stays).await.unwrap();
    b.try_push(&catalogue(), &[item("of-b")], UnpushedEntries::Stays).await.unwrap();
    sleep(MS * 600).await;
    let offered = |of: &Daemon| of.pool.offered().into_keys().collect::<Vec<_>>();
    assert_eq!(
        (offered(&a), offered(&b)),
        (vec!["own".to_owned(), "pushed".to_owned()], vec!["of-b".to_owned()])
    );
    a.push(&catalogue(), &[], UnpushedEntries::WithdrawAll).await;
    assert_eq!(offered(&a), ["pushed"]);
}

#[tokio::test(start_paused = true)]
async fn another_nodes_full_sync_touches_nothing_here() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store, "b").await);
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    b.push(&catalogue(), &["s"], UnpushedEntries::WithdrawAll).await;
    b.push(&catalogue(), &[], UnpushedEntries::WithdrawAll).await;
    sleep(MS * 600).await;
    assert_eq!(b.available(), ["r"]);
    assert_eq!(a.available(), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn pages_lose_nothing_whatever_the_ids_are() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "n").await, daemon(store, "n-1").await);
    for daemon in [&a, &b] {
        daemon
            .push(&outside(), &["orders", "orders-archive", "orders.old", "orders:x"], UnpushedEntries::Stays)
            .await;
    }
    sleep(MS * 600).await;
    let shown: Vec<String> = all(&a.pool, |_, _| true).iter().map(key).collect();
    assert_eq!(shown.len(), 8);
    assert!(shown.is_sorted(), "{shown:?}");
}
