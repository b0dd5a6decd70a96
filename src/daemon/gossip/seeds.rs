//! Seeds: whom a member asks that knows nobody, or nobody of a part that it was cut off from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::daemon::transport::Located;

/// How many nodes are remembered by where a seed was found.
const LEARNED_MAX: usize = 256;

type Known = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Whom to ask.
pub struct Seeds {
    /// Addresses of the configuration, `host:port`; names are looked up each time.
    addresses: Vec<String>,
    /// Nodes that are known otherwise, as from the registry.
    known: Known,
    /// Who was found at an address.
    learned: Mutex<HashMap<String, Located>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    Address(String),
    Node(String),
}

impl Seeds {
    pub fn new(addresses: Vec<String>, known: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { addresses, known: Box::new(known), learned: Mutex::default() }
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Seed> {
        let addresses = self.addresses.iter().cloned().map(Seed::Address);
        addresses.chain((self.known)().into_iter().map(Seed::Node)).collect()
    }

    /// Remembers who was found at an address.
    pub fn learn(&self, node: &str, at: Located) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.len() < LEARNED_MAX || learned.contains_key(node) {
            learned.insert(node.to_owned(), at);
        }
    }

    /// Where a node was found.
    pub fn learned(&self, node: &str) -> Option<Located> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}
