//! Driving of resyncs: when is pushed, and what.

use omnirelay_scripted::{EVERY_CALL, Ill, Method};

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_pushed_before_the_node_is_registered() {
    let daemon = unregistered(&[], INTERVAL).await;
    daemon.host(&["a", "-b", "c"]).await;
    sleep(SECOND * 10).await;
    assert!(daemon.pool.pushes().is_empty());
    assert_eq!(daemon.local().status(), Status::Never);
    daemon.register();
    let begun = Instant::now();
    until("it was pushed", || daemon.local().status() == Status::Success).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert_eq!(ids(&daemon.pool.ids()), ["a", "c"]);
    let state = daemon.resync.state();
    assert_eq!((state.registers, state.advertise), (3, 2));
    let local = &state.targets[0];
    assert_eq!((local.target.as_str(), local.register_count), ("local", 2));
    assert_eq!(local.last_run.unwrap().added, 2);
    let head = daemon.registry.view().head().revision;
    assert_eq!(*daemon.resync.pushed_through().borrow(), head);
    sleep(SECOND * 10).await;
    assert_eq!(daemon.pool.pushes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_pushed_at_once_and_alone() {
    let daemon = daemon(&["a", "b"]).await;
    let mut through = daemon.resync.pushed_through();
    type Change<'a> = (&'a str, Option<bool>, UnpushedEntries, &'a [&'a str]);
    let gone = |id: &str| UnpushedEntries::Withdraw(BTreeSet::from([id.to_owned()]));
    let none = UnpushedEntries::Withdraw(BTreeSet::new());
    let changes: [Change; 5] = [
        ("c", Some(true), none.clone(), &["a", "b", "c"]),
        ("a", Some(false), gone("a"), &["b", "c"]),
        ("a", Some(true), none, &["a", "b", "c"]),
        ("b", None, gone("b"), &["a", "c"]),
        ("d", Some(false), gone("d"), &["a", "c"]),
    ];
    for (id, advertise, rest, expected) in changes {
        let (before, begun) = (daemon.pool.pushes().len(), Instant::now());
        let revision = match advertise {
            Some(advertise) => daemon.put(id, advertise).await,
            None => daemon.delete(id).await,
        };
        through.wait_for(|through| *through >= revision).await.unwrap();
        assert!(begun.elapsed() < MS * 10, "{id}: {:?}", begun.elapsed());
        let pushes = daemon.pool.pushes();
        assert_eq!(pushes.len(), before + 1, "{id}");
        let pushed = pushes.last().unwrap();
        let items: &[&str] = if advertise == Some(true) { &[id] } else { &[] };
        assert_eq!((ids(&pushed.items).as_slice(), &pushed.rest), (items, &rest), "{id}");
        assert_eq!(ids(&daemon.pool.ids()), expected, "{id}");
        sleep(SECOND).await;
    }
    assert_eq!(daemon.audit_records().await, 0, "nobody asked for any of it");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_flips_in_a_second_are_a_few_pushes_and_end_right() {
    let daemon = daemon(&["a", "b"]).await;
    let before = daemon.pool.pushes().len();
    for flip in 0..1001 {
        daemon.put("a", flip % 2 == 1).await;
        sleep(MS).await;
    }
    sleep(SECOND).await;
    let pushes = daemon.pool.pushes().len() - before;
    assert!((10..=30).contains(&pushes), "{pushes}");
    assert_eq!(ids(&daemon.pool.ids()), ["b"], "the last word is that it is hidden");
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_back_within_the_interval_and_nothing_else_is_done() {
    let daemon = daemon(&["a", "b"]).await;
    sleep(INTERVAL * 3).await;
    let local = daemon.local();
    assert_eq!((local.runs_unchanged, local.last_run.unwrap().unchanged), (local.runs - 1, 2), "{local:?}");
    assert!((4..=6).contains(&local.runs), "{}", local.runs);
    assert!(local.next_run_at.is_some());
    daemon.pool.entries.lock().clear();
    let begun = Instant::now();
    until("they are back", || daemon.pool.ids().len() == 2).await;
    assert!(begun.elapsed() <= INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn pauses_after_failures_grow_to_a_minute_and_begin_anew_after_a_success() {
    let daemon = daemon(&["a"]).await;
    daemon.pool.fall_ill(Some("no quorum"));
    daemon.put("b", true).await;
    let gaps = async |from: usize, runs: usize| {
        until("it has tried often", || daemon.pool.pushes().len() >= from + runs).await;
        let at: Vec<Instant> = daemon.pool.pushes()[from..from + runs].iter().map(|push| push.at).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    let first = daemon.pool.pushes().len();
    for (gap, whole) in gaps(first, 9).await.into_iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        let whole = SECOND * whole;
        assert!(gap >= whole / 2 && gap <= whole + SECOND / 10, "{gap:?} of {whole:?}");
    }
    let local = daemon.local();
    assert_eq!((local.status(), local.error.as_str(), local.failures), (Status::Failed, "no quorum", 9));
    let pushes = daemon.pool.pushes();
    assert_eq!(ids(&pushes[first + 1].items), ["a", "b"], "what failed is tried again in full");
    daemon.pool.fall_ill(None);
    until("it has recovered", || daemon.local().status() == Status::Success).await;
    assert_eq!((daemon.local().failures, daemon.local().error.as_str()), (0, ""));
    sleep(SECOND).await;
    daemon.pool.fall_ill(Some("again"));
    let first = daemon.pool.pushes().len();
    daemon.put("c", true).await;
    let gap = gaps(first, 2).await[0];
    assert!(gap <= SECOND + SECOND / 10, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_a_failure_and_tried_again() {
    let daemon = daemon(&["a"]).await;
    let mut through = daemon.resync.pushed_through();
    daemon.pool.refuses.lock().insert("b".to_owned());
    let revision = daemon.put("b", true).await;
    until("it was noticed", || daemon.local().status() == Status::Failed).await;
    assert!(daemon.local().error.contains("1 of the registers were refused, the first `b`: no room"));
    assert!(*through.borrow_and_update() < revision, "it is not there yet");
    daemon.pool.refuses.lock().clear();
    through.wait_for(|through| *through >= revision).await.unwrap();
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_and_a_store_that_is_back_end_a_pause_and_an_interval() {
    let daemon = daemon(&["a"]).await;
    let pushed_within = async |limit: Duration, what: &str| {
        let (before, begun) = (daemon.pool.pushes().len(), Instant::now());
        until(what, || daemon.pool.pushes().len() > before).await;
        assert!(begun.elapsed() < limit, "{what}: {:?}", begun.elapsed());
    };
    daemon.register();
    pushed_within(SECOND, "the session is another one").await;
    daemon.pool.fall_ill(Some("away"));
    daemon.put("b", true).await;
    until("the pauses are long", || daemon.local().failures == 8).await;
    sleep(SECOND).await;
    daemon.register();
    pushed_within(SECOND, "the pause is cut").await;
    daemon.pool.fall_ill(None);
    until("it is well", || daemon.local().status() == Status::Success).await;
    sleep(SECOND).await;
    daemon.store.fall_ill(EVERY_CALL, Ill::Fails);
    until("the store is silent", || daemon.registry.view().silence().is_some()).await;
    sleep(SECOND).await;
    let quiet = daemon.pool.pushes().len();
    sleep(SECOND * 20).await;
    assert_eq!(daemon.pool.pushes().len(), quiet);
    daemon.store.recover();
    pushed_within(SECOND * 10, "the store is back").await;
    assert!(daemon.store.count(Method::Log) > 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_catalogue_says_is_pushed_although_the_store_cannot_be_compared() {
    let daemon = daemon(&["a", "-b", "c"]).await;
    *daemon.pool.unread.lock() = true;
    daemon.pool.plant(1);
    {
        let mut entries = daemon.pool.entries.lock();
        let of = entries.get_mut(&Producer::catalogue()).unwrap();
        of.remove("a");
        of.insert("b".to_owned(), AdvertisementValue::default());
    }
    daemon.register();
    until("it was noticed", || daemon.local().status() == Status::Failed).await;
    assert!(daemon.local().error.starts_with("the store cannot be read: "), "{}", daemon.local().error);
    assert_eq!(ids(&daemon.pool.ids()), ["a", "c", "stray-000"], "what is hidden goes, and no stray does");
    until("the pauses are long", || daemon.local().failures == 6).await;
    sleep(SECOND).await;
    for (id, advertise, expected) in
        [("d", true, &["a", "c", "d", "stray-000"][..]), ("a", false, &["c", "d", "stray-000"])]
    {
        let (begun, mut through) = (Instant::now(), daemon.resync.pushed_through());
        let revision = daemon.put(id, advertise).await;
        through.wait_for(|through| *through >= revision).await.unwrap();
        assert!(begun.elapsed() < MS * 100, "{id}: {:?}", begun.elapsed());
        assert_eq!(ids(&daemon.pool.ids()), expected);
        assert_eq!(daemon.local().status(), Status::Failed, "the comparison fails all the same");
    }
    *daemon.pool.unread.lock() = false;
    until("it is well", || daemon.local().status() == Status::Success).await;
    assert_eq!(ids(&daemon.pool.ids()), ["c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_register_that_is_refused_delays_no_other() {
    let daemon = daemon(&["a"]).await;
    let mut through = daemon.resync.pushed_through();
    daemon.pool.refuses.lock().insert("b".to_owned());
    let refused = daemon.put("b", true).await;
    until("the pauses are long", || daemon.local().failures == 6).await;
    sleep(SECOND).await;
    for id in ["c", "d", "e"] {
        let begun = Instant::now();
        daemon.put(id, true).await;
        until("it is there", || daemon.pool.ids().contains(&id.to_owned())).await;
        assert!(begun.elapsed() < MS * 100, "{id}: {:?}", begun.elapsed());
        sleep(MS * 200).await;
    }
    assert_eq!((daemon.local().status(), daemon.local().failures), (Status::Failed, 6));
    assert!(daemon.local().error.contains("the first `b`: no room"), "{}", daemon.local().error);
    assert!(*through.borrow_and_update() < refused, "not all of it is there");
    daemon.pool.refuses.lock().clear();
    let begun = Instant::now();
    until("it is there as well", || daemon.pool.ids().contains(&"b".to_owned())).await;
    assert!(begun.elapsed() <= SECOND * 60, "{:?}", begun.elapsed());
    until("it is well", || daemon.local().status() == Status::Success).await;
}
