//! Outputs of a member, which are to be done outside, and events that it has found.

use std::sync::Arc;
use std::time::Duration;

use crate::record::{GossipMemberRecord, NodeId};

/// Output of the membership: what is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipOutput {
    /// A packet to be sent as a datagram; over a stream where it does not fit.
    Send {
        to: NodeId,
        packet: Vec<u8>,
    },
    /// A packet to be sent over a stream, whose answer comes from [`Membership::answer`] there; [`Membership::reached`] wants to hear
    /// within so long whether there was one, with this number; without a word there was none.
    ///
    /// [`Membership::answer`]: crate::Membership::answer
    /// [`Membership::reached`]: crate::Membership::reached
    Reach {
        node: NodeId,
        number: u32,
        packet: Vec<u8>,
        within: Duration,
    },
    /// All that is known to be exchanged, beginning with [`Membership::begin_exchange`].
    ///
    /// [`Membership::begin_exchange`]: crate::Membership::begin_exchange
    Exchange {
        with: ExchangeContact,
    },
    /// A ping was answered after so long.
    Measured {
        node: NodeId,
        rtt: Duration,
    },
    Event(MembershipEvent),
}

/// Contact for an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeContact {
    Member(NodeId),
    /// Any address that is known otherwise, as from the configuration.
    Seed,
}

/// Event of the membership: a change that this member has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// Nobody knew of it here.
    Joined { node: NodeId },
    /// It says something else of itself.
    Changed { node: NodeId },
    /// Somebody does not reach it. `evidence` is there where that is this member.
    Suspected { node: NodeId, incarnation: u64, by: NodeId, evidence: Option<SuspicionEvidence> },
    /// One more does not reach it.
    Confirmed { node: NodeId, incarnation: u64, by: NodeId, evidence: Option<SuspicionEvidence> },
    /// The suspect has answered.
    Refuted { node: NodeId, incarnation: u64 },
    /// `by`: who has found it so first.
    Died { node: NodeId, incarnation: u64, by: NodeId },
    /// It has said that it goes, as this member was told by `from`.
    Left { node: NodeId, from: NodeId },
    /// It is back, as this member was told by `from`; it was dead, or had left.
    Returned { node: NodeId, incarnation: u64, from: NodeId },
    /// It is forgotten.
    Forgotten { node: NodeId },
    /// Pings do not come through to it and streams do.
    StreamsAlone { node: NodeId },
    /// This member does not reach it, several times in a row, and others do.
    ThroughOthers { node: NodeId },
    /// This member reaches it again itself.
    Reached { node: NodeId },
    /// This member was accused, and has answered.
    Accused { by: Vec<NodeId>, incarnation: u64 },
    /// Somebody else lives under the name of this member, as this member was told by `from`, who may have made it up.
    Conflict { record: Arc<GossipMemberRecord>, incarnation: u64, from: NodeId },
    /// A live member seems to have started again, or to be two, as this member was told by `from`.
    Restarted { node: NodeId, instance: u64, from: NodeId },
    /// Nobody was heard for a while: what is known of others is old.
    CutOff,
    /// Somebody was heard again.
    InTouch,
}

/// Evidence for which this member suspects another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspicionEvidence {
    /// How long it had to answer.
    pub waited: Duration,
    /// Who was asked to ping it, and how many of them have said that it does not answer them either.
    pub helpers: Vec<NodeId>,
    pub nacks: usize,
    /// How long its answers took before.
    pub rtt: Option<Duration>,
    /// How unwell this member was.
    pub health: u8,
}

/// Statistics of the membership, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipStats {
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
    /// Packets that were none.
    pub malformed: u64,
    /// Claims about incarnations that nobody can have.
    pub implausible: u64,
    /// Members that were not taken, as there are too many.
    pub refused: u64,
    /// Packets, updates and messages of exchanges that were not taken, as their senders had sent too many.
    pub throttled: u64,
    /// Packets that were not sent, as there were too many.
    pub capped: u64,
    pub probes: u64,
    pub probes_failed: u64,
    /// Accusations of this member that it has answered.
    pub refuted: u64,
    /// How often this member was asked so late that it had to let everybody have more time.
    pub late: u64,
}
