//! The daemon itself: what it is and how fit it is.

use std::sync::Arc;

use omnirelay_core::time::Millis;
use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_node::AdmitWithoutProof;
use omnirelay_node::readiness::Readiness;
use omnirelay_nouns::serve;
use omnirelay_nouns::{at_cursor, envelope, store_time, timestamp};
use omnirelay_registry::Registry;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tonic::Response;

use crate::reload::ReloadableConfig;
use pb::node_service_server::NodeService;

/// The oldest client this daemon serves.
const CLIENT_VERSION_MIN: &str = "0.1.0";

/// Standing of the mesh port of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshPortStanding {
    Open,
    /// It turns everybody away for want of a certificate.
    NotEnrolled,
    /// It cannot be had.
    Taken,
}

impl MeshPortStanding {
    /// As in the answer.
    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::NotEnrolled => "not_enrolled",
            Self::Taken => "taken",
        }
    }
}

/// State of enrolment: whether the daemon has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentState {
    Certified,
    /// The mesh has an authority, which has given it none.
    NotEnrolled,
    /// Nobody of the mesh has one.
    NoAuthority,
}

impl EnrolmentState {
    /// As in the answer.
    fn word(self) -> &'static str {
        match self {
            Self::Certified => "certified",
            Self::NotEnrolled => "not_enrolled",
            Self::NoAuthority => "no_authority",
        }
    }
}

/// The numbers of lists of revocations; 0: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationNumbers {
    /// Of the one in the registry.
    pub known: u64,
    /// Of the one by which certificates are judged.
    pub enforced: u64,
}

/// Serves `NodeService`.
pub struct NodeCalls {
    pub config: ReloadableConfig,
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub started_at: Millis,
    /// Who comes in without proof, now.
    pub let_in: Box<dyn Fn() -> AdmitWithoutProof + Send + Sync>,
    /// The time by the clock of the host.
    pub clock: fn() -> Millis,
    pub revocations: Box<dyn Fn() -> RevocationNumbers + Send + Sync>,
    pub mesh_port: Box<dyn Fn() -> MeshPortStanding + Send + Sync>,
    pub enrolment: Box<dyn Fn() -> EnrolmentState + Send + Sync>,
    /// Whom it reaches otherwise than it should.
    pub reach: Box<dyn Fn() -> Vec<pb::PeerReach> + Send + Sync>,
    /// Whether it gossips.
    pub gossips: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether its process is one of `omnirelay up`.
    pub development: bool,
    /// How many bytes are free where its data directory is.
    pub disk_free: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// How many calls it has answered, and how many not.
    pub calls: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
    /// When its certificate ends.
    pub certificate_ends: Box<dyn Fn() -> Option<Millis> + Send + Sync>,
}

impl NodeCalls {
    async fn get_own(&self, caller: &Caller) -> Result<Response<pb::GetNodeResponse>, Fault> {
        let response = pb::GetNodeResponse {
            principal: caller.principal.to_string(),
            scopes: caller.scopes.iter().map(Scope::word).map(str::to_owned).collect(),
            ..self.describe()
        };
        let cursor = response.cursor.clone();
        Ok(at_cursor(response, &cursor))
    }

    /// By what it knows how other nodes are reached.
    fn knows_reach_by(&self) -> Vec<String> {
        let calls = ((self.mesh_port)() == MeshPortStanding::Open).then_some("calls");
        let gossip = (self.gossips)().then_some("gossip");
        calls.into_iter().chain(gossip).map(str::to_owned).collect()
    }

    /// Describes the daemon, whoever asks.
    pub fn describe(&self) -> pb::GetNodeResponse {
        let (envelope, config) = (envelope(&self.registry), self.config.settings.now());
        let view = self.registry.view();
        let head = view.head();
        let cursor = head.cursor().to_string();
        let RevocationNumbers { known, enforced } = (self.revocations)();
        let (calls_served, calls_failed) = (self.calls)();
        pb::GetNodeResponse {
            cursor,
            cluster_id: config.node.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.registry.store().name().to_owned(),
            store_time: store_time(&self.registry),
            started_at: Some(timestamp(self.started_at)),
            ready: self.readiness.is_ready(),
            readiness: self.readiness.items(),
            client_version_min: CLIENT_VERSION_MIN.to_owned(),
            let_in: (self.let_in)().word().to_owned(),
            development: self.development,
            host_time: Some(timestamp((self.clock)())),
            revocations_number: known,
            revocations_enforced_number: enforced,
            mesh_port: (self.mesh_port)().word().to_owned(),
            enrolment: (self.enrolment)().word().to_owned(),
            reach: (self.reach)(),
            knows_reach_by: self.knows_reach_by(),
            mesh_wide_settings: config.mesh_wide().into_iter().collect(),
            disk_free_bytes: (self.disk_free)(),
            certificate_ends_at: (self.certificate_ends)().map(timestamp),
            store_trouble: view.connectivity().trouble().unwrap_or_default(),
            restart_due: self.config.settings.restart_due(),
            calls_served,
            calls_failed,
            ..Default::default()
        }
        .within(envelope)
    }
}

serve! {
    NodeService for NodeCalls {
        get(GetNodeRequest) -> GetNodeResponse: |node, caller, _| node.get_own(caller);
        reload_config(ReloadConfigRequest) -> ReloadConfigResponse:
            |node, caller, asked| node.config.reload(caller, asked);
    }
}
