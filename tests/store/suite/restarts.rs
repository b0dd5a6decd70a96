//! What a durable store still knows after it was closed and opened.

use std::time::Duration;

use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Lease, Precondition, Pulse, Retention, Revision, Version,
};

use super::imports::imported;
use super::leases::held;
use super::{
    HALF, KEEP_ALL, TTL, Trial, acquire, commit, key, leasing, once, origin, put, put_in, release, version,
};

const LONG: Duration = Duration::from_secs(60);
const SAME_CLOCK: Duration = Duration::ZERO;

pub(super) async fn records_are_there_after_a_restart(t: &mut Trial) {
    let group = t.open("s", LONG, "secret").await;
    t.done(commit(vec![put("a", "one"), put("b", "two"), put_in(&group, "c", "bound")])).await;
    t.delete("a").await;
    let before = t.records().await;
    t.reopen(SAME_CLOCK).await;
    assert_eq!(t.records().await, before, "the records");
}

pub(super) async fn imported_records_are_there_after_a_restart(t: &mut Trial) {
    let begin = t.put("before", "x").await.revision;
    let record = imported(t, "a", origin(7, begin.0 + 1_000)).await;
    let (records, entries) = (t.records().await, t.log(begin).await.entries);
    t.reopen(SAME_CLOCK).await;
    assert_eq!((t.records().await, t.log(begin).await.entries), (records, entries), "the imports");
    assert!(t.put("b", "x").await.revision > record.revision);
}

pub(super) async fn the_log_is_there_after_a_restart(t: &mut Trial) {
    let group = t.open("s", LONG, "secret").await;
    t.done(commit(vec![put("a", "one"), put_in(&group, "b", "bound")])).await;
    t.delete("a").await;
    t.acquire("x", &group).await;
    let before = t.log(Revision(0)).await.entries;
    t.reopen(SAME_CLOCK).await;
    assert_eq!(t.log(Revision(0)).await.entries, before, "the log");
}

pub(super) async fn leases_are_there_after_a_restart(t: &mut Trial) {
    let group = t.open("s", LONG, "secret").await;
    let (held, released) = (t.acquire("x", &group).await, t.acquire("y", &group).await);
    t.done(leasing(vec![release("y", released.token)])).await;
    t.reopen(SAME_CLOCK).await;
    let leases = t.store.leases().await.expect("leases").leases;
    assert_eq!(leases, [held, Lease { released: true, ..released }], "the leases");
}

pub(super) async fn the_epoch_goes_on_through_a_restart(t: &mut Trial) {
    let before = t.pulse(&[]).await.epoch;
    t.reopen(SAME_CLOCK).await;
    let beat = t.plain().pulse(Pulse::default()).await.expect("a beat");
    assert_eq!(beat.epoch, before, "the epoch");
}

pub(super) async fn revisions_go_on_after_a_restart(t: &mut Trial) {
    t.put("a", "one").await;
    let last = t.put("a", "two").await.revision;
    t.reopen(SAME_CLOCK).await;
    let next = t.done(commit(vec![put("b", "x")])).await;
    assert_eq!(next.previous, last, "the revision before");
    assert!(next.revision > last);
}

pub(super) async fn versions_go_on_after_a_restart(t: &mut Trial) {
    t.put("a", "one").await;
    t.reopen(SAME_CLOCK).await;
    assert_eq!(t.put("a", "two").await.version, Version(2), "the version");
}

pub(super) async fn a_version_floor_outlives_a_restart(t: &mut Trial) {
    t.put("gone", "x").await;
    let collected = t.delete("gone").await;
    let step = t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    assert_eq!(step.tombstones_collected, 1);
    t.reopen(SAME_CLOCK).await;
    assert!(t.put("gone", "again").await.version > collected.version, "the floor");
}

pub(super) async fn a_trimmed_log_stays_so_after_a_restart(t: &mut Trial) {
    t.put("a", "one").await;
    let last = t.put("a", "two").await.revision;
    t.housekeep(Retention { log_entries_max: 1, ..KEEP_ALL }).await;
    t.reopen(SAME_CLOCK).await;
    let page = t.log(Revision(0)).await;
    assert!(page.compacted, "what was trimmed");
    assert_eq!(page.head, last);
}

pub(super) async fn terms_and_tokens_go_on_after_a_restart(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    t.done(leasing(vec![acquire("x", &a, 1 << 50)])).await;
    let lease = t.lease("x").await;
    t.reopen(SAME_CLOCK).await;
    let rival = t.refused(leasing(vec![acquire("x", &b, 0)])).await;
    assert!(matches!(rival, CommitError::LeaseHeld { .. }), "{rival}");
    t.done(leasing(vec![release("x", lease.token)])).await;
    t.reopen(SAME_CLOCK).await;
    let again = t.acquire("x", &b).await;
    assert_eq!((again.term, again.token), (lease.term + 1, lease.token + 1), "term and token");
}

pub(super) async fn instances_go_on_after_a_restart(t: &mut Trial) {
    t.open("s", LONG, "secret").await;
    let second = t.open("s", LONG, "secret").await;
    t.reopen(SAME_CLOCK).await;
    assert!(t.is_live(&second).await);
    assert!(t.open("s", LONG, "secret").await.instance > second.instance, "a greater instance");
}

pub(super) async fn an_instance_floor_outlives_a_restart(t: &mut Trial) {
    let collected = t.open("gone", LONG, "secret").await;
    t.close(collected.clone()).await;
    for _ in 0..2 {
        t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    }
    assert!(t.pulse(&[]).await.moved.is_empty());
    t.reopen(SAME_CLOCK).await;
    let again = t.open("gone", LONG, "secret").await;
    assert!(again.instance > collected.instance, "above the collected one");
}

pub(super) async fn an_answer_outlives_a_restart(t: &mut Trial) {
    let request = || Commit { idempotency: once("k", 9, "done"), ..commit(vec![put("a", "x")]) };
    let first = t.done(request()).await;
    t.reopen(SAME_CLOCK).await;
    match t.store.commit(request()).await.expect("an answer") {
        CommitOutcome::Replayed { revision, answer } => {
            assert_eq!((revision, answer.as_ref()), (first.revision, b"done".as_slice()));
        }
        CommitOutcome::Done(_) => panic!("made twice"),
    }
    assert!(matches!(t.store.recall(&key("k")).await, Ok(Some((9, _)))));
}

pub(super) async fn a_lease_of_a_replaced_session_waits_through_a_restart(t: &mut Trial) {
    let first = t.open("a", TTL, "secret").await;
    t.acquire("x", &first).await;
    t.advance(HALF).await;
    let until = t.pulse(&[&first]).await.renewed[0].expect("a deadline");
    t.open("a", TTL, "secret").await;
    t.reopen(SAME_CLOCK).await;
    let rival = t.open("b", LONG, "secret").await;
    assert_eq!(held(t, "x", &rival).await, (Some(first), until.0));
    // Whatever time the restart gives to the life that took its place.
    t.advance(TTL).await;
    t.acquire("x", &rival).await;
}

pub(super) async fn what_ended_stays_ended_after_a_restart(t: &mut Trial) {
    let closed = t.open("closed", TTL, "secret").await;
    let swept = t.open("swept", TTL, "secret").await;
    let judged = t.open("judged", TTL, "secret").await;
    let ousted = t.open("ousted", TTL, "secret").await;
    let heir = t.open("heir", LONG, "secret").await;
    t.done(commit(vec![put_in(&swept, "a", "x")])).await;
    t.acquire("x", &ousted).await;
    t.close(closed.clone()).await;
    t.advance(TTL).await;
    t.housekeep(KEEP_ALL).await;
    let verdict =
        Commit { preconditions: vec![Precondition::GroupOver(judged.clone())], ..Commit::default() };
    t.done(verdict).await;
    t.acquire("x", &heir).await;
    t.reopen(SAME_CLOCK).await;
    for over in [&closed, &swept, &judged, &ousted] {
        assert!(!t.is_live(over).await, "{over}");
        assert_eq!(t.pulse(&[over]).await.renewed, [None], "{over} cannot be renewed");
    }
    assert!(t.is_live(&heir).await);
    assert_eq!(t.lease("x").await.holder, heir);
}

pub(super) async fn a_record_taken_from_an_ended_group_stays_so_after_a_restart(t: &mut Trial) {
    let overwritten = t.open("overwritten", TTL, "secret").await;
    let imported_over = t.open("imported over", TTL, "secret").await;
    let found_gone = t.open("found gone", TTL, "secret").await;
    t.done(commit(vec![put_in(&overwritten, "a", "x"), put_in(&overwritten, "b", "x")])).await;
    t.done(commit(vec![put_in(&found_gone, "c", "x"), put_in(&imported_over, "d", "x")])).await;
    t.advance(TTL).await;
    t.put("a", "another's").await;
    imported(t, "d", origin(1, 1)).await;
    t.done(Commit { preconditions: vec![version("c", 0)], ..Commit::default() }).await;
    t.reopen(SAME_CLOCK).await;
    for over in [&overwritten, &imported_over, &found_gone] {
        assert!(!t.is_live(over).await, "{over}");
        assert_eq!(t.pulse(&[over]).await.renewed, [None], "{over} cannot be renewed");
    }
    assert_eq!(t.keys().await, ["a", "d"]);
}

pub(super) async fn a_long_deadline_is_kept_by_a_restart(t: &mut Trial) {
    let group = t.open("s", LONG, "secret").await;
    t.done(commit(vec![put_in(&group, "a", "x")])).await;
    t.advance(LONG / 2).await;
    let deadline = t.pulse(&[&group]).await.renewed[0];
    t.advance(TTL).await;
    t.reopen(SAME_CLOCK).await;
    assert_eq!(t.pulse(&[]).await.moved[0].deadline, deadline.expect("a deadline"), "the deadline");
    t.advance(LONG - 2 * TTL).await;
    assert_eq!(t.keys().await, ["a"]);
    t.reopen(SAME_CLOCK).await;
    t.advance(TTL).await;
    assert!(t.keys().await.is_empty() && !t.is_live(&group).await);
}

pub(super) async fn time_does_not_go_back_with_a_restart(t: &mut Trial) {
    let group = t.open("s", LONG, "secret").await;
    let before = t.done(commit(vec![put_in(&group, "a", "x")])).await.at;
    t.advance(TTL).await;
    t.put("b", "x").await;
    t.reopen(Duration::from_secs(3600)).await;
    assert!(t.pulse(&[]).await.now >= before.after(TTL), "store time");
    assert!(t.put("b", "y").await.updated_at >= before.after(TTL));
    t.advance(LONG).await;
    assert!(!t.is_live(&group).await, "the time to live did not grow");
}
