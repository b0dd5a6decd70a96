//! The search: small histories by hand, and random ones against every order there is.

use omnirelay_store::Revision;

use super::history::{Call, Found, NEVER, Outcome, Span};
use super::model::{Register, Step};
use super::plan::Chance;
use super::search::{Operation, Verdict, judge};

fn at(invoked: u64, answered: u64, step: Step) -> Operation {
    Operation { name: String::new(), span: Span { invoked, answered }, step }
}

fn done(put: Option<u64>, expected: Option<u64>, version: Option<u64>) -> Step {
    Step::Change(Call { put, expected }, Outcome::Done { revision: Revision(0), version })
}

/// A blind put that left `version`; its value is the version.
fn put(version: u64) -> Step {
    done(Some(version), None, Some(version))
}

/// A put on the condition of the version before, that was made.
fn swap(version: u64) -> Step {
    done(Some(version), Some(version - 1), Some(version))
}

fn read(version: u64) -> Step {
    Step::Read((version > 0).then_some(Found { version, value: Some(version) }))
}

fn tombstone(version: u64) -> Step {
    Step::Read(Some(Found { version, value: None }))
}

fn delete(version: Option<u64>) -> Step {
    done(None, None, version)
}

fn refused(expected: u64, actual: u64) -> Step {
    Step::Change(Call { put: Some(99), expected: Some(expected) }, Outcome::Refused { actual })
}

fn unknown(put: Option<u64>, expected: Option<u64>) -> Step {
    Step::Change(Call { put, expected }, Outcome::Unknown)
}

#[test]
fn histories_are_judged_one_by_one() {
    type Case<'a> = (&'a str, bool, &'a [(u64, u64, Step)]);
    let cases: &[Case] = &[
        ("nothing", true, &[]),
        ("one after the other", true, &[(0, 1, put(1)), (2, 3, read(1)), (4, 5, swap(2)), (6, 7, read(2))]),
        ("a read beside a write sees the old", true, &[(0, 9, put(1)), (1, 2, read(0)), (3, 4, read(1))]),
        ("a stale read", false, &[(0, 1, put(1)), (2, 3, put(2)), (4, 5, read(1))]),
        ("new, then old", false, &[(0, 9, put(1)), (1, 2, read(1)), (3, 4, read(0))]),
        ("new and old at once", true, &[(0, 9, put(1)), (1, 4, read(1)), (2, 3, read(0))]),
        ("a read of what is still to come", false, &[(0, 1, read(1)), (2, 3, put(1))]),
        ("a lost update", false, &[(0, 1, put(1)), (2, 5, swap(2)), (3, 4, swap(2))]),
        ("of two rivals one is refused", true, &[(0, 1, put(1)), (2, 5, swap(2)), (3, 4, refused(1, 2))]),
        ("refused for what it asked", false, &[(0, 1, put(1)), (2, 3, refused(1, 1))]),
        ("refused for a version that never was", false, &[(0, 1, put(1)), (2, 3, refused(0, 7))]),
        ("acknowledged and gone", false, &[(0, 1, put(1)), (2, 3, read(0))]),
        (
            "made twice",
            false,
            &[(0, 1, put(1)), (2, 3, Step::Read(Some(Found { version: 2, value: Some(1) })))],
        ),
        ("versions go on after a deletion", true, &[(0, 1, put(1)), (2, 3, delete(Some(2))), (4, 5, put(3))]),
        (
            "a tombstone is not there",
            true,
            &[
                (0, 1, put(1)),
                (2, 3, delete(Some(2))),
                (4, 5, tombstone(2)),
                (6, 7, refused(2, 0)),
                (8, 9, done(Some(3), Some(0), Some(3))),
            ],
        ),
        ("a deletion of nothing", true, &[(0, 1, delete(None)), (2, 3, read(0))]),
        ("a deletion of something that says nothing", false, &[(0, 1, put(1)), (2, 3, delete(None))]),
        ("unknown and made at once", true, &[(0, NEVER, unknown(Some(1), None)), (1, 2, read(1))]),
        (
            "unknown and made late",
            true,
            &[(0, NEVER, unknown(Some(1), None)), (1, 2, read(0)), (3, 4, read(0)), (5, 6, read(1))],
        ),
        ("unknown and never made", true, &[(0, NEVER, unknown(Some(1), None)), (1, 2, read(0))]),
        (
            "unknown and made twice",
            false,
            &[
                (0, NEVER, unknown(Some(1), None)),
                (1, 2, read(1)),
                (3, 4, Step::Read(Some(Found { version: 2, value: Some(1) }))),
            ],
        ),
        (
            "unknown and taken back",
            false,
            &[(0, NEVER, unknown(Some(1), None)), (1, 2, read(1)), (3, 4, read(0))],
        ),
        (
            "unknown, but its condition never held",
            false,
            &[(0, NEVER, unknown(Some(1), Some(5))), (1, 2, read(1))],
        ),
        ("made before it was asked for", false, &[(0, 1, read(1)), (2, NEVER, unknown(Some(1), None))]),
    ];
    for (what, linearizable, steps) in cases {
        let operations: Vec<_> = steps.iter().map(|&(from, to, step)| at(from, to, step)).collect();
        let verdict = judge(&operations);
        assert_eq!(verdict == Verdict::Linearizable, *linearizable, "{what}: {verdict:?}");
        assert_eq!(some_order_explains(&operations), *linearizable, "{what}: every order");
    }
}

/// Tries every order: what the search must agree with.
fn some_order_explains(operations: &[Operation]) -> bool {
    fn go_on(left: &mut Vec<&Operation>, state: Register) -> bool {
        if left.is_empty() {
            return true;
        }
        for place in 0..left.len() {
            let next = left[place];
            let first = left.iter().all(|other| other.span.answered >= next.span.invoked);
            let Some(after) = state.after(&next.step).filter(|_| first) else { continue };
            left.remove(place);
            let explained = go_on(left, after);
            left.insert(place, next);
            if explained {
                return true;
            }
        }
        false
    }
    go_on(&mut operations.iter().collect(), Register::default())
}

/// Any call and any answer.
fn some_step(chance: &mut Chance) -> Step {
    let (asked, told) = (chance.below(4), chance.below(4));
    match chance.below(8) {
        0 | 1 => put(told + 1),
        2 => swap(told + 1),
        3 => refused(asked, told),
        4 => delete(Some(told).filter(|&version| version > 0)),
        5 => unknown(Some(asked), Some(told).filter(|_| chance.once_in(2))),
        6 => tombstone(told),
        _ => read(told),
    }
}

/// A few calls that a register answered in some order, around the instants at which it did; in every
/// second history one of the answers is any other.
fn some_calls(chance: &mut Chance) -> Vec<Operation> {
    let (count, mut state, mut operations) = (3 + chance.below(5), Register::default(), Vec::new());
    while operations.len() < count as usize {
        let step = some_step(chance);
        let Some(after) = state.after(&step) else { continue };
        state = after;
        let instant = 20 + 4 * operations.len() as u64;
        let lost = matches!(step, Step::Change(_, Outcome::Unknown));
        let answered = if lost { NEVER } else { instant + 1 + chance.below(10) };
        operations.push(at(instant - chance.below(10), answered, step));
    }
    let wrong = chance.below(2 * count) as usize;
    if let Some(operation) = operations.get_mut(wrong) {
        let step = some_step(chance);
        let lost = |step: &Step| matches!(step, Step::Change(_, Outcome::Unknown));
        if !lost(&step) && !lost(&operation.step) {
            operation.step = step;
        }
    }
    operations
}

#[test]
fn search_agrees_with_every_order() {
    let (mut linearizable, rounds) = (0, 20_000);
    for seed in 0..rounds {
        let operations = some_calls(&mut Chance::of(seed));
        let expected = some_order_explains(&operations);
        assert_eq!(judge(&operations) == Verdict::Linearizable, expected, "seed {seed}: {operations:#?}");
        linearizable += u32::from(expected);
    }
    assert!((1_000..19_000).contains(&linearizable), "both kinds were there: {linearizable}");
}

#[test]
fn report_names_the_answer_that_nothing_explains() {
    let mut operations = vec![at(0, 1, put(1)), at(2, 3, put(2)), at(4, 5, read(1))];
    operations[2].name = "client 7 call 3".to_owned();
    let Verdict::Violated(why) = judge(&operations) else { panic!("a stale read") };
    assert!(why.starts_with("2 of 3 calls can be ordered"), "{why}");
    assert!(why.contains("[4..5] client 7 call 3 read 1 of version 1"), "{why}");
}

#[test]
fn hundreds_of_concurrent_calls_are_decided() {
    // Sixteen clients whose every call overlaps all others of its turn, in the worst order to guess.
    let mut operations = Vec::new();
    for turn in 0..20 {
        for client in (1..=16).rev() {
            operations.push(at(turn * 10, turn * 10 + 9, put(turn * 16 + client)));
        }
    }
    assert_eq!(judge(&operations), Verdict::Linearizable);
    operations.push(at(300, 301, read(3)));
    assert!(matches!(judge(&operations), Verdict::Violated(_)));
}

#[test]
fn calls_that_were_never_answered_do_not_multiply() {
    // Forty that were lost at the start, of which a few were made; each version is seen by somebody.
    let mut operations: Vec<_> =
        (0..40).map(|number| at(0, NEVER, unknown(Some(1000 + number), None))).collect();
    operations.extend((0..40).map(|number| at(0, NEVER, unknown(Some(2000 + number), Some(number)))));
    for version in 1..=100 {
        let step = match version % 10 {
            0 => Step::Read(Some(Found { version, value: Some(1000 + version / 10) })),
            _ => put(version),
        };
        operations.push(at(version * 10, version * 10 + 9, step));
    }
    assert_eq!(judge(&operations), Verdict::Linearizable);
    operations.push(at(2000, 2001, read(50)));
    assert!(matches!(judge(&operations), Verdict::Violated(_)));
}
