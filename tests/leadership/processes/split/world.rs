//! A master, a replica, three Sentinels and three daemons, each reached by a door.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::api::Api;
use crate::process::{Daemon, Place, until};
use crate::servers::net::{Door, Net};
use crate::servers::{RedisServer, eventually};

const SERVICE: &str = "mesh";
const SENTINELS: usize = 3;
const DAEMONS: usize = 3;
const SHARDS: usize = 6;

/// A server and the door to it.
pub(super) struct Housed {
    pub server: RedisServer,
    pub door: Door,
}

pub(super) struct Member {
    pub id: String,
    pub api: Api,
    pub daemon: Daemon,
    pub place: Place,
}

pub(super) struct World {
    pub net: Net,
    pub servers: Vec<Housed>,
    pub sentinels: Vec<Housed>,
    pub members: Vec<Member>,
    pub scopes: Vec<String>,
    _settings: TempDir,
}

/// The leaders that a daemon shows, with their tokens.
pub(super) type Shown = BTreeMap<String, (String, u64)>;

impl Housed {
    async fn server(net: &Net, follows: Option<u16>) -> Result<Self> {
        let door = net.door().await?;
        let (own, master) = (door.port().to_string(), follows.map(|port| port.to_string()));
        let announce = ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &own];
        let mut arguments = [&announce[..], &["--repl-diskless-sync-delay", "0"]].concat();
        if let Some(master) = &master {
            arguments.extend(["--replicaof", "127.0.0.1", master]);
        }
        let server = RedisServer::start(&arguments)?;
        Self { server, door }.known(net)
    }

    async fn sentinel(net: &Net, master: u16) -> Result<Self> {
        let (door, directory) = (net.door().await?, tempfile::tempdir()?);
        let configuration = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {SERVICE} 3000\n\
             sentinel failover-timeout {SERVICE} 3000\n\
             sentinel announce-ip 127.0.0.1\n\
             sentinel announce-port {}\n",
            door.port()
        );
        std::fs::write(directory.path().join("sentinel.conf"), configuration)?;
        let server = RedisServer::start_in(directory, &["{dir}/sentinel.conf", "--sentinel"])?;
        Self { server, door }.known(net)
    }

    fn known(self, net: &Net) -> Result<Self> {
        let pid = self.pid()?;
        net.know(pid);
        self.door.leads_to(self.server.address(), pid)?;
        Ok(self)
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.server.pid().context("it does not run")
    }
}

impl World {
    /// Starts all of it and waits until each scope is led. `need` is what leaders need, where it is configured.
    pub(super) async fn start(need: Option<u32>) -> Result<Self> {
        let net = Net::default();
        let master = Housed::server(&net, None).await?;
        let port = master.door.port();
        let replica = Housed::server(&net, Some(port)).await?;
        eventually_blocking(
            "the replica follows",
            || Ok(replica.server.info("master_link_status")? == "up"),
        )?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(Housed::sentinel(&net, port).await?);
        }
        let shards: Vec<String> = (0..SHARDS).map(|shard| format!("{shard:03}")).collect();
        let scopes = shards.iter().map(|shard| format!("shard/orders/{shard}"));
        let scopes = std::iter::once("global-control".to_owned()).chain(scopes).collect();
        let settings = tempfile::tempdir()?;
        let mut world = Self {
            net,
            servers: vec![master, replica],
            sentinels,
            members: Vec::new(),
            scopes,
            _settings: settings,
        };
        eventually_blocking("the Sentinels know all", || world.is_settled())?;
        let file = world._settings.path().join("omnirelayd.yaml");
        let store = need.map_or_else(|| json!({}), |need| json!({"redis": {"leadersNeedReplicas": need}}));
        let configuration = json!({"store": store, "mesh": {"leadership": {
            "scopes": [{"scopeId": "global-control"}],
            "shards": [{"namespace": "orders", "shards": shards}],
        }}});
        // JSON is YAML.
        std::fs::write(&file, configuration.to_string())?;
        let file = file.to_str().context("no UTF-8")?.to_owned();
        for number in 1..=DAEMONS {
            let member = world.member(number, &file)?;
            world.members.push(member);
        }
        world.until_whole().await?;
        Ok(world)
    }

    fn url(&self) -> String {
        let doors: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.door.address()).collect();
        format!("redis+sentinel://{}/{SERVICE}", doors.join(","))
    }

    fn member(&self, number: usize, file: &str) -> Result<Member> {
        let id = format!("n{number}");
        let place = Place::new(&["--node-id", &id, "--store", &self.url(), "--config", file])?;
        let daemon = place.begin()?;
        self.net.know(daemon.pid());
        let daemon = tokio::task::block_in_place(|| place.ready(daemon))?;
        Ok(Member { id, api: Api::new(&daemon.control)?, daemon, place })
    }

    /// Whether the Sentinels agree on a master that has its replica.
    fn is_settled(&self) -> Result<bool> {
        let mut named = Vec::new();
        for sentinel in &self.sentinels {
            let (_, port): (String, u16) =
                sentinel.server.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
            let info = sentinel.server.info("master0")?;
            if !(info.contains("status=ok") && info.ends_with(&format!(",slaves=1,sentinels={SENTINELS}"))) {
                return Ok(false);
            }
            named.push(port);
        }
        let Some(master) = self.servers.iter().find(|server| server.door.port() == named[0]) else {
            return Ok(false);
        };
        let replica =
            self.servers.iter().find(|server| server.door.port() != named[0]).context("no replica")?;
        Ok(named.iter().all(|port| *port == named[0])
            && master.server.info("role")? == "master"
            && replica.server.info("role")? == "slave"
            && replica.server.info("master_port")? == named[0].to_string()
            && replica.server.info("master_link_status")? == "up")
    }

    /// Which server a Sentinel names.
    pub(super) fn master(&self, by: usize) -> Result<usize> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let (_, port): (String, u16) = self.sentinels[by].server.cli(&command)?;
        self.servers.iter().position(|server| server.door.port() == port).context("nobody has that port")
    }

    /// What a daemon shows.
    pub(super) async fn shown(&self, at: usize) -> Result<Shown> {
        let answer = self.members[at].api.get("/control/leaders").await?.ok()?;
        shown(&answer)
    }

    /// Waits until everything is connected and all daemons show the same leader of each scope.
    pub(super) async fn until_whole(&self) -> Result<()> {
        eventually_blocking("the servers are settled", || self.is_settled())?;
        until("all daemons show the same leaders", async || {
            let first = self.shown(0).await?;
            ensure!(first.len() == self.scopes.len(), "{first:?}");
            for at in 1..self.members.len() {
                let other = self.shown(at).await?;
                ensure!(other == first, "{first:?} {other:?}");
            }
            Ok(true)
        })
        .await
    }

    /// What all have said, for a test that fails.
    pub(super) fn logs(&self) -> String {
        self.members.iter().map(|member| format!("{} said:\n{}\n", member.id, member.place.log())).collect()
    }
}

/// Leaders and tokens in an answer.
pub(super) fn shown(answer: &Value) -> Result<Shown> {
    let tokens = answer["tokens"].as_array().context("no tokens")?;
    let read = |token: &Value| {
        let text = |key: &str| Ok::<_, anyhow::Error>(token[key].as_str().context("no text")?.to_owned());
        Ok((text("scope")?, (text("leaderId")?, text("fenceToken")?.parse()?)))
    };
    tokens.iter().map(read).collect()
}

fn eventually_blocking(what: &str, is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    tokio::task::block_in_place(|| eventually(what, is_true))
}
