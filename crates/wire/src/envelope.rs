//! The envelope: what every answer of a read begins with.

use crate::timestamp::Timestamp;

/// Envelope with which every answer of a read begins.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub schema_version: String,
    /// By the store's clock.
    pub generated_at: Option<Timestamp>,
    pub local_node_id: String,
    /// Whether the answer is not of this moment, or lacks what is about to be restored.
    pub stale: bool,
    /// For how long the store has been silent, in milliseconds; `None` while it answers.
    pub stale_ms: Option<u32>,
}

/// An answer of a read.
pub trait EnvelopedAnswer: Sized {
    /// The answer with what all begin with, as far as it has fields for that.
    #[must_use]
    fn within(self, envelope: Envelope) -> Self;
}

include!(concat!(env!("OUT_DIR"), "/enveloped.rs"));
