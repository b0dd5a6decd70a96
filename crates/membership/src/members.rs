//! The members that are known, live or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh64::Xxh64;

use crate::Time;
use crate::record::{Claim, NodeId, Record, Status, Update};
use crate::timers::Seldom;

/// What is known of another member.
#[derive(Clone, Debug)]
pub struct Member {
    pub incarnation: u64,
    pub status: Status,
    pub record: Arc<Record>,
    /// Since when it has this status here.
    pub since: Time,
    /// When something came from it the last time.
    pub heard: Option<Time>,
    /// How long a packet takes there and back, smoothed.
    pub rtt: Option<Duration>,
    /// How unwell it says that it is.
    pub health: u8,
    /// Who has not reached it, while it is a suspect; whoever has found it dead, once it is.
    pub accusers: Vec<NodeId>,
    /// Being sent news with an answer.
    pub(crate) hears_news: Seldom,
    /// How many pings in a row it has not answered itself.
    pub(crate) unanswered: u8,
    /// A stream to it that is being tried.
    pub(crate) reaching: Option<Reaching>,
    /// How often it was a suspect or dead, and came back.
    pub flaps: u32,
    pub(crate) suspicion: Option<Suspicion>,
    /// Where it stands among the live ones.
    live_at: Option<usize>,
}

/// A suspicion under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspicion {
    pub deadline: Time,
    /// Whether a stream to it has failed too, tried by this member.
    pub is_unreached: bool,
}

/// A stream to somebody that is being tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaching {
    pub number: u32,
    pub began: Time,
    pub until: Time,
}

impl Member {
    /// What is said of it, as it is passed on.
    pub fn update(&self, node: &NodeId) -> Update {
        let claim = match self.status {
            Status::Alive => Claim::Alive(self.record.clone()),
            Status::Suspect => Claim::Suspect { by: self.accusers.clone() },
            // Whoever is dead was found so by somebody.
            Status::Dead | Status::Left => match self.accusers.first() {
                Some(by) => Claim::Dead { by: by.clone() },
                None => Claim::Left,
            },
        };
        Update { node: node.clone(), incarnation: self.incarnation, claim }
    }
}

/// All of them but this one.
#[derive(Default)]
pub struct Members {
    known: BTreeMap<NodeId, Member>,
    /// Those that are live, in no order.
    live: Vec<NodeId>,
    /// Those that are probed next, from the end.
    ring: Vec<NodeId>,
}

impl Members {
    pub fn get(&self, node: &str) -> Option<&Member> {
        self.known.get(node)
    }

    pub(crate) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Member> {
        self.known.get_mut(node)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.known.iter()
    }

    /// How many are known, live or not.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many are live.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Enters one that is alive.
    pub(crate) fn enter(
        &mut self,
        node: NodeId,
        incarnation: u64,
        record: Arc<Record>,
        now: Time,
        rng: &mut fastrand::Rng,
    ) {
        let member = Member {
            incarnation,
            status: Status::Alive,
            record,
            since: now,
            heard: None,
            rtt: None,
            health: 0,
            accusers: Vec::new(),
            hears_news: Seldom::default(),
            unanswered: 0,
            reaching: None,
            flaps: 0,
            suspicion: None,
            live_at: None,
        };
        self.known.insert(node.clone(), member);
        self.revive(&node, rng);
    }

    /// Gives it another status from now on.
    pub(crate) fn turn(&mut self, node: &NodeId, status: Status, now: Time, rng: &mut fastrand::Rng) {
        let Some(member) = self.known.get_mut(node) else { return };
        let was_live = member.status.is_live();
        (member.status, member.since) = (status, now);
        if status != Status::Suspect {
            member.suspicion = None;
        }
        match (was_live, status.is_live()) {
            (true, false) => self.bury(node),
            (false, true) => self.revive(node, rng),
            (true, true) | (false, false) => {}
        }
    }

    fn revive(&mut self, node: &NodeId, rng: &mut fastrand::Rng) {
        let Some(member) = self.known.get_mut(node) else { return };
        member.live_at = Some(self.live.len());
        self.live.push(node.clone());
        // Somewhere in this round already, unless it is there from before.
        if !self.ring.contains(node) {
            self.ring.insert(rng.usize(..=self.ring.len()), node.clone());
        }
    }

    fn bury(&mut self, node: &NodeId) {
        let Some(at) = self.known.get_mut(node).and_then(|member| member.live_at.take()) else { return };
        self.live.swap_remove(at);
        if let Some(moved) = self.live.get(at)
            && let Some(member) = self.known.get_mut(moved)
        {
            member.live_at = Some(at);
        }
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.bury(node);
        self.known.remove(node);
    }

    /// Whose turn it is to be probed: each live one once in a round, whose order is another each time.
    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> Option<NodeId> {
        if self.live.is_empty() {
            return None;
        }
        loop {
            while let Some(node) = self.ring.pop() {
                if self.known.get(&node).is_some_and(|member| member.status.is_live()) {
                    return Some(node);
                }
            }
            self.ring.clone_from(&self.live);
            rng.shuffle(&mut self.ring);
        }
    }

    /// So many different live ones at most, of those that `suits`.
    pub(crate) fn some(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        suits: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut some: Vec<NodeId> = Vec::with_capacity(count);
        // Nearly all suit, so that a few tries find enough; who is few is looked through.
        for _ in 0..count * 4 {
            if some.len() == count || self.live.len() <= count {
                break;
            }
            let one = &self.live[rng.usize(..self.live.len())];
            if suits(one) && !some.contains(one) {
                some.push(one.clone());
            }
        }
        if self.live.len() <= count {
            some.extend(self.live.iter().filter(|one| suits(one)).cloned());
        }
        some
    }

    /// One of those that are thought to be dead.
    pub(crate) fn dead(&self, rng: &mut fastrand::Rng) -> Option<NodeId> {
        let is_dead = |(_, member): &(&NodeId, &Member)| member.status == Status::Dead;
        let dead = self.known.iter().filter(is_dead).count();
        if dead == 0 {
            return None;
        }
        let chosen = rng.usize(..dead);
        self.known.iter().filter(is_dead).nth(chosen).map(|(node, _)| node.clone())
    }

    /// Gives all suspects so much more time.
    pub(crate) fn delay(&mut self, by: Time) {
        for member in self.known.values_mut() {
            if let Some(suspicion) = &mut member.suspicion {
                suspicion.deadline += by;
                member.since += by;
            }
            if let Some(reaching) = &mut member.reaching {
                (reaching.began, reaching.until) = (reaching.began + by, reaching.until + by);
            }
        }
    }

    /// Makes room by forgetting whoever has been gone for longest; `None`: nobody is gone.
    pub(crate) fn forget_one(&mut self) -> Option<NodeId> {
        let gone = self.known.iter().filter(|(_, member)| !member.status.is_live());
        let node = gone.min_by_key(|(_, member)| member.since).map(|(node, _)| node.clone())?;
        self.forget(&node);
        Some(node)
    }

    /// How many are still to be probed in this round.
    pub(crate) fn to_probe(&self) -> usize {
        self.ring.len()
    }

    /// A number that two have alike who know the same live members with the same records; `own` is of this one.
    pub(crate) fn digest(&self, own: (&NodeId, u64, u64)) -> u64 {
        let mut sum = digest_of(own.0, own.1, own.2);
        for (node, member) in self.live.iter().filter_map(|node| self.known.get_key_value(node)) {
            // In whatever order they are.
            sum = sum.wrapping_add(digest_of(node, member.incarnation, member.record.version));
        }
        sum
    }
}

fn digest_of(node: &NodeId, incarnation: u64, version: u64) -> u64 {
    let mut hash = Xxh64::new(0);
    hash.update(node.as_str().as_bytes());
    hash.update(&incarnation.to_le_bytes());
    hash.update(&version.to_le_bytes());
    hash.digest()
}
