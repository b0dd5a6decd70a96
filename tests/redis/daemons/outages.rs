//! Servers that are down, slow, still or silent: nothing is lost, and nobody is taken for gone.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::join_all;

use super::mesh::{Mesh, Node};
use super::watcher::Watcher;
use crate::process::until;
use crate::servers::RedisServer;
use crate::servers::proxy::{Proxy, Wire};

/// How long a server stalls once that is noticed, which takes a second: longer than a session lives.
const STALL: Duration = Duration::from_secs(4);
/// How many callers want to change something meanwhile.
const MUTATIONS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_starts_without_its_store_and_waits_for_it() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    server.kill()?;
    let node = Node::start_unready("n1", &server.url())?;
    until("it knows that its store is away", async || Ok(!node.api.item("store").await?.0)).await?;
    let (ok, message) = node.api.item("store").await?;
    ensure!(!ok && message.contains("has never answered"), "{message}");
    ensure!(!node.api.is_ready().await?);
    ensure!(node.place.log().contains("store out of reach"), "{}", node.place.log());
    let shown = node.api.get("/control/node").await?.ok()?;
    ensure!(shown["stale"] == true && shown["ready"] == false, "{shown}");
    // An empty list would say that there is no peer.
    let refused = node.api.get("/control/peers").await?;
    ensure!(refused.status == 503 && refused.reason() == "STORE_UNAVAILABLE", "{refused:?}");
    let refused = node.api.cordon("n1", "too early").await?;
    ensure!(refused.status == 503 && refused.reason() == "STORE_UNAVAILABLE", "{refused:?}");
    ensure!(!node.place.ready_file().exists(), "it is not ready");
    server.restart()?;
    let file = node.place.ready_file();
    until("the ready file is there", async || Ok(file.exists())).await?;
    ensure!(node.api.is_ready().await?, "before the file is");
    let mesh = Mesh { nodes: vec![node] };
    mesh.until_whole().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_file_that_cannot_be_written_later_ends_no_daemon() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    server.kill()?;
    let node = Node::start_unready("n1", &server.url())?;
    // Nothing takes the place of a folder.
    std::fs::create_dir(node.place.ready_file())?;
    server.restart()?;
    until("it says so", async || Ok(node.place.log().contains("ready file not written"))).await?;
    ensure!(node.api.is_ready().await?);
    ensure!(node.api.cordon("n1", "it goes on").await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_starts_before_a_silent_store_and_waits_for_it() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let proxy = Proxy::before(&server.address()).await?;
    proxy.set(Wire::Silent);
    let node = Node::start_unready("n1", &proxy.url())?;
    let refused = node.api.get("/control/peers").await?;
    ensure!(refused.status == 503 && refused.reason() == "STORE_UNAVAILABLE", "{refused:?}");
    proxy.set(Wire::Whole);
    let mesh = Mesh { nodes: vec![node] };
    mesh.until_whole().await
}

/// Stalls the server of a mesh, and expects what holds of every outage that loses nothing.
/// `url` is where the daemons reach the server.
async fn stall(
    server: &RedisServer,
    url: &str,
    begin: impl FnOnce() -> Result<()>,
    end: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mesh = Mesh::start(url, 2).await?;
    mesh.first().cordon("n2", "kept").await?.ok()?;
    let watcher = Watcher::start(vec![mesh.nodes[1].api.clone()], None);
    until("the watch is up", async || Ok(watcher.seen().last.is_some())).await?;
    let before = mesh.vitals()?;
    begin()?;
    mesh.until_away().await?;
    expect_refused_and_stale(&mesh).await?;
    tokio::time::sleep(STALL).await;
    mesh.expect_all_alive().await?;
    end()?;
    mesh.until_whole().await?;
    mesh.expect_calm(&before)?;
    let peer = mesh.first().peer("n2").await?;
    ensure!(peer["cordonReason"] == "kept", "{peer}");
    until("a change is made again", async || Ok(mesh.first().cordon("n1", "after").await?.status == 200))
        .await?;
    until("the watch tells of it", async || {
        Ok(watcher.seen().told.iter().any(|told| told.ends_with("n1 after")))
    })
    .await?;
    watcher.expect_gapless()?;
    let seen = watcher.seen();
    ensure!(seen.resets.is_empty(), "{:?}", seen.resets);
    watcher.expect_nobody_gone()?;
    // One for commands and one that waits for the log, of each daemon.
    until("no connection is left behind", async || Ok(server.connections()? <= 4)).await
}

/// While the store is silent: what is read says how old it is, and what is to be changed is refused.
async fn expect_refused_and_stale(mesh: &Mesh) -> Result<()> {
    for node in &mesh.nodes {
        for refused in join_all((0..MUTATIONS).map(|_| node.api.cordon("n1", "refused"))).await {
            let refused = refused?;
            ensure!(refused.status == 503 && refused.reason() == "STORE_UNAVAILABLE", "{refused:?}");
        }
        let list = node.api.get("/control/peers").await?.ok()?;
        ensure!(list["stale"] == true && list["staleMs"].is_u64(), "{list}");
        ensure!(node.api.is_ready().await?, "it goes on serving");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_waited_for() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let pause = || server.cli::<()>(&["CLIENT", "PAUSE", "5000", "ALL"]);
    stall(&server, &server.url(), pause, || Ok(())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_waited_for() -> Result<()> {
    let server = RedisServer::start(&[])?;
    stall(&server, &server.url(), || server.pause(), || server.resume()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_swallows_all_is_waited_for() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let proxy = Proxy::before(&server.address()).await?;
    let set = |wire: Wire| {
        proxy.set(wire);
        Ok(())
    };
    stall(&server, &proxy.url(), || set(Wire::Silent), || set(Wire::Whole)).await
}
