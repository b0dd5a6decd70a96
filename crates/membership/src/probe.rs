//! State kept of a probe, and of a ping for somebody else.

use crate::Time;
use crate::record::NodeId;

/// A probe under way.
pub(crate) struct Probe {
    pub target: NodeId,
    pub incarnation: u64,
    pub began: Time,
    /// When it is over, unless that is put off.
    pub ends: Time,
    pub helpers: Vec<NodeId>,
    pub nacks: usize,
    /// Whether a stream to it was answered; `None`: that is not known yet.
    pub reached: Option<bool>,
    /// Whether the end was put off already, as that was not known.
    pub was_put_off: bool,
}

/// A ping for somebody else.
pub(crate) struct RelayedPing {
    pub whose: NodeId,
    pub number: u32,
    pub target: NodeId,
    pub until: Time,
}

impl Probe {
    /// Gives it so much more time.
    pub(crate) fn delay(&mut self, by: Time) {
        (self.began, self.ends) = (self.began + by, self.ends + by);
    }
}
