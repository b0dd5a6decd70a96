//! Claims about a member, and which of two claims wins.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::names::{NameError, check_node_name};

/// How large the body of a record may be, in bytes: several go into a packet.
pub const RECORD_BYTES_MAX: usize = 512;
/// How many accusers of one suspect are remembered; more shorten nothing.
pub const ACCUSERS_MAX: usize = 4;

/// The name of a member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// # Errors
    /// When it is no name of a node.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_node_name(name)?;
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A body with more bytes than a record may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are more than the {RECORD_BYTES_MAX} of a record")]
pub struct TooLarge(pub usize);

/// Record in which a member describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipMemberRecord {
    /// Which start of the member this is of: two that live at a time under one name differ here.
    pub instance: u64,
    /// Rises whenever the body changes within one incarnation.
    pub version: u64,
    /// At most [`RECORD_BYTES_MAX`]; what is in it is not looked at here.
    pub body: Bytes,
}

/// Status of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberStatus {
    Alive,
    /// Somebody did not reach it, and it has not answered that yet.
    Suspect,
    Dead,
    /// It has said so itself.
    Left,
}

impl MemberStatus {
    /// Whether it is one of those who are reckoned with.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// As events, metrics and answers have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

/// Claim about a member at one of its incarnations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberClaim {
    Alive(Arc<GossipMemberRecord>),
    /// By whom it was not reached; at most [`ACCUSERS_MAX`].
    Suspect {
        by: Vec<NodeId>,
    },
    Dead {
        by: NodeId,
    },
    Left,
}

impl MemberClaim {
    pub fn status(&self) -> MemberStatus {
        match self {
            Self::Alive(_) => MemberStatus::Alive,
            Self::Suspect { .. } => MemberStatus::Suspect,
            Self::Dead { .. } => MemberStatus::Dead,
            Self::Left => MemberStatus::Left,
        }
    }
}

/// A claim, as members pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberUpdate {
    pub node: NodeId,
    /// Only the member itself makes it greater: at each start, and when it answers an accusation.
    pub incarnation: u64,
    pub claim: MemberClaim,
}
