//! Outages of the store: what happens while it is away, empties, or is tampered with.

use super::super::memory::EntryChange;
use super::*;
use crate::advertisements::advertisement_id;

#[tokio::test(start_paused = true)]
async fn what_is_taken_in_while_the_store_is_away_is_shown_and_written_once() {
    let store = Faulty::over(memory());
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&outside(), &["stays", "goes"], UnpushedEntries::WithdrawAll).await;
    store.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(MS * 1100).await;
    for version in 1..50 {
        let pushed = vec![item("stays"), AdvertisedRegister { latest_version: Some(version), ..item("new") }];
        let pushed = a.try_push(&outside(), &pushed, UnpushedEntries::WithdrawAll).await.unwrap();
        assert_eq!(pushed.deferred, if version == 1 { 2 } else { 1 }, "version {version}");
        assert!(pushed.failed.is_empty());
    }
    assert_eq!(a.available(), ["new", "stays"]);
    let version = |register: &str| all(&a.pool, |_, shown| shown == register)[0].version;
    assert_eq!((version("new"), version("stays")), (0, 1), "what is only in memory has no record");
    assert_eq!(b.available(), ["goes", "stays"], "others see what they knew");
    sleep(TTL * 3).await;
    assert_eq!(a.available(), ["new", "stays"], "no deadline passes while the store is away");
    a.push(&outside(), &["stays", "new"], UnpushedEntries::WithdrawAll).await;
    let commits = store.count(Method::Commit);
    store.recover();
    sleep(SESSION * 2).await;
    assert_eq!(b.available(), ["new", "stays"]);
    let new = a.registry.view().get(&advertisement_id("a", "new", "http:registers")).unwrap();
    assert_eq!(new.value::<AdvertisementValue>().unwrap().latest_version, 49);
    assert_eq!(a.pool.counts().deferred, 0);
    // The rest are the two nodes' own records.
    assert!(store.count(Method::Commit) - commits <= 8, "{}", store.count(Method::Commit) - commits);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_outlives_its_session_is_written_in_the_next() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    let ended = own_session(&a.registry).unwrap();
    store.close_group(a.registry.view().head().epoch, ended.clone()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await, [1, 0, 0, 0, 0, 0]);
    assert_ne!(own_session(&a.registry).unwrap(), ended);
    assert_eq!(stored(store.as_ref(), "a").await, ["r/catalogue"]);
    assert!(begun.elapsed() < SESSION, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_without_its_store_takes_in_and_serves() {
    for (rest, left) in [
        (UnpushedEntries::Stays, vec!["kept", "new", "old"]),
        (UnpushedEntries::WithdrawAll, vec!["kept", "new"]),
    ] {
        let inner = memory();
        let before = daemon(inner.clone(), "a").await;
        let full = AdvertisedRegister {
            latest_version: Some(10),
            name: Some("Kept".to_owned()),
            description: Some("as it was".to_owned()),
            ..item("kept")
        };
        before.try_push(&outside(), &[full, item("old")], UnpushedEntries::WithdrawAll).await.unwrap();
        drop(before);
        let store = Faulty::over(inner.clone());
        store.fall_ill(EVERY_CALL, Ill::Fails);
        let a = begun(store.clone(), "a", "a").await;
        sleep(MS * 1100).await;
        let kept =
            AdvertisedRegister { latest_version: Some(3), description: Some(String::new()), ..item("kept") };
        let pushed = a.try_push(&outside(), &[kept, item("new")], rest.clone()).await.unwrap();
        assert_eq!(counts(&pushed), [2, 0, 0, 0, 0, 2]);
        assert_eq!(a.available(), ["kept", "new"]);
        store.recover();
        sleep(SESSION * 3).await;
        assert_eq!(a.available(), left, "{rest:?}");
        let kept = a.pool.held(&outside())["kept"].value.clone();
        assert_eq!(
            (kept.latest_version, kept.name.as_str(), kept.description.as_str()),
            (10, "Kept", ""),
            "what was not given is as it was, and versions do not go back"
        );
        let keys: Vec<String> = left.iter().map(|id| format!("{id}/http:registers")).collect();
        assert_eq!(stored(inner.as_ref(), "a").await, keys);
        assert!(a.pool.compare_with_store().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_withdrawn_does_not_come_back_with_an_older_copy() {
    let clock = PausedClock(Instant::now());
    let old = Arc::new(MemoryStore::new(clock));
    // Of another epoch.
    sleep(MS * 10).await;
    let store = Faulty::over(Arc::new(MemoryStore::new(clock)));
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r", "gone"], UnpushedEntries::WithdrawAll).await;
    // A replica that has not heard of the withdrawal.
    let replica = daemon(old.clone(), "a").await;
    replica.push(&outside(), &["r", "gone"], UnpushedEntries::WithdrawAll).await;
    drop(replica);
    a.push(&outside(), &[], these(&["gone"])).await;
    store.swap(old.clone());
    sleep(SESSION * 4).await;
    assert_eq!(a.available(), ["r"]);
    assert_eq!(stored(old.as_ref(), "a").await, ["r/http:registers"]);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_waits_is_not_forgotten_for_a_push_that_is_refused() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r", "s"], UnpushedEntries::WithdrawAll).await;
    store.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(MS * 1100).await;
    assert_eq!(a.push(&outside(), &[], these(&["r"])).await, [0, 0, 1, 0, 0, 1]);
    {
        let mut memory = a.pool.memory.lock();
        let value = AdvertisementValue { is_public: true, ..Default::default() };
        let before =
            memory.apply(&outside(), &[EntryChange::Add("r".to_owned(), value)], Millis(0), Instant::now());
        memory.undo(&outside(), before);
        memory.in_flight.clear();
    }
    store.recover();
    sleep(SESSION * 2).await;
    assert_eq!(stored(&*store, "a").await, ["s/http:registers"]);
}

#[tokio::test(start_paused = true)]
async fn one_entry_that_the_store_refuses_does_not_keep_others_waiting() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    store.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(MS * 1100).await;
    let long = AdvertisedRegister { description: Some("x".repeat(VALUE_BYTES_MAX)), ..item("big") };
    let pushed = a.try_push(&outside(), &[item("a"), long, item("z")], UnpushedEntries::Stays).await.unwrap();
    assert_eq!(counts(&pushed), [3, 0, 0, 0, 0, 3]);
    store.recover();
    sleep(SESSION * 2).await;
    assert_eq!(stored(&*store, "a").await, ["a/http:registers", "z/http:registers"]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_lost_loses_nothing() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    store.fall_ill([Method::Commit], Ill::LosesReplies);
    let pushed = a.push(&outside(), &["r1", "r2"], UnpushedEntries::WithdrawAll).await;
    assert_eq!(pushed, [2, 0, 0, 0, 0, 2]);
    // Nobody knows yet whether r2 is there.
    assert_eq!(a.push(&outside(), &["r2"], UnpushedEntries::WithdrawAll).await, [1, 0, 1, 0, 0, 2]);
    store.recover();
    sleep(SESSION).await;
    assert_eq!(stored(store.as_ref(), "a").await, ["r2/http:registers"]);
    assert_eq!(a.available(), ["r2"]);
    assert!(a.pool.compare_with_store().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn after_an_epoch_in_which_all_is_lost_everything_is_written_again() {
    let clock = PausedClock(Instant::now());
    let store = Faulty::over(Arc::new(MemoryStore::new(clock)));
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r1", "r2"], UnpushedEntries::WithdrawAll).await;
    a.push(&outside(), &["x"], UnpushedEntries::WithdrawAll).await;
    b.push(&catalogue(), &["b1"], UnpushedEntries::WithdrawAll).await;
    sleep(SESSION).await;
    store.swap(Arc::new(MemoryStore::new(clock)));
    sleep(SESSION * 3).await;
    assert_eq!(a.available(), ["b1", "r1", "r2", "x"]);
    assert_eq!(b.available(), ["b1", "r1", "r2", "x"]);
    sleep(TTL * 3).await;
    assert_eq!(b.available(), ["b1", "r1", "r2"], "each lives as long as it is kept true");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_or_strange_in_the_store_is_found_and_put_right() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    a.push(&catalogue(), &["r1", "r2", "r3"], UnpushedEntries::WithdrawAll).await;
    let group =
        a.registry.view().get(&advertisement_id("a", "r1", "catalogue")).unwrap().record.group.clone();
    let strange = AdvertisementValue { is_public: true, name: "strange".to_owned(), ..Default::default() };
    let write = |register: &str, value: &AdvertisementValue| Write::Put {
        id: advertisement_id("a", register, "catalogue"),
        value: value.encode_to_vec().into(),
        group: group.clone(),
    };
    let writes = vec![
        Write::Delete { id: advertisement_id("a", "r1", "catalogue") },
        write("r2", &strange),
        write("stray", &strange),
    ];
    let epoch = a.registry.view().head().epoch;
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    assert!(!a.pool.compare_with_store().await.unwrap());
    assert_eq!(
        a.push(&catalogue(), &["r1", "r2", "r3"], UnpushedEntries::WithdrawAll).await,
        [1, 1, 1, 1, 0, 0]
    );
    assert_eq!(stored(store.as_ref(), "a").await, ["r1/catalogue", "r2/catalogue", "r3/catalogue"]);
    assert!(a.pool.compare_with_store().await.unwrap());
    assert_eq!(a.available(), ["r1", "r2", "r3"]);
}

#[tokio::test(start_paused = true)]
async fn what_comparisons_find_is_written_though_they_never_rest() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await;
    let there = stored(store.as_ref(), "a").await;
    let epoch = a.registry.view().head().epoch;
    let writes = vec![Write::Delete { id: advertisement_id("a", "r", outside().as_str()) }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    assert!(stored(store.as_ref(), "a").await.is_empty());
    for _ in 0..5 {
        a.pool.compare_with_store().await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(stored(store.as_ref(), "a").await, there);
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_while_the_store_is_compared_is_not_taken_for_lost() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    let many: Vec<AdvertisedRegister> = (0..2000).map(|n| item(&format!("r{n:04}"))).collect();
    a.try_push(&catalogue(), &many, UnpushedEntries::WithdrawAll).await.unwrap();
    store.fall_ill([Method::Scan], Ill::AnswersLate);
    let pool = a.pool.clone();
    let comparing = tokio::spawn(async move { pool.compare_with_store().await.unwrap() });
    // The first page was read by now.
    sleep(MS * 600).await;
    assert_eq!(a.push(&catalogue(), &["r-new"], these(&["r0000"])).await, [1, 0, 1, 0, 0, 0]);
    assert!(comparing.await.unwrap());
    let held = a.pool.held(&catalogue());
    assert!(!held.contains_key("r0000"), "what was withdrawn has come back");
    assert!(held.contains_key("r-new"));
    assert_eq!(stored(&*store, "a").await.len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_not_shown() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await;
    let long = AdvertisedRegister { description: Some("x".repeat(VALUE_BYTES_MAX)), ..item("big") };
    let pushed =
        a.try_push(&outside(), &[item("small"), long, item("r")], UnpushedEntries::Stays).await.unwrap();
    assert_eq!(counts(&pushed), [1, 0, 0, 1, 1, 0]);
    assert_eq!(pushed.failed[0].register_id, "big");
    assert_eq!(pushed.failed[0].reason, "INVALID_ARGUMENT");
    assert_eq!(a.available(), ["r", "small"]);
}
