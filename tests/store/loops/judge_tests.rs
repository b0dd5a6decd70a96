//! What the judge lets pass, and what it does not.

use super::judge::{Change, History, Read, judge};
use super::{Record, Seen, Told};
use crate::linearizable::Span;

fn record() -> Record {
    Record::Thing("a".to_owned())
}

/// A change of `value` that demanded a version, from one tick to another.
fn change(expected: u64, value: u64, (invoked, answered): (u64, u64), told: Told) -> Change {
    Change { record: record(), span: Span { invoked, answered }, expected, value, told }
}

fn done(version: u64) -> Told {
    Told::Done { version }
}

fn judged(changes: Vec<Change>, reads: &[Seen], after: Seen) -> Result<(), String> {
    let before = [(record(), Seen { version: 3, value: 30 })].into();
    let reads = reads.iter().map(|seen| Read { record: record(), seen: *seen }).collect();
    judge(&History { before, changes, reads, after: [(record(), after)].into() })
}

/// What it is, the changes, what was read meanwhile and in the end, and what is said of it.
type Case = (&'static str, Vec<Change>, Vec<Seen>, Seen, Option<&'static str>);

fn unknown() -> Told {
    Told::Unknown("the line is dead".to_owned())
}

fn refused(actual: u64) -> Told {
    Told::Refused { actual }
}

const FOUR: Seen = Seen { version: 4, value: 40 };
const FIVE: Seen = Seen { version: 5, value: 50 };

fn check(cases: impl IntoIterator<Item = Case>) {
    for (what, changes, reads, after, expected) in cases {
        match (judged(changes, &reads, after), expected) {
            (Ok(()), None) => {}
            (Err(said), Some(expected)) => assert!(said.contains(expected), "{what}: {said}"),
            (judged, expected) => panic!("{what}: {judged:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn what_one_record_answers_passes() {
    check([
        (
            "one after the other",
            vec![change(3, 40, (1, 2), done(4)), change(4, 50, (3, 4), done(5))],
            vec![FOUR, FIVE],
            FIVE,
            None,
        ),
        (
            "one of two at once",
            vec![change(3, 40, (1, 4), done(4)), change(3, 50, (2, 3), refused(4))],
            vec![],
            FOUR,
            None,
        ),
        (
            "an unknown one that was made",
            vec![change(3, 40, (1, 2), unknown()), change(4, 50, (3, 4), done(5))],
            vec![],
            FIVE,
            None,
        ),
    ]);
}

#[test]
fn what_no_record_answers_is_found() {
    check([
        (
            "a stale change that wins",
            vec![change(3, 40, (1, 2), done(4)), change(3, 50, (1, 4), done(5))],
            vec![],
            FIVE,
            Some("overwritten what it never saw"),
        ),
        (
            "two on one version that are told the same",
            vec![change(3, 40, (1, 2), done(4)), change(3, 50, (1, 4), done(4))],
            vec![],
            FOUR,
            Some("two changes were made on version 3"),
        ),
        (
            "a version that began after a newer one was answered",
            vec![change(4, 50, (1, 2), done(5)), change(3, 40, (3, 4), done(4))],
            vec![],
            FIVE,
            Some("began after a newer one"),
        ),
        (
            "another's value",
            vec![change(3, 40, (1, 2), done(4))],
            vec![Seen { version: 4, value: 41 }],
            FOUR,
            Some("was read, but that version was made by"),
        ),
        (
            "a version that nobody can have made",
            vec![change(4, 50, (3, 4), done(5))],
            vec![],
            FIVE,
            Some("is not linearizable"),
        ),
        (
            "an acknowledged one that is not there in the end",
            vec![change(3, 40, (1, 2), done(4))],
            vec![],
            Seen { version: 3, value: 30 },
            Some("is not linearizable"),
        ),
        (
            "a refused one that was made",
            vec![change(3, 40, (1, 2), refused(4))],
            vec![],
            FOUR,
            Some("is not linearizable"),
        ),
    ]);
}
