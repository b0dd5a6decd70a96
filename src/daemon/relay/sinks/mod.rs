//! Where telemetry goes: files, a Redis Stream, an HTTP server, standard output.
//!
//! Each sink has a queue and a task of its own, so that one that is slow or fails stops no other.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;

/// Why a sink does not have a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There was no room in its queue.
    #[error("sink `{sink}` has no room")]
    Full { sink: &'static str },
    /// It could not write it.
    #[error("sink `{sink}` could not write")]
    Failed { sink: &'static str },
}

/// All sinks of a relay.
pub struct Sinks {}

/// A batch that was handed to the sinks.
pub struct Handed {}

impl Sinks {
    /// Hands a batch to every sink; waits where one that has no room blocks. Frames may be acknowledged when
    /// [`Handed::done`] says so.
    pub async fn take(&self, _batch: Arc<Batch>) -> Handed {
        Handed {}
    }

    /// Writes what waits, for as long as it may take, and ends.
    pub async fn close(&self, _within: Duration) {}
}

impl Handed {
    /// Waits until every sink that acknowledges has the batch as durably as it was told to.
    ///
    /// # Errors
    /// The first sink that will not have it.
    pub async fn done(self) -> Result<(), NotTaken> {
        Ok(())
    }
}
