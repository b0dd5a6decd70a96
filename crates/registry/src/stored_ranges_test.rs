//! Sums over records that no view holds, on the memory store.

use std::sync::Arc;

use omnirelay_core::ranges::RangePrefix;
use omnirelay_store::{Commit, RecordId, RecordKind, Write};

use super::lab::LabRegistry;
use super::registry_test::{THING, daemon, memory, put};
use super::stored_ranges::KindRanges;
use super::view::digest_of;

const HISTORY: RecordKind = RecordKind::of("history");

async fn write(daemon: &LabRegistry, write: Write) {
    let (epoch, writer) = (daemon.registry.view().head().epoch, daemon.registry.node_id().into());
    let commit = Commit { epoch, writes: vec![write], writer, ..Default::default() };
    daemon.registry.commit(commit).await.unwrap();
}

/// Keys of all histories that sums are made of.
async fn keys(daemon: &LabRegistry) -> Vec<String> {
    let ranges = daemon.registry.ranges_of(vec![THING, HISTORY]).await.unwrap();
    assert!(ranges.stored(&THING).is_none(), "the view has those");
    let stored = ranges.stored(&HISTORY).unwrap();
    let mut keys: Vec<String> =
        stored.keys(RangePrefix::ALL).into_iter().map(|(key, _)| key.to_owned()).collect();
    assert_eq!(ranges.with(&HISTORY, |sums| sums.sum(RangePrefix::ALL).count()), keys.len() as u64);
    keys.sort();
    keys
}

#[tokio::test]
async fn sums_are_of_what_the_store_has_whenever_they_are_asked_for() {
    let daemon = daemon(&memory(), "a").await;
    assert!(keys(&daemon).await.is_empty());
    for key in ["x", "y", "z"] {
        write(&daemon, put(HISTORY, key, "value")).await;
    }
    assert_eq!(keys(&daemon).await, ["x", "y", "z"]);
    write(&daemon, Write::Delete { id: RecordId::new(HISTORY, "y") }).await;
    assert_eq!(keys(&daemon).await, ["x", "z"], "the trace of a deleted record is none");
}

#[tokio::test]
async fn sums_of_a_moment_ago_are_taken_again_until_a_record_has_changed() {
    let [holds, reads] = [THING, HISTORY];
    let daemon = daemon(&memory(), "a").await;
    write(&daemon, put(holds.clone(), "x", "value")).await;
    let sum = |ranges: &KindRanges<'_>, kind: &RecordKind| {
        ranges.with(kind, |sums| sums.sum(RangePrefix::ALL).fingerprint(b"key"))
    };
    let held = daemon.registry.ranges_of(vec![holds.clone()]).await.unwrap();
    let record = daemon.registry.view().get(&RecordId::new(holds.clone(), "x")).unwrap();
    let digest = digest_of(&record.record).short();
    assert_eq!(held.with(&holds, |sums| sums.digests(RangePrefix::ALL)), [digest]);
    write(&daemon, put(reads.clone(), "x", "value")).await;
    let first = daemon.registry.ranges_of(vec![reads.clone()]).await.unwrap();
    let again = daemon.registry.ranges_of(vec![reads.clone()]).await.unwrap();
    assert!(Arc::ptr_eq(first.stored(&reads).unwrap(), again.stored(&reads).unwrap()));
    write(&daemon, put(reads.clone(), "x", "other")).await;
    let later = daemon.registry.ranges_of(vec![reads.clone()]).await.unwrap();
    assert_ne!(sum(&first, &reads), sum(&later, &reads));
}
