//! Daemons of two releases on one Redis, under load, each killed or stopped and replaced by one of the other release
//! with the same data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::daemons::load::{Load, Outcome};
use crate::daemons::mesh::{Mesh, Node};
use crate::process::secured::ended;
use crate::process::skew::{Programs, time};
use crate::process::{Place, clean, until};
use crate::servers::{RedisServer, free_port};

const DAEMONS: usize = 4;
const WRITERS: usize = 4;
const WATCHES: usize = 8;
/// How many changes are made between two replacements.
const CHANGES: usize = 40;

/// What an operator of either release asks daemons of either release, and changes through them.
const ASKED: [&[&str]; 10] = [
    &["mesh", "peers", "list"],
    &["mesh", "peers", "get", "n1"],
    &["mesh", "leaders", "status"],
    &["mesh", "peers", "cordon", "n1", "--reason", "skew", "--yes"],
    &["mesh", "peers", "uncordon", "n1", "--reason", "skew", "--yes"],
    &["registers", "list"],
    &["registers", "available"],
    &["ops", "list"],
    &["audit", "list"],
    &["audit", "verify"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_replace_each_other_lose_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let programs = Programs::daemon();
    let mut mesh = Mesh { nodes: Vec::new() };
    for number in 1..=DAEMONS {
        let id = format!("n{number}");
        let mut place = Place::new(&["--node-id", &id, "--store", &server.url()])?;
        place.program = programs.both()[number % 2].to_owned();
        // The same port after each start, so that the load finds it again.
        place.listen = format!("127.0.0.1:{}", free_port()?);
        mesh.nodes.push(Node::start_in(place)?);
    }
    mesh.until_whole().await?;
    for node in &mesh.nodes {
        let id = format!("of-{}", node.id());
        let register = json!({"registerId": id, "nodeId": node.id(), "name": "r", "advertise": true});
        node.api.post("/control/registers", &register).await?.ok()?;
    }
    let outcome = replace(&mut mesh, &programs).await;
    match &outcome {
        Ok(kept) => println!("{kept}"),
        Err(_) => mesh.nodes.iter().for_each(|node| println!("{} said:\n{}", node.id(), node.place.log())),
    }
    outcome.map(drop)
}

/// Replaces daemons under a load until the time is over, and looks at what is left; says how much that was.
async fn replace(mesh: &mut Mesh, programs: &Programs) -> Result<String> {
    let mut load = Load::start(mesh, WRITERS, WATCHES).await?;
    let (began, until_over) = (Instant::now(), time()?);
    let mut replaced = 0;
    while began.elapsed() < until_over || replaced < 2 {
        load.goes_on(CHANGES).await?;
        // Each is killed in two turns, once of either release, and stopped in the next two.
        let (turn, at) = (replaced / DAEMONS, replaced % DAEMONS);
        replace_one(mesh, at, (at + turn / 2).is_multiple_of(2), programs)?;
        mesh.until_whole().await?;
        replaced += 1;
    }
    load.goes_on(CHANGES).await?;
    let Outcome { acknowledged, lost, resets, .. } = load.settle(mesh).await?;
    ensure!(lost.is_empty(), "acknowledged, and lost: {lost:?}");
    ensure!(resets == 0, "{resets} watches were not understood by a daemon of the other release");
    expect_all_advertised(mesh).await?;
    expect_understood(mesh)?;
    let changes = acknowledged.len();
    Ok(format!("{replaced} daemons were replaced, {changes} changes acknowledged, 0 lost, 0 resets"))
}

/// Ends a daemon and starts one of the other release in its place.
fn replace_one(mesh: &mut Mesh, at: usize, kill: bool, programs: &Programs) -> Result<()> {
    let Node { mut place, daemon, .. } = mesh.nodes.remove(at);
    if kill {
        daemon.kill()?;
    } else {
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success(), "it does not end as it should: {}", place.log());
    }
    place.program = programs.other_than(&place.program).to_owned();
    mesh.nodes.insert(at, Node::start_in(place)?);
    Ok(())
}

/// Whoever is asked knows of what each node advertises.
async fn expect_all_advertised(mesh: &Mesh) -> Result<()> {
    for asked in &mesh.nodes {
        for node in &mesh.nodes {
            let id = format!("of-{}", node.id());
            until(&format!("{} shows the register {id}", asked.id()), async || {
                let available = asked.api.get("/api/registers/available").await?.ok()?;
                let available = available.as_array().context("no list")?;
                Ok(available.iter().any(|register| register["registerId"] == id.as_str()))
            })
            .await?;
        }
    }
    Ok(())
}

/// Both command lines are understood by both daemons, and the trail that all have written is whole.
fn expect_understood(mesh: &Mesh) -> Result<()> {
    let programs = Programs::command_line();
    let command_lines: BTreeSet<_> = programs.both().into();
    let daemons: BTreeMap<_, _> = mesh.nodes.iter().map(|node| (&node.place.program, node)).collect();
    for program in command_lines {
        for node in daemons.values() {
            for asked in ASKED {
                ask(program, &node.daemon.url(""), asked)
                    .with_context(|| format!("{} by {}", node.id(), node.place.program.display()))?;
            }
        }
    }
    Ok(())
}

fn ask(program: &Path, address: &str, asked: &[&str]) -> Result<()> {
    let settings = tempfile::tempdir()?;
    let output = clean(program)
        .args(["--addr", address, "-o", "json"])
        .args(asked)
        .env("OMNIRELAY_CONFIG", settings.path().join("config.yaml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    let shown = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {asked:?}: {}{shown}{complaint}", program.display(), output.status);
    let _: serde_json::Value = serde_json::from_str(&shown).with_context(|| format!("{asked:?}: {shown}"))?;
    Ok(())
}

/// A mesh of the other release, whose administrator has given scopes, is upgraded node by node, gets an authority meanwhile, and has
/// its records signed once all are upgraded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_of_before_demands_signatures_once_all_its_daemons_know_them() -> Result<()> {
    let (server, folder) = (RedisServer::start(&[])?, tempfile::tempdir()?);
    let (daemons, lines) = (Programs::daemon(), Programs::command_line());
    // Since 0.3 each daemon knows signatures.
    let knows_none = lines.other_is_before((0, 3))?;
    let socket = |node: &str| format!("unix:{}", folder.path().join(node).with_extension("sock").display());
    let asked = |program: &Path, node: &str, line: &str| {
        let mut command = clean(program);
        command.args(line.split(' ')).args(["--addr", &socket(node)]).current_dir(folder.path());
        ended(command.env("HOME", folder.path()))
    };
    let mut nodes = Vec::new();
    for node in ["n1", "n2"] {
        let path = folder.path().join(node).with_extension("sock");
        let path = path.to_str().context("no UTF-8")?;
        let mut place = Place::new(&["--node-id", node, "--store", &server.url(), "--control-socket", path])?;
        place.program = daemons.other.clone();
        nodes.push((place.start()?, place));
    }
    let of_before = |line: &str| -> Result<()> {
        let done = asked(&lines.other, "n1", line)?;
        ensure!(done.code == Some(0), "{line}: {}", done.complaint);
        Ok(())
    };
    for number in 0..5 {
        of_before(&format!("bindings set token:o{number} mesh.read --yes"))?;
    }
    for number in 0..2 {
        let (daemon, mut place) = nodes.remove(0);
        daemon.signal("TERM")?;
        daemon.wait()?;
        place.program = daemons.this.clone();
        nodes.push((place.start()?, place));
        if number == 0 {
            let made = asked(&lines.this, "n1", "cert ca init --yes --out admin")?;
            ensure!(made.code == Some(0), "{}", made.complaint);
        }
        if number == 0 && knows_none {
            let early = asked(&lines.this, "n1", "cert ca protect --yes")?;
            ensure!(early.code != Some(0) && early.complaint.contains("n2"), "{}", early.complaint);
            let check = asked(&lines.this, "n1", "mesh check --category identity")?.output;
            ensure!(check.contains("count without a signature"), "{check}");
        }
    }
    until("all daemons know signatures", async || {
        Ok(asked(&lines.this, "n1", "cert ca protect --yes")?.code == Some(0))
    })
    .await?;
    let bound = asked(&lines.this, "n1", "bindings list -o name")?.output;
    ensure!(bound.lines().count() == 6, "{bound}");
    for node in ["n1", "n2"] {
        let listed = asked(&lines.this, node, "bindings list -o name")?;
        ensure!(listed.output == bound, "{node}: {}{}", listed.output, listed.complaint);
        let check = asked(&lines.this, node, "mesh check --category identity")?.output;
        ensure!(check.contains("ok   no record counts that no issuer has signed"), "{node}: {check}");
    }
    let told = asked(&lines.this, "n1", "audit list --action authority.require-signatures -o json")?.output;
    ensure!(told.contains("do not count"), "{told}");
    Ok(())
}
