//! Commands to agents: sent on their stream, remembered by their ids, answered once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

use super::RELAY_RUNBOOK;
use super::sessions::{Sessions, Stream};
use super::stream::CommandAcks;
use crate::wire::fault::{Code, Fault};
use crate::wire::pb::aeroarc::agent::v1 as pb;
use crate::wire::telemetry::{Shape, to_agent};
use pb::operation_context_command_ack::Status;
use pb::relay_stream_message::Payload;

/// How many commands are remembered, and for how long.
const REMEMBERED_MAX: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The commands of one relay.
#[derive(Default)]
pub struct Commands {
    by_id: Mutex<BTreeMap<String, Command>>,
}

/// One command that was given.
struct Command {
    agent_id: String,
    /// What was commanded; another one under the same id is refused.
    payload: Vec<u8>,
    given: Instant,
    /// What the agent has answered for good. Heard by all who wait for it.
    answer: watch::Sender<Option<pb::OperationContextCommandAck>>,
}

impl Command {
    /// Somebody waits for it, or may ask what became of it.
    fn is_worth_keeping(&self) -> bool {
        let answered = self.answer.borrow().is_some() && self.given.elapsed() < REMEMBERED_FOR;
        answered || self.answer.receiver_count() > 0
    }
}

type Answers = watch::Receiver<Option<pb::OperationContextCommandAck>>;

/// What an agent is commanded.
#[derive(Clone, Debug)]
pub enum Order {
    Set(pb::SetOperationContextCommand),
    Clear(pb::ClearOperationContextCommand),
}

impl Order {
    pub fn command_id(&self) -> &str {
        match self {
            Self::Set(command) => &command.command_id,
            Self::Clear(command) => &command.command_id,
        }
    }

    fn payload(&self) -> Payload {
        match self {
            Self::Set(command) => Payload::SetOperationContext(command.clone()),
            Self::Clear(command) => Payload::ClearOperationContext(command.clone()),
        }
    }

    /// What the agent does once it has obeyed.
    fn context(&self) -> Option<&pb::OperationContext> {
        match self {
            Self::Set(command) => command.context.as_ref(),
            Self::Clear(_) => None,
        }
    }
}

impl Commands {
    /// Commands an agent and waits for its answer; for a command that it has answered, the answer it gave.
    ///
    /// # Errors
    /// `DRONE_NOT_FOUND`, `AGENT_OFFLINE`, `AGENT_TAKES_NO_COMMANDS`, `COMMAND_REUSED`, `TOO_MANY_COMMANDS`,
    /// `SESSION_REPLACED`; `INTERNAL` when the answer fits no such command. Waits without limit: the caller's deadline
    /// ends it, and the same command may be given again then.
    pub async fn give(
        &self,
        sessions: &Sessions,
        agent_id: &str,
        order: Order,
    ) -> Result<pb::OperationContextCommandAck, Fault> {
        let stream = addressee(sessions, agent_id);
        let mut answers = self.remember(agent_id, &order, &stream)?;
        if let Some(answer) = answers.borrow_and_update().clone() {
            return fitting(&order, answer);
        }
        let stream = stream?;
        if !stream.send(to_agent(order.payload())) {
            return Err(too_many("too many commands wait to be sent to the agent"));
        }
        let answer = tokio::select! {
            answer = answers.wait_for(Option::is_some) => answer.ok().and_then(|answer| answer.clone()),
            () = stream.over() => None,
            () = stream.session.replaced() => None,
        };
        match answer {
            Some(answer) => fitting(&order, answer),
            None => Err(gone(&stream)),
        }
    }

    /// Remembers a command, or finds it again.
    fn remember(
        &self,
        agent_id: &str,
        order: &Order,
        stream: &Result<Arc<Stream>, Fault>,
    ) -> Result<Answers, Fault> {
        let payload = pb::RelayStreamMessage { payload: Some(order.payload()) }.encode_to_vec();
        let mut by_id = self.lock();
        if let Some(known) =
            by_id.get(order.command_id()).filter(|known| known.given.elapsed() < REMEMBERED_FOR)
        {
            if known.agent_id != agent_id || known.payload != payload {
                return Err(reused(order.command_id()));
            }
            known.answer.send_if_modified(|answer| answer.take_if(|answer| !is_final(answer)).is_some());
            return Ok(known.answer.subscribe());
        }
        // One that cannot be sent is not worth remembering.
        if let Err(fault) = stream {
            return Err(fault.clone());
        }
        if by_id.len() >= REMEMBERED_MAX {
            by_id.retain(|_, command| command.is_worth_keeping());
            if by_id.len() >= REMEMBERED_MAX {
                return Err(too_many("the relay remembers as many commands as it can"));
            }
        }
        let (answer, answers) = watch::channel(None);
        let command = Command { agent_id: agent_id.to_owned(), payload, given: Instant::now(), answer };
        by_id.insert(order.command_id().to_owned(), command);
        Ok(answers)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Command>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandAcks for Commands {
    fn note(&self, stream: &Stream, ack: pb::OperationContextCommandAck) {
        let by_id = self.lock();
        let of_agent = |command: &&Command| command.agent_id == *stream.session.agent_id;
        let Some(command) = by_id.get(&ack.command_id).filter(of_agent) else {
            tracing::debug!(agent = %stream.session.agent_id, "answer to no command was ignored");
            return;
        };
        if matches!(ack.status(), Status::Applied | Status::AlreadyApplied) {
            stream.session.note_context(ack.active_context.clone());
        }
        command.answer.send_if_modified(|answer| {
            let first = answer.as_ref().is_none_or(|answer| !is_final(answer));
            if first {
                *answer = Some(ack);
            }
            first
        });
    }
}

/// Whether an agent will not say anything else of the command: what it could not do for the moment, it is asked again.
fn is_final(answer: &pb::OperationContextCommandAck) -> bool {
    answer.status() != Status::TemporaryError
}

/// The stream that takes commands for an agent.
fn addressee(sessions: &Sessions, agent_id: &str) -> Result<Arc<Stream>, Fault> {
    let shown: String = agent_id.chars().take(128).collect();
    let Some((_, stream)) = sessions.current(agent_id) else {
        return Err(Fault::new(
            Code::NotFound,
            "DRONE_NOT_FOUND",
            format!("no agent `{shown}` has a session here"),
        )
        .hint("`omnirelay agents placement` says which relay holds it"));
    };
    let Some(stream) = stream else {
        return Err(offline(&shown));
    };
    match stream.shape.get() {
        Some(Shape::Envelope) => Ok(stream),
        Some(Shape::Legacy) => {
            Err(takes_none(&shown, "streams bare frames").hint("agents that stream envelopes take commands"))
        }
        None => Err(takes_none(&shown, "has sent nothing yet").hint("try again once it has")),
    }
}

fn gone(stream: &Stream) -> Fault {
    let agent_id = &stream.session.agent_id;
    if stream.session.is_replaced() {
        let message = format!("agent `{agent_id}` has begun another session without answering");
        return Fault::new(Code::Aborted, "SESSION_REPLACED", message)
            .hint("give the same command again: an agent that has obeyed says so");
    }
    offline(agent_id)
}

fn offline(agent_id: &str) -> Fault {
    Fault::new(Code::Unavailable, "AGENT_OFFLINE", format!("agent `{agent_id}` has no stream open"))
        .hint("give the same command again when it is back")
}

fn takes_none(agent_id: &str, why: &str) -> Fault {
    let message = format!("agent `{agent_id}` takes no commands: it {why}");
    Fault::new(Code::FailedPrecondition, "AGENT_TAKES_NO_COMMANDS", message)
}

fn reused(command_id: &str) -> Fault {
    let message =
        format!("command `{command_id}` was given before, to another agent or with another content");
    Fault::new(Code::AlreadyExists, "COMMAND_REUSED", message).hint("choose another id for another command")
}

fn too_many(what: &str) -> Fault {
    Fault::new(Code::ResourceExhausted, "TOO_MANY_COMMANDS", what).hint("try again later")
}

/// The answer, unless the agent says that it does something else now than it was told to.
fn fitting(
    order: &Order,
    answer: pb::OperationContextCommandAck,
) -> Result<pb::OperationContextCommandAck, Fault> {
    let obeyed = matches!(answer.status(), Status::Applied | Status::AlreadyApplied);
    if obeyed && answer.active_context.as_ref() != order.context() {
        tracing::warn!(
            command = order.command_id(),
            runbook = RELAY_RUNBOOK,
            "agent answered with another context than it was told"
        );
        return Err(Fault::new(Code::Internal, "INTERNAL", "the agent's answer does not fit the command"));
    }
    Ok(answer)
}

#[cfg(test)]
#[path = "commands_test.rs"]
mod commands_test;
