//! Commands that the server answers late, on a connection of their own.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::backoff::Backoff;
use super::error::{Failure, LinkError};
use super::state::Shared;
use super::{Connection, Link, dial};

/// The connection between two commands, and how making one went.
#[derive(Default)]
pub(super) struct Blocking {
    /// Taken out while a command runs on it: one that is abandoned closes it, and nobody waits
    /// behind a command that nobody wants.
    kept: Option<Connection>,
    backoff: Backoff,
    last: Option<Failure>,
}

pub(super) async fn call(link: &Link, command: &Cmd, wait: Duration) -> Result<Value, LinkError> {
    let shared = &link.shared;
    let limit = wait + shared.options().response_timeout;
    let Ok(Ok(_turn)) = timeout(limit, shared.blocking_turn.acquire()).await else {
        return Err(LinkError::Unreachable(Failure::new("another blocking command has not ended")));
    };
    let mut given_up = shared.given_up();
    let main = link.connection().await?;
    let mut own = connection(shared, &main).await.map_err(LinkError::Unreachable)?;
    own.multiplexed.set_response_timeout(limit);
    let answer = tokio::select! {
        answer = dial::ask(&mut own.multiplexed, command) => answer,
        _ = given_up.wait_for(|generation| *generation >= main.generation) => {
            Err(LinkError::Lost(Failure::new("the connection of the other commands was given up")))
        }
    };
    match &answer {
        Err(error) if error.ends_connection() => link.heed(main.generation, error),
        Ok(_) | Err(_) => locked(shared).kept = Some(own),
    }
    answer
}

/// The kept connection if it is of the same generation as the one of the other commands, else a
/// new one to the same server.
async fn connection(shared: &Shared, main: &Connection) -> Result<Connection, Failure> {
    {
        let mut blocking = locked(shared);
        if let Some(kept) = blocking.kept.take() {
            if kept.generation == main.generation && !kept.driver.is_over() {
                return Ok(kept);
            }
            blocking.backoff.succeeded();
        }
        if let Some(last) = blocking.last.clone().filter(|_| blocking.backoff.is_on()) {
            return Err(last);
        }
    }
    let made = shared.maker.make_further(&main.at).await;
    let mut blocking = locked(shared);
    match made {
        Ok(dialed) => Ok(Connection::new(dialed, main.generation)),
        Err(failure) => {
            blocking.backoff.failed();
            blocking.last = Some(failure.clone());
            Err(failure)
        }
    }
}

fn locked(shared: &Shared) -> MutexGuard<'_, Blocking> {
    shared.blocking.lock().unwrap_or_else(PoisonError::into_inner)
}
