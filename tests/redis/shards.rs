//! Shards among real daemons on a real Redis: workers that serve them, owners that drain, stand still and are killed, and the gate that
//! says whether two of them ever served one shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_sdk::FencingGate;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::daemons::mesh::{Mesh, Node};
use crate::process::{until, within};
use crate::servers::RedisServer;

const SHARDS: usize = 24;
/// How long a worker that is held up stands still between being let serve and serving: longer than a session.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// What a worker may serve: under which fence, and until when.
#[derive(Clone, Copy)]
struct Leave {
    fence: u64,
    until: Instant,
    draining: bool,
}

/// A process beside a daemon that serves what its node owns, in the small.
struct Worker {
    name: String,
    leaves: Mutex<BTreeMap<String, Leave>>,
}

impl Worker {
    /// Asks its daemon for leave, again and again.
    async fn hold(self: Arc<Self>, control: String) {
        let Ok(endpoint) = Endpoint::from_shared(format!("http://{control}")) else { return };
        let channel =
            endpoint.connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(1)).connect_lazy();
        let mut client = ShardControlServiceClient::new(channel);
        loop {
            self.ask(&mut client).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&self, client: &mut ShardControlServiceClient<Channel>) {
        let asked = Instant::now();
        let serving = {
            let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
            // Nothing is left of what was begun by the time that it is told to stop.
            leaves.retain(|_, leave| asked < leave.until && !leave.draining);
            let served = leaves.iter().map(|(shard, leave)| pb::ServedShard {
                shard_id: shard.clone(),
                fence_token: leave.fence.cast_signed(),
            });
            served.collect()
        };
        let request =
            pb::HoldShardsRequest { namespace: "orders".to_owned(), worker_id: self.name.clone(), serving };
        let Ok(answer) = client.hold(request).await else { return };
        let answer = answer.into_inner();
        let until = asked + Duration::from_millis(answer.valid_for_ms.into());
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        for held in answer.shards {
            let (fence, draining) = (held.fence_token.cast_unsigned(), held.draining);
            leaves.insert(held.shard_id, Leave { fence, until, draining });
        }
    }

    fn leave(&self, shard: &str) -> Option<Leave> {
        let leave = *self.leaves.lock().unwrap_or_else(PoisonError::into_inner).get(shard)?;
        (Instant::now() < leave.until && !leave.draining).then_some(leave)
    }
}

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
    fn begin(workers: &[Arc<Worker>]) -> Result<Self> {
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

    fn end(mut self) -> Served {
        self.tasks.abort_all();
        std::mem::take(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves one message, if it may: nothing comes between its look at the clock and the note that it was served.
fn serve(worker: &Worker, gate: &FencingGate, served: &Mutex<Served>, shard: &str) {
    let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Leave { fence, .. }) = worker.leave(shard) else { return };
    served.messages += 1;
    let greatest = served.greatest.entry(shard.to_owned()).or_default();
    let before = *greatest;
    *greatest = before.max(fence);
    let admitted = gate.admit(&format!("shard/orders/{shard}"), fence);
    if fence < before || admitted.is_err() {
        served.stale.push(format!("{shard}: {fence} by {} after {before}", worker.name));
    }
}

/// Looks at the clock, stands still, and serves.
async fn stand_still(worker: &Worker, gate: &FencingGate, served: &Mutex<Served>, number: usize) {
    loop {
        let may = (0..SHARDS).map(|shard| format!("{:02}", (shard + number) % SHARDS));
        let leave = may.filter_map(|shard| worker.leave(&shard).map(|leave| (shard, leave))).next();
        tokio::time::sleep(STANDS_STILL).await;
        if let Some((shard, leave)) = leave {
            let admitted = gate.admit(&format!("shard/orders/{shard}"), leave.fence);
            let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
            let greatest = served.greatest.get(&shard).copied().unwrap_or_default();
            served.refused += usize::from(admitted.is_err());
            served.late += usize::from(admitted.is_ok() && leave.fence < greatest);
        }
    }
}

async fn made(mesh: &Mesh) -> Result<()> {
    let policy = json!({
        "silentAfterMs": "0", "drainGraceMs": "500", "brakePercent": 100, "cooldownMs": "0", "maxParallelMoves": 4, "selfApproval": true,
    });
    let asked = json!({"shards": SHARDS, "spec": {"policy": policy}});
    let made = mesh.first().post("/control/namespaces/orders", &asked).await?.ok()?;
    ensure!(made["detail"]["ready"] == true, "{made}");
    Ok(())
}

async fn shards(node: &Node) -> Result<Vec<Value>> {
    let listed = node.api.get("/control/shards?namespace=orders&pageSize=1000").await?.ok()?;
    Ok(listed["items"].as_array().context("no items")?.clone())
}

async fn until_empty(of: &Node, node: &str) -> Result<()> {
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
    made(&mesh).await?;
    let workers: Vec<Arc<Worker>> = mesh
        .nodes
        .iter()
        .map(|node| Arc::new(Worker { name: format!("worker of {}", node.id()), leaves: Mutex::default() }))
        .collect();
    let mut holding = JoinSet::new();
    for (worker, node) in workers.iter().zip(&mesh.nodes) {
        holding.spawn(worker.clone().hold(node.daemon.control.clone()));
    }
    let work = Work::begin(&workers)?;
    let all_served = || {
        let is_served =
            |shard: usize| workers.iter().any(|worker| worker.leave(&format!("{shard:02}")).is_some());
        (0..SHARDS).all(is_served)
    };
    until("all are served", async || Ok(all_served())).await?;
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
    let served_again = until("all are served again", async || Ok(all_served())).await;
    served_again.with_context(|| {
        let leaves = workers.iter().map(|worker| {
            let leaves = worker.leaves.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{}: {:?}", worker.name, leaves.keys().collect::<Vec<_>>())
        });
        leaves.collect::<Vec<_>>().join("; ")
    })?;
    until_agreed(&mesh).await?;
    let served = work.end();
    ensure!(served.stale.is_empty(), "{:?}", &served.stale[..served.stale.len().min(10)]);
    ensure!(served.late == 0, "{} of {} were let through", served.late, served.refused + served.late);
    ensure!(served.messages > 10_000, "{} messages", served.messages);
    Ok(())
}

/// Spreads shards over all that may own some.
async fn rebalance(mesh: &Mesh) -> Result<()> {
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
