//! The groups that this node holds, its session among them, and how long it may rely on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnirelay_store::{Epoch, Group, GroupId, GroupRef};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A group of this node.
struct OwnGroup {
    of: GroupRef,
    epoch: Epoch,
    ttl: Duration,
    valid_until: Instant,
    /// As far as the store has confirmed it; `None`: not at all yet.
    confirmed_until: Option<Instant>,
}

/// The groups of this node.
#[derive(Default)]
pub struct HeldGroups {
    own: Mutex<Vec<OwnGroup>>,
    /// How long the lives of groups lived, at most, that this node has opened anew.
    before: Mutex<BTreeMap<GroupId, Duration>>,
    /// False: what the store has granted needs no confirmation.
    confirms: bool,
    /// Told of each new one.
    kept: Notify,
    /// How many renewals were acknowledged.
    renewals: AtomicU64,
}

/// The groups of this node at one instant.
pub struct GroupsByValidity {
    /// May be renewed.
    pub valid: Vec<GroupRef>,
    /// Nobody confirmed them in time, or they are of another epoch: the store may already have given
    /// away what they held, so they are replaced and never renewed, even where it would still do it.
    pub run_out: Vec<GroupRef>,
}

impl HeldGroups {
    /// None yet; those that lead rely on what the store has confirmed, if it confirms.
    pub fn confirming(confirms: bool) -> Self {
        Self { confirms, ..Self::default() }
    }

    /// Renews this life of a group from now on, in place of an older one. `asked` is the instant
    /// before it was opened in `epoch`.
    pub fn keep(&self, group: &Group, epoch: Epoch, asked: Instant) {
        let mut own = self.own.lock();
        own.retain(|kept| kept.of.id != group.of.id);
        let valid_until = valid_until(asked, group.ttl);
        own.push(OwnGroup {
            of: group.of.clone(),
            epoch,
            ttl: group.ttl,
            valid_until,
            confirmed_until: None,
        });
        self.kept.notify_one();
    }

    /// Notes a life of a group that this node has replaced.
    pub fn note_before(&self, life: &Group) {
        let mut before = self.before.lock();
        let longest = before.entry(life.of.id.clone()).or_default();
        *longest = life.ttl.max(*longest);
    }

    /// Longest time to live of the lives of a group that this node has replaced: a former process may have had other
    /// settings.
    pub fn longest_replaced_ttl(&self, id: &GroupId) -> Duration {
        let before = self.before.lock();
        before.get(id).copied().unwrap_or_default()
    }

    /// Waits for a new group, one that nobody has waited for yet.
    pub(super) async fn kept(&self) {
        self.kept.notified().await;
    }

    /// Renews this life of a group no more.
    pub fn drop(&self, group: &GroupRef) {
        self.own.lock().retain(|kept| kept.of != *group);
    }

    /// All of them.
    pub fn all(&self) -> Vec<GroupRef> {
        self.own.lock().iter().map(|own| own.of.clone()).collect()
    }

    /// The life of a group that this node renews, whether it may still rely on it or not.
    pub fn life_of(&self, id: &GroupId) -> Option<GroupRef> {
        self.own.lock().iter().find(|own| own.of.id == *id).map(|own| own.of.clone())
    }

    /// The life of a group of `epoch` that this node may rely on, and until when.
    pub fn valid(&self, id: &GroupId, epoch: Epoch) -> Option<(GroupRef, Instant)> {
        let now = Instant::now();
        let own = self.own.lock();
        let kept = own.iter().find(|own| own.of.id == *id && own.epoch == epoch && now < own.valid_until)?;
        Some((kept.of.clone(), kept.valid_until))
    }

    /// The life of a group of `epoch` that this node may lead by, and until when.
    pub fn confirmed(&self, id: &GroupId, epoch: Epoch) -> Option<(GroupRef, Instant)> {
        if !self.confirms {
            return self.valid(id, epoch);
        }
        let now = Instant::now();
        let own = self.own.lock();
        let kept = own.iter().find(|own| own.of.id == *id && own.epoch == epoch)?;
        let until = kept.confirmed_until.filter(|until| now < *until)?;
        Some((kept.of.clone(), until))
    }

    /// Groups of `epoch` that are there to be confirmed, and the instant until which each is valid.
    pub(super) fn to_confirm(&self, epoch: Epoch) -> Vec<(GroupRef, Instant)> {
        let own = self.own.lock();
        let own = own.iter().filter(|own| own.epoch == epoch);
        own.map(|own| (own.of.clone(), own.valid_until)).collect()
    }

    /// Notes what is confirmed of them.
    pub(super) fn note_confirmed(&self, confirmed: Vec<(GroupRef, Instant)>) {
        let mut own = self.own.lock();
        for (group, until) in confirmed {
            if let Some(own) = own.iter_mut().find(|own| own.of == group) {
                own.confirmed_until = own.confirmed_until.max(Some(until));
            }
        }
    }

    /// Number of renewals that the store has acknowledged since the start.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }

    /// Groups that may be renewed now, in `epoch`, and those that may not.
    pub(super) fn by_validity(&self, epoch: Epoch) -> GroupsByValidity {
        let now = Instant::now();
        let own = self.own.lock();
        let pick = |valid: bool| {
            let picked = own.iter().filter(|own| (own.epoch == epoch && now < own.valid_until) == valid);
            picked.map(|own| own.of.clone()).collect()
        };
        GroupsByValidity { valid: pick(true), run_out: pick(false) }
    }

    /// Notes that a renewal which was sent at `asked` was acknowledged.
    pub(super) fn note_renewed(&self, group: &GroupRef, asked: Instant) {
        if let Some(own) = self.own.lock().iter_mut().find(|own| own.of == *group) {
            own.valid_until = own.valid_until.max(valid_until(asked, own.ttl));
            self.renewals.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Margin by which whoever holds a session, or another group, takes it for over earlier than the store: a quarter of a
/// second, and of a short one an eighth.
pub fn margin(ttl: Duration) -> Duration {
    Duration::from_millis(250).min(ttl / 8)
}

fn valid_until(asked: Instant, ttl: Duration) -> Instant {
    asked + ttl.saturating_sub(margin(ttl))
}
