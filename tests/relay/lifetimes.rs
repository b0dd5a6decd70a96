//! What ends by itself: relays, agents and placements, as the other daemons of a mesh see it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tonic::Code;

use crate::agent::{Agent, Shape, refused};
use crate::on_both;
use crate::process::{until, within};
use crate::registry::Registry;
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};
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
    a_peer_that_vanishes_is_noticed
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
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    let begun = Instant::now();
    within(TTL + LATE, "its place is gone", async || {
        // Nothing is told of an agent whose relay is gone, in no order of the questions.
        let (relays, agents) = (registry.relays().await?, registry.agents().await?);
        let known = relays.iter().any(|relay| relay.relay_id == "r-1");
        ensure!(known || agents.is_empty(), "{agents:?}");
        Ok(!known && registry.holder("a-1").await?.is_none())
    })
    .await?;
    ensure!(begun.elapsed() + Duration::from_millis(100) > TTL, "{:?}", begun.elapsed());
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

/// A connection over which nothing comes any more, and that nobody closes.
async fn a_peer_that_vanishes_is_noticed(backing: Backing) -> Result<()> {
    const NOTICED: Duration = Duration::from_secs(60);
    let relay = Relay::start(backing, "own")?;
    let registry = Registry::of(&relay).await?;
    let proxy = Proxy::before(&relay.address()).await?;
    let far = crate::world::channel(&format!("http://{}", proxy.address())).await?;
    let mut agent = Agent::on(far, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Envelope);
    stream.delivers(1..=1).await?;
    until("it is placed", async || Ok(registry.holder("drone-1").await?.is_some())).await?;
    proxy.set(Wire::Silent);
    let vanished = Instant::now();
    within(NOTICED, "its stream is ended", async || {
        let drones = relay.drones().await?;
        Ok(drones.iter().all(|drone| !drone.streaming))
    })
    .await?;
    let noticed = vanished.elapsed();
    within(TTL + LATE, "its place is gone", async || Ok(registry.holder("drone-1").await?.is_none())).await?;
    ensure!(noticed > Duration::from_secs(1), "a moment of silence is no end: {noticed:?}");
    Ok(())
}

mod redis {
    use super::*;

    /// Two relays on one Redis; the other is killed.
    fn two() -> Result<(RedisServer, Relay, Relay)> {
        let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
        let first = Plan::new("relay-1").publishes_to(&server.address()).start_on(&server.url())?;
        let second = Plan::new("relay-2").publishes_to(&server.address()).start_on(&server.url())?;
        Ok((server, first, second))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_relay_is_gone_on_time_for_the_others() -> Result<()> {
        let (server, first, mut second) = two()?;
        let registry = Registry::of(&first).await?;
        let mut streams = Vec::new();
        for number in 0..20 {
            streams.push(Agent::streaming(&second, &format!("drone-{number:02}"), Shape::Legacy).await?);
        }
        until("all are placed", async || {
            let relay = registry.relay("relay-2").await?.context("it is unknown")?;
            Ok(relay.agents == 20 && registry.agents().await?.len() == 20)
        })
        .await?;
        ensure!(server.cli::<Vec<String>>(&["KEYS", "drone:*"])?.len() == 20);
        second.kill()?;
        let killed = Instant::now();
        within(TTL + LATE, "it is gone with what it held", async || {
            let gone = registry.relay("relay-2").await?.is_none() && registry.agents().await?.is_empty();
            Ok(gone && server.cli::<Vec<String>>(&["KEYS", "drone:*"])?.is_empty())
        })
        .await?;
        // It said last that it lives half a second before it was killed, at the most.
        ensure!(killed.elapsed() + Duration::from_millis(700) > TTL, "too early: {:?}", killed.elapsed());
        let relays = registry.relays().await?;
        ensure!(relays.len() == 1 && relays[0].relay_id == "relay-1", "{relays:?}");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_is_taken_over_by_another_daemon() -> Result<()> {
        let (server, first, mut second) = two()?;
        let registry = Registry::of(&first).await?;
        let (_, _cut_off) = Agent::streaming(&second, "drone-1", Shape::Legacy).await?;
        until("it is placed", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-2"))).await?;
        second.kill()?;
        // It does not wait for the end of what was.
        let (_, _stream) = Agent::streaming(&first, "drone-1", Shape::Legacy).await?;
        until("it has moved", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-1"))).await?;
        let session = first.drone("drone-1").await?.session_id;
        let begun = Instant::now();
        while begun.elapsed() < TTL + LATE {
            ensure!(registry.holder("drone-1").await?.as_deref() == Some("relay-1"));
            let key: String = server.cli(&["GET", "drone:drone-1"])?;
            ensure!(key.contains("relay-1") && key.contains(&session), "{key}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Back again, it finds that it does not hold the agent.
        second.up()?;
        let other = Registry::of(&second).await?;
        until("it is known again", async || Ok(registry.relay("relay-2").await?.is_some())).await?;
        ensure!(other.holder("drone-1").await?.as_deref() == Some("relay-1"));
        Ok(())
    }

    /// Both relays say that they hold it: the later one does, and the earlier does not take it back.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_with_two_streams_belongs_to_the_later_relay() -> Result<()> {
        let (_server, first, second) = two()?;
        let registry = Registry::of(&first).await?;
        let (_, mut older) = Agent::streaming(&first, "drone-1", Shape::Legacy).await?;
        until("it is placed", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-1"))).await?;
        let (_, _newer) = Agent::streaming(&second, "drone-1", Shape::Legacy).await?;
        until("it has moved", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-2"))).await?;
        let begun = Instant::now();
        let mut seq = 1;
        while begun.elapsed() < TTL {
            seq += 1;
            older.delivers([seq]).await?;
            ensure!(registry.holder("drone-1").await?.as_deref() == Some("relay-2"), "it was taken back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_relay_that_stops_is_gone_at_once() -> Result<()> {
        let (server, first, mut second) = two()?;
        let registry = Registry::of(&first).await?;
        let (_, mut stream) = Agent::streaming(&second, "drone-1", Shape::Legacy).await?;
        until("it is placed", async || Ok(registry.holder("drone-1").await?.is_some())).await?;
        second.begin_to_stop()?;
        stream.end().await?;
        second.has_stopped()?;
        ensure!(server.cli::<Vec<String>>(&["KEYS", "drone:*"])?.is_empty(), "its drones are published");
        within(TTL + LATE, "it is gone", async || Ok(registry.relay("relay-2").await?.is_none())).await
    }

    /// The registry's store is away: what was known is told, and marked; relays go on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_its_store_the_registry_tells_what_it_knew() -> Result<()> {
        let mut relay = Relay::start(Backing::Redis, "own")?;
        let registry = Registry::of(&relay).await?;
        let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
        until("it is placed", async || Ok(registry.holder("drone-1").await?.is_some())).await?;
        relay.server()?.kill()?;
        let away = Instant::now();
        until("it says so", async || {
            Ok(registry.raw().list_agents(omnirelay::wire::pb::aeroarc::registry::v1::ListAgentsRequest::default())
                .await?
                .into_inner()
                .stale)
        })
        .await?;
        let mut seq = 1;
        while away.elapsed() < TTL + LATE {
            seq += 1;
            stream.delivers([seq]).await?;
            ensure!(registry.holder("drone-1").await?.as_deref() == Some("own"), "its end cannot be known");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Another agent begins meanwhile.
        let asked = Instant::now();
        let (_, _other) = Agent::streaming(&relay, "drone-2", Shape::Envelope).await?;
        ensure!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        relay.server()?.restart()?;
        until("all is as it was", async || {
            let answer = registry
                .raw()
                .list_agents(omnirelay::wire::pb::aeroarc::registry::v1::ListAgentsRequest::default())
                .await?
                .into_inner();
            let ids = answer.agents.iter().map(|agent| agent.agent_id.as_str());
            Ok(!answer.stale && ids.eq(["drone-1", "drone-2"]))
        })
        .await
    }
}
