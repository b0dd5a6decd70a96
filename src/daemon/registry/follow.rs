//! Keeps the view up to date: loads it, follows the log, and beats the heart of the node's groups.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, timeout};
use tracing::{debug, info, warn};

use super::Registry;
use super::backoff::Backoff;
use super::view::{Applied, View};
use crate::core::time::{Millis, whole_ms};
use crate::daemon::store::{
    Beat, GroupRef, Kind, LogEntry, PAGE_MAX, Pulse, Record, Revision, Scan, Store, StoreError,
};

/// How long one call may wait for the log to grow.
const LOG_WAIT: Duration = Duration::from_secs(20);
/// How long a pulse may go unanswered before the store counts as silent.
const PULSE_TIMEOUT: Duration = Duration::from_millis(400);
/// How often deadlines are asked for, however seldom groups are renewed.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How far back a pulse asks what moved, beyond its predecessor: answers may overtake each other.
const MOVED_SLACK: Duration = Duration::from_millis(250);

/// Loads the view and follows the log for ever.
pub async fn follow_log(registry: Arc<Registry>) {
    let mut backoff = Backoff::new();
    loop {
        let failed = match load(registry.store(), registry.view()).await {
            Ok(()) => follow(&registry, &mut backoff).await,
            Err(error) => Some(error),
        };
        let Some(error) = failed else { continue };
        registry.view().note_silence();
        warn!(error = %chain(&error), "store did not answer");
        backoff.wait().await;
    }
}

/// Follows the log until the view must be loaded again (`None`) or the store fails.
async fn follow(registry: &Registry, backoff: &mut Backoff) -> Option<StoreError> {
    loop {
        let head = registry.view().head();
        let page = match registry.store().log(head.revision, PAGE_MAX, LOG_WAIT).await {
            Ok(page) => page,
            Err(error) => return Some(error),
        };
        *backoff = Backoff::new();
        if page.epoch != head.epoch || page.compacted {
            info!(revision = %head.revision, "view fell behind the log and is loaded again");
            return None;
        }
        for entry in &page.entries {
            if registry.view().apply(entry) == Applied::Gap {
                warn!(revision = %entry.revision, "log has a gap; the view is loaded again");
                return None;
            }
        }
    }
}

/// Reads everything: revision first, then the records, then the log behind that revision.
async fn load(store: &dyn Store, view: &View) -> Result<(), StoreError> {
    let beat = store.pulse(Pulse::default()).await?;
    view.note_beat(&beat);
    let mut records = Vec::new();
    for kind in view.mirrored() {
        read_kind(store, kind, &mut records).await?;
    }
    let Some(log) = read_log(store, &beat).await? else {
        debug!("log was trimmed while the view was being loaded");
        return Ok(());
    };
    let count = records.len();
    view.replace(beat.epoch, beat.head, records, &log);
    info!(records = count, revision = %view.head().revision, "view loaded");
    Ok(())
}

async fn read_kind(store: &dyn Store, kind: &Kind, into: &mut Vec<Record>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let scan = Scan { kind: kind.clone(), after, backwards: false, limit: PAGE_MAX };
        let page = store.scan(scan).await?;
        after = page.records.last().map(|record| record.id.key.clone());
        into.extend(page.records);
        if !page.more || after.is_none() {
            return Ok(());
        }
    }
}

/// The log behind the beat's head; `None` when it no longer reaches back, so the load is void.
async fn read_log(store: &dyn Store, beat: &Beat) -> Result<Option<Vec<Arc<LogEntry>>>, StoreError> {
    let mut entries: Vec<Arc<LogEntry>> = Vec::new();
    loop {
        let after = entries.last().map_or(beat.head, |entry| entry.revision);
        let page = store.log(after, PAGE_MAX, Duration::ZERO).await?;
        if page.compacted || page.epoch != beat.epoch {
            return Ok(None);
        }
        let caught_up = page.entries.is_empty();
        entries.extend(page.entries);
        if caught_up {
            return Ok(Some(entries));
        }
    }
}

/// What became of one heartbeat.
pub enum Heard<'a> {
    /// The store answered; these groups of this node are over.
    Over(&'a [GroupRef]),
    /// It did not answer in time.
    Nothing,
}

/// Renews the node's groups every `renew_every` and learns which deadlines moved at least twice a
/// second, for ever. `after_beat` is called with what became of each beat.
pub async fn beat_heart(registry: Arc<Registry>, renew_every: Duration, after_beat: impl Fn(Heard<'_>)) {
    let mut ticks = tokio::time::interval(renew_every.min(POLL_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked_last = Millis(0);
    let mut renewed: Option<Instant> = None;
    loop {
        let now = ticks.tick().await;
        // A tick may come a little early; half a step is nothing to a deadline.
        let due = renewed.is_none_or(|last| now + POLL_EVERY / 2 >= last + renew_every);
        let renew = if due { registry.own_groups() } else { Vec::new() };
        let epoch = (!renew.is_empty()).then(|| registry.view().head().epoch);
        let pulse = Pulse { epoch, renew: renew.clone(), moved_since: asked_last, ..Pulse::default() };
        match timeout(PULSE_TIMEOUT, registry.store().pulse(pulse)).await {
            Ok(Ok(beat)) => {
                registry.view().note_beat(&beat);
                asked_last = Millis(beat.now.0.saturating_sub(whole_ms(MOVED_SLACK)));
                renewed = if due { Some(now) } else { renewed };
                let over = renew.into_iter().zip(&beat.renewed).filter(|(_, renewed)| renewed.is_none());
                after_beat(Heard::Over(&over.map(|(group, _)| group).collect::<Vec<_>>()));
            }
            // The store answers, but what this node held is void.
            Ok(Err(StoreError::EpochChanged { .. })) => after_beat(Heard::Over(&renew)),
            Ok(Err(error)) => {
                debug!(error = %chain(&error), "pulse failed");
                registry.view().note_silence();
                after_beat(Heard::Nothing);
            }
            Err(_) => {
                registry.view().note_silence();
                after_beat(Heard::Nothing);
            }
        }
    }
}

/// Waits until the view has loaded and has seen `revision`.
pub async fn wait_for(view: &View, revision: Revision) {
    let mut head = view.follow_head();
    // The view lives as long as its registry, so the sender is never gone while we wait.
    let _ = head.wait_for(|head| head.caught_up && head.revision >= revision).await;
}

/// The error and all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
