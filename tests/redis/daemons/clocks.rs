//! Daemons whose clocks are wrong: the store's clock decides.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::mesh::{Mesh, Node};
use crate::process::Place;
use crate::process::until;
use crate::servers::RedisServer;

/// How long the daemons live side by side: longer than a session lives without a renewal.
const TOGETHER: Duration = Duration::from_secs(4);

fn start(id: &str, store: &str, shift: &str) -> Result<Node> {
    Node::start_in(Place::new(&["--node-id", id, "--store", store])?.with_clock(shift)?)
}

/// Since 1970.
fn minutes(time: &Value) -> Result<i64> {
    let text = time.as_str().context("no time")?;
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| anyhow!("{text}: {error}"))?;
    Ok(time.timestamp() / 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_whose_clocks_are_an_hour_off_are_of_the_mesh() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let nodes = vec![
        Node::start("n1", &server.url(), &[])?,
        start("n2", &server.url(), "+3600s")?,
        start("n3", &server.url(), "-3600s")?,
    ];
    let mesh = Mesh { nodes };
    mesh.until_whole().await?;
    let began = std::time::Instant::now();
    let mut versions = None;
    while began.elapsed() < TOGETHER {
        let peers = mesh.first().peers().await?;
        let now: Vec<_> = peers.iter().map(|peer| peer["version"].clone()).collect();
        ensure!(versions.get_or_insert_with(|| now.clone()) == &now, "somebody was judged: {peers:?}");
        mesh.expect_all_alive().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let shown = async |at: usize| mesh.nodes[at].api.get("/control/node").await?.ok();
    let (right, fast, slow) = (shown(0).await?, shown(1).await?, shown(2).await?);
    // Their own clocks are off, and the store's time is the same for all.
    let off = minutes(&fast["startedAt"])? - minutes(&right["startedAt"])?;
    ensure!((59..=61).contains(&off), "{off}: is the library of use?");
    for other in [&fast, &slow] {
        let apart = minutes(&other["storeTime"])? - minutes(&right["storeTime"])?;
        ensure!(apart.abs() <= 1, "{other} {right}");
    }
    for node in &mesh.nodes {
        node.api.cordon("n1", node.id()).await?.ok()?;
    }
    let audit = mesh.first().audit().await?;
    for record in audit.iter().filter(|record| record["action"] == "peers.cordon") {
        let apart = minutes(&record["time"])? - minutes(&right["storeTime"])?;
        ensure!(apart.abs() <= 1, "{record}");
    }
    // One that ends is missed by those whose clocks are off, and not before its time.
    let mut mesh = mesh;
    mesh.nodes.swap_remove(0).daemon.kill()?;
    until("it is missed", async || Ok(mesh.first().peer("n1").await?["status"] != "alive")).await
}
