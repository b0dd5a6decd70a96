//! Losses of an epoch: the records that this daemon held and that are gone or older in the new one.
//!
//! Each kind says who restores it ([`RestoredBy`]), and [`NewEpochLosses::lost`] what that is; whoever does so says it to
//! [`NewEpochLosses::note_restored`]. The rest stays gone, is counted and told. The owner of a record is the node that its key
//! names: all of the key, or what stands before its first `/`.

mod missing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_store::{
    AcceptedLoss, Epoch, Record, RecordChange, RecordId, RecordKind, Revision, StoreError, Version,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Registry;
use super::view::{View, ViewRecord};
use missing::ReleaseReason;
pub use missing::{FollowedSpan, LostRecord, LostRecords, RestorationRule, RestoredBy};

/// How long a lost record is held of which there is another copy, or which its part restores.
const HELD_FOR: Duration = Duration::from_secs(600);
/// What restores what a new epoch has lost.
pub const RESTORE: &str = "registry.restore";
/// How long a new epoch is told of.
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many writes of one record in the new epoch are followed back at most.
const WRITES_BACK_MAX: usize = 64;
/// How many new epochs are told of at once.
const TOLD_MAX: usize = 8;

/// A new epoch, as the view met it.
pub struct EpochChange {
    pub before: Epoch,
    pub after: Epoch,
    /// How far the view had come in the epoch before.
    pub reached: Revision,
    pub lost: Vec<LostEpochRecord>,
}

/// A record of the epoch before.
pub struct LostEpochRecord {
    pub held: Arc<ViewRecord>,
    /// The copy in the new epoch, which is older or another; `None` if there is none.
    pub found: Option<Record>,
    pub(super) reach: ViewReach,
}

/// A lost record, as its owner gets it.
pub struct ToRestore {
    /// The newest that is known of it.
    pub record: Arc<ViewRecord>,
    /// The copy in the new epoch, when the view first saw it.
    found: Option<Record>,
    reach: ViewReach,
    since: Instant,
}

/// Record with which the new epoch began, before anybody changed it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EpochStartRecord {
    Record(Record),
    /// There was no such record, and there is none.
    Absent,
    /// There was no such record until this one was written.
    Begun(Record),
    /// The log does not tell.
    Unknown,
}

/// Reach of the view in the epoch before: how far it had come.
#[derive(Clone, Copy)]
pub(super) struct ViewReach {
    pub revision: Revision,
    /// Store time of the last answer.
    pub at: Millis,
}

/// A new epoch and what it has cost, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochLoss {
    pub epoch_before: Epoch,
    pub epoch: Epoch,
    /// When this daemon met it, by store time.
    pub at: Millis,
    pub lost: BTreeMap<RecordKind, usize>,
    pub restored: usize,
    /// What is lost of the epoch before uncounted, and an operator has accepted.
    pub accepted: Option<AcceptedLoss>,
}

/// What is said of an epoch that was lost whole.
const EVERYTHING: &str =
    "everything before it was lost with the store file, which was accepted with --accept-data-loss";
/// What is said of an epoch whose last changes were lost.
const NEWEST: &str =
    "its newest changes were lost with the log of the store, which was accepted with --accept-data-loss";

/// A lost record that may be restored.
struct RestorableRecord {
    record: Arc<ViewRecord>,
    found: Option<Record>,
    reach: ViewReach,
    epoch: Epoch,
    since: Instant,
}

/// Notice of a new epoch and what it has cost, and whether the trail has it.
struct LossNotice {
    loss: EpochLoss,
    since: Instant,
    recorded: bool,
}

/// Losses so far, and the records that may be restored.
#[derive(Default)]
struct LossState {
    told: VecDeque<LossNotice>,
    held: BTreeMap<RecordId, RestorableRecord>,
    totals: LossTotals,
    /// Where the view began.
    began: Revision,
    /// How far the view had come when the present epoch began, if it was there then.
    followed: Option<(Epoch, Revision, Instant)>,
}

/// Counts since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossTotals {
    pub changes: u64,
    pub lost: BTreeMap<RecordKind, u64>,
}

/// Losses by new epochs since this daemon started.
pub struct NewEpochLosses {
    node_id: String,
    /// Kinds of which nothing is told or held.
    untold: Vec<RecordKind>,
    /// How kinds come back, by what belongs together, in their order.
    restored: Vec<Vec<RestorationRule>>,
    inner: Mutex<LossState>,
}

impl ToRestore {
    /// A record of a snapshot: whatever is there was written since.
    pub fn of_snapshot(record: Arc<ViewRecord>) -> Self {
        let reach = ViewReach { revision: Revision(0), at: Millis(0) };
        Self { record, found: None, reach, since: Instant::now() }
    }

    /// Whether this version is still the copy that the new epoch began with.
    pub fn is_untouched(&self, version: Version) -> bool {
        self.found.as_ref().is_some_and(|found| found.version == version)
    }

    /// Instant since which it has been known to be lost.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Revision that the view had reached in the epoch that had the record.
    pub fn reached(&self) -> Revision {
        self.reach.revision
    }

    /// Whether a copy of it, or the trace of its deletion, was written in the new epoch.
    pub fn is_older_than(&self, copy: &Record) -> bool {
        self.reach.is_passed(copy, &self.record.record)
    }
}

impl ViewReach {
    /// Whether a copy was written in the new epoch: what the old one had not shown by its last answer is
    /// somebody's newer word.
    fn is_passed(&self, copy: &Record, was: &Record) -> bool {
        copy.revision > self.revision || copy.updated_at > self.at.max(was.updated_at)
    }
}

impl LostEpochRecord {
    /// Compares a record with its copy in the new epoch; `None`: nothing of it is lost.
    pub(super) fn of(held: &Arc<ViewRecord>, copy: Option<&Record>, reach: ViewReach) -> Option<Self> {
        let was = &held.record;
        let found = copy.cloned();
        if let Some(copy) = copy {
            let other = copy.value != was.value;
            let behind = copy.version < was.version;
            let forked = other && (copy.version == was.version || copy.revision < was.revision);
            if !behind && !forked {
                return None;
            }
        }
        Some(Self { held: held.clone(), found, reach })
    }

    /// Whether what was found is what was held: somebody has put it back.
    fn is_as_it_was(&self) -> bool {
        self.found.as_ref().is_some_and(|copy| copy.value == self.held.record.value)
    }

    /// Whether something else was found.
    fn is_older_copy(&self) -> bool {
        self.found.is_some() && !self.is_as_it_was()
    }

    /// Whether its owner has written it in the new epoch.
    fn is_written_by_owner(&self) -> bool {
        let was = &self.held.record;
        self.found.as_ref().is_some_and(|copy| self.reach.is_passed(copy, was) && is_owners(copy))
    }
}

/// Whether the owner of a record wrote it last.
fn is_owners(record: &Record) -> bool {
    &*record.writer == owner(&record.id)
}

/// The node that owns a record: what stands in its key before the first `/`, the whole key when there is none.
fn owner(id: &RecordId) -> &str {
    id.key.split_once('/').map_or(id.key.as_str(), |(node, _)| node)
}

impl RestorableRecord {
    fn to_restore(&self) -> ToRestore {
        let Self { record, found, reach, since, .. } = self;
        ToRestore { record: record.clone(), found: found.clone(), reach: *reach, since: *since }
    }
}

impl NewEpochLosses {
    /// The losses of a node's daemon.
    pub fn new(node_id: impl Into<String>) -> Self {
        let (untold, restored) = (Vec::new(), Vec::new());
        Self { node_id: node_id.into(), untold, restored, inner: Mutex::default() }
    }

    /// Counts what is lost of these kinds, and neither tells nor holds it.
    pub(super) fn untold(self, untold: &[RecordKind]) -> Self {
        Self { untold: untold.to_vec(), ..self }
    }

    /// Lost record that is known of under this id: the new epoch has lost it, and its owner has not restored it yet.
    /// One whose older copy was deleted since is not to be restored: who deletes it has the last word.
    pub fn of(&self, view: &View, id: &RecordId) -> Option<ToRestore> {
        let shown = view.get(id);
        let mut inner = self.inner.lock();
        let held = inner.held.get(id)?;
        if held.found.is_some() && shown.is_none() {
            inner.held.remove(id);
            return None;
        }
        Some(held.to_restore())
    }

    /// The records of a kind that are lost and not restored.
    pub fn lost_of(&self, kind: &RecordKind) -> Vec<RecordId> {
        self.inner.lock().held.keys().filter(|id| id.kind == *kind).cloned().collect()
    }

    /// The records of a kind that are lost, not restored, and this node's own.
    pub fn own_of(&self, kind: &RecordKind) -> Vec<RecordId> {
        let inner = self.inner.lock();
        let own = inner.held.keys().filter(|id| id.kind == *kind && owner(id) == self.node_id);
        own.cloned().collect()
    }

    /// Notes that somebody has written or deleted a record in the new epoch, whose word stands.
    pub fn note_superseded(&self, id: &RecordId) {
        self.inner.lock().held.remove(id);
    }

    /// Notes that a record is there again: this node has restored it, or seen that somebody has.
    pub fn note_restored(&self, id: &RecordId) {
        let mut inner = self.inner.lock();
        if let Some(held) = inner.held.remove(id) {
            inner.count_restored(held.epoch);
        }
    }

    /// The new epochs of the last day, the oldest first.
    pub fn told(&self, view: &View) -> Vec<EpochLoss> {
        self.settle(view);
        self.inner.lock().told.iter().map(|told| told.loss.clone()).collect()
    }

    /// Counts since the start.
    pub fn totals(&self) -> LossTotals {
        self.inner.lock().totals.clone()
    }

    /// The new epochs that no audit record tells of yet.
    pub(super) fn unrecorded(&self, view: &View) -> Vec<EpochLoss> {
        self.settle(view);
        let inner = self.inner.lock();
        inner.told.iter().filter(|told| !told.recorded).map(|told| told.loss.clone()).collect()
    }

    pub(super) fn note_recorded(&self, epoch: Epoch) {
        let mut inner = self.inner.lock();
        inner.told.iter_mut().filter(|told| told.loss.epoch == epoch).for_each(|told| told.recorded = true);
    }

    /// Releases what was written again, what nobody wanted, and what has been told long enough.
    pub(super) fn settle(&self, view: &View) {
        // The view notes a new epoch under its own lock, so it is not asked under this one.
        let held: Vec<_> = self.inner.lock().held.iter().map(|(id, held)| (id.clone(), held.epoch)).collect();
        let now: Vec<_> = held.into_iter().map(|(id, epoch)| (view.get(&id), id, epoch)).collect();
        let wholes: BTreeMap<RecordId, Arc<ViewRecord>> = self.wholes(view);
        let mut inner = self.inner.lock();
        let made_anew = inner.made_anew(&wholes);
        for (shown, id, epoch) in now {
            let Some(held) = inner.held.get(&id).filter(|held| held.epoch == epoch) else { continue };
            if let Some(reason) = self.release_reason(held, shown.as_deref().map(|now| &now.record)) {
                inner.held.remove(&id);
                if reason == ReleaseReason::Restored {
                    inner.count_restored(epoch);
                }
            }
        }
        // Parts of what is there otherwise than it was known are of another moment.
        let is_of_another = |held: &RestorableRecord| {
            self.whole_of(&held.record.record).is_some_and(|of| made_anew.contains(&of))
        };
        inner.held.retain(|_, held| !is_of_another(held));
        inner.told.retain(|told| told.since.elapsed() < TOLD_FOR);
    }

    /// Notes a new epoch that the view met at `at`.
    pub(super) fn note(&self, change: EpochChange, at: Millis) {
        let (since, epoch) = (Instant::now(), change.after);
        let mut loss = EpochLoss::of_nothing(change.before, epoch, at);
        let mut inner = self.inner.lock();
        inner.totals.changes += 1;
        inner.followed = Some((epoch, change.reached, since));
        let older: BTreeSet<RecordId> = change
            .lost
            .iter()
            .filter(|lost| lost.is_older_copy())
            .map(|lost| lost.held.record.id.clone())
            .collect();
        for lost in change.lost {
            let restored = self.is_restored_already(&lost);
            let LostEpochRecord { held: record, found, reach } = lost;
            let id = record.record.id.clone();
            *inner.totals.lost.entry(id.kind.clone()).or_default() += 1;
            if self.untold.contains(&id.kind) {
                continue;
            }
            *loss.lost.entry(id.kind.clone()).or_default() += 1;
            if restored {
                loss.restored += 1;
                continue;
            }
            // Parts of what is there in an older copy are of another moment, and stay lost.
            if self.whole_of(&record.record).is_some_and(|whole| older.contains(&whole)) {
                continue;
            }
            // What an earlier change has cost, and nobody has restored yet, was newer.
            let newest = inner.held.remove(&id).map_or(record, |held| held.record);
            inner.held.insert(id, RestorableRecord { record: newest, found, reach, epoch, since });
        }
        inner.tell(loss, since);
    }

    /// Notes that this daemon began in an epoch before which something is lost, as an operator has accepted.
    pub(super) fn note_accepted(&self, loss: AcceptedLoss, after: Epoch, at: Millis) {
        let mut inner = self.inner.lock();
        if inner.told.iter().all(|told| told.loss.epoch != after) {
            inner.totals.changes += 1;
            let told = EpochLoss { accepted: Some(loss), ..EpochLoss::of_nothing(loss.epoch, after, at) };
            inner.tell(told, Instant::now());
        }
    }
}

impl LossState {
    fn tell(&mut self, loss: EpochLoss, since: Instant) {
        loss.say();
        self.told.push_back(LossNotice { loss, since, recorded: false });
        if self.told.len() > TOLD_MAX {
            self.told.pop_front();
        }
    }

    fn count_restored(&mut self, epoch: Epoch) {
        if let Some(told) = self.told.iter_mut().find(|told| told.loss.epoch == epoch) {
            told.loss.restored += 1;
        }
    }
}

impl Registry {
    /// Record with which the new epoch began in place of a lost one: the log is followed back from the copy that was
    /// found, or from the one that is there now.
    ///
    /// # Errors
    /// Those of the store; ask again then.
    pub async fn untouched(
        &self,
        lost: &ToRestore,
        now: Option<&Record>,
    ) -> Result<EpochStartRecord, StoreError> {
        match lost.found.as_ref().or(now) {
            Some(copy) => Ok(self.history(lost, copy).await?.0),
            None => Ok(EpochStartRecord::Absent),
        }
    }

    /// Record with which the new epoch began in place of a lost one, and the changes written there until it was as
    /// `now`, the newest first.
    ///
    /// # Errors
    /// Those of the store; ask again then.
    pub async fn history(
        &self,
        lost: &ToRestore,
        now: &Record,
    ) -> Result<(EpochStartRecord, Vec<RecordChange>), StoreError> {
        let (mut copy, mut writes) = (now.clone(), Vec::new());
        for _ in 0..WRITES_BACK_MAX {
            if !lost.reach.is_passed(&copy, &lost.record.record) {
                return Ok((EpochStartRecord::Record(copy), writes));
            }
            let after = Revision(copy.revision.0.saturating_sub(1));
            let page = self.store().log(after, 1, Duration::ZERO).await?;
            let entry = page.entries.first().filter(|entry| entry.revision == copy.revision);
            let change = entry.and_then(|entry| entry.changes.iter().find(|it| it.after.id == copy.id));
            let Some(change) = change else { return Ok((EpochStartRecord::Unknown, writes)) };
            match &change.before {
                Some(before) if !before.deleted => copy = before.clone(),
                Some(_) | None => return Ok((EpochStartRecord::Begun(copy), writes)),
            }
            writes.push(change.clone());
        }
        Ok((EpochStartRecord::Unknown, writes))
    }
}

fn accepted_text(loss: AcceptedLoss) -> &'static str {
    if loss.everything { EVERYTHING } else { NEWEST }
}

impl EpochLoss {
    fn of_nothing(epoch_before: Epoch, epoch: Epoch, at: Millis) -> Self {
        Self { epoch_before, epoch, at, lost: BTreeMap::new(), restored: 0, accepted: None }
    }

    /// Whether all that was lost is there again.
    pub fn is_restored(&self) -> bool {
        self.accepted.is_none() && self.restored >= self.count()
    }

    /// Number of records that were lost.
    pub fn count(&self) -> usize {
        self.lost.values().sum()
    }

    /// The lines of its audit record.
    pub fn lines(&self) -> Vec<String> {
        let epochs = format!("epoch: {:x} -> {:x}", self.epoch_before.0, self.epoch.0);
        let lost = self.lost.iter().map(|(kind, count)| format!("{kind}: {count} lost"));
        let restored = (self.count() > 0).then(|| format!("restored so far: {}", self.restored));
        let accepted = self.accepted.map(|loss| accepted_text(loss).to_owned());
        std::iter::once(epochs).chain(accepted).chain(lost).chain(restored).collect()
    }

    fn say(&self) {
        let (before, epoch) = (format!("{:x}", self.epoch_before.0), format!("{:x}", self.epoch.0));
        if let Some(loss) = self.accepted {
            let what = if loss.everything { "everything before it" } else { "the newest changes before it" };
            warn!(before, epoch, what, "registry began a new epoch; something was lost, which was accepted");
        } else if self.count() == 0 {
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

impl std::fmt::Display for EpochLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the registry began epoch {:x} at {}: ", self.epoch.0, rfc3339(self.at))?;
        if let Some(loss) = self.accepted {
            return f.write_str(accepted_text(loss));
        }
        match self.count() {
            0 => f.write_str("nothing was lost"),
            1 => write!(f, "1 record was lost ({}), {} restored", self.kinds(), self.restored),
            count => write!(f, "{count} records were lost ({}), {} restored", self.kinds(), self.restored),
        }
    }
}
