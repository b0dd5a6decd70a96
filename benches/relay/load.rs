//! An agent that sends as much as it may, or as much as it should.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use futures_util::{Stream, stream};
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_client::AgentGatewayClient;
use omnirelay_wire::raw::RawMessage;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Request;
use tonic::transport::Channel;

/// How many different frames an agent has.
const FRAMES: u64 = 512;
/// How long nothing is answered before that is a failure.
const STALLED: Duration = Duration::from_secs(10);
/// How often frames are due.
const TICK: Duration = Duration::from_millis(2);

/// An agent with its connection, and its frames as they are sent again and again.
pub(crate) struct Agent {
    channel: Channel,
    id: String,
    frames: Vec<Bytes>,
}

impl Agent {
    pub(crate) fn new(channel: Channel, id: String) -> Self {
        let frames = frames(&id);
        Self { channel, id, frames }
    }
}

/// Frames of an agent as agent v0.1.0 puts them on the wire.
pub(crate) fn frames(agent_id: &str) -> Vec<Bytes> {
    let fields = [("Autopilot", "3"), ("BaseMode", "81"), ("CustomMode", "4"), ("SystemStatus", "4")];
    let frame = |seq: u64| TelemetryFrame {
        agent_id: agent_id.to_owned(),
        seq,
        sent_at_unix_ns: 1_767_300_000_000_000_000 + seq as i64,
        raw_mavlink: Bytes::from_static(br#"{"Type":2,"Autopilot":3,"BaseMode":81,"CustomMode":4}"#),
        dialect: "common".to_owned(),
        msg_name: "*minimal.MessageHeartbeat".to_owned(),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..TelemetryFrame::default()
    };
    (1..=FRAMES).map(|seq| frame(seq).encode_to_vec().into()).collect()
}

/// What the two directions of a stream tell each other.
#[derive(Default)]
struct Window {
    answered: AtomicU64,
    over: AtomicBool,
    waker: AtomicWaker,
}

/// As many frames as there is room for.
struct Full {
    frames: Vec<Bytes>,
    sent: u64,
    window: u64,
    shared: Arc<Window>,
}

impl Stream for Full {
    type Item = RawMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<RawMessage>> {
        self.shared.waker.register(cx.waker());
        if self.shared.over.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        if self.sent - self.shared.answered.load(Ordering::Acquire) >= self.window {
            return Poll::Pending;
        }
        let frame = self.frames[(self.sent % FRAMES) as usize].clone();
        self.sent += 1;
        Poll::Ready(Some(RawMessage(frame)))
    }
}

fn request<S>(agent_id: &str, frames: S) -> Result<Request<S>> {
    let mut request = Request::new(frames);
    request.metadata_mut().insert("aero-arc-agent-id", agent_id.parse()?);
    Ok(request)
}

/// Sends with a full window until an end; returns how many frames were answered between the beginning, which is when
/// all streams have warmed up, and the end.
pub(crate) async fn full(agent: Agent, window: u64, begin: Instant, end: Instant) -> Result<u64> {
    let Agent { channel, id, frames } = agent;
    let shared = Arc::new(Window::default());
    let frames = Full { frames, sent: 0, window, shared: shared.clone() };
    let mut client = AgentGatewayClient::new(channel);
    let mut answers = client.telemetry_stream(request(&id, frames)?).await?.into_inner();
    let (mut all, mut counted) = (0, 0);
    loop {
        let answer = tokio::time::timeout(STALLED, answers.message()).await;
        if answer.with_context(|| format!("{all} frames were answered, and no more"))??.is_none() {
            return Ok(counted);
        }
        all += 1;
        shared.answered.store(all, Ordering::Release);
        shared.waker.wake();
        let now = Instant::now();
        counted += u64::from(now >= begin && now < end);
        if now >= end && !shared.over.swap(true, Ordering::AcqRel) {
            shared.waker.wake();
        }
    }
}

/// Sends so many frames a second until an end; returns how long each took to be answered since it was due, of those
/// that were due from the beginning on.
pub(crate) async fn paced(
    agent: Agent,
    frames_s: f64,
    begin: Instant,
    end: Instant,
) -> Result<Vec<Duration>> {
    let Agent { channel, id, frames } = agent;
    let due = Arc::new(Mutex::new(VecDeque::new()));
    let (out, sent) = mpsc::unbounded_channel::<RawMessage>();
    let sent = stream::unfold(sent, |mut sent| async move { sent.recv().await.map(|frame| (frame, sent)) });
    let mut client = AgentGatewayClient::new(channel);
    let request = request(&id, sent)?;
    let noted = due.clone();
    let sending = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let begun = Instant::now();
        let mut count = 0_u64;
        while Instant::now() < end {
            let tick = ticks.tick().await;
            let wanted = ((tick - begun + TICK).as_secs_f64() * frames_s) as u64;
            for seq in count..wanted {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push_back(tick);
                if out.send(RawMessage(frames[(seq % FRAMES) as usize].clone())).is_err() {
                    return;
                }
            }
            count = wanted.max(count);
        }
    });
    let mut answers = client.telemetry_stream(request).await?.into_inner();
    let mut took = Vec::new();
    while tokio::time::timeout(STALLED, answers.message()).await.context("no answer")??.is_some() {
        let now = Instant::now();
        let tick = due.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        took.extend(tick.filter(|tick| *tick >= begin).map(|tick| now - tick));
    }
    sending.await?;
    Ok(took)
}
