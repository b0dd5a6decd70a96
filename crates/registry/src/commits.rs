//! Commits: whole commits of some kinds behind a cursor, in their order, with the bytes that the store has.
//!
//! A watch shows records as they count, one change at a time. Whoever keeps another registry equal to this one needs what was
//! committed together as it was written, and has to hear when the log does not reach back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{LogEntry, RecordChange, RecordKind, StoreError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Registry;
use super::cursor::Cursor;

/// Most commits that are read at a time.
const BATCH: usize = 256;
/// How long whoever reads the log waits before a silent store is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Commits that follow each other in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitBatch {
    /// Cursor behind which the batch begins: `to` of the batch before.
    pub from: Cursor,
    /// Cursor up to which all was looked at, which may be behind the last of `commits`.
    pub to: Cursor,
    /// When the commit at `to` was made, by the store's clock.
    pub time: Millis,
    /// The commits that write a kind of the reader, in their order, with their changes of these kinds and without leases. Empty
    /// when others alone were made.
    pub commits: Vec<LogEntry>,
}

/// Reason why a reader cannot go on: what it has not read must be compared record by record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryCut {
    /// The log no longer reaches back to the cursor, or never came as far.
    #[error("the log does not reach back to the cursor")]
    Compacted,
    /// The cursor is of another epoch.
    #[error("the registry has begun a new epoch")]
    EpochChanged,
    /// The log has an entry that this version cannot read.
    #[error("the log has an entry that this version cannot read")]
    Unreadable,
}

/// Reader of the commits that write some kinds.
pub struct CommitReader {
    registry: Arc<Registry>,
    kinds: BTreeSet<RecordKind>,
    /// Everything up to here has been looked at.
    read: Cursor,
}

/// Reader of commits that reads one page ahead of whoever takes them, also while nobody waits for it.
pub struct CommitsAhead {
    read: mpsc::Receiver<Result<CommitBatch, HistoryCut>>,
    _reader: JoinSet<()>,
}

impl CommitsAhead {
    /// The commits behind those taken last, as of [`CommitReader::next`]; `None` behind a [`HistoryCut`]. Dropping the call loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Result<CommitBatch, HistoryCut>> {
        self.read.recv().await
    }
}

impl CommitReader {
    /// Begins behind `since`; a cursor within a commit begins with the whole of that commit.
    pub fn behind(
        registry: Arc<Registry>,
        kinds: impl IntoIterator<Item = RecordKind>,
        since: Cursor,
    ) -> Self {
        Self { registry, kinds: kinds.into_iter().collect(), read: Cursor::at(since.epoch, since.revision) }
    }

    /// Reads the commits behind those read last, at most a page of the log. Waits while there are none, and while the store does
    /// not answer. Dropping the call loses nothing.
    ///
    /// # Errors
    /// [`HistoryCut`], each time that it is called from then on.
    pub async fn next(&mut self) -> Result<CommitBatch, HistoryCut> {
        let mut heads = self.registry.view().follow_head();
        loop {
            let head = *heads.borrow_and_update();
            if head.epoch != self.read.epoch {
                return Err(HistoryCut::EpochChanged);
            }
            if head.revision != self.read.revision {
                let Some(entries) = self.registry.commits_behind(self.read, BATCH).await? else { continue };
                if let Some(last) = entries.last() {
                    let to = Cursor::at(self.read.epoch, last.revision);
                    let from = std::mem::replace(&mut self.read, to);
                    let commits = entries.iter().filter_map(|entry| self.of_kinds(entry)).collect();
                    return Ok(CommitBatch { from, to, time: last.at, commits });
                }
            }
            // The registry, and with it what tells of heads, lives as long as this reader.
            let _ = heads.changed().await;
        }
    }

    /// Reads ahead from now on, as long as that is not dropped.
    pub fn ahead(mut self) -> CommitsAhead {
        let (sender, read) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            loop {
                let read = self.next().await;
                let is_over = read.is_err();
                if sender.send(read).await.is_err() || is_over {
                    return;
                }
            }
        });
        CommitsAhead { read, _reader: reader }
    }

    /// Returns what a commit writes of the reader's kinds; `None`: nothing.
    fn of_kinds(&self, entry: &LogEntry) -> Option<LogEntry> {
        let of_kind = |change: &&RecordChange| self.kinds.contains(&change.after.id.kind);
        let changes: Vec<RecordChange> = entry.changes.iter().filter(of_kind).cloned().collect();
        let (revision, previous, at, writer) =
            (entry.revision, entry.previous, entry.at, entry.writer.clone());
        (!changes.is_empty()).then(|| LogEntry {
            revision,
            previous,
            at,
            writer,
            changes,
            ..LogEntry::default()
        })
    }
}

impl Registry {
    /// Reads the commits behind a cursor, at most `limit`; `None`: the store has not answered, and a moment has passed since.
    ///
    /// # Errors
    /// [`HistoryCut`].
    pub(crate) async fn commits_behind(
        &self,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Option<Vec<Arc<LogEntry>>>, HistoryCut> {
        match self.log_behind(cursor.revision, limit).await {
            Ok(page) if page.epoch != cursor.epoch => Err(HistoryCut::EpochChanged),
            Ok(page) if page.compacted => Err(HistoryCut::Compacted),
            Ok(page) => Ok(Some(page.entries)),
            Err(StoreError::Incompatible { .. }) => Err(HistoryCut::Unreadable),
            Err(_) => {
                tokio::time::sleep(RETRY).await;
                Ok(None)
            }
        }
    }
}
