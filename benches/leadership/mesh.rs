//! A mesh of daemons on one store.

use omnirelay_wire::tls::nobody;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{Daemon, Place};

pub(crate) const SCOPE: &str = "global-control";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a daemon is asked whether it leads.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Daemons by their node ids.
pub(crate) struct Mesh {
    places: BTreeMap<String, Place>,
    daemons: BTreeMap<String, Daemon>,
    client: reqwest::Client,
}

impl Mesh {
    /// Starts `nodes` daemons with these arguments, and waits until one of them leads.
    pub(crate) async fn start(nodes: usize, arguments: &[&str]) -> Result<Self> {
        let mut mesh = Self {
            places: BTreeMap::new(),
            daemons: BTreeMap::new(),
            client: reqwest::Client::builder().tls_backend_preconfigured(nobody()).build()?,
        };
        for number in 1..=nodes {
            let node = format!("node-{number}");
            let all = [&["--node-id", node.as_str(), "--cluster", "bench"], arguments].concat();
            let place = Place::new(&all)?;
            mesh.daemons.insert(node.clone(), place.start()?);
            mesh.places.insert(node, place);
        }
        mesh.settle().await?;
        Ok(mesh)
    }

    /// Waits until all nodes are alive and one of them leads; returns which.
    pub(crate) async fn settle(&self) -> Result<String> {
        let begun = Instant::now();
        loop {
            let alive = self.count_alive().await.unwrap_or(0);
            if alive == self.places.len() {
                return self.acting().await;
            }
            ensure!(begun.elapsed() < PATIENCE, "only {alive} nodes are alive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count_alive(&self) -> Result<usize> {
        let (_, daemon) = self.daemons.first_key_value().context("no daemon")?;
        let answer = self.get(daemon, "/control/peers?status=alive").await?;
        Ok(answer["peers"].as_array().map_or(0, Vec::len))
    }

    /// The node whose own daemon says that it leads, once there is one.
    pub(crate) async fn acting(&self) -> Result<String> {
        Ok(self.acting_above(0).await?.0)
    }

    /// The same, with its token, once that is greater than `token`.
    pub(crate) async fn acting_above(&self, token: u64) -> Result<(String, u64)> {
        let begun = Instant::now();
        loop {
            for (node, daemon) in &self.daemons {
                let answer = self.get(daemon, &format!("/control/leaders/{SCOPE}")).await.unwrap_or_default();
                let shown = &answer["leadership"];
                let now = shown["fenceToken"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
                if shown["leaderId"] == node.as_str() && now > token {
                    return Ok((node.clone(), now));
                }
            }
            ensure!(begun.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Kills a node with SIGKILL; returns when.
    pub(crate) fn kill(&mut self, node: &str) -> Result<Instant> {
        let daemon = self.daemons.remove(node).context("no such node")?;
        let at = Instant::now();
        daemon.kill()?;
        Ok(at)
    }

    /// Starts a node again.
    pub(crate) fn restart(&mut self, node: &str) -> Result<()> {
        let place = self.places.get(node).context("no such node")?;
        self.daemons.insert(node.to_owned(), place.start()?);
        Ok(())
    }

    /// The nodes that run.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.daemons.keys().cloned().collect()
    }

    /// Has the leader hand over, and asks the new one's daemon until it says that it leads.
    pub(crate) async fn transfer(&self, to: &str) -> Result<Duration> {
        let (_, daemon) = self.daemons.first_key_value().context("no daemon")?;
        let begun = Instant::now();
        let path = format!("/control/leaders/{SCOPE}:transfer");
        let (status, answer) = daemon.post(&path, &json!({"to": to})).await?;
        ensure!(status == 200, "transfer: {status} {answer}");
        let acting = self.acting().await?;
        ensure!(acting == to, "{acting} leads, not {to}");
        Ok(begun.elapsed())
    }

    /// How many scopes are led, and by whom, as any daemon sees it.
    pub(crate) async fn led(&self) -> Result<BTreeMap<String, usize>> {
        let (_, daemon) = self.daemons.first_key_value().context("no daemon")?;
        let answer = self.get(daemon, "/control/leaders").await?;
        let mut led = BTreeMap::new();
        for token in answer["tokens"].as_array().into_iter().flatten() {
            *led.entry(token["leaderId"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        Ok(led)
    }

    /// Has one node lead all scopes, by draining the others for as long as that takes.
    pub(crate) async fn gather(&self, leader: &str, scopes: usize) -> Result<()> {
        let others: Vec<String> = self.nodes().into_iter().filter(|node| node != leader).collect();
        let daemon = self.daemons.get(leader).context("no such node")?;
        for node in &others {
            let (status, answer) = daemon.post(&format!("/control/peers/{node}:drain"), &json!({})).await?;
            ensure!(status == 200, "drain: {status} {answer}");
        }
        let begun = Instant::now();
        while self.led().await?.get(leader).copied().unwrap_or(0) < scopes {
            ensure!(begun.elapsed() < PATIENCE, "the others do not hand over");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for node in &others {
            let (status, answer) = daemon.post(&format!("/control/peers/{node}:undrain"), &json!({})).await?;
            ensure!(status == 200, "undrain: {status} {answer}");
        }
        Ok(())
    }

    /// How many scopes are led by others than `node`.
    pub(crate) async fn led_by_others(&self, node: &str) -> Result<usize> {
        Ok(self.led().await?.iter().filter(|(leader, _)| *leader != node).map(|(_, count)| count).sum())
    }

    /// A counter, added up over all daemons.
    pub(crate) async fn metric(&self, name: &str) -> Result<u64> {
        let mut sum = 0;
        for daemon in self.daemons.values() {
            let text = self.client.get(daemon.url("/metrics")).send().await?.text().await?;
            let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            sum += figure.context("no such metric")?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    async fn get(&self, daemon: &Daemon, path: &str) -> Result<Value> {
        let response = self.client.get(daemon.url(path)).send().await?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }
}
