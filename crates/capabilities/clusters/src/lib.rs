//! Clusters: what each cluster of the trust domain is, which one is active for what, and how those of others are followed.

mod change;
mod domain_gate;
mod domains;
mod mount;
mod readiness;
mod replication;
mod show;

use std::sync::Arc;

use omnirelay_certificate_records::cluster_trust;
use omnirelay_cluster_records as cluster_records;
use omnirelay_cluster_records::domain::domains_changed;
use omnirelay_cluster_records::{CLUSTER, cluster_id};
use omnirelay_core::names::check_node_name;
use omnirelay_core::text::shown;
use omnirelay_host::live::Live;
use omnirelay_nouns::feed::{EventFrame, NounEventStream, NounWatches, ShownChange, WatchedNoun};
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_nouns::serve;
use omnirelay_nouns::{envelope, head_cursor, tagged};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use tonic::Response;

use domains::show::DomainReader;
pub use mount::{KINDS, mount};
use pb::cluster::State;
use pb::cluster_control_service_server::ClusterControlService;
use pb::cluster_event::Type;
use pb::cluster_finding;
use readiness::ClusterScene;
use show::ClusterReader;

/// How much of a wrong name an error shows, in characters.
const NAME_CHARS_SHOWN: usize = 64;

/// Cluster of the daemon: what it is called, and what its configuration says of it.
#[derive(Clone, Debug)]
pub struct OwnCluster {
    pub name: String,
    pub region: Live<String>,
}

/// Serves `ClusterControlService` from a registry.
pub struct Clusters {
    registry: Arc<Registry>,
    own: OwnCluster,
    watches: NounWatches<pb::ClusterEvent>,
}

serve! {
    ClusterControlService for Clusters {
        list(ListClustersRequest) -> ListClustersResponse: |clusters, _, asked| clusters.list_all(asked);
        get(GetClusterRequest) -> GetClusterResponse: |clusters, _, asked| clusters.get_one(asked);
        set(SetClusterRequest) -> ClusterChange: |clusters, caller, asked| clusters.set_one(caller, asked);
        check(CheckClustersRequest) -> CheckClustersResponse: |clusters, _, asked| clusters.check_all(asked);
        delete(DeleteClusterRequest) -> ClusterChange: |clusters, caller, asked| clusters.delete_one(caller, asked);
        [WatchStream] watch(WatchClustersRequest) -> ClusterEvent: |clusters, _, asked| clusters.serve_watch(asked);
    }
}

impl Clusters {
    /// At most `watches_max` watches are served at once.
    pub(crate) fn new(registry: Arc<Registry>, own: OwnCluster, watches_max: impl Into<Live<usize>>) -> Self {
        Self { watches: NounWatches::new(registry.clone(), watches_max), registry, own }
    }

    async fn check_all(&self, asked: pb::CheckClustersRequest) -> Result<pb::CheckClustersResponse, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let reader = DomainReader { view: self.registry.view(), cluster: &self.own.name };
        let domains = reader.all();
        let scene = ClusterScene { registry: &self.registry, own: &self.own.name, domains };
        let findings = scene.findings();
        let ready = findings.iter().all(|finding| finding.state() != cluster_finding::State::Wrong);
        let checked = pb::CheckClustersResponse {
            cursor: head_cursor(self.registry.view()),
            ready,
            findings,
            ..Default::default()
        };
        Ok(checked.within(envelope(&self.registry)))
    }

    async fn list_all(
        &self,
        asked: pb::ListClustersRequest,
    ) -> Result<Response<pb::ListClustersResponse>, Fault> {
        let query = request_hash(&pb::ListClustersRequest {
            region: asked.region.clone(),
            state: asked.state,
            ..Default::default()
        });
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        // Before it is read: what changes meanwhile makes another tag.
        let view = self.registry.view();
        let changed = format!("{}-{}", changed(view), self.own.region.get());
        let read = listing::read(&self.registry, &CLUSTER, &page.token.as_ref().into()).await?;
        let reader = ClusterReader::of(view, &self.own);
        let is_asked_for = |cluster: &pb::Cluster| {
            (asked.region.is_empty() || cluster.region == asked.region)
                && (asked.state == State::Unspecified as i32 || cluster.state == asked.state)
        };
        let unsaid = || Some(reader.unsaid()).filter(is_asked_for);
        let items = OwnAmong::of(&read.records, &self.own.name);
        let (mut clusters, next_page_token) = page.cut(read.cursor, read.records.iter(), |record| {
            items.with(record, Some(reader.show(record)).filter(is_asked_for), unsaid)
        });
        if read.records.is_empty() {
            clusters.extend(unsaid());
        }
        let envelope = envelope(&self.registry);
        let stale = if envelope.stale { "-stale" } else { "" };
        let tag = format!("W/\"{changed}-{query:x}-{:x}{stale}\"", request_hash(&asked));
        let cursor = read.cursor.to_string();
        let listed = pb::ListClustersResponse {
            cursor: cursor.clone(),
            clusters,
            next_page_token,
            ..Default::default()
        };
        Ok(tagged(listed.within(envelope), &tag, &cursor))
    }

    async fn get_one(&self, asked: pb::GetClusterRequest) -> Result<Response<pb::GetClusterResponse>, Fault> {
        check_cluster(&asked.cluster_id)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let changed = format!("{}-{}", changed(self.registry.view()), self.own.region.get());
        let found = self.registry.find(&cluster_id(&asked.cluster_id)).await?;
        let reader = ClusterReader::of(self.registry.view(), &self.own);
        let cluster = match found {
            Some(record) => reader.show(&record),
            None if asked.cluster_id == self.own.name => reader.unsaid(),
            None => return Err(not_found(&asked.cluster_id)),
        };
        let view = self.registry.view();
        let (cursor, envelope) = (head_cursor(view), envelope(&self.registry));
        let stale = if envelope.stale { "-stale" } else { "" };
        let tag = format!("W/\"{changed}-{}{stale}\"", asked.cluster_id);
        let got =
            pb::GetClusterResponse { cursor: cursor.clone(), cluster: Some(cluster), ..Default::default() };
        Ok(tagged(got.within(envelope), &tag, &cursor))
    }

    async fn serve_watch(
        &self,
        asked: pb::WatchClustersRequest,
    ) -> Result<NounEventStream<pb::ClusterEvent>, Fault> {
        let noun = WatchedClusters { own: self.own.clone(), registry: self.registry.clone() };
        Ok(self.watches.begin([CLUSTER], |_| true, &asked.since).await?.of(noun).events())
    }
}

/// Clusters as their watchers are told of them: by their records alone.
pub(crate) struct WatchedClusters {
    pub own: OwnCluster,
    pub registry: Arc<Registry>,
}

impl WatchedNoun for WatchedClusters {
    type Event = pb::ClusterEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        Some(pb::ClusterEvent {
            r#type: frame.kind(Type::from_str_name),
            cluster: shown
                .record()
                .map(|record| show::recorded(record, &self.own.name, self.registry.view())),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}

/// Text that differs whenever what is shown of a cluster may differ.
fn changed(view: &View) -> String {
    let (clusters, trust) = (cluster_records::changed(view), cluster_trust::changed(view));
    format!("{clusters}-{trust}-{}", domains_changed(view))
}

/// Place in a list of what is there before anybody says so, and has no record then: the cluster of the daemon, and domain `mesh`.
struct OwnAmong<'a> {
    own: &'a str,
    /// The key of the record that it comes before, else of the one that it comes behind; `None`: it has a record, or there is none.
    beside: Option<&'a str>,
}

impl<'a> OwnAmong<'a> {
    fn of(records: &'a [Arc<ViewRecord>], own: &'a str) -> Self {
        let key = |record: &'a Arc<ViewRecord>| record.record.id.key.as_str();
        let next = records.iter().map(key).find(|key| *key >= own);
        let beside = next.or_else(|| records.last().map(key)).filter(|key| *key != own);
        Self { own, beside }
    }

    /// What is shown of a record, with what has none before or behind it if that is its place.
    fn with<T>(
        &self,
        record: &ViewRecord,
        shown: Option<T>,
        own: impl FnOnce() -> Option<T>,
    ) -> Vec<Option<T>> {
        let key = record.record.id.key.as_str();
        match self.beside {
            Some(beside) if beside == key && self.own < key => vec![own(), shown],
            Some(beside) if beside == key => vec![shown, own()],
            Some(_) | None => vec![shown],
        }
    }
}

/// Checks that a cluster, a domain or a namespace (`noun`) can have the name that a field has.
fn check_name(field: &str, noun: &str, name: &str) -> Result<(), Fault> {
    check_node_name(name).map_err(|error| {
        let name = shown(name, NAME_CHARS_SHOWN);
        Fault::invalid(format!("field `{field}`: `{name}` is no name of a {noun}: {error}"))
    })
}

/// A count as messages have it.
fn as_count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn check_cluster(name: &str) -> Result<(), Fault> {
    check_name("clusterId", "cluster", name)
}

fn check_domain(name: &str) -> Result<(), Fault> {
    check_name("domain", "domain", name)
}

fn not_found(name: &str) -> Fault {
    Fault::new(reasons::CLUSTER_NOT_FOUND, format!("cluster `{name}` is none that is known here"))
        .hint("omnirelay mesh clusters list")
}

#[cfg(test)]
mod clusters_test;
