//! The registry on the memory store: two daemons, one mesh.

use crate::lab;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitOutcome, Epoch, LogEntry, MemoryStore, Record, RecordChange, RecordId, RecordKind,
    Retention, Revision, Store, Version, Write,
};
use parking_lot::Mutex;

use super::cursor::Cursor;
use super::follow::wait_for;
use super::lab::LabRegistry;
use super::other_registries::OtherRegistries;
use super::since::{WatchSince, WatchStart};
use super::view::{AppliedEntries, OrderedLoad, View};
use super::watch::{ResetReason, Watch, WatchEvent};
use super::{Registry, parse_cursor};

pub(super) const THING: RecordKind = RecordKind::of("thing");
pub(super) const OTHER: RecordKind = RecordKind::of("other");
static MIRRORED: [RecordKind; 1] = [THING];

pub(super) async fn daemon(store: &Arc<dyn Store>, node_id: &str) -> LabRegistry {
    LabRegistry::new(lab::registry(node_id, store.clone(), &MIRRORED)).await
}

pub(super) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::system())
}

pub(super) fn put(kind: RecordKind, key: &str, value: &str) -> Write {
    Write::Put { id: RecordId::new(kind, key), value: Bytes::from(value.to_owned()), group: None }
}

pub(super) async fn commit(registry: &Registry, writes: Vec<Write>) -> Revision {
    let writer = registry.node_id().into();
    let epoch = registry.view().head().epoch;
    match registry.commit(Commit { epoch, writes, writer, ..Commit::default() }).await.unwrap() {
        CommitOutcome::Done(entry) => entry.revision,
        CommitOutcome::Replayed { revision, .. } => revision,
    }
}

fn watch_all(daemon: &LabRegistry, since: Option<Cursor>) -> Watch {
    Watch::begin(daemon.registry.clone(), THING, Box::new(|_| true), since)
}

/// What an event is and of which record, with its cursors checked against those before it.
async fn told(watch: &mut Watch, last: &mut Cursor) -> String {
    let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap();
    let (word, step) = match event {
        WatchEvent::Snapshot(record) => return format!("snapshot {}", record.record.id.key),
        WatchEvent::Synced { cursor } => {
            *last = cursor;
            return "synced".to_owned();
        }
        WatchEvent::Reset(reason) => return format!("reset {reason:?}"),
        WatchEvent::Progress { cursor, previous } => {
            assert_eq!(previous, *last, "a progress event names the event before it");
            *last = cursor;
            return "progress".to_owned();
        }
        WatchEvent::Added(step) => ("added", step),
        WatchEvent::Modified(step) => ("modified", step),
        WatchEvent::Removed(step) => ("removed", step),
    };
    assert_eq!(step.previous, *last, "each event names the event before it");
    *last = step.cursor;
    format!("{word} {}", step.record.record.id.key)
}

#[tokio::test]
async fn a_commit_is_seen_at_once_by_its_daemon_and_soon_by_the_other() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let revision = commit(&a.registry, vec![put(THING, "x", "1")]).await;
    let id = RecordId::new(THING, "x");
    assert_eq!(a.registry.view().get(&id).unwrap().record.value, "1");
    wait_for(b.registry.view(), revision).await;
    assert_eq!(&*b.registry.view().get(&id).unwrap().record.writer, "a");
}

/// Registry of epoch 1, which is followed up to a commit, or not.
#[derive(Default)]
struct FollowedRegistry(Mutex<Option<Revision>>);

impl OtherRegistries for FollowedRegistry {
    fn reached(&self, _: &View, epoch: Epoch) -> Option<Revision> {
        self.0.lock().filter(|_| epoch == Epoch(1))
    }
}

#[tokio::test]
async fn a_minimum_revision_makes_a_read_wait_for_it_on_any_daemon() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let revision = commit(&a.registry, vec![put(THING, "x", "1")]).await;
    let cursor = Cursor::at(a.registry.view().head().epoch, revision).to_string();
    b.registry.ready_for(&cursor).await.unwrap();
    assert!(b.registry.view().get(&RecordId::new(THING, "x")).is_some());

    let elsewhere = Cursor::at(Epoch(1), revision).to_string();
    assert_eq!(b.registry.ready_for(&elsewhere).await.unwrap_err().reason, "EPOCH_CHANGED");

    // Of a registry that is followed here, it waits for what is followed.
    let followed = Arc::new(FollowedRegistry::default());
    b.registry.set_other_registries(followed.clone());
    assert_eq!(b.registry.ready_for(&elsewhere).await.unwrap_err().reason, "EPOCH_CHANGED");
    *followed.0.lock() = Some(Revision(revision.0 - 1));
    let waits = tokio::time::timeout(Duration::from_millis(50), b.registry.ready_for(&elsewhere));
    assert!(waits.await.is_err(), "not all is here");
    *followed.0.lock() = Some(revision);
    b.registry.ready_for(&elsewhere).await.unwrap();
    assert_eq!(parse_cursor("nonsense").unwrap_err().reason, "INVALID_CURSOR");
}

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_and_goes_on_without_a_gap() {
    let store = memory();
    let a = daemon(&store, "a").await;
    commit(&a.registry, vec![put(THING, "x", "1")]).await;
    let (mut watch, mut last) = (watch_all(&a, None), Cursor::default());
    commit(&a.registry, vec![put(THING, "x", "2"), put(THING, "y", "1")]).await;
    commit(&a.registry, vec![put(OTHER, "z", "1")]).await;
    commit(&a.registry, vec![Write::Delete { id: RecordId::new(THING, "x") }]).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(told(&mut watch, &mut last).await);
    }
    assert_eq!(seen, ["snapshot x", "synced", "modified x", "added y", "removed x"]);
}

#[tokio::test]
async fn a_watch_resumes_on_another_daemon_even_in_the_middle_of_a_commit() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let (mut first, mut last) = (watch_all(&a, None), Cursor::default());
    assert_eq!(told(&mut first, &mut last).await, "synced");
    commit(&a.registry, vec![put(THING, "x", "1"), put(THING, "y", "1"), put(THING, "z", "1")]).await;
    assert_eq!(told(&mut first, &mut last).await, "added x");
    drop(first);
    let revision = commit(&a.registry, vec![put(THING, "x", "2")]).await;
    wait_for(b.registry.view(), revision).await;
    let since = last.to_string().parse().unwrap();
    let mut second = watch_all(&b, Some(since));
    for expected in ["added y", "added z", "modified x"] {
        assert_eq!(told(&mut second, &mut last).await, expected);
    }
}

#[tokio::test]
async fn a_watch_behind_the_memory_is_served_from_the_log() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let (mut watch, mut last) = (watch_all(&a, None), Cursor::default());
    assert_eq!(told(&mut watch, &mut last).await, "synced");
    let count = 2500;
    for n in 0..count {
        commit(&a.registry, vec![put(THING, &format!("k{n:05}"), "1")]).await;
    }
    assert!(a.registry.view().recent(last.revision, 1).is_none(), "the view has forgotten the place");
    for n in 0..count {
        assert_eq!(told(&mut watch, &mut last).await, format!("added k{n:05}"));
    }
}

#[tokio::test]
async fn a_watch_behind_a_few_large_commits_is_served_from_the_log() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let (mut watch, mut last) = (watch_all(&a, None), Cursor::default());
    assert_eq!(told(&mut watch, &mut last).await, "synced");
    let (count, value) = (60, "x".repeat(1_000_000));
    for _ in 0..count {
        commit(&a.registry, vec![put(THING, "x", &value)]).await;
    }
    assert!(a.registry.view().recent(last.revision, 1).is_none(), "the view has forgotten the place");
    assert_eq!(told(&mut watch, &mut last).await, "added x");
    for _ in 1..count {
        assert_eq!(told(&mut watch, &mut last).await, "modified x");
    }
    assert_eq!(last.revision, a.registry.view().head().revision);
}

/// A commit behind the newest of a view, with a value of so many bytes for each record.
fn entry(view: &View, kind: RecordKind, values: &[usize]) -> LogEntry {
    let previous = view.head().revision;
    let revision = Revision(previous.0 + 1);
    let changes = values.iter().enumerate().map(|(number, bytes)| {
        let id = RecordId::new(kind.clone(), format!("{}-{number}", revision.0));
        let value = Bytes::from(vec![0; *bytes]);
        let after = Record {
            id,
            value,
            version: Version(1),
            revision,
            group: None,
            created_at: Millis(0),
            updated_at: Millis(0),
            writer: Arc::default(),
            deleted: false,
        };
        RecordChange { before: None, after, expired: false }
    });
    LogEntry { revision, previous, changes: changes.collect(), ..LogEntry::default() }
}

#[test]
fn a_view_remembers_commits_by_number_and_by_bytes() {
    const MIB: usize = 1024 * 1024;
    const UNKNOWN: RecordKind = RecordKind::of("unknown");
    static FOLLOWED: [RecordKind; 1] = [OTHER];
    let cases = [
        // what, kind, values of each commit, commits, how many are remembered
        ("small ones", THING, vec![10], 2000, 1024),
        ("large ones", THING, vec![MIB], 100, 32),
        ("several values each", THING, vec![MIB; 8], 20, 4),
        ("one that is too large by itself", THING, vec![MIB; 40], 3, 1),
        ("followed ones", OTHER, vec![MIB], 100, 32),
        ("ones that are not kept", UNKNOWN, vec![MIB], 100, 100),
    ];
    for (what, kind, values, count, remembered) in cases {
        let view = View::new(&MIRRORED).following(&FOLLOWED);
        // What was before a load does not count.
        for _ in 0..2 {
            view.replace(Epoch(1), Revision(10), OrderedLoad::default(), &[], |_| {});
            for _ in 0..count {
                assert_eq!(
                    view.apply(std::iter::once(&entry(&view, kind.clone(), &values))),
                    AppliedEntries::Yes,
                    "{what}"
                );
            }
            let oldest = Revision(view.head().revision.0 - remembered);
            let recent = view.recent(oldest, usize::MAX).map(|recent| recent.len() as u64);
            assert_eq!(recent, Some(remembered), "{what}");
            let before = Revision(oldest.0 - 1);
            assert!(view.recent(before, 1).is_none(), "{what}: it does not reach back further");
            assert!(
                view.list_at(&THING, oldest).is_some() && view.list_at(&THING, before).is_none(),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_reset_and_gets_a_snapshot() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let early =
        Cursor::at(a.registry.view().head().epoch, commit(&a.registry, vec![put(THING, "x", "0")]).await);
    for n in 0..2500 {
        commit(&a.registry, vec![put(THING, "x", &n.to_string())]).await;
    }
    let none = Duration::from_secs(0);
    let keep = Retention {
        log_age: none,
        log_entries_max: 1,
        tombstone_age: none,
        idempotency_age: none,
        idempotency_entries_max: 0,
    };
    let epoch = a.registry.view().head().epoch;
    while store.housekeep(epoch, keep).await.unwrap().more {}
    let (mut watch, mut last) = (watch_all(&a, Some(early)), early);
    for expected in ["reset Compacted", "snapshot x", "synced"] {
        assert_eq!(told(&mut watch, &mut last).await, expected);
    }
    let elsewhere = Cursor::at(Epoch(1), Revision(1));
    let (mut watch, mut last) = (watch_all(&a, Some(elsewhere)), elsewhere);
    assert_eq!(told(&mut watch, &mut last).await, format!("reset {:?}", ResetReason::EpochChanged));
}

#[tokio::test]
async fn a_watch_begins_at_a_time_as_far_as_the_log_reaches_back() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let start = async |time: Millis| a.registry.start_of(WatchSince::Time(time)).await.unwrap();
    assert_eq!(start(Millis(0)).await.cursor.revision, Revision(0));
    let mut times = Vec::new();
    for n in 0..7 {
        let revision = commit(&a.registry, vec![put(THING, "x", &n.to_string())]).await;
        let page = store.log(Revision(revision.0 - 1), 1, Duration::ZERO).await.unwrap();
        times.push((revision, page.entries[0].at));
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for (revision, at) in &times {
        let (this, next) = (start(*at).await, start(Millis(at.0 + 1)).await);
        assert_eq!((this.cursor.revision.0, this.gap), (revision.0 - 1, false));
        assert_eq!((next.cursor.revision, next.gap), (*revision, false));
    }
    assert_eq!(start(Millis(u64::MAX)).await.cursor.revision, times[6].0);

    let none = Duration::ZERO;
    let keep = Retention {
        log_age: Duration::from_secs(3600),
        log_entries_max: 3,
        tombstone_age: none,
        idempotency_age: none,
        idempotency_entries_max: 0,
    };
    let epoch = a.registry.view().head().epoch;
    while store.housekeep(epoch, keep).await.unwrap().more {}
    let kept = start(Millis(0)).await;
    assert!(kept.gap && kept.cursor.revision > Revision(0), "{kept:?}");
    let page = store.log(kept.cursor.revision, 1, none).await.unwrap();
    assert!(!page.compacted, "it is in the log");
    let (revision, at) = times[6];
    assert_eq!(
        start(at).await,
        WatchStart { cursor: Cursor::at(epoch, Revision(revision.0 - 1)), gap: false }
    );
}

#[tokio::test]
async fn leaving_and_entering_the_filter_is_removal_and_addition() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let red = Box::new(|record: &super::view::ViewRecord| record.record.value == "red");
    let (mut watch, mut last) = (Watch::begin(a.registry.clone(), THING, red, None), Cursor::default());
    for value in ["blue", "red", "red", "blue"] {
        commit(&a.registry, vec![put(THING, "x", value)]).await;
    }
    for expected in ["synced", "added x", "modified x", "removed x"] {
        assert_eq!(told(&mut watch, &mut last).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_says_how_far_it_has_looked() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let (mut watch, mut last) = (watch_all(&a, None), Cursor::default());
    assert_eq!(told(&mut watch, &mut last).await, "synced");
    let revision = commit(&a.registry, vec![put(OTHER, "x", "1")]).await;
    assert_eq!(told(&mut watch, &mut last).await, "progress");
    assert_eq!(last.revision, revision, "what others did has been looked at");
}

#[tokio::test]
async fn a_list_can_be_read_as_it_was() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let before = commit(&a.registry, vec![put(THING, "x", "1"), put(THING, "y", "1")]).await;
    commit(&a.registry, vec![Write::Delete { id: RecordId::new(THING, "x") }, put(THING, "z", "1")]).await;
    commit(&a.registry, vec![put(THING, "y", "2")]).await;
    let as_it_was = a.registry.view().list_at(&THING, before).unwrap();
    let shown: Vec<_> =
        as_it_was.records.iter().map(|r| (r.record.id.key.as_str(), r.record.value.as_ref())).collect();
    assert_eq!(shown, [("x", &b"1"[..]), ("y", &b"1"[..])]);
}

/// Keys and values of the things at a moment, or the reason why they are not known.
async fn things_at(daemon: &LabRegistry, at: &str) -> Result<Vec<(String, String)>, String> {
    let past = daemon.registry.past(at).await.map_err(|fault| fault.reason.into_owned())?;
    let shown = |record: &Arc<super::view::ViewRecord>| {
        let record = &record.record;
        (record.id.key.clone(), String::from_utf8(record.value.to_vec()).unwrap())
    };
    Ok(past.view.list(&THING).records.iter().map(shown).collect())
}

fn things(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_moment_that_is_over_is_read_back_from_the_log() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let first = commit(&a.registry, vec![put(THING, "x", "1"), put(THING, "y", "1")]).await;
    commit(&a.registry, vec![Write::Delete { id: RecordId::new(THING, "x") }, put(THING, "z", "1")]).await;
    let third = commit(&a.registry, vec![put(THING, "x", "2"), put(THING, "y", "2")]).await;
    // Beyond what the view keeps.
    for number in 0..1100 {
        commit(&a.registry, vec![put(THING, "n", &number.to_string())]).await;
    }
    let epoch = a.registry.view().head().epoch;
    let at = |revision: Revision| Cursor::at(epoch, revision).to_string();
    assert_eq!(things_at(&a, &at(first)).await, Ok(things(&[("x", "1"), ("y", "1")])));
    assert_eq!(things_at(&a, &at(Revision(first.0 + 1))).await, Ok(things(&[("y", "1"), ("z", "1")])));
    assert_eq!(things_at(&a, &at(third)).await, Ok(things(&[("x", "2"), ("y", "2"), ("z", "1")])));
    let head = a.registry.view().head().revision;
    assert_eq!(things_at(&a, &at(head)).await.unwrap().len(), 4);
    // It is kept for further pages, under the time that is asked for.
    let again = a.registry.past(&at(head)).await.unwrap();
    let page = a.registry.past_behind(Cursor::at(epoch, head)).await.unwrap();
    assert!(Arc::ptr_eq(&again.view, &page.view));
    let one = a.registry.past("0s").await.unwrap();
    tokio::time::sleep(Duration::from_millis(3)).await;
    let other = a.registry.past("0s").await.unwrap();
    assert!(Arc::ptr_eq(&one.view, &other.view) && one.at != other.at, "each has its own time");
    for (wrong, reason) in [
        ("yesterday", "INVALID_ARGUMENT"),
        ("2999-01-01T00:00:00Z", "INVALID_ARGUMENT"),
        ("2001-01-01T00:00:00Z", "HISTORY_NOT_KEPT"),
        ("ff:1", "EPOCH_CHANGED"),
    ] {
        assert_eq!(things_at(&a, wrong).await, Err(reason.to_owned()), "{wrong}");
    }
    let none = Duration::from_secs(0);
    let keep = Retention {
        log_age: none,
        log_entries_max: 1,
        tombstone_age: none,
        idempotency_age: none,
        idempotency_entries_max: 0,
    };
    while store.housekeep(epoch, keep).await.unwrap().more {}
    assert_eq!(things_at(&a, &at(first)).await, Err("HISTORY_NOT_KEPT".to_owned()));
    assert_eq!(things_at(&a, "1h").await, Err("HISTORY_NOT_KEPT".to_owned()));
}

#[tokio::test]
async fn a_cursor_that_the_log_never_reached_is_reset() {
    let store = memory();
    let a = daemon(&store, "a").await;
    commit(&a.registry, vec![put(THING, "x", "1")]).await;
    let beyond = Cursor::at(a.registry.view().head().epoch, Revision(1_000_000));
    let (mut watch, mut last) = (watch_all(&a, Some(beyond)), beyond);
    for expected in ["reset Compacted", "snapshot x", "synced"] {
        assert_eq!(told(&mut watch, &mut last).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_heard_in_order_however_many_commit() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let mut heads = a.registry.view().follow_head();
    let listener = tokio::spawn(async move {
        let mut last = Revision(0);
        while last < Revision(2000) {
            heads.changed().await.unwrap();
            let head = heads.borrow_and_update().revision;
            assert!(head >= last, "{head} was heard after {last}");
            last = head;
        }
    });
    let committers: Vec<_> = (0..4)
        .map(|number| {
            let registry = a.registry.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    commit(&registry, vec![put(THING, &format!("k{number}"), "1")]).await;
                }
            })
        })
        .collect();
    for committer in committers {
        committer.await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(20), listener).await.unwrap().unwrap();
    assert_eq!(a.registry.view().head().revision, Revision(2000));
}

#[tokio::test(start_paused = true)]
async fn the_last_possible_cursor_is_waited_for_like_any_other() {
    let store = memory();
    let a = daemon(&store, "a").await;
    let last = Cursor { epoch: a.registry.view().head().epoch, revision: Revision(u64::MAX), part: 1 };
    let text = last.to_string();
    let waited = tokio::time::timeout(Duration::from_secs(1), a.registry.ready_for(&text)).await;
    assert!(waited.is_err(), "nobody has seen that far");
}
