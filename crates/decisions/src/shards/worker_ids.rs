//! Ids of workers, by the principals that they belong to: nobody speaks for the worker of another principal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;

/// The most workers of one principal that live at once.
pub const WORKERS_MAX: usize = 256;
/// The most ids of one principal that live at once: a worker has one in each namespace.
pub const IDS_OF_ONE_MAX: usize = 4 * WORKERS_MAX;
/// The most ids of one principal that were left lately, and are remembered so that a late request of them is known.
pub const LEFT_MAX: usize = IDS_OF_ONE_MAX;
/// The most principals that have workers which live: more than services have places on one host.
pub const PRINCIPALS_MAX: usize = 1024;
/// How long an id is of whoever had it first without a word of its worker.
pub const SILENT_AFTER: Duration = Duration::from_secs(600);
/// The most ids that are remembered. Beyond them whoever has most loses the one that was silent for longest.
pub const IDS_MAX: usize = 64 * IDS_OF_ONE_MAX;

/// Reason why a worker is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerRefusal {
    #[error("this id is of the worker of another principal")]
    OfAnother,
    #[error("{WORKERS_MAX} workers of this principal are served, and no more may be")]
    TooManyWorkers,
    #[error(
        "{LEFT_MAX} workers of this principal have left a moment ago, and no others may come before that is over"
    )]
    TooManyLeft,
    #[error("workers of {PRINCIPALS_MAX} principals are served, and no others may be")]
    TooManyPrincipals,
}

/// Owner of the id of a worker before the worker was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerIdOwnerBefore {
    /// Of nobody, or of this principal.
    Own,
    /// Of another principal, whose worker has left a moment ago.
    Over,
}

/// A namespace and a worker in it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WorkerKey {
    namespace: String,
    worker: String,
}

/// Standing of the id of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerIdStanding {
    /// Its worker was heard a moment ago.
    Live,
    /// It was not, and the id is its principal's still.
    Silent,
    /// Its worker has left: it is of whoever takes it next.
    Left,
}

#[derive(Debug)]
struct WorkerIdOwner {
    principal: Arc<str>,
    heard: Millis,
    standing: WorkerIdStanding,
    /// When it stands otherwise.
    due: Millis,
}

/// Counts of the workers of one principal.
#[derive(Debug, Default)]
struct PrincipalCounts {
    /// How many ids each of its workers that live has.
    workers: BTreeMap<String, usize>,
    live: usize,
    left: usize,
    /// All that are remembered, by when they were heard.
    heard: BTreeSet<(Millis, Arc<WorkerKey>)>,
}

/// How many ids that are due are settled at most with each one that is asked for: some milliseconds' worth.
const SETTLED_AT_ONCE: usize = 4096;

/// The ids of workers, each of the principal that had it first. What is asked of them takes as many steps as their number has digits.
#[derive(Debug)]
pub struct WorkerIdOwners {
    of: BTreeMap<Arc<WorkerKey>, WorkerIdOwner>,
    counts: BTreeMap<Arc<str>, PrincipalCounts>,
    /// How many principals have workers that live.
    living: usize,
    /// Principals by how many ids of theirs are remembered.
    by_count: BTreeSet<(usize, Arc<str>)>,
    /// Ids by when they stand otherwise.
    due: BTreeSet<(Millis, Arc<WorkerKey>)>,
    /// How long a worker lives after it was heard.
    lives: Duration,
}

impl WorkerIdOwners {
    /// Of workers that may go on for `lives` after they were heard.
    pub fn new(lives: Duration) -> Self {
        Self {
            of: BTreeMap::new(),
            counts: BTreeMap::new(),
            living: 0,
            by_count: BTreeSet::new(),
            due: BTreeSet::new(),
            lives,
        }
    }

    /// Has workers that are heard or leave from now on live for so long after that.
    pub fn set_lives(&mut self, lives: Duration) {
        self.lives = lives;
    }

    /// Takes a worker that is heard of `now`, by any clock that does not go back.
    ///
    /// # Errors
    /// [`WorkerRefusal`]: nothing was changed.
    pub fn take(
        &mut self,
        namespace: &str,
        worker: &str,
        principal: &Arc<str>,
        now: Millis,
    ) -> Result<WorkerIdOwnerBefore, WorkerRefusal> {
        let id = Arc::new(WorkerKey { namespace: namespace.to_owned(), worker: worker.to_owned() });
        self.settle(&id, now);
        let found = self.of.get(&id).map(|owner| (owner.principal == *principal, owner.standing));
        match found {
            Some((false, WorkerIdStanding::Live | WorkerIdStanding::Silent)) => {
                return Err(WorkerRefusal::OfAnother);
            }
            Some((true, WorkerIdStanding::Live)) => {}
            Some((true, WorkerIdStanding::Silent) | (_, WorkerIdStanding::Left)) | None => {
                self.check_room(worker, principal, found.is_none())?;
            }
        }
        if found.is_none() && self.of.len() >= IDS_MAX {
            self.forget_one();
        }
        self.remove(&id);
        let owner = WorkerIdOwner {
            principal: principal.clone(),
            heard: now,
            standing: WorkerIdStanding::Live,
            due: now.after(self.lives),
        };
        self.insert(id, owner);
        Ok(if matches!(found, Some((false, _))) {
            WorkerIdOwnerBefore::Over
        } else {
            WorkerIdOwnerBefore::Own
        })
    }

    /// Notes that a worker has left `now`: its id is of whoever takes it next.
    pub fn leave(&mut self, namespace: &str, worker: &str, now: Millis) {
        let id = WorkerKey { namespace: namespace.to_owned(), worker: worker.to_owned() };
        self.settle(&id, now);
        let Some((id, owner)) = self.remove(&id) else { return };
        let due = now.after(self.lives);
        self.insert(id, WorkerIdOwner { standing: WorkerIdStanding::Left, due, ..owner });
    }

    /// Has what is asked for stand as it should by `now`, and some of what is due: each call adds one at most, so that all is
    /// settled in time, and none takes long.
    fn settle(&mut self, asked: &WorkerKey, now: Millis) {
        for _ in 0..SETTLED_AT_ONCE {
            let Some((_, id)) = self.due.first().filter(|(at, _)| *at <= now) else { break };
            self.settle_one(&id.clone(), now);
        }
        if self.of.get(asked).is_some_and(|owner| owner.due <= now) {
            self.settle_one(asked, now);
        }
    }

    fn settle_one(&mut self, id: &WorkerKey, now: Millis) {
        let Some((id, owner)) = self.remove(id) else { return };
        let over = owner.heard.after(SILENT_AFTER);
        if owner.standing == WorkerIdStanding::Live && now < over {
            self.insert(id, WorkerIdOwner { standing: WorkerIdStanding::Silent, due: over, ..owner });
        }
    }

    /// Whether one more id of a principal may live; `is_new`: it is of nobody.
    fn check_room(&self, worker: &str, principal: &Arc<str>, is_new: bool) -> Result<(), WorkerRefusal> {
        let none = PrincipalCounts::default();
        let counts = self.counts.get(principal).unwrap_or(&none);
        let is_known = counts.workers.contains_key(worker);
        if counts.live >= IDS_OF_ONE_MAX || counts.workers.len() >= WORKERS_MAX && !is_known {
            return Err(WorkerRefusal::TooManyWorkers);
        }
        if is_new && counts.left >= LEFT_MAX {
            return Err(WorkerRefusal::TooManyLeft);
        }
        if counts.live == 0 && self.living >= PRINCIPALS_MAX {
            return Err(WorkerRefusal::TooManyPrincipals);
        }
        Ok(())
    }

    /// Makes room for one more id at the cost of whoever has most.
    fn forget_one(&mut self) {
        let Some((_, most)) = self.by_count.last() else { return };
        let oldest = self.counts.get(most).and_then(|counts| counts.heard.first());
        if let Some((_, id)) = oldest.cloned() {
            self.remove(&id);
        }
    }

    fn insert(&mut self, id: Arc<WorkerKey>, owner: WorkerIdOwner) {
        let counts = self.counts.entry(owner.principal.clone()).or_default();
        self.by_count.remove(&(counts.heard.len(), owner.principal.clone()));
        counts.heard.insert((owner.heard, id.clone()));
        match owner.standing {
            WorkerIdStanding::Live => {
                self.living += usize::from(counts.live == 0);
                counts.live += 1;
                *counts.workers.entry(id.worker.clone()).or_default() += 1;
            }
            WorkerIdStanding::Silent => {}
            WorkerIdStanding::Left => counts.left += 1,
        }
        self.by_count.insert((counts.heard.len(), owner.principal.clone()));
        self.due.insert((owner.due, id.clone()));
        self.of.insert(id, owner);
    }

    fn remove(&mut self, id: &WorkerKey) -> Option<(Arc<WorkerKey>, WorkerIdOwner)> {
        let (id, owner) = self.of.remove_entry(id)?;
        self.due.remove(&(owner.due, id.clone()));
        let Some(counts) = self.counts.get_mut(&owner.principal) else { return Some((id, owner)) };
        self.by_count.remove(&(counts.heard.len(), owner.principal.clone()));
        counts.heard.remove(&(owner.heard, id.clone()));
        match owner.standing {
            WorkerIdStanding::Live => {
                counts.live = counts.live.saturating_sub(1);
                self.living -= usize::from(counts.live == 0);
                let ids = counts.workers.get_mut(&id.worker).map(|ids| {
                    *ids -= 1;
                    *ids
                });
                if ids == Some(0) {
                    counts.workers.remove(&id.worker);
                }
            }
            WorkerIdStanding::Silent => {}
            WorkerIdStanding::Left => counts.left = counts.left.saturating_sub(1),
        }
        match counts.heard.len() {
            0 => drop(self.counts.remove(&owner.principal)),
            left => drop(self.by_count.insert((left, owner.principal.clone()))),
        }
        Some((id, owner))
    }
}

#[cfg(test)]
#[path = "worker_ids_test.rs"]
mod worker_ids_test;
