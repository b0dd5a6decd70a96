//! The story of each member: what has happened to it, who says so, and why.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use omnirelay_host::chance::uuid;
use omnirelay_host::wall_clock;
use omnirelay_membership::{Member, MembershipEvent, NodeId, SuspicionEvidence};
use xxhash_rust::xxh64::xxh64;

/// How much is remembered of one member, and of how many.
const CHAPTERS_MAX: usize = 32;
const MEMBERS_MAX: usize = 10_000;

/// Kind of an event of a member: what happened to it, as this node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberEventKind {
    Joined,
    Suspected,
    Confirmed,
    Refuted,
    Died,
    Left,
    Returned,
    Restarted,
    StreamsAlone,
    /// Others reach it, and this node does not.
    ThroughOthers,
    /// This node reaches it again.
    Reached,
    /// The member itself was accused, and has answered.
    Answered,
}

impl MemberEventKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Suspected => "suspected",
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Died => "died",
            Self::Left => "left",
            Self::Returned => "returned",
            Self::Restarted => "restarted",
            Self::StreamsAlone => "streams_alone",
            Self::ThroughOthers => "through_others",
            Self::Reached => "reached",
            Self::Answered => "answered",
        }
    }
}

/// One thing that has happened to a member, as this node has it.
#[derive(Clone, Debug)]
pub struct MemberEvent {
    pub node: NodeId,
    pub verdict: MemberEventKind,
    /// By this host's clock, since 1970.
    pub at: Duration,
    pub incarnation: u64,
    /// Whose verdict it is; `None`: of the member itself.
    pub by: Option<NodeId>,
    /// Why, where it is the verdict of this node.
    pub evidence: Option<SuspicionEvidence>,
    /// What all nodes have alike that tell of the same.
    pub correlation_id: String,
}

/// History of the members: the events of each, and the order of the changes.
#[derive(Default)]
pub(crate) struct MemberHistory {
    of: BTreeMap<NodeId, VecDeque<MemberEvent>>,
    /// How many changes there were, and which was the last of each member.
    pub(super) count: u64,
    changed: BTreeMap<NodeId, u64>,
    /// The same in the order of the changes.
    order: BTreeMap<u64, NodeId>,
}

impl MemberHistory {
    /// Notes what has changed, if it is of somebody's health; `incarnation` says which one a member has now.
    pub(super) fn note(
        &mut self,
        own: &NodeId,
        event: &MembershipEvent,
        incarnation: impl Fn(&NodeId) -> u64,
    ) -> Option<MemberEvent> {
        if let MembershipEvent::Forgotten { node } = event {
            self.count += 1;
            self.of.remove(node);
            if let Some(before) = self.changed.remove(node) {
                self.order.remove(&before);
            }
        }
        let (node, mut chapter) = chapter(own, event, incarnation)?;
        self.note_changed(node);
        if self.of.len() >= MEMBERS_MAX && !self.of.contains_key(node) {
            return Some(chapter);
        }
        let chapters = self.of.entry(node.clone()).or_default();
        // What ends a suspicion belongs to it.
        let begun = chapters
            .back()
            .filter(|last| matches!(last.verdict, MemberEventKind::Suspected | MemberEventKind::Confirmed));
        if let Some(begun) = begun.filter(|_| chapter.verdict == MemberEventKind::Refuted) {
            chapter.correlation_id.clone_from(&begun.correlation_id);
        }
        if chapters.len() == CHAPTERS_MAX {
            chapters.pop_front();
        }
        chapters.push_back(chapter.clone());
        Some(chapter)
    }

    /// Notes that the health of all of them may be another one, as this node hears nobody any more, or somebody again.
    pub(super) fn note_all<'a>(&mut self, members: impl Iterator<Item = (&'a NodeId, &'a Member)>) {
        members.filter(|(_, member)| member.status.is_live()).for_each(|(node, _)| self.note_changed(node));
    }

    /// Forgets what has happened, and notes that the health of these is not known any more.
    pub(super) fn begin_anew<'a>(&mut self, known: impl Iterator<Item = &'a NodeId>) {
        *self = Self { count: self.count, ..Self::default() };
        known.for_each(|node| self.note_changed(node));
    }

    pub(super) fn note_changed(&mut self, node: &NodeId) {
        self.count += 1;
        if let Some(before) = self.changed.insert(node.clone(), self.count) {
            self.order.remove(&before);
        }
        self.order.insert(self.count, node.clone());
    }

    /// Nodes whose health has changed behind the first `seen` changes.
    pub(super) fn changed_since(&self, seen: u64) -> Vec<String> {
        let news = self.order.range((Bound::Excluded(seen), Bound::Unbounded));
        news.map(|(_, node)| node.as_str().to_owned()).collect()
    }

    pub(super) fn of(&self, node: &str) -> Vec<MemberEvent> {
        self.of.get(node).map(|chapters| chapters.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Describes for people why a member was not reached.
pub(crate) fn in_words(evidence: &SuspicionEvidence) -> String {
    let SuspicionEvidence { waited, helpers, nacks, rtt, health } = evidence;
    let names: Vec<&str> = helpers.iter().map(NodeId::as_str).collect();
    let helped = match (helpers.len(), nacks) {
        (0, _) => "nobody else could be asked".to_owned(),
        (_, 0) => format!("none of {} has answered for it either", names.join(", ")),
        (all, nacks) => format!("{nacks} of {all} asked ({}) do not reach it either", names.join(", ")),
    };
    let before = rtt.map(|rtt| format!(", its answers took {:.1} ms before", rtt.as_secs_f64() * 1e3));
    let unwell =
        if *health > 0 { format!(", and this node is unwell itself ({health})") } else { String::new() };
    format!(
        "no answer in {} ms, nor over a stream; {helped}{}{unwell}",
        waited.as_millis(),
        before.unwrap_or_default()
    )
}

fn chapter<'a>(
    own: &'a NodeId,
    event: &'a MembershipEvent,
    now: impl Fn(&NodeId) -> u64,
) -> Option<(&'a NodeId, MemberEvent)> {
    let (node, verdict, incarnation, by, evidence) = match event {
        MembershipEvent::Joined { node } => (node, MemberEventKind::Joined, now(node), None, &None),
        MembershipEvent::Suspected { node, incarnation, by, evidence } => {
            (node, MemberEventKind::Suspected, *incarnation, Some(by), evidence)
        }
        MembershipEvent::Confirmed { node, incarnation, by, evidence } => {
            (node, MemberEventKind::Confirmed, *incarnation, Some(by), evidence)
        }
        MembershipEvent::Refuted { node, incarnation } => {
            (node, MemberEventKind::Refuted, *incarnation, None, &None)
        }
        MembershipEvent::Died { node, incarnation, by } => {
            (node, MemberEventKind::Died, *incarnation, Some(by), &None)
        }
        MembershipEvent::Left { node, from } => {
            (node, MemberEventKind::Left, now(node), Some(from).filter(|from| *from != node), &None)
        }
        MembershipEvent::Returned { node, incarnation, from } => {
            (node, MemberEventKind::Returned, *incarnation, Some(from).filter(|from| *from != node), &None)
        }
        MembershipEvent::Restarted { node, from, .. } => {
            (node, MemberEventKind::Restarted, now(node), Some(from).filter(|from| *from != node), &None)
        }
        MembershipEvent::StreamsAlone { node } => {
            (node, MemberEventKind::StreamsAlone, now(node), None, &None)
        }
        MembershipEvent::ThroughOthers { node } => {
            (node, MemberEventKind::ThroughOthers, now(node), Some(own), &None)
        }
        MembershipEvent::Reached { node } => (node, MemberEventKind::Reached, now(node), Some(own), &None),
        MembershipEvent::Accused { by, incarnation } => {
            (own, MemberEventKind::Answered, *incarnation, by.first(), &None)
        }
        MembershipEvent::Changed { .. }
        | MembershipEvent::Forgotten { .. }
        | MembershipEvent::Conflict { .. }
        | MembershipEvent::CutOff
        | MembershipEvent::InTouch => return None,
    };
    let at = wall_clock::unix();
    let correlation_id = correlation_id(node, incarnation);
    let (by, evidence) = (by.cloned(), evidence.clone());
    Some((node, MemberEvent { node: node.clone(), verdict, at, incarnation, by, evidence, correlation_id }))
}

/// The same on all nodes for one incarnation of a member, in the form of a UUID of version 8 (RFC 9562).
fn correlation_id(node: &NodeId, incarnation: u64) -> String {
    let half = |seed| xxh64(node.as_str().as_bytes(), incarnation.rotate_left(7) ^ seed);
    uuid(8, half(1), half(2))
}
