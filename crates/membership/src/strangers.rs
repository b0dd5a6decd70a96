//! Strangers: names that were told of and that nobody has proven to be. They have a small share of what is remembered, shared by
//! those who told of them, and go away by themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::Time;
use crate::record::NodeId;

/// For how long a name that went away is not taken again at the same incarnation, as others may still have it.
const DISBELIEVED_FOR: Duration = Duration::from_secs(600);

/// Channel on which an update of a member came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpdateChannel {
    Gossip,
    Exchange,
}

/// Introduction of a stranger: who told of it first, when and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StrangerIntroduction {
    pub by: NodeId,
    pub at: Time,
    pub told: UpdateChannel,
}

/// Strangers by age and by who told of them.
#[derive(Default)]
pub(crate) struct Strangers {
    ages: BTreeSet<(Time, NodeId)>,
    of: BTreeMap<NodeId, BTreeSet<(Time, NodeId)>>,
    /// How many each told of.
    counts: BTreeSet<(usize, NodeId)>,
    /// Names that went away, and the incarnation at which they did.
    disbelieved: BTreeMap<NodeId, (Time, u64)>,
    /// In the order in which they went; a name may be there twice.
    went: VecDeque<(Time, NodeId)>,
}

impl Strangers {
    pub(crate) fn len(&self) -> usize {
        self.ages.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &NodeId> {
        self.ages.iter().map(|(_, node)| node)
    }

    pub(crate) fn insert(&mut self, node: &NodeId, introduced: &StrangerIntroduction) {
        let StrangerIntroduction { by, at, .. } = introduced;
        self.ages.insert((*at, node.clone()));
        let of = self.of.entry(by.clone()).or_default();
        let before = of.len();
        of.insert((*at, node.clone()));
        let after = of.len();
        self.recount(by, before, after);
    }

    pub(crate) fn remove(&mut self, node: &NodeId, introduced: &StrangerIntroduction) {
        let StrangerIntroduction { by, at, .. } = introduced;
        self.ages.remove(&(*at, node.clone()));
        let Some(of) = self.of.get_mut(by) else { return };
        let before = of.len();
        of.remove(&(*at, node.clone()));
        let after = of.len();
        if after == 0 {
            self.of.remove(by);
        }
        self.recount(by, before, after);
    }

    fn recount(&mut self, by: &NodeId, before: usize, after: usize) {
        self.counts.remove(&(before, by.clone()));
        if after > 0 {
            self.counts.insert((after, by.clone()));
        }
    }

    /// Stranger that makes way for somebody whom `from` tells of: the one that was told of first by whoever has told of
    /// most; `None`: that is `from` itself.
    pub(crate) fn makes_way_for(&self, from: &NodeId) -> Option<NodeId> {
        let (_, most) = self.counts.last()?;
        if most == from { None } else { self.oldest_of(most) }
    }

    /// Stranger that gives way first, whoever comes.
    pub(crate) fn gives_way(&self) -> Option<NodeId> {
        let (_, most) = self.counts.last()?;
        self.oldest_of(most)
    }

    fn oldest_of(&self, by: &NodeId) -> Option<NodeId> {
        self.of.get(by)?.first().map(|(_, node)| node.clone())
    }

    /// The one that has been a stranger for longest, if it was one before `since` already.
    pub(crate) fn older_than(&self, since: Time) -> Option<NodeId> {
        self.ages.first().filter(|(at, _)| *at < since).map(|(_, node)| node.clone())
    }

    /// Takes a name no more for a while, at most so many of them.
    pub(crate) fn disbelieve(&mut self, now: Time, node: NodeId, incarnation: u64, names_max: usize) {
        while self.went.len() >= names_max.max(1) {
            self.forget_first();
        }
        self.went.push_back((now, node.clone()));
        self.disbelieved.insert(node, (now, incarnation));
    }

    /// Whether a name went away at that incarnation, or a later one, not long ago.
    pub(crate) fn is_disbelieved(&mut self, now: Time, node: &NodeId, incarnation: u64) -> bool {
        while self.went.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= DISBELIEVED_FOR) {
            self.forget_first();
        }
        self.disbelieved.get(node).is_some_and(|(_, at)| incarnation <= *at)
    }

    fn forget_first(&mut self) {
        if let Some((at, node)) = self.went.pop_front()
            && self.disbelieved.get(&node).is_some_and(|(last, _)| *last == at)
        {
            self.disbelieved.remove(&node);
        }
    }
}
