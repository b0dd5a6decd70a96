//! Gossip: drives the membership of this node, over datagrams and calls of the mesh transport.

pub mod gossip_health;
pub mod metrics;
mod outbound;
pub mod reach;
mod record;
#[cfg(test)]
mod reload_test;
mod seeds;
mod story;
mod tell;
mod unheard_nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_host::live::Live;
use omnirelay_membership::{
    Config, ExchangeContact, ExchangeMessage, GossipMemberRecord, MalformedPacket, Member, MemberStatus,
    Membership, MembershipEvent, MembershipOutput, NodeId, OwnMember, Time,
};
use omnirelay_node::transport::{NodeLocation, NodeTransport};
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::MemberRecord;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::metrics::{GossipDirection, GossipMetrics};
pub use record::{GossipRecord, RecordTooLarge};
pub use seeds::GossipSeeds;
use story::MemberHistory;
pub use story::{MemberEvent, MemberEventKind};
use unheard_nodes::UnheardNodes;

/// How much waits to be sent over calls; what does not fit is dropped, as a datagram may be.
const JOBS_MAX: usize = 512;
/// How many changes wait to be told; further ones are counted and not told.
const TOLD_MAX: usize = 1024;

/// How long a node that leaves waits at most until that was passed on.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether somebody is registered by now of whom only the name was known, or nothing.
const STRANGERS_EVERY: Duration = Duration::from_secs(2);

/// Reason why a message of an exchange is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeRefusal {
    #[error("this node does not gossip yet")]
    Silent,
    #[error("the caller has sent more in exchanges than a node may, or more at a time")]
    TooMuch,
    #[error(transparent)]
    Malformed(#[from] MalformedPacket),
}

/// Change of the membership, and the note of it in the history of the member.
type ChangeNote = (MembershipEvent, Option<MemberEvent>);

/// Membership by gossip, of one node.
pub struct Gossip {
    node: NodeId,
    config: Live<Config>,
    /// How others are called.
    pub transport: Arc<NodeTransport>,
    metrics: Arc<GossipMetrics>,
    /// The moment that times of the membership are counted from.
    zero: Instant,
    running: Mutex<RunningMembership>,
    woken: Notify,
    seeds: GossipSeeds,
    jobs: mpsc::Sender<MembershipOutput>,
    waiting: Mutex<Option<mpsc::Receiver<MembershipOutput>>>,
    tells: mpsc::Sender<ChangeNote>,
    told: Mutex<Option<mpsc::Receiver<ChangeNote>>>,
    /// Who is said to have started again by others alone, until that is found to be so or not.
    restarted: Mutex<BTreeSet<NodeId>>,
    /// Another daemon that has the id of this node: where it says that it is, and when it was heard of.
    rival: Mutex<Option<(String, Instant)>>,
    /// Rises with each change that others are told of.
    changes: watch::Sender<u64>,
}

/// Membership of this node while it gossips.
#[derive(Default)]
struct RunningMembership {
    /// `None`: the node is nobody yet, or gossips no more.
    member: Option<Membership>,
    /// The incarnation in which it has gossiped before; 0: it has not.
    ended: u64,
    /// When the driver wakes up by itself.
    wakes_at: Option<Time>,
    story: MemberHistory,
}

/// Health of a member, as this node knows it by gossip.
#[derive(Clone, Debug)]
pub struct MemberHealth {
    pub status: MemberStatus,
    /// How long it has been so here.
    pub age: Duration,
    /// How long ago something came from it; `None`: it was never heard here.
    pub heard: Option<Duration>,
    pub rtt: Option<Duration>,
    /// How unwell it says that it is; 0 is well.
    pub unwell: u8,
    /// Who does not reach it, while it is a suspect; whoever has found it dead.
    pub by: Vec<String>,
    pub incarnation: u64,
    pub flaps: u32,
    /// Others answer for it, and neither a ping nor a stream of this node is answered.
    pub is_through_others: bool,
    /// What it has said itself; `None`: others alone have told of it.
    said: Option<Bytes>,
    /// What is passed on of it: others may have made it up.
    claimed: Bytes,
}

impl MemberHealth {
    /// `deaf`: this node, if it hears nobody: whoever is alive as far as it knows may be gone.
    fn of(member: &Member, now: Time, deaf: Option<&NodeId>) -> Self {
        let is_doubted = deaf.is_some() && member.shown() == MemberStatus::Alive;
        let by =
            if is_doubted { deaf.into_iter().collect() } else { member.accusers.iter().collect::<Vec<_>>() };
        Self {
            status: if is_doubted { MemberStatus::Suspect } else { member.shown() },
            age: now.saturating_sub(member.since),
            heard: member.heard.map(|heard| now.saturating_sub(heard)),
            rtt: member.rtt,
            unwell: member.health,
            by: by.into_iter().map(|by| by.as_str().to_owned()).collect(),
            incarnation: member.incarnation,
            flaps: member.flaps,
            is_through_others: member.is_through_others,
            said: member.said().map(|record| record.body.clone()),
            claimed: member.record.body.clone(),
        }
    }

    /// Of the node itself, as others hear of it.
    fn of_own(member: &Membership, now: Time) -> Self {
        Self {
            status: MemberStatus::Alive,
            age: now,
            heard: Some(Duration::ZERO),
            rtt: None,
            unwell: member.health(),
            by: Vec::new(),
            incarnation: member.own().incarnation,
            flaps: 0,
            is_through_others: false,
            said: Some(member.own().record.body.clone()),
            claimed: member.own().record.body.clone(),
        }
    }

    /// Record in which the member describes itself; `None`: others alone have told of it so far, or it cannot be read.
    pub fn record(&self) -> Option<MemberRecord> {
        record::read(self.said.as_ref()?)
    }
}

impl Gossip {
    /// Of the node with this id; it is silent until [`Self::begin`], and from [`Self::end`] on. `transport` is called once, with a weak
    /// reference to the gossip that is being made, and makes what hands datagrams to it.
    pub fn new(
        node: NodeId,
        config: impl Into<Live<Config>>,
        transport: impl FnOnce(&Weak<Self>) -> Arc<NodeTransport>,
        seeds: GossipSeeds,
        metrics: Arc<GossipMetrics>,
    ) -> Arc<Self> {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let (tells, told) = mpsc::channel(TOLD_MAX);
        Arc::new_cyclic(|gossip| Self {
            node,
            config: config.into(),
            transport: transport(gossip),
            metrics,
            zero: Instant::now(),
            running: Mutex::default(),
            woken: Notify::new(),
            seeds,
            jobs,
            waiting: Mutex::new(Some(waiting)),
            tells,
            told: Mutex::new(Some(told)),
            restarted: Mutex::default(),
            rival: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    /// Number of members to whom news is passed on each time; 0 while this node does not gossip.
    pub fn fanout(&self) -> u64 {
        self.running.lock().member.as_ref().map_or(0, |member| member.config().fanout as u64)
    }

    /// Number of packets that were sent and taken in since the start.
    pub fn messages(&self) -> u64 {
        self.metrics.messages()
    }

    /// The id of this node.
    pub fn node_id(&self) -> &str {
        self.node.as_str()
    }

    fn now(&self) -> Time {
        self.zero.elapsed()
    }

    /// Begins, as a start of the node that no other is equal to.
    ///
    /// # Errors
    /// [`RecordTooLarge`].
    pub fn begin(&self, says: &GossipRecord, unix: Duration, seed: u64) -> Result<(), RecordTooLarge> {
        let mut running = self.running.lock();
        if running.member.is_some() {
            return Ok(());
        }
        let config = self.config.get();
        let body = says.body(&self.node, 1, &config)?;
        let record = GossipMemberRecord { instance: seed, version: 1, body };
        let incarnation = Membership::first_incarnation(unix).max(running.ended + 1);
        let own = OwnMember { node: self.node.clone(), incarnation, record };
        running.member = Some(Membership::new(own, config, seed, self.now()));
        running.story.note_changed(&self.node);
        let count = running.story.count;
        drop(running);
        self.woken.notify_one();
        self.note_count(count);
        Ok(())
    }

    /// Says that this node goes, gives that the time to be heard, and forgets all members. It may begin again.
    pub async fn end(&self) {
        self.leave().await;
        self.measure();
        let mut running = self.running.lock();
        let Some(member) = running.member.take() else { return };
        running.ended = member.own().incarnation;
        running.wakes_at = None;
        let known = member.members().iter().map(|(node, _)| node).chain([&self.node]);
        running.story.begin_anew(known);
        let count = running.story.count;
        drop(running);
        self.restarted.lock().clear();
        *self.rival.lock() = None;
        self.metrics.measure_none();
        self.note_count(count);
    }

    /// Says something else of this node, if it is something else.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; what was said before is said on then.
    pub fn say(&self, says: &GossipRecord) -> Result<(), RecordTooLarge> {
        let said = self.step(|member, now| {
            let GossipMemberRecord { version, ref body, .. } = member.own().record;
            let config = self.config.get();
            if says.body(&self.node, version, &config)? == *body {
                return Ok(());
            }
            let body = says.body(&self.node, version + 1, &config)?;
            member.set_body(now, body).map_err(|error| RecordTooLarge(error.0))
        });
        said.unwrap_or(Ok(()))
    }

    /// Says that this node goes, and gives that the time to be heard.
    pub async fn leave(&self) {
        let others = self.step(|member, now| {
            member.leave(now);
            member.members().live()
        });
        if others.is_some_and(|others| others > 0) {
            tokio::time::sleep((self.config.get().gossip_interval * 2).min(LEAVES_WITHIN)).await;
        }
    }

    /// Takes a datagram of a node that has proven to be that.
    pub fn receive(&self, from: &str, packet: &[u8]) {
        let Ok(from) = NodeId::new(from) else { return };
        let taken = self.step(|member, now| member.receive(now, &from, packet));
        self.count_taken(packet.len(), taken.as_ref());
    }

    /// Takes a packet that came by a call, and answers it if that is asked; `None`: this node does not gossip yet.
    ///
    /// # Errors
    /// [`MalformedPacket`].
    pub fn deliver(
        &self,
        from: &NodeId,
        packet: &[u8],
        answers: bool,
    ) -> Option<Result<Vec<u8>, MalformedPacket>> {
        let taken = self.step(|member, now| match answers {
            true => member.answer(now, from, packet),
            false => member.receive(now, from, packet).map(|()| Vec::new()),
        });
        self.count_taken(packet.len(), taken.as_ref());
        taken
    }

    fn count_taken<T>(&self, bytes: usize, taken: Option<&Result<T, MalformedPacket>>) {
        if let Some(taken) = taken {
            self.metrics.count(GossipDirection::Inbound, taken.is_ok(), bytes);
        }
    }

    /// Takes a message of an exchange, and answers with the next; `None`: there is nothing more to say. A large one is taken in
    /// parts, between which others have their turn.
    ///
    /// # Errors
    /// [`ExchangeRefusal`].
    pub async fn exchanged(
        &self,
        from: &NodeId,
        message: &[u8],
    ) -> Result<Option<ExchangeMessage>, ExchangeRefusal> {
        let may = self.step(|member, now| member.may_exchange(now, from, message.len()));
        match may {
            None => return Err(ExchangeRefusal::Silent),
            Some(false) => return Err(ExchangeRefusal::TooMuch),
            Some(true) => {}
        }
        let mut message = ExchangeMessage::decode(message)?;
        while let Some(part) = message.part() {
            self.step(|member, now| member.take_exchange(now, from, part));
            tokio::task::yield_now().await;
        }
        self.step(|member, now| member.take_exchange(now, from, message)).ok_or(ExchangeRefusal::Silent)
    }

    /// Has the membership do something, and does what it wants done. `None`: it has not begun.
    fn step<T>(&self, act: impl FnOnce(&mut Membership, Time) -> T) -> Option<T> {
        let now = self.now();
        let mut running = self.running.lock();
        let RunningMembership { member, wakes_at, story, .. } = &mut *running;
        let member = member.as_mut()?;
        let done = act(member, now);
        let (mut outputs, mut followed) = (Vec::new(), Vec::new());
        while let Some(output) = member.poll() {
            match output {
                MembershipOutput::Event(event) => {
                    match &event {
                        MembershipEvent::Joined { node } if self.seeds.is_known(node.as_str()) => {
                            member.know(node);
                        }
                        // All others may be something else now.
                        MembershipEvent::CutOff | MembershipEvent::InTouch => {
                            story.note_all(member.members().iter());
                        }
                        _ => {}
                    }
                    let incarnation = |of: &NodeId| {
                        member.members().get(of.as_str()).map_or(0, |member| member.incarnation)
                    };
                    let chapter = story.note(&self.node, &event, incarnation);
                    if Self::has_to_be_followed(&event) {
                        followed.push(event.clone());
                    }
                    self.tell(event, chapter);
                }
                output => outputs.push(output),
            }
        }
        let wakes = member.wakes_at();
        if wakes.is_some() && wakes_at.is_none_or(|at| wakes < Some(at)) {
            *wakes_at = wakes;
            self.woken.notify_one();
        }
        let count = story.count;
        drop(running);
        self.note_count(count);
        followed.iter().for_each(|event| self.follow(event));
        outputs.into_iter().for_each(|output| self.perform(output));
        Some(done)
    }

    /// Tells those who wait of so many changes. Another one may have told of more already.
    fn note_count(&self, count: u64) {
        self.changes.send_if_modified(|told| {
            let is_news = *told < count;
            *told = count.max(*told);
            is_news
        });
    }

    fn tell(&self, event: MembershipEvent, chapter: Option<MemberEvent>) {
        if self.tells.try_send((event, chapter)).is_err() {
            self.metrics.count_untold();
        }
    }

    /// Does what is due, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let waiting = self.waiting.lock().take();
        let Some(waiting) = waiting else { return };
        tokio::join!(self.drive(), outbound::run(self.clone(), waiting));
    }

    /// Has the membership want what is due.
    async fn drive(&self) {
        tokio::join!(self.wake(), self.know_registered(), self.follow_config(), self.ask_further_seeds());
    }

    /// Goes by what is configured.
    async fn follow_config(&self) {
        let mut config = self.config.clone();
        loop {
            let current = config.get();
            self.step(|member, now| member.configure(now, current));
            config.replaced().await;
        }
    }

    /// Notes who is registered by now of whom only the name was known, and exchanges with whoever nobody told of.
    async fn know_registered(&self) {
        let mut unheard = UnheardNodes::default();
        loop {
            tokio::time::sleep(STRANGERS_EVERY).await;
            let alive = self.seeds.alive();
            let unknown = self.step(|member, _| {
                let known = member.strangers().filter(|node| self.seeds.is_known(node.as_str()));
                let known: Vec<_> = known.cloned().collect();
                known.iter().for_each(|node| member.know(node));
                let is_unknown = |node: &&String| member.members().get(node.as_str()).is_none();
                alive.iter().filter(is_unknown).cloned().collect::<BTreeSet<_>>()
            });
            // `None`: it does not gossip yet, and everybody is unknown.
            let unknown = unknown.unwrap_or_default();
            let asked = unheard.ask(&unknown, alive.len() + 1, fastrand::f64);
            if let Some(node) = asked.and_then(|node| NodeId::new(&node).ok()) {
                self.perform(MembershipOutput::Exchange { with: ExchangeContact::Member(node) });
            }
        }
    }

    async fn wake(&self) {
        loop {
            self.step(Membership::advance);
            let wakes_at = {
                let mut running = self.running.lock();
                let RunningMembership { member, wakes_at, .. } = &mut *running;
                *wakes_at = member.as_ref().and_then(Membership::wakes_at);
                *wakes_at
            };
            let due = async {
                match wakes_at {
                    Some(at) => tokio::time::sleep_until(self.zero + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.woken.notified() => {}
            }
        }
    }

    /// Number of changes so far, and the nodes whose health has changed behind the first `seen` of them.
    pub fn changed_since(&self, seen: u64) -> (u64, Vec<String>) {
        let running = self.running.lock();
        (running.story.count, running.story.changed_since(seen))
    }

    /// The same as soon as there is one.
    pub async fn news_since(&self, seen: u64) -> (u64, Vec<String>) {
        // It lives as long as this.
        let _ = self.changes.subscribe().wait_for(|count| *count > seen).await;
        self.changed_since(seen)
    }

    /// Instance number of this start of the node; 0: it does not gossip yet.
    pub fn instance(&self) -> u64 {
        self.running.lock().member.as_ref().map_or(0, |member| member.own().record.instance)
    }

    /// Differs whenever what is known of anybody may differ, from that of other nodes too.
    pub fn changed(&self) -> String {
        format!("{:x}.{}", self.instance() >> 32, *self.changes.borrow())
    }

    /// Health of all members that are known, this one among them; empty: this node does not gossip.
    pub fn members(&self) -> BTreeMap<String, MemberHealth> {
        let now = self.now();
        let running = self.running.lock();
        let Some(member) = &running.member else { return BTreeMap::new() };
        let deaf = self.is_deaf(member);
        let others = member.members().iter().map(|(node, other)| (node, MemberHealth::of(other, now, deaf)));
        let all = others.chain([(&self.node, MemberHealth::of_own(member, now))]);
        all.map(|(node, health)| (node.as_str().to_owned(), health)).collect()
    }

    /// Health of a member; `None`: nothing is known of it, or this node does not gossip.
    pub fn health(&self, node: &str) -> Option<MemberHealth> {
        let now = self.now();
        let running = self.running.lock();
        let member = running.member.as_ref()?;
        match node == self.node.as_str() {
            true => Some(MemberHealth::of_own(member, now)),
            false => {
                let deaf = self.is_deaf(member);
                member.members().get(node).map(|other| MemberHealth::of(other, now, deaf))
            }
        }
    }

    /// This node, if it hears nobody.
    fn is_deaf(&self, member: &Membership) -> Option<&NodeId> {
        member.is_cut_off().then_some(&self.node)
    }

    /// Whether this node gossips already.
    pub fn has_begun(&self) -> bool {
        self.running.lock().member.is_some()
    }

    /// Number of claims heard that nobody can have made: of incarnations of more than a day ahead.
    pub fn implausible(&self) -> u64 {
        self.running.lock().member.as_ref().map_or(0, |member| member.stats().implausible)
    }

    /// Whether nobody else is known to live.
    pub fn is_alone(&self) -> bool {
        self.running.lock().member.as_ref().is_none_or(|member| member.members().live() == 0)
    }

    /// History of a member: what has happened to it, the oldest first.
    pub fn story(&self, node: &str) -> Vec<MemberEvent> {
        self.running.lock().story.of(node)
    }

    /// Locations at which the mesh port of a live member may be: as it has said itself, and as others say, who may have
    /// made that up. Whoever answers there has to show its certificate.
    pub fn located(&self, node: &str) -> Vec<NodeLocation> {
        let Some(health) = self.health(node).filter(|health| health.status.is_live()) else {
            return Vec::new();
        };
        let said = [health.record(), record::read(&health.claimed)].into_iter().flatten();
        let said = said.filter(|record| !record.endpoint.is_empty());
        said.map(|record| NodeLocation { mesh: record.endpoint, http3: record.http3_support }).collect()
    }

    /// Location at which a seed was found to be that node.
    pub fn learned(&self, node: &str) -> Option<NodeLocation> {
        self.seeds.learned(node)
    }

    /// Sets the metrics that are not counted as things happen.
    pub fn measure(&self) {
        let running = self.running.lock();
        if let Some(member) = &running.member {
            self.metrics.measure(member);
        }
    }
}
