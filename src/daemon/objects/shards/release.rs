//! What this node owns and is to give up: it says so once nobody on it serves that any more.

use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_store::{CommitError, GroupRef, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{ReleasedShard, ShardReleaseValue, ShardValue};
use prost::Message as _;
use tokio::time::Instant;
use tracing::debug;

use super::known::{RELEASE, SHARD, parts};
use crate::daemon::objects::peers::own_session;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::reactor::Paced;
use crate::daemon::registry::view::View;
use std::time::Duration;

/// The shortest time between two looks: each goes through all shards.
const PACE: Duration = Duration::from_millis(10);
/// How soon it is tried again what could not be said.
const AGAIN: Duration = Duration::from_millis(250);

/// Says what this node has stopped to serve.
pub struct Releases {
    registry: Arc<Registry>,
}

impl Releases {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    /// Does so for ever.
    pub async fn run(&self) {
        let sense = |_: &View| own_session(&self.registry);
        let pace = Paced { sense: |view: &View| view.changed(&SHARD), between: PACE };
        self.registry.react_paced(sense, pace, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let session = own_session(&self.registry)?;
        match self.say(&session).await {
            Ok(()) => None,
            Err(error) => {
                debug!(error = %chain(&error), "what this node has stopped to serve was not said; it is tried again");
                Some(Instant::now() + AGAIN)
            }
        }
    }

    async fn say(&self, session: &GroupRef) -> Result<(), CommitError> {
        let (view, me) = (self.registry.view(), self.registry.node_id());
        let id = RecordId::new(RELEASE, me);
        let epoch = view.head().epoch;
        let known = view.get(&id).filter(|record| record.record.group.as_ref() == Some(session));
        let before =
            known.as_ref().and_then(|record| record.value::<ShardReleaseValue>()).unwrap_or_default();
        let given_up = ShardReleaseValue { shards: self.to_give_up() };
        if given_up == *before {
            return Ok(());
        }
        let act = Act::new("shards.release", [RELEASE], Authority::Session(session.clone()));
        let value = given_up.encode_to_vec().into();
        let write = Write::Put { id, value, group: Some(session.clone()) };
        self.registry.attempt(&act, Plan::read_in(epoch).write([write])).await.map(|_| ())
    }

    /// What this node owns, is to stop, and nobody serves.
    fn to_give_up(&self) -> Vec<ReleasedShard> {
        let me = self.registry.node_id();
        let records = self.registry.view().list(&SHARD).records;
        let of = |record: &Arc<crate::daemon::registry::view::ViewRecord>| {
            let value =
                record.value::<ShardValue>().filter(|value| value.owner == me && !value.target.is_empty())?;
            let (namespace, shard) = parts(&record.record.id)?;
            Some(ReleasedShard {
                namespace: namespace.to_owned(),
                shard_id: shard.to_owned(),
                fence_token: value.fence_token,
            })
        };
        records.iter().filter_map(of).collect()
    }
}
