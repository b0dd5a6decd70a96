//! Replication: what other clusters are active for is followed here, and they follow what this one is active for.

mod batches;
#[cfg(test)]
mod batches_test;
mod compare;
mod diff;
mod follower;
pub(crate) mod heal;
pub(crate) mod metrics;
mod planted;
mod reconcile;
mod records;
mod replica;
#[cfg(test)]
mod replica_test;
mod set_aside;
#[cfg(test)]
mod simulation_test;
pub(crate) mod source;
pub(crate) mod ways;

use std::time::Duration;

pub(crate) use follower::DomainFollower;
pub(crate) use source::ReplicationSource;

/// How often a source says that it lives, and after how long a silence it is called anew.
const BEAT_EVERY: Duration = Duration::from_millis(500);
const SILENT_AFTER: Duration = Duration::from_millis(1500);
/// Key under which fingerprints are made.
const RANGE_KEY: &[u8] = b"omnirelay domain";
/// Of how many keys at once it is asked whether their records were deleted.
const TRACES_MAX: usize = 2048;
