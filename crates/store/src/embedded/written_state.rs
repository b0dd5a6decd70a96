//! Record that a batch writes about the store itself: its state, and which opening of the store wrote it.

use omnirelay_core::time::Millis;

use super::super::StoreError;
use super::super::rules::{State, state_from_row, state_row};
use super::overlay::{Overlay, Tree};

pub(super) const STATE_KEY: &[u8] = &[0, 1];

/// One opening of the file, by a random number, and the one before that wrote to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening {
    pub id: u64,
    pub before: u64,
}

/// State as a batch left it, the greatest time written, the batch's number, and which opening of the store wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WrittenState {
    pub state: State,
    pub clock: Millis,
    pub batch: u64,
    pub opening: Opening,
}

impl WrittenState {
    pub(super) fn row(&self) -> Vec<u8> {
        let Opening { id, before } = self.opening;
        state_row(&self.state, self.clock, self.batch, [id, before])
    }

    pub(super) fn from_row(row: &[u8]) -> Result<Self, StoreError> {
        let (state, clock, batch, [id, before]) = state_from_row(row)?;
        Ok(Self { state, clock, batch, opening: Opening { id, before } })
    }
}

/// Record about the store itself that a batch wrote.
pub(super) fn written_in(changes: &Overlay) -> Option<WrittenState> {
    WrittenState::from_row(changes.get(Tree::Rows, STATE_KEY)??).ok()
}
