//! The registry of relays and agents on the memory store, in paused time: several daemons, one mesh.

mod agents;
mod lasting;
mod outages;
mod reading;
mod relays;
mod reload_test;
mod watching;

use omnirelay_identity::caller::Scope;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_node::{CapabilityKinds, StopPhase};
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_scripted::{Answer, Answered, Call, Faulty, PausedClock, Script, Scripted, memory};
use omnirelay_store::*;
use omnirelay_wire::fault::Fault;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::*;
use crate::agents::AGENT;
use crate::relays::RELAY;

static CLAIMED: [RecordKind; 2] = [RELAY, AGENT];
const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: &CLAIMED, claimed: &CLAIMED, ..CapabilityKinds::NONE };
const SESSION: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// How long it takes until every daemon knows what has moved.
const HEARD: Duration = Duration::from_millis(600);
/// A node that knows relays and agents.
struct Daemon {
    aero: AeroRegistry,
    registry: Arc<Registry>,
    path: Arc<Faulty>,
    _node: LabNode,
}

/// A store that is never tidied.
struct Untidy(Arc<Faulty>);

#[tonic::async_trait]
impl Script for Untidy {
    async fn pass(&self, call: Call) -> Answered {
        match call {
            Call::Housekeep(..) => Ok(Answer::Housekept(HousekeepingOutcome::default())),
            call => call.on(&*self.0).await,
        }
    }
}

/// Setup of a daemon.
#[derive(Clone, Copy)]
struct Setup {
    relay_ttl: Duration,
    agent_ttl: Duration,
    /// How many relays there may be, and how many agents.
    max: usize,
    tidies: bool,
}

const SETUP: Setup = Setup { relay_ttl: TTL, agent_ttl: TTL, max: 10_000, tidies: true };
/// Nothing is ever tidied.
const UNTIDY: Setup = Setup { tidies: false, ..SETUP };

async fn daemon_with(store: &Arc<MemoryStore>, node_id: &str, setup: Setup) -> Daemon {
    daemon_on(Faulty::over(store.clone()), node_id, setup).await
}

async fn daemon_on(path: Arc<Faulty>, node_id: &str, setup: Setup) -> Daemon {
    let Setup { relay_ttl, agent_ttl, max, tidies } = setup;
    let reached: Arc<dyn Store> =
        if tidies { path.clone() } else { Arc::new(Scripted(Untidy(path.clone()))) };
    let lab = Lab::on(reached, node_id).kinds(&[omnirelay_peers::KINDS, KINDS]);
    let (mut node, _) = lab.with(|node| mount_alone(node, StartupAnnouncement::default()));
    let settings =
        AeroRegistrySettings { relay_ttl, agent_ttl, relays_max: max, agents_max: max, grace: SESSION };
    let registry = node.builder.registry.clone();
    let aero = AeroRegistry::new(registry.clone(), settings, 10);
    let running = aero.clone();
    node.builder.run(StopPhase::End, async move { running.run().await });
    let node = node.start();
    node.registered().await;
    Daemon { aero, registry, path, _node: node }
}

async fn daemon(store: &Arc<MemoryStore>, node_id: &str) -> Daemon {
    daemon_with(store, node_id, SETUP).await
}

/// One daemon on a store of its own.
async fn alone() -> Daemon {
    daemon(&memory(), "a").await
}

fn relay(id: &str, address: &str) -> pb::Relay {
    pb::Relay { relay_id: id.to_owned(), address: address.to_owned(), grpc_port: 50051, ..Default::default() }
}

impl Daemon {
    async fn register_relay(&self, relay: Option<pb::Relay>) -> Result<(), Status> {
        self.aero.register_relay(Request::new(pb::RegisterRelayRequest { relay })).await.map(drop)
    }

    async fn relay(&self, id: &str) {
        self.register_relay(Some(relay(id, "host"))).await.unwrap();
    }

    async fn beat_relay(&self, id: &str) -> Result<(), Status> {
        let beat = pb::HeartbeatRelayRequest { relay_id: id.to_owned(), timestamp_unix_ms: 1 };
        self.aero.heartbeat_relay(Request::new(beat)).await.map(drop)
    }

    async fn register_agent(&self, id: Option<&str>, relay: &str) -> Result<(), Status> {
        let agent = id.map(|id| pb::Agent { agent_id: id.to_owned(), ..Default::default() });
        let asked = pb::RegisterAgentRequest { agent, relay_id: relay.to_owned() };
        self.aero.register_agent(Request::new(asked)).await.map(drop)
    }

    async fn agent(&self, id: &str, relay: &str) {
        self.register_agent(Some(id), relay).await.unwrap();
    }

    async fn beat_agent(&self, id: &str, relay: &str) -> Result<(), Status> {
        let beat = pb::HeartbeatAgentRequest {
            agent_id: id.to_owned(),
            timestamp_unix_ms: 1,
            relay_id: relay.to_owned(),
        };
        self.aero.heartbeat_agent(Request::new(beat)).await.map(drop)
    }

    async fn list_relays(&self, asked: pb::ListRelaysRequest) -> Result<pb::ListRelaysResponse, Status> {
        self.aero.list_relays(Request::new(asked)).await.map(Response::into_inner)
    }

    async fn relays(&self) -> Vec<pb::Relay> {
        self.list_relays(pb::ListRelaysRequest::default()).await.unwrap().relays
    }

    async fn relay_ids(&self) -> Vec<String> {
        self.relays().await.into_iter().map(|relay| relay.relay_id).collect()
    }

    async fn list_agents(&self, asked: pb::ListAgentsRequest) -> Result<pb::ListAgentsResponse, Status> {
        self.aero.list_agents(Request::new(asked)).await.map(Response::into_inner)
    }

    /// Every agent as `agent@relay`.
    async fn agents(&self) -> Vec<String> {
        let listed = self.list_agents(pb::ListAgentsRequest::default()).await.unwrap().agents;
        listed.into_iter().map(|agent| format!("{}@{}", agent.agent_id, agent.relay_id)).collect()
    }

    async fn placement(&self, id: &str) -> Result<pb::AgentPlacement, Status> {
        let asked = pb::GetAgentPlacementRequest { agent_id: id.to_owned(), ..Default::default() };
        let answer = self.aero.get_agent_placement(Request::new(asked)).await?;
        Ok(answer.into_inner().placement.unwrap())
    }

    /// How many commits the log holds.
    async fn commits(&self) -> usize {
        let page = self.registry.store().log(Revision(0), PAGE_MAX, Duration::ZERO).await.unwrap();
        page.entries.len()
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.registry.view().now().0).unwrap()
    }

    /// Speaks for these once a second, for so long.
    async fn beat_for(&self, time: Duration, relays: &[&str], agents: &[&str]) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for relay in relays {
                self.beat_relay(relay).await.unwrap();
            }
            for agent in agents {
                self.beat_agent(agent, "").await.unwrap();
            }
            sleep(SECOND).await;
        }
    }
}

/// The code of a refusal, and its reason where it is one of these.
#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, says: &str) {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(says), "`{}` does not say `{says}`", status.message());
}

/// The records of a kind that the store holds, whether they are live or not.
async fn stored(store: &MemoryStore, kind: RecordKind) -> usize {
    let scan = Scan { kind, after: None, backwards: false, limit: PAGE_MAX };
    store.scan(scan).await.unwrap().records.iter().filter(|record| !record.deleted).count()
}
