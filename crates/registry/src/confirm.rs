//! Has the store confirm what leaders rely on, in the rhythm of renewals and whenever a lease is granted.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_store::{CommitError, Confirmation, StoreError};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::Registry;
use super::audit_record;

/// How long a confirmation may take before the next is asked for.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// How soon it is asked again after one that was not given.
const AGAIN: Duration = Duration::from_millis(100);
/// How soon it is asked again for what was committed in the millisecond of the last one.
const SOON: Duration = Duration::from_millis(20);
/// How soon behind another one comes: what is granted meanwhile is confirmed together.
const APART: Duration = Duration::from_millis(5);

/// What a daemon records that has seen two leaders of a scope.
const SPLIT_SEEN: &str = "leaders.split-seen";

/// Counts of the confirmations of leases: replicas that have what was granted, and how often they were too few.
#[derive(Default)]
pub struct LeaseConfirmationCounts {
    /// How many replicas have what was granted, and must; 0 of 0 while all is confirmed.
    has: AtomicU32,
    needs: AtomicU32,
    lacked: AtomicU64,
}

impl LeaseConfirmationCounts {
    /// Numbers of replicas that have what was granted last, and that must have it, while they are too few.
    pub fn lacking(&self) -> Option<(u32, u32)> {
        let needs = self.needs.load(Ordering::Relaxed);
        (needs > 0).then(|| (self.has.load(Ordering::Relaxed), needs))
    }

    /// Number of times since the start that replicas came to be too few.
    pub fn lacked(&self) -> u64 {
        self.lacked.load(Ordering::Relaxed)
    }

    fn note(&self, has: u32, needs: u32) {
        self.has.store(has, Ordering::Relaxed);
        let before = self.needs.swap(needs, Ordering::Relaxed);
        match (before, needs) {
            (0, 1..) => {
                self.lacked.fetch_add(1, Ordering::Relaxed);
                warn!(
                    has,
                    needs,
                    runbook = "docs/runbooks/leadership.md",
                    "too few replicas have what was granted; leaders end unless more have it in time"
                );
            }
            (1.., 0) => info!("enough replicas have what was granted again"),
            (_, _) => {}
        }
    }
}

/// Has leases and renewals confirmed for ever; returns at once where the store confirms nothing.
pub async fn confirm_leases(registry: &Registry) {
    if !registry.store().confirms() {
        return;
    }
    loop {
        registry.view().confirmation_asked().await;
        while !confirm_once(registry).await {
            let _ = timeout(AGAIN, registry.view().confirmation_asked()).await;
        }
        sleep(APART).await;
    }
}

/// False: it was not confirmed.
async fn confirm_once(registry: &Registry) -> bool {
    let (view, begun) = (registry.view(), Instant::now());
    if !view.head().caught_up || view.connectivity().is_silent() {
        return false;
    }
    // What was renewed and granted by now; of what comes meanwhile the next one tells.
    let (asked, own) = (view.to_confirm(), registry.held_groups().to_confirm(view.head().epoch));
    let epoch = asked.epoch;
    let late = |_| Err(StoreError::Unavailable("no answer in time".into()));
    match timeout(CONFIRM_MAX, registry.store().confirm(epoch)).await.unwrap_or_else(late) {
        Ok(Confirmation::Through(through)) => {
            registry.held_groups().note_confirmed(own);
            view.note_confirmed(asked, through);
            registry.confirmations().note(0, 0);
            return true;
        }
        Ok(Confirmation::Lacking { has, needs }) => {
            debug!(has, needs, duration_ms = begun.elapsed().as_millis(), "not confirmed");
            registry.confirmations().note(has, needs);
        }
        Err(error) => {
            debug!(error = %chain(&error), "confirmation failed");
            view.connectivity().heed(&error);
        }
    }
    false
}

impl Registry {
    /// Counts of the confirmations of leases.
    pub fn confirmations(&self) -> &LeaseConfirmationCounts {
        &self.confirmations
    }

    /// Waits until what was committed at `at` would outlive the server that took it, for [`CONFIRM_MAX`] at most; at once where
    /// the store is in one place. False: it was not confirmed.
    pub async fn outlives(&self, at: Millis) -> bool {
        let until = Instant::now() + CONFIRM_MAX;
        loop {
            self.view().ask_confirmation();
            let left = until.saturating_duration_since(Instant::now());
            if self.view().confirmed(at, SOON.min(left)).await {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }

    /// Leaves an audit record of each split of leadership that this daemon has seen.
    ///
    /// # Errors
    /// Those of the store; call it again then.
    pub async fn record_splits(&self) -> Result<(), CommitError> {
        while let Some(split) = self.view().unrecorded_split() {
            let object = format!("leadership/{}", split.scope);
            let body = audit_record::own_body(self.node_id(), SPLIT_SEEN, object, split.lines());
            let id = format!("{}/{}", split.scope, split.token);
            self.record_once(SPLIT_SEEN, body, id, split.token).await?;
            self.view().note_recorded_split(&split);
        }
        Ok(())
    }
}
