//! Commands that the server answers late, on connections of their own.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::error::{LinkError, StoreFailure};
use super::retry_pause::RetryPause;
use super::state::SharedLink;
use super::{MasterLink, RedisConnection, dial};

/// Lane of late answers: one connection, and whose turn it is to use it.
pub(super) struct ConnectionLane {
    blocking: Mutex<LaneState>,
    turn: Semaphore,
}

/// State of a lane between two commands: its connection, and how making one went.
#[derive(Default)]
struct LaneState {
    /// Taken out while a command runs on it: one that is abandoned closes it, and nobody waits
    /// behind a command that nobody wants.
    kept: Option<RedisConnection>,
    retry_pause: RetryPause,
    last: Option<StoreFailure>,
}

/// Connection of a lane to the master, which nobody else uses meanwhile. It is closed unless it is given back.
pub(in super::super) struct LaneConnection<'a> {
    link: &'a MasterLink,
    lane: &'a ConnectionLane,
    connection: RedisConnection,
    /// Tells when the connection of the others is given up.
    given_up: watch::Receiver<u64>,
    is_over: bool,
    _turn: SemaphorePermit<'a>,
}

impl Default for ConnectionLane {
    fn default() -> Self {
        Self { blocking: Mutex::default(), turn: Semaphore::new(1) }
    }
}

pub(super) async fn call(link: &MasterLink, command: &Cmd, wait: Duration) -> Result<Value, LinkError> {
    let limit = wait + link.shared.options().response_timeout;
    let mut own = LaneConnection::of(link, &link.shared.blocking, limit).await?;
    let answer = own.call(command, wait).await;
    own.give_back();
    answer
}

impl<'a> LaneConnection<'a> {
    /// Takes the connection of a lane, when it is free within `limit`.
    pub(super) async fn of(
        link: &'a MasterLink,
        lane: &'a ConnectionLane,
        limit: Duration,
    ) -> Result<Self, LinkError> {
        let Ok(Ok(turn)) = timeout(limit, lane.turn.acquire()).await else {
            return Err(LinkError::Unreachable(StoreFailure::new("another blocking command has not ended")));
        };
        let given_up = link.shared.given_up();
        let main = link.connection().await?;
        let connection = lane.connection(&link.shared, &main).await.map_err(LinkError::Unreachable)?;
        Ok(Self { link, lane, connection, given_up, is_over: false, _turn: turn })
    }

    /// Address of the server.
    pub(crate) fn address(&self) -> String {
        self.connection.address().to_string()
    }

    /// Sends a command that is answered after up to `wait`.
    ///
    /// # Errors
    /// As of [`MasterLink::call_blocking`].
    pub(crate) async fn call(&mut self, command: &Cmd, wait: Duration) -> Result<Value, LinkError> {
        let limit = wait + self.link.shared.options().response_timeout;
        let RedisConnection { multiplexed, generation, .. } = &mut self.connection;
        multiplexed.set_response_timeout(limit);
        let answer = tokio::select! {
            answer = dial::ask(multiplexed, command) => answer,
            _ = self.given_up.wait_for(|given_up| *given_up >= *generation) => {
                Err(LinkError::Lost(StoreFailure::new("the connection of the other commands was given up")))
            }
        };
        if let Err(error) = &answer
            && error.ends_connection()
        {
            self.link.heed(*generation, error);
            self.is_over = true;
        }
        answer
    }

    /// Leaves it to the next, unless it is of no use any more.
    pub(crate) fn give_back(self) {
        self.lane.blocking.lock().kept = Some(self.connection).filter(|_| !self.is_over);
    }
}

impl ConnectionLane {
    /// The kept connection if it is of the same generation as the one of the other commands, else a
    /// new one to the same server.
    async fn connection(
        &self,
        shared: &SharedLink,
        main: &RedisConnection,
    ) -> Result<RedisConnection, StoreFailure> {
        {
            let mut blocking = self.blocking.lock();
            if let Some(kept) = blocking.kept.take() {
                if kept.generation == main.generation && !kept.driver.is_over() {
                    return Ok(kept);
                }
                blocking.retry_pause.succeeded();
            }
            if let Some(last) = blocking.last.clone().filter(|_| blocking.retry_pause.is_on()) {
                return Err(last);
            }
        }
        let made = shared.maker.make_further(&main.at).await;
        let mut blocking = self.blocking.lock();
        match made {
            Ok(dialed) => Ok(RedisConnection::new(dialed, main.generation)),
            Err(failure) => {
                blocking.retry_pause.failed();
                blocking.last = Some(failure.clone());
                Err(failure)
            }
        }
    }
}
