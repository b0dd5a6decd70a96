//! Leave to serve what one's own node owns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::shard_control_service_client::ShardControlServiceClient;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tracing::debug;

/// How often leave is asked for, at most and at least.
const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_SOONER: Duration = Duration::from_millis(50);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(1);

/// Which worker this is, and whom it asks.
#[derive(Clone, Debug)]
pub struct ShardWorkerOptions {
    /// The control port of the daemon of this node: what that node owns is served here. Certificates are set on it.
    pub daemon: Endpoint,
    pub namespace: String,
    /// Names the process: one of its own for each start. Up to 128 visible characters.
    pub worker_id: String,
}

/// Leave to serve shards, renewed until it is dropped.
///
/// [`ShardWorker::enter`] is asked before each piece of work. What it gives is held while the work lasts: a shard that is to go to another
/// node is given up once nothing holds it, or after the grace of its namespace. By the clock of this process leave ends before anybody
/// else has any; a process that stood still meanwhile is refused by the gate that its writes pass with [`Served::fence`].
#[derive(Debug)]
pub struct ShardWorker {
    shared: Arc<Shared>,
    asking: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    leaves: Mutex<BTreeMap<String, Leave>>,
}

#[derive(Clone, Debug)]
struct Leave {
    fence: u64,
    until: Instant,
    draining: bool,
    /// How much work holds it.
    held: Arc<AtomicUsize>,
}

/// A piece of work on a shard that may be done.
#[derive(Debug)]
pub struct Served {
    /// What the writes of the work carry, to a gate in front of what they change.
    pub fence: u64,
    until: Instant,
    held: Arc<AtomicUsize>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Served {
    /// Until when nobody else may serve the shard, by the clock of this process.
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for ShardWorker {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl ShardWorker {
    /// Begins to ask for leave. Must be called within a runtime of tokio.
    pub fn start(options: ShardWorkerOptions) -> Self {
        let daemon = options.daemon.clone();
        let channel = daemon.connect_timeout(WITHIN).timeout(WITHIN).tcp_nodelay(true).connect_lazy();
        let shared = Arc::<Shared>::default();
        let asking = tokio::spawn(run(shared.clone(), options, ShardControlServiceClient::new(channel)));
        Self { shared, asking }
    }

    /// Leave for one piece of work on a shard; `None`: this node does not own it, or is to give it up.
    pub fn enter(&self, shard: &str) -> Option<Served> {
        let leaves = self.shared.lock();
        let leave = leaves.get(shard).filter(|leave| !leave.draining && Instant::now() < leave.until)?;
        leave.held.fetch_add(1, Ordering::AcqRel);
        Some(Served { fence: leave.fence, until: leave.until, held: leave.held.clone() })
    }

    /// What may be served now, each with its fence token.
    pub fn shards(&self) -> BTreeMap<String, u64> {
        let now = Instant::now();
        let leaves = self.shared.lock();
        let may = leaves.iter().filter(|(_, leave)| !leave.draining && now < leave.until);
        may.map(|(shard, leave)| (shard.clone(), leave.fence)).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Leave>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served, as the daemon is told; what is not any more is forgotten.
    fn serving(&self) -> Vec<pb::ServedShard> {
        let now = Instant::now();
        let mut leaves = self.lock();
        let is_held = |leave: &Leave| leave.held.load(Ordering::Acquire) > 0;
        leaves.retain(|_, leave| is_held(leave) || (now < leave.until && !leave.draining));
        let served = leaves.iter().map(|(shard, leave)| pb::ServedShard {
            shard_id: shard.clone(),
            fence_token: leave.fence.cast_signed(),
        });
        served.collect()
    }

    fn take(&self, answer: pb::HoldShardsResponse, asked: Instant) {
        let until = asked + Duration::from_millis(answer.valid_for_ms.into());
        let mut leaves = self.lock();
        for held in answer.shards {
            let (fence, draining) = (held.fence_token.cast_unsigned(), held.draining);
            let leave = leaves.entry(held.shard_id).or_insert_with(|| Leave {
                fence,
                until,
                draining,
                held: Arc::default(),
            });
            if leave.fence != fence {
                // Work that was begun under another fence holds nothing of this one.
                leave.held = Arc::default();
            }
            (leave.fence, leave.until, leave.draining) = (fence, until.max(leave.until), draining);
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    options: ShardWorkerOptions,
    mut client: ShardControlServiceClient<Channel>,
) {
    loop {
        let (asked, serving) = (Instant::now(), shared.serving());
        let request = pb::HoldShardsRequest {
            namespace: options.namespace.clone(),
            worker_id: options.worker_id.clone(),
            serving,
        };
        match client.hold(request).await {
            Ok(answer) => shared.take(answer.into_inner(), asked),
            Err(status) => {
                debug!(error = status.message(), namespace = options.namespace, "no leave to serve shards");
            }
        }
        let is_giving_up = shared.lock().values().any(|leave| leave.draining);
        tokio::time::sleep(if is_giving_up { ASK_SOONER } else { ASK_EVERY }).await;
    }
}
