//! The calls of the store port as values, and what a store answers to them.

use std::time::Duration;

use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Confirmation, Epoch, GroupRef, HousekeepingOutcome, IdempotencyKey,
    Leases, LogPage, OpenGroup, OpenedGroup, Pulse, PulseAnswer, Retention, Revision, Scan, ScanPage, Store,
};

/// One call with what it says.
#[derive(Clone, Debug)]
pub enum Call {
    Pulse(Pulse),
    Open(OpenGroup),
    Close(Epoch, GroupRef),
    Commit(Commit),
    Recall(IdempotencyKey),
    Scan(Scan),
    Leases,
    Log { after: Revision, limit: usize, wait: Duration },
    Housekeep(Epoch, Retention),
    Confirm(Epoch),
}

/// What a store answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Beat(PulseAnswer),
    Opened(OpenedGroup),
    Closed(bool),
    Committed(CommitOutcome),
    Recalled(Option<(u64, CommitOutcome)>),
    Page(ScanPage),
    Leases(Leases),
    Log(LogPage),
    Housekept(HousekeepingOutcome),
    Confirmed(Confirmation),
}

/// An answer, or why there is none.
pub type Answered = Result<Answer, CommitError>;

/// Which method of the port a call is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Pulse,
    Open,
    Close,
    Commit,
    Recall,
    Scan,
    Leases,
    Log,
    Housekeep,
    Confirm,
}

impl Call {
    /// Has a store carry it out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn on(self, store: &dyn Store) -> Answered {
        Ok(match self {
            Self::Pulse(pulse) => Answer::Beat(store.pulse(pulse).await?),
            Self::Open(open) => Answer::Opened(store.open_group(open).await?),
            Self::Close(epoch, group) => Answer::Closed(store.close_group(epoch, group).await?),
            Self::Commit(commit) => Answer::Committed(store.commit(commit).await?),
            Self::Recall(key) => Answer::Recalled(store.recall(&key).await?),
            Self::Scan(scan) => Answer::Page(store.scan(scan).await?),
            Self::Leases => Answer::Leases(store.leases().await?),
            Self::Log { after, limit, wait } => Answer::Log(store.log(after, limit, wait).await?),
            Self::Housekeep(epoch, keep) => Answer::Housekept(store.housekeep(epoch, keep).await?),
            Self::Confirm(epoch) => Answer::Confirmed(store.confirm(epoch).await?),
        })
    }

    pub fn method(&self) -> Method {
        match self {
            Self::Pulse(_) => Method::Pulse,
            Self::Open(_) => Method::Open,
            Self::Close(..) => Method::Close,
            Self::Commit(_) => Method::Commit,
            Self::Recall(_) => Method::Recall,
            Self::Scan(_) => Method::Scan,
            Self::Leases => Method::Leases,
            Self::Log { .. } => Method::Log,
            Self::Housekeep(..) => Method::Housekeep,
            Self::Confirm(_) => Method::Confirm,
        }
    }
}
