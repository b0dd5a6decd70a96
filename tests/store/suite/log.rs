//! The log and housekeeping.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use omnirelay_store::{LogEntry, Retention, Revision, StoreError};
use tokio::runtime::Handle;

use super::{KEEP_ALL, Trial, commit, other_epochs, put};

async fn entries(t: &Trial, count: usize) -> Vec<Arc<LogEntry>> {
    let mut made = Vec::new();
    for number in 0..count {
        made.push(t.done(commit(vec![put(&format!("k{number}"), "x")])).await);
    }
    made
}

pub(super) async fn the_log_is_read_behind_a_revision(t: &mut Trial) {
    let made = entries(t, 5).await;
    assert_eq!(t.log(Revision(0)).await.entries, made);
    for (seen, entry) in made.iter().enumerate() {
        let page = t.log(entry.revision).await;
        assert_eq!((page.entries.as_slice(), page.compacted), (&made[seen + 1..], false));
        assert_eq!(page.head, made[4].revision);
    }
}

pub(super) async fn memory_tells_the_log_as_it_is(t: &mut Trial) {
    let made = entries(t, 5).await;
    let heads = [Revision(0)].into_iter().chain(made.iter().map(|entry| entry.revision));
    for (seen, head) in heads.enumerate() {
        // A store in another process has nothing in memory here.
        let Some(page) = t.plain().log_in_memory(head) else { continue };
        assert_eq!((page.entries.as_slice(), page.compacted), (&made[seen..], false));
        assert_eq!((page.head, page.epoch), (made[4].revision, t.log(head).await.epoch));
    }
}

pub(super) async fn a_log_page_keeps_to_its_limit(t: &mut Trial) {
    let made = entries(t, 5).await;
    let page = t.store.log(made[0].revision, 2, Duration::ZERO).await.expect("a page");
    assert_eq!((page.entries, page.head), (made[1..3].to_vec(), made[4].revision));
}

pub(super) async fn a_waiting_reader_wakes_with_the_next_commit(t: &mut Trial) {
    let head = entries(t, 1).await[0].revision;
    let store = Arc::clone(&t.store);
    let begin = Instant::now();
    let reader = tokio::spawn(async move { store.log(head, 10, Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!reader.is_finished(), "there was nothing to read yet");
    let entry = t.done(commit(vec![put("news", "x")])).await;
    let page = reader.await.expect("the reader ends").expect("a page");
    assert_eq!(page.entries, [entry]);
    assert!(begin.elapsed() < Duration::from_secs(10), "it woke, and did not wait on");
}

pub(super) async fn a_commit_that_races_a_wait_ends_it(t: &mut Trial) {
    const WAIT: Duration = Duration::from_secs(3);
    let begin = Instant::now();
    let mut head = entries(t, 1).await[0].revision;
    let commit_takes = begin.elapsed();
    for round in 0..200 {
        let (store, start) = (Arc::clone(&t.store), Arc::new(Barrier::new(2)));
        let (runtime, started) = (Handle::current(), Arc::clone(&start));
        // From before the commit to after it, a little later each time.
        let later = commit_takes * (round % 40) / 30;
        let reader = tokio::task::spawn_blocking(move || {
            started.wait();
            let begin = Instant::now();
            while begin.elapsed() < later {
                std::hint::spin_loop();
            }
            let begin = Instant::now();
            (runtime.block_on(store.log(head, 10, WAIT)), begin.elapsed())
        });
        start.wait();
        let entry = t.done(commit(vec![put("news", "x")])).await;
        let (page, waited) = reader.await.expect("the reader ends");
        assert!(waited < WAIT, "the reader of round {round} slept through the commit");
        head = entry.revision;
        assert_eq!(page.expect("a page").entries, [entry], "in round {round}");
    }
}

pub(super) async fn a_wait_ends_without_news(t: &mut Trial) {
    let head = entries(t, 1).await[0].revision;
    let begin = Instant::now();
    let waited = t.store.log(head, 10, Duration::from_millis(50));
    let page = tokio::time::timeout(Duration::from_secs(4), waited).await.expect("an end").expect("a page");
    assert_eq!((page.entries.len(), page.head, page.compacted), (0, head, false));
    assert!(begin.elapsed() >= Duration::from_millis(50));
}

pub(super) async fn a_reader_behind_the_trimmed_log_is_told(t: &mut Trial) {
    let made = entries(t, 5).await;
    let keep = Retention { log_entries_max: 2, ..KEEP_ALL };
    t.housekeep(keep).await;
    let page = t.log(made[1].revision).await;
    assert_eq!((page.compacted, page.entries.len(), page.head), (true, 0, made[4].revision));
    let page = t.log(made[2].revision).await;
    assert_eq!((page.compacted, page.entries), (false, made[3..].to_vec()), "it has seen all that went");
    let waited = t.store.log(Revision(0), 10, Duration::from_secs(20));
    let told = tokio::time::timeout(Duration::from_secs(10), waited).await.expect("at once").expect("a page");
    assert!(told.compacted);
}

pub(super) async fn a_reader_ahead_of_the_log_is_told(t: &mut Trial) {
    let head = entries(t, 2).await[1].revision;
    let ahead = t.store.log(Revision(head.0 + 1), 10, Duration::from_secs(20));
    let page = tokio::time::timeout(Duration::from_secs(10), ahead).await.expect("at once").expect("a page");
    assert!(page.compacted && page.entries.is_empty() && page.head == head);
}

pub(super) async fn the_log_is_trimmed_by_age_and_by_number(t: &mut Trial) {
    let old = entries(t, 4).await;
    t.advance(Duration::from_secs(8)).await;
    let young = entries(t, 3).await;
    assert_eq!(t.housekeep(KEEP_ALL).await.log_entries_trimmed, 0);
    let six = Retention { log_entries_max: 6, ..KEEP_ALL };
    assert_eq!(t.housekeep(six).await.log_entries_trimmed, 1, "the oldest");
    let recent = Retention { log_age: Duration::from_secs(6), ..KEEP_ALL };
    assert_eq!(t.housekeep(recent).await.log_entries_trimmed, 3);
    assert_eq!(t.log(old[3].revision).await.entries, young);
    assert_eq!(t.keys().await.len(), 4, "the records stay");
}

pub(super) async fn tombstones_are_collected_at_their_age(t: &mut Trial) {
    entries(t, 3).await;
    t.delete("k0").await;
    let keep = Retention { tombstone_age: Duration::from_secs(10), ..KEEP_ALL };
    t.advance(Duration::from_secs(6)).await;
    t.delete("k1").await;
    assert_eq!(t.housekeep(keep).await.tombstones_collected, 0, "too young");
    t.advance(Duration::from_secs(6)).await;
    let head = t.head().await;
    assert_eq!(t.housekeep(keep).await.tombstones_collected, 1);
    assert_eq!((t.keys().await, t.head().await), (vec!["k1".into(), "k2".into()], head));
    t.put("k1", "again").await;
    t.advance(Duration::from_secs(12)).await;
    assert_eq!(t.housekeep(keep).await.tombstones_collected, 0, "it was made anew");
}

pub(super) async fn housekeeping_without_work_changes_nothing(t: &mut Trial) {
    entries(t, 3).await;
    let before = (t.head().await, t.records().await);
    let step = t.housekeep(KEEP_ALL).await;
    assert_eq!(step, omnirelay_store::HousekeepingOutcome::default());
    assert_eq!((t.head().await, t.records().await), before);
}

pub(super) async fn housekeeping_of_another_epoch_is_refused(t: &mut Trial) {
    let made = entries(t, 3).await;
    let present = t.pulse(&[]).await.epoch;
    let keep = Retention { log_entries_max: 1, ..KEEP_ALL };
    for other in other_epochs(present) {
        match t.plain().housekeep(other, keep).await {
            Err(StoreError::EpochChanged { current }) => assert_eq!(current, present),
            told => panic!("{told:?}"),
        }
    }
    assert_eq!(t.log(Revision(0)).await.entries, made, "nothing has gone");
    assert_eq!(t.plain().housekeep(present, keep).await.expect("a step").log_entries_trimmed, 2);
}
