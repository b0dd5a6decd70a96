//! One Sentinel is cut off together with the old master, while clients reach all: nobody believes it alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use omnirelay_store::redis::link::MasterLink;
use redis::cmd;

use crate::linked::hasty_link;
use crate::servers::net::{Door, Net};
use crate::servers::{PATIENCE, RedisServer, eventually};

const SERVICE: &str = "mesh";
const SENTINELS: usize = 3;
const REPLICAS: usize = 2;
const MADE: &str = "{omnirelay}:made";
/// How many changes are acknowledged while the network is split, once there is another master.
const ENOUGH: usize = 300;
/// For how long at least: longer than a Sentinel is asked anew, and than a failover is heard.
const APART: Duration = Duration::from_secs(8);
/// How often it is tried to have one failover and no second one.
const RUNS_MAX: usize = 3;
/// How much longer it takes to connect to the Sentinel that is cut off: longer than the others wait for its answer.
const FURTHER: Duration = Duration::from_millis(80);

/// A server and the door to it, whose address it announces.
struct Housed {
    server: RedisServer,
    door: Door,
}

struct Group {
    net: Net,
    servers: Vec<Housed>,
    sentinels: Vec<Housed>,
}

/// Where the Sentinel stands in the URL that is cut off.
#[derive(Clone, Copy, Debug)]
enum Place {
    First,
    Last,
}

/// How the servers are set up.
#[derive(Clone, Copy, Debug)]
enum Settings {
    Default,
    /// `min-replicas-to-write 1`, `min-replicas-max-lag 2`.
    Recommended,
}

impl Housed {
    fn pid(&self) -> Result<u32> {
        self.server.pid().context("it does not run")
    }

    fn known(self, net: &Net) -> Result<Self> {
        let pid = self.pid()?;
        net.know(pid);
        self.door.leads_to(self.server.address(), pid)?;
        Ok(self)
    }
}

impl Group {
    async fn start(settings: Settings) -> Result<Self> {
        let net = Net::default();
        net.know(std::process::id());
        let mut servers: Vec<Housed> = Vec::new();
        for _ in 0..=REPLICAS {
            let door = net.door().await?;
            let (own, master) =
                (door.port().to_string(), servers.first().map(|first| first.door.port().to_string()));
            let mut arguments = vec![
                "--replica-announce-ip",
                "127.0.0.1",
                "--replica-announce-port",
                &own,
                "--repl-diskless-sync-delay",
                "0",
            ];
            if let Settings::Recommended = settings {
                arguments.extend(["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]);
            }
            if let Some(master) = &master {
                arguments.extend(["--replicaof", "127.0.0.1", master]);
            }
            let server = RedisServer::start(&arguments)?;
            servers.push(Housed { server, door }.known(&net)?);
        }
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(sentinel(&net, servers[0].door.port()).await?);
        }
        sentinels[0].door.is_slow(FURTHER)?;
        let group = Self { net, servers, sentinels };
        blocking("the Sentinels know all", || group.is_settled())?;
        Ok(group)
    }

    fn is_settled(&self) -> Result<bool> {
        let counts = format!(",slaves={REPLICAS},sentinels={SENTINELS}");
        for sentinel in &self.sentinels {
            let info = sentinel.server.info("master0")?;
            if !(info.contains("status=ok") && info.ends_with(&counts)) {
                return Ok(false);
            }
        }
        for replica in &self.servers[1..] {
            if replica.server.info("master_link_status")? != "up" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn url(&self, place: Place) -> String {
        let mut all: Vec<String> = self.sentinels.iter().map(|sentinel| sentinel.door.address()).collect();
        match place {
            Place::First => {}
            Place::Last => all.rotate_left(1),
        }
        format!("redis+sentinel://{}/{SERVICE}", all.join(","))
    }

    /// Which server the second Sentinel names, which is never cut off.
    fn named(&self) -> Result<usize> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE];
        let (_, port): (String, u16) = self.sentinels[1].server.cli(&command)?;
        self.servers.iter().position(|server| server.door.port() == port).context("nobody has that port")
    }

    /// Cuts the master and the first Sentinel off from the other Redis hosts, and from nobody else.
    fn split(&self) -> Result<()> {
        let inside = [self.servers[0].pid()?, self.sentinels[0].pid()?];
        let others = self.servers[1..].iter().chain(&self.sentinels[1..]);
        self.net.cut_off_from(inside, others.map(Housed::pid).collect::<Result<Vec<_>>>()?);
        Ok(())
    }
}

async fn sentinel(net: &Net, master: u16) -> Result<Housed> {
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
    Housed { server, door }.known(net)
}

fn blocking(what: &str, is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    tokio::task::block_in_place(|| eventually(what, is_true))
}

/// Makes one change; whether it was acknowledged.
async fn make(link: &MasterLink, number: usize) -> bool {
    let mut command = cmd("SADD");
    let made = link.call(command.arg(MADE).arg(number)).await.is_ok();
    tokio::time::sleep(Duration::from_millis(5)).await;
    made
}

/// Splits the network under a load, until the Sentinels have made one other master, and no further one: what it had not passed on
/// is lost by Redis then, whoever is believed.
async fn run(place: Place, settings: Settings) -> Result<String> {
    for before in 0..RUNS_MAX {
        if let Some(said) = run_once(place, settings).await? {
            return Ok(format!("{said}; {before} runs before it with a further master"));
        }
    }
    bail!("{place:?} {settings:?}: the Sentinels made two others masters in {RUNS_MAX} runs")
}

/// What was acknowledged by whom once there was another master; `None`: there was a further one.
async fn run_once(place: Place, settings: Settings) -> Result<Option<String>> {
    let group = Group::start(settings).await?;
    let (link, _) = hasty_link(&group.url(place))?;
    let mut numbers = 0..;
    let mut next = || numbers.next().unwrap_or_default();
    while !make(&link, next()).await {}
    group.split()?;
    let begun = Instant::now();
    // The load goes on until there is another master.
    while group.named()? == 0 {
        make(&link, next()).await;
        ensure!(begun.elapsed() < PATIENCE, "no failover");
    }
    let (now, promoted) = (group.named()?, Instant::now());
    let mut acknowledged = Vec::new();
    let mut first = None;
    while acknowledged.len() < ENOUGH || promoted.elapsed() < APART {
        let number = next();
        if make(&link, number).await {
            first.get_or_insert_with(|| promoted.elapsed());
            acknowledged.push(number);
        }
        ensure!(promoted.elapsed() < PATIENCE, "{place:?} {settings:?}: only {} changes", acknowledged.len());
    }
    let told = loop {
        if let Some(told) = link.disagreement() {
            break told;
        }
        make(&link, next()).await;
        ensure!(promoted.elapsed() < PATIENCE, "nobody tells that the Sentinels disagree");
    };
    let old = group.servers[0].door.address();
    ensure!(told.contains(&format!("{} names {old}", group.sentinels[0].door.address())), "{told}");
    let there: Vec<usize> = group.servers[now].server.cli(&["SMEMBERS", MADE])?;
    let lost: Vec<_> = acknowledged.iter().filter(|number| !there.contains(number)).collect();
    let said = format!(
        "{place:?}, {settings:?}: {} acknowledged after the promotion, the first {first:?} after it, {} lost",
        acknowledged.len(),
        lost.len()
    );
    if group.named()? != now {
        return Ok(None);
    }
    ensure!(lost.is_empty(), "{place:?} {settings:?}: {} of {} lost", lost.len(), acknowledged.len());
    group.net.heal();
    let healed = Instant::now();
    while link.disagreement().is_some() {
        make(&link, next()).await;
        ensure!(healed.elapsed() < PATIENCE, "still told: {:?}", link.disagreement());
    }
    Ok(Some(said))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_is_cut_off_with_the_old_master_is_not_believed() -> Result<()> {
    for place in [Place::First, Place::Last] {
        println!("{}", run(place, Settings::Default).await?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_with_the_recommended_settings() -> Result<()> {
    for place in [Place::First, Place::Last] {
        println!("{}", run(place, Settings::Recommended).await?);
    }
    Ok(())
}
