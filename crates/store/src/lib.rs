//! The store port: what every backend promises to the registry.
//!
//! A store keeps records, groups (the holders of deadlines), leases and one log. It knows no
//! object. Every call is one atomic step, judged by the store's own clock; every change is one
//! log entry whose revision is greater than all before it. `tests/store` holds the contract
//! suite that every backend passes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_core::time::Millis;

mod access;
mod backend;
pub mod chance;
pub mod clock;
mod display;
pub mod embedded;
mod error;
mod lease_op;
mod limits;
pub mod memory;
pub mod optimistic;
mod record_id;
pub mod redis;
mod reset_clock;
mod retention;
mod rules;
mod settings;
mod switch;
pub mod timed;
pub mod url;
pub mod whole_file;
mod write;

pub use self::embedded::offline;
pub use self::redis::RedisStore;
pub use access::{ExpelOutcome, ReadmitOutcome, RightsSet, StoreCredentials, WritableKinds};
pub use backend::{
    JoinedSetting, JoinedStore, MissingFileAction, NodeAccess, StoreAdmission, StoreMember, StoreOpenError,
    StoreOpening, StorePlace, StoreSource,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use embedded::EmbeddedStore;
pub use error::{CommitError, StoreError};
pub use lease_op::LeaseOp;
pub use memory::MemoryStore;
pub use record_id::{RecordId, RecordKind};
pub use reset_clock::{ClockReset, RESET_MIN, RESET_WALLS_MAX, ResetClock, ResetClockError};
pub use retention::{HousekeepingOutcome, Retention};
pub use rules::Inventory;
pub use settings::{InvalidStoreSetting, StoreConfig, StoreTlsConfig};
pub use switch::{StandbyServer, SwitchError, SwitchObstacle, SwitchOrder, SwitchOutcome};
pub use write::{ExistingRecord, ORIGIN_MAX, RecordOrigin, Write};

/// The most writes and lease operations of one commit together.
pub const COMMIT_WRITES_MAX: usize = 256;
/// The most bytes of values that one log entry holds, those from before it included: a commit
/// that needs more is refused.
pub const COMMIT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest key in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// The largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// The most records or log entries of one page, and the most groups that one pulse renews.
pub const PAGE_MAX: usize = 4096;
/// Where a page of records or log entries ends early: the first one that brings it to so many
/// bytes of values is its last.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The greatest [`LeaseOp::Acquire::token_floor`]: half of what a double can still count, so that
/// tokens go on from there.
pub const TOKEN_FLOOR_MAX: u64 = 1 << 52;
/// The longest time to live of a group, 4,000 years: what is longer never ends.
pub const TTL_MAX: Duration = Duration::from_millis(1 << 47);

/// The most lives of a group that were replaced while they lived and whose deadlines have not
/// passed. Each of them may still trust its leases, so a store keeps them all.
pub const REPLACED_MAX: usize = 8;

/// Names one life of the registry. It changes whenever revisions could repeat: a new store, a
/// flush, a promotion that lost writes. No store has epoch 0: a call that names none is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The place of a commit in the log. Rises with each commit, not always by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Counts the changes of one record; 0 means that it does not exist. It goes on after a deletion,
/// and after the tombstone was collected: a new record of the kind begins above all collected ones.
/// An import that replaces ([`ExistingRecord::Replace`]) begins it anew, with the version of another registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// Record that the store keeps under a [`RecordId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: RecordId,
    /// Empty for a tombstone.
    pub value: Bytes,
    pub version: Version,
    /// The commit that wrote it last; of an imported one the commit in the registry that it comes from.
    pub revision: Revision,
    /// The life of a group whose end is this record's end; `None` for one that stays.
    pub group: Option<GroupRef>,
    pub created_at: Millis,
    /// By store time; of an imported one by that of its registry, which may be ahead.
    pub updated_at: Millis,
    /// The node that wrote it last; empty where the store itself did, at the end of a group.
    pub writer: Arc<str>,
    /// True: a tombstone, kept so that versions go on and watchers hear of the end.
    pub deleted: bool,
}

impl Record {
    /// This record; where the one before has the same writer, its name is kept once.
    pub(crate) fn beside(self, before: Option<&Self>) -> Self {
        match before {
            Some(before) if before.writer == self.writer => Self { writer: before.writer.clone(), ..self },
            Some(_) | None => self,
        }
    }
}

/// Names a group: a node's session, or a set of records that live and die together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub String);

/// One life of a group. A group that was opened anew has a greater instance, and what the old
/// instance held is void.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupRef {
    pub id: GroupId,
    pub instance: u64,
}

/// A group as the store knows it. It lives while `now < deadline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub of: GroupRef,
    pub ttl: Duration,
    /// The first instant at which it is gone, swept or not. A closed group has the instant of
    /// its closing here.
    pub deadline: Millis,
    /// When it was opened or renewed last.
    pub renewed_at: Millis,
    /// True: its holder closed it.
    pub closed: bool,
}

/// Asks for a new life of a group.
#[derive(Clone, Debug)]
pub struct OpenGroup {
    /// The epoch that the caller knows.
    pub epoch: Epoch,
    pub id: GroupId,
    /// 1 ms to [`TTL_MAX`].
    pub ttl: Duration,
    /// Whoever presents the secret of a live group replaces it at once, up to [`REPLACED_MAX`]
    /// times before the first of the replaced lives would have ended; anyone else waits for its
    /// end. Never shown again.
    pub secret: String,
}

/// A live lease binds a scope to a session. It is valid while `holder` is the group's current
/// instance and alive, and it was not released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub scope: String,
    pub holder: GroupRef,
    /// Rises by one with each new holder.
    pub term: u64,
    /// The fence: greater with each new holder, never repeated or lowered.
    pub token: u64,
    pub acquired_at: Millis,
    pub released: bool,
}

/// Something that must hold for a commit to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The record has this version; 0: it does not exist, or its group is over.
    Version { id: RecordId, version: Version },
    /// This life of the group is live.
    GroupLive(GroupRef),
    /// This life of the group is over, and no later one is live. Refused during a quarantine or a
    /// [`RenewalGrace`].
    GroupOver(GroupRef),
}

/// Proves that the writer leads `scope`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFence {
    pub scope: String,
    pub token: u64,
}

/// Makes a commit repeatable: the second with the same key gets the answer of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: IdempotencyKey,
    /// Of the request; another one under the same key is refused.
    pub request_hash: u64,
    /// What to answer the repetition with.
    pub answer: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey {
    pub principal: String,
    pub method: String,
    pub id: String,
}

/// Changes that are made together or not at all.
///
/// What stands in the way is told in this order: a limit of the port, the idempotency key (of a
/// commit made before: its answer, whatever has changed since), the epoch, the fence, the
/// preconditions, the groups of the writes, [`COMMIT_BYTES_MAX`] with the values from before, the
/// leases, the kinds that this process may write.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The epoch that the caller read in.
    pub epoch: Epoch,
    pub preconditions: Vec<Precondition>,
    /// Not two of one record.
    pub writes: Vec<Write>,
    /// Made in this order: a release frees its scope for an acquisition behind it.
    pub leases: Vec<LeaseOp>,
    pub fence: Option<LeaseFence>,
    pub idempotency: Option<Idempotency>,
    /// The node that commits.
    pub writer: Arc<str>,
}

/// Outcome of a commit.
#[derive(Clone, Debug)]
pub enum CommitOutcome {
    /// It was made. One that changes nothing leaves no entry in the log: it gets an empty one
    /// whose `revision` and `previous` are both the current head.
    Done(Arc<LogEntry>),
    /// It had been made before under this idempotency key.
    Replayed { revision: Revision, answer: Bytes },
}

/// One commit in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    pub revision: Revision,
    /// The revision of the entry before; a reader that does not know it has missed something.
    pub previous: Revision,
    pub at: Millis,
    pub writer: Arc<str>,
    pub changes: Vec<RecordChange>,
    /// The leases that were acquired (by a new holder) or released, as they are after it, in the
    /// order of their scopes.
    pub leases: Vec<Lease>,
    /// The scopes whose leases were forgotten, in their order.
    pub forgotten: Vec<String>,
}

impl LogEntry {
    /// Whether it tells of nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.leases.is_empty() && self.forgotten.is_empty()
    }

    /// The bytes of the values in it.
    pub fn value_bytes(&self) -> usize {
        self.changes.iter().map(RecordChange::value_bytes).sum()
    }
}

/// One record's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// As the log last had it. `None`: it did not exist, or was a tombstone. A record that is
    /// written again after its group's end, but before housekeeping deleted it, stands here as
    /// it was.
    pub before: Option<Record>,
    /// As it is after; a tombstone when it was deleted.
    pub after: Record,
    /// True: its group's end took it, not a writer.
    pub expired: bool,
}

impl RecordChange {
    fn value_bytes(&self) -> usize {
        self.after.value.len() + self.before.as_ref().map_or(0, |before| before.value.len())
    }
}

/// Renews groups and asks what has moved: the heartbeat between a daemon and its store.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// The epoch that the caller knows. `None` learns it, and renews nothing.
    pub epoch: Option<Epoch>,
    /// In the order of [`PulseAnswer::renewed`].
    pub renew: Vec<GroupRef>,
    /// Report groups opened, renewed or closed at this instant or later; 0 reports all, `u64::MAX` none.
    pub moved_since: Millis,
    /// How long the holders of groups get to renew once the store is heard again after a time in
    /// which nobody could: see [`RenewalGrace`]. 0 gives none.
    pub grace: Duration,
    /// How long the groups that are renewed live without a renewal from then on, 1 ms to [`TTL_MAX`]; `None`: as long as before.
    /// No deadline comes earlier by that.
    pub ttl: Option<Duration>,
}

/// After a time in which the store heard no renewal at all (it was away, or everybody else was),
/// silence says nothing about anyone: until `until` nobody is judged gone, and a record is there
/// if its group was live at `from`, when a renewal was heard last. Groups and leases themselves
/// end at their deadlines all the same.
///
/// It begins with a pulse that renews something, more than half of [`Pulse::grace`] after the one
/// before it. Between the two nobody is judged gone either. A store that several processes write may know the one before only
/// to an eighth of [`Pulse::grace`], and takes it for so much earlier, never for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalGrace {
    pub from: Millis,
    pub until: Millis,
}

/// Answer of a pulse.
#[derive(Clone, Debug)]
pub struct PulseAnswer {
    pub now: Millis,
    pub epoch: Epoch,
    pub head: Revision,
    /// The new deadline, or `None` for a group that is over: it cannot be renewed, only opened anew.
    pub renewed: Vec<Option<Millis>>,
    /// In no order.
    pub moved: Vec<Group>,
    /// Until then nobody is granted a scope and nobody is judged gone.
    pub quarantine_until: Millis,
    /// What is left of a silence of all.
    pub grace: Option<RenewalGrace>,
}

/// The lease of every scope that was ever held, released or not, in the order of the scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    pub epoch: Epoch,
    pub leases: Vec<Lease>,
}

/// Outcome of [`Store::open_group`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedGroup {
    /// A new life has begun. If the one before was live, its leases pass to nobody before the
    /// deadline that it has now, and are free from then on: whatever becomes of the group later
    /// moves that deadline neither way. Leases of lives that were closed or ran out are free, and
    /// stay so.
    Open(Group),
    /// Nothing was changed. A live group under another secret has the id, and `until` is its
    /// deadline; or the present life would be one more than [`REPLACED_MAX`], and `until` is the
    /// first deadline of all these.
    Held { until: Millis },
}

/// A page of the records of one kind in the order of their keys, tombstones included.
#[derive(Clone, Debug)]
pub struct Scan {
    pub kind: RecordKind,
    /// Begin behind this key; `None` begins at the first (the last, when `backwards`).
    pub after: Option<String>,
    pub backwards: bool,
    /// 1 to [`PAGE_MAX`]. A page of large values may hold fewer; see [`PAGE_BYTES_MAX`].
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct ScanPage {
    pub epoch: Epoch,
    /// The head when the page was read.
    pub head: Revision,
    pub records: Vec<Record>,
    /// False: this was the last page.
    pub more: bool,
}

/// A piece of the log.
#[derive(Clone, Debug)]
pub struct LogPage {
    pub epoch: Epoch,
    pub head: Revision,
    /// In order; the first one's `previous` is the revision asked for. Empty when `compacted`.
    pub entries: Vec<Arc<LogEntry>>,
    /// True: the log does not reach back to the revision asked for, or never came as far; the
    /// records must be read anew.
    pub compacted: bool,
}

/// Loss that an operator has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// The epoch of it; 0 if that is not known.
    pub epoch: Epoch,
    /// True: all that was registered. False: the changes that were acknowledged last, nobody knows how many.
    pub everything: bool,
}

/// Confirmation that what leaders rely on would outlive the server that granted it, as far as it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Everything that was committed or renewed before this instant would, by the store's clock.
    Through(Millis),
    /// Not everything: so many replicas have it, and so many must.
    Lacking { has: u32, needs: u32 },
}

/// A backend. Calls may be made from any runtime; each is atomic.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What an operator calls it: `embedded`, `memory`, or a URL without its secrets.
    fn name(&self) -> &str;

    /// Renews and reports deadlines. No revision, no log entry.
    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError>;

    /// Begins a new life of a group. No log entry.
    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError>;

    /// Ends a life of a group now; its leases are free at once. False: it was over already.
    /// No log entry.
    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError>;

    /// Makes the changes together, durably, before it returns.
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError>;

    /// Looks for the answer of an earlier commit.
    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError>;

    /// Reads records. Those of a group that is over are left out.
    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError>;

    /// Reads the lease of every scope.
    async fn leases(&self) -> Result<Leases, StoreError>;

    /// Reads the log behind `after`; with nothing there, waits up to `wait` for something.
    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError>;

    /// The log behind `after`, where this process has it in memory; `None` says nothing about the log.
    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        let _ = after;
        None
    }

    /// Deletes the records of groups that are over (at most [`COMMIT_WRITES_MAX`] with at most
    /// [`COMMIT_BYTES_MAX`], in one log entry, marked `expired`; none during a quarantine or a
    /// [`RenewalGrace`]) and trims what `keep` allows, in one bounded step. A store that has nothing to do
    /// writes nothing.
    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError>;

    /// Whether the store is in this process: no answer is lost on its way, and callers gain nothing by sharing a call.
    fn is_in_process(&self) -> bool {
        false
    }

    /// What was lost before this epoch began, and was accepted when the store was opened.
    fn accepted_loss(&self) -> Option<AcceptedLoss> {
        None
    }

    /// Whether leaders rely on nothing before [`Store::confirm`] has confirmed it. False for a store that is in one
    /// place: what it has answered cannot be contradicted by another.
    fn confirms(&self) -> bool {
        false
    }

    /// Waits a moment until what was committed and renewed in `epoch` before this call would outlive the server
    /// that granted it: until then another server could grant it to somebody else.
    ///
    /// # Errors
    /// Those of a reading. Nothing is known then.
    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        let _ = epoch;
        Ok(Confirmation::Through(Millis(u64::MAX)))
    }

    /// Has another server take over, with no acknowledged change lost: changes wait meanwhile.
    async fn switch(&self, order: &SwitchOrder) -> Result<SwitchOutcome, SwitchError> {
        let _ = order;
        Err(SwitchError::alone("the store is in one place"))
    }

    /// Brings store time back to the clock that it goes by, where it is ahead of that for good, and begins a new epoch with
    /// its quarantine. Deadlines keep what is left of them; no token falls.
    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        let _ = order;
        Err(ResetClockError::Unsupported)
    }

    /// Gives the node `who` credentials of its own, or other ones if it has some, by which it may write what `writable` says.
    /// `None`: it uses the store as all do, since there is nothing to prove, or this process may not say who does.
    ///
    /// # Errors
    /// Those of a reading.
    async fn admit(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<StoreCredentials>, StoreError> {
        let _ = (who, writable);
        Ok(None)
    }

    /// Has the credentials that the node `who` has of its own allow what this version needs, and what `writable` says; what was
    /// opened with them goes on.
    ///
    /// # Errors
    /// Those of a reading.
    async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, StoreError> {
        let _ = (who, writable);
        Ok(RightsSet::Absent)
    }

    /// Takes a node's own credentials away, and cuts the connections that were opened with them.
    ///
    /// # Errors
    /// Those of a reading. It may have them still.
    async fn expel(&self, who: &str) -> Result<ExpelOutcome, StoreError> {
        let _ = who;
        Ok(ExpelOutcome::Absent)
    }

    /// Gives the node `who` the credentials back that [`Store::admit`] gave it, where the store has forgotten them: by the
    /// SHA-256 of their password. Those that it knows are left as they are.
    ///
    /// # Errors
    /// Those of a reading.
    async fn readmit(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, StoreError> {
        let _ = (who, password_hash, writable);
        Ok(ReadmitOutcome::Denied)
    }

    /// The SHA-256 of the password that the node `who` has of its own; `None`: it has none, or several, or this process may not
    /// ask.
    ///
    /// # Errors
    /// Those of a reading.
    async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let _ = who;
        Ok(None)
    }

    /// Whether this process may give nodes credentials of their own: `false` where it is certain that it may not.
    ///
    /// # Errors
    /// Those of a reading.
    async fn may_admit(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Why a restart of the store's server forgets credentials that [`Store::admit`] gives, and what to set; `None`: it keeps
    /// them, gives none, or it cannot be told.
    ///
    /// # Errors
    /// Those of a reading.
    async fn forgets_credentials(&self) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// What is risky about how the store is set up: what, why, and what to set, a line each.
    fn advice(&self) -> Vec<String> {
        Vec::new()
    }

    /// Who disagrees about which server has the registry, and who is believed, as operators are told; `None`: nobody, or
    /// nobody is asked.
    fn disagreement(&self) -> Option<String> {
        None
    }
}
