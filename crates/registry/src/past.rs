//! The registry as it was at a moment, read back from the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, rfc3339, whole_ms};
use omnirelay_store::Revision;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Registry;
use super::cursor::Cursor;
use super::since::WatchSince;
use super::view::{UndoneChanges, View, ViewCopy};

/// How many commits are undone at most.
const UNDONE_MAX: u64 = 100_000;
/// How many bytes of keys and values are held at most while they are.
const UNDONE_BYTES_MAX: usize = 256 << 20;
/// How many commits are read at once.
const PAGE: usize = 256;
/// How many moments are kept for further pages and other lists, and for how long.
const KEPT_MAX: usize = 2;
const KEPT_FOR: Duration = Duration::from_secs(60);
/// How many callers may wait for a moment at once, the one that is read back among them.
pub(super) const WAITING_MAX: usize = 8;
/// How far a clock of a caller may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// Registry of a moment that is over.
#[derive(Clone)]
pub struct PastView {
    /// Store time.
    pub at: Millis,
    /// The newest commit in it.
    pub cursor: Cursor,
    /// Its records, but for those of kinds that are signed. Of groups and of who is heard of nothing is known.
    pub view: Arc<View>,
}

/// Moments that were asked for lately, and those who wait for another one.
pub(super) struct PastViews {
    kept: Arc<Mutex<VecDeque<PastView>>>,
    waiting: Semaphore,
    /// One at a time: each reads a part of the log, and holds what it finds.
    reading: tokio::sync::Mutex<()>,
}

impl Default for PastViews {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            waiting: Semaphore::new(WAITING_MAX),
            reading: tokio::sync::Mutex::default(),
        }
    }
}

impl PastViews {
    fn find(&self, is_it: impl Fn(&PastView) -> bool) -> Option<PastView> {
        self.kept.lock().iter().find(|past| is_it(past)).cloned()
    }

    /// Keeps a moment for a while.
    fn keep(&self, past: PastView) {
        let mut kept = self.kept.lock();
        let (view, held) = (Arc::downgrade(&past.view), Arc::downgrade(&self.kept));
        kept.push_back(past);
        let more = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..more);
        drop(kept);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            if let Some(held) = held.upgrade() {
                held.lock().retain(|past| !view.ptr_eq(&Arc::downgrade(&past.view)));
            }
        });
    }
}

impl Registry {
    /// Registry as it was at a time (RFC 3339), so long ago (`10m`), or behind a cursor. The view must have caught up.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for another text and a time to come; `HISTORY_NOT_KEPT` where the log does not reach back, or more has changed since
    /// than is undone; `LIMIT_EXHAUSTED` where too many wait for a moment; `EPOCH_CHANGED`; `STORE_UNAVAILABLE`.
    pub async fn past(&self, at: &str) -> Result<PastView, Fault> {
        let moment: WatchSince =
            at.parse().map_err(|error| Fault::invalid(format!("field `at`: {}", chain(&error))))?;
        if let WatchSince::Time(time) = moment
            && let Some(kept) = self.past.find(|kept| kept.at == time)
        {
            return Ok(kept);
        }
        self.past_of(moment).await
    }

    /// Registry as it was behind a cursor, as on an earlier page of a list.
    ///
    /// # Errors
    /// As of [`Self::past`].
    pub async fn past_behind(&self, cursor: Cursor) -> Result<PastView, Fault> {
        if let Some(kept) = self.past.find(|kept| kept.cursor == cursor) {
            return Ok(kept);
        }
        self.past_of(WatchSince::Cursor(cursor)).await
    }

    /// Waits for its turn, and reads a moment back.
    async fn past_of(&self, moment: WatchSince) -> Result<PastView, Fault> {
        if let WatchSince::Cursor(cursor) = moment {
            if cursor.epoch != self.view().head().epoch {
                return Err(self.other_epoch(cursor));
            }
            // Another daemon may have told of a commit that this one has yet to see; nobody waits behind that.
            self.ready_for(&cursor.to_string()).await?;
        }
        let _place = self.past.waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.past.reading.lock().await;
        let (cursor, at) = self.place_of(moment).await?;
        self.read_back(cursor, at).await
    }

    /// The newest commit at a moment, and its time.
    async fn place_of(&self, moment: WatchSince) -> Result<(Cursor, Millis), Fault> {
        let now = self.view().now();
        let time = match moment {
            WatchSince::Cursor(cursor) => return Ok((cursor, self.time_of(cursor.revision).await?)),
            WatchSince::Time(time) => time,
            WatchSince::Ago(ago) => Millis(now.0.saturating_sub(whole_ms(ago))),
        };
        if time > now.after(AHEAD_MAX) {
            return Err(Fault::invalid(format!("field `at`: {} is yet to come", rfc3339(time))));
        }
        let start = self.start_of(WatchSince::Time(time)).await?;
        let is_before_all = start.cursor.revision.0 == 0
            && self.time_behind(start.cursor.revision).await?.is_some_and(|oldest| time < oldest);
        if start.gap || is_before_all {
            return Err(self.not_kept().await);
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
        match self.time_behind(before).await? {
            Some(at) => Ok(at),
            None => Err(self.not_kept().await),
        }
    }

    /// Refuses a moment before the history, and says where that begins.
    async fn not_kept(&self) -> Fault {
        let begins = match self.start_of(WatchSince::Time(Millis(0))).await {
            Ok(start) => self.time_behind(start.cursor.revision).await.ok().flatten(),
            Err(_) => None,
        };
        let begins = begins.map_or_else(|| "now".to_owned(), rfc3339);
        let message = format!("the history does not reach back that far: it begins at {begins}");
        Fault::new(reasons::HISTORY_NOT_KEPT, message)
            .hint("ask for a later time; history.age and history.entriesMax say how much is kept")
    }

    /// Reads a moment back, unless it is kept.
    async fn read_back(&self, cursor: Cursor, at: Millis) -> Result<PastView, Fault> {
        if let Some(kept) = self.past.find(|kept| kept.cursor == cursor) {
            return Ok(PastView { at, ..kept });
        }
        let copy = self.view().copy();
        if copy.head.epoch != cursor.epoch {
            return Err(self.other_epoch(cursor));
        }
        if copy.head.revision.0.saturating_sub(cursor.revision.0) > UNDONE_MAX {
            return Err(self.too_much(Revision(copy.head.revision.0 - UNDONE_MAX)).await);
        }
        let undone = self.undone_since(cursor, &copy).await?;
        let undo = move || copy.undo(undone, at, cursor.revision);
        let view = tokio::task::spawn_blocking(undo).await.map_err(|error| unread(&chain(&error)))?;
        let past = PastView { at, cursor, view: Arc::new(view) };
        self.past.keep(past.clone());
        Ok(past)
    }

    async fn undone_since(&self, cursor: Cursor, copy: &ViewCopy) -> Result<UndoneChanges, Fault> {
        let (mut undone, mut after) = (UndoneChanges::default(), cursor.revision);
        while after < copy.head.revision {
            let page = self.log_behind(after, PAGE).await.map_err(|error| unread(&chain(&error)))?;
            if page.epoch != cursor.epoch {
                return Err(self.other_epoch(cursor));
            }
            if page.compacted {
                return Err(self.not_kept().await);
            }
            let Some(last) = page.entries.last().map(|entry| entry.revision) else {
                return Err(unread("the log ends before what this daemon has seen"));
            };
            let known = page.entries.iter().filter(|entry| entry.revision <= copy.head.revision);
            known.for_each(|entry| undone.take_in(entry));
            if undone.bytes() > UNDONE_BYTES_MAX {
                return Err(self.too_much(last).await);
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

    /// Refuses a moment since which more has changed than is undone; from `revision` on it may be less.
    async fn too_much(&self, revision: Revision) -> Fault {
        let from = self.time_of(revision).await.map_or_else(|_| "a later time".to_owned(), rfc3339);
        Fault::new(
            reasons::HISTORY_NOT_KEPT,
            "too much has changed since: 100,000 commits or 256 MiB are undone at most",
        )
        .hint(format!("ask for {from}, or later"))
    }
}

fn busy() -> Fault {
    Fault::new(
        reasons::LIMIT_EXHAUSTED,
        format!("{WAITING_MAX} callers wait for moments that are read back already"),
    )
    .hint("try again in a second, or ask another daemon")
}

fn unread(why: &str) -> Fault {
    Fault::new(reasons::STORE_UNAVAILABLE, format!("cannot read the history: {why}")).hint("try again")
}
