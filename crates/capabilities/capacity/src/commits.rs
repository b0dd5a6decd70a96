//! Limits of commits: how many a second, and how much of what records count there may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use omnirelay_decisions::capacity::{
    LimitKind, LimitMode, ReachedLimit, SetLimit, lets_in_hosts, may_refuse_act,
};
use omnirelay_host::live::Live;
use omnirelay_registry::commit_judge::{CommitJudge, CommitPassage, JudgedCommit};
use omnirelay_registry::view::View;
use omnirelay_settings::LimitsConfig;
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::fault::Fault;

use crate::ledger::{AddedUse, NoRoom, RoomDemand, RoomLedger, TakenRoom};
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
    commits: Arc<RateLimit>,
    joins: Arc<RateLimit>,
}

/// Turn of a commit: what it has taken of the rates, and its room. Unless it was not made, it counts once this is dropped.
struct CommitTurn {
    room: Option<TakenRoom>,
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

    /// The limits by records that are set.
    fn set(&self) -> Vec<(LimitKind, SetLimit)> {
        let limits = self.limits.get();
        BY_RECORDS.into_iter().filter_map(|kind| Some((kind, limits.of(kind)?))).collect()
    }

    /// Turn of a commit that lets in so many hosts, without its room.
    ///
    /// # Errors
    /// The rate that allows none, if it may be refused; it has taken nothing then.
    fn turn(&self, joins: usize, may_refuse: bool) -> Result<CommitTurn, ReachedLimit> {
        let counts = self.counts.clone();
        let mut turn =
            CommitTurn { room: None, rates: Vec::new(), counts, joins: joins as u64, is_made: true };
        let joined = (0..joins).map(|_| &self.joins);
        for rate in joined.chain([&self.commits]) {
            match rate.take() {
                Ok(()) => turn.rates.push(rate.clone()),
                Err(reached) if may_refuse => {
                    Box::new(turn).not_made();
                    return Err(reached);
                }
                Err(_) => {}
            }
        }
        Ok(turn)
    }

    async fn passage(
        &self,
        view: &View,
        commit: &JudgedCommit<'_>,
    ) -> Result<Box<dyn CommitPassage>, ReachedLimit> {
        // Who writes nothing but an audit record has nothing grow.
        let may_refuse = may_refuse_act(commit.action) && !commit.writes.is_empty();
        let counted = &self.shown.counted;
        let mut adds = if lets_in_hosts(commit.action) { counted.hosts(view, commit) } else { Vec::new() };
        let joins = adds.len();
        let set = self.set();
        let mut room = None;
        if !set.is_empty() {
            adds.extend(counted.records(view, commit));
            if !adds.is_empty() {
                room = Some(self.room(view, commit.epoch, adds, (&set, may_refuse)).await?);
            }
        }
        match self.turn(joins, may_refuse) {
            Ok(mut turn) => {
                turn.room = room;
                Ok(Box::new(turn))
            }
            Err(reached) => {
                if let Some(room) = room {
                    Box::new(room).not_made();
                }
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
    ) -> Result<TakenRoom, ReachedLimit> {
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
