//! The handle of whoever carries out an operation.

use std::sync::Arc;

use omnirelay_wire::timestamp::timestamp;

use super::{FAILURES_MAX, OperationSlot, Operations, has_ended, pb};
use pb::operation::State;

/// An operation that goes on. Dropping it unfinished ends it as failed.
pub struct RunningOperation {
    operations: Arc<Operations>,
    slot: Arc<OperationSlot>,
}

impl RunningOperation {
    pub(super) fn new(operations: Arc<Operations>, slot: Arc<OperationSlot>) -> Self {
        Self { operations, slot }
    }

    /// As it is shown now.
    pub fn shown(&self) -> pb::Operation {
        self.slot.shown.borrow().clone()
    }

    /// Says that it waits for nothing any more.
    pub fn go(&self) {
        self.change(|operation| operation.set_state(State::Running));
    }

    /// Says how many steps are done, of how many.
    pub fn progress(&self, done: u64, total: u64) {
        self.change(|operation| (operation.done, operation.total) = (done, total));
    }

    /// Says in words what it is doing.
    pub fn say(&self, message: impl Into<String>) {
        self.change(|operation| operation.message = message.into());
    }

    /// Counts `n` more of what it has done under a word such as `added`.
    pub fn count(&self, word: &str, n: u64) {
        self.change(|operation| *operation.counts.entry(word.to_owned()).or_default() += n);
    }

    /// Notes what could not be done; beyond the limit it is left out.
    pub fn fail(&self, object: impl Into<String>, reason: impl Into<String>, message: impl Into<String>) {
        self.change(|operation| {
            if operation.failures.len() < FAILURES_MAX {
                let (object, reason, message) = (object.into(), reason.into(), message.into());
                operation.failures.push(pb::OperationFailure { object, reason, message });
            }
        });
    }

    /// Whether somebody asked it to stop.
    pub fn is_cancelled(&self) -> bool {
        *self.slot.cancel.borrow()
    }

    /// Waits until somebody asks it to stop.
    pub async fn cancelled(&self) {
        // The slot holds the sender.
        let _ = self.slot.cancel.subscribe().wait_for(|cancel| *cancel).await;
    }

    /// Ends it.
    pub fn finish(self, state: State, message: impl Into<String>) {
        self.end(state, message.into());
    }

    fn end(&self, state: State, message: String) {
        let now = self.operations.now();
        self.change(|operation| {
            operation.set_state(state);
            operation.message = message;
            operation.finished_at = Some(timestamp(now));
        });
    }

    fn change(&self, change: impl FnOnce(&mut pb::Operation)) {
        self.slot.change(|operation| {
            change(operation);
            true
        });
    }
}

impl Drop for RunningOperation {
    fn drop(&mut self) {
        let ended = has_ended(&self.slot.shown.borrow());
        if !ended {
            self.end(State::Failed, "the daemon stopped it".to_owned());
        }
    }
}
