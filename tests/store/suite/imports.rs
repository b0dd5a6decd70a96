//! Records of another registry that are put back as they were there.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    COMMIT_BYTES_MAX, CommitError, ExistingRecord, KEY_BYTES_MAX, ORIGIN_MAX, Record, RecordOrigin,
    Retention, Revision, StoreError, VALUE_BYTES_MAX, Version, Write,
};

use super::{KEEP_ALL, TTL, Trial, commit, delete, id, origin, put, put_in};

/// How far above the head a revision is that no commit of these tests would come to by itself.
const FAR: u64 = 1_000_000;

fn import(key: &str, value: &str, origin: RecordOrigin) -> Write {
    let existing = ExistingRecord::Keep;
    Write::Import { id: id(key), value: Bytes::copy_from_slice(value.as_bytes()), origin, existing }
}

/// An import that leaves nothing of what is there.
fn replace(key: &str, value: &str, origin: RecordOrigin) -> Write {
    let existing = ExistingRecord::Replace;
    Write::Import { id: id(key), value: Bytes::copy_from_slice(value.as_bytes()), origin, existing }
}

/// What an import leaves where nothing was.
fn as_it_was(key: &str, value: &str, origin: &RecordOrigin) -> Record {
    Record {
        id: id(key),
        value: Bytes::copy_from_slice(value.as_bytes()),
        version: origin.version,
        revision: origin.revision,
        group: None,
        created_at: origin.created_at,
        updated_at: origin.updated_at,
        writer: origin.writer.clone(),
        deleted: false,
    }
}

/// Imports a record, and returns it as it stands then.
pub(super) async fn imported(t: &Trial, key: &str, origin: RecordOrigin) -> Record {
    let entry = t.done(commit(vec![import(key, "imported", origin)])).await;
    let found = t.record(key).await.expect("a record");
    assert_eq!(entry.changes[0].after, found, "the log has it as it stands");
    found
}

pub(super) async fn an_import_stands_as_it_was(t: &mut Trial) {
    let begin = t.head().await;
    // The one is of a time that is long past, the other of a registry whose clock is ahead and which wrote it itself.
    let ahead = RecordOrigin { updated_at: Millis(ORIGIN_MAX), writer: "".into(), ..origin(1, 3) };
    for (key, value, origin) in [("a", "one", origin(7, begin.0 + FAR)), ("b", "", ahead)] {
        let entry = t.done(commit(vec![import(key, value, origin.clone())])).await;
        let expected = as_it_was(key, value, &origin);
        assert_eq!(t.record(key).await.as_ref(), Some(&expected));
        assert_eq!((&entry.changes[0].after, &*entry.writer), (&expected, "node-a"));
        assert_eq!((&entry.changes[0].before, entry.changes[0].expired), (&None, false));
        assert_eq!(t.log(entry.previous).await.entries, [entry]);
    }
}

pub(super) async fn an_imported_record_goes_on_as_any_other(t: &mut Trial) {
    let ahead = RecordOrigin { updated_at: Millis(ORIGIN_MAX), ..origin(7, 3) };
    let before = imported(t, "a", ahead).await;
    let entry = t.done(commit(vec![put("a", "two")])).await;
    let after = &entry.changes[0].after;
    assert_eq!(entry.changes[0].before, Some(before.clone()));
    assert_eq!((after.version, after.revision), (Version(8), entry.revision));
    assert_eq!((after.created_at, after.updated_at, &*after.writer), (before.created_at, entry.at, "node-a"));
    imported(t, "b", origin(4, 4)).await;
    let tombstone = t.delete("b").await;
    assert_eq!((tombstone.version, tombstone.deleted), (Version(5), true));
    let step = t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    assert_eq!((step.tombstones_collected, t.keys().await), (1, vec!["a".to_owned()]));
    assert!(t.put("b", "again").await.version > tombstone.version, "its tombstone has raised the floor");
}

pub(super) async fn an_import_leaves_what_is_there(t: &mut Trial) {
    let there = t.put("a", "mine").await;
    let again = import("a", "theirs", origin(9, there.revision.0 + FAR));
    let entry = t.done(commit(vec![again.clone()])).await;
    assert_eq!((entry.changes.len(), entry.revision, t.head().await), (0, there.revision, there.revision));
    let entry = t.done(commit(vec![again, put("b", "x")])).await;
    let written: Vec<_> = entry.changes.iter().map(|change| change.after.id.key.as_str()).collect();
    assert_eq!(written, ["b"]);
    assert_eq!(t.record("a").await, Some(there));
}

pub(super) async fn an_import_without_effect_raises_no_revision(t: &mut Trial) {
    let there = t.put("a", "mine").await;
    let far = there.revision.0 + FAR;
    let entry = t.done(commit(vec![import("a", "theirs", origin(9, far)), put("b", "x")])).await;
    assert!(entry.revision.0 < far, "{}", entry.revision);
}

pub(super) async fn an_import_takes_the_place_of_an_expired_record(t: &mut Trial) {
    let session = t.open("s", TTL, "secret").await;
    let bound = t.done(commit(vec![put_in(&session, "a", "bound")])).await.changes[0].after.clone();
    t.advance(TTL).await;
    let came = origin(1, 3);
    let entry = t.done(commit(vec![import("a", "theirs", came.clone())])).await;
    let expected = Record { version: Version(bound.version.0 + 1), ..as_it_was("a", "theirs", &came) };
    let changes: Vec<_> = entry.changes.iter().map(|change| (&change.before, &change.after)).collect();
    assert_eq!(changes, [(&Some(bound), &expected)]);
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0, "it is of no group");
    assert_eq!(t.record("a").await, Some(expected));
}

pub(super) async fn an_import_over_a_tombstone_lowers_no_version(t: &mut Trial) {
    for (key, comes_with, stands) in [("a", 1, 3), ("b", 3, 3), ("c", 9, 9)] {
        t.put(key, "x").await;
        assert_eq!(t.delete(key).await.version, Version(2));
        let came = origin(comes_with, 3);
        let entry = t.done(commit(vec![import(key, "theirs", came.clone())])).await;
        let expected = Record { version: Version(stands), ..as_it_was(key, "theirs", &came) };
        assert_eq!((&entry.changes[0].before, &entry.changes[0].after), (&None, &expected));
        assert_eq!(t.record(key).await, Some(expected));
    }
    let step = t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    assert_eq!((step.tombstones_collected, t.keys().await.len()), (0, 3), "the tombstones are gone");
}

pub(super) async fn an_import_over_a_collected_tombstone_lowers_no_version(t: &mut Trial) {
    t.put("a", "x").await;
    let tombstone = t.delete("a").await;
    let step = t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    assert_eq!((step.tombstones_collected, t.keys().await.len()), (1, 0));
    assert!(imported(t, "a", origin(1, 3)).await.version > tombstone.version);
    assert!(imported(t, "b", origin(1, 4)).await.version > tombstone.version, "it is of the same kind");
    assert_eq!(imported(t, "c", origin(50, 5)).await.version, Version(50));
}

pub(super) async fn an_import_that_replaces_takes_the_place_of_anything(t: &mut Trial) {
    let there = t.put("a", "mine").await;
    let came = origin(9, there.revision.0 + FAR);
    let entry = t.done(commit(vec![replace("a", "theirs", came.clone())])).await;
    let expected = as_it_was("a", "theirs", &came);
    assert_eq!(t.record("a").await.as_ref(), Some(&expected));
    assert_eq!((&entry.changes[0].before, &entry.changes[0].after), (&Some(there), &expected));
    assert!(entry.revision.0 > came.revision.0, "{}", entry.revision);
    assert_eq!(t.log(entry.previous).await.entries, [entry]);
    // Over a tombstone, and where nothing is.
    t.put("b", "x").await;
    t.delete("b").await;
    for key in ["b", "c"] {
        let came = origin(5, 3);
        t.done(commit(vec![replace(key, "theirs", came.clone())])).await;
        assert_eq!(t.record(key).await, Some(as_it_was(key, "theirs", &came)));
    }
    let step = t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    assert_eq!((step.tombstones_collected, t.keys().await.len()), (0, 3), "the tombstone is gone");
}

pub(super) async fn an_import_that_replaces_has_its_version(t: &mut Trial) {
    for key in ["record", "tombstone", "collected"] {
        imported(t, key, origin(5, 3)).await;
    }
    t.delete("collected").await;
    t.housekeep(Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL }).await;
    t.delete("tombstone").await;
    for key in ["record", "tombstone", "collected"] {
        for version in [2, 9, 1] {
            let came = origin(version, 3);
            t.done(commit(vec![replace(key, "theirs", came.clone())])).await;
            assert_eq!(t.record(key).await, Some(as_it_was(key, "theirs", &came)), "{key} of {version}");
        }
        assert_eq!(t.put(key, "mine").await.version, Version(2), "{key} goes on from there");
    }
}

pub(super) async fn a_record_that_was_replaced_is_of_no_group(t: &mut Trial) {
    let session = t.open("s", TTL, "secret").await;
    t.done(commit(vec![put_in(&session, "a", "bound")])).await;
    let came = origin(1, 3);
    t.done(commit(vec![replace("a", "theirs", came.clone())])).await;
    t.advance(TTL).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.records_expired, 0, "its group has not let go of it");
    assert_eq!(t.record("a").await, Some(as_it_was("a", "theirs", &came)));
}

pub(super) async fn a_revision_is_above_all_that_are_imported(t: &mut Trial) {
    let begin = t.put("before", "x").await.revision;
    let (near, far) = (origin(1, begin.0 + FAR), origin(1, begin.0 + 2 * FAR));
    let writes = vec![put("p", "x"), replace("a", "x", far), import("b", "x", near), delete("before")];
    let entry = t.done(commit(writes)).await;
    assert!(entry.revision.0 > begin.0 + 2 * FAR, "{}", entry.revision);
    assert_eq!(
        (entry.previous, t.head().await, t.pulse(&[]).await.head),
        (begin, entry.revision, entry.revision)
    );
    let revisions: Vec<_> = entry.changes.iter().map(|change| change.after.revision.0).collect();
    assert_eq!(revisions, [entry.revision.0, begin.0 + 2 * FAR, begin.0 + FAR, entry.revision.0]);
    // One that is below the head does not hold it back.
    let next = t.done(commit(vec![import("c", "x", origin(1, begin.0))])).await;
    assert!(next.revision > entry.revision);
    assert!(t.put("p", "y").await.revision > next.revision);
}

pub(super) async fn the_log_goes_on_from_an_import(t: &mut Trial) {
    let before = t.done(commit(vec![put("before", "x")])).await;
    let far = origin(1, before.revision.0 + FAR);
    let import = t.done(commit(vec![import("a", "x", far)])).await;
    let after = t.done(commit(vec![put("a", "y")])).await;
    assert_eq!((import.previous, after.previous), (before.revision, import.revision));
    let made = [before, import, after];
    for (seen, entry) in made.iter().enumerate() {
        let page = t.log(entry.revision).await;
        assert_eq!(
            (page.entries.as_slice(), page.compacted, page.head),
            (&made[seen + 1..], false, made[2].revision)
        );
    }
    t.housekeep(Retention { log_entries_max: 1, ..KEEP_ALL }).await;
    assert_eq!(t.log(made[1].revision).await.entries, made[2..]);
    assert!(t.log(made[0].revision).await.compacted, "the import is gone");
}

async fn invalid(t: &Trial, what: &str, writes: Vec<Write>) {
    match t.store.commit(commit(writes)).await {
        Err(CommitError::Store(StoreError::Invalid { .. })) => {}
        other => panic!("{what}: {other:?}"),
    }
}

pub(super) async fn an_absurd_origin_is_refused(t: &mut Trial) {
    let good = origin(1, 1);
    let (far, long) = (Millis(ORIGIN_MAX + 1), "x".repeat(KEY_BYTES_MAX + 1));
    let cases = [
        ("no version", RecordOrigin { version: Version(0), ..good.clone() }),
        ("a version beyond doubles", RecordOrigin { version: Version(ORIGIN_MAX + 1), ..good.clone() }),
        ("no revision", RecordOrigin { revision: Revision(0), ..good.clone() }),
        ("a revision beyond doubles", RecordOrigin { revision: Revision(ORIGIN_MAX + 1), ..good.clone() }),
        ("made beyond doubles", RecordOrigin { created_at: far, ..good.clone() }),
        ("written beyond doubles", RecordOrigin { updated_at: far, ..good.clone() }),
        ("a long name", RecordOrigin { writer: long.as_str().into(), ..good.clone() }),
    ];
    for (what, origin) in cases {
        invalid(t, what, vec![import("a", "x", origin.clone())]).await;
        invalid(t, what, vec![replace("a", "x", origin)]).await;
    }
    invalid(t, "no key", vec![import("", "x", good.clone())]).await;
    invalid(t, "a long value", vec![import("a", &"x".repeat(VALUE_BYTES_MAX + 1), good.clone())]).await;
    invalid(t, "written twice", vec![put("a", "x"), import("a", "x", good)]).await;
    assert!(t.keys().await.is_empty());
}

pub(super) async fn the_greatest_origin_is_counted_on_from(t: &mut Trial) {
    let greatest = RecordOrigin {
        created_at: Millis(ORIGIN_MAX),
        updated_at: Millis(ORIGIN_MAX),
        writer: "x".repeat(KEY_BYTES_MAX).as_str().into(),
        ..origin(ORIGIN_MAX, ORIGIN_MAX)
    };
    let entry = t.done(commit(vec![import("a", "x", greatest.clone())])).await;
    assert_eq!(entry.revision, Revision(ORIGIN_MAX + 1));
    assert_eq!(t.record("a").await, Some(as_it_was("a", "x", &greatest)));
    let next = t.put("a", "y").await;
    assert_eq!((next.version, next.revision), (Version(ORIGIN_MAX + 1), Revision(ORIGIN_MAX + 2)));
    assert_eq!(t.head().await, next.revision);
    let entries = t.log(entry.previous).await.entries;
    let revisions: Vec<_> = entries.iter().map(|entry| entry.revision).collect();
    assert_eq!(revisions, [entry.revision, next.revision]);
}

pub(super) async fn the_values_of_imports_count(t: &mut Trial) {
    let full = COMMIT_BYTES_MAX / VALUE_BYTES_MAX;
    let large = "x".repeat(VALUE_BYTES_MAX);
    let imports =
        |count: usize| (0..count).map(|key| import(&key.to_string(), &large, origin(1, 1))).collect();
    invalid(t, "values", imports(full + 1)).await;
    assert_eq!(t.done(commit(imports(full))).await.value_bytes(), COMMIT_BYTES_MAX);
}
