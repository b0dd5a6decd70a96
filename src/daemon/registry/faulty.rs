//! A store that falls ill when a test wants it to, and a clock that stands still with tokio's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::*;
use tokio::time::Instant;

/// Tokio's time as the store's: both stand still together.
#[derive(Clone, Copy)]
pub struct PausedClock(pub Instant);

impl Clock for PausedClock {
    fn now(&self) -> Millis {
        Millis(1_795_000_000_000).after(self.0.elapsed())
    }
}

/// What is wrong with one sort of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    /// Refused before anything happens.
    Fails,
    /// Never answered; nothing happens.
    Hangs,
    /// On its way until the store recovers, and only then carried out.
    Waits,
    /// Carried out, but the reply is lost.
    LosesReplies,
    /// Carried out, and the reply takes [`LATE`].
    AnswersLate,
}

/// How long a late reply takes: less than a pulse is waited for.
pub const LATE: Duration = Duration::from_millis(400);

/// The sorts of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Pulse,
    Open,
    Close,
    Commit,
    Recall,
    Scan,
    Log,
    Housekeep,
}

pub const EVERY_CALL: [Call; 8] = [
    Call::Pulse,
    Call::Open,
    Call::Close,
    Call::Commit,
    Call::Recall,
    Call::Scan,
    Call::Log,
    Call::Housekeep,
];

/// A store with faults on demand.
pub struct Faulty {
    inner: Mutex<Arc<dyn Store>>,
    ills: Mutex<BTreeMap<Call, Ill>>,
    calls: Mutex<BTreeMap<Call, usize>>,
    /// Calls under way, and the most there were at once.
    under_way: AtomicUsize,
    most: AtomicUsize,
    confirms: bool,
    lacks: AtomicBool,
}

/// Counts one call as under way.
struct UnderWay<'a>(&'a Faulty);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Faulty {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::new(inner))
    }

    /// One that confirms what was granted, as a store with replicas does.
    pub fn confirming(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { confirms: true, ..Self::new(inner) })
    }

    fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner: Mutex::new(inner),
            ills: Mutex::default(),
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            confirms: false,
            lacks: AtomicBool::new(false),
        }
    }

    /// Whether from now on the replica is away that is to confirm what was granted.
    pub fn lack_replica(&self, lacks: bool) {
        self.lacks.store(lacks, Ordering::SeqCst);
    }

    /// From now on these calls are ill.
    pub fn fall_ill(&self, calls: impl IntoIterator<Item = Call>, ill: Ill) {
        self.ills.lock().unwrap().extend(calls.into_iter().map(|call| (call, ill)));
    }

    /// From now on nothing is wrong; what hangs goes on hanging.
    pub fn recover(&self) {
        self.ills.lock().unwrap().clear();
    }

    /// From now on another store answers; whoever waits in the old one goes on waiting.
    pub fn swap(&self, inner: Arc<dyn Store>) {
        *self.inner.lock().unwrap() = inner;
    }

    pub fn count(&self, call: Call) -> usize {
        self.calls.lock().unwrap().get(&call).copied().unwrap_or(0)
    }

    /// The most calls that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    async fn pass<T, F: Future<Output = T>>(
        &self,
        call: Call,
        run: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, StoreError> {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let _under_way = UnderWay(self);
        let ill = self.ills.lock().unwrap().get(&call).copied();
        let inner = self.inner.lock().unwrap().clone();
        match ill {
            None => Ok(run(inner).await),
            Some(Ill::Fails) => Err(StoreError::Unavailable("faulty".into())),
            Some(Ill::Hangs) => std::future::pending().await,
            Some(Ill::Waits) => {
                while self.ills.lock().unwrap().get(&call) == Some(&Ill::Waits) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(run(inner).await)
            }
            Some(Ill::LosesReplies) => {
                run(inner).await;
                Err(StoreError::OutcomeUnknown("faulty".into()))
            }
            Some(Ill::AnswersLate) => {
                let answer = run(inner).await;
                tokio::time::sleep(LATE).await;
                Ok(answer)
            }
        }
    }
}

#[tonic::async_trait]
impl Store for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    async fn pulse(&self, pulse: Pulse) -> Result<Beat, StoreError> {
        self.pass(Call::Pulse, |inner| async move { inner.pulse(pulse).await }).await?
    }

    async fn open_group(&self, open: OpenGroup) -> Result<Opened, StoreError> {
        self.pass(Call::Open, |inner| async move { inner.open_group(open).await }).await?
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.pass(Call::Close, |inner| async move { inner.close_group(epoch, group).await }).await?
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.pass(Call::Commit, |inner| async move { inner.commit(commit).await }).await?
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, Committed)>, StoreError> {
        self.pass(Call::Recall, |inner| async move { inner.recall(key).await }).await?
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.pass(Call::Scan, |inner| async move { inner.scan(scan).await }).await?
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        let inner = self.inner.lock().unwrap().clone();
        inner.leases().await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        self.pass(Call::Log, |inner| async move { inner.log(after, limit, wait).await }).await?
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<Housekept, StoreError> {
        self.pass(Call::Housekeep, |inner| async move { inner.housekeep(epoch, keep).await }).await?
    }

    fn confirms(&self) -> bool {
        self.confirms
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        if self.lacks.load(Ordering::SeqCst) {
            return Ok(Confirmation::Lacking { has: 0, needs: 1 });
        }
        let inner = self.inner.lock().unwrap().clone();
        let Beat { now, epoch: current, .. } = inner.pulse(Pulse::default()).await?;
        if current != epoch {
            return Err(StoreError::EpochChanged { current });
        }
        Ok(Confirmation::Through(now))
    }

    fn advice(&self) -> Vec<String> {
        vec!["appendonly is off: a restart loses records; set appendonly yes".to_owned()]
    }
}
