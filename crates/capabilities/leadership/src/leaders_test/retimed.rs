//! A mesh whose store time is brought back.

use omnirelay_core::time::Millis;

use super::*;

const HOURS_30: u64 = 30 * 3600 * 1000;

/// A clock that is ahead of the one on its wall.
struct Ahead(PausedClock);

impl Clock for Ahead {
    fn now(&self) -> Millis {
        self.0.now()
    }

    fn wall(&self) -> Millis {
        Millis(self.now().0 - HOURS_30)
    }
}

#[tokio::test(start_paused = true)]
async fn time_that_is_brought_back_is_taken_for_no_split() {
    let store = Arc::new(MemoryStore::new(Ahead(PausedClock(Instant::now()))));
    let daemons = mesh(&store, &["a", "b"]).await;
    agreed(&daemons, SCOPE).await;
    sleep(TTL * 3).await;
    let token =
        |daemons: &[Daemon]| daemons.iter().find_map(|daemon| daemon.fence(SCOPE)).map(|fence| fence.token);
    let before = token(&daemons);
    let view = daemons[0].registry.view();
    let (epoch, wall) = (view.head().epoch, Millis(view.now().0 - HOURS_30));
    let done = store.reset_clock(ResetClock { epoch, wall, dry_run: false }).await.unwrap();
    let is_known = |daemon: &Daemon| daemon.registry.view().head().epoch == done.epoch;
    until("the new epoch is known", || daemons.iter().all(is_known)).await;
    until("nobody relies on the lease of before", || token(&daemons) != before).await;
    agreed(&daemons, SCOPE).await;
    assert!(token(&daemons) > before, "{:?} after {before:?}", token(&daemons));
    sleep(TTL * 3).await;
    for daemon in &daemons {
        assert!(daemon.registry.view().splits().is_empty(), "{:?}", daemon.registry.view().splits());
    }
}
