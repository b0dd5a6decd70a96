//! Proposing a plan.

use omnirelay_core::time::Millis;
use omnirelay_decisions::shards::map::{hexadecimal, or_nobody};
use omnirelay_decisions::shards::spec::PARALLEL_MAX;
use omnirelay_host::chance::random_u64;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_nouns::{SCHEMA_VERSION, check_reason, expected, timestamp};
use omnirelay_registry::mutate::ChangeForm;
use omnirelay_registry::mutate::{Mutation, MutationDecision, request_hash};
use omnirelay_wire::change::ChangeAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RebalancePlanValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::rebalance_control_service::PROPOSE;

use super::{RebalancePlans, pb, put};
use crate::change::check_ticket;
use crate::shard_map_view::{NamespaceMap, NamespaceMaps, ShardNodes, namespace_id, plan_id};
use crate::simulate::{SimulationOutcome, WhatIf, simulate};
use pb::rebalance_plan::State;

/// The id of a plan that is made now: ids are in the order in which they were made.
pub fn new_id(now: Millis) -> String {
    let chance = random_u64().unwrap_or(now.0) & 0xff_ffff;
    format!("plan_{:011x}{chance:06x}", now.0)
}

impl RebalancePlans {
    pub(super) async fn propose_one(
        &self,
        caller: &Caller,
        asked: pb::ProposePlanRequest,
    ) -> Result<pb::PlanChange, Fault> {
        let hash = request_hash(&asked);
        check_reason(&asked.reason)?;
        check_ticket(&asked.change_ticket)?;
        if asked.max_parallel_moves > PARALLEL_MAX {
            return Err(Fault::invalid(format!("field `maxParallelMoves` is {PARALLEL_MAX} at most")));
        }
        let wanted = expected(caller, asked.expected_version)?;
        // What is expected is a version of the map, and not of the plan that there is not yet.
        let caller = Caller { if_match: None, ..caller.clone() };
        let id = new_id(self.registry.view().now());
        let mutation = Mutation {
            caller: &caller,
            action: PROPOSE.audit_action,
            object: plan_id(&id),
            also: &[],
            reason: &asked.reason,
            expected: None,
            dry_run: asked.dry_run,
            request_hash: hash,
        };
        self.registry
            .mutate::<ChangeForm<_>>(mutation, |reader| {
                let maps = NamespaceMaps::of(self.registry.view());
                let map = maps.ready(&asked.namespace)?;
                // The plan is of this version of the map; what comes meanwhile makes it outdated when it is applied.
                let _ = reader.get(&namespace_id(&asked.namespace));
                check_version(&map, wanted)?;
                let plan = self.planned(&map, &caller, &asked, &id)?;
                let changes = changes(&plan);
                let value = RebalancePlanValue {
                    plan: Some(plan.clone()),
                    max_parallel_moves: asked.max_parallel_moves,
                    rules: map.spec().digest(),
                    unknown_fields: Default::default(),
                };
                let shown = pb::RebalancePlan { last_writer_id: self.registry.node_id().to_owned(), ..plan };
                let mut answer = pb::PlanChange {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    plan: Some(shown),
                    ..pb::PlanChange::default()
                };
                answer.set_changes(&changes);
                Ok(MutationDecision { writes: vec![put(&id, &value)], changes, answer })
            })
            .await
    }

    fn planned(
        &self,
        map: &NamespaceMap<'_>,
        caller: &Caller,
        asked: &pb::ProposePlanRequest,
        id: &str,
    ) -> Result<pb::RebalancePlan, Fault> {
        let view = self.registry.view();
        let nodes = ShardNodes::of(view, self.gossip.as_deref());
        let wanted = WhatIf {
            strategy: asked.strategy_id.clone(),
            remove: asked.remove.clone(),
            weights: asked.weights.clone().into_iter().collect(),
            force: asked.force,
            moves_max: asked.max_moves as usize,
            ..WhatIf::default()
        };
        let SimulationOutcome { planned, strategy, .. } = simulate(map, &map.values(), &nodes, &wanted)?;
        let changes_rules =
            strategy != map.spec().strategy || !asked.weights.is_empty() || !asked.remove.is_empty();
        if planned.moves.is_empty() && !changes_rules {
            let unplaced = planned.summary.unplaced;
            let message = match unplaced {
                0 => format!("no constraint demands that a shard of `{}` moves", map.name()),
                _ => format!(
                    "{unplaced} shards of `{}` have no node that may own them, and no other would move",
                    map.name()
                ),
            };
            return Err(Fault::new(reasons::NOTHING_TO_DO, message)
                .hint(format!("omnirelay mesh shards simulate -n {}", map.name())));
        }
        let now = timestamp(nodes.now());
        Ok(pb::RebalancePlan {
            plan_id: id.to_owned(),
            namespace: map.name().to_owned(),
            state: State::Proposed.into(),
            state_since: Some(now),
            author: caller.principal.to_string(),
            reason: asked.reason.clone(),
            change_ticket: asked.change_ticket.clone(),
            map_version: map.value.map_version,
            map_checksum: hexadecimal(map.value.digest),
            strategy_id: if strategy == map.spec().strategy {
                String::new()
            } else {
                strategy.word().to_owned()
            },
            weights: asked.weights.clone(),
            removed: asked.remove.clone(),
            forced: asked.force,
            summary: Some(planned.summary),
            loads: planned.loads,
            moves: planned.moves,
            decisions: vec![super::change::decision("proposed", caller, now, &asked.reason)],
            created_at: Some(now),
            ..pb::RebalancePlan::default()
        })
    }
}

/// # Errors
/// `VERSION_CONFLICT` when the map has another version than the caller read.
fn check_version(map: &NamespaceMap<'_>, wanted: Option<IfMatch>) -> Result<(), Fault> {
    let Some(IfMatch::Version(expected)) = wanted else { return Ok(()) };
    let actual = map.value.map_version.cast_unsigned();
    if expected == actual {
        return Ok(());
    }
    let name = map.name();
    let message = format!(
        "the shard map of `{name}` has changed since it was read: it has version {actual}, not {expected}"
    );
    Err(Fault::new(reasons::VERSION_CONFLICT, message)
        .hint(format!("omnirelay mesh shards diff {expected} {actual} -n {name}"))
        .detail("expectedVersion", expected)
        .detail("actualVersion", actual))
}

/// What a plan comes to, a line each.
fn changes(plan: &pb::RebalancePlan) -> Vec<String> {
    let moves = plan
        .moves
        .iter()
        .take(16)
        .map(|one| format!("{}: {} -> {} ({})", one.shard_id, or_nobody(&one.from), one.to, one.cause));
    let more = plan.moves.len().saturating_sub(16);
    moves.chain((more > 0).then(|| format!("and {more} more moves"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_in_which_plans_were_made() {
        let (old, new) = (new_id(Millis(1_795_155_506_947)), new_id(Millis(1_795_155_506_948)));
        assert!(old < new && old.starts_with("plan_") && old.len() == new.len());
    }
}
