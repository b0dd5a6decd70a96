//! The newest events of a noun, so that a change is encoded once for all who watch it through the same filter.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::ViewRecord;
use omnirelay_registry::watch::{WatchEvent, WatchStep};
use omnirelay_wire::encoded::EncodedMessage;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;

/// How many events are kept for a noun.
const SLOTS: u64 = 256;
/// Longer ones are not kept, in bytes.
const BYTES_MAX: usize = 4096;
/// How long an event is told as it was made: it also says what does not stand in the log, such as how long something
/// will last.
const AGE_MAX: Duration = Duration::from_millis(500);

/// The newest events of a noun, in slots by revision; one that is not there is made again.
///
/// Those who have been told of different events before a change are not told the same of it, for an event names the
/// one before it.
pub(super) struct RecentEvents<E> {
    slots: Box<[Mutex<Option<RecentEvent<E>>>]>,
}

/// Event that was encoded not long ago.
struct RecentEvent<E> {
    id: EventId,
    made: Instant,
    event: EncodedMessage<E>,
}

/// Identity of an event: what makes two events the same, whoever is told of them.
pub(super) struct EventId {
    /// What is new for one filter was changed for another.
    sort: Discriminant<WatchEvent>,
    cursor: Cursor,
    previous: Cursor,
    /// What it tells of: behind different filters two changes of a commit may have one cursor. Those who read them off
    /// the view have the same one in memory.
    record: Arc<ViewRecord>,
    /// Which of the events of a change it is.
    part: usize,
}

impl EventId {
    /// Identity of an event which tells of this change.
    pub(super) fn of(told: &WatchEvent, step: &WatchStep) -> Self {
        let WatchStep { cursor, previous, part, .. } = *step;
        Self { sort: discriminant(told), cursor, previous, record: step.record.clone(), part }
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        (self.sort, self.cursor, self.previous, self.part)
            == (other.sort, other.cursor, other.previous, other.part)
            && Arc::ptr_eq(&self.record, &other.record)
    }
}

impl<E> Default for RecentEvents<E> {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}

impl<E: Message + Default> RecentEvents<E> {
    /// The event as it was made for another watcher a moment ago, or as `make` makes it.
    pub(super) fn get_or_make(
        &self,
        id: EventId,
        place: usize,
        make: impl FnOnce() -> Option<EncodedMessage<E>>,
    ) -> Option<EncodedMessage<E>> {
        let slot = (id.cursor.revision.0 + place as u64 + id.part as u64) % SLOTS;
        let Some(slot) = self.slots.get(slot as usize) else { return make() };
        // Held while it is made: whoever wants the same event would only do the same work beside it.
        let mut kept = slot.lock();
        let is_it = |kept: &&RecentEvent<E>| kept.id == id && kept.made.elapsed() < AGE_MAX;
        if let Some(kept) = kept.as_ref().filter(is_it) {
            return Some(kept.event.clone());
        }
        let event = make()?;
        if event.bytes().len() <= BYTES_MAX {
            *kept = Some(RecentEvent { id, made: Instant::now(), event: event.clone() });
        }
        Some(event)
    }
}
