//! The check of the mesh: judged by the registry and by what its live nodes say of themselves and of each other.

pub mod asking;
mod bounds;
pub mod host;
mod mount;
mod report;
mod round_trips;
mod rounds;

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use omnirelay_decisions::check::facts::{MeshFacts, NodeAnswer, RegistryFacts, is_alive};
use omnirelay_decisions::check::judge;
use omnirelay_decisions::check::nodes::clock_ahead_ms;
use omnirelay_node::node_asker::not_asked;
use omnirelay_nouns::serve;
use omnirelay_nouns::{at_cursor, envelope, head_cursor};
use omnirelay_registry::Registry;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use pb::check_finding::Result as Found;
use pb::check_service_server::CheckService;
use pb::peer::Status;
use tonic::Response;

use asking::{MeshAsker, NodeAnswers};
use host::HostChecker;
pub use mount::mount;
use report::CheckReport;
use rounds::SharedRounds;

/// Serves `CheckService`.
pub struct MeshCheckService {
    checker: Arc<MeshChecker>,
    mesh: SharedRounds<pb::CheckResponse>,
    host: SharedRounds<CheckReport>,
    round_trips: SharedRounds<pb::RoundTripsResponse>,
}

/// Mesh as it is known when it is checked.
#[async_trait]
pub trait CheckedMesh: Send + Sync + 'static {
    /// What this node says of itself.
    fn own(&self) -> pb::GetNodeResponse;

    /// All peers, as a list shows them.
    async fn peers(&self) -> Vec<pb::Peer>;

    /// One peer.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `PEER_NOT_FOUND`; those of a registry that is not loaded.
    async fn peer(&self, node_id: &str) -> Result<pb::Peer, Fault>;

    /// All scopes, in the order of their names.
    fn scopes(&self) -> Vec<pb::Leadership>;

    /// All namespaces, in the order of their names.
    async fn namespaces(&self) -> Vec<pb::Namespace>;
}

/// Finds out what is known of the mesh, and judges it.
pub struct MeshChecker {
    pub registry: Arc<Registry>,
    pub known: Arc<dyn CheckedMesh>,
    pub asker: MeshAsker,
}

serve! {
    CheckService for MeshCheckService {
        check(CheckRequest) -> CheckResponse: |checks, _, _| checks.check_mesh();
        check_host(CheckHostRequest) -> CheckHostResponse: |checks, _, asked| checks.check_any_host(asked.node_id);
        round_trips(RoundTripsRequest) -> RoundTripsResponse: |checks, _, asked| checks.tell_round_trips(asked);
    }
}

impl MeshCheckService {
    pub fn new(checker: MeshChecker, host: HostChecker) -> Self {
        let (checker, host) = (Arc::new(checker), Arc::new(host));
        let judging = checker.clone();
        let mesh = SharedRounds::of(move || {
            let checker = judging.clone();
            async move { checker.check().await }
        });
        let host = SharedRounds::of(move || host.clone().check());
        let measuring = checker.clone();
        let round_trips = SharedRounds::of(move || {
            let checker = measuring.clone();
            async move { round_trips::all(&checker.registry, checker.known.as_ref(), &checker.asker).await }
        });
        Self { checker, mesh, host, round_trips }
    }

    /// # Errors
    /// `PEER_NOT_FOUND`, for another node than the one that answers.
    async fn tell_round_trips(
        &self,
        asked: pb::RoundTripsRequest,
    ) -> Result<Response<pb::RoundTripsResponse>, Fault> {
        let registry = &self.checker.registry;
        registry.ready_for("").await?;
        let is_own = asked.own || asked.node_id == registry.node_id();
        let found = match asked.node_id.as_str() {
            _ if is_own => round_trips::own(registry, self.checker.known.as_ref()).await,
            "" => (*self.round_trips.found().await?).clone(),
            other => {
                let peer = self.checker.known.peer(other).await?;
                round_trips::of(registry, self.checker.known.as_ref(), &self.checker.asker, &peer).await
            }
        };
        let cursor = found.cursor.clone();
        Ok(at_cursor(found, &cursor))
    }

    async fn check_mesh(&self) -> Result<Response<pb::CheckResponse>, Fault> {
        let found = self.mesh.found().await?;
        let cursor = found.cursor.clone();
        Ok(at_cursor((*found).clone(), &cursor))
    }

    /// # Errors
    /// `INVALID_ARGUMENT`; `STORE_UNAVAILABLE`; `PEER_NOT_FOUND`; `NODE_NOT_ALIVE`; `NODE_NOT_ASKED`; `NODE_OLDER`.
    async fn check_any_host(&self, node_id: String) -> Result<pb::CheckHostResponse, Fault> {
        let registry = &self.checker.registry;
        let (node_id, version, found) = match node_id.as_str() {
            "" => self.own_host().await?,
            own if own == registry.node_id() => self.own_host().await?,
            other => self.other_host(other).await?,
        };
        let (success, CheckReport { summary, categories }) = (found.success(), found);
        let answer = pb::CheckHostResponse {
            node_id,
            version,
            success,
            summary: Some(summary),
            categories,
            ..Default::default()
        };
        Ok(answer.within(envelope(registry)))
    }

    async fn own_host(&self) -> Result<(String, String, CheckReport), Fault> {
        let found = self.host.found().await?;
        let (id, version) = (self.checker.registry.node_id(), env!("CARGO_PKG_VERSION"));
        Ok((id.to_owned(), version.to_owned(), (*found).clone()))
    }

    /// What a node finds that is asked by its id.
    async fn other_host(&self, node_id: &str) -> Result<(String, String, CheckReport), Fault> {
        let peer = self.checker.known.peer(node_id).await?;
        if matches!(peer.status(), Status::Dead | Status::Left) {
            let message = format!("node `{node_id}` is not alive, so that it cannot be asked");
            return Err(Fault::new(reasons::NODE_NOT_ALIVE, message)
                .hint(format!("omnirelay mesh peers status {node_id}; on its host: omnirelay doctor")));
        }
        let instead = "run it on that host: omnirelay doctor, omnirelay cert doctor";
        let hint = "omnirelay mesh check    # how it stands; or on its host: omnirelay doctor";
        let said = self.checker.asker.ask_host(&peer).await;
        let said = said.map_err(|why| not_asked(node_id, &why, ("judges no host", instead), hint))?;
        Ok((node_id.to_owned(), said.version, CheckReport::of(said.categories)))
    }
}

impl MeshChecker {
    async fn check(&self) -> pb::CheckResponse {
        let is_loaded = self.registry.view().head().caught_up;
        let (asked, registry) = match is_loaded {
            true => {
                let asked = self.asker.ask_all(self.registry.node_id(), &self.known.peers().await).await;
                // It is read after the asking: what has changed meanwhile is no finding, and who has left is not silent.
                (asked, Some(self.registry_facts().await))
            }
            false => (NodeAnswers::default(), None),
        };
        let lives = |id: &str| registry.as_ref().and_then(|registry| registry.peer(id)).is_some_and(is_alive);
        let own = self.known.own();
        let id = own.local_node_id.clone();
        let itself = pb::CheckedNode { node_id: id.clone(), by: "itself".to_owned(), ..Default::default() };
        let said = NodeAnswer { id, said: Ok(Box::new(own)) };
        let (mut nodes, mut said) = (vec![told(itself, &said)], vec![said]);
        for (checked, one) in asked.nodes.into_iter().filter(|(_, one)| lives(&one.id)) {
            nodes.push(told(checked, &one));
            said.push(one);
        }
        let facts = MeshFacts { nodes: said, not_asked: asked.not_asked, registry };
        let (cursor, envelope) = (head_cursor(self.registry.view()), envelope(&self.registry));
        let not_asked = u32::try_from(asked.not_asked).unwrap_or(u32::MAX);
        let mut found = CheckReport::default();
        judge(&facts).for_each(|(category, check, finding)| found.add(category.name, check, finding));
        nodes.iter_mut().for_each(|node| note_wrong(node, &found));
        let success = found.success();
        let CheckReport { summary, categories } = found;
        let summary = Some(summary);
        pb::CheckResponse { cursor, nodes, not_asked, success, summary, categories, ..Default::default() }
            .within(envelope)
    }

    /// What the registry has.
    async fn registry_facts(&self) -> RegistryFacts {
        RegistryFacts {
            own: self.registry.node_id().to_owned(),
            peers: self.known.peers().await,
            scopes: self.known.scopes(),
            namespaces: self.known.namespaces().await,
        }
    }
}

/// A node that was asked, with what it says of itself.
fn told(checked: pb::CheckedNode, node: &NodeAnswer) -> pb::CheckedNode {
    let Ok(said) = &node.said else { return checked };
    pb::CheckedNode {
        version: said.version.clone(),
        ready: said.ready,
        store_silent_ms: said.stale_ms.filter(|_| said.stale),
        clock_ahead_ms: clock_ahead_ms(said),
        certificate_ends_at: said.certificate_ends_at,
        disk_free_bytes: said.disk_free_bytes,
        ..checked
    }
}

/// Notes what was found wrong with a node.
fn note_wrong(node: &mut pb::CheckedNode, found: &CheckReport) {
    let is_about = |check: &&pb::CheckFinding| check.about.contains(&node.node_id);
    let checks = found.categories.iter().flat_map(|category| &category.checks).filter(is_about);
    let badness = |result: Found| match result {
        Found::Fail => 3,
        Found::Unknown => 2,
        Found::Warn => 1,
        Found::Pass | Found::Skip | Found::Unspecified => 0,
    };
    let mut wrong: Vec<&pb::CheckFinding> = checks.filter(|check| badness(check.result()) > 0).collect();
    wrong.sort_by_key(|check| Reverse(badness(check.result())));
    node.set_worst(wrong.first().map_or(Found::Pass, |worst| worst.result()));
    node.wrong = wrong.iter().map(|check| check.id.clone()).collect();
}
