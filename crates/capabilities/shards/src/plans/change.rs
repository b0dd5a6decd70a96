//! Changes of plans: who approves them, and has them carried out.

use std::sync::Arc;

use omnirelay_decisions::shards::control::is_live;
use omnirelay_decisions::shards::map::hexadecimal;
use omnirelay_decisions::shards::spec::NamespaceRules;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, timestamp};
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_store::{RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, RebalancePlanValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::rebalance_control_service::{APPLY, APPROVE, CANCEL, PAUSE, REJECT, RESUME};
use omnirelay_wire::timestamp::Timestamp;

use super::{RebalancePlans, check_plan_id, end_moves, not_found, pb, put, shown};
use crate::namespaces;
use crate::pending_rules;
use crate::shard_map_view::{
    NAMESPACE, PLAN, namespace_id, namespace_not_found, not_ready, plan_id, plans_of,
};
use pb::rebalance_plan::State;

/// What a plan that begins changes besides itself.
const ALSO: &[RecordKind] = &[NAMESPACE];

/// Verb that somebody says to a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanVerb {
    Approve,
    Reject,
    Apply,
    Pause,
    Resume,
    Cancel,
}

impl PlanVerb {
    pub(crate) const ALL: [Self; 6] =
        [Self::Approve, Self::Reject, Self::Apply, Self::Pause, Self::Resume, Self::Cancel];

    /// As a decision has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Apply => "applied",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        }
    }

    /// What becomes of a plan in this state; `Ok(None)`: it is so already.
    fn of(self, state: State) -> Result<Option<State>, ()> {
        use State::{Approved, Cancelled, Paused, Proposed, Rejected, Running};
        match (self, state) {
            (Self::Approve, Proposed) => Ok(Some(Approved)),
            (Self::Approve, Approved) | (Self::Apply | Self::Resume, Running) => Ok(None),
            (Self::Reject, Rejected) | (Self::Pause, Paused) | (Self::Cancel, Cancelled) => Ok(None),
            (Self::Reject, Proposed | Approved) => Ok(Some(Rejected)),
            (Self::Apply, Approved) | (Self::Resume, Paused) => Ok(Some(Running)),
            (Self::Pause, Running) => Ok(Some(Paused)),
            (Self::Cancel, Proposed | Approved | Running | Paused) => Ok(Some(Cancelled)),
            (_, _) => Err(()),
        }
    }
}

/// Each request says the same of a plan.
macro_rules! told {
    ($($method:ident($asked:ident) is $rpc:ident, $verb:ident;)*) => {
        impl RebalancePlans {
            $(
                pub(super) async fn $method(&self, caller: &Caller, asked: pb::$asked) -> Result<pb::PlanChange, Fault> {
                    let hash = request_hash(&asked);
                    let pb::$asked { plan_id, reason, expected_version, dry_run } = asked;
                    let asked = MutationRequest { caller, rpc: $rpc, id: plan_id, reason, expected_version, dry_run, hash };
                    self.tell(&asked, PlanVerb::$verb).await
                }
            )*
        }
    };
}

told! {
    approve_one(ApprovePlanRequest) is APPROVE, Approve;
    reject_one(RejectPlanRequest) is REJECT, Reject;
    apply_one(ApplyPlanRequest) is APPLY, Apply;
    pause_one(PausePlanRequest) is PAUSE, Pause;
    resume_one(ResumePlanRequest) is RESUME, Resume;
    cancel_one(CancelPlanRequest) is CANCEL, Cancel;
}

impl RebalancePlans {
    async fn tell(&self, asked: &MutationRequest<'_>, verb: PlanVerb) -> Result<pb::PlanChange, Fault> {
        check_plan_id(&asked.id)?;
        let told = asked
            .of_records(&self.registry, plan_id(&asked.id), ALSO, |reader| {
                let found = reader.get(&plan_id(&asked.id)).ok_or_else(|| not_found(&asked.id))?;
                let value = found.value::<RebalancePlanValue>().unwrap_or_default();
                let before = value.plan.clone().unwrap_or_default();
                let Some(next) = verb.of(before.state()).map_err(|()| refused(&before, verb))? else {
                    let plan = shown(self.registry.view(), &found).unwrap_or(before);
                    return Ok(MutationDecision {
                        writes: Vec::new(),
                        changes: Vec::new(),
                        answer: answer(plan),
                    });
                };
                let now = timestamp(self.registry.view().now());
                let mut plan = before.clone();
                plan.set_state(next);
                plan.state_since = Some(now);
                plan.state_reason.clone_from(&asked.reason);
                plan.decisions.push(decision(verb.word(), asked.caller, now, &asked.reason));
                plan.version = found.record.version.0 + 1;
                let mut writes = Vec::new();
                let mut changes =
                    vec![format!("state: {} -> {}", before.state().as_str_name(), next.as_str_name())];
                match verb {
                    PlanVerb::Approve => self.may_approve(reader, &plan, asked.caller)?,
                    PlanVerb::Apply => {
                        plan.started_at = Some(now);
                        writes = self.begin(reader, &plan, value.rules, &mut changes)?;
                    }
                    PlanVerb::Reject => plan.ended_at = Some(now),
                    PlanVerb::Cancel => {
                        plan.ended_at = Some(now);
                        if before.started_at.is_some() {
                            end_moves(self.registry.view(), &found, &mut plan);
                            let space = namespace(reader, &plan.namespace)?;
                            let after =
                                NamespaceValue { plan_ended: Some(now), ..NamespaceValue::clone(&space) };
                            writes.push(namespaces::put(&plan.namespace, &after));
                        }
                    }
                    PlanVerb::Pause | PlanVerb::Resume => {}
                }
                let value =
                    RebalancePlanValue { plan: Some(plan.clone()), ..RebalancePlanValue::clone(&value) };
                writes.push(put(&asked.id, &value));
                // Who wrote the record is not for its value to say.
                self.registry.node_id().clone_into(&mut plan.last_writer_id);
                Ok(MutationDecision { writes, changes, answer: answer(plan) })
            })
            .await?;
        if let (Some(metrics), Some(plan), true) = (&self.metrics, &told.plan, told.changed && !told.dry_run)
        {
            metrics.count_decision(&plan.namespace, verb.word());
        }
        Ok(told)
    }

    /// # Errors
    /// `SELF_APPROVAL`; `PLAN_OUTDATED`, as nobody should approve what can never begin.
    fn may_approve(
        &self,
        reader: &DecisionReader<'_>,
        plan: &pb::RebalancePlan,
        caller: &Caller,
    ) -> Result<(), Fault> {
        let value = namespace(reader, &plan.namespace)?;
        check_map(plan, &value)?;
        let policy = NamespaceRules::stored(value.spec.as_ref()).policy;
        if plan.author != *caller.principal
            || policy.self_approval.unwrap_or_else(|| self.self_approval.get())
        {
            return Ok(());
        }
        let message = format!(
            "plan `{}` was proposed by {}, and somebody else has to approve it",
            plan.plan_id, plan.author
        );
        Err(Fault::new(reasons::SELF_APPROVAL, message)
            .hint("have somebody else approve it; or set policy.selfApproval of the namespace"))
    }

    /// Has the namespace be as the plan wants it. `rules`: those that it was computed by. What the controller does by itself there
    /// gives way: it may be held up by the brake, which a plan of somebody is not.
    fn begin(
        &self,
        reader: &DecisionReader<'_>,
        plan: &pb::RebalancePlan,
        rules: u64,
        changes: &mut Vec<String>,
    ) -> Result<Vec<Write>, Fault> {
        let value = namespace(reader, &plan.namespace)?;
        if value.phase() != Phase::Ready {
            return Err(not_ready(&plan.namespace, &value));
        }
        check_map(plan, &value)?;
        if rules != 0 && rules != NamespaceRules::stored(value.spec.as_ref()).digest() {
            let (id, name) = (&plan.plan_id, &plan.namespace);
            let message = format!("the rules of `{name}` were changed since plan `{id}` was computed");
            return Err(Fault::new(reasons::PLAN_OUTDATED, message)
                .hint(format!("omnirelay mesh shards rebalance -n {name}")));
        }
        let mut writes = self.give_way(reader, plan, changes)?;
        let mut after = NamespaceValue::clone(&value);
        let spec = after.spec.get_or_insert_default();
        if !plan.strategy_id.is_empty() {
            spec.strategy_id.clone_from(&plan.strategy_id);
        }
        spec.weights.extend(plan.weights.clone());
        spec.weights.extend(plan.removed.iter().map(|node| (node.clone(), 0.0)));
        NamespaceRules::of(spec).map_err(Fault::invalid)?;
        // What waits was shown against other rules.
        let now = self.registry.view().now();
        if let Some(pending) = after.pending.take().filter(|pending| pending_rules::is_live(pending, now)) {
            changes.push(format!("pending: what {} asked for is dropped", pending.proposed_by));
        }
        after.plan_id.clone_from(&plan.plan_id);
        writes.push(namespaces::put(&plan.namespace, &after));
        Ok(writes)
    }

    /// Ends what the controller does by itself with a namespace, as a plan of somebody is applied.
    ///
    /// # Errors
    /// `PLAN_OUTDATED` where a plan of somebody is being carried out.
    fn give_way(
        &self,
        reader: &DecisionReader<'_>,
        plan: &pb::RebalancePlan,
        changes: &mut Vec<String>,
    ) -> Result<Vec<Write>, Fault> {
        let mut writes = Vec::new();
        let plans = plans_of(&self.registry.view().list(&PLAN).records, &plan.namespace);
        // What is read is a condition of the commit: what becomes of the others is nothing to this plan.
        for (id, _) in plans.iter().filter(|(_, value)| is_live(value)) {
            let Some(found) = reader.get(&plan_id(id)) else { continue };
            let live = found.value::<RebalancePlanValue>().filter(|value| is_live(value));
            let Some(live) = live else { continue };
            let mut other = live.plan.clone().unwrap_or_default();
            if !other.automatic {
                let message = format!("plan `{id}` of namespace `{}` is being carried out", plan.namespace);
                return Err(Fault::new(reasons::PLAN_OUTDATED, message).hint(format!(
                    "omnirelay mesh rebalance-plans get {id}, and propose a new one when it has ended"
                )));
            }
            changes.push(format!("plan {id}: {} -> superseded", other.state().as_str_name()));
            end_moves(self.registry.view(), &found, &mut other);
            other.set_state(State::Superseded);
            other.state_reason = format!("plan {} was applied", plan.plan_id);
            (other.state_since, other.ended_at) = (plan.started_at, plan.started_at);
            let value = RebalancePlanValue { plan: Some(other), ..RebalancePlanValue::clone(&live) };
            writes.push(put(id, &value));
        }
        Ok(writes)
    }
}

fn namespace(reader: &DecisionReader<'_>, name: &str) -> Result<Arc<NamespaceValue>, Fault> {
    let found = reader.get(&namespace_id(name)).and_then(|record| record.value::<NamespaceValue>());
    found.ok_or_else(|| namespace_not_found(name))
}

/// # Errors
/// `PLAN_OUTDATED`.
fn check_map(plan: &pb::RebalancePlan, value: &NamespaceValue) -> Result<(), Fault> {
    if plan.map_version == value.map_version && plan.map_checksum == hexadecimal(value.digest) {
        return Ok(());
    }
    let (id, name, was, is) = (&plan.plan_id, &plan.namespace, plan.map_version, value.map_version);
    let message = format!(
        "plan `{id}` was computed from version {was} of the map of `{name}`, which has version {is} by now"
    );
    Err(Fault::new(reasons::PLAN_OUTDATED, message).hint(format!(
        "omnirelay mesh shards diff {was} {is} -n {name}; omnirelay mesh shards rebalance -n {name}"
    )))
}

fn refused(plan: &pb::RebalancePlan, verb: PlanVerb) -> Fault {
    let state = plan.state().as_str_name();
    let message = format!("plan `{}` is {state}, and cannot be {}", plan.plan_id, verb.word());
    let hint = match (verb, plan.state()) {
        (PlanVerb::Apply, State::Proposed) => {
            format!("omnirelay mesh rebalance-plans approve {}", plan.plan_id)
        }
        _ => format!("omnirelay mesh rebalance-plans get {}", plan.plan_id),
    };
    Fault::new(reasons::PLAN_STATE, message).hint(hint)
}

/// Decision of a caller on a plan: what was said, and why.
pub(super) fn decision(what: &str, caller: &Caller, at: Timestamp, reason: &str) -> pb::PlanDecision {
    pb::PlanDecision {
        what: what.to_owned(),
        by: caller.principal.to_string(),
        at: Some(at),
        reason: reason.to_owned(),
        unknown_fields: Default::default(),
    }
}

fn answer(plan: pb::RebalancePlan) -> pb::PlanChange {
    pb::PlanChange { schema_version: SCHEMA_VERSION.to_owned(), plan: Some(plan), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_said_depends_on_what_it_is() {
        use State::{Approved, Completed, Proposed, Running};
        assert_eq!(PlanVerb::Approve.of(Proposed), Ok(Some(Approved)));
        assert_eq!(PlanVerb::Approve.of(Approved), Ok(None), "twice is once");
        assert_eq!(PlanVerb::Apply.of(Proposed), Err(()), "nobody has approved it");
        assert_eq!(PlanVerb::Apply.of(Approved), Ok(Some(Running)));
        for verb in [
            PlanVerb::Approve,
            PlanVerb::Reject,
            PlanVerb::Apply,
            PlanVerb::Pause,
            PlanVerb::Resume,
            PlanVerb::Cancel,
        ] {
            assert_eq!(verb.of(Completed), Err(()), "{verb:?}");
        }
    }
}
