//! Agents that are gone without a word: their connections are open, and nothing comes over them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::agent::{Agent, Shape};
use crate::on_both;
use crate::process::{until, within};
use crate::python_agent::PythonAgent;
use crate::registry::Registry;
use crate::servers::proxy::{Proxy, Wire};
use crate::world::{Backing, Relay, channel};

/// How long it may take until a connection is known to be dead.
const NOTICED: Duration = Duration::from_secs(60);
/// How long the place of an agent may be told that nobody speaks for.
const ENDED: Duration = Duration::from_millis(4500);

on_both! {
    agents_that_vanish_are_noticed
}

async fn agents_that_vanish_are_noticed(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "own")?;
    let registry = Registry::of(&relay).await?;
    // One whose link is gone, and one that stands still and whose system still answers.
    let proxy = Proxy::before(&relay.address()).await?;
    let mut cut_off = Agent::on(channel(&format!("http://{}", proxy.address())).await?, "cut-off");
    cut_off.register().await?;
    let mut stream = cut_off.stream(Shape::Envelope);
    stream.delivers(1..=1).await?;
    let folder = tempfile::tempdir()?;
    let more = ["--seconds", "600"];
    let frozen = PythonAgent::start(Shape::Legacy, 9, &[relay.address()], folder.path(), &more)?;
    let (_, mut witness) = Agent::streaming(&relay, "witness", Shape::Legacy).await?;
    for id in [&cut_off.id, &frozen.id] {
        until("it is placed", async || Ok(registry.holder(id).await?.is_some())).await?;
    }
    proxy.set(Wire::Silent);
    let pid = Pid::from_raw(i32::try_from(frozen.pid())?).context("no pid")?;
    kill_process(pid, Signal::STOP)?;
    let vanished = Instant::now();
    for id in [&cut_off.id, &frozen.id] {
        within(NOTICED, "its stream is ended", async || {
            Ok(relay.drones().await?.iter().all(|drone| drone.drone_id != *id || !drone.streaming))
        })
        .await?;
        ensure!(vanished.elapsed() > Duration::from_secs(1), "a moment of silence is no end");
        within(ENDED, "its place is gone", async || Ok(registry.holder(id).await?.is_none())).await?;
    }
    // One that has said nothing for as long, and answers, is left alone.
    ensure!(relay.drone("witness").await?.streaming);
    witness.delivers(2..=2).await
}
