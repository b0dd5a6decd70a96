//! Outbound gossip: datagrams are sent at once, and what takes longer goes by calls, some at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_ok};
use omnirelay_core::text::chain;
use omnirelay_membership::{ExchangeContact, MembershipOutput, NodeId};
use omnirelay_node::transport::NodeLocation;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_transport::carrier::ConnectionProtocol;
use omnirelay_transport::peer::CallPath;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::membership::v1 as pb;
use omnirelay_wire::reasons;
use pb::membership_service_client::MembershipServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tracing::debug;

use super::Gossip;
use super::seeds::GossipSeed;
use crate::metrics::GossipDirection;

/// How many calls are under way at a time, and to one node.
const CALLS_MAX: usize = 256;
const CALLS_EACH_MAX: usize = 8;
/// How long each call of an exchange may take.
const EXCHANGE_WITHIN: Duration = Duration::from_secs(3);
/// How many calls an exchange has at most.
const EXCHANGE_CALLS_MAX: usize = 4;
/// How many exchanges follow each other at most, where one has told of so much that there may be more.
const EXCHANGES_MAX: usize = 6;
/// From how many bytes on an answer is as large as one may be.
const CUT_BYTES: usize = 512 * 1024;
/// How many seeds somebody asks at a time that knows nobody.
const SEEDS_AT_A_TIME: usize = 3;
/// How long a stream over a connection that is there is waited for until another one is opened beside.
const OTHER_AFTER: Duration = Duration::from_millis(150);

/// Does what is to be done by calls.
pub(super) async fn run(gossip: Arc<Gossip>, mut waiting: mpsc::Receiver<MembershipOutput>) {
    let mut calls: JoinSet<Option<NodeId>> = JoinSet::new();
    let mut to: HashMap<NodeId, usize> = HashMap::new();
    loop {
        let job = tokio::select! {
            job = waiting.recv(), if calls.len() < CALLS_MAX => job,
            Some(done) = calls.join_next(), if !calls.is_empty() => {
                if let Some(node) = done.ok().flatten()
                    && let Some(count) = to.get_mut(&node)
                {
                    *count -= 1;
                    if *count == 0 {
                        to.remove(&node);
                    }
                }
                continue;
            }
        };
        let Some(job) = job else { return };
        let gossip = gossip.clone();
        match job {
            MembershipOutput::Send { to: node, packet } => {
                let count = to.entry(node.clone()).or_default();
                if *count >= CALLS_EACH_MAX {
                    gossip.metrics.count(GossipDirection::Outbound, false, 0);
                    continue;
                }
                *count += 1;
                calls.spawn(async move {
                    gossip.deliver_to(&node, packet).await;
                    Some(node)
                });
            }
            MembershipOutput::Reach { node, number, packet, within } => {
                calls.spawn(async move {
                    gossip.reach(&node, number, packet, within).await;
                    None
                });
            }
            MembershipOutput::Exchange { with } => {
                calls.spawn(async move {
                    gossip.exchange(with).await;
                    None
                });
            }
            // Neither takes a call.
            MembershipOutput::Measured { .. } | MembershipOutput::Event(_) => {}
        }
    }
}

impl Gossip {
    /// Does what the membership wants done.
    pub(super) fn perform(&self, output: MembershipOutput) {
        match &output {
            MembershipOutput::Measured { node, rtt } => return self.metrics.observe_rtt(node.as_str(), *rtt),
            MembershipOutput::Send { to, packet } => {
                let sent = self.transport.send_datagram(to.as_str(), packet.clone().into());
                if sent.is_ok() {
                    return self.metrics.count(GossipDirection::Outbound, true, packet.len());
                }
            }
            MembershipOutput::Reach { .. }
            | MembershipOutput::Exchange { .. }
            | MembershipOutput::Event(_) => {}
        }
        if self.jobs.try_send(output).is_err() {
            self.metrics.count(GossipDirection::Outbound, false, 0);
        }
    }

    /// Sends a packet by a call, which opens a connection if there is none.
    async fn deliver_to(&self, to: &NodeId, packet: Vec<u8>) {
        let bytes = packet.len();
        let channel = self.transport.channel(to.as_str(), CallPath::REPEATABLE);
        let delivered = match channel {
            Ok(channel) => call(channel.within(self.config.get().probe_time()), packet, false).await,
            Err(error) => Err(chain(&error)),
        };
        if let Err(error) = &delivered {
            debug!(peer = %to, error, "packet not delivered");
        }
        self.metrics.count(GossipDirection::Outbound, delivered.is_ok(), bytes);
    }

    /// Tries to reach a node over a stream: by the connection that is there, and by another over TCP.
    async fn reach(&self, node: &NodeId, number: u32, packet: Vec<u8>, within: Duration) {
        let (known_answers, other_answers) = (AtomicBool::new(false), AtomicBool::new(false));
        let over_known = async {
            let channel = self.transport.channel(node.as_str(), CallPath::REPEATABLE);
            let channel = channel.map_err(|error| chain(&error))?;
            let answer = call(channel.within(within), packet.clone(), true).await;
            known_answers.fetch_or(answer.is_ok(), Ordering::Relaxed);
            answer
        };
        let over_other = async {
            tokio::time::sleep(OTHER_AFTER.min(within / 2)).await;
            let channel = self.transport.other_channel(node.as_str(), ConnectionProtocol::Http2).await?;
            let answer = call(channel.within(within), packet.clone(), true).await;
            other_answers.fetch_or(answer.is_ok(), Ordering::Relaxed);
            answer
        };
        let either = select_ok([over_known.boxed(), over_other.boxed()]);
        let (answer, rest) = match tokio::time::timeout(within, either).await {
            Ok(Ok((packet, rest))) => (Ok(packet), rest),
            Ok(Err(error)) => (Err(error), Vec::new()),
            Err(_elapsed) => (Err("no answer".to_owned()), Vec::new()),
        };
        let is_answered = answer.is_ok();
        match answer {
            Ok(packet) if packet.is_empty() => {}
            Ok(packet) => self.receive(node.as_str(), &packet),
            Err(error) => debug!(peer = %node, error, "member not reached over a stream"),
        }
        self.metrics.count(GossipDirection::Outbound, is_answered, packet.len());
        self.step(|member, now| member.reached(now, node, number, is_answered));
        if !self.restarted.lock().remove(node) || !other_answers.load(Ordering::Relaxed) {
            return;
        }
        // It is there, and others say that it has started again: the connection to it is of before if it is silent.
        let _ = tokio::time::timeout(within, join_all(rest)).await;
        if !known_answers.load(Ordering::Relaxed) {
            self.transport.reconnect(node.as_str());
        }
    }

    async fn exchange(&self, with: ExchangeContact) {
        match with {
            ExchangeContact::Member(node) => self.exchange_with(&node).await,
            ExchangeContact::Seed => self.exchange_with_seeds().await,
        }
    }

    async fn exchange_with(&self, node: &NodeId) {
        if let Err(error) = self.try_exchange(node).await {
            debug!(peer = %node, error, "nothing exchanged");
        }
    }

    async fn try_exchange(&self, node: &NodeId) -> Result<(), String> {
        let channel = self.transport.channel(node.as_str(), CallPath::REPEATABLE);
        let channel = channel.map_err(|error| chain(&error))?.within(EXCHANGE_WITHIN);
        let mut client = MembershipServiceClient::new(channel);
        for _ in 0..EXCHANGES_MAX {
            if !self.exchange_once(node, &mut client).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there is more of the same to come.
    async fn exchange_once(
        &self,
        node: &NodeId,
        client: &mut MembershipServiceClient<MeshChannel>,
    ) -> Result<bool, String> {
        let mut next = self.step(|member, _| member.begin_exchange());
        let mut is_cut = false;
        for _ in 0..EXCHANGE_CALLS_MAX {
            let Some(message) = next else { break };
            is_cut |= message.is_cut();
            let revocations_number = self.transport.revocations_number();
            let asked = pb::ExchangeRequest { message: message.encode(), revocations_number };
            let answer = client.exchange(asked).await.map_err(|status| status.message().to_owned())?;
            let pb::ExchangeResponse { message, revocations_number } = answer.into_inner();
            self.transport.note_revocations(node.as_str(), revocations_number);
            if message.is_empty() {
                break;
            }
            is_cut |= message.len() >= CUT_BYTES;
            next = self.exchanged(node, &message).await.map_err(|error| chain(&error))?;
        }
        Ok(is_cut)
    }

    async fn exchange_with_seeds(&self) {
        let is_live = |node: &String| self.health(node).is_some_and(|health| health.status.is_live());
        let mut seeds = self.seeds.all();
        seeds.retain(|seed| !matches!(seed, GossipSeed::Node(node) if is_live(node)));
        fastrand::shuffle(&mut seeds);
        seeds.truncate(if self.is_alone() { SEEDS_AT_A_TIME } else { 1 });
        join_all(seeds.iter().map(|seed| self.exchange_with_seed(seed))).await;
    }

    async fn exchange_with_seed(&self, seed: &GossipSeed) {
        let node = match seed {
            GossipSeed::Node(node) => node.clone(),
            GossipSeed::Address(address) => match self.find(address).await {
                Ok(node) => node,
                Err(error) => return debug!(address, error, "seed not found"),
            },
        };
        if let Ok(node) = NodeId::new(&node)
            && node != self.node
        {
            self.exchange_with(&node).await;
        }
    }

    /// Asks the seeds that are configured while it gossips: all others are asked now and then.
    pub(super) async fn ask_further_seeds(&self) {
        let mut addresses = self.seeds.addresses.clone();
        let mut known = addresses.get();
        loop {
            addresses.replaced().await;
            let mut further = std::mem::replace(&mut known, addresses.get());
            further = known.iter().filter(|address| !further.contains(address)).cloned().collect();
            // One that is not a member yet asks them all as soon as it is.
            further.truncate(if self.has_begun() { SEEDS_AT_A_TIME } else { 0 });
            let further: Vec<_> = further.into_iter().map(GossipSeed::Address).collect();
            join_all(further.iter().map(|seed| self.exchange_with_seed(seed))).await;
        }
    }

    /// Finds out who is at an address.
    async fn find(&self, address: &str) -> Result<String, String> {
        // A name may stand for many.
        let found = tokio::net::lookup_host(address).await.map_err(|error| chain(&error))?;
        let found: Vec<_> = found.collect();
        let at = fastrand::choice(&found).ok_or("it is the name of no address")?.to_string();
        let greeted = tokio::time::timeout(EXCHANGE_WITHIN, self.transport.greet_at(&at)).await;
        let greeted = greeted.unwrap_or_else(|_| Err("no answer".to_owned()))?;
        self.seeds.learn(&greeted.node_id, NodeLocation { mesh: at, http3: true });
        Ok(greeted.node_id)
    }
}

/// Delivers a packet, and answers with what comes back; nothing from a daemon that does not gossip.
async fn call(channel: MeshChannel, packet: Vec<u8>, answers: bool) -> Result<Vec<u8>, String> {
    let asked = pb::DeliverRequest { packet, answers };
    let answer = MembershipServiceClient::new(channel).deliver(asked).await;
    match answer {
        Ok(answer) => Ok(answer.into_inner().packet),
        // A daemon of that node is there, and does not gossip: it is no less reached for that.
        Err(status) if answers && is_silent(&status) => Ok(Vec::new()),
        Err(status) => Err(status.message().to_owned()),
    }
}

/// Whether a daemon says that it does not gossip; those of before have no such service then.
fn is_silent(status: &Status) -> bool {
    status.code() == Code::Unimplemented || Fault::from(status).is(reasons::GOSSIP_OFF)
}
