//! The pool of one node: what it advertises, in memory and in the store.
//!
//! Memory is what the node wants to advertise and what its readers see; the store is brought to it, in commits of
//! a bounded size, at once when it can be reached and as soon as it can otherwise. What other nodes advertise is
//! read from the view and never touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::register::{Held, Rest};
use crate::daemon::registry::Registry;
use crate::daemon::store::StoreError;
use crate::wire::fault::{Code, Fault};
use crate::wire::pb::omnirelay::registers::v1::{AdvertisedRegister, ItemFailure};

/// Who pushes: `catalogue`, `http:NAME` or `file`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer(String);

impl Producer {
    /// The node's own catalogue.
    pub fn catalogue() -> Self {
        Self("catalogue".to_owned())
    }

    /// A file of an operator.
    pub fn file() -> Self {
        Self("file".to_owned())
    }

    /// A register service outside, which calls as `principal`.
    pub fn http(principal: &str) -> Self {
        Self(format!("http:{principal}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the pool keeps what it holds.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How long an advertisement lives without a refresh.
    pub ttl: Duration,
    /// As of the session: how long others get to be heard after a silence of the store.
    pub grace: Duration,
    /// Opens the groups of this node's advertisements.
    pub secret: String,
}

/// What a producer pushes. The items were checked: [`super::check_items`].
pub struct Push<'a> {
    pub producer: Producer,
    pub items: &'a [AdvertisedRegister],
    /// What becomes of the producer's other entries.
    pub rest: Rest,
    /// The most writes of one commit, 1 to 255.
    pub batch: usize,
    /// Told after each commit how many writes are done, of how many.
    pub progress: &'a (dyn Fn(usize, usize) + Send + Sync),
    /// Asked before each commit; true stops it there.
    pub cancelled: &'a (dyn Fn() -> bool + Send + Sync),
}

/// What a push has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// All items, those of the same id counted each.
    pub processed: usize,
    pub added: usize,
    pub updated: usize,
    pub removed: usize,
    pub unchanged: usize,
    /// What the store refused: not counted above, and not in memory either.
    pub failed: Vec<ItemFailure>,
    /// Of those counted above, what waits for the store.
    pub deferred: usize,
    /// True: it was stopped; what is counted was done.
    pub cancelled: bool,
}

/// What this node advertises.
pub struct Pool {
    registry: Arc<Registry>,
    settings: PoolSettings,
}

impl Pool {
    pub fn new(registry: Arc<Registry>, settings: PoolSettings) -> Self {
        Self { registry, settings }
    }

    /// Keeps the store as memory wants it, and what should live from running out; for ever.
    pub async fn run(&self) {
        std::future::pending().await
    }

    /// The entries of a producer, as memory and the last comparison with the store have them.
    pub fn held(&self, _producer: &Producer) -> BTreeMap<String, Held> {
        BTreeMap::new()
    }

    /// Compares what the store holds of this node with memory, by reading all of it: what is missing or other there
    /// is written by the next push or flush, and what memory does not know is held as unverified from now on.
    /// True: they were the same.
    ///
    /// # Errors
    /// Those of the store; memory is as it was.
    pub async fn compare_with_store(&self) -> Result<bool, StoreError> {
        let _ = (&self.registry, &self.settings);
        Ok(true)
    }

    /// Takes in what a producer pushes: at once in memory, and in the store before it returns, if the store can be
    /// reached. Otherwise it is written later, newest first to win.
    ///
    /// # Errors
    /// `NODE_ID_HELD` when another daemon has this node's id.
    pub async fn push(&self, _push: Push<'_>) -> Result<Pushed, Fault> {
        Err(Fault::new(Code::Unavailable, "STORE_UNAVAILABLE", "the pool is not there yet"))
    }
}
