//! Limits of commits: how many a second, and how much of what records count there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use omnirelay_decisions::capacity::{LimitKind, LimitMode, ReachedLimit, SetLimit, may_refuse_act};
use omnirelay_host::live::Live;
use omnirelay_registry::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use omnirelay_registry::view::View;
use omnirelay_settings::LimitsConfig;
use omnirelay_wire::fault::Fault;

use crate::ledger::{NoRoom, RoomDemand, RoomLedger};
use crate::shown_use::ShownUse;
use crate::use_counts::{RateLimit, UseCounts};

/// What records count.
const BY_RECORDS: [LimitKind; 4] =
    [LimitKind::Peers, LimitKind::Shards, LimitKind::Records, LimitKind::Bytes];

/// Judge of the commits of a daemon by its limits. The registry keeps it, so that it keeps no registry.
pub(crate) struct CommitLimits {
    limits: Live<LimitsConfig>,
    counts: Arc<UseCounts>,
    shown: Arc<ShownUse>,
    pub ledger: RoomLedger,
    commits: RateLimit,
    joins: RateLimit,
}

/// Passage of a commit that takes no room.
struct FreePassage;

impl CommitPassage for FreePassage {
    fn not_made(self: Box<Self>) {}
}

impl CommitLimits {
    pub(crate) fn new(limits: Live<LimitsConfig>, counts: Arc<UseCounts>, shown: Arc<ShownUse>) -> Self {
        Self {
            commits: RateLimit::new(LimitKind::Commits, limits.clone()),
            joins: RateLimit::new(LimitKind::Joins, limits.clone()),
            limits,
            counts,
            shown,
            ledger: RoomLedger::default(),
        }
    }

    /// The limits by records that are set.
    fn set(&self) -> Vec<(LimitKind, SetLimit)> {
        let limits = self.limits.get();
        BY_RECORDS.into_iter().filter_map(|kind| Some((kind, limits.of(kind)?))).collect()
    }

    /// Takes what the rates allow.
    fn take_turn(&self, joins: usize) -> Result<(), ReachedLimit> {
        (0..joins).try_for_each(|_| self.joins.take())?;
        self.commits.take()
    }

    async fn passage(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Box<dyn CommitPassage>, ReachedLimit> {
        let may_refuse = may_refuse_act(commit.action);
        let counted = &self.shown.counted;
        let mut adds = counted.hosts(view, commit);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts.joins.fetch_add(adds.len() as u64, Ordering::Relaxed);
        if may_refuse {
            self.take_turn(adds.len())?;
        }
        let set = self.set();
        if set.is_empty() {
            return Ok(Box::new(FreePassage));
        }
        adds.extend(counted.records(view, commit));
        if adds.is_empty() {
            return Ok(Box::new(FreePassage));
        }
        let used = |kind| self.shown.of(view, kind).unwrap_or(0);
        // What is not refused takes its room all the same: others have that much less.
        let enforced = set.iter().filter(|(_, limit)| may_refuse && limit.mode == LimitMode::Enforce);
        let enforced = enforced.map(|(kind, limit)| (*kind, limit.max)).collect();
        let demand = RoomDemand { epoch: commit.epoch, adds, enforced };
        match self.ledger.take(view, &used, &demand).await {
            Ok(room) => Ok(Box::new(room)),
            Err(NoRoom { kind, used, max }) => Err(ReachedLimit { kind, used, max, retry_after: None }),
        }
    }
}

#[async_trait]
impl CommitJudge for CommitLimits {
    async fn judge(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Box<dyn CommitPassage>, Box<Fault>> {
        let passage = self.passage(view, commit).await;
        passage.map_err(|reached| Box::new(self.counts.refuse(reached).fault(commit.action)))
    }
}
