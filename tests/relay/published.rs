//! What stands in the Redis that others read: `drone:{id}` of each session.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, SHAPES, Shape};
use crate::on_both;
use crate::process::{until, within};
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};
use crate::world::{Backing, Plan, Relay};

/// What nobody waits for Redis for, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

on_both! {
    nothing_is_published_unless_it_is_asked_for
    a_session_is_published_when_it_registers
    the_default_time_to_live_is_45_s
    a_session_that_streams_stays_published
    a_clean_disconnect_unpublishes
    the_end_of_an_older_session_leaves_the_newer_published
    a_session_of_another_relay_is_left_alone
    a_session_of_a_killed_relay_is_gone_with_its_time_to_live
    redis_away_at_the_start_stops_nothing
    redis_away_in_the_middle_stops_nothing
    slow_redis_delays_nothing
    bad_database_numbers_are_taken_for_0
    passwords_and_databases_are_used
    the_relay_is_named_by_its_environment
}

/// What is published of a drone, and for how long yet.
fn published(redis: &RedisServer, drone: &str) -> Result<Option<(Value, Duration)>> {
    let key = format!("drone:{drone}");
    let value: Option<String> = redis.cli(&["GET", &key])?;
    let left: i64 = redis.cli(&["PTTL", &key])?;
    let Some(value) = value else { return Ok(None) };
    ensure!(left > 0, "{key} stays for ever");
    Ok(Some((serde_json::from_str(&value)?, Duration::from_millis(left.try_into()?))))
}

async fn until_published(redis: &RedisServer, drone: &str, session: &str) -> Result<()> {
    within(AT_ONCE, &format!("{drone} is published with {session}"), async || {
        Ok(published(redis, drone)?.is_some_and(|(value, _)| value["session_id"] == session))
    })
    .await
}

async fn until_gone(redis: &RedisServer, drone: &str) -> Result<()> {
    until(&format!("{drone} is not published"), async || Ok(published(redis, drone)?.is_none())).await
}

/// A Redis for others, and a relay that publishes there; sessions live for 2 s.
fn publishing(backing: Backing) -> Result<(RedisServer, Relay)> {
    let redis = RedisServer::start(&[])?;
    let plan = Plan::new("relay-1").set(&["relay.sessionTtl=2s"]).publishes_to(&redis.address());
    let relay = plan.start(backing)?;
    Ok((redis, relay))
}

async fn nothing_is_published_unless_it_is_asked_for(backing: Backing) -> Result<()> {
    let mut relay = Relay::start(backing, "relay-1")?;
    let (_, _stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    if let Ok(store) = relay.server() {
        ensure!(published(store, "drone-1")?.is_none(), "the registry's store is nobody else's");
    }
    Ok(())
}

async fn a_session_is_published_when_it_registers(backing: Backing) -> Result<()> {
    let (redis, relay) = publishing(backing)?;
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let session = agent.register().await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    let text: String = redis.cli(&["GET", "drone:drone-1"])?;
    let value: Value = serde_json::from_str(&text)?;
    ensure!(value == serde_json::json!({"relay_id": "relay-1", "session_id": session}), "{text}");
    let (_, left) = published(&redis, "drone-1")?.context("it is gone")?;
    ensure!(left <= Duration::from_secs(2), "{left:?}");
    // Nothing else is written there.
    ensure!(redis.cli::<Vec<String>>(&["KEYS", "*"])? == ["drone:drone-1"]);
    // Who only registers is not kept alive.
    until_gone(&redis, "drone-1").await
}

async fn the_default_time_to_live_is_45_s(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let plan = Plan::new("relay-1").set(&["relay.sessionTtl=45s"]).publishes_to(&redis.address());
    let relay = plan.start(backing)?;
    let session = Agent::new(&relay, "drone-1").await?.register().await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    let (_, left) = published(&redis, "drone-1")?.context("it is gone")?;
    ensure!(left > Duration::from_secs(35) && left <= Duration::from_secs(45), "{left:?}");
    let (_, printed, _) = crate::process::run(&["config", "print"])?;
    let line = printed.lines().find(|line| line.starts_with("relay.sessionTtl")).context("no setting")?;
    ensure!(line.contains("45s") && line.contains("default"), "{line}");
    Ok(())
}

async fn a_session_that_streams_stays_published(backing: Backing) -> Result<()> {
    let (redis, relay) = publishing(backing)?;
    let mut streams = Vec::new();
    for shape in SHAPES {
        streams.push(Agent::streaming(&relay, &format!("{shape:?}"), shape).await?);
    }
    // For more than twice its time to live, without a frame.
    let begun = Instant::now();
    let mut refreshed = false;
    while begun.elapsed() < Duration::from_secs(5) {
        for (agent, _) in &streams {
            let (_, left) = published(&redis, &agent.id)?.with_context(|| format!("{} is gone", agent.id))?;
            refreshed |= left > Duration::from_millis(1500) && begun.elapsed() > Duration::from_secs(2);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(refreshed, "it was never refreshed");
    Ok(())
}

async fn a_clean_disconnect_unpublishes(backing: Backing) -> Result<()> {
    let (redis, relay) = publishing(backing)?;
    for shape in SHAPES {
        let (mut agent, stream) = Agent::streaming(&relay, "drone-1", shape).await?;
        let session = relay.drone("drone-1").await?.session_id;
        until_published(&redis, "drone-1", &session).await?;
        let closed = Instant::now();
        stream.close().await?;
        until_gone(&redis, "drone-1").await?;
        ensure!(
            closed.elapsed() < Duration::from_millis(1500),
            "it has only expired: {:?}",
            closed.elapsed()
        );
        // It comes back with its next session.
        let session = agent.register().await?.session_id;
        until_published(&redis, "drone-1", &session).await?;
    }
    Ok(())
}

async fn the_end_of_an_older_session_leaves_the_newer_published(backing: Backing) -> Result<()> {
    let (redis, relay) = publishing(backing)?;
    let (mut agent, older) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    let session = agent.register().await?.session_id;
    let mut newer = agent.stream(Shape::Legacy);
    newer.delivers(1..=1).await?;
    until_published(&redis, "drone-1", &session).await?;
    drop(older);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let (value, _) = published(&redis, "drone-1")?.context("the older took it away")?;
        ensure!(value["session_id"] == session, "{value}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    newer.delivers(2..=2).await
}

async fn a_session_of_another_relay_is_left_alone(backing: Backing) -> Result<()> {
    let (redis, first) = publishing(backing)?;
    let plan = Plan::new("relay-2").set(&["relay.sessionTtl=2s"]).publishes_to(&redis.address());
    let second = plan.start(backing)?;
    let (_, old) = Agent::streaming(&first, "drone-1", Shape::Legacy).await?;
    let (_, _new) = Agent::streaming(&second, "drone-1", Shape::Legacy).await?;
    let session = second.drone("drone-1").await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    let begun = Instant::now();
    let mut old = Some(old);
    while begun.elapsed() < Duration::from_secs(4) {
        let (value, _) = published(&redis, "drone-1")?.context("it was taken away")?;
        ensure!(value["relay_id"] == "relay-2" && value["session_id"] == session, "{value}");
        if begun.elapsed() > Duration::from_secs(2)
            && let Some(stream) = old.take()
        {
            // The first has refreshed what is its own by then, and does not delete what is not.
            stream.close().await?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn a_session_of_a_killed_relay_is_gone_with_its_time_to_live(backing: Backing) -> Result<()> {
    let (redis, mut relay) = publishing(backing)?;
    let (_, _stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    let session = relay.drone("drone-1").await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    relay.kill()?;
    let killed = Instant::now();
    ensure!(published(&redis, "drone-1")?.is_some(), "nobody has deleted it");
    until_gone(&redis, "drone-1").await?;
    ensure!(killed.elapsed() < Duration::from_millis(2500), "{:?}", killed.elapsed());
    Ok(())
}

async fn redis_away_at_the_start_stops_nothing(backing: Backing) -> Result<()> {
    let mut redis = RedisServer::start(&[])?;
    redis.kill()?;
    let plan = Plan::new("relay-1").set(&["relay.sessionTtl=2s"]).publishes_to(&redis.address());
    let begun = Instant::now();
    let relay = plan.start(backing)?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    let asked = Instant::now();
    stream.delivers(2..=1000).await?;
    ensure!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    let log = relay.place.log();
    ensure!(log.contains("WARN") && log.contains(&redis.address()), "{log}");
    // It is published as soon as there is somebody to tell.
    redis.restart()?;
    let session = relay.drone("drone-1").await?.session_id;
    until("it is published", async || {
        Ok(published(&redis, "drone-1")?.is_some_and(|(value, _)| value["session_id"] == session))
    })
    .await
}

async fn redis_away_in_the_middle_stops_nothing(backing: Backing) -> Result<()> {
    let (mut redis, relay) = publishing(backing)?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    let session = relay.drone("drone-1").await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    redis.kill()?;
    let begun = Instant::now();
    let mut other = Agent::new(&relay, "drone-2").await?;
    let second = other.register().await?.session_id;
    let mut third = other.stream(Shape::Envelope);
    third.delivers(1..=100).await?;
    stream.delivers(2..=1000).await?;
    ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    redis.restart()?;
    for (drone, session) in [("drone-1", &session), ("drone-2", &second)] {
        until("it is published again", async || {
            Ok(published(&redis, drone)?.is_some_and(|(value, _)| value["session_id"] == *session))
        })
        .await?;
    }
    Ok(())
}

async fn slow_redis_delays_nothing(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let proxy = Proxy::before(&redis.address()).await?;
    let plan = Plan::new("relay-1").set(&["relay.sessionTtl=2s"]).publishes_to(proxy.address());
    let relay = plan.start(backing)?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    until("it is published", async || Ok(published(&redis, "drone-1")?.is_some())).await?;
    proxy.set(Wire::Silent);
    let begun = Instant::now();
    for number in 2..=20 {
        Agent::registered(&relay, &format!("drone-{number}")).await?;
    }
    stream.delivers(2..=1000).await?;
    ensure!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    until_gone(&redis, "drone-1").await?;
    proxy.set(Wire::Whole);
    let session = relay.drone("drone-1").await?.session_id;
    until("it is published again", async || {
        Ok(published(&redis, "drone-1")?.is_some_and(|(value, _)| value["session_id"] == session))
    })
    .await
}

async fn bad_database_numbers_are_taken_for_0(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let plan = Plan::new("relay-1").publishes_to(&redis.address()).environment("REDIS_DB", "garbage");
    let relay = plan.start(backing)?;
    let session = Agent::new(&relay, "drone-1").await?.register().await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    let log = relay.place.log();
    ensure!(log.contains("REDIS_DB"), "it says so: {log}");
    Ok(())
}

async fn passwords_and_databases_are_used(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let () = redis.cli(&["CONFIG", "SET", "requirepass", "s3cret"])?;
    let plan = Plan::new("relay-1").publishes_to(&redis.address());
    let relay = plan.environment("REDIS_PASSWORD", "s3cret").environment("REDIS_DB", "3").start(backing)?;
    let session = Agent::new(&relay, "drone-1").await?.register().await?.session_id;
    let read = || -> Result<Option<String>> {
        let client = ::redis::Client::open(format!("redis://:s3cret@{}/3", redis.address()))?;
        Ok(::redis::cmd("GET").arg("drone:drone-1").query(&mut client.get_connection()?)?)
    };
    until("it is published", async || Ok(read()?.is_some_and(|text| text.contains(&session)))).await?;
    ensure!(!relay.place.log().contains("s3cret"), "the password is in the log");
    Ok(())
}

async fn the_relay_is_named_by_its_environment(backing: Backing) -> Result<()> {
    let redis = RedisServer::start(&[])?;
    let plan = Plan::new("node-1").publishes_to(&redis.address()).environment("RELAY_ID", "relay-x");
    let relay = plan.start(backing)?;
    let session = Agent::new(&relay, "drone-1").await?.register().await?.session_id;
    until_published(&redis, "drone-1", &session).await?;
    let (value, _) = published(&redis, "drone-1")?.context("it is gone")?;
    ensure!(value["relay_id"] == "relay-x", "{value}");
    ensure!(relay.drone("drone-1").await?.relay_id == "relay-x");
    // Nobody has named it: the host's name.
    let nameless = Plan::new("node-2").publishes_to(&redis.address()).environment("RELAY_ID", "");
    let relay = nameless.start(backing)?;
    Agent::registered(&relay, "drone-1").await?;
    let named = relay.drone("drone-1").await?.relay_id;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    ensure!(named == host.trim() || named == "relay", "{named} is not {host}");
    Ok(())
}
