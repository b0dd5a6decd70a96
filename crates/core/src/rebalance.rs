//! Rebalancing: which shards have to move, where to and why; as few as there can be, with the proof.
//!
//! An owner keeps its shard unless a constraint says otherwise. The constraints are that a shard has an owner, that this is not a node
//! that is gone or going, that a node has no more shards than it takes, and that it has no more than its share, up to the bound: the
//! bounded loads of Mirrokni, Thorup and Zadimoghaddam 2018. The last one is the only one that may wait, and of what waits a plan
//! takes a part. Zones have bounds by the nodes that they are made of.

use std::collections::BTreeMap;

use crate::shard_order::{OwnerCandidate, PlacementStrategy, ShardPlacer, Weight};

/// Standing of a node as an owner: whether it may own shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerStanding {
    Open,
    /// It keeps what it has, and gets nothing new.
    Cordoned,
    /// It drains, is dead, has left, or is unknown: what it has must go.
    Leaving,
}

/// A node that owns shards, or may.
#[derive(Clone, Copy, Debug)]
pub struct RebalanceNode<'a> {
    pub id: &'a str,
    pub weight: Weight,
    pub region: &'a str,
    pub zone: &'a str,
    pub standing: OwnerStanding,
    /// How many shards it takes at most, of all sizes; `None`: as many as come.
    pub capacity: Option<usize>,
}

impl RebalanceNode<'_> {
    /// Whether it gets shards that it has not.
    pub fn gets(&self) -> bool {
        self.standing == OwnerStanding::Open && self.weight > Weight::ZERO
    }
}

/// A shard as it is before.
#[derive(Clone, Copy, Debug)]
pub struct RebalanceShard<'a> {
    pub id: &'a str,
    /// `None`: nobody owns it.
    pub owner: Option<&'a str>,
    /// Where it is best: see [`ShardLocality`](crate::shard_order::ShardLocality).
    pub hint: &'a str,
    /// It is not moved for the sake of balance.
    pub is_pinned: bool,
}

/// Rules by which shards are placed on nodes and moved between them.
#[derive(Clone, Copy, Debug)]
pub struct RebalanceRules {
    pub strategy: PlacementStrategy,
    /// How many times its share a node has at most, in thousandths; 1000 at least.
    pub bound_milli: u32,
    /// How large a part of all shards one plan moves at most without a constraint that demands it, in thousandths; one shard at
    /// least.
    pub by_choice_milli: u32,
    /// Brings shards to the nodes that are best for them, whoever owns them: after a change of the strategy or of weights. Else an
    /// owner keeps its shard.
    pub aligns: bool,
    /// The most moves of a plan; those that constraints demand come first.
    pub moves_max: usize,
}

impl RebalanceRules {
    /// The most moves of a plan of so many shards without a constraint that demands them.
    pub fn by_choice_max(&self, shards: usize) -> usize {
        let part = shards.saturating_mul(self.by_choice_milli as usize) / 1000;
        if self.by_choice_milli == 0 { 0 } else { part.max(1) }
    }
}

impl Default for RebalanceRules {
    fn default() -> Self {
        Self {
            strategy: PlacementStrategy::Rendezvous,
            bound_milli: 1050,
            by_choice_milli: 100,
            aligns: false,
            moves_max: usize::MAX,
        }
    }
}

/// Cause of the move of a shard: the constraint that it moves for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveCause {
    /// It has no owner.
    Unowned,
    /// Its owner is gone or going.
    OwnerLeaves,
    /// Its owner has more shards than it takes.
    Capacity,
    /// Its owner has more than its share, up to the bound; counted as a move by choice.
    Balance,
    /// Another node is best for it; counted as a move by choice.
    Strategy,
}

impl MoveCause {
    pub const ALL: [Self; 5] =
        [Self::Unowned, Self::OwnerLeaves, Self::Capacity, Self::Balance, Self::Strategy];

    /// As the API says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unowned => "unowned",
            Self::OwnerLeaves => "owner_leaves",
            Self::Capacity => "capacity",
            Self::Balance => "balance",
            Self::Strategy => "strategy",
        }
    }

    /// Whether no constraint demands it.
    pub fn is_by_choice(self) -> bool {
        matches!(self, Self::Balance | Self::Strategy)
    }
}

/// One shard that changes hands. Nodes are places in what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMove {
    pub shard: usize,
    /// `None`: nobody owns it, or a node that is not known.
    pub from: Option<usize>,
    pub to: usize,
    pub cause: MoveCause,
}

/// Load of a node in shards before and after a plan, and the most that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLoad {
    pub before: usize,
    pub after: usize,
    /// The most by its capacity and its share, up to the bound. Of a node that gets nothing it is what it has.
    pub most: usize,
}

/// Plan of the moves of shards, and the reasons why it cannot be less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardMovePlan {
    /// In the order of shards.
    pub moves: Vec<ShardMove>,
    /// So many shards have to change hands until all constraints hold, whoever plans it: those without an owner that may own, and
    /// of each other node those above the most that it may have.
    pub lower_bound: usize,
    /// What further plans do: moves by choice beyond the part that one may have, those beyond the most of a plan, and shards that are
    /// pinned.
    pub deferred: usize,
    /// Shards that nobody may own, as there is no node or no place.
    pub unplaced: Vec<usize>,
    /// Of each node.
    pub loads: Vec<PlannedLoad>,
}

/// The fewest moves after which the rules hold, as far as one plan goes.
pub fn plan(
    namespace: &str,
    shards: &[RebalanceShard<'_>],
    nodes: &[RebalanceNode<'_>],
    rules: &RebalanceRules,
) -> ShardMovePlan {
    Planner::of(namespace, shards, nodes, rules).plan()
}

struct Planner<'a> {
    namespace: &'a str,
    shards: &'a [RebalanceShard<'a>],
    nodes: &'a [RebalanceNode<'a>],
    rules: &'a RebalanceRules,
    placer: ShardPlacer<'a>,
    /// Of each shard the owner that is known.
    owners: Vec<Option<usize>>,
    loads: Vec<usize>,
    most: Vec<usize>,
}

impl<'a> Planner<'a> {
    fn of(
        namespace: &'a str,
        shards: &'a [RebalanceShard<'a>],
        nodes: &'a [RebalanceNode<'a>],
        rules: &'a RebalanceRules,
    ) -> Self {
        let places: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let owners: Vec<Option<usize>> =
            shards.iter().map(|shard| places.get(shard.owner?).copied()).collect();
        let mut loads = vec![0; nodes.len()];
        owners.iter().flatten().for_each(|owner| bump(&mut loads, *owner));
        let candidates = nodes.iter().map(|node| OwnerCandidate {
            node: node.id,
            weight: if node.standing == OwnerStanding::Open { node.weight } else { Weight::ZERO },
            region: node.region,
            zone: node.zone,
        });
        let placer = ShardPlacer::new(rules.strategy, candidates.collect());
        let most = most(shards.len(), nodes, &loads, rules.bound_milli);
        Self { namespace, shards, nodes, rules, placer, owners, loads, most }
    }

    fn plan(mut self) -> ShardMovePlan {
        let before = self.loads.clone();
        let forced: Vec<usize> = (0..self.shards.len()).filter(|shard| self.is_forced(*shard)).collect();
        // What has to go leaves room at once.
        for shard in &forced {
            if let Some(load) = self.owner(*shard).and_then(|owner| self.loads.get_mut(owner)) {
                *load -= 1;
            }
        }
        let excess: usize = (0..self.nodes.len()).map(|node| self.excess(node)).sum();
        let mut plan = ShardMovePlan { lower_bound: forced.len() + excess, ..ShardMovePlan::default() };
        for shard in forced {
            let from = self.owner(shard);
            let cause = if from.is_some() { MoveCause::OwnerLeaves } else { MoveCause::Unowned };
            if plan.moves.len() >= self.rules.moves_max {
                plan.deferred += 1;
                if let Some(owner) = from {
                    bump(&mut self.loads, owner);
                }
                continue;
            }
            match self.target(shard) {
                Some(to) => {
                    bump(&mut self.loads, to);
                    plan.moves.push(ShardMove { shard, from, to, cause });
                }
                None => plan.unplaced.push(shard),
            }
        }
        let mut by_choice = self.rules.by_choice_max(self.shards.len());
        self.shed(&mut plan, excess, &mut by_choice);
        if self.rules.aligns {
            self.align(&mut plan, by_choice);
        }
        plan.moves.sort_unstable_by_key(|one| one.shard);
        let loads = before.iter().zip(&self.loads).zip(&self.most);
        plan.loads = loads
            .map(|((before, after), most)| PlannedLoad { before: *before, after: *after, most: *most })
            .collect();
        plan
    }

    fn owner(&self, shard: usize) -> Option<usize> {
        self.owners.get(shard).copied().flatten()
    }

    fn is_forced(&self, shard: usize) -> bool {
        let owner = self.owner(shard).and_then(|owner| self.nodes.get(owner));
        owner.is_none_or(|owner| owner.standing == OwnerStanding::Leaving)
    }

    /// How many shards a node has above the most that it may have.
    fn excess(&self, node: usize) -> usize {
        let (load, most) = (self.loads.get(node), self.most.get(node));
        load.zip(most).map_or(0, |(load, most)| load.saturating_sub(*most))
    }

    fn has_room(&self, node: usize) -> bool {
        self.loads.get(node).zip(self.most.get(node)).is_some_and(|(load, most)| load < most)
    }

    /// The node that is best for a shard among those that have room.
    fn target(&self, shard: usize) -> Option<usize> {
        let RebalanceShard { id, hint, .. } = self.shards.get(shard)?;
        self.placer.best(self.namespace, id, hint, |node| self.has_room(node))
    }

    /// Moves what nodes have above the most that they may have, of each those shards that whoever gets them is the best for.
    fn shed(&mut self, plan: &mut ShardMovePlan, excess: usize, by_choice: &mut usize) {
        let mut shed = 0;
        for node in 0..self.nodes.len() {
            let over = self.excess(node);
            if over == 0 {
                continue;
            }
            let takes = self.nodes.get(node).and_then(|node| node.capacity).unwrap_or(usize::MAX);
            let owned = (0..self.shards.len()).filter(|shard| self.owner(*shard) == Some(node));
            let mut owned: Vec<usize> = owned.filter(|shard| !self.is_pinned(*shard)).collect();
            for _ in 0..over {
                let is_full = self.loads.get(node).is_some_and(|load| *load > takes);
                let cause = if is_full { MoveCause::Capacity } else { MoveCause::Balance };
                let is_over = cause == MoveCause::Balance && *by_choice == 0;
                if is_over || plan.moves.len() >= self.rules.moves_max {
                    break;
                }
                let Some((place, to)) = self.best_to_go(&owned) else { break };
                let shard = owned.swap_remove(place);
                *by_choice -= usize::from(cause == MoveCause::Balance);
                shed += 1;
                if let Some(load) = self.loads.get_mut(node) {
                    *load -= 1;
                }
                bump(&mut self.loads, to);
                plan.moves.push(ShardMove { shard, from: Some(node), to, cause });
            }
        }
        plan.deferred += excess - shed;
    }

    /// Moves shards to the nodes that are best for them where there is room, as far as a plan may move by choice. Which nodes those are
    /// is found out as if nobody owned anything, so that further plans go on where this one has to stop.
    fn align(&mut self, plan: &mut ShardMovePlan, mut by_choice: usize) {
        let mut moved = vec![false; self.shards.len()];
        plan.moves.iter().for_each(|done| moved.get_mut(done.shard).into_iter().for_each(|it| *it = true));
        let loads = std::mem::replace(&mut self.loads, vec![0; self.nodes.len()]);
        let mut ideal = vec![None; self.shards.len()];
        for (shard, best) in ideal.iter_mut().enumerate() {
            *best = self.target(shard);
            best.iter().for_each(|best| bump(&mut self.loads, *best));
        }
        self.loads = loads;
        let may = |this: &Self, shard: usize| {
            let owner = this.owner(shard).and_then(|owner| this.nodes.get(owner));
            owner.is_some_and(|owner| owner.standing == OwnerStanding::Open) && !this.is_pinned(shard)
        };
        let mut left: Vec<(usize, usize)> = ideal
            .iter()
            .enumerate()
            .filter_map(|(shard, best)| Some((shard, (*best)?)))
            .filter(|(shard, best)| {
                self.owner(*shard) != Some(*best) && moved.get(*shard) == Some(&false) && may(self, *shard)
            })
            .collect();
        // What moves leaves room for others.
        loop {
            let before = left.len();
            left.retain(|(shard, to)| {
                if by_choice == 0 || plan.moves.len() >= self.rules.moves_max || !self.has_room(*to) {
                    return true;
                }
                let from = self.owner(*shard);
                if let Some(load) = from.and_then(|from| self.loads.get_mut(from)) {
                    *load = load.saturating_sub(1);
                }
                bump(&mut self.loads, *to);
                by_choice -= 1;
                plan.moves.push(ShardMove { shard: *shard, from, to: *to, cause: MoveCause::Strategy });
                false
            });
            if left.len() == before || left.is_empty() {
                break;
            }
        }
        plan.deferred += left.len();
    }

    /// The node that has the most room beside what it may have, and of these shards the one that it is the best for: whoever has
    /// just come gets what it wins, and nothing else moves.
    fn best_to_go(&self, shards: &[usize]) -> Option<(usize, usize)> {
        let open = (0..self.nodes.len())
            .filter(|node| self.has_room(*node) && self.nodes.get(*node).is_some_and(RebalanceNode::gets));
        let fill = |node: &usize| {
            let (load, most) = (self.loads.get(*node), self.most.get(*node));
            // In parts of a million of what it may have.
            load.zip(most).map_or(0, |(load, most)| load.saturating_mul(1_000_000) / most.max(&1))
        };
        let to = open.min_by_key(|node| (fill(node), self.nodes.get(*node).map(|node| node.id)))?;
        let costs = shards.iter().enumerate().filter_map(|(place, shard)| {
            let RebalanceShard { id, hint, .. } = self.shards.get(*shard)?;
            Some((self.placer.cost(self.namespace, id, hint, to)?, *id, place))
        });
        costs.min().map(|(.., place)| (place, to))
    }

    fn is_pinned(&self, shard: usize) -> bool {
        self.shards.get(shard).is_none_or(|shard| shard.is_pinned)
    }
}

/// The most shards that each node may have. Those of nodes that keep what they have are not shared out, and of a node that takes
/// less than its share the others share the rest.
fn most(shards: usize, nodes: &[RebalanceNode<'_>], loads: &[usize], bound_milli: u32) -> Vec<usize> {
    let kept_all: usize = nodes.iter().zip(loads).map(|(node, load)| kept(node, *load)).sum();
    let mut shared = shards.saturating_sub(kept_all) as u128;
    let mut sharing: Vec<&RebalanceNode<'_>> = nodes.iter().filter(|node| node.gets()).collect();
    let weight = |node: &RebalanceNode<'_>| u128::from(node.weight.milli());
    let mut all: u128 = sharing.iter().map(|node| weight(node)).sum();
    loop {
        let (before, weights) = (shared, all);
        let is_full = |node: &&RebalanceNode<'_>| {
            node.capacity.is_some_and(|takes| takes as u128 * weights < before * weight(node))
        };
        let full: Vec<&RebalanceNode<'_>> = sharing.iter().copied().filter(is_full).collect();
        if full.is_empty() {
            break;
        }
        sharing.retain(|node| !is_full(node));
        for node in full {
            shared = shared.saturating_sub(node.capacity.unwrap_or(0) as u128);
            all -= weight(node);
        }
    }
    let of = |(node, load): (&RebalanceNode<'_>, &usize)| match node.standing {
        OwnerStanding::Open if node.gets() => {
            let takes = node.capacity.unwrap_or(usize::MAX);
            let share = shared * weight(node) * u128::from(bound_milli.max(1000));
            // Without anybody who shares all are full.
            let bound = share.checked_div(all * 1000).map(|_| share.div_ceil(all * 1000));
            bound.map_or(takes, |bound| usize::try_from(bound).unwrap_or(usize::MAX)).min(takes)
        }
        OwnerStanding::Open | OwnerStanding::Cordoned => kept(node, *load),
        OwnerStanding::Leaving => 0,
    };
    nodes.iter().zip(loads).map(of).collect()
}

/// What a node keeps that gets nothing new.
fn kept(node: &RebalanceNode<'_>, load: usize) -> usize {
    let keeps = !node.gets() && node.standing != OwnerStanding::Leaving;
    if keeps { load.min(node.capacity.unwrap_or(usize::MAX)) } else { 0 }
}

fn bump(loads: &mut [usize], node: usize) {
    if let Some(load) = loads.get_mut(node) {
        *load += 1;
    }
}

#[cfg(test)]
#[path = "rebalance_test.rs"]
mod tests;
