//! Removes changes of maps that are old enough, and plans that ended long ago.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use omnirelay_cluster_records::domain::FollowedDomains;
use omnirelay_core::text::chain;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_store::{CommitError, Record, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::RebalancePlanValue;
use tracing::debug;

use super::ShardController;
use crate::shard_map_view::{PLAN, SHARD_CHANGE, namespace_id, parts, removable};

/// How often it is looked for what is old.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How many plans of a namespace are kept that have ended.
const PLANS_KEPT: usize = 16;

impl ShardController {
    /// Does so for ever, while its node leads.
    pub async fn prune(&self) {
        let mut settings = self.settings.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = settings.replaced() => {}
            }
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
        let (kept, followed) = (self.settings.get().history, FollowedDomains::of(view));
        let mut old = self.ended_plans();
        let each = |record: Record| {
            let namespace = parts(&record.id).map_or("", |(namespace, _)| namespace);
            if !record.deleted && !followed.has(namespace) && now.since(record.updated_at) > kept {
                old.push((record.id, record.value.len()));
            }
            Continue(())
        };
        self.registry.each_behind(&SHARD_CHANGE, "", "", each).await.map_err(CommitError::Store)?;
        let act = DaemonAct::new("shards.prune", [SHARD_CHANGE, PLAN], WriteAuthority::Leader(fence));
        let mut pruned = Ok(());
        for some in removable(old) {
            let gone = some.into_iter().map(|id| Write::Delete { id });
            // What cannot be removed does not keep the rest.
            let removed = self.registry.attempt(&act, CommitPlan::read_in(epoch).write(gone)).await;
            pruned = pruned.and(removed.map(|_| ()));
        }
        pruned
    }

    /// Plans that have ended, but for the newest of each namespace that there is; each with its size.
    fn ended_plans(&self) -> Vec<(RecordId, usize)> {
        let (view, followed) = (self.registry.view(), FollowedDomains::of(self.registry.view()));
        let (mut kept, mut old) = (BTreeMap::<String, usize>::new(), Vec::new());
        for record in view.list(&PLAN).records.iter().rev() {
            let value = record.value::<RebalancePlanValue>().unwrap_or_default();
            let plan = value.plan.clone().unwrap_or_default();
            if followed.has(&plan.namespace) {
                continue;
            }
            let is_there = view.get(&namespace_id(&plan.namespace)).is_some();
            if is_there && plan.ended_at.is_none() {
                continue;
            }
            let count = kept.entry(plan.namespace).or_default();
            *count += 1;
            if !is_there || *count > PLANS_KEPT {
                old.push((record.record.id.clone(), record.record.value.len()));
            }
        }
        old
    }
}
