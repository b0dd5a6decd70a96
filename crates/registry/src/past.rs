//! The registry as it was at a moment, read back from the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_store::Revision;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Registry;
use super::cursor::Cursor;
use super::since::WatchSince;
use super::view::{UndoneChanges, View, ViewCopy};

/// How many commits are undone at most.
const UNDONE_MAX: u64 = 100_000;
/// How many bytes of values are held at most while they are.
const UNDONE_BYTES_MAX: usize = 256 << 20;
/// How many commits are read at once.
const PAGE: usize = 256;
/// How many moments are kept for further pages and other lists, and for how long.
const KEPT_MAX: usize = 2;
const KEPT_FOR: Duration = Duration::from_secs(60);
/// How far a clock of a caller may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// Registry of a moment that is over.
pub struct PastView {
    /// Store time.
    pub at: Millis,
    /// The newest commit in it.
    pub cursor: Cursor,
    /// Its records, but for those of kinds that are signed. Of groups and of who is heard of nothing is known.
    pub view: View,
}

/// Moments that were asked for lately, and who reads one back.
#[derive(Default)]
pub(super) struct PastViews {
    kept: Mutex<VecDeque<(Instant, Arc<PastView>)>>,
    /// One at a time: each reads a part of the log, and holds what it finds.
    reading: tokio::sync::Mutex<()>,
}

impl PastViews {
    fn get(&self, cursor: Cursor) -> Option<Arc<PastView>> {
        let mut kept = self.kept.lock();
        kept.retain(|(since, _)| since.elapsed() < KEPT_FOR);
        kept.iter().find(|(_, past)| past.cursor == cursor).map(|(_, past)| past.clone())
    }

    fn keep(&self, past: Arc<PastView>) {
        let mut kept = self.kept.lock();
        kept.push_back((Instant::now(), past));
        let more = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..more);
    }
}

impl Registry {
    /// Registry as it was: at a time (RFC 3339), so long ago (`10m`), or behind a cursor; `None` for an empty text. The view must have
    /// caught up.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for another text and a time to come; `HISTORY_NOT_KEPT` where the log does not reach back, or more has changed since than is
    /// undone; `EPOCH_CHANGED`; `STORE_UNAVAILABLE`.
    pub async fn past(&self, at: &str) -> Result<Option<Arc<PastView>>, Fault> {
        if at.is_empty() {
            return Ok(None);
        }
        let moment: WatchSince =
            at.parse().map_err(|error| Fault::invalid(format!("field `at`: {}", chain(&error))))?;
        let (cursor, time) = self.place_of(moment).await?;
        if let Some(kept) = self.past.get(cursor) {
            return Ok(Some(kept));
        }
        let _turn = self.past.reading.lock().await;
        if let Some(kept) = self.past.get(cursor) {
            return Ok(Some(kept));
        }
        let past = Arc::new(self.read_back(cursor, time).await?);
        self.past.keep(past.clone());
        Ok(Some(past))
    }

    /// The newest commit at a moment, and its time.
    async fn place_of(&self, moment: WatchSince) -> Result<(Cursor, Millis), Fault> {
        let (head, now) = (self.view().head(), self.view().now());
        let time = match moment {
            WatchSince::Cursor(cursor) if cursor.epoch != head.epoch => return Err(self.other_epoch(cursor)),
            WatchSince::Cursor(cursor) => return Ok((cursor, self.time_of(cursor.revision).await?)),
            WatchSince::Time(time) => time,
            WatchSince::Ago(ago) => Millis(now.0.saturating_sub(omnirelay_core::time::whole_ms(ago))),
        };
        if time > now.after(AHEAD_MAX) {
            return Err(Fault::invalid(format!("field `at`: {} is yet to come", rfc3339(time))));
        }
        let start = self.start_of(WatchSince::Time(time)).await?;
        let oldest = self.time_behind(start.cursor.revision).await?;
        let is_before_all = start.cursor.revision.0 == 0 && oldest.is_some_and(|oldest| time < oldest);
        if start.gap || is_before_all {
            return Err(not_kept(oldest.unwrap_or(now)));
        }
        Ok((start.cursor, time))
    }

    /// Time of the first commit behind a place; `None`: there is none.
    async fn time_behind(&self, revision: Revision) -> Result<Option<Millis>, Fault> {
        let page = self.log_behind(revision, 1).await.map_err(|error| unread(&chain(&error)))?;
        Ok(page.entries.first().map(|entry| entry.at))
    }

    /// Time of a commit.
    async fn time_of(&self, revision: Revision) -> Result<Millis, Fault> {
        let before = Revision(revision.0.saturating_sub(1));
        let page = self.log_behind(before, 1).await.map_err(|error| unread(&chain(&error)))?;
        match page.entries.first().filter(|entry| entry.revision == revision) {
            Some(entry) => Ok(entry.at),
            None => Err(Fault::new(
                reasons::HISTORY_NOT_KEPT,
                format!("the history has no commit {revision} any more"),
            )),
        }
    }

    async fn read_back(&self, cursor: Cursor, at: Millis) -> Result<PastView, Fault> {
        let copy = self.view().copy();
        let behind = copy.head.revision.0.saturating_sub(cursor.revision.0);
        if copy.head.epoch != cursor.epoch {
            return Err(self.other_epoch(cursor));
        }
        if behind > UNDONE_MAX {
            return Err(too_much(&format!("{behind} changes")));
        }
        let undone = self.undone_since(cursor, &copy).await?;
        let view = copy.undo(undone, at, cursor.revision);
        Ok(PastView { at, cursor, view })
    }

    async fn undone_since(&self, cursor: Cursor, copy: &ViewCopy) -> Result<UndoneChanges, Fault> {
        let (mut undone, mut after) = (UndoneChanges::default(), cursor.revision);
        while after < copy.head.revision {
            let page = self.log_behind(after, PAGE).await.map_err(|error| unread(&chain(&error)))?;
            if page.epoch != cursor.epoch {
                return Err(self.other_epoch(cursor));
            }
            if page.compacted {
                return Err(Fault::new(
                    reasons::HISTORY_NOT_KEPT,
                    "the history does not reach back that far any more",
                ));
            }
            let Some(last) = page.entries.last().map(|entry| entry.revision) else { break };
            let known = page.entries.iter().filter(|entry| entry.revision <= copy.head.revision);
            known.for_each(|entry| undone.take_in(entry));
            if undone.bytes() > UNDONE_BYTES_MAX {
                return Err(too_much("256 MiB of changes"));
            }
            after = last;
        }
        Ok(undone)
    }

    fn other_epoch(&self, cursor: Cursor) -> Fault {
        let head = self.view().head().epoch;
        let message = format!("the registry has begun anew since: {cursor} is of another epoch than {head}");
        Fault::new(reasons::EPOCH_CHANGED, message)
    }
}

fn not_kept(oldest: Millis) -> Fault {
    let message = format!("the history does not reach back that far: it begins at {}", rfc3339(oldest));
    Fault::new(reasons::HISTORY_NOT_KEPT, message)
        .hint("ask for a later time; history.age and history.entriesMax say how much is kept")
}

fn too_much(what: &str) -> Fault {
    Fault::new(reasons::HISTORY_NOT_KEPT, format!("too much has changed since: {what}"))
        .hint("ask for a later time")
}

fn unread(why: &str) -> Fault {
    Fault::new(reasons::STORE_UNAVAILABLE, format!("cannot read the history: {why}")).hint("try again")
}
