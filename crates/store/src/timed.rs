//! A store whose calls are timed, for metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{
    AcceptedLoss, ClockReset, Commit, CommitError, CommitOutcome, Confirmation, Epoch, ExpelOutcome,
    GroupRef, HousekeepingOutcome, IdempotencyKey, Leases, LogPage, OpenGroup, OpenedGroup, Pulse,
    PulseAnswer, ReadmitOutcome, ResetClock, ResetClockError, Retention, Revision, RightsSet, Scan, ScanPage,
    Store, StoreCredentials, StoreError, SwitchError, SwitchOrder, SwitchOutcome, WritableKinds,
};

/// Call of a store that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedCall {
    Pulse,
    Commit,
    /// Reading of records, leases, and earlier answers.
    Read,
    /// Beginning or end of a life of a group.
    Group,
    Housekeep,
}

impl TimedCall {
    pub const ALL: [Self; 5] = [Self::Pulse, Self::Commit, Self::Read, Self::Group, Self::Housekeep];

    /// As metrics say it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pulse => "pulse",
            Self::Commit => "commit",
            Self::Read => "read",
            Self::Group => "group",
            Self::Housekeep => "housekeep",
        }
    }
}

/// Call of a store that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOutcome {
    pub call: TimedCall,
    pub took: Duration,
    /// Whether it was answered by an error, or given up.
    pub has_failed: bool,
}

/// Hears how long each call took, whatever became of it, on the task that made it.
pub type ObserveCall = Box<dyn Fn(TimedOutcome) + Send + Sync>;

/// A store, and who hears how long its calls take. What waits on purpose (the log), and what operators order, is not timed.
pub struct TimedStore {
    store: Arc<dyn Store>,
    observe: ObserveCall,
}

impl TimedStore {
    pub fn new(store: Arc<dyn Store>, observe: ObserveCall) -> Self {
        Self { store, observe }
    }

    async fn timed<T, E>(
        &self,
        call: TimedCall,
        answer: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let mut running =
            RunningCall { observe: &self.observe, call, begun: Instant::now(), has_failed: true };
        let answer = answer.await;
        running.has_failed = answer.is_err();
        answer
    }
}

/// A call under way. It is observed when it ends, also where its caller does not wait any longer.
struct RunningCall<'a> {
    observe: &'a ObserveCall,
    call: TimedCall,
    begun: Instant,
    has_failed: bool,
}

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        let Self { call, has_failed, .. } = *self;
        (self.observe)(TimedOutcome { call, took: self.begun.elapsed(), has_failed });
    }
}

#[async_trait]
impl Store for TimedStore {
    fn name(&self) -> &str {
        self.store.name()
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        self.timed(TimedCall::Pulse, self.store.pulse(pulse)).await
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.timed(TimedCall::Group, self.store.open_group(open)).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.timed(TimedCall::Group, self.store.close_group(epoch, group)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        self.timed(TimedCall::Commit, self.store.commit(commit)).await
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        self.timed(TimedCall::Read, self.store.recall(key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.timed(TimedCall::Read, self.store.scan(scan)).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.timed(TimedCall::Read, self.store.leases()).await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        self.store.log(after, limit, wait).await
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        self.store.log_in_memory(after)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.timed(TimedCall::Housekeep, self.store.housekeep(epoch, keep)).await
    }

    fn is_in_process(&self) -> bool {
        self.store.is_in_process()
    }

    fn accepted_loss(&self) -> Option<AcceptedLoss> {
        self.store.accepted_loss()
    }

    fn confirms(&self) -> bool {
        self.store.confirms()
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        self.store.confirm(epoch).await
    }

    async fn switch(&self, order: &SwitchOrder) -> Result<SwitchOutcome, SwitchError> {
        self.store.switch(order).await
    }

    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        self.store.reset_clock(order).await
    }

    async fn admit(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<StoreCredentials>, StoreError> {
        self.store.admit(who, writable).await
    }

    async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, StoreError> {
        self.store.set_rights(who, writable).await
    }

    async fn expel(&self, who: &str) -> Result<ExpelOutcome, StoreError> {
        self.store.expel(who).await
    }

    async fn readmit(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, StoreError> {
        self.store.readmit(who, password_hash, writable).await
    }

    async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, StoreError> {
        self.store.password_hash(who).await
    }

    async fn may_admit(&self) -> Result<bool, StoreError> {
        self.store.may_admit().await
    }

    async fn forgets_credentials(&self) -> Result<Option<String>, StoreError> {
        self.store.forgets_credentials().await
    }

    fn advice(&self) -> Vec<String> {
        self.store.advice()
    }

    fn disagreement(&self) -> Option<String> {
        self.store.disagreement()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_call_that_is_given_up_is_timed_as_well() {
        let (timed, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = (timed.clone(), failed.clone());
        let observe: ObserveCall = Box::new(move |ended| {
            assert_eq!(ended.call, TimedCall::Read);
            counted.0.fetch_add(1, Ordering::Relaxed);
            counted.1.fetch_add(usize::from(ended.has_failed), Ordering::Relaxed);
        });
        let store = TimedStore::new(Arc::new(crate::memory::MemoryStore::system()), observe);
        store.leases().await.unwrap();
        assert_eq!((timed.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (1, 0));
        let hangs = store.timed(TimedCall::Read, std::future::pending::<Result<(), ()>>());
        assert!(tokio::time::timeout(Duration::from_millis(1), hangs).await.is_err());
        assert_eq!((timed.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (2, 1));
    }
}
