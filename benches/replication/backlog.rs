//! Backlog: how long a follower takes to catch up with what was committed while the link was cut, and how reads fare there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_support::link::LinkRules;
use omnirelay_support::linked_clusters::LinkedClusters;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::domain_control_service_client::DomainControlServiceClient;
use pb::domain_replica::State;
use pb::shard_control_service_client::ShardControlServiceClient;
use tonic::transport::Channel;

use crate::clusters::{SETTINGS, connect, make_namespaces};
use crate::lag::CALLERS;

/// How many shards each caller draws from, evenly: 10,048 in all.
const SHARDS: u32 = 157;
/// How many commits may be caught up with in a second at least.
const LEAST_RATE: f64 = 20_000.0;
/// How many reads are made at once.
const READERS: usize = 1;
/// For how long reads are counted while nothing is caught up with.
const QUIET: Duration = Duration::from_secs(5);
/// How long all may take, and how often it is looked at.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Numbers of reads that were answered, and of changes that a watch has told of.
#[derive(Clone, Default)]
struct Counts {
    reads: Arc<AtomicU64>,
    events: Arc<AtomicU64>,
}

/// Catching up, as the follower has told of it.
struct CatchingUp {
    /// From the moment at which it was seen to begin, and from that at which the link was there again.
    took: Duration,
    took_since_open: Duration,
    reads: u64,
}

/// Measures it after so many commits.
pub(crate) fn measure(backlog: u64, delay: Duration) -> Result<()> {
    let LinkedClusters { clusters, servers: _servers, link } = LinkedClusters::start(&SETTINGS)?;
    let [first, second] = link.ends();
    let [here, there] = [first.runtime()?, second.runtime()?];
    let east = here.block_on(here.spawn(connect(&clusters.east)))??;
    let west = there.block_on(there.spawn(connect(&clusters.west)))??;
    here.block_on(here.spawn(make_namespaces(east.clone(), CALLERS as u64, SHARDS)))??;
    let head = here.block_on(here.spawn(head(east.clone())))??;
    there.block_on(there.spawn(followed(west.clone(), head)))??;

    let counts = Counts::default();
    let _watch = there.spawn(count_events(west.clone(), counts.clone()));
    link.set_both(LinkRules { is_cut: true, ..LinkRules::default() });
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS as u64)
        .map(|caller| here.spawn(change(caller, backlog / CALLERS as u64, east.clone())))
        .collect();
    for caller in callers {
        here.block_on(caller)??;
    }
    let made = begun.elapsed();
    let reads: Vec<_> =
        (0..READERS).map(|reader| there.spawn(read(reader, west.clone(), counts.clone()))).collect();
    let before = counts.reads.load(Ordering::Relaxed);
    std::thread::sleep(QUIET);
    let quiet = (counts.reads.load(Ordering::Relaxed) - before) as f64 / QUIET.as_secs_f64();

    let (events, commits) =
        (counts.events.load(Ordering::Relaxed), there.block_on(there.spawn(commits(west.clone())))??);
    let head = here.block_on(here.spawn(self::head(east)))??;
    link.set_both(LinkRules::delayed(delay));
    let CatchingUp { took, took_since_open, reads: read } =
        there.block_on(there.spawn(catch_up(west.clone(), head, counts.clone())))??;
    let commits = there.block_on(there.spawn(self::commits(west)))?? - commits;
    for reader in reads.into_iter().filter(|reader| reader.is_finished()) {
        there.block_on(reader)?.context("a read has failed")?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let written = counts.events.load(Ordering::Relaxed) - events;
    let rate = backlog as f64 / took.as_secs_f64();
    println!(
        "{backlog} commits of 10,048 shards, made in {:.1} s, were caught up with in {:.2} s, {:.2} s after the link was there again, each way \
         {} ms: {rate:.0} a second, {:.2} of what it shall be; {commits} commits with {written} versions of shards and {backlog} changes of \
         their history were written for that",
        made.as_secs_f64(),
        took.as_secs_f64(),
        took_since_open.as_secs_f64(),
        delay.as_millis(),
        rate / LEAST_RATE,
    );
    let busy = read as f64 / took.as_secs_f64();
    println!(
        "reads where it is followed, {READERS} at once: {quiet:.0} a second before, {busy:.0} meanwhile, {:.2} of before",
        busy / quiet
    );
    Ok(())
}

/// Pauses and resumes shards of the namespace of a caller, each drawn by lot, so many times.
async fn change(caller: u64, count: u64, channel: Channel) -> Result<()> {
    let mut control = ShardControlServiceClient::new(channel);
    let (mut chance, mut paused) = (fastrand::Rng::with_seed(caller), vec![false; SHARDS as usize]);
    for _ in 0..count {
        let number = chance.usize(..SHARDS as usize);
        let (namespace, shard_id) = (format!("n{caller}"), format!("{number:03}"));
        match paused[number] {
            true => drop(
                control.resume(pb::ResumeShardRequest { namespace, shard_id, ..Default::default() }).await?,
            ),
            false => {
                drop(
                    control
                        .pause(pb::PauseShardRequest { namespace, shard_id, ..Default::default() })
                        .await?,
                );
            }
        }
        paused[number] = !paused[number];
    }
    Ok(())
}

/// Reads one shard after the other, for ever.
async fn read(reader: usize, channel: Channel, counts: Counts) -> Result<()> {
    let mut control = ShardControlServiceClient::new(channel);
    let mut chance = fastrand::Rng::with_seed(reader as u64);
    loop {
        let namespace = format!("n{}", chance.usize(..CALLERS));
        let shard_id = format!("{:03}", chance.u32(..SHARDS));
        control.get(pb::GetShardRequest { namespace, shard_id, ..Default::default() }).await?;
        counts.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts what a watch of shards tells.
async fn count_events(channel: Channel, counts: Counts) -> Result<()> {
    let mut shards = ShardControlServiceClient::new(channel);
    let mut events = shards.watch(pb::ShardWatchRequest::default()).await?.into_inner();
    while events.message().await?.is_some() {
        counts.events.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The domain of everything, and the cursor of the answer.
async fn domain(channel: Channel) -> Result<(pb::Domain, String)> {
    let mut domains = DomainControlServiceClient::new(channel);
    let asked = pb::GetDomainRequest { domain: "mesh".to_owned(), ..Default::default() };
    let answer = domains.get(asked).await?.into_inner();
    Ok((answer.domain.context("no domain")?, answer.cursor))
}

/// Cursor of the newest commit of a cluster.
async fn head(channel: Channel) -> Result<String> {
    Ok(domain(channel).await?.1)
}

/// How many commits a cluster has made.
async fn commits(channel: Channel) -> Result<u64> {
    revision(&domain(channel).await?.1)
}

fn revision(cursor: &str) -> Result<u64> {
    Ok(cursor.rsplit_once(':').context("no cursor")?.1.parse()?)
}

/// Waits until everything up to a commit is there.
async fn followed(channel: Channel, head: String) -> Result<()> {
    let begun = Instant::now();
    loop {
        let replica = domain(channel.clone()).await?.0.replica.unwrap_or_default();
        if replica.state() == State::Following && revision(&replica.applied)? >= revision(&head)? {
            return Ok(());
        }
        ensure!(begun.elapsed() < FOLLOWED_WITHIN, "not followed: {replica:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until everything up to a commit is there, and counts from when the follower begins to write.
async fn catch_up(channel: Channel, head: String, counts: Counts) -> Result<CatchingUp> {
    let opened = Instant::now();
    let before = domain(channel.clone()).await?.0.replica.unwrap_or_default().applied;
    let (mut begun, mut reads) = (opened, counts.reads.load(Ordering::Relaxed));
    loop {
        let replica = domain(channel.clone()).await?.0.replica.unwrap_or_default();
        if replica.applied != before || replica.state() == State::Loading {
            break;
        }
        ensure!(opened.elapsed() < FOLLOWED_WITHIN, "it is not caught up with: {replica:?}");
        (begun, reads) = (Instant::now(), counts.reads.load(Ordering::Relaxed));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    followed(channel, head).await?;
    let reads = counts.reads.load(Ordering::Relaxed) - reads;
    Ok(CatchingUp { took: begun.elapsed(), took_since_open: opened.elapsed(), reads })
}
