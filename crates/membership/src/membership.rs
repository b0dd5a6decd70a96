//! The member itself: what comes in and what goes out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::Time;
use crate::budget::{Budgets, WorkKind};
use crate::config::Config;
use crate::event::{ExchangeContact, MembershipEvent, MembershipOutput, MembershipStats};
use crate::members::{Member, Members};
use crate::packet::{MalformedPacket, Packet, PacketMessage, UPDATES_MAX};
use crate::probe::{Probe, RelayedPing};
use crate::queue::UpdateQueue;
use crate::record::{GossipMemberRecord, MemberClaim, MemberUpdate, NodeId, RECORD_BYTES_MAX, TooLarge};
use crate::strangers::UpdateChannel;
use crate::timers::{MinimumInterval, Timer, Timers};

/// How much of a packet is kept for its head.
const HEAD_BYTES: usize = 128;
/// How far before its time an exchange may be, and how far after: not all at once.
const EXCHANGE_JITTER: f64 = 0.2;
/// How soon somebody who knows nobody tries again at first, and at last.
const ALONE_AGAIN: Duration = Duration::from_millis(50);
const ALONE_AGAIN_MAX: Duration = Duration::from_secs(1);
/// How many are told directly by somebody who goes: a leave counts from the member itself.
const LEAVE_TOLD_MAX: usize = 256;
/// After how many intervals without a word of anybody a member is cut off.
const SILENT_INTERVALS: u32 = 3;
/// How many exchanges go by until one is with a seed, whoever is known.
const SEED_EVERY: u64 = 4;

/// Identity of this member: its name, incarnation and record.
#[derive(Clone, Debug)]
pub struct OwnMember {
    pub node: NodeId,
    /// Greater than at any start before.
    pub incarnation: u64,
    pub record: GossipMemberRecord,
}

/// One member's view, and its part in everybody's.
pub struct Membership {
    pub(crate) config: Config,
    pub(crate) own: OwnMember,
    pub(crate) has_left: bool,
    pub(crate) members: Members,
    pub(crate) queue: UpdateQueue,
    pub(crate) timers: Timers,
    pub(crate) probes: BTreeMap<u32, Probe>,
    pub(crate) relayed: BTreeMap<u32, RelayedPing>,
    number: u32,
    /// How unwell this member is: 0 is well.
    pub(crate) health: u8,
    pub(crate) rng: fastrand::Rng,
    pub(crate) outputs: VecDeque<MembershipOutput>,
    pub(crate) stats: MembershipStats,
    pub(crate) budgets: Budgets,
    /// When anybody was heard the last time, and whether that is too long ago.
    heard: Time,
    is_cut_off: bool,
    /// When it began, and the incarnation it began with: nobody else's can be far from that.
    begun: (Time, u64),
    gossips: bool,
    exchanges: u64,
    /// Until when packets are counted, and how many there were.
    window: (Time, usize),
    /// Asking somebody out of turn for all that they know.
    asks: MinimumInterval,
    /// Feeling worse for an accusation.
    pub(crate) feels_accused: MinimumInterval,
    /// Telling of somebody who has the name of this member.
    pub(crate) tells_of_conflict: MinimumInterval,
    /// Telling others directly that it goes.
    tells_of_leave: MinimumInterval,
}

impl Membership {
    /// One who knows nobody yet. The same `seed` has it choose the same.
    pub fn new(own: OwnMember, config: Config, seed: u64, now: Time) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut timers = Timers::default();
        timers.set(now, Timer::Exchange);
        timers.set(now + config.interval.mul_f64(rng.f64()), Timer::Round);
        timers.set(now + config.interval * SILENT_INTERVALS, Timer::Silence);
        let budgets = Budgets::new(config.members_max, config.strangers_max, now);
        let begun = (now, own.incarnation);
        let mut member = Self {
            config,
            own,
            has_left: false,
            members: Members::default(),
            queue: UpdateQueue::default(),
            timers,
            probes: BTreeMap::new(),
            relayed: BTreeMap::new(),
            // What was sent before by a member of this name may be answered still.
            number: u32::try_from(seed >> 32).unwrap_or_default(),
            health: 0,
            rng,
            outputs: VecDeque::new(),
            stats: MembershipStats::default(),
            budgets,
            heard: now,
            is_cut_off: false,
            begun,
            gossips: false,
            exchanges: 0,
            window: (now, 0),
            asks: MinimumInterval::default(),
            feels_accused: MinimumInterval::default(),
            tells_of_conflict: MinimumInterval::default(),
            tells_of_leave: MinimumInterval::default(),
        };
        member.spread_own(now);
        member
    }

    /// The incarnation that somebody who starts at this Unix time has at least. It leaves room for a million answers to
    /// accusations in each second.
    pub fn first_incarnation(unix: Duration) -> u64 {
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX >> 10) << 10
    }

    /// Number of pending timers, updates, probes and budgets; bounded by how many members there are.
    pub fn pending(&self) -> usize {
        let under_way = self.probes.len() + self.relayed.len();
        self.timers.len() + self.queue.len() + self.members.to_probe() + self.budgets.len() + under_way
    }

    /// Takes the next output that is to be done, until there is none.
    pub fn poll(&mut self) -> Option<MembershipOutput> {
        self.outputs.pop_front()
    }

    /// Instant at which [`Self::advance`] is to be called at the latest.
    pub fn wakes_at(&self) -> Option<Time> {
        self.timers.first()
    }

    pub fn own(&self) -> &OwnMember {
        &self.own
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Number of updates that are still passed on.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Health score of this member: how unwell it is, 0 to [`Config::health_max`].
    pub fn health(&self) -> u8 {
        self.health
    }

    pub fn stats(&self) -> MembershipStats {
        self.stats
    }

    /// Whether others are known to live, and none of them was heard for a while.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// The names that are known and are nobody so far; see [`Self::know`].
    pub fn strangers(&self) -> impl Iterator<Item = &NodeId> {
        self.members.strangers.names()
    }

    /// Notes that a name is that of somebody, as the caller knows from elsewhere.
    pub fn know(&mut self, node: &NodeId) {
        if let Some(by) = self.members.prove(node) {
            self.budgets.give_back(&by, WorkKind::Strangers, 1);
        }
    }

    /// Configuration that it goes by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Goes by another configuration, which has to pass [`Config::check`]. What recurs comes as soon as either has it; probes under
    /// way end when they were to, and suspicions at the later end of both.
    pub fn configure(&mut self, now: Time, config: Config) {
        if config == self.config {
            return;
        }
        // Whether it is late is judged by what its timers were set by.
        self.notice(now);
        let counts = |of: &Config| (of.members_max, of.strangers_max);
        if counts(&config) != counts(&self.config) {
            self.budgets = Budgets::new(config.members_max, config.strangers_max, now);
        }
        self.config = config;
        self.health = self.health.min(self.config.health_max);
        self.window.0 = self.window.0.min(now + self.config.gossip_interval);
        // That nobody was heard for long says nothing where others were probed as seldom.
        self.heard = now;
        self.timers.set(now + self.config.interval * SILENT_INTERVALS, Timer::Silence);
        if !self.has_left {
            self.timers.set(now + self.config.interval * self.patience(), Timer::Round);
            self.timers.set(now + self.config.exchange_interval, Timer::Exchange);
        }
        if self.gossips {
            self.timers.set(now + self.config.gossip_interval, Timer::Gossip);
        }
        self.extend_suspicions(now);
    }

    /// Says something else of itself from now on.
    ///
    /// # Errors
    /// When it is too large; what was said before is said on then.
    pub fn set_body(&mut self, now: Time, body: Bytes) -> Result<(), TooLarge> {
        if body.len() > RECORD_BYTES_MAX {
            return Err(TooLarge(body.len()));
        }
        self.notice(now);
        if self.own.record.body != body {
            self.own.record.body = body;
            self.own.record.version += 1;
            self.spread_own(now);
        }
        Ok(())
    }

    /// Says that it goes. Whoever drives it goes on for a second or so, so that it is heard.
    pub fn leave(&mut self, now: Time) {
        self.notice(now);
        self.has_left = true;
        self.tell_leave(now);
    }

    /// Tells others directly that it goes, and has it passed on; directly once in a while at most.
    pub(crate) fn tell_leave(&mut self, now: Time) {
        self.spread_own(now);
        if !self.tells_of_leave.is_due(now, self.config.gossip_interval) {
            return;
        }
        for to in self.members.some(LEAVE_TOLD_MAX, &mut self.rng, |_| true) {
            // Each of them is told, however often it was passed on already.
            self.spread_own(now);
            self.send(&to, PacketMessage::Gossip);
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Time) {
        self.notice(now);
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Round => self.round(now),
                Timer::Gossip => self.gossip(now),
                Timer::Exchange => self.exchange(now),
                Timer::Late(number) => self.ping_is_late(now, number),
                Timer::Over(number) => self.probe_is_over(now, number),
                Timer::Nack(number) => self.nack(number),
                Timer::Suspicion(node) => self.suspicion_is_over(now, &node),
                Timer::Confirm(node) => self.confirm(now, &node),
                Timer::Believe(node) => self.believe_in_time(now, &node),
                Timer::Silence => self.silence(now),
            }
        }
    }

    /// Notices that it was asleep, or is starved: what others did not do meanwhile says nothing of them. Before anything that has
    /// come meanwhile is taken.
    pub(crate) fn notice(&mut self, now: Time) {
        let late = self.timers.first().map_or(Time::ZERO, |first| now.saturating_sub(first));
        if late <= self.config.interval / 2 {
            return;
        }
        self.stats.late += 1;
        self.feel(1);
        self.timers.delay(late);
        self.probes.values_mut().for_each(|probe| probe.delay(late));
        self.members.delay(late);
        self.heard += late;
    }

    /// Notes that somebody was heard who has proven to be that.
    pub(crate) fn note_heard(&mut self, now: Time, from: &NodeId) {
        self.heard = now;
        if std::mem::take(&mut self.is_cut_off) {
            self.tell(MembershipEvent::InTouch);
        }
        self.know(from);
        if let Some(member) = self.members.get_mut(from) {
            member.heard = Some(now);
        }
    }

    /// Looks whether anybody was heard lately. Others are probed all the time, and so is this one.
    fn silence(&mut self, now: Time) {
        let after = self.config.interval * SILENT_INTERVALS;
        let is_silent = now.saturating_sub(self.heard) >= after && self.members.live() > 0;
        if is_silent && !std::mem::replace(&mut self.is_cut_off, true) {
            self.tell(MembershipEvent::CutOff);
        }
        let at = if is_silent { now + after } else { self.heard.max(now.saturating_sub(after / 2)) + after };
        self.timers.set(at, Timer::Silence);
    }

    /// Takes a packet of a member who has proven to be that.
    ///
    /// # Errors
    /// Why it is none; nothing has changed then but a count.
    pub fn receive(&mut self, now: Time, from: &NodeId, bytes: &[u8]) -> Result<(), MalformedPacket> {
        match self.take(now, from, bytes)? {
            PacketMessage::Ping { number } => self.acknowledge(now, from, number),
            PacketMessage::PingFor { number, target } => self.ping_for(now, from, number, target),
            PacketMessage::Ack { number } => self.acked(now, from, number),
            PacketMessage::Nack { number } => self.nacked(from, number),
            PacketMessage::Gossip => {}
        }
        Ok(())
    }

    /// Takes a packet that has come over a stream, and answers it there.
    ///
    /// # Errors
    /// As of [`Self::receive`].
    pub fn answer(&mut self, now: Time, from: &NodeId, bytes: &[u8]) -> Result<Vec<u8>, MalformedPacket> {
        self.take(now, from, bytes)?;
        Ok(self.packet(from, PacketMessage::Gossip))
    }

    fn take(&mut self, now: Time, from: &NodeId, bytes: &[u8]) -> Result<PacketMessage, MalformedPacket> {
        self.notice(now);
        self.stats.received += 1;
        self.stats.received_bytes += bytes.len() as u64;
        if !self.budgets.take(now, from, WorkKind::Packets, 1) {
            self.stats.throttled += 1;
            return Ok(PacketMessage::Gossip);
        }
        let packet = Packet::decode(bytes).inspect_err(|_| self.stats.malformed += 1)?;
        if *from == self.own.node {
            return Ok(PacketMessage::Gossip);
        }
        self.hear(now, from, &packet);
        self.take_updates(now, from, packet.updates, UpdateChannel::Gossip);
        Ok(packet.message)
    }

    /// Takes what somebody says of others, as far as it may say so much.
    pub(crate) fn take_updates(
        &mut self,
        now: Time,
        from: &NodeId,
        updates: Vec<MemberUpdate>,
        told: UpdateChannel,
    ) {
        for update in updates {
            if !self.budgets.take(now, from, WorkKind::Updates, 1) {
                self.stats.throttled += 1;
                return;
            }
            self.apply(now, from, update, told);
        }
    }

    /// Notes that somebody lives who has sent something, and learns more of whoever is not known as they are by now.
    fn hear(&mut self, now: Time, from: &NodeId, packet: &Packet) {
        let is_plausible = packet.incarnation <= self.incarnation_max(now);
        self.note_heard(now, from);
        let Some(member) = self.members.get_mut(from) else {
            return self.ask(now, from);
        };
        member.health = packet.health;
        let is_newer = packet.incarnation > member.incarnation
            || packet.incarnation == member.incarnation && packet.version > member.record.version;
        if is_newer && is_plausible {
            self.ask(now, from);
        }
    }

    /// Asks somebody who is not known as they are for all that they know. One at a time: they know nearly the same.
    fn ask(&mut self, now: Time, from: &NodeId) {
        if !self.has_left && self.asks.is_due(now, self.config.interval) {
            self.outputs
                .push_back(MembershipOutput::Exchange { with: ExchangeContact::Member(from.clone()) });
        }
    }

    /// Claim of this member about itself.
    pub(crate) fn own_update(&self) -> MemberUpdate {
        let claim = match self.has_left {
            true => MemberClaim::Left,
            false => MemberClaim::Alive(Arc::new(self.own.record.clone())),
        };
        MemberUpdate { node: self.own.node.clone(), incarnation: self.own.incarnation, claim }
    }

    /// Passes on what this member says of itself.
    pub(crate) fn spread_own(&mut self, now: Time) {
        let own = self.own_update();
        self.spread(now, own);
    }

    /// Passes an update on.
    pub(crate) fn spread(&mut self, now: Time, update: MemberUpdate) {
        let is_of_stranger = self.members.get(update.node.as_str()).is_some_and(Member::is_stranger);
        self.queue.put(update, is_of_stranger);
        if !self.gossips {
            self.gossips = true;
            // News that comes together goes on together.
            let soon = self.config.gossip_interval.mul_f64(self.rng.f64() / 2.0);
            self.timers.set(now + soon, Timer::Gossip);
        }
    }

    fn gossip(&mut self, now: Time) {
        // Whoever knows nobody waits for the first who comes.
        self.gossips = !self.queue.is_empty() && self.members.live() > 0;
        if !self.gossips {
            return;
        }
        for to in self.members.some_for_news(self.config.fanout, &mut self.rng) {
            self.send(&to, PacketMessage::Gossip);
        }
        self.timers.set(now + self.config.gossip_interval, Timer::Gossip);
    }

    /// Answers a ping, with news now and then: whoever pings without end takes none from others.
    fn acknowledge(&mut self, now: Time, from: &NodeId, number: u32) {
        let interval = self.config.gossip_interval;
        let member = self.members.get_mut(from);
        let has_news = member.is_some_and(|member| member.hears_news.is_due(now, interval));
        let packet =
            self.packet_with(from, PacketMessage::Ack { number }, if has_news { UPDATES_MAX - 1 } else { 0 });
        self.outputs.push_back(MembershipOutput::Send { to: from.clone(), packet });
    }

    /// Whether one more packet may be sent now that somebody else has made this member send.
    pub(crate) fn may_send(&mut self, now: Time) -> bool {
        if now >= self.window.0 {
            self.window = (now + self.config.gossip_interval, 0);
        }
        self.window.1 += 1;
        let may = self.window.1 <= self.config.outbound_max;
        self.stats.capped += u64::from(!may);
        may
    }

    /// Sends a packet with what there is to pass on.
    pub(crate) fn send(&mut self, to: &NodeId, message: PacketMessage) {
        let packet = self.packet(to, message);
        self.outputs.push_back(MembershipOutput::Send { to: to.clone(), packet });
    }

    /// A packet with what there is to pass on; first of all what is said of whoever gets it, and what this member says of itself where it
    /// was not told that by this member itself.
    pub(crate) fn packet(&mut self, to: &NodeId, message: PacketMessage) -> Vec<u8> {
        self.packet_with(to, message, UPDATES_MAX - 1)
    }

    fn packet_with(&mut self, to: &NodeId, message: PacketMessage, news_max: usize) -> Vec<u8> {
        let mut updates = Vec::new();
        let mut left = self.config.packet_bytes_max.saturating_sub(HEAD_BYTES);
        if let Some(accusation) = self.members.get(to.as_str()).and_then(|member| member.accusation(to)) {
            left = left.saturating_sub(accusation.encoded_len());
            updates.push(accusation);
        }
        let is_said = !updates.is_empty();
        let (incarnation, version) = (self.own.incarnation, self.own.record.version);
        let is_probe = matches!(message, PacketMessage::Ping { .. } | PacketMessage::Ack { .. });
        let tells_own = is_probe
            && self.members.get_mut(to).is_some_and(|member| member.is_to_be_told((incarnation, version)));
        if tells_own {
            let own = self.own_update();
            left = left.saturating_sub(own.encoded_len());
            updates.push(own);
        }
        let limit = self.config.retransmits(self.members.live());
        let news_max = news_max.saturating_sub(usize::from(tells_own));
        let without = tells_own.then_some(&self.own.node);
        let news = self.queue.take(left, news_max, limit, self.members.counts(to), without);
        updates.extend(news.into_iter().filter(|update| !is_said || update.node != *to));
        let mut packet = Vec::with_capacity(256);
        Packet { message, incarnation, version, health: self.health, updates }.encode(&mut packet);
        self.stats.sent += 1;
        self.stats.sent_bytes += packet.len() as u64;
        packet
    }

    /// A number that no ping and no stream of this member has had for long.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    pub(crate) fn tell(&mut self, event: MembershipEvent) {
        self.outputs.push_back(MembershipOutput::Event(event));
    }

    /// Feels worse by so much, or better.
    pub(crate) fn feel(&mut self, worse: i16) {
        let health = i16::from(self.health) + worse;
        self.health = u8::try_from(health.max(0)).unwrap_or(u8::MAX).min(self.config.health_max);
    }

    /// Factor by which this member takes longer for everything while it is not well.
    pub(crate) fn patience(&self) -> u32 {
        u32::from(self.health) + 1
    }

    /// The greatest incarnation that anybody can have by now: clocks differ by a day at most.
    pub(crate) fn incarnation_max(&self, now: Time) -> u64 {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let since = now.saturating_sub(self.begun.0);
        self.begun.1.saturating_add(Self::first_incarnation(since + DAY))
    }

    /// Exchanges what is known: with somebody, with somebody who is thought to be dead, and with a seed now and then.
    fn exchange(&mut self, now: Time) {
        if self.has_left {
            return;
        }
        self.forget(now);
        self.exchanges += 1;
        let is_alone = self.members.live() == 0;
        let others =
            self.members.some(1, &mut self.rng, |_| true).into_iter().chain(self.members.dead(&mut self.rng));
        let contacts: Vec<_> = others.take(2).map(ExchangeContact::Member).collect();
        self.outputs.extend(contacts.into_iter().map(|with| MembershipOutput::Exchange { with }));
        if is_alone || self.exchanges.is_multiple_of(SEED_EVERY) {
            self.outputs.push_back(MembershipOutput::Exchange { with: ExchangeContact::Seed });
        }
        let wait = if is_alone {
            let doubled = u32::try_from(self.exchanges).unwrap_or(u32::MAX).min(8);
            (ALONE_AGAIN * 2_u32.pow(doubled - 1)).min(ALONE_AGAIN_MAX).min(self.config.exchange_interval)
        } else {
            self.config.exchange_interval
        };
        let jitter = 1.0 - EXCHANGE_JITTER / 2.0 + self.rng.f64() * EXCHANGE_JITTER;
        self.timers.set(now + wait.mul_f64(jitter), Timer::Exchange);
    }

    /// Forgets who has been gone for long, strangers of whom nothing was heard, and what senders had done long ago.
    fn forget(&mut self, now: Time) {
        let known = self.members.live().saturating_sub(self.members.strangers.len());
        let strange_since = now.saturating_sub(self.config.strange_for(known));
        while let Some(node) = self.members.strangers.older_than(strange_since) {
            self.disbelieve(now, &node);
        }
        if let Some(since) = now.checked_sub(self.config.forget_after) {
            while let Some(node) = self.members.gone_before(since) {
                self.forget_one(&node);
            }
        }
        self.budgets.sweep(now);
    }

    /// Forgets a stranger, and takes it no more for a while.
    pub(crate) fn disbelieve(&mut self, now: Time, node: &NodeId) {
        let incarnation = self.members.get(node.as_str()).map_or(0, |member| member.incarnation);
        self.members.strangers.disbelieve(now, node.clone(), incarnation, self.config.strangers_max);
        self.forget_one(node);
    }

    /// Forgets somebody, and all that was to be done about it.
    pub(crate) fn forget_one(&mut self, node: &NodeId) {
        self.members.forget(node);
        self.queue.remove(node);
        for timer in [Timer::Suspicion, Timer::Confirm, Timer::Believe] {
            self.timers.cancel(&timer(node.clone()));
        }
        self.tell(MembershipEvent::Forgotten { node: node.clone() });
    }
}

#[cfg(test)]
#[path = "membership_test/mod.rs"]
mod membership_test;
