//! Restoration by settings that change while it runs.

use std::sync::Arc;

use omnirelay_scripted::PausedClock;
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::MemoryStore;
use tokio::time::{Instant, sleep};

use super::tests::{Daemon, OWNED, SECOND, one, stored};

/// The node that owns it never comes.
#[tokio::test(start_paused = true)]
async fn others_restore_after_the_time_to_live_that_is_set_by_then() {
    let settings = LiveConfig::from(Config::default());
    settings.set("session.ttl", "60s");
    let clock = PausedClock(Instant::now());
    let mut a = Daemon::with_turn("a", clock, settings.live(Config::session_ttl)).await;
    sleep(SECOND).await;
    let next = Arc::new(MemoryStore::new(clock));
    a.had(OWNED, "c/x", "1").await;
    a.move_to(&next).await;
    sleep(20 * SECOND).await;
    assert!(stored(&*next, OWNED).await.is_empty(), "its node has the first turn");
    settings.set("session.ttl", "10s");
    sleep(2 * SECOND).await;
    assert_eq!(stored(&*next, OWNED).await, one("c/x", "1", "a"));
}
