//! A master with replicas, watched by three Sentinels.

use anyhow::{Context, Result};

use super::server::{RedisServer, eventually};

/// What the Sentinels call the master.
pub(super) const SERVICE: &str = "mesh";
const QUORUM: usize = 2;
/// How long a server is silent before it is given up. Shorter, and a busy machine has failovers that
/// no test asked for.
const DOWN_AFTER_MS: u32 = 1500;
const SENTINELS: usize = 3;

/// Servers, the first of which was the master at first.
pub struct Sentinels {
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts a master with replicas and the Sentinels, and waits until all know each other.
    pub fn start(replicas: usize) -> Result<Self> {
        let master = RedisServer::start(&[])?;
        let port = master.port().to_string();
        let follow = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"];
        let mut servers = vec![master];
        for _ in 0..replicas {
            servers.push(RedisServer::start(&follow)?);
        }
        for replica in &servers[1..] {
            eventually("the replica follows", || Ok(replica.info("master_link_status")? == "up"))?;
        }
        let sentinels = (0..SENTINELS).map(|_| sentinel(&port)).collect::<Result<Vec<_>>>()?;
        let group = Self { servers, sentinels };
        eventually("the Sentinels know all", || group.is_complete(replicas))?;
        Ok(group)
    }

    fn is_complete(&self, replicas: usize) -> Result<bool> {
        let expected = format!("status=ok,address={},", self.servers[0].address());
        let counts = format!(",slaves={replicas},sentinels={SENTINELS}");
        for sentinel in &self.sentinels {
            let info = sentinel.info("master0")?;
            if !(info.contains(&expected) && info.ends_with(&counts)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `redis+sentinel://...`, with all Sentinels.
    pub fn url(&self) -> String {
        let all: Vec<String> = self.sentinels.iter().map(RedisServer::address).collect();
        format!("redis+sentinel://{}/{SERVICE}", all.join(","))
    }

    /// Which of the servers a Sentinel names as the master.
    pub fn announced(&self) -> Result<usize> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let mut failure = None;
        for sentinel in &self.sentinels {
            match sentinel.cli::<(String, u16)>(&command) {
                Ok((_, port)) => {
                    let at = self.servers.iter().position(|server| server.port() == port);
                    return at.with_context(|| format!("nobody has port {port}"));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("there is no Sentinel")?)
    }

    /// Waits until so many listen to each of the Sentinels.
    pub fn wait_for_listeners(&self, count: usize) -> Result<()> {
        eventually("every Sentinel is listened to", || {
            for sentinel in &self.sentinels {
                let clients: String = sentinel.cli(&["CLIENT", "LIST", "TYPE", "pubsub"])?;
                if clients.lines().filter(|line| line.contains(" sub=4 ")).count() < count {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Kills the master; returns which server it was.
    pub fn kill_master(&mut self) -> Result<usize> {
        let master = self.announced()?;
        self.servers[master].kill()?;
        Ok(master)
    }

    /// Waits until a Sentinel names another master than `before`; returns which.
    pub fn wait_for_failover(&self, before: usize) -> Result<usize> {
        eventually("another master is announced", || Ok(self.announced()? != before))?;
        self.announced()
    }
}

fn sentinel(master: &str) -> Result<RedisServer> {
    let directory = tempfile::tempdir()?;
    let configuration = format!(
        "sentinel monitor {SERVICE} 127.0.0.1 {master} {QUORUM}\n\
         sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {SERVICE} 3000\n"
    );
    let file = directory.path().join("sentinel.conf");
    std::fs::write(&file, configuration)?;
    RedisServer::start_in(directory, &["{dir}/sentinel.conf", "--sentinel"])
}
