//! Control of a relay: what it says of its sessions, and the commands it passes on.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::names::check_id;
use omnirelay_core::text::chain;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::caller;
use omnirelay_nouns::listing;
use omnirelay_nouns::listing::PageRoom;
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1 as agent_pb;
use omnirelay_wire::pb::aeroarc::relay::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::relay_control;
use prost::Message;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::RELAY_RUNBOOK;
use super::commands::{AgentAnswer, AgentCommand, COMMAND_BYTES_MAX, RelayCommands};
use super::sessions::{AgentSessions, CONTEXT_ID_BYTES_MAX, is_context_id};

/// The most sessions of one page.
const PAGE_SIZE_MAX: usize = 1000;
/// How long an agent has to answer a command, whoever still waits for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The field of the command in the requests, and of the answer in the responses.
const COMMAND_FIELD: u32 = 2;
const RESULT_FIELD: u32 = 1;

/// The control of one relay.
#[derive(Clone)]
pub struct RelayController {
    sessions: Arc<AgentSessions>,
    commands: Arc<RelayCommands>,
    /// Where it is recorded who commanded what.
    registry: Arc<Registry>,
}

impl RelayController {
    pub fn new(sessions: Arc<AgentSessions>, commands: Arc<RelayCommands>, registry: Arc<Registry>) -> Self {
        Self { sessions, commands, registry }
    }

    /// Commands an agent. What was sent is recorded whether the caller waits for the answer or not.
    async fn command(
        &self,
        caller: Caller,
        agent_id: String,
        order: AgentCommand,
    ) -> Result<AgentAnswer, Fault> {
        if order.bytes_len() > COMMAND_BYTES_MAX {
            let message = format!("field `command` is longer than {COMMAND_BYTES_MAX} bytes");
            return Err(Fault::invalid(message));
        }
        let (action, change) = described(&order);
        let given = self.commands.send(&self.sessions, &agent_id, order)?;
        let registry = self.registry.clone();
        let carried_out = tokio::spawn(async move {
            let answer =
                timeout(ANSWER_TIMEOUT, given.answer()).await.unwrap_or_else(|_| Err(unanswered(&agent_id)));
            let became = match &answer {
                Ok(answer) => answer.status().as_str_name().to_owned(),
                Err(fault) => fault.reason.to_string(),
            };
            let changes = vec![format!("{change}: {became}")];
            let deed = AuditedAction {
                action,
                object: format!("drone/{agent_id}"),
                reason: "",
                dry_run: false,
                changes,
            };
            // What the agent has done cannot be taken back for want of a record.
            if let Err(error) = registry.record(&caller, deed).await {
                let error = chain(&error);
                tracing::warn!(
                    agent = agent_id,
                    action,
                    became,
                    error,
                    runbook = RELAY_RUNBOOK,
                    "a command to an agent is not in the audit trail"
                );
            }
            answer
        });
        carried_out.await.unwrap_or_else(|_| Err(Fault::new(reasons::INTERNAL, "the command's task ended")))
    }
}

#[tonic::async_trait]
impl pb::relay_control_server::RelayControl for RelayController {
    async fn list_active_drones(
        &self,
        request: Request<pb::ListActiveDronesRequest>,
    ) -> Result<Response<pb::ListActiveDronesResponse>, Status> {
        let pb::ListActiveDronesRequest { page_size, page_token } = request.into_inner();
        let size = listing::page_size(page_size, usize::MAX, PAGE_SIZE_MAX)?;
        // A token is the last id of its page: sessions come and go, and the order stays.
        let mut drones = self.sessions.list(&page_token, size.saturating_add(1));
        let more = PageRoom::of(size).cut(&mut drones, Message::encoded_len);
        let last = drones.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |drone| drone.drone_id.clone());
        Ok(Response::new(pb::ListActiveDronesResponse { drones, next_page_token }))
    }

    async fn get_drone_status(
        &self,
        request: Request<pb::GetDroneStatusRequest>,
    ) -> Result<Response<pb::GetDroneStatusResponse>, Status> {
        let drone_id = request.into_inner().drone_id;
        named("drone_id", &drone_id)?;
        let drone = self.sessions.status(&drone_id).ok_or_else(|| unknown(&drone_id))?;
        Ok(Response::new(pb::GetDroneStatusResponse { drone: Some(drone) }))
    }

    async fn set_operation_context(
        &self,
        request: Request<EncodedMessage<pb::SetOperationContextRequest>>,
    ) -> Result<Response<EncodedMessage<pb::SetOperationContextResponse>>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        named("agent_id", &request.agent_id)?;
        let command: EncodedMessage<agent_pb::SetOperationContextCommand> = command_of(&request)?;
        named("command.command_id", &command.command_id)?;
        let context = command.context.clone().unwrap_or_default();
        said("command.context.flight_id", &context.flight_id)?;
        said("command.context.intent_id", &context.intent_id)?;
        if context.intent_version == 0 {
            return Err(Fault::invalid("field `command.context.intent_version` begins with 1").into());
        }
        let result = self.command(caller, request.agent_id.clone(), AgentCommand::Set(command)).await?;
        let response = pb::SetOperationContextResponse { result: Some((*result).clone()) };
        Ok(Response::new(EncodedMessage::around(response, RESULT_FIELD, &result)))
    }

    async fn clear_operation_context(
        &self,
        request: Request<EncodedMessage<pb::ClearOperationContextRequest>>,
    ) -> Result<Response<EncodedMessage<pb::ClearOperationContextResponse>>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        named("agent_id", &request.agent_id)?;
        let command: EncodedMessage<agent_pb::ClearOperationContextCommand> = command_of(&request)?;
        named("command.command_id", &command.command_id)?;
        said("command.flight_id", &command.flight_id)?;
        let result = self.command(caller, request.agent_id.clone(), AgentCommand::Clear(command)).await?;
        let response = pb::ClearOperationContextResponse { result: Some((*result).clone()) };
        Ok(Response::new(EncodedMessage::around(response, RESULT_FIELD, &result)))
    }
}

/// The command of a request, with what it says beyond what is understood here.
fn command_of<R, C>(request: &EncodedMessage<R>) -> Result<EncodedMessage<C>, Fault>
where
    R: Message + Default,
    C: Message + Default,
{
    let command = request.field(COMMAND_FIELD);
    command.map_err(|error| Fault::invalid(format!("field `command` cannot be read: {error}")))
}

/// The action in the audit trail, and what changes.
fn described(order: &AgentCommand) -> (&'static str, String) {
    match order {
        AgentCommand::Set(command) => {
            let context = command.context.clone().unwrap_or_default();
            let flight = format!(
                "flight {} intent {} version {}",
                context.flight_id, context.intent_id, context.intent_version
            );
            (relay_control::SET_OPERATION_CONTEXT.audit_action, flight)
        }
        AgentCommand::Clear(command) => (
            relay_control::CLEAR_OPERATION_CONTEXT.audit_action,
            format!("end of flight {}", command.flight_id),
        ),
    }
}

/// Checks the id of an agent or a command: 1 to 128 of `[A-Za-z0-9._:-]`, not beginning with `_`.
fn named(field: &str, id: &str) -> Result<(), Fault> {
    check_id(id).map_err(|error| Fault::invalid(format!("field `{field}`: {error}")))
}

/// Checks what another system calls a flight or an intent.
fn said(field: &str, id: &str) -> Result<(), Fault> {
    if id.is_empty() {
        return Err(Fault::invalid(format!("field `{field}` is empty")));
    }
    if !is_context_id(id) {
        let what = format!(
            "field `{field}` is longer than {CONTEXT_ID_BYTES_MAX} bytes, or holds what cannot be seen"
        );
        return Err(Fault::invalid(what));
    }
    Ok(())
}

fn unanswered(agent_id: &str) -> Fault {
    let message = format!("agent `{agent_id}` has not answered; it may still obey");
    Fault::new(reasons::AGENT_SILENT, message).hint("give the same command again")
}

fn unknown(drone_id: &str) -> Fault {
    Fault::new(reasons::DRONE_NOT_FOUND, format!("no drone `{drone_id}` has a session here"))
        .hint("`omnirelay agents placement` says which relay holds it")
}
