//! The searches of nodes that decide by the core: what they keep, and that faults are found.

use std::time::{Duration, Instant};

use omnirelay_decisions::lease::{LeadershipMove, LeadershipScene, decide};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::scene::ask;
use super::{Act, Action, Deciding, LED_WITHIN, NODES, State, Verb};
use crate::chance::Chance;
use crate::node::{Act as Wide, View, decide as may};

const TWO_LEAD: &str = "no two nodes lead at once";
const NOT_LED: &str = "a scope is soon led again";
const NOT_DONE: &str = "what was ordered is soon done";
const OUTSIDE: &str = "a move is among the acts of a candidate that chooses freely";
const PROMISES: [&str; 4] = [TWO_LEAD, NOT_LED, NOT_DONE, OUTSIDE];

const SUCCEEDED: &str = "another leads after who drains";
const OBEYED: &str = "somebody leads after an order";
const HANDS_OVER: &str = "a leader hands over";
const STEPS_DOWN: &str = "a leader steps down";
const REMOVES: &str = "the scope is removed";
const DROPS: &str = "an order is dropped";
const VACATES: &str = "an end is recorded";
const DOUBTS: &str = "a leader does not know whether it gave up";
const AFTER_LOSS: &str = "somebody leads after a loss";

/// Who takes part in what is done after a state, when nothing goes wrong any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    All,
    /// The other one is never heard of again.
    Only(usize),
    /// The other one does what a leader does, and never gets to campaign.
    Campaigns(usize),
}

pub(super) fn properties() -> Vec<Property<Deciding>> {
    let mut properties = vec![
        Property::always(TWO_LEAD, |_: &Deciding, state: &State| state.leaders() <= 1),
        Property::always(NOT_LED, Deciding::heals),
        Property::always(NOT_DONE, Deciding::obeys),
        Property::always(OUTSIDE, Deciding::is_within),
    ];
    properties.extend(comes_to());
    properties
}

/// A search says nothing of what it never comes to.
fn comes_to() -> Vec<Property<Deciding>> {
    vec![
        Property::sometimes(HANDS_OVER, |_, state: &State| {
            state.sends(|act| matches!(act, Act::HandOver { .. }))
        }),
        Property::sometimes(STEPS_DOWN, |_, state: &State| {
            state.sends(|act| matches!(act, Act::StepDown { .. }))
        }),
        Property::sometimes(DROPS, |_, state: &State| {
            state.sends(|act| matches!(act, Act::DropOrder { .. }))
        }),
        Property::sometimes(VACATES, |_, state: &State| state.sends(|act| matches!(act, Act::Vacate { .. }))),
        Property::sometimes(REMOVES, |_, state: &State| state.world.record.removed),
        Property::sometimes(DOUBTS, |_, state: &State| {
            state.nodes.iter().any(|node| node.yielding.is_some_and(|yielding| yielding.in_doubt))
        }),
        Property::sometimes(OBEYED, |_, state: &State| {
            state.orders > 0 && state.world.record.order.is_none() && state.leaders() > 0
        }),
        Property::sometimes(SUCCEEDED, |_, state: &State| {
            state.world.draining.is_some_and(|at| state.nodes[1 - at].leads(1 - at, state.now))
        }),
        Property::sometimes(AFTER_LOSS, |_, state: &State| {
            state.world.store.epoch > 1 && state.leaders() > 0
        }),
    ]
}

impl State {
    fn sends(&self, is: impl Fn(&Act) -> bool) -> bool {
        self.nodes.iter().any(|node| node.commit.as_ref().is_some_and(|commit| is(&commit.act)))
    }
}

impl Deciding {
    /// Whether what the core says to each node is among what the search of nodes that choose freely
    /// lets it do with the lease. What another gets by a hand-over is for this search alone.
    fn is_within(&self, state: &State) -> bool {
        (0..NODES).all(|at| {
            let node = &state.nodes[at];
            let session = node.session(state.now);
            let holds = session.is_some_and(|life| node.seen.store.lease.holder == Some((at, life)));
            let acts = may(View { trusts: session.is_some(), holds });
            match ask(self.decide, &node.seen, at, session, false, state.now) {
                LeadershipMove::Campaign { .. } => acts.contains(&Wide::Acquire),
                LeadershipMove::HandOver { .. }
                | LeadershipMove::StepDown { .. }
                | LeadershipMove::DropOrder => acts.contains(&Wide::Release),
                LeadershipMove::Rest
                | LeadershipMove::Look { .. }
                | LeadershipMove::Raise { .. }
                | LeadershipMove::Remove
                | LeadershipMove::Vacate { .. } => true,
            }
        })
    }

    /// Whether the scope is led soon, whoever else takes part, when nothing goes wrong from now on.
    fn heals(&self, state: &State) -> bool {
        let rests = [Rest::All, Rest::Only(0), Rest::Only(1), Rest::Campaigns(0), Rest::Campaigns(1)];
        rests.into_iter().all(|rest| {
            let (drains, leaders) = match rest {
                Rest::All => (false, 0..NODES),
                Rest::Only(at) => (state.world.draining == Some(at), at..at + 1),
                Rest::Campaigns(at) => (state.world.draining == Some(at), 0..NODES),
            };
            let is_led = |state: &State| leaders.clone().any(|at| state.nodes[at].leads(at, state.now));
            // Who drains does not campaign.
            drains || self.goes_on(state, rest, |state| state.world.record.removed || is_led(state))
        })
    }

    /// Whether an order is carried out or dropped soon.
    fn obeys(&self, state: &State) -> bool {
        let done = |state: &State| state.world.record.removed || state.world.record.order.is_none();
        self.goes_on(state, Rest::All, done)
    }

    fn goes_on(&self, state: &State, rest: Rest, comes: impl Fn(&State) -> bool) -> bool {
        let mut state = state.clone();
        for _ in 0..LED_WITHIN {
            if comes(&state) {
                return true;
            }
            (0..NODES).for_each(|at| self.takes_part(&mut state, rest, at));
            self.act(&mut state, Action::TimePasses);
        }
        comes(&state)
    }

    fn takes_part(&self, state: &mut State, rest: Rest, at: usize) {
        let campaigns = match rest {
            Rest::All => true,
            Rest::Only(one) if one != at => return,
            Rest::Only(_) => true,
            Rest::Campaigns(one) => one == at,
        };
        self.act(state, Action::Beats(at));
        for decides in [None, Some(Action::Decides(at))] {
            decides.and_then(|decides| self.act(state, decides));
            let sent = state.nodes[at].commit.map(|commit| commit.act);
            let is_heard = campaigns || !matches!(sent, Some(Act::Campaign { .. }));
            self.act(state, if is_heard { Action::IsAnswered(at) } else { Action::IsLost(at) });
        }
    }
}

type Alter = fn(&mut Deciding);

fn altered(alter: Alter) -> Deciding {
    let mut model = Deciding::sound();
    alter(&mut model);
    model
}

#[test]
fn nodes_that_decide_by_the_core_keep_every_promise() {
    let rows: [(&str, Alter, &[&str]); 4] = [
        (
            "a loss, renewals that are not heard of",
            |model| (model.flushes_max, model.orders, model.beats_unheard) = (1, &[], true),
            &[AFTER_LOSS],
        ),
        (
            "a drain",
            |model| (model.drains_max, model.orders) = (1, &[]),
            &[HANDS_OVER, SUCCEEDED, VACATES, DOUBTS],
        ),
        (
            "a loss, an order to step down",
            |model| (model.flushes_max, model.orders) = (1, &[Verb::StepDown]),
            &[STEPS_DOWN, OBEYED, AFTER_LOSS],
        ),
        ("an order", |_| {}, &[HANDS_OVER, STEPS_DOWN, DROPS, REMOVES, DOUBTS, OBEYED]),
    ];
    for (what, alter, comes_to) in rows {
        let began = Instant::now();
        let any = HasDiscoveries::AnyOf(PROMISES.into());
        let checker = altered(alter).checker().threads(2).finish_when(any).spawn_bfs().join();
        println!("{what}: {} states in {:?}", checker.unique_state_count(), began.elapsed());
        for promise in PROMISES {
            checker.assert_no_discovery(promise);
        }
        assert!(checker.is_done(), "{what}");
        for name in comes_to {
            assert!(checker.discovery(name).is_some(), "{what}: it does not come to this: {name}");
        }
    }
}

#[test]
fn a_fault_of_who_decides_is_found() {
    let rows: [(&str, Alter, &str); 6] = [
        ("nobody campaigns", |model| model.decide = never_campaigns, NOT_LED),
        ("who is second never campaigns", |model| model.decide = never_campaigns_second, NOT_LED),
        ("orders are let lie", |model| model.decide = never_gives_up, NOT_DONE),
        ("a leader campaigns", |model| model.decide = takes_its_lease_for_over, OUTSIDE),
        ("it leads on while it does as it was ordered", |model| model.yields = false, TWO_LEAD),
        (
            "it leads on while it hands over because it drains",
            |model| (model.yields, model.orders, model.drains_max) = (false, &[], 1),
            TWO_LEAD,
        ),
    ];
    for (what, alter, promise) in rows {
        let any = HasDiscoveries::AnyOf([promise].into());
        let checker = altered(alter).checker().threads(2).finish_when(any).spawn_bfs().join();
        let path = checker.discovery(promise).map(stateright::Path::into_actions);
        println!("{what}: {path:?}");
        assert!(path.is_some(), "{what}: it is not found that this is not so: {promise}");
    }
}

fn never_campaigns(scene: &LeadershipScene<'_>) -> LeadershipMove {
    match decide(scene) {
        LeadershipMove::Campaign { .. } => LeadershipMove::Rest,
        decided => decided,
    }
}

/// As the core, but that a turn which is not the first never comes.
fn never_campaigns_second(scene: &LeadershipScene<'_>) -> LeadershipMove {
    match (decide(scene), decide(&LeadershipScene { backoff: Duration::MAX, ..*scene })) {
        (LeadershipMove::Campaign { .. }, LeadershipMove::Look { .. }) => LeadershipMove::Rest,
        (decided, _) => decided,
    }
}

fn never_gives_up(scene: &LeadershipScene<'_>) -> LeadershipMove {
    match decide(scene) {
        LeadershipMove::StepDown { .. } | LeadershipMove::HandOver { .. } => LeadershipMove::Rest,
        decided => decided,
    }
}

fn takes_its_lease_for_over(scene: &LeadershipScene<'_>) -> LeadershipMove {
    decide(&LeadershipScene { held: None, ..*scene })
}

#[test]
fn a_state_that_is_settled_stays_as_it_is() {
    let model = altered(|model| (model.flushes_max, model.drains_max, model.beats_unheard) = (1, 1, true));
    let mut chance = Chance::of(12);
    let start = model.init_states().remove(0);
    let mut state = start.clone();
    for _ in 0..20_000 {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        if actions.is_empty() || chance.below(100) == 0 {
            state = start.clone();
            continue;
        }
        let action = actions[chance.below(actions.len() as u64) as usize];
        let Some(next) = model.next_state(&state, action) else { continue };
        let mut again = next.clone();
        again.settle();
        assert_eq!(again, next, "after {action:?}");
        state = next;
    }
}
