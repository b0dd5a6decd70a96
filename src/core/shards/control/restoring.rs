//! Shards that go back to a node: those that a drain took from it, where whoever took the drain back wishes so.

use std::collections::BTreeMap;

use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;
use omnirelay_wire::timestamp::millis;

use super::{Automation, Deciding, Moving};
use crate::core::shards::planning::plan_for;

/// As the API says why a shard moves.
const CAUSE: &str = "restored";

impl<'a> Deciding<'a> {
    /// Makes a plan for all of them, once nothing else is being done. What somebody wished is not by choice: no cooldown and no
    /// `byChoicePercent` hold it up, and it goes at the pace of all moves.
    pub(super) fn restore(&mut self, moving: &Moving<'a>, evacuates: bool) {
        let scene = self.scene;
        let is_idle =
            !evacuates && moving.covered.is_empty() && self.steps.is_empty() && self.waits.is_none();
        if !is_idle || self.pending().is_some() {
            return;
        }
        let back: BTreeMap<&str, &str> =
            scene.shards.iter().filter_map(|(id, value)| Some((*id, self.goes_back(value)?))).collect();
        if back.is_empty() {
            return;
        }
        let planned = plan_for(scene.name, scene.shards, scene.members, &scene.spec.rules(), (&back, CAUSE));
        self.enter(planned, Automation::Automatic, "shards go back to nodes whose drain was taken back");
    }

    /// The node that a shard goes back to.
    fn goes_back(&self, value: &'a ShardValue) -> Option<&'a str> {
        let member = self.member(&value.came_from)?;
        let (drained, undrained) = member.restores?;
        let since = value.owned_since.as_ref().map(millis)?;
        let may_move = !value.paused && !value.disabled && value.target.is_empty();
        let is_of_drain = drained <= since && since <= undrained;
        (may_move && is_of_drain && value.owner != member.id && member.gets()).then_some(&*value.came_from)
    }
}
