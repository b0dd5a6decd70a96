//! Nodes that have too much to do: some of their shards go to others.

use std::collections::BTreeMap;

use super::{Automation, MoveProgress, NamespaceDecider};
use crate::shards::member::ShardMember;
use crate::shards::planning::plan;

/// As the API says why a shard moves.
pub(super) const CAUSE: &str = "load";

impl<'a> NamespaceDecider<'a> {
    /// Has each of them own a part less, where the controller is to see to it; again after a while, if it was not enough.
    pub(super) fn relieve(&mut self, moving: &MoveProgress<'a>, evacuates: bool) {
        let scene = self.scene;
        if scene.spec.policy.relief == Automation::Off {
            return;
        }
        let at = scene.members.values().filter_map(|member| member.overloaded_at);
        if let Some(at) = at.filter(|at| *at > scene.now).min() {
            self.look_again(at);
        }
        if !scene.members.values().any(|member| member.is_overloaded()) {
            return;
        }
        let policy = &scene.spec.policy;
        if policy.by_choice_milli == 0 {
            return;
        }
        let pause = policy.cooldown.max(policy.overloaded_after);
        if !self.may_choose(policy.relief, moving, evacuates, pause) {
            return;
        }
        let sharing = scene.members.values().filter(|member| member.gets_if_need_be()).count().max(1);
        // What makes much work may be one shard, which another node would have no less work with.
        let least = (scene.shards.len() / sharing / 2).max(1);
        let less = |member: &ShardMember| {
            if member.is_overloaded() { self.less(member, least) } else { member.clone() }
        };
        let less: BTreeMap<String, ShardMember> =
            scene.members.iter().map(|(id, member)| (id.clone(), less(member))).collect();
        let rules = omnirelay_core::rebalance::RebalanceRules { by_choice_milli: 0, ..scene.spec.rules() };
        let mut planned = plan(scene.name, scene.shards, &less, &rules, &moving.covered);
        let is_relieved = |node: &str| self.member(node).is_some_and(|member| member.is_overloaded());
        for one in planned.moves.iter_mut().filter(|one| is_relieved(&one.from)) {
            CAUSE.clone_into(&mut one.cause);
        }
        if !planned.moves.is_empty() {
            self.enter(planned, policy.relief, "nodes have too much to do");
        }
    }

    /// A node that has too much to do, and is to own less than it does; not less than `least`.
    fn less(&self, member: &ShardMember, least: usize) -> ShardMember {
        let owned = self.scene.shards.iter().filter(|(_, value)| value.owner == member.id).count();
        if owned <= least {
            return member.clone();
        }
        let part = (owned * self.scene.spec.policy.by_choice_milli as usize / 1000).max(1);
        let most = owned.saturating_sub(part).max(least);
        ShardMember {
            capacity: Some(member.capacity.map_or(most, |capacity| capacity.min(most))),
            ..member.clone()
        }
    }
}
