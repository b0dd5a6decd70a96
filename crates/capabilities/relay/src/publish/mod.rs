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

use omnirelay_host::live::Live;
use omnirelay_settings::PublishConfig;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::metrics::publish::PublishMetrics;
use book::{BookFull, WishedKeys};
use outage::{KEYS_RUNBOOK, Outage};
use server::{GreetedConnection, OPERATION_TIMEOUT, RedisConnectionError, RedisEndpoint, StrayConnection};

/// How long the Redis may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a Redis to which nothing is said is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How many keys are written or refreshed together, before others have their turn.
const BATCH_MAX: usize = 256;

/// Settings of the publication.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishSettings {
    /// The Redis; without an address nothing is published.
    pub server: PublishConfig,
    /// How long a key stands after the last word of it.
    pub ttl: Duration,
    /// How many there are at a time.
    pub keys_max: usize,
}

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
    settings: Live<PublishSettings>,
    book: Mutex<WishedKeys>,
    /// There is something new in the book.
    news: Notify,
    outage: Outage,
    /// Whether the task has come to its end.
    ended: watch::Sender<bool>,
    metrics: Arc<PublishMetrics>,
}

impl Publications {
    /// Nothing is published before [`Publications::run`] runs. While nothing is to be published wishes are forgotten: whoever has some
    /// says them anew when there is a Redis.
    pub fn new(settings: impl Into<Live<PublishSettings>>, metrics: Arc<PublishMetrics>) -> Self {
        let settings = settings.into();
        let PublishSettings { ttl, keys_max, .. } = settings.get();
        let publishing = Publisher {
            settings,
            book: Mutex::new(WishedKeys::new(ttl, keys_max)),
            news: Notify::new(),
            outage: Outage::default(),
            ended: watch::Sender::new(false),
            metrics,
        };
        Self { publishing: Some(publishing) }
    }

    /// Writes a key at once, in place of whatever stands there, with its time to live. Kept alive it is from
    /// [`Publications::keep`] on; again the same value is kept as before.
    pub fn put(&self, key: &str, value: &str) {
        self.wish(|book, now| book.put(key, value, now));
    }

    /// Publishes a value under a key, unless somebody else has published another there.
    pub fn offer(&self, key: &str, value: &str) {
        self.wish(|book, now| book.offer(key, value, now));
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
        let written = {
            let mut book = publishing.book.lock();
            if !publishing.is_on() {
                return;
            }
            write(&mut book, Instant::now())
        };
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
            let address = publishing.settings.get().server.address;
            warn!(address, "published keys were left to their time to live");
        }
    }

    /// Health of the publication.
    pub fn health(&self) -> PublishHealth {
        let publishing = self.publishing.as_ref().filter(|publishing| publishing.is_on());
        let Some(publishing) = publishing else { return PublishHealth::default() };
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
    /// Whether anything is to be published.
    fn is_on(&self) -> bool {
        address(&self.settings.get().server).is_some()
    }

    async fn run(&self) {
        let mut changes = self.settings.clone();
        let mut told = TalkToRedis::with(self.take_over());
        loop {
            let server = self.take_over();
            if server != told.server {
                self.outage.forget();
                told = TalkToRedis::with(server);
            }
            let Some(endpoint) = told.endpoint() else {
                if self.rest(&mut changes).await {
                    return;
                }
                continue;
            };
            let connected = tokio::select! {
                connected = endpoint.connect(told.stray.as_ref(), told.patience) => connected,
                () = self.moved(&mut changes, &told.server) => continue,
            };
            let error = match connected {
                Ok(mut connection) => {
                    self.begin(&told);
                    match self.serve(&mut connection, &mut changes, &told.server).await {
                        Ok(ServiceEnd::Closed) => return,
                        Ok(ServiceEnd::Elsewhere) => continue,
                        Err(error) => {
                            told.stray = connection.stray();
                            error
                        }
                    }
                }
                Err(error) if self.book.lock().is_closed() => {
                    self.outage.failed(told.address(), &error);
                    return;
                }
                Err(error) => error,
            };
            told.patience = OPERATION_TIMEOUT;
            self.metrics.count_failure();
            self.outage.failed(told.address(), &error);
            self.measure();
            self.pause(&mut changes).await;
        }
    }

    /// Goes by the settings as they are now; says which Redis keys are published in.
    fn take_over(&self) -> PublishConfig {
        let mut book = self.book.lock();
        let PublishSettings { server, ttl, keys_max } = self.settings.get();
        book.live_by(ttl, keys_max, Instant::now());
        if address(&server).is_none() {
            book.clear();
        }
        server
    }

    /// Waits while nothing is published. True: nothing will be any more.
    async fn rest(&self, changes: &mut Live<PublishSettings>) -> bool {
        self.metrics.set(0, 0, false);
        if !self.book.lock().is_closed() {
            tokio::select! {
                () = changes.replaced() => {}
                () = self.news.notified() => {}
            }
        }
        self.book.lock().is_closed()
    }

    /// Is ready when keys are to be published somewhere else, or nowhere.
    async fn moved(&self, changes: &mut Live<PublishSettings>, from: &PublishConfig) {
        while self.settings.get().server == *from {
            changes.replaced().await;
        }
    }

    /// The Redis may not be as it was left.
    fn begin(&self, told: &TalkToRedis) {
        self.outage.ended(told.address());
        self.book.lock().look_again();
    }

    /// Does what is to be done; comes back when nothing will be any more, or not there.
    async fn serve(
        &self,
        connection: &mut GreetedConnection,
        changes: &mut Live<PublishSettings>,
        server: &PublishConfig,
    ) -> Result<ServiceEnd, RedisConnectionError> {
        let mut heard = Instant::now();
        loop {
            if self.take_over() != *server {
                return Ok(ServiceEnd::Elsewhere);
            }
            let steps = self.book.lock().take(Instant::now(), BATCH_MAX);
            if steps.is_empty() {
                self.measure();
                if self.book.lock().is_closed() {
                    return Ok(ServiceEnd::Closed);
                }
                if heard.elapsed() >= PING_EVERY {
                    connection.ping().await?;
                    heard = Instant::now();
                }
                self.wait(heard + PING_EVERY, changes).await;
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

    /// Waits for a wish, for what is due, for other settings, or until then.
    async fn wait(&self, until: Instant, changes: &mut Live<PublishSettings>) {
        let next = self.book.lock().next_at();
        tokio::select! {
            () = self.news.notified() => {}
            () = changes.replaced() => {}
            () = sleep_until(next.map_or(until, |next| next.min(until))) => {}
        }
    }

    /// Leaves the Redis in peace after a failure, unless the end has come, or another setting.
    async fn pause(&self, changes: &mut Live<PublishSettings>) {
        let pause = sleep(self.outage.pause());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = changes.replaced() => return,
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

/// Talk to one Redis.
struct TalkToRedis {
    server: PublishConfig,
    /// How long it may take to answer.
    patience: Duration,
    stray: Option<StrayConnection>,
}

impl TalkToRedis {
    fn with(server: PublishConfig) -> Self {
        Self { server, patience: START_TIMEOUT, stray: None }
    }

    fn address(&self) -> &str {
        address(&self.server).unwrap_or_default()
    }

    /// Where it is; `None`: nothing is published.
    fn endpoint(&self) -> Option<RedisEndpoint> {
        RedisEndpoint::of(&self.server).unwrap_or_else(|error| {
            let address = self.address();
            warn!(%error, address, runbook = KEYS_RUNBOOK, "keys are not published: the address of the Redis cannot be used");
            None
        })
    }
}

/// Reason why nothing more is told to a Redis.
enum ServiceEnd {
    /// Nothing is published any more.
    Closed,
    /// It is published somewhere else, or nowhere.
    Elsewhere,
}

/// Address of the Redis, if there is one.
fn address(server: &PublishConfig) -> Option<&str> {
    server.address.as_deref().filter(|address| !address.is_empty())
}
