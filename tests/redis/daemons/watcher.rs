//! A watch of the peers that goes on, on the next daemon, when it is cut off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::process::api::Api;

const AGAIN: Duration = Duration::from_millis(100);

/// A running watch; ended when it is dropped.
pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a watch has told, checked event by event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The cursor of the last event; `None` in a snapshot.
    pub last: Option<String>,
    /// Versions by node, as the events have them.
    pub peers: BTreeMap<String, String>,
    fresh: BTreeMap<String, String>,
    /// After a reset, until the snapshot is complete.
    pub in_snapshot: bool,
    /// `added`, `modified` and `removed`.
    pub changes: usize,
    pub resets: Vec<String>,
    /// Events that do not follow the one before.
    pub broken: Vec<String>,
    /// Events that say that somebody is gone.
    pub gone: Vec<String>,
    /// Every change as `word node cordonReason`.
    pub told: Vec<String>,
}

impl Watcher {
    /// Watches on the first daemon, then on the next ones in turn, behind `since` if it is given.
    pub(crate) fn start(daemons: Vec<Api>, since: Option<&str>) -> Self {
        let seen = Arc::new(Mutex::new(Seen { last: since.map(ToOwned::to_owned), ..Seen::default() }));
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                for daemon in daemons.iter().cycle() {
                    // How it ended does not matter, what it told is what is checked; but what one daemon gave another
                    // must take.
                    if let Err(error) = follow(daemon, &seen).await
                        && let Some(status) = status(&error).filter(StatusCode::is_client_error)
                    {
                        let mut seen = lock(&seen);
                        let refused = format!("{status} for {:?} at {}", seen.last, daemon.control);
                        seen.broken.push(refused);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
        Self { seen, task }
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Refuses a sequence with a gap.
    pub(crate) fn expect_gapless(&self) -> Result<()> {
        let seen = self.seen();
        ensure!(seen.broken.is_empty(), "gaps: {:#?}", seen.broken);
        Ok(())
    }

    /// Refuses a sequence in which somebody was taken for gone.
    pub(crate) fn expect_nobody_gone(&self) -> Result<()> {
        let gone = self.seen().gone;
        ensure!(gone.is_empty(), "taken for gone: {gone:#?}");
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn status(error: &anyhow::Error) -> Option<StatusCode> {
    error.downcast_ref::<reqwest::Error>()?.status()
}

async fn follow(daemon: &Api, seen: &Mutex<Seen>) -> Result<()> {
    let since = lock(seen).last.clone();
    let mut stream = daemon.watch(since.as_deref()).await?;
    let mut text = Vec::new();
    while let Some(bytes) = stream.chunk().await? {
        text.extend_from_slice(&bytes);
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            lock(seen).take(std::str::from_utf8(&event)?)?;
        }
    }
    bail!("the stream has ended")
}

impl Seen {
    fn take(&mut self, event: &str) -> Result<()> {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let (Some(word), Some(data)) = (field("event: "), field("data: ")) else { return Ok(()) };
        let data: Value = serde_json::from_str(data).context("no JSON")?;
        match word {
            "snapshot" => {
                let (node, version) = node_of(&data)?;
                self.fresh.insert(node, version);
            }
            "synced" => {
                self.peers = std::mem::take(&mut self.fresh);
                self.last = Some(text(&data["cursor"]));
                self.in_snapshot = false;
            }
            "added" | "modified" | "removed" | "progress" => self.step(word, &data)?,
            "reset" => {
                self.resets.push(text(&data["reason"]));
                self.fresh.clear();
                self.in_snapshot = true;
            }
            other => bail!("{other}: {data}"),
        }
        Ok(())
    }

    fn step(&mut self, word: &str, data: &Value) -> Result<()> {
        let previous = text(&data["prevCursor"]);
        if self.last.as_ref() != Some(&previous) {
            self.broken.push(format!("behind {:?} came {data}", self.last));
        }
        self.last = Some(text(&data["cursor"]));
        if word == "progress" {
            return Ok(());
        }
        self.changes += 1;
        if word == "removed" || matches!(text(&data["peer"]["status"]).as_str(), "suspect" | "dead" | "left")
        {
            self.gone.push(data.to_string());
        }
        let (node, version) = node_of(data)?;
        self.told.push(format!("{word} {node} {}", text(&data["peer"]["cordonReason"])));
        match word {
            "removed" => drop(self.peers.remove(&node)),
            _ => drop(self.peers.insert(node, version)),
        }
        Ok(())
    }
}

fn node_of(data: &Value) -> Result<(String, String)> {
    let peer = &data["peer"];
    ensure!(peer.is_object(), "no peer: {data}");
    Ok((text(&peer["nodeId"]), text(&peer["version"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
