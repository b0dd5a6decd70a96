//! Heartbeats of agents in a registry, beside calls that do nothing.

use std::time::Duration;

use anyhow::Result;
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_client::AeroRegistryClient;
use omnirelay_wire::pb::aeroarc::registry::v1::{
    Agent, HeartbeatAgentRequest, RegisterAgentRequest, RegisterRelayRequest, Relay,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::ratio::{Rates, busy};
use crate::subjects::Subject;

const IN_FLIGHT: usize = 64;
const AGENTS: usize = 1_000;
const RELAY: &str = "relay-1";

/// Heartbeats a second; prints the ratio.
pub async fn per_second(rounds: usize, seconds: Duration) -> Result<()> {
    let settings = ["registry.relayTtl=1h", "registry.agentTtl=1h"];
    let subjects = [
        Subject::ours("memory:", &["registry"], &settings).await?,
        Subject::echo("echo of a call", "messages").await?,
    ];
    for subject in &subjects {
        fill(&mut AeroRegistryClient::new(subject.connect().await?)).await?;
    }
    let mut rates = [Rates::default(), Rates::default()];
    for _ in 0..rounds {
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            rates.0.push(calls(subject, seconds).await?);
        }
    }
    println!("heartbeats of {AGENTS} agents, {IN_FLIGHT} in flight, {rounds} rounds, load {}:", busy());
    for (subject, rates) in subjects.iter().zip(&rates) {
        println!("  {}: median {:.0} calls/s of {:.0?}", subject.name, rates.median(), rates.0);
    }
    let (median, worst) = rates[0].beside(&rates[1]);
    println!("  beside the echo: median {median:.2}, worst {worst:.2} (asked: 0.60)");
    Ok(())
}

fn name(number: usize) -> String {
    format!("drone-{number:05}")
}

async fn fill(client: &mut AeroRegistryClient<Channel>) -> Result<()> {
    let relay = Relay {
        relay_id: RELAY.to_owned(),
        address: "10.0.0.1".to_owned(),
        grpc_port: 50051,
        ..Relay::default()
    };
    client.register_relay(RegisterRelayRequest { relay: Some(relay) }).await?;
    for number in 0..AGENTS {
        let agent = Some(Agent { agent_id: name(number), ..Agent::default() });
        client.register_agent(RegisterAgentRequest { agent, relay_id: RELAY.to_owned() }).await?;
    }
    Ok(())
}

async fn calls(subject: &Subject, seconds: Duration) -> Result<f64> {
    let client = AeroRegistryClient::new(subject.connect().await?);
    let end = Instant::now() + seconds;
    let mut running = JoinSet::new();
    for first in 0..IN_FLIGHT {
        let mut client = client.clone();
        running.spawn(async move {
            let mut count = 0_u64;
            for number in (first..AGENTS).step_by(IN_FLIGHT).cycle() {
                if Instant::now() >= end {
                    break;
                }
                let (agent_id, relay_id) = (name(number), RELAY.to_owned());
                client
                    .heartbeat_agent(HeartbeatAgentRequest { agent_id, timestamp_unix_ms: 0, relay_id })
                    .await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut all = 0;
    while let Some(count) = running.join_next().await {
        all += count??;
    }
    Ok(all as f64 / seconds.as_secs_f64())
}
