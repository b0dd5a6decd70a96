//! Following the map of a namespace.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};

use super::cache;
use super::map::{Found, Shard, Snapshot};

/// How many shards one answer has at most.
const PAGE: i32 = 10_000;
/// How large an answer may be.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a connection and an answer may take.
const WITHIN: Duration = Duration::from_secs(5);
/// A daemon says something every 15 s; three times that without a word is a dead one.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How often it is asked whether all of the map is here, and kept on disk.
const CHECK_EVERY: Duration = Duration::from_secs(10);
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// The first pause before another daemon is tried; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

type Client = ShardControlServiceClient<Channel>;

/// Options of a shard map: which namespace is followed, and at which daemons.
#[derive(Clone, Debug)]
pub struct ShardMapOptions {
    /// The control ports of daemons; one after the other is tried. Certificates are set on them.
    pub daemons: Vec<Endpoint>,
    pub namespace: String,
    /// Where the map is kept for a start without any daemon; `None`: nowhere.
    pub cache: Option<PathBuf>,
}

/// Error of a start for which there is no map.
#[derive(Debug, thiserror::Error)]
pub enum ShardMapError {
    #[error("no daemon was named")]
    NoDaemon,
    #[error("no daemon answers, and no map was kept")]
    NoMap(#[source] Failure),
}

/// Failure of a daemon that is asked for the map.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Refused(Box<tonic::Status>),
    #[error("no answer in time")]
    Silent,
    #[error("what was told of the map is not all of it")]
    Incomplete,
    #[error("the daemon tells of a state that this version does not know")]
    Unknown,
    #[error("the daemon is cut off from its store")]
    CutOff,
    #[error("the daemon does not tell what it has")]
    Behind,
    #[error("the map is another one now")]
    Reset,
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// The map of a namespace, kept up to date until it is dropped. Cheap to ask from many threads.
#[derive(Debug)]
pub struct ShardMap {
    shared: Arc<Shared>,
    following: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    current: RwLock<Arc<Snapshot>>,
    version: watch::Sender<i64>,
}

impl Drop for ShardMap {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl ShardMap {
    /// Begins to follow: returns once a daemon has told of the map, or none can be reached and the one that was kept is used, which is
    /// stale then. Must be called within a runtime of tokio.
    ///
    /// # Errors
    /// [`ShardMapError`]: neither is there.
    pub async fn follow(options: ShardMapOptions) -> Result<Self, ShardMapError> {
        let (mut failure, mut begun) = (None, None);
        for (place, daemon) in options.daemons.iter().enumerate() {
            match Begun::at(daemon, &options.namespace, "").await {
                Ok(at) => {
                    begun = Some((place, at));
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        let kept = || cache::load(options.cache.as_deref()?, &options.namespace);
        let Some(map) = begun.as_ref().map(|(_, begun)| begun.map.clone()).or_else(kept) else {
            return Err(failure.map_or(ShardMapError::NoDaemon, ShardMapError::NoMap));
        };
        let version = watch::Sender::new(map.version);
        let shared = Arc::new(Shared { current: RwLock::new(Arc::new(map)), version });
        let follower = Follower { shared: shared.clone(), options, kept: None, heard: String::new() };
        let following = tokio::spawn(follower.run(begun));
        Ok(Self { shared, following })
    }

    /// The map as it is known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot()
    }

    /// The shard of a key, and who owns it; `None`: there are no shards.
    pub fn lookup(&self, key: &[u8]) -> Option<Found> {
        self.snapshot().lookup(key)
    }

    /// Hears of each new version of the map.
    pub(super) fn versions(&self) -> watch::Receiver<i64> {
        self.shared.version.subscribe()
    }

    /// Waits until the map has a version, which somebody has said there is, such as an owner that refused. False: not in time.
    pub async fn at_least(&self, version: i64, within: Duration) -> bool {
        let mut versions = self.shared.version.subscribe();
        timeout(within, versions.wait_for(|known| *known >= version)).await.is_ok_and(|known| known.is_ok())
    }
}

impl Shared {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, map: Snapshot) {
        let version = map.version;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        self.version.send_replace(version);
    }

    fn set_stale(&self, stale: bool) {
        let now = self.snapshot();
        if now.stale != stale {
            self.publish(Snapshot::clone(&now).with_stale(stale));
        }
    }
}

/// Follows the map of a namespace for whoever shares it.
struct Follower {
    shared: Arc<Shared>,
    options: ShardMapOptions,
    /// The version that is on disk.
    kept: Option<i64>,
    /// The cursor of what was heard last: no daemon is followed that has seen less.
    heard: String,
}

impl Follower {
    /// Follows for ever, from one daemon to the next; the first is that of which the map was read already.
    async fn run(mut self, begun: Option<(usize, Begun)>) {
        let mut pause = PAUSE_FIRST;
        let (place, mut first) = begun.unzip();
        let daemons = self.options.daemons.clone();
        for endpoint in daemons.iter().cycle().skip(place.unwrap_or_default()) {
            let daemon = endpoint.uri();
            let began = Instant::now();
            let failure = self.follow_one(endpoint, first.take()).await;
            // Whoever is told that it is stale may rely on what is on disk.
            self.save_new(&self.shared.snapshot()).await;
            match failure {
                Failure::Reset => debug!(%daemon, "map of shards is read anew"),
                failure => {
                    self.shared.set_stale(true);
                    let (error, namespace) = (&failure as &dyn std::error::Error, &self.options.namespace);
                    info!(%daemon, error, namespace, "map of shards is not followed; trying again");
                }
            }
            if began.elapsed() > WITHIN {
                pause = PAUSE_FIRST;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Follows one daemon; answers why not any more.
    async fn follow_one(&mut self, daemon: &Endpoint, begun: Option<Begun>) -> Failure {
        match self.try_follow(daemon, begun).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn try_follow(
        &mut self,
        daemon: &Endpoint,
        begun: Option<Begun>,
    ) -> Result<std::convert::Infallible, Failure> {
        let begun = match begun {
            Some(begun) => begun,
            None => Begun::at(daemon, &self.options.namespace, &self.heard).await?,
        };
        let Begun { mut map, cursor, mut client } = begun;
        self.heard.clone_from(&cursor);
        self.shared.publish(map.clone());
        let asked = pb::ShardWatchRequest {
            namespace: self.options.namespace.clone(),
            since: cursor,
            ..pb::ShardWatchRequest::default()
        };
        let mut events =
            timeout(WITHIN, client.watch(asked)).await.map_err(|_| Failure::Silent)??.into_inner();
        let (mut check, mut keep) = (interval(CHECK_EVERY), interval(KEEP_EVERY));
        check.tick().await;
        let (mut heard, mut there) = (Instant::now(), 0);
        loop {
            tokio::select! {
                event = events.message() => {
                    heard = Instant::now();
                    let event = event?.ok_or(Failure::Silent)?.into_message();
                    if !event.prev_cursor.is_empty() && event.prev_cursor != self.heard {
                        return Err(Failure::Reset);
                    }
                    if !event.cursor.is_empty() {
                        self.heard.clone_from(&event.cursor);
                    }
                    // Of one commit all or nothing is seen.
                    let is_whole = !event.more;
                    apply(&mut map, event)?;
                    if is_whole {
                        self.shared.publish(map.clone());
                    }
                }
                _ = check.tick() => {
                    let checked = check_all(&self.shared.snapshot(), &mut client).await?;
                    // What was there at the last check was to be told long ago.
                    if self.shared.snapshot().version < there {
                        return Err(Failure::Behind);
                    }
                    there = checked.version;
                    map.stale = checked.is_stale;
                    self.shared.set_stale(map.stale);
                    if map.stale && self.options.daemons.len() > 1 {
                        return Err(Failure::CutOff);
                    }
                }
                _ = keep.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Err(Failure::Silent);
                    }
                    let whole = self.shared.snapshot();
                    self.save_new(&whole).await;
                }
            }
        }
    }

    /// Keeps a map on disk unless that of its version is there; what cannot be written is tried again the next time.
    async fn save_new(&mut self, map: &Snapshot) {
        let Some(path) = self.options.cache.clone().filter(|_| self.kept != Some(map.version)) else {
            return;
        };
        let written = map.clone();
        let saved = tokio::task::spawn_blocking(move || cache::save(&path, &written)).await;
        match saved {
            Ok(Ok(())) => self.kept = Some(map.version),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, namespace = self.options.namespace, "map of shards cannot be kept on disk");
            }
            Err(_) => {}
        }
    }
}

fn apply(map: &mut Snapshot, event: pb::ShardDiffNotification) -> Result<(), Failure> {
    use pb::shard_diff_notification::Type;
    let kind = event.r#type();
    let Some(record) = event.current else {
        return if kind == Type::Reset { Err(Failure::Reset) } else { Ok(()) };
    };
    // A namespace that ends or begins does so in several commits, and keys are of other shards meanwhile.
    if kind == Type::Removed {
        return Err(Failure::Reset);
    }
    let shard = Shard::of(&record).ok_or(Failure::Unknown)?;
    if map.put(shard, record.map_version) { Ok(()) } else { Err(Failure::Reset) }
}

/// Check of the map against a daemon: the version that the daemon has, beside what it has told.
struct Checked {
    version: i64,
    /// It says that it may be behind itself.
    is_stale: bool,
}

/// That a map is all of it, if the daemon has the same version.
async fn check_all(map: &Snapshot, client: &mut Client) -> Result<Checked, Failure> {
    let asked = pb::ShardListRequest {
        namespace: map.namespace.clone(),
        page_size: 1,
        ..pb::ShardListRequest::default()
    };
    let answer = timeout(WITHIN, client.list(asked)).await.map_err(|_| Failure::Silent)??.into_inner();
    let of = answer.maps.first().cloned().unwrap_or_default();
    if of.version == map.version && of.checksum != map.checksum() {
        return Err(Failure::Incomplete);
    }
    Ok(Checked { version: of.version, is_stale: answer.stale })
}

/// The epoch of a cursor, which is greater with each registry that begins anew.
fn epoch(cursor: &str) -> Option<u64> {
    u64::from_str_radix(cursor.split(':').next()?, 16).ok()
}

/// The whole map as a daemon has it, and from where on it is to be followed there.
struct Begun {
    map: Snapshot,
    cursor: String,
    client: Client,
}

impl Begun {
    /// Of a daemon that has seen what `since` is the cursor of, or of a registry that has begun anew since.
    async fn at(daemon: &Endpoint, namespace: &str, since: &str) -> Result<Self, Failure> {
        match Self::read(daemon, namespace, since).await {
            Err(Failure::Refused(status)) if status.code() == Code::Aborted && !since.is_empty() => {
                let begun = Self::read(daemon, namespace, "").await?;
                if epoch(&begun.cursor) > epoch(since) { Ok(begun) } else { Err(Failure::Behind) }
            }
            begun => begun,
        }
    }

    async fn read(daemon: &Endpoint, namespace: &str, since: &str) -> Result<Self, Failure> {
        let channel = daemon.clone().connect_timeout(WITHIN).tcp_nodelay(true).connect().await?;
        let mut client = ShardControlServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let (mut shards, mut page, mut first) = (Vec::new(), String::new(), None);
        loop {
            let asked = pb::ShardListRequest {
                namespace: namespace.to_owned(),
                page_size: PAGE,
                cursor: page.clone(),
                min_revision: since.to_owned(),
                ..pb::ShardListRequest::default()
            };
            let answer =
                timeout(WITHIN, client.list(asked)).await.map_err(|_| Failure::Silent)??.into_inner();
            shards.extend(answer.shards.iter().map(Shard::of));
            page.clone_from(&answer.next_cursor);
            let of = answer.maps.first().cloned().unwrap_or_default();
            first.get_or_insert((of, answer.registry_cursor, answer.stale));
            if page.is_empty() {
                break;
            }
        }
        let (of, cursor, stale) = first.unwrap_or_default();
        let shards = shards.into_iter().collect::<Option<Vec<Shard>>>().ok_or(Failure::Unknown)?;
        let map = Snapshot::new(namespace, of.version, shards).with_stale(stale);
        if map.checksum() == of.checksum {
            Ok(Self { map, cursor, client })
        } else {
            Err(Failure::Incomplete)
        }
    }
}
