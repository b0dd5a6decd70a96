//! What operators see is what others read.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, SHAPES};
use crate::on_both;
use crate::process::{clean, until};
use crate::registry::Registry;
use crate::servers::RedisServer;
use crate::world::{Backing, Plan, Relay};

on_both! {
    drones_list_and_redis_agree
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn omnirelay(relay: &Relay, arguments: &[&str]) -> Result<Value> {
    let mut command = clean(env!("CARGO_BIN_EXE_omnirelay"));
    command.env("OMNIRELAY_CONFIG", relay.place.directory.path().join("none.yaml"));
    let address = format!("http://{}", relay.daemon()?.control);
    let text = output(command.args(["--addr", &address]).args(arguments).args(["-o", "json"]))?;
    serde_json::from_str(&text).context(text)
}

async fn drones_list_and_redis_agree(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let relay = Plan::new("relay-1").publishes_to(&redis.address()).start(backing)?;
    let registry = Registry::of(&relay).await?;
    let mut streams = Vec::new();
    for (number, shape) in SHAPES.into_iter().cycle().take(6).enumerate() {
        streams.push(Agent::streaming(&relay, &format!("drone-{number}"), shape).await?);
    }
    until("the registry knows all", async || Ok(registry.agents().await?.len() == streams.len())).await?;
    let listed = omnirelay(&relay, &["drones", "list"])?;
    let drones = listed["drones"].as_array().context("no drones")?;
    ensure!(drones.len() == streams.len(), "{listed}");
    let port = redis.port().to_string();
    for (drone, (agent, _)) in drones.iter().zip(&streams) {
        let key = format!("drone:{}", drone["droneId"].as_str().context("no id")?);
        let told = output(clean("redis-cli").args(["-p", &port, "get", &key]))?;
        let told: Value = serde_json::from_str(&told).with_context(|| format!("{key}: {told}"))?;
        ensure!(drone["droneId"] == *agent.id, "{listed}");
        ensure!(
            drone["relayId"] == told["relay_id"] && drone["sessionId"] == told["session_id"],
            "{drone} {told}"
        );
        let placement = omnirelay(&relay, &["agents", "placement", &agent.id])?.to_string();
        ensure!(placement.contains("relay-1"), "{placement}");
    }
    Ok(())
}
