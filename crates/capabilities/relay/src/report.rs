//! Tells the registry of the relay itself and of the agents it holds.
//!
//! Nothing waits for it: a registry that is away costs a warning, and is told of everything when it is back.

mod heartbeats;
mod held;
mod registry;
#[cfg(test)]
mod registry_test;
#[cfg(test)]
mod reload_test;
#[cfg(test)]
mod report_test;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use omnirelay_host::live::Live;
use omnirelay_host::log::FaultLimiter;
use omnirelay_wire::pb::aeroarc::registry::v1::Relay;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use crate::RELAY_RUNBOOK;
use held::{AgentNews, AgentReport, AgentVerdict, HeldAgents};
use trouble::{FailingCalls, is_away, shortened};

pub use registry::{OtherRegistry, OwnRegistry, RegistryAddress, RegistryClient};

/// How many words of one kind may be on their way together: registrations that hang delay no heartbeat.
const WORDS_MAX: usize = 32;
/// By how much of the interval a heartbeat of the relay may come early.
const EARLY: f64 = 0.1;
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How many of the longest pauses an interval has room for: once the registry is back, little more time is lost.
const PAUSES_IN_INTERVAL: u32 = 4;

/// Reports of the sessions to the reporter; never waits.
///
/// The default tells nobody.
#[derive(Default)]
pub struct Reports {
    telling: Option<Reporter>,
}

/// Health of the reporting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportsHealth {
    /// Whether anything is told at all.
    pub is_on: bool,
    /// Whether the registry knows the relay, as far as it has said.
    pub is_registered: bool,
    /// Since when the registry cannot be told; `None` while it can, and before the first attempt has ended.
    pub failing_for: Option<Duration>,
    /// How many agents are held.
    pub agents: usize,
    /// How many of them the registry has here, as far as it has said.
    pub agents_known: usize,
}

/// Settings of the reporting.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportSettings {
    /// What is told of the relay.
    pub relay: Relay,
    pub heartbeat_interval: Duration,
    /// How long the registry may take to answer.
    pub request_timeout: Duration,
    /// How many agents are told of.
    pub agents_max: usize,
}

/// Registry that is told, and where it is.
#[derive(Clone)]
pub struct ToldRegistry {
    /// `None`: it is the one of this process.
    pub address: Option<String>,
    pub client: Arc<dyn RegistryClient>,
}

/// Reporter of a relay and its agents to a registry.
struct Reporter {
    registry: Live<ToldRegistry>,
    settings: Live<ReportSettings>,
    state: Mutex<State>,
    /// Another agent is held.
    news: Notify,
    faults_told: FaultLimiter<Code>,
}

struct State {
    held: HeldAgents,
    /// The most that there may have been.
    agents_max: usize,
    trouble: FailingCalls,
    /// What is told of the relay, and where the registry is.
    told: (Relay, Option<String>),
    /// How often that has changed: what was said before is out of date.
    life: u64,
    interval: Duration,
    is_registered: bool,
    /// When the registry is told of the relay next; `None` while it is being told.
    relay_at: Option<Instant>,
}

/// What is told of agents, in the order of its urgency.
const KINDS: [AgentNews; 2] = [AgentNews::Lives, AgentNews::IsHere];

/// Number of words of agents that are on their way. A call of the relay itself is none of them.
#[derive(Default)]
struct UnderWay {
    registrations: usize,
    heartbeats: usize,
}

/// Report that has been made, and what came of it.
enum ReportResult {
    /// And in which life of the relay.
    Relay(AgentNews, u64, Result<(), Status>),
    Agent(AgentReport, Result<(), Status>),
}

impl Reports {
    /// Tells a registry of a relay and of its agents. Nothing is told before [`Reports::run`] runs.
    pub fn new(settings: impl Into<Live<ReportSettings>>, registry: impl Into<Live<ToldRegistry>>) -> Self {
        let (settings, registry, now) = (settings.into(), registry.into(), Instant::now());
        let ReportSettings { relay, heartbeat_interval: interval, agents_max, .. } = settings.get();
        let state = State {
            held: HeldAgents::new(interval, now),
            agents_max,
            trouble: FailingCalls::default(),
            told: (relay, registry.get().address),
            life: 0,
            interval,
            is_registered: false,
            relay_at: Some(now),
        };
        let telling = Reporter {
            registry,
            settings,
            state: Mutex::new(state),
            news: Notify::new(),
            faults_told: FaultLimiter::default(),
        };
        Self { telling: Some(telling) }
    }

    /// An agent has a stream here: register it, and keep it alive from now on. Again for one that is known: it moved
    /// here anew.
    pub fn hold(&self, agent_id: &str) {
        let Some(telling) = &self.telling else { return };
        let agents_max = telling.settings.get().agents_max;
        if telling.state.lock().hold(agent_id, agents_max) {
            telling.news.notify_one();
        } else {
            // Sessions have the same limit; so there is one without a stream that was not let go.
            debug!(agent = agent_id, "agent is not told of: there are too many");
        }
    }

    /// An agent has no stream here any more: say nothing of it any more.
    pub fn let_go(&self, agent_id: &str) {
        let Some(telling) = &self.telling else { return };
        telling.state.lock().held.let_go(agent_id);
    }

    /// Tells the registry, for as long as it is polled; the registry forgets by itself what it is not told of.
    pub async fn run(&self) {
        let Some(telling) = &self.telling else { return };
        telling.run().await;
    }

    /// Health of the reporting.
    pub fn health(&self) -> ReportsHealth {
        let Some(telling) = &self.telling else { return ReportsHealth::default() };
        let state = telling.state.lock();
        ReportsHealth {
            is_on: true,
            is_registered: state.is_registered,
            failing_for: state.trouble.since().map(|since| since.elapsed()),
            agents: state.held.count(),
            agents_known: state.held.known(),
        }
    }
}

impl Reporter {
    async fn run(&self) {
        let mut calls = FuturesUnordered::new();
        let mut words = UnderWay::default();
        let (mut settings, mut registry) = (self.settings.clone(), self.registry.clone());
        loop {
            self.take_over();
            if let Some(call) = self.relay_call() {
                calls.push(call);
            }
            while let Some(word) = self.next_word(&words) {
                *words.of(word.news) += 1;
                calls.push(self.tell(word));
            }
            let next = self.next_at(&words);
            tokio::select! {
                Some(told) = calls.next(), if !calls.is_empty() => match told {
                    ReportResult::Relay(news, life, answer) => self.relay_heard(news, life, answer),
                    ReportResult::Agent(word, answer) => {
                        *words.of(word.news) -= 1;
                        self.agent_heard(&word, answer);
                    }
                },
                () = self.news.notified() => {}
                () = settings.replaced() => {}
                () = registry.replaced() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Goes by the settings as they are now.
    fn take_over(&self) {
        let (settings, ToldRegistry { address, .. }) = (self.settings.get(), self.registry.get());
        let (mut state, now) = (self.state.lock(), Instant::now());
        state.tell_every(settings.heartbeat_interval, now);
        state.tell_of(settings.relay, address, now);
    }

    /// A call of the relay itself, if it is time for one.
    fn relay_call(&self) -> Option<BoxFuture<'_, ReportResult>> {
        let mut state = self.state.lock();
        state.relay_at.filter(|at| *at <= Instant::now())?;
        state.relay_at = None;
        let news = if state.is_registered { AgentNews::Lives } else { AgentNews::IsHere };
        let (relay, life) = (state.told.0.clone(), state.life);
        Some(Box::pin(async move {
            let ToldRegistry { client, .. } = self.registry.get();
            let call = match news {
                AgentNews::IsHere => client.register_relay(&relay),
                AgentNews::Lives => client.heartbeat_relay(&relay.relay_id),
            };
            ReportResult::Relay(news, life, self.in_time(call).await)
        }))
    }

    fn next_word(&self, words: &UnderWay) -> Option<AgentReport> {
        let (mut state, now) = (self.state.lock(), Instant::now());
        KINDS.into_iter().find_map(|news| {
            state.may_tell_from(news, words).filter(|from| *from <= now)?;
            state.held.take(news, now)
        })
    }

    fn tell(&self, word: AgentReport) -> BoxFuture<'_, ReportResult> {
        Box::pin(async move {
            let ToldRegistry { client, .. } = self.registry.get();
            let (agent_id, relay_id) = (&*word.agent_id, self.relay_id());
            let call = match word.news {
                AgentNews::IsHere => client.register_agent(agent_id, &relay_id),
                AgentNews::Lives => client.heartbeat_agent(agent_id, &relay_id),
            };
            let answer = self.in_time(call).await;
            ReportResult::Agent(word, answer)
        })
    }

    async fn in_time(&self, call: impl Future<Output = Result<(), Status>>) -> Result<(), Status> {
        let silent = || Err(Status::deadline_exceeded("the registry did not answer in time"));
        timeout(self.settings.get().request_timeout, call).await.unwrap_or_else(|_| silent())
    }

    /// When to look again, if nothing happens before.
    fn next_at(&self, words: &UnderWay) -> Instant {
        let state = self.state.lock();
        let word_at = KINDS.into_iter().filter_map(|news| state.may_tell_from(news, words));
        let latest = Instant::now() + state.interval;
        word_at.chain(state.relay_at).fold(latest, Instant::min)
    }

    /// By which the registry knows the relay.
    fn relay_id(&self) -> String {
        self.state.lock().told.0.relay_id.clone()
    }

    fn relay_heard(&self, news: AgentNews, life: u64, answer: Result<(), Status>) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        if life != state.life {
            return;
        }
        let wait = match answer {
            // An agent has found out meanwhile that the relay is forgotten.
            _ if news == AgentNews::Lives && !state.is_registered => Duration::ZERO,
            Ok(()) => {
                self.relay_lives(&mut state, now);
                shortened(state.interval, EARLY)
            }
            Err(status) if news == AgentNews::Lives && status.code() == Code::NotFound => {
                self.is_forgotten(&mut state)
            }
            Err(status) => {
                let pause_max = state.pause_max();
                state.trouble.relay_failed(&status, now, pause_max)
            }
        };
        state.relay_at = Some(now + wait);
    }

    fn is_forgotten(&self, state: &mut State) -> Duration {
        info!(relay = state.told.0.relay_id, "registry has forgotten the relay, which registers again");
        state.is_registered = false;
        let pause_max = state.pause_max();
        state.trouble.forgotten(pause_max)
    }

    fn relay_lives(&self, state: &mut State, now: Instant) {
        state.trouble.relay_heard(now);
        if state.is_registered {
            state.trouble.remembered();
        } else {
            state.is_registered = true;
            state.held.tell_anew(now);
            info!(relay = state.told.0.relay_id, agents = state.held.count(), "relay was registered");
        }
        for news in KINDS {
            if !state.held.has(news) {
                state.trouble.agents_heard(news, now);
            }
        }
    }

    fn agent_heard(&self, word: &AgentReport, answer: Result<(), Status>) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let heard = heard_of(word.news, &answer);
        let counts = state.held.heard(word, heard, now);
        let Err(status) = answer else {
            if word.news == AgentNews::IsHere {
                state.trouble.remembered();
            }
            state.trouble.agents_heard(word.news, now);
            return;
        };
        if heard == AgentVerdict::Away {
            let pause_max = match word.news {
                AgentNews::Lives => state.pause_max(),
                // Nobody dies of it.
                AgentNews::IsHere => PAUSE_MAX.min(state.interval),
            };
            state.trouble.agents_failed(word.news, &status, now, pause_max);
            return;
        }
        // It has answered.
        state.trouble.agents_heard(word.news, now);
        match heard {
            AgentVerdict::Unknown if counts && word.news == AgentNews::IsHere && state.is_registered => {
                // An agent that moves here is known from then on: it is the relay that is not.
                let pause = self.is_forgotten(&mut state);
                // A heartbeat that is on its way finds out as well.
                state.relay_at = state.relay_at.map(|_| now + pause);
            }
            AgentVerdict::Elsewhere => debug!(agent = %word.agent_id, "another relay holds the agent"),
            AgentVerdict::Refused if self.faults_told.is_due(&status.code()) => {
                let (code, error) = (status.code(), status.message());
                warn!(agent = %word.agent_id, ?code, error, runbook = RELAY_RUNBOOK, "registry would not hear of an agent; trying again");
            }
            AgentVerdict::Yes | AgentVerdict::Unknown | AgentVerdict::Refused | AgentVerdict::Away => {}
        }
    }
}

impl State {
    fn hold(&mut self, agent_id: &str, agents_max: usize) -> bool {
        // Who has a session keeps it.
        self.agents_max = self.agents_max.max(agents_max);
        self.held.hold(agent_id, self.agents_max, Instant::now())
    }

    fn tell_every(&mut self, interval: Duration, now: Instant) {
        if self.interval == interval {
            return;
        }
        self.interval = interval;
        self.held.tell_every(interval, now);
        self.relay_at = self.relay_at.map(|at| at.min(now + shortened(interval, EARLY)));
    }

    /// Has the relay registered anew, where it is another one, somewhere else, or at another registry.
    fn tell_of(&mut self, relay: Relay, registry: Option<String>, now: Instant) {
        let told = (relay, registry);
        if self.told == told {
            return;
        }
        if (&self.told.0.relay_id, &self.told.1) != (&told.0.relay_id, &told.1) {
            self.held.register_anew(now);
        }
        self.told = told;
        self.life += 1;
        self.trouble = FailingCalls::default();
        (self.is_registered, self.relay_at) = (false, Some(now));
    }

    /// The longest pause while something may die of it.
    fn pause_max(&self) -> Duration {
        PAUSE_MAX.min(self.interval / PAUSES_IN_INTERVAL)
    }

    /// From when on a word of a kind may be told; `None` while none may, or there is none.
    fn may_tell_from(&self, news: AgentNews, words: &UnderWay) -> Option<Instant> {
        let (words_max, from) = self.trouble.words_max(news, WORDS_MAX);
        let may = self.is_registered && words.count(news) < words_max;
        let due = self.held.next_at(news).filter(|_| may)?;
        Some(from.map_or(due, |from| due.max(from)))
    }
}

impl UnderWay {
    fn of(&mut self, news: AgentNews) -> &mut usize {
        match news {
            AgentNews::IsHere => &mut self.registrations,
            AgentNews::Lives => &mut self.heartbeats,
        }
    }

    fn count(&self, news: AgentNews) -> usize {
        match news {
            AgentNews::IsHere => self.registrations,
            AgentNews::Lives => self.heartbeats,
        }
    }
}

fn heard_of(news: AgentNews, answer: &Result<(), Status>) -> AgentVerdict {
    match answer {
        Ok(()) => AgentVerdict::Yes,
        Err(status) => match (status.code(), news) {
            (Code::NotFound, _) => AgentVerdict::Unknown,
            (Code::FailedPrecondition, AgentNews::Lives) => AgentVerdict::Elsewhere,
            _ if is_away(status) => AgentVerdict::Away,
            _ => AgentVerdict::Refused,
        },
    }
}
