//! Store of a simulated cluster: a memory store whose commits take a moment, so that whoever makes one may end before and behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupRef, HousekeepingOutcome, IdempotencyKey, Leases,
    LogEntry, LogPage, MemoryStore, OpenGroup, OpenedGroup, Pulse, PulseAnswer, Retention, Revision, Scan,
    ScanPage, Store, StoreError, Write,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::world::{THING, Things, thing, things};

/// Beginning of a value that is not taken from another cluster.
const REFUSED: &[u8] = b"!";

/// Whether a value is refused where it is followed.
pub(super) fn is_refused(value: &[u8]) -> bool {
    value.starts_with(REFUSED)
}

/// A value that is refused where it is followed.
pub(super) fn refused(number: u64) -> Bytes {
    Bytes::from([REFUSED, format!("{number:x}").as_bytes()].concat())
}

/// History of a cluster: the things that it had after each commit that wrote one, and when an epoch began; and when that was.
pub(super) type StoreHistory = BTreeMap<(Epoch, Revision), (Instant, Arc<Things>)>;

/// Store of a simulated cluster.
pub(super) struct SimulatedStore {
    pub memory: Arc<MemoryStore>,
    pub history: Arc<Mutex<StoreHistory>>,
}

impl SimulatedStore {
    /// Notes what there is as an epoch begins, or a daemon.
    pub(super) async fn note(&self) {
        let (head, things) = things(&self.memory).await;
        self.history.lock().entry((head.epoch, head.revision)).or_insert((Instant::now(), Arc::new(things)));
    }

    /// Notes what a commit has left.
    fn note_commit(&self, epoch: Epoch, commit: &LogEntry) {
        let of_things =
            commit.changes.iter().map(|change| &change.after).filter(|after| after.id.kind == THING);
        let mut of_things = of_things.peekable();
        if of_things.peek().is_none() {
            return;
        }
        let mut history = self.history.lock();
        let mut things = history.last_key_value().map_or_else(Things::new, |(_, (_, last))| (**last).clone());
        for after in of_things {
            match after.deleted {
                true => things.remove(&after.id.key),
                false => things.insert(after.id.key.clone(), thing(after)),
            };
        }
        history.insert((epoch, commit.revision), (Instant::now(), Arc::new(things)));
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn name(&self) -> &str {
        self.memory.name()
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        self.memory.pulse(pulse).await
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.memory.open_group(open).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.memory.close_group(epoch, group).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        let is_imported = |write: &Write| match write {
            Write::Import { value, .. } => is_refused(value),
            Write::Put { .. } | Write::Delete { .. } => false,
        };
        if commit.writes.iter().any(is_imported) {
            let what = "a value that is not taken here".to_owned();
            return Err(CommitError::Store(StoreError::Invalid { what }));
        }
        sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        let epoch = commit.epoch;
        let done = self.memory.commit(commit).await;
        // Memory lets nobody else run before it is noted.
        if let Ok(CommitOutcome::Done(entry)) = &done {
            self.note_commit(epoch, entry);
        }
        sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        done
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        self.memory.recall(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.memory.scan(scan).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.memory.leases().await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        self.memory.log(after, limit, wait).await
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        self.memory.log_in_memory(after)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.memory.housekeep(epoch, keep).await
    }

    fn is_in_process(&self) -> bool {
        self.memory.is_in_process()
    }
}
