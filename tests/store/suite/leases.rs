//! Leases, terms, tokens and fences.

use std::time::Duration;

use omnirelay_store::{
    Commit, CommitError, GroupId, GroupRef, Lease, LeaseFence, Retention, Revision, TOKEN_FLOOR_MAX,
};

use super::{HALF, KEEP_ALL, TTL, Trial, acquire, commit, forget, leasing, put, release};

const LONG: Duration = Duration::from_secs(60);

pub(super) async fn held(t: &Trial, scope: &str, rival: &GroupRef) -> (Option<GroupRef>, u64) {
    match t.refused(leasing(vec![acquire(scope, rival, 0)])).await {
        CommitError::LeaseHeld { scope: told, holder, until } => {
            assert_eq!(told, scope);
            (holder, until.0)
        }
        other => panic!("{other}"),
    }
}

fn fenced(lease: &Lease, token: u64) -> Commit {
    let fence = Some(LeaseFence { scope: lease.scope.clone(), token });
    Commit { fence, ..commit(vec![put("led", "x")]) }
}

pub(super) async fn a_lease_is_granted_to_a_live_group_only(t: &mut Trial) {
    let session = t.open("s", TTL, "secret").await;
    let unknown = GroupRef { id: GroupId("never".into()), instance: 1 };
    assert!(matches!(t.refused(leasing(vec![acquire("x", &unknown, 0)])).await, CommitError::GroupOver(_)));
    let lease = t.acquire("x", &session).await;
    assert_eq!((&lease.holder, lease.term, lease.released), (&session, 1, false));
    t.advance(TTL).await;
    assert!(matches!(t.refused(leasing(vec![acquire("x", &session, 0)])).await, CommitError::GroupOver(_)));
}

pub(super) async fn a_held_scope_is_refused_to_others(t: &mut Trial) {
    let (a, b) = (t.open("a", TTL, "secret").await, t.open("b", LONG, "secret").await);
    let lease = t.acquire("x", &a).await;
    t.acquire("other scope", &b).await;
    t.advance(HALF).await;
    let until = t.pulse(&[&a]).await.renewed[0].expect("a deadline");
    assert_eq!(held(t, "x", &b).await, (Some(a), until.0));
    assert_eq!(t.lease("x").await, lease);
}

pub(super) async fn a_scope_is_free_at_the_holders_deadline(t: &mut Trial) {
    let (a, b) = (t.open("a", TTL, "secret").await, t.open("b", LONG, "secret").await);
    t.acquire("x", &a).await;
    t.advance(TTL).await;
    assert_eq!(t.acquire("x", &b).await.holder, b);
    assert_eq!(t.pulse(&[&a]).await.renewed, [None]);
}

pub(super) async fn term_and_token_rise_with_each_holder(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    let mut last = t.acquire("x", &a).await;
    // Faster than a token a millisecond: store time alone would not do.
    for holder in [&b, &a, &b, &b] {
        t.done(leasing(vec![release("x", last.token)])).await;
        let lease = t.acquire("x", holder).await;
        assert_eq!(lease.term, last.term + 1);
        assert!(lease.token > last.token);
        last = lease;
    }
}

pub(super) async fn a_token_is_above_its_floor(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let floor = TOKEN_FLOOR_MAX - 5;
    t.done(leasing(vec![acquire("x", &a, floor)])).await;
    let first = t.lease("x").await;
    assert_eq!(first.token, floor + 1);
    t.done(leasing(vec![release("x", first.token)])).await;
    assert_eq!(t.acquire("x", &a).await.token, floor + 2, "it is not lowered again");
    let mut tokens = Vec::new();
    for _ in 0..3 {
        t.done(leasing(vec![acquire("y", &a, TOKEN_FLOOR_MAX)])).await;
        let lease = t.lease("y").await;
        t.done(leasing(vec![release("y", lease.token)])).await;
        tokens.push(lease.token - TOKEN_FLOOR_MAX);
    }
    assert_eq!(tokens, [1, 2, 3], "the greatest floor is not the greatest token");
}

pub(super) async fn a_token_is_not_below_store_time(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let before = t.pulse(&[]).await.now;
    assert!(t.acquire("x", &a).await.token >= before.0);
}

pub(super) async fn a_holder_confirms_its_lease_unchanged(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let lease = t.acquire("x", &a).await;
    t.advance(HALF).await;
    let head = t.head().await;
    let entry = t.done(leasing(vec![acquire("x", &a, lease.token + 1000)])).await;
    assert_eq!((entry.revision, entry.leases.len()), (head, 0));
    assert_eq!(t.lease("x").await, lease);
}

pub(super) async fn a_released_scope_is_free(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    let lease = t.acquire("x", &a).await;
    t.done(leasing(vec![release("x", lease.token)])).await;
    assert_eq!(t.acquire("x", &b).await.holder, b);
}

pub(super) async fn a_token_goes_on_after_a_release(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    t.done(leasing(vec![acquire("x", &a, TOKEN_FLOOR_MAX / 2)])).await;
    let lease = t.lease("x").await;
    t.done(leasing(vec![release("x", lease.token)])).await;
    let again = t.acquire("x", &a).await;
    assert_eq!((again.term, again.token), (lease.term + 1, lease.token + 1));
}

pub(super) async fn a_free_lease_is_forgotten_and_tokens_rise_all_the_same(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let (lease, kept) = (t.acquire("x", &a).await, t.acquire("y", &a).await);
    t.done(leasing(vec![release("x", lease.token)])).await;
    t.advance(Duration::from_millis(2)).await;
    let before = t.head().await;
    let entry = t.done(leasing(vec![forget("x")])).await;
    assert_eq!(
        (entry.forgotten.as_slice(), entry.leases.as_slice()),
        (["x".to_owned()].as_slice(), [].as_slice())
    );
    assert_eq!(*t.log(before).await.entries[0], *entry, "the log tells of it");
    assert_eq!(t.store.leases().await.expect("the leases").leases, [kept]);
    let nothing = t.done(leasing(vec![forget("x"), forget("never there")])).await;
    assert_eq!((nothing.revision, nothing.forgotten.len()), (entry.revision, 0));
    assert!(matches!(t.refused(fenced(&lease, lease.token)).await, CommitError::Fenced { .. }));
    let again = t.acquire("x", &a).await;
    assert_eq!(again.term, 1);
    assert!(again.token > lease.token, "{again:?} after {lease:?}");
}

pub(super) async fn what_somebody_may_still_trust_is_not_forgotten(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let held = t.acquire("x", &a).await;
    // Of the time to come: the next one would not be greater by itself.
    t.done(leasing(vec![acquire("y", &a, TOKEN_FLOOR_MAX / 2)])).await;
    let ahead = t.lease("y").await;
    t.done(leasing(vec![release("y", ahead.token)])).await;
    t.advance(Duration::from_millis(2)).await;
    let head = t.head().await;
    let entry = t.done(leasing(vec![forget("x"), forget("y")])).await;
    assert_eq!((entry.revision, entry.forgotten.len()), (head, 0));
    assert_eq!(t.lease("x").await, held);
    assert_eq!(t.acquire("y", &a).await.token, ahead.token + 1);
    // Its holder was replaced, and may trust it until the deadline that it had.
    let next = t.open("a", LONG, "secret").await;
    assert_eq!(t.done(leasing(vec![forget("x")])).await.forgotten.len(), 0, "{next:?}");
}

pub(super) async fn an_old_token_releases_nothing(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let lease = t.acquire("x", &a).await;
    let head = t.head().await;
    for (scope, token) in [("x", lease.token - 1), ("x", lease.token + 1), ("never", lease.token)] {
        assert_eq!(t.done(leasing(vec![release(scope, token)])).await.revision, head);
    }
    assert_eq!(t.lease("x").await, lease);
}

pub(super) async fn a_lease_of_a_replaced_session_waits_for_its_deadline(t: &mut Trial) {
    let first = t.open("a", TTL, "secret").await;
    let until = t.pulse(&[&first]).await.renewed[0].expect("a deadline");
    t.acquire("x", &first).await;
    let second = t.open("a", LONG, "secret").await;
    let rival = t.open("b", LONG, "secret").await;
    for claimant in [&second, &rival] {
        assert_eq!(held(t, "x", claimant).await, (Some(first.clone()), until.0));
    }
    t.advance(HALF).await;
    let third = t.open("a", LONG, "secret").await;
    t.close(third).await;
    assert_eq!(held(t, "x", &rival).await, (Some(first), until.0), "whatever became of the replacement");
    t.advance(HALF).await;
    t.acquire("x", &rival).await;
}

/// A leader that restarts again and again keeps no lease longer than each of its lives was given.
pub(super) async fn each_lease_of_a_session_that_is_replaced_again_waits_for_its_own_deadline(t: &mut Trial) {
    let scopes = ["w", "x", "y", "z"];
    let mut lives = Vec::new();
    for scope in scopes {
        let life = t.open("a", LONG, "secret").await;
        let until = t.pulse(&[&life]).await.renewed[0].expect("a deadline");
        t.acquire(scope, &life).await;
        lives.push((scope, life, until));
        t.advance(LONG / 4).await;
    }
    t.open("a", 2 * LONG, "secret").await;
    let rival = t.open("b", 2 * LONG, "secret").await;
    for ended in 0..scopes.len() {
        let (free, waiting) = lives.split_at(ended + 1);
        t.acquire(free[ended].0, &rival).await;
        for (scope, life, until) in waiting {
            assert_eq!(held(t, scope, &rival).await, (Some(life.clone()), until.0), "{scope}");
        }
        t.advance(LONG / 4).await;
    }
}

pub(super) async fn a_free_lease_stays_free(t: &mut Trial) {
    let rival = t.open("b", 2 * LONG, "secret").await;
    let over = t.open("ran out", TTL, "secret").await;
    let closed = t.open("closed", LONG, "secret").await;
    let replaced = t.open("replaced", TTL, "secret").await;
    let lives = [over, closed.clone(), replaced];
    for life in &lives {
        t.acquire(&life.id.0, life).await;
    }
    t.close(closed).await;
    t.open("replaced", LONG, "secret").await;
    t.advance(TTL).await;
    for life in &lives {
        for _ in 0..3 {
            t.open(&life.id.0, LONG, "secret").await;
        }
        t.acquire(&life.id.0, &rival).await;
    }
}

pub(super) async fn a_group_is_kept_while_a_lease_waits_for_it(t: &mut Trial) {
    let first = t.open("a", LONG, "secret").await;
    let until = t.pulse(&[&first]).await.renewed[0].expect("a deadline");
    t.acquire("x", &first).await;
    let second = t.open("a", TTL, "secret").await;
    t.close(second).await;
    let rival = t.open("b", 2 * LONG, "secret").await;
    let keep = Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL };
    t.advance(TTL).await;
    for _ in 0..2 {
        t.housekeep(keep).await;
    }
    assert_eq!(held(t, "x", &rival).await, (Some(first), until.0));
    t.advance(LONG).await;
    for _ in 0..2 {
        t.housekeep(keep).await;
    }
    let left: Vec<_> = t.pulse(&[]).await.moved.into_iter().map(|group| group.of).collect();
    assert_eq!(left, [rival], "and no longer");
}

pub(super) async fn a_replaced_session_can_still_release(t: &mut Trial) {
    let first = t.open("a", LONG, "secret").await;
    let lease = t.acquire("x", &first).await;
    let second = t.open("a", LONG, "secret").await;
    held(t, "x", &second).await;
    t.done(leasing(vec![release("x", lease.token)])).await;
    assert_eq!(t.acquire("x", &second).await.holder, second);
}

pub(super) async fn a_lease_of_a_closed_group_is_free_at_once(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    t.acquire("x", &a).await;
    t.acquire("y", &a).await;
    t.close(a).await;
    t.acquire("x", &b).await;
    let again = t.open("a", LONG, "secret").await;
    t.acquire("y", &again).await;
}

pub(super) async fn a_quarantine_grants_nothing_and_confirms_what_is(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    let lease = t.acquire("x", &a).await;
    t.quarantine(TTL).await;
    let beat = t.pulse(&[&a]).await;
    assert!(beat.renewed[0].is_some() && beat.quarantine_until >= beat.now.after(HALF));
    assert_eq!(held(t, "free", &b).await, (None, beat.quarantine_until.0));
    t.done(leasing(vec![acquire("x", &a, 0)])).await;
    assert_eq!(t.lease("x").await, lease);
    t.done(leasing(vec![release("x", lease.token)])).await;
    held(t, "x", &a).await;
    t.advance(TTL).await;
    t.acquire("free", &b).await;
}

pub(super) async fn a_fenced_write_needs_the_current_token(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    let first = t.acquire("x", &a).await;
    t.done(fenced(&first, first.token)).await;
    t.done(leasing(vec![release("x", first.token)])).await;
    let freed = t.refused(fenced(&first, first.token)).await;
    assert!(matches!(freed, CommitError::Fenced { current: None, .. }));
    let second = t.acquire("x", &b).await;
    for token in [first.token, second.token + 1] {
        match t.refused(fenced(&first, token)).await {
            CommitError::Fenced { scope, token: told, current } => {
                assert_eq!((scope.as_str(), told, current), ("x", token, Some(second.token)));
            }
            other => panic!("{other}"),
        }
    }
    t.done(fenced(&second, second.token)).await;
}

pub(super) async fn a_fence_falls_with_its_holder(t: &mut Trial) {
    let a = t.open("a", TTL, "secret").await;
    let lease = t.acquire("x", &a).await;
    t.advance(TTL).await;
    assert!(matches!(
        t.refused(fenced(&lease, lease.token)).await,
        CommitError::Fenced { current: None, .. }
    ));
    let again = t.open("a", TTL, "secret").await;
    let lease = t.acquire("x", &again).await;
    t.open("a", TTL, "secret").await;
    let replaced = t.refused(fenced(&lease, lease.token)).await;
    assert!(matches!(replaced, CommitError::Fenced { .. }), "a replaced session leads nothing");
}

pub(super) async fn a_scope_is_handed_over_in_one_commit(t: &mut Trial) {
    let (a, b) = (t.open("a", LONG, "secret").await, t.open("b", LONG, "secret").await);
    let first = t.acquire("x", &a).await;
    let entry = t.done(leasing(vec![release("x", first.token), acquire("x", &b, 0)])).await;
    let second = t.lease("x").await;
    assert_eq!((&second.holder, second.term), (&b, first.term + 1));
    assert!(second.token > first.token);
    assert_eq!(entry.leases, [second], "as it is after the commit");
}

pub(super) async fn lease_changes_stand_in_the_log(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    t.done(leasing(vec![acquire("y", &a, 0), acquire("x", &a, 0)])).await;
    let (x, y) = (t.lease("x").await, t.lease("y").await);
    t.done(leasing(vec![release("x", x.token)])).await;
    let entries = t.log(Revision(0)).await.entries;
    let leases: Vec<_> = entries.iter().map(|entry| entry.leases.clone()).collect();
    assert_eq!(leases, [vec![x.clone(), y], vec![Lease { released: true, ..x }]]);
}

pub(super) async fn released_leases_are_listed(t: &mut Trial) {
    let a = t.open("a", LONG, "secret").await;
    let (x, y) = (t.acquire("x", &a).await, t.acquire("y", &a).await);
    t.done(leasing(vec![release("x", x.token)])).await;
    let leases = t.store.leases().await.expect("the leases");
    assert_eq!(leases.leases, [Lease { released: true, ..x }, y]);
}
