//! Writers and watches on all daemons of a mesh, and what they must find afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::mesh::Mesh;
use super::watcher::Watcher;
use crate::process::api::Api;
use crate::process::until;

/// How long a writer waits before it repeats what was not acknowledged.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a writer rests between two changes.
const REST: Duration = Duration::from_millis(5);

/// A running load: each writer changes a label of a peer again and again, each time under a key of
/// its own, and repeats what was not acknowledged under the same key on the next daemon.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<BTreeSet<String>>>,
    silence: Silence,
    watchers: Vec<Watcher>,
}

/// When a change was acknowledged last, and the longest time until the next.
#[derive(Clone)]
struct Silence(Arc<Mutex<(Instant, Duration)>>);

impl Silence {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Duration::ZERO))))
    }

    fn is_over(&self) {
        let mut of = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *of = (Instant::now(), of.1.max(of.0.elapsed()));
    }

    fn longest(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// What a load has left.
pub(crate) struct Outcome {
    /// The reasons of all changes that were acknowledged.
    pub acknowledged: BTreeSet<String>,
    /// Those of them that are not in the registry.
    pub lost: Vec<String>,
    /// How many watches had a reset.
    pub resets: usize,
    /// How many changes all watches were told of together.
    pub told: usize,
    /// The longest time in which no change was acknowledged.
    pub silence: Duration,
}

impl Load {
    /// Starts writers and watches, spread over the daemons, and waits until every watch is up.
    pub(crate) async fn start(mesh: &Mesh, writers: usize, watches: usize) -> Result<Self> {
        let apis: Vec<Api> = mesh.nodes.iter().map(|node| node.api.clone()).collect();
        let from = |at: usize| {
            let mut apis = apis.clone();
            apis.rotate_left(at % mesh.nodes.len());
            apis
        };
        let watchers: Vec<_> = (0..watches).map(|at| Watcher::start(from(at), None)).collect();
        for watcher in &watchers {
            until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
        }
        let (stop, silence) = (Arc::new(AtomicBool::new(false)), Silence::new());
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let node = mesh.nodes[writer % mesh.nodes.len()].id().to_owned();
            tasks.spawn(write(from(writer), writer, node, stop.clone(), silence.clone()));
        }
        Ok(Self { stop, writers: tasks, silence, watchers })
    }

    /// How many changes the first watch was told of.
    pub(crate) fn progress(&self) -> usize {
        self.watchers.first().map_or(0, |watcher| watcher.seen().changes)
    }

    /// Waits for so many further changes.
    pub(crate) async fn goes_on(&self, changes: usize) -> Result<()> {
        let enough = self.progress() + changes;
        until("changes are made", async || Ok(self.progress() >= enough)).await
    }

    /// As [`Load::settle`], of a load in which no daemon was ended.
    ///
    /// # Errors
    /// Also when a watch was told that somebody is gone.
    pub(crate) async fn end(mut self, mesh: &Mesh) -> Result<Outcome> {
        let outcome = self.settle(mesh).await?;
        self.watchers.iter().try_for_each(Watcher::expect_nobody_gone)?;
        Ok(outcome)
    }

    /// Stops the writers, waits until all daemons and watches show the same, and compares.
    ///
    /// # Errors
    /// When a watch has a gap, daemons differ, or a change was made twice.
    pub(crate) async fn settle(&mut self, mesh: &Mesh) -> Result<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        let mut acknowledged = BTreeSet::new();
        while let Some(writer) = self.writers.join_next().await {
            acknowledged.extend(writer??);
        }
        mesh.until_whole().await?;
        for watcher in &self.watchers {
            mesh.until_shown(watcher).await?;
            watcher.expect_gapless()?;
        }
        let made = made(mesh.first()).await?;
        let twice: Vec<_> = made.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "made twice: {twice:?}");
        let lost = acknowledged.iter().filter(|reason| !made.contains_key(*reason)).cloned().collect();
        let seen: Vec<_> = self.watchers.iter().map(Watcher::seen).collect();
        let resets = seen.iter().filter(|seen| !seen.resets.is_empty()).count();
        let told = seen.iter().map(|seen| seen.changes).sum();
        Ok(Outcome { acknowledged, lost, resets, told, silence: self.silence.longest() })
    }
}

/// How often each change of the load is in the audit trail.
async fn made(daemon: &Api) -> Result<BTreeMap<String, usize>> {
    let mut made = BTreeMap::new();
    for record in daemon.audit().await? {
        if let Some(reason) = record["reason"].as_str().filter(|reason| reason.starts_with("load-")) {
            *made.entry(reason.to_owned()).or_default() += 1;
        }
    }
    Ok(made)
}

async fn write(
    daemons: Vec<Api>,
    writer: usize,
    node: String,
    stop: Arc<AtomicBool>,
    silence: Silence,
) -> Result<BTreeSet<String>> {
    let (mut acknowledged, mut at) = (BTreeSet::new(), 0);
    let label = format!("w{writer}");
    for number in 0.. {
        let reason = format!("load-{writer}-{number}");
        let body = json!({"set": {label.clone(): number.to_string()}, "overwrite": true, "reason": reason});
        loop {
            if stop.load(Ordering::SeqCst) {
                return Ok(acknowledged);
            }
            let daemon = daemons.iter().cycle().nth(at).context("no daemon")?;
            let path = format!("/control/peers/{node}/labels");
            let key = [("idempotency-key", reason.as_str())];
            let answer = daemon.change(&path, &body, &key).await.map_or(0, |answer| answer.status);
            ensure!(answer != 400, "the request itself is refused");
            if answer == 200 {
                acknowledged.insert(reason);
                silence.is_over();
                break;
            }
            at += 1;
            tokio::time::sleep(AGAIN).await;
        }
        tokio::time::sleep(REST).await;
    }
    Ok(acknowledged)
}
