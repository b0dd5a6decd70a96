//! What operators order, by the same services that they reach from outside.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::caller::{CallProtocol, Caller, RequestId, Scopes};
use omnirelay_leadership::Leaders;
use omnirelay_peers::{HeldByPeers, Peers};
use omnirelay_registry::Registry;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tokio::time::Instant;
use tonic::{Request, Status};

use pb::leadership_control_service_server::LeadershipControlService;
use pb::peer_control_service_server::PeerControlService;

/// How long whoever orders something waits.
const PATIENCE: Duration = Duration::from_secs(12);

/// One order and its number: repeated, it is the same.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub number: u64,
    pub verb: Verb,
}

#[derive(Clone, Debug)]
pub(super) enum Verb {
    Cordon { node: String },
    Uncordon { node: String },
    Drain { node: String },
    Undrain { node: String },
    Transfer { scope: String, to: String },
    StepDown { scope: String },
}

#[derive(Clone)]
pub(super) struct Services {
    leaders: Arc<Leaders>,
    peers: Arc<Peers>,
}

impl Services {
    pub(super) fn of(registry: &Arc<Registry>) -> Self {
        let leaders = Arc::new(Leaders::new(registry.clone(), 1));
        Self { leaders, peers: Arc::new(Peers::new(registry.clone(), 1, HeldByPeers::default())) }
    }

    /// Orders it. A refusal is an answer as well.
    pub(super) async fn carry_out(self, order: Order) {
        drop(tokio::time::timeout(PATIENCE, self.order(order)).await);
    }

    async fn order(&self, order: Order) -> Result<(), Status> {
        let (peers, leaders, reason) = (&self.peers, &self.leaders, "simulated".to_owned());
        let number = order.number;
        match order.verb {
            Verb::Cordon { node: node_id } => {
                let asked = pb::CordonPeerRequest { node_id, reason, ..Default::default() };
                peers.cordon(request(number, asked)).await?;
            }
            Verb::Uncordon { node: node_id } => {
                let asked = pb::UncordonPeerRequest { node_id, reason, ..Default::default() };
                peers.uncordon(request(number, asked)).await?;
            }
            Verb::Drain { node: node_id } => {
                let asked = pb::DrainPeerRequest { node_id, reason, ..Default::default() };
                peers.drain(request(number, asked)).await?;
            }
            Verb::Undrain { node: node_id } => {
                let asked = pb::UndrainPeerRequest { node_id, reason, ..Default::default() };
                peers.undrain(request(number, asked)).await?;
            }
            Verb::Transfer { scope, to } => {
                let asked = pb::TransferLeaderRequest { scope, to, reason, ..Default::default() };
                leaders.transfer(request(number, asked)).await?;
            }
            Verb::StepDown { scope } => {
                let asked = pb::StepDownLeaderRequest { scope, reason, ..Default::default() };
                leaders.step_down(request(number, asked)).await?;
            }
        }
        Ok(())
    }
}

fn request<T>(number: u64, asked: T) -> Request<T> {
    let mut request = Request::new(asked);
    request.extensions_mut().insert(Caller {
        principal: "operator".into(),
        scopes: Scopes::all(),
        own_node: Scopes::all(),
        certificate: None,
        proof: Default::default(),
        provisional: None,
        remote: ([127, 0, 0, 1], 5).into(),
        request_id: RequestId::of_static("simulated"),
        protocol: CallProtocol::of_grpc(http::Version::HTTP_2),
        idempotency_key: None,
        generated_key: Some(format!("order-{number}")),
        if_match: None,
        if_none_match: None,
        deadline: Some(Instant::now() + PATIENCE),
    });
    request
}
