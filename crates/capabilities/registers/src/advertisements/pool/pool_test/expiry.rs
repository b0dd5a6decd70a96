//! Expiry of entries: what lives how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_true_never_runs_out_and_is_refreshed_without_an_event() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(MS * 600).await;
    let revision = b.registry.view().changed(&ADVERTISEMENT);
    for _ in 0..50 {
        sleep(TTL / 5).await;
        assert_eq!((a.available(), b.available()), (vec!["r".to_owned()], vec!["r".to_owned()]));
    }
    assert_eq!(b.registry.view().changed(&ADVERTISEMENT), revision);
}

#[tokio::test(start_paused = true)]
async fn what_an_outside_producer_pushes_once_in_a_ttl_never_blinks_and_ends_when_it_stops() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await;
    for _ in 0..10 {
        for _ in 0..100 {
            sleep(TTL / 100).await;
            assert_eq!((a.available().len(), b.available().len()), (1, 1));
        }
        assert_eq!(a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await, [0, 0, 0, 1, 0, 0]);
    }
    // It was refreshed once more, at half of the TTL, and no further.
    sleep(TTL * 3 / 2 - Duration::from_secs(2)).await;
    assert_eq!((a.available().len(), b.available().len()), (1, 1));
    sleep(Duration::from_secs(4)).await;
    assert_eq!((a.available().len(), b.available().len()), (0, 0));
    sleep(Duration::from_secs(10)).await;
    assert!(stored(store.as_ref(), "a").await.is_empty());
    assert_eq!(
        a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await,
        [1, 0, 0, 0, 0, 0],
        "it is new again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_push_that_confirms_nothing_keeps_nothing_alive() {
    let a = daemon(memory(), "a").await;
    a.push(&outside(), &["r"], UnpushedEntries::WithdrawAll).await;
    for _ in 0..10 {
        sleep(TTL / 4).await;
        a.push(&outside(), &[], UnpushedEntries::Stays).await;
    }
    assert!(a.available().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_lives_for_one_ttl() {
    let a = daemon(memory(), "a").await;
    a.push(&Producer::file(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(TTL - Duration::from_secs(1)).await;
    assert_eq!(a.available(), ["r"]);
    sleep(Duration::from_secs(2)).await;
    assert!(a.available().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_pushed_twice_lives_for_one_ttl_from_then() {
    let a = daemon(memory(), "a").await;
    a.push(&Producer::file(), &["r"], UnpushedEntries::WithdrawAll).await;
    // So soon that nothing else would be refreshed.
    sleep(TTL / 16).await;
    a.push(&Producer::file(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(TTL - Duration::from_secs(1)).await;
    assert_eq!(a.available(), ["r"]);
    sleep(Duration::from_secs(1)).await;
    // Whoever reads first has the store asked whether it is over.
    a.available();
    for _ in 0..80 {
        sleep(Duration::from_secs(1)).await;
        assert!(a.available().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_dead_node_go_with_their_ttl_and_those_of_others_stay() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r", "both"], UnpushedEntries::WithdrawAll).await;
    b.push(&catalogue(), &["both"], UnpushedEntries::WithdrawAll).await;
    sleep(MS * 600).await;
    assert_eq!(b.available(), ["both", "r"]);
    drop(a);
    sleep(TTL - Duration::from_secs(2)).await;
    assert_eq!(b.available(), ["both", "r"]);
    assert_eq!(
        b.shown(),
        ["a/both/catalogue unverified", "a/r/catalogue unverified", "b/both/catalogue active"]
    );
    sleep(Duration::from_secs(4)).await;
    assert_eq!(b.available(), ["both"]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_serves_what_it_advertised_as_unverified_until_it_is_pushed_again() {
    let store = memory();
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r1", "r2"], UnpushedEntries::WithdrawAll).await;
    a.push(&outside(), &["x1", "x2"], UnpushedEntries::WithdrawAll).await;
    drop(a);
    sleep(TTL / 4).await;
    let a = daemon(store.clone(), "a").await;
    assert_eq!(a.available(), ["r1", "r2", "x1", "x2"], "at once");
    let all = ["a/r1/catalogue", "a/r2/catalogue", "a/x1/http:registers", "a/x2/http:registers"];
    let unverified = all.map(|key| format!("{key} unverified"));
    assert_eq!(a.shown(), unverified);
    sleep(MS * 600).await;
    assert_eq!(b.shown(), unverified);
    assert_eq!(a.pool.counts(), LocalCounts { entries: 4, unverified: 4, deferred: 0 });
    // One is pushed, another was withdrawn meanwhile: no write for what is as it was.
    assert_eq!(a.push(&catalogue(), &["r1"], UnpushedEntries::WithdrawAll).await, [0, 0, 1, 1, 0, 0]);
    assert_eq!(a.push(&outside(), &["x1"], UnpushedEntries::Stays).await, [0, 0, 0, 1, 0, 0]);
    sleep(MS * 600).await;
    assert_eq!(
        a.shown(),
        ["a/r1/catalogue active", "a/x1/http:registers active", "a/x2/http:registers unverified"]
    );
    assert_eq!(b.shown()[0], "a/r1/catalogue active");
    for _ in 0..20 {
        sleep(TTL / 10).await;
        assert_eq!(b.available()[0], "r1");
    }
    assert_eq!(b.available(), ["r1"], "what nobody confirmed ran out");
}

#[tokio::test(start_paused = true)]
async fn a_full_sync_that_comes_before_the_store_was_read_is_about_what_is_there() {
    let store = memory();
    let a = daemon(store.clone(), "a").await;
    a.push(&outside(), &["r1", "r2"], UnpushedEntries::WithdrawAll).await;
    drop(a);
    let a = begun(store, "a", "a").await;
    assert_eq!(a.push(&outside(), &["r2"], UnpushedEntries::WithdrawAll).await[2], 1);
    assert_eq!(a.available(), ["r2"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_of_a_running_node_is_confirmed_without_a_push() {
    let store = Faulty::over(memory());
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    // Long enough for the sessions to run out, and not for the advertisements.
    store.fall_ill([Method::Pulse], Ill::Fails);
    sleep(SESSION * 3).await;
    store.recover();
    sleep(SESSION * 2).await;
    assert_eq!(b.shown(), ["a/r/catalogue active"]);
}
