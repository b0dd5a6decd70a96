//! Places of a watcher of events in each of their sources, and what it is told from there.

use omnirelay_core::time::Millis;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::watch::PROGRESS_EVERY;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tokio::time::Instant;

use super::request::WatchedTopics;
use super::telling::{STREAM, TYPE};

/// What notices are called in a cursor: the first that there were are the changes of readiness.
pub(crate) const READINESS: &str = "readiness";

/// Something that has happened, and where it stands.
pub(crate) enum PlacedEvent {
    /// In the log of the registry, at the event's cursor.
    InLog(pb::Event),
    /// In the notices of the daemon.
    Noticed(Millis, pb::Event),
}

/// The places of one watcher.
pub(crate) struct WatcherPlaces {
    /// As the text of a cursor.
    log: String,
    noticed: Millis,
    /// The cursor of the last event.
    last: String,
    told_at: Instant,
    /// Tells this stream from others, and what it says of itself each time from the last.
    stream: u64,
    said: u64,
}

impl WatcherPlaces {
    pub(crate) fn new(log: Cursor, noticed: Millis, stream: u64) -> Self {
        let mut places = Self {
            log: log.to_string(),
            noticed,
            last: String::new(),
            told_at: Instant::now(),
            stream,
            said: 0,
        };
        places.last = places.cursor();
        places
    }

    /// Event that is told of something: what happened, or that nothing else has for long; `None`: nothing is told.
    pub(crate) fn pass(&mut self, happened: PlacedEvent, wanted: &WatchedTopics) -> Option<pb::Event> {
        let event = match happened {
            PlacedEvent::InLog(event) => {
                // Inside a snapshot there is none.
                if !event.cursor.is_empty() {
                    self.log.clone_from(&event.cursor);
                }
                event
            }
            PlacedEvent::Noticed(at, event) => {
                self.noticed = at;
                event
            }
        };
        if wanted.is_wanted(&event) {
            return Some(self.put(event));
        }
        // Much may happen that is not for this watcher, and its place is to move with it.
        (self.told_at.elapsed() >= PROGRESS_EVERY).then(|| self.put(progress(&event)))
    }

    /// The event with its cursors.
    pub(crate) fn put(&mut self, event: pb::Event) -> pb::Event {
        let cursor = self.cursor();
        let prevcursor = std::mem::replace(&mut self.last, cursor.clone());
        self.told_at = Instant::now();
        let mut id = event.id;
        if event.r#type.strip_prefix(TYPE).is_some_and(|of| of.starts_with(STREAM)) {
            self.said += 1;
            id = format!("{cursor}/{:x}-{}", self.stream, self.said);
        }
        pb::Event { id, cursor, prevcursor, ..event }
    }

    fn cursor(&self) -> String {
        format!("{},{READINESS}={}", self.log, self.noticed)
    }
}

/// That everything up to here was looked at.
fn progress(event: &pb::Event) -> pb::Event {
    pb::Event {
        specversion: event.specversion.clone(),
        source: event.source.clone(),
        r#type: format!("{TYPE}{STREAM}.progress"),
        datacontenttype: event.datacontenttype.clone(),
        ..pb::Event::default()
    }
}
