//! Shards among real daemons on a real Redis: workers that serve them, owners that drain, stand still and are killed, and the gate that
//! says whether two of them ever served one shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_sdk::FencingGate;
use omnirelay_sdk::shards::{
    Endpoint, ShardMap, ShardMapError, ShardMapOptions, ShardWorker, ShardWorkerOptions, Snapshot, Workload,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::daemons::mesh::{Mesh, Node};
use crate::process::{until, within};
use crate::servers::{RedisServer, Sentinels};

const SHARDS: usize = 24;
/// How long a worker that is held up stands still between being let serve and serving: longer than a session.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// What was served: the greatest fence of each shard, and what should not have been.
#[derive(Default)]
struct Served {
    messages: usize,
    /// By workers that looked at their clock just before, with a smaller fence than somebody before them.
    stale: Vec<String>,
    greatest: BTreeMap<String, u64>,
    /// Of workers that stood still in between: how many the gate has refused and let through.
    refused: usize,
    late: usize,
}

/// Has workers serve messages until it is dropped.
struct Work {
    served: Arc<Mutex<Served>>,
    tasks: JoinSet<()>,
}

impl Work {
    fn begin(workers: &[Arc<ShardWorker>]) -> Result<Self> {
        let served: Arc<Mutex<Served>> = Arc::default();
        let directory = tempfile::tempdir()?;
        let gate = Arc::new(FencingGate::open(directory.path().join("marks"))?);
        let mut tasks = JoinSet::new();
        for worker in workers {
            let (worker, served, gate) = (worker.clone(), served.clone(), gate.clone());
            tasks.spawn(async move {
                loop {
                    for shard in 0..SHARDS {
                        serve(&worker, &gate, &served, &format!("{shard:02}"));
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        for (number, worker) in workers.iter().cloned().enumerate() {
            let (served, gate) = (served.clone(), gate.clone());
            tasks.spawn(async move { stand_still(&worker, &gate, &served, number).await });
        }
        // The gate's file lives as long as the work.
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(directory);
        });
        Ok(Self { served, tasks })
    }

    /// The greatest fence of each shard so far.
    fn seen(&self) -> BTreeMap<String, u64> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).greatest.clone()
    }

    fn end(self) -> Served {
        // While it is still done: the gate loses its file with the first task that ends, and others may be on the way to it.
        let served = std::mem::take(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.tasks);
        served
    }
}

/// Serves one message, if it may: nothing comes between its look at the clock and the note that it was served.
fn serve(worker: &ShardWorker, gate: &FencingGate, served: &Mutex<Served>, shard: &str) {
    let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(fence) = worker.enter(shard).map(|entered| entered.fence) else { return };
    served.messages += 1;
    let greatest = served.greatest.entry(shard.to_owned()).or_default();
    let before = *greatest;
    *greatest = before.max(fence);
    let admitted = gate.admit(&format!("shard/orders/{shard}"), fence);
    if fence < before || admitted.is_err() {
        served.stale.push(format!("{shard}: {fence} after {before}, {admitted:?}"));
    }
}

/// Looks at the clock, stands still, and serves.
async fn stand_still(worker: &ShardWorker, gate: &FencingGate, served: &Mutex<Served>, number: usize) {
    loop {
        let may = (0..SHARDS).map(|shard| format!("{:02}", (shard + number) % SHARDS));
        let entered =
            may.filter_map(|shard| worker.enter(&shard).ok().map(|entered| (shard, entered))).next();
        tokio::time::sleep(STANDS_STILL).await;
        if let Some((shard, entered)) = entered {
            // In one step, as in `serve`: whoever serves in between has not served before this was admitted.
            let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
            let admitted = gate.admit(&format!("shard/orders/{shard}"), entered.fence);
            let greatest = served.greatest.get(&shard).copied().unwrap_or_default();
            served.refused += usize::from(admitted.is_err());
            served.late += usize::from(admitted.is_ok() && entered.fence < greatest);
        }
    }
}

fn all_served(workers: &[Arc<ShardWorker>]) -> bool {
    let is_served = |shard: usize| workers.iter().any(|worker| worker.enter(&format!("{shard:02}")).is_ok());
    (0..SHARDS).all(is_served)
}

/// Whether all are served under greater fences than these.
fn served_above(workers: &[Arc<ShardWorker>], seen: &BTreeMap<String, u64>) -> bool {
    let served: BTreeMap<_, _> = workers.iter().flat_map(|worker| worker.shards()).collect();
    seen.iter().all(|(shard, fence)| served.get(shard).is_some_and(|served| served > fence))
}

/// A worker beside the daemon of a node.
fn worker(node: &Node) -> Result<Arc<ShardWorker>> {
    Ok(Arc::new(ShardWorker::start(ShardWorkerOptions {
        daemon: endpoint(&node.daemon.control)?,
        namespace: "orders".to_owned(),
        worker_id: format!("worker of {}", node.id()),
    })))
}

pub(crate) fn endpoint(control: &str) -> Result<Endpoint> {
    Ok(Endpoint::from_shared(format!("http://{control}"))?)
}

/// Makes the namespace of orders.
pub(crate) async fn made(mesh: &Mesh, shards: usize, policy: &Value) -> Result<()> {
    let asked = json!({"shards": shards, "spec": {"policy": policy}});
    let made = mesh.first().post("/control/namespaces/orders", &asked).await?.ok()?;
    ensure!(made["detail"]["ready"] == true, "{made}");
    Ok(())
}

/// Who goes over to the others, as quickly as may be.
fn quick() -> Value {
    json!({
        "silentAfterMs": "0", "balance": "off", "drainGraceMs": "500", "brakePercent": 100, "cooldownMs": "0", "maxParallelMoves": 4, "moveIntervalMs": "0", "selfApproval": true,
    })
}

async fn shards(node: &Node) -> Result<Vec<Value>> {
    let listed = node.api.get("/control/shards?namespace=orders&pageSize=1000").await?.ok()?;
    Ok(listed["items"].as_array().context("no items")?.clone())
}

pub(crate) async fn until_empty(of: &Node, node: &str) -> Result<()> {
    until(&format!("{node} owns nothing"), async || {
        Ok(shards(of).await?.iter().all(|shard| shard["ownerNodeId"] != node))
    })
    .await
}

/// Every daemon has the same map.
async fn until_agreed(mesh: &Mesh) -> Result<()> {
    within(Duration::from_secs(2), "all have one map", async || {
        let mut maps = Vec::new();
        for node in &mesh.nodes {
            let of = node.api.get("/control/namespaces/orders").await?.ok()?;
            maps.push((of["detail"]["mapVersion"].clone(), of["detail"]["checksum"].clone()));
        }
        Ok(maps.windows(2).all(|pair| pair[0] == pair[1]))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_shard_is_served_by_two_whoever_drains_stands_still_or_dies() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut mesh = Mesh::start(&server.url(), 4).await?;
    made(&mesh, SHARDS, &quick()).await?;
    let workers = mesh.nodes.iter().map(worker).collect::<Result<Vec<_>>>()?;
    let work = Work::begin(&workers)?;
    until("all are served", async || Ok(all_served(&workers))).await?;
    // Two rounds of each: in order, a daemon that stands still, and one that is killed and comes back.
    for round in 0..2 {
        let node = mesh.nodes[1 + round].id().to_owned();
        mesh.first().post(&format!("/control/peers/{node}:drain"), &json!({})).await?.ok()?;
        until_empty(&mesh.nodes[0], &node).await?;
        mesh.first().post(&format!("/control/peers/{node}:undrain"), &json!({})).await?.ok()?;

        mesh.nodes[2].daemon.signal("STOP")?;
        until_empty(&mesh.nodes[0], "n3").await?;
        mesh.nodes[2].daemon.signal("CONT")?;
        until("n3 is back", async || Ok(mesh.first().peer("n3").await?["status"] == "alive")).await?;
        rebalance(&mesh).await?;

        mesh.nodes[3].daemon.signal("KILL")?;
        until_empty(&mesh.nodes[0], "n4").await?;
        // At the address that its worker knows.
        let control = mesh.nodes[3].daemon.control.clone();
        let mut place = mesh.nodes.remove(3).place;
        place.listen = control;
        mesh.nodes.push(Node::start_in(place)?);
        mesh.until_whole().await?;
        rebalance(&mesh).await?;
    }
    let served_again = until("all are served again", async || Ok(all_served(&workers))).await;
    served_again
        .with_context(|| format!("{:?}", workers.iter().map(|worker| worker.shards()).collect::<Vec<_>>()))?;
    until_agreed(&mesh).await?;
    let served = work.end();
    ensure!(served.stale.is_empty(), "{:?}", &served.stale[..served.stale.len().min(10)]);
    ensure!(served.late == 0, "{} of {} were let through", served.late, served.refused + served.late);
    ensure!(served.messages > 1000, "{} messages", served.messages);
    Ok(())
}

/// A registry that is an older copy of itself knows nothing of fences that were given since: nobody serves under one below them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_registry_has_nothing_served_under_fences_of_its_own() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 3).await?;
    made(&mesh, SHARDS, &quick()).await?;
    let workers = mesh.nodes.iter().map(worker).collect::<Result<Vec<_>>>()?;
    let work = Work::begin(&workers)?;
    until("all are served", async || Ok(all_served(&workers))).await?;
    server.cli::<()>(&["SAVE"])?;
    let (file, copy) = (server.directory().join("dump.rdb"), server.directory().join("copy.rdb"));
    std::fs::rename(&file, &copy)?;
    mesh.first().post("/control/peers/n2:drain", &json!({})).await?.ok()?;
    until_empty(&mesh.nodes[0], "n2").await?;
    mesh.first().post("/control/peers/n2:undrain", &json!({})).await?.ok()?;
    rebalance(&mesh).await?;
    until("all are served by others", async || Ok(all_served(&workers))).await?;
    let seen = work.seen();

    server.kill()?;
    std::fs::rename(&copy, &file)?;
    server.restart()?;
    mesh.until_whole().await?;
    until("all are served again, under greater fences", async || Ok(served_above(&workers, &seen))).await?;
    let change = shards(&mesh.nodes[0]).await?;
    ensure!(change.iter().all(|shard| shard["status"] == "active"), "{change:?}");
    let history = mesh.first().get("/control/shards/orders:history").await?.ok()?;
    ensure!(history.to_string().contains("new_epoch"), "{history}");
    let served = work.end();
    ensure!(served.stale.is_empty(), "{:?}", &served.stale[..served.stale.len().min(10)]);
    ensure!(served.late == 0, "{} were let through late", served.late);
    Ok(())
}

/// A failover in the middle of a plan: it goes on from what the replica has, and nothing that was lost is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_goes_on_after_a_failover_in_its_middle() -> Result<()> {
    let mut group = Sentinels::start(1)?;
    let mesh = Mesh::start(&group.url(), 3).await?;
    let mut policy = quick();
    policy["drainGraceMs"] = json!("20000");
    made(&mesh, SHARDS, &policy).await?;
    let workers = mesh.nodes.iter().map(worker).collect::<Result<Vec<_>>>()?;
    let work = Work::begin(&workers)?;
    until("all are served", async || Ok(all_served(&workers))).await?;
    // Work that goes on keeps two where they are.
    let held = workers[1].shards().into_keys().take(2).map(|shard| workers[1].enter(&shard));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    mesh.first().post("/control/peers/n2:drain", &json!({})).await?.ok()?;
    let owned = async || -> Result<usize> {
        Ok(shards(&mesh.nodes[0]).await?.iter().filter(|shard| shard["ownerNodeId"] == "n2").count())
    };
    let had = owned().await?;
    until("it is in the middle", async || Ok(owned().await? < had)).await?;
    let plans = mesh.first().get("/control/rebalance-plans?namespace=orders").await?.ok()?;
    let plan = plans["plans"][0]["planId"].as_str().with_context(|| format!("{plans}"))?.to_owned();
    let old = group.kill_master()?;
    let (left, seen) = (owned().await?, work.seen());
    ensure!(left >= held.len(), "it was over before");
    drop(held);
    tokio::task::block_in_place(|| group.wait_for_failover(old))?;
    until_empty(&mesh.nodes[0], "n2").await?;
    until("all are served again, under greater fences", async || Ok(served_above(&workers, &seen))).await?;
    until_agreed(&mesh).await?;
    let ended = mesh.first().get(&format!("/control/rebalance-plans/{plan}")).await?.ok()?;
    ensure!(ended["plan"]["state"] == "completed", "{ended}");
    let served = work.end();
    println!("{left} of {had} were left when the master died");
    ensure!(served.stale.is_empty(), "{:?}", &served.stale[..served.stale.len().min(10)]);
    ensure!(served.late == 0, "{} were let through late", served.late);
    Ok(())
}

/// Spreads shards over all that may own some.
pub(crate) async fn rebalance(mesh: &Mesh) -> Result<()> {
    let api = mesh.first();
    let asked = json!({"namespace": "orders", "force": true});
    let plan = api.post("/control/rebalance-plans", &asked).await?;
    if plan.reason() == "NOTHING_TO_DO" {
        return Ok(());
    }
    let id = plan.ok()?["plan"]["planId"].as_str().context("no id")?.to_owned();
    api.post(&format!("/control/rebalance-plans/{id}:approve"), &json!({})).await?.ok().context("approve")?;
    api.post(&format!("/control/rebalance-plans/{id}:apply"), &json!({})).await?.ok().context("apply")?;
    until("the plan has ended", async || {
        let plan = api.get(&format!("/control/rebalance-plans/{id}")).await?.ok()?;
        Ok(plan["plan"]["state"] != "running")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_workers_have_too_much_to_do_gives_a_part_to_others() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 3).await?;
    let policy = json!({
        "cooldownMs": "0", "thresholds": {"pending": "100"}, "overloadedAfterMs": "0", "relief": "automatic",
    });
    made(&mesh, SHARDS, &policy).await?;
    let workers = mesh.nodes.iter().map(worker).collect::<Result<Vec<_>>>()?;
    let had = shards(&mesh.nodes[0]).await?.iter().filter(|shard| shard["ownerNodeId"] == "n2").count();
    for (worker, pending) in workers.iter().zip([10, 500, 20]) {
        worker.report(Workload { pending, ..Workload::default() }).await?;
    }
    until("others know of it", async || {
        let loads = mesh.first().get("/control/shards/orders:loads").await?.ok()?;
        let first = &loads["nodes"][0];
        Ok(first["nodeId"] == "n2" && first["overloaded"] == true && first["standing"] == "cordoned")
    })
    .await?;
    let mut left = had;
    until("a part goes to others", async || {
        left = shards(&mesh.nodes[0]).await?.iter().filter(|shard| shard["ownerNodeId"] == "n2").count();
        Ok(left < had)
    })
    .await?;
    let history = mesh.first().get("/control/shards/orders:history").await?.ok()?;
    let changes = history["changes"].as_array().context("no changes")?;
    ensure!(changes.iter().any(|change| change["cause"] == "load" && change["moved"] != 0), "{history}");
    // With less to do it is as the others again.
    workers[1].report(Workload { pending: 50, ..Workload::default() }).await?;
    until("it is spared no more", async || {
        let loads = mesh.first().get("/control/shards/orders:loads").await?.ok()?;
        Ok(loads["nodes"]
            .as_array()
            .is_some_and(|nodes| nodes.iter().all(|node| node["overloaded"] == false)))
    })
    .await?;
    // What is too much for most is so for none.
    for worker in &workers {
        worker.report(Workload { pending: 500, ..Workload::default() }).await?;
    }
    until("all have too much to do", async || {
        let loads = mesh.first().get("/control/shards/orders:loads").await?.ok()?;
        let nodes = loads["nodes"].as_array().context("no nodes")?;
        Ok(nodes.iter().all(|node| !node["overSince"].is_null() && node["overloaded"] == false))
    })
    .await?;
    ensure!(left > 0, "it has kept some");
    Ok(())
}

/// What a daemon says of the map, as a follower has it.
async fn as_read(node: &Node) -> Result<(i64, String)> {
    let of = node.api.get("/control/namespaces/orders").await?.ok()?;
    let version = of["detail"]["mapVersion"].as_str().context("no version")?.parse()?;
    Ok((version, of["detail"]["checksum"].as_str().context("no checksum")?.to_owned()))
}

fn as_followed(map: &Snapshot) -> (i64, String) {
    (map.version, map.checksum())
}

async fn pause_one(node: &Node, shard: usize) -> Result<()> {
    node.api
        .post(&format!("/control/shards/orders/{shard:02}:pause"), &json!({"reason": "test"}))
        .await?
        .ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_has_the_map_of_any_daemon_and_keeps_it_when_there_is_none() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut mesh = Mesh::start(&server.url(), 2).await?;
    made(&mesh, SHARDS, &quick()).await?;
    let directory = tempfile::tempdir()?;
    let daemons = mesh.nodes.iter().map(|node| endpoint(&node.daemon.control)).collect::<Result<Vec<_>>>()?;
    let cache = Some(directory.path().join("orders.json"));
    let options = ShardMapOptions { daemons, namespace: "orders".to_owned(), cache };
    let map = ShardMap::follow(options.clone()).await?;
    for key in ["order-1", "order-2", "order-3"] {
        let found = mesh.first().get(&format!("/control/shards/orders:lookup?key={key}")).await?.ok()?;
        let owner = map.lookup(key.as_bytes()).context("no shard")?.shard;
        ensure!(found["shard"]["shardId"] == owner.id.as_str(), "{key}: {found}, {owner:?}");
        ensure!(found["shard"]["ownerNodeId"] == owner.owner.as_str(), "{key}: {found}, {owner:?}");
    }

    // A change is heard, and many are.
    mesh.first().post("/control/peers/n2:drain", &json!({})).await?.ok()?;
    until_empty(&mesh.nodes[1], "n2").await?;
    let read = as_read(&mesh.nodes[1]).await?;
    ensure!(map.at_least(read.0, Duration::from_secs(5)).await, "{read:?}");
    until("all is heard", async || Ok(as_followed(&map.snapshot()) == read)).await?;
    ensure!(map.snapshot().shards().all(|shard| shard.owner == "n1"));
    ensure!(!map.at_least(read.0 + 1, Duration::from_millis(50)).await, "a version that is not there");

    // The daemon that is followed is killed: the other one goes on.
    let controls: Vec<String> = mesh.nodes.iter().map(|node| node.daemon.control.clone()).collect();
    let mut first = mesh.nodes.remove(0);
    first.daemon.kill()?;
    pause_one(&mesh.nodes[0], 3).await?;
    let read = as_read(&mesh.nodes[0]).await?;
    until("the other one is followed", async || {
        let now = map.snapshot();
        Ok(as_followed(&now) == read && !now.stale)
    })
    .await?;

    // With none left it is stale, and whoever starts then has what was kept.
    let second = mesh.nodes.remove(0);
    second.daemon.kill()?;
    until("it is stale", async || Ok(map.snapshot().stale)).await?;
    ensure!(as_followed(&map.snapshot()) == read, "it is kept");
    let late = ShardMap::follow(options.clone()).await?;
    ensure!(late.snapshot().stale && as_followed(&late.snapshot()) == read, "{:?}", late.snapshot());
    let without = ShardMap::follow(ShardMapOptions { cache: None, ..options }).await;
    ensure!(matches!(without, Err(ShardMapError::NoMap(_))), "{without:?}");

    // A daemon is back: it is followed.
    first.place.listen.clone_from(&controls[0]);
    let back = Node::start_in(first.place)?;
    pause_one(&back, 4).await?;
    let read = as_read(&back).await?;
    for follower in [&map, &late] {
        until("it is followed again", async || {
            let now = follower.snapshot();
            Ok(as_followed(&now) == read && !now.stale)
        })
        .await?;
    }
    Ok(())
}
