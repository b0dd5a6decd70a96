//! A fleet: what the heartbeats of fifty thousand agents cost the registry that their relays tell of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_client::AeroRegistryClient;
use omnirelay_wire::pb::aeroarc::registry::v1::{
    Agent, HeartbeatAgentsRequest, HeartbeatAgentsResponse, RegisterAgentRequest, RegisterRelayRequest, Relay,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::Plan;
use crate::load::stream;
use crate::ours::{self, HEARTBEATS};
use crate::process::endpoint;
use crate::servers::RedisServer;
use crate::sizes::Size;

/// Each has a connection of its own.
const RELAYS: usize = 50;
/// How often each agent is heard.
const EVERY: Duration = Duration::from_secs(10);
/// In how many parts of that time a relay says what there is to be said, as ours does.
const PARTS: usize = 40;
/// How many agents a relay registers at a time.
const REGISTERING: usize = 4;

/// Measures the registry on each store.
pub(crate) async fn all(plan: &Plan) -> Result<Vec<Size>> {
    let (agents_of_one, during) =
        if plan.runs == 1 { (20, Duration::from_secs(1)) } else { (1_000, Duration::from_secs(20)) };
    let embedded = processor(&[], agents_of_one, during).await?;
    let server = RedisServer::start(&[])?;
    let redis = processor(&["--store", &server.url()], agents_of_one, during).await?;
    let agents = agents_of_one * RELAYS;
    let size =
        |on, is, at_most| Size { name: format!("{agents} agents, {on}").into(), unit: "%", is, at_most };
    Ok(vec![size("embedded store", embedded, Some(15.0)), size("Redis", redis, None)])
}

/// How much of one core a registry uses while all agents are heard, in percent.
async fn processor(options: &[&str], agents_of_one: usize, during: Duration) -> Result<f64> {
    let registry = ours::empty(&[options, &["--set", "registry.agentTtl=30s"]].concat()).await?;
    let mut begun = JoinSet::new();
    for number in 0..RELAYS {
        let channel = endpoint(registry.relay_port)?.connect().await?;
        begun.spawn(register(channel, number, agents_of_one));
    }
    let mut relays = JoinSet::new();
    while let Some(relay) = begun.join_next().await {
        let (channel, number) = relay??;
        relays.spawn(beat(channel, number, agents_of_one));
    }
    // Until every agent was heard once.
    tokio::time::sleep(EVERY.min(during)).await;
    let used = registry.process.processor(during).await?;
    ensure!(relays.try_join_next().is_none(), "a relay has given up");
    Ok(used)
}

fn relay_id(number: usize) -> String {
    format!("relay-{number:02}")
}

fn agent_id(relay: usize, number: usize) -> String {
    format!("drone-{relay:02}-{number:04}")
}

async fn register(channel: Channel, number: usize, agents: usize) -> Result<(Channel, usize)> {
    let (relay_id, mut client) = (relay_id(number), AeroRegistryClient::new(channel.clone()));
    let (address, grpc_port) = ("10.0.0.1".to_owned(), 50051);
    let relay = Relay { relay_id: relay_id.clone(), address, grpc_port, ..Relay::default() };
    client.register_relay(RegisterRelayRequest { relay: Some(relay) }).await?;
    let mut registering = JoinSet::new();
    for agent in 0..agents {
        if registering.len() == REGISTERING
            && let Some(registered) = registering.join_next().await
        {
            registered??;
        }
        let agent = Some(Agent { agent_id: agent_id(number, agent), ..Agent::default() });
        let (mut client, relay_id) = (client.clone(), relay_id.clone());
        registering.spawn(async move {
            client.register_agent(RegisterAgentRequest { agent, relay_id }).await?;
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(registered) = registering.join_next().await {
        registered??;
    }
    Ok((channel, number))
}

/// Says of all agents that they live, those of one part after the other, so that each is heard in time.
async fn beat(channel: Channel, number: usize, agents: usize) -> Result<()> {
    let (messages, sent) = mpsc::channel(64);
    let answers = stream::<HeartbeatAgentsRequest, HeartbeatAgentsResponse>(channel, HEARTBEATS, sent);
    let saying = tokio::spawn(async move {
        let parts = PARTS.min(agents);
        let mut ticks = tokio::time::interval(EVERY / u32::try_from(parts)?);
        for part in (0..parts).cycle() {
            ticks.tick().await;
            let together = (part..agents).step_by(parts).map(|agent| agent_id(number, agent)).collect();
            messages.send(HeartbeatAgentsRequest { relay_id: relay_id(number), agent_id: together }).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let mut answers = answers.await?;
    while let Some(answer) = answers.message().await? {
        ensure!(answer.refused.is_empty(), "{:?}", answer.refused);
    }
    saying.abort();
    anyhow::bail!("the registry has ended the stream")
}
