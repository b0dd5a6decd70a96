//! Membership by gossip: who is alive, as each member finds out and tells the others.
//!
//! SWIM (Das, Gupta, Motivala 2002) with what Lifeguard (Dadgar, Phillips, Currey 2017) adds: members probe each other in turn, ask
//! others to probe whoever does not answer, suspect before they judge, and believe themselves the less the worse they feel. Beyond
//! both, nobody is found dead whom a stream still reaches, and two that know different things exchange all of it now and then, with
//! those they think dead too, so that any partition heals.
//!
//! [`Membership`] has no clock, no network and no chance of its own: it is given the time, packets and a seed, and says what to
//! send, when to be asked again, and what has changed. The same inputs have the same outputs.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accusing;
mod applying;
mod budget;
mod config;
mod event;
mod exchange;
mod members;
mod membership;
mod packet;
mod probe;
mod probing;
mod queue;
mod record;
mod strangers;
mod timers;

/// A moment: how long after one that the caller chooses.
pub type Time = std::time::Duration;

pub use config::Config;
pub use event::{ExchangeContact, MembershipEvent, MembershipOutput, MembershipStats, SuspicionEvidence};
pub use exchange::{ExchangeMessage, MESSAGE_BYTES_MAX};
pub use members::{Member, Members};
pub use membership::{Membership, OwnMember};
pub use packet::{MalformedPacket, Packet, PacketMessage, UPDATES_MAX, VERSION};
pub use record::{
    ACCUSERS_MAX, GossipMemberRecord, MemberClaim, MemberStatus, MemberUpdate, NodeId, RECORD_BYTES_MAX,
    TooLarge,
};
