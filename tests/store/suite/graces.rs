//! Silences of all, and the grace that follows them: nobody is judged by a time in which nobody
//! could be heard.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{Commit, CommitError, GroupRef, Precondition, Pulse, PulseAnswer, RenewalGrace};

use super::{KEEP_ALL, TTL, Trial, acquire, commit, leasing, put, put_in, version};

/// What the renewals here ask for; a silence is anything longer than its half.
const GRACE: Duration = Duration::from_secs(16);
/// Far below half a grace, so that a store on a real clock may be slow.
const STEP: Duration = Duration::from_millis(1300);
/// The time to live of a group that outlives each rule.
const LONG: Duration = Duration::from_secs(60);

async fn renew(t: &Trial, renew: &[&GroupRef], grace: Duration) -> PulseAnswer {
    let renew = renew.iter().copied().cloned().collect();
    t.store.pulse(Pulse { renew, grace, ..Pulse::default() }).await.expect("a beat")
}

/// Renews `keeper` again and again until no grace is left.
async fn sit_out(t: &mut Trial, keeper: &GroupRef) {
    for _ in 0..100 {
        if renew(t, &[keeper], GRACE).await.grace.is_none() {
            return;
        }
        t.advance(STEP).await;
    }
    panic!("the grace does not end");
}

fn verdict_on(of: &GroupRef) -> Commit {
    Commit { preconditions: vec![Precondition::GroupOver(of.clone())], ..commit(vec![put("verdict", "x")]) }
}

fn wanting(key: &str, expected: u64) -> Commit {
    Commit { preconditions: vec![version(key, expected)], ..commit(vec![put("other", "x")]) }
}

/// Until when nobody is judged gone.
async fn spared_until(t: &Trial, of: &GroupRef) -> Millis {
    match t.refused(verdict_on(of)).await {
        CommitError::GroupLive { group, until } if group == of.id => until,
        other => panic!("{other}"),
    }
}

pub(super) async fn nobody_is_judged_gone_for_a_silence_of_all(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    renew(t, &[&keeper, &quiet], GRACE).await;
    t.advance(GRACE).await;
    let now = t.pulse(&[]).await.now;
    assert!(spared_until(t, &quiet).await > now, "while nobody is heard");
    let grace = renew(t, &[&keeper], GRACE).await.grace.expect("a grace");
    assert_eq!(spared_until(t, &quiet).await, grace.until, "while others may come back");
    sit_out(t, &keeper).await;
    t.done(verdict_on(&quiet)).await;
}

pub(super) async fn a_bound_record_outlives_a_silence_of_all(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    t.done(commit(vec![put_in(&quiet, "a", "x")])).await;
    renew(t, &[&keeper, &quiet], GRACE).await;
    t.advance(GRACE).await;
    assert_eq!(t.keys().await, ["a"], "while nobody is heard");
    t.conflicts(wanting("a", 0)).await;
    renew(t, &[&keeper], GRACE).await;
    assert_eq!(t.keys().await, ["a"], "while its holder may come back");
    t.conflicts(wanting("a", 0)).await;
    t.done(wanting("a", 1)).await;
    sit_out(t, &keeper).await;
    assert_eq!(t.keys().await, ["other"]);
    t.done(wanting("a", 0)).await;
}

pub(super) async fn a_record_that_was_gone_before_a_silence_stays_so(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    let closed = t.open("closed", LONG, "secret").await;
    t.done(commit(vec![put_in(&quiet, "a", "x"), put_in(&closed, "b", "x")])).await;
    for _ in 0..8 {
        renew(t, &[&keeper], GRACE).await;
        t.advance(STEP).await;
    }
    renew(t, &[&keeper], GRACE).await;
    t.advance(GRACE).await;
    assert_eq!(t.keys().await, ["b"], "gone while others were heard");
    t.close(closed).await;
    assert!(t.keys().await.is_empty(), "who closes a group wants its end");
    renew(t, &[&keeper], GRACE).await;
    assert!(t.keys().await.is_empty());
}

pub(super) async fn nothing_expires_in_a_silence_of_all(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    t.done(commit(vec![put_in(&quiet, "a", "x")])).await;
    renew(t, &[&keeper, &quiet], GRACE).await;
    t.advance(GRACE).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0, "while nobody is heard");
    renew(t, &[&keeper], GRACE).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0, "while its holder may come back");
    assert!(!t.record("a").await.expect("a record").deleted);
    sit_out(t, &keeper).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
}

pub(super) async fn a_silence_of_all_prolongs_no_session(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let holder = t.open("holder", TTL, "secret").await;
    t.acquire("scope", &holder).await;
    renew(t, &[&keeper, &holder], GRACE).await;
    t.advance(GRACE).await;
    assert!(!t.is_live(&holder).await);
    t.done(leasing(vec![acquire("scope", &keeper, 0)])).await;
    let beat = renew(t, &[&keeper, &holder], GRACE).await;
    assert!(beat.grace.is_some());
    assert_eq!(beat.renewed[1], None, "over is over");
    assert_eq!(t.lease("scope").await.holder, keeper);
}

pub(super) async fn one_renewal_is_enough_to_break_the_silence(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    t.done(commit(vec![put_in(&quiet, "a", "x")])).await;
    renew(t, &[&keeper, &quiet], GRACE).await;
    for _ in 0..8 {
        t.advance(STEP).await;
        assert_eq!(renew(t, &[&keeper], GRACE).await.grace, None);
    }
    assert_eq!(t.keys().await, [""; 0]);
    t.done(verdict_on(&quiet)).await;
}

pub(super) async fn renewals_do_not_prolong_a_grace(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    renew(t, &[&keeper], GRACE).await;
    t.advance(GRACE).await;
    let grace = renew(t, &[&keeper], GRACE).await.grace.expect("a grace");
    loop {
        t.advance(STEP).await;
        let beat = renew(t, &[&keeper], GRACE).await;
        if beat.now >= grace.until {
            assert_eq!(beat.grace, None, "it is over at its end");
            return;
        }
        assert_eq!(beat.grace, Some(grace));
    }
}

pub(super) async fn a_beat_tells_of_a_grace(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let last = renew(t, &[&keeper], GRACE).await;
    assert_eq!(last.grace, None);
    t.advance(GRACE).await;
    let beat = renew(t, &[&keeper], GRACE).await;
    assert_eq!(beat.grace, Some(RenewalGrace { from: last.now, until: beat.now.after(GRACE) }));
    assert_eq!(t.pulse(&[]).await.grace, beat.grace, "and so does one that renews nothing");
}

pub(super) async fn a_pulse_that_renews_nothing_begins_no_grace(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    renew(t, &[&keeper, &quiet], GRACE).await;
    for _ in 0..30 {
        t.advance(STEP).await;
        renew(t, &[], GRACE).await;
    }
    let now = t.pulse(&[]).await.now;
    assert!(spared_until(t, &quiet).await > now, "nobody has been heard yet");
}

pub(super) async fn who_asks_for_no_grace_gets_none(t: &mut Trial) {
    let keeper = t.open("keeper", LONG, "secret").await;
    let quiet = t.open("quiet", TTL, "secret").await;
    t.done(commit(vec![put_in(&quiet, "a", "x")])).await;
    renew(t, &[&keeper, &quiet], Duration::ZERO).await;
    t.advance(GRACE).await;
    assert_eq!(t.keys().await, [""; 0]);
    assert_eq!(renew(t, &[&keeper], Duration::ZERO).await.grace, None);
    t.done(verdict_on(&quiet)).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
}
