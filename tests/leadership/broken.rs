//! A memory store that forgets one thing.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_scripted::{Answer, Answered, Call, Script};
use omnirelay_store::{ManualClock, MemoryStore};

/// When the clocks begin.
pub(crate) const BEGIN: Millis = Millis(1_700_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    Sound,
    /// Commits are made whatever token they show.
    ForgetsTheFence,
    /// A group is renewed although it is over.
    RenewsTheDead,
    /// Who takes over after a failover begins the time of the store anew.
    FailsOverToAnOldClock,
}

/// A store that can fail over, and its time.
pub(crate) struct Broken {
    defect: Defect,
    clock: RwLock<ManualClock>,
    store: RwLock<Arc<MemoryStore>>,
}

impl Broken {
    pub(crate) fn new(defect: Defect) -> Self {
        let clock = ManualClock::at(BEGIN);
        let store = RwLock::new(Arc::new(MemoryStore::new(clock.clone())));
        Self { defect, clock: RwLock::new(clock), store }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.read().unwrap().advance(by);
    }

    /// Everything is lost; whoever takes over begins a new epoch with a quarantine.
    pub(crate) fn fail_over(&self, quarantine: Duration) {
        let now = self.clock.read().unwrap().advance(Duration::ZERO);
        let begin = if self.defect == Defect::FailsOverToAnOldClock { BEGIN } else { now };
        // The epoch of a memory store is the time of its making, and it must be another one.
        let clock = ManualClock::at(Millis(begin.0 + 1));
        let store = MemoryStore::new(clock.clone());
        store.quarantine(quarantine);
        *self.clock.write().unwrap() = clock;
        *self.store.write().unwrap() = Arc::new(store);
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.store.read().unwrap())
    }
}

#[async_trait]
impl Script for Broken {
    async fn pass(&self, mut call: Call) -> Answered {
        if let (Call::Commit(commit), Defect::ForgetsTheFence) = (&mut call, self.defect) {
            commit.fence = None;
        }
        let mut answer = call.on(&*self.store()).await?;
        if let (Answer::Beat(beat), Defect::RenewsTheDead) = (&mut answer, self.defect) {
            for renewed in &mut beat.renewed {
                *renewed = renewed.or(Some(beat.now));
            }
        }
        Ok(answer)
    }
}
