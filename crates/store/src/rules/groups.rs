//! Groups: lives that end at a deadline.

use std::collections::HashMap;
use std::time::Duration;

use omnirelay_core::time::Millis;
use sha2::{Digest, Sha256};

use super::super::{
    Epoch, Group, GroupId, GroupRef, OpenGroup, OpenedGroup, Pulse, PulseAnswer, StoreError, limits,
};
use super::{ChangeDurability, GroupTable, GroupTableMut, ReplacedLife, ReplacedLives, Step, TablesMut};

/// Groups in no order: there may be many, whose ids begin alike, and each renewal looks for one.
pub(crate) type Groups = HashMap<GroupId, GroupState>;

/// A group's current life, and what is left of those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupState {
    pub instance: u64,
    pub ttl: Duration,
    pub deadline: Millis,
    /// When it was opened or renewed last.
    pub renewed_at: Millis,
    pub closed: bool,
    /// Its end was acted upon: no restart gives it time again.
    pub ended: bool,
    /// It was given time because nobody knew any more how long it had; not again before it is renewed.
    pub spared: bool,
    pub secret_hash: [u8; 32],
    /// The lives before whose leases pass to nobody yet. Their deadlines do not move any more:
    /// they were written with the opening that ended them, so a restart has nothing to make good.
    pub replaced: ReplacedLives,
    /// No record is bound to an instance up to this one.
    pub swept_through: u64,
}

impl GroupState {
    pub(crate) fn is_live(&self, now: Millis) -> bool {
        !self.closed && now < self.deadline
    }

    /// The newest instance that is over at `now`.
    pub(crate) fn over_through(&self, now: Millis) -> u64 {
        if self.is_live(now) { self.instance.saturating_sub(1) } else { self.instance }
    }

    /// Makes good for renewals that were lost with the machine's memory: a life that had not visibly ended gets one
    /// full TTL from `now`, once. Its renewals went on until about `heard`, when the store was last known to hear any.
    /// Whether that has changed anything, which must be durable before anybody is told.
    pub(crate) fn spare(&mut self, now: Millis, heard: Millis) -> bool {
        if self.closed || self.ended || self.spared {
            return false;
        }
        self.deadline = self.deadline.max(now.after(self.ttl));
        self.renewed_at = self.renewed_at.max(heard.min(now));
        self.spared = true;
        true
    }

    /// Takes over what `known`, the same group in memory, knows of renewals that were not written.
    pub(crate) fn remember(&mut self, known: &Self) {
        if known.instance != self.instance || self.closed || self.ended {
            return;
        }
        self.prolong(known.deadline, known.renewed_at);
        self.swept_through = self.swept_through.max(known.swept_through);
    }

    /// Takes over a renewal of this very life.
    pub(crate) fn prolong(&mut self, deadline: Millis, renewed_at: Millis) {
        if !self.closed && !self.ended {
            self.deadline = self.deadline.max(deadline);
            self.renewed_at = self.renewed_at.max(renewed_at);
        }
    }

    fn moved_at(&self) -> Millis {
        if self.closed { self.deadline } else { self.renewed_at }
    }

    fn shown(&self, id: &GroupId) -> Group {
        Group {
            of: GroupRef { id: id.clone(), instance: self.instance },
            ttl: self.ttl,
            deadline: self.deadline,
            renewed_at: self.renewed_at,
            closed: self.closed,
        }
    }
}

/// Hash of a secret, which alone is kept of it.
pub(crate) fn secret_hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// True when the life `of` a group is over at `now`.
///
/// A life that `tables` does not know yet counts as live: a reader may see a record a moment
/// before it sees the group that was opened for it.
pub(super) fn is_over(tables: &impl GroupTable, of: &GroupRef, now: Millis) -> bool {
    tables.group(&of.id).is_some_and(|group| group.over_through(now) >= of.instance)
}

impl<T: GroupTableMut> Step<'_, T> {
    pub(crate) fn pulse(&mut self, pulse: &Pulse) -> Result<PulseAnswer, StoreError> {
        limits::pulse(pulse)?;
        pulse.epoch.iter().try_for_each(|epoch| self.check_epoch(*epoch))?;
        if !pulse.renew.is_empty() {
            self.state.hear(self.tables, self.now, pulse.grace);
        }
        let mut renewed = Vec::with_capacity(pulse.renew.len());
        for of in &pulse.renew {
            renewed.push(self.renew(of, pulse.ttl)?);
        }
        let mut moved = Vec::new();
        // Whoever refreshes asks for nothing: of many groups that is most of the work.
        if pulse.moved_since < Millis(u64::MAX) {
            self.tables.visit_groups(&mut |id, group| {
                if group.moved_at() >= pulse.moved_since {
                    moved.push(group.shown(id));
                }
            });
            moved.sort_by(|one, other| one.of.id.cmp(&other.of.id));
        }
        Ok(PulseAnswer {
            now: self.now,
            epoch: self.state.epoch,
            head: self.state.head,
            renewed,
            moved,
            quarantine_until: self.state.quarantine_until,
            grace: self.state.grace_at(self.tables, self.now),
        })
    }

    /// The group if this very life of it is live.
    pub(super) fn live_group(&self, of: &GroupRef) -> Option<GroupState> {
        self.tables.group(&of.id).filter(|group| group.instance == of.instance && group.is_live(self.now))
    }

    /// The first renewal after a group was spared is durable: without it another loss would find it spared already, and
    /// end it before its time. So is one that gives it another time to live, by which a restart spares it.
    fn renew(&mut self, of: &GroupRef, ttl: Option<Duration>) -> Result<Option<Millis>, StoreError> {
        let Some(mut group) = self.live_group(of) else { return Ok(None) };
        let has_other_ttl = ttl.is_some_and(|ttl| ttl != group.ttl);
        group.ttl = ttl.unwrap_or(group.ttl);
        group.deadline = group.deadline.max(self.now.after(group.ttl));
        group.renewed_at = self.now;
        let is_durable = group.spared || has_other_ttl;
        let keep = if is_durable { ChangeDurability::Durably } else { ChangeDurability::WhileRunning };
        group.spared = false;
        let deadline = group.deadline;
        self.tables.put_group(&of.id, group, keep)?;
        Ok(Some(deadline))
    }
}

impl<T: TablesMut> Step<'_, T> {
    pub(crate) fn open_group(&mut self, open: &OpenGroup) -> Result<OpenedGroup, StoreError> {
        limits::open_group(open)?;
        self.check_epoch(open.epoch)?;
        let secret_hash = secret_hash(&open.secret);
        let old = self.tables.group(&open.id);
        let old = old.as_ref();
        let mut replaced = old.map(|old| old.replaced.at(self.now)).unwrap_or_default();
        if let Some(live) = old.filter(|old| old.is_live(self.now)) {
            if live.secret_hash != secret_hash {
                return Ok(OpenedGroup::Held { until: live.deadline });
            }
            let life = ReplacedLife { instance: live.instance, until: live.deadline };
            if let Err(until) = replaced.add(life) {
                return Ok(OpenedGroup::Held { until: until.min(live.deadline) });
            }
        }
        let floor = self.state.instance_floor;
        let group = GroupState {
            instance: old.map_or(floor, |old| old.instance).saturating_add(1),
            ttl: open.ttl,
            deadline: self.now.after(open.ttl),
            renewed_at: self.now,
            closed: false,
            ended: false,
            spared: false,
            secret_hash,
            replaced,
            swept_through: old.map_or(floor, |old| old.swept_through),
        };
        let shown = group.shown(&open.id);
        self.tables.put_group(&open.id, group, ChangeDurability::Durably)?;
        Ok(OpenedGroup::Open(shown))
    }

    pub(crate) fn close_group(&mut self, epoch: Epoch, of: &GroupRef) -> Result<bool, StoreError> {
        self.check_epoch(epoch)?;
        let Some(mut group) = self.live_group(of) else { return Ok(false) };
        group.closed = true;
        group.deadline = self.now;
        self.tables.put_group(&of.id, group, ChangeDurability::Durably)?;
        Ok(true)
    }

    /// Writes down that somebody acted upon the end of this life, so that no restart revives it.
    pub(super) fn keep_end(&mut self, of: &GroupRef) -> Result<(), StoreError> {
        let Some(mut group) = self.tables.group(&of.id) else { return Ok(()) };
        if group.instance != of.instance || group.closed || group.ended {
            return Ok(());
        }
        group.ended = true;
        self.tables.put_group(&of.id, group, ChangeDurability::Durably)
    }
}
