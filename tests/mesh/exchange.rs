//! Two meshes of different stores, or two clusters, of which one fetches what the other advertises: user story 4 of seed 003.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::federation::{Meshes, federating};
use crate::process::secured::Secured;
use crate::process::siblings::{Siblings, run};
use crate::process::{until, within};

/// How soon another mesh sees what has changed.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// West fetches of east, which lets it in and asks nothing itself.
fn fetching(own: &str, (other, port): (&str, u16), is_federated: bool) -> String {
    let seeds = match own {
        // The first of them is dead, and the second is a name.
        "west" => format!(", seeds: ['127.0.0.1:1', 'localhost:{port}']"),
        _ => String::new(),
    };
    let federated = if is_federated { federating("FILES", other, &seeds) } else { String::new() };
    format!("security:\n  federatedClusters: [{federated}]\n")
}

/// The register as a mesh shows it to everybody, if it does.
fn available(mesh: &Secured, id: &str) -> Result<Option<Value>> {
    let listed: Value = serde_json::from_str(&run(mesh, "registers available -o json")?)?;
    let registers = listed["registers"].as_array().or(listed["items"].as_array()).context("no registers")?;
    Ok(registers.iter().find(|register| register["registerId"] == id).cloned())
}

/// Looks at a register again and again, until `done` says that it is enough; it must be there each time.
async fn is_always_there(mesh: &Secured, id: &str, done: impl Fn() -> bool) -> Result<usize> {
    let mut looks = 0;
    while !done() {
        ensure!(available(mesh, id)?.is_some(), "`{id}` is gone after {looks} looks");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(looks)
}

async fn is_there(mesh: &Secured, id: &str, expected: bool) -> Result<()> {
    let what = format!("{id} is {}", if expected { "there" } else { "gone" });
    let seen = within(SEEN_WITHIN, &what, async || Ok(available(mesh, id)?.is_some() == expected)).await;
    seen.with_context(|| mesh.place.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn us4_1_and_us4_2_registers_of_another_mesh_are_seen_and_stay_while_it_restarts() -> Result<()> {
    let mut meshes = Meshes::start(fetching)?;
    meshes.east.run("registers create eels --advertise --name Eels")?;
    meshes.east.run("registers create otters --advertise")?;
    meshes.east.run("registers create secret")?;
    meshes.west.run("registers create whales --advertise")?;
    ensure!(available(&meshes.west.of, "eels")?.is_none());
    meshes.federate(true)?;

    // us4_1
    is_there(&meshes.west.of, "eels", true).await?;
    is_there(&meshes.west.of, "otters", true).await?;
    let eels = available(&meshes.west.of, "eels")?.context("gone")?;
    let told = (&eels["sources"][0], &eels["peerCount"], &eels["name"], &eels["syncState"]);
    ensure!(told == (&"a@east".into(), &1.into(), &"Eels".into(), &"active".into()), "{eels}");
    ensure!(available(&meshes.west.of, "secret")?.is_none(), "what is private has left its node");
    let state = meshes.west.run("registers status")?;
    ensure!(state.contains("a@east"), "{state}");
    // Nothing is handed on, and whoever asks nothing has nothing.
    ensure!(available(&meshes.east.of, "whales")?.is_none());

    // A full sync is about what the node itself advertises.
    let synced = meshes.west.run("registers resync --full --yes")?;
    ensure!(available(&meshes.west.of, "eels")?.is_some(), "{synced}");

    // us4_2
    meshes.east.of.daemon.signal("KILL")?;
    let begun = Instant::now();
    let away = is_always_there(&meshes.west.of, "eels", || begun.elapsed() > Duration::from_secs(3)).await?;
    meshes.east.of.daemon = meshes.east.of.place.start()?;
    let begun = Instant::now();
    let back = is_always_there(&meshes.west.of, "eels", || begun.elapsed() > SEEN_WITHIN).await?;
    ensure!(away > 5 && back > 20, "{away} and {back} looks");

    // What goes there goes here, with the last of them the set.
    meshes.east.run("registers unadvertise eels")?;
    is_there(&meshes.west.of, "eels", false).await?;
    ensure!(available(&meshes.west.of, "otters")?.is_some());
    meshes.east.run("registers delete otters --yes")?;
    is_there(&meshes.west.of, "otters", false).await?;
    meshes.east.run("registers advertise eels")?;
    is_there(&meshes.west.of, "eels", true).await?;

    // What was loaded at a start is not confirmed before the other mesh has done so.
    meshes.east.of.daemon.signal("KILL")?;
    meshes.west.of.daemon.signal("KILL")?;
    meshes.west.of.daemon = meshes.west.of.place.start()?;
    let state = |mesh: &Secured| -> Result<Option<Value>> {
        Ok(available(mesh, "eels")?.map(|eels| eels["syncState"].clone()))
    };
    until("it is loaded", async || Ok(state(&meshes.west.of)? == Some("unverified".into()))).await?;
    until("it is told that nobody answers", async || {
        let told = meshes.west.of.by("admin", "registers status")?;
        Ok(told.code == Some(10) && told.output.contains("no node of cluster east answers"))
    })
    .await?;
    meshes.east.of.daemon = meshes.east.of.place.start()?;
    until("it is confirmed", async || Ok(state(&meshes.west.of)? == Some("active".into()))).await?;

    // Whoever is barred is nobody here.
    meshes.federate(false)?;
    within(Duration::from_secs(5), "the cluster is ignored", async || {
        Ok(available(&meshes.west.of, "eels")?.is_none())
    })
    .await
}

/// A cluster that fetches of another one once it knows where that is; both look often.
const EAGER: [&str; 4] = ["--set", "mesh.leadership.enabled=false", "--set", "registers.exchangeInterval=1s"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn us4_1_and_us4_2_registers_of_a_sibling_are_seen_and_stay_while_it_restarts() -> Result<()> {
    let mut siblings = Siblings::start(&EAGER, &EAGER)?;
    for line in ["create eels --advertise --name Eels", "create otters --advertise", "create secret"] {
        run(&siblings.east, &format!("registers {line}"))?;
    }
    run(&siblings.west, "registers create whales --advertise")?;
    ensure!(available(&siblings.west, "eels")?.is_none());
    siblings.introduce()?;

    // us4_1: both ways, as each knows the other.
    is_there(&siblings.west, "eels", true).await?;
    is_there(&siblings.east, "whales", true).await?;
    let eels = available(&siblings.west, "eels")?.context("gone")?;
    let told = (&eels["sources"][0], &eels["peerCount"], &eels["name"], &eels["syncState"]);
    ensure!(told == (&"e1@east".into(), &1.into(), &"Eels".into(), &"active".into()), "{eels}");
    ensure!(available(&siblings.west, "secret")?.is_none(), "what is private has left its node");
    let status: Value = serde_json::from_str(&run(&siblings.west, "registers status -o json")?)?;
    let (of, node) = (&status["federated"][0], &status["federated"][0]["nodes"][0]);
    let told = (&of["cluster"], &of["sibling"], &node["source"], &node["registers"]);
    ensure!(told == (&"east".into(), &true.into(), &"e1@east".into(), &2.into()), "{status}");
    // They are no members of this mesh.
    let peers = run(&siblings.west, "mesh peers list")?;
    ensure!(!peers.contains("e1"), "{peers}");

    // us4_2
    siblings.east.daemon.signal("KILL")?;
    let begun = Instant::now();
    let away = is_always_there(&siblings.west, "eels", || begun.elapsed() > Duration::from_secs(3)).await?;
    siblings.east.daemon = siblings.east.place.start()?;
    let begun = Instant::now();
    let back = is_always_there(&siblings.west, "eels", || begun.elapsed() > SEEN_WITHIN).await?;
    ensure!(away > 5 && back > 20, "{away} and {back} looks");
    run(&siblings.east, "registers unadvertise eels")?;
    is_there(&siblings.west, "eels", false).await?;
    ensure!(available(&siblings.west, "otters")?.is_some());

    // One that is down is told of, with what to do.
    siblings.east.daemon.signal("KILL")?;
    until("it is told that nobody answers", async || {
        let told = siblings.west.by("admin", "registers status")?;
        Ok(told.code == Some(10)
            && told.output.contains("no node of cluster east answers")
            && told.output.contains("omnirelay mesh clusters get east"))
    })
    .await?;
    ensure!(available(&siblings.west, "otters")?.is_some(), "what is down has lost its registers");

    // Whoever is not known any more is nobody's business.
    run(&siblings.west, "mesh clusters delete east --yes")?;
    within(Duration::from_secs(5), "the cluster is ignored", async || {
        Ok(available(&siblings.west, "otters")?.is_none())
    })
    .await
}
