//! Masters that die under a load, and what their replicas have not heard of.

use anyhow::{Result, ensure};

use super::load::{Load, Outcome};
use super::mesh::Mesh;
use super::watcher::Watcher;
use crate::process::until;
use crate::servers::{Sentinels, eventually};

const WRITERS: usize = 6;
const WATCHES: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_loses_nothing_in_silence() -> Result<()> {
    let mut group = Sentinels::start(1)?;
    let mesh = Mesh::start(&group.url(), 3).await?;
    let before = mesh.vitals()?;
    let load = Load::start(&mesh, WRITERS, WATCHES).await?;
    load.goes_on(100).await?;
    let old = group.kill_master()?;
    tokio::task::block_in_place(|| group.wait_for_failover(old))?;
    load.goes_on(50).await?;
    let Outcome { acknowledged, lost, resets, told, .. } = load.end(&mesh).await?;
    println!("{} acknowledged, {} lost, {told} told to {WATCHES}", acknowledged.len(), lost.len());
    ensure!(resets == WATCHES, "a new epoch is told to every watch: {resets}");
    for node in &mesh.nodes {
        let (_, message) = node.api.item("history").await?;
        ensure!(message.contains("the registry began epoch"), "{message}");
    }
    if !lost.is_empty() {
        let mut said = Vec::new();
        for node in &mesh.nodes {
            said.push(node.api.item("history").await?.1);
        }
        let is_said = said.iter().any(|message| message.contains("lost ("));
        ensure!(is_said, "{lost:?} were lost in silence: {said:?}");
    }
    // The server is another one, and the load of its own is not what is measured here.
    for (node, before) in mesh.nodes.iter().zip(&before) {
        before.expect_small(node)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_has_lost_is_said() -> Result<()> {
    let mut group = Sentinels::start(1)?;
    let mesh = Mesh::start(&group.url(), 3).await?;
    let watcher = Watcher::start(vec![mesh.nodes[2].api.clone()], None);
    until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
    mesh.first().cordon("n2", "kept").await?.ok()?;
    let (master, replica) = (group.announced()?, 1 - group.announced()?);
    let offset: u64 = group.servers[master].info("master_repl_offset")?.parse()?;
    eventually("the replica has it", || {
        Ok(group.servers[replica].info("slave_repl_offset")?.parse::<u64>()? >= offset)
    })?;
    // What is acknowledged from now on never leaves the master.
    group.servers[replica].pause()?;
    group.servers[master].cli::<i64>(&["CLIENT", "KILL", "TYPE", "replica"])?;
    for node in ["n1", "n2", "n3"] {
        mesh.first().cordon(node, "lost").await?.ok()?;
    }
    for node in &mesh.nodes {
        until("all is seen", async || Ok(node.api.peer("n3").await?["cordonReason"] == "lost")).await?;
    }
    group.kill_master()?;
    group.servers[replica].resume()?;
    tokio::task::block_in_place(|| group.wait_for_failover(master))?;

    until("the watch is told", async || Ok(watcher.seen().resets == ["epoch_changed"])).await?;
    mesh.until_whole().await?;
    for node in &mesh.nodes {
        until("each daemon restores its own", async || {
            let peers = node.api.peers().await?;
            Ok(peers.iter().all(|peer| peer["cordonReason"] == "lost"))
        })
        .await?;
        until("all of it is said to be restored", async || Ok(node.api.item("history").await?.0)).await?;
        let (_, message) = node.api.item("history").await?;
        ensure!(message.contains("were lost") || message.contains("was lost ("), "{message}");
    }
    until("the loss is recorded", async || Ok(epochs_recorded(&mesh).await? == 3)).await?;
    let audit = mesh.first().audit().await?;
    let of = |reason: &str| audit.iter().filter(|record| record["reason"] == reason).count();
    ensure!((of("kept"), of("lost")) == (1, 0), "the trail of what was lost is lost: {audit:?}");
    mesh.until_shown(&watcher).await?;
    watcher.expect_nobody_gone()?;
    watcher.expect_gapless()
}

/// How many audit records tell of a new epoch.
async fn epochs_recorded(mesh: &Mesh) -> Result<usize> {
    let audit = mesh.first().audit().await?;
    Ok(audit.iter().filter(|record| record["action"] == "registry.epoch-changed").count())
}
