//! A memory store that forgets one thing.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Beat, Commit, CommitError, Committed, Epoch, GroupRef, Housekept, IdempotencyKey, Leases, LogPage,
    ManualClock, MemoryStore, OpenGroup, Opened, Pulse, Retention, Revision, Scan, ScanPage, Store,
    StoreError,
};

/// When the clocks begin.
pub const BEGIN: Millis = Millis(1_700_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    Sound,
    /// Commits are made whatever token they show.
    ForgetsTheFence,
    /// A group is renewed although it is over.
    RenewsTheDead,
    /// Who takes over after a failover begins the time of the store anew.
    FailsOverToAnOldClock,
}

/// A store that can fail over, and its time.
pub struct Broken {
    defect: Defect,
    clock: RwLock<ManualClock>,
    store: RwLock<Arc<MemoryStore>>,
}

impl Broken {
    pub fn new(defect: Defect) -> Self {
        let clock = ManualClock::at(BEGIN);
        let store = RwLock::new(Arc::new(MemoryStore::new(clock.clone())));
        Self { defect, clock: RwLock::new(clock), store }
    }

    pub fn advance(&self, by: Duration) {
        self.clock.read().unwrap().advance(by);
    }

    /// Everything is lost; whoever takes over begins a new epoch with a quarantine.
    pub fn fail_over(&self, quarantine: Duration) {
        let now = self.clock.read().unwrap().advance(Duration::ZERO);
        let begin = if self.defect == Defect::FailsOverToAnOldClock { BEGIN } else { now };
        // The epoch of a memory store is the time of its making, and it must be another one.
        let clock = ManualClock::at(Millis(begin.0 + 1));
        let store = MemoryStore::new(clock.clone());
        store.quarantine(quarantine);
        *self.clock.write().unwrap() = clock;
        *self.store.write().unwrap() = Arc::new(store);
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.store.read().unwrap())
    }
}

#[async_trait]
impl Store for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    async fn pulse(&self, pulse: Pulse) -> Result<Beat, StoreError> {
        let mut beat = self.store().pulse(pulse).await?;
        if self.defect == Defect::RenewsTheDead {
            for renewed in &mut beat.renewed {
                *renewed = renewed.or(Some(beat.now));
            }
        }
        Ok(beat)
    }

    async fn open_group(&self, open: OpenGroup) -> Result<Opened, StoreError> {
        self.store().open_group(open).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.store().close_group(epoch, group).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, CommitError> {
        if self.defect == Defect::ForgetsTheFence {
            commit.fence = None;
        }
        self.store().commit(commit).await
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, Committed)>, StoreError> {
        self.store().recall(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.store().scan(scan).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.store().leases().await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        self.store().log(after, limit, wait).await
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<Housekept, StoreError> {
        self.store().housekeep(epoch, keep).await
    }
}
