//! Orders of the example, taken by a worker process beside each of four daemons, while shards move to and fro and workers stand still in
//! the middle: whether the ledger has taken an order of two owners, whether one was lost, and how long they took.
//!
//! `OMNIRELAY_ORDERS=N` sends N orders at least, as many as can be, and moves shards until then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use omnirelay_orders::gateway::Gateway;
use omnirelay_orders::ledger::Ledger;
use omnirelay_orders::pb::ledger_client::LedgerClient;
use omnirelay_orders::pb::ledger_server::LedgerServer;
use omnirelay_orders::pb::orders_server::OrdersServer;
use omnirelay_orders::pb::{PlaceRequest, WriteRequest};
use omnirelay_orders::worker::Worker;
use omnirelay_sdk::FencingGate;
use omnirelay_sdk::shards::{
    CallError, Endpoint, ShardChooser, ShardMap, ShardMapOptions, ShardWorker, ShardWorkerOptions,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::daemons::mesh::{Mesh, Node};
use crate::process::until;
use crate::servers::RedisServer;
use crate::shards::{endpoint, made, rebalance, until_empty};

const SHARDS: usize = 64;
const ORDERS: usize = 5_000;
const SENDERS: usize = 16;
/// From one order of a sender to its next one, where it is not said how many there are to be: what they take is not what waits for a
/// processor.
const PACE: Duration = Duration::from_millis(20);
/// What makes a process of this test a worker: its daemon, where it listens, and the ledger.
const WORKER: &str = "OMNIRELAY_TEST_ORDERS_WORKER";

/// Not a test: what a worker process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_process() -> Result<()> {
    let Ok(told) = std::env::var(WORKER) else { return Ok(()) };
    let [daemon, listen, ledger] = told.split(' ').collect::<Vec<_>>()[..] else { anyhow::bail!("{told}") };
    let options = ShardWorkerOptions {
        daemon: endpoint(daemon)?,
        namespace: "orders".to_owned(),
        worker_id: format!("worker beside {daemon}"),
    };
    let shards = Arc::new(ShardWorker::start(options));
    let ledger = LedgerClient::new(Endpoint::from_shared(ledger.to_owned())?.connect_lazy());
    let worker = Worker { name: listen.to_owned(), shards, ledger };
    Server::builder().add_service(OrdersServer::new(worker)).serve(listen.parse()?).await?;
    Ok(())
}

/// A worker process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub listens: SocketAddr,
}

impl Process {
    pub(crate) fn start(node: &Node, ledger: &str) -> Result<Self> {
        let listens = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "orders::worker_process"])
            .env(WORKER, format!("{} {listens} {ledger}", node.daemon.control))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, listens })
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(id, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the ledger has taken.
#[derive(Default)]
pub(crate) struct Book {
    /// The greatest fence of each shard, and whose it was.
    pub owners: BTreeMap<String, (u64, String)>,
    pub taken: usize,
    owners_changed: usize,
    /// Orders of two workers under one fence, or of a fence below one before.
    pub wrong: Vec<String>,
}

impl Book {
    fn write(&mut self, order: &WriteRequest) {
        self.taken += 1;
        let (fence, worker) = (order.fence_token, order.worker.clone());
        let Some(last) = self.owners.insert(order.shard_id.clone(), (fence, worker.clone())) else { return };
        if fence < last.0 || fence == last.0 && worker != last.1 {
            self.wrong
                .push(format!("{}: {fence} of {worker} after {} of {}", order.shard_id, last.0, last.1));
        }
        self.owners_changed += usize::from(worker != last.1);
    }
}

/// Serves the ledger in this process, until the set is dropped; answers where.
pub(crate) async fn ledger(book: &Arc<Mutex<Book>>, tasks: &mut JoinSet<()>) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let (listener, book) = (TcpListener::bind("127.0.0.1:0").await?, book.clone());
    let at = format!("http://{}", listener.local_addr()?);
    let write = move |order: &WriteRequest| {
        book.lock().unwrap_or_else(PoisonError::into_inner).write(order);
    };
    let gate = FencingGate::open(directory.path().join("fences"))?;
    tasks.spawn(async move {
        let service =
            LedgerServer::new(Ledger { namespace: "orders".to_owned(), gate, write: Box::new(write) });
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        drop(directory);
    });
    Ok(at)
}

/// How orders went.
#[derive(Default)]
pub(crate) struct Orders {
    calm: Mutex<Vec<Duration>>,
    moving: Mutex<Vec<Duration>>,
    is_moving: AtomicBool,
    sent: AtomicUsize,
    /// Refused by the ledger: of a worker that stood still.
    refused: AtomicUsize,
    pub failed: Mutex<Vec<String>>,
    pub ended: AtomicBool,
    pace: Duration,
}

impl Orders {
    /// None yet; each sender waits so long from one to the next.
    pub(crate) fn paced(pace: Duration) -> Self {
        Self { pace, ..Self::default() }
    }

    pub(crate) async fn send(&self, gateway: &Gateway, sender: usize) {
        let mut number = 0;
        while !self.ended.load(Ordering::Relaxed) {
            number += 1;
            tokio::time::sleep(self.pace).await;
            let order =
                PlaceRequest { order_id: format!("order-{sender}-{number}"), ..PlaceRequest::default() };
            let (begun, was_moving) = (Instant::now(), self.is_moving.load(Ordering::Relaxed));
            match gateway.send(order).await {
                Ok(_) => {
                    let took = if was_moving { &self.moving } else { &self.calm };
                    took.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
                Err(CallError::Failed(status)) if status.code() == tonic::Code::FailedPrecondition => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push(error.to_string());
                }
            }
        }
    }

    /// Refuses orders that nobody has taken.
    pub(crate) fn expect_none_failed(&self) -> Result<()> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(failed.is_empty(), "{} orders failed: {:?}", failed.len(), &failed[..failed.len().min(3)]);
        Ok(())
    }

    /// How long they took, and what the ledger has seen.
    fn told(&self, book: &Book) -> String {
        let of = |took: &Mutex<Vec<Duration>>| {
            let mut took = took.lock().unwrap_or_else(PoisonError::into_inner).clone();
            took.sort_unstable();
            [50, 90, 99]
                .map(|percent| took.get(took.len() * percent / 100).map_or(0.0, Duration::as_secs_f64))
        };
        let both = ["p50", "p90", "p99"].into_iter().zip(of(&self.calm).into_iter().zip(of(&self.moving)));
        let lines = both.map(|(at, (calm, moving))| {
            let (calm_ms, moving_ms) = (calm * 1e3, moving * 1e3);
            format!(
                "{at}: calm {calm_ms:.3} ms, while shards move {moving_ms:.3} ms, ratio {:.2}\n",
                moving / calm
            )
        });
        let refused = self.refused.load(Ordering::Relaxed);
        let (taken, changed) = (book.taken, book.owners_changed);
        lines.collect::<String>()
            + &format!(
                "{taken} orders taken, {refused} refused at the ledger, {changed} changes of owners seen there"
            )
    }
}

/// How many orders, how long from one to the next, and how far apart shards move in milliseconds: as where nothing is said, or as
/// many as can be.
fn asked() -> Result<(usize, Duration, Option<&'static str>)> {
    let Ok(asked) = std::env::var("OMNIRELAY_ORDERS") else { return Ok((ORDERS, PACE, None)) };
    let orders = asked.parse().with_context(|| format!("OMNIRELAY_ORDERS: {asked}"))?;
    Ok((orders, Duration::ZERO, Some("0")))
}

/// Has all shards leave a node, and come back.
async fn to_and_fro(mesh: &Mesh, node: &str) -> Result<()> {
    mesh.first().post(&format!("/control/peers/{node}:drain"), &json!({})).await?.ok()?;
    until_empty(&mesh.nodes[0], node).await?;
    mesh.first().post(&format!("/control/peers/{node}:undrain"), &json!({})).await?.ok()?;
    rebalance(mesh).await
}

/// Sends orders to the workers beside these daemons, once all listen and one was taken, until they are ended.
pub(crate) async fn send_to(mesh: &Mesh, workers: &[Process], orders: &Arc<Orders>) -> Result<JoinSet<()>> {
    let at: BTreeMap<String, Endpoint> = mesh
        .nodes
        .iter()
        .zip(workers)
        .map(|(node, worker)| {
            Ok((node.id().to_owned(), endpoint(&worker.listens.to_string())?.tcp_nodelay(true)))
        })
        .collect::<Result<_>>()?;
    let daemons = mesh.nodes.iter().map(|node| endpoint(&node.daemon.control)).collect::<Result<Vec<_>>>()?;
    let options = ShardMapOptions { daemons, namespace: "orders".to_owned(), cache: None };
    let map = Arc::new(ShardMap::follow(options).await?);
    let gateway = Arc::new(Gateway { chooser: ShardChooser::new(map, move |node| at.get(node).cloned()) });
    for worker in workers {
        until("a worker listens", async || Ok(tokio::net::TcpStream::connect(worker.listens).await.is_ok()))
            .await?;
    }
    until("an order is taken", async || {
        let order = PlaceRequest { order_id: "first".to_owned(), ..PlaceRequest::default() };
        Ok(gateway.send(order).await.is_ok())
    })
    .await?;
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (orders, gateway) = (orders.clone(), gateway.clone());
        senders.spawn(async move { orders.send(&gateway, sender).await });
    }
    Ok(senders)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_taken_once_and_by_one_owner_while_shards_move() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mesh = Mesh::start(&server.url(), 4).await?;
    let (asked, pace, interval) = asked()?;
    let policy = json!({
        "silentAfterMs": "10000", "balance": "off", "drainGraceMs": "1000", "brakePercent": 100, "cooldownMs": "0", "maxParallelMoves": 2,
        "moveIntervalMs": interval, "selfApproval": true,
    });
    made(&mesh, SHARDS, &policy).await?;
    let (book, mut tasks) = (Arc::<Mutex<Book>>::default(), JoinSet::new());
    let ledger = ledger(&book, &mut tasks).await?;
    let workers = mesh.nodes.iter().map(|node| Process::start(node, &ledger)).collect::<Result<Vec<_>>>()?;
    let orders = Arc::new(Orders::paced(pace));
    let mut senders = send_to(&mesh, &workers, &orders).await?;

    let mut round = 0;
    while round < 2 || orders.sent.load(Ordering::Relaxed) < asked {
        tokio::time::sleep(Duration::from_secs(3)).await;
        orders.is_moving.store(true, Ordering::Relaxed);
        to_and_fro(&mesh, ["n2", "n4"][round % 2]).await?;
        orders.is_moving.store(false, Ordering::Relaxed);
        round += 1;
    }
    orders.expect_none_failed()?;
    ensure!(orders.refused.load(Ordering::Relaxed) == 0, "nobody stood still, and the ledger has refused");

    // A worker stands still while its shards go to others, and goes on.
    let drained = to_and_fro(&mesh, "n3");
    let stopped = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        workers[2].signal(rustix::process::Signal::STOP)?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        workers[2].signal(rustix::process::Signal::CONT)
    };
    let (drained, stopped) = tokio::join!(drained, stopped);
    drained.and(stopped)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    orders.ended.store(true, Ordering::Relaxed);
    while senders.join_next().await.is_some() {}
    orders.expect_none_failed()?;
    let book = book.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{}", orders.told(&book));
    ensure!(book.wrong.is_empty(), "{:?}", &book.wrong[..book.wrong.len().min(10)]);
    ensure!(
        book.taken >= asked && book.owners_changed >= SHARDS,
        "{} taken, {} changed",
        book.taken,
        book.owners_changed
    );
    Ok(())
}
