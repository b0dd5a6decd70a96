//! The service that agents call.

use std::sync::Arc;

use omnirelay_core::names::check_id;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1 as pb;
use omnirelay_wire::raw::RawMessage;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::sessions::AgentSessions;
use super::stream::{StreamAcks, TelemetryIntake};

/// The metadata that names the agent of a stream.
pub const AGENT_ID: &str = "aero-arc-agent-id";
/// The longest version or platform of an agent, in bytes.
const WORD_BYTES_MAX: usize = 256;

/// Registers agents, and takes their telemetry.
#[derive(Clone)]
pub struct GatewayCalls {
    sessions: Arc<AgentSessions>,
    intake: Arc<TelemetryIntake>,
}

impl GatewayCalls {
    pub fn new(sessions: Arc<AgentSessions>, intake: Arc<TelemetryIntake>) -> Self {
        Self { sessions, intake }
    }
}

#[tonic::async_trait]
impl pb::agent_gateway_server::AgentGateway for GatewayCalls {
    type TelemetryStreamStream = StreamAcks;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let asked = request.into_inner();
        check_id(&asked.agent_id).map_err(|error| Fault::invalid(format!("field `agent_id`: {error}")))?;
        for (field, word) in [("agent_version", &asked.agent_version), ("platform", &asked.platform)] {
            if word.len() > WORD_BYTES_MAX {
                return Err(
                    Fault::invalid(format!("field `{field}` is longer than {WORD_BYTES_MAX} bytes")).into()
                );
            }
        }
        let session = self.sessions.register(asked)?;
        tracing::debug!(agent = %session.agent_id, "agent registered");
        Ok(Response::new(pb::RegisterResponse {
            agent_id: session.agent_id.to_string(),
            session_id: session.id.clone(),
            max_inflight: i64::try_from(self.intake.inflight_max()).unwrap_or(i64::MAX),
        }))
    }

    async fn telemetry_stream(
        &self,
        request: Request<Streaming<RawMessage>>,
    ) -> Result<Response<StreamAcks>, Status> {
        let agent_id = agent_of(request.metadata())?;
        let (stream, orders) = self.sessions.open(&agent_id)?;
        let (intake, sessions) = (self.intake.clone(), self.sessions.clone());
        Ok(Response::new(intake.serve(sessions, stream, orders, request.into_inner())))
    }
}

/// The agent that the metadata names.
fn agent_of(metadata: &MetadataMap) -> Result<String, Fault> {
    let mut named = metadata.get_all(AGENT_ID).iter();
    let (first, more) = (named.next(), named.next());
    let text = first.filter(|_| more.is_none()).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text.is_empty() {
        let message = format!("the metadata must name the agent once, as `{AGENT_ID}`");
        return Err(Fault::invalid(message).hint("send it with the call that opens the stream"));
    }
    Ok(text.to_owned())
}
