//! Settings of a relay that change while it runs.

use std::net::SocketAddr;

use futures_util::FutureExt as _;
use futures_util::stream;
use http::HeaderMap;
use omnirelay_identity::authenticate::Authenticator as _;
use omnirelay_identity::caller::{Caller, PeerInfo};
use omnirelay_node::lab::{Lab, PreparedNode};
use omnirelay_scripted::memory;
use omnirelay_settings::{RelayClients, RelayTlsSource};
use omnirelay_wire::pb::aeroarc::agent::v1 as pb;
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_server::AgentGateway as _;
use omnirelay_wire::raw::RawMessage;
use pb::agent_gateway_client::AgentGatewayClient;
use pb::agent_gateway_server::AgentGatewayServer;
use prost::Message as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::body::Body;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status, Streaming};
use tower::Service as _;

use super::*;
use crate::allow::{AllowRule, AllowedCallers};
use crate::fake_redis::FakeRedis;
use crate::gateway::AGENT_ID;
use crate::mount::{limits, live_tls, port_authenticator};

const SECOND: Duration = Duration::from_secs(1);

/// A relay that tells no registry.
struct Rig {
    settings: LiveConfig,
    relay: Relay,
    _node: PreparedNode,
    _place: tempfile::TempDir,
}

fn rig() -> Rig {
    let place = tempfile::tempdir().unwrap();
    let node = Lab::on(memory(), "a").config(|config| config.relay.id = Some("r".to_owned())).prepared();
    let (settings, identity) =
        (node.builder.settings.clone(), RelayIdentity::at("127.0.0.1:7".parse().unwrap()));
    let relay = Relay::start(&node.builder, &identity, place.path(), Arc::default()).unwrap();
    Rig { settings, relay, _node: node, _place: place }
}

impl Rig {
    async fn register(&self, agent_id: &str) -> Result<pb::RegisterResponse, Status> {
        let asked = pb::RegisterRequest { agent_id: agent_id.to_owned(), ..Default::default() };
        self.relay.gateway().register(Request::new(asked)).await.map(tonic::Response::into_inner)
    }

    /// Serves the gateway.
    async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let gateway = AgentGatewayServer::new(self.relay.gateway());
        tokio::spawn(async move {
            drop(Server::builder().add_service(gateway).serve_with_incoming(incoming).await);
        });
        address
    }
}

/// A stream of an agent, and where its messages come from.
async fn open(address: SocketAddr, agent_id: &str) -> (mpsc::Sender<RawMessage>, Streaming<RawMessage>) {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = AgentGatewayClient::new(channel.connect().await.unwrap());
    let asked = pb::RegisterRequest { agent_id: agent_id.to_owned(), ..Default::default() };
    client.register(asked).await.unwrap();
    let (sender, mut sent) = mpsc::channel(16);
    let mut request = Request::new(stream::poll_fn(move |context| sent.poll_recv(context)));
    request.metadata_mut().insert(AGENT_ID, agent_id.parse().unwrap());
    (sender, client.telemetry_stream(request).await.unwrap().into_inner())
}

fn bare(seq: u64) -> RawMessage {
    let frame = pb::TelemetryFrame { seq, msg_name: "m".to_owned(), ..Default::default() };
    RawMessage(frame.encode_to_vec().into())
}

#[tokio::test(start_paused = true)]
async fn sessions_are_as_many_and_live_as_long_as_is_set_by_then() {
    let rig = rig();
    assert_eq!(rig.register("a").await.unwrap().max_inflight, 1000);
    rig.settings.set("relay.maxInflight", 7);
    assert_eq!(rig.register("a").await.unwrap().max_inflight, 7);
    rig.settings.set("relay.sessionsMax", 1);
    assert_eq!(rig.register("b").await.unwrap_err().code(), Code::ResourceExhausted);
    rig.settings.set("relay.sessionsMax", 2);
    rig.register("b").await.unwrap();

    let shown = |agent: &str| rig.relay.sessions.status(agent).map(|drone| drone.relay_id);
    sleep(SECOND * 3).await;
    assert_eq!(shown("a").as_deref(), Some("r"));
    rig.settings.set("relay.id", "other");
    sleep(SECOND / 10).await;
    assert_eq!(shown("a").as_deref(), Some("other"));
    rig.settings.set("relay.sessionTtl", "2s");
    assert_eq!(shown("a"), None, "it has had no stream for three seconds");
    sleep(SECOND).await;
    assert_eq!(rig.relay.sessions.counts(), (0, 0), "they are removed");
}

#[tokio::test]
async fn a_stream_holds_as_many_frames_as_is_set_by_then() {
    let rig = rig();
    let address = rig.serve().await;
    let (sender, mut answers) = open(address, "a").await;
    sender.send(bare(1)).await.unwrap();
    answers.message().await.unwrap().unwrap();
    // Nothing is acknowledged any more.
    let room = rig.relay.intake.room.take(usize::MAX).await.unwrap();
    rig.settings.set("relay.maxInflight", 1);
    for seq in 2..6 {
        sender.send(bare(seq)).await.unwrap();
    }
    let held = || rig.relay.sessions.status("a").unwrap().inflight_frames;
    let begun = std::time::Instant::now();
    while held() == 0 {
        assert!(begun.elapsed() < SECOND * 30);
        sleep(SECOND / 100).await;
    }
    sleep(SECOND / 5).await;
    assert_eq!(held(), 1);
    drop(room);
    for _ in 2..6 {
        answers.message().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn unacknowledged_frames_have_as_much_room_as_is_set_by_then() {
    const MIB: usize = 1024 * 1024;
    let rig = rig();
    let room = &rig.relay.intake.room;
    let soon = || sleep(SECOND / 20);
    let first = room.take(8 * MIB).await.unwrap();
    let second = room.take(8 * MIB).await.unwrap();
    rig.settings.set("relay.inflightBytesMax", 8 * MIB);
    soon().await;
    assert!(room.take(1).now_or_never().is_none(), "twice as much is taken");
    drop(second);
    soon().await;
    assert!(room.take(1).now_or_never().is_none(), "all is taken");
    rig.settings.set("relay.inflightBytesMax", 16 * MIB);
    soon().await;
    let third = room.take(8 * MIB).now_or_never().unwrap();
    assert!(room.take(1).now_or_never().is_none());
    drop((first, third));
    // Smaller again, while one waits that wants all of it.
    let held = room.take(MIB).await.unwrap();
    let mut all = Box::pin(room.take(usize::MAX));
    assert!((&mut all).now_or_never().is_none());
    rig.settings.set("relay.inflightBytesMax", 8 * MIB);
    soon().await;
    drop(held);
    assert!(tokio::time::timeout(SECOND * 10, all).await.unwrap().is_some());
    soon().await;
    assert_eq!(room.free(), 8 * MIB);
}

#[tokio::test]
async fn streams_of_another_shape_than_is_set_by_then_are_refused() {
    let rig = rig();
    let address = rig.serve().await;
    let (sender, mut answers) = open(address, "a").await;
    sender.send(bare(1)).await.unwrap();
    answers.message().await.unwrap().unwrap();
    rig.settings.set("relay.telemetryWire", "envelope");
    let (other, mut refused) = open(address, "b").await;
    for (sender, answers) in [(&sender, &mut answers), (&other, &mut refused)] {
        sender.send(bare(2)).await.unwrap();
        let status = answers.message().await.unwrap_err();
        assert!(status.message().contains("takes envelope messages only"), "{status:?}");
    }
}

#[tokio::test]
async fn keys_are_published_where_and_as_is_set_by_then() {
    let (redis, other) = (FakeRedis::start().await, FakeRedis::start().await);
    let rig = rig();
    let is_on = || rig.relay.publish_trouble()().is_some();
    rig.register("a").await.unwrap();
    assert!(!is_on());
    rig.settings.set("relay.publish.address", redis.address.clone());
    assert!(is_on());
    redis.is_told(&["EVAL", "drone:a 4", "\"relay_id\":\"r\""]).await;
    rig.settings.set("relay.publish.database", 3);
    redis.is_told(&["SELECT 3"]).await;
    rig.settings.set("relay.publish.password", "secret");
    redis.is_told(&["AUTH", "secret"]).await;
    rig.settings.set("relay.id", "next");
    redis.is_told(&["EVAL", "drone:a", "\"relay_id\":\"next\""]).await;
    // What stands lives by the other time from now on: at most two seconds more.
    redis.forget();
    rig.settings.set("relay.sessionTtl", "5m");
    redis.is_told(&["EVAL", "drone:a 29", "\"relay_id\":\"next\""]).await;
    rig.settings.set("relay.publish.address", other.address.clone());
    other.is_told(&["EVAL", "drone:a", "\"relay_id\":\"next\""]).await;
    rig.settings.set("relay.publish.address", "");
    assert!(!is_on());
    sleep(SECOND / 10).await;
    other.forget();
    rig.register("b").await.unwrap();
    rig.settings.set("relay.publish.address", other.address.clone());
    other.is_told(&["EVAL", "drone:b"]).await;
    other.is_told(&["EVAL", "drone:a"]).await;
    tokio::time::timeout(SECOND * 10, rig.relay.stop()).await.unwrap();
    other.is_told(&["EVAL", "DEL", "drone:b"]).await;
}

#[tokio::test]
async fn services_take_whom_the_settings_allow_by_then() {
    let mut config = Config::default();
    (config.relay.tls.source, config.relay.tls.clients) =
        (Some(RelayTlsSource::Mesh), RelayClients::Optional);
    let settings = LiveConfig::from(config);
    let rules = [
        AllowRule::live(&settings, "relay.allow.agents", |allow| &allow.agents),
        AllowRule::live(&settings, "relay.allow.relays", |allow| &allow.relays),
        AllowRule::live(&settings, "relay.allow.operators", |allow| &allow.operators),
    ];
    let changes: [fn(&LiveConfig, serde_json::Value); 3] = [
        |settings, list| settings.set("relay.allow.agents", list),
        |settings, list| settings.set("relay.allow.relays", list),
        |settings, list| settings.set("relay.allow.operators", list),
    ];
    for ((rule, kept), change) in rules.into_iter().zip(changes) {
        let kept = tokio::spawn(kept);
        let service = tower::service_fn(async |_| Ok(http::Response::new(Body::empty())));
        let service = AllowedCallers::new(service, rule);
        let takes = async || {
            let mut request = http::Request::new(Body::empty());
            request.extensions_mut().insert(Caller::of_tests("local"));
            let response = service.clone().call(request).await.unwrap();
            !response.headers().contains_key("grpc-status")
        };
        assert!(takes().await);
        change(&settings, json!(["spiffe://m/service/drone-*"]));
        tokio::task::yield_now().await;
        assert!(!takes().await);
        change(&settings, json!([]));
        tokio::task::yield_now().await;
        assert!(takes().await);
        kept.abort();
    }
}

#[tokio::test]
async fn who_shows_no_certificate_is_let_in_as_is_set_by_then() {
    let mut config = Config::default();
    config.relay.tls.source = Some(RelayTlsSource::Mesh);
    let settings = LiveConfig::from(config);
    let authenticator = port_authenticator(&settings, Arc::default());
    let peer = PeerInfo::at("127.0.0.1:9".parse().unwrap(), None);
    let name =
        || authenticator.authenticate(&peer, &HeaderMap::new()).map(|principal| format!("{principal:?}"));
    assert!(name().unwrap().contains("local"));
    settings.set("relay.trustLocal", false);
    assert!(name().unwrap().contains("agent"));
    settings.set("relay.tls.clients", "required");
    assert_eq!(name().unwrap_err().reason, "PROOF_NEEDED");
    settings.set("relay.tls.clients", "optional");
    assert!(name().is_ok());
}

/// How many connections a listener serves, and what they are shown, the tests of the surface and of the node see; here, that the relay's
/// port is given what is set.
#[tokio::test(flavor = "multi_thread")]
async fn the_port_has_the_limits_and_the_tls_that_are_set_by_then() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    for name in ["one", "two"] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(path(name), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let files = |name: &str| (Some(path(name)), Some(path(&format!("{name}.key"))));
    let lab = Lab::on(memory(), "a").config(|config| {
        (config.relay.tls.cert, config.relay.tls.key) = files("one");
    });
    let mut node = lab.prepared();
    let settings = node.builder.settings.clone();
    let limits = settings.live(limits);
    settings.set("relay.connectionsMax", 9);
    settings.set("relay.connectionsPerAddressMax", 3);
    assert_eq!((limits.get().connections_max, limits.get().per_address_max), (9, 3));

    let tls = live_tls(&mut node.builder).unwrap();
    let _node = node.start();
    let before = tls.get().unwrap();
    for (key, name) in [("relay.tls.key", "two.key"), ("relay.tls.cert", "nowhere")] {
        let mut config = Config::clone(&settings.now());
        let changed =
            if key == "relay.tls.key" { &mut config.relay.tls.key } else { &mut config.relay.tls.cert };
        *changed = Some(path(name));
        assert_eq!(settings.replace(config).unwrap_err().key, "relay.tls.cert", "{key}");
    }
    assert!(Arc::ptr_eq(&before, &tls.get().unwrap()), "nothing was taken over");
    let mut config = Config::clone(&settings.now());
    (config.relay.tls.cert, config.relay.tls.key) = files("two");
    settings.replace(config).unwrap();
    let until = std::time::Instant::now() + SECOND;
    while Arc::ptr_eq(&before, &tls.get().unwrap()) {
        assert!(std::time::Instant::now() < until, "what is shown is another certificate within a second");
        sleep(SECOND / 100).await;
    }
}
