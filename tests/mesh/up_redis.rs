//! `omnirelay up` on a Redis server.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::process::{PATIENCE, pause};
use crate::servers::{RedisServer, eventually};
use crate::up::{Mesh, hold_ports};

/// The addresses of the nodes, in their order.
fn addresses(mesh: &Mesh) -> Result<Vec<String>> {
    let context = mesh.json(&["context", "current", "-o", "json"])?;
    let addresses = context["addresses"].as_array().context("addresses")?.iter();
    addresses.map(|address| Ok(address.as_str().context("text")?.to_owned())).collect()
}

/// Cordons a node on one daemon, waits until another one shows it, and takes it back.
fn expect_shared(mesh: &Mesh, by: &str, seen_by: &str) -> Result<()> {
    for (verb, cordoned) in [("cordon", true), ("uncordon", false)] {
        mesh.run(&["--addr", by, "mesh", "peers", verb, "node-2"])?;
        eventually("the other node shows it", || {
            let peer = mesh.json(&["--addr", seen_by, "mesh", "peers", "get", "node-2", "-o", "json"])?;
            Ok((peer["peer"]["cordoned"] == true) == cordoned)
        })?;
    }
    Ok(())
}

fn names(mesh: &Mesh) -> Result<String> {
    mesh.run(&["mesh", "peers", "list", "-o", "name"])
}

#[test]
fn nodes_share_one_redis_whatever_becomes_of_one_of_them() -> Result<()> {
    let (server, mesh) = (RedisServer::start(&[])?, Mesh::new()?);
    let up = mesh.up_with(&["--store", &server.url()])?;
    let at = addresses(&mesh)?;
    expect_shared(&mesh, &at[0], &at[2])?;
    let before = names(&mesh)?;
    assert_eq!(before, "peer/node-1\npeer/node-2\npeer/node-3\n");

    let ports = hold_ports();
    mesh.run(&["dev", "kill", "node-3"])?;
    mesh.wait_for("node-3", "suspect")?;
    expect_shared(&mesh, &at[0], &at[1])?;
    mesh.run(&["dev", "resume", "node-3"])?;
    drop(ports);
    mesh.wait_for("node-3", "alive")?;
    mesh.run(&["dev", "pause", "node-1"])?;
    mesh.wait_for("node-1", "suspect")?;
    expect_shared(&mesh, &at[1], &at[2])?;
    mesh.run(&["--addr", &at[2], "dev", "resume", "node-1"])?;
    mesh.wait_for("node-1", "alive")?;
    expect_shared(&mesh, &at[2], &at[0])?;
    mesh.run(&["mesh", "peers", "cordon", "node-2", "--reason", "kept"])?;
    up.interrupt()?;
    eventually("no connection is left behind", || Ok(server.connections()? == 0))?;

    let again = mesh.up_with(&["--store", &server.url()])?;
    assert_eq!(names(&mesh)?, before);
    let peer = mesh.json(&["mesh", "peers", "get", "node-2", "-o", "json"])?;
    assert_eq!(peer["peer"]["cordonReason"], "kept");
    for node in ["node-1", "node-2", "node-3"] {
        mesh.wait_for(node, "alive")?;
    }
    again.interrupt()
}

/// Its registry outlives the process, and so does what opens the authority in it.
#[test]
fn a_mesh_on_redis_that_was_given_no_folder_comes_back() -> Result<()> {
    let (server, mesh) = (RedisServer::start(&[])?, Mesh::new()?);
    for time in ["first", "second"] {
        let up = mesh.up_without_folder(&["--secure", "--store", &server.url()]).context(time)?;
        assert_eq!(names(&mesh)?, "peer/node-1\npeer/node-2\npeer/node-3\n", "{time}");
        up.interrupt()?;
    }
    Ok(())
}

#[test]
fn nodes_that_wait_for_their_redis_say_so() -> Result<()> {
    let (mut server, mesh) = (RedisServer::start(&[])?, Mesh::new()?);
    server.kill()?;
    let said = || -> Result<Vec<String>> {
        let log = std::fs::read_to_string(mesh.path("up.log"))?;
        let is_it = |line: &&str| line.starts_with("warning: the nodes wait for their store");
        Ok(log.lines().filter(is_it).map(str::to_owned).collect())
    };
    let up = mesh.up_unready(&["--store", &server.url()])?;
    ensure!(!mesh.ready_file().exists(), "no node is ready");
    eventually("it says that it waits, and why", || {
        Ok(said()?.iter().any(|line| line.contains(&server.address()) && line.contains("refused")))
    })?;
    assert_eq!(said()?.len(), 1, "once: {:?}", said()?);
    up.interrupt()?;

    let up = mesh.up_unready(&["--store", &server.url()])?;
    server.restart()?;
    eventually("the ready file is there", || Ok(mesh.ready_file().exists()))?;
    let begun = Instant::now();
    while !mesh.status_of("node-3").is_ok_and(|status| status == "alive") {
        ensure!(begun.elapsed() < PATIENCE, "the nodes do not find their store");
        std::thread::sleep(pause(begun));
    }
    up.interrupt()
}

#[test]
fn two_clusters_with_a_redis_each_follow_the_first_and_end_together() -> Result<()> {
    let servers = [RedisServer::start(&[])?, RedisServer::start(&[])?];
    let urls = servers.each_ref().map(RedisServer::url);
    let mesh = Mesh::new()?;
    let clusters = ["--clusters", "2", "--nodes", "2", "--store", &urls[0], "--store", &urls[1]];
    for time in ["first", "second"] {
        let up = mesh.up_with(&clusters).context(time)?;
        let current = mesh.json(&["context", "current", "-o", "json"])?;
        ensure!(current["name"] == "dev-1", "{time}: {current}");
        let namespace = format!("of-the-{time}");
        mesh.run(&["mesh", "namespaces", "create", &namespace, "--shards", "4"])?;
        eventually("the second cluster has it", || {
            Ok(mesh
                .run(&["--context", "dev-2", "mesh", "namespaces", "list", "-o", "name"])?
                .contains(&namespace))
        })?;
        eventually("both say that the second could go on", || {
            let checked = |context: &str| {
                let output = mesh.omnirelay(&["--context", context, "mesh", "clusters", "check"]).output();
                output.map(|output| output.status.code() == Some(0))
            };
            Ok(checked("dev-1")? && checked("dev-2")?)
        })?;
        let status = mesh.json(&["up", "status", "-o", "json"])?;
        ensure!(status["meshes"].as_array().map(Vec::len) == Some(1), "{status}");
        match time {
            "first" => up.interrupt()?,
            // Killed, it takes them with it.
            _ => drop(up),
        }
        eventually("no connection is left behind", || {
            Ok(servers[0].connections()? + servers[1].connections()? == 0)
        })?;
    }
    Ok(())
}
