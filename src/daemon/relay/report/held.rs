//! The agents that the relay holds, and when the registry is told of each. Knows no registry and no clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;

/// How long an agent waits of which the registry would not hear for the first time; each time twice as long.
const REFUSED_WAITS: Duration = Duration::from_secs(1);
const DOUBLED_MAX: u32 = 10;

/// What the registry is to be told of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub agent_id: Arc<str>,
    pub news: News,
    /// Since which call of [`Held::hold`].
    hold: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The relay holds it.
    IsHere,
    /// It lives.
    Lives,
}

/// What the registry says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Yes,
    /// It does not know the agent, or the relay.
    Unknown,
    /// Another relay holds the agent.
    Elsewhere,
    /// It would not hear of it, or did not answer.
    No,
}

/// All agents that are held.
pub struct Held {
    interval: Duration,
    agents_max: usize,
    /// What the turns of all agents are counted from.
    origin: Instant,
    last: u64,
    agents: HashMap<Arc<str>, Agent>,
    turns: BTreeSet<(Instant, Arc<str>)>,
    known: usize,
}

struct Agent {
    hold: u64,
    /// Whether the registry has it here.
    is_known: bool,
    refusals: u32,
    /// `None` while a word of it is on its way.
    turn: Option<Instant>,
}

impl Held {
    /// At most `agents_max`, of each of which is told every `interval`.
    pub fn new(interval: Duration, agents_max: usize, now: Instant) -> Self {
        Self {
            interval,
            agents_max,
            origin: now,
            last: 0,
            agents: HashMap::new(),
            turns: BTreeSet::new(),
            known: 0,
        }
    }

    /// Has an agent told of, at once. False: there is no room for it.
    pub fn hold(&mut self, agent_id: &str, now: Instant) -> bool {
        let known = self.agents.get_key_value(agent_id).map(|(name, _)| name.clone());
        if known.is_none() && self.agents.len() >= self.agents_max {
            return false;
        }
        let name = known.unwrap_or_else(|| Arc::from(agent_id));
        self.let_go(agent_id);
        self.last += 1;
        self.agents.insert(name.clone(), Agent { hold: self.last, is_known: false, refusals: 0, turn: None });
        self.turn(&name, now);
        true
    }

    /// Has nothing told of it any more.
    pub fn let_go(&mut self, agent_id: &str) {
        let Some((name, agent)) = self.agents.remove_entry(agent_id) else { return };
        self.known -= usize::from(agent.is_known);
        if let Some(turn) = agent.turn {
            self.turns.remove(&(turn, name));
        }
    }

    /// Has all agents told of anew: the registry has forgotten them with the relay.
    pub fn tell_anew(&mut self, now: Instant) {
        let names: Vec<Arc<str>> = self.agents.keys().cloned().collect();
        for name in names {
            self.hold(&name, now);
        }
    }

    /// Spreads what has fallen due in an outage over the interval that begins now.
    pub fn spread(&mut self, now: Instant) {
        let due: Vec<Arc<str>> =
            self.turns.iter().take_while(|(at, _)| *at <= now).map(|(_, name)| name.clone()).collect();
        for name in due {
            if self.agents.get(&name).is_some_and(|agent| agent.is_known) {
                self.turn(&name, self.own_turn(&name, now));
            }
        }
    }

    /// The next word whose turn has come.
    pub fn take(&mut self, now: Instant) -> Option<Word> {
        let (_, name) = self.turns.first().filter(|(at, _)| *at <= now)?.clone();
        self.turns.pop_first();
        let agent = self.agents.get_mut(&name)?;
        agent.turn = None;
        let news = if agent.is_known { News::Lives } else { News::IsHere };
        Some(Word { news, hold: agent.hold, agent_id: name })
    }

    /// Notes what came of a word. False: it was out of date.
    pub fn heard(&mut self, word: &Word, heard: Heard, now: Instant) -> bool {
        let own_turn = self.own_turn(&word.agent_id, now);
        let Some(agent) = self.agents.get_mut(&word.agent_id).filter(|agent| agent.hold == word.hold) else {
            return false;
        };
        let was_known = agent.is_known;
        let turn = match heard {
            Heard::Yes => {
                (agent.is_known, agent.refusals) = (true, 0);
                own_turn
            }
            Heard::Unknown => {
                agent.is_known = false;
                now
            }
            Heard::No if agent.is_known => own_turn,
            Heard::No => {
                let waits =
                    REFUSED_WAITS.saturating_mul(1 << agent.refusals.min(DOUBLED_MAX)).min(self.interval);
                agent.refusals = agent.refusals.saturating_add(1);
                now + waits
            }
            Heard::Elsewhere => {
                self.let_go(&word.agent_id);
                return true;
            }
        };
        self.known = self.known + usize::from(agent.is_known) - usize::from(was_known);
        self.turn(&word.agent_id, turn);
        true
    }

    /// When the next word is due; `None` when there is none, or all are on their way.
    pub fn next_at(&self) -> Option<Instant> {
        self.turns.first().map(|(at, _)| *at)
    }

    /// How many agents are held.
    pub fn count(&self) -> usize {
        self.agents.len()
    }

    /// How many of them the registry has here, as far as is known.
    pub fn known(&self) -> usize {
        self.known
    }

    /// When it is an agent's turn after `now`: agents have their own places in the interval.
    fn own_turn(&self, agent_id: &str, now: Instant) -> Instant {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let place = xxh64(agent_id.as_bytes(), 0) % interval;
        let passed = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
            % interval;
        let wait = if place > passed { place - passed } else { interval - passed + place };
        now + Duration::from_nanos(wait)
    }

    fn turn(&mut self, name: &Arc<str>, at: Instant) {
        let Some(agent) = self.agents.get_mut(name) else { return };
        if let Some(turn) = agent.turn.replace(at) {
            self.turns.remove(&(turn, name.clone()));
        }
        self.turns.insert((at, name.clone()));
    }
}
