//! What the embedded store keeps through kills, power loss, failing and full disks.

mod damaged;
mod disks;
mod failing;
mod file;
mod kill;
mod lost;
mod offline;
mod power_loss;
mod renewals;
mod restored;
mod skew;
mod wal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::split_mix::{STEP, split_mix};
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, Idempotency, IdempotencyKey, LogEntry, PAGE_MAX, Precondition,
    Pulse, RecordId, RecordKind, Revision, Scan, Store, StoreError, Version, Write,
};

const COUNTERS: RecordKind = RecordKind::of("counter");
const AUDIT: RecordKind = RecordKind::of("audit");

/// What writers were told about their commits.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    made: BTreeMap<String, Revision>,
    not_made: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// A writer that counts one record up, with an audit record beside it, under a key for each step.
pub(crate) struct Counting {
    pub epoch: Epoch,
    pub writer: String,
    pub count: u64,
}

impl Counting {
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.writer, self.count)
    }

    /// The commit that counts from `self.count` to the next.
    pub(crate) fn commit(&self) -> Commit {
        let id = RecordId::new(COUNTERS, self.writer.clone());
        let audit = RecordId::new(AUDIT, self.id());
        let value = Bytes::from(self.id().repeat(20));
        Commit {
            preconditions: vec![Precondition::Version { id: id.clone(), version: Version(self.count) }],
            writes: vec![
                Write::Put { id, value: value.clone(), group: None },
                Write::Put { id: audit, value, group: None },
            ],
            idempotency: Some(Idempotency { key: key(&self.id()), request_hash: 1, answer: Bytes::new() }),
            writer: self.writer.as_str().into(),
            epoch: self.epoch,
            ..Commit::default()
        }
    }

    /// Where a writer goes on in a store that it finds.
    pub(crate) async fn resume(store: &dyn Store, writer: &str) -> Result<Self, StoreError> {
        let records = all(store, COUNTERS).await?;
        let version = records.get(writer).map_or(0, |version| version.0);
        let epoch = store.pulse(Pulse::default()).await?.epoch;
        Ok(Self { epoch, writer: writer.to_owned(), count: version })
    }
}

impl Ledger {
    /// Writes down what the writer was told, and whether it may go on counting.
    pub(crate) fn note(&self, id: &str, result: &Result<CommitOutcome, CommitError>) -> bool {
        let mut told = self.0.lock().unwrap();
        let id = id.to_owned();
        // It may have been refused when it was tried before.
        told.not_made.remove(&id);
        match result {
            Ok(CommitOutcome::Done(entry)) => _ = told.made.insert(id, entry.revision),
            Ok(CommitOutcome::Replayed { revision, .. }) => _ = told.made.insert(id, *revision),
            Err(CommitError::Store(StoreError::OutcomeUnknown(_))) => _ = told.unknown.insert(id),
            Err(CommitError::Store(StoreError::Unavailable(_) | StoreError::Full(_))) => {
                told.not_made.insert(id);
            }
            Err(other) => panic!("{id}: {other}"),
        }
        result.is_ok()
    }

    pub(crate) fn note_made(&self, id: &str, revision: Revision) {
        self.0.lock().unwrap().made.insert(id.to_owned(), revision);
    }

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let told = self.0.lock().unwrap();
        (told.made.len(), told.not_made.len(), told.unknown.len())
    }

    /// Compares a store with all that was told about it: nothing acknowledged is missing, nothing
    /// is there twice or although it was refused, and log, records and answers agree.
    pub(crate) async fn check(&self, store: &dyn Store) {
        let entries = whole_log(store).await;
        let mut logged = BTreeMap::new();
        for entry in &entries {
            let audit =
                entry.changes.iter().find(|change| change.after.id.kind == AUDIT).expect("an audit record");
            assert_eq!(entry.changes.len(), 2, "half of {}", audit.after.id);
            assert_eq!(
                logged.insert(audit.after.id.key.clone(), entry.revision),
                None,
                "{} twice",
                audit.after.id
            );
        }
        let told = self.0.lock().unwrap().made.clone();
        for (id, revision) in &told {
            assert_eq!(logged.get(id), Some(revision), "{id} was acknowledged");
        }
        let not_made = self.0.lock().unwrap().not_made.clone();
        let made: Vec<_> = not_made.iter().filter(|id| logged.contains_key(*id)).collect();
        assert!(made.is_empty(), "made, although it was said that nothing was changed: {made:?}");
        let audits = all(store, AUDIT).await.unwrap();
        assert_eq!(
            audits.keys().collect::<Vec<_>>(),
            logged.keys().collect::<Vec<_>>(),
            "records and log differ"
        );
        let counted: u64 = all(store, COUNTERS).await.unwrap().values().map(|version| version.0).sum();
        assert_eq!(counted, logged.len() as u64, "the versions are what was counted");
        for (id, revision) in logged.iter().rev().take(50) {
            match store.recall(&key(id)).await.unwrap() {
                Some((1, CommitOutcome::Replayed { revision: told, .. })) => assert_eq!(told, *revision),
                other => panic!("{id}: {other:?}"),
            }
        }
    }
}

/// Reads the log from its beginning, and checks its chain.
async fn whole_log(store: &dyn Store) -> Vec<Arc<LogEntry>> {
    let (mut entries, mut seen) = (Vec::new(), Revision(0));
    loop {
        let page = store.log(seen, PAGE_MAX, Duration::ZERO).await.unwrap();
        assert!(!page.compacted);
        for entry in page.entries {
            assert_eq!(entry.previous, seen, "the chain of revisions");
            seen = entry.revision;
            entries.push(entry);
        }
        if seen == page.head {
            return entries;
        }
    }
}

async fn all(store: &dyn Store, kind: RecordKind) -> Result<BTreeMap<String, Version>, StoreError> {
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let scan = Scan { kind: kind.clone(), after: after.take(), backwards: false, limit: PAGE_MAX };
        let page = store.scan(scan).await?;
        after = page.records.last().map(|record| record.id.key.clone());
        found.extend(page.records.into_iter().map(|record| (record.id.key, record.version)));
        if !page.more {
            return Ok(found);
        }
    }
}

fn key(id: &str) -> IdempotencyKey {
    IdempotencyKey { principal: "test".into(), method: "/test/Count".into(), id: id.into() }
}

/// A generator of numbers that a seed repeats.
pub(crate) struct Chance(u64);

impl Chance {
    /// Seeded by `STORE_TEST_SEED` if it is set, else by the time; says so in the output.
    pub(crate) fn seeded(test: &str) -> Self {
        let given = std::env::var("STORE_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("{test}: repeat with STORE_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        split_mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
