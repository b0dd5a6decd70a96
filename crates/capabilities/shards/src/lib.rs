//! Shards: which node owns which part of a namespace.

pub mod alarms;
mod change;
pub mod controller;
mod explain;
mod filter;
mod history;
pub mod loads;
pub mod metrics;
mod mount;
pub mod namespaces;
mod pending_rules;
pub mod plans;
pub mod put_back;
pub mod release;
mod shard_map_view;
#[cfg(test)]
mod shards_test;
mod simulate;
pub mod watching;
pub mod webhook;
mod worker_leases;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omnirelay_cluster_records::domain::FollowedDomains;
use omnirelay_core::shard_order::shard_of;
use omnirelay_decisions::shards::control::waits_for_somebody;
use omnirelay_decisions::shards::spec::Automation;
use omnirelay_gossip::Gossip;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::feed::NounWatches;
use omnirelay_nouns::listing::{self, ListMoment, PageRoom, PageToken, page_of};
use omnirelay_nouns::serve;
use omnirelay_nouns::{at_cursor, envelope, envelope_at, head_cursor, not_modified, tagged, with_header};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{DerivedRecords, View, ViewRecord};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;
use omnirelay_wire::timestamp::millis;
use prost::Message as _;
use tokio::time::timeout;
use tonic::Response;
use xxhash_rust::xxh64::Xxh64;

use crate::metrics::NamespaceGauges;
use filter::ShardFilter;
use loads::WorkerLoads;
pub use mount::{KINDS, mount};
use pb::shard_control_service_server::ShardControlService;
use release::ShardReleases;
pub use shard_map_view::{
    DOMAIN_KINDS, LOAD, NAMESPACE, PLAN, RELEASE, SHARD, SHARD_CHANGE, namespace_of_plan, namespace_of_shard,
};
use shard_map_view::{NamespaceMaps, ShardLeads, ShardNodes, find_shard, maps_with, parts, show};
use worker_leases::WorkerReport;

/// Where operators read what to do.
pub const SHARDS_RUNBOOK: &str = "docs/runbooks/shards.md";
/// The response header with the version of a map, as the origin calls it.
const MAP_VERSION: &str = "x-omnirelay-shards-version";
const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 10_000;

/// Serves `ShardControlService` from a registry.
pub struct Shards {
    registry: Arc<Registry>,
    /// What is heard of nodes; `None`: nothing is.
    gossip: Option<Arc<Gossip>>,
    watches: NounWatches<pb::ShardDiffNotification>,
    releases: Arc<ShardReleases>,
    loads: Arc<WorkerLoads>,
}

serve! {
    ShardControlService for Shards {
        list(ShardListRequest) -> ShardListResponse: |shards, caller, asked| shards.list_page(caller, asked);
        diff(ShardDiffRequest) -> ShardDiffResponse: |shards, _, asked| history::diff(&shards.registry, asked);
        simulate(ShardSimulationRequest) -> ShardSimulationResponse: |shards, _, asked| shards.simulated(asked);
        get(GetShardRequest) -> GetShardResponse: |shards, caller, asked| shards.get_one(caller, asked);
        lookup(LookupShardRequest) -> LookupShardResponse: |shards, _, asked| shards.look_up(asked);
        history(ShardHistoryRequest) -> ShardHistoryResponse: |shards, _, asked| history::tell(&shards.registry, asked);
        explain(ExplainShardRequest) -> ExplainShardResponse: |shards, _, asked| shards.explained(asked);
        hold(HoldShardsRequest) -> HoldShardsResponse: |shards, caller, asked| shards.hold_some(caller, asked);
        report_load(ReportLoadRequest) -> ReportLoadResponse: |shards, caller, asked| shards.report_load(caller, asked);
        loads(ShardLoadsRequest) -> ShardLoadsResponse: |shards, _, asked| shards.ranked(asked);
        pause(PauseShardRequest) -> ShardChange: |shards, caller, asked| change::pause(&shards.registry, caller, asked);
        resume(ResumeShardRequest) -> ShardChange:
            |shards, caller, asked| change::resume(&shards.registry, caller, asked);
        [WatchStream] watch(ShardWatchRequest) -> ShardDiffNotification: |shards, _, asked| shards.serve_watch(asked);
    }
}

impl Shards {
    /// At most `watches_max` watches are served at once.
    pub fn new(
        registry: Arc<Registry>,
        gossip: Option<Arc<Gossip>>,
        releases: Arc<ShardReleases>,
        loads: Arc<WorkerLoads>,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        Self { watches: NounWatches::new(registry.clone(), watches_max), registry, gossip, releases, loads }
    }

    async fn hold_some(
        &self,
        caller: &Caller,
        asked: pb::HoldShardsRequest,
    ) -> Result<pb::HoldShardsResponse, Fault> {
        self.registry.ready_for("").await?;
        maps_with(&self.registry, &asked.namespace).await?;
        let holdings = &self.releases.holdings;
        let WorkerReport { serving, dropped } = holdings.hear(&caller.principal, &asked)?;
        if dropped {
            // Somebody may be waiting for it, and the worker need not; what goes wrong with it is done with the next beat.
            let releases = self.releases.clone();
            tokio::spawn(async move { releases.look().await });
        }
        if asked.waits {
            let mut looked_at = None;
            let is_news = |_: &View| {
                let ground = Some(holdings.ground());
                let is_other = ground != looked_at;
                looked_at = ground;
                (is_other && holdings.has_news(&asked, &serving)).then_some(())
            };
            let _ = timeout(holdings.waits.get(), self.registry.look_until_found(is_news)).await;
        }
        holdings.grant(&caller.principal, &asked, &serving)
    }

    async fn list_page(
        &self,
        caller: &Caller,
        asked: pb::ShardListRequest,
    ) -> Result<Response<pb::ShardListResponse>, Fault> {
        let filter = ShardFilter::of(&asked.namespace, &asked.owner_node_id, &asked.statuses, &asked.search)?;
        let size = u32::try_from(asked.page_size).unwrap_or(0);
        let size = listing::page_size(size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let query = query_hash(&asked);
        let token = PageToken::decode(&asked.cursor, query)?;
        let moment = ListMoment::of(&self.registry, &asked.at, token.as_ref()).await?;
        let maps = match (&moment, asked.namespace.as_str()) {
            (ListMoment::Now, namespace) if !namespace.is_empty() => {
                maps_with(&self.registry, namespace).await?
            }
            (moment, _) => NamespaceMaps::of_moment(&self.registry, moment).await?,
        };
        let envelope = envelope_at(&self.registry, &moment);
        let (cursor, leads) = (maps.cursor.to_string(), ShardLeads::of(moment.view(&self.registry)));
        let tag = list_tag(&asked, &maps, &leads, envelope.stale);
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor));
        }
        let named = (!asked.namespace.is_empty()).then(|| maps.ready(&asked.namespace)).transpose()?;
        let ready: Vec<_> = match named {
            Some(map) => vec![map],
            None => maps.all().filter(|map| map.is_ready()).collect(),
        };
        let names: BTreeSet<&str> = ready.iter().map(shard_map_view::NamespaceMap::name).collect();
        let is_ready = |record: &ViewRecord| {
            parts(&record.record.id).is_some_and(|(namespace, _)| names.contains(namespace))
        };
        // In the order of their keys, by which pages go on.
        let records = maps.shards.iter().filter(|record| is_ready(record) && filter.matches(record));
        let bytes = |record: &ViewRecord| show(&leads, record).map_or(0, |shard| shard.encoded_len());
        let page = page_of(records, (PageRoom::of(size), bytes), token.as_ref());
        let version = ready.iter().map(|map| map.value.map_version).max().unwrap_or(0);
        let next = page.next.map(|after| PageToken::encode(query, maps.cursor, after));
        let response = pb::ShardListResponse {
            shards: page.records.iter().filter_map(|record| show(&leads, record)).collect(),
            next_cursor: next.unwrap_or_default(),
            version,
            registry_cursor: cursor.clone(),
            total_size: u32::try_from(page.total).unwrap_or(u32::MAX),
            maps: ready.iter().map(|map| map.version()).collect(),
            ..Default::default()
        }
        .within(envelope);
        Ok(with_header(tagged(response, &tag, &cursor), MAP_VERSION, &version.to_string()))
    }

    async fn get_one(
        &self,
        caller: &Caller,
        asked: pb::GetShardRequest,
    ) -> Result<Response<pb::GetShardResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let (record, namespace) = find_shard(&self.registry, &asked.namespace, &asked.shard_id).await?;
        let cursor = head_cursor(self.registry.view());
        let leads = ShardLeads::of_one(self.registry.view(), &record.record.id);
        let shard = show(&leads, &record);
        let leader = shard.as_ref().map(|shard| shard.checksum.clone()).unwrap_or_default();
        let (version, stale) = (namespace.map_version, self.registry.is_stale());
        let stale = if stale { "-stale" } else { "" };
        let tag = format!("\"{}-{leader}-{version}{stale}\"", record.record.version);
        if caller.has_seen(&tag) {
            return Ok(not_modified(&tag, &cursor));
        }
        let response = pb::GetShardResponse {
            cursor: cursor.clone(),
            shard,
            history: history_of(&record),
            map: Some(omnirelay_decisions::shards::map::version(&asked.namespace, &namespace)),
            ..Default::default()
        }
        .within(envelope(&self.registry));
        Ok(tagged(response, &tag, &cursor))
    }

    async fn look_up(
        &self,
        asked: pb::LookupShardRequest,
    ) -> Result<Response<pb::LookupShardResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let maps = maps_with(&self.registry, &asked.namespace).await?;
        let map = maps.ready(&asked.namespace)?;
        let number = shard_of(asked.key.as_bytes(), u32::try_from(map.shards.len()).unwrap_or(u32::MAX));
        let record = map.shards.get(number as usize);
        let leads = record.map(|record| ShardLeads::of_one(self.registry.view(), &record.record.id));
        let cursor = maps.cursor.to_string();
        let response = pb::LookupShardResponse {
            cursor: cursor.clone(),
            shard: record.zip(leads).and_then(|(record, leads)| show(&leads, record)),
            number,
            map: Some(map.version()),
            ..Default::default()
        }
        .within(envelope(&self.registry));
        Ok(at_cursor(response, &cursor))
    }
}

/// Number of shards that each node owns, of all namespaces.
#[derive(Default)]
pub struct OwnedByEach(DerivedRecords<BTreeMap<String, u32>>);

impl OwnedByEach {
    /// As it is now.
    pub fn of(&self, view: &View) -> Arc<BTreeMap<String, u32>> {
        // As of the newest change of a shard: a domain is followed from before its shards are here.
        let followed = FollowedDomains::of(view);
        self.0.of(view, &SHARD, |shards| {
            let mut owned = BTreeMap::new();
            let here = shards.iter().filter(|record| {
                parts(&record.record.id).is_some_and(|(namespace, _)| !followed.has(namespace))
            });
            for value in here.filter_map(|record| record.value::<ShardValue>()) {
                match owned.get_mut(&value.owner) {
                    Some(count) => *count += 1,
                    None => drop(owned.insert(value.owner.clone(), 1)),
                }
            }
            owned
        })
    }
}

/// Shards that a node owns of each namespace, and what keeps them there if it is to go.
pub fn owned_by(view: &View, node_id: &str) -> Vec<pb::DrainShards> {
    use pb::namespace::State;
    let maps = NamespaceMaps::of(view);
    let of = |map: shard_map_view::NamespaceMap<'_>| {
        let values = map.values();
        let owned = values.0.iter().filter(|(_, value)| value.owner == node_id && !value.disabled);
        let (shards, moving) = owned.fold((0, 0), |(shards, moving), (_, value)| {
            (shards + 1, moving + u32::from(!value.target.is_empty()))
        });
        let (state, reason) = (map.value.state(), map.value.state_reason.clone());
        let blocked_by = match state {
            State::Investigating | State::RebalancePending | State::Failed => reason,
            _ if map.spec().policy.evacuation == Automation::Off => {
                "a plan has to be proposed (evacuation)".to_owned()
            }
            _ => String::new(),
        };
        let namespace = map.name().to_owned();
        (shards > 0).then_some(pb::DrainShards { namespace, shards, moving, blocked_by })
    };
    maps.here(view).filter_map(of).collect()
}

/// Gauges of the namespaces, as their series say them.
pub fn levels(view: &View, gossip: Option<&Gossip>) -> Vec<NamespaceGauges> {
    let (maps, nodes) = (NamespaceMaps::of(view), ShardNodes::of(view, gossip));
    let plans = view.list(&PLAN).records;
    let of = |map: shard_map_view::NamespaceMap<'_>| {
        let counted = namespaces::counted(&map, &nodes);
        let waiting = shard_map_view::plans_of(&plans, map.name()).into_values().filter_map(|value| {
            let plan = value.plan.as_ref()?;
            waits_for_somebody(plan)
                .then(|| view.now().since(plan.created_at.as_ref().map(millis).unwrap_or_default()))
        });
        NamespaceGauges {
            namespace: map.name().to_owned(),
            state: counted.state().as_str_name(),
            moving: counted.moving as usize,
            unowned: counted.unowned as usize,
            imbalance: counted.imbalance,
            overloaded: counted.overloaded as usize,
            waiting: waiting.collect(),
        }
    };
    maps.here(view).map(of).collect()
}

/// What changed a shard last.
fn history_of(record: &ViewRecord) -> Option<pb::ShardHistory> {
    record.value::<ShardValue>()?.history.clone()
}

fn query_hash(asked: &pb::ShardListRequest) -> u64 {
    request_hash(&pb::ShardListRequest {
        cursor: String::new(),
        page_size: 0,
        min_revision: String::new(),
        ..asked.clone()
    })
}

/// Differs whenever the answer may: with a commit that touches a shard or a namespace, and when a scope of a shard gets another
/// leader.
fn list_tag(asked: &pb::ShardListRequest, maps: &NamespaceMaps, leads: &ShardLeads, stale: bool) -> String {
    let mut leaders = Xxh64::new(0);
    for text in leads.texts() {
        leaders.update(text.as_bytes());
        leaders.update(b"\n");
    }
    let asked = request_hash(&pb::ShardListRequest { min_revision: String::new(), ..asked.clone() });
    format!("W/\"{}-{asked:x}-{:x}{}\"", maps.changed, leaders.digest(), if stale { "-stale" } else { "" })
}
