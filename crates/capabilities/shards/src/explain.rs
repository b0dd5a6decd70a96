//! Explanation why a node owns a shard, and which others could.

use std::collections::BTreeMap;

use omnirelay_core::rebalance::{OwnerStanding, RebalanceRules};
use omnirelay_core::shard_order::{OwnerCandidate, PlacementStrategy, ShardPlacer, Weight};
use omnirelay_decisions::shards::map::status;
use omnirelay_decisions::shards::member::ShardMember;
use omnirelay_decisions::shards::planning::plan;
use omnirelay_decisions::shards::spec::NamespaceRules;
use omnirelay_nouns::{at_cursor, envelope};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;
use tonic::Response;

use super::history::of_shard;
use super::{Shards, pb};
use crate::shard_map_view::{
    NamespaceMap, ShardLeads, ShardNodes, ShardValues, maps_with, shard_not_found, show,
};

/// How many changes of a shard are told.
const CHANGES_TOLD: usize = 8;

impl Shards {
    pub(super) async fn explained(
        &self,
        asked: pb::ExplainShardRequest,
    ) -> Result<Response<pb::ExplainShardResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let (namespace, shard) = (asked.namespace.as_str(), asked.shard_id.as_str());
        let maps = maps_with(&self.registry, namespace).await?;
        let map = maps.ready(namespace)?;
        let record = map.shard(shard).ok_or_else(|| shard_not_found(namespace, shard))?;
        let value = record.value::<ShardValue>().unwrap_or_default();
        let changes = of_shard(&self.registry, namespace, (shard, &value), CHANGES_TOLD).await?;
        let nodes = ShardNodes::of(self.registry.view(), self.gossip.as_deref());
        let (spec, values) = (map.spec(), map.values());
        let members = nodes.members(map.name(), &spec, &values);
        let candidates = candidates(&map, &spec, &values, &members, (shard, &value));
        let leads = ShardLeads::of_one(self.registry.view(), &record.record.id);
        let cursor = maps.cursor.to_string();
        let response = pb::ExplainShardResponse {
            cursor: cursor.clone(),
            shard: show(&leads, record),
            because: because(&value, spec.strategy, &members, &candidates),
            candidates,
            changes,
            ..Default::default()
        };
        Ok(at_cursor(response.within(envelope(&self.registry)), &cursor))
    }
}

/// Every node of the mesh, the best first, then those that may not own the shard.
fn candidates(
    map: &NamespaceMap<'_>,
    spec: &NamespaceRules,
    values: &ShardValues<'_>,
    members: &BTreeMap<String, ShardMember>,
    (shard, value): (&str, &ShardValue),
) -> Vec<pb::ShardCandidate> {
    let all: Vec<&ShardMember> = members.values().collect();
    let placer = ShardPlacer::new(spec.strategy, all.iter().map(|member| candidate(member)).collect());
    let rules = RebalanceRules { moves_max: 0, ..spec.rules() };
    let loads = plan(map.name(), &values.all(), members, &rules, &BTreeMap::new()).loads;
    let load_of = |member: &ShardMember| loads.iter().find(|load| load.node_id == member.id).cloned();
    let mut found: Vec<pb::ShardCandidate> = all
        .iter()
        .enumerate()
        .map(|(place, member)| {
            let load = load_of(member).unwrap_or_default();
            let cost = placer.cost(map.name(), shard, &value.locality_hint, place);
            let is_full = load.most.is_some_and(|most| load.before >= most) && value.owner != member.id;
            let full = is_full.then(|| "full".to_owned()).filter(|_| member.gets());
            pb::ShardCandidate {
                node_id: member.id.clone(),
                owns: value.owner == member.id,
                rank: 0,
                distance: cost.map_or(0, |(distance, _)| distance.into()),
                cost: cost.map(|(_, cost)| cost),
                weight: member.weight.number(),
                shards: load.before,
                most: load.most,
                excluded_by: member.why.iter().map(|why| (*why).to_owned()).chain(full).collect(),
            }
        })
        .collect();
    found.sort_by(|one, other| {
        let key = |it: &pb::ShardCandidate| (it.cost.is_none(), it.distance, it.cost, it.node_id.clone());
        key(one).cmp(&key(other))
    });
    for (rank, one) in (1..).zip(found.iter_mut().filter(|one| one.cost.is_some())) {
        one.rank = rank;
    }
    found
}

fn candidate(member: &ShardMember) -> OwnerCandidate<'_> {
    OwnerCandidate {
        node: &member.id,
        weight: if member.standing == OwnerStanding::Open { member.weight } else { Weight::ZERO },
        region: &member.region,
        zone: &member.zone,
    }
}

fn because(
    value: &ShardValue,
    strategy: PlacementStrategy,
    members: &BTreeMap<String, ShardMember>,
    candidates: &[pb::ShardCandidate],
) -> Vec<String> {
    let (mut told, strategy) = (Vec::new(), strategy.word());
    let (status, reason) = status(value);
    match value.owner.as_str() {
        "" => told.push("nobody owns it: no node may".to_owned()),
        owner => {
            let rank = candidates.iter().find(|one| one.node_id == owner).map_or(0, |one| one.rank);
            told.push(match rank {
                0 => format!("{owner} owns it, and may get no shards now"),
                1 => format!("{owner} owns it, and is the best for it by {strategy}"),
                rank => format!("{owner} owns it, and keeps it: it is number {rank} for it by {strategy}, and no constraint says otherwise"),
            });
            let why = members.get(owner).map(|member| member.why.join(", ")).unwrap_or_default();
            if !why.is_empty() {
                told.push(format!("{owner} is {why}"));
            }
        }
    }
    if !reason.is_empty() {
        told.push(format!("it is {}: {reason}", status.as_str_name()));
    }
    if !value.target.is_empty() {
        told.push(format!(
            "{} follows once {} has stopped, by plan {}",
            value.target, value.owner, value.plan_id
        ));
    }
    if let Some(history) = &value.history {
        let plan =
            if history.plan_id.is_empty() { String::new() } else { format!(", plan {}", history.plan_id) };
        let reason = if history.reason.is_empty() { String::new() } else { format!(": {}", history.reason) };
        told.push(format!("it was changed last by {} ({}{plan}){reason}", history.actor, history.cause));
    }
    told
}
