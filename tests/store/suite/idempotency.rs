//! Idempotency keys.

use std::time::Duration;

use omnirelay_store::{Commit, CommitError, CommitOutcome, Retention, Revision};

use super::{KEEP_ALL, Trial, commit, delete, key, once, put, version};

fn keyed(id: &str, hash: u64, answer: &'static str) -> Commit {
    Commit { idempotency: once(id, hash, answer), ..commit(vec![put("a", "x")]) }
}

async fn replayed(t: &Trial, commit: Commit) -> (Revision, Vec<u8>) {
    match t.store.commit(commit).await.expect("an answer") {
        CommitOutcome::Replayed { revision, answer } => (revision, answer.to_vec()),
        CommitOutcome::Done(entry) => panic!("made again at {}", entry.revision),
    }
}

pub(super) async fn a_commit_repeated_under_its_key_is_made_once(t: &mut Trial) {
    let first = t.done(keyed("k", 1, "done")).await;
    for _ in 0..2 {
        let again = Commit { idempotency: once("k", 1, "not this"), ..commit(vec![put("a", "y")]) };
        assert_eq!(replayed(t, again).await, (first.revision, b"done".to_vec()));
    }
    assert_eq!((t.head().await, t.record("a").await.expect("a record").version.0), (first.revision, 1));
}

pub(super) async fn a_key_used_for_another_request_is_refused(t: &mut Trial) {
    t.done(keyed("k", 1, "done")).await;
    assert!(matches!(t.refused(keyed("k", 2, "other")).await, CommitError::IdempotencyReused));
    assert_eq!(t.record("a").await.expect("a record").version.0, 1);
}

pub(super) async fn a_repetition_is_answered_whatever_has_changed(t: &mut Trial) {
    let create = || Commit { preconditions: vec![version("a", 0)], ..keyed("k", 1, "done") };
    let first = t.done(create()).await;
    t.put("a", "changed").await;
    assert_eq!(replayed(t, create()).await, (first.revision, b"done".to_vec()));
}

pub(super) async fn an_answer_can_be_recalled(t: &mut Trial) {
    assert!(t.store.recall(&key("k")).await.expect("an answer").is_none());
    let entry = t.done(keyed("k", 77, "done")).await;
    match t.store.recall(&key("k")).await.expect("an answer") {
        Some((77, CommitOutcome::Replayed { revision, answer })) => {
            assert_eq!((revision, answer.as_ref()), (entry.revision, b"done".as_slice()));
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_refused_commit_keeps_no_answer(t: &mut Trial) {
    let refused = Commit { preconditions: vec![version("a", 5)], ..keyed("k", 1, "done") };
    t.conflicts(refused).await;
    assert!(t.store.recall(&key("k")).await.expect("an answer").is_none());
    t.done(keyed("k", 2, "another request under it")).await;
}

pub(super) async fn a_commit_that_changes_nothing_keeps_its_answer(t: &mut Trial) {
    t.put("a", "x").await;
    let nothing = || Commit { idempotency: once("k", 1, "nothing"), ..commit(vec![delete("b")]) };
    let head = t.done(nothing()).await.revision;
    t.put("b", "meanwhile").await;
    assert_eq!(replayed(t, nothing()).await, (head, b"nothing".to_vec()));
    assert!(!t.record("b").await.expect("a record").deleted, "the repetition deleted nothing");
}

pub(super) async fn keys_of_two_principals_are_two(t: &mut Trial) {
    t.done(keyed("k", 1, "ada's")).await;
    let mut of_bob = keyed("k", 1, "bob's");
    if let Some(idempotency) = &mut of_bob.idempotency {
        idempotency.key.principal = "bob".into();
    }
    t.done(of_bob).await;
    let mut another_method = keyed("k", 1, "another");
    if let Some(idempotency) = &mut another_method.idempotency {
        idempotency.key.method = "/test/Delete".into();
    }
    t.done(another_method).await;
}

pub(super) async fn old_and_surplus_answers_are_forgotten(t: &mut Trial) {
    for id in ["k1", "k2", "k3"] {
        t.advance(Duration::from_millis(20)).await;
        t.done(keyed(id, 1, "done")).await;
    }
    let kept = t.housekeep(KEEP_ALL).await;
    assert_eq!(kept.answers_forgotten, 0);
    let two = Retention { idempotency_entries_max: 2, ..KEEP_ALL };
    assert_eq!(t.housekeep(two).await.answers_forgotten, 1, "the oldest");
    assert!(t.store.recall(&key("k1")).await.expect("an answer").is_none());
    assert!(t.store.recall(&key("k2")).await.expect("an answer").is_some());
    t.advance(Duration::from_secs(4)).await;
    t.done(keyed("k4", 1, "done")).await;
    let young = Retention { idempotency_age: Duration::from_secs(3), ..KEEP_ALL };
    assert_eq!(t.housekeep(young).await.answers_forgotten, 2);
    assert!(t.store.recall(&key("k4")).await.expect("an answer").is_some());
    t.done(keyed("k1", 2, "a new request under a forgotten key")).await;
}
