//! Batches: commits that follow each other, merged, so that each record is sent once, as the last of them has left it.

use std::collections::BTreeMap;

use omnirelay_core::time::Millis;
use omnirelay_nouns::timestamp;
use omnirelay_registry::commits::CommitBatch;
use omnirelay_registry::cursor::Cursor;
use omnirelay_store::{LogEntry, Record, RecordId};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::records::{DomainScope, told};

/// How many records a batch has, and how many bytes of values, unless one commit alone has more.
pub(super) const RECORDS_MAX: usize = 200;
pub(super) const BYTES_MAX: usize = 2 << 20;

/// Records that some commits have left, and the last of those commits.
#[derive(Default)]
struct MergedCommits {
    records: BTreeMap<RecordId, Record>,
    bytes: usize,
    commits: u32,
    time_ms: u64,
}

impl MergedCommits {
    fn merge(&mut self, commit: &LogEntry, scope: &DomainScope) {
        let of_domain = |record: &Record, before: Option<&Record>| {
            let value =
                if record.deleted { before.map_or(&[][..], |before| &before.value) } else { &record.value };
            scope.has(&record.id, value)
        };
        let changed = commit.changes.iter().filter(|change| of_domain(&change.after, change.before.as_ref()));
        let mut is_of_domain = false;
        for change in changed {
            is_of_domain = true;
            let before = self.records.insert(change.after.id.clone(), change.after.clone());
            self.bytes += change.after.value.len();
            self.bytes -= before.map_or(0, |before| before.value.len());
        }
        self.commits += u32::from(is_of_domain);
        self.time_ms = commit.at.0;
    }
}

/// Frames of commits that were read: first which records they write, then the records.
///
/// The first batch begins behind `told`: what was read since is of no record of the domain.
pub(super) fn frames(
    read: &CommitBatch,
    scope: &DomainScope,
    (told_until, head, now): (Cursor, Cursor, Millis),
) -> Vec<pb::domain_frame::Told> {
    use pb::domain_frame::Told;
    let (mut batches, mut from) = (Vec::new(), told_until);
    // The log is read in the store, where it may be ahead of the view.
    let head = if head.epoch == read.to.epoch && head.revision < read.to.revision { read.to } else { head };
    let mut merged = MergedCommits::default();
    let mut push = |merged: &mut MergedCommits, to: Cursor| {
        let MergedCommits { records, commits, time_ms, .. } = std::mem::take(merged);
        batches.push(pb::DomainBatch {
            from: std::mem::replace(&mut from, to).to_string(),
            to: to.to_string(),
            time: Some(timestamp(Millis(time_ms))),
            commits,
            records: records.values().map(told).collect(),
            head: head.to_string(),
            head_time: Some(timestamp(now)),
        });
    };
    let mut last = read.from;
    for commit in &read.commits {
        let (records, bytes) =
            (merged.records.len() + commit.changes.len(), merged.bytes + commit_bytes(commit));
        if !merged.records.is_empty() && (records > RECORDS_MAX || bytes > BYTES_MAX) {
            push(&mut merged, last);
        }
        merged.merge(commit, scope);
        last = Cursor::at(read.to.epoch, commit.revision);
    }
    if !merged.records.is_empty() {
        push(&mut merged, read.to);
    }
    // What is behind the last commit of the domain was looked at as well.
    if let Some(batch) = batches.last_mut() {
        batch.to = read.to.to_string();
    }
    let announced = |batch: &pb::DomainBatch| {
        let records = batch.records.iter().map(|record| format!("{}/{}", record.kind, record.key)).collect();
        pb::DomainAnnouncement { cursor: batch.to.clone(), time: batch.time, records }
    };
    let announced: Vec<_> = batches.iter().map(announced).map(Told::Announcement).collect();
    announced.into_iter().chain(batches.into_iter().map(Told::Batch)).collect()
}

/// Appends a batch to the one before it; gives it back where both together are more than one has room for, or it does not follow.
pub(super) fn append(batch: &mut pb::DomainBatch, more: pb::DomainBatch) -> Option<pb::DomainBatch> {
    let records = batch.records.len() + more.records.len();
    let bytes: usize = batch.records.iter().chain(&more.records).map(|record| record.value.len()).sum();
    if batch.to != more.from || records > RECORDS_MAX || bytes > BYTES_MAX {
        return Some(more);
    }
    let is_other = |record: &pb::DomainRecord| {
        more.records.iter().all(|newer| (&newer.kind, &newer.key) != (&record.kind, &record.key))
    };
    batch.records.retain(is_other);
    batch.records.extend(more.records);
    batch.commits += more.commits;
    (batch.to, batch.time) = (more.to, more.time);
    (batch.head, batch.head_time) = (more.head, more.head_time);
    None
}

fn commit_bytes(commit: &LogEntry) -> usize {
    commit.changes.iter().map(|change| change.after.value.len()).sum()
}
