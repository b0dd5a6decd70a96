//! Greeting that every new connection does first: it finds out which life of the registry it has reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tracing::{info, warn};

use super::super::{Epoch, Revision, StoreError};
use super::link::{ConnectionHello, LinkError};
use super::ms;
use super::reply::Reply;
use super::scripts::Script;

/// The newest schema that this version knows.
const SCHEMA: u64 = 1;

/// How much longer than a session lives a quarantine lasts at most; of a short one, an eighth, as those who configure one have it.
const TRUST_MARGIN_MAX: Duration = Duration::from_millis(250);

/// The code of a greeting that ended with a server that is of no use.
pub(super) const TURNED_AWAY: &str = "GREETING";

/// Head that this process has seen: the greatest epoch and revision.
#[derive(Default)]
pub(super) struct SeenHead {
    epoch: AtomicU64,
    head: AtomicU64,
    /// Why the last greeting was turned down for good.
    refusal: Mutex<Option<String>>,
}

/// Greeting of servers on behalf of a store.
pub(super) struct RedisGreeter {
    pub meta: String,
    pub seen: Arc<SeenHead>,
    pub script: Script,
    /// How long a new epoch grants no scope and judges nobody gone.
    pub quarantine: Arc<Quarantine>,
}

/// Length of the quarantine with which a new epoch begins.
#[derive(Debug)]
pub(super) struct Quarantine(AtomicU64);

impl Quarantine {
    pub(super) fn of(length: Duration) -> Self {
        Self(AtomicU64::new(ms(length)))
    }

    /// Has it cover what is granted to a session that lives for this long from now on. It becomes no shorter: what was granted before
    /// may still be trusted.
    pub(super) fn cover(&self, ttl: Duration) {
        let margin = TRUST_MARGIN_MAX.min(ttl / 8);
        self.0.fetch_max(ms(ttl.saturating_add(margin)), Ordering::Relaxed);
    }

    pub(super) fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl SeenHead {
    /// Notes what an answer said.
    pub(super) fn note(&self, Epoch(epoch): Epoch, Revision(head): Revision) {
        self.epoch.fetch_max(epoch, Ordering::Relaxed);
        self.head.fetch_max(head, Ordering::Relaxed);
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    pub(super) fn head(&self) -> Revision {
        Revision(self.head.load(Ordering::Relaxed))
    }

    /// Content of the server that this version must not touch, if it holds any.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }

    fn refuse(&self, why: Option<String>) {
        *self.refusal.lock() = why;
    }
}

#[async_trait]
impl ConnectionHello for RedisGreeter {
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
        let mut command = self.script.by_text(&self.meta);
        command.arg(SCHEMA).arg(self.seen.epoch().0).arg(self.seen.head().0).arg(self.quarantine.ms());
        let answer = command.query_async(connection).await.map_err(LinkError::from);
        let answer = answer.inspect_err(|error| self.seen.refuse(garbage(error)))?;
        let turned_away = |code: &str, detail| Err(LinkError::Refused { code: code.to_owned(), detail });
        match self.heed(answer) {
            Ok(GreetingResult::Welcome) => {
                self.seen.refuse(None);
                Ok(())
            }
            Ok(GreetingResult::Replica) => turned_away("READONLY", "the server is a replica".to_owned()),
            Ok(GreetingResult::Foreign(what)) | Err(StoreError::Incompatible { what, .. }) => {
                self.seen.refuse(Some(what.clone()));
                turned_away(TURNED_AWAY, what)
            }
            Err(other) => turned_away(TURNED_AWAY, other.to_string()),
        }
    }
}

/// Result of greeting a server: what it is to a store.
enum GreetingResult {
    Welcome,
    /// It was the master a moment ago, or will be.
    Replica,
    /// It holds what this version must not touch.
    Foreign(String),
}

impl RedisGreeter {
    fn heed(&self, answer: redis::Value) -> Result<GreetingResult, StoreError> {
        let mut reply = Reply::of(answer)?;
        match reply.text()?.as_str() {
            "same" => self.seen.note(Epoch(reply.number()?), Revision(reply.number()?)),
            "new" => {
                let (epoch, head) = (Epoch(reply.number()?), Revision(reply.number()?));
                match reply.number()? {
                    0 => info!(epoch = %epoch, "registry begun in an empty store"),
                    before => warn!(
                        epoch = %epoch,
                        before = %Epoch(before),
                        "store is another one, or has restarted; a new epoch has begun"
                    ),
                }
                self.seen.note(epoch, head);
            }
            "newer" => {
                let schema = reply.number()?;
                return Ok(GreetingResult::Foreign(format!(
                    "the store was written by a newer version (its schema is {schema}, this one knows {SCHEMA}); nothing was touched"
                )));
            }
            "replica" => return Ok(GreetingResult::Replica),
            other => return Ok(GreetingResult::Foreign(format!("the server greets with `{other}`"))),
        }
        Ok(GreetingResult::Welcome)
    }
}

/// What is under the store's keys, if that is why the greeting failed.
fn garbage(error: &LinkError) -> Option<String> {
    if error.is_elsewhere() {
        return None;
    }
    match error {
        LinkError::Refused { code, detail } if matches!(code.as_str(), "WRONGTYPE" | "GARBAGE" | "ERR") => {
            Some(format!("{code} {detail}"))
        }
        LinkError::Refused { .. } | LinkError::Unreachable(_) | LinkError::Lost(_) => None,
    }
}
