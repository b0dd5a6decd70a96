//! Changes that operators may make to a scope.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::labels::{self, Labels};
use omnirelay_core::names::check_node_name;
use omnirelay_core::scope::{GLOBAL_CONTROL, ScopeKind};
use omnirelay_decisions::lease::ElectionPolicy;
use omnirelay_host::chance::correlation_id;
use omnirelay_identity::caller::Caller;
use omnirelay_leadership_records::scope_state::{NEVER_LED, ScopeState};
use omnirelay_leadership_records::{LEADERSHIP, leadership_id};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, head_cursor, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::Write;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::leadership_control_service::{DELETE_SCOPE, SET_SCOPE, STEP_DOWN, TRANSFER};
use omnirelay_wire::timestamp::millis;
use tokio::time::{Instant, timeout_at};

use super::difference::differences;
use super::explain::exclusions_of;
use super::{check_scope, not_found, pb};
use pb::leadership_order::Verb;

/// The most scopes of a mesh.
const SCOPES_MAX: usize = 10_000;
/// How long a leader may take to do what was ordered before the caller is told that it has not yet.
const ORDER_WAIT: Duration = Duration::from_secs(10);
/// How much of a caller's time is left for the answer.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// Has the leader hand a scope over, and waits for it.
pub(super) async fn transfer(
    registry: &Registry,
    caller: &Caller,
    request: pb::TransferLeaderRequest,
) -> Result<pb::LeaderChange, Fault> {
    check_node_name(&request.to)
        .map_err(|error| Fault::invalid(format!("field `to` is no node id: {error}")))?;
    let hash = request_hash(&request);
    let pb::TransferLeaderRequest { scope, to, reason, expected_version, dry_run } = request;
    let asked = MutationRequest { caller, rpc: TRANSFER, id: scope, reason, expected_version, dry_run, hash };
    let ordered = of_scope(&asked, registry, |found| {
        let known = found.ok_or_else(|| not_found(&asked.id))?;
        let leader = known.leader().ok_or_else(|| no_leader(&asked.id))?;
        if leader == to {
            return Ok(unchanged(known));
        }
        may_lead(registry, known, &to)?;
        Ok(order((&asked, registry), known, Verb::Transfer, &to, vec![format!("leader: {leader} -> {to}")]))
    })
    .await?;
    wait(&asked, registry, ordered).await
}

/// Has the leader give a scope up, and waits for it.
pub(super) async fn step_down(
    registry: &Registry,
    caller: &Caller,
    request: pb::StepDownLeaderRequest,
) -> Result<pb::LeaderChange, Fault> {
    let hash = request_hash(&request);
    let pb::StepDownLeaderRequest { scope, reason, expected_version, dry_run } = request;
    let asked =
        MutationRequest { caller, rpc: STEP_DOWN, id: scope, reason, expected_version, dry_run, hash };
    let ordered = of_scope(&asked, registry, |found| {
        let known = found.ok_or_else(|| not_found(&asked.id))?;
        let leader = known.leader().ok_or_else(|| no_leader(&asked.id))?;
        Ok(order((&asked, registry), known, Verb::StepDown, "", vec![format!("leader: {leader} -> (none)")]))
    })
    .await?;
    wait(&asked, registry, ordered).await
}

/// Creates a scope, or replaces its labels and its policy.
pub(super) async fn set(
    registry: &Registry,
    caller: &Caller,
    request: pb::SetScopeRequest,
) -> Result<pb::LeaderChange, Fault> {
    let hash = request_hash(&request);
    let pb::SetScopeRequest { scope, labels, policy, reason, expected_version, dry_run } = request;
    let labels = labels::update(&Labels::new(), &labels, &[], false)
        .map_err(|error| Fault::invalid(format!("field `labels`: {error}")))?;
    ElectionPolicy::of(policy.as_ref())
        .map_err(|error| Fault::invalid(format!("field `policy`: {error}")))?;
    let asked =
        MutationRequest { caller, rpc: SET_SCOPE, id: scope, reason, expected_version, dry_run, hash };
    of_scope(&asked, registry, |found| {
        if found.is_none() {
            may_create(registry.view(), &asked.id)?;
        }
        let before = found.map(|known| LeadershipValue::clone(&known.value));
        let mut after = before.clone().unwrap_or_default();
        after.labels.clone_from(&labels);
        after.policy.clone_from(&policy);
        let changes = differences(before.as_ref(), &after);
        Ok(put((&asked, registry), found, after, changes))
    })
    .await
}

/// Removes a scope, once its leader has stepped down.
pub(super) async fn delete(
    registry: &Registry,
    caller: &Caller,
    request: pb::DeleteScopeRequest,
) -> Result<pb::LeaderChange, Fault> {
    let hash = request_hash(&request);
    let pb::DeleteScopeRequest { scope, reason, expected_version, dry_run } = request;
    if scope == GLOBAL_CONTROL {
        let message = format!(
            "`{GLOBAL_CONTROL}` is not to be deleted: whoever leads it places the shards of this mesh"
        );
        return Err(Fault::new(reasons::SCOPE_NEEDED, message).hint(format!(
            "omnirelay mesh leaders step-down {GLOBAL_CONTROL}    # another node leads it then"
        )));
    }
    let asked =
        MutationRequest { caller, rpc: DELETE_SCOPE, id: scope, reason, expected_version, dry_run, hash };
    let ordered = of_scope(&asked, registry, |found| {
        let known = found.ok_or_else(|| not_found(&asked.id))?;
        let changes = vec!["deleted".to_owned()];
        if known.value.current.is_some() {
            return Ok(order((&asked, registry), known, Verb::Delete, "", changes));
        }
        let writes = vec![Write::Delete { id: leadership_id(&asked.id) }];
        Ok(MutationDecision { writes, changes, answer: answer(known.leadership()) })
    })
    .await?;
    wait(&asked, registry, ordered).await
}

async fn of_scope(
    asked: &MutationRequest<'_>,
    registry: &Registry,
    decide: impl Fn(Option<&ScopeState>) -> Result<MutationDecision<pb::LeaderChange>, Fault>,
) -> Result<pb::LeaderChange, Fault> {
    check_scope(&asked.id)?;
    let decide = |found: Option<&Arc<ViewRecord>>| {
        decide(found.and_then(|record| ScopeState::of(&registry.view().tenancy(), record)).as_ref())
    };
    asked.of_record(registry, leadership_id(&asked.id), decide).await
}

/// Has the leader of a scope do something.
fn order(
    (asked, registry): (&MutationRequest<'_>, &Registry),
    known: &ScopeState,
    verb: Verb,
    to: &str,
    changes: Vec<String>,
) -> MutationDecision<pb::LeaderChange> {
    let order = pb::LeadershipOrder {
        verb: verb.into(),
        to: to.to_owned(),
        ordered_by: asked.caller.principal.to_string(),
        reason: asked.reason.clone(),
        ordered_at: Some(timestamp(known.now)),
        correlation_id: correlation_id(asked.caller.request_id.as_str()),
        unknown_fields: Default::default(),
    };
    let after = LeadershipValue { order: Some(order), ..LeadershipValue::clone(&known.value) };
    put((asked, registry), Some(known), after, changes)
}

/// Writes the record, unless it is so already.
fn put(
    (asked, registry): (&MutationRequest<'_>, &Registry),
    found: Option<&ScopeState>,
    after: LeadershipValue,
    changes: Vec<String>,
) -> MutationDecision<pb::LeaderChange> {
    let mut shown = found.map(ScopeState::leadership).unwrap_or_else(|| new(&asked.id));
    if found.is_some_and(|known| *known.value == after) {
        return MutationDecision { writes: Vec::new(), changes: Vec::new(), answer: answer(shown) };
    }
    let kind = ScopeKind::of(&asked.id).unwrap_or(ScopeKind::Custom);
    shown.labels = kind.labels(&after.labels);
    shown.policy.clone_from(&after.policy);
    shown.order.clone_from(&after.order);
    shown.version += 1;
    registry.node_id().clone_into(&mut shown.last_writer_id);
    let writes = vec![act::put(leadership_id(&asked.id), &after)];
    MutationDecision { writes, changes, answer: answer(shown) }
}

/// Waits until what was ordered is done or dropped.
async fn wait(
    asked: &MutationRequest<'_>,
    registry: &Registry,
    ordered: pb::LeaderChange,
) -> Result<pb::LeaderChange, Fault> {
    let order = ordered.leadership.as_ref().and_then(|shown| shown.order.clone());
    let Some(order) = order.filter(|_| ordered.changed && !ordered.dry_run) else { return Ok(ordered) };
    let left = asked.caller.remaining().map_or(ORDER_WAIT, |left| left.saturating_sub(ANSWER_TIME));
    let until = Instant::now() + left.min(ORDER_WAIT);
    let mut heads = registry.view().follow_head();
    loop {
        heads.mark_unchanged();
        let known = ScopeState::find(registry.view(), &asked.id);
        let pending = known.as_ref().and_then(|known| known.value.order.as_ref());
        if pending.is_none_or(|pending| pending.correlation_id != order.correlation_id) {
            return outcome(asked, registry, ordered, &order, known);
        }
        if timeout_at(until, heads.changed()).await.is_err() {
            return Err(not_yet(asked, &order));
        }
    }
}

/// What has become of an order that stands no longer.
fn outcome(
    asked: &MutationRequest<'_>,
    registry: &Registry,
    ordered: pb::LeaderChange,
    order: &pb::LeadershipOrder,
    known: Option<ScopeState>,
) -> Result<pb::LeaderChange, Fault> {
    let cursor = head_cursor(registry.view());
    let now = known.as_ref().map(ScopeState::leadership);
    let done = known.as_ref().map_or(order.verb() == Verb::Delete, |known| is_done(order, known));
    if done {
        return Ok(pb::LeaderChange { cursor, leadership: now.or(ordered.leadership), ..ordered });
    }
    let instead = match &now {
        Some(now) if now.leader_id.is_empty() => "nobody leads it now".to_owned(),
        Some(now) => format!("{} leads it in term {}", now.leader_id, now.term),
        None => "it is gone".to_owned(),
    };
    let message = format!("what was ordered of the leader of `{}` was not done: {instead}", asked.id);
    Err(Fault::new(reasons::ORDER_DROPPED, message)
        .hint(format!("omnirelay mesh leaders explain {}", asked.id)))
}

fn not_yet(asked: &MutationRequest<'_>, order: &pb::LeadershipOrder) -> Fault {
    let message = format!(
        "the leader of `{}` has not done yet what was ordered; it does it as soon as it can, and whoever is elected \
         in its place heeds it",
        asked.id
    );
    Fault::new(reasons::ORDER_PENDING, message)
        .hint(format!("omnirelay mesh leaders get {}", asked.id))
        .detail("correlationId", &order.correlation_id)
}

/// # Errors
/// `SCOPE_NAME_TAKEN` when a scope is there whose name differs by case only, `TOO_MANY_SCOPES` when there are
/// as many as there may be.
fn may_create(view: &View, scope: &str) -> Result<(), Fault> {
    let records = view.list(&LEADERSHIP).records;
    let mut names = records.iter().map(|record| record.record.id.key.as_str());
    // The scope itself may have come since its record was read: the commit finds that out.
    let differs_by_case = |name: &&str| *name != scope && name.eq_ignore_ascii_case(scope);
    if let Some(taken) = names.find(differs_by_case) {
        let message =
            format!("there is a scope `{taken}` already, which differs from `{scope}` by case only");
        return Err(
            Fault::new(reasons::SCOPE_NAME_TAKEN, message).hint("use that scope, or choose another name")
        );
    }
    if records.len() >= SCOPES_MAX {
        let message = format!("there are {SCOPES_MAX} scopes already, and no more may be");
        return Err(Fault::new(reasons::TOO_MANY_SCOPES, message)
            .hint("remove scopes that nobody needs: omnirelay mesh leaders delete SCOPE"));
    }
    Ok(())
}

/// A scope that there is not yet.
fn new(scope: &str) -> pb::Leadership {
    pb::Leadership {
        scope: scope.to_owned(),
        scope_kind: ScopeKind::word_of(scope).to_owned(),
        reason: NEVER_LED.to_owned(),
        ..pb::Leadership::default()
    }
}

fn unchanged(known: &ScopeState) -> MutationDecision<pb::LeaderChange> {
    MutationDecision { writes: Vec::new(), changes: Vec::new(), answer: answer(known.leadership()) }
}

fn answer(leadership: pb::Leadership) -> pb::LeaderChange {
    pb::LeaderChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        leadership: Some(leadership),
        ..pb::LeaderChange::default()
    }
}

fn no_leader(scope: &str) -> Fault {
    Fault::new(reasons::NO_LEADER, format!("nobody leads `{scope}` now"))
        .hint(format!("omnirelay mesh leaders explain {scope}"))
}

/// # Errors
/// `NOT_ELIGIBLE` when a node may not lead a scope, with why.
fn may_lead(registry: &Registry, known: &ScopeState, node_id: &str) -> Result<(), Fault> {
    let scope = known.scope();
    let why = match exclusions_of(registry.view(), known, node_id) {
        Some(excluded) if excluded.is_empty() => return Ok(()),
        Some(excluded) => excluded.iter().map(|why| why.word()).collect::<Vec<_>>().join(", "),
        None => "there is no such node".to_owned(),
    };
    let message = format!("`{node_id}` may not lead `{scope}`: {why}");
    Err(Fault::new(reasons::NOT_ELIGIBLE, message).hint(format!("omnirelay mesh leaders explain {scope}")))
}

/// Whether an order was carried out, whatever has happened since: by its correlation id, and a scope that was
/// deleted by its new life.
fn is_done(order: &pb::LeadershipOrder, known: &ScopeState) -> bool {
    let id = &order.correlation_id;
    match order.verb() {
        Verb::Transfer => {
            known.tenures().iter().any(|tenure| tenure.leader_id == order.to && tenure.correlation_id == *id)
        }
        Verb::StepDown => known.tenures().iter().any(|tenure| tenure.end_correlation_id == *id),
        Verb::Delete => {
            order.ordered_at.as_ref().is_some_and(|at| known.record.record.created_at > millis(at))
        }
        Verb::Unspecified => false,
    }
}
