//! Pushes and what they change.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_sync_is_all_there_is_of_its_producer_and_of_no_other() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    assert_eq!(
        a.push(&catalogue(), &["r1", "r2", "r3"], UnpushedEntries::WithdrawAll).await,
        [3, 0, 0, 0, 0, 0]
    );
    assert_eq!(a.push(&outside(), &["x1", "r1"], UnpushedEntries::WithdrawAll).await, [2, 0, 0, 0, 0, 0]);
    assert_eq!(a.push(&catalogue(), &["r2", "r4"], UnpushedEntries::WithdrawAll).await, [1, 0, 2, 1, 0, 0]);
    assert_eq!(a.available(), ["r1", "r2", "r4", "x1"], "r1 is still advertised by another");
    assert_eq!(a.push(&catalogue(), &[], UnpushedEntries::WithdrawAll).await, [0, 0, 2, 0, 0, 0]);
    assert_eq!(a.available(), ["r1", "x1"], "an empty catalogue wipes nothing of another producer");
    assert_eq!(stored(store.as_ref(), "a").await, ["r1/http:registers", "x1/http:registers"]);
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_writes_nothing() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    let ids: Vec<String> = (0..1000).map(|n| format!("r{n:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(a.push(&catalogue(), &ids, UnpushedEntries::WithdrawAll).await, [1000, 0, 0, 0, 0, 0]);
    let revision = a.registry.view().head().revision;
    let commits = store.count(Method::Commit);
    for _ in 0..3 {
        assert!(a.pool.compare_with_store().await.unwrap());
        assert_eq!(a.push(&catalogue(), &ids, UnpushedEntries::WithdrawAll).await, [0, 0, 0, 1000, 0, 0]);
    }
    assert_eq!(store.count(Method::Commit), commits);
    assert_eq!(a.registry.view().head().revision, revision, "and nobody is told of anything");
}

#[tokio::test(start_paused = true)]
async fn versions_never_go_back_and_what_is_absent_stays() {
    let a = daemon(memory(), "a").await;
    let push = |version, name: Option<&str>| {
        let name = name.map(str::to_owned);
        vec![AdvertisedRegister { latest_version: version, name, ..item("r") }]
    };
    let now = || a.pool.held(&outside())["r"].value.clone();
    for (version, name, expected, shown) in [
        (Some(7), Some("first"), [1, 0, 0, 0, 0, 0], (7, "first")),
        (Some(3), None, [0, 0, 0, 1, 0, 0], (7, "first")),
        (None, None, [0, 0, 0, 1, 0, 0], (7, "first")),
        (Some(8), None, [0, 1, 0, 0, 0, 0], (8, "first")),
        (Some(2), Some(""), [0, 1, 0, 0, 0, 0], (8, "")),
    ] {
        let pushed = a.try_push(&outside(), &push(version, name), UnpushedEntries::Stays).await.unwrap();
        assert_eq!(counts(&pushed), expected, "{version:?}");
        assert_eq!((now().latest_version, now().name.as_str()), shown);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_go_in_pieces_and_additions_first() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    let old: Vec<AdvertisedRegister> = (0..600).map(|n| item(&format!("old{n:05}"))).collect();
    let new: Vec<AdvertisedRegister> = (0..10_000).map(|n| item(&format!("new{n:05}"))).collect();
    a.try_push(&catalogue(), &old, UnpushedEntries::WithdrawAll).await.unwrap();
    let begun = a.registry.view().head().revision;
    let pushed = a.try_push(&catalogue(), &new, UnpushedEntries::WithdrawAll).await.unwrap();
    assert_eq!(counts(&pushed), [10_000, 0, 600, 0, 0, 0]);
    let entries = a.registry.view().recent(begun, 1000).unwrap();
    let removes: Vec<bool> = entries
        .iter()
        .flat_map(|entry| {
            assert!(entry.changes.len() <= 256, "{}", entry.changes.len());
            entry.changes.iter().map(|change| change.after.record.deleted)
        })
        .collect();
    assert_eq!(removes.len(), 10_600);
    assert!(removes.is_sorted(), "a removal came before an addition");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_flips_of_one_flag_end_in_the_right_state() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    let mut running = JoinSet::new();
    for n in 0..1000 {
        let pool = a.pool.clone();
        running.spawn(async move {
            let flipped = AdvertisedRegister { is_public: Some(n % 2 == 0), ..item("r") };
            let push = ProducerPush {
                producer: outside(),
                items: &[flipped],
                rest: UnpushedEntries::Stays,
                batch: BATCH_MAX,
                caller: None,
                progress: &|_, _| {},
                cancelled: &|| false,
            };
            pool.push(push).await.unwrap();
        });
    }
    running.join_all().await;
    let memory_says = a.pool.held(&outside())["r"].value.is_public;
    let record = a.registry.view().get(&crate::advertisements::advertisement_id("a", "r", "http:registers"));
    let stored = record.unwrap().value::<AdvertisementValue>().unwrap().is_public;
    assert_eq!(memory_says, stored);
    assert_eq!(a.push(&outside(), &["r"], UnpushedEntries::Stays).await[4], 0);
    assert_eq!(a.available(), ["r"]);
}

#[tokio::test(start_paused = true)]
async fn a_push_of_many_is_cancelled_between_commits() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    let many: Vec<AdvertisedRegister> = (0..1000).map(|n| item(&format!("r{n:04}"))).collect();
    let (done, asked) = (Mutex::new(Vec::new()), std::sync::atomic::AtomicUsize::new(0));
    let push = ProducerPush {
        producer: catalogue(),
        items: &many,
        rest: UnpushedEntries::WithdrawAll,
        batch: 100,
        caller: None,
        progress: &|step, of| done.lock().push((step, of)),
        cancelled: &|| asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 3,
    };
    let pushed = a.pool.push(push).await.unwrap();
    assert!(pushed.cancelled);
    assert_eq!(counts(&pushed), [300, 0, 0, 0, 0, 0]);
    assert_eq!(*done.lock(), [(100, 1000), (200, 1000), (300, 1000)]);
    assert_eq!(a.available().len(), 300, "what was not done is not shown either");
    assert_eq!(stored(store.as_ref(), "a").await.len(), 300);
}

/// What the audit trail says of pushes, in the order of their commits.
async fn told(store: &dyn Store) -> Vec<String> {
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    let mut records = store.scan(scan).await.unwrap().records;
    // Those of one millisecond are in no order.
    records.sort_by_key(|record| record.revision);
    let bodies = records.iter().map(|record| AuditValue::decode(record.value.clone()).unwrap());
    let pushes = bodies.filter(|body| body.action == "advertisements.push");
    pushes.map(|body| format!("{} {}", body.object, body.changes.join(", "))).collect()
}

async fn push_as(a: &Daemon, caller: &Caller, items: &[AdvertisedRegister]) {
    let push = ProducerPush {
        producer: outside(),
        items,
        rest: UnpushedEntries::WithdrawAll,
        batch: BATCH_MAX,
        caller: Some(caller),
        progress: &|_, _| {},
        cancelled: &|| false,
    };
    a.pool.push(push).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_caller_has_gone_and_one_whose_reply_was_lost_are_told_once() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    let caller = caller();
    store.fall_ill([Method::Commit], Ill::Hangs);
    let left = tokio::time::timeout(MS * 100, push_as(&a, &caller, &items(&["r"]))).await;
    assert!(left.is_err());
    store.recover();
    sleep(SESSION * 3).await;
    assert_eq!(a.available(), ["r"]);
    let first = "advertisement/a/http:registers added: 1".to_owned();
    assert_eq!(told(&*store).await, std::slice::from_ref(&first));
    store.fall_ill([Method::Commit], Ill::LosesReplies);
    push_as(&a, &caller, &[]).await;
    store.recover();
    sleep(SESSION * 3).await;
    assert_eq!(told(&*store).await, [first, "advertisement/a/http:registers removed: 1".to_owned()]);
    assert_eq!(a.pool.counts().deferred, 0);
}

#[tokio::test(start_paused = true)]
async fn a_callers_push_leaves_one_audit_record_if_it_changes_anything() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    let caller = caller();
    let many: Vec<AdvertisedRegister> = (0..700).map(|n| item(&format!("r{n:04}"))).collect();
    for items in [&many[..], &many[..], &many[..350]] {
        push_as(&a, &caller, items).await;
    }
    let object = "advertisement/a/http:registers";
    assert_eq!(
        told(store.as_ref()).await,
        [format!("{object} added: 700"), format!("{object} removed: 350")]
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_an_end_to_what_fits() {
    let a = daemon(memory(), "a").await;
    let many: Vec<AdvertisedRegister> = (0..=ENTRIES_MAX).map(|n| item(&format!("r{n}"))).collect();
    let refused = a.try_push(&outside(), &many, UnpushedEntries::Stays).await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_ADVERTISEMENTS");
    for n in 0..PRODUCERS_MAX {
        let producer = Producer::http(&format!("p{n}")).unwrap();
        a.push(&producer, &["r"], UnpushedEntries::Stays).await;
    }
    let refused = a.try_push(&outside(), &items(&["r"]), UnpushedEntries::Stays).await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_ADVERTISEMENTS");
    assert!(Producer::http(&"x".repeat(300)).is_err());
}

#[tokio::test(start_paused = true)]
async fn federated_clusters_leave_room_for_this_mesh() {
    let a = daemon(memory(), "a").await;
    let of = |n: usize| Producer::http(&format!("node:west/n{n}")).unwrap();
    for n in 0..FEDERATED_MAX {
        a.push(&of(n), &["r"], UnpushedEntries::Stays).await;
    }
    let refused = a.try_push(&of(FEDERATED_MAX), &items(&["r"]), UnpushedEntries::Stays).await.unwrap_err();
    assert_eq!(refused.reason, "TOO_MANY_ADVERTISEMENTS");
    assert!(refused.message.contains("nodes of that cluster"), "{}", refused.message);
    // Who is there goes on, until all of them together have as much as one may have.
    a.push(&of(0), &["s"], UnpushedEntries::Stays).await;
    let most = ENTRIES_MAX - FEDERATED_MAX - 1;
    let many: Vec<AdvertisedRegister> = (0..=most).map(|n| item(&format!("x{n}"))).collect();
    let refused = a.try_push(&of(1), &many, UnpushedEntries::Stays).await.unwrap_err();
    assert!(refused.message.contains("a federated cluster may have"), "{}", refused.message);
    // Others have their places still, of this mesh and of other clusters.
    a.push(&Producer::http("node:south/n1").unwrap(), &["r"], UnpushedEntries::Stays).await;
    for n in 0..PRODUCERS_MAX {
        a.push(&Producer::http(&format!("p{n}")).unwrap(), &["t"], UnpushedEntries::Stays).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_with_anothers_node_id_is_refused_and_told() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r"], UnpushedEntries::Stays).await;
    let rival = begun(store.clone(), "a", "another secret").await;
    rival.node.loaded().await;
    sleep(SESSION).await;
    let refused = rival.try_push(&outside(), &items(&["x"]), UnpushedEntries::WithdrawAll).await.unwrap_err();
    assert_eq!(refused.reason, "NODE_ID_HELD");
    assert!(refused.message.contains("`a`"), "{}", refused.message);
    assert_eq!(a.available(), ["r"]);
}
