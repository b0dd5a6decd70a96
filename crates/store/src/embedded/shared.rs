//! State that the writer, the reader and the callers of an embedded store share.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omnirelay_core::time::{Millis, whole_ms};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use redb::Database;
use tokio::sync::watch;
use tracing::info;

use super::super::clock::StoreTime;
use super::super::rules::{self, Groups, ReaderLag, State};
use super::super::{Clock, Epoch, LogEntry, LogPage, Pulse, PulseAnswer, Revision, StoreError};
use super::base::{self, FileBase};
use super::boot::MachineBoot;
use super::disk::MediumHealth;
use super::failure::FileFailure;
use super::lives::GroupLives;
use super::options::EmbeddedOptions;
use super::overlay::Overlay;
use super::renewals::RenewalFile;
use super::tables::{BatchChanges, Snapshot, View};
use super::written_state::{Opening, WrittenState};

/// The most log entries that are answered from memory.
const RING_ENTRIES_MAX: usize = 1024;
/// The most bytes of values in them.
const RING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a pulse looks whether the groups are free, before it waits for its turn.
const PULSE_TRIES: usize = 8;

/// State of an open store that its threads and callers share.
pub(super) struct SharedStore {
    pub path: Arc<PathBuf>,
    pub clock: StoreClock,
    pub seen: Arc<MediumHealth>,
    pub options: EmbeddedOptions,
    /// This opening, as every batch has it written.
    pub opening: Opening,
    pub head: watch::Sender<Revision>,
    pub counted: StoreCounts,
    /// `None` while the file cannot be used.
    database: RwLock<Option<Database>>,
    shown: RwLock<VisibleState>,
    /// The groups, and what is known of the store as a whole. Locked after `shown` where both are.
    lives: Mutex<GroupLives>,
}

/// Time that is never behind what an earlier process wrote.
pub(super) struct StoreClock {
    time: StoreTime,
    /// Boot of the machine in which it was set, and its clock.
    boot: Option<MachineBoot>,
}

/// Counts since the store was opened.
#[derive(Default)]
pub(super) struct StoreCounts {
    pub commits: AtomicU64,
    pub transactions: AtomicU64,
}

/// Committed state that may be seen.
#[derive(Default)]
pub(super) struct VisibleState {
    pub batch: u64,
    /// What the file held after the last checkpoint; `None` while it cannot be used.
    base: Option<FileBase>,
    /// What the log holds since then: in the segment that is full, and in the one that is appended to.
    frozen: Option<Arc<Overlay>>,
    active: Overlay,
    ring: LogRing,
}

/// Content that a store was found to hold.
pub(super) struct StoreContent {
    pub base: FileBase,
    /// The last batch.
    pub written: WrittenState,
    pub groups: Groups,
    pub renewals: RenewalFile,
    pub frozen: Option<Overlay>,
    pub active: Overlay,
}

/// The newest log entries, without a gap.
#[derive(Default)]
struct LogRing {
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
}

impl StoreClock {
    /// A clock that shows `written` or later.
    pub(super) fn at_least(clock: Box<dyn Clock>, written: Millis) -> Self {
        Self { time: StoreTime::at_least(clock, written), boot: None }
    }

    /// The same, set in this boot.
    #[must_use]
    pub(super) fn in_boot(self, boot: Option<MachineBoot>) -> Self {
        Self { boot, ..self }
    }

    /// Boot of the machine in which it was set, and its clock.
    pub(super) fn boot(&self) -> Option<MachineBoot> {
        self.boot
    }

    pub(super) fn now(&self) -> Millis {
        self.time.now()
    }

    /// Time of the wall clock.
    pub(super) fn wall(&self) -> Millis {
        self.time.wall()
    }

    /// Goes on from an earlier time.
    pub(super) fn turn_back(&self, to: Millis) {
        self.time.set(to);
    }
}

impl SharedStore {
    pub(super) fn new(
        path: PathBuf,
        clock: StoreClock,
        seen: Arc<MediumHealth>,
        options: EmbeddedOptions,
        opening: Opening,
    ) -> Self {
        Self {
            path: Arc::new(path),
            clock,
            seen,
            options,
            opening,
            head: watch::Sender::new(Revision(0)),
            counted: StoreCounts::default(),
            database: RwLock::new(None),
            shown: RwLock::new(VisibleState::default()),
            lives: Mutex::new(GroupLives::default()),
        }
    }

    /// The database. What redb may have left when it panicked is found out when it is used.
    pub(super) fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read()
    }

    pub(super) fn shown(&self) -> RwLockReadGuard<'_, VisibleState> {
        self.shown.read()
    }

    pub(super) fn lives(&self) -> MutexGuard<'_, GroupLives> {
        self.lives.lock()
    }

    /// State of the store from which the next batch goes on: all that is shown, at this time.
    pub(super) fn written(&self, shown: &VisibleState) -> WrittenState {
        let state = self.lives().state;
        WrittenState { state, clock: self.clock.now(), batch: shown.batch, opening: self.opening }
    }

    /// Has store time follow the wall clock forward, and gives what lives time to be renewed. No batch is under way.
    pub(super) fn follow_wall_clock(&self) {
        let mut lives = self.lives();
        let Some(wall) = self.clock.time.left_behind() else { return };
        let before = self.clock.now();
        lives.follow(before, wall);
        // Whoever reads the new time finds the new deadlines.
        self.clock.time.set(wall);
        drop(lives);
        let by_ms = whole_ms(wall.since(before));
        info!(path = %self.path.display(), by_ms, "store time followed the wall clock; what lived has its time to live again");
    }

    /// Carries out a pulse on this thread; `None`: it must be made in a batch, or a step is being made that may take its
    /// time.
    pub(super) fn pulse(&self, pulse: &Pulse) -> Option<Result<PulseAnswer, StoreError>> {
        if self.clock.time.left_behind().is_some() {
            return None;
        }
        for _ in 0..PULSE_TRIES {
            let Some(mut lives) = self.lives.try_lock() else {
                std::thread::yield_now();
                continue;
            };
            let now = self.clock.now();
            return lives.pulse(pulse, now);
        }
        None
    }

    /// Goes on from the time of a batch that is durable, if it has brought time back: it has begun another epoch than the one
    /// `before`, as nothing else does while the store is open.
    pub(super) fn heed_time(&self, before: Epoch, written: &WrittenState) {
        if written.state.epoch != before {
            self.clock.turn_back(written.clock);
        }
    }

    /// Takes another database into use, or none; the one before is closed.
    fn use_database(&self, database: Option<Database>) {
        self.replace_database(database).into_iter().for_each(base::close);
    }

    fn replace_database(&self, database: Option<Database>) -> Option<Database> {
        std::mem::replace(&mut *self.database.write(), database)
    }

    /// Reads what is committed. Nothing is committed meanwhile.
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&Snapshot<'_>, &State) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let shown = self.shown();
            let closed = || FileFailure::new(&self.path, "it failed, and is not open again yet").not_made();
            let snapshot = Snapshot { view: shown.view().ok_or_else(closed)?, lives: &self.lives };
            let state = self.lives().state;
            read(&snapshot, &state)
        }));
        let gave_up = |_| self.read_failure("the storage engine gave up reading it: it may be damaged");
        attempt.unwrap_or_else(|panic| Err(gave_up(panic).not_made()))
    }

    /// Shows what a durable batch has changed, and wakes those who wait for the log.
    pub(super) fn show(&self, written: &WrittenState, changed: BatchChanges) {
        self.counted.commits.fetch_add(changed.entries.len() as u64, Ordering::Relaxed);
        let mut shown = self.shown.write();
        shown.batch = written.batch;
        shown.active.absorb(changed.rows);
        self.lives().show(written.state, changed.groups);
        changed.entries.into_iter().for_each(|entry| shown.ring.push(entry));
        drop(shown);
        self.head.send_if_modified(|head| std::mem::replace(head, written.state.head) != written.state.head);
    }

    /// Shows what was found in a store that was just opened.
    pub(super) fn show_opened(&self, database: Database, held: StoreContent) {
        let StoreContent { base, written, groups, renewals, frozen, active } = held;
        self.use_database(Some(database));
        let mut shown = self.shown.write();
        *self.lives() = GroupLives::new(written.state, groups, renewals);
        *shown = VisibleState {
            batch: written.batch,
            base: Some(base),
            frozen: frozen.map(Arc::new),
            active,
            ring: LogRing::default(),
        };
        drop(shown);
        self.head.send_replace(written.state.head);
    }

    /// Closes the file. What is in the log stays known to nobody until both are opened again.
    pub(super) fn shut(&self) {
        let mut shown = self.shown.write();
        self.lives().shut();
        (shown.base, shown.frozen, shown.active) = (None, None, Overlay::default());
        drop(shown);
        self.use_database(None);
    }

    /// Freezes the segment that is appended to, when it is full: returns all that it holds, to be written to the file.
    pub(super) fn freeze(&self) -> Arc<Overlay> {
        let mut shown = self.shown.write();
        let frozen = Arc::new(std::mem::take(&mut shown.active));
        shown.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Changes that are being written to the file, or were to be.
    pub(super) fn frozen(&self) -> Option<Arc<Overlay>> {
        self.shown().frozen.clone()
    }

    /// Writes to the file what was frozen, and reads it from there from now on.
    pub(super) fn checkpoint(&self, frozen: &Overlay) -> Result<(), redb::Error> {
        let database = self.database();
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        base::checkpoint(database, &[frozen], None)?;
        let base = FileBase::of(database)?;
        let mut shown = self.shown.write();
        let before = (shown.base.replace(base), shown.frozen.take());
        drop(shown);
        drop(before);
        Ok(())
    }

    /// Closes the file for good, and says whether all checksums in it are right.
    pub(super) fn verify_file(&self) -> bool {
        self.shown.write().base = None;
        let database = self.replace_database(None);
        let verified = catch_unwind(AssertUnwindSafe(|| {
            database.is_some_and(|mut it| it.check_integrity().unwrap_or(false))
        }));
        verified.unwrap_or(false)
    }

    /// Writes everything to the file, and last `written`. Nothing is written any more.
    pub(super) fn checkpoint_all(&self, written: &WrittenState) -> Result<(), redb::Error> {
        let database = self.database();
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let shown = self.shown();
        let layers: Vec<_> = shown.frozen.as_deref().into_iter().chain([&shown.active]).collect();
        base::checkpoint(database, &layers, Some(written))
    }

    /// The log behind `after` as far as memory tells; `None`: only the file can tell.
    pub(super) fn log_from_memory(&self, after: Revision, limit: usize) -> Option<(ReaderLag, LogPage)> {
        let shown = self.shown();
        let state = self.lives().state;
        if after > state.head {
            // The file may be a commit ahead of what is shown, and its readers with it.
            return None;
        }
        let behind = rules::behind(&state, after);
        let entries = match behind {
            ReaderLag::Something => shown.ring.behind(after, limit)?,
            ReaderLag::Nothing | ReaderLag::Compacted => Vec::new(),
        };
        Some((behind, log_page(&state, behind, entries)))
    }

    fn read_failure(&self, what: &str) -> FileFailure {
        FileFailure::new(&self.path, what)
    }
}

pub(super) fn log_page(state: &State, behind: ReaderLag, entries: Vec<Arc<LogEntry>>) -> LogPage {
    LogPage { epoch: state.epoch, head: state.head, entries, compacted: behind == ReaderLag::Compacted }
}

impl VisibleState {
    /// All that may be seen; `None` while the file cannot be used.
    pub(super) fn view(&self) -> Option<View<'_>> {
        let layers = [None, Some(&self.active), self.frozen.as_deref()];
        Some(View { base: self.base.as_ref()?, layers })
    }
}

impl LogRing {
    fn push(&mut self, entry: Arc<LogEntry>) {
        self.bytes += entry.value_bytes();
        self.entries.push_back(entry);
        while self.entries.len() > RING_ENTRIES_MAX || self.bytes > RING_BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.value_bytes();
        }
    }

    /// Up to `limit` entries behind `after`; `None` if the ring does not reach back to it.
    fn behind(&self, after: Revision, limit: usize) -> Option<Vec<Arc<LogEntry>>> {
        let from = self.entries.partition_point(|entry| entry.revision <= after);
        let first = self.entries.get(from)?;
        (first.previous <= after).then(|| self.entries.iter().skip(from).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ManualClock;
    use super::*;

    #[test]
    fn only_the_file_knows_whether_a_revision_ahead_of_memory_is_there() {
        let clock = StoreClock::at_least(Box::new(ManualClock::at(Millis(1))), Millis(0));
        let opening = Opening::default();
        let shared = SharedStore::new(
            PathBuf::from("test"),
            clock,
            Arc::default(),
            EmbeddedOptions::default(),
            opening,
        );
        let state = State { head: Revision(7), ..State::default() };
        shared.show(&WrittenState { state, ..WrittenState::default() }, BatchChanges::default());
        assert!(shared.log_from_memory(Revision(8), 10).is_none());
        let (behind, page) = shared.log_from_memory(Revision(7), 10).unwrap();
        assert_eq!((behind, page.head, page.compacted), (ReaderLag::Nothing, Revision(7), false));
    }
}
