//! A registry of relays and a relay that say what a test wants, over gRPC.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1::OperationContextCommandAck;
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Answer;
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_server::{AeroRegistry, AeroRegistryServer};
use omnirelay_wire::pb::aeroarc::registry::v1::*;
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_server::{RelayControl, RelayControlServer};
use omnirelay_wire::pb::aeroarc::relay::v1::*;
use omnirelay_wire::reasons::{self, Reason};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What is known, and what is answered.
#[derive(Default)]
pub(crate) struct World {
    pub relays: Vec<Relay>,
    pub agents: Vec<Agent>,
    pub drones: Vec<DroneStatus>,
    /// What a command is answered with.
    pub answer: Answer,
    /// What every call is answered with instead.
    pub fault: Option<Fault>,
    pub stale: bool,
    /// What each stream tells before it ends; the last one stays open.
    pub streams: VecDeque<Vec<WatchEvent>>,
    /// What each stream that asks for its kind of object begins with; it stays open.
    pub told: Vec<WatchEvent>,
    /// What was asked, in words.
    pub seen: Vec<String>,
}

/// A running server, which ends with this.
pub(crate) struct Fake {
    pub address: SocketAddr,
    pub world: Arc<Mutex<World>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Fake {
    /// Serves a world that may name its own address.
    pub(crate) fn start(world: impl FnOnce(SocketAddr) -> World) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let incoming = {
            let _guard = runtime.enter();
            TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap()
        };
        let address = incoming.local_addr().unwrap();
        let world = Arc::new(Mutex::new(world(address)));
        let server = tonic::transport::Server::builder()
            .add_service(AeroRegistryServer::new(Serving(world.clone())))
            .add_service(RelayControlServer::new(Serving(world.clone())));
        runtime.spawn(server.serve_with_incoming(incoming));
        Self { address, world, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.world.lock().unwrap().seen.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The present time in milliseconds, by which ages are counted.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

pub(crate) fn relay(id: &str, address: SocketAddr, agents: u32) -> Relay {
    Relay {
        relay_id: id.to_owned(),
        address: address.ip().to_string(),
        grpc_port: i32::from(address.port()),
        last_heartbeat_unix_ms: now_ms() - 150_000,
        expires_in_ms: Some(25_500),
        agents,
        version: 3,
        last_writer_id: id.to_owned(),
        ..Relay::default()
    }
}

pub(crate) fn agent(id: &str, relay: &str) -> Agent {
    Agent {
        agent_id: id.to_owned(),
        relay_id: relay.to_owned(),
        last_heartbeat_unix_ms: now_ms() - 150_000,
        expires_in_ms: Some(25_500),
        version: 2,
        last_writer_id: relay.to_owned(),
    }
}

pub(crate) fn drone(id: &str, relay: &str, streaming: bool) -> DroneStatus {
    DroneStatus {
        drone_id: id.to_owned(),
        session_id: format!("sess-{id}"),
        agent_id: id.to_owned(),
        relay_id: relay.to_owned(),
        connected_at_unix_ns: (now_ms() - 300_000) * 1_000_000,
        last_heartbeat_unix_ns: (now_ms() - 150_000) * 1_000_000,
        flight_id: "flight-12".to_owned(),
        intent_id: "survey-9".to_owned(),
        intent_version: 1,
        streaming,
        wire: "envelope".to_owned(),
        acked_seq: 9_007_199_254_740_993,
        acked_frames: 1203,
        inflight_frames: 3,
        ..DroneStatus::default()
    }
}

pub(crate) fn placement(agent: &str, relay: &str, previous: &str) -> AgentPlacement {
    AgentPlacement {
        agent_id: agent.to_owned(),
        relay_id: relay.to_owned(),
        last_updated_unix_ms: now_ms() - 150_000,
        expires_in_ms: Some(25_500),
        previous_relay_id: previous.to_owned(),
        placed_at_unix_ms: now_ms() - 300_000,
        version: 2,
        last_writer_id: relay.to_owned(),
    }
}

struct Serving(Arc<Mutex<World>>);

impl Serving {
    /// Notes what is asked, and answers with `of` unless there is a fault.
    fn answer<T>(
        &self,
        asked: String,
        of: impl FnOnce(&mut World) -> Result<T, Fault>,
    ) -> Result<Response<T>, Status> {
        let mut world = self.0.lock().unwrap();
        world.seen.push(asked);
        if let Some(fault) = world.fault.clone() {
            return Err(fault.into());
        }
        Ok(Response::new(of(&mut world)?))
    }
}

/// The part of `all` from where `token` says, and where to go on.
fn page<T: Clone>(all: &[T], size: u32, token: &str) -> (Vec<T>, String) {
    let from: usize = token.parse().unwrap_or(0);
    let size = if size == 0 { all.len() } else { size as usize };
    let part: Vec<T> = all.iter().skip(from).take(size).cloned().collect();
    let next = from + part.len();
    (part, if next < all.len() { next.to_string() } else { String::new() })
}

fn not_found(reason: Reason, id: &str) -> Fault {
    Fault::new(reason, format!("`{id}` is not known"))
}

#[tonic::async_trait]
impl AeroRegistry for Serving {
    async fn heartbeat_agents(
        &self,
        _: Request<Streaming<HeartbeatAgentsRequest>>,
    ) -> Result<Response<Self::HeartbeatAgentsStream>, Status> {
        Err(Status::unimplemented("nobody asks here"))
    }

    async fn list_relays(
        &self,
        request: Request<ListRelaysRequest>,
    ) -> Result<Response<ListRelaysResponse>, Status> {
        let request = request.into_inner();
        self.answer(format!("relays {}", request.page_size), |world| {
            let (relays, next_page_token) = page(&world.relays, request.page_size, &request.page_token);
            let stale_ms = world.stale.then_some(1500);
            Ok(ListRelaysResponse {
                relays,
                next_page_token,
                cursor: "1:7".into(),
                stale: world.stale,
                stale_ms,
            })
        })
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let request = request.into_inner();
        self.answer(format!("agents {} {}", request.page_size, request.relay_id), |world| {
            let of = |agent: &&Agent| request.relay_id.is_empty() || agent.relay_id == request.relay_id;
            let all: Vec<Agent> = world.agents.iter().filter(of).cloned().collect();
            let (agents, next_page_token) = page(&all, request.page_size, &request.page_token);
            Ok(ListAgentsResponse { agents, next_page_token, cursor: "1:7".into(), ..Default::default() })
        })
    }

    async fn get_agent_placement(
        &self,
        request: Request<GetAgentPlacementRequest>,
    ) -> Result<Response<GetAgentPlacementResponse>, Status> {
        let id = request.into_inner().agent_id;
        self.answer(format!("placement {id}"), |world| {
            let agent = world.agents.iter().find(|agent| agent.agent_id == id);
            let agent = agent.ok_or_else(|| not_found(reasons::AGENT_NOT_FOUND, &id))?;
            let placement = Some(placement(&id, &agent.relay_id, "relay-0"));
            Ok(GetAgentPlacementResponse { placement, cursor: "1:7".into(), ..Default::default() })
        })
    }

    type WatchStream = BoxStream<'static, Result<EncodedMessage<WatchEvent>, Status>>;
    type HeartbeatAgentsStream = BoxStream<'static, Result<HeartbeatAgentsResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.answer(format!("watch {:?} {}", request.object, request.since), |world| {
            let mut events = world.streams.pop_front().unwrap_or_default();
            let wanted = |event: &&WatchEvent| match &event.object {
                Some(watch_event::Object::Relay(_)) => request.object.contains(&1),
                Some(watch_event::Object::Placement(_)) => request.object.contains(&2),
                None => true,
            };
            events.extend(world.told.iter().filter(wanted).cloned());
            let told = stream::iter(events.into_iter().map(|event| Ok(event.into())));
            let stream: Self::WatchStream = match world.streams.is_empty() {
                true => told.chain(stream::pending()).boxed(),
                false => told.boxed(),
            };
            Ok(stream)
        })
    }

    async fn register_relay(
        &self,
        _: Request<RegisterRelayRequest>,
    ) -> Result<Response<RegisterRelayResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn heartbeat_relay(
        &self,
        _: Request<HeartbeatRelayRequest>,
    ) -> Result<Response<HeartbeatRelayResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn register_agent(
        &self,
        _: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn heartbeat_agent(
        &self,
        _: Request<HeartbeatAgentRequest>,
    ) -> Result<Response<HeartbeatAgentResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

impl World {
    fn command(&self, agent: &str, command_id: String) -> Result<Option<OperationContextCommandAck>, Fault> {
        if !self.drones.iter().any(|drone| drone.agent_id == agent) {
            return Err(not_found(reasons::DRONE_NOT_FOUND, agent));
        }
        let error = if self.answer == Answer::Applied { String::new() } else { "not now".to_owned() };
        Ok(Some(OperationContextCommandAck {
            command_id,
            status: self.answer.into(),
            error,
            active_context: None,
        }))
    }
}

#[tonic::async_trait]
impl RelayControl for Serving {
    async fn list_active_drones(
        &self,
        request: Request<ListActiveDronesRequest>,
    ) -> Result<Response<ListActiveDronesResponse>, Status> {
        // Two at a time, whatever is asked.
        let after = request.into_inner().page_token;
        self.answer("drones".into(), |world| {
            let behind = world.drones.iter().position(|drone| drone.drone_id == after).map_or(0, |at| at + 1);
            let drones: Vec<_> = world.drones[behind..].iter().take(2).cloned().collect();
            let more = behind + drones.len() < world.drones.len();
            let last = drones.last().filter(|_| more).map(|drone| drone.drone_id.clone());
            Ok(ListActiveDronesResponse { drones, next_page_token: last.unwrap_or_default() })
        })
    }

    async fn get_drone_status(
        &self,
        request: Request<GetDroneStatusRequest>,
    ) -> Result<Response<GetDroneStatusResponse>, Status> {
        let id = request.into_inner().drone_id;
        self.answer(format!("drone {id}"), |world| {
            let drone = world.drones.iter().find(|drone| drone.drone_id == id).cloned();
            let drone = drone.ok_or_else(|| not_found(reasons::DRONE_NOT_FOUND, &id))?;
            Ok(GetDroneStatusResponse { drone: Some(drone) })
        })
    }

    async fn set_operation_context(
        &self,
        request: Request<EncodedMessage<SetOperationContextRequest>>,
    ) -> Result<Response<EncodedMessage<SetOperationContextResponse>>, Status> {
        let request = request.into_inner();
        let command = request.command.clone().unwrap_or_default();
        let context = command.context.unwrap_or_default();
        let (flight, intent, version) = (context.flight_id, context.intent_id, context.intent_version);
        let asked = format!("set {} {flight} {intent} {version} {}", request.agent_id, command.command_id);
        self.answer(asked, |world| {
            let result = world.command(&request.agent_id, command.command_id)?;
            Ok(SetOperationContextResponse { result }.into())
        })
    }

    async fn clear_operation_context(
        &self,
        request: Request<EncodedMessage<ClearOperationContextRequest>>,
    ) -> Result<Response<EncodedMessage<ClearOperationContextResponse>>, Status> {
        let request = request.into_inner();
        let command = request.command.clone().unwrap_or_default();
        let asked = format!("clear {} {} {}", request.agent_id, command.flight_id, command.command_id);
        self.answer(asked, |world| {
            let result = world.command(&request.agent_id, command.command_id)?;
            Ok(ClearOperationContextResponse { result }.into())
        })
    }
}
