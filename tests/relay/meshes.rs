//! Several daemons on one Redis: what one of them does, as the others see it; and what is left without the Redis.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_wire::pb::aeroarc::registry::v1::watch_event::Type;
use omnirelay_wire::pb::aeroarc::registry::v1::{ListAgentsRequest, WatchRequest};

use crate::agent::{Agent, Shape};
use crate::process::{until, within};
use crate::registry::Registry;
use crate::servers::RedisServer;
use crate::watch::Watching;
use crate::world::{Backing, Plan, Relay};

/// The times to live of [`crate::world::BRISK`].
const TTL: Duration = Duration::from_secs(3);
/// How much later than its time to live an end may be seen on a busy machine.
const LATE: Duration = Duration::from_millis(1500);

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
        until("it is placed", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-2")))
            .await?;
        second.kill()?;
        // It does not wait for the end of what was.
        let (_, _stream) = Agent::streaming(&first, "drone-1", Shape::Legacy).await?;
        until("it has moved", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-1")))
            .await?;
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
        until("it is placed", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-1")))
            .await?;
        let (_, _newer) = Agent::streaming(&second, "drone-1", Shape::Legacy).await?;
        until("it has moved", async || Ok(registry.holder("drone-1").await?.as_deref() == Some("relay-2")))
            .await?;
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
        let placed_at = registry.placement("drone-1").await?.placed_at_unix_ms;
        let mut watch = Watching::begin(&registry, WatchRequest::default()).await?;
        relay.server()?.kill()?;
        let away = Instant::now();
        until("it says so", async || {
            Ok(registry.raw().list_agents(ListAgentsRequest::default()).await?.into_inner().stale)
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
            let answer = registry.raw().list_agents(ListAgentsRequest::default()).await?.into_inner();
            let ids = answer.agents.iter().map(|agent| agent.agent_id.as_str());
            Ok(!answer.stale && ids.eq(["drone-1", "drone-2"]))
        })
        .await?;
        ensure!(registry.placement("drone-1").await?.placed_at_unix_ms == placed_at, "it was placed anew");
        registry.register_relay("last", "10.0.0.1", 1).await?;
        loop {
            let (kind, what, _) = watch.next().await?;
            ensure!(kind != Type::Removed, "{what} was gone meanwhile");
            if what == "last" {
                return Ok(());
            }
        }
    }
}
