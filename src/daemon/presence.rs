//! Keeps a node present: its heart beats, its record is entered, and silent peers are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::objects::peers::presence::Presence;
use super::registry::Registry;
use super::registry::follow::{Heard, beat_heart, wait_for};
use super::store::Revision;

/// Renews the node's groups every `every` and keeps its record true, for ever.
///
/// The heart does not wait for what follows from a beat: commits may be slower than heartbeats.
pub async fn keep_present(registry: Arc<Registry>, presence: Arc<Presence>, every: Duration) {
    let beaten = Notify::new();
    let missed = AtomicBool::new(false);
    let heart = beat_heart(registry.clone(), every, |heard| match heard {
        Heard::Over(over) => {
            presence.note_over(over);
            beaten.notify_one();
        }
        Heard::Nothing => missed.store(true, Ordering::Relaxed),
    });
    tokio::join!(heart, follow_beats(&registry, &presence, &beaten, &missed));
}

async fn follow_beats(registry: &Registry, presence: &Presence, beaten: &Notify, missed: &AtomicBool) {
    wait_for(registry.view(), Revision(0)).await;
    presence.join("registered").await;
    let mut listening_since = Instant::now();
    let mut last = Instant::now();
    loop {
        beaten.notified().await;
        // After a gap, whether ours or the store's, others first get time to be heard again.
        if missed.swap(false, Ordering::Relaxed) || last.elapsed() > presence.session_ttl() / 2 {
            listening_since = Instant::now();
        }
        last = Instant::now();
        if !presence.has_session() {
            presence.join("resumed").await;
        }
        if listening_since.elapsed() >= presence.session_ttl() {
            presence.judge_others().await;
        }
    }
}
