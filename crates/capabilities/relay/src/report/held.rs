//! The agents that the relay holds, and when the registry is told of each. Knows no registry and no clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;

/// How long an agent waits of which the registry did not hear for the first time; each time twice as long.
const FAILED_WAITS: Duration = Duration::from_secs(1);

/// How many places an interval has.
const PLACES: u64 = 40;

/// Report of one agent to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentReport {
    pub agent_id: Arc<str>,
    pub news: AgentNews,
    /// Since which call of [`HeldAgents::hold`] or [`HeldAgents::tell_anew`].
    hold: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentNews {
    /// The relay holds it.
    IsHere,
    /// It lives.
    Lives,
}

/// Verdict of the registry on a report of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentVerdict {
    Yes,
    /// It does not know the agent, or the relay.
    Unknown,
    /// Another relay holds the agent.
    Elsewhere,
    /// It would not hear of it.
    Refused,
    /// It was away, or did not answer.
    Away,
}

/// Place at which the registry has an agent, as far as it has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AgentPlace {
    /// Nowhere: it is to be registered.
    Nowhere,
    Here,
    /// With another relay. Not taken back while that one lives: two relays that both have a stream would take turns.
    Elsewhere,
}

/// All agents that are held.
pub(super) struct HeldAgents {
    interval: Duration,
    /// What the turns of all agents are counted from.
    origin: Instant,
    last: u64,
    agents: HashMap<Arc<str>, HeldAgent>,
    /// Agents that wait for their registration, and when each is due.
    registrations: BTreeSet<(Instant, Arc<str>)>,
    /// Agents that wait for their next heartbeat.
    heartbeats: BTreeSet<(Instant, Arc<str>)>,
    /// How many are here, and how many are nowhere.
    here: usize,
    nowhere: usize,
}

/// Agent that is held, and how it stands with the registry.
struct HeldAgent {
    hold: u64,
    place: AgentPlace,
    /// How often in a row it was not heard of.
    failures: u32,
    /// `None` while a word of it is on its way.
    turn: Option<Instant>,
}

impl HeldAgents {
    /// Each is told of every `interval`.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            origin: now,
            last: 0,
            agents: HashMap::new(),
            registrations: BTreeSet::new(),
            heartbeats: BTreeSet::new(),
            here: 0,
            nowhere: 0,
        }
    }

    /// Has an agent told of, at once. False: there are `agents_max` others.
    pub(super) fn hold(&mut self, agent_id: &str, agents_max: usize, now: Instant) -> bool {
        let known = self.agents.get_key_value(agent_id).map(|(name, _)| name.clone());
        if known.is_none() && self.agents.len() >= agents_max {
            return false;
        }
        let name = known.unwrap_or_else(|| Arc::from(agent_id));
        self.let_go(agent_id);
        self.last += 1;
        let agent = HeldAgent { hold: self.last, place: AgentPlace::Nowhere, failures: 0, turn: None };
        self.agents.insert(name.clone(), agent);
        self.nowhere += 1;
        self.turn(&name, now);
        true
    }

    /// Has nothing told of it any more.
    pub(super) fn let_go(&mut self, agent_id: &str) {
        let Some((name, agent)) = self.agents.remove_entry(agent_id) else { return };
        self.count_out(agent.place);
        if let Some(turn) = agent.turn {
            self.turns(agent.news()).remove(&(turn, name));
        }
    }

    /// Has each told of every `interval` from now on. What is due by then is not put off: what the registry was told lives by what
    /// it was told before.
    pub(super) fn tell_every(&mut self, interval: Duration, now: Instant) {
        self.interval = interval;
        let latest = now.checked_add(interval).unwrap_or(now);
        let waiting: Vec<(Arc<str>, Instant)> =
            self.agents.iter().filter_map(|(name, agent)| Some((name.clone(), agent.turn?))).collect();
        for (name, turn) in waiting {
            let sooner = turn.min(self.own_turn(&name, now)).min(latest);
            self.retime(&name, sooner);
        }
    }

    /// Has those registered anew that the registry has here: this relay is another one for it.
    pub(super) fn register_anew(&mut self, now: Instant) {
        let here = |agent: &HeldAgent| agent.place == AgentPlace::Here;
        let names: Vec<Arc<str>> =
            self.agents.iter().filter(|(_, agent)| here(agent)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.let_go(&name);
            self.last += 1;
            let agent = HeldAgent { hold: self.last, place: AgentPlace::Nowhere, failures: 0, turn: None };
            self.agents.insert(name.clone(), agent);
            self.nowhere += 1;
            self.turn(&name, now);
        }
    }

    /// Has all agents told of at once, since the registry has forgotten the relay. What it was told of before is asked
    /// about by a heartbeat: who has moved meanwhile is not taken back from a relay that lives.
    pub(super) fn tell_anew(&mut self, now: Instant) {
        let names: Vec<Arc<str>> = self.agents.keys().cloned().collect();
        for name in names {
            let Some(agent) = self.agents.get_mut(&name) else { continue };
            self.last += 1;
            (agent.hold, agent.failures) = (self.last, 0);
            self.retime(&name, now);
        }
    }

    /// Has a turn for an agent in place of the one that it has.
    fn retime(&mut self, name: &Arc<str>, at: Instant) {
        let Some(agent) = self.agents.get_mut(name) else { return };
        let (news, turn) = (agent.news(), agent.turn.take());
        if let Some(turn) = turn {
            self.turns(news).remove(&(turn, name.clone()));
        }
        self.turn(name, at);
    }

    /// The next word of a kind whose turn has come: what is overdue comes first, the oldest before all.
    pub(super) fn take(&mut self, news: AgentNews, now: Instant) -> Option<AgentReport> {
        let (_, name) = self.turns(news).first().filter(|(at, _)| *at <= now)?.clone();
        self.turns(news).pop_first();
        let agent = self.agents.get_mut(&name)?;
        agent.turn = None;
        Some(AgentReport { news, hold: agent.hold, agent_id: name })
    }

    /// Notes what came of a word. False: it was out of date.
    pub(super) fn heard(&mut self, word: &AgentReport, heard: AgentVerdict, now: Instant) -> bool {
        let own_turn = self.own_turn(&word.agent_id, now);
        let interval = self.interval;
        let Some(agent) = self.agents.get_mut(&word.agent_id).filter(|agent| agent.hold == word.hold) else {
            return false;
        };
        let before = agent.place;
        let turn = match (heard, before) {
            (AgentVerdict::Yes | AgentVerdict::Elsewhere, _) => {
                agent.failures = 0;
                own_turn
            }
            (AgentVerdict::Unknown, _) => now,
            (AgentVerdict::Refused, AgentPlace::Here | AgentPlace::Elsewhere) => own_turn,
            (AgentVerdict::Refused | AgentVerdict::Away, AgentPlace::Nowhere) => now + agent.failed(interval),
            // Its time to live goes on.
            (AgentVerdict::Away, AgentPlace::Here | AgentPlace::Elsewhere) => {
                now + agent.failed(interval / 4)
            }
        };
        agent.place = match heard {
            AgentVerdict::Yes => AgentPlace::Here,
            AgentVerdict::Unknown => AgentPlace::Nowhere,
            AgentVerdict::Elsewhere => AgentPlace::Elsewhere,
            AgentVerdict::Refused | AgentVerdict::Away => before,
        };
        let after = agent.place;
        self.count_out(before);
        self.here += usize::from(after == AgentPlace::Here);
        self.nowhere += usize::from(after == AgentPlace::Nowhere);
        self.turn(&word.agent_id, turn);
        true
    }

    /// Time at which the next word of a kind is due; `None` when there is none, or all are on their way.
    pub(super) fn next_at(&self, news: AgentNews) -> Option<Instant> {
        let turns = match news {
            AgentNews::IsHere => &self.registrations,
            AgentNews::Lives => &self.heartbeats,
        };
        turns.first().map(|(at, _)| *at)
    }

    /// Number of agents that are held.
    pub(super) fn count(&self) -> usize {
        self.agents.len()
    }

    /// Number of held agents that the registry has here, as far as is known.
    pub(super) fn known(&self) -> usize {
        self.here
    }

    /// Whether there is an agent of which this is to be told.
    pub(super) fn has(&self, news: AgentNews) -> bool {
        match news {
            AgentNews::IsHere => self.nowhere > 0,
            AgentNews::Lives => self.agents.len() > self.nowhere,
        }
    }

    /// When it is an agent's turn after `now`: agents have their own places in the interval, which many share, so that what
    /// is said of them is one message, or few.
    fn own_turn(&self, agent_id: &str, now: Instant) -> Instant {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(PLACES);
        let place = xxh64(agent_id.as_bytes(), 0) % PLACES * (interval / PLACES);
        let passed = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
            % interval;
        let wait = if place > passed { place - passed } else { interval - passed + place };
        now + Duration::from_nanos(wait)
    }

    /// Has a turn for an agent that has none.
    fn turn(&mut self, name: &Arc<str>, at: Instant) {
        let Some(agent) = self.agents.get_mut(name) else { return };
        agent.turn = Some(at);
        let news = agent.news();
        self.turns(news).insert((at, name.clone()));
    }

    fn turns(&mut self, news: AgentNews) -> &mut BTreeSet<(Instant, Arc<str>)> {
        match news {
            AgentNews::IsHere => &mut self.registrations,
            AgentNews::Lives => &mut self.heartbeats,
        }
    }

    fn count_out(&mut self, place: AgentPlace) {
        self.here -= usize::from(place == AgentPlace::Here);
        self.nowhere -= usize::from(place == AgentPlace::Nowhere);
    }
}

impl HeldAgent {
    /// What is told of it next.
    fn news(&self) -> AgentNews {
        match self.place {
            AgentPlace::Nowhere => AgentNews::IsHere,
            AgentPlace::Here | AgentPlace::Elsewhere => AgentNews::Lives,
        }
    }

    /// Notes a failure; says how long to wait, at most `max`.
    fn failed(&mut self, max: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // The words of agents come one behind the other as it is.
        Backoff::new(FAILED_WAITS, max).after(self.failures, 0.0)
    }
}
