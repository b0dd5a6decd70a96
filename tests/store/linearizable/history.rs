//! What clients did to a store, and what they were told.

use std::collections::BTreeMap;
use std::fmt;

use omnirelay_store::Revision;

/// When a call began and was answered, in ticks of one clock that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub invoked: u64,
    /// [`NEVER`]: the call may still take effect at any later time.
    pub answered: u64,
}

pub(crate) const NEVER: u64 = u64::MAX;

/// Which of the keys of a round.
pub(super) type Key = usize;

/// A commit of one write.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The writer of its commit; no other has it.
    pub name: String,
    pub key: Key,
    pub span: Span,
    pub call: Call,
    pub outcome: Outcome,
}

/// What a commit asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The value to put, another one in each call; `None` deletes.
    pub put: Option<u64>,
    /// The version that the record must have; `None` writes whatever there is.
    pub expected: Option<u64>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was made; `version` is what it left, `None` when there was nothing to delete.
    Done { revision: Revision, version: Option<u64> },
    /// It was refused for this version of the record.
    Refused { actual: u64 },
    /// It was not made, for a reason that is not the record.
    Failed,
    /// It was made once, or not at all.
    Unknown,
}

/// A record as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub version: u64,
    /// `None`: a tombstone.
    pub value: Option<u64>,
}

/// A page of records: each key it covers, and what was found there.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub name: String,
    pub span: Span,
    pub head: Revision,
    pub found: BTreeMap<Key, Option<Found>>,
}

/// One change as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub revision: Revision,
    pub writer: String,
    pub key: Key,
    pub found: Found,
}

/// Everything that happened in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub changes: Vec<Change>,
    pub reads: Vec<Read>,
    /// The log as it was read after the last answer; `None` when the store began another epoch meanwhile:
    /// then revisions mean nothing from one to the other.
    pub log: Option<Vec<Logged>>,
}

impl History {
    /// The log; empty when there is none of the whole round.
    pub(super) fn logged(&self) -> &[Logged] {
        self.log.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.answered {
            NEVER => write!(f, "[{}..]", self.invoked),
            answered => write!(f, "[{}..{answered}]", self.invoked),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.put {
            Some(value) => write!(f, "put {value:x}")?,
            None => f.write_str("delete")?,
        }
        match self.expected {
            Some(version) => write!(f, " if at version {version}"),
            None => Ok(()),
        }
    }
}
