//! The faults that the loops are for, put in on purpose: each is found within seconds, on a busy machine within minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_trait::async_trait;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_store::{CommitError, CommitOutcome, MemoryStore, Store, Version};

use super::memory::{Daemon, THING, id_of, put, seen, things};
use super::{Door, Record, Seen, Told, run, seed};

/// Within which a planted fault must be found: it takes some seconds, and fifty times that where eight other loops share
/// two cores.
const FOUND_WITHIN: Duration = Duration::from_secs(300);
/// One decision in as many is interrupted between its readings, as a machine with one core seldom does.
const INTERRUPTED_ONE_IN: u64 = 100;

/// A registry whose decision reads the record anew after the precondition was checked, and commits on the version of
/// the second reading.
struct ReadsTwice {
    daemon: Daemon,
    calls: AtomicU64,
}

#[async_trait]
impl Door for ReadsTwice {
    async fn read(&self, record: &Record) -> Result<Seen> {
        self.daemon.read(record).await
    }

    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told {
        let (id, view) = (id_of(record), self.daemon.registry.view());
        let actual = seen(view.get(&id).as_deref()).version;
        if actual != expected {
            return Told::Refused { actual };
        }
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(INTERRUPTED_ONE_IN) {
            tokio::task::yield_now().await;
        }
        let version = Version(seen(view.get(&id).as_deref()).version);
        commit(&self.daemon, CommitPlan::default().expect([(id.clone(), version)]).write([put(&id, value)]))
            .await
    }
}

async fn commit(daemon: &Daemon, plan: CommitPlan) -> Told {
    let act = DaemonAct::new("things.put", [THING], WriteAuthority::Unfenced);
    match daemon.registry.attempt(&act, plan).await {
        Ok(CommitOutcome::Done(entry)) => Told::Done { version: entry.changes[0].after.version.0 },
        Ok(CommitOutcome::Replayed { .. }) => Told::Unknown("replayed".to_owned()),
        Err(CommitError::Conflict { actual, .. }) => Told::Refused { actual: actual.0 },
        Err(error) => Told::Failed(error.to_string()),
    }
}

/// A registry that forgets what the caller demanded, once in a while.
struct Forgets {
    daemon: Daemon,
    calls: AtomicU64,
    /// One change in as many is made on whatever version there is.
    one_in: u64,
}

#[async_trait]
impl Door for Forgets {
    async fn read(&self, record: &Record) -> Result<Seen> {
        self.daemon.read(record).await
    }

    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told {
        let forgets = self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.one_in);
        let expected = match forgets {
            true => self.read(record).await.map_or(expected, |seen| seen.version),
            false => expected,
        };
        self.daemon.change(record, expected, value).await
    }
}

/// Runs rounds until the fault is found, and says what was said of it.
async fn found(what: &str, door: impl Door + 'static) -> Result<String> {
    let (doors, began): ([Arc<dyn Door>; 1], _) = ([Arc::new(door)], Instant::now());
    match run::rounds(&doors, seed(), FOUND_WITHIN, things).await {
        Ok(summary) => bail!("{what} was not found in {FOUND_WITHIN:?}: {summary:?}"),
        Err(violation) => {
            println!("{what}: found after {:?}", began.elapsed());
            Ok(format!("{violation:#}"))
        }
    }
}

async fn daemon() -> Daemon {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    Daemon::on(store, "a").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_is_read_twice_in_a_decision_is_found() -> Result<()> {
    let said =
        found("a record that is read twice", ReadsTwice { daemon: daemon().await, calls: AtomicU64::new(1) })
            .await?;
    assert!(said.contains("overwritten what it never saw"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_forgotten_precondition_in_a_thousand_is_found() -> Result<()> {
    let forgets = Forgets { daemon: daemon().await, calls: AtomicU64::new(1), one_in: 1000 };
    let said = found("one forgotten precondition in a thousand", forgets).await?;
    assert!(said.contains("overwritten what it never saw"), "{said}");
    Ok(())
}
