//! Stores in real Redis servers, which the tests start themselves.
//!
//! The servers of a topology are shared by all rules, each with keys of its own, and end with the
//! process of the tests.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::url::UrlSecret;
use omnirelay_store::{Epoch, Pulse, RedisStore, Store, StoreError};

use crate::harness::{Harness, epoch};
use crate::servers::guide::user_of;
use crate::servers::{Cluster, RedisServer, Sentinels};

const MESH: &str = "mesh";
/// For how long a server of ours may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// The user of the guide that the stores are: what it lets them do must be all that they need.
const USER: &str = "omnirelay";
/// Stands for the password in the guide.
const PASSWORD: &str = "PASSWORD";

/// A store of its own on servers that are shared.
pub(crate) struct Redis {
    servers: &'static Servers,
    prefix: String,
    store: Option<Arc<RedisStore>>,
}

enum Servers {
    Standalone(RedisServer),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

/// The servers of one topology, and what ends them.
struct Shared {
    servers: Servers,
    _guard: Guard,
}

/// A process that waits for the end of this one and then ends the servers: what is static is never
/// dropped.
struct Guard(Child);

static STANDALONE: OnceLock<Shared> = OnceLock::new();
static SENTINEL: OnceLock<Shared> = OnceLock::new();
static CLUSTER: OnceLock<Shared> = OnceLock::new();
static PREFIXES: AtomicU64 = AtomicU64::new(0);

impl Shared {
    fn start(start: impl FnOnce() -> anyhow::Result<Servers>) -> Self {
        let servers = start().and_then(Servers::admit_users).expect("the servers start");
        let _guard = Guard::over(servers.all());
        Self { servers, _guard }
    }
}

impl Guard {
    /// Its standard input is a pipe from this process, which ends when this process does.
    fn over(servers: Vec<&RedisServer>) -> Self {
        let pids: Vec<String> =
            servers.iter().filter_map(|server| server.pid()).map(|pid| pid.to_string()).collect();
        let mut guard = Command::new("sh");
        guard.args(["-c", "cat >/dev/null; kill -KILL $PIDS; rm -rf \"$@\"", "guard"]);
        guard.args(servers.iter().map(|server| server.directory()));
        guard.env("PIDS", pids.join(" ")).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(guard.spawn().expect("the guard starts"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Servers {
    /// Makes the guide's users; all that the stores do is done by them.
    fn admit_users(self) -> anyhow::Result<Self> {
        let (servers, sentinels, whom) = match &self {
            Self::Standalone(server) => (vec![server], Vec::new(), "servers"),
            Self::Sentinel(all) => (all.servers.iter().collect(), all.sentinels.iter().collect(), "servers"),
            Self::Cluster(cluster) => (cluster.nodes.iter().collect(), Vec::new(), "nodes of a Cluster"),
        };
        for server in servers {
            server.cli::<()>(&user_of(whom)?)?;
        }
        for sentinel in sentinels {
            sentinel.cli::<()>(&user_of("Sentinels")?)?;
        }
        Ok(self)
    }

    fn all(&self) -> Vec<&RedisServer> {
        match self {
            Self::Standalone(server) => vec![server],
            Self::Sentinel(sentinels) => sentinels.servers.iter().chain(&sentinels.sentinels).collect(),
            Self::Cluster(cluster) => cluster.nodes.iter().collect(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Standalone(server) => server.url(),
            Self::Sentinel(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(&[0, 1, 2]),
        }
    }

    /// The server that has the keys of a hash tag.
    fn keeper(&self, tag: &str) -> &RedisServer {
        match self {
            Self::Standalone(server) => server,
            Self::Sentinel(sentinels) => &sentinels.servers[sentinels.announced().unwrap()],
            Self::Cluster(cluster) => &cluster.nodes[cluster.owner(tag).unwrap()],
        }
    }
}

impl Redis {
    pub(crate) async fn standalone() -> Box<dyn Harness> {
        Box::new(Self::standalone_mesh())
    }

    /// Keys of their own on the standalone server.
    pub(crate) fn standalone_mesh() -> Self {
        let start = || Shared::start(|| Ok(Servers::Standalone(RedisServer::start(&[])?)));
        Self::on(&STANDALONE.get_or_init(start).servers)
    }

    /// Another store on the same keys, with a connection of its own.
    pub(crate) fn another(&self) -> Arc<dyn Store> {
        self.connect()
    }

    /// A master with a replica and three Sentinels.
    pub(crate) async fn sentinel() -> Box<dyn Harness> {
        let start = || Shared::start(|| Ok(Servers::Sentinel(Sentinels::start(1)?)));
        Box::new(Self::on(&SENTINEL.get_or_init(start).servers))
    }

    /// Three masters; the rules' keys are on all of them.
    pub(crate) async fn cluster() -> Box<dyn Harness> {
        let start = || Shared::start(|| Ok(Servers::Cluster(Cluster::start()?)));
        Box::new(Self::on(&CLUSTER.get_or_init(start).servers))
    }

    fn on(servers: &'static Servers) -> Self {
        let prefix = format!("omnirelay:rule-{}", PREFIXES.fetch_add(1, Ordering::Relaxed));
        let mut harness = Self { servers, prefix, store: None };
        harness.open();
        harness
    }

    fn open(&mut self) {
        self.store = Some(self.connect());
    }

    fn connect(&self) -> Arc<RedisStore> {
        self.connect_as(USER)
    }

    fn connect_as(&self, user: &str) -> Arc<RedisStore> {
        let url = format!("{}?prefix={}", self.servers.url(), self.prefix);
        let (user, password) = (Some(user.to_owned()), Some(UrlSecret::new(PASSWORD)));
        let options = RedisOptions {
            username: user.clone(),
            password: password.clone(),
            sentinel_username: user,
            sentinel_password: password,
            connect_timeout: PATIENCE,
            response_timeout: PATIENCE,
            ..RedisOptions::default()
        };
        // The rules ask for a quarantine where they want one.
        Arc::new(RedisStore::new(url.parse().unwrap(), options, MESH, Duration::ZERO))
    }

    /// Moves the time of the store, which goes on from there.
    fn shift(&self, ms: i64) {
        self.change_state("offset", ms);
    }

    fn set_state(&self, field: &str, to: u64) {
        let tag = format!("{}:{MESH}", self.prefix);
        let meta = format!("{{{tag}}}:meta");
        let set = self.servers.keeper(&tag).cli::<i64>(&["HSET", &meta, field, &to.to_string()]);
        set.expect("the state of the store is set");
    }

    fn change_state(&self, field: &str, by: i64) {
        let tag = format!("{}:{MESH}", self.prefix);
        let meta = format!("{{{tag}}}:meta");
        let changed = self.servers.keeper(&tag).cli::<i64>(&["HINCRBY", &meta, field, &by.to_string()]);
        changed.expect("the state of the store is changed");
    }
}

#[async_trait]
impl Harness for Redis {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("open between the calls of the harness")
    }

    async fn advance(&mut self, by: Duration) {
        self.shift(by.as_millis() as i64);
    }

    async fn reopen(&mut self, wall_back: Duration) {
        self.store = None;
        self.shift(-(wall_back.as_millis() as i64));
        self.open();
    }

    async fn quarantine(&self, length: Duration) {
        let now = crate::harness::now(self.store().as_ref()).await;
        self.set_state("quarantine", now.after(length).0);
    }
}

/// A master that was cut off goes on in the epoch that it was in; its successor began another one and
/// granted leases in it. When the successor fails and the old master is taken back, whoever has seen
/// the later epoch must not go on in the earlier.
#[tokio::test]
async fn a_server_in_an_earlier_epoch_begins_a_later_one() {
    let mesh = Redis::standalone_mesh();
    let store = mesh.another();
    let seen = epoch(store.as_ref()).await;
    mesh.change_state("epoch", -10);
    let ask = || store.pulse(Pulse { epoch: Some(seen), ..Pulse::default() });
    let earlier = Epoch(seen.0 - 10);
    assert!(matches!(ask().await, Err(StoreError::EpochChanged { current }) if current == earlier));
    let found = loop {
        match ask().await {
            Err(StoreError::EpochChanged { current }) => break current,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => panic!("{other:?}"),
        }
    };
    assert!(found > seen, "{found} after {seen}");
}

/// Half of a commit would be made: Redis does not take back what a script has written.
#[tokio::test]
async fn a_user_that_lacks_a_command_is_refused_at_once() {
    let mesh = Redis::standalone_mesh();
    let mut command = user_of("servers").expect("the guide has it");
    command[2] = "lacking";
    command.extend(["-zadd", "-xtrim"]);
    let Servers::Standalone(server) = mesh.servers else { panic!("another server") };
    server.cli::<()>(&command).expect("the user is made");
    let store = mesh.connect_as("lacking");
    let error = store.pulse(Pulse::default()).await.expect_err("a refusal");
    let StoreError::Unavailable(cause) = error else { panic!("{error:?}") };
    let cause = std::iter::successors(Some(cause.as_ref() as &dyn std::error::Error), |error| error.source());
    let said: Vec<String> = cause.map(ToString::to_string).collect();
    assert!(said.iter().any(|said| said.ends_with("NOPERM the user needs +xtrim +zadd")), "{said:?}");
}

/// Each listens on a channel that needs a permission of its own.
#[tokio::test]
async fn the_guides_user_hears_what_sentinels_announce() -> anyhow::Result<()> {
    let start = || Shared::start(|| Ok(Servers::Sentinel(Sentinels::start(1)?)));
    let mesh = Redis::on(&SENTINEL.get_or_init(start).servers);
    let Servers::Sentinel(servers) = mesh.servers else { panic!("another server") };
    mesh.store().pulse(Pulse::default()).await?;
    tokio::task::spawn_blocking(|| servers.wait_for_listeners(1)).await?
}
