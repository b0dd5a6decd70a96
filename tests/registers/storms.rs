//! Much at once, and processes that die in the middle of it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::on_both;
use crate::servers::RedisServer;
use crate::world::{BRISK, Backing, Node, number, numbered, public};

/// How many registers a push brings or withdraws that is cut off.
const MANY: usize = 10_000;
/// How many were there before, or stay.
const OLD: usize = 100;
/// How often a push is cut off: on some machine one may be over before it can be.
const TRIED: usize = 10;
/// How often a flag is turned, of how many registers, and by how many callers at a time for each of them.
const FLIPS: usize = 1_000;
const REGISTERS: usize = 4;
const CALLERS: usize = 4;

on_both! {
    crash_in_the_middle_of_a_full_sync_leaves_a_superset
    crash_while_a_full_sync_removes_leaves_a_superset
    thousand_flips_end_in_the_right_state
}

async fn crash_in_the_middle_of_a_full_sync_leaves_a_superset(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "pool", &["registers.advertisementTtl=5m"])?;
    for tried in 0..TRIED {
        let (old, new) = (numbered(&format!("old{tried}"), OLD), numbered(&format!("new{tried}"), MANY));
        node.push(&public(&old), true).await?.ok()?;
        node.until_written().await?;
        let shown = cut_off(&mut node, &new, |total| total > OLD).await?;
        if shown.len() == OLD || shown.len() >= OLD + MANY || missing(&new, &shown).is_empty() {
            continue;
        }
        let lost = missing(&old, &shown);
        ensure!(lost.is_empty(), "what stays public until the end is gone: {lost:?}");
        let begun = node.push(&public(&new), true).await?.ok()?;
        let count = |field: &str| number(&begun[field]);
        ensure!(count("processed")? == MANY as u64 && count("removed")? == OLD as u64, "{begun}");
        ensure!(
            count("unchanged")? == (shown.len() - OLD) as u64,
            "what was there is not made again: {begun}"
        );
        ensure!(node.shown().await? == new);
        return Ok(());
    }
    bail!("no push could be cut off in {TRIED}")
}

/// What goes comes last: until it is all gone, readers see too much and never too little.
async fn crash_while_a_full_sync_removes_leaves_a_superset(backing: Backing) -> Result<()> {
    let mut node = Node::start(backing, "pool", &["registers.advertisementTtl=5m"])?;
    let kept = numbered("kept", OLD);
    for tried in 0..TRIED {
        let (old, new) = (numbered(&format!("old{tried}"), MANY), numbered(&format!("new{tried}"), OLD));
        node.push(&public(&[kept.clone(), old.clone()].concat()), true).await?.ok()?;
        node.until_written().await?;
        let wanted = [kept.clone(), new.clone()].concat();
        let shown = cut_off(&mut node, &wanted, |total| total < MANY).await?;
        let gone = missing(&old, &shown).len();
        if gone == 0 || gone == MANY {
            continue;
        }
        let lost = missing(&wanted, &shown);
        ensure!(lost.is_empty(), "what is public is gone: {lost:?}");
        ensure!(shown.len() == 2 * OLD + MANY - gone, "{} are there, {gone} are gone", shown.len());
        let ended = node.push(&public(&wanted), true).await?.ok()?;
        let count = |field: &str| number(&ended[field]);
        ensure!(count("removed")? == (MANY - gone) as u64, "{gone} were gone: {ended}");
        ensure!(count("unchanged")? == 2 * OLD as u64 && count("added")? == 0, "{ended}");
        ensure!(node.shown().await? == wanted);
        return Ok(());
    }
    bail!("no push could be cut off in {TRIED}")
}

/// Pushes all that is to be there, kills the daemon as soon as it is seen to have begun, and starts it again. Returns
/// what it shows then.
async fn cut_off(node: &mut Node, ids: &[String], begun: impl Fn(usize) -> bool) -> Result<Vec<String>> {
    let pushing = tokio::spawn({
        let api = node.api()?;
        let body = serde_json::json!({"advertisements": public(ids), "fullSync": true});
        async move { api.post("/api/registers/bulk-advertise", &body).await }
    });
    while !pushing.is_finished() && !begun(total(node).await?) {}
    node.kill()?;
    if let Ok(taken) = pushing.await? {
        taken.ok()?;
    }
    node.up()?;
    node.shown().await
}

/// Those of a list that are not in another, which is in order.
fn missing<'a>(ids: &'a [String], shown: &[String]) -> Vec<&'a String> {
    ids.iter().filter(|id| shown.binary_search(id).is_err()).collect()
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
    for (register, caller) in (0..REGISTERS).flat_map(|one| (0..CALLERS).map(move |other| (one, other))) {
        let api = node.api()?;
        callers.spawn(async move {
            for turn in 0..FLIPS / REGISTERS / CALLERS {
                let body = serde_json::json!({"isPublic": (turn + caller) % 2 == 0});
                api.post(&format!("/api/registers/{}/advertise", name(register)), &body).await?.ok()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(called) = callers.join_next().await {
        called??;
    }
    // Whoever was the last of them, all readers are told the same.
    let shown = node.shown().await?;
    told_everywhere(&mut node, other.as_ref(), &shown.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    // Then somebody has the last word.
    for register in 0..REGISTERS {
        node.advertise(&name(register), register % 2 == 0).await?.ok()?;
    }
    told_everywhere(&mut node, other.as_ref(), &["r0", "r2"]).await
}

/// Expects the same of a daemon, of another one on its store, and of what the store has kept.
async fn told_everywhere(node: &mut Node, other: Option<&Node>, shown: &[&str]) -> Result<()> {
    node.expect_shown(shown).await?;
    node.until_written().await?;
    node.restart()?;
    node.expect_shown(shown).await?;
    if let Some(other) = other {
        other.until_shown(shown).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        other.expect_shown(shown).await?;
    }
    Ok(())
}

fn name(register: usize) -> String {
    format!("r{register}")
}
