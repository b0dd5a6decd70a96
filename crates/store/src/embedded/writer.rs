//! The one thread that writes: it takes all calls that wait and makes them in one transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use omnirelay_core::backoff::Backoff;
use omnirelay_core::time::Millis;
use redb::WriteTransaction;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::super::rules::Step;
use super::disk::Disk;
use super::failure::Failure;
use super::open;
use super::opening::Note;
use super::shared::{Groups, Shared};
use super::tables::{Batch, Changed, Written};

/// The most calls that share one transaction.
const BATCH_MAX: usize = 256;
/// From how many calls in a batch on the next one waits for its callers, and for how long.
const GATHER_FROM: usize = 8;
const GATHER_TIME: Duration = Duration::from_micros(100);
/// How long a file that failed is left alone, at first and at most.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How often it is noted that renewals are heard which are not written: a restart knows by that until when they were.
const NOTED_EVERY: Duration = Duration::from_millis(250);

/// A call: makes its step, unless the file has failed before it, and then waits for its fate.
pub(super) type Job = Box<dyn for<'a, 'b> FnOnce(Option<&mut Step<'a, Batch<'b>>>) -> Finish + Send>;
/// Answers the call.
pub(super) type Finish = Box<dyn FnOnce(&Fate) + Send>;

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Fate {
    Kept,
    NotMade(Failure),
    Unknown(Failure),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    jobs: mpsc::Receiver<Job>,
    pause: Option<Pause>,
    /// Store time of the last note.
    noted_at: Millis,
}

/// After a failure: why, and until when nothing is written.
struct Pause {
    failure: Failure,
    /// How often in a row it has failed.
    failures: u32,
    until: Instant,
}

/// A call that has made its step.
struct Waiting {
    finish: Finish,
    changed: bool,
}

/// Where a transaction failed.
enum Failed {
    /// Before it was committed: nothing of it is in the file.
    Before,
    /// While it was committed.
    Committing(Attempt),
}

/// A batch of which only the file knows whether it was committed.
struct Attempt {
    /// Its number: the file has this one or a later one if it was.
    batch: u64,
    /// The groups as its callers are told they are, renewals that are not written included.
    groups: Groups,
}

impl Attempt {
    fn of(batch: u64, changed: Changed) -> Self {
        let groups = changed.groups.into_iter().filter_map(|(id, group)| Some((id, group?))).collect();
        Self { batch, groups }
    }

    fn is_in(&self, file: &Written) -> bool {
        self.batch <= file.batch
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, disk: Box<dyn Disk>, jobs: mpsc::Receiver<Job>) -> Self {
        Self { shared, disk, jobs, pause: None, noted_at: Millis(0) }
    }

    /// Works until nobody can call any more, then closes the file.
    pub fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let mut before = 0;
        while self.jobs.blocking_recv_many(&mut jobs, BATCH_MAX) > 0 {
            self.gather(&mut jobs, before);
            before = jobs.len();
            // A panic of the engine below must not end the only writer. Whoever it leaves without
            // an answer is told that the outcome is unknown.
            if catch_unwind(AssertUnwindSafe(|| self.carry_out(&mut jobs))).is_err() {
                jobs.clear();
            }
        }
        self.close();
    }

    /// Waits a moment for those who were answered with the last batch and will call again at once:
    /// the first of them would else have a sync for itself, and all others wait for it.
    fn gather(&mut self, jobs: &mut Vec<Job>, before: usize) {
        if before < GATHER_FROM || jobs.len() * 2 > before {
            return;
        }
        std::thread::sleep(GATHER_TIME);
        while jobs.len() < BATCH_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            jobs.push(job);
        }
    }

    fn carry_out(&mut self, jobs: &mut Vec<Job>) {
        if let Err(failure) = self.ready() {
            let fate = Fate::NotMade(failure);
            jobs.drain(..).for_each(|job| job(None)(&fate));
            return;
        }
        let mut waiting = Vec::with_capacity(jobs.len());
        let attempt = catch_unwind(AssertUnwindSafe(|| self.transact(jobs, &mut waiting)));
        let fate = match attempt {
            Ok(Ok(())) => Fate::Kept,
            Ok(Err(failed)) => self.judge(failed),
            Err(_) => {
                self.shared.use_database(None);
                let failure = Failure::new(&self.shared.path, "the storage engine gave up");
                self.hold_off(failure.clone());
                Fate::Unknown(failure)
            }
        };
        jobs.drain(..).for_each(|job| waiting.push(Waiting { finish: job(None), changed: false }));
        for Waiting { finish, changed } in waiting {
            match &fate {
                Fate::Unknown(failure) if !changed => finish(&Fate::NotMade(failure.clone())),
                fate => finish(fate),
            }
        }
    }

    /// Makes all steps in one transaction and commits it, if there is anything to commit.
    fn transact(&mut self, jobs: &mut Vec<Job>, waiting: &mut Vec<Waiting>) -> Result<(), Failed> {
        let transaction = self.begin()?;
        let (written, changed) = self.step_all(&transaction, jobs, waiting)?;
        if changed.writes == 0 {
            transaction.abort().map_err(|_| Failed::Before)?;
            if !changed.groups.is_empty() && written.clock >= self.noted_at.after(NOTED_EVERY) {
                self.note(&written);
            }
            self.shared.show(&written, changed);
            return Ok(());
        }
        if transaction.commit().is_err() {
            return Err(Failed::Committing(Attempt::of(written.batch, changed)));
        }
        self.note(&written);
        self.shared.counted.transactions.fetch_add(1, Ordering::Relaxed);
        self.shared.show(&written, changed);
        self.pause = None;
        Ok(())
    }

    /// Notes what the file holds now. A note that stays behind is no harm.
    fn note(&mut self, written: &Written) {
        self.noted_at = written.clock;
        if let Err(error) = self.disk.note(Note::of(written)) {
            debug!(path = %self.shared.path.display(), %error, "batch was not noted beside the store file");
        }
    }

    fn step_all(
        &self,
        transaction: &WriteTransaction,
        jobs: &mut Vec<Job>,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(Written, Changed), Failed> {
        let shown = self.shared.shown();
        let refusal = self.pause.as_ref().filter(|pause| Instant::now() < pause.until);
        let refusal = refusal.map(|pause| &pause.failure);
        let mut tables = Batch::of(transaction, &shown.groups, refusal).map_err(|_| Failed::Before)?;
        let opening = self.shared.opening;
        let mut written =
            Written { state: shown.state, clock: self.shared.clock.now(), batch: shown.batch, opening };
        for job in jobs.drain(..) {
            let writes = tables.changed.writes;
            let now = self.shared.clock.now();
            let broken = tables.is_broken();
            let mut step = Step { tables: &mut tables, state: &mut written.state, now };
            let finish = job((!broken).then_some(&mut step));
            written.clock = now;
            waiting.push(Waiting { finish, changed: tables.changed.writes > writes });
        }
        if tables.changed.writes > 0 {
            written.batch += 1;
            // A failure is remembered by the tables.
            let _ = tables.put_written(&written);
        }
        if tables.is_broken() {
            return Err(Failed::Before);
        }
        Ok((written, std::mem::take(&mut tables.changed)))
    }

    /// Opens the file anew after a failure, and finds out from it what became of the batch.
    fn judge(&mut self, failed: Failed) -> Fate {
        let failure = self.failure();
        self.hold_off(failure.clone());
        self.shared.use_database(None);
        let attempt = match failed {
            Failed::Before => None,
            Failed::Committing(attempt) => Some(attempt),
        };
        let reopened = self.reopen(attempt.as_ref());
        let Some(attempt) = attempt else { return Fate::NotMade(failure) };
        match reopened {
            Ok(written) if attempt.is_in(&written) => Fate::Kept,
            Ok(_) => Fate::NotMade(failure),
            Err(_) => Fate::Unknown(failure),
        }
    }

    /// Makes sure that the file is open, if it is time to try.
    fn ready(&mut self) -> Result<(), Failure> {
        if self.shared.database().is_some() {
            return Ok(());
        }
        if let Some(pause) = self.pause.as_ref().filter(|pause| Instant::now() < pause.until) {
            return Err(pause.failure.clone());
        }
        self.reopen(None).map(|_| ()).inspect_err(|failure| self.hold_off(failure.clone()))
    }

    /// Opens the file; if `attempt` is in it, with the renewals that only memory has of it.
    fn reopen(&mut self, attempt: Option<&Attempt>) -> Result<Written, Failure> {
        let (database, written, mut groups) = open::reopen(self.disk.as_mut(), &self.shared)?;
        if let Some(attempt) = attempt.filter(|attempt| attempt.is_in(&written)) {
            open::remember(&mut groups, &attempt.groups);
        }
        self.shared.use_database(Some(database));
        self.shared.show_file(&written, groups);
        info!(path = %self.shared.path.display(), revision = written.state.head.0, "store file opened again");
        Ok(written)
    }

    /// What the medium reported, or that nothing is known.
    fn failure(&self) -> Failure {
        let path = &self.shared.path;
        match self.shared.seen.take_failure() {
            Some((kind, what)) => Failure::of_medium(path, kind, what),
            None => Failure::new(path, "the storage engine refused the transaction"),
        }
    }

    fn hold_off(&mut self, failure: Failure) {
        let failures = self.pause.as_ref().map_or(1, |pause| pause.failures.saturating_add(1));
        if self.pause.is_none() {
            error!(path = %self.shared.path.display(), error = %failure, "store file failed");
        }
        self.pause = Some(Pause { failure, failures, until: Instant::now() + BACKOFF.after(failures, 0.0) });
    }

    /// Writes down the time, so that the next start is not before it, and closes the file. The
    /// next start copes with what fails here, as it does after a crash.
    fn close(mut self) {
        if self.pause.is_none() && self.write_clock().is_err() {
            warn!(path = %self.shared.path.display(), "store file could not be closed cleanly");
        }
        self.shared.use_database(None);
    }

    fn write_clock(&mut self) -> Result<(), Failed> {
        let transaction = self.begin()?;
        let groups = Groups::default();
        let mut tables = Batch::of(&transaction, &groups, None).map_err(|_| Failed::Before)?;
        let written = {
            let shown = self.shared.shown();
            let opening = self.shared.opening;
            Written { state: shown.state, clock: self.shared.clock.now(), batch: shown.batch + 1, opening }
        };
        tables.put_written(&written).map_err(|_| Failed::Before)?;
        drop(tables);
        transaction.commit().map_err(|_| Failed::Before)?;
        self.note(&written);
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, Failed> {
        let database = self.shared.database();
        let database = database.as_ref().ok_or(Failed::Before)?;
        database.begin_write().map_err(|_| Failed::Before)
    }
}
