//! Checkpoints: what a full segment of the log holds is written to the store file, beside the commits that go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::overlay::Overlay;
use super::shared::SharedStore;
use super::written_state::{WrittenState, written_in};

/// Handle of the writer on the checkpoint thread, which has one checkpoint made at a time.
pub(super) struct Checkpointer {
    orders: Sender<Arc<Overlay>>,
    made: Receiver<CheckpointResult>,
    is_busy: bool,
}

/// Thread that makes checkpoints.
pub(super) struct CheckpointThread {
    shared: Arc<SharedStore>,
    orders: Receiver<Arc<Overlay>>,
    made: Sender<CheckpointResult>,
}

/// Result of a checkpoint: the last batch in it, or that the file failed.
pub(super) type CheckpointResult = Result<WrittenState, CheckpointFailed>;

/// The file must be opened again.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointFailed;

pub(super) fn pair(shared: &Arc<SharedStore>) -> (Checkpointer, CheckpointThread) {
    let ((orders, ordered), (made, told)) = (channel(), channel());
    let checkpoints = CheckpointThread { shared: Arc::clone(shared), orders: ordered, made };
    (Checkpointer { orders, made: told, is_busy: false }, checkpoints)
}

impl Checkpointer {
    /// Has `frozen` written to the file. Not while another checkpoint is being made.
    pub(super) fn order(&mut self, frozen: Arc<Overlay>) {
        self.is_busy = self.orders.send(frozen).is_ok();
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Result of the checkpoint, if one was made since this was asked last.
    pub(super) fn made(&mut self) -> Option<CheckpointResult> {
        let made = match self.made.try_recv() {
            Ok(made) => Some(made),
            Err(TryRecvError::Empty) => None,
            // It has ended, which it does only after this.
            Err(TryRecvError::Disconnected) => self.is_busy.then_some(Err(CheckpointFailed)),
        };
        self.is_busy &= made.is_none();
        made
    }

    /// Waits for the checkpoint that is being made.
    pub(super) fn wait(&mut self) -> Option<CheckpointResult> {
        if !self.is_busy {
            return self.made();
        }
        self.is_busy = false;
        Some(self.made.recv().unwrap_or(Err(CheckpointFailed)))
    }
}

impl CheckpointThread {
    /// Works until nobody can order any more.
    pub(super) fn run(self) {
        while let Ok(frozen) = self.orders.recv() {
            let made = catch_unwind(AssertUnwindSafe(|| self.shared.checkpoint(&frozen)));
            let written = written_in(&frozen).filter(|_| matches!(made, Ok(Ok(()))));
            if self.made.send(written.ok_or(CheckpointFailed)).is_err() {
                return;
            }
        }
    }
}
