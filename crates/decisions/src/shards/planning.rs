//! Plans of a namespace: what the planner says, as the API says it.

use std::collections::BTreeMap;

use omnirelay_core::rebalance::{
    self, OwnerStanding, PlannedLoad, RebalanceNode, RebalanceRules, RebalanceShard,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;

use super::member::ShardMember;
use pb::planned_move::Progress;

/// How large the moves of a plan may be together, encoded: a record holds a mebibyte.
const MOVES_BYTES_MAX: usize = 800 * 1024;

/// The shards of a namespace, in the order of their ids.
pub type PlannedShards<'a> = [(&'a str, &'a ShardValue)];

/// Outcome of a plan of shards.
#[derive(Clone, Debug, Default)]
pub struct ShardPlanOutcome {
    pub moves: Vec<pb::PlannedMove>,
    pub summary: pb::ShardPlanSummary,
    pub loads: Vec<pb::ShardLoad>,
    /// Shards that nobody may own.
    pub unplaced: Vec<String>,
    /// Who would own each shard, in their order; empty: nobody.
    pub owners: Vec<String>,
}

/// Plans for a namespace. What is `covered` counts as moved already, to the node that is named, and moves no more.
pub fn plan(
    name: &str,
    shards: &PlannedShards<'_>,
    members: &BTreeMap<String, ShardMember>,
    rules: &RebalanceRules,
    covered: &BTreeMap<&str, &str>,
) -> ShardPlanOutcome {
    let nodes: Vec<RebalanceNode<'_>> = members.values().map(ShardMember::node).collect();
    let given: Vec<RebalanceShard<'_>> = shards
        .iter()
        .map(|(id, value)| {
            let to = covered.get(id).copied();
            let owner = to.or(Some(value.owner.as_str()).filter(|owner| !owner.is_empty()));
            let is_pinned = to.is_some() || value.paused || value.disabled;
            RebalanceShard { id, owner, hint: &value.locality_hint, is_pinned }
        })
        .collect();
    let plan = rebalance::plan(name, &given, &nodes, rules);
    let mut owners: Vec<String> =
        given.iter().map(|shard| shard.owner.unwrap_or_default().to_owned()).collect();
    let (mut moves, mut bytes, mut cut) = (Vec::new(), 0, 0);
    for one in &plan.moves {
        let Some(planned) = planned(one, &given, &nodes) else { continue };
        bytes += encoded_bytes(&planned);
        if bytes > MOVES_BYTES_MAX {
            cut += 1;
            continue;
        }
        if let Some(owner) = owners.get_mut(one.shard) {
            owner.clone_from(&planned.to);
        }
        moves.push(planned);
    }
    let id = |shard: &usize| given.get(*shard).map(|shard| shard.id.to_owned());
    let by_choice = plan.moves.iter().filter(|one| one.cause.is_by_choice()).count();
    let (before, after) = (
        imbalance(&nodes, &plan.loads, |load| load.before),
        imbalance(&nodes, &plan.loads, |load| load.after),
    );
    let summary = pb::ShardPlanSummary {
        shards: count(shards.len()),
        moves: count(moves.len()),
        moved_percent: percent(moves.len(), shards.len()),
        lower_bound: count(plan.lower_bound),
        by_choice: count(by_choice),
        by_choice_limit: count(rules.by_choice_max(shards.len())),
        deferred: count(plan.deferred + cut),
        unplaced: count(plan.unplaced.len()),
        imbalance_before: before.unwrap_or(0.0),
        imbalance_after: after.unwrap_or(0.0),
        unknown_fields: Default::default(),
    };
    // Whoever owns nothing, and is not to, says nothing.
    let matters =
        |(member, load): &(&ShardMember, &PlannedLoad)| member.gets() || load.before > 0 || load.after > 0;
    let loads = members.values().zip(&plan.loads).filter(matters);
    let loads = loads.map(|(member, load)| shown(member, load)).collect();
    ShardPlanOutcome {
        moves,
        summary,
        loads,
        unplaced: plan.unplaced.iter().filter_map(id).collect(),
        owners,
    }
}

/// How large a move is in a record, about.
fn encoded_bytes(one: &pb::PlannedMove) -> usize {
    one.shard_id.len() + one.from.len() + one.to.len() + one.cause.len() + 12
}

/// A plan by which these shards go to these nodes for this cause, whatever the rules would say; as many as one plan can have.
pub fn plan_for(
    name: &str,
    shards: &PlannedShards<'_>,
    members: &BTreeMap<String, ShardMember>,
    rules: &RebalanceRules,
    (to, cause): (&BTreeMap<&str, &str>, &str),
) -> ShardPlanOutcome {
    let nothing = RebalanceRules { moves_max: 0, ..*rules };
    let mut planned = plan(name, shards, members, &nothing, &BTreeMap::new());
    let mut bytes = 0;
    let moves = shards.iter().filter_map(|(id, value)| {
        let to = *to.get(id)?;
        Some(pb::PlannedMove {
            shard_id: (*id).to_owned(),
            from: value.owner.clone(),
            to: to.to_owned(),
            cause: cause.to_owned(),
            progress: Progress::Pending.into(),
            unknown_fields: Default::default(),
        })
    });
    planned.moves = moves
        .take_while(|one| {
            bytes += encoded_bytes(one);
            bytes <= MOVES_BYTES_MAX
        })
        .collect();
    for one in &planned.moves {
        for load in &mut planned.loads {
            if load.node_id == one.from {
                load.after = load.after.saturating_sub(1);
            } else if load.node_id == one.to {
                load.after += 1;
            }
        }
    }
    let moved: BTreeMap<&str, &str> =
        planned.moves.iter().map(|one| (one.shard_id.as_str(), one.to.as_str())).collect();
    let after = plan(name, shards, members, &nothing, &moved);
    let (moves, percent) = (count(planned.moves.len()), percent(planned.moves.len(), shards.len()));
    planned.summary = pb::ShardPlanSummary {
        moves,
        moved_percent: percent,
        imbalance_after: after.summary.imbalance_before,
        ..planned.summary
    };
    planned
}

fn planned(
    one: &rebalance::ShardMove,
    shards: &[RebalanceShard<'_>],
    nodes: &[RebalanceNode<'_>],
) -> Option<pb::PlannedMove> {
    let shard = shards.get(one.shard)?;
    Some(pb::PlannedMove {
        shard_id: shard.id.to_owned(),
        from: shard.owner.unwrap_or_default().to_owned(),
        to: nodes.get(one.to)?.id.to_owned(),
        cause: one.cause.word().to_owned(),
        progress: Progress::Pending.into(),
        unknown_fields: Default::default(),
    })
}

fn shown(member: &ShardMember, load: &PlannedLoad) -> pb::ShardLoad {
    let most = (member.standing != OwnerStanding::Leaving && load.most < u32::MAX as usize)
        .then(|| count(load.most));
    pb::ShardLoad {
        node_id: member.id.clone(),
        before: count(load.before),
        after: count(load.after),
        most,
        weight: member.weight.number(),
        standing: standing(member.standing).to_owned(),
        excluded_by: member.why.iter().map(|why| (*why).to_owned()).collect(),
        unknown_fields: Default::default(),
    }
}

/// As the API says it.
pub fn standing(standing: OwnerStanding) -> &'static str {
    match standing {
        OwnerStanding::Open => "open",
        OwnerStanding::Cordoned => "cordoned",
        OwnerStanding::Leaving => "leaving",
    }
}

/// The most that a node has beside its share by weight, rounded up, among those that may get some; whoever has no more than the rules
/// let it have is even, which of few shards may be half as many again. `None`: there is nobody, or nothing to own.
fn imbalance(
    nodes: &[RebalanceNode<'_>],
    loads: &[PlannedLoad],
    of: impl Fn(&PlannedLoad) -> usize,
) -> Option<f64> {
    let sharing = || nodes.iter().zip(loads).filter(|(node, _)| node.gets());
    let weights: f64 = sharing().map(|(node, _)| node.weight.number()).sum();
    let all: f64 = sharing().map(|(_, load)| of(load) as f64).sum();
    let beside = |(node, load): (&RebalanceNode<'_>, &PlannedLoad)| {
        let ratio = of(load) as f64 / (all * node.weight.number() / weights).ceil();
        if of(load) <= load.most { ratio.min(1.0) } else { ratio }
    };
    (all > 0.0).then(|| sharing().map(beside).fold(0.0, f64::max))
}

fn percent(part: usize, all: usize) -> f64 {
    // To a hundredth.
    (part as f64 * 10_000.0 / all.max(1) as f64).round() / 100.0
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
