//! Versions of shards: when each was committed, and when it was seen where it is followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use parking_lot::Mutex;
use pb::shard_control_service_client::ShardControlServiceClient;
use tonic::transport::Channel;

/// By how much one of a hundred changes may be behind, and one of a thousand.
const P99_LIMIT: Duration = Duration::from_millis(100);
const P999_LIMIT: Duration = Duration::from_millis(500);

/// Versions of shards that were committed and not seen yet, those that were seen last, and how long it took in between.
#[derive(Default)]
pub(crate) struct Versions {
    /// When each was committed, by the namespace.
    committed: BTreeMap<String, BTreeMap<i64, Instant>>,
    seen: BTreeMap<String, i64>,
    pub took: Vec<Duration>,
}

impl Versions {
    /// How many were committed and not seen.
    pub(crate) fn unseen(&self) -> usize {
        self.committed.values().map(BTreeMap::len).sum()
    }

    /// Notes that a version was committed; one that was seen already took no time.
    pub(crate) fn commit(&mut self, namespace: String, version: i64) {
        match self.seen.get(&namespace).is_some_and(|seen| *seen >= version) {
            true => self.took.push(Duration::ZERO),
            false => drop(self.committed.entry(namespace).or_default().insert(version, Instant::now())),
        }
    }

    /// Notes that a version was seen, and with it all before it: they were sent as one.
    pub(crate) fn see(&mut self, namespace: String, version: i64) {
        let (committed, now) = (self.committed.entry(namespace.clone()).or_default(), Instant::now());
        let later = committed.split_off(&(version + 1));
        self.took.extend(std::mem::replace(committed, later).into_values().map(|at| now - at));
        self.seen.insert(namespace, version);
    }
}

pub(crate) type Shared = Arc<Mutex<Versions>>;

/// Prints how long changes took.
pub(crate) fn tell(versions: Versions, (made, lasted): (u64, Duration), delay: Duration) -> Result<()> {
    let left = versions.unseen();
    let mut took = versions.took;
    took.sort_unstable();
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

/// Watches shards where they are followed, and notes how long after its commit each change was seen.
pub(crate) async fn watch(channel: Channel, versions: Shared) -> Result<()> {
    let mut shards = ShardControlServiceClient::new(channel);
    let mut events = shards.watch(pb::ShardWatchRequest::default()).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(shard) = event.into_message().current {
            versions.lock().see(shard.namespace, shard.version);
        }
    }
    Ok(())
}
