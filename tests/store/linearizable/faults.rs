//! The judges at work on what they must find: whole stores with a defect, and the smallest histories.

use std::collections::BTreeMap;

use omnirelay_store::Revision;

use super::history::{Call, Change, Found, History, Logged, NEVER, Outcome, Read, Span};
use super::plan::Plan;
use super::{holds, order, recorder, records_are_linearizable};
use crate::defects::{self, BrokenHarness, Defect};

type Judge = fn(&History) -> Result<(), String>;
/// What it is, the store that has it, and who must notice.
type Case = (&'static str, fn() -> Defect, Judge);

/// Rounds in which a defect must show.
const ROUNDS_MAX: u64 = 40;

/// What `judge` says of a store with a defect, in the first round in which it says something.
async fn noticed(defect: fn() -> Defect, judge: Judge) -> Option<String> {
    for seed in 1..=ROUNDS_MAX {
        let harness = BrokenHarness::fresh(defect).await;
        let history = recorder::record(&Plan::of(seed), |_| harness.store()).await;
        if let Err(violation) = judge(&history) {
            return Some(violation);
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_with_a_defect_are_noticed() {
    let cases: &[Case] = &[
        ("a stale read", defects::reads_what_was, records_are_linearizable),
        ("a stale read", defects::reads_what_was, order::revisions_follow_time),
        ("a lost update", defects::ignores_preconditions, records_are_linearizable),
        ("a lost update in a race", defects::checks_before_it_writes, records_are_linearizable),
        ("a write acknowledged and gone", defects::acknowledges_and_forgets, records_are_linearizable),
        ("a write acknowledged and gone", defects::acknowledges_and_forgets, order::log_is_what_was_told),
        ("a write made twice", defects::makes_commits_twice, records_are_linearizable),
        ("a write made twice", defects::makes_commits_twice, order::log_is_what_was_told),
        ("new, then old", defects::reads_new_then_old, records_are_linearizable),
        ("a repeated revision", defects::answers_with_an_old_revision, order::revisions_are_unique),
        ("a torn page", defects::mixes_pages, order::pages_are_snapshots),
    ];
    for (what, defect, judge) in cases {
        assert!(noticed(*defect, *judge).await.is_some(), "{what} was not noticed");
    }
    let sound = noticed(Defect::default, super::judge).await;
    assert_eq!(sound, None, "what a defect is put into has none itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failing_round_says_how_to_repeat_it() {
    let fresh = async || {
        let harness = BrokenHarness::fresh(defects::makes_commits_twice).await;
        move |_| harness.store()
    };
    let ended = tokio::spawn(async move { holds("faults::name", ROUNDS_MAX, fresh).await }).await;
    let panic = ended.expect_err("a store with a defect").into_panic();
    let said = panic.downcast_ref::<String>().expect("a message");
    let (before, after) = said.split_once("repeat with: ").expect("a line to repeat it");
    assert!(after.starts_with("OMNIRELAY_LINEARIZABLE_SEED="), "{after}");
    assert!(after.ends_with("cargo test --test store linearizable::faults::name"), "{after}");
    assert!(before.contains("is not linearizable") && before.contains("Plan { seed: "), "{before}");
}

const FIRST: Revision = Revision(10);

fn span(invoked: u64, answered: u64) -> Span {
    Span { invoked, answered }
}

/// A put that was made, its value its revision.
fn put(name: &str, at: Span, revision: u64, version: u64) -> Change {
    let outcome = Outcome::Done { revision: Revision(revision), version: Some(version) };
    Change {
        name: name.into(),
        key: 0,
        span: at,
        call: Call { put: Some(revision), expected: None },
        outcome,
    }
}

fn told(change: Change, outcome: Outcome) -> Change {
    Change { outcome, ..change }
}

fn logged(writer: &str, revision: u64, version: u64) -> Logged {
    let found = Found { version, value: Some(revision) };
    Logged { revision: Revision(revision), writer: writer.into(), key: 0, found }
}

fn page(name: &str, at: Span, head: u64, found: Option<Found>) -> Read {
    Read { name: name.into(), span: at, head: Revision(head), found: BTreeMap::from([(0, found)]) }
}

/// What is wrong with a history of these commits, pages and log entries, as `judge` sees it.
fn said(judge: Judge, changes: &[Change], reads: &[Read], log: &[Logged]) -> String {
    let history = History { changes: changes.to_vec(), reads: reads.to_vec(), log: Some(log.to_vec()) };
    judge(&history).err().unwrap_or_default()
}

#[test]
fn revisions_must_be_unique_and_follow_time() {
    let (early, late, beside) = (span(0, 1), span(2, 3), span(0, 3));
    let follow = |changes: &[Change], reads: &[Read], log: &[Logged]| {
        said(order::revisions_follow_time, changes, reads, log)
    };
    let unique =
        said(order::revisions_are_unique, &[put("a", early, 10, 1), put("b", late, 10, 2)], &[], &[]);
    assert!(unique.contains("both have revision 10"), "{unique}");
    assert_eq!(follow(&[put("a", early, 10, 1), put("b", late, 11, 2)], &[], &[]), "");
    assert_eq!(follow(&[put("a", early, 11, 2), put("b", beside, 10, 1)], &[], &[]), "", "concurrent");
    let wrong = follow(&[put("a", early, 11, 2), put("b", late, 10, 1)], &[], &[]);
    assert!(wrong.contains("a [0..1] has revision 11, and b"), "{wrong}");

    let a = [put("a", early, 10, 1)];
    assert_eq!(follow(&a, &[page("r", late, 10, None)], &[]), "");
    assert_ne!(follow(&a, &[page("r", late, 9, None)], &[]), "", "a page older than what was told");
    let late_put = [put("a", late, 10, 1)];
    assert_ne!(follow(&late_put, &[page("r", early, 10, None)], &[]), "", "a page of the future");
    let heads = [page("r", early, 10, None), page("s", span(4, 5), 10, None)];
    assert_eq!(follow(&[put("a", span(0, 9), 10, 1)], &heads, &[]), "", "pages of one head");
    // The page beside must not hide what is below.
    let hidden = [page("s", span(8, 9), 9, None), page("r", span(8, 9), 10, None)];
    assert_ne!(follow(&a, &hidden, &[]), "");

    let lost = told(put("u", late, 10, 1), Outcome::Unknown);
    let before = put("a", early, 11, 2);
    assert_ne!(follow(&[lost, before], &[], &[logged("u", 10, 1)]), "", "where the log has it");
}

#[test]
fn log_must_be_what_was_told() {
    let at = span(0, 1);
    let made = put("a", at, 10, 1);
    let unknown = told(put("a", span(0, NEVER), 10, 1), Outcome::Unknown);
    let refused = told(made.clone(), Outcome::Refused { actual: 4 });
    let failed = told(made.clone(), Outcome::Failed);
    let entry = || logged("a", 10, 1);
    let cases: [(&str, &Change, Vec<Logged>, &str); 12] = [
        ("made", &made, vec![entry()], ""),
        ("forgotten", &made, vec![], "not in the log"),
        ("made twice", &made, vec![entry(), logged("a", 11, 2)], "twice"),
        ("another revision", &made, vec![logged("a", 11, 1)], "acknowledged as"),
        (
            "another version",
            &made,
            vec![Logged { found: Found { version: 2, value: Some(10) }, ..entry() }],
            "acknowledged as",
        ),
        (
            "another value",
            &made,
            vec![Logged { found: Found { version: 1, value: None }, ..entry() }],
            "acknowledged as",
        ),
        ("unknown, made", &unknown, vec![entry()], ""),
        ("unknown, not made", &unknown, vec![], ""),
        ("unknown, made twice", &unknown, vec![entry(), logged("a", 11, 2)], "twice"),
        ("refused, yet made", &refused, vec![entry()], "it is in the log"),
        ("failed, yet made", &failed, vec![entry()], "it is in the log"),
        ("nobody's", &failed, vec![logged("x", 10, 1)], "nobody made"),
    ];
    for (what, change, log, expected) in cases {
        let said = said(order::log_is_what_was_told, std::slice::from_ref(change), &[], &log);
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{what}: {said}");
    }
}

#[test]
fn pages_must_be_what_the_log_says_at_their_head() {
    let log = [logged("a", 10, 1), logged("b", 11, 2)];
    let found = |version, value| Some(Found { version, value: Some(value) });
    let page =
        |head: u64, found| said(order::pages_are_snapshots, &[], &[page("r", span(0, 1), head, found)], &log);
    assert_eq!(page(FIRST.0 - 1, None), "");
    assert_eq!(page(FIRST.0, found(1, 10)), "");
    assert_eq!(page(FIRST.0 + 7, found(2, 11)), "");
    for (head, found) in [(9, found(1, 10)), (10, None), (10, found(2, 11)), (11, found(1, 10))] {
        assert_ne!(page(head, found), "", "{head} {found:?}");
    }
}
