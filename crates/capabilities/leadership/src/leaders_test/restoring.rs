//! Restoring of scopes that a new epoch has lost.

use super::*;

/// How long it takes until a scope is there again, with as many of three nodes as there are then.
async fn back_after(nodes_up: usize) -> Duration {
    let clock = PausedClock(Instant::now());
    let store = Arc::new(MemoryStore::new(clock));
    let (mut daemons, mut paths) = (Vec::new(), Vec::new());
    for node_id in ["a", "b", "c"] {
        let path = Faulty::over(store.clone());
        daemons.push(daemon(path.clone(), node_id, &[SCOPE]).await);
        paths.push(path);
    }
    acquainted(&daemons).await;
    agreed(&daemons, SCOPE).await;
    daemons.truncate(nodes_up);
    sleep(MS * 50).await;
    let next = Arc::new(MemoryStore::new(clock));
    let (emptied, epoch) = (Instant::now(), next.pulse(Pulse::default()).await.unwrap().epoch);
    paths.iter().for_each(|path| path.swap(next.clone()));
    let view = daemons[0].registry.view();
    until("it is there", || view.head().epoch == epoch && view.get(&leadership_id(SCOPE)).is_some()).await;
    let took = emptied.elapsed();
    agreed(&daemons, SCOPE).await;
    let past = &ScopeState::find(view, SCOPE).unwrap().value.past;
    let led: Vec<_> = past.iter().map(|past| (past.end_reason.as_str(), past.term)).collect();
    assert_eq!(led, [("epoch_changed", 1)], "who led before is known");
    took
}

#[tokio::test(start_paused = true)]
async fn a_lost_scope_is_back_once_all_that_were_alive_have_said_what_they_know() {
    let [all, two, one] = [back_after(3).await, back_after(2).await, back_after(1).await];
    assert!(all < MS * 1500, "{all:?}");
    for one_is_silent in [two, one] {
        assert!((MS * 2000..MS * 3500).contains(&one_is_silent), "{one_is_silent:?}");
    }
}
