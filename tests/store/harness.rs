//! What a backend must offer to be put through the contract suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::Millis;
use omnirelay_scripted::{Answered, Call, Script, Scripted};
use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{Commit, EmbeddedStore, Epoch, ManualClock, MemoryStore, OpenGroup, Pulse, Store};
use tempfile::TempDir;

/// Passes calls on to a store; those that name no epoch are made in the one it had at first.
pub(crate) struct InEpoch {
    store: Arc<dyn Store>,
    epoch: Epoch,
}

/// One fresh store, and a way to move its time.
#[async_trait]
pub(crate) trait Harness: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;

    /// Moves store time forward by `by`, or by a little more where it cannot be moved.
    async fn advance(&mut self, by: Duration);

    /// Closes the store and opens it again; what was taken from [`Harness::store`] is void.
    /// `wall_back` steps the clock of the machine back meanwhile, where the store depends on it.
    async fn reopen(&mut self, wall_back: Duration);

    /// From now on for `length`, the store grants nobody a scope and judges nobody gone.
    async fn quarantine(&self, length: Duration);
}

/// When the clocks of the tests begin.
pub(crate) const BEGIN: Millis = Millis(1_700_000_000_000);

pub(crate) struct Memory {
    clock: ManualClock,
    store: Arc<MemoryStore>,
}

pub(crate) struct Embedded {
    clock: ManualClock,
    store: Option<Arc<EmbeddedStore>>,
    dir: TempDir,
}

impl Memory {
    pub(crate) async fn fresh() -> Box<dyn Harness> {
        let clock = ManualClock::at(BEGIN);
        Box::new(Self { store: Arc::new(MemoryStore::new(clock.clone())), clock })
    }
}

#[async_trait]
impl Harness for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    async fn reopen(&mut self, _: Duration) {
        panic!("a memory store ends with its process");
    }

    async fn quarantine(&self, length: Duration) {
        self.store.quarantine(length);
    }
}

impl Embedded {
    pub(crate) async fn fresh() -> Box<dyn Harness> {
        let (clock, dir) = (ManualClock::at(BEGIN), tempfile::tempdir().unwrap());
        let mut harness = Self { clock, store: None, dir };
        harness.open();
        Box::new(harness)
    }

    fn open(&mut self) {
        let store = EmbeddedStore::open_with(self.dir.path(), self.clock.clone(), EmbeddedOptions::default());
        self.store = Some(Arc::new(store.unwrap()));
    }

    fn opened(&self) -> &Arc<EmbeddedStore> {
        self.store.as_ref().expect("open between the calls of the harness")
    }
}

#[async_trait]
impl Harness for Embedded {
    fn store(&self) -> Arc<dyn Store> {
        self.opened().clone()
    }

    async fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    async fn reopen(&mut self, wall_back: Duration) {
        self.store = None;
        let now = self.clock.advance(Duration::ZERO);
        self.clock = ManualClock::at(Millis(now.0 - wall_back.as_millis() as u64));
        self.open();
    }

    async fn quarantine(&self, length: Duration) {
        self.opened().quarantine(length).await.unwrap();
    }
}

/// The time of a store.
pub(crate) async fn now(store: &dyn Store) -> Millis {
    store.pulse(Pulse::default()).await.expect("a beat").now
}

/// The epoch that a store is in.
pub(crate) async fn epoch(store: &dyn Store) -> Epoch {
    store.pulse(Pulse::default()).await.expect("a beat").epoch
}

impl InEpoch {
    pub(crate) async fn of(store: Arc<dyn Store>) -> Scripted<Self> {
        Scripted(Self { epoch: epoch(store.as_ref()).await, store })
    }
}

#[async_trait]
impl Script for InEpoch {
    async fn pass(&self, mut call: Call) -> Answered {
        match &mut call {
            Call::Pulse(pulse) => pulse.epoch = pulse.epoch.or(Some(self.epoch)),
            Call::Open(OpenGroup { epoch, .. })
            | Call::Close(epoch, _)
            | Call::Commit(Commit { epoch, .. })
            | Call::Housekeep(epoch, _)
                if *epoch == Epoch(0) =>
            {
                *epoch = self.epoch;
            }
            _ => {}
        }
        call.on(&*self.store).await
    }
}
