//! The members that are known, live or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh64::Xxh64;

use crate::Time;
use crate::record::{GossipMemberRecord, MemberClaim, MemberStatus, MemberUpdate, NodeId};
use crate::strangers::{StrangerIntroduction, Strangers, UpdateChannel};
use crate::timers::MinimumInterval;

/// Of all that are chosen, to be probed or to help, which part are strangers at most while others are there.
const STRANGERS_PART: f64 = 0.25;
/// Of those who are told news: in a mesh that has just begun nearly all are strangers to each other, and are to hear as much as anybody.
const NEWS_STRANGERS_PART: f64 = 0.75;

/// How often each other member is told by this one itself what it says of itself: packets are lost.
const OWN_TOLD_TIMES: u8 = 2;

/// Another member, as far as it is known here.
#[derive(Clone, Debug)]
pub struct Member {
    pub incarnation: u64,
    pub status: MemberStatus,
    /// What is passed on of it, whoever has said so: what it says of itself, unless somebody has made it up.
    pub record: Arc<GossipMemberRecord>,
    /// What it has said itself, and in which incarnation.
    said: Option<(u64, Arc<GossipMemberRecord>)>,
    /// What of this member it was told by this member itself, by its incarnation and version, and how often.
    told: (u64, u64, u8),
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
    pub(crate) hears_news: MinimumInterval,
    /// How many pings in a row it has not answered itself.
    pub(crate) unanswered: u8,
    /// How many probes in a row only others have answered for it.
    pub(crate) through_others: u8,
    /// Whether others reach it and this member does not.
    pub is_through_others: bool,
    /// A stream to it that is being tried.
    pub(crate) reaching: Option<StreamAttempt>,
    /// How often it was a suspect or dead, and came back.
    pub flaps: u32,
    pub(crate) suspicion: Option<Suspicion>,
    /// That one other says that it has left, and nobody else so far.
    pub(crate) leaving: Option<LeaveReport>,
    /// Who has told of it, as long as it is nobody but a name.
    introduced: Option<StrangerIntroduction>,
    /// Where it stands among the live ones, and among those that are probed next.
    at: [Option<usize>; 2],
}

/// Report of one other member that a member leaves.
#[derive(Clone, Debug)]
pub(crate) struct LeaveReport {
    pub by: NodeId,
    pub incarnation: u64,
}

/// A suspicion under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspicion {
    pub deadline: Time,
    /// Whether a stream to it has failed too, tried by this member.
    pub is_unreached: bool,
    /// Whether it counts: by what this member has found itself, or as the suspect had the time to answer and has not.
    pub is_believed: bool,
}

/// Attempt under way to reach a member by a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamAttempt {
    pub number: u32,
    pub began: Time,
    pub until: Time,
}

impl Member {
    /// Status as far as it is believed: a member accused by others alone is a suspect once it has had time to answer.
    pub fn shown(&self) -> MemberStatus {
        match &self.suspicion {
            Some(suspicion) if self.status == MemberStatus::Suspect && !suspicion.is_believed => {
                MemberStatus::Alive
            }
            Some(_) | None => self.status,
        }
    }

    /// Record that the member has told itself; `None`: others alone have told of it so far.
    pub fn said(&self) -> Option<&Arc<GossipMemberRecord>> {
        self.said.as_ref().map(|(_, record)| record)
    }

    /// Notes what it has said of itself, unless that is of before.
    pub(crate) fn note_said(&mut self, incarnation: u64, record: &Arc<GossipMemberRecord>) {
        let is_of_before = self.said.as_ref().is_some_and(|(known, said)| {
            said.instance == record.instance && (*known, said.version) > (incarnation, record.version)
        });
        if !is_of_before {
            self.said = Some((incarnation, record.clone()));
        }
    }

    /// Whether it is to be told what this member says of itself, in this incarnation and version; that is counted then. Packets may be
    /// lost.
    pub(crate) fn is_to_be_told(&mut self, (incarnation, version): (u64, u64)) -> bool {
        let (known_incarnation, known_version, times) = &mut self.told;
        if (*known_incarnation, *known_version) != (incarnation, version) {
            (*known_incarnation, *known_version, *times) = (incarnation, version, 0);
        }
        let is_due = *times < OWN_TOLD_TIMES;
        *times += u8::from(is_due);
        is_due
    }

    /// It has begun anew, or was away for long: it knows nothing of what this member has said of itself.
    pub(crate) fn forget_what_it_was_told(&mut self) {
        self.told = Default::default();
    }

    /// Whether it is nobody but a name: nothing has come from it, and whoever drives this member does not know it either.
    pub fn is_stranger(&self) -> bool {
        self.introduced.is_some()
    }

    /// Way by which the member was told of first, gossip or exchange, as long as it is a stranger.
    pub(crate) fn told_by(&self) -> Option<UpdateChannel> {
        self.introduced.as_ref().map(|introduced| introduced.told)
    }

    /// Leave of the member that one other tells of, unless the member has said something else since.
    pub(crate) fn is_leaving(&self) -> Option<&LeaveReport> {
        self.leaving.as_ref().filter(|leaving| leaving.incarnation >= self.incarnation)
    }

    /// Claim about the member that it would not make itself.
    pub(crate) fn accusation(&self, node: &NodeId) -> Option<MemberUpdate> {
        if let Some(leaving) = self.is_leaving() {
            let incarnation = leaving.incarnation;
            return Some(MemberUpdate { node: node.clone(), incarnation, claim: MemberClaim::Left });
        }
        (self.status != MemberStatus::Alive).then(|| self.update(node))
    }

    /// Claim about the member, as it is passed on.
    pub fn update(&self, node: &NodeId) -> MemberUpdate {
        let claim = match self.status {
            MemberStatus::Alive => MemberClaim::Alive(self.record.clone()),
            MemberStatus::Suspect => MemberClaim::Suspect { by: self.accusers.clone() },
            // Whoever is dead was found so by somebody.
            MemberStatus::Dead | MemberStatus::Left => match self.accusers.first() {
                Some(by) => MemberClaim::Dead { by: by.clone() },
                None => MemberClaim::Left,
            },
        };
        MemberUpdate { node: node.clone(), incarnation: self.incarnation, claim }
    }
}

/// The orders in which members stand.
#[derive(Clone, Copy)]
enum MemberOrder {
    /// Those that are live, in no order.
    Live,
    /// Those that are probed next, from the end.
    Ring,
}

/// Pool of members that are chosen from alike, in each order.
#[derive(Default)]
struct MemberPool([Vec<NodeId>; 2]);

/// All of them but this one.
#[derive(Default)]
pub struct Members {
    known: BTreeMap<NodeId, Member>,
    /// Those that are somebody, and the strangers.
    pools: [MemberPool; 2],
    /// Those that are not live, by since when.
    gone: BTreeSet<(Time, NodeId)>,
    pub(crate) strangers: Strangers,
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

    /// Number of other members that are known, live or not.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Number of other members that are live.
    pub fn live(&self) -> usize {
        self.pools.iter().map(|pool| pool.0[MemberOrder::Live as usize].len()).sum()
    }

    /// Whether what is said to it counts as passed on: not to a stranger, who may be nobody, while others are there.
    pub(crate) fn counts(&self, node: &NodeId) -> bool {
        let known = &self.pools[0].0[MemberOrder::Live as usize];
        known.is_empty() || !self.known.get(node).is_some_and(Member::is_stranger)
    }

    /// Enters one that is alive; `introduced`: by whom, where it is nobody but a name so far.
    pub(crate) fn enter(
        &mut self,
        node: NodeId,
        (incarnation, record): (u64, Arc<GossipMemberRecord>),
        introduced: Option<StrangerIntroduction>,
        now: Time,
        rng: &mut fastrand::Rng,
    ) {
        if let Some(introduced) = &introduced {
            self.strangers.insert(&node, introduced);
        }
        // Whoever is not introduced by others has come itself.
        let said = introduced.is_none().then(|| (incarnation, record.clone()));
        let member = Member {
            incarnation,
            status: MemberStatus::Alive,
            record,
            said,
            told: (0, 0, 0),
            since: now,
            heard: None,
            rtt: None,
            health: 0,
            accusers: Vec::new(),
            hears_news: MinimumInterval::default(),
            unanswered: 0,
            through_others: 0,
            is_through_others: false,
            reaching: None,
            flaps: 0,
            suspicion: None,
            leaving: None,
            introduced,
            at: [None; 2],
        };
        self.known.insert(node.clone(), member);
        self.revive(&node, rng);
    }

    /// Gives it another status from now on.
    pub(crate) fn turn(&mut self, node: &NodeId, status: MemberStatus, now: Time, rng: &mut fastrand::Rng) {
        let Some(member) = self.known.get_mut(node) else { return };
        let was_live = member.status.is_live();
        let before = std::mem::replace(&mut member.since, now);
        member.status = status;
        if status != MemberStatus::Suspect {
            member.suspicion = None;
        }
        if !was_live {
            self.gone.remove(&(before, node.clone()));
        }
        if !status.is_live() {
            (member.through_others, member.is_through_others) = (0, false);
            self.gone.insert((now, node.clone()));
        }
        match (was_live, status.is_live()) {
            (true, false) => self.bury(node),
            (false, true) => self.revive(node, rng),
            (true, true) | (false, false) => {}
        }
    }

    /// Notes that somebody is more than a name. Who had told of it, if it was no more so far.
    pub(crate) fn prove(&mut self, node: &NodeId) -> Option<NodeId> {
        let introduced = self.known.get_mut(node)?.introduced.clone()?;
        self.strangers.remove(node, &introduced);
        let stood = self.known.get(node).map_or([None; 2], |member| member.at);
        self.bury(node);
        self.known.get_mut(node)?.introduced = None;
        for (order, _) in
            [MemberOrder::Live, MemberOrder::Ring].into_iter().zip(stood).filter(|(_, at)| at.is_some())
        {
            self.stand(node, order);
        }
        Some(introduced.by)
    }

    /// Notes that others hear from a stranger: it is remembered for as long as one that was told of just now.
    pub(crate) fn renew(&mut self, node: &NodeId, now: Time) {
        let Some(introduced) = self.known.get_mut(node).and_then(|member| member.introduced.as_mut()) else {
            return;
        };
        self.strangers.remove(node, introduced);
        introduced.at = now;
        self.strangers.insert(node, introduced);
    }

    /// Notes that gossip tells of a stranger; whether exchanges alone had told of it so far.
    pub(crate) fn note_gossip(&mut self, node: &NodeId) -> bool {
        let introduced = self.known.get_mut(node).and_then(|member| member.introduced.as_mut());
        introduced.is_some_and(|introduced| {
            std::mem::replace(&mut introduced.told, UpdateChannel::Gossip) == UpdateChannel::Exchange
        })
    }

    fn revive(&mut self, node: &NodeId, rng: &mut fastrand::Rng) {
        self.stand(node, MemberOrder::Live);
        // Somewhere in this round already.
        let Some(at) = self.stand(node, MemberOrder::Ring) else { return };
        self.exchange_places(node, at, rng.usize(..=at));
    }

    fn bury(&mut self, node: &NodeId) {
        self.unstand(node, MemberOrder::Live);
        self.unstand(node, MemberOrder::Ring);
    }

    fn nodes(&mut self, is_stranger: bool, order: MemberOrder) -> &mut Vec<NodeId> {
        &mut self.pools[usize::from(is_stranger)].0[order as usize]
    }

    /// Has somebody stand in an order, at its end; where that is.
    fn stand(&mut self, node: &NodeId, order: MemberOrder) -> Option<usize> {
        let member = self.known.get_mut(node).filter(|member| member.at[order as usize].is_none())?;
        let nodes = &mut self.pools[usize::from(member.introduced.is_some())].0[order as usize];
        member.at[order as usize] = Some(nodes.len());
        nodes.push(node.clone());
        Some(nodes.len() - 1)
    }

    fn unstand(&mut self, node: &NodeId, order: MemberOrder) {
        let Some(member) = self.known.get_mut(node) else { return };
        let Some(at) = member.at[order as usize].take() else { return };
        let is_stranger = member.introduced.is_some();
        let nodes = self.nodes(is_stranger, order);
        nodes.swap_remove(at);
        let moved = nodes.get(at).cloned();
        if let Some(member) = moved.and_then(|moved| self.known.get_mut(&moved)) {
            member.at[order as usize] = Some(at);
        }
    }

    /// Has the last of a round, who stands at `at`, change places with another one.
    fn exchange_places(&mut self, node: &NodeId, at: usize, with: usize) {
        let is_stranger = self.known.get(node).is_some_and(Member::is_stranger);
        let nodes = self.nodes(is_stranger, MemberOrder::Ring);
        nodes.swap(at, with);
        for place in [at, with] {
            let stands = self.nodes(is_stranger, MemberOrder::Ring).get(place).cloned();
            if let Some(member) = stands.and_then(|node| self.known.get_mut(&node)) {
                member.at[MemberOrder::Ring as usize] = Some(place);
            }
        }
    }

    pub(crate) fn forget(&mut self, node: &NodeId) {
        self.bury(node);
        let Some(member) = self.known.remove(node) else { return };
        self.gone.remove(&(member.since, node.clone()));
        if let Some(introduced) = &member.introduced {
            self.strangers.remove(node, introduced);
        }
    }

    /// Among whom the next is chosen: as many strangers as there are among all, but such a part at most.
    fn pool(&self, rng: &mut fastrand::Rng, strangers_part: f64) -> usize {
        let [known, strangers] = [0, 1].map(|pool| self.pools[pool].0[MemberOrder::Live as usize].len());
        match (known, strangers) {
            (_, 0) => 0,
            (0, _) => 1,
            (known, strangers) => {
                let part = (strangers as f64 / (known + strangers) as f64).min(strangers_part);
                usize::from(rng.f64() < part)
            }
        }
    }

    /// Next member to be probed: each live one once in a round, whose order is another each time.
    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> Option<NodeId> {
        let is_stranger = self.pool(rng, STRANGERS_PART) == 1;
        if self.nodes(is_stranger, MemberOrder::Ring).is_empty() {
            let mut round = self.nodes(is_stranger, MemberOrder::Live).clone();
            rng.shuffle(&mut round);
            for (at, node) in round.iter().enumerate() {
                if let Some(member) = self.known.get_mut(node) {
                    member.at[MemberOrder::Ring as usize] = Some(at);
                }
            }
            *self.nodes(is_stranger, MemberOrder::Ring) = round;
        }
        let node = self.nodes(is_stranger, MemberOrder::Ring).pop()?;
        if let Some(member) = self.known.get_mut(&node) {
            member.at[MemberOrder::Ring as usize] = None;
        }
        Some(node)
    }

    /// So many different live ones at most, of those that `suits`.
    pub(crate) fn some(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        suits: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        self.choose(count, rng, STRANGERS_PART, suits)
    }

    /// So many different live ones at most, to be told news.
    pub(crate) fn some_for_news(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<NodeId> {
        self.choose(count, rng, NEWS_STRANGERS_PART, |_| true)
    }

    fn choose(
        &self,
        count: usize,
        rng: &mut fastrand::Rng,
        strangers_part: f64,
        suits: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut some: Vec<NodeId> = Vec::with_capacity(count);
        let is_few = self.live() <= count;
        // Nearly all suit, so that a few tries find enough; who is few is looked through.
        for _ in 0..count * 4 {
            if some.len() == count || is_few {
                break;
            }
            let live = &self.pools[self.pool(rng, strangers_part)].0[MemberOrder::Live as usize];
            let one = &live[rng.usize(..live.len())];
            if suits(one) && !some.contains(one) {
                some.push(one.clone());
            }
        }
        if is_few {
            let live = self.pools.iter().flat_map(|pool| &pool.0[MemberOrder::Live as usize]);
            some.extend(live.filter(|one| suits(one)).cloned());
        }
        some
    }

    /// One of those that are thought to be dead, and are more than names.
    pub(crate) fn dead(&self, rng: &mut fastrand::Rng) -> Option<NodeId> {
        let of_gone = self.gone.iter().filter_map(|(_, node)| self.known.get_key_value(node));
        let is_dead =
            |(_, member): &(&NodeId, &Member)| member.status == MemberStatus::Dead && !member.is_stranger();
        let dead: Vec<_> = of_gone.filter(is_dead).map(|(node, _)| node).collect();
        rng.choice(dead).cloned()
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

    /// Whoever has been gone for longest; `None`: nobody is gone.
    pub(crate) fn longest_gone(&self) -> Option<NodeId> {
        self.gone.first().map(|(_, node)| node.clone())
    }

    /// The same, if it is gone since before `since`.
    pub(crate) fn gone_before(&self, since: Time) -> Option<NodeId> {
        self.gone.first().filter(|(at, _)| *at <= since).map(|(_, node)| node.clone())
    }

    /// Number of members still to be probed in this round.
    pub(crate) fn to_probe(&self) -> usize {
        self.pools.iter().map(|pool| pool.0[MemberOrder::Ring as usize].len()).sum()
    }

    /// A number that two have alike who know the same live members with the same records; `own` is of this one.
    pub(crate) fn digest(&self, own: (&NodeId, u64, u64)) -> u64 {
        let mut sum = digest_of(own.0, own.1, own.2);
        // Whose order is one another has too, whatever that is.
        for (node, member) in self.known.iter().filter(|(_, member)| member.status.is_live()) {
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
