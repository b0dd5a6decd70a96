//! What ends by itself: relays, agents and placements, as the other daemons of a mesh see it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tonic::Code;

use crate::agent::{Agent, Shape, refused};
use crate::on_both;
use crate::process::{until, within};
use crate::registry::Registry;
use crate::world::{Backing, Plan, Relay};

/// The times to live of [`crate::world::BRISK`].
const TTL: Duration = Duration::from_secs(3);
/// How much later than its time to live an end may be seen on a busy machine.
const LATE: Duration = Duration::from_millis(1500);

on_both! {
    what_is_not_heard_of_ends_with_its_time_to_live
    what_is_heard_of_lives_on
    agents_end_with_their_relay
    an_agent_that_moves_belongs_to_its_new_relay
}

async fn what_is_not_heard_of_ends_with_its_time_to_live(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "own")?;
    let registry = Registry::of(&relay).await?;
    until("it knows itself", async || Ok(registry.relay("own").await?.is_some())).await?;
    let begun = Instant::now();
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "own").await?;
    let registered = Instant::now();
    let (mut relay_ended, mut agent_ended) = (None, None);
    while relay_ended.is_none() || agent_ended.is_none() {
        ensure!(begun.elapsed() < TTL + LATE, "{relay_ended:?} {agent_ended:?}");
        let asked = Instant::now();
        if relay_ended.is_none() && registry.relay("r-1").await?.is_none() {
            relay_ended = Some(asked);
        }
        if agent_ended.is_none() && registry.holder("a-1").await?.is_none() {
            agent_ended = Some(Instant::now());
            ensure!(registry.agents().await?.is_empty(), "it is listed and has no place");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for ended in [relay_ended, agent_ended].into_iter().flatten() {
        // A little for the clock of the store, which counts milliseconds.
        ensure!(ended + Duration::from_millis(20) > begun + TTL, "too early: {:?}", ended - registered);
    }
    refused(registry.heartbeat_relay("r-1").await, Code::NotFound, "r-1")?;
    refused(registry.heartbeat_agent("a-1", "").await, Code::NotFound, "a-1")?;
    refused(registry.register_agent("a-2", "r-1").await, Code::NotFound, "r-1")?;
    // What has ended may come again.
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    ensure!(registry.holder("a-1").await?.as_deref() == Some("r-1"));
    Ok(())
}

async fn what_is_heard_of_lives_on(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "own")?;
    let registry = Registry::of(&relay).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    // A stream without a word keeps its agent alive.
    let (_, _stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    until("it is placed", async || Ok(registry.holder("drone-1").await?.is_some())).await?;
    let begun = Instant::now();
    while begun.elapsed() < TTL * 2 {
        registry.heartbeat_relay("r-1").await?;
        registry.heartbeat_agent("a-1", "r-1").await?;
        for (agent, holder) in [("a-1", "r-1"), ("drone-1", "own")] {
            ensure!(registry.holder(agent).await?.as_deref() == Some(holder), "{agent} is gone");
        }
        let relays = registry.relays().await?;
        ensure!(relays.iter().map(|it| it.relay_id.as_str()).eq(["own", "r-1"]), "{relays:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn agents_end_with_their_relay(backing: Backing) -> Result<()> {
    let relay = Plan::new("own").set(&["registry.agentTtl=60s"]).start(backing)?;
    let registry = Registry::of(&relay).await?;
    let begun = Instant::now();
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    within(TTL + LATE, "its place is gone", async || {
        // Nothing is told of an agent whose relay is gone, in no order of the questions.
        let (relays, agents) = (registry.relays().await?, registry.agents().await?);
        let known = relays.iter().any(|relay| relay.relay_id == "r-1");
        ensure!(known || agents.is_empty(), "{agents:?}");
        Ok(!known && registry.holder("a-1").await?.is_none())
    })
    .await?;
    // A little for the clock of the store, which counts milliseconds.
    ensure!(begun.elapsed() + Duration::from_millis(20) > TTL, "{:?}", begun.elapsed());
    // The relay that comes back holds nothing: its agents say so themselves.
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    ensure!(registry.agents().await?.is_empty() && registry.holder("a-1").await?.is_none());
    refused(registry.heartbeat_agent("a-1", "r-1").await, Code::NotFound, "a-1")
}

async fn an_agent_that_moves_belongs_to_its_new_relay(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "own")?;
    let registry = Registry::of(&relay).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    until("it knows itself", async || Ok(registry.relay("own").await?.is_some())).await?;
    registry.register_agent("a-1", "own").await?;
    // The end of the former owner takes nothing away.
    let begun = Instant::now();
    while begun.elapsed() < TTL + LATE {
        registry.heartbeat_agent("a-1", "own").await?;
        ensure!(registry.holder("a-1").await?.as_deref() == Some("own"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(registry.relay("r-1").await?.is_none());
    let placement = registry.placement("a-1").await?;
    ensure!(placement.previous_relay_id == "r-1", "{placement:?}");
    Ok(())
}
