//! Records and how they are scanned.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    PAGE_BYTES_MAX, PAGE_MAX, RecordId, RecordKind, Retention, Revision, Scan, VALUE_BYTES_MAX, Version,
    Write,
};

use super::{KEEP_ALL, Trial, commit, delete, put};

pub(super) async fn a_record_is_read_back_as_it_was_put(t: &mut Trial) {
    let before = t.pulse(&[]).await.now;
    let entry = t.done(commit(vec![put("a", "one"), put("b", "")])).await;
    let (a, b) = (t.record("a").await.expect("a record"), t.record("b").await.expect("a record"));
    assert_eq!((a.value.as_ref(), b.value.as_ref()), (b"one".as_slice(), b"".as_slice()));
    assert_eq!((a.version, a.revision, a.deleted), (Version(1), entry.revision, false));
    assert_eq!((a.group, a.created_at == a.updated_at, a.created_at >= before), (None, true, true));
}

pub(super) async fn a_version_rises_by_one_with_each_change(t: &mut Trial) {
    for expected in 1..=3 {
        assert_eq!(t.put("a", "same").await.version, Version(expected), "even with the same value");
    }
    assert_eq!(t.put("b", "x").await.version, Version(1), "each record counts for itself");
    assert_eq!(t.delete("a").await.version, Version(4), "a deletion is a change");
    assert_eq!(t.record("a").await.expect("a tombstone").version, Version(4));
}

pub(super) async fn a_deletion_leaves_a_tombstone(t: &mut Trial) {
    let put = t.put("a", "one").await;
    let deleted = t.delete("a").await;
    let found = t.record("a").await.expect("a tombstone");
    assert_eq!(found, deleted);
    assert!(found.deleted && found.value.is_empty() && found.revision > put.revision);
}

pub(super) async fn a_version_goes_on_after_deletion(t: &mut Trial) {
    t.put("a", "one").await;
    t.delete("a").await;
    let again = t.put("a", "two").await;
    assert_eq!((again.version, again.deleted), (Version(3), false));
    assert_eq!(t.record("a").await, Some(again));
}

pub(super) async fn a_version_goes_on_after_its_tombstone_was_collected(t: &mut Trial) {
    t.put("a", "one").await;
    let tombstone = t.delete("a").await;
    t.put("b", "stays").await;
    let keep = Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL };
    assert_eq!(t.housekeep(keep).await.tombstones_collected, 1);
    assert_eq!(t.keys().await, ["b"]);
    assert!(t.put("a", "two").await.version > tombstone.version);
    assert_eq!(t.put("b", "more").await.version, Version(2), "a record that stayed counts on");
}

pub(super) async fn a_put_keeps_when_the_record_was_created(t: &mut Trial) {
    let first = t.put("a", "one").await;
    t.advance(Duration::from_millis(20)).await;
    let second = t.put("a", "two").await;
    assert_eq!(second.created_at, first.created_at);
    assert!(second.updated_at > first.updated_at);
    t.delete("a").await;
    assert!(t.put("a", "three").await.created_at > first.created_at, "a new record under an old key");
}

pub(super) async fn a_record_names_its_last_writer(t: &mut Trial) {
    t.put("a", "one").await;
    let mut by_b = commit(vec![put("a", "two")]);
    by_b.writer = "node-b".into();
    assert_eq!(&*t.done(by_b).await.writer, "node-b");
    assert_eq!(&*t.record("a").await.expect("a record").writer, "node-b");
}

pub(super) async fn a_scan_goes_both_ways(t: &mut Trial) {
    t.done(commit(["b", "a", "c", "aa"].map(|key| put(key, "x")).to_vec())).await;
    assert_eq!(t.keys().await, ["a", "aa", "b", "c"], "in the order of the keys' bytes");
    let backwards = t.scan(None, true, PAGE_MAX).await.records;
    let keys: Vec<_> = backwards.into_iter().map(|record| record.id.key).collect();
    assert_eq!(keys, ["c", "b", "aa", "a"]);
}

pub(super) async fn a_scan_goes_page_by_page_without_loss(t: &mut Trial) {
    let keys: Vec<String> = (0..7).map(|number| format!("k{number}")).collect();
    t.done(commit(keys.iter().map(|key| put(key, "x")).collect())).await;
    for backwards in [false, true] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = t.scan(after.as_deref(), backwards, 3).await;
            assert!(page.records.len() <= 3);
            assert_eq!(page.head, t.head().await);
            found.extend(page.records.into_iter().map(|record| record.id.key));
            after = found.last().cloned();
            if !page.more {
                break;
            }
            assert!(found.len() < keys.len(), "`more` was true behind the last record");
        }
        if backwards {
            found.reverse();
        }
        assert_eq!(found, keys);
    }
    let between = t.scan(Some("k2+"), false, 1).await.records;
    assert_eq!(between[0].id.key, "k3", "the key to begin behind need not be there");
}

pub(super) async fn a_scan_keeps_to_its_kind(t: &mut Trial) {
    let other = |kind, key| Write::Put {
        id: RecordId::new(RecordKind::of(kind), key),
        value: Bytes::from_static(b"x"),
        group: None,
    };
    t.done(commit(vec![other("thin", "gz"), put("a", "x"), other("things", "b"), other("thing-2", "c")]))
        .await;
    assert_eq!(t.keys().await, ["a"]);
    t.done(commit(vec![delete("a")])).await;
    let scan = Scan { kind: RecordKind::of("things"), after: None, backwards: false, limit: 10 };
    let page = t.store.scan(scan).await.expect("a page");
    assert_eq!((page.records.len(), page.records[0].created_at > Millis(0)), (1, true));
}

pub(super) async fn a_page_of_large_values_ends_early(t: &mut Trial) {
    let large = "x".repeat(VALUE_BYTES_MAX);
    let begin = t.head().await;
    for number in 0..12 {
        t.put(&format!("k{number:02}"), &large).await;
    }
    let bound = PAGE_BYTES_MAX + VALUE_BYTES_MAX;
    let page = t.scan(None, false, PAGE_MAX).await;
    let bytes: usize = page.records.iter().map(|record| record.value.len()).sum();
    assert!(page.more && bytes <= bound, "{bytes} bytes");
    let mut all = page.records;
    while let Some(last) = all.last().map(|record| record.id.key.clone()) {
        let rest = t.scan(Some(&last), false, PAGE_MAX).await;
        all.extend(rest.records);
        if !rest.more {
            break;
        }
    }
    assert_eq!(all.len(), 12);
    let log = t.log(Revision(0)).await;
    let bytes: usize = log.entries.iter().map(|entry| entry.value_bytes()).sum();
    assert!(bytes <= bound && log.entries[0].previous == begin, "{bytes} bytes");
}
