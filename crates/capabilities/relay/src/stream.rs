//! One telemetry stream: what comes is read in batches and handed to the sinks, and acknowledged when they have it.
//!
//! It is read while the answer is polled: an agent that does not read its acknowledgements is not read from either. What
//! it shares with others, room and places in queues, is held by tasks that do not depend on it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use omnirelay_core::names::check_id;
use omnirelay_core::text::chain;
use omnirelay_host::chance::random_part;
use omnirelay_host::live::Live;
use omnirelay_host::log::{LogLimiter, LogTurn};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1 as pb;
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::reasons;
use omnirelay_wire::telemetry::{FromAgent, GarbledMessage, StreamShape, shape_of};
use tokio::task::JoinHandle;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};
use tracing::warn;

use super::RELAY_RUNBOOK;
use super::batch::{Frame, FrameBatch};
use super::room::FrameRoom;
use super::sessions::{AgentSessions, AgentStream, StreamEnding, StreamOrders, unix_ns};
use super::sinks::{NotTaken, Sinks};
use crate::metrics::relay::{RelayMetrics, SourceCounts};
use pb::telemetry_ack::Status as AckStatus;

/// How many messages, and about how many bytes of frames, are read before something else has its turn.
const BATCH_FRAMES_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// How long a stream whose frames were not taken is kept before it ends, and by how much longer at most: its agent
/// comes back at once, and all others with it.
const NOT_TAKEN_PAUSE: Duration = Duration::from_secs(1);
const NOT_TAKEN_SPREAD: Duration = Duration::from_secs(1);

/// How often it is logged, of all streams, that frames were captured under another id.
const ANOTHER_ID_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Takes telemetry, for all streams of a relay.
pub struct TelemetryIntake {
    settings: Live<IntakeSettings>,
    sinks: Arc<Sinks>,
    /// For unacknowledged frames of all streams.
    pub(crate) room: FrameRoom,
    metrics: Arc<RelayMetrics>,
    commands: Arc<dyn CommandAcks>,
    /// For lines of frames that were captured under another id than that of their stream: anybody may open any number of
    /// streams.
    another_id: LogLimiter,
}

/// Settings of the intake of telemetry.
#[derive(Clone, Copy, Debug)]
pub struct IntakeSettings {
    /// How many frames of a stream are held unacknowledged.
    pub inflight_max: usize,
    /// How many bytes those of all streams may hold.
    pub inflight_bytes_max: usize,
    /// What every stream has; `None`: as it begins.
    pub shape: Option<StreamShape>,
}

/// Hears what agents answer to commands.
pub trait CommandAcks: Send + Sync {
    fn note(&self, stream: &AgentStream, ack: EncodedMessage<pb::OperationContextCommandAck>);
}

/// Acknowledgements that a stream is answered with.
pub type StreamAcks = Pin<Box<dyn futures_util::Stream<Item = Result<RawMessage, Status>> + Send>>;

impl TelemetryIntake {
    pub fn new(
        settings: impl Into<Live<IntakeSettings>>,
        sinks: Arc<Sinks>,
        metrics: Arc<RelayMetrics>,
        commands: Arc<dyn CommandAcks>,
    ) -> Self {
        let settings = settings.into();
        let room = FrameRoom::new(settings.map(|settings| settings.inflight_bytes_max));
        let another_id = LogLimiter::new(1, ANOTHER_ID_TOLD_EVERY);
        Self { settings, sinks, room, metrics, commands, another_id }
    }

    /// Keeps the room for unacknowledged frames as large as it is to be, for ever.
    pub async fn resize(&self) {
        self.room.resize().await;
    }

    pub fn inflight_max(&self) -> usize {
        self.settings.get().inflight_max
    }

    /// Serves a stream.
    pub fn serve(
        self: Arc<Self>,
        sessions: Arc<AgentSessions>,
        stream: Arc<AgentStream>,
        orders: StreamOrders,
        incoming: Streaming<RawMessage>,
    ) -> StreamAcks {
        let served = ServedStream {
            counts: self.metrics.of_source(&stream.session.agent_id),
            shape: None,
            intake: self,
            sessions,
            stream,
            orders,
            incoming,
            listening: true,
            taking: None,
            pending: VecDeque::new(),
            inflight: 0,
            ready: VecDeque::new(),
            ending: StreamEnding::Broken,
            fault: None,
            ends_at: None,
            told_of_another_id: false,
        };
        Box::pin(futures_util::stream::unfold(served, |mut served| async move {
            let message = served.next().await?;
            Some((message, served))
        }))
    }
}

/// Frames that the sinks have, and that are acknowledged when they are safe.
struct PendingFrames {
    seqs: Vec<u64>,
    done: JoinHandle<Result<(), NotTaken>>,
}

/// Frames that wait for room, here or in a sink. Dropping it gives them up.
struct WaitingFrames(JoinHandle<PendingFrames>);

impl Drop for WaitingFrames {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Stream that is being served.
struct ServedStream {
    intake: Arc<TelemetryIntake>,
    sessions: Arc<AgentSessions>,
    stream: Arc<AgentStream>,
    orders: StreamOrders,
    incoming: Streaming<RawMessage>,
    counts: SourceCounts,
    shape: Option<StreamShape>,
    /// Whether there may be more to read.
    listening: bool,
    /// A batch that waits for room.
    taking: Option<WaitingFrames>,
    /// Batches in the order in which they came.
    pending: VecDeque<PendingFrames>,
    /// The frames of `taking` and `pending`.
    inflight: usize,
    /// Messages for the agent.
    ready: VecDeque<RawMessage>,
    ending: StreamEnding,
    /// How it ends, once everything before is answered.
    fault: Option<Status>,
    /// When it ends at the earliest.
    ends_at: Option<Instant>,
    /// It was logged that frames of it were captured under another id than its own.
    told_of_another_id: bool,
}

/// Event of a stream that happened first.
enum Event {
    Acked(Result<(), NotTaken>),
    Handed(Option<PendingFrames>),
    Command(RawMessage),
    Message(Option<Result<RawMessage, Status>>),
    Replaced,
}

impl ServedStream {
    /// The next message for the agent; `None` at the end.
    async fn next(&mut self) -> Option<Result<RawMessage, Status>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(Ok(message));
            }
            // What comes in may keep it busy without anything to answer.
            consume_budget().await;
            if !self.listening && self.taking.is_none() && self.pending.is_empty() {
                if let Some(at) = self.ends_at {
                    sleep_until(at).await;
                }
                return self.fault.take().map(Err);
            }
            match self.event().await {
                Event::Acked(outcome) => self.acknowledge(outcome),
                Event::Handed(pending) => {
                    self.taking = None;
                    self.pending.extend(pending);
                    self.note_inflight();
                }
                Event::Command(message) => self.ready.push_back(message),
                Event::Message(message) => self.take(message),
                Event::Replaced => self.end(replaced().into()),
            }
        }
    }

    /// Waits for the next thing to do. Dropping the wait loses nothing.
    async fn event(&mut self) -> Event {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(first) = self.pending.front_mut()
            && let Poll::Ready(outcome) = first.done.poll_unpin(cx)
        {
            return Poll::Ready(Event::Acked(outcome.unwrap_or(Err(NotTaken::Failed { sink: "relay" }))));
        }
        if let Some(taking) = &mut self.taking
            && let Poll::Ready(pending) = taking.0.poll_unpin(cx)
        {
            // A task that panicked has lost its frames: they are not acknowledged.
            return Poll::Ready(Event::Handed(pending.ok()));
        }
        if !self.listening {
            return Poll::Pending;
        }
        if let Poll::Ready(Some(command)) = self.orders.commands.poll_recv(cx) {
            return Poll::Ready(Event::Command(command));
        }
        if let Poll::Ready(Ok(())) = self.orders.ended.poll_unpin(cx) {
            return Poll::Ready(Event::Replaced);
        }
        if self.taking.is_none() && self.inflight < self.intake.inflight_max() {
            return self.incoming.poll_next_unpin(cx).map(Event::Message);
        }
        Poll::Pending
    }

    /// Takes a message, and those that have come with it.
    fn take(&mut self, first: Option<Result<RawMessage, Status>>) {
        let now = unix_ns();
        self.stream.session.note_message(now);
        let IntakeSettings { inflight_max, shape: only, .. } = self.intake.settings.get();
        let room = inflight_max.saturating_sub(self.inflight).min(BATCH_FRAMES_MAX);
        let (mut frames, mut frame_bytes, mut messages) = (Vec::new(), 0, 0);
        let mut next = Some(first);
        while let Some(message) = next {
            messages += 1;
            match message {
                Some(Ok(raw)) => match self.read(&raw, only) {
                    Ok(Some(frame)) => {
                        frame_bytes += frame.raw.len();
                        frames.push(frame);
                    }
                    Ok(None) => {}
                    Err(fault) => self.end(fault.into()),
                },
                Some(Err(status)) => self.end(status),
                None => {
                    self.listening = false;
                    self.ending = StreamEnding::Clean;
                }
            }
            let more = self.listening && messages < room && frame_bytes < BATCH_BYTES_MAX;
            next = more.then(|| self.incoming.next().now_or_never()).flatten();
        }
        if !frames.is_empty() {
            self.hand_over(frames, now);
        }
    }

    /// Reads one message; `None` when there is nothing in it for the sinks. `only`: every stream has this shape.
    fn read(&mut self, raw: &RawMessage, only: Option<StreamShape>) -> Result<Option<Frame>, Fault> {
        let garbled = |error| garbled(&error, only);
        let shape = match (self.shape, only) {
            (Some(began), Some(only)) if began != only => {
                return Err(garbled(GarbledMessage::OtherShape { began: only, came: began }));
            }
            (Some(shape), _) => shape,
            (None, Some(only)) => *self.shape.insert(only),
            (None, None) => *self.shape.insert(shape_of(raw, StreamShape::Legacy).map_err(garbled)?),
        };
        self.stream.shape.get_or_init(|| shape);
        match shape.read(raw).map_err(garbled)? {
            FromAgent::Frame { frame, raw } => Ok(self.check(shape, Frame { message: frame, raw })),
            FromAgent::CommandAck(ack) => {
                self.intake.commands.note(&self.stream, ack);
                Ok(None)
            }
            FromAgent::Unknown => Ok(None),
        }
    }

    /// Refuses a frame that no sink should have.
    fn check(&mut self, shape: StreamShape, frame: Frame) -> Option<Frame> {
        if frame.message.seq == 0 {
            self.intake.metrics.refused("invalid", 1);
            self.refuse(shape, frame.message.seq, "`seq` begins with 1");
            return None;
        }
        self.tell_of_another_id(&frame.message.agent_id);
        self.note_context(&frame.message);
        self.counts.message(&frame.message.msg_name);
        Some(frame)
    }

    /// Says once in a stream that a frame was captured under another id. An agent that has lost its id keeps its log,
    /// and would send again for ever what is not taken.
    fn tell_of_another_id(&mut self, captured_as: &str) {
        let agent = &self.stream.session.agent_id;
        if self.told_of_another_id || captured_as.is_empty() || *captured_as == **agent {
            return;
        }
        if let Some(LogTurn { left_out }) = self.intake.another_id.turn() {
            self.told_of_another_id = true;
            // Whoever reaches the port may have written anything there.
            let captured_as = if check_id(captured_as).is_ok() { captured_as } else { "what is no id" };
            warn!(
                agent = %agent,
                captured_as,
                left_out,
                runbook = RELAY_RUNBOOK,
                "frames that an agent captured under another id were taken"
            );
        }
    }

    /// Says that no sink will ever have a frame, to agents that would hear it: older ones take any answer for a success.
    fn refuse(&mut self, shape: StreamShape, seq: u64, why: &str) {
        if shape == StreamShape::Envelope {
            let (status, error) = (AckStatus::PermanentError.into(), why.to_owned());
            self.ready.push_back(shape.ack(pb::TelemetryAck { seq, status, error, frame_id: String::new() }));
        }
    }

    /// Leaves frames unacknowledged that may be taken later. An agent with envelopes waits for an answer to each, and
    /// there are some that take any answer for a success: it is told by the end of its stream. One with bare frames
    /// sends them again when their time has come, whether its stream has ended or not.
    fn leave(&mut self, why: &NotTaken) {
        if self.shape == Some(StreamShape::Envelope) && self.fault.is_none() {
            self.ends_at = Some(Instant::now() + NOT_TAKEN_PAUSE + NOT_TAKEN_SPREAD.mul_f64(random_part()));
            self.end(not_taken(why).into());
        }
    }

    fn note_context(&self, frame: &pb::TelemetryFrame) {
        if !frame.flight_id.is_empty() {
            self.stream.session.note_flight(&frame.flight_id, &frame.intent_id, frame.intent_version);
        }
    }

    fn hand_over(&mut self, frames: Vec<Frame>, now: i64) {
        let seqs: Vec<u64> = frames.iter().map(|frame| frame.message.seq).collect();
        self.inflight += seqs.len();
        self.stream.session.note_held(seqs.len());
        let agent_id = self.stream.session.agent_id.clone();
        let batch = Arc::new(FrameBatch { agent_id, received_unix_ns: now, frames });
        let intake = self.intake.clone();
        let mut taking = async move {
            let room = intake.room.take(batch.held_bytes()).await;
            let handed = intake.sinks.take(batch).await;
            // It ends with the sinks, whatever becomes of the stream.
            let done = tokio::spawn(async move {
                let outcome = handed.done().await;
                drop(room);
                outcome
            });
            PendingFrames { seqs, done }
        }
        .boxed();
        // Nearly always there is room. Where there is not, a place in a queue must not depend on who reads what.
        match (&mut taking).now_or_never() {
            Some(pending) => self.pending.push_back(pending),
            None => self.taking = Some(WaitingFrames(tokio::spawn(taking))),
        }
    }

    /// Answers for the oldest batch.
    fn acknowledge(&mut self, outcome: Result<(), NotTaken>) {
        let Some(PendingFrames { seqs, .. }) = self.pending.pop_front() else { return };
        self.inflight = self.inflight.saturating_sub(seqs.len());
        self.stream.session.note_let_go(seqs.len());
        match outcome {
            Ok(()) => {
                let shape = self.shape.unwrap_or(StreamShape::Legacy);
                self.stream.session.note_acked(seqs.len(), seqs.last().copied().unwrap_or_default());
                self.intake.metrics.acked(seqs.len());
                let acks =
                    seqs.into_iter().map(|seq| shape.ack(pb::TelemetryAck { seq, ..Default::default() }));
                self.ready.extend(acks);
            }
            Err(why) => {
                let word = match why {
                    NotTaken::Full { .. } => "full",
                    NotTaken::Failed { .. } => "failed",
                };
                self.intake.metrics.refused(word, seqs.len());
                self.leave(&why);
            }
        }
    }

    /// Counts what is held anew.
    fn note_inflight(&mut self) {
        let held = self.pending.iter().map(|pending| pending.seqs.len()).sum();
        self.stream.session.note_let_go(self.inflight.saturating_sub(held));
        self.inflight = held;
    }

    /// Reads no more, and ends so once everything is answered.
    fn end(&mut self, status: Status) {
        self.listening = false;
        self.fault.get_or_insert(status);
    }
}

impl Drop for ServedStream {
    fn drop(&mut self) {
        self.stream.session.note_let_go(self.inflight);
        self.sessions.close(&self.stream, self.ending);
    }
}

/// The fault of a message that cannot be read; `only`: every stream has this shape.
fn garbled(error: &GarbledMessage, only: Option<StreamShape>) -> Fault {
    let (what, hint) = match (error, only) {
        (GarbledMessage::OtherShape { came, .. }, Some(only)) => (
            format!("this relay takes {} messages only, and this one is {}", only.word(), came.word()),
            "with `relay.telemetryWire: auto` the relay takes both",
        ),
        (
            GarbledMessage::OtherShape { .. } | GarbledMessage::Undecodable(_) | GarbledMessage::Truncated,
            _,
        ) => (chain(error), "a stream carries TelemetryFrame or AgentStreamMessage, and goes on as it began"),
    };
    Fault::new(reasons::GARBLED_TELEMETRY, what).hint(hint)
}

fn not_taken(why: &NotTaken) -> Fault {
    Fault::new(reasons::TELEMETRY_NOT_TAKEN, why.to_string())
        .hint("send again, on a new stream, what was not acknowledged")
}

fn replaced() -> Fault {
    Fault::new(reasons::STREAM_REPLACED, "newer streams of the agent have taken this one's place")
        .hint("an agent needs one stream; two of one id take each other's place")
}

#[cfg(test)]
#[path = "stream_test.rs"]
mod stream_test;
