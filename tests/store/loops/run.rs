//! The clients, and rounds of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use super::judge::{self, Change, History, Read};
use super::{Door, Record, Seen, Told};
use crate::linearizable::{Chance, Span};

/// As many as the fault that overwrites one change in a thousand takes.
const CLIENTS: usize = 8;
/// How many changes of a record are judged together.
const ROUND_CHANGES_MAX: usize = 2_000;
const ROUND_MAX: Duration = Duration::from_millis(1_500);
/// How long a record may be out of reach before a round; daemons are killed meanwhile.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// What a run has seen.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub rounds: u64,
    pub done: u64,
    pub refused: u64,
    pub failed: u64,
    pub unknown: u64,
    /// What was said of one that failed, and of one whose outcome is unknown.
    pub said: [Option<String>; 2],
}

impl Summary {
    fn count(&mut self, history: &History) {
        let [failed, unknown] = &mut self.said;
        for change in &history.changes {
            match &change.told {
                Told::Done { .. } => self.done += 1,
                Told::Refused { .. } => self.refused += 1,
                Told::Failed(why) => {
                    self.failed += 1;
                    failed.get_or_insert_with(|| why.clone());
                }
                Told::Unknown(why) => {
                    self.unknown += 1;
                    unknown.get_or_insert_with(|| why.clone());
                }
            }
        }
    }
}

/// Runs rounds for some time, each judged when it is over.
///
/// `records` are those of each round.
///
/// # Errors
/// What no registry may do, with the round's seed.
pub(super) async fn rounds(
    doors: &[Arc<dyn Door>],
    seed: u64,
    time: Duration,
    mut records: impl AsyncFnMut(u64) -> Result<Vec<Record>>,
) -> Result<Summary> {
    let (began, mut summary) = (Instant::now(), Summary::default());
    while began.elapsed() < time {
        let of_round = records(summary.rounds).await?;
        let chance = seed.wrapping_add(summary.rounds);
        let left = time.saturating_sub(began.elapsed()).min(ROUND_MAX);
        let history = round(doors, chance, left, &of_round).await?;
        summary.rounds += 1;
        summary.count(&history);
        judge::judge(&history)
            .map_err(|violation| anyhow::anyhow!("round {}: {violation}", summary.rounds))?;
    }
    ensure!(summary.done > 0, "nothing was changed: {summary:?}");
    println!("{summary:?}");
    Ok(summary)
}

/// What all clients of a round share.
struct Round {
    doors: Vec<Arc<dyn Door>>,
    records: Vec<Record>,
    ticks: AtomicU64,
    values: AtomicU64,
    over: AtomicBool,
    history: Mutex<History>,
}

async fn round(doors: &[Arc<dyn Door>], seed: u64, time: Duration, records: &[Record]) -> Result<History> {
    let mut before = BTreeMap::new();
    for record in records {
        before.insert(record.clone(), read_somewhere(doors, record).await?);
    }
    let first = before.values().map(|seen| seen.value).max().unwrap_or_default();
    let round = Arc::new(Round {
        doors: doors.to_vec(),
        records: records.to_vec(),
        ticks: AtomicU64::new(1),
        values: AtomicU64::new(first + 1),
        over: AtomicBool::new(false),
        history: Mutex::new(History { before, ..History::default() }),
    });
    let mut clients = JoinSet::new();
    for number in 1..=CLIENTS as u64 {
        // On threads of their own, so that they meet inside a decision as well.
        clients.spawn(round.clone().client(Chance::of(seed ^ (number << 40))));
    }
    // Earlier when there is enough to judge.
    let _ = tokio::time::timeout(time, ended(&mut clients)).await;
    round.over.store(true, Ordering::Relaxed);
    ended(&mut clients).await?;
    let mut history = std::mem::take(&mut *round.history.lock().unwrap_or_else(PoisonError::into_inner));
    for record in records {
        // Whatever door: what was answered is there for everybody who has waited for it.
        let seen = read_at_least(doors, record, judge::newest(&history, record)).await?;
        history.after.insert(record.clone(), seen);
    }
    Ok(history)
}

async fn ended(clients: &mut JoinSet<()>) -> Result<()> {
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    Ok(())
}

impl Round {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// Changes records on the version that it last saw of each, until the round is over.
    async fn client(self: Arc<Self>, mut chance: Chance) {
        let mut seen: BTreeMap<&Record, Seen> = BTreeMap::new();
        while !self.over.load(Ordering::Relaxed) {
            let record = &self.records[chance.below(self.records.len() as u64) as usize];
            let door = &self.doors[chance.below(self.doors.len() as u64) as usize];
            let known = match seen.get(record) {
                Some(known) if !chance.once_in(4) => *known,
                Some(_) | None => {
                    let Ok(known) = door.read(record).await else {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    self.note(|history| history.reads.push(Read { record: record.clone(), seen: known }));
                    known
                }
            };
            let next = self.change(record, door.as_ref(), known).await;
            match next {
                Some(next) => seen.insert(record, next),
                None => seen.remove(record),
            };
        }
    }

    /// One change; what the client has then seen of the record, if it knows.
    async fn change(&self, record: &Record, door: &dyn Door, known: Seen) -> Option<Seen> {
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let invoked = self.tick();
        let told = door.change(record, known.version, value).await;
        let span = Span { invoked, answered: self.tick() };
        let next = match &told {
            Told::Done { version } => Some(Seen { version: *version, value }),
            // The value is not told, and nobody asks for it: what counts is the version.
            Told::Refused { actual } => Some(Seen { version: *actual, value: 0 }),
            Told::Failed(_) | Told::Unknown(_) => None,
        };
        self.note(|history| {
            history.changes.push(Change {
                record: record.clone(),
                span,
                expected: known.version,
                value,
                told,
            });
            if history.changes.len() >= ROUND_CHANGES_MAX * self.records.len() {
                self.over.store(true, Ordering::Relaxed);
            }
        });
        next
    }

    fn note(&self, note: impl FnOnce(&mut History)) {
        note(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn read_somewhere(doors: &[Arc<dyn Door>], record: &Record) -> Result<Seen> {
    read_at_least(doors, record, 0).await
}

/// Reads a record through the doors, one after the other, until one shows at least this version.
async fn read_at_least(doors: &[Arc<dyn Door>], record: &Record, version: u64) -> Result<Seen> {
    let began = Instant::now();
    for door in doors.iter().cycle() {
        let seen = door.read(record).await;
        if let Ok(seen) = &seen
            && seen.version >= version
        {
            return Ok(*seen);
        }
        if began.elapsed() > READ_PATIENCE {
            let seen = seen.with_context(|| format!("{record:?} cannot be read"))?;
            anyhow::bail!("{record:?} is lost: version {version} was acknowledged, and {seen:?} is there");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("there is no door")
}
