//! The edges of what the checker finds, by hand: each history in a row, and what is said of it.

use std::time::Duration;

use crate::checker::{AtLeast, Bounds, Rule, check, in_words};
use crate::history::{Action, Event, Fault, Gate, Grant, History, How, Outcome, Place, Recorded, Write};
use crate::recorder::Recorder;

const SCOPE: &str = "x";
const FOREVER: u64 = u64::MAX;
const LEADERLESS_MAX: Duration = Duration::from_micros(100);

type Row<'a> = (&'a str, Vec<(u64, Event)>, &'a [(Rule, &'a str)]);

fn history(events: Vec<(u64, Event)>) -> History {
    let place = |(seq, (at_us, event)): (usize, _)| Recorded { at_us, seq: seq as u64, event };
    History { events: events.into_iter().enumerate().map(place).collect() }
}

fn granted(node: &str, epoch: u64, revision: u64, term: u64, token: u64) -> Event {
    let session = format!("{node}#{revision}");
    let (scope, node) = (SCOPE.to_owned(), node.to_owned());
    Event::Granted(Grant { scope, epoch, revision, term, token, node, session })
}

fn released(revision: u64, token: u64) -> Event {
    Event::Ended { scope: SCOPE.into(), epoch: 1, revision, token, how: How::Released }
}

fn expired(token: u64) -> Event {
    Event::Ended { scope: SCOPE.into(), epoch: 1, revision: 0, token, how: How::Expired }
}

fn begin(node: &str, token: u64, until_us: u64) -> Event {
    Event::BeginLead { node: node.into(), scope: SCOPE.into(), token, until_us }
}

fn keep(node: &str, token: u64, until_us: u64) -> Event {
    Event::KeepLead { node: node.into(), scope: SCOPE.into(), token, until_us }
}

fn end(node: &str, token: u64) -> Event {
    Event::EndLead { node: node.into(), scope: SCOPE.into(), token }
}

fn fault(what: Fault, node: &str) -> Event {
    Event::Fault { what, node: Some(node.into()) }
}

fn wants(from_us: u64, until_us: u64) -> Event {
    Event::CandidateLives { scope: SCOPE.into(), from_us, until_us }
}

fn away(from_us: u64, until_us: u64) -> Event {
    Event::NoGrants { why: "away".into(), from_us, until_us }
}

fn audited(term: u64, action: Action) -> Event {
    Event::Audited { scope: SCOPE.into(), epoch: 1, term, action }
}

fn wrote(gate: Gate, node: &str, token: u64, span: (u64, u64), outcome: Outcome) -> Event {
    let (scope, node, (invoked_us, returned_us)) = (SCOPE.to_owned(), node.to_owned(), span);
    Event::Wrote(Write { gate, node, scope, token, invoked_us, returned_us, outcome, place: None })
}

fn disk(node: &str, token: u64, span: (u64, u64)) -> Event {
    wrote(Gate::Resource("disk".into()), node, token, span, Outcome::Accepted)
}

fn stored(node: &str, token: u64, span: (u64, u64)) -> Event {
    wrote(Gate::Store, node, token, span, Outcome::Accepted)
}

fn committed(node: &str, token: u64, span: (u64, u64), revision: u64) -> Event {
    let Event::Wrote(write) = stored(node, token, span) else { panic!("a write") };
    Event::Wrote(Write { place: Some(Place { epoch: 1, revision }), ..write })
}

/// `a` is granted token 10 and then `b` token 20.
fn two_grants() -> Vec<(u64, Event)> {
    vec![(1, granted("a", 1, 1, 1, 10)), (2, granted("b", 1, 5, 2, 20))]
}

fn after_grants(events: Vec<(u64, Event)>) -> Vec<(u64, Event)> {
    two_grants().into_iter().chain(events).collect()
}

fn assert_rows(rows: Vec<Row<'_>>) {
    let bounds =
        Bounds { leaderless_max: LEADERLESS_MAX, handover_max: Duration::ZERO, at_least: AtLeast::default() };
    for (what, events, expected) in rows {
        let violations = check(&history(events), &bounds).err().unwrap_or_default();
        let told = in_words(&violations);
        assert_eq!(violations.len(), expected.len(), "{what}: {told}");
        for (violation, (rule, says)) in violations.iter().zip(expected) {
            assert!(violation.rule == *rule && violation.says.contains(says), "{what}: {told}");
        }
    }
}

#[test]
fn grants_of_a_scope() {
    use Rule::Grants;
    let first = || (1, granted("a", 1, 1, 1, 10));
    assert_rows(vec![
        ("tokens rise over epochs, terms need not", vec![first(), (2, granted("b", 2, 1, 1, 11))], &[]),
        ("epochs need not rise", vec![first(), (2, granted("b", 0, 1, 1, 11))], &[]),
        ("one grant, read twice", vec![first(), first()], &[]),
        ("the log is read late", vec![(1, granted("b", 1, 5, 2, 20)), (2, granted("a", 1, 1, 1, 10))], &[]),
        (
            "reused by the same node",
            vec![first(), (2, granted("a", 1, 5, 2, 10))],
            &[(Grants, "and again to")],
        ),
        (
            "reused in another epoch",
            vec![first(), (2, granted("b", 2, 1, 1, 10))],
            &[(Grants, "and again to")],
        ),
        (
            "fell after a flush",
            vec![first(), (2, granted("b", 2, 1, 1, 9))],
            &[(Grants, "fell from 10 to 9")],
        ),
        ("one term twice", vec![first(), (2, granted("b", 1, 5, 1, 20))], &[(Grants, "from 1 to 1 within")]),
        (
            "still below the greatest",
            after_grants(vec![(3, granted("a", 2, 1, 1, 9)), (4, granted("b", 2, 2, 2, 15))]),
            &[(Grants, "fell from 20 to 9"), (Grants, "fell from 20 to 15")],
        ),
        ("one revision, two holders", vec![first(), (2, granted("b", 1, 1, 1, 10))], &[(Grants, "two ways")]),
    ]);
}

#[test]
fn writes_at_gates() {
    use Rule::Writes;
    assert_rows(vec![
        ("in order", after_grants(vec![(9, disk("a", 10, (3, 4))), (10, disk("b", 20, (5, 6)))]), &[]),
        ("at once", after_grants(vec![(9, disk("b", 20, (3, 6))), (10, disk("a", 10, (5, 8)))]), &[]),
        ("touching", after_grants(vec![(9, disk("b", 20, (3, 5))), (10, disk("a", 10, (5, 8)))]), &[]),
        (
            "two gates know nothing of each other",
            after_grants(vec![
                (9, disk("b", 20, (3, 4))),
                (10, wrote(Gate::Resource("tape".into()), "a", 10, (5, 6), Outcome::Accepted)),
            ]),
            &[],
        ),
        (
            "one that may have been",
            after_grants(vec![
                (9, wrote(Gate::Store, "b", 20, (3, 4), Outcome::Unknown)),
                (10, disk("a", 10, (5, 6))),
                (11, wrote(Gate::Store, "a", 10, (7, 8), Outcome::Unknown)),
            ]),
            &[],
        ),
        (
            "a lower token",
            after_grants(vec![(9, disk("b", 20, (3, 4))), (10, disk("a", 10, (5, 8)))]),
            &[(Writes, "after token 20")],
        ),
        (
            "a lower token behind two that overlap",
            after_grants(vec![
                (9, disk("b", 20, (3, 4))),
                (10, disk("a", 10, (3, 6))),
                (11, disk("a", 10, (7, 8))),
            ]),
            &[(Writes, "after token 20")],
        ),
        ("never granted", after_grants(vec![(9, disk("a", 11, (3, 4)))]), &[(Writes, "nobody was ever")]),
        ("another's", after_grants(vec![(9, disk("a", 20, (3, 4)))]), &[(Writes, "but `b` was granted it")]),
    ]);
}

#[test]
fn writes_at_the_store() {
    use Rule::Writes;
    let one = |end: Event, write: Event| vec![(1, granted("a", 1, 1, 1, 10)), (4, end), (9, write)];
    assert_rows(vec![
        ("sent before the end was known", one(released(2, 10), stored("a", 10, (3, 5))), &[]),
        ("a gate outside hears of no end", one(released(2, 10), disk("a", 10, (5, 6))), &[]),
        ("of another term", one(released(2, 8), stored("a", 10, (5, 6))), &[]),
        ("after the release", one(released(2, 10), stored("a", 10, (5, 6))), &[(Writes, "after its end")]),
        ("after the expiry", one(expired(10), stored("a", 10, (5, 6))), &[(Writes, "after its end")]),
        ("before its release in the log", one(released(3, 10), committed("a", 10, (2, 5), 2)), &[]),
        ("behind it", one(released(2, 10), committed("a", 10, (2, 5), 3)), &[(Writes, "behind its end")]),
        ("an expiry has no revision", one(expired(10), committed("a", 10, (2, 5), 3)), &[]),
        (
            "behind the successor in the log",
            vec![
                (1, granted("a", 1, 1, 1, 10)),
                (9, granted("b", 1, 5, 2, 20)),
                (10, committed("a", 10, (2, 8), 6)),
            ],
            &[(Writes, "behind its end")],
        ),
    ]);
}

#[test]
fn beliefs_of_two_nodes() {
    use Rule::Beliefs;
    let both = "both took themselves for the leader";
    let a = |events: Vec<(u64, Event)>| [vec![(1, begin("a", 10, 50))], events].concat();
    assert_rows(vec![
        ("one runs out, the next begins", a(vec![(50, begin("b", 20, 90)), (95, end("b", 20))]), &[]),
        ("one ends", a(vec![(30, end("a", 10)), (31, begin("b", 20, 90))]), &[]),
        (
            "an older end says nothing",
            a(vec![(30, end("a", 9)), (31, begin("b", 20, 40)), (60, end("b", 20))]),
            &[(Beliefs, "for 9 us")],
        ),
        ("two at once", a(vec![(40, begin("b", 20, 90)), (95, end("b", 20))]), &[(Beliefs, "for 10 us")]),
        (
            "renewed too late",
            a(vec![(60, begin("b", 20, 90)), (70, keep("a", 10, 99)), (95, end("b", 20))]),
            &[(Beliefs, "for 20 us")],
        ),
        ("one node in two terms", a(vec![(40, begin("a", 20, 90)), (95, end("a", 20))]), &[]),
        ("killed", a(vec![(30, fault(Fault::Kill, "a")), (31, begin("b", 20, 90)), (95, end("b", 20))]), &[]),
        (
            "another was killed",
            a(vec![(30, fault(Fault::Kill, "c")), (40, begin("b", 20, 90)), (95, end("b", 20))]),
            &[(Beliefs, both)],
        ),
        (
            "another's token",
            vec![(1, granted("a", 1, 1, 1, 10)), (2, begin("b", 10, 50)), (60, end("b", 10))],
            &[(Beliefs, "that `a` was granted")],
        ),
    ]);
}

#[test]
fn beliefs_of_a_stopped_process() {
    use Rule::Beliefs;
    let stopped = |until_us, rest: Vec<(u64, Event)>| {
        let begins = vec![(1, begin("a", 10, until_us)), (10, fault(Fault::Pause, "a"))];
        [begins, vec![(20, begin("b", 20, 40))], rest].concat()
    };
    let resume = || fault(Fault::Resume, "a");
    assert_rows(vec![
        (
            "it looks first",
            stopped(FOREVER, vec![(30, resume()), (32, end("a", 10)), (50, end("b", 20))]),
            &[],
        ),
        ("its deadline passed meanwhile", stopped(25, vec![(30, resume()), (50, end("b", 20))]), &[]),
        ("it is never seen again", stopped(FOREVER, vec![(50, end("b", 20))]), &[]),
        (
            "it trusts itself still",
            stopped(90, vec![(30, resume()), (50, end("b", 20))]),
            &[(Beliefs, "for 10 us")],
        ),
        (
            "it looks and trusts itself",
            stopped(FOREVER, vec![(30, resume()), (32, keep("a", 10, 90)), (50, end("b", 20))]),
            &[(Beliefs, "for 8 us")],
        ),
        (
            "it had not been stopped yet",
            vec![
                (1, begin("a", 10, FOREVER)),
                (5, begin("b", 20, 40)),
                (10, fault(Fault::Pause, "a")),
                (50, end("b", 20)),
            ],
            &[(Beliefs, "for 5 us")],
        ),
    ]);
}

#[test]
fn scopes_that_somebody_wants_to_lead() {
    use Rule::Leaders;
    let led = |from, until| vec![(from, begin("a", 10, until)), (until, end("a", 10))];
    let hour = 3_600_000_000;
    assert_rows(vec![
        ("led in time", [led(100, 900), vec![(901, wants(0, 1000))]].concat(), &[]),
        ("nobody wants to", vec![(hour, fault(Fault::Heal, "a"))], &[]),
        (
            "too late",
            [led(101, 900), vec![(901, wants(0, 1000))]].concat(),
            &[(Leaders, "from 0 us to 101 us")],
        ),
        (
            "too early",
            [led(100, 899), vec![(901, wants(0, 1000))]].concat(),
            &[(Leaders, "from 899 us to 1000 us")],
        ),
        ("an hour", vec![(hour, wants(0, hour))], &[(Leaders, "3600000000 us")]),
        ("an hour in which the store was away", vec![(1, away(50, hour)), (hour, wants(0, hour))], &[]),
        (
            "and long enough after it",
            vec![(1, away(50, 500)), (900, wants(0, 601))],
            &[(Leaders, "from 500 us to 601 us")],
        ),
        (
            "one candidate after the other",
            vec![(1, wants(0, 60)), (200, wants(60, 101))],
            &[(Leaders, "from 0 us to 101 us")],
        ),
        ("each for a moment", vec![(1, wants(0, 60)), (200, wants(61, 120))], &[]),
        (
            "another scope is led",
            [
                led(1, 900),
                vec![(901, Event::CandidateLives { scope: "y".into(), from_us: 0, until_us: 101 })],
            ]
            .concat(),
            &[(Leaders, "scope `y`")],
        ),
    ]);
}

#[test]
fn audit_records_of_transitions() {
    use Rule::Audits;
    let run = |records: Vec<Event>| {
        let ends = vec![(3, released(6, 20)), (4, expired(10))];
        let records = records.into_iter().enumerate().map(|(at, event)| (5 + at as u64, event)).collect();
        [two_grants(), ends, records].concat()
    };
    let (first, second) = (|| audited(1, Action::Granted), || audited(2, Action::Granted));
    let last = || audited(2, Action::Ended);
    assert_rows(vec![
        ("none at all are not looked for", run(vec![]), &[]),
        ("one each", run(vec![first(), second(), last()]), &[]),
        ("of an expiry as well", run(vec![first(), audited(1, Action::Ended), second(), last()]), &[]),
        (
            "a grant's is missing",
            run(vec![first(), last()]),
            &[(Audits, "no audit record: scope `x`, epoch 1, term 2")],
        ),
        ("a release's is missing", run(vec![first(), second()]), &[(Audits, "term 2, Ended")]),
        ("twice", run(vec![first(), second(), second(), last()]), &[(Audits, "2 audit records")]),
        (
            "of nothing",
            run(vec![first(), second(), last(), audited(3, Action::Granted)]),
            &[(Audits, "it never happened")],
        ),
    ]);
}

/// Only a service that hears of a hand-over from somebody else may go on for a moment.
#[test]
fn beliefs_beyond_a_hand_over() {
    let bounds = Bounds {
        leaderless_max: LEADERLESS_MAX,
        handover_max: Duration::from_micros(10),
        at_least: AtLeast::default(),
    };
    let led = |until_us, how: Event, beside_us| {
        let beliefs =
            vec![(3, begin("a", 10, until_us)), (40, begin("b", 20, 80)), (41, how), (90, away(0, 1))];
        (after_grants(beliefs), beside_us)
    };
    let rows = [
        // what                          history                      beside each other, where that may be
        ("a moment", led(50, released(5, 10), Some(10))),
        ("too long", led(51, released(5, 10), None)),
        ("it ran out", led(50, expired(10), None)),
        ("given back after the successor was granted", led(50, released(6, 10), None)),
        ("of somebody else", led(50, released(5, 9), None)),
        ("not at all", led(40, released(5, 10), Some(0))),
    ];
    for (what, (events, beside_us)) in rows {
        let summary = check(&history(events), &bounds);
        let found = summary.as_ref().ok().map(|summary| summary.handover_longest_us);
        assert_eq!(found, beside_us, "{what}: {summary:?}");
    }
}

#[test]
fn a_history_must_hold_what_was_asked_for() {
    let due = Duration::from_micros(1);
    let at_least = AtLeast { grants: 1, accepted: 1, refused: 1, beliefs: 1, audited: 1, due };
    let bounds = Bounds { leaderless_max: LEADERLESS_MAX, handover_max: Duration::ZERO, at_least };
    let violations = check(&History::default(), &bounds).expect_err("an empty history");
    assert_eq!(violations.len(), 6, "{}", in_words(&violations));
    assert!(violations.iter().all(|violation| violation.rule == Rule::Enough));
    let summary = check(&history(two_grants()), &Bounds { at_least: AtLeast::default(), ..bounds });
    let told = summary.expect("two grants").to_string();
    assert!(told.contains("2 grants") && told.contains("audit records not checked"), "{told}");
}

#[test]
fn instants_rise_from_any_thread() {
    let recorder = Recorder::new();
    std::thread::scope(|threads| {
        for node in ["a", "b", "c"] {
            let recorder = &recorder;
            threads.spawn(move || {
                for token in 0..200 {
                    let sent = recorder.sending(Gate::Store, node, SCOPE, token);
                    sent.returned(recorder, Outcome::Unknown);
                }
            });
        }
    });
    let history = recorder.history();
    assert_eq!(history.events.len(), 600);
    History::from_lines(&history.to_lines()).expect("an order that rises");
    for recorded in &history.events {
        let Event::Wrote(write) = &recorded.event else { panic!("{recorded}") };
        assert!(write.invoked_us < write.returned_us && write.returned_us < recorded.at_us, "{recorded}");
    }
}
