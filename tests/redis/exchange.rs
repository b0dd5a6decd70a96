//! A mesh of three nodes that fetches what a node of another mesh advertises: one of them asks, and another when it is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::mesh_port::{TLS, beside, json, until};
use crate::process::PATIENCE;
use crate::process::secured::Secured;
use crate::servers::RedisServer;

/// Another mesh, and one of three nodes that fetches of it.
struct Meshes {
    east: Secured,
    west: Secured,
    others: Vec<(String, crate::process::Daemon)>,
    _places: Vec<crate::process::Place>,
    files: tempfile::TempDir,
}

/// The node of the other mesh is started with `more`.
fn start(store: &str, more: &[&str]) -> Result<Meshes> {
    let files = tempfile::tempdir()?;
    let at = |name: &str| files.path().join(name);
    let config = at("east.yaml");
    std::fs::write(&config, "node:\n  cluster: east\n")?;
    let init = |domain: &str| format!("cert ca init --yes --out admin --trust-domain {domain}");
    let config_at = config.display().to_string();
    let own = ["--config", &config_at];
    let east = Secured::made_by(&init("east.example"), "d", "127.0.0.1:0", &[&TLS[..], &own, more].concat())?;
    std::fs::write(at("east.pem"), east.by("admin", "cert ca export")?.output)?;
    let federated = format!(
        "security.federatedClusters=[{{cluster: east, trustDomain: east.example, bundle: '{}', seeds: ['{}']}}]",
        at("east.pem").display(),
        east.daemon.control
    );
    let fetching = [
        "--set",
        "node.cluster=west",
        "--set",
        &federated,
        "--set",
        "registers.exchangeInterval=1s",
        "--set",
        "registers.advertisementTtl=12s",
    ];
    let first = [&TLS[..], &["--store", store], &fetching].concat();
    let west = Secured::made_by(&init("west.example"), "n0", "127.0.0.1:0", &first)?;
    std::fs::write(at("west.pem"), west.by("admin", "cert ca export")?.output)?;
    let (mut others, mut places) = (Vec::new(), Vec::new());
    for node in ["n1", "n2"] {
        let (daemon, place) = beside(&west, node, store, &fetching)?;
        others.push((node.to_owned(), daemon));
        places.push(place);
    }
    // One that has not been told of the other mesh, as in the middle of a change: it asks nobody and hinders nobody.
    let (daemon, place) = beside(&west, "n3", store, &["--set", "node.cluster=west"])?;
    others.push(("n3".to_owned(), daemon));
    places.push(place);
    let lets_in = format!(
        "node:\n  cluster: east\nsecurity:\n  federatedClusters: [{{cluster: west, trustDomain: west.example, \
         bundle: '{}'}}]\n",
        at("west.pem").display()
    );
    std::fs::write(&config, lets_in)?;
    east.daemon.signal("HUP")?;
    Ok(Meshes { east, west, others, _places: places, files })
}

impl Meshes {
    fn east(&self, line: &str) -> Result<()> {
        let ended = self.east.by("admin", line)?;
        ensure!(ended.code == Some(0), "{line}: {}", ended.complaint);
        Ok(())
    }

    /// Which registers west shows to everybody, once it is these.
    fn until_available(&self, expected: &[&str]) -> Result<()> {
        until(PATIENCE, || {
            let listed = self.west.by("admin", "registers available -o name")?.output;
            Ok((listed.lines().eq(expected.iter().map(|id| format!("register/{id}"))), listed))
        })?;
        Ok(())
    }

    /// Who of these asks the other mesh, as they say themselves.
    fn askers(&self, nodes: &[&str]) -> Result<Vec<String>> {
        let mut askers = Vec::new();
        for node in nodes {
            let state = json(&self.west, &format!("registers status --node {node} -o json"))?;
            if state.pointer("/federated/0/nodes/0/asked") == Some(&Value::Bool(true)) {
                askers.push((*node).to_owned());
            }
        }
        Ok(askers)
    }
}

/// By what the one that asks calls the node of the other mesh.
fn until_called_by(meshes: &Meshes, protocol: &str) -> Result<Duration> {
    until(PATIENCE, || {
        let mut said = Vec::new();
        for node in ["n0", "n1", "n2"] {
            let state = json(&meshes.west, &format!("registers status --node {node} -o json"))?;
            said.push(state.pointer("/federated/0/nodes/0").cloned().unwrap_or_default());
        }
        let is_so = |state: &&Value| state["asked"] == true && state["protocol"] == protocol;
        Ok((said.iter().any(|state| is_so(&state)), format!("{said:?}")))
    })
}

#[test]
fn another_mesh_is_called_over_http3_where_it_serves_that() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let meshes = start(&server.url(), &["--set", "control.http3=true"])?;
    meshes.east("registers create eels --advertise")?;
    meshes.until_available(&["eels"])?;
    let took = until_called_by(&meshes, "http3")?;
    println!("called over HTTP/3 after {took:?}");
    meshes.east("registers create otters --advertise")?;
    meshes.until_available(&["eels", "otters"])?;
    until_called_by(&meshes, "http3")?;
    // Whoever is let in no more is so over either.
    let config = meshes.files.path().join("east.yaml");
    std::fs::write(&config, "node:\n  cluster: east\n")?;
    meshes.east.daemon.signal("HUP")?;
    meshes.east("registers create seals --advertise")?;
    until(PATIENCE, || {
        let state = meshes.west.by("admin", "registers available -o name")?.output;
        Ok((!state.contains("otters"), state))
    })?;
    let listed = meshes.west.by("admin", "registers available -o name")?.output;
    ensure!(!listed.contains("seals"), "{listed}");
    // The connection was cut, and none is let in anew.
    until_called_by(&meshes, "")?;
    Ok(())
}

#[test]
fn one_of_a_mesh_fetches_for_all_and_another_one_when_it_is_gone() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut meshes = start(&server.url(), &[])?;
    meshes.east("registers create eels --advertise")?;
    meshes.until_available(&["eels"])?;
    // It serves no HTTP/3.
    until_called_by(&meshes, "http2")?;
    let all = ["n0", "n1", "n2"];
    let mut before = Vec::new();
    until(PATIENCE, || {
        // The others have just come: it is so for longer than a round.
        std::thread::sleep(Duration::from_secs(2));
        let askers = meshes.askers(&all)?;
        let is_so = askers.len() == 1 && askers == before;
        before = askers;
        Ok((is_so, format!("{before:?} ask")))
    })?;
    let asker = meshes.askers(&all)?.pop().context("nobody asks")?;
    ensure!(
        asker != "n0",
        "it is the first daemon, whom the test needs: give the other mesh's node another id"
    );
    let place = meshes.others.iter().position(|(node, _)| *node == asker).context("who")?;
    meshes.others.remove(place).1.kill()?;

    // What goes meanwhile is gone for whoever takes over, the last of them too.
    meshes.east("registers create otters --advertise")?;
    meshes.east("registers unadvertise eels")?;
    meshes.until_available(&["otters"])?;
    meshes.east("registers unadvertise otters")?;
    meshes.until_available(&[])?;

    // A store that has lost everything has it again.
    meshes.east("registers advertise eels")?;
    meshes.until_available(&["eels"])?;
    server.cli::<()>(&["FLUSHALL"])?;
    meshes.until_available(&["eels"])?;

    // Many, more than go into one answer, of which few change. They stay beyond their time.
    let text = "x".repeat(600);
    let one = |at| format!("{{\"registerId\":\"r{at:04}\",\"advertise\":true,\"description\":\"{text}\"}}");
    let many: Vec<String> = (0..3000).map(one).collect();
    let file = meshes.east.path("many.jsonl");
    std::fs::write(&file, many.join("\n"))?;
    meshes.east(&format!("registers import -f {}", file.display()))?;
    let found = || -> Result<usize> {
        Ok(meshes.west.by("admin", "registers available -o name")?.output.lines().count())
    };
    let count = |expected: usize| {
        until(PATIENCE, || {
            let found = found()?;
            Ok((found == expected, format!("{found} are there")))
        })
    };
    count(3001)?;
    // Beyond the time for which they were fetched none goes or comes, however shortly; that the watch tells of it is seen after.
    let listed = json(&meshes.west, "registers available --limit 1 -o json")?;
    let since = listed["cursor"].as_str().context("a list without a cursor")?;
    let watch = |until: &str| -> Result<String> {
        let line = format!("registers available --watch --since {since} {until} -o jsonl");
        let watched = meshes.west.by("admin", &line)?;
        ensure!(watched.code == Some(0), "{line}: {}", watched.complaint);
        Ok(watched.output.lines().filter(|event| event.contains("registerId")).collect())
    };
    let changed = watch("--for 16s")?;
    ensure!(changed.is_empty(), "{changed}");
    ensure!(found()? == 3001, "{} are there", found()?);
    meshes.east("registers unadvertise r0007 r1234 r2999")?;
    let changed = watch(&format!("--max-events 3 --timeout {}s", PATIENCE.as_secs()))?;
    let told = |id: &str| changed.contains(&format!("\"{id}\""));
    ensure!(["r0007", "r1234", "r2999"].into_iter().all(told), "{changed}");
    count(2998)?;

    // Nobody answers for long: what was fetched ends with its time, and is back with them.
    meshes.east.daemon.signal("STOP")?;
    until(PATIENCE, || Ok((found()? == 0, "something is there".to_owned())))?;
    meshes.east.daemon.signal("CONT")?;
    count(2998)?;
    Ok(())
}
