//! Generated histories with one thing wrong, and the rule that must find it.

use crate::checker::{Rule, check, in_words};
use crate::generated::{SCOPE, SEEDS, bounds, good};
use crate::history::{Action, Event, Fault, Gate, Grant, History, Outcome, Write};

/// The history with one thing wrong, where it has something that can be.
type Plant = fn(&mut [Event]) -> bool;

fn planted(seed: u64, plant: Plant) -> Option<History> {
    let mut history = good(seed);
    let mut events: Vec<_> = history.events.iter().map(|recorded| recorded.event.clone()).collect();
    if !plant(&mut events) {
        return None;
    }
    // What was taken out leaves its place.
    for (recorded, event) in history.events.iter_mut().zip(events) {
        recorded.event = event;
    }
    Some(history)
}

fn nothing() -> Event {
    Event::Fault { what: Fault::ClockJump, node: None }
}

/// The places of the first grant of each turn.
fn grants(events: &[Event]) -> Vec<usize> {
    let mut places: Vec<usize> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let is_new = |last: &usize| &events[*last] != event;
        if matches!(event, Event::Granted(_)) && places.last().is_none_or(is_new) {
            places.push(at);
        }
    }
    places
}

fn alter_grants(events: &mut [Event], from: &Event, alter: impl Fn(&mut Grant)) {
    for event in events.iter_mut().filter(|event| *event == from) {
        let Event::Granted(grant) = event else { continue };
        alter(grant);
    }
}

fn grant_of(event: &Event) -> &Grant {
    let Event::Granted(grant) = event else { panic!("{event:?}") };
    grant
}

fn lower_a_token(events: &mut [Event]) -> bool {
    let places = grants(events);
    let (before, fallen) = (grant_of(&events[places[3]]).token, events[places[4]].clone());
    alter_grants(events, &fallen, |grant| grant.token = before - 1);
    true
}

fn reuse_a_token(events: &mut [Event]) -> bool {
    let places = grants(events);
    let (before, again) = (grant_of(&events[places[2]]).token, events[places[5]].clone());
    alter_grants(events, &again, |grant| grant.token = before);
    true
}

/// Only where the lowered token is the first of a new epoch.
fn lower_a_token_after_a_flush(events: &mut [Event]) -> bool {
    let places = grants(events);
    let epochs = places.windows(2).map(|pair| (grant_of(&events[pair[0]]), pair[1]));
    let flushed = epochs.filter(|(before, at)| before.epoch < grant_of(&events[*at]).epoch);
    let Some((before, at)) = flushed.map(|(before, at)| (before.token, at)).next() else { return false };
    let first = events[at].clone();
    alter_grants(events, &first, |grant| grant.token = before - 1);
    true
}

fn lower_a_term(events: &mut [Event]) -> bool {
    let places = grants(events);
    let same_epoch = |pair: &&[usize]| {
        let (before, after) = (grant_of(&events[pair[0]]), grant_of(&events[pair[1]]));
        before.epoch == after.epoch
    };
    let Some(pair) = places.windows(2).find(same_epoch) else { return false };
    let (term, later) = (grant_of(&events[pair[0]]).term, events[pair[1]].clone());
    alter_grants(events, &later, |grant| grant.term = term);
    true
}

fn read_the_log_in_two_ways(events: &mut [Event]) -> bool {
    let twice = events.windows(2).position(|pair| matches!(pair[0], Event::Granted(_)) && pair[0] == pair[1]);
    let Some(at) = twice else { return false };
    let Event::Granted(grant) = &mut events[at + 1] else { return false };
    grant.session.push('x');
    true
}

fn writes(events: &mut [Event], outcome: Outcome) -> impl DoubleEndedIterator<Item = &mut Write> {
    events.iter_mut().filter_map(move |event| {
        let Event::Wrote(write) = event else { return None };
        (write.outcome == outcome).then_some(write)
    })
}

fn accept_a_stale_write(events: &mut [Event]) -> bool {
    let refused = writes(events, Outcome::Refused).next_back();
    refused.map(|write| write.outcome = Outcome::Accepted).is_some()
}

/// A gate outside is told of no end: only the order of the tokens tells.
fn accept_a_stale_write_outside(events: &mut [Event]) -> bool {
    let Some(write) = writes(events, Outcome::Refused).next_back() else { return false };
    (write.outcome, write.gate) = (Outcome::Accepted, Gate::Resource("disk".into()));
    true
}

fn let_another_write(events: &mut [Event]) -> bool {
    let accepted = writes(events, Outcome::Accepted).next();
    accepted.map(|write| write.node = "nobody".into()).is_some()
}

fn accept_behind_its_release(events: &mut [Event]) -> bool {
    let released = events.iter().position(|event| matches!(event, Event::Ended { .. }));
    let Some(at) = released else { return false };
    let Event::Ended { revision, .. } = events[at] else { return false };
    let mut committed = writes(&mut events[..at], Outcome::Accepted).filter_map(|write| write.place.as_mut());
    committed.next_back().map(|place| place.revision = revision + 1).is_some()
}

/// The first leader never hears of its end, and trusts itself for ever.
fn believe_on(events: &mut [Event]) -> bool {
    let Grant { node: leader, token: first, .. } = grant_of(&events[grants(events)[0]]).clone();
    for event in events.iter_mut() {
        if let Event::BeginLead { token, until_us, .. } | Event::KeepLead { token, until_us, .. } = event
            && *token == first
        {
            *until_us = u64::MAX;
        }
        let ends = matches!(event, Event::EndLead { token, .. } if *token == first);
        if ends || matches!(event, Event::Fault { node: Some(node), .. } if *node == leader) {
            *event = nothing();
        }
    }
    true
}

/// A whole turn in which nobody leads, though the store had granted it.
fn lead_nothing(events: &mut [Event]) -> bool {
    let third = grant_of(&events[grants(events)[2]]).token;
    for event in events.iter_mut() {
        if let Event::BeginLead { token, .. } | Event::KeepLead { token, .. } = event
            && *token == third
        {
            *event = nothing();
        }
    }
    true
}

fn forget_an_audit_record(events: &mut [Event]) -> bool {
    let record = events.iter_mut().rev().find(|event| matches!(event, Event::Audited { .. }));
    record.map(|record| *record = nothing()).is_some()
}

fn audit_twice(events: &mut [Event]) -> bool {
    let Some(record) = events.iter().find(|event| matches!(event, Event::Audited { .. })).cloned() else {
        return false;
    };
    let spare = events.iter_mut().find(|event| matches!(event, Event::KeepLead { .. }));
    spare.map(|spare| *spare = record).is_some()
}

fn audit_what_never_was(events: &mut [Event]) -> bool {
    let record = Event::Audited { scope: SCOPE.into(), epoch: 100, term: 77, action: Action::Granted };
    let spare = events.iter_mut().find(|event| matches!(event, Event::KeepLead { .. }));
    spare.map(|spare| *spare = record).is_some()
}

#[test]
fn what_is_planted_is_found() {
    let rows: [(&str, Plant, Rule, &str); 14] = [
        // what, how, the rule that must find it, what it says
        ("a lower token", lower_a_token, Rule::Grants, "fell from"),
        ("a token again", reuse_a_token, Rule::Grants, "token"),
        ("a lower token after a flush", lower_a_token_after_a_flush, Rule::Grants, "fell from"),
        ("a term that does not rise", lower_a_term, Rule::Grants, "the term"),
        ("two ways to read the log", read_the_log_in_two_ways, Rule::Grants, "in two ways"),
        ("a stale write", accept_a_stale_write, Rule::Writes, "after its end"),
        ("a stale write outside", accept_a_stale_write_outside, Rule::Writes, "after token"),
        ("another's token", let_another_write, Rule::Writes, "was granted it"),
        ("a write behind its release", accept_behind_its_release, Rule::Writes, "behind its end"),
        ("two leaders", believe_on, Rule::Beliefs, "both took themselves"),
        ("a turn without a leader", lead_nothing, Rule::Leaders, "had no leader"),
        ("a missing record", forget_an_audit_record, Rule::Audits, "no audit record"),
        ("a record twice", audit_twice, Rule::Audits, "2 audit records"),
        ("a record of nothing", audit_what_never_was, Rule::Audits, "it never happened"),
    ];
    for (what, plant, rule, says) in rows {
        let histories: Vec<_> = (0..SEEDS).filter_map(|seed| planted(seed, plant)).collect();
        assert!(histories.len() * 3 > SEEDS as usize, "{what}: planted in {} only", histories.len());
        for history in histories {
            let violations = check(&history, &bounds()).expect_err(what);
            let found = violations.iter().any(|it| it.rule == rule && it.says.contains(says));
            assert!(found, "{what}: {}", in_words(&violations));
        }
    }
}
