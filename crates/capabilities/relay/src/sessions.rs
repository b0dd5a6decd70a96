//! The sessions of a relay: one for each agent that has registered, and the streams that it has open.
//!
//! A session begins with a registration, which ends the one before. It lives as long as it has a stream, and a while
//! longer; a stream that its agent closed ends it at once. Streams of a session that was replaced go on being served,
//! because agents reconnect at once and for ever when one is ended; they only touch nothing of the new session.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use omnirelay_core::text::is_unseen;
use omnirelay_host::chance::random_secret;
use omnirelay_host::live::Live;
use omnirelay_host::wall_clock;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::agent::v1 as agent_pb;
use omnirelay_wire::pb::aeroarc::relay::v1::DroneStatus;
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::reasons;
use omnirelay_wire::telemetry::StreamShape;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::published::{drone_key, drone_value};
use super::report::Reports;
use crate::publish::Publications;

/// How many streams of one agent are served at a time; the oldest is ended for one more.
const STREAMS_PER_AGENT_MAX: usize = 8;
/// How many commands wait to be sent on a stream.
const COMMANDS_WAITING_MAX: usize = 16;
/// The longest flight or intent id, in bytes.
pub const CONTEXT_ID_BYTES_MAX: usize = 256;
/// How often sessions that have ended are removed, at the latest.
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(10);

/// Settings of sessions.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    pub relay_id: String,
    /// How long a session lives without a stream.
    pub ttl: Duration,
    pub sessions_max: usize,
}

/// The sessions of one relay.
pub struct AgentSessions {
    settings: Live<SessionSettings>,
    /// By which it is called in what is published and shown. Changed under the lock of the agents.
    relay_id: Mutex<Arc<str>>,
    agents: Mutex<BTreeMap<Arc<str>, KnownAgent>>,
    publications: Arc<Publications>,
    reports: Arc<Reports>,
    streams_opened: AtomicU64,
}

/// Agent as the sessions know it.
#[derive(Default)]
struct KnownAgent {
    session: Option<Arc<AgentSession>>,
    /// Since when the session has no stream; `None` while it has one.
    idle_since: Option<Instant>,
    /// In the order in which they were opened, of former sessions as well.
    streams: Vec<Arc<AgentStream>>,
}

/// One session.
#[derive(Debug)]
pub struct AgentSession {
    pub id: String,
    pub agent_id: Arc<str>,
    version: String,
    platform: String,
    registered_unix_ns: i64,
    /// When its newest stream was opened; 0: none was.
    connected_unix_ns: AtomicI64,
    /// When its last message came.
    last_message_unix_ns: AtomicI64,
    acked_seq: AtomicU64,
    acked_frames: AtomicU64,
    inflight_frames: AtomicU64,
    /// What the agent does, as far as it has said.
    context: Mutex<Option<agent_pb::OperationContext>>,
    /// True once the agent has begun another one.
    replaced: watch::Sender<bool>,
}

/// This relay's end of a telemetry stream, as others see it.
#[derive(Debug)]
pub struct AgentStream {
    number: u64,
    pub session: Arc<AgentSession>,
    /// Set by its first message.
    pub shape: OnceLock<StreamShape>,
    commands: mpsc::Sender<RawMessage>,
    /// Taken to end it.
    end: Mutex<Option<oneshot::Sender<()>>>,
}

/// Orders that a stream listens to beside its agent.
pub struct StreamOrders {
    /// Messages to be sent to the agent.
    pub commands: mpsc::Receiver<RawMessage>,
    /// Is ready when newer streams of the agent leave no room for this one.
    pub ended: oneshot::Receiver<()>,
}

/// Ending of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnding {
    /// The agent said that it was done.
    Clean,
    /// It broke off, or was broken off.
    Broken,
}

impl AgentSessions {
    pub fn new(
        settings: impl Into<Live<SessionSettings>>,
        publications: Arc<Publications>,
        reports: Arc<Reports>,
    ) -> Self {
        let settings = settings.into();
        let relay_id = Mutex::new(settings.get().relay_id.into());
        let (agents, streams_opened) = (Mutex::default(), AtomicU64::new(0));
        Self { settings, relay_id, agents, publications, reports, streams_opened }
    }

    fn relay_id(&self) -> Arc<str> {
        self.relay_id.lock().clone()
    }

    /// Says anew of every session that it is one of this relay, where keys are published: it has another name, or they are
    /// published somewhere else.
    pub fn publish_as(&self, relay_id: &str) {
        let ttl = self.ttl();
        let agents = self.agents.lock();
        *self.relay_id.lock() = relay_id.into();
        for agent in agents.values().filter(|agent| agent.is_live(ttl)) {
            let Some(session) = &agent.session else { continue };
            let key = drone_key(&session.agent_id);
            self.publications.offer(&key, &self.value(session));
            if agent.newest().is_some() {
                self.publications.keep(&key);
            }
        }
    }

    /// Begins a session of an agent in place of the one that it has.
    ///
    /// # Errors
    /// `TOO_MANY_SESSIONS`; `INTERNAL` when the system has no random numbers.
    pub fn register(&self, asked: agent_pb::RegisterRequest) -> Result<Arc<AgentSession>, Fault> {
        let secret = random_secret().map_err(|error| {
            tracing::error!(%error, "no session could be begun: there are no random numbers");
            Fault::new(reasons::INTERNAL, "no random numbers")
        })?;
        let agent_id: Arc<str> = asked.agent_id.into();
        let session = Arc::new(AgentSession {
            id: format!("sess-{secret}"),
            agent_id: agent_id.clone(),
            version: asked.agent_version,
            platform: asked.platform,
            registered_unix_ns: unix_ns(),
            connected_unix_ns: AtomicI64::new(0),
            last_message_unix_ns: AtomicI64::new(0),
            acked_seq: AtomicU64::new(0),
            acked_frames: AtomicU64::new(0),
            inflight_frames: AtomicU64::new(0),
            context: Mutex::default(),
            replaced: watch::Sender::new(false),
        });
        let max = self.settings.get().sessions_max;
        let mut agents = self.agents.lock();
        if agents.len() >= max && !agents.contains_key(&agent_id) {
            self.remove_ended(&mut agents);
            if agents.len() >= max {
                return Err(too_many(max));
            }
        }
        let agent = agents.entry(agent_id).or_default();
        if let Some(former) = agent.session.replace(session.clone()) {
            former.replaced.send_replace(true);
        }
        agent.idle_since = Some(Instant::now());
        // Under the lock, so that of two registrations the later one is published last.
        self.publications.put(&drone_key(&session.agent_id), &self.value(&session));
        Ok(session)
    }

    /// Opens a stream of the session that an agent has.
    ///
    /// # Errors
    /// `NOT_REGISTERED`.
    pub fn open(&self, agent_id: &str) -> Result<(Arc<AgentStream>, StreamOrders), Fault> {
        let ttl = self.ttl();
        let mut agents = self.agents.lock();
        let live = agents.get_mut(agent_id).filter(|agent| agent.is_live(ttl));
        let Some((agent, session)) =
            live.and_then(|agent| agent.session.clone().map(|session| (agent, session)))
        else {
            return Err(not_registered(agent_id));
        };
        let (commands, waiting) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (end, ended) = oneshot::channel();
        let stream = Arc::new(AgentStream {
            number: self.streams_opened.fetch_add(1, Ordering::Relaxed),
            session: session.clone(),
            shape: OnceLock::new(),
            commands,
            end: Mutex::new(Some(end)),
        });
        agent.streams.push(stream.clone());
        if agent.streams.len() > STREAMS_PER_AGENT_MAX {
            agent.streams.remove(0).end();
        }
        agent.idle_since = None;
        session.connected_unix_ns.store(unix_ns(), Ordering::Relaxed);
        self.publications.keep(&drone_key(agent_id));
        self.reports.hold(agent_id);
        Ok((stream, StreamOrders { commands: waiting, ended }))
    }

    /// Notes the end of a stream. That of an older one touches nothing of a newer one.
    pub fn close(&self, stream: &AgentStream, ending: StreamEnding) {
        let mut agents = self.agents.lock();
        let agent_id = &stream.session.agent_id;
        let Some(agent) = agents.get_mut(agent_id) else { return };
        agent.streams.retain(|other| other.number != stream.number);
        let current = agent.session.as_ref().is_some_and(|session| session.id == stream.session.id);
        let is_over = current && agent.newest().is_none();
        // The last stream may be one of a former session, whose successor has opened none.
        if is_over || agent.streams.is_empty() {
            self.reports.let_go(agent_id);
        }
        if is_over {
            match ending {
                StreamEnding::Clean => {
                    agent.session = None;
                    self.publications.remove(&drone_key(agent_id), &self.value(&stream.session));
                }
                StreamEnding::Broken => {
                    agent.idle_since = Some(Instant::now());
                    self.publications.let_go(&drone_key(agent_id));
                }
            }
        }
        if agent.session.is_none() && agent.streams.is_empty() {
            agents.remove(agent_id);
        }
    }

    /// The session that an agent has, and the newest stream of it.
    pub fn current(&self, agent_id: &str) -> Option<(Arc<AgentSession>, Option<Arc<AgentStream>>)> {
        let ttl = self.ttl();
        let agents = self.agents.lock();
        let agent = agents.get(agent_id).filter(|agent| agent.is_live(ttl))?;
        Some((agent.session.clone()?, agent.newest().cloned()))
    }

    /// The sessions behind that of an agent in the order of the agents, at most `limit`; empty: from the first on.
    pub fn list(&self, after: &str, limit: usize) -> Vec<DroneStatus> {
        // Others wait for the lock: what can be done without it is.
        let (ttl, relay_id) = (self.ttl(), self.relay_id());
        let live: Vec<StreamedSession> = {
            let agents = self.agents.lock();
            let behind = agents.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
            let live = behind.map(|(_, agent)| agent).filter(|agent| agent.is_live(ttl));
            live.filter_map(KnownAgent::seen).take(limit).collect()
        };
        live.iter().map(|seen| seen.status(&relay_id)).collect()
    }

    /// One session.
    pub fn status(&self, agent_id: &str) -> Option<DroneStatus> {
        let ttl = self.ttl();
        let seen = self.agents.lock().get(agent_id).filter(|agent| agent.is_live(ttl))?.seen()?;
        Some(seen.status(&self.relay_id()))
    }

    /// Number of agents that have a session, and number of streams that are open.
    pub fn counts(&self) -> (usize, usize) {
        let agents = self.agents.lock();
        let sessions = agents.values().filter(|agent| agent.session.is_some()).count();
        (sessions, agents.values().map(|agent| agent.streams.len()).sum())
    }

    /// Removes sessions that have ended, for ever.
    pub async fn sweep(&self) {
        let every = self.settings.map(|settings| (settings.ttl / 4).min(SWEEP_EVERY_MAX));
        loop {
            every.sleep().await;
            self.remove_ended(&mut self.agents.lock());
        }
    }

    /// Takes back what was published: the relay stops.
    pub fn leave(&self) {
        for session in self.agents.lock().values().filter_map(|agent| agent.session.as_ref()) {
            self.publications.remove(&drone_key(&session.agent_id), &self.value(session));
        }
    }

    /// How long a session lives without a stream.
    fn ttl(&self) -> Duration {
        self.settings.get().ttl
    }

    /// The agents that have a session or a stream.
    pub fn agents(&self) -> HashSet<Arc<str>> {
        self.agents.lock().keys().cloned().collect()
    }

    fn remove_ended(&self, agents: &mut BTreeMap<Arc<str>, KnownAgent>) {
        let ttl = self.ttl();
        agents.retain(|agent_id, agent| {
            if !agent.is_live(ttl) {
                agent.session = None;
                agent.idle_since = None;
            }
            let stays = agent.session.is_some() || !agent.streams.is_empty();
            if !stays {
                self.reports.let_go(agent_id);
            }
            stays
        });
    }

    fn value(&self, session: &AgentSession) -> String {
        drone_value(&self.relay_id(), &session.id)
    }
}

/// Session with its newest stream.
struct StreamedSession {
    session: Arc<AgentSession>,
    stream: Option<Arc<AgentStream>>,
}

impl StreamedSession {
    fn status(&self, relay_id: &str) -> DroneStatus {
        let shape = self.stream.as_ref().and_then(|stream| stream.shape.get());
        self.session.status(relay_id, self.stream.is_some(), shape.map_or("", |shape| shape.word()))
    }
}

impl KnownAgent {
    fn is_live(&self, ttl: Duration) -> bool {
        self.idle_since.is_none_or(|since| since.elapsed() < ttl)
    }

    fn seen(&self) -> Option<StreamedSession> {
        Some(StreamedSession { session: self.session.clone()?, stream: self.newest().cloned() })
    }

    /// The newest stream of the session that it has.
    fn newest(&self) -> Option<&Arc<AgentStream>> {
        let session = self.session.as_ref()?;
        self.streams.iter().rev().find(|stream| stream.session.id == session.id)
    }
}

impl AgentSession {
    /// Whether the agent has begun another one.
    pub fn is_replaced(&self) -> bool {
        *self.replaced.borrow()
    }

    /// Is ready when the agent has begun another one.
    pub async fn replaced(&self) {
        // The sender lives as long as the session.
        let _ = self.replaced.subscribe().wait_for(|replaced| *replaced).await;
    }

    /// Notes that a message has come.
    pub fn note_message(&self, unix_ns: i64) {
        self.last_message_unix_ns.store(unix_ns, Ordering::Relaxed);
    }

    /// Notes that frames are held, and not acknowledged yet.
    pub fn note_held(&self, frames: usize) {
        self.inflight_frames.fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// Notes that frames are held no more.
    pub fn note_let_go(&self, frames: usize) {
        self.inflight_frames.fetch_sub(frames as u64, Ordering::Relaxed);
    }

    /// Notes that frames were acknowledged, and the last of them.
    pub fn note_acked(&self, frames: usize, last_seq: u64) {
        self.acked_frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.acked_seq.store(last_seq, Ordering::Relaxed);
    }

    /// Notes what the agent says that it does; what is too long to be an id says nothing.
    pub fn note_context(&self, context: Option<agent_pb::OperationContext>) {
        let is_short = |context: &agent_pb::OperationContext| {
            is_context_id(&context.flight_id) && is_context_id(&context.intent_id)
        };
        if context.as_ref().is_none_or(is_short) {
            *self.context.lock() = context;
        }
    }

    /// Notes what a frame says that the agent does.
    pub fn note_flight(&self, flight_id: &str, intent_id: &str, intent_version: u32) {
        if !is_context_id(flight_id) || !is_context_id(intent_id) {
            return;
        }
        let mut context = self.context.lock();
        let same = context.as_ref().is_some_and(|known| {
            known.flight_id == flight_id
                && known.intent_id == intent_id
                && known.intent_version == intent_version
        });
        if !same {
            let (flight_id, intent_id) = (flight_id.to_owned(), intent_id.to_owned());
            *context = Some(agent_pb::OperationContext { flight_id, intent_id, intent_version });
        }
    }

    fn status(&self, relay_id: &str, streaming: bool, wire: &str) -> DroneStatus {
        let connected = self.connected_unix_ns.load(Ordering::Relaxed);
        let context = self.context.lock().clone().unwrap_or_default();
        DroneStatus {
            drone_id: self.agent_id.to_string(),
            session_id: self.id.clone(),
            agent_id: self.agent_id.to_string(),
            relay_id: relay_id.to_owned(),
            connected_at_unix_ns: if connected == 0 { self.registered_unix_ns } else { connected },
            last_heartbeat_unix_ns: self
                .last_message_unix_ns
                .load(Ordering::Relaxed)
                .max(self.registered_unix_ns),
            flight_id: context.flight_id,
            intent_id: context.intent_id,
            intent_version: context.intent_version,
            streaming,
            wire: wire.to_owned(),
            acked_seq: self.acked_seq.load(Ordering::Relaxed),
            acked_frames: self.acked_frames.load(Ordering::Relaxed),
            inflight_frames: self.inflight_frames.load(Ordering::Relaxed),
            agent_version: self.version.clone(),
            platform: self.platform.clone(),
        }
    }
}

/// Whether this can be the id of a flight or an intent, as other systems call them.
pub fn is_context_id(id: &str) -> bool {
    id.len() <= CONTEXT_ID_BYTES_MAX && !id.chars().any(is_unseen)
}

/// Reason why a command cannot be sent on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandUnsentReason {
    /// Too many wait.
    Full,
    /// The stream is over.
    Over,
}

impl AgentStream {
    /// Has a message sent to the agent.
    ///
    /// # Errors
    /// [`CommandUnsentReason`].
    pub fn send(&self, message: RawMessage) -> Result<(), CommandUnsentReason> {
        self.commands.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandUnsentReason::Full,
            mpsc::error::TrySendError::Closed(_) => CommandUnsentReason::Over,
        })
    }

    /// Is ready when the stream is over.
    pub async fn over(&self) {
        self.commands.closed().await;
    }

    fn end(&self) {
        let end = self.end.lock().take();
        // It may be over already.
        let _ = end.map(|end| end.send(()));
    }
}

/// The wall clock, in ns since 1970.
pub fn unix_ns() -> i64 {
    i64::try_from(wall_clock::unix().as_nanos()).unwrap_or(i64::MAX)
}

fn too_many(max: usize) -> Fault {
    Fault::new(reasons::TOO_MANY_SESSIONS, format!("the relay has its {max} sessions"))
        .hint("try another relay, or raise `relay.sessionsMax`")
}

fn not_registered(agent_id: &str) -> Fault {
    let shown: String = agent_id.chars().take(128).collect();
    let message = format!("agent `{shown}` must register first");
    Fault::new(reasons::NOT_REGISTERED, message)
        .hint("call Register, then open the stream; sessions do not outlive the relay")
}

#[cfg(test)]
#[path = "sessions_test.rs"]
mod sessions_test;
