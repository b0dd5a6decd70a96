//! Agents in another language, while relays are killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::agent::Shape;
use crate::foreign::check;
use crate::process::until;
use crate::python_agent::PythonAgent;
use crate::registry::Registry;
use crate::servers::RedisServer;
use crate::world::{Plan, Relay, Sunk};

/// For how long relays are killed, in s, unless [`SECONDS_VARIABLE`] says something else.
const SECONDS: u64 = 15;
const SECONDS_VARIABLE: &str = "OMNIRELAY_AGENT_SECONDS";
/// How long a relay runs, and how long it is away.
const RUNS: Duration = Duration::from_millis(2500);
const AWAY: Duration = Duration::from_millis(300);
/// How often relays are killed at least, however long that takes.
const KILLS_MIN: usize = 4;

fn seconds() -> Result<u64> {
    match std::env::var(SECONDS_VARIABLE) {
        Ok(text) => {
            text.parse().with_context(|| format!("{SECONDS_VARIABLE} is `{text}`, not a number of seconds"))
        }
        Err(_) => Ok(SECONDS),
    }
}

/// Kills the relays in turn until an end; returns how often.
async fn kill_in_turn(relays: &mut [Relay; 2], ends: Instant) -> Result<usize> {
    let mut kills = 0;
    while kills < KILLS_MIN || Instant::now() + RUNS < ends {
        tokio::time::sleep(RUNS).await;
        let relay = &mut relays[kills % 2];
        relay.kill()?;
        tokio::time::sleep(AWAY).await;
        relay.up()?;
        kills += 1;
    }
    Ok(kills)
}

mod redis {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_acknowledged_is_missing_when_relays_are_killed() -> Result<()> {
        let seconds = seconds()?;
        let store = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
        let start = |id: &str| Plan::new(id).publishes_to(&store.address()).start_on(&store.url());
        let mut relays = [start("relay-1")?, start("relay-2")?];
        let folder = tempfile::tempdir()?;
        // They capture until they are told to end.
        let longest = (seconds + 600).to_string();
        // Bursts that fill the window take the agents most of a minute to deliver: those are for longer runs.
        let burst = if std::env::var_os(SECONDS_VARIABLE).is_some() { "1000" } else { "300" };
        let more = ["--seconds", longest.as_str(), "--patience", "60", "--burst", burst];
        let both = [relays[0].address(), relays[1].address()];
        let mut agents = Vec::new();
        for (number, shape) in
            [Shape::Legacy, Shape::Envelope, Shape::Legacy, Shape::Envelope].into_iter().enumerate()
        {
            // Some know one relay, as v0.1.0 does, and some take the other when theirs is gone.
            let servers = if number < 2 { &both[number..=number] } else { &both };
            agents.push(PythonAgent::start(shape, number, servers, folder.path(), &more)?);
        }
        let begun = Instant::now();
        let kills = kill_in_turn(&mut relays, begun + Duration::from_secs(seconds)).await?;
        until_agreed(&store, &relays, &agents).await?;
        agents.iter().try_for_each(PythonAgent::land)?;
        let reports = agents.into_iter().map(PythonAgent::report).collect::<Result<Vec<_>>>()?;
        let mut sunk = Sunk::default();
        for relay in &mut relays {
            relay.stop()?;
            sunk.append(relay.sunk()?);
        }
        for report in &reports {
            check(report, &sunk)?;
            ensure!(report.registered > kills / 4, "{} registrations, {kills} kills", report.registered);
        }
        // No more than one file of a killed relay ends within a line, and that line nobody has acknowledged.
        ensure!(sunk.torn <= kills, "{} torn, {kills} kills", sunk.torn);
        Ok(())
    }

    /// Waits until the relays, the registry and what is published agree on where the agents are.
    async fn until_agreed(store: &RedisServer, relays: &[Relay; 2], agents: &[PythonAgent]) -> Result<()> {
        let registry = Registry::of(&relays[0]).await?;
        until("all say the same", async || {
            for agent in agents {
                let Some(holder) = registry.holder(&agent.id).await? else { return Ok(false) };
                let relay = relays.iter().find(|relay| relay.id == holder).context("an unknown relay")?;
                let session = relay.drone(&agent.id).await?.session_id;
                let key: Option<String> = store.cli(&["GET", &format!("drone:{}", agent.id)])?;
                let said = serde_json::json!({"relay_id": holder, "session_id": session});
                if key.map(|text| serde_json::from_str::<serde_json::Value>(&text)).transpose()? != Some(said)
                {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}
