//! Several daemons are one mesh: what one does, all know.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::mesh::{Mesh, Node};
use super::watcher::Watcher;
use crate::process::api::Api;
use crate::process::until;
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};

/// Changes that two daemons race for: clients, and changes of each.
const CLIENTS: usize = 8;
const CHANGES: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_daemons_are_one_mesh() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 3).await?;
    let [one, two, three] = [0, 1, 2].map(|at| mesh.nodes[at].api.clone());
    for daemon in [&one, &two, &three] {
        let ids: Vec<_> = daemon.peers().await?.iter().map(|peer| peer["nodeId"].clone()).collect();
        ensure!(ids == ["n1", "n2", "n3"], "{ids:?}");
    }
    reads_of_ones_own_writes(&one, &two).await?;
    seen_by_all(&one, &[&two, &three]).await?;
    replayed_on_another(&two, &three).await?;
    watch_goes_on_on_another(&one, &two, &three).await?;
    // One for commands and one that waits for the log, of each daemon.
    until("no connection is left behind", async || Ok(server.connections()? <= 6)).await
}

/// A read with `minRevision` finds what was written on another daemon, every time.
async fn reads_of_ones_own_writes(writer: &Api, reader: &Api) -> Result<()> {
    for round in 0..20 {
        let reason = format!("round {round}");
        let change = writer.cordon("n3", &reason).await?.ok()?;
        let cursor = change["cursor"].as_str().context("no cursor")?;
        let read = reader.get(&format!("/control/peers/n3?minRevision={cursor}")).await?.ok()?;
        ensure!(read["peer"]["cordonReason"] == reason.as_str(), "{read}");
    }
    Ok(())
}

async fn seen_by_all(writer: &Api, readers: &[&Api]) -> Result<()> {
    writer.cordon("n2", "seen").await?.ok()?;
    for reader in readers {
        until("it is seen", async || Ok(reader.peer("n2").await?["cordonReason"] == "seen")).await?;
    }
    Ok(())
}

async fn replayed_on_another(first: &Api, second: &Api) -> Result<()> {
    let (path, body) = ("/control/peers/n1:cordon", json!({"reason": "once"}));
    let key = [("idempotency-key", "a-key")];
    let done = first.change(path, &body, &key).await?.ok()?;
    let again = second.change(path, &body, &key).await?.ok()?;
    ensure!(done["cursor"] == again["cursor"] && again["changed"] == true, "{done} {again}");
    let other = second.change(path, &json!({"reason": "twice"}), &key).await?;
    ensure!(other.reason() == "IDEMPOTENCY_KEY_REUSED", "{other:?}");
    ensure!(times_recorded(second, "once").await? == 1);
    Ok(())
}

/// A watch that is cut off gets exactly what it missed from another daemon.
async fn watch_goes_on_on_another(writer: &Api, first: &Api, second: &Api) -> Result<()> {
    let watcher = Watcher::start(vec![first.clone()], None);
    until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
    writer.cordon("n1", "heard").await?.ok()?;
    until("it is told", async || Ok(watcher.seen().changes == 1)).await?;
    let last = watcher.seen().last;
    drop(watcher);
    for number in 0..5 {
        writer.cordon("n1", &format!("missed {number}")).await?.ok()?;
    }
    let watcher = Watcher::start(vec![second.clone()], last.as_deref());
    until("all is told", async || Ok(watcher.seen().changes >= 5)).await?;
    let expected: Vec<_> = (0..5).map(|number| format!("modified n1 missed {number}")).collect();
    ensure!(watcher.seen().told == expected, "{:?}", watcher.seen().told);
    ensure!(watcher.seen().resets.is_empty());
    watcher.expect_gapless()
}

/// How many audit records have this reason: each change that was made has one.
async fn times_recorded(daemon: &Api, reason: &str) -> Result<usize> {
    Ok(daemon.audit().await?.iter().filter(|record| record["reason"] == reason).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_means_one_change() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let proxy = Proxy::before(&server.address()).await?;
    let mesh = Mesh { nodes: vec![Node::start("n1", &proxy.url(), &[])?] };
    mesh.until_whole().await?;
    // Only commits of mutations name the reason, and only to the commit script.
    proxy.set(Wire::LosesAnswerTo(b"lost-with-a-key"));
    let key = [("idempotency-key", "k")];
    let body = json!({"reason": "lost-with-a-key"});
    let begun = tokio::spawn({
        let (api, body) = (mesh.first().clone(), body.clone());
        async move { api.change("/control/peers/n1:cordon", &body, &key).await }
    });
    until("an answer is lost", async || Ok(proxy.lost() > 0)).await?;
    proxy.set(Wire::Whole);
    let mut answer = begun.await??;
    if answer.status != 200 {
        ensure!(answer.reason() == "OUTCOME_UNKNOWN", "{answer:?}");
        answer = mesh.first().change("/control/peers/n1:cordon", &body, &key).await?;
    }
    ensure!(answer.clone().ok()?["changed"] == true, "{answer:?}");
    ensure!(times_recorded(mesh.first(), "lost-with-a-key").await? == 1);
    // The next one is about what this one has made: otherwise the answer that is lost is a refusal.
    until("it is seen", async || Ok(mesh.first().peer("n1").await?["cordonReason"] == "lost-with-a-key"))
        .await?;

    proxy.set(Wire::LosesAnswerTo(b"lost-without-a-key"));
    let unknown = mesh.first().cordon("n1", "lost-without-a-key").await?;
    ensure!(unknown.reason() == "OUTCOME_UNKNOWN", "{unknown:?}");
    proxy.set(Wire::Whole);
    until("it was made once", async || Ok(times_recorded(mesh.first(), "lost-without-a-key").await? == 1))
        .await?;
    mesh.until_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_race_lose_and_double_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 2).await?;
    let watcher = Watcher::start(vec![mesh.nodes[1].api.clone()], None);
    until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
    let first = version(&mesh.first().peer("n1").await?)?;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(race(mesh.nodes[client % 2].api.clone(), client));
    }
    let mut versions = Vec::new();
    while let Some(won) = clients.join_next().await {
        versions.extend(won??);
    }
    versions.sort_unstable();
    let expected: Vec<u64> = (first + 1..).take(CLIENTS * CHANGES).collect();
    ensure!(versions == expected, "each success is one step: {versions:?}");
    let last = first + (CLIENTS * CHANGES) as u64;
    for node in &mesh.nodes {
        until("the last version is seen", async || Ok(version(&node.api.peer("n1").await?)? == last)).await?;
    }
    until("all is told", async || Ok(watcher.seen().changes >= CLIENTS * CHANGES)).await?;
    ensure!(watcher.seen().changes == CLIENTS * CHANGES);
    watcher.expect_gapless()?;
    let recorded = mesh.first().audit().await?.iter().filter(|record| record["reason"] == "race").count();
    ensure!(recorded == CLIENTS * CHANGES, "{recorded} audit records");
    Ok(())
}

fn version(peer: &Value) -> Result<u64> {
    Ok(peer["version"].as_str().context("no version")?.parse()?)
}

/// Changes a label as often as it takes to win so many times; returns the versions that were made.
async fn race(api: Api, client: usize) -> Result<Vec<u64>> {
    let mut won = Vec::new();
    while won.len() < CHANGES {
        let seen = format!("\"{}\"", version(&api.peer("n1").await?)?);
        let label = format!("{client}-{}", won.len());
        let body = json!({"set": {"race": label}, "overwrite": true, "reason": "race"});
        let answer = api.change("/control/peers/n1/labels", &body, &[("if-match", &seen)]).await?;
        match answer.status {
            200 => won.push(version(&answer.body["peer"])?),
            412 => {}
            _ => anyhow::bail!("{answer:?}"),
        }
    }
    Ok(won)
}
