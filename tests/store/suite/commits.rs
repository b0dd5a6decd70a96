//! Commits: all or nothing, in one order.

use futures_util::future::join_all;
use omnirelay_store::{Commit, CommitError, CommitOutcome, LeaseFence, Revision, StoreError, Version};

use super::{TTL, Trial, acquire, commit, delete, leasing, other_epochs, put, put_in, version};

pub(super) async fn a_refused_commit_leaves_nothing(t: &mut Trial) {
    t.put("a", "one").await;
    let session = t.open("s", TTL, "secret").await;
    let head = t.head().await;
    let mut refused = commit(vec![put("a", "two"), put("b", "two"), put_in(&session, "c", "two")]);
    refused.leases = vec![acquire("scope", &session, 0)];
    refused.preconditions = vec![version("a", 1), version("b", 4)];
    t.conflicts(refused).await;
    assert_eq!(t.keys().await, ["a"]);
    assert_eq!(t.record("a").await.expect("a record").value.as_ref(), b"one");
    assert_eq!((t.head().await, t.store.leases().await.expect("leases").leases.len()), (head, 0));
}

pub(super) async fn a_commit_is_refused_when_a_version_differs(t: &mut Trial) {
    t.put("a", "one").await;
    t.put("a", "two").await;
    for (expected, written) in [(1, "a"), (3, "a"), (0, "a"), (1, "other")] {
        let mut commit = commit(vec![put(written, "x")]);
        commit.preconditions = vec![version("a", expected)];
        match t.refused(commit).await {
            CommitError::Conflict { id, expected: told, actual } => {
                assert_eq!((id.key.as_str(), told, actual), ("a", Version(expected), Version(2)));
            }
            other => panic!("{other}"),
        }
    }
    let mut right = commit(vec![put("a", "three")]);
    right.preconditions = vec![version("a", 2)];
    t.done(right).await;
}

pub(super) async fn version_zero_wants_that_there_is_no_record(t: &mut Trial) {
    let create = || Commit { preconditions: vec![version("a", 0)], ..commit(vec![put("a", "x")]) };
    t.done(create()).await;
    assert!(matches!(t.refused(create()).await, CommitError::Conflict { actual: Version(1), .. }));
    let tombstone = t.delete("a").await;
    let mut at_tombstone = create();
    at_tombstone.preconditions = vec![version("a", tombstone.version.0)];
    assert!(matches!(t.refused(at_tombstone).await, CommitError::Conflict { actual: Version(0), .. }));
    t.done(create()).await;
}

pub(super) async fn of_rivals_on_one_version_one_wins(t: &mut Trial) {
    t.put("a", "0").await;
    for round in 1..=5 {
        let rivals = (0..8).map(|rival| {
            let mut commit = commit(vec![put("a", &format!("{rival}")), put(&format!("b{rival}"), "x")]);
            commit.preconditions = vec![version("a", round)];
            t.store.commit(commit)
        });
        let made = join_all(rivals).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(made, 1, "in round {round}");
    }
    assert_eq!(t.record("a").await.expect("a record").version, Version(6));
}

pub(super) async fn a_commit_leaves_one_entry_with_what_was_before(t: &mut Trial) {
    t.done(commit(vec![put("a", "one"), put("gone", "x")])).await;
    let a = t.record("a").await;
    let tombstone = t.delete("gone").await;
    let entry = t.done(commit(vec![put("a", "two"), put("b", "new"), put("gone", "again")])).await;
    let page = t.log(tombstone.revision).await;
    assert_eq!(page.entries, std::slice::from_ref(&entry));
    let before: Vec<_> = entry.changes.iter().map(|change| change.before.clone()).collect();
    assert_eq!(before, [a, None, None], "a tombstone counts as nothing");
    for change in &entry.changes {
        assert_eq!((change.expired, change.after.revision), (false, entry.revision));
        assert_eq!(t.record(&change.after.id.key).await.as_ref(), Some(&change.after));
    }
    let deletion = t.done(commit(vec![delete("a")])).await;
    assert_eq!(deletion.changes[0].before.as_ref().expect("a record").value.as_ref(), b"two");
}

pub(super) async fn a_commit_that_changes_nothing_leaves_no_entry(t: &mut Trial) {
    let session = t.open("s", TTL, "secret").await;
    t.put("a", "one").await;
    t.delete("a").await;
    t.acquire("scope", &session).await;
    let head = t.head().await;
    let nothing = [
        commit(vec![delete("a"), delete("never")]),
        leasing(vec![acquire("scope", &session, 0)]),
        Commit { preconditions: vec![version("a", 0)], ..Commit::default() },
    ];
    for commit in nothing {
        let entry = t.done(commit).await;
        assert_eq!((entry.revision, entry.previous), (head, head));
        assert!(entry.changes.is_empty() && entry.leases.is_empty());
    }
    assert_eq!((t.head().await, t.log(head).await.entries.len()), (head, 0));
}

pub(super) async fn revisions_rise_and_name_the_one_before(t: &mut Trial) {
    let begin = t.head().await;
    let mut previous = begin;
    for number in 0..5 {
        let entry = t.done(commit(vec![put(&format!("k{number}"), "x")])).await;
        assert!(entry.revision > previous);
        assert_eq!((entry.previous, t.head().await), (previous, entry.revision));
        previous = entry.revision;
    }
    let entries = t.log(Revision(0)).await.entries;
    assert_eq!(entries[0].previous, begin);
    assert!(entries.windows(2).all(|two| two[1].previous == two[0].revision && two[1].at >= two[0].at));
}

pub(super) async fn a_commit_of_another_epoch_is_refused(t: &mut Trial) {
    let epoch = t.pulse(&[]).await.epoch;
    assert_eq!((t.log(Revision(0)).await.epoch, t.scan(None, false, 1).await.epoch), (epoch, epoch));
    let of = |epoch| Commit { epoch, ..commit(vec![put("a", "x")]) };
    for other in other_epochs(epoch) {
        match t.plain().commit(of(other)).await {
            Err(CommitError::Store(StoreError::EpochChanged { current })) => assert_eq!(current, epoch),
            told => panic!("{told:?}"),
        }
    }
    assert!(t.keys().await.is_empty());
    assert!(matches!(t.plain().commit(of(epoch)).await, Ok(CommitOutcome::Done(_))));
}

pub(super) async fn a_fenced_out_writer_hears_of_the_fence_first(t: &mut Trial) {
    let mut commit = commit(vec![put("a", "x")]);
    commit.preconditions = vec![version("a", 9)];
    commit.fence = Some(LeaseFence { scope: "scope".into(), token: 1 });
    assert!(matches!(t.refused(commit).await, CommitError::Fenced { current: None, .. }));
}
