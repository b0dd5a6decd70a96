//! Writing: what waits is made durable with one sync of the log, by the thread of the store, or by a caller's own where
//! nobody else writes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use omnirelay_core::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::super::rules::{Groups, Step};
use super::checkpoint::{CheckpointFailed, CheckpointResult, Checkpointer};
use super::disk::Disk;
use super::failure::FileFailure;
use super::note::BatchNote;
use super::open::{self, OpenedStore};
use super::shared::SharedStore;
use super::tables::{BatchChanges, BatchTables};
use super::wal::{SEGMENTS, Wal};
use super::written_state::WrittenState;

/// The most calls that share one batch.
const BATCH_MAX: usize = 256;
/// How many bytes a batch has at least that takes no further call.
const BATCH_BYTES: usize = 1024 * 1024;
/// From how many calls in a batch on the next one waits for its callers, and for how long.
const GATHER_FROM: usize = 8;
const GATHER_TIME: Duration = Duration::from_micros(100);
/// How long a file that failed is left alone, at first and at most.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How long an append with its sync may take on average for callers to make batches on their own threads.
const CALLERS_APPEND_MAX: Duration = Duration::from_millis(1);
/// How much room a segment must have left for that, in bytes.
const CALLERS_ROOM: u64 = 64 * 1024;

/// Job of a call that writes: makes its step, unless the file has failed before it, and then waits for its fate.
pub(super) type WriteJob =
    Box<dyn for<'a, 'b> FnOnce(Option<&mut Step<'a, BatchTables<'b>>>) -> JobFinish + Send>;
/// Finish of a job, which answers its call.
pub(super) type JobFinish = Box<dyn FnOnce(&BatchFate) + Send>;

/// Fate of a batch.
#[derive(Debug)]
pub(super) enum BatchFate {
    Kept,
    NotMade(FileFailure),
    Unknown(FileFailure),
}

pub(super) struct Writer {
    shared: Arc<SharedStore>,
    disk: Box<dyn Disk>,
    /// `None` while the store cannot be used.
    log: Option<Wal>,
    /// The last batch that is known to be in the file.
    file: WrittenState,
    checkpointer: Checkpointer,
    /// How long an append with its sync takes, on a moving average.
    append_takes: Duration,
    pause: Option<WritePause>,
    /// A batch that was appended, and is noted once its callers are answered.
    unnoted: Option<WrittenState>,
    /// Why the file was not written to when it should have been, and until when that is not tried again.
    unwritten: Option<WritePause>,
}

/// The log of a store that was opened, and what writes it to the file.
pub(super) struct OpenedLog {
    pub wal: Wal,
    /// The last batch that the file has.
    pub file: WrittenState,
    pub checkpointer: Checkpointer,
}

/// Pause after a failure: why, and until when nothing is written.
struct WritePause {
    failure: FileFailure,
    /// How often in a row it has failed.
    failures: u32,
    until: Instant,
}

/// Call that has made its step, and waits for the fate of the batch.
struct WaitingCall {
    finish: JobFinish,
    changed: bool,
}

/// Failure of a batch, by the step at which it failed.
enum BatchFailure {
    /// Nothing of it was written, and file and log are sound.
    Refused(FileFailure),
    /// Before it was appended: nothing of it is in the log.
    Before,
    /// While it was appended.
    Appending(UncertainBatch, FileFailure),
}

/// A batch of which only the log knows whether it is in it.
struct UncertainBatch {
    /// Its number: the log has this one if it is.
    batch: u64,
    /// The groups as its callers are told they are, renewals that are not written included.
    groups: Groups,
}

impl UncertainBatch {
    fn of(batch: u64, changed: BatchChanges) -> Self {
        let groups = changed.groups.into_iter().filter_map(|(id, group)| Some((id, group?))).collect();
        Self { batch, groups }
    }

    fn is_in(&self, written: &WrittenState) -> bool {
        self.batch <= written.batch
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<SharedStore>, disk: Box<dyn Disk>, log: OpenedLog) -> Self {
        let OpenedLog { wal, file, checkpointer } = log;
        let mut writer = Self {
            shared,
            disk,
            log: Some(wal),
            file,
            checkpointer,
            append_takes: Duration::ZERO,
            pause: None,
            unnoted: None,
            unwritten: None,
        };
        writer.order_checkpoint();
        writer
    }

    /// Whether a batch would be made soon enough for the thread of a caller, which may have other things to do.
    fn is_quick(&self) -> bool {
        let is_sound = self.pause.is_none() && self.unwritten.is_none();
        let has_room = self.log.as_ref().is_some_and(|log| log.room() >= CALLERS_ROOM);
        is_sound && has_room && self.append_takes <= CALLERS_APPEND_MAX
    }

    /// Makes calls, in as few batches as they fit into.
    fn carry_out_all(&mut self, mut jobs: VecDeque<WriteJob>) {
        while !jobs.is_empty() {
            // A panic of the engine below must not end the only writer. Whoever it leaves without
            // an answer is told that the outcome is unknown.
            if catch_unwind(AssertUnwindSafe(|| self.carry_out(&mut jobs))).is_err() {
                jobs.clear();
            }
        }
    }

    /// Makes a batch of the first calls, of all if they are not too long.
    fn carry_out(&mut self, jobs: &mut VecDeque<WriteJob>) {
        if let Err(failure) = self.ready() {
            let fate = BatchFate::NotMade(failure);
            jobs.drain(..).for_each(|job| job(None)(&fate));
            return;
        }
        let mut waiting = Vec::with_capacity(jobs.len());
        let attempt = catch_unwind(AssertUnwindSafe(|| self.transact(jobs, &mut waiting)));
        let fate = match attempt {
            Ok(Ok(())) => BatchFate::Kept,
            Ok(Err(failed)) => self.judge(failed),
            Err(_) => {
                self.shut();
                let failure = FileFailure::new(&self.shared.path, "the storage engine gave up");
                self.hold_off(failure.clone());
                BatchFate::Unknown(failure)
            }
        };
        if !matches!(fate, BatchFate::Kept) {
            self.shared.lives().release();
            jobs.drain(..).for_each(|job| waiting.push(WaitingCall { finish: job(None), changed: false }));
        }
        let not_noted = (matches!(fate, BatchFate::Kept) && !self.shared.lives().may_promise()).then(|| {
            let what = "renewals can neither be noted nor be said to be missing";
            BatchFate::NotMade(FileFailure::new(&self.shared.path, what))
        });
        for WaitingCall { finish, changed } in waiting {
            match &fate {
                BatchFate::Kept if !changed => finish(not_noted.as_ref().unwrap_or(&fate)),
                BatchFate::Unknown(failure) if !changed => finish(&BatchFate::NotMade(failure.clone())),
                fate => finish(fate),
            }
        }
        if let Some(written) = self.unnoted.take() {
            self.note(&written);
        }
    }

    /// Makes the steps of one batch and appends it to the log, if there is anything to append.
    fn transact(
        &mut self,
        jobs: &mut VecDeque<WriteJob>,
        waiting: &mut Vec<WaitingCall>,
    ) -> Result<(), BatchFailure> {
        let (written, changed) = self.step_all(jobs, waiting)?;
        if changed.writes == 0 {
            self.shared.show(&written, changed);
            return Ok(());
        }
        self.make_room(&changed)?;
        let begun = Instant::now();
        let appended = self.log.as_mut().ok_or(BatchFailure::Before)?.append(written.batch, &changed.rows);
        self.append_takes = (self.append_takes * 3 + begun.elapsed()) / 4;
        if let Err(error) = appended {
            let failure = self.medium_failed("writing the log", &error);
            return Err(BatchFailure::Appending(UncertainBatch::of(written.batch, changed), failure));
        }
        self.shared.counted.transactions.fetch_add(1, Ordering::Relaxed);
        self.shared.heed_time(self.shared.lives().state.epoch, &written);
        self.shared.show(&written, changed);
        self.pause = None;
        self.unnoted = Some(written);
        Ok(())
    }

    /// Makes sure that there is room for a frame in the log: goes on with the other segment if this one is full, once
    /// the file has what is in that. On a disk that has no room for it either, this one is free again by then.
    fn make_room(&mut self, changed: &BatchChanges) -> Result<(), BatchFailure> {
        let mut refused = None;
        for _ in 0..=SEGMENTS {
            let log = self.log.as_mut().ok_or(BatchFailure::Before)?;
            match log.has_room(&changed.rows) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => refused = Some(self.medium_failed("taking room for the log", &error)),
            }
            self.turn()?;
        }
        let failure = refused.ok_or(BatchFailure::Before)?;
        self.hold_off(failure.clone());
        Err(BatchFailure::Refused(failure))
    }

    /// Goes on with the other segment, and has what is in this one written to the file.
    fn turn(&mut self) -> Result<(), BatchFailure> {
        if let Some(made) = self.checkpointer.wait() {
            self.checkpointed(made).map_err(|CheckpointFailed| BatchFailure::Before)?;
        }
        if self.shared.frozen().is_some() {
            // It could not be written to the file when that was tried last.
            let failed = self.unwritten.as_ref().map(|pause| BatchFailure::Refused(pause.failure.clone()));
            self.order_checkpoint();
            let made = self.checkpointer.wait().ok_or(failed.unwrap_or(BatchFailure::Before))?;
            self.checkpointed(made).map_err(|CheckpointFailed| BatchFailure::Before)?;
        }
        let log = self.log.as_mut().ok_or(BatchFailure::Before)?;
        let is_empty = log.is_at_beginning();
        log.turn();
        if !is_empty {
            self.checkpointer.order(self.shared.freeze());
        }
        Ok(())
    }

    /// Has what waits for it written to the file, unless that has just failed.
    fn order_checkpoint(&mut self) {
        let is_held_off = self.unwritten.as_ref().is_some_and(|pause| Instant::now() < pause.until);
        if self.checkpointer.is_busy() || is_held_off {
            return;
        }
        if let Some(frozen) = self.shared.frozen() {
            self.checkpointer.order(frozen);
        }
    }

    fn checkpointed(&mut self, made: CheckpointResult) -> Result<(), CheckpointFailed> {
        self.file = made?;
        self.unwritten = None;
        Ok(())
    }

    /// Notes what log and file hold now. A note that stays behind is no harm.
    fn note(&mut self, written: &WrittenState) {
        if let Err(error) = self.disk.note(BatchNote::of(written, &self.file)) {
            debug!(path = %self.shared.path.display(), %error, "batch was not noted beside the store file");
        }
    }

    fn step_all(
        &self,
        jobs: &mut VecDeque<WriteJob>,
        waiting: &mut Vec<WaitingCall>,
    ) -> Result<(WrittenState, BatchChanges), BatchFailure> {
        self.shared.follow_wall_clock();
        let shown = self.shared.shown();
        let refusal = self.pause.as_ref().filter(|pause| Instant::now() < pause.until);
        let refusal = refusal.map(|pause| &pause.failure);
        let mut tables = BatchTables::on(shown.view().ok_or(BatchFailure::Before)?, refusal);
        let mut written = self.shared.written(&shown);
        while tables.changed.bytes < BATCH_BYTES {
            let Some(job) = jobs.pop_front() else { break };
            let writes = tables.changed.writes;
            let broken = tables.is_broken();
            let lives = tables.lives.insert(self.shared.lives());
            // Who was heard meanwhile, and after this step who was heard by then.
            (written.state.heard, written.state.grace) = (lives.state.heard, lives.state.grace);
            let now = self.shared.clock.now();
            let mut step = Step { tables: &mut tables, state: &mut written.state, now };
            let finish = job((!broken).then_some(&mut step));
            let after = step.now;
            if let Some(mut lives) = tables.lives.take() {
                (lives.state.heard, lives.state.grace) = (written.state.heard, written.state.grace);
            }
            written.clock = after;
            waiting.push(WaitingCall { finish, changed: tables.changed.writes > writes });
            if after < now {
                // What is behind it goes by the time that it has set.
                break;
            }
        }
        if tables.changed.writes > 0 {
            written.batch += 1;
            tables.put_written(&written);
        }
        if tables.is_broken() {
            return Err(BatchFailure::Before);
        }
        Ok((written, std::mem::take(&mut tables.changed)))
    }

    /// Opens the store anew after a failure, and finds out from it what became of the batch.
    fn judge(&mut self, failed: BatchFailure) -> BatchFate {
        let (attempt, failure) = match failed {
            BatchFailure::Refused(failure) => return BatchFate::NotMade(failure),
            BatchFailure::Before => (None, self.failure()),
            BatchFailure::Appending(attempt, failure) => (Some(attempt), failure),
        };
        self.hold_off(failure.clone());
        let epoch = self.shared.lives().state.epoch;
        let reopened = self.reopen(attempt.as_ref());
        let Some(attempt) = attempt else { return BatchFate::NotMade(failure) };
        match reopened {
            Ok(written) if attempt.is_in(&written) => {
                self.shared.heed_time(epoch, &written);
                BatchFate::Kept
            }
            Ok(_) => BatchFate::NotMade(failure),
            Err(_) => BatchFate::Unknown(failure),
        }
    }

    /// Makes sure that the store is open, if it is time to try.
    fn ready(&mut self) -> Result<(), FileFailure> {
        // A reader may have met the failure first.
        let made =
            if self.shared.seen.has_failed() { self.checkpointer.wait() } else { self.checkpointer.made() };
        let is_sound = made.is_none_or(|made| self.checkpointed(made).is_ok());
        if self.log.is_some() && (!is_sound || self.shared.seen.has_failed()) {
            let failure = self.failure();
            self.hold_off_file(failure);
            self.reopen(None).inspect_err(|failure| self.hold_off(failure.clone()))?;
        }
        if self.log.is_some() {
            self.order_checkpoint();
            return Ok(());
        }
        if let Some(pause) = self.pause.as_ref().filter(|pause| Instant::now() < pause.until) {
            return Err(pause.failure.clone());
        }
        self.reopen(None).map(|_| ()).inspect_err(|failure| self.hold_off(failure.clone()))
    }

    /// Closes file and log, which have failed.
    fn shut(&mut self) {
        // What became of it is in the file.
        let _ = self.checkpointer.wait();
        self.log = None;
        self.shared.shut();
    }

    /// Opens file and log; if `attempt` is in the log, with the renewals that only memory has of it.
    fn reopen(&mut self, attempt: Option<&UncertainBatch>) -> Result<WrittenState, FileFailure> {
        self.shut();
        let renewed =
            |written: &WrittenState| attempt.filter(|attempt| attempt.is_in(written)).map(|it| &it.groups);
        let (database, OpenedStore { held, wal, file }) =
            open::reopen(self.disk.as_mut(), &self.shared, renewed)?;
        let written = held.written;
        self.shared.show_opened(database, held);
        // What failed before has been made good, or will fail again.
        self.shared.seen.take_failure();
        self.log = Some(wal);
        self.file = file;
        info!(path = %self.shared.path.display(), revision = written.state.head.0, "store file opened again");
        Ok(written)
    }

    /// What the medium reported, or that nothing is known.
    fn failure(&self) -> FileFailure {
        let path = &self.shared.path;
        match self.shared.seen.take_failure() {
            Some((kind, what)) => FileFailure::of_medium(path, kind, what),
            None => FileFailure::new(path, "the storage engine refused the transaction"),
        }
    }

    fn medium_failed(&self, what: &str, error: &std::io::Error) -> FileFailure {
        FileFailure::of_medium(&self.shared.path, error.kind(), format!("{what} failed: {error}"))
    }

    fn hold_off(&mut self, failure: FileFailure) {
        if self.pause.is_none() {
            error!(path = %self.shared.path.display(), error = %failure, "store file failed");
        }
        self.pause = Some(WritePause::after(self.pause.take(), failure));
    }

    /// Does not write to the file for a while; the log goes on as far as it has room.
    fn hold_off_file(&mut self, failure: FileFailure) {
        if self.unwritten.is_none() {
            error!(path = %self.shared.path.display(), error = %failure, "what is in the log cannot be written to the store file");
        }
        self.unwritten = Some(WritePause::after(self.unwritten.take(), failure));
    }

    /// Writes all that is in the log to the file, and the time, so that the next start is not before it. The next start
    /// copes with what fails here, as it does after a crash.
    fn close(&mut self) {
        if let Some(made) = self.checkpointer.wait() {
            // What was not written to the file is in the log.
            let _ = self.checkpointed(made);
        }
        if !self.leave() {
            warn!(path = %self.shared.path.display(), "store file could not be closed cleanly: it needs its log");
        }
        self.shut();
    }

    /// Leaves everything in the file, however it has failed before, and nothing in the log. False: the next start needs
    /// the log.
    fn leave(&mut self) -> bool {
        if self.log.is_none() {
            return false;
        }
        let mut written = self.shared.written(&self.shared.shown());
        written.batch += 1;
        let made = catch_unwind(AssertUnwindSafe(|| self.shared.checkpoint_all(&written)));
        if !matches!(made, Ok(Ok(()))) {
            return false;
        }
        self.file = written;
        self.note(&written);
        if let Err(error) = self.shared.lives().leave(written.opening) {
            debug!(path = %self.shared.path.display(), %error, "renewals were not left cleanly");
        }
        // An older file that is put in the place of this one has then no log that could go on from it.
        self.log.as_mut().is_some_and(|log| log.erase().is_ok())
    }
}

/// Desk of the writer: the thread of the store takes calls from a queue; a caller who finds nobody does without it.
pub(super) struct WriterDesk {
    writer: Mutex<Writer>,
    /// How many calls are in the queue, or were taken from it and are not made yet.
    queued: AtomicUsize,
}

impl WriterDesk {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer: Mutex::new(writer), queued: AtomicUsize::new(0) }
    }

    /// Makes a call on this thread; gives it back, to be queued, where that may take long or others are before it.
    pub(super) fn make_here(&self, job: WriteJob) -> Result<(), WriteJob> {
        if self.queued.load(Ordering::SeqCst) > 0 {
            return Err(job);
        }
        let Some(mut writer) = self.writer.try_lock() else { return Err(job) };
        if !writer.is_quick() {
            return Err(job);
        }
        writer.carry_out_all(VecDeque::from([job]));
        Ok(())
    }

    /// Counts a call that is about to be queued.
    pub(super) fn note_queued(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes what is queued until nobody can call any more, then closes the file.
    pub(super) fn run(&self, mut queue: mpsc::Receiver<WriteJob>) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let mut before = 0;
        while queue.blocking_recv_many(&mut jobs, BATCH_MAX) > 0 {
            gather(&mut queue, &mut jobs, before);
            before = jobs.len();
            self.writer.lock().carry_out_all(jobs.drain(..).collect());
            self.queued.fetch_sub(before, Ordering::SeqCst);
        }
        self.writer.lock().close();
    }
}

/// Waits a moment for those who were answered with the last batch and will call again at once: the first of them would
/// else have a sync for itself, and all others wait for it.
fn gather(queue: &mut mpsc::Receiver<WriteJob>, jobs: &mut Vec<WriteJob>, before: usize) {
    if before < GATHER_FROM || jobs.len() * 2 > before {
        return;
    }
    std::thread::sleep(GATHER_TIME);
    while jobs.len() < BATCH_MAX {
        let Ok(job) = queue.try_recv() else { break };
        jobs.push(job);
    }
}

impl WritePause {
    /// The next one after `before`, longer than that.
    fn after(before: Option<Self>, failure: FileFailure) -> Self {
        let failures = before.map_or(1, |before| before.failures.saturating_add(1));
        Self { failure, failures, until: Instant::now() + BACKOFF.after(failures, 0.0) }
    }
}
