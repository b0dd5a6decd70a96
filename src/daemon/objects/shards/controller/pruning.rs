//! Removes changes of maps that are old enough, and plans that ended long ago.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_store::{CommitError, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::RebalancePlanValue;
use tracing::debug;

use super::Controller;
use crate::daemon::objects::shards::known::{NAMESPACE, PLAN, SHARD_CHANGE};
use crate::daemon::registry::act::{Act, Authority, Plan};

/// How often it is looked for what is old.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How many plans of a namespace are kept that have ended.
const PLANS_KEPT: usize = 16;
/// How many records one commit removes.
const REMOVED_MAX: usize = 200;

impl Controller {
    /// Does so for ever, while its node leads.
    pub async fn prune(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.prune_once().await {
                // Whoever leads by then does it.
                debug!(error = %chain(&error), "old changes of shards not removed");
            }
        }
    }

    pub(super) async fn prune_once(&self) -> Result<(), CommitError> {
        let Some(fence) = self.fence() else { return Ok(()) };
        let view = self.registry.view();
        let (now, epoch) = (view.now(), view.head().epoch);
        let changes = self.registry.read_under(&SHARD_CHANGE, "").await.map_err(CommitError::Store)?;
        let is_old = |updated| now.since(updated) > self.settings.history;
        let old = changes.into_iter().filter(|record| !record.deleted && is_old(record.updated_at));
        let old: Vec<RecordId> = old.map(|record| record.id).chain(self.ended_plans()).collect();
        let act = Act::new("shards.prune", [SHARD_CHANGE, PLAN], Authority::Leader(fence));
        for some in old.chunks(REMOVED_MAX) {
            let gone = some.iter().map(|id| Write::Delete { id: id.clone() });
            self.registry.attempt(&act, Plan::read_in(epoch).write(gone)).await?;
        }
        Ok(())
    }

    /// Plans that have ended, but for the newest of each namespace that there is.
    fn ended_plans(&self) -> Vec<RecordId> {
        let view = self.registry.view();
        let (mut kept, mut old) = (BTreeMap::<String, usize>::new(), Vec::new());
        for record in view.list(&PLAN).records.iter().rev() {
            let plan =
                record.value::<RebalancePlanValue>().and_then(|value| value.plan.clone()).unwrap_or_default();
            if plan.ended_at.is_none()
                && view.get(&RecordId::new(NAMESPACE, plan.namespace.clone())).is_some()
            {
                continue;
            }
            let count = kept.entry(plan.namespace).or_default();
            *count += 1;
            if *count > PLANS_KEPT {
                old.push(record.record.id.clone());
            }
        }
        old
    }
}
