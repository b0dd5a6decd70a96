//! The rules of a namespace: what may be said in them, and what holds where nothing is said.

use std::time::Duration;

use omnirelay_core::names::{check_id, check_node_name};
use omnirelay_core::rebalance::RebalanceRules;
use omnirelay_core::scope::ScopeKind;
use omnirelay_core::shard_order::{PlacementStrategy, Weight};
use omnirelay_core::text::shown;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use prost::Message as _;
use xxhash_rust::xxh64::xxh64;

use super::{holders, load};
use crate::lease::ElectionPolicy;
pub use pb::rebalance_policy::Automation;

/// The most nodes that are named in the rules of a namespace.
pub const NODES_MAX: usize = 1000;
/// The most shards between two owners at once, of one namespace.
pub const PARALLEL_MAX: u32 = 200;
/// How long the names of the shards of a namespace are together at most: until they are made they are in one record.
const NAMES_BYTES_MAX: usize = 700 * 1024;
/// What the weights of nodes on a ring come to at most: 64 points for each 1.
const RING_WEIGHTS_MAX: f64 = 10_000.0;
/// How long after one another owners give up shards of a namespace: callers feel it little. In milliseconds.
const MOVE_INTERVAL_MS: u64 = 100;
/// How long after the end of its session what a node owned goes to others, in milliseconds: within two session TTLs of 2 s from a
/// crash on, and not at once, for a daemon whose session has just ended may be back.
const SILENT_AFTER_MS: u64 = 1_000;
/// The longest time of a policy.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A policy that was checked, with what holds where it says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedRebalancePolicy {
    pub bound_milli: u32,
    pub by_choice_milli: u32,
    pub max_parallel: usize,
    pub move_interval: Duration,
    pub cooldown: Duration,
    pub min_healthy: usize,
    pub silent_after: Duration,
    pub drain_grace: Duration,
    /// The brake goes on above this part of the owners, in thousandths; 1000: never.
    pub brake_milli: u32,
    /// `None`: until a plan is approved.
    pub brake: Option<Duration>,
    pub evacuation: Automation,
    pub balance: Automation,
    /// `None`: as the daemon is configured that is asked.
    pub self_approval: Option<bool>,
    pub thresholds: pb::LoadThresholds,
    pub overloaded_after: Duration,
    pub relief: Automation,
}

/// The rules of a namespace, checked.
#[derive(Clone, Debug)]
pub struct NamespaceRules {
    pub strategy: PlacementStrategy,
    pub policy: CheckedRebalancePolicy,
    eligible: ElectionPolicy,
    weights: Vec<(String, Weight)>,
    capacities: Vec<(String, u32)>,
}

impl NamespaceRules {
    /// Reads rules.
    ///
    /// # Errors
    /// The first thing that is wrong with them, with its field.
    pub fn of(spec: &pb::NamespaceSpec) -> Result<Self, String> {
        let strategy = strategy(&spec.strategy_id)?;
        if spec.weights.len() > NODES_MAX || spec.capacities.len() > NODES_MAX {
            return Err(format!("more than {NODES_MAX} nodes are named in `weights` or `capacities`"));
        }
        let mut weights = Vec::new();
        for (node, weight) in &spec.weights {
            weights.push((node_name("weights", node)?, self::weight(node, *weight)?));
        }
        let mut capacities = Vec::new();
        for (node, capacity) in &spec.capacities {
            capacities.push((node_name("capacities", node)?, *capacity));
        }
        check_points(strategy, weights.iter().map(|(_, weight)| *weight))?;
        weights.sort_unstable();
        capacities.sort_unstable();
        let eligible = pb::LeadershipPolicy {
            eligible: spec.eligible.clone(),
            prefer: Vec::new(),
            unknown_fields: Default::default(),
        };
        let eligible =
            ElectionPolicy::of(Some(&eligible)).map_err(|error| format!("field `eligible`: {error}"))?;
        Ok(Self {
            strategy,
            policy: CheckedRebalancePolicy::of(spec.policy.as_ref())?,
            eligible,
            weights,
            capacities,
        })
    }

    /// Of rules that were checked when they were stored.
    pub fn stored(spec: Option<&pb::NamespaceSpec>) -> Self {
        let nothing = pb::NamespaceSpec::default();
        Self::of(spec.unwrap_or(&nothing)).unwrap_or_else(|_| Self {
            strategy: PlacementStrategy::Rendezvous,
            policy: CheckedRebalancePolicy::default(),
            eligible: ElectionPolicy::default(),
            weights: Vec::new(),
            capacities: Vec::new(),
        })
    }

    /// A hash of the rules, by which it is known whether they are still those that a plan was computed by.
    pub fn digest(&self) -> u64 {
        xxh64(format!("{self:?}").as_bytes(), 0).max(1)
    }

    pub fn weight(&self, node: &str) -> Weight {
        find(&self.weights, node).copied().unwrap_or(Weight::ONE)
    }

    pub fn capacity(&self, node: &str) -> Option<usize> {
        find(&self.capacities, node).map(|capacity| *capacity as usize)
    }

    /// Eligibility of nodes to own shards, whoever they are and however they are.
    pub fn eligible(&self) -> &ElectionPolicy {
        &self.eligible
    }

    /// The rules of a plan.
    pub fn rules(&self) -> RebalanceRules {
        RebalanceRules {
            strategy: self.strategy,
            bound_milli: self.policy.bound_milli,
            by_choice_milli: self.policy.by_choice_milli,
            ..RebalanceRules::default()
        }
    }
}

fn find<'s, T>(of: &'s [(String, T)], node: &str) -> Option<&'s T> {
    let place = of.binary_search_by(|(name, _)| name.as_str().cmp(node)).ok()?;
    of.get(place).map(|(_, found)| found)
}

/// # Errors
/// When there is no strategy of that name.
pub fn strategy(word: &str) -> Result<PlacementStrategy, String> {
    if word.is_empty() {
        return Ok(PlacementStrategy::Rendezvous);
    }
    let known = PlacementStrategy::ALL.map(PlacementStrategy::word).join(", ");
    PlacementStrategy::of(word).ok_or_else(|| {
        format!("field `strategyId`: there is no strategy `{}`; there are {known}", shown(word, 40))
    })
}

/// Checks how many points nodes have on a ring together: each is held in memory.
///
/// # Errors
/// When there are too many.
pub fn check_points(
    strategy: PlacementStrategy,
    weights: impl Iterator<Item = Weight>,
) -> Result<(), String> {
    let all: f64 = weights.map(Weight::number).sum();
    let is_ring = strategy == PlacementStrategy::Ring;
    let refused =
        format!("the weights of all nodes come to {all}, and on a ring to {RING_WEIGHTS_MAX} at most");
    if is_ring && all > RING_WEIGHTS_MAX { Err(refused) } else { Ok(()) }
}

/// # Errors
/// When it is none.
pub fn weight(node: &str, weight: f64) -> Result<Weight, String> {
    Weight::of(weight).map_err(|error| format!("the weight of `{}`: {error}", shown(node, 64)))
}

fn checked_thresholds(said: Option<pb::LoadThresholds>) -> Result<pb::LoadThresholds, String> {
    let thresholds = said.unwrap_or_default();
    load::check_thresholds(&thresholds)
        .map_err(|(field, what)| format!("field `policy.thresholds.{field}`: {what}"))?;
    Ok(thresholds)
}

fn node_name(field: &str, node: &str) -> Result<String, String> {
    check_node_name(node)
        .map_err(|error| format!("field `{field}`: `{}` is no node id: {error}", shown(node, 64)))?;
    Ok(node.to_owned())
}

/// # Errors
/// When a text cannot be the name of a namespace.
pub fn check_namespace(name: &str) -> Result<(), String> {
    check_id(name).map_err(|error| format!("field `namespace` is no name of a namespace: {error}"))
}

/// Checks the ids of the shards that are to be made, their hints and their number.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_new_shards(namespace: &str, named: &[pb::NewShard]) -> Result<(), String> {
    let (mut seen, mut bytes) = (std::collections::BTreeSet::new(), 0);
    for shard in named {
        let id = &shard.shard_id;
        check_id(id)
            .map_err(|error| format!("field `named`: `{}` is no id of a shard: {error}", shown(id, 40)))?;
        let scope = format!("shard/{namespace}/{id}");
        ScopeKind::of(&scope).map_err(|error| format!("field `named`: `{id}`: {error}"))?;
        if !seen.insert(id) {
            return Err(format!("field `named`: shard `{id}` is named twice"));
        }
        let capacity = shard.capacity_hint;
        if capacity != 0.0 && !(0.001..=1_000_000.0).contains(&capacity) {
            return Err(format!(
                "field `named`: the capacity of `{id}` is 0, or 0.001 to 1000000; {capacity} is not"
            ));
        }
        bytes += shard.encoded_len();
        if bytes > NAMES_BYTES_MAX {
            return Err(format!(
                "field `named`: the names and hints are longer than {NAMES_BYTES_MAX} bytes together"
            ));
        }
        if shard.locality_hint.len() > 160 {
            return Err(format!("field `named`: the locality hint of `{id}` is longer than 160 bytes"));
        }
    }
    Ok(())
}

impl CheckedRebalancePolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its field.
    pub fn of(policy: Option<&pb::RebalancePolicy>) -> Result<Self, String> {
        let said = policy.cloned().unwrap_or_default();
        holders::check(&said.holders)?;
        let milli = |field: &str, value: Option<f64>, default: f64, least: f64, most: f64, factor: f64| {
            let value = value.unwrap_or(default);
            let is_in = (least..=most).contains(&value);
            // Ten million at most.
            let milli = (value * factor).round() as u32;
            is_in
                .then_some(milli)
                .ok_or_else(|| format!("field `policy.{field}` is {least} to {most}; {value} is not"))
        };
        let time = |field: &str, value: Option<u64>, default: u64| {
            let time = Duration::from_millis(value.unwrap_or(default));
            (time <= TIME_MAX)
                .then_some(time)
                .ok_or_else(|| format!("field `policy.{field}` is longer than seven days"))
        };
        let count = |field: &str, value: Option<u32>, default: u32, least: u32, most: u32| {
            let count = value.unwrap_or(default);
            let is_in = (least..=most).contains(&count);
            is_in
                .then_some(count as usize)
                .ok_or_else(|| format!("field `policy.{field}` is {least} to {most}; {count} is not"))
        };
        let automation =
            |said: Automation, default| if said == Automation::Unspecified { default } else { said };
        let brake = time("brakeMs", said.brake_ms, 60_000)?;
        Ok(Self {
            bound_milli: milli("bound", said.bound, 1.05, 1.0, 10.0, 1000.0)?,
            by_choice_milli: milli("byChoicePercent", said.by_choice_percent, 10.0, 0.0, 100.0, 10.0)?,
            max_parallel: count("maxParallelMoves", said.max_parallel_moves, 16, 1, PARALLEL_MAX)?,
            move_interval: time("moveIntervalMs", said.move_interval_ms, MOVE_INTERVAL_MS)?,
            cooldown: time("cooldownMs", said.cooldown_ms, 30_000)?,
            min_healthy: count("minHealthyNodes", said.min_healthy_nodes, 1, 0, 10_000)?,
            silent_after: time("silentAfterMs", said.silent_after_ms, SILENT_AFTER_MS)?,
            drain_grace: time("drainGraceMs", said.drain_grace_ms, 30_000)?,
            brake_milli: milli("brakePercent", said.brake_percent, 50.0, 1.0, 100.0, 10.0)?,
            brake: (brake > Duration::ZERO).then_some(brake),
            evacuation: automation(said.evacuation(), Automation::Automatic),
            balance: automation(said.balance(), Automation::Automatic),
            self_approval: said.self_approval,
            thresholds: checked_thresholds(said.thresholds.clone())?,
            overloaded_after: time("overloadedAfterMs", said.overloaded_after_ms, 30_000)?,
            relief: automation(said.relief(), Automation::Off),
        })
    }
}

impl Default for CheckedRebalancePolicy {
    fn default() -> Self {
        Self {
            bound_milli: 1050,
            by_choice_milli: 100,
            max_parallel: 16,
            move_interval: Duration::from_millis(MOVE_INTERVAL_MS),
            cooldown: Duration::from_secs(30),
            min_healthy: 1,
            silent_after: Duration::from_millis(SILENT_AFTER_MS),
            drain_grace: Duration::from_secs(30),
            brake_milli: 500,
            brake: Some(Duration::from_secs(60)),
            evacuation: Automation::Automatic,
            balance: Automation::Automatic,
            self_approval: None,
            thresholds: pb::LoadThresholds::default(),
            overloaded_after: Duration::from_secs(30),
            relief: Automation::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_the_comments_say() {
        assert_eq!(CheckedRebalancePolicy::of(None), Ok(CheckedRebalancePolicy::default()));
        assert_eq!(CheckedRebalancePolicy::default().move_interval, Duration::from_millis(100));
        let spec = NamespaceRules::of(&pb::NamespaceSpec::default()).unwrap();
        assert_eq!(
            (spec.strategy, spec.weight("a"), spec.capacity("a")),
            (PlacementStrategy::Rendezvous, Weight::ONE, None)
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        type Spoil = fn(&mut pb::NamespaceSpec);
        let cases: [(&str, Spoil); 11] = [
            ("`strategyId`", |spec| spec.strategy_id = "maglev".to_owned()),
            ("the weight of `a`", |spec| _ = spec.weights.insert("a".to_owned(), f64::NAN)),
            ("the weight of `a`", |spec| _ = spec.weights.insert("a".to_owned(), -1.0)),
            ("`weights`", |spec| _ = spec.weights.insert("A b".to_owned(), 1.0)),
            ("`capacities`", |spec| _ = spec.capacities.insert(String::new(), 1)),
            ("`eligible`", |spec| spec.eligible.get_or_insert_default().selector = "a in (".to_owned()),
            ("`policy.bound`", |spec| spec.policy.get_or_insert_default().bound = Some(0.5)),
            ("`policy.bound`", |spec| spec.policy.get_or_insert_default().bound = Some(f64::NAN)),
            ("`policy.maxParallelMoves`", |spec| {
                spec.policy.get_or_insert_default().max_parallel_moves = Some(0);
            }),
            ("`policy.silentAfterMs`", |spec| {
                spec.policy.get_or_insert_default().silent_after_ms = Some(u64::MAX);
            }),
            ("`policy.holders`", |spec| {
                spec.policy.get_or_insert_default().holders = vec!["orders".to_owned()];
            }),
        ];
        for (field, spoil) in cases {
            let mut spec = pb::NamespaceSpec::default();
            spoil(&mut spec);
            let error = NamespaceRules::of(&spec).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn new_shards_are_named_once_each_by_what_can_be_a_name() {
        let new = |id: &str, capacity: f64| pb::NewShard {
            shard_id: id.to_owned(),
            capacity_hint: capacity,
            locality_hint: String::new(),
            unknown_fields: Default::default(),
        };
        assert_eq!(check_new_shards("orders", &[new("a", 0.0), new("b", 2.5)]), Ok(()));
        for (bad, what) in [
            (vec![new("a", 0.0), new("a", 0.0)], "twice"),
            (vec![new("a/b", 0.0)], "no id"),
            (vec![new("", 0.0)], "no id"),
            (vec![new("a", f64::NAN)], "capacity"),
            (vec![new("a", -1.0)], "capacity"),
        ] {
            let error = check_new_shards("orders", &bad).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
