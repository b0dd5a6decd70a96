//! Seeds: whom a member asks that knows nobody, or nobody of a part that it was cut off from.

use std::collections::{HashMap, VecDeque};

use omnirelay_host::live::Live;
use omnirelay_node::transport::NodeLocation;
use parking_lot::Mutex;

/// How many nodes are remembered by where a seed was found.
const LEARNED_MAX: usize = 256;

/// Source of nodes that are known otherwise.
type NodeSource = Box<dyn Fn() -> Vec<String> + Send + Sync>;
type IsKnown = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Seeds that a member asks: addresses of the configuration, and nodes that are known otherwise.
pub struct GossipSeeds {
    /// Addresses of the configuration, `host:port`; names are looked up each time.
    pub(super) addresses: Live<Vec<String>>,
    /// Nodes that are known otherwise, as from the registry.
    known: NodeSource,
    /// Those of them that are alive by what is known otherwise.
    alive: NodeSource,
    is_known: IsKnown,
    /// Who was found at an address.
    learned: Mutex<LearnedLocations>,
}

/// Locations of nodes that were learned, and the nodes in the order in which they were first found.
#[derive(Default)]
struct LearnedLocations {
    at: HashMap<String, NodeLocation>,
    order: VecDeque<String>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GossipSeed {
    Address(String),
    Node(String),
}

impl GossipSeeds {
    /// `known`: whom to ask beside those at `addresses`; `alive`: which of them are alive; `is_known`: whether a name is that of a
    /// node.
    pub fn new(
        addresses: impl Into<Live<Vec<String>>>,
        known: impl Fn() -> Vec<String> + Send + Sync + 'static,
        alive: impl Fn() -> Vec<String> + Send + Sync + 'static,
        is_known: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (known, alive, is_known) = (Box::new(known), Box::new(alive), Box::new(is_known));
        Self { addresses: addresses.into(), known, alive, is_known, learned: Mutex::default() }
    }

    /// The other nodes that are alive by what is known otherwise, as from the registry.
    pub fn alive(&self) -> Vec<String> {
        (self.alive)()
    }

    /// Whether a name is known to be that of a node, as from the registry.
    pub fn is_known(&self, node: &str) -> bool {
        (self.is_known)(node)
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<GossipSeed> {
        let addresses = self.addresses.get().into_iter().map(GossipSeed::Address);
        addresses.chain((self.known)().into_iter().map(GossipSeed::Node)).collect()
    }

    /// Remembers who was found at an address.
    pub fn learn(&self, node: &str, at: NodeLocation) {
        let mut learned = self.learned.lock();
        if learned.at.insert(node.to_owned(), at).is_some() {
            return;
        }
        learned.order.push_back(node.to_owned());
        if learned.order.len() > LEARNED_MAX
            && let Some(oldest) = learned.order.pop_front()
        {
            learned.at.remove(&oldest);
        }
    }

    /// Location at which a node was found by asking a seed.
    pub fn learned(&self, node: &str) -> Option<NodeLocation> {
        self.learned.lock().at.get(node).cloned()
    }
}
