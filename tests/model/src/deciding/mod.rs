//! Two nodes that do about a scope what [`omnirelay_decisions::lease::decide`] says, and nothing else.
//!
//! What is searched is when they look, how old their view is then, and when what they send arrives,
//! if it does. A view is all that the store had at some time while the node's session was live.
//! What keeps a session is done at once here, and the clocks agree: that it may be late, and that
//! the store's clock may run ahead, is for the search of nodes that choose freely.

mod conforms;
mod scene;
mod searched;
mod settled;
mod world;

use omnirelay_decisions::lease::{LeadershipMove, decide};
use stateright::{Model, Property};

use super::node::Trust;
use super::settle::PRESENT;
use super::store::{Forgets, TTL};
use scene::{Decide, ask};
use world::{Act, Commit, Refused, Verb, World};

const NODES: usize = 2;
/// How much earlier than the store a node takes its session for over.
const MARGIN: u8 = 1;
/// After so many instants without a fault the scope is led: a session or a quarantine runs out, and
/// then it is the turn of the last. The search finds a state from which one less is too few.
const LED_WITHIN: u8 = TTL + 2;
const FORGETS: Forgets =
    Forgets { quarantine: false, fence: false, deadlines: false, barrier: false, time_in_tokens: false };

/// What is searched.
#[derive(Clone, Debug)]
struct Deciding {
    decide: Decide,
    /// A leader acts no more from when it sends that it gives the scope up.
    yields: bool,
    orders: &'static [Verb],
    drains_max: u8,
    flushes_max: u8,
    /// A session may be renewed without its node's hearing of it.
    beats_unheard: bool,
}

/// It gives up what it leads by the record of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Yielding {
    version: u8,
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    seen: World,
    trust: Option<Trust>,
    commit: Option<Commit>,
    yielding: Option<Yielding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    world: World,
    nodes: [Node; NODES],
    orders: u8,
    drains: u8,
    flushes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    TimePasses,
    StoreLosesAll,
    Orders(Verb),
    Drains(usize),
    /// Its session is opened, or renewed, and it hears all that the store has.
    Beats(usize),
    /// Its session is renewed, and it does not hear of it.
    BeatsUnheard(usize),
    /// It hears all that the store has.
    Hears(usize),
    /// It does what the core says.
    Decides(usize),
    IsAnswered(usize),
    GoesUnanswered(usize),
    IsLost(usize),
}

impl Node {
    fn new() -> Self {
        Self { seen: World::new(), trust: None, commit: None, yielding: None }
    }

    fn session(&self, now: u8) -> Option<u8> {
        self.trust.filter(|trust| now < trust.until).map(|trust| trust.instance)
    }

    /// Whether it acts as the leader.
    fn leads(&self, me: usize, now: u8) -> bool {
        let lease = self.seen.store.lease.holder;
        let holds = self.session(now).is_some_and(|life| lease == Some((me, life)));
        holds && self.yielding.is_none()
    }

    fn hear(&mut self, world: &World) {
        self.seen = *world;
        self.trust = self.trust.filter(|trust| trust.epoch == world.store.epoch);
        self.yielding = self.yielding.filter(|yielding| yielding.version == world.record.version);
    }

    /// What the core says, and what comes of it.
    fn decides(&self, decide: Decide, me: usize, now: u8) -> (LeadershipMove, Option<Commit>) {
        let session = self.session(now);
        let in_doubt = self.yielding.is_some_and(|yielding| yielding.in_doubt);
        let decided = ask(decide, &self.seen, me, session, in_doubt, now);
        let (epoch, version) = (self.seen.store.epoch, self.seen.record.version);
        let exists = session.filter(|_| !self.seen.record.removed);
        let act = exists.and_then(|life| Act::of(&decided, &self.seen, (me, life), now));
        (decided, act.map(|act| Commit { epoch, version, act }))
    }

    fn send(&mut self, commit: Commit, yields: bool) {
        self.commit = Some(commit);
        if yields && commit.act.releases().is_some() {
            let before = self.yielding.filter(|before| before.version == commit.version);
            let in_doubt = before.is_some_and(|before| before.in_doubt);
            self.yielding = Some(Yielding { version: commit.version, in_doubt });
        }
    }

    fn hear_outcome(&mut self, outcome: Option<Result<(), Refused>>) {
        let Some(yielding) = self.yielding.as_mut() else { return };
        match outcome {
            None | Some(Err(Refused::Fenced)) => yielding.in_doubt = true,
            Some(Err(Refused::Conflict)) => yielding.in_doubt = false,
            Some(Ok(()) | Err(Refused::Otherwise)) => {}
        }
        let goes_on = matches!(outcome, Some(Err(_))) && !yielding.in_doubt;
        self.yielding = self.yielding.filter(|_| !goes_on);
    }
}

impl Deciding {
    /// As the product does, with all that an operator may order.
    fn sound() -> Self {
        let orders = &[Verb::Transfer(0), Verb::Transfer(1), Verb::StepDown, Verb::Delete];
        Self { decide, yields: true, orders, drains_max: 0, flushes_max: 0, beats_unheard: false }
    }

    /// Does `action`; `None`: nothing comes of it.
    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        let (now, world) = (state.now, &mut state.world);
        match action {
            Action::TimePasses => {
                state.now += 1;
                world.store.now += 1;
            }
            Action::StoreLosesAll => {
                state.flushes += 1;
                world.flush();
            }
            Action::Orders(verb) => {
                state.orders += 1;
                world.change(|record| record.order = Some(verb));
            }
            Action::Drains(at) => {
                state.drains += 1;
                world.draining = Some(at);
            }
            Action::Beats(at) => {
                let node = &mut state.nodes[at];
                let epoch = world.store.epoch;
                let trust = node.trust.filter(|trust| now < trust.until && trust.epoch == epoch);
                let renewed = trust.filter(|trust| world.store.renew(at, epoch, trust.instance, FORGETS));
                let instance = renewed.map_or_else(|| world.store.open(at, FORGETS), |trust| trust.instance);
                node.trust = Some(Trust { epoch, instance, until: now + TTL - MARGIN });
                node.hear(world);
            }
            Action::BeatsUnheard(at) => {
                let Trust { epoch, instance, .. } =
                    state.nodes[at].trust.filter(|trust| now < trust.until)?;
                world.store.renew(at, epoch, instance, FORGETS).then_some(())?;
            }
            Action::Hears(at) => state.nodes[at].hear(world),
            Action::Decides(at) => {
                let (_, commit) = state.nodes[at].decides(self.decide, at, now);
                state.nodes[at].send(commit?, self.yields);
            }
            Action::IsAnswered(at) => {
                let commit = state.nodes[at].commit.take()?;
                let outcome = world.commit(at, commit);
                state.nodes[at].hear_outcome(Some(outcome));
                state.nodes[at].hear(world);
            }
            Action::GoesUnanswered(at) => {
                let commit = state.nodes[at].commit.take()?;
                world.commit(at, commit).ok()?;
                state.nodes[at].hear_outcome(None);
            }
            Action::IsLost(at) => {
                state.nodes[at].commit.take()?;
                state.nodes[at].hear_outcome(None);
            }
        }
        Some(())
    }

    fn may_order(&self, world: &World, verb: Verb) -> bool {
        let Some((leader, life)) = world.store.lease.holder else { return false };
        let led = world.record.current == Some((leader, life)) && world.store.is_live(leader, life);
        let to_another = match verb {
            Verb::Transfer(to) => to != leader && world.store.is_live_at(to, world.store.now),
            Verb::StepDown | Verb::Delete => true,
        };
        led && to_another
    }
}

impl State {
    fn leaders(&self) -> usize {
        (0..NODES).filter(|at| self.nodes[*at].leads(*at, self.now)).count()
    }
}

impl Model for Deciding {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (world, nodes) = (World::new(), [Node::new(); NODES]);
        let mut state = State { now: PRESENT, world, nodes, orders: 0, drains: 0, flushes: 0 };
        state.settle();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.world.record.removed {
            return;
        }
        actions.push(Action::TimePasses);
        if state.flushes < self.flushes_max {
            actions.push(Action::StoreLosesAll);
        }
        if state.orders == 0 {
            let may = self.orders.iter().filter(|verb| self.may_order(&state.world, **verb));
            actions.extend(may.map(|verb| Action::Orders(*verb)));
        }
        for at in 0..NODES {
            if state.drains < self.drains_max {
                actions.push(Action::Drains(at));
            }
            actions.extend([Action::Beats(at), Action::Hears(at)]);
            if self.beats_unheard {
                actions.push(Action::BeatsUnheard(at));
            }
            match state.nodes[at].commit {
                Some(_) => {
                    actions.extend([Action::IsAnswered(at), Action::GoesUnanswered(at), Action::IsLost(at)]);
                }
                None => actions.push(Action::Decides(at)),
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        state.settle();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        searched::properties()
    }
}
