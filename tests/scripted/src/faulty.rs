//! A store that falls ill when a test wants it to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_store::{Confirmation, Epoch, Pulse, PulseAnswer, Store, StoreError};

use crate::{Answer, Answered, Call, Method, Script, Scripted, Users};

/// What is wrong with the calls of one method.
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

/// All that a daemon calls, but for [`Method::Confirm`].
pub const EVERY_CALL: [Method; 9] = [
    Method::Pulse,
    Method::Open,
    Method::Close,
    Method::Commit,
    Method::Recall,
    Method::Scan,
    Method::Leases,
    Method::Log,
    Method::Housekeep,
];

/// A store with faults on demand.
pub type Faulty = Scripted<Faults>;

/// What is wrong with a store, and what was asked of it.
pub struct Faults {
    inner: Mutex<Arc<dyn Store>>,
    ills: Mutex<BTreeMap<Method, Ill>>,
    calls: Mutex<BTreeMap<Method, usize>>,
    /// Calls under way, and the most there were at once.
    under_way: AtomicUsize,
    most: AtomicUsize,
    confirms: bool,
    is_in_process: bool,
    lacks: AtomicBool,
    /// The nodes that have credentials of their own; `None`: none can have any.
    pub users: Option<Users>,
}

/// Counts one call as under way.
struct UnderWay<'a>(&'a Faults);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Faulty {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self(Faults::over(inner)))
    }

    /// One that is in the process of who calls it.
    pub fn in_process(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self(Faults { is_in_process: true, ..Faults::over(inner) }))
    }

    /// One where nodes have credentials of their own.
    pub fn with_users(inner: Arc<dyn Store>, users: Users) -> Arc<Self> {
        Arc::new(Self(Faults { users: Some(users), ..Faults::over(inner) }))
    }

    /// One that confirms what was granted, as a store with replicas does.
    pub fn confirming(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self(Faults { confirms: true, ..Faults::over(inner) }))
    }
}

impl Faults {
    fn over(inner: Arc<dyn Store>) -> Self {
        Self {
            inner: Mutex::new(inner),
            ills: Mutex::default(),
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            confirms: false,
            is_in_process: false,
            lacks: AtomicBool::new(false),
            users: None,
        }
    }

    /// Whether from now on the replica is away that is to confirm what was granted.
    pub fn lack_replica(&self, lacks: bool) {
        self.lacks.store(lacks, Ordering::SeqCst);
    }

    /// From now on the calls of these methods are ill.
    pub fn fall_ill(&self, methods: impl IntoIterator<Item = Method>, ill: Ill) {
        self.ills.lock().unwrap().extend(methods.into_iter().map(|method| (method, ill)));
    }

    /// From now on nothing is wrong; what hangs goes on hanging.
    pub fn recover(&self) {
        self.ills.lock().unwrap().clear();
    }

    /// From now on another store answers; whoever waits in the old one goes on waiting.
    pub fn swap(&self, inner: Arc<dyn Store>) {
        *self.inner.lock().unwrap() = inner;
    }

    pub fn count(&self, method: Method) -> usize {
        self.calls.lock().unwrap().get(&method).copied().unwrap_or(0)
    }

    /// The most calls that were under way at once.
    pub fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn inner(&self) -> Arc<dyn Store> {
        self.inner.lock().unwrap().clone()
    }

    fn ill(&self, method: Method) -> Option<Ill> {
        self.ills.lock().unwrap().get(&method).copied()
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        if self.lacks.load(Ordering::SeqCst) {
            return Ok(Confirmation::Lacking { has: 0, needs: 1 });
        }
        let PulseAnswer { now, epoch: current, .. } = self.inner().pulse(Pulse::default()).await?;
        if current != epoch {
            return Err(StoreError::EpochChanged { current });
        }
        Ok(Confirmation::Through(now))
    }
}

#[async_trait]
impl Script for Faults {
    async fn pass(&self, call: Call) -> Answered {
        if let Call::Confirm(epoch) = call {
            return Ok(Answer::Confirmed(self.confirm(epoch).await?));
        }
        let method = call.method();
        *self.calls.lock().unwrap().entry(method).or_default() += 1;
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let _under_way = UnderWay(self);
        let (ill, inner) = (self.ill(method), self.inner());
        match ill {
            None => call.on(&*inner).await,
            Some(Ill::Fails) => Err(StoreError::Unavailable("faulty".into()).into()),
            Some(Ill::Hangs) => std::future::pending().await,
            Some(Ill::Waits) => {
                while self.ill(method) == Some(Ill::Waits) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                call.on(&*inner).await
            }
            Some(Ill::LosesReplies) => {
                let _ = call.on(&*inner).await;
                Err(StoreError::OutcomeUnknown("faulty".into()).into())
            }
            Some(Ill::AnswersLate) => {
                let answer = call.on(&*inner).await;
                tokio::time::sleep(LATE).await;
                answer
            }
        }
    }

    fn is_in_process(&self) -> bool {
        self.is_in_process
    }

    fn confirms(&self) -> bool {
        self.confirms
    }

    fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    fn advice(&self) -> Vec<String> {
        vec!["appendonly is off: a restart loses records; set appendonly yes".to_owned()]
    }
}
