//! The service manager: told when the daemon is ready, stops, and that its event loop runs.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::stalls::{LOOK_EVERY, LoopStalls};
use sd_notify::{NotifyState, notify, watchdog_enabled};
use tracing::warn;

/// Says something to the service manager that has started this process, if one has that wants to hear.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        warn!(%error, "service manager not told");
    }
}

/// Shows for ever, from the event loop, that it runs: to whoever looks for stalls, and to the watchdog of the service
/// manager. A thread that was held up for half the watchdog's time is as good as a loop that stands still, for what
/// waits behind it goes on nowhere.
pub async fn show_life(stalls: Arc<LoopStalls>) {
    let patience = watchdog_enabled();
    let mut due = Duration::ZERO;
    loop {
        stalls.tick();
        if let Some(patience) = patience
            && due.is_zero()
            && stalls.longest() < patience / 2
        {
            tell(&[NotifyState::Watchdog]);
            due = patience / 4;
        }
        due = due.saturating_sub(LOOK_EVERY);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
