//! Start of a watch: behind a cursor, at a time, or so long ago.

use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_store::{Revision, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use super::Registry;
use super::cursor::Cursor;

/// Start of a watch, as a caller says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchSince {
    Cursor(Cursor),
    Time(Millis),
    Ago(Duration),
}

/// The text is none of them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no cursor (`<epoch>:<revision>`), no time (`2026-11-20T06:00:00Z`) and no duration (`10m`)"
)]
pub struct NotSince(String);

impl FromStr for WatchSince {
    type Err = NotSince;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(cursor) = text.parse() {
            return Ok(Self::Cursor(cursor));
        }
        if let Ok(time) = humantime::parse_rfc3339(text) {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            return Ok(Self::Time(Millis(whole_ms(since))));
        }
        let ago = humantime::parse_duration(text).map(Self::Ago);
        ago.map_err(|_| NotSince(text.chars().take(64).collect()))
    }
}

impl WatchSince {
    /// Reads it off a request; empty is none.
    ///
    /// # Errors
    /// `INVALID_CURSOR`.
    pub fn of(text: &str) -> Result<Option<Self>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error: NotSince| {
            Fault::new(reasons::INVALID_CURSOR, chain(&error)).hint(
                "give a cursor as an answer's `cursor` field or an event's id gave it, a time, or nothing",
            )
        })
    }
}

/// Start of a watch in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchStart {
    pub cursor: Cursor,
    /// Something may have happened before it that was asked for and is not kept any more.
    pub gap: bool,
}

impl Registry {
    /// Finds where a watch begins. The view must have caught up.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`, when it is a time and the log cannot be read.
    pub async fn start_of(&self, since: WatchSince) -> Result<WatchStart, Fault> {
        let time = match since {
            WatchSince::Cursor(cursor) => return Ok(WatchStart { cursor, gap: false }),
            WatchSince::Time(time) => time,
            WatchSince::Ago(ago) => Millis(self.view().connectivity().now().0.saturating_sub(whole_ms(ago))),
        };
        if self.view().silence().is_some() {
            return Err(unread("it is silent"));
        }
        self.start_at(time).await.map_err(|error| unread(&chain(&error)))
    }

    /// The last place before everything that was committed at `time` or later: commits are in the order of time.
    async fn start_at(&self, time: Millis) -> Result<WatchStart, StoreError> {
        let head = self.view().head();
        let start = |revision, gap| WatchStart { cursor: Cursor::at(head.epoch, Revision(revision)), gap };
        // Behind `early` something is older, or not kept; behind `late` nothing is.
        let (mut early, mut late, mut gap) = (0, head.revision.0, false);
        match self.behind(Revision(early), time).await? {
            TimeRelation::Later => return Ok(start(early, false)),
            TimeRelation::Earlier => {}
            TimeRelation::NotKept => gap = true,
        }
        while late.saturating_sub(early) > 1 {
            let middle = early + (late - early) / 2;
            match self.behind(Revision(middle), time).await? {
                TimeRelation::Later => late = middle,
                TimeRelation::Earlier => (early, gap) = (middle, false),
                TimeRelation::NotKept => (early, gap) = (middle, true),
            }
        }
        Ok(start(late, gap))
    }

    async fn behind(&self, after: Revision, time: Millis) -> Result<TimeRelation, StoreError> {
        let page = self.log_behind(after, 1).await?;
        Ok(match page.entries.first() {
            _ if page.compacted => TimeRelation::NotKept,
            Some(entry) if entry.at < time => TimeRelation::Earlier,
            Some(_) | None => TimeRelation::Later,
        })
    }
}

/// Relation of the first commit behind a place to a time.
enum TimeRelation {
    Earlier,
    /// It is as late, or later, or there is none.
    Later,
    NotKept,
}

fn unread(why: &str) -> Fault {
    let message = format!("cannot look up a time in the history: {why}");
    Fault::new(reasons::STORE_UNAVAILABLE, message).hint("try again, or give a cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_a_time_and_a_duration_are_told_apart() {
        assert_eq!("ff:7".parse(), Ok(WatchSince::Cursor("ff:7".parse().unwrap())));
        assert_eq!("1970-01-01T00:00:02Z".parse(), Ok(WatchSince::Time(Millis(2000))));
        assert_eq!("1h 5m".parse(), Ok(WatchSince::Ago(Duration::from_secs(3900))));
        for text in ["yesterday", "7", "1:2:3", "2026-11-20"] {
            assert_eq!(text.parse::<WatchSince>(), Err(NotSince(text.to_owned())));
        }
        assert_eq!(WatchSince::of("").unwrap(), None);
        assert_eq!(WatchSince::of("nope").unwrap_err().reason, "INVALID_CURSOR");
    }
}
