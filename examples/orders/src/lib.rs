//! Orders that are taken where their shard is owned: a worker beside the daemon of each node, gateways that send to
//! them, and the ledger that they write to.
//!
//! What is of the SDK in it is all in [`worker`], [`gateway`] and [`ledger`]; the rest is a service like any other.

pub mod gateway;
pub mod ledger;
pub mod worker;

/// What `proto/orders.proto` says.
#[allow(clippy::all, missing_docs, reason = "it is generated")]
pub mod pb {
    tonic::include_proto!("orders.v1");
}
