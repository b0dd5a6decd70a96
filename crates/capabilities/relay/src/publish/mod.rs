//! Mirrors for outsiders: keys of a Redis that anybody may read, best effort and never the truth.
//!
//! What should stand there is known in memory; a task brings the Redis there, one command for a key at a time, so that
//! of several wishes for one key the last stands in the end. While the Redis is away only the newest wish for each key
//! is remembered.

mod book;
#[cfg(test)]
mod book_test;
mod outage;
mod server;

use std::sync::Arc;
use std::time::Duration;

use omnirelay_settings::PublishConfig;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::metrics::publish::PublishMetrics;
use book::{BookFull, WishedKeys};
use outage::{KEYS_RUNBOOK, Outage};
use server::{GreetedConnection, OPERATION_TIMEOUT, RedisConnectionError, RedisEndpoint};

/// How long the Redis may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a Redis to which nothing is said is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How many keys are written or refreshed together, before others have their turn.
const BATCH_MAX: usize = 256;

/// Publications that should stand in the Redis; never waits.
///
/// The default publishes nothing.
#[derive(Default)]
pub struct Publications {
    publishing: Option<Publisher>,
}

/// Health of the publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishHealth {
    /// Whether anything is published at all.
    pub is_on: bool,
    /// Keys that stand in the Redis, as far as is known.
    pub published: usize,
    /// Wishes that the Redis has not heard of.
    pub waiting: usize,
    /// Since when the Redis has not answered; `None` while it does, and before the first attempt has ended.
    pub failing_for: Option<Duration>,
}

/// Publisher of keys to one Redis.
struct Publisher {
    server: RedisEndpoint,
    address: String,
    book: Mutex<WishedKeys>,
    /// There is something new in the book.
    news: Notify,
    outage: Outage,
    /// Whether the task has come to its end.
    ended: watch::Sender<bool>,
    metrics: Arc<PublishMetrics>,
}

impl Publications {
    /// Keys that end `ttl` after the last word of them, at most `keys_max` at a time. Nothing is published without an
    /// address, or before [`Publications::run`] runs.
    pub fn new(config: &PublishConfig, ttl: Duration, keys_max: usize, metrics: Arc<PublishMetrics>) -> Self {
        let address = config.address.clone().unwrap_or_default();
        let server = RedisEndpoint::of(config).unwrap_or_else(|error| {
            warn!(%error, address, runbook = KEYS_RUNBOOK, "keys are not published: the address of the Redis cannot be used");
            None
        });
        let publishing = server.map(|server| Publisher {
            server,
            address,
            book: Mutex::new(WishedKeys::new(ttl, keys_max)),
            news: Notify::new(),
            outage: Outage::default(),
            ended: watch::Sender::new(false),
            metrics,
        });
        Self { publishing }
    }

    /// Writes a key at once, in place of whatever stands there, with its time to live. Kept alive it is from
    /// [`Publications::keep`] on; again the same value is kept as before.
    pub fn put(&self, key: &str, value: &str) {
        self.wish(|book, now| book.put(key, value, now));
    }

    /// Keeps a key that was put alive from now on. Where another's value stands it waits until that is gone.
    pub fn keep(&self, key: &str) {
        self.wish(|book, now| {
            book.keep(key, now);
            Ok(())
        });
    }

    /// Keeps it alive no more: it ends with its time to live.
    pub fn let_go(&self, key: &str) {
        self.wish(|book, now| {
            book.let_go(key, now);
            Ok(())
        });
    }

    /// Deletes a key, unless another value than this stands there.
    pub fn remove(&self, key: &str, value: &str) {
        self.wish(|book, now| book.remove(key, value, now));
    }

    fn wish(&self, write: impl FnOnce(&mut WishedKeys, Instant) -> Result<(), BookFull>) {
        let Some(publishing) = &self.publishing else { return };
        let written = write(&mut publishing.book.lock(), Instant::now());
        match written {
            Ok(()) => publishing.news.notify_one(),
            Err(BookFull) => publishing.metrics.count_dropped(),
        }
    }

    /// Brings the Redis to what is wished, until [`Publications::close`]. Runs once.
    pub async fn run(&self) {
        let Some(publishing) = &self.publishing else { return };
        publishing.run().await;
        publishing.ended.send_replace(true);
    }

    /// Deletes what stands in the Redis and is still ours, and takes no wishes any more; waits at most `within` for
    /// [`Publications::run`] to end. What is left ends with its time to live.
    pub async fn close(&self, within: Duration) {
        let Some(publishing) = &self.publishing else { return };
        publishing.book.lock().close(Instant::now());
        publishing.news.notify_one();
        let mut ended = publishing.ended.subscribe();
        if timeout(within, ended.wait_for(|ended| *ended)).await.is_err() {
            warn!(address = publishing.address, "published keys were left to their time to live");
        }
    }

    /// Health of the publication.
    pub fn health(&self) -> PublishHealth {
        let Some(publishing) = &self.publishing else { return PublishHealth::default() };
        let book = publishing.book.lock();
        PublishHealth {
            is_on: true,
            published: book.standing(),
            waiting: book.waiting(),
            failing_for: publishing.outage.lasts(),
        }
    }
}

impl Publisher {
    async fn run(&self) {
        let (mut patience, mut stray) = (START_TIMEOUT, None);
        loop {
            let error = match self.server.connect(stray.as_ref(), patience).await {
                Ok(mut connection) => {
                    self.begin();
                    let Err(error) = self.serve(&mut connection).await else { return };
                    stray = connection.stray();
                    error
                }
                Err(error) if self.book.lock().is_closed() => {
                    self.outage.failed(&self.address, &error);
                    return;
                }
                Err(error) => error,
            };
            patience = OPERATION_TIMEOUT;
            self.metrics.count_failure();
            self.outage.failed(&self.address, &error);
            self.measure();
            self.pause().await;
        }
    }

    /// The Redis may not be as it was left.
    fn begin(&self) {
        self.outage.ended(&self.address);
        self.book.lock().look_again();
    }

    /// Does what is to be done; comes back when nothing will be any more.
    async fn serve(&self, connection: &mut GreetedConnection) -> Result<(), RedisConnectionError> {
        let mut heard = Instant::now();
        loop {
            let steps = self.book.lock().take(Instant::now(), BATCH_MAX);
            if steps.is_empty() {
                self.measure();
                if self.book.lock().is_closed() {
                    return Ok(());
                }
                if heard.elapsed() >= PING_EVERY {
                    connection.ping().await?;
                    heard = Instant::now();
                }
                self.wait(heard + PING_EVERY).await;
                continue;
            }
            match connection.send(&steps).await {
                Ok(outcomes) => {
                    heard = Instant::now();
                    let mut book = self.book.lock();
                    for (step, outcome) in steps.iter().zip(outcomes) {
                        book.done(step, outcome, heard);
                        self.metrics.count_operation(step.action.name(), outcome.name());
                    }
                }
                Err(error) => {
                    self.book.lock().lost(&steps);
                    return Err(error);
                }
            }
        }
    }

    /// Waits for a wish, for what is due, or until then.
    async fn wait(&self, until: Instant) {
        let next = self.book.lock().next_at();
        tokio::select! {
            () = self.news.notified() => {}
            () = sleep_until(next.map_or(until, |next| next.min(until))) => {}
        }
    }

    /// Leaves the Redis in peace after a failure, unless the end has come.
    async fn pause(&self) {
        let pause = sleep(self.outage.pause());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = self.news.notified() => {
                    if self.book.lock().is_closed() {
                        return;
                    }
                }
            }
        }
    }

    fn measure(&self) {
        let (standing, waiting) = {
            let book = self.book.lock();
            (book.standing(), book.waiting())
        };
        self.metrics.set(standing, waiting, self.outage.lasts().is_none());
    }
}
