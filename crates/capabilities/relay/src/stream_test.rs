use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream;
use omnirelay_settings::{AcknowledgeWhen, SinksConfig};
use prost::Message;
use tonic::Request;
use tonic::transport::{Channel, Server};

use super::*;
use crate::commands::RelayCommands;
use crate::gateway::{AGENT_ID, GatewayCalls};
use crate::metrics::sinks::SinkMetrics;
use crate::sessions::SessionSettings;
use pb::agent_gateway_client::AgentGatewayClient;
use pb::agent_gateway_server::AgentGatewayServer;

const ROOM: usize = 8 * 1024 * 1024;

/// A relay that writes to a folder, at a port of its own.
struct Rig {
    intake: Arc<TelemetryIntake>,
    sessions: Arc<AgentSessions>,
    address: SocketAddr,
    _folder: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Rig {
    async fn start() -> Self {
        omnirelay_host::chance::seed_thread();
        let folder = tempfile::tempdir().unwrap();
        let all = prometheus::Registry::new();
        let metrics = Arc::new(RelayMetrics::new(&all).unwrap());
        let sink_metrics = Arc::new(SinkMetrics::new(&all).unwrap());
        let written = AcknowledgeWhen::Written;
        let sinks =
            Sinks::open(&SinksConfig::default(), written, folder.path(), sink_metrics, &Arc::default())
                .unwrap();
        let settings = IntakeSettings { inflight_max: 1000, inflight_bytes_max: ROOM, shape: None };
        let commands = Arc::new(RelayCommands::default());
        let intake = Arc::new(TelemetryIntake::new(settings, Arc::new(sinks), metrics, commands));
        let settings = SessionSettings {
            relay_id: "relay-1".to_owned(),
            ttl: Duration::from_secs(45),
            sessions_max: 100,
        };
        let sessions = Arc::new(AgentSessions::new(settings, Arc::default(), Arc::default()));
        let gateway = AgentGatewayServer::new(GatewayCalls::new(sessions.clone(), intake.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let serving = tokio::spawn(async move {
            drop(Server::builder().add_service(gateway).serve_with_incoming(incoming).await);
        });
        Self { intake, sessions, address, _folder: folder, serving }
    }

    /// Registers an agent and opens its stream.
    async fn stream(
        &self,
        agent_id: &str,
        messages: impl futures_util::Stream<Item = RawMessage> + Send + 'static,
    ) -> Streaming<RawMessage> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = AgentGatewayClient::new(channel.connect().await.unwrap());
        let asked = pb::RegisterRequest { agent_id: agent_id.to_owned(), ..Default::default() };
        client.register(asked).await.unwrap();
        let mut request = Request::new(messages);
        request.metadata_mut().insert(AGENT_ID, agent_id.parse().unwrap());
        client.telemetry_stream(request).await.unwrap().into_inner()
    }
}

fn frame(seq: u64) -> RawMessage {
    let frame = pb::TelemetryFrame { seq, msg_name: "m".to_owned(), ..Default::default() };
    RawMessage(frame.encode_to_vec().into())
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn acked(answers: &mut Streaming<RawMessage>, shape: StreamShape) -> pb::TelemetryAck {
    let RawMessage(bytes) = answers.message().await.unwrap().unwrap();
    match shape {
        StreamShape::Legacy => pb::TelemetryAck::decode(bytes).unwrap(),
        StreamShape::Envelope => match pb::RelayStreamMessage::decode(bytes).unwrap().payload.unwrap() {
            pb::relay_stream_message::Payload::TelemetryAck(ack) => ack,
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test]
async fn an_agent_that_reads_nothing_holds_nothing_of_the_others() {
    let rig = Rig::start().await;
    let deaf = rig.stream("deaf", stream::iter((1..).map(frame))).await;
    let sent = || rig.sessions.status("deaf").map_or(0, |drone| drone.acked_frames);
    until("its acknowledgements are stuck", || sent() > 2000).await;
    let mut stuck = sent();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        match sent() {
            now if now == stuck => break,
            now => stuck = now,
        }
    }
    until("the room is free", || rig.intake.room.free() == ROOM).await;
    let mut answers = rig.stream("other", stream::iter((1..=10).map(frame)).chain(stream::pending())).await;
    for seq in 1..=10 {
        assert_eq!(acked(&mut answers, StreamShape::Legacy).await.seq, seq);
    }
    drop(deaf);
}

/// With one thread for everything: whoever does not let others have it stops them.
#[tokio::test]
async fn frames_that_nobody_wants_stop_nobody() {
    let rig = Rig::start().await;
    // Bare ones are not even answered.
    let mut unwanted = Vec::new();
    for number in 0..4 {
        let nothing = pb::TelemetryFrame { sent_at_unix_ns: 1, ..Default::default() };
        let raw = RawMessage(nothing.encode_to_vec().into());
        unwanted.push(rig.stream(&format!("a{number}"), stream::repeat(raw)).await);
    }
    let mut answers = rig.stream("other", stream::iter((1..=10).map(frame)).chain(stream::pending())).await;
    for seq in 1..=10 {
        assert_eq!(acked(&mut answers, StreamShape::Legacy).await.seq, seq);
    }
}

#[tokio::test]
async fn frames_are_refused_with_their_reason_where_it_is_heard() {
    let rig = Rig::start().await;
    let in_envelope = |frame: pb::TelemetryFrame| {
        let payload = Some(pb::agent_stream_message::Payload::TelemetryFrame(frame));
        RawMessage(pb::AgentStreamMessage { payload }.encode_to_vec().into())
    };
    let good = |seq| pb::TelemetryFrame { seq, sent_at_unix_ns: 1, ..Default::default() };
    let unnumbered = pb::TelemetryFrame { msg_name: "m".to_owned(), ..good(0) };
    let sent = [good(1), unnumbered, good(3)].map(in_envelope);
    let mut answers = rig.stream("a", stream::iter(sent).chain(stream::pending())).await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        let ack = acked(&mut answers, StreamShape::Envelope).await;
        heard.push((ack.seq, ack.status()));
    }
    heard.sort();
    let refused = AckStatus::PermanentError;
    assert_eq!(heard, [(0, refused), (1, AckStatus::Ok), (3, AckStatus::Ok)]);
}
