//! Rebalance plans: which shards are to move, who said so, and how far they are.

mod change;
mod propose;
pub mod watching;

pub(crate) use change::PlanVerb;
pub use propose::new_id;

use std::sync::Arc;

use omnirelay_decisions::shards::control::{is_live, progress};
use omnirelay_decisions::shards::spec::check_namespace;
use omnirelay_gossip::Gossip;
use omnirelay_host::live::Live;
use omnirelay_nouns::feed::NounWatches;
use omnirelay_nouns::listing::{self, AskedPage, ListMoment};
use omnirelay_nouns::serve;
use omnirelay_nouns::{at_cursor, envelope, envelope_at, tagged, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::Write;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::RebalancePlanValue;
use omnirelay_wire::reasons;
use tonic::Response;

use super::namespaces::page_of_namespaces;
use super::pb;
use crate::metrics::ShardMetrics;
use crate::shard_map_view::{NamespaceMap, NamespaceMaps, PLAN, plan_id};
use pb::planned_move::Progress;
use pb::rebalance_control_service_server::RebalanceControlService;

const LIMIT_DEFAULT: u32 = 100;
/// How many lines say what a plan waits for.
const WAITS_MAX: usize = 16;

/// Serves `RebalanceControlService` from a registry.
pub struct RebalancePlans {
    registry: Arc<Registry>,
    gossip: Option<Arc<Gossip>>,
    /// Whether whoever proposes a plan may approve it where the policy of the namespace says nothing.
    self_approval: Live<bool>,
    /// `None`: nothing is counted.
    metrics: Option<Arc<ShardMetrics>>,
    watches: NounWatches<pb::PlanEvent>,
    states: NounWatches<pb::RebalanceEvent>,
}

serve! {
    RebalanceControlService for RebalancePlans {
        states(RebalanceStatesRequest) -> RebalanceStatesResponse: |plans, _, asked| plans.tell_states(asked);
        list(ListPlansRequest) -> ListPlansResponse: |plans, _, asked| plans.list_all(asked);
        get(GetPlanRequest) -> GetPlanResponse: |plans, _, asked| plans.get_one(asked);
        propose(ProposePlanRequest) -> PlanChange: |plans, caller, asked| plans.propose_one(caller, asked);
        approve(ApprovePlanRequest) -> PlanChange: |plans, caller, asked| plans.approve_one(caller, asked);
        reject(RejectPlanRequest) -> PlanChange: |plans, caller, asked| plans.reject_one(caller, asked);
        apply(ApplyPlanRequest) -> PlanChange: |plans, caller, asked| plans.apply_one(caller, asked);
        pause(PausePlanRequest) -> PlanChange: |plans, caller, asked| plans.pause_one(caller, asked);
        resume(ResumePlanRequest) -> PlanChange: |plans, caller, asked| plans.resume_one(caller, asked);
        cancel(CancelPlanRequest) -> PlanChange: |plans, caller, asked| plans.cancel_one(caller, asked);
        [WatchStatesStream] watch_states(WatchRebalanceStatesRequest) -> RebalanceEvent:
            |plans, _, asked| plans.serve_states(asked);
        [WatchStream] watch(WatchPlansRequest) -> PlanEvent: |plans, _, asked| plans.serve_watch(asked);
    }
}

impl RebalancePlans {
    /// At most `watches_max` watches are served at once.
    pub fn new(
        registry: Arc<Registry>,
        gossip: Option<Arc<Gossip>>,
        self_approval: impl Into<Live<bool>>,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        let watches = NounWatches::new(registry.clone(), watches_max);
        let (states, self_approval) = (watches.reshaped(), self_approval.into());
        Self { states, watches, registry, gossip, self_approval, metrics: None }
    }

    /// Counts what is said to plans.
    #[must_use]
    pub fn counting(self, metrics: Arc<ShardMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    async fn tell_states(
        &self,
        asked: pb::RebalanceStatesRequest,
    ) -> Result<Response<pb::RebalanceStatesResponse>, Fault> {
        let query = request_hash(&pb::RebalanceStatesRequest::default());
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let moment = page.token.as_ref().into();
        let (cursor, namespaces, next_page_token) =
            page_of_namespaces(&self.registry, self.gossip.as_deref(), &page, &moment).await?;
        let told = pb::RebalanceStatesResponse {
            cursor: cursor.clone(),
            namespaces,
            next_page_token,
            ..Default::default()
        };
        Ok(at_cursor(told.within(envelope(&self.registry)), &cursor))
    }

    async fn list_all(&self, asked: pb::ListPlansRequest) -> Result<Response<pb::ListPlansResponse>, Fault> {
        if !asked.namespace.is_empty() {
            check_namespace(&asked.namespace).map_err(Fault::invalid)?;
        }
        let limit = if asked.limit == 0 { LIMIT_DEFAULT } else { asked.limit };
        let filters = pb::ListPlansRequest {
            namespace: asked.namespace.clone(),
            state: asked.state.clone(),
            at: asked.at.clone(),
            ..Default::default()
        };
        let page = AskedPage::of(limit, &asked.page_token, request_hash(&filters))?;
        self.registry.ready_for(&asked.min_revision).await?;
        let moment = ListMoment::of(&self.registry, &asked.at, page.token.as_ref()).await?;
        let view = moment.view(&self.registry);
        let (read, maps) = listing::read_with(&self.registry, &PLAN, &moment, NamespaceMaps::of).await?;
        let is_meant = |plan: &pb::RebalancePlan| {
            (asked.namespace.is_empty() || asked.namespace == plan.namespace)
                && (asked.state.is_empty() || asked.state.contains(&plan.state))
        };
        let shown = |record: &ViewRecord| {
            let value = record.value::<RebalancePlanValue>()?;
            let plan = value.plan.as_ref().filter(|plan| is_meant(plan))?;
            Some(brief(show(record, &value, maps.find(&plan.namespace).as_ref(), view)))
        };
        let (plans, next_page_token) =
            page.cut(read.cursor, read.records.iter().rev(), |record| [shown(record)]);
        let cursor = read.cursor.to_string();
        let listed =
            pb::ListPlansResponse { cursor: cursor.clone(), plans, next_page_token, ..Default::default() };
        Ok(at_cursor(listed.within(envelope_at(&self.registry, &moment)), &cursor))
    }

    async fn get_one(&self, asked: pb::GetPlanRequest) -> Result<Response<pb::GetPlanResponse>, Fault> {
        check_plan_id(&asked.plan_id)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.find(&plan_id(&asked.plan_id)).await?;
        let record = record.ok_or_else(|| not_found(&asked.plan_id))?;
        let plan = shown(self.registry.view(), &record);
        let (cursor, version) = (super::head_cursor(self.registry.view()), record.record.version);
        let got = pb::GetPlanResponse { cursor: cursor.clone(), plan, ..Default::default() };
        Ok(tagged(got.within(envelope(&self.registry)), &format!("\"{version}\""), &cursor))
    }
}

/// A plan as the API shows it, with how far it is now.
pub fn shown(view: &View, record: &ViewRecord) -> Option<pb::RebalancePlan> {
    let value = record.value::<RebalancePlanValue>()?;
    let maps = NamespaceMaps::of(view);
    Some(show(record, &value, maps.find(&value.plan.as_ref()?.namespace).as_ref(), view))
}

fn show(
    record: &ViewRecord,
    value: &RebalancePlanValue,
    map: Option<&NamespaceMap<'_>>,
    view: &View,
) -> pb::RebalancePlan {
    let mut plan = value.plan.clone().unwrap_or_default();
    plan.version = record.record.version.0;
    plan.last_writer_id = record.record.writer.to_string();
    plan.updated_at = Some(timestamp(record.record.updated_at));
    record.record.id.key.clone_into(&mut plan.plan_id);
    // Of one that has ended it is kept how far it came.
    if !is_live(value) {
        return plan;
    }
    let values = map.map(NamespaceMap::values);
    let find = |shard: &str| {
        let values = &values.as_ref()?.0;
        let place = values.binary_search_by(|(id, _)| (*id).cmp(shard)).ok()?;
        values.get(place).map(|(_, value)| &**value)
    };
    let (mut moved, mut draining, mut waits) = (0, 0, Vec::new());
    let mut moves = std::mem::take(&mut plan.moves);
    for planned in &mut moves {
        let progress = progress(&plan, planned, find(&planned.shard_id));
        planned.set_progress(progress);
        moved += u32::from(progress == Progress::Moved);
        draining += u32::from(progress == Progress::Draining);
        if progress == Progress::Draining && waits.len() < WAITS_MAX {
            waits.push(format!("{} until {} has stopped", planned.shard_id, planned.from));
        }
    }
    plan.moves = moves;
    (plan.moved, plan.draining, plan.waits_for) = (moved, draining, waits);
    if plan.draining == 0 && moved < plan.moves.len() as u32 && view.silence().is_some() {
        plan.waits_for.push("the store does not answer".to_owned());
    }
    plan
}

/// Keeps how far a plan came that ends, as others may move what it moved; what it has not moved is not moved by it any more.
pub fn end_moves(view: &View, record: &ViewRecord, plan: &mut pb::RebalancePlan) {
    let Some(shown) = shown(view, record) else { return };
    (plan.moved, plan.moves) = (shown.moved, shown.moves);
    for planned in plan.moves.iter_mut().filter(|planned| planned.progress() != Progress::Moved) {
        planned.set_progress(Progress::Dropped);
    }
}

/// Without its moves.
fn brief(plan: pb::RebalancePlan) -> pb::RebalancePlan {
    pb::RebalancePlan { moves: Vec::new(), loads: Vec::new(), ..plan }
}

/// The write by which a plan becomes so.
pub fn put(id: &str, value: &RebalancePlanValue) -> Write {
    act::put(plan_id(id), value)
}

fn check_plan_id(id: &str) -> Result<(), Fault> {
    let fits =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits { Ok(()) } else { Err(Fault::invalid("field `planId` is no id of a plan")) }
}

fn not_found(id: &str) -> Fault {
    Fault::new(reasons::PLAN_NOT_FOUND, format!("there is no plan `{id}`"))
        .hint("omnirelay mesh rebalance-plans list")
}
