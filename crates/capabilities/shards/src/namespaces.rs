//! Namespaces: what shards are shards of, and the rules by which they are owned.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::rebalance::{OwnerStanding, RebalanceRules};
use omnirelay_core::shard_order::PlacementStrategy;
use omnirelay_decisions::field_changes::field_changes;
use omnirelay_decisions::shards::map::hexadecimal;
use omnirelay_decisions::shards::member::ShardMember;
use omnirelay_decisions::shards::planning::plan;
use omnirelay_decisions::shards::spec::{NamespaceRules, check_namespace, check_new_shards};
use omnirelay_gossip::Gossip;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::listing::{AskedPage, ListMoment};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, envelope_at, head_cursor, tagged, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::act;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::Write;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::namespace_value::Phase;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, ShardValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::namespace_control_service::{CREATE, DELETE, SET};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::Response;
use tracing::warn;

use super::change::check_ticket;
use super::pending_rules::PendingRulesPoll;
use super::{SHARDS_RUNBOOK, pb, pending_rules};
use crate::shard_map_view::{
    NAMESPACE, NamespaceMap, NamespaceMaps, ShardNodes, namespace_id, namespace_not_found, not_ready,
};
use pb::namespace::State;
use pb::namespace_control_service_server::NamespaceControlService;

/// The most namespaces of a mesh.
pub(crate) const NAMESPACES_MAX: usize = 1000;
/// How long the shards of a new namespace are waited for, and how much of a caller's time is left for the answer.
const READY_WAIT: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_millis(200);
/// From how large a part of a limit on it is warned of.
const NEAR: f64 = 0.8;

/// Limits on how many shards there may be.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    pub per_namespace: usize,
    pub per_mesh: usize,
}

/// Serves `NamespaceControlService` from a registry.
pub struct Namespaces {
    pub registry: Arc<Registry>,
    pub gossip: Option<Arc<Gossip>>,
    pub limits: Live<ShardLimits>,
    /// Whether who proposes something may approve it, where the policy of a namespace does not say.
    pub self_approval: Live<bool>,
}

serve! {
    NamespaceControlService for Namespaces {
        list(ListNamespacesRequest) -> ListNamespacesResponse: |spaces, _, asked| spaces.list_all(asked);
        get(GetNamespaceRequest) -> GetNamespaceResponse: |spaces, _, asked| spaces.get_one(asked);
        create(CreateNamespaceRequest) -> NamespaceChange: |spaces, caller, asked| spaces.create_one(caller, asked);
        set(SetNamespaceRequest) -> NamespaceChange: |spaces, caller, asked| spaces.set_one(caller, asked);
        delete(DeleteNamespaceRequest) -> NamespaceChange: |spaces, caller, asked| spaces.delete_one(caller, asked);
    }
}

/// All namespaces, in the order of their names.
pub async fn all_namespaces(registry: &Registry, gossip: Option<&Gossip>) -> Vec<pb::Namespace> {
    let maps = registry.look(NamespaceMaps::of).await;
    let nodes = ShardNodes::of(registry.view(), gossip);
    maps.all().map(|map| counted(&map, &nodes)).collect()
}

/// A page of all namespaces of a moment: the cursor that it is of, the namespaces and the token of the next page.
pub async fn page_of_namespaces(
    registry: &Registry,
    gossip: Option<&Gossip>,
    page: &AskedPage,
    moment: &ListMoment<'_>,
) -> Result<(String, Vec<pb::Namespace>, String), Fault> {
    let maps = NamespaceMaps::of_moment(registry, moment).await?;
    let nodes = match moment.past() {
        Some(past) => ShardNodes::of(&past.view, None),
        None => ShardNodes::of(registry.view(), gossip),
    };
    let (namespaces, next) = page.cut(maps.cursor, maps.namespaces.iter(), |record| {
        [maps.find(&record.record.id.key).map(|map| counted(&map, &nodes))]
    });
    Ok((maps.cursor.to_string(), namespaces, next))
}

impl Namespaces {
    async fn list_all(
        &self,
        asked: pb::ListNamespacesRequest,
    ) -> Result<Response<pb::ListNamespacesResponse>, Fault> {
        let query = request_hash(&pb::ListNamespacesRequest { at: asked.at.clone(), ..Default::default() });
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let moment = ListMoment::of(&self.registry, &asked.at, page.token.as_ref()).await?;
        let (cursor, namespaces, next_page_token) =
            page_of_namespaces(&self.registry, self.gossip.as_deref(), &page, &moment).await?;
        let listed = pb::ListNamespacesResponse {
            cursor: cursor.clone(),
            namespaces,
            next_page_token,
            ..Default::default()
        };
        Ok(at_cursor(listed.within(envelope_at(&self.registry, &moment)), &cursor))
    }

    async fn get_one(
        &self,
        asked: pb::GetNamespaceRequest,
    ) -> Result<Response<pb::GetNamespaceResponse>, Fault> {
        check_namespace(&asked.namespace).map_err(Fault::invalid)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let found = self.registry.find(&namespace_id(&asked.namespace)).await?;
        found.ok_or_else(|| namespace_not_found(&asked.namespace))?;
        let maps = self.registry.look(NamespaceMaps::of).await;
        let map = maps.find(&asked.namespace).ok_or_else(|| namespace_not_found(&asked.namespace))?;
        let nodes = ShardNodes::of(self.registry.view(), self.gossip.as_deref());
        let (cursor, version) = (maps.cursor.to_string(), map.record.record.version);
        let detail = Some(counted(&map, &nodes));
        let got = pb::GetNamespaceResponse { cursor: cursor.clone(), detail, ..Default::default() };
        Ok(tagged(got.within(envelope(&self.registry)), &format!("\"{version}\""), &cursor))
    }

    /// One that is the same already is left as it is.
    async fn create_one(
        &self,
        caller: &Caller,
        asked: pb::CreateNamespaceRequest,
    ) -> Result<pb::NamespaceChange, Fault> {
        let hash = request_hash(&asked);
        let made = self.new_value(caller, &asked)?;
        let pb::CreateNamespaceRequest { namespace, reason, expected_version, dry_run, .. } = asked;
        let asked =
            MutationRequest { caller, rpc: CREATE, id: namespace, reason, expected_version, dry_run, hash };
        let ordered = asked
            .of_record(&self.registry, namespace_id(&asked.id), |found| {
                if let Some(found) = found {
                    let value = found.value::<NamespaceValue>().unwrap_or_default();
                    let known =
                        |spec: &Option<pb::NamespaceSpec>| spec.as_ref().map(pb::NamespaceSpec::known);
                    let is_same = known(&value.spec) == known(&made.spec)
                        && value.shards == made.shards
                        && value.made_of == made.made_of;
                    return match is_same && value.phase() != Phase::Deleting {
                        true => Ok(unchanged(show(found))),
                        false => Err(exists(&asked.id)),
                    };
                }
                self.check_room(made.shards as usize)?;
                let (spec, shards) = (made.spec.as_ref(), made.shards);
                let strategy = spec.map(|spec| spec.strategy_id.as_str()).unwrap_or_default();
                let mut changes = vec![format!("{shards} shards by {strategy}")];
                let policy = spec.and_then(|spec| spec.policy.clone()).unwrap_or_default();
                changes.extend(field_changes("policy", &Default::default(), &policy));
                let shown = shown_of(&asked.id, &made);
                Ok(MutationDecision { writes: vec![put(&asked.id, &made)], changes, answer: answer(shown) })
            })
            .await?;
        self.wait(caller, ordered, &asked.id, |found| {
            found.is_none_or(|value| value.phase() != Phase::Creating)
        })
        .await
    }

    fn new_value(
        &self,
        caller: &Caller,
        asked: &pb::CreateNamespaceRequest,
    ) -> Result<NamespaceValue, Fault> {
        check_namespace(&asked.namespace).map_err(Fault::invalid)?;
        check_ticket(&asked.change_ticket)?;
        check_new_shards(&asked.namespace, &asked.named).map_err(Fault::invalid)?;
        let spec = checked(asked.spec.clone())?;
        let shards = match (asked.shards as usize, asked.named.len()) {
            (0, 0) => {
                return Err(Fault::invalid(
                    "say how many shards there are to be, in field `shards`, or name them in `named`",
                ));
            }
            (count, 0) => count,
            (0, named) => named,
            (count, named) if count == named => named,
            (_, named) => {
                return Err(Fault::invalid(format!(
                    "field `shards` and the {named} in `named` contradict each other"
                )));
            }
        };
        let most = self.limits.get().per_namespace;
        if shards > most {
            let message = format!("{shards} shards of one namespace are more than {most}");
            return Err(Fault::invalid(message).hint(make_fewer("mesh.shards.perNamespaceMax")));
        }
        if shards as f64 > most as f64 * NEAR {
            warn!(
                shards,
                limit = most,
                runbook = SHARDS_RUNBOOK,
                "a namespace is near its limit of shards, mesh.shards.perNamespaceMax"
            );
        }
        let mut named = asked.named.clone();
        named.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
        let mut made = NamespaceValue {
            spec: Some(spec),
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
            made_of: named.iter().fold(0, |sum: u64, shard| sum.wrapping_add(request_hash(shard))),
            named,
            ordered: Some(pb::ShardHistory {
                actor: caller.principal.to_string(),
                reason: asked.reason.clone(),
                change_ticket: asked.change_ticket.clone(),
                cause: "created".to_owned(),
                ..pb::ShardHistory::default()
            }),
            state_since: Some(timestamp(self.registry.view().now())),
            state_reason: "its shards are being made".to_owned(),
            ..NamespaceValue::default()
        };
        made.set_phase(Phase::Creating);
        made.set_state(State::Rebalancing);
        Ok(made)
    }

    /// # Errors
    /// `TOO_MANY_NAMESPACES`, `TOO_MANY_SHARDS`.
    fn check_room(&self, more: usize) -> Result<(), Fault> {
        let records = self.registry.view().list(&NAMESPACE).records;
        if records.len() >= NAMESPACES_MAX {
            let message = format!("there are {NAMESPACES_MAX} namespaces already, and no more may be");
            return Err(Fault::new(reasons::TOO_MANY_NAMESPACES, message)
                .hint("remove some: omnirelay mesh namespaces delete NAMESPACE"));
        }
        let of = |record: &Arc<ViewRecord>| {
            record.value::<NamespaceValue>().map_or(0, |value| value.shards as usize)
        };
        let there: usize = records.iter().map(of).sum();
        let (all, most) = (there + more, self.limits.get().per_mesh);
        if all > most {
            let message = format!("{all} shards of all namespaces are more than {most}");
            return Err(
                Fault::new(reasons::TOO_MANY_SHARDS, message).hint(make_fewer("mesh.shards.perMeshMax"))
            );
        }
        if all as f64 > most as f64 * NEAR {
            warn!(
                shards = all,
                limit = most,
                runbook = SHARDS_RUNBOOK,
                "shards are near their limit, mesh.shards.perMeshMax"
            );
        }
        Ok(())
    }

    /// Repeating it changes nothing.
    async fn set_one(
        &self,
        caller: &Caller,
        asked: pb::SetNamespaceRequest,
    ) -> Result<pb::NamespaceChange, Fault> {
        let hash = request_hash(&asked);
        check_namespace(&asked.namespace).map_err(Fault::invalid)?;
        check_ticket(&asked.change_ticket)?;
        let spec = checked(asked.spec.clone())?;
        let pb::SetNamespaceRequest { namespace, reason, expected_version, dry_run, .. } = asked;
        let asked =
            MutationRequest { caller, rpc: SET, id: namespace, reason, expected_version, dry_run, hash };
        asked
            .of_record(&self.registry, namespace_id(&asked.id), |found| {
                let found = found.ok_or_else(|| namespace_not_found(&asked.id))?;
                let before = found.value::<NamespaceValue>().unwrap_or_default();
                if before.phase() != Phase::Ready {
                    return Err(not_ready(&asked.id, &before));
                }
                let asking = PendingRulesPoll {
                    principal: &caller.principal,
                    reason: &asked.reason,
                    now: self.registry.view().now(),
                    self_approval: self.self_approval.get(),
                };
                let (after, changes) = pending_rules::decided(&before, &spec, &asking);
                if after == *before {
                    return Ok(unchanged(show(found)));
                }
                let shown = pb::Namespace {
                    spec: after.spec.clone(),
                    pending: after.pending.clone(),
                    version: found.record.version.0 + 1,
                    last_writer_id: self.registry.node_id().to_owned(),
                    ..show(found)
                };
                Ok(MutationDecision { writes: vec![put(&asked.id, &after)], changes, answer: answer(shown) })
            })
            .await
    }

    async fn delete_one(
        &self,
        caller: &Caller,
        asked: pb::DeleteNamespaceRequest,
    ) -> Result<pb::NamespaceChange, Fault> {
        let hash = request_hash(&asked);
        check_namespace(&asked.namespace).map_err(Fault::invalid)?;
        check_ticket(&asked.change_ticket)?;
        let ticket = asked.change_ticket.clone();
        let pb::DeleteNamespaceRequest { namespace, reason, expected_version, dry_run, .. } = asked;
        let asked =
            MutationRequest { caller, rpc: DELETE, id: namespace, reason, expected_version, dry_run, hash };
        let ordered = asked
            .of_record(&self.registry, namespace_id(&asked.id), |found| {
                let found = found.ok_or_else(|| namespace_not_found(&asked.id))?;
                let mut after = found
                    .value::<NamespaceValue>()
                    .map(|value| NamespaceValue::clone(&value))
                    .unwrap_or_default();
                if after.phase() == Phase::Deleting {
                    return Ok(unchanged(show(found)));
                }
                after.set_phase(Phase::Deleting);
                after.named.clear();
                after.ordered = Some(pb::ShardHistory {
                    actor: caller.principal.to_string(),
                    reason: asked.reason.clone(),
                    change_ticket: ticket.clone(),
                    cause: "removed".to_owned(),
                    ..pb::ShardHistory::default()
                });
                let changes = vec![format!("deleted, with {} shards", after.made)];
                let shown = pb::Namespace { deleting: true, ready: false, ..show(found) };
                Ok(MutationDecision { writes: vec![put(&asked.id, &after)], changes, answer: answer(shown) })
            })
            .await?;
        self.wait(caller, ordered, &asked.id, |found| found.is_none()).await
    }

    /// Waits for whoever leads to do what was ordered, as long as the caller does.
    async fn wait(
        &self,
        caller: &Caller,
        ordered: pb::NamespaceChange,
        name: &str,
        is_done: impl Fn(Option<&NamespaceValue>) -> bool,
    ) -> Result<pb::NamespaceChange, Fault> {
        if ordered.dry_run {
            return Ok(ordered);
        }
        let left = caller.remaining().map_or(READY_WAIT, |left| left.saturating_sub(ANSWER_TIME));
        let until = Instant::now() + left.min(READY_WAIT);
        let mut heads = self.registry.view().follow_head();
        loop {
            heads.mark_unchanged();
            let cursor = head_cursor(self.registry.view());
            let found = self.registry.view().get(&namespace_id(name));
            let value = found.as_ref().and_then(|found| found.value::<NamespaceValue>());
            let is_done = is_done(value.as_deref());
            let detail = found.as_deref().map(show).or(ordered.detail.clone());
            // What is not done by then is done later: the answer says how far it is.
            if is_done || timeout_at(until, heads.changed()).await.is_err() {
                return Ok(pb::NamespaceChange { cursor, detail, ..ordered });
            }
        }
    }
}

/// A namespace as the API shows it, without what is counted of its shards.
pub fn show(record: &ViewRecord) -> pb::Namespace {
    let value = record.value::<NamespaceValue>().unwrap_or_default();
    pb::Namespace {
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
        ..shown_of(&record.record.id.key, &value)
    }
}

fn shown_of(name: &str, value: &NamespaceValue) -> pb::Namespace {
    pb::Namespace {
        namespace: name.to_owned(),
        spec: value.spec.clone(),
        map_version: value.map_version,
        checksum: if value.map_version == 0 { String::new() } else { hexadecimal(value.digest) },
        shards: value.shards,
        ready: value.phase() == Phase::Ready,
        made: value.made,
        deleting: value.phase() == Phase::Deleting,
        state: value.state,
        state_reason: value.state_reason.clone(),
        state_since: value.state_since,
        plan_id: value.plan_id.clone(),
        pending: value.pending.clone(),
        ..pb::Namespace::default()
    }
}

/// The same with what is counted of its shards.
pub fn counted(map: &NamespaceMap<'_>, nodes: &ShardNodes) -> pb::Namespace {
    let (spec, values) = (map.spec(), map.values());
    let members = nodes.members(map.name(), &spec, &values);
    let count = |is: &dyn Fn(&ShardValue) -> bool| {
        u32::try_from(values.0.iter().filter(|(_, value)| is(value)).count()).unwrap_or(u32::MAX)
    };
    // For a moment it may be back.
    let is_gone_for_good =
        |member: &ShardMember| member.is_gone() && member.standing == OwnerStanding::Leaving;
    let is_gone = |owner: &str| members.get(owner).is_none_or(is_gone_for_good);
    let shown = show(map.record);
    let has_nodes = members.values().any(|member| member.standing == OwnerStanding::Open);
    let rules = RebalanceRules { moves_max: 0, strategy: PlacementStrategy::Rendezvous, ..spec.rules() };
    let planned = plan(map.name(), &values.all(), &members, &rules, &std::collections::BTreeMap::new());
    pb::Namespace {
        moving: count(&|value| !value.target.is_empty()),
        unowned: count(&|value| value.owner.is_empty()),
        orphaned: count(&|value| !value.owner.is_empty() && !value.disabled && is_gone(&value.owner)),
        paused: count(&|value| value.paused || value.disabled),
        overloaded: u32::try_from(members.values().filter(|member| member.has_too_much(nodes.now())).count())
            .unwrap_or(u32::MAX),
        imbalance: (has_nodes && map.is_ready()).then_some(planned.summary.imbalance_before),
        pending: shown.pending.clone().filter(|pending| pending_rules::is_live(pending, nodes.now())),
        ..shown
    }
}

/// The write by which a namespace becomes so.
pub fn put(name: &str, value: &NamespaceValue) -> Write {
    act::put(namespace_id(name), value)
}

fn checked(spec: Option<pb::NamespaceSpec>) -> Result<pb::NamespaceSpec, Fault> {
    let mut spec = spec.unwrap_or_default();
    let strategy = NamespaceRules::of(&spec).map_err(Fault::invalid)?.strategy;
    strategy.word().clone_into(&mut spec.strategy_id);
    Ok(spec)
}

fn unchanged(detail: pb::Namespace) -> MutationDecision<pb::NamespaceChange> {
    MutationDecision { writes: Vec::new(), changes: Vec::new(), answer: answer(detail) }
}

fn answer(detail: pb::Namespace) -> pb::NamespaceChange {
    pb::NamespaceChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        detail: Some(detail),
        ..Default::default()
    }
}

fn exists(name: &str) -> Fault {
    Fault::new(
        reasons::NAMESPACE_EXISTS,
        format!("there is a namespace `{name}` already, and it is another one"),
    )
    .hint(format!("omnirelay mesh namespaces get {name}"))
}

fn make_fewer(setting: &str) -> String {
    format!("make fewer, or raise {setting} on all daemons: each holds the records of all shards in memory")
}

/// Number of shards that the value of a namespace's record stands for, those among them that are still to be made.
pub fn shards_in(value: &[u8]) -> u64 {
    NamespaceValue::decode(value).map_or(0, |value| value.shards.into())
}

/// The same of a record of the view.
pub fn shards_of(record: &ViewRecord) -> u64 {
    record.value::<NamespaceValue>().map_or(0, |value| value.shards.into())
}
