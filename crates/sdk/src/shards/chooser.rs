//! The chooser: sends each call to whoever owns the shard of its key, and elsewhere once another node does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::follow::ShardMap;
use super::map::{Found, Shard, ShardStatus};
use super::refusal::refused_at;

/// The first pause before a shard is tried again whose owner has refused and of which nothing new is heard; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Resolver of a node to the endpoint at which its service is reached.
type Resolve = dyn Fn(&str) -> Option<Endpoint> + Send + Sync;

/// Sends calls to owners of shards. Connections are made when they are needed, kept, and closed when their node owns nothing any more.
pub struct ShardChooser {
    map: Arc<ShardMap>,
    resolve: Box<Resolve>,
    channels: Mutex<Channels>,
    /// How many calls without a key were sent.
    sent: AtomicUsize,
}

#[derive(Default)]
struct Channels {
    of: BTreeMap<String, Channel>,
    /// Of the map by which those were closed whose nodes own nothing.
    version: i64,
}

/// Choice of the owner that a call is sent to.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub channel: Channel,
    pub shard: Arc<Shard>,
    /// Of the map that it was chosen by.
    pub version: i64,
    /// No daemon can be reached: the owner may be another one by now, and will say so.
    pub stale: bool,
}

/// Error of a call to the owner of a shard: why it was not made, or what came of it.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the namespace has no shards")]
    NoShards,
    /// Nothing was done.
    #[error("nobody serves shard {shard}: {why}")]
    NotServed { shard: String, why: String },
    /// Where the node serves is not known.
    #[error("node {node} owns shard {shard}, and where it serves is not known")]
    Unresolved { node: String, shard: String },
    /// What the owner has answered, or that it was not reached.
    #[error("{}", .0.message())]
    Failed(Box<Status>),
}

impl ShardChooser {
    /// `resolve` says where the service of a node is reached, by the node's id. It is asked again when the node was not reached there.
    pub fn new(
        map: Arc<ShardMap>,
        resolve: impl Fn(&str) -> Option<Endpoint> + Send + Sync + 'static,
    ) -> Self {
        Self { map, resolve: Box::new(resolve), channels: Mutex::default(), sent: AtomicUsize::new(0) }
    }

    /// Calls the owner of a key's shard; again, for `within` at most, where it answers that it does not serve the shard, as
    /// [`NotServed`](super::NotServed) does, and nothing was done.
    ///
    /// # Errors
    /// [`CallError`]. Any answer of the owner but that is handed on: whether something was done is not known then.
    pub async fn call<T, F: Future<Output = Result<T, Status>>>(
        &self,
        key: &[u8],
        within: Duration,
        call: impl Fn(Chosen) -> F,
    ) -> Result<T, CallError> {
        let (until, mut pause) = (Instant::now() + within, PAUSE_FIRST);
        let mut versions = self.map.versions();
        loop {
            versions.mark_unchanged();
            let found = self.map.lookup(key).ok_or(CallError::NoShards)?;
            let known = found.version;
            let why = match self.choose(found) {
                Ok(chosen) => {
                    let shard = chosen.shard.clone();
                    let status = match call(chosen).await {
                        Ok(done) => return Ok(done),
                        Err(status) => status,
                    };
                    let Some(version) = refused_at(&status, &self.map.snapshot().namespace, &shard.id) else {
                        if status.code() == Code::Unavailable {
                            self.forget(&shard.owner);
                        }
                        return Err(CallError::Failed(Box::new(status)));
                    };
                    let why = status.message().to_owned();
                    if version > known {
                        let left = until.saturating_duration_since(Instant::now());
                        self.map.at_least(version, left).await;
                        if Instant::now() < until {
                            continue;
                        }
                    }
                    CallError::NotServed { shard: shard.id.clone(), why }
                }
                // For now.
                Err(why @ CallError::NotServed { .. }) => why,
                Err(why) => return Err(why),
            };
            if Instant::now() >= until {
                return Err(why);
            }
            // The map is about to be another one, or whoever is new has not heard of it yet.
            let _ = timeout_at(until.min(Instant::now() + pause), versions.changed()).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// An owner for a call that has no key: each owner in turn, as often as it has shards. `None`: nobody owns any.
    pub fn any(&self) -> Option<Chosen> {
        let map = self.map.snapshot();
        let all = map.shards().len();
        let next = || {
            let place = self.sent.fetch_add(1, Ordering::Relaxed) % all;
            let shard = map.at(place)?;
            let found = Found { shard, version: map.version, stale: map.stale };
            self.choose(found).ok()
        };
        (0..all).find_map(|_| next())
    }

    /// Whom a call for a shard is sent to.
    fn choose(&self, found: Found) -> Result<Chosen, CallError> {
        let Found { shard, version, stale } = found;
        let why = match shard.status {
            ShardStatus::Disabled => Some("it is disabled"),
            ShardStatus::Paused => Some("it is paused"),
            ShardStatus::Draining => Some("its owner gives it up, and the next one has not got it yet"),
            ShardStatus::Active => shard.owner.is_empty().then_some("it has no owner"),
        };
        if let Some(why) = why {
            return Err(CallError::NotServed { shard: shard.id.clone(), why: why.to_owned() });
        }
        let channel = self
            .channel(&shard.owner)
            .ok_or_else(|| CallError::Unresolved { node: shard.owner.clone(), shard: shard.id.clone() })?;
        Ok(Chosen { channel, shard, version, stale })
    }

    fn channel(&self, node: &str) -> Option<Channel> {
        let map = self.map.snapshot();
        let mut channels = self.lock();
        if channels.version != map.version {
            let owners: BTreeSet<&str> = map.shards().map(|shard| shard.owner.as_str()).collect();
            channels.of.retain(|node, _| owners.contains(node.as_str()));
            channels.version = map.version;
        }
        if let Some(channel) = channels.of.get(node) {
            return Some(channel.clone());
        }
        let channel = (self.resolve)(node)?.connect_lazy();
        channels.of.insert(node.to_owned(), channel.clone());
        Some(channel)
    }

    /// Has the next call to a node be made over a new connection, to wherever it is reached by then.
    fn forget(&self, node: &str) {
        self.lock().of.remove(node);
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ShardChooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardChooser").field("map", &self.map).finish_non_exhaustive()
    }
}
