//! Readers of whole commits, on the memory store.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_store::{
    Commit, CommitOutcome, Epoch, LogEntry, RecordId, RecordKind, Retention, Revision, Write,
};

use super::commits::{CommitReader, HistoryCut};
use super::cursor::Cursor;
use super::lab::LabRegistry;
use super::registry_test::{OTHER, THING, daemon, memory, put};

async fn commit(daemon: &LabRegistry, writes: Vec<Write>) -> Arc<LogEntry> {
    let (epoch, writer) = (daemon.registry.view().head().epoch, daemon.registry.node_id().into());
    let commit = Commit { epoch, writes, writer, ..Commit::default() };
    match daemon.registry.commit(commit).await.unwrap() {
        CommitOutcome::Done(entry) => entry,
        CommitOutcome::Replayed { .. } => panic!("it has no key"),
    }
}

fn head(daemon: &LabRegistry) -> Cursor {
    daemon.registry.view().head().cursor()
}

fn reader(daemon: &LabRegistry, kinds: &[RecordKind], since: Cursor) -> CommitReader {
    CommitReader::behind(daemon.registry.clone(), kinds.iter().cloned(), since)
}

/// The keys that each of the commits of the next batch writes.
async fn keys(reader: &mut CommitReader) -> Vec<Vec<String>> {
    let batch = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap();
    let keys = |entry: &LogEntry| entry.changes.iter().map(|change| change.after.id.key.clone()).collect();
    batch.commits.iter().map(keys).collect()
}

#[tokio::test]
async fn commits_come_whole_in_their_order_and_of_the_kinds_alone() {
    let daemon = daemon(&memory(), "a").await;
    let begin = head(&daemon);
    let first =
        commit(&daemon, vec![put(THING, "a", "value"), put(OTHER, "b", "value"), put(THING, "c", "value")])
            .await;
    commit(&daemon, vec![put(OTHER, "d", "value")]).await;
    let gone = Write::Delete { id: RecordId::new(THING, "a") };
    let last = commit(&daemon, vec![gone, put(THING, "e", "value")]).await;

    let batch = reader(&daemon, &[THING, OTHER], begin).next().await.unwrap();
    assert_eq!((batch.from, batch.to), (begin, head(&daemon)));
    assert_eq!(
        (&batch.commits[0], &batch.commits[2]),
        (&*first, &*last),
        "the bytes, versions and tombstones of the log"
    );
    assert_eq!(keys(&mut reader(&daemon, &[THING], begin)).await, [vec!["a", "c"], vec!["a", "e"]]);
    let mut of_nothing = reader(&daemon, &[RecordKind::of("nothing")], begin);
    let batch = of_nothing.next().await.unwrap();
    assert_eq!((batch.commits.len(), batch.to), (0, head(&daemon)), "it knows how far it has looked");
}

#[tokio::test]
async fn a_reader_goes_on_where_another_one_was() {
    let daemon = daemon(&memory(), "a").await;
    let mut first = reader(&daemon, &[THING], head(&daemon));
    commit(&daemon, vec![put(THING, "a", "value")]).await;
    let read = first.next().await.unwrap();
    commit(&daemon, vec![put(THING, "b", "value"), put(THING, "c", "value")]).await;
    assert_eq!(keys(&mut reader(&daemon, &[THING], read.to)).await, [["b", "c"]]);
    let within = Cursor { part: 1, ..read.to };
    assert_eq!(keys(&mut reader(&daemon, &[THING], within)).await, [["b", "c"]], "a commit is read whole");
    assert_eq!(keys(&mut first).await, [["b", "c"]]);
}

#[tokio::test]
async fn a_reader_waits_for_the_commits_of_others() {
    let store = memory();
    let (here, elsewhere) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let mut waiting = reader(&here, &[THING], head(&here));
    let read = tokio::spawn(async move { keys(&mut waiting).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!read.is_finished(), "nothing was committed");
    commit(&elsewhere, vec![put(THING, "a", "value")]).await;
    assert_eq!(read.await.unwrap(), [["a"]]);
}

#[tokio::test]
async fn more_than_a_page_is_read_without_a_gap() {
    let daemon = daemon(&memory(), "a").await;
    let mut reader = reader(&daemon, &[THING], head(&daemon));
    for at in 0..600 {
        commit(&daemon, vec![put(THING, &format!("{at:03}"), "value")]).await;
    }
    let (mut seen, mut to) = (Vec::new(), None);
    while seen.len() < 600 {
        let batch = reader.next().await.unwrap();
        assert!(to.is_none_or(|to| to == batch.from));
        to = Some(batch.to);
        seen.extend(batch.commits.into_iter().map(|entry| entry.changes[0].after.id.key.clone()));
    }
    assert_eq!(seen, (0..600).map(|at| format!("{at:03}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cut_history_is_told_and_never_passed_over() {
    let store = memory();
    let daemon = daemon(&store, "a").await;
    let begin = head(&daemon);
    for key in ["a", "b", "c"] {
        commit(&daemon, vec![put(THING, key, "value")]).await;
    }
    let keep = Retention {
        log_age: Duration::ZERO,
        log_entries_max: 1,
        tombstone_age: Duration::MAX,
        idempotency_age: Duration::ZERO,
        idempotency_entries_max: 0,
    };
    while store.housekeep(begin.epoch, keep).await.unwrap().more {}
    let mut cut = reader(&daemon, &[THING], begin);
    for _ in 0..2 {
        assert_eq!(cut.next().await, Err(HistoryCut::Compacted));
    }
    let ahead = Cursor::at(begin.epoch, Revision(head(&daemon).revision.0 + 9));
    assert_eq!(
        reader(&daemon, &[THING], ahead).next().await,
        Err(HistoryCut::Compacted),
        "it never came as far"
    );
    let other = Cursor { epoch: Epoch(begin.epoch.0 + 1), ..begin };
    assert_eq!(reader(&daemon, &[THING], other).next().await, Err(HistoryCut::EpochChanged));
}
