//! Way back: how a follower that has begun a new epoch finds what differs, and fetches it.

use std::time::Duration;

use anyhow::Result;
use omnirelay_support::link::LinkRules;
use omnirelay_support::linked_clusters::LinkedClusters;
use omnirelay_support::process::siblings::run;
use omnirelay_support::process::within;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use tonic::transport::Channel;

use crate::clusters::{SETTINGS, connect, make_namespaces};

/// How many shards a namespace has where both are compared.
const NAMESPACE_SHARDS: u64 = 10_000;
/// How long it may take until they are there.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(180);
/// What the log of a follower says once it has what the source has.
const COMPARED: &str = "a domain is as its active cluster has it";

/// Measures it for so many records.
pub(crate) fn measure(records: u64, differing: u64, delay: Duration) -> Result<()> {
    let LinkedClusters { mut clusters, mut servers, link } = LinkedClusters::start(&SETTINGS)?;
    let [first, second] = link.ends();
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
