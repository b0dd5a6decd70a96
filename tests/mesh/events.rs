//! `omnirelay events tail`: everything that happens, in one stream that loses nothing and tells nothing twice.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::servers::{RedisServer, eventually};
use crate::up::{Mesh, hold_ports};

/// A tail that writes its events into a file of the mesh's folder; killed when it is dropped.
struct Tail<'m> {
    mesh: &'m Mesh,
    name: &'static str,
    child: Child,
}

impl<'m> Tail<'m> {
    fn start(mesh: &'m Mesh, name: &'static str, further: &[&str]) -> Result<Self> {
        let arguments = [&["events", "tail", "-o", "jsonl"], further].concat();
        let file = std::fs::File::create(mesh.path(name))?;
        let child = mesh.omnirelay(&arguments).stdout(file).stderr(Stdio::null()).spawn()?;
        Ok(Self { mesh, name, child })
    }

    /// Every whole line so far, each with the cursor of the one before it.
    fn events(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.mesh.path(self.name))?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events: Vec<Value> = whole.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        for pair in events.windows(2) {
            ensure!(pair[0]["cursor"] == pair[1]["prevcursor"], "a gap: {pair:#?}");
        }
        Ok(events)
    }

    /// Ctrl-C, after which nothing is told, and the cursor saved.
    fn interrupt(mut self) -> Result<Vec<Value>> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "cannot interrupt");
        let ended = self.child.wait()?;
        ensure!(ended.code() == Some(130), "{ended}");
        self.events()
    }

    fn until(&self, what: &str, fits: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        eventually(what, || Ok(fits(&self.events()?)))?;
        self.events()
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn word(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default().strip_prefix("omnirelay.").unwrap_or_default()
}

/// What has happened to records, by id; refuses what is told twice.
fn by_id<'e>(events: impl IntoIterator<Item = &'e Value>) -> Result<BTreeMap<String, String>> {
    let mut known = BTreeMap::new();
    let happened = events.into_iter().filter(|event| event["source"] == "/clusters/default");
    for event in happened.filter(|event| !word(event).starts_with("events.")) {
        let id = event["id"].as_str().context("id")?.to_owned();
        let told = format!("{} {}", word(event), event["subject"].as_str().context("subject")?);
        ensure!(known.insert(id.clone(), told).is_none(), "{id} was told twice");
    }
    Ok(known)
}

fn has(events: &[Value], named: &str, subject: &str) -> bool {
    events.iter().any(|event| word(event) == named && event["subject"] == subject)
}

/// What an operator does and what goes wrong, while tails come and go at different nodes.
fn expect_the_same_whoever_tells(mesh: &Mesh) -> Result<()> {
    let cursor = mesh.path("events.cursor");
    let cursor = ["--cursor-file", cursor.to_str().context("text")?];
    let first = Tail::start(mesh, "first", &[&cursor[..], &["--since", "10m"]].concat())?;
    first.until("what was before is told", |events| {
        ["peer/node-1", "peer/node-2", "peer/node-3"].iter().all(|peer| has(events, "peers.added", peer))
            && has(events, "leadership.elected", "leadership/global-control")
    })?;
    mesh.run(&["mesh", "peers", "cordon", "node-2", "--reason", "disk"])?;
    let is_change = |event: &&Value| event["subject"] == "peer/node-2" && event["action"] == "peers.cordon";
    let told = first.until("the change", |events| events.iter().any(|event| is_change(&event)))?;
    let change = told.iter().find(is_change).context("the change")?;
    ensure!(word(change) == "peers.modified" && change["reason"] == "disk", "{change}");
    ensure!(change["data"]["peer"]["cordoned"] == true && change["specversion"] == "1.0", "{change}");
    let first = first.interrupt()?;

    // What happens while nobody watches, the node that told of the first half gone among it.
    let ports = hold_ports();
    mesh.run(&["dev", "kill", "node-1"])?;
    mesh.wait_for("node-1", "suspect")?;
    mesh.run(&["mesh", "peers", "uncordon", "node-2"])?;
    let second = Tail::start(mesh, "second", &cursor)?;
    second.until("what nobody watched", |events| {
        has(events, "peers.modified", "peer/node-1") && has(events, "peers.modified", "peer/node-2")
    })?;
    mesh.run(&["dev", "resume", "node-1"])?;
    drop(ports);
    mesh.wait_for("node-1", "alive")?;
    let all = Tail::start(mesh, "all", &["--since", "10m"])?;
    let alive =
        |event: &Value| event["subject"] == "peer/node-1" && event["data"]["peer"]["status"] == "alive";
    let second = second.until("that it is back", |events| events.iter().any(alive))?;
    // The last to happen, so that whoever tells of it has told everything.
    mesh.run(&["mesh", "leaders", "create", "last"])?;
    all.until("the last", |events| has(events, "leadership.elected", "leadership/last"))?;
    let all = by_id(&all.events()?)?;
    let parts = by_id(first.iter().chain(&second))?;
    let missed: Vec<_> =
        all.iter().filter(|(id, told)| !parts.contains_key(*id) && !told.ends_with("/last")).collect();
    ensure!(missed.is_empty(), "missed: {missed:#?}");
    let strange: Vec<_> = parts.iter().filter(|(id, told)| all.get(*id) != Some(told)).collect();
    ensure!(strange.is_empty(), "told otherwise: {strange:#?}");
    Ok(())
}

#[test]
fn nothing_is_missed_and_nothing_told_twice_on_the_embedded_store() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    expect_the_same_whoever_tells(&mesh)
}

#[test]
fn nothing_is_missed_and_nothing_told_twice_on_redis() -> Result<()> {
    let (server, mesh) = (RedisServer::start(&[])?, Mesh::new()?);
    let _up = mesh.up_with(&["--store", &server.url()])?;
    expect_the_same_whoever_tells(&mesh)
}

#[test]
fn a_store_that_falls_silent_and_comes_back_is_told() -> Result<()> {
    let (server, mesh) = (RedisServer::start(&[])?, Mesh::new()?);
    let _up = mesh.up_with(&["--store", &server.url()])?;
    let tail = Tail::start(&mesh, "tail", &["--type", "store"])?;
    tail.until("it has begun", |events| !events.is_empty())?;
    server.pause()?;
    tail.until("it is away", |events| events.iter().any(|event| word(event) == "store.degraded"))?;
    // A time is looked up in the log of the store.
    let refused = mesh.omnirelay(&["events", "tail", "--since", "1m", "--for", "5s"]).output()?;
    ensure!(refused.status.code() == Some(6), "{refused:?}");
    server.resume()?;
    let told =
        tail.until("it is back", |events| events.iter().any(|event| word(event) == "store.recovered"))?;
    ensure!(
        told.iter().all(|event| ["events", "store"].contains(&word(event).split('.').next().unwrap_or("")))
    );
    Ok(())
}

#[test]
fn only_what_is_asked_for_is_told_and_the_trail_only_then() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    mesh.run(&["mesh", "peers", "cordon", "node-2", "--reason", "disk"])?;
    let tail = |further: &[&str]| -> Result<Vec<Value>> {
        let lines = mesh
            .run(&[&["events", "tail", "--since", "10m", "--for", "2s", "-o", "jsonl"], further].concat())?;
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    };
    let told = |events: &[Value]| -> Vec<String> {
        let told = events.iter().filter(|event| !word(event).starts_with("events."));
        told.map(|event| format!("{} {}", word(event), event["subject"].as_str().unwrap_or_default()))
            .collect()
    };
    let of_node = tail(&["--subject", "peer/node-2"])?;
    // It has told where its mesh port is before it was cordoned.
    let twice = ["peers.modified peer/node-2"; 2];
    assert_eq!(told(&of_node), [&["peers.added peer/node-2"][..], &twice].concat());
    let modified = told(&tail(&["--type", "peers.modified"])?);
    assert!(modified.iter().all(|told| told.starts_with("peers.modified ")), "{modified:?}");
    assert_eq!(modified.last().map(String::as_str), Some("peers.modified peer/node-2"));
    let trail = tail(&["--type", "audit"])?;
    let cordon = trail.iter().find(|event| event["data"]["record"]["action"] == "peers.cordon");
    ensure!(cordon.is_some_and(|event| word(event) == "audit.added"), "{trail:#?}");
    ensure!(tail(&[])?.iter().all(|event| !word(event).starts_with("audit.")), "nobody asked for the trail");
    let names = mesh.run(&[
        "events",
        "tail",
        "--since",
        "10m",
        "--for",
        "2s",
        "--type",
        "peers.modified",
        "-o",
        "name",
    ])?;
    assert!(
        names.lines().all(|name| name.starts_with("peer/node-")) && names.ends_with("peer/node-2\n"),
        "{names}"
    );
    Ok(())
}
