//! Claims of others about members: which of them are taken, and what follows.

use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::budget::WorkKind;
use crate::event::MembershipEvent;
use crate::members::LeaveReport;
use crate::membership::Membership;
use crate::packet::PacketMessage;
use crate::record::{GossipMemberRecord, MemberClaim, MemberStatus, MemberUpdate, NodeId};
use crate::strangers::{StrangerIntroduction, UpdateChannel};
use crate::timers::Timer;

/// How far an accusation may be ahead of what is known of the accused: they answer others meanwhile.
const AHEAD_MAX: u64 = 1024;
/// How often an accusation has this member feel worse: whoever accuses it all the time has it do nothing.
const ACCUSED_EVERY: Duration = Duration::from_secs(10);
/// How often this member tells of somebody who has its name.
const CONFLICT_EVERY: Duration = Duration::from_secs(1);

impl Membership {
    /// Takes what `from` says of somebody, if it is news.
    pub(crate) fn apply(&mut self, now: Time, from: &NodeId, update: MemberUpdate, told: UpdateChannel) {
        if update.incarnation > self.incarnation_max(now) {
            self.stats.implausible += 1;
            return;
        }
        let MemberUpdate { node, incarnation, claim } = update;
        if node == self.own.node {
            return self.apply_own(now, from, incarnation, &claim);
        }
        // Its own word is one whatever others have said in its name meanwhile.
        if let (true, MemberClaim::Alive(record)) = (node == *from, &claim)
            && let Some(member) = self.members.get_mut(&node)
        {
            member.note_said(incarnation, record);
        }
        let known = self.members.get(node.as_str()).map(|member| member.incarnation);
        match (known, claim) {
            (None, MemberClaim::Alive(record)) => self.enter(now, from, node, (incarnation, record), told),
            (Some(known), MemberClaim::Alive(record)) if incarnation >= known => {
                if told == UpdateChannel::Gossip && self.members.note_gossip(&node) {
                    self.spread_member(now, &node);
                }
                self.apply_alive(now, from, &node, (incarnation, record));
            }
            // Only what is known can be judged; and nobody can have an incarnation that its owner never had.
            (Some(known), claim) if incarnation >= known => match incarnation - known <= AHEAD_MAX {
                true => self.apply_accusation(now, from, &node, incarnation, claim),
                false => self.stats.implausible += 1,
            },
            (None | Some(_), _) => {}
        }
    }

    fn enter(
        &mut self,
        now: Time,
        from: &NodeId,
        node: NodeId,
        (incarnation, record): (u64, Arc<GossipMemberRecord>),
        told: UpdateChannel,
    ) {
        let is_stranger = *from != node;
        if !self.makes_room(now, from, &node, is_stranger.then_some(incarnation)) {
            self.stats.refused += 1;
            return;
        }
        let introduced = is_stranger.then(|| StrangerIntroduction { by: from.clone(), at: now, told });
        self.members.enter(node.clone(), (incarnation, record), introduced, now, &mut self.rng);
        self.tell(MembershipEvent::Joined { node: node.clone() });
        // A stranger of an exchange is no news, and may be one whom others have forgotten.
        if !is_stranger || told == UpdateChannel::Gossip {
            self.spread_member(now, &node);
        }
    }

    /// Whether there is room for one more; `stranger`: the incarnation of one that is nobody but a name. Strangers give way first,
    /// and of those the ones of whoever has told of most; then whoever has been gone for longest.
    fn makes_room(&mut self, now: Time, from: &NodeId, node: &NodeId, stranger: Option<u64>) -> bool {
        if let Some(incarnation) = stranger {
            if self.members.strangers.is_disbelieved(now, node, incarnation) {
                return false;
            }
            let is_full = self.members.strangers.len() >= self.config.strangers_max;
            let gives_way = is_full.then(|| self.members.strangers.makes_way_for(from));
            if gives_way == Some(None) || !self.budgets.take(now, from, WorkKind::Strangers, 1) {
                return false;
            }
            if let Some(node) = gives_way.flatten() {
                self.forget_one(&node);
            }
        }
        if self.members.len() < self.config.members_max {
            return true;
        }
        let strange = match stranger {
            Some(_) => self.members.strangers.makes_way_for(from),
            None => self.members.strangers.gives_way(),
        };
        let Some(gone) = strange.or_else(|| self.members.longest_gone()) else { return false };
        self.forget_one(&gone);
        true
    }

    fn apply_alive(
        &mut self,
        now: Time,
        from: &NodeId,
        node: &NodeId,
        (incarnation, record): (u64, Arc<GossipMemberRecord>),
    ) {
        let Some(member) = self.members.get_mut(node) else { return };
        let is_newer = incarnation > member.incarnation;
        // Others may have said something else in its name.
        let is_put_right =
            from == node && record.version == member.record.version && *record != *member.record;
        // In the incarnation in which it is accused, a newer record is no answer to that.
        let is_news = record.version > member.record.version || is_put_right;
        let counts = is_newer || is_news && member.status.is_live();
        if !counts {
            return;
        }
        let before = (member.status, member.record.instance);
        let has_changed = member.record.body != record.body;
        if member.record.instance != record.instance || !member.status.is_live() {
            member.forget_what_it_was_told();
        }
        let instance = record.instance;
        (member.incarnation, member.record) = (incarnation, record);
        let was_believed = member.suspicion.is_some_and(|suspicion| suspicion.is_believed);
        if is_newer && before.0 != MemberStatus::Alive {
            member.flaps = member.flaps.saturating_add(u32::from(before.0 != MemberStatus::Left));
            member.accusers.clear();
            self.members.turn(node, MemberStatus::Alive, now, &mut self.rng);
        }
        let node_id = node.clone();
        match before.0 {
            MemberStatus::Suspect if is_newer && was_believed => {
                self.tell(MembershipEvent::Refuted { node: node_id, incarnation });
            }
            MemberStatus::Dead | MemberStatus::Left => {
                self.tell(MembershipEvent::Returned { node: node_id, incarnation, from: from.clone() });
            }
            MemberStatus::Alive | MemberStatus::Suspect => {}
        }
        if before.0.is_live() && before.1 != instance {
            self.tell(MembershipEvent::Restarted { node: node.clone(), instance, from: from.clone() });
        } else if has_changed {
            self.tell(MembershipEvent::Changed { node: node.clone() });
        }
        if from != node && (before.0.is_live() && before.1 != instance || !before.0.is_live()) {
            // Whatever others say, connections to it end once it is found that they do not reach it.
            // Before it is passed on: it knows of itself, and others are to be told as often as of anybody.
            self.reach(now, node, self.config.probe_time());
        }
        if is_newer || before.0 == MemberStatus::Alive {
            self.spread_member(now, node);
        }
    }

    fn apply_accusation(
        &mut self,
        now: Time,
        from: &NodeId,
        node: &NodeId,
        incarnation: u64,
        claim: MemberClaim,
    ) {
        let Some(member) = self.members.get(node.as_str()) else { return };
        let (status, known) = (member.status, member.incarnation);
        match claim {
            MemberClaim::Alive(_) => {}
            MemberClaim::Left if status != MemberStatus::Left => {
                self.apply_left(now, from, node, incarnation);
            }
            MemberClaim::Suspect { by } => match status {
                MemberStatus::Suspect if incarnation == known => self.join_in(now, node, &by, None),
                MemberStatus::Alive | MemberStatus::Suspect => {
                    self.suspect(now, node, incarnation, &by, None);
                }
                MemberStatus::Dead | MemberStatus::Left => {}
            },
            MemberClaim::Dead { by } if status.is_live() => self.apply_dead(now, node, incarnation, &by),
            MemberClaim::Left | MemberClaim::Dead { .. } => {}
        }
    }

    /// Somebody is said to have left: that is taken of itself, and of two others. On the word of one it is looked for.
    fn apply_left(&mut self, now: Time, from: &NodeId, node: &NodeId, incarnation: u64) {
        let Some(member) = self.members.get_mut(node) else { return };
        let before = member.is_leaving().cloned();
        let vouched = match &before {
            _ if from == node => Some(incarnation),
            Some(leaving) if leaving.by != *from => Some(leaving.incarnation.min(incarnation)),
            Some(_) | None => None,
        };
        if let Some(incarnation) = vouched {
            member.incarnation = incarnation;
            return self.find_left(now, node, from);
        }
        if before.is_some() {
            return;
        }
        member.leaving = Some(LeaveReport { by: from.clone(), incarnation });
        let soon = self.config.gossip_interval.mul_f64(self.rng.f64());
        self.timers.set(now + soon, Timer::Confirm(node.clone()));
        // It hears of it, and answers if that is not so.
        if self.may_send(now) {
            self.send(node, PacketMessage::Gossip);
        }
    }

    /// Somebody is said to be dead: that is taken of a suspect who has had time to answer, and makes a suspect of anybody else. So a
    /// lie needs nearly as long as the truth, and what one side of a partition thought of the other kills nobody when both meet.
    fn apply_dead(&mut self, now: Time, node: &NodeId, incarnation: u64, by: &NodeId) {
        let least = self.config.suspicion_timeout(usize::MAX, self.members.live() + 1);
        let Some(member) = self.members.get(node.as_str()) else { return };
        if member.status == MemberStatus::Suspect && incarnation == member.incarnation {
            // It became a suspect here later than there, by as long as news takes.
            let least = least.saturating_sub(self.config.interval / 2).max(least / 2);
            if now.saturating_sub(member.since) >= least {
                return self.find_dead(now, node, by);
            }
            return self.join_in(now, node, std::slice::from_ref(by), None);
        }
        self.suspect(now, node, incarnation, std::slice::from_ref(by), None);
        if self.may_send(now) {
            self.send(node, PacketMessage::Gossip);
        }
    }

    /// Takes what is said of this member itself, and answers it.
    fn apply_own(&mut self, now: Time, from: &NodeId, incarnation: u64, claim: &MemberClaim) {
        if incarnation < self.own.incarnation {
            return;
        }
        if self.has_left {
            // A leave counts in the incarnation of whatever else is said; ahead of it others would have this member live.
            if incarnation > self.own.incarnation {
                self.own.incarnation = incarnation + 1;
                self.stats.refuted += 1;
                self.tell_leave(now);
            }
            return;
        }
        let accusers = match claim {
            MemberClaim::Alive(record) if record.instance == self.own.record.instance => {
                // What this member has said itself, unless somebody made it up.
                let own = &self.own.record;
                let is_own = record.version < own.version || **record == *own;
                if incarnation == self.own.incarnation && is_own {
                    return;
                }
                Vec::new()
            }
            MemberClaim::Alive(record) => {
                if !self.tells_of_conflict.is_due(now, CONFLICT_EVERY) {
                    // Two of one name would answer each other without end.
                    self.own.incarnation = incarnation + 1;
                    return self.spread_own(now);
                }
                self.tell(MembershipEvent::Conflict {
                    record: record.clone(),
                    incarnation,
                    from: from.clone(),
                });
                Vec::new()
            }
            MemberClaim::Suspect { by } => by.clone(),
            MemberClaim::Dead { by } => vec![by.clone()],
            MemberClaim::Left => Vec::new(),
        };
        self.own.incarnation = incarnation + 1;
        self.stats.refuted += 1;
        if !accusers.is_empty() && self.feels_accused.is_due(now, ACCUSED_EVERY) {
            self.feel(1);
        }
        self.spread_own(now);
        let mut told = accusers.clone();
        if !told.contains(from) {
            told.push(from.clone());
        }
        self.tell(MembershipEvent::Accused { by: accusers, incarnation });
        for to in told {
            if to != self.own.node && self.may_send(now) {
                self.send(&to, PacketMessage::Gossip);
            }
        }
    }
}
