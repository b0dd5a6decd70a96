//! Runs a plan and writes down what the clients are told.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, LogPage, PAGE_MAX, Precondition, Pulse, Record, RecordId,
    RecordKind, Revision, Scan, ScanPage, Store, StoreError, Version, Write,
};
use tokio::sync::Barrier;

use super::history::{Call, Change, Found, History, Key, Logged, NEVER, Outcome, Read, Span};
use super::plan::{Chance, Intent, Plan};

const KIND: RecordKind = RecordKind::of("linearizable");
/// How often, and how far apart, what frames a round is asked for while a store comes back.
const FRAME_TRIES: u32 = 100;
const FRAME_PAUSE: Duration = Duration::from_millis(100);
/// How long a client waits after a call that failed, so that it still has some when the store is back.
const FAILED_PAUSE: Duration = Duration::from_millis(10);

/// Where the calls of a round begin.
#[derive(Clone)]
struct Round {
    plan: Plan,
    epoch: Epoch,
    head: Revision,
    clock: Arc<AtomicU64>,
}

/// One client: a task with a store of its own.
struct Client {
    round: Round,
    number: usize,
    store: Arc<dyn Store>,
    chance: Chance,
    /// The one it commits in: that of the last answer which named one.
    epoch: Epoch,
    /// The version that each key was seen at last.
    seen: Vec<u64>,
    changes: Vec<Change>,
    reads: Vec<Read>,
}

/// Runs `plan`; `store_of` gives each client, by its number, what it calls.
pub(super) async fn record(plan: &Plan, store_of: impl Fn(usize) -> Arc<dyn Store>) -> History {
    let observer = store_of(0);
    let beat = persist(|| observer.pulse(Pulse::default())).await;
    let clock = Arc::new(AtomicU64::new(0));
    let round = Round { plan: plan.clone(), epoch: beat.epoch, head: beat.head, clock };
    // Begun together, or the first would be done before the last is there.
    let start = Arc::new(Barrier::new(plan.clients));
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| {
            let (client, start) = (Client::new(&round, number, store_of(number)), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                client.run().await
            })
        })
        .collect();
    let mut history = History::default();
    for client in clients {
        let (changes, reads) = client.await.expect("a client ends by itself");
        history.changes.extend(changes);
        history.reads.extend(reads);
    }
    let (epoch, read) = round.last_read(observer.as_ref()).await;
    history.reads.push(read);
    history.log = round.logged(observer.as_ref()).await.filter(|_| epoch == round.epoch);
    history
}

/// Repeats a call that must be answered in the end.
async fn persist<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> T {
    let mut tries = 0;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if tries == FRAME_TRIES => panic!("the store does not come back: {error}"),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(FRAME_PAUSE).await;
    }
}

impl Round {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Stands before the keys of this round, among those of others in one store: each begins at
    /// another head.
    fn prefix(&self) -> String {
        format!("{:016x}-{:016x}-", self.plan.seed, self.head.0)
    }

    fn id(&self, key: Key) -> RecordId {
        RecordId::new(KIND, format!("{}{key:04}", self.prefix()))
    }

    /// Which key of this round a record is of.
    fn key(&self, id: &RecordId) -> Option<Key> {
        if id.kind != KIND {
            return None;
        }
        id.key.strip_prefix(&self.prefix())?.parse().ok()
    }

    /// What is there in the end, which clients were told before must be in it.
    async fn last_read(&self, store: &dyn Store) -> (Epoch, Read) {
        let invoked = self.tick();
        let after = Some(self.prefix());
        let scan = || Scan { kind: KIND, after: after.clone(), backwards: false, limit: self.plan.keys };
        let page = persist(|| store.scan(scan())).await;
        let span = Span { invoked, answered: self.tick() };
        let found = self.covered(&page, 0);
        (page.epoch, Read { name: "last read".to_owned(), span, head: page.head, found })
    }

    /// The log of the round; `None` when the store has begun another epoch, and with it another log.
    async fn logged(&self, store: &dyn Store) -> Option<Vec<Logged>> {
        let (mut after, mut logged) = (self.head, Vec::new());
        loop {
            let page: LogPage = persist(|| store.log(after, PAGE_MAX, Duration::ZERO)).await;
            if page.epoch != self.epoch {
                return None;
            }
            assert!(!page.compacted, "the log of the round is gone");
            let Some(last) = page.entries.last() else { return Some(logged) };
            after = last.revision;
            for entry in &page.entries {
                for change in &entry.changes {
                    let Some(key) = self.key(&change.after.id) else { continue };
                    let (revision, writer) = (entry.revision, entry.writer.to_string());
                    logged.push(Logged { revision, writer, key, found: found(&change.after) });
                }
            }
        }
    }

    /// What a page says of each key it covers, from `first` on: those that it leaves out are not there.
    fn covered(&self, page: &ScanPage, first: Key) -> BTreeMap<Key, Option<Found>> {
        let ours = |record: &Record| Some((self.key(&record.id)?, found(record)));
        let last = page.records.last().filter(|_| page.more).and_then(ours);
        let end = last.map_or(self.plan.keys, |(key, _)| key + 1);
        let mut covered: BTreeMap<Key, Option<Found>> = (first..end).map(|key| (key, None)).collect();
        covered.extend(page.records.iter().filter_map(ours).map(|(key, found)| (key, Some(found))));
        covered
    }
}

fn found(record: &Record) -> Found {
    let value = || u64::from_be_bytes(record.value.as_ref().try_into().expect("a value of eight bytes"));
    Found { version: record.version.0, value: (!record.deleted).then(value) }
}

impl Client {
    fn new(round: &Round, number: usize, store: Arc<dyn Store>) -> Self {
        let (chance, seen) = (round.plan.chance_of(number), vec![0; round.plan.keys]);
        let (round, epoch) = (round.clone(), round.epoch);
        Self { round, number, store, chance, epoch, seen, changes: Vec::new(), reads: Vec::new() }
    }

    async fn run(mut self) -> (Vec<Change>, Vec<Read>) {
        for call in 0..self.round.plan.calls {
            let name = format!("client {} call {call}", self.number);
            match Intent::any(&mut self.chance) {
                Intent::Read => self.read(name).await,
                change => self.change(name, call, change).await,
            }
        }
        (self.changes, self.reads)
    }

    async fn change(&mut self, name: String, number: usize, intent: Intent) {
        let key = self.chance.below(self.round.plan.keys as u64) as Key;
        let value = Some(((self.number as u64) << 32) | number as u64);
        // Now and then the version before, so that a refusal is certain.
        let seen = Some(self.seen[key].saturating_sub(u64::from(self.chance.once_in(8))));
        let call = match intent {
            Intent::Swap => Call { put: value, expected: seen },
            Intent::Put => Call { put: value, expected: None },
            Intent::DeleteSeen => Call { put: None, expected: seen },
            Intent::Delete | Intent::Read => Call { put: None, expected: None },
        };
        let commit = self.commit(&name, key, call);
        let hurried = self.chance.once_in(16).then(|| self.chance.below(40));
        let invoked = self.round.tick();
        self.meet_others().await;
        let answer = unless_hurried(hurried, self.store.commit(commit)).await;
        self.meet_others().await;
        let answered = self.round.tick();
        if let Some(Err(CommitError::Store(StoreError::EpochChanged { current }))) = &answer {
            self.epoch = *current;
        }
        let outcome = answer.map_or(Outcome::Unknown, outcome);
        let answered = if outcome == Outcome::Unknown { NEVER } else { answered };
        match outcome {
            Outcome::Done { version: Some(version), .. } => {
                self.seen[key] = if call.put.is_some() { version } else { 0 };
            }
            Outcome::Refused { actual } => self.seen[key] = actual,
            Outcome::Failed => tokio::time::sleep(FAILED_PAUSE).await,
            Outcome::Done { version: None, .. } | Outcome::Unknown => {}
        }
        self.changes.push(Change { name, key, span: Span { invoked, answered }, call, outcome });
    }

    /// Lets others run in the middle of a call, as a network would: a call of a fast store is over
    /// before another client begins.
    async fn meet_others(&mut self) {
        for _ in 0..self.chance.below(3) {
            tokio::task::yield_now().await;
        }
    }

    fn commit(&self, name: &str, key: Key, call: Call) -> Commit {
        let id = self.round.id(key);
        let version =
            call.expected.map(|version| Precondition::Version { id: id.clone(), version: Version(version) });
        let write = match call.put {
            Some(value) => {
                Write::Put { id, value: Bytes::copy_from_slice(&value.to_be_bytes()), group: None }
            }
            None => Write::Delete { id },
        };
        Commit {
            epoch: self.epoch,
            preconditions: version.into_iter().collect(),
            writes: vec![write],
            writer: name.into(),
            ..Commit::default()
        }
    }

    async fn read(&mut self, name: String) {
        let keys = self.round.plan.keys;
        let first = self.chance.below(keys as u64) as Key;
        let limit = 1 + self.chance.below(keys as u64 + 1) as usize;
        let after = match first {
            0 => self.round.prefix(),
            key => self.round.id(key - 1).key,
        };
        let scan = Scan { kind: KIND, after: Some(after), backwards: false, limit };
        let invoked = self.round.tick();
        self.meet_others().await;
        let answer = self.store.scan(scan).await;
        self.meet_others().await;
        let answered = self.round.tick();
        // A read that was not answered says nothing.
        let Ok(page) = answer else { return tokio::time::sleep(FAILED_PAUSE).await };
        self.epoch = page.epoch;
        let found = self.round.covered(&page, first);
        for (&key, found) in &found {
            let live = found.filter(|found| found.value.is_some());
            self.seen[key] = live.map_or(0, |found| found.version);
        }
        self.reads.push(Read { name, span: Span { invoked, answered }, head: page.head, found });
    }
}

/// The answer of `call`; `None` when it is abandoned after some turns, as by a caller that went away.
async fn unless_hurried<T>(turns: Option<u64>, call: impl Future<Output = T>) -> Option<T> {
    let Some(turns) = turns else { return Some(call.await) };
    let pass = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = pass => None,
    }
}

fn outcome(answer: Result<CommitOutcome, CommitError>) -> Outcome {
    match answer {
        Ok(CommitOutcome::Done(entry)) => {
            let version = entry.changes.first().map(|change| change.after.version.0);
            Outcome::Done { revision: entry.revision, version }
        }
        Ok(CommitOutcome::Replayed { .. }) => panic!("no call has an idempotency key"),
        Err(CommitError::Conflict { actual, .. }) => Outcome::Refused { actual: actual.0 },
        Err(CommitError::Store(StoreError::OutcomeUnknown(_))) => Outcome::Unknown,
        Err(CommitError::Store(_)) => Outcome::Failed,
        Err(other) => panic!("nothing was asked that could be refused so: {other}"),
    }
}
