//! Shards on a Redis that must have each step on a replica: a plan goes no further than what is certain to be there after a failover.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::daemons::mesh::{Mesh, Node};
use crate::process::until;
use crate::servers::{RedisServer, eventually};
use crate::shards::{made, until_empty};

const SHARDS: usize = 96;
/// Less than until the leader ends for want of confirmation.
const WATCHED: Duration = Duration::from_millis(1000);

async fn map_version(mesh: &Mesh) -> Result<u64> {
    let of = mesh.first().get("/control/namespaces/orders").await?.ok()?;
    Ok(of["detail"]["mapVersion"].as_str().context("no version")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_goes_no_further_than_what_a_replica_has() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let port = server.port().to_string();
    let replica =
        RedisServer::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])?;
    eventually("the replica follows", || Ok(replica.info("master_link_status")? == "up"))?;
    let settings = ["--set", "store.redis.leadersNeedReplicas=1"];
    let nodes = ["n1", "n2", "n3"].map(|id| Node::start(id, &server.url(), &settings));
    let mesh = Mesh { nodes: nodes.into_iter().collect::<Result<_>>()? };
    mesh.until_whole().await?;
    made(&mesh, SHARDS, &json!({"maxParallelMoves": 1, "moveIntervalMs": "0", "drainGraceMs": "0"})).await?;
    let version = map_version(&mesh).await?;
    mesh.first().post("/control/peers/n2:drain", &json!({})).await?.ok()?;
    until("shards move", async || Ok(map_version(&mesh).await? > version + 4)).await?;

    replica.pause()?;
    let at_once = map_version(&mesh).await?;
    tokio::time::sleep(WATCHED).await;
    let later = map_version(&mesh).await?;
    // The step that was being made, and one that is waited for.
    ensure!(later <= at_once + 2, "{at_once}, and {later} with a replica that has none of it");

    replica.resume()?;
    until_empty(&mesh.nodes[0], "n2").await?;
    let moved = map_version(&mesh).await?;
    ensure!(moved > later + 10, "there was more to do: {later}, {moved}");
    Ok(())
}
