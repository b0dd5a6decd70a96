//! Shards for services: which node owns the shard of a key, and leave to serve what one's own node owns.
//!
//! [`ShardMap`] is for whoever sends work: it follows the map and answers from memory. A map that is stale only sends work to the wrong
//! place; nothing follows from it. [`ShardWorker`] is for whoever does the work: it says until when it may, and with which fence token the
//! writes of that work are to be made.

mod cache;
mod follow;
mod map;
mod worker;

pub use follow::{ShardMap, ShardMapError, ShardMapOptions};
pub use map::{Shard, ShardStatus, Snapshot};
pub use worker::{Served, ShardWorker, ShardWorkerOptions};

pub use tonic::transport::Endpoint;
