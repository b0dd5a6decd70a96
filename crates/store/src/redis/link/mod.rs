//! The connection to the master of a Redis store, wherever it is at the moment.
//!
//! All keys of a store have one hash tag and so live on one server at a time, in a Cluster as well.
//! So one connection, made anew when it fails or when the server is not the master any more, does
//! for standalone servers, Sentinel and Cluster; they differ in how the master is found.

mod belief;
mod blocking;
mod dial;
mod error;
mod info;
mod master_announcement;
mod options;
mod resolve;
mod retry_pause;
mod sentinels;
mod slots;
mod state;
mod switch;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout};

use super::super::switch::{SwitchError, SwitchOrder, SwitchOutcome};
use super::url::RedisUrl;
use crate::url::ServerAddress;
use dial::{ConnectionDriver, FreshConnection};
use resolve::ConnectionMaker;
use state::{ConnectionLookup, SharedLink};

pub(super) use blocking::LaneConnection;
pub use error::{LinkError, StoreFailure};
pub(super) use info::Info;
pub use options::{RedisOptions, TlsFiles};

/// Hello that is done first on every new connection, blocking ones too: nobody else uses the connection before it has
/// succeeded.
#[async_trait]
pub trait ConnectionHello: Send + Sync + 'static {
    /// Makes sure that the server is fit for use.
    ///
    /// # Errors
    /// The connection is then closed, and counts as one that could not be made.
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), LinkError>;
}

/// Quorum of replicas that must have what leaders rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicaQuorum {
    /// So many, by configuration.
    Count(u32),
    /// As many as two sides of a split cannot both have.
    Enough,
}

/// The way to the master. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct MasterLink {
    shared: Arc<SharedLink>,
}

/// A connection to the master. Cheap to clone; may be used by many at once.
#[derive(Clone)]
pub struct RedisConnection {
    multiplexed: MultiplexedConnection,
    generation: u64,
    at: ServerAddress,
    made: Instant,
    driver: Arc<ConnectionDriver>,
}

impl MasterLink {
    /// Begins without connecting; the first use connects.
    pub fn new(url: RedisUrl, options: RedisOptions, hello: Arc<dyn ConnectionHello>) -> Self {
        Self { shared: SharedLink::new(ConnectionMaker::new(url, options, hello)) }
    }

    /// The URL without its secrets.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// The connection to the master: the present one, or a new one.
    ///
    /// Returns within the connect timeout and twice the response timeout. A search for the master
    /// that takes longer goes on; the next call waits for it.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`]. For a moment after a failure (20 ms, then longer, up to 500 ms)
    /// it is returned at once, with what failed.
    pub async fn connection(&self) -> Result<RedisConnection, LinkError> {
        let mut attempt = match self.shared.find() {
            ConnectionLookup::Connection(connection) => return Ok(connection),
            ConnectionLookup::Failed(failure) => return Err(LinkError::Unreachable(failure)),
            ConnectionLookup::Attempt(attempt) => attempt,
        };
        let options = self.shared.options();
        let patience = options.connect_timeout + 2 * options.response_timeout;
        let unreachable = |what: &str| LinkError::Unreachable(StoreFailure::new(what));
        match timeout(patience, attempt.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(Ok(connection)) => Ok(connection.clone()),
                Some(Err(failure)) => Err(LinkError::Unreachable(failure.clone())),
                None => Err(unreachable("the attempt to connect has no outcome")),
            },
            Ok(Err(_)) => Err(unreachable("the attempt to connect was broken off")),
            Err(_) => Err(unreachable("the attempt to connect takes long and goes on")),
        }
    }

    /// Sends one command and waits for its answer, at most for the response timeout.
    ///
    /// # Errors
    /// Those of [`RedisConnection::call`], and of [`MasterLink::connection`]. A connection that is of no use
    /// any more is given up.
    pub async fn call(&self, command: &Cmd) -> Result<Value, LinkError> {
        let mut connection = self.connection().await?;
        let answer = connection.call(command).await;
        if let Err(error) = &answer {
            self.heed(connection.generation, error);
        }
        answer
    }

    /// Sends commands in one go and waits for all answers, which must come within the response timeout. They are no
    /// transaction.
    ///
    /// # Errors
    /// As of [`MasterLink::call`]; with the first refusal. Some of the commands may have been carried out.
    pub async fn pipeline(&self, commands: &Pipeline) -> Result<(), LinkError> {
        self.pipeline_within(commands, self.shared.options().response_timeout).await
    }

    /// The same where all answers must come within `limit`: much takes long on a slow line.
    ///
    /// # Errors
    /// As of [`MasterLink::pipeline`].
    pub async fn pipeline_within(&self, commands: &Pipeline, limit: Duration) -> Result<(), LinkError> {
        let mut connection = self.connection().await?;
        // Of this clone only.
        connection.multiplexed.set_response_timeout(limit);
        let answer = connection.pipeline(commands).await;
        if let Err(error) = &answer {
            self.heed(connection.generation, error);
        }
        answer
    }

    /// Sends a command that the server answers after up to `wait`, on a connection of its own,
    /// which is kept for the next. One such command at a time: further ones wait for their turn.
    ///
    /// # Errors
    /// As of [`MasterLink::call`]; [`LinkError::Lost`] also when the connection of the others was given
    /// up meanwhile, because the master may be another one now.
    pub async fn call_blocking(&self, command: &Cmd, wait: Duration) -> Result<Value, LinkError> {
        blocking::call(self, command, wait).await
    }

    /// A connection of one's own for waiting until replicas have what was written on it, when nobody else waits.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub(super) async fn confirming(&self, limit: Duration) -> Result<LaneConnection<'_>, LinkError> {
        LaneConnection::of(self, &self.shared.confirming, limit).await
    }

    /// Need of replicas that must have a lease, where that is configured or Sentinels decide who is the master; `None`:
    /// none need.
    pub(super) fn leaders_need(&self) -> Option<ReplicaQuorum> {
        self.shared.leaders_need()
    }

    /// Gives up the connection of this generation, unless that has been done: the next use finds
    /// the master anew.
    pub fn renew(&self, generation: u64) {
        self.shared.give_up(generation, "the connection was to be made anew");
    }

    /// Gives up the connection of this generation if the error means that it is of no use any
    /// more. For commands that were not sent through [`MasterLink::call`].
    pub fn heed(&self, generation: u64, error: &LinkError) {
        if error.ends_connection() {
            self.shared.give_up(generation, &error.chain());
        }
    }

    /// Has the Sentinels promote a replica that has all that was acknowledged.
    ///
    /// # Errors
    /// Where there are none, nothing can be promoted, or we may not.
    pub(super) async fn switch(&self, order: &SwitchOrder) -> Result<SwitchOutcome, SwitchError> {
        switch::switch(self, order).await
    }

    /// Disagreement of Sentinels about the master, once it has lasted for some seconds; `None`: they agree, or there
    /// are none.
    pub fn disagreement(&self) -> Option<String> {
        self.shared.maker.sentinels()?.disagreement()
    }

    /// Advice on what is risky about the server, as read at most every five minutes; a sentence each.
    pub fn advice(&self) -> Arc<[String]> {
        self.shared.advice()
    }
}

impl RedisConnection {
    fn new(dialed: FreshConnection, generation: u64) -> Self {
        let FreshConnection { multiplexed, driver, at, .. } = dialed;
        Self { multiplexed, generation, at, made: Instant::now(), driver: Arc::new(driver) }
    }

    /// Number of the connection; rises by one with each that is made.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Address of the server.
    pub fn address(&self) -> &ServerAddress {
        &self.at
    }

    /// Sends one command and waits for its answer, at most for the response timeout.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if the connection had ended before; nothing was sent.
    /// [`LinkError::Lost`] if no answer came. [`LinkError::Refused`] if the answer is an error.
    pub async fn call(&mut self, command: &Cmd) -> Result<Value, LinkError> {
        self.check_open()?;
        dial::ask(&mut self.multiplexed, command).await
    }

    async fn pipeline(&mut self, commands: &Pipeline) -> Result<(), LinkError> {
        self.check_open()?;
        let answers = self.multiplexed.send_packed_commands(commands, 0, commands.len()).await?;
        for answer in answers {
            answer.extract_error()?;
        }
        Ok(())
    }

    fn check_open(&self) -> Result<(), LinkError> {
        if self.driver.is_over() {
            return Err(LinkError::Unreachable(StoreFailure::new(format!(
                "{} has closed the connection",
                self.at
            ))));
        }
        Ok(())
    }
}
