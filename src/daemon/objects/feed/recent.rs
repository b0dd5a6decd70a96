//! The newest events of a noun, so that a change is encoded once for all who watch it through the same filter.

use std::sync::{Mutex, PoisonError};

use omnirelay_wire::encoded::Encoded;

use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::watch::Step;

/// How many events are kept for a noun.
const SLOTS: u64 = 64;
/// Longer ones are not kept, in bytes.
const BYTES_MAX: usize = 16 * 1024;

/// The newest events of a noun, in slots by revision; one that is not there is made again.
pub struct Recent<E> {
    slots: Box<[Slot<E>]>,
}

type Slot<E> = Mutex<Option<(EventId, Encoded<E>)>>;

/// What makes two events the same, whoever is told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The type: what is new for one filter was changed for another.
    name: &'static str,
    cursor: Cursor,
    previous: Cursor,
    /// Which change of the commit it is, and which event of that change: behind different filters two of them may
    /// have one cursor.
    place: usize,
    part: usize,
}

impl EventId {
    /// That of a change.
    pub fn of(name: &'static str, step: &Step) -> Self {
        Self { name, cursor: step.cursor, previous: step.previous, place: step.place, part: step.part }
    }
}

impl<E> Default for Recent<E> {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}

impl<E> Recent<E> {
    /// The event as it was made for another watcher, or as `make` makes it.
    pub fn get_or_make(&self, id: EventId, make: impl FnOnce() -> Option<Encoded<E>>) -> Option<Encoded<E>> {
        let slot = (id.cursor.revision.0 + id.place as u64 + id.part as u64) % SLOTS;
        let Some(slot) = self.slots.get(slot as usize) else { return make() };
        // Held while it is made: whoever wants the same event would only do the same work beside it.
        let mut kept = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, event)) = kept.as_ref().filter(|(kept, _)| *kept == id) {
            return Some(event.clone());
        }
        let event = make()?;
        if event.bytes().len() <= BYTES_MAX {
            *kept = Some((id, event.clone()));
        }
        Some(event)
    }
}
