//! Loads of the workers of this node: they report them, and the node says them to others when they have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_decisions::shards::load::{check, is_news, overloaded_parts, ranked, together, with_defaults};
use omnirelay_decisions::shards::planning::standing;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{at_cursor, envelope, timestamp};
use omnirelay_peer_records::own_session;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_store::{CommitError, GroupRef, RecordId, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceLoad, ShardLoadValue};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::Response;
use tracing::debug;

use super::workers::WorkerRights;
use super::{Shards, pb};
use crate::shard_map_view::{LOAD, NamespaceMaps, ShardNodes, maps_with};

/// How long a report counts.
pub const REPORT_LASTS: Duration = Duration::from_secs(30);
/// How often it is looked whether others are to hear of something.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two commits, unless something has become too much or is no more.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Loads of the workers beside this daemon: what they have to do.
pub struct WorkerLoads {
    registry: Arc<Registry>,
    /// Who may report: no more workers than may hold.
    workers: Arc<WorkerRights>,
    /// What holds where a namespace says nothing.
    defaults: Live<pb::LoadThresholds>,
    /// By namespace and worker.
    reports: Mutex<BTreeMap<(String, String), Report>>,
}

struct Report {
    load: pb::ReportedLoad,
    until: Instant,
}

impl WorkerLoads {
    /// With the thresholds of the configuration, and who may report.
    pub fn new(
        registry: Arc<Registry>,
        defaults: impl Into<Live<pb::LoadThresholds>>,
        workers: Arc<WorkerRights>,
    ) -> Self {
        Self { registry, workers, defaults: defaults.into(), reports: Mutex::default() }
    }

    /// Takes what a worker of a principal reports.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; those of [`WorkerRights::take`].
    pub fn report(
        &self,
        principal: &Arc<str>,
        asked: &pb::ReportLoadRequest,
    ) -> Result<pb::ReportLoadResponse, Fault> {
        let load = asked.load.clone().ok_or_else(|| Fault::invalid("field `load` is missing"))?;
        check(&load).map_err(Fault::invalid)?;
        self.workers.take(principal, &asked.namespace, &asked.worker_id)?;
        let key = (asked.namespace.clone(), asked.worker_id.clone());
        let mut reports = self.reports.lock();
        forget(&mut reports);
        reports.insert(key, Report { load, until: Instant::now() + REPORT_LASTS });
        drop(reports);
        let said = own_session(&self.registry).map(|session| self.said(&session)).unwrap_or_default();
        let now = self.now(&said);
        let of = now.into_iter().find(|of| of.namespace == asked.namespace).unwrap_or_default();
        Ok(pb::ReportLoadResponse { node_id: self.registry.node_id().to_owned(), over: of.over })
    }

    /// Says to others what there is to say, for ever.
    pub async fn run(&self) {
        let mut said_at = None::<Instant>;
        loop {
            sleep(LOOK_EVERY).await;
            let Some(session) = own_session(&self.registry) else { continue };
            let before = self.said(&session);
            let after = self.now(&before);
            let may_wait = said_at.is_some_and(|at| at.elapsed() < SAY_EVERY);
            if !is_to_be_said(&before, &after, may_wait) {
                continue;
            }
            match self.say(&session, after).await {
                Ok(()) => said_at = Some(Instant::now()),
                Err(error) => {
                    debug!(error = %chain(&error), "what this node has to do was not said; it is tried again");
                }
            }
        }
    }

    /// What was said last, in this session.
    fn said(&self, session: &GroupRef) -> Vec<NamespaceLoad> {
        let record = self.registry.view().get(&RecordId::new(LOAD, self.registry.node_id()));
        let record = record.filter(|record| record.record.group.as_ref() == Some(session));
        let value = record.and_then(|record| record.value::<ShardLoadValue>());
        value.map(|value| value.namespaces.clone()).unwrap_or_default()
    }

    /// What the workers have to do together, by namespace; what was too much `before` is so until it is clearly less.
    fn now(&self, before: &[NamespaceLoad]) -> Vec<NamespaceLoad> {
        let view = self.registry.view();
        let (maps, defaults) = (NamespaceMaps::of(view), self.defaults.get());
        let mut reports = self.reports.lock();
        forget(&mut reports);
        let names: BTreeSet<&String> = reports.keys().map(|(namespace, _)| namespace).collect();
        let of = |name: &String| {
            let map = maps.find(name)?;
            let mine = reports.iter().filter(|((namespace, _), _)| namespace == name);
            let load = together(mine.map(|(_, report)| &report.load));
            let was = before.iter().find(|of| of.namespace == *name).cloned().unwrap_or_default();
            let thresholds = with_defaults(&map.spec().policy.thresholds, &defaults);
            let over: Vec<String> =
                overloaded_parts(&load, &thresholds, &was.over).into_iter().map(str::to_owned).collect();
            let since = was.over_since.filter(|_| !was.over.is_empty()).or(Some(timestamp(view.now())));
            let over_since = since.filter(|_| !over.is_empty());
            Some(NamespaceLoad {
                namespace: name.clone(),
                load: Some(load),
                over,
                over_since,
                unknown_fields: Default::default(),
            })
        };
        names.into_iter().filter_map(of).collect()
    }

    async fn say(&self, session: &GroupRef, namespaces: Vec<NamespaceLoad>) -> Result<(), CommitError> {
        let epoch = self.registry.view().head().epoch;
        let id = RecordId::new(LOAD, self.registry.node_id());
        let act = DaemonAct::new("shards.load", [LOAD], WriteAuthority::Session(session.clone()));
        let value = ShardLoadValue { namespaces, unknown_fields: Default::default() }.encode_to_vec().into();
        let write = Write::Put { id, value, group: Some(session.clone()) };
        self.registry.attempt(&act, CommitPlan::read_in(epoch).write([write])).await.map(drop)
    }
}

fn forget(reports: &mut BTreeMap<(String, String), Report>) {
    let now = Instant::now();
    reports.retain(|_, report| now < report.until);
}

/// Whether others are to hear of it; what is only more or less than it was may wait.
fn is_to_be_said(before: &[NamespaceLoad], after: &[NamespaceLoad], may_wait: bool) -> bool {
    let pairs = || before.iter().zip(after);
    let are_others = before.len() != after.len()
        || pairs().any(|(before, after)| before.namespace != after.namespace || before.over != after.over);
    let is_other = |before: &NamespaceLoad, after: &NamespaceLoad| {
        is_news(&before.load.clone().unwrap_or_default(), &after.load.clone().unwrap_or_default())
    };
    are_others || !may_wait && pairs().any(|(before, after)| is_other(before, after))
}

impl Shards {
    pub(super) async fn report_load(
        &self,
        caller: &Caller,
        asked: pb::ReportLoadRequest,
    ) -> Result<pb::ReportLoadResponse, Fault> {
        self.registry.ready_for("").await?;
        maps_with(&self.registry, &asked.namespace).await?;
        self.loads.report(&caller.principal, &asked)
    }

    pub(super) async fn ranked(
        &self,
        asked: pb::ShardLoadsRequest,
    ) -> Result<Response<pb::ShardLoadsResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let maps = maps_with(&self.registry, &asked.namespace).await?;
        let map = maps.ready(&asked.namespace)?;
        let nodes = ShardNodes::of(self.registry.view(), self.gossip.as_deref());
        let (spec, values) = (map.spec(), map.values());
        let members = nodes.members(map.name(), &spec, &values);
        let (mut loads, mut unknown) = (Vec::new(), Vec::new());
        for node in members.keys() {
            match nodes.load(map.name(), node).and_then(|of| of.load.as_ref()) {
                Some(load) => loads.push((node.as_str(), load)),
                None => unknown.push(node),
            }
        }
        let mut owned: BTreeMap<&str, u32> = BTreeMap::new();
        values.owners().for_each(|owner| *owned.entry(owner).or_default() += 1);
        let thresholds = with_defaults(&spec.policy.thresholds, &self.loads.defaults.get());
        let mut ranked = ranked(&loads, &thresholds);
        ranked.extend(
            unknown.into_iter().map(|node| pb::NodeLoad { node_id: node.clone(), ..Default::default() }),
        );
        for node in &mut ranked {
            node.shards = owned.get(node.node_id.as_str()).copied().unwrap_or_default();
            node.over_since = nodes.load(map.name(), &node.node_id).and_then(|load| load.over_since);
            node.at = nodes.load_at(&node.node_id).map(timestamp);
            if let Some(member) = members.get(&node.node_id) {
                node.overloaded = member.is_overloaded();
                standing(member.standing).clone_into(&mut node.standing);
            }
        }
        let cursor = maps.cursor.to_string();
        let response = pb::ShardLoadsResponse {
            cursor: cursor.clone(),
            nodes: ranked,
            map: Some(map.version()),
            ..Default::default()
        };
        Ok(at_cursor(response.within(envelope(&self.registry)), &cursor))
    }
}
