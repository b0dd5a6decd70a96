//! One record as the port promises it: a register that counts its changes.

use std::fmt;

use super::history::{Call, Found, Outcome};

/// What a client did to one record, and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Change(Call, Outcome),
    Read(Option<Found>),
}

/// The record between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Register {
    /// 0: it never existed.
    version: u64,
    /// `None`: there is no record, or a tombstone.
    value: Option<u64>,
}

impl Register {
    /// The register after `step`; `None` when a record in this state would have answered something else.
    pub(super) fn after(self, step: &Step) -> Option<Self> {
        match step {
            Step::Read(found) => (self.found() == *found).then_some(self),
            Step::Change(call, outcome) => self.changed(call, outcome),
        }
    }

    fn changed(self, call: &Call, outcome: &Outcome) -> Option<Self> {
        let allowed = call.expected.is_none_or(|expected| expected == self.actual());
        let made = self.made(call);
        match *outcome {
            Outcome::Done { version, .. } => {
                let left = (made != self).then_some(made.version);
                (allowed && left == version).then_some(made)
            }
            Outcome::Refused { actual } => (!allowed && actual == self.actual()).then_some(self),
            Outcome::Failed => Some(self),
            Outcome::Unknown => Some(if allowed { made } else { self }),
        }
    }

    /// What `call` makes of it: a deletion of nothing changes nothing.
    fn made(self, call: &Call) -> Self {
        if call.put.is_none() && self.value.is_none() {
            return self;
        }
        Self { version: self.version + 1, value: call.put }
    }

    /// The version that a precondition is held against.
    fn actual(self) -> u64 {
        if self.value.is_some() { self.version } else { 0 }
    }

    pub(super) fn version(self) -> u64 {
        self.version
    }

    /// What a scan finds.
    pub(super) fn found(self) -> Option<Found> {
        (self.version > 0).then_some(Found { version: self.version, value: self.value })
    }
}

impl Step {
    /// The one version at which the record can have answered so; `None` when several can. Versions
    /// never fall, so a record that is past it never will.
    pub(crate) fn needs(&self) -> Option<u64> {
        match self {
            Self::Read(found) => Some(found.map_or(0, |found| found.version)),
            Self::Change(_, Outcome::Done { version: Some(left), .. }) => left.checked_sub(1),
            Self::Change(_, Outcome::Refused { actual }) => Some(*actual).filter(|&actual| actual > 0),
            Self::Change(_, Outcome::Done { version: None, .. } | Outcome::Failed | Outcome::Unknown) => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(call, outcome) => write!(f, "{call} -> {outcome:?}"),
            Self::Read(None) => f.write_str("read nothing"),
            Self::Read(Some(Found { version, value: None })) => {
                write!(f, "read a tombstone of version {version}")
            }
            Self::Read(Some(Found { version, value: Some(value) })) => {
                write!(f, "read {value:x} of version {version}")
            }
        }
    }
}
