//! What an optimistic store makes of a medium that has lost what it has acknowledged.

use std::time::Duration;

use omnirelay_store::{CommitOutcome, Pulse, Retention, Scan, Store};

use super::{KIND, KeptRows, RowsInMemory, puts};

/// What becomes of a store whose medium has lost a commit, or all of them.
async fn loss_begins_a_new_epoch(all: bool) {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    let commit = puts(store.as_ref(), std::iter::once("kept".to_owned())).await;
    store.commit(commit).await.unwrap();
    let copy = if all { KeptRows::new() } else { medium.kept.lock().clone() };
    let commit = puts(store.as_ref(), std::iter::once("lost".to_owned())).await;
    store.commit(commit).await.unwrap();
    let before = store.pulse(Pulse::default()).await.unwrap();
    *medium.kept.lock() = copy;
    let after = store.pulse(Pulse::default()).await.unwrap();
    assert!(after.epoch > before.epoch && after.head > before.head, "{before:?}, {after:?}");
    assert!(after.quarantine_until > after.now, "{after:?}");
    let page = store.log(before.head, 10, Duration::ZERO).await.unwrap();
    assert!(page.compacted && page.entries.is_empty());
    let scan = Scan { kind: KIND, after: None, backwards: false, limit: 9 };
    let records = store.scan(scan).await.unwrap().records;
    assert_eq!(
        records.iter().map(|record| record.id.key.as_str()).collect::<Vec<_>>(),
        if all { &[][..] } else { &["kept"] }
    );
    let commit = puts(store.as_ref(), std::iter::once("next".to_owned())).await;
    let CommitOutcome::Done(entry) = store.commit(commit).await.unwrap() else {
        panic!("it was made before")
    };
    assert!(entry.previous == after.head && entry.revision > after.head);
    assert_eq!(store.log(after.head, 9, Duration::ZERO).await.unwrap().entries, [entry]);
}

#[tokio::test]
async fn a_medium_that_has_lost_what_was_seen_begins_a_new_epoch() {
    loss_begins_a_new_epoch(true).await;
    loss_begins_a_new_epoch(false).await;
}

/// Commits a record under this key alone.
async fn commits(store: &dyn Store, key: &str) {
    let commit = puts(store, std::iter::once(key.to_owned())).await;
    store.commit(commit).await.unwrap();
}

#[tokio::test]
async fn a_store_notices_the_loss_of_what_it_has_just_committed() {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    commits(store.as_ref(), "kept").await;
    let copy = medium.kept.lock().clone();
    let commit = puts(store.as_ref(), std::iter::once("lost".to_owned())).await;
    let epoch = commit.epoch;
    store.commit(commit).await.unwrap();
    *medium.kept.lock() = copy;
    assert!(store.pulse(Pulse::default()).await.unwrap().epoch > epoch);
}

#[tokio::test]
async fn the_log_of_before_a_loss_goes_and_that_of_since_stays() {
    const LOG: u8 = b'e';
    let long = Duration::from_secs(86_400);
    let keep = Retention {
        log_age: long,
        log_entries_max: 1_000,
        tombstone_age: long,
        idempotency_age: long,
        idempotency_entries_max: 1_000,
    };
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    for key in 0..20 {
        commits(store.as_ref(), &key.to_string()).await;
    }
    let copy = medium.kept.lock().clone();
    commits(store.as_ref(), "lost").await;
    *medium.kept.lock() = copy;
    let begun = store.pulse(Pulse::default()).await.unwrap();
    commits(store.as_ref(), "next").await;
    assert_eq!(medium.count(LOG), 21);
    let done = store.housekeep(begun.epoch, keep).await.unwrap();
    assert_eq!((done.log_entries_trimmed, done.more, medium.count(LOG)), (20, false, 1));
    let page = store.log(begun.head, 9, Duration::ZERO).await.unwrap();
    assert!(!page.compacted && page.entries.len() == 1, "{page:?}");
}
