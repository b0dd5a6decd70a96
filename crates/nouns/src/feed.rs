//! The feed: what those who watch a noun are sent, made of the log in one place for all nouns of the registry.
//!
//! A noun says which records are watched, and what an event shows of one; the events of a feed, their order and their
//! cursors are the same for all.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use omnirelay_host::live::Live;
use omnirelay_host::places::{Places, TakenPlace};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::since::{WatchSince, WatchStart};
use omnirelay_registry::view::{ViewChange, ViewEntry, ViewRecord};
use omnirelay_registry::watch::{EventCounter, ResetReason, Watch, WatchEvent, WatchStep};
use omnirelay_store::{RecordKind, Revision};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::{Timestamp, timestamp};
use prost::Message;
use tonic::Status;

use self::recent::{EventId, RecentEvents};

mod recent;
#[cfg(test)]
mod reload_test;

/// The stream of a service.
pub type NounEventStream<T> = Pin<Box<dyn Stream<Item = Result<EncodedMessage<T>, Status>> + Send>>;

/// Noun whose records are watched: it makes events of the log for those who watch it.
pub trait WatchedNoun: Send + 'static {
    /// Event that the watchers are sent.
    type Event: Message + Default + 'static;

    /// The event that tells of something; `None`: it is not for them.
    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event>;

    /// How many events a change is; must not differ from one daemon to another.
    fn parts(_: &ViewEntry, _: &ViewChange) -> usize {
        1
    }

    /// Waits until a change may be told of. False: not all that belongs to it is known yet, and another watcher may be
    /// told more.
    fn settled(&self, _: &WatchStep) -> impl Future<Output = bool> + Send {
        async { true }
    }

    /// Told before each look at the registry: what was counted for the events of the last one is old.
    fn begin_look(&mut self) {}
}

/// Frame of an event: the fields that are the same in the events of all nouns.
#[derive(Clone, Debug, Default)]
pub struct EventFrame {
    /// The name that the type of the event has in every noun.
    name: &'static str,
    pub cursor: String,
    pub prev_cursor: String,
    pub time: Option<Timestamp>,
    /// Why a watch began anew.
    pub reason: String,
    /// Others of the same commit follow.
    pub more: bool,
}

impl EventFrame {
    /// The number of the type in an enumeration, of which this is `from_str_name`: nouns share the names, and not the
    /// numbers. 0 when it has no such name.
    pub fn kind<T: Into<i32>>(&self, from_str_name: fn(&str) -> Option<T>) -> i32 {
        from_str_name(self.name).map_or(0, Into::into)
    }

    /// The name that the type of the event has in every noun.
    pub fn word(&self) -> &'static str {
        self.name
    }

    /// Frame of the event that a watch begins anew.
    pub fn reset(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::of("reset") }
    }

    /// Frame of the event that ends a snapshot: from now on what comes behind `cursor` is told.
    pub fn synced(cursor: &Cursor) -> Self {
        at("synced", cursor, None)
    }

    fn of(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn of_step(name: &'static str, step: &WatchStep) -> Self {
        Self {
            cursor: step.cursor.to_string(),
            prev_cursor: step.previous.to_string(),
            time: Some(timestamp(step.at)),
            more: step.cursor.part > 0,
            ..Self::of(name)
        }
    }
}

/// Change that an event tells of.
pub enum ShownChange<'a> {
    /// No record.
    Nothing,
    /// A record of a snapshot.
    Record(&'a Arc<ViewRecord>),
    /// One that is new or was changed.
    Changed(&'a WatchStep),
    Removed(&'a WatchStep),
}

impl<'a> ShownChange<'a> {
    /// The record that is new, was changed, was there last, or is there.
    pub fn record(&self) -> Option<&'a Arc<ViewRecord>> {
        match self {
            Self::Nothing => None,
            Self::Record(record) => Some(record),
            Self::Changed(step) | Self::Removed(step) => Some(&step.record),
        }
    }

    /// The change that it is.
    pub fn step(&self) -> Option<&'a WatchStep> {
        match self {
            Self::Nothing | Self::Record(_) => None,
            Self::Changed(step) | Self::Removed(step) => Some(step),
        }
    }
}

/// The places of those who watch, of which there are so many.
#[derive(Clone)]
pub struct WatchPlaces(Places);

impl WatchPlaces {
    /// At most so many watches are served at once.
    pub fn new(watches_max: impl Into<Live<usize>>) -> Self {
        Self(Places::new(watches_max))
    }

    /// A place for one more; it is free again when it is dropped.
    ///
    /// # Errors
    /// `TOO_MANY_WATCHES` when there is none.
    pub fn take(&self) -> Result<TakenPlace, Fault> {
        self.0.take().ok_or_else(|| {
            let message = "this daemon serves as many watches as it may";
            Fault::new(reasons::TOO_MANY_WATCHES, message)
                .hint("watch on another daemon, or close watches that nobody reads")
        })
    }
}

/// The watches of a noun, by what they are sent.
pub struct NounWatches<E> {
    registry: Arc<Registry>,
    pub places: WatchPlaces,
    recent: Arc<RecentEvents<E>>,
}

impl<E: Message + Default + 'static> NounWatches<E> {
    /// At most so many are served at once.
    pub fn new(registry: Arc<Registry>, watches_max: impl Into<Live<usize>>) -> Self {
        Self { registry, places: WatchPlaces::new(watches_max), recent: Arc::default() }
    }

    /// Those of the same noun in another shape, which take the same places.
    pub fn reshaped<T: Message + Default + 'static>(&self) -> NounWatches<T> {
        NounWatches { registry: self.registry.clone(), places: self.places.clone(), recent: Arc::default() }
    }

    /// Begins to watch what `filter` lets through of these kinds, from `since` on, a cursor or a time; with a snapshot of
    /// each kind, in this order, when it is empty.
    ///
    /// # Errors
    /// When `since` is none, no place is free, or the registry was never read.
    pub async fn begin(
        &self,
        kinds: impl Into<Vec<RecordKind>>,
        filter: impl Fn(&ViewRecord) -> bool + Send + Sync + 'static,
        since: &str,
    ) -> Result<BegunWatch<E>, Fault> {
        let since = WatchSince::of(since)?;
        let place = self.places.take()?;
        self.registry.ready_for("").await?;
        let start = match since {
            Some(since) => Some(self.registry.start_of(since).await?),
            None => None,
        };
        // Whoever was shown nothing of what is not kept any more begins with what is there.
        let behind = |start: WatchStart| match start {
            WatchStart { cursor, gap: true } => Cursor { revision: Revision(0), part: 0, ..cursor },
            WatchStart { cursor, gap: false } => cursor,
        };
        Ok(self.begun(kinds, filter, start.map(behind), place))
    }

    /// The same of whoever has a place.
    pub fn begun(
        &self,
        kinds: impl Into<Vec<RecordKind>>,
        filter: impl Fn(&ViewRecord) -> bool + Send + Sync + 'static,
        behind: Option<Cursor>,
        place: TakenPlace,
    ) -> BegunWatch<E> {
        let watch = Watch::begin_all(self.registry.clone(), kinds.into(), Box::new(filter), behind);
        BegunWatch { watch, recent: self.recent.clone(), place }
    }
}

/// A watch that has begun.
pub struct BegunWatch<E> {
    watch: Watch,
    recent: Arc<RecentEvents<E>>,
    place: TakenPlace,
}

impl<E> BegunWatch<E> {
    /// Begins anew whenever `sense` is another, because the filter lets other records through than before.
    #[must_use]
    pub fn anew_with(self, sense: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { watch: self.watch.anew_with(Box::new(sense)), ..self }
    }

    /// Feed of what the watch tells of a noun.
    pub fn of<N: WatchedNoun<Event = E>>(self, noun: N) -> Feed<N> {
        Feed {
            watch: self.watch.with_parts(Box::new(N::parts)),
            recent: self.recent,
            noun,
            _place: self.place,
        }
    }
}

/// A noun in another shape: what its watchers are sent is made of its events, as far as they are any of theirs. What is
/// made of a change must not depend on what was made before.
pub struct ReshapedNoun<N, F> {
    pub noun: N,
    pub shape: F,
}

impl<N, F, T> WatchedNoun for ReshapedNoun<N, F>
where
    N: WatchedNoun + Sync,
    F: FnMut(N::Event) -> Option<T> + Send + Sync + 'static,
    T: Message + Default + 'static,
{
    type Event = T;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<T> {
        (self.shape)(self.noun.event(frame, shown)?)
    }

    fn parts(entry: &ViewEntry, change: &ViewChange) -> usize {
        N::parts(entry, change)
    }

    fn settled(&self, step: &WatchStep) -> impl Future<Output = bool> + Send {
        self.noun.settled(step)
    }

    fn begin_look(&mut self) {
        self.noun.begin_look();
    }
}

/// A watch being served; its place is free again when it is dropped.
pub struct Feed<N: WatchedNoun> {
    watch: Watch,
    recent: Arc<RecentEvents<N::Event>>,
    noun: N,
    _place: TakenPlace,
}

impl<N: WatchedNoun> Feed<N> {
    /// Its events; never ends.
    pub fn events(self) -> NounEventStream<N::Event> {
        Box::pin(unfold(self, |mut feed| async { Some((Ok(feed.next().await), feed)) }))
    }

    /// Tells each change as so many events.
    #[must_use]
    pub fn with_parts(self, parts: EventCounter) -> Self {
        Self { watch: self.watch.with_parts(parts), ..self }
    }

    /// The next event, made for this watcher alone. Dropping the call loses nothing, unless the noun has to wait until a
    /// change may be told of.
    pub async fn next_made(&mut self) -> N::Event {
        loop {
            if !self.watch.has_more() {
                self.noun.begin_look();
            }
            let told = self.watch.next().await;
            if let Some(step) = told.step() {
                self.noun.settled(step).await;
            }
            let (frame, shown) = framed(&told);
            if let Some(event) = self.noun.event(frame, shown) {
                return event;
            }
        }
    }

    /// Cursor at which the feed stands; `None`: within a snapshot.
    pub fn cursor(&self) -> Option<Cursor> {
        self.watch.cursor()
    }

    /// The next event.
    async fn next(&mut self) -> EncodedMessage<N::Event> {
        loop {
            if !self.watch.has_more() {
                self.noun.begin_look();
            }
            let told = self.watch.next().await;
            let shared = match told.step() {
                Some(step) if self.noun.settled(step).await => Some(step),
                Some(_) | None => None,
            };
            let mut make = || {
                let (frame, shown) = framed(&told);
                self.noun.event(frame, shown).map(EncodedMessage::from)
            };
            let event = match shared {
                Some(step) => self.recent.get_or_make(EventId::of(&told, step), step.place, make),
                None => make(),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }
}

/// Frame of an event of the watch, and the change that it tells of.
pub fn framed(told: &WatchEvent) -> (EventFrame, ShownChange<'_>) {
    match told {
        WatchEvent::Snapshot(record) => (EventFrame::of("snapshot"), ShownChange::Record(record)),
        WatchEvent::Synced { cursor } => (EventFrame::synced(cursor), ShownChange::Nothing),
        WatchEvent::Added(step) => (EventFrame::of_step("added", step), ShownChange::Changed(step)),
        WatchEvent::Modified(step) => (EventFrame::of_step("modified", step), ShownChange::Changed(step)),
        WatchEvent::Removed(step) => (EventFrame::of_step("removed", step), ShownChange::Removed(step)),
        WatchEvent::Reset(reason) => (EventFrame::reset(word_of(*reason)), ShownChange::Nothing),
        WatchEvent::Progress { cursor, previous } => {
            (at("progress", cursor, Some(previous)), ShownChange::Nothing)
        }
    }
}

fn at(name: &'static str, cursor: &Cursor, previous: Option<&Cursor>) -> EventFrame {
    let prev_cursor = previous.map(Cursor::to_string).unwrap_or_default();
    EventFrame { cursor: cursor.to_string(), prev_cursor, ..EventFrame::of(name) }
}

fn word_of(reason: ResetReason) -> &'static str {
    match reason {
        ResetReason::Compacted => "compacted",
        ResetReason::EpochChanged => "epoch_changed",
        ResetReason::SlowConsumer => "slow_consumer",
        ResetReason::FilterChanged => "sources_changed",
        ResetReason::ViewMended => "view_mended",
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::aeroarc::registry::v1::watch_event;
    use omnirelay_wire::pb::omnirelay::mesh::control::v1::{leader_event, peer_event};
    use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_event;
    use omnirelay_wire::pb::omnirelay::security::v1::audit_event;

    use super::*;

    #[test]
    fn every_noun_has_the_names_of_its_events() {
        for name in ["snapshot", "synced", "added", "modified", "removed", "reset", "progress"] {
            let frame = EventFrame::of(name);
            // Those of a change say what it means for the leadership.
            if !matches!(name, "added" | "modified" | "removed") {
                assert_ne!(frame.kind(leader_event::Type::from_str_name), 0, "{name} of leaders");
            }
            assert_ne!(frame.kind(peer_event::Type::from_str_name), 0, "{name} of peers");
            assert_ne!(frame.kind(advertisement_event::Type::from_str_name), 0, "{name} of advertisements");
            assert_ne!(frame.kind(watch_event::Type::from_str_name), 0, "{name} of relays and agents");
            assert_ne!(frame.kind(audit_event::Type::from_str_name), 0, "{name} of the trail");
        }
    }
}
