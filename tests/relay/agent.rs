//! An agent of Aero Arc, as simple as can be: it repeats nothing, and says what its test wants.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_client::AgentGatewayClient;
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Outcome;
use omnirelay_wire::pb::aeroarc::agent::v1::{
    AgentStreamMessage, OperationContext, OperationContextCommandAck, RegisterRequest, RegisterResponse,
    RelayStreamMessage, TelemetryAck, TelemetryFrame, agent_stream_message, relay_stream_message,
};
use omnirelay_wire::raw::RawMessage;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::process::PATIENCE;
use crate::world::{Relay, channel};

/// The metadata that names an agent.
pub(crate) const HEADER: &str = "aero-arc-agent-id";
/// How long nothing must come before a test believes that nothing will.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// How telemetry is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Bare frames, as agent v0.1.0 sends them.
    Legacy,
    Envelope,
}

pub(crate) const SHAPES: [Shape; 2] = [Shape::Legacy, Shape::Envelope];

/// One agent with a connection to a relay.
#[derive(Clone)]
pub(crate) struct Agent {
    pub id: String,
    client: AgentGatewayClient<Channel>,
}

/// An open stream; dropping it cancels the call.
pub(crate) struct Stream {
    pub shape: Shape,
    agent_id: String,
    outbox: Option<mpsc::UnboundedSender<RawMessage>>,
    inbox: mpsc::UnboundedReceiver<Heard>,
    reading: JoinHandle<()>,
}

enum Heard {
    Message(Bytes),
    End(Status),
}

impl Agent {
    pub(crate) async fn new(relay: &Relay, id: &str) -> Result<Self> {
        Ok(Self::on(channel(&relay.url()).await?, id))
    }

    /// On a connection that is there.
    pub(crate) fn on(channel: Channel, id: &str) -> Self {
        Self { id: id.to_owned(), client: AgentGatewayClient::new(channel) }
    }

    /// A new one that is registered.
    pub(crate) async fn registered(relay: &Relay, id: &str) -> Result<Self> {
        let mut agent = Self::new(relay, id).await?;
        agent.register().await?;
        Ok(agent)
    }

    /// A new one that is registered and has its first frame acknowledged.
    pub(crate) async fn streaming(relay: &Relay, id: &str, shape: Shape) -> Result<(Self, Stream)> {
        let agent = Self::registered(relay, id).await?;
        let mut stream = agent.stream(shape);
        stream.delivers(1..=1).await?;
        Ok((agent, stream))
    }

    /// Registers as agent v0.1.0 does: its id, and nothing else.
    pub(crate) async fn register(&mut self) -> Result<RegisterResponse, Status> {
        let request = RegisterRequest { agent_id: self.id.clone(), ..RegisterRequest::default() };
        self.register_as(request).await
    }

    pub(crate) async fn register_as(&mut self, request: RegisterRequest) -> Result<RegisterResponse, Status> {
        let mut request = Request::new(request);
        request.set_timeout(PATIENCE);
        let headers = request.metadata_mut();
        headers.insert("authorization", MetadataValue::from_static("Bearer "));
        if let Ok(id) = MetadataValue::try_from(&self.id) {
            headers.insert(HEADER, id);
        }
        Ok(self.client.register(request).await?.into_inner())
    }

    /// Opens a stream under its own name.
    pub(crate) fn stream(&self, shape: Shape) -> Stream {
        self.stream_as(shape, &[&self.id])
    }

    /// Registers again and opens a stream in place of another, which may still be open: as one of a session before, its
    /// end ends nothing.
    pub(crate) async fn again(&mut self, stream: &mut Stream) -> Result<()> {
        self.register().await?;
        *stream = self.stream(stream.shape);
        Ok(())
    }

    /// Opens a stream with these values of the header.
    pub(crate) fn stream_as(&self, shape: Shape, ids: &[&str]) -> Stream {
        let (outbox, sent) = mpsc::unbounded_channel();
        let (heard, inbox) = mpsc::unbounded_channel();
        let mut request =
            Request::new(stream::unfold(sent, |mut sent: mpsc::UnboundedReceiver<RawMessage>| async move {
                sent.recv().await.map(|message| (message, sent))
            }));
        request.metadata_mut().insert("authorization", MetadataValue::from_static("Bearer "));
        for id in ids.iter().filter_map(|id| MetadataValue::try_from(*id).ok()) {
            request.metadata_mut().append(HEADER, id);
        }
        let mut client = self.client.clone();
        // The answer's headers may come with its first message only.
        let reading = tokio::spawn(async move {
            let end = read(&mut client, request, &heard).await.err().unwrap_or_else(|| Status::ok(""));
            let _ = heard.send(Heard::End(end));
        });
        Stream { shape, agent_id: self.id.clone(), outbox: Some(outbox), inbox, reading }
    }
}

async fn read<S>(
    client: &mut AgentGatewayClient<Channel>,
    request: Request<S>,
    heard: &mpsc::UnboundedSender<Heard>,
) -> Result<(), Status>
where
    S: futures_util::Stream<Item = RawMessage> + Send + 'static,
{
    let mut answers = client.telemetry_stream(request).await?.into_inner();
    while let Some(RawMessage(message)) = answers.message().await? {
        if heard.send(Heard::Message(message)).is_err() {
            break;
        }
    }
    Ok(())
}

impl Stream {
    /// Sends bytes as they are.
    pub(crate) fn send_raw(&self, bytes: impl Into<Bytes>) -> Result<()> {
        let outbox = self.outbox.as_ref().context("its own side is closed")?;
        outbox.send(RawMessage(bytes.into())).ok().context("the stream has ended")
    }

    /// Sends a frame in the stream's shape.
    pub(crate) fn send_frame(&self, frame: TelemetryFrame) -> Result<()> {
        self.send_raw(in_shape(self.shape, frame))
    }

    /// Sends a frame as agent v0.1.0 makes them.
    pub(crate) fn send(&self, seq: u64) -> Result<()> {
        self.send_frame(frame(&self.agent_id, seq))
    }

    /// Sends these frames and waits until each is acknowledged.
    pub(crate) async fn delivers(&mut self, seqs: impl IntoIterator<Item = u64>) -> Result<()> {
        let seqs: Vec<u64> = seqs.into_iter().collect();
        for seq in &seqs {
            self.send(*seq)?;
        }
        let mut acked = self.acks(seqs.len()).await?;
        ensure!(acked.iter().all(|ack| ack.status() == ok()), "{acked:?}");
        acked.sort_by_key(|ack| ack.seq);
        let mut expected = seqs;
        expected.sort_unstable();
        ensure!(acked.iter().map(|ack| ack.seq).eq(expected), "{acked:?}");
        Ok(())
    }

    async fn heard(&mut self) -> Result<Heard> {
        let heard = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        heard.context("nothing comes")?.context("the stream had ended")
    }

    /// The next message as it is.
    pub(crate) async fn message(&mut self) -> Result<Bytes> {
        match self.heard().await? {
            Heard::Message(message) => Ok(message),
            Heard::End(status) => bail!("the stream ended: {status:?}"),
        }
    }

    /// The next acknowledgement, which must be what comes next.
    pub(crate) async fn ack(&mut self) -> Result<TelemetryAck> {
        let message = self.message().await?;
        self.as_ack(&message)
    }

    /// The next acknowledgement, or how the stream ends instead.
    pub(crate) async fn ack_or_end(&mut self) -> Result<Result<TelemetryAck, Status>> {
        match self.heard().await? {
            Heard::Message(message) => self.as_ack(&message).map(Ok),
            Heard::End(status) => Ok(Err(status)),
        }
    }

    fn as_ack(&self, message: &Bytes) -> Result<TelemetryAck> {
        match self.shape {
            Shape::Legacy => Ok(TelemetryAck::decode(message.clone())?),
            Shape::Envelope => match RelayStreamMessage::decode(message.clone())?.payload {
                Some(relay_stream_message::Payload::TelemetryAck(ack)) => Ok(ack),
                other => bail!("no acknowledgement: {other:?}"),
            },
        }
    }

    pub(crate) async fn acks(&mut self, count: usize) -> Result<Vec<TelemetryAck>> {
        let mut acks = Vec::with_capacity(count);
        for _ in 0..count {
            let ack = self.ack().await.with_context(|| format!("{} of {count} came", acks.len()))?;
            acks.push(ack);
        }
        Ok(acks)
    }

    /// All acknowledgements that came until the stream ended, and how it did.
    pub(crate) async fn rest(&mut self) -> Result<(Vec<TelemetryAck>, Status)> {
        let mut acks = Vec::new();
        loop {
            match self.heard().await? {
                Heard::Message(message) => acks.push(self.as_ack(&message)?),
                Heard::End(status) => return Ok((acks, status)),
            }
        }
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> Result<relay_stream_message::Payload> {
        let message = self.message().await?;
        match RelayStreamMessage::decode(message)?.payload {
            Some(relay_stream_message::Payload::TelemetryAck(ack)) => bail!("no command: {ack:?}"),
            other => other.context("nothing"),
        }
    }

    /// Answers a command.
    pub(crate) fn answer(&self, id: &str, outcome: Outcome, active: Option<OperationContext>) -> Result<()> {
        let ack = OperationContextCommandAck {
            command_id: id.to_owned(),
            status: outcome.into(),
            error: String::new(),
            active_context: active,
        };
        let payload = Some(agent_stream_message::Payload::OperationContextCommandAck(ack));
        self.send_raw(AgentStreamMessage { payload }.encode_to_vec())
    }

    /// Fails if anything comes within [`QUIET`].
    pub(crate) async fn hears_nothing(&mut self) -> Result<()> {
        match tokio::time::timeout(QUIET, self.inbox.recv()).await {
            Err(_) => Ok(()),
            Ok(Some(Heard::Message(message))) => bail!("{:?} came", self.as_ack(&message)),
            Ok(Some(Heard::End(status))) => bail!("the stream ended: {status:?}"),
            Ok(None) => bail!("the stream had ended"),
        }
    }

    /// Says that it sends no more.
    pub(crate) fn finish(&mut self) {
        self.outbox = None;
    }

    /// How the stream ends, whatever came before.
    pub(crate) async fn end(&mut self) -> Result<Status> {
        loop {
            if let Heard::End(status) = self.heard().await? {
                return Ok(status);
            }
        }
    }

    /// Ends it as an agent does that goes.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.finish();
        let end = self.end().await?;
        ensure!(end.code() == Code::Ok, "{end:?}");
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A frame as agent v0.1.0 makes them: without session, device time and flight.
pub(crate) fn frame(agent_id: &str, seq: u64) -> TelemetryFrame {
    let fields = [("Autopilot", "3"), ("BaseMode", "81"), ("CustomMode", "4"), ("SystemStatus", "4")];
    TelemetryFrame {
        agent_id: agent_id.to_owned(),
        seq,
        sent_at_unix_ns: 1_767_300_000_000_000_000 + seq as i64,
        raw_mavlink: Bytes::from_static(br#"{"Type":2,"Autopilot":3,"BaseMode":81,"CustomMode":4}"#),
        dialect: "common".to_owned(),
        msg_name: "*minimal.MessageHeartbeat".to_owned(),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..TelemetryFrame::default()
    }
}

/// A frame as it is on the wire.
pub(crate) fn in_shape(shape: Shape, frame: TelemetryFrame) -> Vec<u8> {
    match shape {
        Shape::Legacy => frame.encode_to_vec(),
        Shape::Envelope => {
            let payload = Some(agent_stream_message::Payload::TelemetryFrame(frame));
            AgentStreamMessage { payload }.encode_to_vec()
        }
    }
}

/// The status of a frame that was taken.
pub(crate) fn ok() -> omnirelay_wire::pb::aeroarc::agent::v1::telemetry_ack::Status {
    omnirelay_wire::pb::aeroarc::agent::v1::telemetry_ack::Status::Ok
}

/// Fails unless a call was refused like this, with these words in its message. Fields have one name in the protos and
/// another in JSON: either is right.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &str) -> Result<()> {
    match answer {
        Err(status) => ended(&status, code, words),
        Ok(answer) => bail!("it was not refused: {answer:?}"),
    }
}

pub(crate) fn ended(status: &Status, code: Code, words: &str) -> Result<()> {
    let plain = |text: &str| text.replace('_', "").to_lowercase();
    let said = plain(status.message()).contains(&plain(words));
    ensure!(status.code() == code && said, "not {code:?} `{words}`: {status:?}");
    Ok(())
}
