//! State diff: where what this daemon holds of the registry differs from its store, or from what another daemon holds.

mod compared;
mod metrics;
mod mount;
mod node_diff;
mod ranges;
mod service;
#[cfg(test)]
mod state_diff_test;
mod store_diff;
mod watchdog;

use async_trait::async_trait;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

pub use mount::mount;

/// Nodes with whose daemons this one can compare what it holds.
#[async_trait]
pub trait ComparedNodes: Send + Sync + 'static {
    /// All of them.
    async fn nodes(&self) -> Vec<pb::Peer>;

    /// Pools to which this node pushes its registers, as of the last run of each.
    fn pools(&self) -> Vec<pb::AdvertisedPool>;

    /// One of them.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `PEER_NOT_FOUND`; those of a registry that is not loaded.
    async fn node(&self, node_id: &str) -> Result<pb::Peer, Fault>;
}
