//! How little daemons are in each other's way that share a medium.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Epoch, GroupId, GroupRef, Idempotency, IdempotencyKey, OpenGroup, OpenedGroup, Pulse, PulseAnswer,
    RecordId, Retention, Scan, Store, StoreError, Write,
};

use super::{KIND, RowsInMemory, puts};
use crate::harness::epoch;

const GRACE: Duration = Duration::from_secs(16);
const SECOND: Duration = Duration::from_secs(1);
/// The row of whom the store has heard last, and what keys of groups begin with.
const HEARD: &[u8] = b"h";
const GROUPS: &[u8] = b"g";

async fn open(store: &dyn Store, id: &str, ttl: Duration) -> GroupRef {
    open_in(epoch(store).await, store, id, ttl).await
}

async fn open_in(epoch: Epoch, store: &dyn Store, id: &str, ttl: Duration) -> GroupRef {
    let (id, secret) = (GroupId(id.to_owned()), "secret".to_owned());
    let open = OpenGroup { epoch, id, ttl, secret };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("it is not opened") };
    group.of
}

async fn renew(store: &dyn Store, group: &GroupRef) -> PulseAnswer {
    let epoch = Some(epoch(store).await);
    let (renew, moved_since) = (vec![group.clone()], Millis(u64::MAX));
    let beat = store.pulse(Pulse { epoch, renew, moved_since, grace: GRACE, ttl: None }).await.unwrap();
    assert!(beat.renewed.iter().all(Option::is_some), "{beat:?}");
    beat
}

#[tokio::test]
async fn a_hundred_daemons_renew_at_once_and_none_is_in_the_way() {
    let medium = RowsInMemory::empty(None);
    let stores: Vec<_> = (0..100).map(|_| medium.store()).collect();
    let mut groups = Vec::new();
    for (number, store) in stores.iter().enumerate() {
        groups.push(open(store.as_ref(), &format!("n{number}"), GRACE).await);
    }
    renew(stores[0].as_ref(), &groups[0]).await;
    medium.clock.advance(SECOND);
    let before = medium.refused();
    join_all(stores.iter().zip(&groups).map(|(store, group)| renew(store.as_ref(), group))).await;
    assert_eq!(medium.refused(), before);
}

#[tokio::test]
async fn a_renewal_is_written_down_for_all_an_eighth_of_the_grace_behind_the_last() {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    let group = open(store.as_ref(), "n1", GRACE).await;
    let mut written = Vec::new();
    for _ in 0..7 {
        renew(store.as_ref(), &group).await;
        written.push(medium.changed_at(HEARD));
        medium.clock.advance(SECOND);
    }
    written.dedup();
    assert_eq!(written.len(), 3, "at 0, 3 and 6 seconds");
}

#[tokio::test]
async fn a_silence_is_noticed_in_time_and_no_renewal_as_seldom_as_may_be_is_one() {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    let keeper = open(store.as_ref(), "keeper", 10 * GRACE).await;
    let quiet = open(store.as_ref(), "quiet", 2 * SECOND).await;
    let mut commit = puts(store.as_ref(), std::iter::once("a".to_owned())).await;
    let id = RecordId::new(KIND, "a");
    commit.writes = vec![Write::Put { id, value: "x".into(), group: Some(quiet.clone()) }];
    store.commit(commit).await.unwrap();
    renew(store.as_ref(), &keeper).await;
    medium.clock.advance(SECOND);
    let last = renew(store.as_ref(), &keeper).await;
    // One ms more than half of the grace.
    medium.clock.advance(GRACE / 2 + Duration::from_millis(1));
    let seen = store.pulse(Pulse::default()).await.unwrap().grace.expect("a grace");
    assert!(seen.from <= last.now && last.now.since(seen.from) <= GRACE / 8, "{seen:?}, {last:?}");
    let broken = renew(store.as_ref(), &keeper).await;
    assert_eq!(broken.grace.map(|grace| grace.until), Some(broken.now.after(GRACE)));
    let scan = Scan { kind: KIND, after: None, backwards: false, limit: 9 };
    assert_eq!(store.scan(scan).await.unwrap().records.len(), 1, "it lived when somebody was heard last");
    for _ in 0..17 {
        medium.clock.advance(SECOND);
        renew(store.as_ref(), &keeper).await;
    }
    for every in [SECOND / 2, SECOND, 2 * SECOND, 3 * SECOND, 6 * SECOND] {
        for _ in 0..12 {
            medium.clock.advance(every);
            assert_eq!(renew(store.as_ref(), &keeper).await.grace, None, "every {every:?}");
        }
    }
}

#[tokio::test]
async fn what_judges_no_silence_waits_for_no_renewal() {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    let group = open(store.as_ref(), "n1", GRACE).await;
    renew(store.as_ref(), &group).await;
    let commit = puts(store.as_ref(), std::iter::once("a".to_owned())).await;
    *medium.others.rewrite.lock() = Some(HEARD.to_vec());
    let (epoch, before) = (commit.epoch, medium.refused());
    store.commit(commit).await.unwrap();
    let other = open_in(epoch, store.as_ref(), "n2", GRACE).await;
    store.close_group(epoch, other).await.unwrap();
    assert_eq!(medium.refused(), before);
}

/// A store with something to do for each part of housekeeping, and a group that goes on.
async fn with_all_to_keep(medium: &RowsInMemory) -> GroupRef {
    let store = medium.store();
    let store: &dyn Store = store.as_ref();
    let over = open(store, "over", SECOND).await;
    let live = open(store, "live", 100 * GRACE).await;
    let id = |key: &str| RecordId::new(KIND, key);
    let mut bound = puts(store, std::iter::once("bound".to_owned())).await;
    bound.writes = vec![Write::Put { id: id("bound"), value: "x".into(), group: Some(over) }];
    store.commit(bound).await.unwrap();
    let mut commit = puts(store, ["a".to_owned(), "b".to_owned()].into_iter()).await;
    let key = IdempotencyKey { principal: "p".into(), method: "m".into(), id: "1".into() };
    commit.idempotency = Some(Idempotency { key, request_hash: 1, answer: "x".into() });
    store.commit(commit).await.unwrap();
    let mut commit = puts(store, std::iter::empty()).await;
    commit.writes = vec![Write::Delete { id: id("a") }];
    store.commit(commit).await.unwrap();
    live
}

#[tokio::test]
async fn renewals_are_not_in_the_way_of_housekeeping() {
    let medium = RowsInMemory::empty(None);
    let live = with_all_to_keep(&medium).await;
    let store = medium.store();
    medium.clock.advance(10 * SECOND);
    let keep = Retention {
        log_age: SECOND,
        log_entries_max: 100,
        tombstone_age: SECOND,
        idempotency_age: SECOND,
        idempotency_entries_max: 100,
    };
    let epoch = epoch(store.as_ref()).await;
    *medium.others.rewrite.lock() = Some([GROUPS, live.id.0.as_bytes()].concat());
    let done = store.housekeep(epoch, keep).await.unwrap();
    assert_eq!((done.records_expired, done.answers_forgotten, done.tombstones_collected), (1, 1, 1));
    assert!(done.log_entries_trimmed >= 3, "{done:?}");
    store.housekeep(epoch, keep).await.unwrap();
    assert_eq!(medium.count(GROUPS[0]), 1, "the one that lives");
    medium.clock.advance(10 * SECOND);
    store.housekeep(epoch, keep).await.unwrap();
    let left: usize = b"aeimt".iter().map(|prefix| medium.count(*prefix)).sum();
    assert_eq!(left, 0);
    *medium.others.rewrite.lock() = None;
    let version = *medium.version.borrow();
    store.housekeep(epoch, keep).await.unwrap();
    assert_eq!(*medium.version.borrow(), version, "with nothing to do it writes nothing");
}

#[tokio::test]
async fn a_reader_of_the_log_who_is_woken_for_nothing_pauses() {
    let medium = RowsInMemory::empty(None);
    let store = medium.store();
    let head = store.pulse(Pulse::default()).await.unwrap().head;
    medium.others.wakes_early.store(true, Ordering::SeqCst);
    let before = medium.others.readings.load(Ordering::SeqCst);
    let page = store.log(head, 9, Duration::from_millis(500)).await.unwrap();
    assert!(page.entries.is_empty());
    let readings = medium.others.readings.load(Ordering::SeqCst) - before;
    assert!((2..30).contains(&readings), "{readings} readings in half a second");
}

#[tokio::test]
async fn renewals_that_are_made_are_not_told_as_unmade() {
    let medium = RowsInMemory::empty(None);
    let store: Arc<dyn Store> = medium.store();
    let group = open(store.as_ref(), "n1", GRACE).await;
    let beat = Pulse { epoch: Some(epoch(store.as_ref()).await), renew: vec![group], ..Pulse::default() };
    let version = *medium.version.borrow() + 1;
    medium.others.away_from.store(version, Ordering::SeqCst);
    let unknown = store.pulse(beat.clone()).await;
    assert!(matches!(unknown, Err(StoreError::OutcomeUnknown(_))), "{unknown:?}");
    assert_eq!(*medium.version.borrow(), version, "they were made");
    let unmade = store.pulse(beat).await;
    assert!(matches!(unmade, Err(StoreError::Unavailable(_))), "{unmade:?}");
}
