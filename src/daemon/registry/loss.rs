//! What a new epoch has cost: the records that this daemon held and that are gone or older now.
//!
//! Each daemon restores what it owns: whoever owns a record asks [`Losses::of`] what it was and
//! writes it again. The rest stays gone, is counted and told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::view::{View, ViewRecord};
use crate::core::time::{Millis, rfc3339};
use crate::daemon::store::{Epoch, Kind, Record, RecordId, Revision};

/// How long a lost record is held for its owner.
const HELD_FOR: Duration = Duration::from_secs(600);
/// How long a new epoch is told of.
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many new epochs are told of at once.
const TOLD_MAX: usize = 8;

/// A new epoch, as the view met it.
pub struct EpochChange {
    pub before: Epoch,
    pub after: Epoch,
    pub lost: Vec<Lost>,
}

/// A record of the epoch before.
pub struct Lost {
    pub held: Arc<ViewRecord>,
    /// The copy in the new epoch, which is older or another; `None` if there is none.
    pub found: Option<Revision>,
    /// Somebody has written it anew in the new epoch: nothing is left to restore.
    pub rewritten: bool,
}

/// How far the view had come in the epoch before.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub revision: Revision,
    /// Store time of the last answer.
    pub at: Millis,
}

/// A new epoch and what it has cost, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub epoch_before: Epoch,
    pub epoch: Epoch,
    /// When this daemon met it, by store time.
    pub at: Millis,
    pub lost: BTreeMap<Kind, usize>,
    pub restored: usize,
}

/// A lost record that may be restored.
struct Held {
    record: Arc<ViewRecord>,
    found: Option<Revision>,
    epoch: Epoch,
    since: Instant,
}

struct Told {
    loss: Loss,
    since: Instant,
    recorded: bool,
}

#[derive(Default)]
struct Inner {
    told: VecDeque<Told>,
    held: BTreeMap<RecordId, Held>,
    totals: Totals,
}

/// Counts since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub changes: u64,
    pub lost: BTreeMap<Kind, u64>,
}

/// What new epochs have cost since this daemon started.
#[derive(Default)]
pub struct Losses(Mutex<Inner>);

impl Lost {
    /// Compares a record with its copy in the new epoch; `None`: nothing of it is lost.
    pub(super) fn of(held: &Arc<ViewRecord>, copy: Option<&Record>, reach: Reach) -> Option<Self> {
        let was = &held.record;
        let Some(copy) = copy else {
            return Some(Self { held: held.clone(), found: None, rewritten: false });
        };
        let other = copy.value != was.value;
        let behind = copy.version < was.version;
        let forked = other && (copy.version == was.version || copy.revision < was.revision);
        if !behind && !forked {
            return None;
        }
        // What the old epoch had not shown by its last answer is somebody's newer word.
        let rewritten = copy.revision > reach.revision || copy.updated_at > reach.at.max(was.updated_at);
        Some(Self { held: held.clone(), found: Some(copy.revision), rewritten })
    }
}

impl Losses {
    /// The newest that is known of a record, if the new epoch has lost it and nobody has written
    /// it since.
    pub fn of(&self, view: &View, id: &RecordId) -> Option<Arc<ViewRecord>> {
        let (record, found) = self.lock().held.get(id).map(|held| (held.record.clone(), held.found))?;
        (shown(view, id) == found).then_some(record)
    }

    /// The new epochs of the last day, the oldest first.
    pub fn told(&self, view: &View) -> Vec<Loss> {
        self.settle(view);
        self.lock().told.iter().map(|told| told.loss.clone()).collect()
    }

    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    /// The new epochs that no audit record tells of yet.
    pub(super) fn unrecorded(&self, view: &View) -> Vec<Loss> {
        self.settle(view);
        let inner = self.lock();
        inner.told.iter().filter(|told| !told.recorded).map(|told| told.loss.clone()).collect()
    }

    pub(super) fn note_recorded(&self, epoch: Epoch) {
        let mut inner = self.lock();
        inner.told.iter_mut().filter(|told| told.loss.epoch == epoch).for_each(|told| told.recorded = true);
    }

    /// Releases what was written again, what nobody wanted, and what has been told long enough.
    pub(super) fn settle(&self, view: &View) {
        // The view notes a new epoch under its own lock, so it is not asked under this one.
        let held: Vec<_> = self.lock().held.iter().map(|(id, held)| (id.clone(), held.epoch)).collect();
        let now: Vec<_> = held.into_iter().map(|(id, epoch)| (shown(view, &id), id, epoch)).collect();
        let mut inner = self.lock();
        for (shown, id, epoch) in now {
            inner.settle(&id, epoch, shown);
        }
        inner.told.retain(|told| told.since.elapsed() < TOLD_FOR);
    }

    /// Notes a new epoch that the view met at `at`.
    pub(super) fn note(&self, change: EpochChange, at: Millis) {
        let (since, epoch) = (Instant::now(), change.after);
        let mut loss = Loss { epoch_before: change.before, epoch, at, lost: BTreeMap::new(), restored: 0 };
        let mut inner = self.lock();
        inner.totals.changes += 1;
        for Lost { held: record, found, rewritten } in change.lost {
            let id = record.record.id.clone();
            *loss.lost.entry(id.kind.clone()).or_default() += 1;
            *inner.totals.lost.entry(id.kind.clone()).or_default() += 1;
            if rewritten {
                loss.restored += 1;
                continue;
            }
            // What an earlier change has cost, and nobody has restored yet, was newer.
            let newest = inner.held.remove(&id).map_or(record, |held| held.record);
            inner.held.insert(id, Held { record: newest, found, epoch, since });
        }
        loss.say();
        inner.told.push_back(Told { loss, since, recorded: false });
        if inner.told.len() > TOLD_MAX {
            inner.told.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Releases a record that was lost to `epoch` and stands at `shown` now, unless it is as it was
    /// found.
    fn settle(&mut self, id: &RecordId, epoch: Epoch, shown: Option<Revision>) {
        let Some(held) = self.held.get(id).filter(|held| held.epoch == epoch) else { return };
        let written = shown != held.found;
        if !written && held.since.elapsed() < HELD_FOR {
            return;
        }
        self.held.remove(id);
        // Whoever wrote it has the last word; so has who deleted the older copy.
        if let Some(told) = self.told.iter_mut().find(|told| told.loss.epoch == epoch) {
            told.loss.restored += usize::from(written && shown.is_some());
        }
    }
}

/// Where the view shows a record now.
fn shown(view: &View, id: &RecordId) -> Option<Revision> {
    view.get(id).map(|now| now.record.revision)
}

impl Loss {
    /// How many records were lost.
    pub fn count(&self) -> usize {
        self.lost.values().sum()
    }

    /// The lines of its audit record.
    pub fn lines(&self) -> Vec<String> {
        let epochs = format!("epoch: {:x} -> {:x}", self.epoch_before.0, self.epoch.0);
        let lost = self.lost.iter().map(|(kind, count)| format!("{kind}: {count} lost"));
        let restored = (self.count() > 0).then(|| format!("restored so far: {}", self.restored));
        std::iter::once(epochs).chain(lost).chain(restored).collect()
    }

    fn say(&self) {
        let (before, epoch) = (format!("{:x}", self.epoch_before.0), format!("{:x}", self.epoch.0));
        if self.count() == 0 {
            info!(before, epoch, "registry began a new epoch; nothing was lost");
        } else {
            let lost = self.kinds();
            warn!(before, epoch, lost, "registry began a new epoch; records were lost");
        }
    }

    fn kinds(&self) -> String {
        let kinds = self.lost.iter().map(|(kind, count)| format!("{count} {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the registry began epoch {:x} at {}: ", self.epoch.0, rfc3339(self.at))?;
        match self.count() {
            0 => f.write_str("nothing was lost"),
            1 => write!(f, "1 record was lost ({}), {} restored", self.kinds(), self.restored),
            count => write!(f, "{count} records were lost ({}), {} restored", self.kinds(), self.restored),
        }
    }
}
