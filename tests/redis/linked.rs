//! A link of a test, and what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_trait::async_trait;
use omnirelay_store::redis::link::{ConnectionHello, LinkError, MasterLink, RedisOptions};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value, cmd};

use crate::servers::PATIENCE;

/// Counts greetings.
#[derive(Default)]
pub(crate) struct Greeter(AtomicU64);

#[async_trait]
impl ConnectionHello for Greeter {
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
        cmd("PING").exec_async(connection).await?;
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Greeter {
    pub(crate) fn greetings(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A link that takes no busy machine for a dead server.
pub(crate) fn link(url: &str) -> Result<(MasterLink, Arc<Greeter>)> {
    let timeout = Duration::from_secs(5);
    link_with(
        url,
        RedisOptions { connect_timeout: timeout, response_timeout: timeout, ..RedisOptions::default() },
    )
}

/// A link with the timeouts that daemons have.
pub(crate) fn hasty_link(url: &str) -> Result<(MasterLink, Arc<Greeter>)> {
    link_with(url, RedisOptions::default())
}

pub(crate) fn link_with(url: &str, options: RedisOptions) -> Result<(MasterLink, Arc<Greeter>)> {
    let greeter = Arc::new(Greeter::default());
    Ok((MasterLink::new(url.parse()?, options, Arc::clone(&greeter) as Arc<dyn ConnectionHello>), greeter))
}

/// A write that shows how often it was done.
pub(crate) fn incr() -> Cmd {
    let mut command = cmd("INCR");
    command.arg("{omnirelay}:count");
    command
}

/// Writes until it succeeds, as a daemon would; returns how long that took.
pub(crate) async fn write_until_done(link: &MasterLink) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        match link.call(&incr()).await {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > PATIENCE => bail!("no write succeeds: {}", error.chain()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The error that a call must end with.
pub(crate) fn refusal(answer: Result<Value, LinkError>) -> Result<LinkError> {
    match answer {
        Ok(value) => bail!("the call succeeded with {value:?}"),
        Err(error) => Ok(error),
    }
}

/// Several attempts must not be answered by the pause after the first.
pub(crate) async fn pause_of_the_link() {
    tokio::time::sleep(Duration::from_millis(600)).await;
}
