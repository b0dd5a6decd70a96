//! The registry of the tests: it follows its store, without a node around it.

use std::sync::Arc;

use omnirelay_host::chance::seed_thread;
use omnirelay_store::{RecordKind, Revision, Store};
use tokio::task::JoinSet;

use super::Registry;
use super::follow::{follow_log, wait_for};
use super::heartbeat::{HeartbeatPace, beat_heart};
use super::later_version::written_by_later_version;

/// A registry of the tests, to whose store a later version writes as well.
pub fn registry(node_id: impl Into<Arc<str>>, store: Arc<dyn Store>, mirrored: &[RecordKind]) -> Registry {
    seed_thread();
    Registry::new(node_id, written_by_later_version(store), mirrored)
}

/// A registry that has loaded what its store holds, and follows it while the value lives.
pub struct LabRegistry {
    pub registry: Arc<Registry>,
    pub tasks: JoinSet<()>,
}

impl LabRegistry {
    pub async fn new(registry: Registry) -> Self {
        let (registry, mut tasks) = (Arc::new(registry), JoinSet::new());
        tasks.spawn(follow_log(registry.clone()));
        wait_for(registry.view(), Revision(0)).await;
        Self { registry, tasks }
    }

    /// One whose heart beats, and that renews no group.
    pub async fn beating(registry: Registry, pace: HeartbeatPace) -> Self {
        let mut followed = Self::new(registry).await;
        let heart = followed.registry.clone();
        followed.tasks.spawn(async move { beat_heart(&heart, pace, |_| {}).await });
        followed
    }
}
