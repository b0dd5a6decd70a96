//! Leave to serve what one's own node owns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons::{NAMESPACE_NOT_FOUND, NAMESPACE_NOT_READY};
use pb::shard_control_service_client::ShardControlServiceClient;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tonic::transport::{Channel, Endpoint};
use tracing::debug;

use super::refusal::{NoLeave, NotServed};

/// How soon it is asked again after a daemon that did not answer, and while work on what is given up goes on.
const AGAIN: Duration = Duration::from_millis(100);
/// From one request to the next one at least.
const APART: Duration = Duration::from_millis(2);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(1);

/// Options of a shard worker: which worker this is, and which daemon it asks.
#[derive(Clone, Debug)]
pub struct ShardWorkerOptions {
    /// The control port of the daemon of this node: what that node owns is served here. Certificates are set on it.
    pub daemon: Endpoint,
    pub namespace: String,
    /// What the process is called, for who reads of it: up to 100 visible characters. What makes it one of its own is added.
    pub worker_id: String,
}

/// Workload of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workload {
    /// Pieces of work that were taken and are not done.
    pub pending: u64,
    /// Pieces of work that wait to be taken.
    pub queue_depth: u64,
    /// How long a piece of work takes, such as the p99 of the last seconds.
    pub latency: Duration,
    /// Which part of the work fails, 0 to 1.
    pub error_rate: f64,
}

/// Leave to serve shards, renewed until it is dropped.
///
/// [`ShardWorker::enter`] is asked before each piece of work. What it gives is held while the work lasts: a shard that is to go to another
/// node is given up once nothing holds it, or after the grace of its namespace. By the clock of this process leave ends before anybody
/// else has any; a process that stood still meanwhile is refused by the gate that its writes pass with [`Served::fence`].
#[derive(Debug)]
pub struct ShardWorker {
    asker: Arc<Asker>,
    asking: JoinHandle<()>,
}

/// Client that asks the daemon for leave, and the leaves that it has.
struct Asker {
    client: ShardControlServiceClient<Channel>,
    namespace: String,
    worker_id: String,
    sequence: AtomicU64,
    leaves: Mutex<Leaves>,
    end: Arc<End>,
}

/// The end of the process, and of work that somebody waits for.
#[derive(Debug, Default)]
struct End {
    /// Nothing is begun any more.
    leaving: AtomicBool,
    /// Work has ended on what is to be given up.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Leaves {
    /// By shard and fence token: the last one of a shard is that of now, and those before it are held by work that has not ended.
    of: BTreeMap<(String, u64), Arc<Leave>>,
    /// What the daemon said last of its map, and why nothing may be served.
    version: i64,
    trouble: String,
}

/// Leave to serve a shard under a fence; work has a part in it.
#[derive(Debug)]
struct Leave {
    until: Mutex<Instant>,
    draining: AtomicBool,
    /// How much work holds it.
    held: AtomicUsize,
    end: Arc<End>,
}

impl Leave {
    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire) > 0
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether somebody waits for the end of the work on it.
    fn is_ending(&self) -> bool {
        self.is_draining() || self.end.leaving.load(Ordering::Acquire)
    }

    fn may_be_entered(&self) -> bool {
        !self.is_draining() && Instant::now() < self.until()
    }
}

/// A piece of work on a shard that may be done.
#[derive(Debug)]
pub struct Served {
    /// What the writes of the work carry, to a gate in front of what they change.
    pub fence: u64,
    leave: Arc<Leave>,
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.leave.held.fetch_sub(1, Ordering::AcqRel) == 1 && self.leave.is_ending() {
            self.leave.end.ended.notify_one();
        }
    }
}

impl Served {
    /// End of the leave, before which nobody else may serve the shard, by the clock of this process; renewals move it.
    pub fn until(&self) -> Instant {
        self.leave.until()
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
        let daemon = options.daemon;
        let channel = daemon.connect_timeout(WITHIN).timeout(WITHIN).tcp_nodelay(true).connect_lazy();
        // Two processes of one name do not answer for each other.
        let own = RandomState::new().build_hasher().finish();
        let asker = Arc::new(Asker {
            client: ShardControlServiceClient::new(channel),
            namespace: options.namespace,
            worker_id: format!("{}-{own:016x}", options.worker_id),
            sequence: AtomicU64::new(0),
            leaves: Mutex::default(),
            end: Arc::default(),
        });
        let asking = tokio::spawn(asker.clone().run());
        Self { asker, asking }
    }

    /// Leave for one piece of work on a shard.
    ///
    /// # Errors
    /// [`NotServed`]: this node does not own it, is to give it up, or cannot say. Whoever sent the work is to be told the version.
    pub fn enter(&self, shard: &str) -> Result<Served, NotServed> {
        let leaves = self.asker.lock();
        let (namespace, version) = (&self.asker.namespace, leaves.version);
        let refused =
            |why: NoLeave| NotServed { why, namespace: namespace.clone(), shard: shard.to_owned(), version };
        let of_shard = leaves.of.range((shard.to_owned(), 0)..=(shard.to_owned(), u64::MAX));
        let Some((&(_, fence), leave)) = of_shard.last() else {
            let trouble = leaves.trouble.clone();
            return Err(refused(if trouble.is_empty() {
                NoLeave::NotOwned
            } else {
                NoLeave::Trouble(trouble)
            }));
        };
        if leave.is_draining() || self.asker.is_leaving() {
            return Err(refused(NoLeave::Draining));
        }
        if !leave.may_be_entered() {
            return Err(refused(NoLeave::Trouble(leaves.trouble.clone())));
        }
        leave.held.fetch_add(1, Ordering::AcqRel);
        Ok(Served { fence, leave: leave.clone() })
    }

    /// Shards that may be served now, each with its fence token.
    pub fn shards(&self) -> BTreeMap<String, u64> {
        let leaves = self.asker.lock();
        let may = leaves.of.iter().filter(|(_, leave)| leave.may_be_entered());
        may.map(|((shard, fence), _)| (shard.clone(), *fence)).collect()
    }

    /// Reason why the daemon gives no leave; empty while it gives it.
    pub fn trouble(&self) -> String {
        self.asker.lock().trouble.clone()
    }

    /// Says what this process has to do, which counts for half a minute: nodes that have too much get no more shards.
    ///
    /// # Errors
    /// When the daemon has not taken it.
    pub async fn report(&self, load: Workload) -> Result<(), tonic::Status> {
        let load = pb::ReportedLoad {
            pending: load.pending,
            queue_depth: load.queue_depth,
            latency_ms: load.latency.as_secs_f64() * 1e3,
            error_rate: load.error_rate,
            unknown_fields: Default::default(),
        };
        let asker = &self.asker;
        let request = pb::ReportLoadRequest {
            namespace: asker.namespace.clone(),
            worker_id: asker.worker_id.clone(),
            load: Some(load),
        };
        asker.client.clone().report_load(request).await.map(drop)
    }

    /// Begins nothing any more, and returns once what was begun has ended and the daemon knows it, so that nobody has to wait for this
    /// process; or when all leave has run out, by which it is known too. Work that never ends is waited for without end.
    pub async fn stop(mut self) {
        self.asker.end.leaving.store(true, Ordering::Release);
        self.asking.abort();
        let _ = (&mut self.asking).await;
        let mut last = None;
        loop {
            last = last.max(self.asker.last());
            let serving = self.asker.serving();
            let is_done = serving.is_empty();
            let told = self.asker.ask(serving, false).await;
            if is_done && (told || last.is_none_or(|last| last <= Instant::now())) {
                return;
            }
            let _ = timeout(AGAIN, self.asker.end.ended.notified()).await;
        }
    }
}

impl Asker {
    fn lock(&self) -> MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_leaving(&self) -> bool {
        self.end.leaving.load(Ordering::Acquire)
    }

    /// Whether work goes on under leave that is to end.
    fn is_giving_up(&self) -> bool {
        self.lock().of.values().any(|leave| leave.is_draining())
    }

    /// When the last leave ends.
    fn last(&self) -> Option<Instant> {
        self.lock().of.values().map(|leave| leave.until()).max()
    }

    async fn run(self: Arc<Self>) {
        let mut heard = false;
        loop {
            let (told, asked) = (self.serving(), tokio::time::Instant::now());
            // The daemon hears at once, and answers when there is something new; who gives something up will have more to say.
            heard = self.ask(told.clone(), heard && !self.is_giving_up()).await;
            sleep_until(asked + APART).await;
            let has_more_to_say = heard && self.serving() != told;
            if !has_more_to_say && (!heard || self.is_giving_up()) {
                let _ = timeout(AGAIN, self.end.ended.notified()).await;
            }
        }
    }

    /// Says what is served, and takes what may be; false: it was not heard.
    async fn ask(&self, serving: Vec<pb::ServedShard>, waits: bool) -> bool {
        let asked = Instant::now();
        let request = pb::HoldShardsRequest {
            namespace: self.namespace.clone(),
            worker_id: self.worker_id.clone(),
            serving,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            leaving: self.is_leaving(),
            waits,
        };
        match self.client.clone().hold(request).await {
            Ok(answer) => {
                self.take(answer.into_inner(), asked);
                true
            }
            Err(status) => {
                debug!(error = status.message(), namespace = self.namespace, "no leave to serve shards");
                let mut leaves = self.lock();
                status.message().clone_into(&mut leaves.trouble);
                let reason = Fault::from(&status).reason;
                if [NAMESPACE_NOT_FOUND, NAMESPACE_NOT_READY].iter().any(|gone| gone.name == reason) {
                    // It is being removed, and another one may have its name soon.
                    leaves.of.values().for_each(|leave| leave.draining.store(true, Ordering::Release));
                }
                false
            }
        }
    }

    /// What is served, as the daemon is told; what is not any more is forgotten.
    fn serving(&self) -> Vec<pb::ServedShard> {
        let is_leaving = self.is_leaving();
        let mut leaves = self.lock();
        leaves.of.retain(|_, leave| leave.is_held() || leave.may_be_entered() && !is_leaving);
        let served = leaves.of.keys().map(|(shard, fence)| pb::ServedShard {
            shard_id: shard.clone(),
            fence_token: fence.cast_signed(),
        });
        served.collect()
    }

    fn take(&self, answer: pb::HoldShardsResponse, asked: Instant) {
        let until = asked + Duration::from_millis(answer.valid_for_ms.into());
        let mut leaves = self.lock();
        if answer.trouble.is_empty() {
            // What is not named is not to be begun any more, such as what is paused, or is under another fence by now; until when it
            // may go on was said.
            let named: BTreeSet<(&str, u64)> = answer
                .shards
                .iter()
                .map(|held| (held.shard_id.as_str(), held.fence_token.cast_unsigned()))
                .collect();
            let others =
                leaves.of.iter().filter(|((shard, fence), _)| !named.contains(&(shard.as_str(), *fence)));
            others.for_each(|(_, leave)| leave.draining.store(true, Ordering::Release));
        }
        leaves.trouble = answer.trouble;
        leaves.version = answer.map.map_or(leaves.version, |map| map.version);
        for held in answer.shards {
            let (shard, fence) = (held.shard_id, held.fence_token.cast_unsigned());
            let new = || {
                Arc::new(Leave {
                    until: Mutex::new(until),
                    draining: AtomicBool::new(false),
                    held: AtomicUsize::new(0),
                    end: self.end.clone(),
                })
            };
            let leave = leaves.of.entry((shard, fence)).or_insert_with(new);
            let mut known = leave.until.lock().unwrap_or_else(PoisonError::into_inner);
            *known = until.max(*known);
            leave.draining.store(held.draining, Ordering::Release);
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, worker_id) = (&self.namespace, &self.worker_id);
        f.debug_struct("Asker")
            .field("namespace", namespace)
            .field("worker_id", worker_id)
            .finish_non_exhaustive()
    }
}
