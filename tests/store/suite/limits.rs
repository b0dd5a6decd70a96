//! The limits of the port.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_store::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Commit, CommitError, GroupId, GroupRef, KEY_BYTES_MAX, PAGE_MAX,
    Precondition, Pulse, RecordId, RecordKind, Scan, StoreError, TOKEN_FLOOR_MAX, VALUE_BYTES_MAX, Version,
    Write,
};

use super::{TTL, Trial, acquire, commit, delete, id, leasing, open, put, release};

async fn invalid(t: &Trial, what: &str, commit: Commit) {
    match t.store.commit(commit).await {
        Err(CommitError::Store(StoreError::Invalid { .. })) => {}
        other => panic!("{what}: {other:?}"),
    }
}

fn large(keys: std::ops::Range<usize>) -> Commit {
    let value = Bytes::from(vec![1; VALUE_BYTES_MAX]);
    commit(
        keys.map(|key| Write::Put { id: id(&key.to_string()), value: value.clone(), group: None }).collect(),
    )
}

fn sized(bytes: usize) -> Commit {
    commit(vec![Write::Put { id: id("a"), value: Bytes::from(vec![1; bytes]), group: None }])
}

pub(super) async fn a_commit_of_too_many_writes_is_refused(t: &mut Trial) {
    let writes = |count: usize| (0..count).map(|number| put(&format!("k{number}"), "x")).collect();
    let mut full = commit(writes(COMMIT_WRITES_MAX - 1));
    full.leases = vec![release("x", 1)];
    t.done(full.clone()).await;
    full.leases.push(release("y", 1));
    invalid(t, "writes and leases together", full).await;
    invalid(t, "writes", commit(writes(COMMIT_WRITES_MAX + 1))).await;
}

pub(super) async fn a_commit_of_too_many_bytes_is_refused(t: &mut Trial) {
    let full = COMMIT_BYTES_MAX / VALUE_BYTES_MAX;
    invalid(t, "values", large(0..full + 1)).await;
    t.done(large(0..full)).await;
    invalid(t, "values and those before them", large(0..full / 2 + 1)).await;
    let entry = t.done(large(0..full / 2)).await;
    assert_eq!(entry.value_bytes(), COMMIT_BYTES_MAX);
    assert_eq!(t.scan(None, false, 1).await.head, entry.revision, "the refused left nothing");
}

pub(super) async fn a_record_written_twice_in_one_commit_is_refused(t: &mut Trial) {
    invalid(t, "two puts", commit(vec![put("a", "1"), put("b", "1"), put("a", "2")])).await;
    invalid(t, "a put and a deletion", commit(vec![put("a", "1"), delete("a")])).await;
    assert!(t.keys().await.is_empty());
}

pub(super) async fn bad_names_are_refused(t: &mut Trial) {
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    let of = |kind: &str, key: &str| {
        let id = RecordId::new(RecordKind(kind.to_owned().into()), key);
        commit(vec![Write::Put { id, value: Bytes::new(), group: None }])
    };
    for (kind, key) in
        [("", "a"), ("Peer", "a"), ("1peer", "a"), ("pe er", "a"), ("pé", "a"), ("peer", ""), ("peer", &long)]
    {
        invalid(t, &format!("{kind}/{key}"), of(kind, key)).await;
    }
    t.done(of("a-b_9", &long[1..])).await;
    let session = t.open("s", TTL, "secret").await;
    invalid(t, "an empty scope", leasing(vec![acquire("", &session, 0)])).await;
    invalid(t, "a floor beyond doubles", leasing(vec![acquire("x", &session, TOKEN_FLOOR_MAX + 1)])).await;
    let empty = Precondition::GroupLive(GroupRef { id: GroupId(String::new()), instance: 1 });
    invalid(t, "an empty group", Commit { preconditions: vec![empty], ..Commit::default() }).await;
    let unnamed =
        Precondition::Version { id: RecordId::new(RecordKind::of("peer"), ""), version: Version(0) };
    invalid(t, "an empty key to look at", Commit { preconditions: vec![unnamed], ..Commit::default() }).await;
    for open in [open("", TTL, "secret"), open("s", TTL, ""), open("s", Duration::ZERO, "secret")] {
        assert!(matches!(t.store.open_group(open).await, Err(StoreError::Invalid { .. })));
    }
}

pub(super) async fn a_value_that_is_too_large_is_refused(t: &mut Trial) {
    invalid(t, "a value", sized(VALUE_BYTES_MAX + 1)).await;
    t.done(sized(VALUE_BYTES_MAX)).await;
    assert_eq!(t.record("a").await.expect("a record").value.len(), VALUE_BYTES_MAX);
}

pub(super) async fn absurd_pages_are_refused(t: &mut Trial) {
    for limit in [0, PAGE_MAX + 1] {
        let scan = Scan { kind: RecordKind::of("thing"), after: None, backwards: false, limit };
        assert!(matches!(t.store.scan(scan).await, Err(StoreError::Invalid { .. })), "a scan of {limit}");
        let log = t.store.log(omnirelay_store::Revision(0), limit, Duration::ZERO).await;
        assert!(matches!(log, Err(StoreError::Invalid { .. })), "a log page of {limit}");
    }
    let renew = vec![GroupRef { id: GroupId("s".into()), instance: 1 }; PAGE_MAX + 1];
    let pulse = t.store.pulse(Pulse { renew, ..Pulse::default() }).await;
    assert!(matches!(pulse, Err(StoreError::Invalid { .. })));
}
