//! Candidates for the leadership of a scope, and the order in which they campaign.

use std::cmp::Reverse;

use omnirelay_core::labels::Labels;
use omnirelay_core::names::{NameError, check_node_name};
use omnirelay_core::selector::{Selector, SelectorError};
use omnirelay_core::text::shown;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

use pb::peer::Status;

/// The most preferences of a policy.
pub const PREFERENCES_MAX: usize = 16;
/// The most names in one list of a filter.
pub const NAMES_MAX: usize = 64;
/// The most bytes of a policy, encoded.
pub(super) const POLICY_BYTES_MAX: usize = 16 * 1024;
/// The greatest priority; the least is its negative.
pub const PRIORITY_MAX: i32 = 1000;

/// A node, as those see it who elect.
#[derive(Clone, Copy, Debug)]
pub struct ElectionCandidate<'a> {
    pub id: &'a str,
    pub peer: &'a PeerValue,
    /// The session that its peer record names is live.
    pub session_live: bool,
}

/// Reason why a node may not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaderExclusion {
    Disabled,
    Suspect,
    Dead,
    Left,
    SessionOver,
    Cordoned,
    Draining,
    WithoutIdentity,
    Node,
    Role,
    Region,
    Zone,
    Labels,
}

/// A node that may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedCandidate<'a> {
    pub id: &'a str,
    pub priority: i32,
}

/// Error in a leadership policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{0} preferences are more than {PREFERENCES_MAX}")]
    Preferences(usize),
    #[error("priority {0} is not between -{PRIORITY_MAX} and {PRIORITY_MAX}")]
    Priority(i32),
    #[error("a list of {0} names is longer than {NAMES_MAX}")]
    Names(usize),
    #[error("`{0}` is no name: {1}")]
    Name(String, NameError),
    #[error("{0} bytes are more than {POLICY_BYTES_MAX}")]
    Bytes(usize),
    #[error("a preference names no nodes: it would be for all of them")]
    Everybody,
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// A policy that was checked.
#[derive(Clone, Debug, Default)]
pub struct ElectionPolicy {
    eligible: CandidateFilter,
    prefer: Vec<(CandidateFilter, i32)>,
}

#[derive(Clone, Debug, Default)]
struct CandidateFilter {
    names: pb::NodeFilter,
    selector: Selector,
}

impl LeaderExclusion {
    /// As answers say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::SessionOver => "session_over",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::WithoutIdentity => "without_identity",
            Self::Node => "node",
            Self::Role => "role",
            Self::Region => "region",
            Self::Zone => "zone",
            Self::Labels => "labels",
        }
    }

    /// Whether it excludes whoever leads already: by the policy of the scope, or for want of an identity, and not because of how
    /// the node is for a while.
    fn is_for_good(self) -> bool {
        match self {
            Self::WithoutIdentity | Self::Node | Self::Role | Self::Region | Self::Zone | Self::Labels => {
                true
            }
            Self::Disabled
            | Self::Suspect
            | Self::Dead
            | Self::Left
            | Self::SessionOver
            | Self::Cordoned
            | Self::Draining => false,
        }
    }
}

impl ElectionPolicy {
    /// Checks a policy; none at all lets every node lead.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn of(policy: Option<&pb::LeadershipPolicy>) -> Result<Self, PolicyError> {
        let Some(policy) = policy else { return Ok(Self::default()) };
        if policy.encoded_len() > POLICY_BYTES_MAX {
            return Err(PolicyError::Bytes(policy.encoded_len()));
        }
        if policy.prefer.len() > PREFERENCES_MAX {
            return Err(PolicyError::Preferences(policy.prefer.len()));
        }
        let prefer = policy.prefer.iter().map(|prefer| {
            let filter = CandidateFilter::of(prefer.nodes.as_ref())?;
            if filter.names == pb::NodeFilter::default() {
                return Err(PolicyError::Everybody);
            }
            if prefer.priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs() {
                return Err(PolicyError::Priority(prefer.priority));
            }
            Ok((filter, prefer.priority))
        });
        Ok(Self {
            eligible: CandidateFilter::of(policy.eligible.as_ref())?,
            prefer: prefer.collect::<Result<_, _>>()?,
        })
    }

    /// Everything that keeps a node from leading; nothing when it may.
    pub fn exclusions(&self, node: &ElectionCandidate<'_>) -> Vec<LeaderExclusion> {
        let status = match node.peer.status() {
            Status::Alive => None,
            Status::Unspecified | Status::Suspect => Some(LeaderExclusion::Suspect),
            Status::Dead => Some(LeaderExclusion::Dead),
            Status::Left => Some(LeaderExclusion::Left),
        };
        let says = node.peer.metadata.as_ref();
        let over = status.is_none() && !node.session_live;
        let mut found: Vec<LeaderExclusion> = [
            (!says.is_some_and(|says| says.campaigns)).then_some(LeaderExclusion::Disabled),
            status,
            over.then_some(LeaderExclusion::SessionOver),
            node.peer.cordoned.then_some(LeaderExclusion::Cordoned),
            node.peer.draining.then_some(LeaderExclusion::Draining),
            says.is_some_and(|says| says.without_identity).then_some(LeaderExclusion::WithoutIdentity),
        ]
        .into_iter()
        .flatten()
        .collect();
        found.extend(self.eligible.mismatches(node));
        found
    }

    /// Whether a node may lead by the policy itself and by who it is, however it is for a while.
    pub fn allows(&self, node: &ElectionCandidate<'_>) -> bool {
        !self.exclusions(node).into_iter().any(LeaderExclusion::is_for_good)
    }

    /// The highest priority of those that a node matches, 0 if none.
    pub fn priority(&self, node: &ElectionCandidate<'_>) -> i32 {
        let matching = self.prefer.iter().filter(|(filter, _)| filter.mismatches(node).is_empty());
        matching.map(|(_, priority)| *priority).max().unwrap_or(0)
    }

    /// The nodes that may lead `scope`, in the order in which they campaign: by priority, and among equals
    /// in an order that differs from scope to scope and is the same on every node (rendezvous hashing), so
    /// that scopes spread. `last` comes last, whatever its priority.
    pub fn rank<'a>(
        &self,
        scope: &str,
        nodes: &[ElectionCandidate<'a>],
        last: Option<&str>,
    ) -> Vec<RankedCandidate<'a>> {
        let may = nodes.iter().filter(|node| self.exclusions(node).is_empty());
        let mut ranked: Vec<_> =
            may.map(|node| RankedCandidate { id: node.id, priority: self.priority(node) }).collect();
        ranked.sort_by_cached_key(|ranked| {
            let weight = weight(scope, ranked.id);
            (last == Some(ranked.id), Reverse(ranked.priority), Reverse(weight), ranked.id.to_owned())
        });
        ranked
    }
}

/// The place of `me` among the nodes with a live session, in an order that differs from scope to scope.
pub fn place_of(scope: &str, nodes: &[ElectionCandidate<'_>], me: &str) -> usize {
    place_among(scope, nodes.iter().filter(|node| node.session_live).map(|node| node.id), me)
}

/// The place of `me` among these nodes, in an order that differs with what it is for: rendezvous hashing, Thaler and Ravishankar
/// 1998.
pub fn place_among<'a>(what: &str, nodes: impl IntoIterator<Item = &'a str>, me: &str) -> usize {
    let mine = (weight(what, me), me);
    nodes.into_iter().filter(|node| (weight(what, node), *node) > mine).count()
}

fn weight(scope: &str, node: &str) -> u64 {
    xxh64(node.as_bytes(), xxh64(scope.as_bytes(), 0))
}

impl CandidateFilter {
    fn of(filter: Option<&pb::NodeFilter>) -> Result<Self, PolicyError> {
        let names = filter.cloned().unwrap_or_default();
        let lists = [&names.nodes, &names.roles, &names.regions, &names.zones];
        if let Some(long) = lists.into_iter().find(|list| list.len() > NAMES_MAX) {
            return Err(PolicyError::Names(long.len()));
        }
        for name in lists.into_iter().flatten() {
            check_node_name(name).map_err(|error| PolicyError::Name(shown(name, 40), error))?;
        }
        Ok(Self { selector: Selector::parse(&names.selector)?, names })
    }

    fn mismatches(&self, node: &ElectionCandidate<'_>) -> Vec<LeaderExclusion> {
        let nobody = pb::PeerMetadata::default();
        let says = node.peer.metadata.as_ref().unwrap_or(&nobody);
        let outside =
            |list: &[String], value: &str| !list.is_empty() && !list.iter().any(|name| name == value);
        let labels: &Labels = &says.labels;
        [
            (outside(&self.names.nodes, node.id), LeaderExclusion::Node),
            (outside(&self.names.roles, &says.role), LeaderExclusion::Role),
            (outside(&self.names.regions, &says.region), LeaderExclusion::Region),
            (outside(&self.names.zones, &says.zone), LeaderExclusion::Zone),
            (!self.selector.matches(labels), LeaderExclusion::Labels),
        ]
        .into_iter()
        .filter_map(|(excluded, why)| excluded.then_some(why))
        .collect()
    }
}
