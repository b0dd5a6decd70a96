//! Batches: what is merged, where they begin and end, and what goes into one commit.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_cluster_records::domain::{DomainKind, DomainMembers, NamespacePlace};
use omnirelay_core::time::Millis;
use omnirelay_registry::commits::CommitBatch;
use omnirelay_registry::cursor::Cursor;
use omnirelay_store::{Epoch, LogEntry, Record, RecordChange, RecordId, RecordKind, Revision, Version};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::batches::{RECORDS_MAX, append, frames};
use super::records::DomainScope;
use pb::domain_frame::Told;

const THING: RecordKind = RecordKind::of("thing");
const EPOCH: Epoch = Epoch(7);

/// Of the domain `mesh`, which has all but `other`.
fn scope() -> DomainScope {
    let namespace = NamespacePlace::Key(|key| key.split('/').next().unwrap_or_default().to_owned());
    DomainScope {
        kinds: [DomainKind { kind: THING, namespace: Some(namespace) }].into(),
        members: DomainMembers::new("mesh", Vec::new(), vec!["other".to_owned()]),
    }
}

fn record(key: &str, revision: u64, value: &'static str) -> Record {
    Record {
        id: RecordId::new(THING, key),
        value: Bytes::from_static(value.as_bytes()),
        version: Version(revision),
        revision: Revision(revision),
        group: None,
        created_at: Millis(1),
        updated_at: Millis(revision),
        writer: Arc::from("n"),
        deleted: value.is_empty(),
    }
}

fn commit(revision: u64, records: Vec<Record>) -> LogEntry {
    let change = |after: Record| RecordChange {
        before: after.deleted.then(|| Record { deleted: false, ..after.clone() }),
        after,
        expired: false,
    };
    LogEntry {
        revision: Revision(revision),
        previous: Revision(revision - 1),
        at: Millis(revision),
        changes: records.into_iter().map(change).collect(),
        ..LogEntry::default()
    }
}

fn at(revision: u64) -> Cursor {
    Cursor::at(EPOCH, Revision(revision))
}

/// The batches of commits that were read behind `from` up to `to`, and what was announced before them.
fn sent(commits: Vec<LogEntry>, told: u64, (from, to): (u64, u64)) -> (Vec<String>, Vec<pb::DomainBatch>) {
    let read = CommitBatch { from: at(from), to: at(to), time: Millis(0), commits };
    let (mut announced, mut batches) = (Vec::new(), Vec::new());
    for told in frames(&read, &scope(), (at(told), at(to + 5), Millis(99))) {
        match told {
            Told::Announcement(one) => {
                assert!(batches.is_empty(), "what comes is announced before");
                announced.extend(one.records);
            }
            Told::Batch(batch) => batches.push(batch),
            Told::Hello(_) | Told::Beat(_) => panic!("only batches are made of commits"),
        }
    }
    (announced, batches)
}

#[test]
fn each_record_is_sent_once_as_the_last_commit_has_left_it() {
    let commits = vec![
        commit(11, vec![record("a/1", 11, "old"), record("a/2", 11, "kept")]),
        commit(12, vec![record("other/1", 12, "of another domain")]),
        commit(13, vec![record("a/1", 13, "new"), record("a/3", 13, "")]),
    ];
    let (announced, batches) = sent(commits, 8, (10, 15));
    assert_eq!(announced, ["thing/a/1", "thing/a/2", "thing/a/3"]);
    let [batch] = &batches[..] else { panic!("{batches:?}") };
    // From what was told, also where more was read since; up to what was looked at.
    assert_eq!((&*batch.from, &*batch.to), (&*at(8).to_string(), &*at(15).to_string()));
    assert_eq!((batch.commits, &*batch.head), (2, &*at(20).to_string()));
    let values: Vec<_> = batch.records.iter().map(|sent| (&*sent.key, sent.revision, sent.deleted)).collect();
    assert_eq!(values, [("a/1", 13, false), ("a/2", 11, false), ("a/3", 13, true)]);
    // Nothing of the domain: nothing is sent, and a beat tells how far it is.
    assert_eq!(sent(vec![commit(12, vec![record("other/1", 12, "v")])], 8, (10, 15)).1, []);
}

#[test]
fn the_newest_commit_is_at_least_the_last_that_was_read() {
    let read = CommitBatch {
        from: at(10),
        to: at(15),
        time: Millis(0),
        commits: vec![commit(12, vec![record("a/1", 12, "v")])],
    };
    // The view is behind the log.
    let sent = frames(&read, &scope(), (at(10), at(11), Millis(99)));
    let Some(Told::Batch(batch)) = sent.last() else { panic!("{sent:?}") };
    assert_eq!((&*batch.to, &*batch.head), (&*at(15).to_string(), &*at(15).to_string()));
}

#[test]
fn a_batch_ends_with_a_commit_and_the_next_begins_there() {
    let pairs = (1..=RECORDS_MAX as u64).map(|number| {
        let of = |part: u32| record(&format!("a/{number}-{part}"), 10 + number, "v");
        commit(10 + number, vec![of(1), of(2)])
    });
    let last = 10 + RECORDS_MAX as u64;
    let (announced, batches) = sent(pairs.collect(), 10, (10, last));
    assert_eq!((announced.len(), batches.len()), (2 * RECORDS_MAX, 2));
    let ends: Vec<_> = batches.iter().map(|batch| (batch.from.clone(), batch.to.clone())).collect();
    let middle = at(10 + RECORDS_MAX as u64 / 2).to_string();
    assert_eq!(ends, [(at(10).to_string(), middle.clone()), (middle, at(last).to_string())]);
    assert!(batches.iter().all(|batch| batch.records.len() == RECORDS_MAX));
}

#[test]
fn batches_that_follow_each_other_go_into_one_commit_while_there_is_room() {
    let of = |revision: u64, records: Vec<Record>| {
        let (_, mut batches) = sent(vec![commit(revision, records)], revision - 1, (revision - 1, revision));
        batches.remove(0)
    };
    let mut batch = of(11, vec![record("a/1", 11, "old"), record("a/2", 11, "kept")]);
    assert!(append(&mut batch, of(12, vec![record("a/1", 12, "new")])).is_none());
    let sent: Vec<_> = batch.records.iter().map(|sent| (&*sent.key, sent.revision)).collect();
    assert_eq!(sent, [("a/2", 11), ("a/1", 12)]);
    assert_eq!((&*batch.from, &*batch.to, batch.commits), (&*at(10).to_string(), &*at(12).to_string(), 2));

    let gap = of(14, vec![record("a/1", 14, "v")]);
    assert_eq!(append(&mut batch, gap.clone()), Some(gap), "what is between is not here");
    let many = (0..RECORDS_MAX).map(|number| record(&format!("b/{number}"), 13, "v")).collect();
    let many = of(13, many);
    assert_eq!(append(&mut batch, many.clone()), Some(many), "a commit has no room for more");
}
