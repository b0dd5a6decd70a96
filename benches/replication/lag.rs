//! Lag: how long after its commit a change is seen where it is followed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use omnirelay_support::link::LinkRules;
use omnirelay_support::linked_clusters::LinkedClusters;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use tonic::transport::Channel;

use crate::clusters::{SETTINGS, connect, make_namespaces};
use crate::versions::{Shared, tell, watch};

/// How many callers make changes, each in a namespace of its own.
pub(crate) const CALLERS: usize = 64;

/// Measures it at so many commits a second.
pub(crate) fn measure(rate: u64, lasts: Duration, delay: Duration) -> Result<()> {
    let LinkedClusters { clusters, servers: _servers, link } = LinkedClusters::start(&SETTINGS)?;
    let [first, second] = link.ends();
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

/// Makes changes at a part of the rate, and notes when each was committed.
pub(crate) async fn change(
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
