//! Keeps a node present: its heart beats, its record is entered, and silent peers are judged.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_host::live::Live;
use omnirelay_peer_records::presence::Presence;
use omnirelay_registry::Registry;
use omnirelay_registry::confirm::confirm_leases;
use omnirelay_registry::follow::in_time;
use omnirelay_registry::heartbeat::{BeatOutcome, HeartbeatPace, beat_heart};
use tracing::debug;

use crate::verdicts::SilenceVerdicts;

/// How long the audit record of a new epoch may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Renews the node's groups every `every` and keeps its record true, for ever. That interval and the settings of `presence` are of
/// one configuration, where they may change.
///
/// The heart does not wait for what follows from a beat: commits may be slower than heartbeats.
pub async fn keep_present(
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    every: impl Into<Live<Duration>>,
) {
    let (every, settings) = (every.into(), presence.clone());
    let pace = every.map(move |renew_every| HeartbeatPace { renew_every, grace: settings.session_ttl() });
    let heart = beat_heart(&registry, pace, |heard| match heard {
        BeatOutcome::Over(over) => presence.note_over(&over),
        BeatOutcome::Nothing => presence.note_silence(),
    });
    let verdicts = SilenceVerdicts::new(registry.clone(), presence.clone(), every);
    tokio::join!(heart, follow_beats(&registry, &presence), verdicts.run(), confirm_leases(&registry));
}

/// Acts after each answered beat, and only then: while the store is silent there is nothing to
/// do, and once it is heard again every moment counts.
async fn follow_beats(registry: &Registry, presence: &Presence) {
    let look = async |reason| {
        if !presence.join(reason).await {
            return (reason, None);
        }
        if registry.is_full() {
            presence.try_for_room().await;
        }
        record_epochs(registry).await;
        ("resumed", None)
    };
    registry.react_with("registered", |view| view.connectivity().beats(), look).await;
}

/// Says in the audit trail what a new epoch has cost, once this node is there again.
async fn record_epochs(registry: &Registry) {
    if let Err(error) = in_time(RECORD_TIMEOUT, registry.record_epochs()).await {
        debug!(error = %chain(&error), "a new epoch was not recorded; trying again");
    }
    if let Err(error) = in_time(RECORD_TIMEOUT, registry.record_splits()).await {
        debug!(error = %chain(&error), "a split of leadership was not recorded; trying again");
    }
}
