//! The searches: what the product does keeps every promise, and what it must not forget is found.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::node::{Act, View};
use super::settle::PRESENT;
use super::{Action, Leadership, State, Writes};

const FALLS: &str = "accepted tokens never fall";
const TWO_LEAD: &str = "no two nodes lead at once";
const NOT_LED: &str = "a scope is soon led again";

/// Searches until one of `promises` is found broken, and says how; or all states.
fn broken<const N: usize>(
    what: &str,
    model: Leadership<N>,
    promises: &[&'static str],
) -> Option<Vec<Action>> {
    let began = Instant::now();
    let any = HasDiscoveries::AnyOf(promises.iter().copied().collect());
    let checker = model.checker().threads(2).finish_when(any).spawn_bfs().join();
    let (states, ms) = (checker.unique_state_count(), began.elapsed().as_millis());
    println!("{what}: {states} states in {ms} ms");
    let path = promises.iter().find_map(|promise| checker.discovery(promise))?;
    Some(path.into_actions())
}

fn assert_keeps<const N: usize>(what: &str, model: Leadership<N>) {
    let promises: Vec<_> = model.properties().iter().map(|property| property.name).collect();
    assert_eq!(promises, [FALLS, TWO_LEAD, NOT_LED]);
    if let Some(path) = broken(what, model, &promises) {
        panic!("{what}: a promise is broken by {path:#?}");
    }
}

type Alter = fn(&mut Leadership<2>);

fn altered(alter: Alter) -> Leadership<2> {
    let mut model = Leadership::sound();
    alter(&mut model);
    model
}

#[test]
fn two_nodes_lead_one_after_the_other() {
    let rows: [(&str, Alter); 6] = [
        ("loss of everything, a clock that runs ahead", |model| {
            (model.flushes_max, model.drift_max) = (1, 1);
        }),
        ("loss of everything, a release", |model| (model.flushes_max, model.releases_max) = (1, 1)),
        ("a clock that runs ahead, a release", |model| (model.drift_max, model.releases_max) = (1, 1)),
        ("a clock that runs ahead, a stop", |model| (model.drift_max, model.pauses_max) = (1, 1)),
        ("loss of everything, a stray request", |model| (model.flushes_max, model.strays_max) = (1, 1)),
        ("a clock that runs ahead, a stray request", |model| (model.drift_max, model.strays_max) = (1, 1)),
    ];
    for (what, alter) in rows {
        assert_keeps(what, altered(alter));
    }
}

#[test]
fn writes_of_two_nodes_are_let_through_in_order() {
    let rows: [(&str, Alter); 2] = [
        ("to the store, loss of everything", |model| {
            (model.writes, model.flushes_max) = (Writes::ToStore, 1);
        }),
        ("outside, loss of everything", |model| (model.writes, model.flushes_max) = (Writes::Outside, 1)),
    ];
    for (what, alter) in rows {
        assert_keeps(what, altered(alter));
    }
}

#[test]
fn three_nodes_lead_one_after_the_other() {
    assert_keeps("three nodes", Leadership::<3>::sound());
}

#[test]
fn what_must_not_be_forgotten_is_found() {
    let rows: [(&str, Alter, &str); 10] = [
        ("a margin below nothing", |model| model.margin = -1, TWO_LEAD),
        ("no margin, a clock that runs ahead", |model| (model.margin, model.drift_max) = (0, 1), TWO_LEAD),
        ("a clock that runs further ahead", |model| model.drift_max = 2, TWO_LEAD),
        (
            "no quarantine",
            |model| {
                model.flushes_max = 1;
                model.forgets.quarantine = true;
            },
            TWO_LEAD,
        ),
        ("the dead are renewed", |model| (model.drift_max, model.forgets.deadlines) = (1, true), TWO_LEAD),
        (
            "a replaced session has no barrier",
            |model| {
                model.strays_max = 1;
                model.forgets.barrier = true;
            },
            TWO_LEAD,
        ),
        (
            "no fence",
            |model| {
                model.writes = Writes::ToStore;
                model.forgets.fence = true;
            },
            FALLS,
        ),
        ("a resource that looks at no token", |model| model.writes = Writes::Unchecked, FALLS),
        (
            "tokens begin anew",
            |model| {
                (model.writes, model.flushes_max) = (Writes::ToStore, 1);
                model.forgets.time_in_tokens = true;
            },
            FALLS,
        ),
        ("nobody asks for the scope", |model| model.decide = never_acquires, NOT_LED),
    ];
    for (what, alter, promise) in rows {
        let path = broken(what, altered(alter), &[promise]);
        println!("{path:?}");
        assert!(path.is_some(), "{what}: it is not found that this is not so: {promise}");
    }
    assert_keeps("no margin, clocks that agree", altered(|model| model.margin = 0));
}

fn never_acquires(view: View) -> &'static [Act] {
    if view.trusts { &[Act::Renew] } else { &[Act::Open] }
}

/// The searches say nothing of what they never come to.
#[test]
fn the_search_comes_to_what_matters() {
    let model = altered(|model| {
        (model.writes, model.flushes_max, model.pauses_max) = (Writes::Outside, 1, 1);
    });
    let checker = Reaches(model).checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
}

/// A model with what it should come to as its properties.
struct Reaches(Leadership<2>);

impl Model for Reaches {
    type State = State<2>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<2>> {
        self.0.init_states()
    }

    fn actions(&self, state: &State<2>, actions: &mut Vec<Action>) {
        self.0.actions(state, actions);
    }

    fn next_state(&self, last: &State<2>, action: Action) -> Option<State<2>> {
        self.0.next_state(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::sometimes("a scope is led after a loss", |_, state: &State<2>| {
                state.nodes.iter().any(|node| node.leads(PRESENT).is_some_and(|(epoch, _)| epoch > 1))
            }),
            Property::sometimes("a stopped leader is succeeded", |_, state: &State<2>| {
                let [one, other] = &state.nodes;
                let succeeds = |stopped: &super::Node, next: &super::Node| {
                    stopped.paused && stopped.writing < next.leads(PRESENT) && stopped.writing.is_some()
                };
                succeeds(one, other) || succeeds(other, one)
            }),
            Property::sometimes("a write comes too late", |_, state: &State<2>| {
                state.nodes.iter().any(|node| node.writing.is_some_and(|(_, token)| token < state.accepted))
            }),
        ]
    }
}

#[test]
fn a_state_that_is_settled_stays_as_it_is() {
    let model = altered(|model| (model.flushes_max, model.drift_max) = (1, 1));
    let mut seen = BTreeSet::new();
    let mut state = model.start();
    let mut chance = crate::chance::Chance::of(11);
    for _ in 0..20_000 {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        let action = actions[chance.below(actions.len() as u64) as usize];
        let Some(next) = model.next_state(&state, action) else { continue };
        let mut again = next.clone();
        again.settle(model.margin, model.forgets);
        assert_eq!(again, next, "after {action:?}");
        assert_eq!(next.now, PRESENT);
        seen.insert(format!("{action:?}"));
        state = if state.flushes > 0 && chance.below(50) == 0 { model.start() } else { next };
    }
    assert!(seen.len() > 12, "{seen:?}");
}
