//! The long-running operations of one daemon, in memory until it stops.

#[cfg(test)]
mod operations_test;
mod running;

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::chance::random_u64;
use omnirelay_host::wall_clock;
use omnirelay_registry::Registry;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh64::xxh64;

use pb::operation::State;
pub use running::RunningOperation;

/// The most operations that are remembered.
pub const OPERATIONS_MAX: usize = 256;
/// The most failures that are remembered of one operation.
pub const FAILURES_MAX: usize = 1000;
/// What the ids of operations begin with.
const PREFIX: &str = "op_";
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The operations that one daemon carries out or has carried out.
pub struct Operations {
    registry: Arc<Registry>,
    known: Mutex<OperationTable>,
}

#[derive(Default)]
struct OperationTable {
    /// By id, so the oldest come first.
    slots: BTreeMap<String, Arc<OperationSlot>>,
    /// The number of the newest id.
    last: u128,
}

/// One operation, and who listens to it.
struct OperationSlot {
    shown: watch::Sender<pb::Operation>,
    /// True: it is asked to stop.
    cancel: watch::Sender<bool>,
    repeat: Option<CallIdentity>,
}

/// Identity of a call that may be repeated: hashes, because keys and requests may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIdentity {
    call: u64,
    request: u64,
}

impl CallIdentity {
    /// `request` is the hash of the whole request.
    pub fn new(action: &str, principal: &str, key: &str, request: u64) -> Self {
        Self { call: xxh64(format!("{action}\n{principal}\n{key}").as_bytes(), 0), request }
    }
}

/// Operation that a call begins, or that the same call began before.
pub enum BegunOperation {
    New(RunningOperation),
    /// The operation that the first of the calls began, as it is now.
    Before(Box<pb::Operation>),
}

/// Outcome of asking an operation to stop.
pub struct CancelOutcome {
    /// False: it has ended, or was asked before.
    pub changed: bool,
    pub operation: pb::Operation,
}

/// An operation that somebody follows.
pub struct FollowedOperation(watch::Receiver<pb::Operation>);

impl FollowedOperation {
    /// As it is now.
    pub fn now(&mut self) -> pb::Operation {
        self.0.borrow_and_update().clone()
    }

    /// Waits until it is otherwise than it was when it was asked for last; at once when it was forgotten.
    pub async fn changed(&mut self) {
        let _ = self.0.changed().await;
    }
}

impl Operations {
    /// None yet; times are those of the registry's store, as far as it has answered.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// Enters a new operation as pending, and forgets an older one that has ended if there is no room.
    ///
    /// # Errors
    /// `TOO_MANY_OPERATIONS` when none has ended.
    pub fn begin(
        self: &Arc<Self>,
        action: &'static str,
        requested_by: &str,
        reason: &str,
    ) -> Result<RunningOperation, Fault> {
        self.enter(&mut self.known.lock(), action, requested_by, reason, None)
    }

    /// As [`Self::begin`], unless a call that is remembered has begun it already.
    ///
    /// # Errors
    /// As [`Self::begin`]; `IDEMPOTENCY_KEY_REUSED`.
    pub fn begin_once(
        self: &Arc<Self>,
        action: &'static str,
        requested_by: &str,
        reason: &str,
        repeat: CallIdentity,
    ) -> Result<BegunOperation, Fault> {
        let mut known = self.known.lock();
        if let Some(operation) = known.begun_by(repeat)? {
            return Ok(BegunOperation::Before(Box::new(operation)));
        }
        Ok(BegunOperation::New(self.enter(&mut known, action, requested_by, reason, Some(repeat))?))
    }

    /// The operation that a call has begun before.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` when that was another request.
    pub fn begun_by(&self, repeat: CallIdentity) -> Result<Option<pb::Operation>, Fault> {
        self.known.lock().begun_by(repeat)
    }

    fn enter(
        self: &Arc<Self>,
        known: &mut OperationTable,
        action: &'static str,
        requested_by: &str,
        reason: &str,
        repeat: Option<CallIdentity>,
    ) -> Result<RunningOperation, Fault> {
        let now = self.now();
        known.make_room()?;
        let operation = pb::Operation {
            operation_id: known.next_id(now),
            node_id: self.registry.node_id().to_owned(),
            action: action.to_owned(),
            state: State::Pending.into(),
            requested_by: requested_by.to_owned(),
            reason: reason.to_owned(),
            started_at: Some(timestamp(now)),
            ..pb::Operation::default()
        };
        let id = operation.operation_id.clone();
        let (shown, cancel) = (watch::Sender::new(operation), watch::Sender::new(false));
        let slot = Arc::new(OperationSlot { shown, cancel, repeat });
        known.slots.insert(id, slot.clone());
        Ok(RunningOperation::new(self.clone(), slot))
    }

    /// All that are remembered, the newest first.
    pub fn list(&self) -> Vec<pb::Operation> {
        self.known.lock().slots.values().rev().map(|slot| slot.shown.borrow().clone()).collect()
    }

    /// One operation as it is now.
    pub fn get(&self, id: &str) -> Option<pb::Operation> {
        Some(self.slot(id)?.shown.borrow().clone())
    }

    /// Tells how an operation goes on; a slow reader gets the newest only.
    pub fn follow(&self, id: &str) -> Option<FollowedOperation> {
        Some(FollowedOperation(self.slot(id)?.shown.subscribe()))
    }

    /// Asks an operation to stop at the next point at which it can.
    pub fn cancel(&self, id: &str) -> Option<CancelOutcome> {
        let slot = self.slot(id)?;
        let changed = slot.change(|operation| {
            let asks = !has_ended(operation) && !operation.cancel_requested;
            operation.cancel_requested |= asks;
            asks
        });
        if changed {
            slot.cancel.send_replace(true);
        }
        let operation = slot.shown.borrow().clone();
        Some(CancelOutcome { changed, operation })
    }

    fn slot(&self, id: &str) -> Option<Arc<OperationSlot>> {
        self.known.lock().slots.get(id).cloned()
    }

    /// Store time, or this machine's before the store was heard.
    fn now(&self) -> Millis {
        let view = self.registry.view();
        if view.head().caught_up {
            return view.now();
        }
        Millis(whole_ms(wall_clock::unix()))
    }
}

impl OperationTable {
    fn make_room(&mut self) -> Result<(), Fault> {
        if self.slots.len() < OPERATIONS_MAX {
            return Ok(());
        }
        let ended = self.slots.iter().find(|(_, slot)| has_ended(&slot.shown.borrow()));
        let Some(oldest) = ended.map(|(id, _)| id.clone()) else {
            let message = format!("this daemon carries out {OPERATIONS_MAX} operations already");
            return Err(Fault::new(reasons::TOO_MANY_OPERATIONS, message)
                .hint("wait until one has ended, or cancel one")
                .detail("operations", OPERATIONS_MAX));
        };
        self.slots.remove(&oldest);
        Ok(())
    }

    fn begun_by(&self, repeat: CallIdentity) -> Result<Option<pb::Operation>, Fault> {
        let same = |slot: &&Arc<OperationSlot>| slot.repeat.is_some_and(|known| known.call == repeat.call);
        let Some(slot) = self.slots.values().rev().find(same) else { return Ok(None) };
        if slot.repeat == Some(repeat) {
            return Ok(Some(slot.shown.borrow().clone()));
        }
        let message = "its idempotency key was used for another request";
        Err(Fault::new(reasons::IDEMPOTENCY_KEY_REUSED, message).hint("use a new key for a new request"))
    }

    /// 48 bits of time and 80 of chance; greater than every id before.
    fn next_id(&mut self, now: Millis) -> String {
        let chance = |seed| random_u64().unwrap_or_else(|_| xxh64(&self.last.to_be_bytes(), seed));
        let chance = u128::from(chance(1) & 0xffff) << 64 | u128::from(chance(2));
        let number = u128::from(now.0 & 0xffff_ffff_ffff) << 80 | chance;
        self.last = number.max(self.last.saturating_add(1));
        id_of(self.last)
    }
}

impl OperationSlot {
    /// Changes what is shown; `change` says whether it did.
    fn change(&self, change: impl FnOnce(&mut pb::Operation) -> bool) -> bool {
        self.shown.send_if_modified(change)
    }
}

/// Whether nothing more will become of it.
pub fn has_ended(operation: &pb::Operation) -> bool {
    match operation.state() {
        State::Unspecified | State::Pending | State::Running => false,
        State::Succeeded | State::Failed | State::Partial | State::Cancelled => true,
    }
}

fn id_of(number: u128) -> String {
    let digit = |at: u32| char::from(CROCKFORD[(number >> (5 * at)) as usize & 31]);
    let digits: String = (0..26).rev().map(digit).collect();
    format!("{PREFIX}{digits}")
}
