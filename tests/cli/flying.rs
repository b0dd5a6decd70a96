//! An agent that streams envelopes to a relay and obeys, for what needs a drone to be there.

use bytes::Bytes;
use futures_util::stream;
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_client::AgentGatewayClient;
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Outcome;
use omnirelay_wire::pb::aeroarc::agent::v1::{
    AgentStreamMessage, OperationContext, OperationContextCommandAck, RegisterRequest, RelayStreamMessage,
    TelemetryFrame, agent_stream_message, relay_stream_message,
};
use omnirelay_wire::raw::RawMessage;
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::Request;
use tonic::transport::Channel;

/// An agent, which breaks off when this is dropped.
pub(crate) struct Flying {
    runtime: Option<Runtime>,
}

impl Flying {
    /// Registers at a plaintext relay, and has its first frame acknowledged.
    pub(crate) fn start(address: &str, id: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (url, id) = (format!("http://{address}"), id.to_owned());
        runtime.block_on(async {
            let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
            let mut client = AgentGatewayClient::new(channel);
            let register = RegisterRequest {
                agent_id: id.clone(),
                agent_version: "0.2.0".to_owned(),
                platform: "linux/arm64".to_owned(),
            };
            client.register(register).await.unwrap();
            let (outbox, sent) = unbounded_channel::<RawMessage>();
            let messages = stream::unfold(sent, |mut sent| async move { Some((sent.recv().await?, sent)) });
            let mut request = Request::new(messages);
            request.metadata_mut().insert("aero-arc-agent-id", id.parse().unwrap());
            say(&outbox, agent_stream_message::Payload::TelemetryFrame(frame(&id)));
            let mut answers = client.telemetry_stream(request).await.unwrap().into_inner();
            let acknowledged = answers.message().await.unwrap().unwrap();
            assert!(matches!(payload(acknowledged), Some(relay_stream_message::Payload::TelemetryAck(_))));
            tokio::spawn(async move {
                while let Ok(Some(message)) = answers.message().await {
                    obey(&outbox, payload(message));
                }
            });
        });
        Self { runtime: Some(runtime) }
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn say(outbox: &UnboundedSender<RawMessage>, payload: agent_stream_message::Payload) {
    let message = AgentStreamMessage { payload: Some(payload) };
    // The stream may be over.
    let _ = outbox.send(RawMessage(message.encode_to_vec().into()));
}

fn payload(RawMessage(message): RawMessage) -> Option<relay_stream_message::Payload> {
    RelayStreamMessage::decode(message).unwrap().payload
}

fn obey(outbox: &UnboundedSender<RawMessage>, payload: Option<relay_stream_message::Payload>) {
    let (id, context) = match payload {
        Some(relay_stream_message::Payload::SetOperationContext(set)) => (set.command_id, set.context),
        Some(relay_stream_message::Payload::ClearOperationContext(clear)) => (clear.command_id, None),
        _ => return,
    };
    say(outbox, agent_stream_message::Payload::OperationContextCommandAck(applied(id, context)));
}

fn applied(command_id: String, active_context: Option<OperationContext>) -> OperationContextCommandAck {
    let status = Outcome::Applied.into();
    OperationContextCommandAck { command_id, status, error: String::new(), active_context }
}

fn frame(agent_id: &str) -> TelemetryFrame {
    TelemetryFrame {
        agent_id: agent_id.to_owned(),
        seq: 1,
        sent_at_unix_ns: 1_767_300_000_000_000_001,
        raw_mavlink: Bytes::from_static(b"{}"),
        dialect: "common".to_owned(),
        msg_name: "*minimal.MessageHeartbeat".to_owned(),
        ..TelemetryFrame::default()
    }
}
