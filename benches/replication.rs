//! How far a cluster is behind another one that it follows, over a link that delays what passes, and how it comes back to what that has.
//!
//! Starts two Redis servers and two daemons of its own, in networks of their own; only root can do that. Nothing is asserted. Run with
//! `cargo bench --bench replication`; `rate=N`, `seconds=N` and `delay=N` (in milliseconds, each way) behind it set how many commits are
//! made in a second, for how long, and how far the clusters are from each other; `records=N` and `differing=N` how many there are where
//! both are compared, and how many of them differ. `rate=0` or `records=0` leaves that part out.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{link, network, process, servers};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use parking_lot::Mutex;
use tonic::transport::Channel;

use link::{ADDRESSES, Link, LinkRules};
use network::NetworkNamespace;
use pb::namespace_control_service_client::NamespaceControlServiceClient;
use pb::shard_control_service_client::ShardControlServiceClient;
use process::channel::{ShownCertificate, channel};
use process::secured::Secured;
use process::siblings::{Siblings, run};
use process::within;
use servers::RedisServer;

/// How many callers make changes, each in a namespace of its own.
const CALLERS: usize = 64;
/// How many shards a namespace has where both are compared.
const NAMESPACE_SHARDS: u64 = 10_000;
/// How long it may take until they are there.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(180);
/// What the log of a follower says once it has what the source has.
const COMPARED: &str = "a domain is as its active cluster has it";
/// By how much one of a hundred changes may be behind, and one of a thousand.
const P99_LIMIT: Duration = Duration::from_millis(100);
const P999_LIMIT: Duration = Duration::from_millis(500);

/// Versions of shards that were committed and not seen yet, those that were seen last, and how long it took in between.
#[derive(Default)]
struct Versions {
    /// When each was committed, by the namespace.
    committed: BTreeMap<String, BTreeMap<i64, Instant>>,
    seen: BTreeMap<String, i64>,
    took: Vec<Duration>,
}

impl Versions {
    /// Notes that a version was committed; one that was seen already took no time.
    fn commit(&mut self, namespace: String, version: i64) {
        match self.seen.get(&namespace).is_some_and(|seen| *seen >= version) {
            true => self.took.push(Duration::ZERO),
            false => drop(self.committed.entry(namespace).or_default().insert(version, Instant::now())),
        }
    }

    /// Notes that a version was seen, and with it all before it: they were sent as one.
    fn see(&mut self, namespace: String, version: i64) {
        let (committed, now) = (self.committed.entry(namespace.clone()).or_default(), Instant::now());
        let later = committed.split_off(&(version + 1));
        self.took.extend(std::mem::replace(committed, later).into_values().map(|at| now - at));
        self.seen.insert(namespace, version);
    }
}

type Shared = Arc<Mutex<Versions>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let number = |name: &str, otherwise: u64| {
        let given = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.parse().ok());
        given.unwrap_or(otherwise)
    };
    let (rate, seconds, delay) = (number("rate=", 1000), number("seconds=", 20), number("delay=", 20));
    let (records, differing) = (number("records=", 100_000), number("differing=", 100));
    let (lasts, delay) = (Duration::from_secs(seconds), Duration::from_millis(delay));
    if rate > 0 {
        measure_lag(rate, lasts, delay)?;
    }
    if records > 0 {
        measure_comparison(records, differing, delay)?;
    }
    Ok(())
}

/// Two clusters, east and west, and the Redis server of each; west follows east.
struct FollowedClusters {
    clusters: Siblings,
    servers: [RedisServer; 2],
}

fn start_clusters([first, second]: [&NetworkNamespace; 2]) -> Result<FollowedClusters> {
    let redis = |end: &NetworkNamespace| end.run(|| RedisServer::start(&[]));
    let servers = [redis(first)?, redis(second)?];
    let listen = ADDRESSES.map(|address| format!("{address}:0"));
    let east = first.run(|| {
        Siblings::first(&listen[0], &["--set", "control.tls.source=mesh", "--store", &servers[0].url()])
    })?;
    let west = second.run(|| {
        Siblings::second(
            &east,
            &listen[1],
            &["--set", "control.tls.source=mesh", "--store", &servers[1].url()],
        )
    })?;
    let clusters = Siblings { east, west };
    first.run(|| Siblings::tell(&clusters.east, "west", &clusters.west))?;
    second.run(|| Siblings::tell(&clusters.west, "east", &clusters.east))?;
    for (end, of) in [(first, &clusters.east), (second, &clusters.west)] {
        end.run(|| run(of, "mesh domains set mesh --active east").map(drop))?;
    }
    Ok(FollowedClusters { clusters, servers })
}

fn measure_lag(rate: u64, lasts: Duration, delay: Duration) -> Result<()> {
    let link = Link::new(1)?;
    let [first, second] = link.ends();
    let FollowedClusters { clusters, servers: _servers } = start_clusters([first, second])?;
    let [here, there] = [first.runtime()?, second.runtime()?];
    let (east, west) = (
        here.block_on(here.spawn(connect(&clusters.east)))??,
        there.block_on(there.spawn(connect(&clusters.west)))??,
    );
    here.block_on(here.spawn(make_namespaces(east.clone(), CALLERS as u64, 1)))??;
    link.set_both(LinkRules::delayed(delay));

    let versions = Shared::default();
    let watch = there.spawn(watch(west, versions.clone()));
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| here.spawn(change(caller, rate, lasts, east.clone(), versions.clone())))
        .collect();
    let mut made = 0;
    for caller in callers {
        made += here.block_on(caller)??;
    }
    let lasted = begun.elapsed();
    std::thread::sleep(Duration::from_secs(3));
    watch.abort();
    drop((here, there));
    let versions = std::mem::take(&mut *versions.lock());
    tell(versions, (made, lasted), delay)
}

/// Measures how a follower that has begun a new epoch finds what differs, and fetches it.
fn measure_comparison(records: u64, differing: u64, delay: Duration) -> Result<()> {
    let link = Link::new(1)?;
    let [first, second] = link.ends();
    let FollowedClusters { mut clusters, mut servers } = start_clusters([first, second])?;
    let here = first.runtime()?;
    let east = here.block_on(here.spawn(connect(&clusters.east)))??;
    let namespaces = records.div_ceil(NAMESPACE_SHARDS);
    let shards = u32::try_from(records / namespaces)?;
    here.block_on(here.spawn(make_namespaces(east.clone(), namespaces, shards)))??;
    let last = format!("namespace/n{}\n", namespaces - 1);
    let are_there =
        async || Ok(second.run(|| run(&clusters.west, "mesh namespaces list -o name"))?.contains(&last));
    here.block_on(within(FOLLOWED_WITHIN, "all namespaces are there", are_there))?;
    std::thread::sleep(Duration::from_secs(5));
    link.set_both(LinkRules::delayed(delay));
    for differing in [differing, 0] {
        clusters.west.daemon.signal("KILL")?;
        let _: String = second.run(|| servers[1].cli(&["SAVE"]))?;
        servers[1].kill()?;
        second.run(|| servers[1].restart())?;
        here.block_on(here.spawn(pause(east.clone(), (namespaces, shards), differing)))??;
        let said_before = clusters.west.place.log().len();
        clusters.west.daemon = second.run(|| clusters.west.place.start())?;
        let mut line = String::new();
        let is_compared = async || {
            let log = clusters.west.place.log();
            let said = log.get(said_before..).unwrap_or_default().lines();
            line = said.filter(|line| line.contains(COMPARED)).collect();
            Ok(!line.is_empty())
        };
        here.block_on(within(FOLLOWED_WITHIN, "both are compared", is_compared))?;
        println!("{records} records of which {differing} differ, each way {} ms: {line}", delay.as_millis());
    }
    Ok(())
}

/// Pauses a shard in each of the namespaces, again and again, so many in all.
async fn pause(channel: Channel, (namespaces, shards): (u64, u32), count: u64) -> Result<()> {
    let mut control = ShardControlServiceClient::new(channel);
    let digits = (shards - 1).to_string().len();
    for number in 0..count {
        let namespace = format!("n{}", number % namespaces);
        let shard_id = format!("{:0digits$}", number / namespaces);
        control.pause(pb::PauseShardRequest { namespace, shard_id, ..Default::default() }).await?;
    }
    Ok(())
}

/// Prints how long changes took.
fn tell(versions: Versions, (made, lasted): (u64, Duration), delay: Duration) -> Result<()> {
    let Versions { committed, mut took, .. } = versions;
    took.sort_unstable();
    let left: usize = committed.values().map(BTreeMap::len).sum();
    println!(
        "{made} commits in {:.1} s, {:.0} a second; {} were seen where they are followed, {left} were not",
        lasted.as_secs_f64(),
        made as f64 / lasted.as_secs_f64(),
        took.len()
    );
    let seen = took;
    ensure!(!seen.is_empty(), "nothing was seen");
    for (name, share, limit) in
        [("p50", 0.5, None), ("p99", 0.99, Some(P99_LIMIT)), ("p99.9", 0.999, Some(P999_LIMIT))]
    {
        let place = ((seen.len() as f64 * share) as usize).min(seen.len() - 1);
        let limit = limit.map_or(String::new(), |limit| {
            format!(
                ", {:.2} of the {} ms that it may be",
                seen[place].as_secs_f64() / limit.as_secs_f64(),
                limit.as_millis()
            )
        });
        println!(
            "{name} behind, each way {} ms: {:.1} ms{limit}",
            delay.as_millis(),
            seen[place].as_secs_f64() * 1000.0
        );
    }
    Ok(())
}

fn connect(of: &Secured) -> impl Future<Output = Result<Channel>> + Send + 'static {
    let admin = of.path("admin");
    channel(of.url(), admin.join("bundle.pem"), Some(ShownCertificate::in_folder(&admin)))
}

async fn make_namespaces(channel: Channel, count: u64, shards: u32) -> Result<()> {
    let mut namespaces = NamespaceControlServiceClient::new(channel);
    for number in 0..count {
        let asked =
            pb::CreateNamespaceRequest { namespace: format!("n{number}"), shards, ..Default::default() };
        namespaces.create(asked).await?;
    }
    Ok(())
}

/// Makes changes at a part of the rate, and notes when each was committed.
async fn change(
    caller: usize,
    rate: u64,
    lasts: Duration,
    channel: Channel,
    versions: Shared,
) -> Result<u64> {
    let mut shards = ShardControlServiceClient::new(channel);
    let namespace = format!("n{caller}");
    let each = Duration::from_secs_f64(CALLERS as f64 / rate as f64);
    let mut ticks = tokio::time::interval(each);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (begun, mut made) = (Instant::now(), 0);
    while begun.elapsed() < lasts {
        ticks.tick().await;
        let (namespace, shard_id) = (namespace.clone(), "0".to_owned());
        let changed = match made % 2 {
            0 => {
                shards
                    .pause(pb::PauseShardRequest {
                        namespace: namespace.clone(),
                        shard_id,
                        ..Default::default()
                    })
                    .await
            }
            _ => {
                shards
                    .resume(pb::ResumeShardRequest {
                        namespace: namespace.clone(),
                        shard_id,
                        ..Default::default()
                    })
                    .await
            }
        };
        let shard = changed?.into_inner().shard.context("no shard")?;
        versions.lock().commit(namespace, shard.version);
        made += 1;
    }
    Ok(made)
}

/// Watches shards where they are followed, and notes how long after its commit each change was seen.
async fn watch(channel: Channel, versions: Shared) -> Result<()> {
    let mut shards = ShardControlServiceClient::new(channel);
    let mut events = shards.watch(pb::ShardWatchRequest::default()).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(shard) = event.into_message().current {
            versions.lock().see(shard.namespace, shard.version);
        }
    }
    Ok(())
}
