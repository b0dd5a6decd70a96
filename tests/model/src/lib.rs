//! Leadership in the small: two nodes, one scope, a store, and every order in which time passes,
//! messages are late or lost, nodes stop, and the store loses everything.
//!
//! All states are visited: those that differ in nothing that could matter are one, so there is an end
//! of them. Here nodes choose freely what to do; in `deciding` they do what the core says. The nodes
//! share one clock; the store's may run ahead of it, which is what the margin of a holder is for.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it finds")]

#[path = "../../leadership/chance.rs"]
mod chance;
mod conforms;
mod deciding;
mod node;
mod searched;
mod settle;
mod store;

use stateright::{Model, Property};

use node::{Act, Answer, Message, Node, decide};
use settle::PRESENT;
use store::{Forgets, Store, TTL};

/// After so many instants without a fault the scope is led, whatever was before: what is on its way
/// arrives, a quarantine and the session of another run out, and a session is opened anew.
const HEALS_WITHIN: u8 = 2 * TTL + 2;

/// What is searched. [`Leadership::sound`] is what the product does.
#[derive(Clone, Debug)]
pub struct Leadership<const N: usize> {
    /// How much earlier than the store a holder takes its session for over.
    margin: i8,
    /// How far the clock of the store may run ahead of the nodes'.
    drift_max: u8,
    flushes_max: u8,
    releases_max: u8,
    pauses_max: u8,
    strays_max: u8,
    forgets: Forgets,
    /// Where nodes write.
    writes: Writes,
    decide: fn(node::View) -> &'static [Act],
}

/// Where nodes write. One at a time: gates know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Nowhere,
    /// In a commit with a fence.
    ToStore,
    /// To a resource that refuses tokens below the greatest it has seen.
    Outside,
    /// To a resource that looks at no token.
    Unchecked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    now: u8,
    store: Store<N>,
    nodes: [Node; N],
    flushes: u8,
    releases: u8,
    pauses: u8,
    strays: u8,
    /// The greatest token that was accepted.
    accepted: u8,
    /// A lower one was accepted after it.
    fell: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    TimePasses,
    StoreRunsAhead,
    NodesCatchUp,
    StoreLosesAll,
    Sends(usize, Act),
    /// It arrives, and its answer is heard at once. Heard later it would be worth less: what it
    /// grants is counted from the asking.
    IsAnswered(usize),
    /// It arrives, and its answer is lost.
    GoesUnanswered(usize),
    IsLost(usize),
    /// It stops waiting for its session, which may still be opened at any later time.
    GivesUp(usize),
    StrayOpens(usize),
    Pauses(usize),
    Resumes(usize),
    /// It looks whether it leads; the write is under way from then on.
    Looks(usize),
    Writes(usize),
    WritesAtOnce(usize),
}

impl<const N: usize> Leadership<N> {
    fn sound() -> Self {
        Self {
            margin: 1,
            drift_max: 0,
            flushes_max: 0,
            releases_max: 0,
            pauses_max: 0,
            strays_max: 0,
            forgets: Forgets::default(),
            writes: Writes::Nowhere,
            decide,
        }
    }

    fn start(&self) -> State<N> {
        State {
            now: PRESENT,
            store: Store::new(PRESENT),
            nodes: [Node::default(); N],
            flushes: 0,
            releases: 0,
            pauses: 0,
            strays: 0,
            accepted: 0,
            fell: false,
        }
    }

    fn node_actions(&self, state: &State<N>, at: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[at];
        match node.message {
            Some(_) => {
                actions.extend([Action::IsAnswered(at), Action::GoesUnanswered(at), Action::IsLost(at)]);
            }
            None if node.paused => {}
            None => {
                actions.extend((self.decide)(node.view(state.now)).iter().map(|act| Action::Sends(at, *act)));
            }
        }
        let strays = state.strays < self.strays_max && !node.paused;
        if strays && matches!(node.message, Some(Message::Open { .. })) {
            actions.push(Action::GivesUp(at));
        }
        if node.stray {
            actions.push(Action::StrayOpens(at));
        }
        let looks = self.writes != Writes::Nowhere && !node.paused && node.leads(state.now).is_some();
        if node.writing.is_some() {
            actions.push(Action::Writes(at));
        } else if looks {
            actions.push(Action::WritesAtOnce(at));
        }
        // One late write at a time is enough: of two, the first might as well have been at once.
        if looks && state.nodes.iter().all(|node| node.writing.is_none()) {
            actions.push(Action::Looks(at));
        }
        if node.paused {
            actions.push(Action::Resumes(at));
        } else if state.pauses < self.pauses_max {
            actions.push(Action::Pauses(at));
        }
    }

    /// Does `action`; `None`: nothing comes of it.
    fn act(&self, state: &mut State<N>, action: Action) -> Option<()> {
        match action {
            Action::TimePasses => {
                state.now += 1;
                state.store.now += 1;
            }
            Action::StoreRunsAhead => state.store.now += 1,
            Action::NodesCatchUp => state.now += 1,
            Action::StoreLosesAll => {
                state.flushes += 1;
                state.store.flush(self.forgets);
            }
            Action::Sends(at, act) => {
                state.releases += u8::from(act == Act::Release);
                state.nodes[at].send(act, state.now)?;
            }
            Action::IsAnswered(at) => {
                let message = state.nodes[at].message.take()?;
                if let Some(answer) = self.answer(&mut state.store, at, message) {
                    state.nodes[at].hear(answer, self.margin);
                }
            }
            Action::GoesUnanswered(at) => {
                let message = state.nodes[at].message.take()?;
                self.answer(&mut state.store, at, message)?;
            }
            // As if it had not been sent, but for what the node gave up before.
            Action::IsLost(at) => match state.nodes[at].message.take()? {
                Message::Release { .. } => {}
                Message::Open { .. } | Message::Renew { .. } | Message::Acquire { .. } => return None,
            },
            Action::GivesUp(at) => {
                state.strays += 1;
                state.nodes[at].message = None;
                state.nodes[at].stray = true;
            }
            Action::StrayOpens(at) => {
                state.nodes[at].stray = false;
                state.store.open(at, self.forgets);
            }
            Action::Pauses(at) => {
                state.pauses += 1;
                state.nodes[at].paused = true;
            }
            Action::Resumes(at) => state.nodes[at].paused = false,
            Action::Looks(at) => state.nodes[at].writing = state.nodes[at].leads(state.now),
            Action::Writes(at) => {
                let write = state.nodes[at].writing.take()?;
                self.write(state, write);
            }
            Action::WritesAtOnce(at) => {
                let write = state.nodes[at].leads(state.now)?;
                self.write(state, write);
            }
        }
        Some(())
    }

    fn write(&self, state: &mut State<N>, (epoch, token): (u8, u8)) {
        let passes = match self.writes {
            Writes::Nowhere => false,
            Writes::ToStore => state.store.passes_fence(epoch, token, self.forgets),
            Writes::Outside => token >= state.accepted,
            Writes::Unchecked => true,
        };
        if passes {
            state.fell |= token < state.accepted;
            state.accepted = state.accepted.max(token);
        }
    }

    /// What the store answers; `None`: nothing that the node would learn from.
    fn answer(&self, store: &mut Store<N>, at: usize, message: Message) -> Option<Answer> {
        match message {
            Message::Open { asked } => {
                Some(Answer::Opened { asked, instance: store.open(at, self.forgets), epoch: store.epoch })
            }
            Message::Renew { asked, epoch, instance } => {
                let renewed = store.renew(at, epoch, instance, self.forgets);
                Some(if renewed { Answer::Renewed { asked, instance } } else { Answer::Over { instance } })
            }
            Message::Acquire { epoch, instance } => match store.acquire(at, epoch, instance, self.forgets) {
                Some(token) => Some(Answer::Granted { instance, token }),
                None if epoch == store.epoch && store.is_live(at, instance) => None,
                None => Some(Answer::Over { instance }),
            },
            Message::Release { epoch, token } => {
                store.release(epoch, token);
                None
            }
        }
    }

    /// Whether the scope is led soon when nothing goes wrong from now on and everybody does what
    /// it would rather do.
    fn heals(&self, state: &State<N>) -> bool {
        let mut state = state.clone();
        state.nodes.iter_mut().for_each(|node| node.paused = false);
        for _ in 0..HEALS_WITHIN {
            if state.leaders() > 0 {
                return true;
            }
            // What is on its way arrives, a session is opened, and the scope acquired, in one instant.
            for at in (0..N).chain(0..N).chain(0..N) {
                self.exchange(&mut state, at);
            }
            self.act(&mut state, Action::TimePasses);
        }
        state.leaders() > 0
    }

    fn exchange(&self, state: &mut State<N>, at: usize) {
        let node = &state.nodes[at];
        let wish = (self.decide)(node.view(state.now)).first().filter(|_| node.message.is_none());
        if let Some(act) = wish {
            self.act(state, Action::Sends(at, *act));
        }
        self.act(state, Action::IsAnswered(at));
    }
}

impl<const N: usize> State<N> {
    fn leaders(&self) -> usize {
        self.nodes.iter().filter(|node| node.leads(self.now).is_some()).count()
    }
}

impl<const N: usize> Model for Leadership<N> {
    type State = State<N>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<N>> {
        vec![self.start()]
    }

    fn actions(&self, state: &State<N>, actions: &mut Vec<Action>) {
        actions.push(Action::TimePasses);
        if state.store.now > state.now {
            actions.push(Action::NodesCatchUp);
        }
        if state.store.now < state.now + self.drift_max {
            actions.push(Action::StoreRunsAhead);
        }
        if state.flushes < self.flushes_max {
            actions.push(Action::StoreLosesAll);
        }
        for at in 0..N {
            self.node_actions(state, at, actions);
        }
        if state.releases == self.releases_max {
            actions.retain(|action| !matches!(action, Action::Sends(_, Act::Release)));
        }
    }

    fn next_state(&self, last: &State<N>, action: Action) -> Option<State<N>> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        state.settle(self.margin, self.forgets);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("accepted tokens never fall", |_: &Self, state: &State<N>| !state.fell),
            Property::always("no two nodes lead at once", |_: &Self, state: &State<N>| state.leaders() <= 1),
            Property::always("a scope is soon led again", |model: &Self, state: &State<N>| {
                model.heals(state)
            }),
        ]
    }
}
