//! Shards that go back to a node: those that a drain took from it, where whoever took the drain back wishes so.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::rebalance_plan::State as PlanState;
use omnirelay_wire::pb::omnirelay::store::v1::{RebalancePlanValue, ShardValue};
use omnirelay_wire::timestamp::millis;

use super::{Automation, MoveProgress, NamespaceDecider};
use crate::shards::planning::plan_for;

/// As the API says why a shard moves.
pub(super) const CAUSE: &str = "restored";
/// How long after a drain was taken back shards go back. What is in the way for longer has made the wish an old one.
const COUNTS_FOR: Duration = Duration::from_secs(3600);

impl<'a> NamespaceDecider<'a> {
    /// Makes a plan for all of them, once nothing else is being done. What somebody wished is not by choice: no cooldown and no
    /// `byChoicePercent` hold it up, and it goes at the pace of all moves.
    pub(super) fn restore(&mut self, moving: &MoveProgress<'a>, evacuates: bool) {
        let scene = self.scene;
        if !self.is_idle(moving, evacuates) {
            return;
        }
        let decided = self.decided_at();
        let back: BTreeMap<&str, &str> = scene
            .shards
            .iter()
            .filter_map(|(id, value)| Some((*id, self.goes_back(value, decided)?)))
            .collect();
        if back.is_empty() {
            return;
        }
        let planned = plan_for(scene.name, scene.shards, scene.members, &scene.spec.rules(), (&back, CAUSE));
        self.enter(planned, Automation::Automatic, "shards go back to nodes whose drain was taken back");
    }

    /// When somebody last decided otherwise: cancelled a plan, or had one of their own carried out.
    fn decided_at(&self) -> Millis {
        let is_theirs = |value: &&RebalancePlanValue| {
            let cancelled = value.plan.as_ref().is_some_and(|plan| plan.state() == PlanState::Cancelled);
            cancelled || value.rules != 0
        };
        let theirs = self.scene.plans.values().copied().filter(is_theirs);
        let ended = theirs.filter_map(|value| Some(millis(value.plan.as_ref()?.ended_at.as_ref()?)));
        ended.max().unwrap_or_default()
    }

    /// The node that a shard goes back to.
    fn goes_back(&self, value: &'a ShardValue, decided: Millis) -> Option<&'a str> {
        let member = self.member(&value.came_from)?;
        let (drained, undrained) = member.restores?;
        if undrained <= decided || self.scene.now > undrained.after(COUNTS_FOR) {
            return None;
        }
        let since = value.owned_since.as_ref().map(millis)?;
        let may_move = !value.paused && !value.disabled && value.target.is_empty();
        let is_of_drain = drained <= since && since <= undrained;
        (may_move && is_of_drain && value.owner != member.id && member.gets()).then_some(&*value.came_from)
    }
}
