//! Closed loops on daemons that share a Redis.

use anyhow::Result;

use super::daemons::{Faults, loops};
use crate::servers::RedisServer;

async fn on_redis(daemons: usize, faults: Faults) -> Result<()> {
    let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "everysec"])?;
    let url = server.url();
    loops(&vec![url.as_str(); daemons], faults).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_daemon() -> Result<()> {
    on_redis(1, Faults::None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_daemons() -> Result<()> {
    on_redis(3, Faults::None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_daemon_that_is_killed_and_paused() -> Result<()> {
    on_redis(1, Faults::KillsAndPauses).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_daemons_that_are_killed_and_paused() -> Result<()> {
    on_redis(3, Faults::KillsAndPauses).await
}
