//! Groups, and the records that end with them.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_store::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Commit, CommitError, Epoch, GroupId, GroupRef, OpenGroup,
    OpenedGroup, Precondition, Pulse, REPLACED_MAX, Retention, Revision, StoreError, TTL_MAX,
    VALUE_BYTES_MAX,
};

use super::{HALF, KEEP_ALL, TTL, Trial, commit, open, other_epochs, put, put_in, version};

const LATER: Duration = Duration::from_secs(80);

fn wanting(precondition: Precondition) -> Commit {
    Commit { preconditions: vec![precondition], ..commit(vec![put("verdict", "x")]) }
}

pub(super) async fn a_group_is_over_at_its_deadline(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    assert!(t.is_live(&group).await);
    t.advance(TTL).await;
    assert!(!t.is_live(&group).await);
    assert_eq!(t.pulse(&[&group]).await.renewed, [None], "it cannot be renewed");
    assert!(!t.is_live(&group).await);
    assert!(!t.close(group).await, "it was over already");
}

pub(super) async fn a_renewal_moves_the_deadline(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    for _ in 0..3 {
        t.advance(HALF).await;
        let beat = t.pulse(&[&group]).await;
        assert_eq!(beat.renewed, [Some(beat.now.after(TTL))]);
    }
    assert!(t.is_live(&group).await);
    t.advance(TTL).await;
    assert!(!t.is_live(&group).await);
}

pub(super) async fn a_renewal_can_give_another_time_to_live(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    let renewed = t.renewed_for(&group, LATER).await;
    assert_eq!(renewed.renewed, [Some(renewed.now.after(LATER))]);
    t.advance(TTL).await;
    let beat = t.pulse(&[&group]).await;
    assert_eq!(beat.renewed, [Some(beat.now.after(LATER))], "from then on it lives as long");
    assert_eq!(beat.moved[0].ttl, LATER);
    for ttl in [Duration::ZERO, TTL_MAX + Duration::from_millis(1)] {
        let pulse = Pulse { renew: vec![group.clone()], ttl: Some(ttl), ..Pulse::default() };
        assert!(matches!(t.store.pulse(pulse).await, Err(StoreError::Invalid { .. })), "{ttl:?}");
    }
}

pub(super) async fn another_time_to_live_takes_nothing_away(t: &mut Trial) {
    let group = t.open("s", LATER, "secret").await;
    let promised = t.pulse(&[&group]).await.renewed;
    assert_eq!(t.renewed_for(&group, TTL).await.renewed, promised, "its holder relies on it");
    t.advance(LATER - HALF).await;
    let beat = t.pulse(&[&group]).await;
    assert_eq!(beat.renewed, [Some(beat.now.after(TTL))]);
    t.advance(TTL).await;
    assert!(!t.is_live(&group).await);
}

pub(super) async fn a_secret_replaces_a_live_group_and_others_wait(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    match t.store.open_group(open("s", LATER, "another")).await.expect("an answer") {
        OpenedGroup::Held { until } => assert_eq!(until, t.pulse(&[]).await.moved[0].deadline),
        OpenedGroup::Open(group) => panic!("opened {group:?}"),
    }
    let second = t.open("s", TTL, "secret").await;
    assert!(second.instance > first.instance);
    assert!(!t.is_live(&first).await && t.is_live(&second).await);
    t.advance(TTL).await;
    t.open("s", TTL, "another").await;
}

pub(super) async fn an_instance_never_repeats(t: &mut Trial) {
    let mut last = 0;
    for round in 0..4 {
        let group = t.open("s", TTL, "secret").await;
        assert!(group.instance > last, "in round {round}");
        last = group.instance;
        match round {
            0 => t.advance(TTL).await,
            1 => assert!(t.close(group).await),
            _ => {}
        }
    }
    let other = t.open("other", TTL, "secret").await;
    assert!(other.instance > 0);
}

pub(super) async fn a_closed_group_is_over_at_once(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    assert!(t.close(group.clone()).await);
    assert!(!t.is_live(&group).await);
    assert_eq!(t.pulse(&[&group]).await.renewed, [None]);
    assert!(!t.close(group).await, "it was closed already");
    t.open("s", TTL, "another secret").await;
}

pub(super) async fn an_old_instance_closes_nothing(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    let second = t.open("s", TTL, "secret").await;
    assert!(!t.close(first).await);
    let unknown = GroupRef { id: GroupId("never".into()), instance: 1 };
    assert!(!t.close(unknown).await);
    assert!(t.is_live(&second).await);
}

pub(super) async fn an_old_instance_cannot_be_renewed(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    let second = t.open("s", TTL, "secret").await;
    let unknown = GroupRef { id: GroupId("never".into()), instance: 1 };
    let renewed = t.pulse(&[&first, &second, &unknown]).await.renewed;
    assert_eq!(renewed.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
}

pub(super) async fn a_pulse_reports_what_moved_since(t: &mut Trial) {
    let first = t.open("a", LATER, "secret").await;
    t.advance(HALF).await;
    let second = t.open("b", LATER, "secret").await;
    let all = t.pulse(&[]).await;
    assert_eq!(all.moved.len(), 2, "since 0 is all");
    let since = all.moved.iter().find(|group| group.of == second).expect("the group").renewed_at;
    let moved = async |renew: Vec<GroupRef>, moved_since| {
        let beat = t.store.pulse(Pulse { renew, moved_since, ..Pulse::default() }).await.expect("a beat");
        beat.moved.into_iter().map(|group| group.of).collect::<BTreeSet<_>>()
    };
    assert_eq!(moved(vec![], since).await, [second.clone()].into(), "at this instant or later");
    assert_eq!(moved(vec![first.clone()], since).await, [first, second].into());
}

pub(super) async fn a_pulse_reports_a_closed_group(t: &mut Trial) {
    let group = t.open("s", LATER, "secret").await;
    t.advance(HALF).await;
    let since = t.pulse(&[]).await.now;
    t.close(group.clone()).await;
    let beat = t.store.pulse(Pulse { moved_since: since, ..Pulse::default() }).await.expect("a beat");
    let closed = beat.moved.iter().find(|moved| moved.of == group).expect("the closed group");
    assert!(closed.closed && closed.deadline >= since && closed.deadline <= beat.now);
}

pub(super) async fn groups_leave_no_log_entry(t: &mut Trial) {
    t.put("a", "x").await;
    let head = t.head().await;
    let group = t.open("s", TTL, "secret").await;
    assert_eq!(t.pulse(&[&group]).await.head, head);
    t.close(group).await;
    t.open("s", TTL, "another").await;
    assert_eq!((t.head().await, t.log(head).await.entries.len()), (head, 0));
}

pub(super) async fn a_bound_record_is_gone_at_the_deadline(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    t.done(commit(vec![put_in(&group, "a", "bound"), put("b", "stays")])).await;
    assert_eq!(t.record("a").await.expect("a record").group, Some(group.clone()));
    t.advance(HALF).await;
    t.pulse(&[&group]).await;
    t.advance(HALF).await;
    assert_eq!(t.keys().await, ["a", "b"], "renewed with its group");
    t.advance(HALF).await;
    assert_eq!(t.keys().await, ["b"], "before any housekeeping");
    t.housekeep(KEEP_ALL).await;
    let tombstone = t.record("a").await.expect("a tombstone");
    assert!(tombstone.deleted);
}

pub(super) async fn a_record_of_a_replaced_instance_is_gone(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    t.done(commit(vec![put_in(&first, "a", "first"), put_in(&first, "b", "first")])).await;
    let second = t.open("s", TTL, "secret").await;
    assert!(t.keys().await.is_empty());
    let again = t.done(commit(vec![put_in(&second, "a", "second")])).await;
    assert_eq!(again.changes[0].after.version.0, 2);
    assert_eq!(t.keys().await, ["a"]);
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1, "only what is still bound to the old one");
    assert!(!t.record("a").await.expect("a record").deleted);
}

pub(super) async fn a_record_can_be_bound_anew(t: &mut Trial) {
    let short = t.open("short", TTL, "secret").await;
    let long = t.open("long", LATER, "secret").await;
    t.done(commit(vec![put_in(&short, "a", "x"), put_in(&short, "b", "x"), put_in(&short, "c", "x")])).await;
    t.done(commit(vec![put("a", "free"), put_in(&long, "b", "long")])).await;
    t.advance(TTL).await;
    assert_eq!(t.keys().await, ["a", "b"]);
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
    t.advance(LATER).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
    assert!(!t.record("a").await.expect("a record").deleted);
}

pub(super) async fn a_put_under_a_group_that_is_over_is_refused(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    let second = t.open("s", TTL, "secret").await;
    let unknown = GroupRef { id: GroupId("never".into()), instance: 1 };
    for over in [&first, &unknown] {
        match t.refused(commit(vec![put("b", "x"), put_in(over, "a", "x")])).await {
            CommitError::GroupOver(told) => assert_eq!(told, *over),
            other => panic!("{other}"),
        }
    }
    t.advance(TTL).await;
    let expired = t.refused(commit(vec![put_in(&second, "a", "x")])).await;
    assert!(matches!(expired, CommitError::GroupOver(_)));
    assert!(t.keys().await.is_empty());
}

pub(super) async fn an_expired_record_counts_as_absent(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    t.done(commit(vec![put_in(&group, "a", "old"), put_in(&group, "b", "old")])).await;
    t.advance(TTL).await;
    let mut conflicting = commit(vec![put("a", "x")]);
    conflicting.preconditions = vec![version("a", 1)];
    t.conflicts(conflicting).await;
    let mut create = commit(vec![put("a", "new"), super::delete("b")]);
    create.preconditions = vec![version("a", 0)];
    let entry = t.done(create).await;
    assert_eq!(entry.changes.len(), 1, "what has expired is not there to be deleted");
    let a = &entry.changes[0];
    assert_eq!((a.after.version.0, a.after.created_at), (2, entry.at));
    assert_eq!(a.before.as_ref().expect("as the log last had it").value.as_ref(), b"old");
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
    assert_eq!(t.record("a").await.expect("a record").value.as_ref(), b"new");
}

pub(super) async fn expired_records_are_deleted_in_a_marked_entry(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    t.done(commit(vec![put_in(&group, "a", "x"), put_in(&group, "b", "x")])).await;
    let head = t.head().await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0, "the group is live");
    t.advance(TTL).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 2);
    let entries = t.log(head).await.entries;
    assert_eq!((entries.len(), entries[0].changes.len()), (1, 2));
    for change in &entries[0].changes {
        assert!(change.expired && change.after.deleted && change.after.version.0 == 2);
        assert_eq!(change.before.as_ref().expect("a record").value.as_ref(), b"x");
    }
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0);
}

pub(super) async fn many_expired_records_are_deleted_by_and_by(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    for batch in 0..2 {
        let keys = (0..COMMIT_WRITES_MAX - 20).map(|number| format!("k{batch}-{number}"));
        t.done(commit(keys.map(|key| put_in(&group, &key, "x")).collect())).await;
    }
    t.advance(TTL).await;
    let mut expired = Vec::new();
    loop {
        let step = t.housekeep(KEEP_ALL).await;
        expired.push(step.records_expired);
        if !step.more {
            break;
        }
    }
    assert_eq!(expired.iter().sum::<usize>(), 2 * (COMMIT_WRITES_MAX - 20));
    assert!(expired.iter().all(|count| *count <= COMMIT_WRITES_MAX), "{expired:?}");
    assert!(t.records().await.iter().all(|record| record.deleted));
}

pub(super) async fn large_expired_records_are_deleted_by_and_by(t: &mut Trial) {
    let group = t.open("s", LATER, "secret").await;
    let large = "x".repeat(VALUE_BYTES_MAX);
    for number in 0..12 {
        t.done(commit(vec![put_in(&group, &format!("k{number}"), &large)])).await;
    }
    t.advance(LATER).await;
    let head = t.head().await;
    let mut left = 12;
    while left > 0 {
        let step = t.housekeep(KEEP_ALL).await;
        assert!(step.records_expired * VALUE_BYTES_MAX <= COMMIT_BYTES_MAX, "{step:?}");
        left -= step.records_expired;
        assert!(step.records_expired > 0 && step.more == (left > 0), "{step:?}");
    }
    assert!(t.log(head).await.entries.iter().all(|entry| entry.value_bytes() <= COMMIT_BYTES_MAX));
}

pub(super) async fn a_commit_can_want_a_group_live(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    t.done(wanting(Precondition::GroupLive(group.clone()))).await;
    t.advance(TTL).await;
    match t.refused(wanting(Precondition::GroupLive(group.clone()))).await {
        CommitError::GroupOver(told) => assert_eq!(told, group),
        other => panic!("{other}"),
    }
}

pub(super) async fn a_verdict_needs_the_group_to_be_over(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    let until = t.pulse(&[&first]).await.renewed[0].expect("a deadline");
    match t.refused(wanting(Precondition::GroupOver(first.clone()))).await {
        CommitError::GroupLive { group, until: told } => assert_eq!((group, told), (first.id.clone(), until)),
        other => panic!("{other}"),
    }
    let second = t.open("s", TTL, "secret").await;
    let later_lives = t.refused(wanting(Precondition::GroupOver(first.clone()))).await;
    assert!(matches!(later_lives, CommitError::GroupLive { .. }));
    t.advance(TTL).await;
    t.done(wanting(Precondition::GroupOver(first))).await;
    t.done(wanting(Precondition::GroupOver(second.clone()))).await;
    assert_eq!(t.pulse(&[&second]).await.renewed, [None], "judged gone");
}

pub(super) async fn nobody_is_judged_gone_in_a_quarantine(t: &mut Trial) {
    let group = t.open("s", HALF, "secret").await;
    t.done(commit(vec![put_in(&group, "a", "x")])).await;
    t.quarantine(TTL).await;
    let until = t.pulse(&[]).await.quarantine_until;
    t.advance(HALF).await;
    match t.refused(wanting(Precondition::GroupOver(group.clone()))).await {
        CommitError::GroupLive { until: told, .. } => assert_eq!(told, until),
        other => panic!("{other}"),
    }
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0);
    t.advance(HALF).await;
    t.done(wanting(Precondition::GroupOver(group))).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 1);
}

fn of_another_epoch<R: std::fmt::Debug>(told: Result<R, StoreError>, present: Epoch) {
    match told {
        Err(StoreError::EpochChanged { current }) => assert_eq!(current, present),
        told => panic!("{told:?}"),
    }
}

pub(super) async fn a_renewal_of_another_epoch_is_refused(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    let before = t.pulse(&[]).await;
    t.advance(HALF).await;
    let renewal = |epoch| Pulse { epoch: Some(epoch), renew: vec![group.clone()], ..Pulse::default() };
    for other in other_epochs(before.epoch) {
        of_another_epoch(t.plain().pulse(renewal(other)).await, before.epoch);
    }
    assert_eq!(t.pulse(&[]).await.moved, before.moved);
    let renewed = t.plain().pulse(renewal(before.epoch)).await.expect("a beat").renewed;
    assert!(renewed[0].is_some());
}

pub(super) async fn a_pulse_without_an_epoch_renews_nothing(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    let learned = t.plain().pulse(Pulse::default()).await.expect("a beat");
    assert_eq!((learned.epoch, learned.moved.len()), (t.pulse(&[]).await.epoch, 1));
    t.advance(HALF).await;
    let blind = t.plain().pulse(Pulse { renew: vec![group], ..Pulse::default() }).await;
    assert!(matches!(blind, Err(StoreError::Invalid { .. })), "{blind:?}");
    assert_eq!(t.pulse(&[]).await.moved, learned.moved);
}

pub(super) async fn a_group_opens_in_the_present_epoch_only(t: &mut Trial) {
    let present = t.pulse(&[]).await.epoch;
    let of = |epoch| OpenGroup { epoch, ..open("s", TTL, "secret") };
    for other in other_epochs(present) {
        of_another_epoch(t.plain().open_group(of(other)).await, present);
    }
    assert!(t.pulse(&[]).await.moved.is_empty());
    assert!(matches!(t.plain().open_group(of(present)).await, Ok(OpenedGroup::Open(_))));
}

pub(super) async fn a_group_is_closed_in_the_present_epoch_only(t: &mut Trial) {
    let group = t.open("s", TTL, "secret").await;
    let present = t.pulse(&[]).await.epoch;
    for other in other_epochs(present) {
        of_another_epoch(t.plain().close_group(other, group.clone()).await, present);
    }
    assert!(t.is_live(&group).await);
    assert!(matches!(t.plain().close_group(present, group).await, Ok(true)));
}

pub(super) async fn an_old_group_is_collected(t: &mut Trial) {
    let closed = t.open("closed", LATER, "secret").await;
    let bound = t.open("expired", TTL, "secret").await;
    t.done(commit(vec![put_in(&bound, "a", "x")])).await;
    t.open("live", Duration::from_secs(1000), "secret").await;
    t.close(closed).await;
    t.advance(TTL).await;
    let keep = Retention { tombstone_age: HALF, ..KEEP_ALL };
    t.housekeep(keep).await;
    assert_eq!(t.keys().await, ["a"], "a bound record is deleted before its group is forgotten");
    t.advance(TTL).await;
    for _ in 0..2 {
        t.housekeep(keep).await;
    }
    let left: Vec<_> = t.pulse(&[]).await.moved.into_iter().map(|group| group.of.id.0).collect();
    assert_eq!(left, ["live"]);
}

pub(super) async fn a_collected_group_opens_with_a_greater_instance(t: &mut Trial) {
    t.open("s", TTL, "secret").await;
    let last = t.open("s", TTL, "secret").await;
    t.close(last.clone()).await;
    t.advance(TTL).await;
    let keep = Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL };
    for _ in 0..2 {
        t.housekeep(keep).await;
    }
    assert!(t.pulse(&[]).await.moved.is_empty());
    assert!(t.open("s", TTL, "another").await.instance > last.instance);
    assert_eq!(t.log(Revision(0)).await.entries.len(), 0);
}

pub(super) async fn a_group_replaced_too_often_waits(t: &mut Trial) {
    let first = t.open("s", TTL, "secret").await;
    let until = t.pulse(&[&first]).await.renewed[0].expect("a deadline");
    let mut last = first;
    for _ in 0..REPLACED_MAX {
        last = t.open("s", LATER, "secret").await;
    }
    let opened = t.store.open_group(open("s", LATER, "secret")).await.expect("an answer");
    assert_eq!(opened, OpenedGroup::Held { until });
    assert!(t.is_live(&last).await, "nothing was changed");
    t.open("another", LATER, "secret").await;
    let short = t.store.open_group(open("s", LATER, "another secret")).await.expect("an answer");
    assert!(matches!(short, OpenedGroup::Held { until: told } if told > until), "for the secret: {short:?}");
    t.close(last).await;
    t.open("s", LATER, "another secret").await;
}

pub(super) async fn a_group_can_be_replaced_again_at_the_first_deadline(t: &mut Trial) {
    t.open("s", TTL, "secret").await;
    t.advance(HALF).await;
    for _ in 0..REPLACED_MAX {
        t.open("s", TTL, "secret").await;
    }
    t.advance(HALF).await;
    let renewed = t.open("s", LATER, "secret").await;
    let refused = t.store.open_group(open("s", LATER, "secret")).await.expect("an answer");
    assert!(matches!(refused, OpenedGroup::Held { .. }), "there was one place");
    t.advance(HALF).await;
    assert!(t.is_live(&renewed).await);
    t.open("s", LATER, "secret").await;
}
