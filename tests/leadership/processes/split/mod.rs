//! A network split: the master, a Sentinel and the daemon that leads on one side, all others on the other.
//!
//! `OMNIRELAY_LEADERSHIP_ROUNDS` says how often: half of that, rounded up.

mod judge;
mod load;
mod world;

use omnirelay_wire::tls::nobody;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::run::rounds;
use crate::checker::in_words;
use crate::process::{until, within};
use crate::replay::kept;
use judge::{Judge, Verdict};
use load::{Load, Outcome};
use world::{Shown, World};

/// How long both sides go on once the larger one has its leaders: longer than a session lives.
const APART: Duration = Duration::from_secs(4);
/// How long the larger side may take to elect on a busy machine: the Sentinels, their failover, and a session.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);

/// What a split has left.
struct Aftermath {
    verdict: Verdict,
    load: Outcome,
    /// Who was cut off.
    cut_off: String,
    /// From the split to leaders of all scopes on the larger side.
    elected_ms: u128,
    /// What was shown at the end.
    shown: Shown,
}

/// Splits the network, and heals it.
async fn split(world: &World, round: usize) -> Result<Aftermath> {
    world.until_whole().await?;
    let before = world.shown(0).await?;
    let leader = &before["global-control"].0;
    let alone = world.members.iter().position(|member| member.id == *leader).context("nobody")?;
    let (master, sentinel) = (world.master(0)?, round % world.sentinels.len());
    let (judge, load) = (Judge::begin(world)?, Load::begin(world, &round.to_string()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cut_off =
        [world.servers[master].pid()?, world.sentinels[sentinel].pid()?, world.members[alone].daemon.pid()];
    world.net.cut_off(cut_off);
    let begun = Instant::now();
    // What it still leads, it may be told to give up: nobody on its side may have it after it.
    step_down(world, alone, "shard/orders/000").await;
    let others: Vec<usize> = (0..world.members.len()).filter(|at| *at != alone).collect();
    within(ELECTED_WITHIN, "the larger side has leaders", async || {
        let shown = world.shown(others[0]).await?;
        let led =
            |scope: &String| shown.get(scope).is_some_and(|(leader, _)| *leader != world.members[alone].id);
        ensure!(world.scopes.iter().all(led), "{shown:?}");
        Ok(true)
    })
    .await?;
    let elected_ms = begun.elapsed().as_millis();
    step_down(world, alone, "global-control").await;
    tokio::time::sleep(APART).await;
    world.net.heal();
    world.until_whole().await?;
    let shown = world.shown(0).await?;
    // Some looks at who leads by then.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let verdict = judge.end().await;
    let load = load.end(world).await?;
    Ok(Aftermath { verdict, load, cut_off: world.members[alone].id.clone(), elected_ms, shown })
}

/// Orders it of the side that is cut off, whatever it answers.
async fn step_down(world: &World, alone: usize, scope: &str) {
    let path = format!("/control/leaders/{scope}:stepDown");
    let _ = world.members[alone].api.post(&path, &json!({"reason": "split"})).await;
}

impl Aftermath {
    fn print(&self, round: usize) {
        let Self { verdict, load, cut_off, elected_ms, .. } = self;
        let sum = |of: &BTreeMap<String, usize>| of.values().sum::<usize>();
        println!(
            "split {round}: {cut_off} cut off; leaders elsewhere after {elected_ms} ms; {} ms beside each other; {} \
             tokens fell; {} acknowledged, {} lost, {} of them by {cut_off}",
            verdict.beside_ms(&[cut_off]),
            verdict.falls.len(),
            sum(&load.acknowledged),
            sum(&load.lost),
            load.lost[cut_off],
        );
    }

    /// The scopes whose leader at the end has a smaller token than one that was shown before.
    fn overtaken(&self) -> Vec<String> {
        let is_overtaken = |scope: &String, token: u64| {
            self.verdict.seen.iter().any(|seen| seen.scope == *scope && seen.token > token)
        };
        let overtaken = self.shown.iter().filter(|(scope, (_, token))| is_overtaken(scope, *token));
        overtaken.map(|(scope, _)| scope.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_split_behind_sentinels_never_has_two_leaders() -> Result<()> {
    for round in 0..rounds()?.div_ceil(2) {
        // Each with servers of its own: a trail that grows makes daemons slow that were built for tests.
        let world = World::start(None).await?;
        let aftermath = split(&world, round).await.with_context(|| world.logs())?;
        aftermath.print(round);
        let Verdict { doubles, falls, history, .. } = &aftermath.verdict;
        let what = || format!("{}\n{}\n{}", in_words(doubles), kept("split", history), world.logs());
        ensure!(doubles.is_empty(), "two leaders: {}", what());
        ensure!(falls.is_empty(), "a token fell: {:?} {}", falls.first(), what());
        ensure!(aftermath.overtaken().is_empty(), "{:?}: {}", aftermath.overtaken(), what());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_split_without_replicas_is_found_told_and_mended() -> Result<()> {
    let world = World::start(Some(0)).await?;
    let aftermath = split(&world, 0).await.with_context(|| world.logs())?;
    aftermath.print(0);
    let Verdict { doubles, falls, .. } = &aftermath.verdict;
    ensure!(!doubles.is_empty(), "the judge finds nothing: {}", world.logs());
    ensure!(!falls.is_empty(), "no token fell: {}", world.logs());
    let alone = world.members.iter().find(|member| member.id == aftermath.cut_off).context("nobody")?;
    let (greatest, scope) = (&aftermath.verdict.seen, "global-control");
    let greatest = greatest.iter().filter(|seen| seen.scope == scope).map(|seen| seen.token).max();
    until("the leader is elected anew, above every token", async || {
        let shown = world.shown(0).await?;
        Ok(shown.get(scope).is_some_and(|(_, token)| Some(*token) >= greatest))
    })
    .await
    .with_context(|| world.logs())?;
    let (ok, message) = alone.api.item("leaders-split").await?;
    ensure!(!ok && message.contains(scope), "{message}");
    until("the audit trail tells of it", async || {
        let trail = alone.api.audit().await?;
        Ok(trail.iter().any(|record| record["action"] == "leaders.split-seen"))
    })
    .await?;
    let metrics = reqwest::Client::builder()
        .tls_backend_preconfigured(nobody())
        .build()?
        .get(alone.daemon.url("/metrics"))
        .send()
        .await?
        .text()
        .await?;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("mesh_leadership_split_brain_total "));
    ensure!(counted.context("not counted")?.parse::<u64>()? > 0, "{counted:?}");
    Ok(())
}
