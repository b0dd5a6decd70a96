//! Servers that die and come back, with their data or without.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::mesh::{Mesh, Node};
use super::watcher::Watcher;
use crate::process::until;
use crate::servers::RedisServer;

/// What a test does to the registry.
type Blow = fn(&mut RedisServer) -> Result<()>;

fn die_and_come_back(server: &mut RedisServer) -> Result<()> {
    server.kill()?;
    server.restart()
}

fn flush(server: &mut RedisServer) -> Result<()> {
    server.cli(&["FLUSHALL"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_its_data_has_lost_nothing() -> Result<()> {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let mesh = Mesh::start(&server.url(), 2).await?;
    for number in 0..10 {
        mesh.first().cordon("n2", &format!("kept {number}")).await?.ok()?;
    }
    let (watcher, before) = (watched(&mesh).await?, mesh.vitals()?);
    die_and_come_back(&mut server)?;
    until_new_epoch(&mesh, &watcher).await?;
    for node in &mesh.nodes {
        let peer = node.api.peer("n2").await?;
        ensure!(peer["cordonReason"] == "kept 9", "{peer}");
        let (ok, message) = node.api.item("history").await?;
        ensure!(ok && message.contains("nothing was lost"), "{message}");
    }
    let kept = mesh.first().audit().await?;
    let kept = kept.iter().filter(|record| record["reason"].as_str().is_some_and(|r| r.starts_with("kept")));
    ensure!(kept.count() == 10);
    mesh.expect_calm(&before)?;
    watcher.expect_nobody_gone()?;
    watcher.expect_gapless()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_gets_back_what_the_daemons_own() -> Result<()> {
    registry_is_emptied(die_and_come_back).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_server_gets_back_what_the_daemons_own() -> Result<()> {
    registry_is_emptied(flush).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_keeps_what_was_ordered_of_a_daemon_that_was_down() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let mut mesh = Mesh::start(&server.url(), 3).await?;
    mesh.first().cordon("n3", "disk").await?.ok()?;
    mesh.first().post("/control/peers/n3:drain", &json!({"reason": "disk"})).await?.ok()?;
    mesh.first().patch("/control/peers/n3/labels", &json!({"set": {"tier": "gold"}})).await?.ok()?;
    mesh.nodes[2]
        .api
        .post("/control/registers", &json!({"registerId": "ledger", "labels": {"kind": "books"}}))
        .await?
        .ok()?;
    let Node { place, daemon, .. } = mesh.nodes.pop().context("no third daemon")?;
    daemon.signal("TERM")?;
    ensure!(daemon.wait()?.success());
    let hosts = async |node: &Node| {
        let listed = node.api.get("/control/registers?nodeId=n3").await?.ok()?;
        Ok::<_, anyhow::Error>(listed.to_string().contains(r#""kind":"books""#))
    };
    for node in &mesh.nodes {
        until("it is seen", async || {
            let peer = node.api.peer("n3").await?;
            Ok(peer["status"] == "left"
                && peer["metadata"]["labels"]["tier"] == "gold"
                && hosts(node).await?)
        })
        .await?;
    }
    flush(&mut server)?;
    until("what the node owns is said to be missing", async || {
        let (ok, message) = mesh.first().item("lost-records").await?;
        Ok(!ok && message.contains("register"))
    })
    .await?;
    mesh.nodes.push(Node::start_in(place)?);
    for node in &mesh.nodes {
        until("it is as it was ordered to be", async || {
            let peer = node.api.peer("n3").await?;
            let is_held = peer["cordonReason"] == "disk" && peer["draining"] == true;
            Ok(is_held && peer["metadata"]["labels"]["tier"] == "gold" && hosts(node).await?)
        })
        .await?;
    }
    for node in &mesh.nodes[..2] {
        until("all of it is said to be restored", async || {
            let (ok, message) = node.api.item("history").await?;
            ensure!(ok, "{message}");
            Ok(message.contains("3 peer, 1 register"))
        })
        .await?;
    }
    Ok(())
}

async fn registry_is_emptied(blow: Blow) -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 3).await?;
    mesh.first().cordon("n2", "disk").await?.ok()?;
    for node in &mesh.nodes {
        until("it is seen", async || Ok(node.api.peer("n2").await?["cordonReason"] == "disk")).await?;
    }
    for node in &mesh.nodes {
        // What is not there yet is not lost either.
        until("somebody leads", async || {
            let leaders = node.api.get("/control/leaders").await?.body.to_string();
            Ok(leaders.contains(r#""leaderId":"n"#))
        })
        .await?;
    }
    let (watcher, before) = (watched(&mesh).await?, mesh.vitals()?);
    blow(&mut server)?;
    until_new_epoch(&mesh, &watcher).await?;
    for node in &mesh.nodes {
        until("its cordon is restored", async || Ok(node.api.peer("n2").await?["cordonReason"] == "disk"))
            .await?;
        until("all of it is said to be restored", async || Ok(node.api.item("history").await?.0)).await?;
        let (_, message) = node.api.item("history").await?;
        ensure!(message.contains("4 records were lost (1 leadership, 3 peer), 4 restored"), "{message}");
    }
    until("the loss is recorded", async || {
        let records = mesh.first().audit().await?;
        let told = |record: &&serde_json::Value| record["action"] == "registry.epoch-changed";
        Ok(records.iter().filter(told).count() == mesh.nodes.len())
    })
    .await?;
    mesh.expect_calm(&before)?;
    watcher.expect_nobody_gone()?;
    watcher.expect_gapless()?;
    // One for commands and one that waits for the log, of each daemon.
    until("no connection is left behind", async || Ok(server.connections()? <= 6)).await
}

async fn watched(mesh: &Mesh) -> Result<Watcher> {
    let watcher = Watcher::start(vec![mesh.nodes[1].api.clone()], None);
    until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
    Ok(watcher)
}

/// Waits until the mesh is whole in a new epoch, of which a watch was told by a reset, and the
/// watch has what is read.
async fn until_new_epoch(mesh: &Mesh, watcher: &Watcher) -> Result<()> {
    until("the watch is told", async || Ok(watcher.seen().resets == ["epoch_changed"])).await?;
    mesh.until_whole().await?;
    for node in &mesh.nodes {
        until("the new epoch is told", async || {
            Ok(node.api.item("history").await?.1.contains("the registry began epoch"))
        })
        .await?;
    }
    mesh.until_shown(watcher).await
}
