//! Edge cases of the store: it is away, and comes back.
//!
//! The store of a node is a server here: the file of an embedded one is never away while its process runs, and a
//! process whose file is away does not start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::process::{until, within};
use crate::servers::RedisServer;
use crate::world::{BRISK, Node, by_id, number, public, pushing_to};

/// What is promised for services that are restarted in any order.
const CONVERGED: Duration = Duration::from_secs(120);
/// How often it is looked for an interruption.
const EVERY: Duration = Duration::from_millis(50);

mod redis {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn edge_store_away_at_start() -> Result<()> {
        let mut server = durable()?;
        server.kill()?;
        let mut pool = Node::begin_with(server, "pool", BRISK).await?;
        let mut catalogue = catalogue_for(&pool, durable()?)?;
        catalogue.create("r1", true).await?;
        catalogue.create("r2", true).await?;
        pool.until_shown(&["r1", "r2"]).await?;
        ensure!(pool.deferred().await? == 2);
        pool.server()?.restart()?;
        pool.until_written().await?;
        until_stored(&mut pool, 2).await?;
        catalogue.kill()?;
        pool.restart()?;
        pool.expect_shown(&["r1", "r2"]).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn edge_store_away_in_the_middle() -> Result<()> {
        let mut pool = Node::start_with(Some(durable()?), "pool", BRISK)?;
        let before = ["changed", "hidden", "kept", "removed", "withdrawn"];
        pool.push(&public(&before), false).await?.ok()?;
        pool.server()?.kill()?;
        let begun = Instant::now();
        for version in 1..=3 {
            let items = json!([{"registerId": "changed", "isPublic": true, "latestVersion": version}]);
            let taken = pool.push(&items, false).await?.ok()?;
            ensure!(taken["updated"] == 1 && taken["deferred"] == 1, "{taken}");
        }
        pool.push(&public(&["new"]), false).await?.ok()?;
        pool.advertise("hidden", false).await?.ok()?;
        pool.api()?.delete("/api/registers/withdrawn/advertise").await?.ok()?;
        let items = public(&["changed", "kept", "new"]);
        let taken = pool.push(&items, true).await?.ok()?;
        ensure!(taken["removed"] == 2, "`removed`, and `hidden`, which was there for itself: {taken}");
        // It serves what it was told, at once.
        pool.expect_shown(&["changed", "kept", "new"]).await?;
        ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        pool.server()?.restart()?;
        pool.until_written().await?;
        until_stored(&mut pool, 3).await?;
        let written = times_written(&mut pool, &["changed", "new", "kept"])?;
        // `changed` and `kept` were written once when the server was there, and `changed` once more.
        ensure!(written == [2, 1, 1], "{written:?}");
        pool.restart()?;
        pool.expect_shown(&["changed", "kept", "new"]).await?;
        let shown = by_id(&pool.available().await?);
        ensure!(number(&shown["changed"]["latestVersion"])? == 3, "{shown:?}");
        Ok(())
    }

    /// The server comes back empty: what the daemons know is written again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn edge_store_away_and_back() -> Result<()> {
        let mut pool = Node::start_with(Some(RedisServer::start(&[])?), "pool", BRISK)?;
        let mut catalogue = catalogue_for(&pool, RedisServer::start(&[])?)?;
        catalogue.create("r1", true).await?;
        catalogue.create("r2", true).await?;
        pool.until_shown(&["r1", "r2"]).await?;
        for node in [&mut pool, &mut catalogue] {
            node.server()?.kill()?;
            node.expect_shown(&["r1", "r2"]).await?;
            node.server()?.restart()?;
        }
        within(CONVERGED, "the catalogue is whole again", async || {
            Ok(catalogue.api()?.get("/control/registers").await?.ok()?["totalSize"] == 2)
        })
        .await?;
        catalogue.until_synced_again("local").await?;
        catalogue.until_synced_again(&pool.url()).await?;
        pool.expect_shown(&["r1", "r2"]).await?;
        catalogue.expect_shown(&["r1", "r2"]).await?;
        until_stored(&mut pool, 2).await?;
        catalogue.kill()?;
        pool.restart()?;
        pool.expect_shown(&["r1", "r2"]).await
    }

    /// All is deleted while the daemons are connected: each node restores what is its own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn edge_store_is_emptied_while_daemons_run() -> Result<()> {
        let server = durable()?;
        let mut owner = Node::start_on(&server.url(), "owner", BRISK)?;
        let mut other = Node::start_on(&server.url(), "other", BRISK)?;
        owner.create("r1", true).await?;
        owner.create("private", false).await?;
        other.create("theirs", true).await?;
        for node in [&owner, &other] {
            node.until_shown(&["r1", "theirs"]).await?;
        }
        let () = server.cli(&["FLUSHALL"])?;
        until("the store is whole again", async || {
            Ok(stored(&server, "register")? == 3 && stored(&server, "advertisement")? == 2)
        })
        .await?;
        // What is new is taken as ever.
        owner.create("r2", true).await?;
        other.until_shown(&["r1", "r2", "theirs"]).await?;
        for node in [&mut owner, &mut other] {
            node.restart()?;
            node.expect_shown(&["r1", "r2", "theirs"]).await?;
        }
        let listed = owner.api()?.get("/control/registers").await?.ok()?;
        let registers = by_id(listed["registers"].as_array().context("no list")?);
        ensure!(registers.keys().eq(["private", "r1", "r2"]), "{listed}");
        ensure!(
            registers["r1"]["name"] == "Register r1" && registers["private"]["advertise"] != true,
            "{listed}"
        );
        Ok(())
    }

    /// A server that hangs is no reason to hide what is true.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn edge_store_hangs_for_longer_than_a_ttl() -> Result<()> {
        let server = durable()?;
        let settings = ["registers.resyncInterval=1s", "registers.advertisementTtl=4s"];
        let owner = Node::start_on(&server.url(), "owner", &settings)?;
        let other = Node::start_on(&server.url(), "other", &settings)?;
        owner.create("mine", true).await?;
        other.until_shown(&["mine"]).await?;
        server.pause()?;
        let paused = Instant::now();
        while paused.elapsed() < Duration::from_secs(10) {
            owner.expect_shown(&["mine"]).await?;
            tokio::time::sleep(EVERY).await;
        }
        server.resume()?;
        let resumed = Instant::now();
        while other.shown().await? != ["mine"] || stored(&server, "advertisement")? != 1 {
            ensure!(resumed.elapsed() < Duration::from_secs(10), "the other one does not show it");
            owner.expect_shown(&["mine"]).await?;
            tokio::time::sleep(EVERY).await;
        }
        // It is refreshed again, for both.
        while resumed.elapsed() < Duration::from_secs(12) {
            owner.expect_shown(&["mine"]).await?;
            tokio::time::sleep(EVERY).await;
        }
        other.expect_shown(&["mine"]).await
    }
}

/// A server that keeps what it is told through a `kill -9`.
fn durable() -> Result<RedisServer> {
    RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])
}

fn catalogue_for(pool: &Node, server: RedisServer) -> Result<Node> {
    let peers = pushing_to(&[&pool.url()]);
    Node::start_with(Some(server), "catalogue", &[BRISK, &[&peers]].concat())
}

/// Waits until the server of a node holds so many advertisements.
async fn until_stored(node: &mut Node, count: usize) -> Result<()> {
    let server = node.server()?;
    until("they are stored", async || Ok(stored(server, "advertisement")? == count)).await
}

/// How many records of a kind a server holds; the traces of deleted ones begin with a 1.
fn stored(server: &RedisServer, kind: &str) -> Result<usize> {
    let keys: Vec<String> = server.cli(&["KEYS", &format!("*:records:{kind}")])?;
    let rows: Vec<Vec<u8>> = server.cli(&["HVALS", keys.first().context("there are none")?])?;
    Ok(rows.iter().filter(|row| row.first() != Some(&1)).count())
}

/// How many entries the log of the server has that write these registers.
fn times_written(node: &mut Node, ids: &[&str]) -> Result<Vec<usize>> {
    let keys: Vec<String> = node.server()?.cli(&["KEYS", "*:log"])?;
    let log = keys.first().context("there is no log")?;
    let entries: Vec<(String, Vec<Vec<u8>>)> = node.server()?.cli(&["XRANGE", log, "-", "+"])?;
    let writes = |id: &str| {
        let key = format!("pool/{id}/http:").into_bytes();
        let names = |fields: &Vec<Vec<u8>>| {
            fields.iter().any(|field| field.windows(key.len()).any(|part| part == key))
        };
        entries.iter().filter(|(_, fields)| names(fields)).count()
    };
    Ok(ids.iter().map(|id| writes(id)).collect())
}
