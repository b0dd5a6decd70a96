//! Keeps a node present: its heart beats, its record is entered, and silent peers are judged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::objects::peers::presence::Presence;
use super::registry::Registry;
use super::registry::follow::{beat_heart, wait_for};
use super::store::Revision;

/// Renews the node's groups every `every` and keeps its record true, for ever.
///
/// The heart does not wait for what follows from a beat: commits may be slower than heartbeats.
pub async fn keep_present(registry: Arc<Registry>, presence: Arc<Presence>, every: Duration) {
    let beaten = Notify::new();
    let heart = beat_heart(registry.clone(), every, |over| {
        presence.note_over(over);
        beaten.notify_one();
    });
    tokio::join!(heart, follow_beats(&registry, &presence, &beaten));
}

async fn follow_beats(registry: &Registry, presence: &Presence, beaten: &Notify) {
    wait_for(registry.view(), Revision(0)).await;
    presence.join("registered").await;
    let mut listening_since = Instant::now();
    let mut last = Instant::now();
    loop {
        beaten.notified().await;
        // After a gap, whether ours or the store's, others first get time to be heard again.
        if last.elapsed() > presence.session_ttl() {
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
