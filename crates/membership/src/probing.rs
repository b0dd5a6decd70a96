//! Probes: one member after the other is pinged, others are asked to ping whoever does not answer, and a stream is tried.

use std::time::Duration;

use crate::Time;
use crate::event::{MembershipEvent, MembershipOutput, SuspicionEvidence};
use crate::members::StreamAttempt;
use crate::membership::Membership;
use crate::packet::PacketMessage;
use crate::probe::{Probe, RelayedPing};
use crate::record::{MemberStatus, NodeId};
use crate::timers::Timer;

/// For how many others at a time somebody is pinged.
const RELAYED_MAX: usize = 1024;
/// For one of them.
const RELAYED_EACH_MAX: usize = 16;
/// How many probes may be under way for another one to begin out of turn.
const PROBES_MAX: usize = 64;
/// After so many pings in a row without an answer of its own, of one that a stream reaches, it is said that pings do not come
/// through.
const UNANSWERED: u8 = 3;

impl Membership {
    /// Begins the next probe.
    pub(crate) fn round(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.relayed.retain(|_, relayed| relayed.until > now);
        // Where a probe takes longer than an interval, nobody is probed twice at once.
        let outlasts = self.config.probe_time() > self.config.interval;
        if let Some(target) = self.members.next(&mut self.rng)
            && !(outlasts && self.is_probed(&target))
        {
            self.probe(now, target);
        }
        self.timers.set(now + self.config.interval * self.patience(), Timer::Round);
    }

    /// Probes somebody out of turn who is a suspect still, or is said to have left.
    pub(crate) fn confirm(&mut self, now: Time, node: &NodeId) {
        let member = self.members.get(node.as_str());
        let is_in_doubt = member.is_some_and(|member| {
            member.status == MemberStatus::Suspect
                || member.status == MemberStatus::Alive && member.is_leaving().is_some()
        });
        if is_in_doubt && self.probes.len() < PROBES_MAX && !self.is_probed(node) {
            self.probe(now, node.clone());
        }
    }

    fn is_probed(&self, node: &NodeId) -> bool {
        self.probes.values().any(|probe| probe.target == *node)
    }

    fn probe(&mut self, now: Time, target: NodeId) {
        let incarnation = self.members.get(target.as_str()).map_or(0, |member| member.incarnation);
        self.stats.probes += 1;
        let (number, patience) = (self.next_number(), self.patience());
        self.send(&target, PacketMessage::Ping { number });
        self.timers.set(now + self.config.ping_timeout * patience, Timer::Late(number));
        let ends = now + self.config.probe_time() * patience;
        self.timers.set(ends, Timer::Over(number));
        let (helpers, nacks, reached, was_put_off) = (Vec::new(), 0, None, false);
        let probe = Probe { target, incarnation, began: now, ends, helpers, nacks, reached, was_put_off };
        self.probes.insert(number, probe);
    }

    /// Has others ping whoever has not answered, and tries a stream.
    pub(crate) fn ping_is_late(&mut self, now: Time, number: u32) {
        let Some(probe) = self.probes.get_mut(&number) else { return };
        let target = probe.target.clone();
        if let Some(member) = self.members.get_mut(&target) {
            member.unanswered = member.unanswered.saturating_add(1);
        }
        let helpers = self.members.some(self.config.helpers, &mut self.rng, |node| *node != target);
        probe.helpers.clone_from(&helpers);
        let within = probe.ends.saturating_sub(now).max(self.config.ping_timeout);
        for helper in helpers {
            self.send(&helper, PacketMessage::PingFor { number, target: target.clone() });
        }
        self.reach(now, &target, within);
    }

    /// Tries a stream to somebody, unless one is being tried.
    pub(crate) fn reach(&mut self, now: Time, node: &NodeId, within: Duration) {
        let number = self.next_number();
        let Some(member) = self.members.get_mut(node) else { return };
        if member.reaching.is_some_and(|reaching| reaching.until > now) {
            return;
        }
        member.reaching = Some(StreamAttempt { number, began: now, until: now + within });
        let packet = self.packet(node, PacketMessage::Gossip);
        self.outputs.push_back(MembershipOutput::Reach { node: node.clone(), number, packet, within });
    }

    /// Notes whether a stream to somebody was answered, the one of that number; the answer itself is for [`Membership::receive`],
    /// first.
    pub fn reached(&mut self, now: Time, node: &NodeId, number: u32, is_answered: bool) {
        self.notice(now);
        let Some(member) = self.members.get_mut(node) else { return };
        let Some(reaching) = member.reaching.take_if(|reaching| reaching.number == number) else { return };
        let mut is_alone = false;
        if is_answered {
            member.heard = Some(now);
            // Others may get through to it meanwhile, and have answered for it.
            is_alone = member.unanswered >= UNANSWERED;
            member.unanswered = if is_alone { 0 } else { member.unanswered };
        }
        let since = member.since;
        if let Some(suspicion) = &mut member.suspicion
            && reaching.began >= since
        {
            suspicion.is_unreached = !is_answered;
        }
        for probe in self.probes.values_mut().filter(|probe| probe.target == *node) {
            probe.reached = Some(is_answered);
        }
        if is_alone {
            self.tell(MembershipEvent::StreamsAlone { node: node.clone() });
        }
        if is_answered {
            self.note_reached(node);
        } else {
            self.note_unreached(node);
        }
        self.suspicion_is_over(now, node);
    }

    /// Notes that this member reaches somebody itself.
    fn note_reached(&mut self, node: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        member.through_others = 0;
        if std::mem::take(&mut member.is_through_others) {
            self.tell(MembershipEvent::Reached { node: node.clone() });
        }
    }

    /// Notes that a stream to somebody has failed, for whom others may have answered.
    fn note_unreached(&mut self, node: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        let is_news = member.through_others >= UNANSWERED && !member.is_through_others;
        if is_news {
            member.is_through_others = true;
            self.tell(MembershipEvent::ThroughOthers { node: node.clone() });
        }
    }

    pub(crate) fn probe_is_over(&mut self, now: Time, number: u32) {
        let Some(probe) = self.probes.get_mut(&number) else { return };
        if probe.reached.is_none() && !probe.was_put_off {
            probe.was_put_off = true;
            let later = now + self.config.ping_timeout;
            return self.timers.set(later, Timer::Over(number));
        }
        let Some(probe) = self.probes.remove(&number) else { return };
        if probe.reached == Some(true) {
            return;
        }
        self.stats.probes_failed += 1;
        // Helpers who do not answer either say that it is this member which hears nothing.
        let silent = probe.helpers.len() - probe.nacks.min(probe.helpers.len());
        self.feel(i16::try_from(silent).unwrap_or(i16::MAX));
        let Some(member) = self.members.get(probe.target.as_str()) else { return };
        if member.incarnation != probe.incarnation {
            return;
        }
        let evidence = SuspicionEvidence {
            waited: now.saturating_sub(probe.began),
            helpers: probe.helpers,
            nacks: probe.nacks,
            rtt: member.rtt,
            health: self.health,
        };
        self.accuse(now, &probe.target, evidence, probe.reached == Some(false));
    }

    /// An answer to a ping: of one of this member, or of one for somebody else.
    pub(crate) fn acked(&mut self, now: Time, from: &NodeId, number: u32) {
        if self.relayed.get(&number).is_some_and(|relayed| relayed.target == *from)
            && let Some(RelayedPing { whose, number, .. }) = self.relayed.remove(&number)
        {
            return self.send(&whose, PacketMessage::Ack { number });
        }
        let Some(probe) = self.probes.get(&number) else { return };
        let is_of_target = probe.target == *from;
        if !is_of_target && !probe.helpers.contains(from) {
            return;
        }
        let (target, took) = (probe.target.clone(), now.saturating_sub(probe.began));
        self.probes.remove(&number);
        if !is_of_target {
            if let Some(member) = self.members.get_mut(&target) {
                member.through_others = member.through_others.saturating_add(1);
            }
            return self.members.renew(&target, now);
        }
        self.feel(-1);
        self.note_reached(&target);
        if let Some(member) = self.members.get_mut(&target) {
            member.unanswered = 0;
            member.rtt = Some(member.rtt.map_or(took, |before| (before * 7 + took) / 8));
            self.outputs.push_back(MembershipOutput::Measured { node: target, rtt: took });
        }
    }

    pub(crate) fn nacked(&mut self, from: &NodeId, number: u32) {
        if let Some(probe) = self.probes.get_mut(&number).filter(|probe| probe.helpers.contains(from)) {
            probe.nacks += 1;
        }
    }

    /// Pings somebody for another.
    pub(crate) fn ping_for(&mut self, now: Time, whose: &NodeId, number: u32, target: NodeId) {
        if target == self.own.node {
            return self.send(whose, PacketMessage::Ack { number });
        }
        // Whoever asks for more than one probe's worth at a time is not helped.
        let of_same = self.relayed.values().filter(|relayed| relayed.whose == *whose).count();
        let is_full = self.relayed.len() >= RELAYED_MAX || of_same >= RELAYED_EACH_MAX;
        if is_full || self.members.get(target.as_str()).is_none() {
            return self.send(whose, PacketMessage::Nack { number });
        }
        let own = self.next_number();
        let until = now + self.config.probe_time() * 2;
        self.relayed.insert(own, RelayedPing { whose: whose.clone(), number, target: target.clone(), until });
        self.send(&target, PacketMessage::Ping { number: own });
        self.timers.set(now + self.config.ping_timeout, Timer::Nack(own));
    }

    pub(crate) fn nack(&mut self, own: u32) {
        if let Some(RelayedPing { whose, number, .. }) = self.relayed.get(&own) {
            let (whose, number) = (whose.clone(), *number);
            self.send(&whose, PacketMessage::Nack { number });
        }
    }
}
