//! Gossip whose settings change while it runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use omnirelay_identity::lab::{authority, node};
use omnirelay_membership::{
    GossipMemberRecord, MemberClaim, MemberStatus, MemberUpdate, Membership, MembershipOutput, NodeId,
    Packet, PacketMessage,
};
use omnirelay_node::metrics::TransportMetrics;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_node::transport::{CalledMesh, GreetingAnswer, NodeLocation, NodeTransport};
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::DeliverRequest;
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::membership_service_client::MembershipServiceClient;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::metrics::GossipMetrics;
use crate::{Gossip, GossipRecord, GossipSeeds};

/// When the nodes have begun, in Unix time.
const UNIX: Duration = Duration::from_secs(1_700_000_000);

/// A mesh that says of no node where it is. Who is at an address is asked.
struct UnknownMesh;

impl CalledMesh for UnknownMesh {
    fn locate(&self, _: &str) -> Vec<NodeLocation> {
        Vec::new()
    }

    fn greet(&self, channel: MeshChannel) -> BoxFuture<'_, Result<GreetingAnswer, String>> {
        Box::pin(async move {
            let asked = MembershipServiceClient::new(channel).deliver(DeliverRequest::default()).await;
            Err(asked.map_or_else(|status| status.to_string(), |_| "nobody".to_owned()))
        })
    }

    fn heard(&self, _: &str, _: Bytes) {}
}

/// Node `a`, which gossips, and what it wants to be sent.
struct Driven {
    settings: LiveConfig,
    gossip: Arc<Gossip>,
    wanted: mpsc::Receiver<MembershipOutput>,
    metrics: prometheus::Registry,
    _tasks: JoinSet<()>,
}

impl Driven {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let (settings, metrics) = (LiveConfig::from(config), prometheus::Registry::new());
        let rtt_per_peer = settings.live(|config| config.mesh.gossip.rtt_per_peer);
        let counted = Arc::new(GossipMetrics::new(&metrics, rtt_per_peer).unwrap());
        let calls = Arc::new(TransportMetrics::new(&metrics).unwrap());
        let trust = node(&authority(), "a");
        let transport = |_: &_| {
            let behind = mpsc::channel(1).0;
            Arc::new(NodeTransport::new("a", trust, Arc::new(UnknownMesh), behind, (false, calls)))
        };
        let seeds = settings.live(|config| config.mesh.seeds.clone());
        let seeds = GossipSeeds::new(seeds, Vec::new, Vec::new, |_| true);
        let config = settings.live(|config| config.mesh.gossip.membership());
        let gossip = Gossip::new(name("a"), config, transport, seeds, counted);
        let wanted = gossip.waiting.lock().take().unwrap();
        gossip.begin(&GossipRecord::default(), UNIX, 1).unwrap();
        let (mut tasks, driven) = (JoinSet::new(), gossip.clone());
        tasks.spawn(async move { driven.drive().await });
        Self { settings, gossip, wanted, metrics, _tasks: tasks }
    }

    /// It hears that these nodes live, from themselves.
    fn hears(&self, nodes: &[&str]) {
        let incarnation = Membership::first_incarnation(UNIX);
        for node in nodes {
            let record = GossipMemberRecord { instance: 2, version: 1, body: Bytes::new() };
            let claim = MemberClaim::Alive(Arc::new(record));
            let updates = vec![MemberUpdate { node: name(node), incarnation, claim }];
            let message = PacketMessage::Gossip;
            let mut packet = Vec::new();
            Packet { message, incarnation, version: 1, health: 0, updates }.encode(&mut packet);
            self.gossip.receive(node, &packet);
        }
    }

    fn says(&self, role: &str) {
        self.gossip.say(&GossipRecord { role: role.to_owned(), ..GossipRecord::default() }).unwrap();
    }

    /// What it wants within so long.
    async fn within(&mut self, span: Duration) -> Vec<MembershipOutput> {
        sleep(span).await;
        std::iter::from_fn(|| self.wanted.try_recv().ok()).collect()
    }

    /// How many pings it wants to send within so long.
    async fn pings(&mut self, span: Duration) -> usize {
        let is_ping = |(_, packet): &(String, Packet)| matches!(packet.message, PacketMessage::Ping { .. });
        sent(&self.within(span).await).iter().filter(|sent| is_ping(sent)).count()
    }

    /// To whom it wants to pass on within so long what it says of itself, beside pings.
    async fn told(&mut self, span: Duration) -> Vec<String> {
        let is_news = |packet: &Packet| {
            packet.message == PacketMessage::Gossip
                && packet.updates.iter().any(|update| update.node == name("a"))
        };
        let sent = sent(&self.within(span).await);
        sent.into_iter().filter(|(_, packet)| is_news(packet)).map(|(to, _)| to).collect()
    }

    fn status(&self, node: &str) -> Option<MemberStatus> {
        self.gossip.health(node).map(|health| health.status)
    }

    fn gauge(&self, name: &str) -> f64 {
        self.gossip.measure();
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric()[0].get_gauge().get_value()
    }
}

fn name(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The packets among what is wanted, and to whom they go.
fn sent(wanted: &[MembershipOutput]) -> Vec<(String, Packet)> {
    let packet = |output: &MembershipOutput| match output {
        MembershipOutput::Send { to, packet } => {
            Some((to.as_str().to_owned(), Packet::decode(packet).unwrap()))
        }
        MembershipOutput::Reach { .. }
        | MembershipOutput::Exchange { .. }
        | MembershipOutput::Measured { .. }
        | MembershipOutput::Event(_) => None,
    };
    wanted.iter().filter_map(packet).collect()
}

fn streams(wanted: &[MembershipOutput]) -> usize {
    wanted.iter().filter(|output| matches!(output, MembershipOutput::Reach { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn members_are_probed_at_the_interval_that_is_set_by_then() {
    let mut a = Driven::new(|config| {
        config.mesh.gossip.interval.0 = seconds(60);
        config.mesh.gossip.ping_timeout.0 = Duration::from_millis(10);
    });
    a.hears(&["b"]);
    assert!(a.pings(seconds(2)).await <= 1);
    a.settings.set("mesh.gossip.interval", "100ms");
    assert!(a.pings(seconds(1)).await >= 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_late_by_what_is_set_by_then() {
    let mut a = Driven::new(|config| config.mesh.gossip.ping_timeout.0 = seconds(60));
    a.hears(&["b"]);
    assert_eq!(streams(&a.within(seconds(5)).await), 0);
    a.settings.set("mesh.gossip.pingTimeout", "10ms");
    assert!(streams(&a.within(seconds(2)).await) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_has_the_time_that_is_set_by_then() {
    let mut a = Driven::new(|config| config.mesh.gossip.suspicion_interval.0 = seconds(600));
    a.hears(&["b"]);
    a.within(seconds(20)).await;
    assert_eq!(a.status("b"), Some(MemberStatus::Suspect));
    a.settings.set("mesh.gossip.suspicionInterval", "600ms");
    a.hears(&["c"]);
    a.within(seconds(10)).await;
    assert_eq!(a.status("c"), Some(MemberStatus::Dead));
    assert_eq!(a.status("b"), Some(MemberStatus::Suspect), "it keeps the time that it had");
}

#[tokio::test(start_paused = true)]
async fn news_goes_to_as_many_as_is_set_by_then() {
    let mut a = Driven::new(|config| config.mesh.gossip.fanout = 1);
    a.hears(&["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
    a.within(seconds(3)).await;
    let tick = Duration::from_millis(350);
    a.says("gateway");
    let few: BTreeSet<String> = a.told(tick).await.into_iter().collect();
    assert!((1..=4).contains(&few.len()), "{few:?}");
    a.settings.set("mesh.gossip.fanout", 9);
    a.says("worker");
    let many: BTreeSet<String> = a.told(tick).await.into_iter().collect();
    assert!(many.len() >= 8, "{many:?}");
    assert_eq!(a.gauge("mesh_gossip_fanout"), 9.0);
}

#[tokio::test(start_paused = true)]
async fn news_is_passed_on_as_often_as_is_set_by_then() {
    let mut a = Driven::new(|config| {
        config.mesh.gossip.retransmit_limit = 1;
        config.mesh.gossip.suspicion_interval.0 = seconds(600);
    });
    a.hears(&["b"]);
    a.within(seconds(3)).await;
    a.says("gateway");
    assert_eq!(a.told(seconds(3)).await.len(), 1);
    a.settings.set("mesh.gossip.retransmitLimit", 8);
    a.says("worker");
    // Now and then it goes with a ping.
    assert!((6..=8).contains(&a.told(seconds(5)).await.len()));
}

#[tokio::test(start_paused = true)]
async fn round_trips_have_series_by_what_is_set_by_then() {
    let a = Driven::new(|_| {});
    let series = || {
        let families = a.metrics.gather();
        let family = families.iter().find(|family| family.name() == "mesh_gossip_rtt_ms").unwrap();
        let peers = family.get_metric().iter().map(|metric| metric.get_label().first().map(|of| of.value()));
        peers.map(|peer| peer.unwrap_or("of all").to_owned()).collect::<Vec<_>>()
    };
    let measured = |node| a.gossip.perform(MembershipOutput::Measured { node: name(node), rtt: seconds(1) });
    measured("b");
    assert_eq!(series(), ["of all"]);
    a.settings.set("mesh.gossip.rttPerPeer", true);
    measured("c");
    assert_eq!(series(), ["c"]);
    a.settings.set("mesh.gossip.rttPerPeer", false);
    assert_eq!(series(), ["of all"]);
}

#[tokio::test]
async fn a_seed_that_is_set_is_asked_at_once() {
    let seed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let a = Driven::new(|_| {});
    a.hears(&["b"]);
    assert!(timeout(Duration::from_millis(300), seed.accept()).await.is_err());
    a.settings.set("mesh.seeds", vec![seed.local_addr().unwrap().to_string()]);
    timeout(seconds(5), seed.accept()).await.unwrap().unwrap();
    // Others are asked once there are some to ask.
    assert_eq!(a.gossip.seeds.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_ends_says_so_and_may_begin_again() {
    let mut a = Driven::new(|_| {});
    a.hears(&["b"]);
    a.within(seconds(1)).await;
    assert_eq!((a.status("b"), a.gauge("mesh_gossip_view_size")), (Some(MemberStatus::Alive), 2.0));
    let (instance, (seen, _)) = (a.gossip.instance(), a.gossip.changed_since(u64::MAX));
    a.gossip.end().await;
    let says = sent(&a.within(Duration::ZERO).await);
    let leaves = |update: &MemberUpdate| update.node == name("a") && update.claim == MemberClaim::Left;
    assert!(says.iter().any(|(to, packet)| to == "b" && packet.updates.iter().any(leaves)), "{says:?}");
    assert!(!a.gossip.has_begun() && a.gossip.members().is_empty());
    assert_eq!(a.gauge("mesh_gossip_view_size"), 0.0);
    assert_eq!(a.gossip.changed_since(seen).1.len(), 2, "their health is not known any more");
    a.hears(&["b"]);
    assert_eq!(a.pings(seconds(5)).await, 0);

    a.gossip.begin(&GossipRecord::default(), UNIX, 7).unwrap();
    assert!(a.gossip.health("a").unwrap().incarnation > Membership::first_incarnation(UNIX));
    assert_ne!(a.gossip.instance(), instance);
    a.hears(&["b"]);
    assert!(a.pings(seconds(5)).await > 0);
    assert_eq!(a.gauge("mesh_gossip_view_size"), 2.0);
}
