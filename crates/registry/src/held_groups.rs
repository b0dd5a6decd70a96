//! The groups that this node holds, its session among them, and how long it may rely on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_store::{Epoch, Group, GroupId, GroupRef};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A group of this node.
struct OwnGroup {
    of: GroupRef,
    epoch: Epoch,
    /// How long it lives without a renewal, as the store has it; `None` while that is not known.
    ttl: Option<Duration>,
    valid_until: Instant,
    /// As far as the store has confirmed it; `None`: not at all yet.
    confirmed_until: Option<Instant>,
}

/// The groups of this node.
#[derive(Default)]
pub struct HeldGroups {
    own: Mutex<Vec<OwnGroup>>,
    /// How long they are to live without a renewal; `None`: as long as each was opened for.
    ttl: Mutex<Option<Live<Duration>>>,
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
    /// How long those that are valid are to live from now on, where the store does not have it so.
    pub ttl: Option<Duration>,
}

/// Renewal of a group that the store has acknowledged.
#[derive(Clone, Copy)]
pub(super) struct GroupRenewal {
    /// The instant before it was sent.
    pub asked: Instant,
    /// How long the group lives from then on, if it is not renewed again.
    pub lives_for: Duration,
    /// How long it was asked to live without a renewal.
    pub ttl: Option<Duration>,
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
            // The first renewal tells it, so that a quarantine covers it, whatever the former ones were.
            ttl: None,
            valid_until,
            confirmed_until: None,
        });
        self.kept.notify_one();
    }

    /// Has all of them live for as long as this says by then.
    pub(super) fn live_for(&self, ttl: Live<Duration>) {
        *self.ttl.lock() = Some(ttl);
    }

    /// Whether the store has none of them live otherwise than it is to.
    pub(super) fn has_all_told(&self) -> bool {
        let wanted = self.wanted_ttl();
        self.own.lock().iter().all(|own| wanted.is_none() || own.ttl == wanted)
    }

    fn wanted_ttl(&self) -> Option<Duration> {
        self.ttl.lock().as_ref().map(Live::get)
    }

    /// Notes a life of a group that this node has replaced.
    pub fn note_before(&self, life: &Group) {
        // It may have been to live for less a moment ago, and have been promised more before.
        let lasts = life.ttl.max(life.deadline.since(life.renewed_at));
        let mut before = self.before.lock();
        let longest = before.entry(life.of.id.clone()).or_default();
        *longest = lasts.max(*longest);
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
        let (now, wanted) = (Instant::now(), self.wanted_ttl());
        let own = self.own.lock();
        let is_valid = |own: &OwnGroup| own.epoch == epoch && now < own.valid_until;
        let pick = |valid: bool| {
            let picked = own.iter().filter(|own| is_valid(own) == valid);
            picked.map(|own| own.of.clone()).collect()
        };
        let is_told = own.iter().filter(|own| is_valid(own)).all(|own| own.ttl == wanted);
        GroupsByValidity { valid: pick(true), run_out: pick(false), ttl: wanted.filter(|_| !is_told) }
    }

    /// Notes that the store is asked to have these live for another time: until it answers, nobody knows whether they do.
    pub(super) fn note_asked(&self, groups: &[GroupRef]) {
        self.own.lock().iter_mut().filter(|own| groups.contains(&own.of)).for_each(|own| own.ttl = None);
    }

    /// Notes that a renewal was acknowledged.
    pub(super) fn note_renewed(&self, group: &GroupRef, renewal: GroupRenewal) {
        let GroupRenewal { asked, lives_for, ttl } = renewal;
        if let Some(own) = self.own.lock().iter_mut().find(|own| own.of == *group) {
            own.valid_until = own.valid_until.max(valid_until(asked, lives_for));
            own.ttl = ttl.or(own.ttl);
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
