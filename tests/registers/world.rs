//! Daemons that host registers, and daemons that keep pools, each on a store of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::api::{Answer, Api};
use crate::process::{Daemon, Place, until};
use crate::servers::{RedisServer, free_port};

/// How often another port is tried.
const PORTS_TRIED: usize = 20;

/// What the daemons of a scenario keep their records in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    Embedded,
    Redis,
}

/// A daemon that is stopped and started at one address, with its store.
pub(crate) struct Node {
    pub id: String,
    pub place: Place,
    /// `None`: its store is the embedded one.
    pub server: Option<RedisServer>,
    /// What it is started with besides its store.
    settings: Vec<String>,
    daemon: Option<Daemon>,
}

/// A daemon with a catalogue, which pushes to a daemon with a pool.
pub(crate) struct Pair {
    pub catalogue: Node,
    pub pool: Node,
}

/// Settings of a scenario: what is wrong is found within a second, and what is there survives a restart.
pub(crate) const BRISK: &[&str] = &["registers.resyncInterval=1s", "registers.advertisementTtl=10s"];
/// As [`BRISK`], but nothing is found by comparing within the time of a test.
pub(crate) const ONLY_WHEN_CHANGED: &[&str] =
    &["registers.resyncInterval=5m", "registers.advertisementTtl=10m"];

/// Defines a test of each scenario for each store.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::world::Backing::Embedded).await
                }
            )*
        }
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::world::Backing::Redis).await
                }
            )*
        }
    };
}

impl Node {
    /// A node on a store of its own, running.
    pub(crate) fn start(backing: Backing, id: &str, settings: &[&str]) -> Result<Self> {
        let server = match backing {
            Backing::Embedded => None,
            // Kept through a restart, as the file of the embedded store is.
            Backing::Redis => Some(RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?),
        };
        Self::start_with(server, id, settings)
    }

    /// As [`Node::start`], on a server that is given.
    pub(crate) fn start_with(server: Option<RedisServer>, id: &str, settings: &[&str]) -> Result<Self> {
        let url = server.as_ref().map_or_else(|| "embedded:".to_owned(), RedisServer::url);
        let mut node = Self::start_on(&url, id, settings)?;
        node.server = server;
        Ok(node)
    }

    /// As [`Node::start`], on the store of others.
    pub(crate) fn start_on(url: &str, id: &str, settings: &[&str]) -> Result<Self> {
        let mut node = Self::new(url, id, settings)?;
        // The port stays the node's own while it is down: nobody is given one as low by the system.
        for _ in 0..PORTS_TRIED {
            node.place.listen = format!("127.0.0.1:{}", free_port()?);
            match node.up() {
                Ok(()) => return Ok(node),
                Err(_) if node.place.log().contains("in use") => std::fs::remove_file(node.place.log_file())?,
                Err(error) => return Err(error),
            }
        }
        bail!("no port was free long enough")
    }

    fn new(url: &str, id: &str, settings: &[&str]) -> Result<Self> {
        let place = Place::new(&["--node-id", id, "--store", url])?;
        let mut node = Self { id: id.to_owned(), place, server: None, settings: Vec::new(), daemon: None };
        node.set(settings);
        Ok(node)
    }

    /// Begins a node that may never become ready, and waits until it answers.
    pub(crate) async fn begin_on(url: &str, id: &str, settings: &[&str]) -> Result<Self> {
        let mut node = Self::new(url, id, settings)?;
        node.place.listen = format!("127.0.0.1:{}", free_port()?);
        node.daemon = Some(node.place.begin()?);
        let api = node.api()?;
        until("it answers", async || Ok(api.get("/healthz").await?.status == 200)).await?;
        Ok(node)
    }

    /// The same on a server of its own that is away.
    pub(crate) async fn begin_with(server: RedisServer, id: &str, settings: &[&str]) -> Result<Self> {
        let mut node = Self::begin_on(&server.url(), id, settings).await?;
        node.server = Some(server);
        Ok(node)
    }

    /// Changes what it is started with the next time.
    pub(crate) fn set(&mut self, settings: &[&str]) {
        let own = self.place.arguments.len() - 2 * self.settings.len();
        self.place.arguments.truncate(own);
        self.settings = settings.iter().map(|text| (*text).to_owned()).collect();
        for setting in settings {
            self.place.arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
    }

    pub(crate) fn up(&mut self) -> Result<()> {
        self.daemon = Some(self.place.start()?);
        Ok(())
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("it does not run")?.kill()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("it does not run")?;
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success(), "{}", self.place.log());
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.up()
    }

    pub(crate) fn server(&mut self) -> Result<&mut RedisServer> {
        self.server.as_mut().context("the store is no server")
    }

    /// With scheme; the same whether it runs or not.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.place.listen)
    }

    pub(crate) fn api(&self) -> Result<Api> {
        Api::new(&self.place.listen)
    }

    /// The public registers that it knows of, as Sorcha's services read them.
    pub(crate) async fn available(&self) -> Result<Vec<Value>> {
        let list = self.api()?.get("/api/registers/available").await?.ok()?;
        Ok(list.as_array().context("no bare list")?.clone())
    }

    /// The ids of [`Node::available`].
    pub(crate) async fn shown(&self) -> Result<Vec<String>> {
        Ok(self.available().await?.iter().map(|register| text(&register["registerId"])).collect())
    }

    /// Waits until exactly these are available.
    pub(crate) async fn until_shown(&self, ids: &[&str]) -> Result<()> {
        until(&format!("{} shows {ids:?}", self.id), async || Ok(self.shown().await? == ids)).await
    }

    /// As [`Node::until_shown`], within a limit that is promised.
    pub(crate) async fn shows_within(&self, limit: Duration, ids: &[&str]) -> Result<()> {
        let what = format!("{} shows {ids:?}", self.id);
        crate::process::within(limit, &what, async || Ok(self.shown().await? == ids)).await
    }

    pub(crate) async fn expect_shown(&self, ids: &[&str]) -> Result<()> {
        let shown = self.shown().await?;
        ensure!(shown == ids, "{} shows {shown:?}, not {ids:?}", self.id);
        Ok(())
    }

    /// The advertisements of all sources, one for each producer.
    pub(crate) async fn advertisements(&self) -> Result<Vec<Value>> {
        let list = self.api()?.get("/control/advertisements").await?.ok()?;
        Ok(list["advertisements"].as_array().context("no list")?.clone())
    }

    /// Waits until every source has confirmed what is shown.
    pub(crate) async fn until_confirmed(&self) -> Result<()> {
        until(&format!("all that {} shows is confirmed", self.id), async || {
            Ok(self.advertisements().await?.iter().all(|shown| shown["syncState"] != "unverified"))
        })
        .await
    }

    /// Enters a register in the catalogue of this node.
    pub(crate) async fn create(&self, id: &str, advertise: bool) -> Result<Value> {
        let body = json!({"registerId": id, "name": format!("Register {id}"), "advertise": advertise});
        self.api()?.post("/control/registers", &body).await?.ok()
    }

    /// Enters public registers in one request.
    pub(crate) async fn import(&self, ids: &[String]) -> Result<()> {
        let registers: Vec<_> = ids.iter().map(|id| json!({"registerId": id, "advertise": true})).collect();
        let body = json!({"registers": registers});
        let answer = self.api()?.post("/control/registers:import", &body).await?.ok()?;
        ensure!(answer["added"] == ids.len() && answer["failed"] == 0, "{answer}");
        Ok(())
    }

    /// Turns the advertising of a register on or off.
    pub(crate) async fn turn(&self, id: &str, advertise: bool) -> Result<Value> {
        let body = json!({"advertise": advertise});
        self.api()?.patch(&format!("/control/registers/{id}"), &body).await?.ok()
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<Value> {
        self.api()?.delete(&format!("/control/registers/{id}")).await?.ok()
    }

    /// Pushes to the pool of this node, as a register service outside.
    pub(crate) async fn push(&self, items: &Value, full_sync: bool) -> Result<Answer> {
        let body = json!({"advertisements": items, "fullSync": full_sync});
        self.api()?.post("/api/registers/bulk-advertise", &body).await
    }

    /// Advertises one register in the pool of this node, or hides it.
    pub(crate) async fn advertise(&self, id: &str, public: bool) -> Result<Answer> {
        self.api()?.post(&format!("/api/registers/{id}/advertise"), &json!({"isPublic": public})).await
    }

    /// How far a pool agrees with the catalogue of this node, as it says; `local` is its own pool.
    pub(crate) async fn sync_state(&self, target: &str) -> Result<Value> {
        let state = self.api()?.get("/control/registers:syncState").await?.ok()?;
        let targets = state["targets"].as_array().context("no targets")?;
        let found = targets.iter().find(|state| state["target"] == target);
        Ok(found.with_context(|| format!("no {target}: {state}"))?.clone())
    }

    /// How many changes of its pool wait for the store.
    pub(crate) async fn deferred(&self) -> Result<u64> {
        number(&self.api()?.get("/control/registers:syncState").await?.ok()?["deferred"])
    }

    /// Waits until nothing of its pool waits for the store: it shows what it is told before its store has it.
    pub(crate) async fn until_written(&self) -> Result<()> {
        until("nothing waits for the store", async || Ok(self.deferred().await? == 0)).await
    }

    /// Waits until there were two further runs, the last of which succeeded: one of them began after this call.
    pub(crate) async fn until_synced_again(&self, target: &str) -> Result<()> {
        let before = number(&self.sync_state(target).await?["runs"])?;
        until(&format!("{} pushes to {target} again", self.id), async || {
            let state = self.sync_state(target).await?;
            Ok(number(&state["runs"])? >= before + 2 && state["status"] == "success")
        })
        .await
    }

    /// The revision at which the registry of this node stands.
    pub(crate) async fn cursor(&self) -> Result<String> {
        Ok(text(&self.api()?.get("/control/advertisements").await?.ok()?["cursor"]))
    }
}

impl Pair {
    /// A pool, and a catalogue with these registers, advertised or not; both run.
    pub(crate) async fn start(backing: Backing, registers: &[(&str, bool)]) -> Result<Self> {
        Self::start_with(backing, registers, BRISK).await
    }

    pub(crate) async fn start_with(
        backing: Backing,
        registers: &[(&str, bool)],
        settings: &[&str],
    ) -> Result<Self> {
        let pool = Node::start(backing, "pool", settings)?;
        let peers = pushing_to(&[&pool.url()]);
        let catalogue = Node::start(backing, "catalogue", &[settings, &[&peers]].concat())?;
        let pair = Self { catalogue, pool };
        for (id, advertise) in registers {
            pair.catalogue.create(id, *advertise).await?;
        }
        let mut shown: Vec<&str> = registers.iter().filter(|(_, shown)| *shown).map(|(id, _)| *id).collect();
        shown.sort_unstable();
        pair.pool.until_shown(&shown).await?;
        pair.until_written().await?;
        Ok(pair)
    }

    /// Waits until the catalogue has pushed all to the pool again.
    pub(crate) async fn until_synced_again(&self) -> Result<()> {
        self.catalogue.until_synced_again(&self.pool.url()).await
    }

    /// Waits until no push is on its way, and nothing of it waits for the store.
    pub(crate) async fn until_written(&self) -> Result<()> {
        let url = self.pool.url();
        let success = async || Ok(self.catalogue.sync_state(&url).await?["status"] == "success");
        until("the push is over", success).await?;
        self.pool.until_written().await
    }

    /// What the pool shows when nobody pushes to it and all it has is its store.
    pub(crate) async fn shown_from_the_store(&mut self) -> Result<Vec<String>> {
        self.until_written().await?;
        self.catalogue.kill()?;
        self.pool.restart()?;
        self.pool.shown().await
    }
}

/// The setting of a daemon that pushes to these pools.
pub(crate) fn pushing_to(urls: &[&str]) -> String {
    format!("registers.peerServices={}", json!(urls))
}

/// `prefix-000`, `prefix-001` ...
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:05}")).collect()
}

/// As items of a push.
pub(crate) fn public(ids: &[impl AsRef<str>]) -> Value {
    ids.iter().map(|id| json!({"registerId": id.as_ref(), "isPublic": true})).collect()
}

/// Items by their `registerId`.
pub(crate) fn by_id(list: &[Value]) -> BTreeMap<String, Value> {
    list.iter().map(|item| (text(&item["registerId"]), item.clone())).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number, as either dialect has it.
pub(crate) fn number(value: &Value) -> Result<u64> {
    let found = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    found.with_context(|| format!("{value} is no number"))
}
