//! Much at once, and processes that die in the middle of it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::on_both;
use crate::process::until;
use crate::servers::RedisServer;
use crate::world::{BRISK, Backing, Node, number, numbered, public};

/// How many registers a push brings that is cut off.
const MANY: usize = 10_000;
/// How many were there before.
const OLD: usize = 100;
/// How often a flag is turned, and by how many callers at a time.
const FLIPS: usize = 1_000;
const CALLERS: usize = 4;

on_both! {
    crash_in_the_middle_of_a_full_sync_leaves_a_superset
    thousand_flips_end_in_the_right_state
}

async fn crash_in_the_middle_of_a_full_sync_leaves_a_superset(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "pool", &["registers.advertisementTtl=5m"])?;
    let (old, new) = (numbered("old", OLD), numbered("new", MANY));
    node.push(&public(&old), true).await?.ok()?;
    let pushing = tokio::spawn({
        let (api, items) = (node.api()?, public(&new));
        let body = serde_json::json!({"advertisements": items, "fullSync": true});
        async move { api.post("/api/registers/bulk-advertise", &body).await }
    });
    until("some of it is there", async || Ok(total(&node).await? > OLD + 500)).await?;
    node.kill()?;
    ensure!(pushing.await?.is_err(), "it was over before the end");
    node.up()?;
    let shown = node.shown().await?;
    ensure!(shown.len() > OLD && shown.len() < OLD + MANY, "{} are there", shown.len());
    let lost: Vec<_> = old.iter().filter(|id| shown.binary_search(id).is_err()).collect();
    ensure!(lost.is_empty(), "what stays public until the end is gone: {lost:?}");
    let begun = node.push(&public(&new), true).await?.ok()?;
    let count = |field: &str| number(&begun[field]);
    ensure!(count("processed")? == MANY as u64 && count("removed")? == OLD as u64, "{begun}");
    ensure!(count("unchanged")? == (shown.len() - OLD) as u64, "what was there is not made again: {begun}");
    ensure!(node.shown().await? == new);
    Ok(())
}

/// How many advertisements there are.
async fn total(node: &Node) -> Result<usize> {
    let list = node.api()?.get("/control/registers/available?pageSize=1").await?.ok()?;
    Ok(usize::try_from(number(&list["totalSize"])?)?)
}

async fn thousand_flips_end_in_the_right_state(backing: Backing) -> Result<()> {
    // The other daemon of the mesh; an embedded file has no other.
    let server = (backing == Backing::Redis).then(|| RedisServer::start(&[])).transpose()?;
    let mut node = match &server {
        Some(server) => Node::start_on(&server.url(), "pool", BRISK)?,
        None => Node::start(backing, "pool", BRISK)?,
    };
    let other = server.as_ref().map(|server| Node::start_on(&server.url(), "other", BRISK)).transpose()?;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let api = node.api()?;
        callers.spawn(async move {
            // Of each second caller the last word is to hide.
            for turn in 0..FLIPS / CALLERS + caller {
                let body = serde_json::json!({"isPublic": turn % 2 == 0});
                api.post(&format!("/api/registers/r{caller}/advertise"), &body).await?.ok()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(called) = callers.join_next().await {
        called??;
    }
    let shown: Vec<String> =
        (0..CALLERS).filter(|caller| (FLIPS / CALLERS + caller) % 2 == 1).map(name).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    ensure!(shown.len() == CALLERS / 2);
    node.expect_shown(&shown).await?;
    if let Some(other) = &other {
        other.until_shown(&shown).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        other.expect_shown(&shown).await?;
    }
    node.restart()?;
    node.expect_shown(&shown).await
}

fn name(caller: usize) -> String {
    format!("r{caller}")
}
