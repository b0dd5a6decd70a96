//! What shards cost whoever sends work: looking up the shard of a key, reading the whole map, and hearing of a change; and what it
//! takes to have a node own nothing.
//!
//! Starts a server and daemons of its own. Nothing is asserted. Run with `cargo bench --bench shards`; `rounds=N` sets how often the
//! calls are measured.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use omnirelay_support::{process, servers};

#[path = "../leadership/figures.rs"]
mod figures;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use figures::Figures;
use omnirelay_sdk::shards::{Endpoint, ShardMap, ShardMapOptions};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use process::{Daemon, Place};
use serde_json::json;
use servers::RedisServer;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SHARDS: usize = 1000;
const SHARDS_MANY: usize = 10_000;
/// How many small ones, and of how many shards each.
const NAMESPACES: usize = 100;
const SHARDS_OF_EACH: usize = 64;
/// How long the session of a node lives, by default.
const SESSION_TTL: Duration = Duration::from_secs(2);
const ROUNDS: usize = 20_000;
const IN_FLIGHT: usize = 64;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` only wants to know that it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("rounds=")?.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(rounds.unwrap_or(ROUNDS)))
}

async fn measure(rounds: usize) -> Result<()> {
    let server = RedisServer::start(&[])?;
    let url = server.url();
    let places = ["node-1", "node-2", "node-3"].map(|node| Place::new(&["--node-id", node, "--store", &url]));
    let places = places.into_iter().collect::<Result<Vec<_>>>()?;
    let daemons = places.iter().map(Place::start).collect::<Result<Vec<_>>>()?;
    let (Some(first), Some(last)) = (daemons.first(), daemons.last()) else { return Ok(()) };
    created(first, "orders", SHARDS).await?;
    lookups_in_memory(last).await?;
    lookups_by_call(last, rounds).await?;
    whole_maps(last, "orders").await?.print("list of 1000 shards, limit 10 ms");
    changes(first, last).await?.print("change at one daemon, until heard by a follower of another");
    for number in 0..NAMESPACES {
        created(first, &format!("tenant-{number}"), SHARDS_OF_EACH).await?;
    }
    drained(
        first,
        "node-2",
        &format!("{NAMESPACES} namespaces of {SHARDS_OF_EACH} shards and one of {SHARDS}"),
    )
    .await?;
    created(first, "many", SHARDS_MANY).await?;
    whole_maps(last, "many").await?.print("list of 10000 shards");
    drained(first, "node-3", &format!("the same and one namespace of {SHARDS_MANY} shards")).await
}

/// From when a node is told to drain until it owns nothing; no worker is there that would have to stop. It takes shards again afterwards.
async fn drained(daemon: &Daemon, node: &str, of: &str) -> Result<()> {
    let owned = async || -> Result<u64> {
        let shown = daemon.get(&format!("/control/peers/{node}")).await?;
        Ok(shown["peer"]["shards"].as_u64().unwrap_or(0))
    };
    // A daemon that has begun a moment ago does not know what workers of the one before it may serve.
    tokio::time::sleep(SESSION_TTL).await;
    let (moved, begun) = (owned().await?, Instant::now());
    let (status, answer) = daemon.post(&format!("/control/peers/{node}:drain"), &json!({})).await?;
    ensure!(status == 200, "drain: {status} {answer}");
    while owned().await? > 0 {
        ensure!(begun.elapsed() < Duration::from_secs(300), "{node} owns {}", owned().await?);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "drain of a node, {of}: moved={moved} ms={:.1} per_second={:.0}",
        took * 1e3,
        moved as f64 / took
    );
    let (status, answer) = daemon.post(&format!("/control/peers/{node}:undrain"), &json!({})).await?;
    ensure!(status == 200, "undrain: {status} {answer}");
    Ok(())
}

async fn created(daemon: &Daemon, namespace: &str, shards: usize) -> Result<()> {
    let begun = Instant::now();
    // As quickly as may be, where the most of it is measured.
    let asked = json!({"shards": shards, "spec": {"policy": {"moveIntervalMs": "0"}}});
    let (status, answer) = daemon.post(&format!("/control/namespaces/{namespace}"), &asked).await?;
    ensure!(status == 200, "namespace: {status} {answer}");
    loop {
        let shown = daemon.get(&format!("/control/namespaces/{namespace}")).await?;
        if shown["detail"]["ready"] == true {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "not ready: {shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    println!("namespace of {shards} shards, until it can be read: ms={ms:.1}");
    Ok(())
}

fn endpoint(daemon: &Daemon) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{}", daemon.control))?)
}

async fn follow(daemon: &Daemon) -> Result<ShardMap> {
    let options =
        ShardMapOptions { daemons: vec![endpoint(daemon)?], namespace: "orders".to_owned(), cache: None };
    Ok(ShardMap::follow(options).await?)
}

async fn lookups_in_memory(daemon: &Daemon) -> Result<()> {
    const LOOKUPS: usize = 1_000_000;
    let map = follow(daemon).await?;
    let keys: Vec<String> = (0..4096).map(|key| format!("order-{key}")).collect();
    let mut took = Vec::with_capacity(LOOKUPS);
    for key in keys.iter().cycle().take(LOOKUPS) {
        let begun = Instant::now();
        black_box(map.snapshot().lookup(key.as_bytes()));
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let of = |hundredths: usize| took.get(LOOKUPS * hundredths / 100 - 1).map_or(0, Duration::as_nanos);
    println!("lookup in the SDK, limit p99 1000 ns: rounds={LOOKUPS} median_ns={} p99_ns={}", of(50), of(99));
    Ok(())
}

async fn lookups_by_call(daemon: &Daemon, rounds: usize) -> Result<()> {
    let channel = endpoint(daemon)?.tcp_nodelay(true).connect().await?;
    for in_flight in [1, IN_FLIGHT] {
        let lookups = calls(&channel, rounds, in_flight, Call::Lookup).await?;
        let bare = calls(&channel, rounds, in_flight, Call::Health).await?;
        lookups.print(&format!("lookup over gRPC, {in_flight} in flight, limit p99 1 ms"));
        bare.print(&format!("health check beside it, {in_flight} in flight"));
        println!("ratio of both at p99: {:.2}", lookups.p99() / bare.p99());
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Call {
    Lookup,
    /// What a call costs that does nothing.
    Health,
}

impl Call {
    async fn send(self, channel: Channel, round: usize) -> Result<()> {
        match self {
            Self::Lookup => {
                let asked = pb::LookupShardRequest {
                    namespace: "orders".to_owned(),
                    key: format!("order-{round}"),
                    ..pb::LookupShardRequest::default()
                };
                ShardControlServiceClient::new(channel).lookup(asked).await?;
            }
            Self::Health => {
                HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await?;
            }
        }
        Ok(())
    }
}

async fn calls(channel: &Channel, rounds: usize, in_flight: usize, call: Call) -> Result<Figures> {
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let channel = channel.clone();
        callers.spawn(async move {
            let mut figures = Figures::default();
            for round in 0..rounds / in_flight {
                let begun = Instant::now();
                call.send(channel.clone(), caller + round * in_flight).await?;
                figures.push(begun.elapsed());
            }
            anyhow::Ok(figures)
        });
    }
    let mut all = Figures::default();
    while let Some(figures) = callers.join_next().await {
        all.extend(&figures??);
    }
    Ok(all)
}

async fn whole_maps(daemon: &Daemon, namespace: &str) -> Result<Figures> {
    let channel = endpoint(daemon)?.tcp_nodelay(true).connect().await?;
    let mut client = ShardControlServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let mut figures = Figures::default();
    for _ in 0..200 {
        let asked = pb::ShardListRequest {
            namespace: namespace.to_owned(),
            page_size: 10_000,
            ..pb::ShardListRequest::default()
        };
        let begun = Instant::now();
        black_box(client.list(asked).await?);
        figures.push(begun.elapsed());
    }
    Ok(figures)
}

/// From when a change is sent to one daemon until a follower of another one has it.
async fn changes(at: &Daemon, followed: &Daemon) -> Result<Figures> {
    let map = follow(followed).await?;
    let mut figures = Figures::default();
    for round in 0..200 {
        let shard = map.snapshot().shards().next().context("no shard")?.id.clone();
        let deed = if round % 2 == 0 { "pause" } else { "resume" };
        let version = map.snapshot().version;
        let begun = Instant::now();
        let heard = map.at_least(version + 1, Duration::from_secs(10));
        let path = format!("/control/shards/orders/{shard}:{deed}");
        let asked = json!({"reason": "bench"});
        let (changed, heard) = tokio::join!(at.post(&path, &asked), async { (heard.await, begun.elapsed()) });
        let (status, answer) = changed?;
        ensure!(status == 200 && heard.0, "{deed}: {status} {answer}");
        figures.push(heard.1);
    }
    Ok(figures)
}
