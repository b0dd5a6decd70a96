//! Closed loops on a daemon with the embedded store.

use anyhow::Result;

use super::daemons::{Faults, loops};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_daemon() -> Result<()> {
    loops(&["embedded:"], Faults::None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_daemon_that_is_killed_and_paused() -> Result<()> {
    loops(&["embedded:"], Faults::KillsAndPauses).await
}
