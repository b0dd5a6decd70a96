//! Reach of a caller: the methods that it may call, by whom it was let in as.

use omnirelay_identity::trust::HolderStanding;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

/// Methods that a caller may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerReach {
    /// Those whose scope it has.
    ByScope,
    /// Those of the exchange of advertisements: it is a node of a federated cluster.
    Exchange,
    /// What siblings ask of each other: it is a node of another cluster of the trust domain.
    Siblings,
}

impl CallerReach {
    pub(super) fn of(standing: &HolderStanding) -> Self {
        match standing {
            HolderStanding::Member | HolderStanding::Sibling(_) => Self::ByScope,
            HolderStanding::Federated => Self::Exchange,
            HolderStanding::SiblingNode(_) => Self::Siblings,
        }
    }
}

/// Whether what a certificate calls its holder is who they are here.
pub(super) fn is_named_here(standing: &HolderStanding) -> bool {
    match standing {
        HolderStanding::Member | HolderStanding::Federated => true,
        HolderStanding::Sibling(_) | HolderStanding::SiblingNode(_) => false,
    }
}

/// The fault of a node of another mesh or cluster that asks for more than it may.
pub(super) fn beyond(reach: CallerReach, what: &str, principal: &str) -> Fault {
    let (reason, message) = match reach {
        CallerReach::Siblings => (
            reasons::SIBLING_CALLER,
            format!(
                "{principal} is a node of another cluster, and {what} is not among what clusters ask of each other"
            ),
        ),
        CallerReach::Exchange | CallerReach::ByScope => (
            reasons::FEDERATED_CALLER,
            format!(
                "{principal} is of a federated cluster, and {what} is not of the exchange of advertisements"
            ),
        ),
    };
    Fault::new(reason, message)
        .hint("call it by an identity of this mesh: omnirelay whoami says which one is shown")
        .detail("principal", principal)
        .detail("method", what)
}
