//! Limits of commits: how many a second, and how much of what records count there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use omnirelay_decisions::capacity::{
    LimitKind, LimitMode, LimitScope, ReachedLimit, SetLimit, may_refuse_act,
};
use omnirelay_host::live::Live;
use omnirelay_registry::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use omnirelay_registry::view::View;
use omnirelay_settings::LimitsConfig;
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::fault::Fault;

use crate::added_use::AddedUse;
use crate::ledger::{CommitRoom, NoRoom, RoomDemand, RoomLedger};
use crate::shown_use::ShownUse;
use crate::use_counts::{RateLimit, UseCounts};

/// Judge of the commits of a daemon by its limits. The registry keeps it, so that it keeps no registry.
pub(crate) struct CommitLimits {
    limits: Live<LimitsConfig>,
    counts: Arc<UseCounts>,
    shown: Arc<ShownUse>,
    pub ledger: RoomLedger,
    commits: Arc<RateLimit>,
    joins: Arc<RateLimit>,
}

/// Turn of a commit: what it has taken of the rates, and its room. Unless it was not made, it counts once this is dropped.
struct CommitTurn {
    room: Option<CommitRoom>,
    /// Rates of which it has taken one each.
    rates: Vec<Arc<RateLimit>>,
    counts: Arc<UseCounts>,
    /// Hosts that it lets in.
    joins: u64,
    is_made: bool,
}

impl CommitPassage for CommitTurn {
    fn made(mut self: Box<Self>, epoch: Epoch, revision: Revision) {
        if let Some(room) = self.room.take() {
            Box::new(room).made(epoch, revision);
        }
    }

    fn not_made(mut self: Box<Self>) {
        self.is_made = false;
        self.rates.iter().for_each(|rate| rate.give_back());
        if let Some(room) = self.room.take() {
            Box::new(room).not_made();
        }
    }
}

impl Drop for CommitTurn {
    fn drop(&mut self) {
        // Of one whose caller has gone nobody knows.
        if self.is_made {
            self.counts.commits.fetch_add(1, Ordering::Relaxed);
            self.counts.joins.fetch_add(self.joins, Ordering::Relaxed);
        }
    }
}

impl CommitLimits {
    pub(crate) fn new(limits: Live<LimitsConfig>, counts: Arc<UseCounts>, shown: Arc<ShownUse>) -> Self {
        Self {
            commits: Arc::new(RateLimit::new(LimitKind::Commits, limits.clone())),
            joins: Arc::new(RateLimit::new(LimitKind::Joins, limits.clone())),
            limits,
            counts,
            shown,
            ledger: RoomLedger::default(),
        }
    }

    /// The limits of the mesh that are set, all of which records count.
    fn set(&self) -> Vec<(LimitKind, SetLimit)> {
        let limits = self.limits.get();
        let of_mesh = LimitKind::ALL.into_iter().filter(|kind| kind.row().scope == LimitScope::Mesh);
        of_mesh.filter_map(|kind| Some((kind, limits.of(kind)?))).collect()
    }

    /// Takes one of each rate for a turn; what may not be refused goes on where there is none.
    ///
    /// # Errors
    /// The first rate that allows none.
    fn take_rates(&self, turn: &mut CommitTurn, may_refuse: bool) -> Result<(), ReachedLimit> {
        let joined = (0..turn.joins).map(|_| &self.joins);
        for rate in joined.chain([&self.commits]) {
            match rate.take() {
                Ok(()) => turn.rates.push(rate.clone()),
                Err(reached) if may_refuse => return Err(reached),
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn passage(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Box<dyn CommitPassage>, ReachedLimit> {
        // Who writes nothing but an audit record has nothing grow.
        let may_refuse = may_refuse_act(commit.action) && !commit.writes.is_empty();
        let counted = &self.shown.counted;
        let mut adds = counted.hosts(view, commit);
        let joins = adds.len() as u64;
        let set = self.set();
        let mut room = None;
        if !set.is_empty() {
            adds.extend(counted.records(view, commit));
            if !adds.is_empty() {
                room = Some(self.room(view, commit.epoch, adds, (&set, may_refuse)).await?);
            }
        }
        let (rates, counts) = (Vec::new(), self.counts.clone());
        let mut turn = Box::new(CommitTurn { room, rates, counts, joins, is_made: true });
        match self.take_rates(&mut turn, may_refuse) {
            Ok(()) => Ok(turn),
            Err(reached) => {
                turn.not_made();
                Err(reached)
            }
        }
    }

    /// Room for what is added. What is not refused takes its room all the same: others have that much less.
    async fn room(
        &self,
        view: &View,
        epoch: Epoch,
        adds: Vec<AddedUse>,
        (set, may_refuse): (&[(LimitKind, SetLimit)], bool),
    ) -> Result<CommitRoom, ReachedLimit> {
        let used = |kind| self.shown.of(view, kind).unwrap_or(0);
        let enforced = set.iter().filter(|(_, limit)| may_refuse && limit.mode == LimitMode::Enforce);
        let enforced = enforced.map(|(kind, limit)| (*kind, limit.max)).collect();
        let demand = RoomDemand { epoch, adds, enforced };
        let taken = self.ledger.take(view, &used, &demand).await;
        taken.map_err(|NoRoom { kind, used, max }| ReachedLimit { kind, used, max, retry_after: None })
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
