//! A scrape of a daemon that knows a crowd: as many series as of a mesh of three, whatever the crowd is called.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use omnirelay_core::split_mix::split_mix;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_peer_records::PEER;
use omnirelay_store::{Commit, EmbeddedStore, Pulse, RecordId, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{LeadershipValue, PeerValue};
use omnirelay_wire::timestamp::Timestamp;
use omnirelay_wire::tls::nobody;
use prost::Message as _;

use crate::process::{Place, until};

/// How many peers, scopes, registers and shards there are, each.
const CROWD: usize = 1_000;
/// What a scrape may have and weigh: a thousand such daemons are what one Prometheus takes.
const SERIES_MAX: usize = 600;
const BYTES_MAX: usize = 60_000;
const SCRAPES: usize = 51;
/// How many of each are written at once: a commit has 256 writes at most.
const BATCH: usize = 125;

/// Name by lot, the same for a seed.
fn id(seed: u64, number: usize) -> String {
    format!("n{:016x}", split_mix(seed << 32 | number as u64))
}

/// Peers that are gone, and scopes that nobody leads yet.
async fn fill(data: &Path, seed: u64) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Some(Timestamp { seconds: now.as_secs().try_into()?, nanos: 0 });
    let metadata = Some(pb::PeerMetadata { role: "worker".to_owned(), ..Default::default() });
    let peer = PeerValue {
        status: pb::peer::Status::Dead.into(),
        status_since: now,
        metadata,
        ..Default::default()
    };
    let scope = LeadershipValue { vacant_since: now, ..Default::default() };
    let (peer, scope) = (Bytes::from(peer.encode_to_vec()), Bytes::from(scope.encode_to_vec()));
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(data)?);
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    for first in (0..CROWD).step_by(BATCH) {
        let writes = (first..first + BATCH).flat_map(|number| {
            let put = |kind, key, value: &Bytes| Write::Put {
                id: RecordId::new(kind, key),
                value: value.clone(),
                group: None,
            };
            let name = id(seed, number);
            [put(PEER, name.clone(), &peer), put(LEADERSHIP, format!("jobs/{name}"), &scope)]
        });
        let writes = writes.collect();
        store.commit(Commit { epoch, writes, writer: "test".into(), ..Commit::default() }).await?;
    }
    Ok(())
}

/// A scrape, and how long it took, in the median.
async fn scraped(seed: u64) -> Result<(String, Duration)> {
    let place = Place::new(&[
        "--node-id",
        "a",
        "--service",
        "relay",
        "--relay-listen",
        "127.0.0.1:0",
        "--relay-http-listen",
        "127.0.0.1:0",
    ])?;
    fill(&place.data_dir(), seed).await?;
    let daemon = place.start()?;
    let change = serde_json::json!({"shards": CROWD, "reason": "a crowd"});
    let (status, answer) = daemon.post("/control/namespaces/orders", &change).await?;
    ensure!(status == 200, "{answer}");
    for number in 0..CROWD {
        let register = serde_json::json!({"registerId": id(seed, number), "name": id(seed, number), "reason": "a crowd"});
        let (status, answer) = daemon.post("/control/registers", &register).await?;
        ensure!(status == 200, "{answer}");
    }
    let led = async || {
        let answer = daemon.get("/control/leaders?pageSize=1000&leader=a").await?;
        Ok(answer["scopes"].as_array().is_some_and(|scopes| scopes.len() >= 1000))
    };
    until("all scopes are led", led).await?;
    let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build()?;
    let (mut took, mut text) = (Vec::new(), String::new());
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        text = client.get(daemon.url("/metrics")).send().await?.text().await?;
        took.push(begun.elapsed());
    }
    took.sort();
    Ok((text, took[SCRAPES / 2]))
}

/// What the series are of, their values and the names of scopes apart.
fn series(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .filter(|series| !series.contains("mesh_scope="))
        .collect()
}

#[tokio::test]
async fn a_scrape_of_a_crowd_is_bounded_whatever_it_is_called() -> Result<()> {
    let (one, took) = scraped(1).await?;
    let lines = one.lines().filter(|line| !line.starts_with('#')).count();
    let bytes = one.len();
    println!("{CROWD} peers, scopes, registers and shards: {lines} lines of series, {bytes} bytes, {took:?}");
    let (other, _) = scraped(2).await?;
    let (one, other) = (series(&one), series(&other));
    let differ: Vec<_> = one.symmetric_difference(&other).collect();
    ensure!(differ.is_empty(), "{differ:?}");
    ensure!(lines <= SERIES_MAX && bytes <= BYTES_MAX, "{lines} lines of series, {bytes} bytes");
    Ok(())
}
