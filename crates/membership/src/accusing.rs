//! Suspicions: how they begin, how others join in, and how they end.

use crate::Time;
use crate::event::{MembershipEvent, SuspicionEvidence};
use crate::members::Suspicion;
use crate::membership::Membership;
use crate::packet::PacketMessage;
use crate::record::{ACCUSERS_MAX, MemberStatus, MemberUpdate, NodeId};
use crate::timers::Timer;

impl Membership {
    /// Suspects somebody whom this member has not reached, neither by itself nor by others nor over a stream.
    pub(crate) fn accuse(
        &mut self,
        now: Time,
        node: &NodeId,
        evidence: SuspicionEvidence,
        is_unreached: bool,
    ) {
        let own = self.own.node.clone();
        let Some(member) = self.members.get(node.as_str()) else { return };
        let incarnation = member.incarnation;
        match member.status {
            MemberStatus::Alive => self.suspect(now, node, incarnation, &[own], Some(evidence)),
            MemberStatus::Suspect => self.join_in(now, node, &[own], Some(evidence)),
            MemberStatus::Dead | MemberStatus::Left => return,
        }
        if let Some(suspicion) = self.members.get_mut(node).and_then(|member| member.suspicion.as_mut()) {
            suspicion.is_unreached |= is_unreached;
        }
        // It hears of it at once, and from whom.
        self.send(node, PacketMessage::Gossip);
    }

    /// Begins a suspicion, of its own or as others say.
    pub(crate) fn suspect(
        &mut self,
        now: Time,
        node: &NodeId,
        incarnation: u64,
        by: &[NodeId],
        evidence: Option<SuspicionEvidence>,
    ) {
        let is_own = evidence.is_some();
        let hearsay_after = self.config.hearsay_after(self.members.live() + 1);
        let deadline = self.deadline(now, by, now);
        let Some(member) = self.members.get_mut(node) else { return };
        member.incarnation = incarnation;
        member.accusers = by.to_vec();
        // Of one that is believed already one more word changes nothing.
        let is_believed = is_own || member.suspicion.is_some_and(|before| before.is_believed);
        member.suspicion = Some(Suspicion { deadline, is_unreached: false, is_believed });
        self.members.turn(node, MemberStatus::Suspect, now, &mut self.rng);
        self.timers.set(deadline, Timer::Suspicion(node.clone()));
        if !is_believed {
            self.timers.set(now + hearsay_after, Timer::Believe(node.clone()));
        } else if let Some(by) = by.first() {
            let (node, by) = (node.clone(), by.clone());
            self.tell(MembershipEvent::Suspected { node, incarnation, by, evidence });
        }
        self.spread_member(now, node);
        // Some look for themselves at once, so that a death is soon certain and an error soon found.
        let chance = self.config.confirmers as f64 / self.members.live().max(1) as f64;
        if !is_own && self.rng.f64() < chance {
            let soon = self.config.gossip_interval.mul_f64(self.rng.f64());
            self.timers.set(now + soon, Timer::Confirm(node.clone()));
        }
    }

    /// Believes what others say of a suspect once it has had the time to answer.
    pub(crate) fn believe_in_time(&mut self, now: Time, node: &NodeId) {
        let after = self.config.hearsay_after(self.members.live() + 1);
        // It may have answered meanwhile, and be accused again.
        match self.members.get(node.as_str()).map(|member| member.since + after) {
            Some(at) if now < at => self.timers.set(at, Timer::Believe(node.clone())),
            Some(_) => self.believe(node),
            None => {}
        }
    }

    /// Believes what others say of a suspect.
    pub(crate) fn believe(&mut self, node: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        let Some(suspicion) = member.suspicion.as_mut().filter(|suspicion| !suspicion.is_believed) else {
            return;
        };
        suspicion.is_believed = true;
        if let Some(by) = member.accusers.first().cloned() {
            let (node, incarnation) = (node.clone(), member.incarnation);
            self.tell(MembershipEvent::Suspected { node, incarnation, by, evidence: None });
        }
    }

    /// Takes further accusers of a suspect.
    pub(crate) fn join_in(
        &mut self,
        now: Time,
        node: &NodeId,
        by: &[NodeId],
        evidence: Option<SuspicionEvidence>,
    ) {
        let Some(member) = self.members.get_mut(node) else { return };
        let (incarnation, since) = (member.incarnation, member.since);
        let mut joined = Vec::new();
        for accuser in by {
            if member.accusers.len() < ACCUSERS_MAX && !member.accusers.contains(accuser) {
                member.accusers.push(accuser.clone());
                joined.push(accuser.clone());
            }
        }
        if joined.is_empty() {
            return;
        }
        if evidence.is_some() {
            self.believe(node);
        }
        let Some(member) = self.members.get(node.as_str()) else { return };
        let accusers = member.accusers.clone();
        let deadline = self.deadline(since, &accusers, now);
        if let Some(suspicion) = self.members.get_mut(node).and_then(|member| member.suspicion.as_mut()) {
            suspicion.deadline = suspicion.deadline.min(deadline);
            self.timers.set(deadline, Timer::Suspicion(node.clone()));
        }
        let is_believed =
            self.members.get(node.as_str()).is_some_and(|member| member.shown() == MemberStatus::Suspect);
        for by in joined.into_iter().filter(|_| is_believed) {
            let evidence = evidence.clone().filter(|_| by == self.own.node);
            self.tell(MembershipEvent::Confirmed { node: node.clone(), incarnation, by, evidence });
        }
        self.spread_member(now, node);
    }

    /// Until when a suspect of these accusers has time that began at `since`. Whoever does not accuse it leaves the first word to those
    /// who do.
    fn deadline(&self, since: Time, accusers: &[NodeId], now: Time) -> Time {
        let members = self.members.live() + 1;
        let timeout = self.config.suspicion_timeout(accusers.len(), members);
        let own = if accusers.contains(&self.own.node) { Time::ZERO } else { self.config.interval };
        // The worse this member feels the later it judges.
        (since + timeout * self.patience() + own).max(now)
    }

    /// Gives all suspects at least the time that the configuration has for them; none has less than before.
    pub(crate) fn extend_suspicions(&mut self, now: Time) {
        let suspects = self.members.iter().filter(|(_, member)| member.suspicion.is_some());
        let deadlines: Vec<_> = suspects
            .map(|(node, member)| (node.clone(), self.deadline(member.since, &member.accusers, now)))
            .collect();
        for (node, deadline) in deadlines {
            if let Some(suspicion) = self.members.get_mut(&node).and_then(|member| member.suspicion.as_mut())
            {
                // Its timer finds that it has longer.
                suspicion.deadline = suspicion.deadline.max(deadline);
            }
        }
    }

    /// A suspect has had its time, or a stream to it was tried.
    pub(crate) fn suspicion_is_over(&mut self, now: Time, node: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        let Some(suspicion) = &mut member.suspicion else { return };
        // A stream of which nothing was heard within its time was not answered.
        if let Some(reaching) = member.reaching.take_if(|reaching| reaching.until <= now) {
            suspicion.is_unreached |= reaching.began >= member.since;
        }
        let reaching = member.reaching.map(|reaching| reaching.until);
        if let Some(later) = Some(suspicion.deadline).filter(|at| now < *at).or(reaching) {
            return self.timers.set(later, Timer::Suspicion(node.clone()));
        }
        if suspicion.is_unreached {
            let by = self.own.node.clone();
            return self.find_dead(now, node, &by);
        }
        // A stream is tried before anybody is found dead, and again for as long as it is answered.
        suspicion.deadline = now + self.config.probe_time();
        let deadline = suspicion.deadline;
        self.reach(now, node, self.config.probe_time());
        self.timers.set(deadline, Timer::Suspicion(node.clone()));
    }

    /// Takes somebody for dead.
    pub(crate) fn find_dead(&mut self, now: Time, node: &NodeId, by: &NodeId) {
        self.believe(node);
        let Some(member) = self.members.get_mut(node) else { return };
        if let Some(leaving) = member.is_leaving().cloned() {
            // It is silent, as whoever says that it has left would have it.
            return self.find_left(now, node, &leaving.by);
        }
        let incarnation = member.incarnation;
        member.accusers = vec![by.clone()];
        self.members.turn(node, MemberStatus::Dead, now, &mut self.rng);
        self.tell(MembershipEvent::Died { node: node.clone(), incarnation, by: by.clone() });
        self.spread_member(now, node);
    }

    /// Takes somebody for one that has left.
    pub(crate) fn find_left(&mut self, now: Time, node: &NodeId, from: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        member.leaving = None;
        member.accusers.clear();
        self.members.turn(node, MemberStatus::Left, now, &mut self.rng);
        self.tell(MembershipEvent::Left { node: node.clone(), from: from.clone() });
        self.spread_member(now, node);
    }

    /// Passes on what is said of a member here.
    pub(crate) fn spread_member(&mut self, now: Time, node: &NodeId) {
        let update: Option<MemberUpdate> = self.members.get(node.as_str()).map(|member| member.update(node));
        if let Some(update) = update {
            self.spread(now, update);
        }
    }
}
