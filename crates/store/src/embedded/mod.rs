//! The embedded backend: a write-ahead log before one durable file, one process at a time, a sync before the answer.

pub(crate) mod backend;
mod base;
mod boot;
mod checkpoint;
mod disk;
mod failure;
mod files;
mod lives;
mod note;
pub mod offline;
mod open;
mod options;
mod overlay;
mod proof;
mod renewals;
mod shared;
mod tables;
mod wal;
mod writer;
mod written_state;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use tokio::sync::{mpsc, oneshot};

use self::disk::FileDisk;
use self::open::{OpeningInput, StartedStore};
use self::proof::DirectoryPast;
use self::shared::{SharedStore, log_page};
use self::tables::{BatchTables, Snapshot};
use self::writer::{BatchFate, OpenedLog, WriteJob, Writer, WriterDesk};
use super::rules::{self, ReaderLag, State, Step};
use super::{
    AcceptedLoss, Clock, ClockReset, Commit, CommitError, CommitOutcome, Epoch, GroupRef,
    HousekeepingOutcome, IdempotencyKey, Leases, LogPage, OpenGroup, OpenedGroup, PAGE_MAX, Pulse,
    PulseAnswer, ResetClock, ResetClockError, Retention, Revision, Scan, ScanPage, Store, StoreError,
    SystemClock, Write, limits,
};

pub use self::boot::MachineBoot;
pub use self::disk::{Disk, DiskMedium};
pub use self::failure::OpenError;
pub use self::files::FILE_NAME;
pub use self::note::{BatchNote, FoundNote};
pub use self::offline::{StoreReport, check, compact};
pub use self::options::EmbeddedOptions;
pub use crate::backend::MissingFileAction;

/// The longest commit that is made on its caller's thread, in bytes of values.
const CALLERS_BYTES_MAX: usize = 16 * 1024;
/// The most calls that wait for the writer; more wait outside.
const WRITES_WAITING_MAX: usize = 1024;
/// The most calls that wait for the reader.
const READS_WAITING_MAX: usize = 64;

/// A store in one file and its log. It owns three threads; dropping it waits for them, and so for the last sync.
pub struct EmbeddedStore {
    shared: Arc<SharedStore>,
    /// `None` only while it is dropped.
    calls: Option<CallQueues>,
    threads: Vec<JoinHandle<()>>,
    /// What was given up when this was opened.
    lost: Option<AcceptedLoss>,
}

/// Queues of calls, and the desk where a caller may do without them.
struct CallQueues {
    desk: Arc<WriterDesk>,
    writes: mpsc::Sender<WriteJob>,
    reads: mpsc::Sender<ReadJob>,
}

/// Length of a step: how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepLength {
    /// It is made on its caller's thread, if that is the quickest.
    Short,
    Long,
}

/// A call that reads the file.
type ReadJob = Box<dyn FnOnce(&SharedStore) + Send>;

/// Statistics of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Log entries written.
    pub commits: u64,
    /// Batches that were written to the log: each holds all that waited when it began.
    pub transactions: u64,
    /// Syncs of the file and its log, those of opening them included.
    pub syncs: u64,
}

impl EmbeddedStore {
    /// Opens [`FILE_NAME`] in `dir`, or makes both. One that was there and is gone is not made anew.
    ///
    /// # Errors
    /// [`OpenError`] says which file, and what to do.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_or(dir, MissingFileAction::Refuse)
    }

    /// As [`EmbeddedStore::open`], and says what to do when the file was there and is gone. Where its loss is accepted,
    /// a new epoch begins above the one that was lost.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_or(dir: &Path, missing: MissingFileAction) -> Result<Self, OpenError> {
        Self::open_as(dir, SystemClock::start(), EmbeddedOptions::default(), missing)
    }

    /// As [`EmbeddedStore::open`], with a clock and options. Store time is never behind what the
    /// file has seen.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_with(dir: &Path, clock: impl Clock, options: EmbeddedOptions) -> Result<Self, OpenError> {
        Self::open_as(dir, clock, options, MissingFileAction::Refuse)
    }

    fn open_as(
        dir: &Path,
        clock: impl Clock,
        options: EmbeddedOptions,
        missing: MissingFileAction,
    ) -> Result<Self, OpenError> {
        open::make_directory(dir)?;
        let past = proof::past(dir, missing)?;
        let path = dir.join(FILE_NAME);
        open::once_free(|| open::refuse_untouched(&path, past))?;
        let store =
            Self::open_after(OpeningInput { options, past, missing }, FileDisk::new(path.clone()), clock)?;
        let epoch = store.shared.lives().state.epoch;
        proof::note(dir, epoch).map_err(|source| OpenError::Io { path, source })?;
        Ok(store)
    }

    /// Opens the store on any disk.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_on(disk: impl Disk, clock: impl Clock, options: EmbeddedOptions) -> Result<Self, OpenError> {
        Self::open_after(
            OpeningInput { options, past: DirectoryPast::Unknown, missing: MissingFileAction::Refuse },
            disk,
            clock,
        )
    }

    fn open_after(given: OpeningInput, mut disk: impl Disk, clock: impl Clock) -> Result<Self, OpenError> {
        let StartedStore { shared, wal, file, lost } = open::open(&mut disk, Box::new(clock), given)?;
        let shared = Arc::new(shared);
        let (writes, jobs) = mpsc::channel(WRITES_WAITING_MAX);
        let (reads, reading) = mpsc::channel(READS_WAITING_MAX);
        let (checkpointer, checkpoints) = checkpoint::pair(&shared);
        let log = OpenedLog { wal, file, checkpointer };
        let desk = Arc::new(WriterDesk::new(Writer::new(Arc::clone(&shared), Box::new(disk), log)));
        let (writer, reader) = (Arc::clone(&desk), Arc::clone(&shared));
        let threads = vec![
            spawn(&shared, "store-write", move || writer.run(jobs))?,
            spawn(&shared, "store-checkpoint", move || checkpoints.run())?,
            spawn(&shared, "store-read", move || serve_reads(&reader, reading))?,
        ];
        Ok(Self { shared, calls: Some(CallQueues { desk, writes, reads }), threads, lost })
    }

    /// Counts what it has done.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.shared.counted.commits.load(Ordering::Relaxed),
            transactions: self.shared.counted.transactions.load(Ordering::Relaxed),
            syncs: self.shared.seen.syncs(),
        }
    }

    /// From now on for `length`, grants nobody a scope and judges nobody gone.
    ///
    /// # Errors
    /// As a commit's.
    pub async fn quarantine(&self, length: Duration) -> Result<(), StoreError> {
        self.write(StepLength::Long, move |step| step.quarantine(length)).await
    }

    /// Makes a step, and waits until it is durable.
    async fn write<R, E>(
        &self,
        length: StepLength,
        step: impl for<'a, 'b> FnOnce(&mut Step<'a, BatchTables<'b>>) -> Result<R, E> + Send + 'static,
    ) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: WriteJob = Box::new(move |open| {
            let result = open.map(step);
            Box::new(move |fate| {
                // Whoever asked may be gone.
                let _ = reply.send(told(result, fate));
            })
        });
        let gone = || StoreError::OutcomeUnknown("the store gave no answer".into());
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        let may_be_here = length == StepLength::Short && self.shared.options.callers_write;
        let left = if may_be_here { calls.desk.make_here(job).err() } else { Some(job) };
        if let Some(job) = left {
            let place = calls.writes.reserve().await.map_err(|_| gone())?;
            calls.desk.note_queued();
            place.send(job);
        }
        answer.await.map_err(|_| gone())?
    }

    /// Has the reader read what is committed; once more if the file has failed, when it was opened again.
    async fn read<R: Send + 'static>(
        &self,
        read: impl Fn(&Snapshot<'_>, &State, Millis) -> Result<R, StoreError> + Clone + Send + 'static,
    ) -> Result<R, StoreError> {
        let found = self.read_once(read.clone()).await;
        if !matches!(found, Err(StoreError::Unavailable(_))) {
            return found;
        }
        // The writer finds out what is wrong with the file before it makes a step, and opens it again.
        self.write(StepLength::Long, |_| Ok::<_, StoreError>(())).await?;
        self.read_once(read).await
    }

    async fn read_once<R: Send + 'static>(
        &self,
        read: impl Fn(&Snapshot<'_>, &State, Millis) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (reply, answer) = oneshot::channel();
        // What panics in the engine is an error of `SharedStore::read`.
        let call: ReadJob = Box::new(move |shared| {
            // Whoever asked may be gone.
            let _ = reply.send(shared.read(|snapshot, state| read(snapshot, state, shared.clock.now())));
        });
        let gone = || StoreError::Unavailable("the store gave no answer".into());
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        calls.reads.send(call).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn log_now(&self, after: Revision, limit: usize) -> Result<(ReaderLag, LogPage), StoreError> {
        if let Some(found) = self.shared.log_from_memory(after, limit) {
            return Ok(found);
        }
        self.read(move |snapshot, state, _| {
            let behind = rules::behind(state, after);
            let entries = match behind {
                ReaderLag::Something => rules::log_behind(snapshot, after, limit)?,
                ReaderLag::Nothing | ReaderLag::Compacted => Vec::new(),
            };
            Ok((behind, log_page(state, behind, entries)))
        })
        .await
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn name(&self) -> &str {
        "embedded"
    }

    fn accepted_loss(&self) -> Option<AcceptedLoss> {
        self.lost
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        if let Some(beat) = self.shared.pulse(&pulse) {
            return beat;
        }
        self.write(StepLength::Short, move |step| step.pulse(&pulse)).await
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.write(StepLength::Short, move |step| step.open_group(&open)).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.write(StepLength::Short, move |step| step.close_group(epoch, &group)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        let length =
            if commit_bytes(&commit) > CALLERS_BYTES_MAX { StepLength::Long } else { StepLength::Short };
        self.write(length, move |step| step.commit(&commit)).await
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        let key = key.clone();
        self.read(move |snapshot, _, _| rules::recall(snapshot, &key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.read(move |snapshot, state, now| rules::scan(snapshot, state, now, &scan)).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.read(|snapshot, state, _| rules::leases(snapshot, state)).await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        limits::page(limit)?;
        let mut heads = self.shared.head.subscribe();
        let (behind, page) = self.log_now(after, limit).await?;
        if behind != ReaderLag::Nothing || wait.is_zero() {
            return Ok(page);
        }
        // Whether it came in time or not is in the page.
        let _ = tokio::time::timeout(wait, heads.wait_for(|head| *head > after)).await;
        Ok(self.log_now(after, limit).await?.1)
    }

    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        let shared = Arc::clone(&self.shared);
        self.write(StepLength::Long, move |step| {
            let (wall, before) = (shared.clock.wall(), step.now);
            order.check(step.state.epoch, before, wall)?;
            let epoch = if order.dry_run { step.state.epoch } else { step.turn_back(wall)? };
            Ok(ClockReset { epoch, before, now: wall })
        })
        .await
    }

    fn is_in_process(&self) -> bool {
        true
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        self.shared.log_from_memory(after, PAGE_MAX).map(|(_, page)| page)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.write(StepLength::Long, move |step| step.housekeep(epoch, &keep)).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Without callers all threads end; the writer closes the file before it does.
        self.calls = None;
        for thread in self.threads.drain(..) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn spawn(
    shared: &SharedStore,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(|source| OpenError::Io { path: shared.path.to_path_buf(), source })
}

fn serve_reads(shared: &SharedStore, mut reads: mpsc::Receiver<ReadJob>) {
    while let Some(read) = reads.blocking_recv() {
        // Whatever panics must not end the only reader; the caller hears that its call was dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| read(shared)));
    }
}

/// The bytes of the values that a commit writes.
fn commit_bytes(commit: &Commit) -> usize {
    commit.writes.iter().filter_map(Write::value).map(|value| value.len()).sum()
}

/// What the caller of a step is told; `result` is `None` if the file failed before the step.
fn told<R, E: From<StoreError>>(result: Option<Result<R, E>>, fate: &BatchFate) -> Result<R, E> {
    match (fate, result) {
        (BatchFate::Kept, Some(result)) => result,
        (BatchFate::Kept, None) => Err(StoreError::Unavailable("the store file failed".into()).into()),
        (BatchFate::NotMade(failure), _) => Err(failure.not_made().into()),
        (BatchFate::Unknown(failure), _) => Err(failure.unknown().into()),
    }
}
