//! A mesh in one process: members, the network between them, and time that goes on when nothing is left to do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_membership::{
    Config, ExchangeContact, ExchangeMessage, GossipMemberRecord, Member, Membership, MembershipEvent,
    MembershipOutput, MembershipStats, NodeId, OwnMember, Time,
};

/// How long a sender over a stream waits until it sends again what was lost; twice as long each time.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// How long an exchange may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// How many packets wait at a member that does nothing; further ones are lost.
const SOCKET: usize = 1000;
/// What UDP, IP and the encryption of QUIC add to a packet, in bytes.
pub(crate) const OVERHEAD: u64 = 28 + 20;

/// Network of the simulation: delay and loss of its packets.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// How long a packet takes.
    pub delay: (Duration, Duration),
    /// Of how many packets one is lost, as a part of all.
    pub loss: f64,
}

pub(crate) struct World {
    pub now: Time,
    pub network: Network,
    pub config: Config,
    members: BTreeMap<NodeId, SimulatedMember>,
    happening: BinaryHeap<Reverse<Happening>>,
    count: u64,
    rng: fastrand::Rng,
    /// Between which groups nothing passes; whoever is in none is in the first.
    groups: BTreeMap<NodeId, u32>,
    /// Links that let nothing through, from and to.
    cut: std::collections::BTreeSet<(NodeId, NodeId)>,
    /// How far whose clock is ahead.
    skews: BTreeMap<NodeId, Duration>,
    /// To and from whom streams pass alone.
    pub streams_alone: std::collections::BTreeSet<NodeId>,
    /// From whom to whom no datagrams pass.
    pub no_datagrams: std::collections::BTreeSet<(NodeId, NodeId)>,
    /// Whether there are addresses that everybody is told of.
    pub has_seeds: bool,
    /// What was found, by whom.
    pub told: Vec<(Time, NodeId, MembershipEvent)>,
    /// A number of all that has happened so far, in its order.
    pub trace: u64,
    pub record_bytes: usize,
    /// What exchanges have sent, in bytes.
    pub exchanged: u64,
}

/// Member of the simulated mesh, live or not.
struct SimulatedMember {
    membership: Membership,
    is_up: bool,
    /// Until when it does nothing.
    paused: Time,
    waiting: Vec<SimulatedEvent>,
    wakes_at: Option<Time>,
    /// Which start this is.
    life: u64,
}

struct Happening {
    at: Time,
    number: u64,
    to: NodeId,
    life: Option<u64>,
    what: SimulatedEvent,
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Happening {}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Happening {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Event that happens to a member of the simulated mesh.
enum SimulatedEvent {
    Wake,
    Packet {
        from: NodeId,
        packet: Vec<u8>,
    },
    /// A packet over a stream, to be answered until then.
    Asked {
        from: NodeId,
        number: u32,
        packet: Vec<u8>,
        until: Time,
    },
    Answered {
        from: NodeId,
        number: u32,
        packet: Vec<u8>,
    },
    Unanswered {
        by: NodeId,
        number: u32,
    },
    Exchanged {
        from: NodeId,
        message: ExchangeMessage,
        until: Time,
    },
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, network: Network) -> Self {
        Self {
            now: Time::ZERO,
            network,
            config,
            members: BTreeMap::new(),
            happening: BinaryHeap::new(),
            count: 0,
            rng: fastrand::Rng::with_seed(seed),
            groups: BTreeMap::new(),
            cut: Default::default(),
            skews: BTreeMap::new(),
            streams_alone: Default::default(),
            no_datagrams: Default::default(),
            has_seeds: true,
            told: Vec::new(),
            trace: 0,
            record_bytes: 120,
            exchanged: 0,
        }
    }

    pub(crate) fn name(number: usize) -> NodeId {
        NodeId::new(&format!("node-{number}")).unwrap()
    }

    /// Starts a member, or starts it again.
    pub(crate) fn start(&mut self, node: &NodeId) {
        let life = self.members.get(node).map_or(0, |place| place.life) + 1;
        let body = Bytes::from(vec![life.to_le_bytes()[0]; self.record_bytes]);
        let record = GossipMemberRecord { instance: self.rng.u64(..), version: 1, body };
        // Clocks differ.
        let skew = Duration::from_secs(self.rng.u64(..600));
        let skew = self.skews.entry(node.clone()).or_insert(skew);
        let unix = Duration::from_secs(1_700_000_000) + self.now + *skew;
        let incarnation = Membership::first_incarnation(unix);
        let own = OwnMember { node: node.clone(), incarnation, record };
        let membership = Membership::new(own, self.config.clone(), self.rng.u64(..), self.now);
        let place = SimulatedMember {
            membership,
            is_up: true,
            paused: Time::ZERO,
            waiting: Vec::new(),
            wakes_at: None,
            life,
        };
        self.members.insert(node.clone(), place);
        self.settle(node);
    }

    /// Ends one at once.
    pub(crate) fn kill(&mut self, node: &NodeId) {
        self.members.get_mut(node).unwrap().is_up = false;
    }

    /// Has one say that it goes; it ends a second later.
    pub(crate) fn leave(&mut self, node: &NodeId) {
        self.members.get_mut(node).unwrap().membership.leave(self.now);
        self.settle(node);
    }

    /// Has one do nothing for so long.
    pub(crate) fn pause(&mut self, node: &NodeId, during: Duration) {
        let until = self.now + during;
        let place = self.members.get_mut(node).unwrap();
        place.paused = place.paused.max(until);
        let life = place.life;
        self.happen(until, node.clone(), Some(life), SimulatedEvent::Wake);
    }

    /// Has nothing pass between those of different groups.
    pub(crate) fn part(&mut self, group: impl Fn(&NodeId) -> u32) {
        self.groups = self.members.keys().map(|node| (node.clone(), group(node))).collect();
    }

    pub(crate) fn heal(&mut self) {
        self.groups.clear();
        self.cut.clear();
    }

    /// Has nothing pass from one to the other.
    pub(crate) fn cut(&mut self, from: &NodeId, to: &NodeId) {
        self.cut.insert((from.clone(), to.clone()));
    }

    pub(crate) fn uncut(&mut self, from: &NodeId, to: &NodeId) {
        self.cut.remove(&(from.clone(), to.clone()));
    }

    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.members.iter().filter(|(_, place)| place.is_up).map(|(node, _)| node.clone()).collect()
    }

    pub(crate) fn view(&self, of: &NodeId) -> &Membership {
        &self.members[of].membership
    }

    /// Who of those that are up, but for itself, has `node` so.
    pub(crate) fn has(&self, node: &NodeId, is: impl Fn(Option<&Member>) -> bool) -> (usize, usize) {
        let others = self.members.iter().filter(|(other, place)| place.is_up && *other != node);
        others.fold((0, 0), |(so, all), (_, place)| {
            let member = place.membership.members().get(node.as_str());
            (so + usize::from(is(member)), all + 1)
        })
    }

    pub(crate) fn stats(&self) -> MembershipStats {
        let mut sum = MembershipStats::default();
        for place in self.members.values() {
            let one = place.membership.stats();
            sum.sent += one.sent;
            sum.sent_bytes += one.sent_bytes;
            sum.refuted += one.refuted;
            sum.probes += one.probes;
            sum.probes_failed += one.probes_failed;
            sum.capped += one.capped;
            sum.implausible += one.implausible;
            sum.malformed += one.malformed;
            sum.late += one.late;
            sum.throttled += one.throttled;
            sum.refused += one.refused;
        }
        sum
    }

    /// How often one of those that `counts` was found dead by somebody.
    pub(crate) fn deaths(&self, counts: impl Fn(&NodeId) -> bool) -> usize {
        let is_death =
            |event: &MembershipEvent| matches!(event, MembershipEvent::Died { node, .. } if counts(node));
        self.told.iter().filter(|(_, _, event)| is_death(event)).count()
    }

    /// Number of events scheduled so far.
    pub(crate) fn steps(&self) -> u64 {
        self.count
    }

    /// Goes on until then.
    pub(crate) fn run_until(&mut self, end: Time) {
        while self.happening.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Some(Reverse(next)) = self.happening.pop() else { break };
            self.now = next.at;
            self.step(next);
        }
        self.now = end;
    }

    pub(crate) fn run(&mut self, during: Duration) {
        self.run_until(self.now + during);
    }

    /// Goes on until it is so, and answers how long that took; `None`: it was not within so long.
    pub(crate) fn run_while(
        &mut self,
        within: Duration,
        mut goes_on: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        const STEP: Duration = Duration::from_millis(10);
        let began = self.now;
        while goes_on(self) {
            if self.now - began >= within {
                return None;
            }
            self.run(STEP);
        }
        Some(self.now - began)
    }

    fn step(&mut self, next: Happening) {
        let Happening { to, life, what, .. } = next;
        let Some(place) = self.members.get_mut(&to) else { return };
        if !place.is_up || life.is_some_and(|life| life != place.life) {
            return;
        }
        if place.paused > self.now {
            if place.waiting.len() < SOCKET && !matches!(what, SimulatedEvent::Wake) {
                place.waiting.push(what);
            }
            return;
        }
        let waited = std::mem::take(&mut place.waiting);
        for what in waited.into_iter().chain([what]) {
            self.trace = self.trace.rotate_left(7) ^ (self.now.as_nanos() as u64) ^ self.count;
            self.take(&to, what);
        }
        self.settle(&to);
    }

    fn take(&mut self, to: &NodeId, what: SimulatedEvent) {
        let now = self.now;
        let Some(place) = self.members.get_mut(to) else { return };
        let membership = &mut place.membership;
        match what {
            SimulatedEvent::Wake => {
                if place.wakes_at.is_some_and(|at| at <= now) {
                    place.wakes_at = None;
                }
                membership.advance(now);
            }
            SimulatedEvent::Packet { from, packet } => {
                let _ = membership.receive(now, &from, &packet);
            }
            SimulatedEvent::Asked { from, number, packet, until } => {
                let Ok(answer) = membership.answer(now, &from, &packet) else { return };
                let Some(delay) = self.stream(to, &from).filter(|delay| now + *delay <= until) else {
                    return;
                };
                self.happen(
                    now + delay,
                    from,
                    None,
                    SimulatedEvent::Answered { from: to.clone(), number, packet: answer },
                );
            }
            SimulatedEvent::Answered { from, number, packet } => {
                let _ = membership.receive(now, &from, &packet);
                membership.reached(now, &from, number, true);
            }
            // Of one that was answered nothing is heard again.
            SimulatedEvent::Unanswered { by, number } => membership.reached(now, &by, number, false),
            SimulatedEvent::Exchanged { from, message, until } => {
                let bytes = message.encode();
                if !membership.may_exchange(now, &from, bytes.len()) {
                    return;
                }
                let mut message = ExchangeMessage::decode(&bytes).unwrap();
                while let Some(part) = message.part() {
                    membership.take_exchange(now, &from, part);
                }
                if let Some(answer) = membership.take_exchange(now, &from, message) {
                    self.send_exchange(to, &from, answer, until);
                }
            }
        }
    }

    /// Does what a member wants done.
    fn settle(&mut self, node: &NodeId) {
        while let Some(output) = self.members.get_mut(node).and_then(|place| place.membership.poll()) {
            match output {
                MembershipOutput::Send { to, packet } => self.send(node, to, packet),
                MembershipOutput::Reach { node: to, number, packet, within } => {
                    self.reach(node, to, (number, packet), within);
                }
                MembershipOutput::Exchange { with } => self.exchange(node, with),
                MembershipOutput::Measured { .. } => {}
                MembershipOutput::Event(event) => self.told.push((self.now, node.clone(), event)),
            }
        }
        let Some(place) = self.members.get_mut(node) else { return };
        let Some(next) = place.membership.wakes_at() else { return };
        if place.wakes_at.is_none_or(|at| next < at) {
            place.wakes_at = Some(next);
            let (at, life) = (next.max(self.now), place.life);
            self.happen(at, node.clone(), Some(life), SimulatedEvent::Wake);
        }
    }

    fn happen(&mut self, at: Time, to: NodeId, life: Option<u64>, what: SimulatedEvent) {
        self.count += 1;
        self.happening.push(Reverse(Happening { at, number: self.count, to, life, what }));
    }

    fn passes(&self, from: &NodeId, to: &NodeId) -> bool {
        let group = |node| self.groups.get(node).copied().unwrap_or(0);
        group(from) == group(to) && (self.cut.is_empty() || !self.cut.contains(&(from.clone(), to.clone())))
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = self.network.delay;
        least + (most - least).mul_f64(self.rng.f64())
    }

    fn send(&mut self, from: &NodeId, to: NodeId, packet: Vec<u8>) {
        let (is_lost, delay) = (self.rng.f64() < self.network.loss, self.delay());
        let is_blocked = self.streams_alone.contains(from)
            || self.streams_alone.contains(&to)
            || self.no_datagrams.contains(&(from.clone(), to.clone()));
        if !is_lost && !is_blocked && self.passes(from, &to) {
            self.happen(self.now + delay, to, None, SimulatedEvent::Packet { from: from.clone(), packet });
        }
    }

    /// Has a packet come to somebody that the sender has not made by the rules.
    pub(crate) fn deliver(&mut self, from: &NodeId, to: &NodeId, packet: Vec<u8>) {
        let at = self.now + self.delay();
        self.happen(at, to.clone(), None, SimulatedEvent::Packet { from: from.clone(), packet });
    }

    /// How long it takes over a stream until it is there; `None`: it never is.
    fn stream(&mut self, from: &NodeId, to: &NodeId) -> Option<Duration> {
        if !self.passes(from, to) || !self.passes(to, from) {
            return None;
        }
        let mut delay = self.delay();
        let mut again = RETRANSMIT;
        while self.rng.f64() < self.network.loss {
            delay += again;
            again *= 2;
        }
        Some(delay)
    }

    fn reach(&mut self, from: &NodeId, to: NodeId, (number, packet): (u32, Vec<u8>), within: Duration) {
        let until = self.now + within;
        let life = self.members.get(from).map(|place| place.life);
        if let Some(delay) = self.stream(from, &to) {
            let asked = SimulatedEvent::Asked { from: from.clone(), number, packet, until };
            self.happen(self.now + delay, to.clone(), None, asked);
        }
        // Now and then nothing is said of it at all.
        if self.rng.u8(..) > 25 {
            self.happen(until, from.clone(), life, SimulatedEvent::Unanswered { by: to, number });
        }
    }

    fn exchange(&mut self, from: &NodeId, with: ExchangeContact) {
        let to = match with {
            ExchangeContact::Member(node) => node,
            // The first two that are up are those that everybody is told of.
            ExchangeContact::Seed if !self.has_seeds => return,
            ExchangeContact::Seed => {
                let seeds: Vec<_> = self.up().into_iter().filter(|node| node != from).take(2).collect();
                let Some(seed) = self.rng.choice(seeds) else { return };
                seed
            }
        };
        let Some(place) = self.members.get(from) else { return };
        let message = place.membership.begin_exchange();
        self.send_exchange(from, &to, message, self.now + EXCHANGE_WITHIN);
    }

    fn send_exchange(&mut self, from: &NodeId, to: &NodeId, message: ExchangeMessage, until: Time) {
        let bytes = message.encode().len() as u64;
        if let Some(delay) = self.stream(from, to).filter(|delay| self.now + *delay <= until) {
            self.exchanged += bytes + OVERHEAD * 2;
            self.happen(
                self.now + delay,
                to.clone(),
                None,
                SimulatedEvent::Exchanged { from: from.clone(), message, until },
            );
        }
    }
}
