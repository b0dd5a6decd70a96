//! A server without room.

use anyhow::{Result, ensure};

use super::api::until;
use super::mesh::Mesh;
use crate::servers::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_changes_and_nobody_dies() -> Result<()> {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"])?;
    let mut mesh = Mesh::start(&server.url(), 3).await?;
    let before = mesh.vitals()?;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1"])?;
    for _ in 0..20 {
        let refused = mesh.first().cordon("n2", "full").await?;
        ensure!(refused.status == 429 && refused.reason() == "STORE_FULL", "{refused:?}");
    }
    // Longer than a session lives: renewals pass.
    let session = mesh.first().peer("n2").await?["statusSince"].clone();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    mesh.expect_all_alive().await?;
    let (heard, message) = mesh.first().item("store").await?;
    ensure!(heard, "{message}");
    let list = mesh.first().get("/control/peers").await?.ok()?;
    ensure!(list["stale"] == false, "{list}");
    mesh.expect_calm(&before)?;

    // A session ends all the same: what only gives back passes.
    let left = mesh.nodes.pop().map(|node| node.daemon);
    if let Some(left) = left {
        left.signal("TERM")?;
        ensure!(left.wait()?.success());
    }
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "0"])?;
    until("there is room again", async || Ok(mesh.first().cordon("n2", "room").await?.status == 200)).await?;
    let peer = mesh.first().peer("n2").await?;
    ensure!(peer["statusSince"] == session, "its session went on: {peer}");
    let gone = async || Ok(mesh.first().peer("n3").await?["status"] == "suspect");
    until("the session that was closed is over", gone).await
}
