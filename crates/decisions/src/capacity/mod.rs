//! Limits of a mesh and of its nodes: which there are, what each counts, and how it is named, in one table that all else follows.

mod level;
mod refusable;
mod use_track;

use std::time::Duration;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use serde::{Deserialize, Serialize};

pub use level::LimitLevel;
pub use refusable::{lets_in_hosts, may_refuse_act, may_refuse_call};
pub use use_track::UseTrack;

/// Kind of a limit: what it is a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    Peers,
    Shards,
    Records,
    Bytes,
    Joins,
    Commits,
    Calls,
    Watchers,
    GossipFanout,
    GossipMessages,
}

/// Mode of a limit: what is done where it is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitMode {
    /// It is told of.
    #[default]
    Observe,
    /// What would go beyond it is refused as well.
    Enforce,
}

impl LimitMode {
    /// As in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// Limit as it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimit {
    pub max: u64,
    pub mode: LimitMode,
}

/// Scope of a limit: whose use it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// All of the mesh, as records count it; all daemons are to have the same limit.
    Mesh,
    /// What one daemon does; each has its own.
    Node,
}

/// Measure of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMeasure {
    /// How many there are.
    Count,
    /// How many come within so long.
    Rate(Duration),
}

/// Effect of a limit: whether something is refused where it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitEffect {
    /// Where its mode says so, which is the setting of this key.
    ByMode(&'static str),
    /// Never: it is told of alone.
    Observed,
}

/// Row of the table of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// As in metrics, events and answers.
    pub name: &'static str,
    /// Key of the setting that is the greatest use.
    pub max_key: &'static str,
    pub effect: LimitEffect,
    pub scope: LimitScope,
    pub measure: LimitMeasure,
    /// As in `90 of 100 calls/s`.
    pub unit: &'static str,
    /// What is counted, in words.
    pub counts: &'static str,
}

const PER_SECOND: LimitMeasure = LimitMeasure::Rate(Duration::from_secs(1));
const PER_MINUTE: LimitMeasure = LimitMeasure::Rate(Duration::from_secs(60));

static PEERS: LimitRow = LimitRow {
    name: "peers",
    max_key: "limits.peers.max",
    effect: LimitEffect::ByMode("limits.peers.mode"),
    scope: LimitScope::Mesh,
    measure: LimitMeasure::Count,
    unit: "peers",
    counts: "nodes that are registered, those among them that have left and are not forgotten yet",
};
static SHARDS: LimitRow = LimitRow {
    name: "shards",
    max_key: "limits.shards.max",
    effect: LimitEffect::ByMode("limits.shards.mode"),
    scope: LimitScope::Mesh,
    measure: LimitMeasure::Count,
    unit: "shards",
    counts: "shards of all namespaces, those that are still being made among them",
};
static RECORDS: LimitRow = LimitRow {
    name: "records",
    max_key: "limits.records.max",
    effect: LimitEffect::ByMode("limits.records.mode"),
    scope: LimitScope::Mesh,
    measure: LimitMeasure::Count,
    unit: "records",
    counts: "records that every daemon holds in memory",
};
static BYTES: LimitRow = LimitRow {
    name: "bytes",
    max_key: "limits.bytes.max",
    effect: LimitEffect::ByMode("limits.bytes.mode"),
    scope: LimitScope::Mesh,
    measure: LimitMeasure::Count,
    unit: "bytes",
    counts: "bytes of the keys and values of those records",
};
static JOINS: LimitRow = LimitRow {
    name: "joins",
    max_key: "limits.joins.max",
    effect: LimitEffect::ByMode("limits.joins.mode"),
    scope: LimitScope::Node,
    measure: PER_MINUTE,
    unit: "joins/min",
    counts: "hosts that this daemon has let in and that were no nodes yet",
};
static COMMITS: LimitRow = LimitRow {
    name: "commits",
    max_key: "limits.commits.max",
    effect: LimitEffect::ByMode("limits.commits.mode"),
    scope: LimitScope::Node,
    measure: PER_SECOND,
    unit: "commits/s",
    counts: "commits that this daemon has made, also those that are never refused",
};
static CALLS: LimitRow = LimitRow {
    name: "calls",
    max_key: "limits.calls.max",
    effect: LimitEffect::ByMode("limits.calls.mode"),
    scope: LimitScope::Node,
    measure: PER_SECOND,
    unit: "calls/s",
    counts: "calls of all callers whom this daemon lets in, at all of its ports, also those that are never refused",
};
static WATCHERS: LimitRow = LimitRow {
    name: "watchers",
    max_key: "limits.watchers.max",
    effect: LimitEffect::ByMode("limits.watchers.mode"),
    scope: LimitScope::Node,
    measure: LimitMeasure::Count,
    unit: "watches",
    counts: "watches and exports that this daemon serves",
};
static GOSSIP_FANOUT: LimitRow = LimitRow {
    name: "gossip-fanout",
    max_key: "limits.gossipFanout.max",
    effect: LimitEffect::Observed,
    scope: LimitScope::Node,
    measure: LimitMeasure::Count,
    unit: "members",
    counts: "members to whom this node passes news on each time",
};
static GOSSIP_MESSAGES: LimitRow = LimitRow {
    name: "gossip-messages",
    max_key: "limits.gossipMessages.max",
    effect: LimitEffect::Observed,
    scope: LimitScope::Node,
    measure: PER_SECOND,
    unit: "messages/s",
    counts: "packets of gossip that this node sends and is sent",
};

impl LimitKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Peers,
        Self::Shards,
        Self::Records,
        Self::Bytes,
        Self::Joins,
        Self::Commits,
        Self::Calls,
        Self::Watchers,
        Self::GossipFanout,
        Self::GossipMessages,
    ];

    /// Row of the table.
    pub fn row(self) -> &'static LimitRow {
        match self {
            Self::Peers => &PEERS,
            Self::Shards => &SHARDS,
            Self::Records => &RECORDS,
            Self::Bytes => &BYTES,
            Self::Joins => &JOINS,
            Self::Commits => &COMMITS,
            Self::Calls => &CALLS,
            Self::Watchers => &WATCHERS,
            Self::GossipFanout => &GOSSIP_FANOUT,
            Self::GossipMessages => &GOSSIP_MESSAGES,
        }
    }
}

/// Refusal of something that would go beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReachedLimit {
    pub kind: LimitKind,
    /// The use, without what is refused.
    pub used: u64,
    pub max: u64,
    /// In how long there is room again, where it is a rate.
    pub retry_after: Option<Duration>,
}

impl ReachedLimit {
    /// The fault that whoever asked for `action` is told.
    pub fn fault(&self, action: &str) -> Fault {
        let Self { kind, used, max, retry_after } = *self;
        let LimitRow { name, max_key, unit, .. } = kind.row();
        let message = match retry_after {
            Some(_) => format!(
                "cannot carry out {action}: the limit `{name}` is {max} {unit}, and there are more; nothing more was changed"
            ),
            None => format!(
                "cannot carry out {action}: it goes beyond the limit `{name}`, {max} {unit}, of which {used} are used; nothing more was changed"
            ),
        };
        let wait = if retry_after.is_some() { "try again when Retry-After is over, or " } else { "" };
        // Of what passes by itself a client comes again by itself.
        let passes = retry_after.is_some() || kind == LimitKind::Watchers;
        let reason = if passes { reasons::LIMIT_EXHAUSTED } else { reasons::LIMIT_REACHED };
        let fault = Fault::new(reason, message)
            .hint(format!(
                "{wait}raise {max_key} and have daemons reload it; omnirelay mesh capacity shows the use"
            ))
            .detail("limit", name)
            .detail("used", used)
            .detail("max", max)
            .detail("setting", max_key);
        match retry_after {
            Some(wait) => fault.retry_after(wait),
            None => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_limit_has_a_name_and_settings_of_its_own() {
        let mut said = BTreeSet::new();
        for kind in LimitKind::ALL {
            let LimitRow { name, max_key, effect, .. } = kind.row();
            let section = max_key.strip_suffix(".max").unwrap();
            assert!(section.starts_with("limits."), "{name}");
            assert!(said.insert(*name) && said.insert(section), "{name} is there twice");
            match effect {
                LimitEffect::ByMode(mode) => assert_eq!(*mode, format!("{section}.mode"), "{name}"),
                LimitEffect::Observed => assert!(name.starts_with("gossip-"), "{name}"),
            }
        }
        assert_eq!(said.len(), LimitKind::ALL.len() * 2);
    }

    #[test]
    fn a_refusal_says_which_limit_how_much_is_used_and_what_to_raise() {
        let reached = ReachedLimit { kind: LimitKind::Shards, used: 90, max: 100, retry_after: None };
        let fault = reached.fault("namespaces.create");
        assert!(fault.is(reasons::LIMIT_REACHED));
        assert!(
            fault.message.contains("namespaces.create") && fault.message.contains("100 shards, of which 90")
        );
        assert!(fault.hint.as_deref().is_some_and(|hint| hint.starts_with("raise limits.shards.max")));
        let details = ["limit", "used", "max", "setting"].map(|name| fault.details[name].as_str());
        assert_eq!(details, ["shards", "90", "100", "limits.shards.max"]);
        assert_eq!(fault.retried_after(), None);

        let wait = Some(Duration::from_millis(250));
        let fault = ReachedLimit { kind: LimitKind::Joins, retry_after: wait, ..reached }.fault("mesh.join");
        assert_eq!((fault.retried_after(), fault.is(reasons::LIMIT_EXHAUSTED)), (wait, true));
    }
}
