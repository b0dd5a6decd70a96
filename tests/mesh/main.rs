//! Real processes, real sockets, real signals: daemons as their operator runs them.

use omnirelay_support::{process, servers};

mod abuse;
mod alerts;
mod audit;
mod background;
mod bindings;
mod callers;
mod check;
mod crowd;
mod daemon;
mod deploy;
mod events;
mod exchange;
mod federation;
mod identity;
mod lifecycle;
mod local_users;
mod lost;
mod probe;
mod prometheus;
mod relay;
mod reload;
mod secure;
mod service;
mod shards;
mod siblings;
mod support;
mod traces;
mod transport_policy;
mod up;
mod up_redis;
