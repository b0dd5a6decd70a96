//! Workers beside a daemon on the embedded store, which is killed and comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omnirelay_sdk::shards::{Endpoint, ShardMap, ShardMapOptions, ShardWorker, ShardWorkerOptions};
use serde_json::json;

use crate::process::{Place, until};

const SHARDS: usize = 16;
/// How long the session of a node lives, by default.
const SESSION_TTL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_serves_until_its_leave_ends_and_again_when_its_daemon_is_back() -> Result<()> {
    let mut place = Place::new(&["--node-id", "a"])?;
    let daemon = place.start()?;
    let control = daemon.control.clone();
    let policy = json!({"silentAfterMs": "0", "balance": "off", "cooldownMs": "0"});
    let asked = json!({"shards": SHARDS, "spec": {"policy": policy}});
    let (status, made) = daemon.post("/control/namespaces/orders", &asked).await?;
    ensure!(status == 200, "{made}");

    let endpoint = Endpoint::from_shared(format!("http://{control}"))?;
    let (namespace, worker_id) = ("orders".to_owned(), "w".to_owned());
    let worker = ShardWorker::start(ShardWorkerOptions { daemon: endpoint.clone(), namespace, worker_id });
    until("all are served", async || Ok(worker.shards().len() == SHARDS)).await?;
    let before = worker.shards();
    let (daemons, namespace) = (vec![endpoint], "orders".to_owned());
    let map = ShardMap::follow(ShardMapOptions { daemons, namespace, cache: None }).await?;

    daemon.kill()?;
    let killed = Instant::now();
    ensure!(worker.shards() == before, "leave does not end with its daemon");
    let mut last = killed;
    while killed.elapsed() < SESSION_TTL * 3 {
        if !worker.shards().is_empty() {
            last = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(last - killed < SESSION_TTL, "leave was there {:?} after the kill", last - killed);
    ensure!(map.lookup(b"order-1").is_some_and(|found| found.stale && found.shard.owner == "a"));

    place.listen = control;
    let daemon = place.start()?;
    until("all are served again", async || Ok(worker.shards().len() == SHARDS)).await?;
    let after = worker.shards();
    ensure!(after.iter().all(|(shard, fence)| before[shard] <= *fence), "{before:?} {after:?}");
    until("the map is followed again", async || Ok(map.lookup(b"order-1").is_some_and(|found| !found.stale)))
        .await?;

    // Paused and resumed: work stops and goes on, and nothing else is touched.
    let pause = |what: &str| format!("/control/shards/orders/03:{what}");
    ensure!(daemon.post(&pause("pause"), &json!({"reason": "test"})).await?.0 == 200);
    until("one is served no more", async || Ok(worker.enter("03").is_err())).await?;
    ensure!(worker.shards().len() == SHARDS - 1);
    ensure!(daemon.post(&pause("resume"), &json!({"reason": "test"})).await?.0 == 200);
    until("it is served again", async || Ok(worker.enter("03").is_ok())).await?;
    let others =
        |of: BTreeMap<String, u64>| of.into_iter().filter(|(shard, _)| shard != "03").collect::<Vec<_>>();
    ensure!(others(worker.shards()) == others(after));
    tokio::time::timeout(Duration::from_secs(5), worker.stop()).await?;
    Ok(())
}
