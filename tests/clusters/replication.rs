//! Replication over a link that loses packets, holds them back, or passes them one way alone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_support::link::{Direction, LinkRules};
use omnirelay_support::linked_clusters::LinkedClusters;
use omnirelay_support::process::within;
use serde_json::Value;

/// How long it may take until a follower has what the source has, over a sound link and over one that loses much.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(20);
const LOSSY_WITHIN: Duration = Duration::from_secs(90);
/// How long it may take until a follower says that its source is silent.
const SAID_WITHIN: Duration = Duration::from_secs(12);

/// The domain of everything as west shows it.
fn replica(linked: &LinkedClusters) -> Result<Value> {
    let told: Value = serde_json::from_str(&linked.at_west("mesh domains get mesh -o json")?)?;
    Ok(told["domain"]["replica"].clone())
}

/// Waits until west has the shards that east has, and says that it follows.
async fn is_followed(linked: &LinkedClusters, limit: Duration) -> Result<()> {
    let shards = |listed: String| -> Result<Value> {
        Ok(serde_json::from_str::<Value>(&listed)?.get("items").context("no shards")?.clone())
    };
    let there = shards(linked.at_east("mesh shards list --limit 500 -o json")?)?;
    let is_so = within(limit, "west has what east has", async || {
        let here = shards(linked.at_west("mesh shards list --limit 500 -o json")?)?;
        Ok(here == there && replica(linked)?["state"] == "following")
    });
    is_so.await.with_context(|| linked.clusters.west.place.log())
}

async fn says(linked: &LinkedClusters, state: &str, limit: Duration) -> Result<()> {
    let what = format!("west says {state}");
    within(limit, &what, async || Ok(replica(linked)?["state"] == state)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_passes_one_way_alone_is_told_and_nothing_is_lost() -> Result<()> {
    let linked = LinkedClusters::start(&[])?;
    linked.at_east("mesh namespaces create orders --shards 8")?;
    is_followed(&linked, FOLLOWED_WITHIN).await?;
    for (direction, name) in [(Direction::FromFirst, "billing"), (Direction::FromSecond, "users")] {
        let before = linked.link.counts(direction).cut;
        linked.link.set(direction, LinkRules { is_cut: true, ..LinkRules::default() });
        linked.at_east(&format!("mesh namespaces create {name} --shards 8"))?;
        linked.at_east("mesh shards pause orders/1 --yes")?;
        says(&linked, "silent", SAID_WITHIN).await?;
        ensure!(linked.link.counts(direction).cut > before, "nothing was cut");
        let lag = replica(&linked)?["lagMs"].as_u64().unwrap_or_default();
        ensure!(lag > 1000, "a silent source is behind by how long it is silent: {lag} ms");
        linked.link.set_both(LinkRules::default());
        is_followed(&linked, FOLLOWED_WITHIN).await?;
        linked.at_east("mesh shards resume orders/1 --yes")?;
    }
    Ok(())
}

/// Three of ten packets are lost each way, and one of ten is overtaken by others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_followed_over_a_lossy_link_is_right() -> Result<()> {
    let linked = LinkedClusters::start(&[])?;
    linked.at_east("mesh namespaces create orders --shards 8")?;
    is_followed(&linked, FOLLOWED_WITHIN).await?;
    linked.link.set_both(LinkRules {
        loss: 0.3,
        reordered: 0.1,
        held_back: Duration::from_millis(50),
        ..LinkRules::delayed(Duration::from_millis(20))
    });
    for number in 0..8 {
        linked.at_east(&format!("mesh shards pause orders/{number} --yes"))?;
        linked.at_east(&format!("mesh namespaces create n{number} --shards 16"))?;
    }
    is_followed(&linked, LOSSY_WITHIN).await?;
    for direction in [Direction::FromFirst, Direction::FromSecond] {
        let counts = linked.link.counts(direction);
        ensure!(counts.lost > 10 && counts.held_back > 0, "the link was sound: {counts:?}");
    }
    Ok(())
}
