//! A store that does what a test says: every call of the port passes through one function.
#![expect(clippy::unwrap_used, clippy::panic, reason = "only tests have it")]

mod call;
mod clock;
mod faulty;
mod log;
mod users;

use std::ops::Deref;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Confirmation, Epoch, ExpelOutcome, GroupRef, HousekeepingOutcome,
    IdempotencyKey, Leases, LogPage, OpenGroup, OpenedGroup, Pulse, PulseAnswer, ReadmitOutcome, Retention,
    Revision, RightsSet, Scan, ScanPage, Store, StoreCredentials, StoreError, WritableKinds,
};

pub use call::{Answer, Answered, Call, Method};
pub use clock::{PausedClock, memory};
pub use faulty::{EVERY_CALL, Faults, Faulty, Ill, LATE};
pub use log::log_of;
pub use users::{Moment, Passwords, Users};

/// What becomes of the calls of a store.
#[async_trait]
pub trait Script: Send + Sync + 'static {
    /// Answers a call; [`Call::on`] has another store carry it out. Only a commit may fail otherwise than with
    /// [`CommitError::Store`].
    async fn pass(&self, call: Call) -> Answered;

    /// As [`Store::confirms`].
    fn confirms(&self) -> bool {
        false
    }

    /// As [`Store::is_in_process`].
    fn is_in_process(&self) -> bool {
        false
    }

    /// As [`Store::advice`].
    fn advice(&self) -> Vec<String> {
        Vec::new()
    }

    /// As [`Store::disagreement`].
    fn disagreement(&self) -> Option<String> {
        None
    }

    /// The nodes that have credentials of their own; `None`: none can have any.
    fn users(&self) -> Option<&Users> {
        None
    }
}

/// A store that does what a script says.
pub struct Scripted<S>(pub S);

impl<S> Deref for Scripted<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

/// Takes the answer of a script apart.
macro_rules! answer {
    ($answered:expr, $answer:ident) => {
        match $answered {
            Ok(Answer::$answer(answer)) => Ok(answer),
            Ok(other) => panic!("a script answered {other:?}"),
            Err(error) => Err(error),
        }
    };
}

/// Why a call failed that is no commit.
fn plain(error: CommitError) -> StoreError {
    match error {
        CommitError::Store(error) => error,
        other => panic!("a script failed as a commit does: {other}"),
    }
}

#[async_trait]
impl<S: Script> Store for Scripted<S> {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        answer!(self.pass(Call::Pulse(pulse)).await, Beat).map_err(plain)
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        answer!(self.pass(Call::Open(open)).await, Opened).map_err(plain)
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        answer!(self.pass(Call::Close(epoch, group)).await, Closed).map_err(plain)
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        answer!(self.pass(Call::Commit(commit)).await, Committed)
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        answer!(self.pass(Call::Recall(key.clone())).await, Recalled).map_err(plain)
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        answer!(self.pass(Call::Scan(scan)).await, Page).map_err(plain)
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        answer!(self.pass(Call::Leases).await, Leases).map_err(plain)
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        answer!(self.pass(Call::Log { after, limit, wait }).await, Log).map_err(plain)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        answer!(self.pass(Call::Housekeep(epoch, keep)).await, Housekept).map_err(plain)
    }

    fn is_in_process(&self) -> bool {
        self.0.is_in_process()
    }

    fn confirms(&self) -> bool {
        self.0.confirms()
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        answer!(self.pass(Call::Confirm(epoch)).await, Confirmed).map_err(plain)
    }

    async fn admit(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<StoreCredentials>, StoreError> {
        Ok(self.0.users().map(|users| users.admit(who, writable)))
    }

    async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, StoreError> {
        Ok(self.0.users().map_or(RightsSet::Absent, |users| users.set_rights(who, writable)))
    }

    async fn expel(&self, who: &str) -> Result<ExpelOutcome, StoreError> {
        Ok(self.0.users().map_or(ExpelOutcome::Absent, |users| users.expel(who)))
    }

    async fn readmit(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, StoreError> {
        let made = self.0.users().map(|users| users.readmit(who, password_hash, writable));
        Ok(made.unwrap_or(ReadmitOutcome::Denied))
    }

    async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(self.0.users().and_then(|users| users.password_hash(who)))
    }

    async fn may_admit(&self) -> Result<bool, StoreError> {
        Ok(self.0.users().is_none_or(Users::may_admit))
    }

    fn advice(&self) -> Vec<String> {
        self.0.advice()
    }

    fn disagreement(&self) -> Option<String> {
        self.0.disagreement()
    }
}
