//! Release of shards that this node owns and is to give up: it says so once nobody on it serves that any more.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_host::live::Live;
use omnirelay_peer_records::own_session;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::reactor::LookPace;
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, GroupRef, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::ShardReleaseValue;
use prost::Message as _;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;

use crate::metrics::ShardMetrics;
use crate::shard_map_view::{RELEASE, SHARD};
use crate::worker_leases::WorkerLeases;

/// The shortest time between two looks: each goes through all shards.
const PACE: Duration = Duration::from_millis(10);
/// How soon it is tried again what could not be said.
const AGAIN: Duration = Duration::from_millis(250);

/// Says what this node has stopped to serve.
pub struct ShardReleases {
    registry: Arc<Registry>,
    pub holdings: WorkerLeases,
    /// One says it at a time: none undoes what another one has said.
    saying: Mutex<()>,
}

impl ShardReleases {
    /// `session_ttl` is how long the session of the node lives.
    pub fn new(
        registry: Arc<Registry>,
        session_ttl: impl Into<Live<Duration>>,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        let holdings = WorkerLeases::new(registry.clone(), session_ttl.into(), metrics);
        Self { registry, holdings, saying: Mutex::new(()) }
    }

    /// Does so for ever.
    pub async fn run(&self) {
        let sense = |_: &View| (own_session(&self.registry), self.holdings.drops());
        let pace = LookPace { sense: |view: &View| view.changed(&SHARD), between: PACE };
        self.registry.react_paced(sense, pace, || self.look()).await;
    }

    /// Says what there is to say; answers when there may be more without a change of the registry.
    pub async fn look(&self) -> Option<Instant> {
        let _saying = self.saying.lock().await;
        let session = own_session(&self.registry)?;
        match self.say(&session).await {
            Ok(again) => again,
            Err(error) => {
                debug!(error = %chain(&error), "what this node has stopped to serve was not said; it is tried again");
                Some(Instant::now() + AGAIN)
            }
        }
    }

    async fn say(&self, session: &GroupRef) -> Result<Option<Instant>, CommitError> {
        let (view, me) = (self.registry.view(), self.registry.node_id());
        let id = RecordId::new(RELEASE, me);
        let epoch = view.head().epoch;
        let known = view.get(&id).filter(|record| record.record.group.as_ref() == Some(session));
        let before =
            known.as_ref().and_then(|record| record.value::<ShardReleaseValue>()).unwrap_or_default();
        let (shards, again) = self.holdings.to_give_up();
        let given_up = ShardReleaseValue { shards, unknown_fields: Default::default() };
        if given_up == *before {
            return Ok(again);
        }
        let act = DaemonAct::new("shards.release", [RELEASE], WriteAuthority::Session(session.clone()));
        let value = given_up.encode_to_vec().into();
        let write = Write::Put { id, value, group: Some(session.clone()) };
        self.registry.attempt(&act, CommitPlan::read_in(epoch).write([write])).await.map(|_| again)
    }
}
