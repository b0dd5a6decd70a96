//! Shards for services: which node owns the shard of a key, and leave to serve what one's own node owns.
//!
//! [`ShardMap`] is for whoever sends work: it follows the map and answers from memory. A map that is stale only sends work to the wrong
//! place; nothing follows from it. [`ShardChooser`] sends calls by it. [`ShardWorker`] is for whoever does the work: it says until when it may, and with which fence token the
//! writes of that work are to be made.

mod cache;
mod chooser;
mod follow;
mod map;
mod refusal;
mod worker;

pub use chooser::{CallError, Chosen, ShardChooser};
pub use follow::{ShardMap, ShardMapError, ShardMapOptions};
pub use map::{Found, Shard, ShardStatus, Snapshot};
pub use refusal::{MAP_VERSION, NoLeave, NotServed, SHARD, refused_at};
pub use worker::{Served, ShardWorker, ShardWorkerOptions, Workload};

pub use tonic::transport::Endpoint;
