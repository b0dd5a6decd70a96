//! Workers that may hold shards at this daemon and report for its node, and whose their ids are.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::{is_unseen, shown};
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_decisions::shards::holders::{self, ShardHolderRefusal};
use omnirelay_decisions::shards::worker_ids::{WorkerIdOwnerBefore, WorkerIdOwners, WorkerRefusal};
use omnirelay_host::live::Live;
use omnirelay_registry::Registry;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::shard_map_view::{NamespaceMap, NamespaceMaps};

/// Judges who holds and reports, by the registry and by what it has heard since this process began.
pub struct WorkerRights {
    registry: Arc<Registry>,
    begun: Instant,
    /// How long workers may go on after they were heard.
    lives: Live<Duration>,
    ids: Mutex<WorkerIdOwners>,
}

impl WorkerRights {
    /// Of workers that may go on for `lives` after they were heard.
    pub fn new(registry: Arc<Registry>, lives: Live<Duration>) -> Self {
        let ids = Mutex::new(WorkerIdOwners::new(lives.get()));
        Self { registry, begun: Instant::now(), lives, ids }
    }

    /// Takes a worker that a principal speaks for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; those of [`NamespaceMaps::ready`] and [`Self::check_holder`]; `WORKER_OF_ANOTHER`; `TOO_MANY_WORKERS`.
    pub fn take(
        &self,
        principal: &Arc<str>,
        namespace: &str,
        worker: &str,
    ) -> Result<WorkerIdOwnerBefore, Fault> {
        check_worker(worker)?;
        self.check_holder(principal, &NamespaceMaps::of(self.registry.view()).ready(namespace)?)?;
        let taken = self.ids().take(namespace, worker, principal, self.now());
        taken.map_err(|why| not_taken(why, worker))
    }

    /// Checks that a principal may hold shards of a namespace here.
    ///
    /// # Errors
    /// `NOT_A_HOLDER`.
    pub fn check_holder(&self, principal: &str, map: &NamespaceMap<'_>) -> Result<(), Fault> {
        let holders = holders::of(map.value.spec.as_ref());
        holders::may_hold(holders, principal, self.registry.node_id())
            .map_err(|why| not_a_holder(why, principal, map.name()))
    }

    /// Notes that a worker has left: its id is of whoever takes it next.
    pub fn leave(&self, namespace: &str, worker: &str) {
        self.ids().leave(namespace, worker, self.now());
    }

    /// The ids of workers, which live as long as is set by now.
    fn ids(&self) -> MutexGuard<'_, WorkerIdOwners> {
        let lives = self.lives.get();
        let mut ids = self.ids.lock();
        ids.set_lives(lives);
        ids
    }

    fn now(&self) -> Millis {
        Millis(whole_ms(self.begun.elapsed()))
    }
}

fn not_a_holder(why: ShardHolderRefusal, principal: &str, namespace: &str) -> Fault {
    let message = format!("{principal} may not hold shards of `{namespace}` here: {why}");
    let fault = Fault::new(reasons::NOT_A_HOLDER, message);
    match why {
        ShardHolderRefusal::NotNamed => fault.hint(format!(
            "call with an identity that is named: omnirelay mesh namespaces get {namespace}; or have an administrator name it: \
             omnirelay mesh namespaces set {namespace} --holder {principal}"
        )),
        ShardHolderRefusal::OtherNode => fault.hint("ask the daemon of the node itself, or call with the identity of a service"),
    }
}

fn not_taken(why: WorkerRefusal, worker: &str) -> Fault {
    let message = format!("worker `{}` was not taken: {why}", shown(worker, 64));
    match why {
        WorkerRefusal::OfAnother => Fault::new(reasons::WORKER_OF_ANOTHER, message)
            .hint("choose another id, one of its own for each start of a process"),
        WorkerRefusal::TooManyWorkers | WorkerRefusal::TooManyPrincipals => {
            Fault::new(reasons::TOO_MANY_WORKERS, message)
                .hint("end some; or let one process serve several shards")
        }
        WorkerRefusal::TooManyLeft => Fault::new(reasons::TOO_MANY_WORKERS, message)
            .hint("try again in some seconds; keep the id of a worker that goes on"),
    }
}

/// # Errors
/// `INVALID_ARGUMENT`: it cannot be the id of a worker.
fn check_worker(id: &str) -> Result<(), Fault> {
    let is_one = !id.is_empty() && id.len() <= 128 && !id.chars().any(is_unseen);
    if is_one { Ok(()) } else { Err(Fault::invalid("field `workerId` is 1 to 128 visible characters")) }
}
