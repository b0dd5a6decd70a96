use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::registry::*;
use super::trouble::is_away;
use pb::aero_registry_server::AeroRegistry;
use pb::aero_registry_server::AeroRegistryServer;
use pb::heartbeat_agents_response::Refused;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Remembers what it is told, and knows no agents.
#[derive(Default)]
struct Service {
    heard: Mutex<Vec<String>>,
    /// Whether it takes streams of heartbeats, as the registry of Aero Arc does not.
    streams: bool,
}

impl Service {
    fn hear(&self, what: String) {
        self.heard.lock().push(what);
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock())
    }
}

#[async_trait]
impl AeroRegistry for Service {
    type WatchStream = BoxStream<EncodedMessage<pb::WatchEvent>>;
    type HeartbeatAgentsStream = BoxStream<pb::HeartbeatAgentsResponse>;

    async fn register_relay(
        &self,
        request: Request<pb::RegisterRelayRequest>,
    ) -> Result<Response<pb::RegisterRelayResponse>, Status> {
        let relay = request.into_inner().relay.unwrap();
        self.hear(format!("relay {} {} {}", relay.relay_id, relay.address, relay.grpc_port));
        Ok(Response::new(Default::default()))
    }

    async fn heartbeat_relay(
        &self,
        request: Request<pb::HeartbeatRelayRequest>,
    ) -> Result<Response<pb::HeartbeatRelayResponse>, Status> {
        self.hear(format!("relay {} lives", request.into_inner().relay_id));
        Ok(Response::new(Default::default()))
    }

    async fn register_agent(
        &self,
        request: Request<pb::RegisterAgentRequest>,
    ) -> Result<Response<pb::RegisterAgentResponse>, Status> {
        let request = request.into_inner();
        self.hear(format!("agent {} at {}", request.agent.unwrap().agent_id, request.relay_id));
        Ok(Response::new(Default::default()))
    }

    async fn heartbeat_agent(
        &self,
        request: Request<pb::HeartbeatAgentRequest>,
    ) -> Result<Response<pb::HeartbeatAgentResponse>, Status> {
        let request = request.into_inner();
        self.hear(format!("agent {} lives at {}", request.agent_id, request.relay_id));
        Err(Status::not_found("no such agent"))
    }

    async fn heartbeat_agents(
        &self,
        request: Request<Streaming<pb::HeartbeatAgentsRequest>>,
    ) -> Result<Response<Self::HeartbeatAgentsStream>, Status> {
        if !self.streams {
            return Err(Status::unimplemented(""));
        }
        self.hear("a stream".to_owned());
        let answers = request.into_inner().map(|asked| {
            let gone = asked?.agent_id.into_iter().filter(|agent| agent.starts_with("gone"));
            let refused =
                gone.map(|agent_id| Refused { agent_id, code: 5, message: "no such agent".to_owned() });
            Ok(pb::HeartbeatAgentsResponse { refused: refused.collect() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_relays(
        &self,
        _: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_agents(
        &self,
        _: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_agent_placement(
        &self,
        _: Request<pb::GetAgentPlacementRequest>,
    ) -> Result<Response<pb::GetAgentPlacementResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch(&self, _: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn serve(listener: TcpListener, service: Arc<Service>, tasks: &mut JoinSet<()>) {
    let server = Server::builder().add_service(AeroRegistryServer::from_arc(service));
    tasks.spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
}

async fn tell(registry: &dyn RegistryClient, service: &Service) {
    let relay = pb::Relay {
        relay_id: "r".to_owned(),
        address: "host".to_owned(),
        grpc_port: 7,
        ..pb::Relay::default()
    };
    registry.register_relay(&relay).await.unwrap();
    registry.heartbeat_relay("r").await.unwrap();
    registry.register_agent("a", "r").await.unwrap();
    assert_eq!(registry.heartbeat_agent("a", "r").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(service.heard(), ["relay r host 7", "relay r lives", "agent a at r", "agent a lives at r"]);
}

#[tokio::test]
async fn the_registry_of_this_process_and_another_are_told_the_same() {
    let service = Arc::<Service>::default();
    tell(&OwnRegistry::new(service.clone()), &service).await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    serve(listener, service.clone(), &mut tasks);
    tell(&OtherRegistry::new(&address, TIMEOUT).unwrap(), &service).await;
}

#[tokio::test]
async fn heartbeats_share_a_stream_where_there_is_one() {
    let service = Arc::new(Service { streams: true, ..Service::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    serve(listener, service.clone(), &mut tasks);
    let registry = OtherRegistry::new(&address, TIMEOUT).unwrap();
    let agents: Vec<_> =
        (0..500).map(|number| format!("{}-{number}", if number % 5 == 0 { "gone" } else { "a" })).collect();
    let heard = join_all(agents.iter().map(|agent| registry.heartbeat_agent(agent, "r"))).await;
    for (agent, heard) in agents.iter().zip(heard) {
        let is_gone = heard.is_err_and(|status| status.code() == Code::NotFound);
        assert_eq!(is_gone, agent.starts_with("gone"), "{agent}");
    }
    assert_eq!(service.heard(), ["a stream"]);
}

#[tokio::test]
async fn another_registry_is_reached_once_it_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let registry = OtherRegistry::new(&format!("http://{at}"), TIMEOUT).unwrap();
    let status = registry.heartbeat_relay("r").await.unwrap_err();
    assert!(is_away(&status), "{status:?}");

    let (service, mut tasks) = (Arc::<Service>::default(), JoinSet::new());
    serve(TcpListener::bind(at).await.unwrap(), service.clone(), &mut tasks);
    tell(&registry, &service).await;
}

#[tokio::test]
async fn another_registry_that_says_nothing_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let registry = OtherRegistry::new(&address, Duration::from_millis(200)).unwrap();
    let status = registry.heartbeat_relay("r").await.unwrap_err();
    assert!(is_away(&status), "{status:?}");
    assert!(OtherRegistry::new("not an address", TIMEOUT).is_err());
}
