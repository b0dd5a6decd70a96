//! The optimistic store: the rules over any medium with a conditional transaction, so that a backend on one writes no rules.
//!
//! A step runs over the rows that were read so far. Where it lacks some, these are read, and it runs again; where it lacks
//! none, what it changes is written on the condition that nothing it has read was changed meanwhile, and that no life that it
//! found live has ended. Else it begins anew, a bounded number of times.

mod housekeeping;
mod loaded;
mod medium;
mod tables;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::loaded::LoadedRows;
use self::tables::{RunChanges, RunTables};
use crate::chance::random_part;
use crate::rules::{self, ReaderLag, State, Step};
use crate::{
    Commit, CommitError, CommitOutcome, Epoch, GroupRef, HousekeepingOutcome, IdempotencyKey, Leases,
    LogPage, OpenGroup, OpenedGroup, Pulse, PulseAnswer, Retention, Revision, Scan, ScanPage, Store,
    StoreError, limits,
};

pub use self::medium::{
    ConditionalStore, KeyRange, MediumReading, RangeQuery, RangeRows, RowVersion, RowWrite, WriteConditions,
};

/// How often a step is begun while others change what it reads, and the pause behind the first attempt and the longest.
const ATTEMPTS_MAX: u32 = 48;
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(64);
/// The most readings of one attempt: a page of large records takes one for each few of them.
const READINGS_MAX: usize = 1024;

/// The keys of the two rows about the store as a whole.
const STATE: &[u8] = b"s";
const HEARD: &[u8] = b"h";

/// A renewal is written down for all once it comes more than this part of the grace behind the one that is there. A silence
/// is noticed so much too early, and never late: the fewer parts, the sooner a mesh counts as silent whose daemons renew as
/// seldom as they may; the more, the more often renewals are in each other's way.
const HEARD_PARTS: u32 = 8;

/// A store on a medium that several processes may share.
pub struct OptimisticStore<M> {
    medium: M,
    quarantine: Duration,
    seen: Mutex<SeenStore>,
}

/// The greatest that this process has seen of a store. What begins once the medium has lost some of that is above all.
#[derive(Clone, Copy, Default)]
struct SeenStore {
    epoch: Epoch,
    head: Revision,
    now: Millis,
}

/// Outcome of one run of a step.
enum StepRun<R> {
    Lacks(Vec<RangeQuery>),
    /// With the state that it leaves.
    Ran {
        result: R,
        changes: RunChanges,
        after: State,
    },
}

impl<M: ConditionalStore> OptimisticStore<M> {
    /// The store on `medium`. Where the medium lacks what this process has seen of it, a new epoch begins with this
    /// `quarantine`: as long as a session may trust what was granted before.
    pub fn new(medium: M, quarantine: Duration) -> Self {
        Self { medium, quarantine, seen: Mutex::default() }
    }

    /// From now on for `length`, grants nobody a scope and judges nobody gone.
    ///
    /// # Errors
    /// Those of the medium.
    pub async fn quarantine(&self, length: Duration) -> Result<(), StoreError> {
        self.run(|step| step.quarantine(length)).await
    }

    /// Runs `step` until it was one atomic step.
    async fn run<R: Send, E: From<StoreError> + Send>(
        &self,
        step: impl Fn(&mut Step<'_, RunTables<'_>>) -> Result<R, E> + Send + Sync,
    ) -> Result<R, E> {
        let mut queries = Vec::new();
        let mut pause = PAUSE_FIRST;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(result) = self.attempt(&mut queries, &step).await? {
                return result;
            }
            sleep(pause.mul_f64(0.5 + random_part() / 2.0)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(StoreError::Unavailable("others change the same all the time".into()).into())
    }

    /// One attempt, which first asks `queries`; `None`: others were faster, and `queries` are what it rested on.
    async fn attempt<R: Send, E: From<StoreError> + Send>(
        &self,
        queries: &mut Vec<RangeQuery>,
        step: &(impl Fn(&mut Step<'_, RunTables<'_>>) -> Result<R, E> + Send + Sync),
    ) -> Result<Option<Result<R, E>>, StoreError> {
        let mut loaded = LoadedRows::default();
        let mut asked = [STATE, HEARD].map(RangeQuery::of_key).to_vec();
        asked.extend_from_slice(queries);
        for readings in 1..=READINGS_MAX {
            loaded.take(&asked, self.medium.read(&asked).await?);
            let found = written_state(&loaded)?;
            let Some(state) = found.filter(|(state, _)| !self.seen.lock().is_ahead_of(state)) else {
                self.begin(&loaded, found.map(|(state, _)| state)).await?;
                return Ok(None);
            };
            let (result, changes, after) = match self.run_over(&loaded, state, step)? {
                StepRun::Ran { result, changes, after } => (result, changes, after),
                StepRun::Lacks(missing) => {
                    queries.extend_from_slice(&missing);
                    asked = missing;
                    continue;
                }
            };
            // What was read at one moment needs no check.
            let is_done = changes.writes.is_empty() && readings == 1 || {
                let unchanged = loaded.conditions(&changes.used);
                let conditions = WriteConditions { unchanged, before: changes.live_until };
                self.medium.write_if(&conditions, &changes.writes).await?
            };
            if is_done {
                self.note(&after);
                return Ok(Some(result));
            }
            queries.retain(|query| is_used(query, &changes.used));
            return Ok(None);
        }
        Err(StoreError::Unavailable("a step reads too much".into()))
    }

    /// Runs the step once over what was read.
    fn run_over<R, E>(
        &self,
        loaded: &LoadedRows,
        (before, written): (State, Millis),
        step: &impl Fn(&mut Step<'_, RunTables<'_>>) -> Result<R, E>,
    ) -> Result<StepRun<Result<R, E>>, StoreError> {
        let now = self.time(loaded.now.max(written).max(before.heard.at), before);
        let mut tables = RunTables::over(loaded, now);
        // Each step rests on the epoch.
        tables.row(STATE);
        let mut state = before;
        let result = step(&mut Step { tables: &mut tables, state: &mut state, now });
        let missing = tables.take_missing();
        if !missing.is_empty() {
            return Ok(StepRun::Lacks(missing));
        }
        if result.is_ok() {
            put_state(&mut tables, &before, &state, now);
        }
        let mut changes = tables.into_changes()?;
        if result.is_err() {
            (changes.writes, state) = (Vec::new(), before);
        }
        Ok(StepRun::Ran { result, changes, after: state })
    }

    /// Begins the epoch of a store that has none, or of one that has lost what was there, unless somebody else does. Entries of
    /// the log that are left of that are for housekeeping.
    async fn begin(&self, loaded: &LoadedRows, found: Option<State>) -> Result<(), StoreError> {
        let seen = *self.seen.lock();
        let now = loaded.now.max(seen.now);
        let mut state = found.unwrap_or_default();
        if seen.epoch > Epoch(0) {
            state.head = Revision(seen.head.max(state.head).0.saturating_add(1));
            (state.trimmed_through, state.log_entries) = (state.head, 0);
            state.quarantine_until = now.after(self.quarantine);
        }
        let after_all = seen.epoch.max(state.epoch).0.saturating_add(1);
        state.epoch = Epoch(after_all.max(now.0));
        let unchanged = loaded.conditions(&BTreeSet::from([STATE.to_vec()]));
        let conditions = WriteConditions { unchanged, before: None };
        let row = rules::state_row(&state, now, 0, [0; 2]);
        let written = RowWrite { key: STATE.to_vec(), row: Some(row.into()) };
        self.medium.write_if(&conditions, &[written]).await.map(drop)
    }

    /// Store time, which does not go back; and notes what the store is found in.
    fn time(&self, now: Millis, state: State) -> Millis {
        self.note(&state);
        let mut seen = self.seen.lock();
        seen.now = seen.now.max(now);
        seen.now
    }

    /// Notes what the store is found in, or left in.
    fn note(&self, state: &State) {
        let mut seen = self.seen.lock();
        (seen.epoch, seen.head) = (seen.epoch, seen.head).max((state.epoch, state.head));
    }

    /// The log behind `after`, how far that is behind, and when that was so.
    async fn log_now(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<(ReaderLag, LogPage, RowVersion), StoreError> {
        self.run(|step| {
            let behind = rules::behind(step.state, after);
            let entries = match behind {
                ReaderLag::Something => rules::log_behind(step.tables, after, limit)?,
                ReaderLag::Nothing | ReaderLag::Compacted => Vec::new(),
            };
            let State { epoch, head, .. } = *step.state;
            let page = LogPage { epoch, head, entries, compacted: behind == ReaderLag::Compacted };
            Ok((behind, page, step.tables.read_at()))
        })
        .await
    }
}

impl SeenStore {
    /// Whether the store has lost what was seen of it. One that was read before others changed it looks like that as well,
    /// and then nothing can be written in its place.
    fn is_ahead_of(&self, state: &State) -> bool {
        (state.epoch, state.head) < (self.epoch, self.head)
    }
}

/// The state in the two rows, and the store time that was written with it; `None`: there is no store.
fn written_state(loaded: &LoadedRows) -> Result<Option<(State, Millis)>, StoreError> {
    let Some(row) = loaded.row(STATE) else { return Ok(None) };
    let (mut state, written, ..) = rules::state_from_row(row)?;
    if let Some(row) = loaded.row(HEARD) {
        (state.heard, state.grace) = rules::heard_from_row(row)?;
    }
    Ok(Some((state, written)))
}

/// Whether a query asks for a range that begins at one of `used`.
fn is_used(query: &RangeQuery, used: &BTreeSet<Vec<u8>>) -> bool {
    let KeyRange { from, to } = &query.range;
    !query.range.is_empty() && used.range(from.clone()..to.clone()).next().is_some()
}

/// Whether others have to know who was heard. That a grace has ended they know by the time.
fn is_heard_news(before: &State, after: &State) -> bool {
    let (known, heard) = (before.heard, after.heard);
    let is_late = !heard.grace.is_zero() && heard.at.since(known.at) > heard.grace / HEARD_PARTS;
    is_late || heard.grace != known.grace || after.grace.is_some() && after.grace != before.grace
}

/// Writes what has changed of the state, and of renewals what others have to know: all steps that judge the silence of all
/// rest on that row.
fn put_state(tables: &mut RunTables<'_>, before: &State, after: &State, now: Millis) {
    if is_heard_news(before, after) {
        tables.put_row(HEARD.to_vec(), rules::heard_row(after));
    }
    if *before != (State { heard: before.heard, grace: before.grace, ..*after }) {
        tables.put_row(STATE.to_vec(), rules::state_row(after, now, 0, [0; 2]));
    }
}

/// The error of a step behind that of `beat`, which is made.
fn behind_renewals(error: StoreError, beat: &Pulse) -> StoreError {
    match error {
        StoreError::Unavailable(why) if !beat.renew.is_empty() => StoreError::OutcomeUnknown(why),
        error => error,
    }
}

#[async_trait]
impl<M: ConditionalStore> Store for OptimisticStore<M> {
    fn name(&self) -> &str {
        self.medium.name()
    }

    /// Looks for what has moved in a step of its own, behind the renewals: else each renewal of another daemon would be in
    /// its way. Where the store cannot be reached in that one, the renewals have been made, and the outcome counts as unknown.
    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        let beat = Pulse { moved_since: Millis(u64::MAX), ..pulse.clone() };
        let mut answer = self.run(|step| step.pulse(&beat)).await?;
        if pulse.moved_since < Millis(u64::MAX) {
            let asked = Pulse { renew: Vec::new(), ..pulse };
            let moved = self.run(|step| step.pulse(&asked)).await;
            answer.moved = moved.map_err(|error| behind_renewals(error, &beat))?.moved;
        }
        Ok(answer)
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.run(|step| step.open_group(&open)).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.run(|step| step.close_group(epoch, &group)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        self.run(|step| step.commit(&commit)).await
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        self.run(|step| rules::recall(step.tables, key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.run(|step| rules::scan(step.tables, step.state, step.now, &scan)).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.run(|step| rules::leases(step.tables, step.state)).await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        limits::page(limit)?;
        let begun = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            let (behind, page, read_at) = self.log_now(after, limit).await?;
            let left = wait.saturating_sub(begun.elapsed());
            if behind != ReaderLag::Nothing || left.is_zero() {
                return Ok(page);
            }
            // The medium may say at once that something has changed, though nothing has that concerns the log.
            sleep(pause.min(left)).await;
            pause = (pause * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
            let left = wait.saturating_sub(begun.elapsed());
            self.medium.await_change(&KeyRange::of_key(STATE), read_at, left).await?;
        }
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.housekeep_by_parts(epoch, &keep).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::rules::{Table, Tables, TablesMut};

    /// A medium on which others are always faster.
    #[derive(Default)]
    struct OvertakenRows {
        version: AtomicU64,
        asked_most: AtomicUsize,
    }

    #[async_trait]
    impl ConditionalStore for OvertakenRows {
        fn name(&self) -> &str {
            "overtaken rows"
        }

        async fn read(&self, queries: &[RangeQuery]) -> Result<MediumReading, StoreError> {
            self.asked_most.fetch_max(queries.len(), Ordering::SeqCst);
            let state = State { epoch: Epoch(1), ..State::default() };
            let answer = |query: &RangeQuery| {
                let is_state = query.range.from == STATE;
                let row =
                    is_state.then(|| (STATE.to_vec(), rules::state_row(&state, Millis(1), 0, [0; 2]).into()));
                RangeRows { rows: row.into_iter().collect(), more: false }
            };
            let version = RowVersion(self.version.load(Ordering::SeqCst));
            Ok(MediumReading { now: Millis(1), version, answers: queries.iter().map(answer).collect() })
        }

        async fn write_if(&self, _: &WriteConditions, _: &[RowWrite]) -> Result<bool, StoreError> {
            self.version.fetch_add(1, Ordering::SeqCst);
            Ok(false)
        }

        async fn await_change(&self, _: &KeyRange, _: RowVersion, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Each attempt needs the row of the version that it finds.
    #[tokio::test(start_paused = true)]
    async fn an_attempt_asks_for_what_the_one_before_rested_on_and_no_more() {
        let store = OptimisticStore::new(OvertakenRows::default(), Duration::ZERO);
        let refused: Result<(), StoreError> = store
            .run(|step| {
                let key = step.tables.read_at().0.to_be_bytes();
                step.tables.get(Table::Leases, &key)?;
                step.tables.put(Table::Leases, &key, b"x")
            })
            .await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(store.medium.asked_most.load(Ordering::SeqCst), 3);
    }
}
