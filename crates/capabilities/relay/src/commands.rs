//! Commands to agents: sent on their stream, remembered by their ids, answered once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1 as pb;
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::reasons;
use omnirelay_wire::telemetry::{StreamShape, command_to_agent};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::RELAY_RUNBOOK;
use super::sessions::{AgentSessions, AgentStream, CONTEXT_ID_BYTES_MAX, CommandUnsentReason};
use super::stream::CommandAcks;
use pb::operation_context_command_ack::Status;

/// How many commands are remembered, and for how long.
const REMEMBERED_MAX: usize = 4096;
/// The longest command, and the longest answer of which all is kept, in bytes: several times what their fields may have.
pub const COMMAND_BYTES_MAX: usize = 8192;
/// The fields of the commands in [`pb::RelayStreamMessage`].
const SET_FIELD: u32 = 2;
const CLEAR_FIELD: u32 = 3;
/// The longest error of an agent that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 1024;
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The commands of one relay.
#[derive(Default)]
pub struct RelayCommands {
    by_id: Mutex<BTreeMap<String, GivenCommand>>,
}

/// Command that was given, with its answer.
struct GivenCommand {
    agent_id: String,
    /// What was sent; another one under the same id is refused.
    payload: RawMessage,
    given: Instant,
    /// What the agent has answered for good. Heard by all who wait for it.
    answer: watch::Sender<Option<AgentAnswer>>,
}

impl GivenCommand {
    /// Somebody waits for it, or may ask what became of it.
    fn is_worth_keeping(&self) -> bool {
        let answered = self.answer.borrow().is_some() && self.given.elapsed() < REMEMBERED_FOR;
        answered || self.answer.receiver_count() > 0
    }
}

/// Receiver of the answer to a command.
type AnswerReceiver = watch::Receiver<Option<AgentAnswer>>;
/// Answer of an agent to a command, with what it says beyond what is understood here.
pub type AgentAnswer = EncodedMessage<pb::OperationContextCommandAck>;

/// Command to an agent.
#[derive(Clone, Debug)]
pub enum AgentCommand {
    Set(EncodedMessage<pb::SetOperationContextCommand>),
    Clear(EncodedMessage<pb::ClearOperationContextCommand>),
}

impl AgentCommand {
    pub fn command_id(&self) -> &str {
        match self {
            Self::Set(command) => &command.command_id,
            Self::Clear(command) => &command.command_id,
        }
    }

    /// Number of bytes of the command.
    pub fn bytes_len(&self) -> usize {
        match self {
            Self::Set(command) => command.bytes().len(),
            Self::Clear(command) => command.bytes().len(),
        }
    }

    /// As it is sent, with what it says beyond what is understood here.
    fn payload(&self) -> RawMessage {
        match self {
            Self::Set(command) => command_to_agent(SET_FIELD, command),
            Self::Clear(command) => command_to_agent(CLEAR_FIELD, command),
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

/// A command that an agent was sent, or has answered already.
pub struct SentCommand {
    order: AgentCommand,
    answers: AnswerReceiver,
    /// `None`: it was not sent again.
    stream: Option<Arc<AgentStream>>,
}

impl RelayCommands {
    /// Sends a command to an agent, unless it has answered it already.
    ///
    /// # Errors
    /// `DRONE_NOT_FOUND`, `AGENT_OFFLINE`, `AGENT_TAKES_NO_COMMANDS`, `COMMAND_REUSED`, `TOO_MANY_COMMANDS`: nothing
    /// was sent.
    pub fn send(
        &self,
        sessions: &AgentSessions,
        agent_id: &str,
        order: AgentCommand,
    ) -> Result<SentCommand, Fault> {
        let stream = addressee(sessions, agent_id);
        let answers = self.remember(agent_id, &order, &stream)?;
        if answers.borrow().is_some() {
            return Ok(SentCommand { order, answers, stream: None });
        }
        let stream = stream?;
        match stream.send(order.payload()) {
            Ok(()) => Ok(SentCommand { order, answers, stream: Some(stream) }),
            Err(CommandUnsentReason::Full) => Err(too_many("too many commands wait to be sent to the agent")),
            Err(CommandUnsentReason::Over) => Err(gone(&stream)),
        }
    }

    /// Remembers a command, or finds it again.
    fn remember(
        &self,
        agent_id: &str,
        order: &AgentCommand,
        stream: &Result<Arc<AgentStream>, Fault>,
    ) -> Result<AnswerReceiver, Fault> {
        let payload = order.payload();
        let mut by_id = self.by_id.lock();
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
        let command = GivenCommand { agent_id: agent_id.to_owned(), payload, given: Instant::now(), answer };
        by_id.insert(order.command_id().to_owned(), command);
        Ok(answers)
    }
}

impl SentCommand {
    /// Waits for the agent's answer; of a command that it has answered before, the answer it gave.
    ///
    /// # Errors
    /// `AGENT_OFFLINE`, `SESSION_REPLACED`; `INTERNAL` when the answer fits no such command. Waits without limit, and
    /// the same command may be given again if that takes too long.
    pub async fn answer(self) -> Result<AgentAnswer, Fault> {
        let Self { order, mut answers, stream } = self;
        let over = async {
            match &stream {
                Some(stream) => tokio::select! {
                    () = stream.over() => {}
                    () = stream.session.replaced() => {}
                },
                None => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            // An agent may answer and close its stream in one go.
            biased;
            answer = answers.wait_for(Option::is_some) => answer.ok().and_then(|answer| answer.clone()),
            () = over => None,
        };
        match (answer, stream) {
            (Some(answer), _) => fitting(&order, answer),
            (None, Some(stream)) => Err(gone(&stream)),
            // It is remembered no more.
            (None, None) => Err(offline("?")),
        }
    }
}

impl CommandAcks for RelayCommands {
    fn note(&self, stream: &AgentStream, ack: AgentAnswer) {
        let ack = bounded(ack);
        let by_id = self.by_id.lock();
        let of_agent = |command: &&GivenCommand| command.agent_id == *stream.session.agent_id;
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

/// What is kept of an answer: agents may say more than anybody should remember.
fn bounded(ack: AgentAnswer) -> AgentAnswer {
    let mut short = pb::OperationContextCommandAck::clone(&ack);
    shorten(&mut short.error, ERROR_BYTES_MAX);
    if let Some(context) = &mut short.active_context {
        // More than any that was commanded has, wherever a character ends: so it still fits none.
        shorten(&mut context.flight_id, CONTEXT_ID_BYTES_MAX + 4);
        shorten(&mut context.intent_id, CONTEXT_ID_BYTES_MAX + 4);
    }
    if short == *ack && ack.bytes().len() <= COMMAND_BYTES_MAX { ack.detached() } else { short.into() }
}

fn shorten(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
    text.shrink_to_fit();
}

/// Whether an agent will not say anything else of the command: what it could not do for the moment, it is asked again.
fn is_final(answer: &AgentAnswer) -> bool {
    answer.status() != Status::TemporaryError
}

/// The stream that takes commands for an agent.
fn addressee(sessions: &AgentSessions, agent_id: &str) -> Result<Arc<AgentStream>, Fault> {
    let shown: String = agent_id.chars().take(128).collect();
    let Some((_, stream)) = sessions.current(agent_id) else {
        return Err(Fault::new(reasons::DRONE_NOT_FOUND, format!("no agent `{shown}` has a session here"))
            .hint("`omnirelay agents placement` says which relay holds it"));
    };
    let Some(stream) = stream else {
        return Err(offline(&shown));
    };
    match stream.shape.get() {
        Some(StreamShape::Envelope) => Ok(stream),
        Some(StreamShape::Legacy) => {
            Err(takes_none(&shown, "streams bare frames").hint("agents that stream envelopes take commands"))
        }
        None => Err(takes_none(&shown, "has sent nothing yet").hint("try again once it has")),
    }
}

fn gone(stream: &AgentStream) -> Fault {
    let agent_id = &stream.session.agent_id;
    if stream.session.is_replaced() {
        let message = format!("agent `{agent_id}` has begun another session without answering");
        return Fault::new(reasons::SESSION_REPLACED, message)
            .hint("give the same command again: an agent that has obeyed says so");
    }
    offline(agent_id)
}

fn offline(agent_id: &str) -> Fault {
    Fault::new(reasons::AGENT_OFFLINE, format!("agent `{agent_id}` has no stream open"))
        .hint("give the same command again when it is back")
}

fn takes_none(agent_id: &str, why: &str) -> Fault {
    let message = format!("agent `{agent_id}` takes no commands: it {why}");
    Fault::new(reasons::AGENT_TAKES_NO_COMMANDS, message)
}

fn reused(command_id: &str) -> Fault {
    let message =
        format!("command `{command_id}` was given before, to another agent or with another content");
    Fault::new(reasons::COMMAND_REUSED, message).hint("choose another id for another command")
}

fn too_many(what: &str) -> Fault {
    Fault::new(reasons::TOO_MANY_COMMANDS, what).hint("try again later")
}

/// The answer, unless the agent says that it does something else now than it was told to.
fn fitting(order: &AgentCommand, answer: AgentAnswer) -> Result<AgentAnswer, Fault> {
    let obeyed = matches!(answer.status(), Status::Applied | Status::AlreadyApplied);
    if obeyed && answer.active_context.as_ref() != order.context() {
        tracing::warn!(
            command = order.command_id(),
            runbook = RELAY_RUNBOOK,
            "agent answered with another context than it was told"
        );
        return Err(Fault::new(reasons::INTERNAL, "the agent's answer does not fit the command"));
    }
    Ok(answer)
}

#[cfg(test)]
#[path = "commands_test.rs"]
mod commands_test;
