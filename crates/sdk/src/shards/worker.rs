//! Leave to serve what one's own node owns.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
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
    /// What the process is called, for who reads of it: up to 100 visible characters. What makes it one of its own is added.
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
    leaves: Mutex<Leaves>,
}

/// By shard and fence token: the last one of a shard is that of now, and those before it are held by work that has not ended.
type Leaves = BTreeMap<(String, u64), Leave>;

#[derive(Clone, Debug)]
struct Leave {
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
        let of_shard = leaves.range((shard.to_owned(), 0)..=(shard.to_owned(), u64::MAX));
        let (&(_, fence), leave) = of_shard.last().filter(|(_, leave)| leave.may_be_entered())?;
        leave.held.fetch_add(1, Ordering::AcqRel);
        Some(Served { fence, until: leave.until, held: leave.held.clone() })
    }

    /// What may be served now, each with its fence token.
    pub fn shards(&self) -> BTreeMap<String, u64> {
        let leaves = self.shared.lock();
        let may = leaves.iter().filter(|(_, leave)| leave.may_be_entered());
        may.map(|((shard, fence), _)| (shard.clone(), *fence)).collect()
    }
}

impl Leave {
    fn may_be_entered(&self) -> bool {
        !self.draining && Instant::now() < self.until
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served, as the daemon is told; what is not any more is forgotten.
    fn serving(&self) -> Vec<pb::ServedShard> {
        let now = Instant::now();
        let mut leaves = self.lock();
        let is_held = |leave: &Leave| leave.held.load(Ordering::Acquire) > 0;
        leaves.retain(|_, leave| is_held(leave) || (now < leave.until && !leave.draining));
        let served = leaves.keys().map(|(shard, fence)| pb::ServedShard {
            shard_id: shard.clone(),
            fence_token: fence.cast_signed(),
        });
        served.collect()
    }

    fn take(&self, answer: pb::HoldShardsResponse, asked: Instant) {
        let until = asked + Duration::from_millis(answer.valid_for_ms.into());
        let mut leaves = self.lock();
        for held in answer.shards {
            let (fence, draining) = (held.fence_token.cast_unsigned(), held.draining);
            // Work that was begun under another fence goes on to its end, and none begins.
            let others = leaves.range_mut((held.shard_id.clone(), 0)..=(held.shard_id.clone(), u64::MAX));
            others.filter(|((_, of), _)| *of != fence).for_each(|(_, leave)| leave.draining = true);
            let new = || Leave { until, draining, held: Arc::default() };
            let leave = leaves.entry((held.shard_id, fence)).or_insert_with(new);
            (leave.until, leave.draining) = (until.max(leave.until), draining);
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    options: ShardWorkerOptions,
    mut client: ShardControlServiceClient<Channel>,
) {
    // Two processes of one name do not answer for each other.
    let own = RandomState::new().build_hasher().finish();
    let worker_id = format!("{}-{own:016x}", options.worker_id);
    loop {
        let (asked, serving) = (Instant::now(), shared.serving());
        let request = pb::HoldShardsRequest {
            namespace: options.namespace.clone(),
            worker_id: worker_id.clone(),
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
