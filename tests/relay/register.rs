//! AgentGateway.Register.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use omnirelay_wire::pb::aeroarc::agent::v1::RegisterRequest;
use tonic::Code;

use crate::agent::{Agent, Shape, ended, refused};
use crate::on_both;
use crate::process::until;
use crate::world::{Backing, Plan, Relay};

/// How many sessions are looked at: that a bit of a random id is the same in all of them is one in 2^63.
const SESSIONS: usize = 64;

on_both! {
    session_ids_are_random_and_new_each_time
    register_names_the_agent_and_how_much_may_be_in_flight
    ids_that_are_none_are_refused
    registering_again_begins_another_session
    a_session_ends_with_its_relay
    what_agent_v0_1_0_does_not_say_is_not_asked_for
    more_sessions_than_there_is_room_for_are_refused
    a_session_without_a_stream_ends_with_its_time_to_live
}

async fn session_ids_are_random_and_new_each_time(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let mut ids = BTreeSet::new();
    let (mut ones, mut zeros) = (0_u128, 0_u128);
    for _ in 0..SESSIONS {
        let id = agent.register().await?.session_id;
        ensure!(!id.contains("drone-1"), "{id} can be guessed");
        let hex = id.strip_prefix("sess-").unwrap_or(&id).replace('-', "");
        ensure!(hex.len() == 32, "{id} has no 128 bits");
        let bits = u128::from_str_radix(&hex, 16).with_context(|| id.clone())?;
        (ones, zeros) = (ones | bits, zeros | !bits);
        ids.insert(id);
    }
    ensure!(ids.len() == SESSIONS, "{ids:?}");
    ensure!(ones == u128::MAX && zeros == u128::MAX, "not all bits are random: {ids:?}");
    Ok(())
}

async fn register_names_the_agent_and_how_much_may_be_in_flight(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let answer = Agent::new(&relay, "drone-1").await?.register().await?;
    ensure!(answer.agent_id == "drone-1" && answer.max_inflight == 1000, "{answer:?}");
    let small = Plan::new("relay-2").set(&["relay.maxInflight=77"]).start(backing)?;
    let answer = Agent::new(&small, "drone-1").await?.register().await?;
    ensure!(answer.max_inflight == 77, "{answer:?}");
    Ok(())
}

async fn ids_that_are_none_are_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let long = "a".repeat(129);
    for id in ["", "_own", "a b", "a/b", "dröhne", "a\n", "*", long.as_str()] {
        let request = RegisterRequest { agent_id: id.to_owned(), ..RegisterRequest::default() };
        refused(agent.register_as(request).await, Code::InvalidArgument, "agent_id")
            .with_context(|| format!("{id:?}"))?;
    }
    for id in ["a", "A.b_c:d-9", &long[..128]] {
        let request = RegisterRequest { agent_id: id.to_owned(), ..RegisterRequest::default() };
        let answer = agent.register_as(request).await.with_context(|| format!("{id:?}"))?;
        ensure!(answer.agent_id == id, "{answer:?}");
    }
    Ok(())
}

async fn registering_again_begins_another_session(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let first = agent.register().await?.session_id;
    ensure!(relay.drone("drone-1").await?.session_id == first);
    let second = agent.register().await?.session_id;
    let drones = relay.drones().await?;
    ensure!(drones.len() == 1 && drones[0].session_id == second && first != second, "{drones:?}");
    agent.stream(Shape::Legacy).delivers(1..=3).await
}

async fn a_session_ends_with_its_relay(backing: Backing) -> Result<()> {
    let mut relay = Relay::start(backing, "relay-1")?;
    let (_, _stream) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
    relay.restart()?;
    ensure!(relay.drones().await?.is_empty());
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let end = agent.stream(Shape::Legacy).end().await?;
    ended(&end, Code::FailedPrecondition, "must register first")?;
    agent.register().await?;
    agent.stream(Shape::Legacy).delivers(2..=3).await
}

async fn what_agent_v0_1_0_does_not_say_is_not_asked_for(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    // No version and no platform, and an id that is a hash.
    let id = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let (_, _stream) = Agent::streaming(&relay, id, Shape::Legacy).await?;
    let drone = relay.drone(id).await?;
    ensure!(drone.agent_version.is_empty() && drone.platform.is_empty() && drone.streaming, "{drone:?}");
    // What a newer one says is shown.
    let mut newer = Agent::new(&relay, "drone-2").await?;
    let request = RegisterRequest {
        agent_id: "drone-2".to_owned(),
        agent_version: "0.4.0".to_owned(),
        platform: "linux/arm64".to_owned(),
    };
    newer.register_as(request).await?;
    let drone = relay.drone("drone-2").await?;
    ensure!(drone.agent_version == "0.4.0" && drone.platform == "linux/arm64", "{drone:?}");
    Ok(())
}

async fn more_sessions_than_there_is_room_for_are_refused(backing: Backing) -> Result<()> {
    let relay = Plan::new("relay-1").set(&["relay.sessionsMax=2"]).start(backing)?;
    let mut first = Agent::registered(&relay, "drone-1").await?;
    let _stream = first.stream(Shape::Legacy);
    Agent::registered(&relay, "drone-2").await?;
    refused(Agent::new(&relay, "drone-3").await?.register().await, Code::ResourceExhausted, "")?;
    // Those who are there may register again.
    first.register().await?;
    Ok(())
}

async fn a_session_without_a_stream_ends_with_its_time_to_live(backing: Backing) -> Result<()> {
    let relay = Plan::new("relay-1").set(&["relay.sessionTtl=2s"]).start(backing)?;
    let (_, mut stream) = Agent::streaming(&relay, "streams", Shape::Legacy).await?;
    Agent::registered(&relay, "registered-only").await?;
    ensure!(relay.drones().await?.len() == 2);
    until("it has ended", async || Ok(relay.drones().await?.len() == 1)).await?;
    // One that streams lives on, whether it says anything or not.
    stream.delivers(2..=2).await?;
    ensure!(relay.drones().await?[0].drone_id == "streams");
    Ok(())
}
