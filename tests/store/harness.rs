//! What a backend must offer to be put through the contract suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay::core::time::Millis;
use omnirelay::daemon::store::embedded::Options;
use omnirelay::daemon::store::{EmbeddedStore, ManualClock, MemoryStore, Store};
use tempfile::TempDir;

/// One fresh store, and a way to move its time.
#[async_trait]
pub trait Harness: Send + Sync {
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
pub const BEGIN: Millis = Millis(1_700_000_000_000);

pub struct Memory {
    clock: ManualClock,
    store: Arc<MemoryStore>,
}

pub struct Embedded {
    clock: ManualClock,
    store: Option<Arc<EmbeddedStore>>,
    dir: TempDir,
}

impl Memory {
    pub async fn fresh() -> Box<dyn Harness> {
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
    pub async fn fresh() -> Box<dyn Harness> {
        let (clock, dir) = (ManualClock::at(BEGIN), tempfile::tempdir().unwrap());
        let mut harness = Self { clock, store: None, dir };
        harness.open();
        Box::new(harness)
    }

    fn open(&mut self) {
        let store = EmbeddedStore::open_with(self.dir.path(), self.clock.clone(), Options::default());
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
