//! How long one scope is without a leader that acts.

use omnirelay_wire::tls::nobody;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use crate::figures::Figures;
use crate::mesh::{Mesh, SCOPE};
use crate::process::clean;
use crate::servers::{RedisServer, Sentinels};

const NODES: usize = 3;
/// Each write is synced before it is answered, as those are to whom the figures are compared.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// Sessions are renewed so often: a crash meets any moment between two renewals.
const RENEW_EVERY_MS: u64 = 500;

/// Something between two renewals, another in each round.
async fn any_moment(round: usize) {
    tokio::time::sleep(Duration::from_millis(xxh64(&round.to_le_bytes(), 0) % RENEW_EVERY_MS)).await;
}

/// From `kill -9` of the leader to another daemon that says of itself that it leads.
pub(crate) async fn on_redis(rounds: usize) -> Result<Figures> {
    let server = RedisServer::start(&DURABLE)?;
    let mut mesh = Mesh::start(NODES, &["--store", &server.url()]).await?;
    let mut figures = Figures::default();
    for round in 0..rounds {
        let leader = mesh.settle().await?;
        any_moment(round).await;
        let at = mesh.kill(&leader)?;
        mesh.acting().await?;
        figures.push(at.elapsed());
        mesh.restart(&leader)?;
    }
    Ok(figures)
}

/// The same for a node of `omnirelay up`, from the order to kill it.
pub(crate) async fn on_embedded(rounds: usize) -> Result<Figures> {
    let home = tempfile::tempdir()?;
    let ready = home.path().join("ready.json");
    let child = clean(env!("CARGO_BIN_EXE_omnirelay"))
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .args(["up", "--nodes", "3", "--data"])
        .arg(home.path().join("mesh"))
        .arg("--ready-file")
        .arg(&ready)
        .spawn()?;
    let mut up = Up {
        child,
        controls: Vec::new(),
        client: reqwest::Client::builder().tls_backend_preconfigured(nobody()).build()?,
    };
    let begun = Instant::now();
    while up.controls.is_empty() {
        ensure!(begun.elapsed() < Duration::from_secs(30), "`omnirelay up` is not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Ok(text) = std::fs::read_to_string(&ready) else { continue };
        let told: Value = serde_json::from_str(&text)?;
        let text = |node: &Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
        let nodes = told["nodes"].as_array().cloned().unwrap_or_default();
        up.controls = nodes.iter().map(|node| (text(node, "nodeId"), text(node, "control"))).collect();
    }
    let mut figures = Figures::default();
    for round in 0..rounds {
        let leader = up.acting("").await?;
        any_moment(round).await;
        let at = Instant::now();
        up.decree(&leader, "kill").await?;
        up.acting(&leader).await?;
        figures.push(at.elapsed());
        up.decree(&leader, "resume").await?;
        up.wait_alive().await?;
    }
    Ok(figures)
}

/// `omnirelay up`, ended when it is dropped.
struct Up {
    child: std::process::Child,
    controls: Vec<(String, String)>,
    client: reqwest::Client,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Up {
    async fn get(&self, control: &str, path: &str) -> Result<Value> {
        let response = self.client.get(format!("http://{control}{path}"));
        let response = response.timeout(Duration::from_secs(1)).send().await?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    async fn acting(&self, except: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            for (node, control) in self.controls.iter().filter(|(node, _)| node != except) {
                let answer =
                    self.get(control, &format!("/control/leaders/{SCOPE}")).await.unwrap_or_default();
                if answer["leadership"]["leaderId"] == node.as_str() {
                    return Ok(node.clone());
                }
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "nobody leads");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn decree(&self, node: &str, what: &str) -> Result<()> {
        let (_, control) = self.controls.iter().find(|(known, _)| known != node).context("no other node")?;
        let response = self
            .client
            .post(format!("http://{control}/control/dev/nodes/{node}:{what}"))
            .header("content-type", "application/json")
            .body("{}")
            .send()
            .await?;
        ensure!(response.status().is_success(), "{what} {node}: {}", response.text().await?);
        Ok(())
    }

    async fn wait_alive(&self) -> Result<()> {
        let begun = Instant::now();
        let (_, control) = self.controls.first().context("no node")?;
        loop {
            let answer = self.get(control, "/control/peers?status=alive").await.unwrap_or_default();
            if answer["peers"].as_array().is_some_and(|alive| alive.len() == self.controls.len()) {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "not all nodes are alive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// From the call to the new leader's daemon saying that it leads.
pub(crate) async fn transfers(rounds: usize) -> Result<Figures> {
    let server = RedisServer::start(&DURABLE)?;
    let mesh = Mesh::start(NODES, &["--store", &server.url()]).await?;
    transfers_in(&mesh, rounds).await
}

async fn transfers_in(mesh: &Mesh, rounds: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 0..rounds {
        let leader = mesh.acting().await?;
        let others: Vec<String> = mesh.nodes().into_iter().filter(|node| *node != leader).collect();
        let to = others.get(round % others.len()).context("no other node")?;
        any_moment(round).await;
        figures.push(mesh.transfer(to).await?);
    }
    Ok(figures)
}

/// From Sentinel's announcement of a new master to a daemon that says of itself that it leads.
pub(crate) async fn by_sentinel(rounds: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for _ in 0..rounds {
        let mut sentinels = Sentinels::start(1)?;
        let mesh = Mesh::start(NODES, &["--store", &sentinels.url()]).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (_, token) = mesh.acting_above(0).await?;
        let before = sentinels.kill_master()?;
        let failed_over = move || sentinels.wait_for_failover(before).map(|_| sentinels);
        let _kept = tokio::task::spawn_blocking(failed_over).await??;
        let announced = Instant::now();
        // The lease of the registry's life before is none of the new one's.
        mesh.acting_above(token).await?;
        figures.push(announced.elapsed());
    }
    Ok(figures)
}

/// Crash and hand-over as `benches/peers/compare` reads them.
pub(crate) async fn compared(rounds: usize) -> Result<()> {
    println!("system,case,rounds,median_ms,p99_ms,worst_ms");
    println!("{}", on_redis(rounds).await?.csv("crash-failover"));
    println!("{}", transfers(rounds).await?.csv("hand-over"));
    Ok(())
}
