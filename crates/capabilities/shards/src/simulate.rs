//! Simulation of what would move if nodes or rules were others.

use std::collections::BTreeMap;

use omnirelay_core::names::check_node_name;
use omnirelay_core::rebalance::{OwnerStanding, RebalanceRules};
use omnirelay_core::shard_order::{PlacementStrategy, Weight};
use omnirelay_core::text::shown;
use omnirelay_decisions::shards::member::{ShardMember, with_unknown};
use omnirelay_decisions::shards::planning::{ShardPlanOutcome, plan};
use omnirelay_decisions::shards::spec::{NODES_MAX, NamespaceRules, check_points, strategy, weight};
use omnirelay_nouns::{at_cursor, envelope};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use tonic::Response;

use super::{Shards, pb};
use crate::shard_map_view::{NamespaceMap, NamespaceMaps, ShardNodes, ShardValues};

/// Supposition of a simulation: what is asked to be otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct WhatIf {
    pub strategy: String,
    /// Empty: those of the mesh.
    pub nodes: Vec<pb::ShardSimulationNode>,
    pub add: Vec<pb::ShardSimulationNode>,
    pub remove: Vec<String>,
    pub weights: BTreeMap<String, f64>,
    pub force: bool,
    /// 0: no limit.
    pub moves_max: usize,
}

/// Outcome of a simulation.
pub(crate) struct SimulationOutcome {
    pub planned: ShardPlanOutcome,
    pub strategy: PlacementStrategy,
    pub warnings: Vec<String>,
}

impl Shards {
    pub(super) async fn simulated(
        &self,
        asked: pb::ShardSimulationRequest,
    ) -> Result<Response<pb::ShardSimulationResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let maps = self.registry.look(NamespaceMaps::of).await;
        let map = maps.ready(&asked.namespace)?;
        let nodes = ShardNodes::of(self.registry.view(), self.gossip.as_deref());
        let values = map.values();
        let wanted = WhatIf {
            strategy: asked.strategy_id.clone(),
            nodes: asked.nodes,
            add: asked.add,
            remove: asked.remove,
            weights: asked.weights.into_iter().collect(),
            force: asked.force,
            moves_max: 0,
        };
        let SimulationOutcome { planned, strategy, warnings } = simulate(&map, &values, &nodes, &wanted)?;
        let name = map.name();
        let assignments =
            values.0.iter().zip(&planned.owners).map(|((id, value), owner)| pb::ShardSimulationAssignment {
                namespace: name.to_owned(),
                shard_id: (*id).to_owned(),
                owner_node_id: owner.clone(),
                capacity: value.capacity_hint,
                locality_hint: value.locality_hint.clone(),
            });
        let changes = planned.moves.iter().map(|one| pb::ShardSimulationChange {
            namespace: name.to_owned(),
            shard_id: one.shard_id.clone(),
            current_owner: one.from.clone(),
            proposed_owner: one.to.clone(),
            changes_owner: true,
            cause: one.cause.clone(),
        });
        let cursor = maps.cursor.to_string();
        let response = pb::ShardSimulationResponse {
            namespace: name.to_owned(),
            strategy_id: strategy.word().to_owned(),
            assignments: assignments.collect(),
            changes: changes.collect(),
            cursor: cursor.clone(),
            map: Some(map.version()),
            summary: Some(planned.summary),
            loads: planned.loads,
            warnings,
            ..Default::default()
        };
        Ok(at_cursor(response.within(envelope(&self.registry)), &cursor))
    }
}

/// Plans for a namespace as if what is asked for were so.
///
/// # Errors
/// `INVALID_ARGUMENT` for what cannot be a strategy, a node or a weight.
pub(crate) fn simulate(
    map: &NamespaceMap<'_>,
    values: &ShardValues<'_>,
    nodes: &ShardNodes,
    asked: &WhatIf,
) -> Result<SimulationOutcome, Fault> {
    let spec = map.spec();
    let mut members = match asked.nodes.is_empty() {
        true => nodes.members(map.name(), &spec, values),
        false => given(&asked.nodes, values)?,
    };
    if asked.add.len() > NODES_MAX || asked.remove.len() > NODES_MAX || asked.weights.len() > NODES_MAX {
        return Err(Fault::invalid(format!(
            "fields `add`, `remove` and `weights` name {NODES_MAX} nodes at most"
        )));
    }
    for node in &asked.add {
        let member = named(node)?;
        members.insert(member.id.clone(), member);
    }
    change_weights(&mut members, &asked.weights)?;
    for node in &asked.remove {
        let member = members.get_mut(node).ok_or_else(|| no_node("remove", node))?;
        member.standing = OwnerStanding::Leaving;
        member.why.push("removed");
    }
    let strategy = match asked.strategy.as_str() {
        "" => spec.strategy,
        word => strategy(word).map_err(Fault::invalid)?,
    };
    check_points(strategy, members.values().map(|member| member.weight)).map_err(Fault::invalid)?;
    let rules = rules(&spec, strategy, asked);
    let planned = plan(map.name(), &values.all(), &members, &rules, &BTreeMap::new());
    let warnings = warnings(&planned, &members);
    Ok(SimulationOutcome { planned, strategy, warnings })
}

fn rules(spec: &NamespaceRules, strategy: PlacementStrategy, asked: &WhatIf) -> RebalanceRules {
    let rules = spec.rules();
    RebalanceRules {
        strategy,
        // Who names them wants what they say, also where a plan before has left it for this one.
        aligns: !asked.strategy.is_empty() || !asked.weights.is_empty(),
        by_choice_milli: if asked.force { 1000 } else { rules.by_choice_milli },
        moves_max: if asked.moves_max == 0 { usize::MAX } else { asked.moves_max },
        ..rules
    }
}

/// The nodes that a caller names in the place of those of the mesh; who owns shards and is not among them goes.
fn given(
    nodes: &[pb::ShardSimulationNode],
    values: &ShardValues<'_>,
) -> Result<BTreeMap<String, ShardMember>, Fault> {
    if nodes.len() > NODES_MAX {
        return Err(Fault::invalid(format!("field `nodes` names more than {NODES_MAX}")));
    }
    let mut members = BTreeMap::new();
    for node in nodes {
        let member = named(node)?;
        members.insert(member.id.clone(), member);
    }
    Ok(with_unknown(members, values.owners()))
}

fn named(node: &pb::ShardSimulationNode) -> Result<ShardMember, Fault> {
    let id = &node.node_id;
    check_node_name(id)
        .map_err(|error| Fault::invalid(format!("`{}` is no node id: {error}", shown(id, 64))))?;
    // What is not said is 0 in the message of the origin.
    let weight = if node.weight == 0.0 { Ok(Weight::ONE) } else { weight(id, node.weight) };
    Ok(ShardMember {
        weight: weight.map_err(Fault::invalid)?,
        region: node.region.clone(),
        zone: node.zone.clone(),
        standing: OwnerStanding::Open,
        why: Vec::new(),
        gone_since: None,
        overloaded_at: None,
        ..ShardMember::unknown(id)
    })
}

fn change_weights(
    members: &mut BTreeMap<String, ShardMember>,
    weights: &BTreeMap<String, f64>,
) -> Result<(), Fault> {
    for (node, number) in weights {
        let member = members.get_mut(node).ok_or_else(|| no_node("weights", node))?;
        member.weight = weight(node, *number).map_err(Fault::invalid)?;
    }
    Ok(())
}

fn no_node(field: &str, node: &str) -> Fault {
    Fault::invalid(format!("field `{field}`: there is no node `{}`", shown(node, 64)))
        .hint("omnirelay mesh peers list")
}

fn warnings(planned: &ShardPlanOutcome, members: &BTreeMap<String, ShardMember>) -> Vec<String> {
    let mut warnings = Vec::new();
    let summary = &planned.summary;
    if summary.unplaced > 0 {
        warnings.push(format!("{} shards have no node that may own them", summary.unplaced));
    }
    if summary.deferred > 0 {
        let (deferred, limit) = (summary.deferred, summary.by_choice_limit);
        warnings.push(format!(
            "{deferred} more moves are left for further plans: one moves {limit} shards by choice, unless it is forced"
        ));
    }
    let doubtful = members.values().filter(|member| member.is_silent || member.why.contains(&"suspect"));
    warnings.extend(
        doubtful.map(|member| format!("{} is {}, and gets nothing", member.id, member.why.join(", "))),
    );
    warnings
}
