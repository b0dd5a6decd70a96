//! Topics: what a part of a node tells in the one stream of events, of records of its own kinds.

use std::pin::Pin;
use std::sync::Arc;

use omnirelay_identity::caller::Scope;
use omnirelay_registry::view::{ViewChange, ViewEntry, ViewRecord};
use omnirelay_registry::watch::WatchStep;
use omnirelay_store::RecordKind;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use parking_lot::RwLock;

use crate::feed::{EventFrame, ShownChange, WatchedNoun};

/// What happens to records of most kinds.
pub const CHANGES: &[&str] = &["added", "modified", "removed"];

/// Topic of events that a part of a node tells.
pub struct Topic {
    /// As in the types of its events, `omnirelay.<name>.<what>`.
    pub name: &'static str,
    /// What can happen.
    pub what: &'static [&'static str],
    /// Of which kinds the records are that it happens to.
    pub kinds: Vec<RecordKind>,
    /// What a caller must be allowed besides; such a topic is only told to those who ask for it.
    pub scope: Option<Scope>,
    shows: Box<dyn Fn(&ViewRecord) -> bool + Send + Sync>,
    parts: fn(&ViewEntry, &ViewChange) -> usize,
    teller: Box<dyn Fn() -> Box<dyn WatchedTopic> + Send + Sync>,
}

/// Event of a topic: what happened, and what it happened to.
pub struct TopicEvent {
    /// One of [`Topic::what`].
    pub what: &'static str,
    pub data: EventData,
}

impl Topic {
    /// Topic of what the watchers of a noun are told, as `told` has it; `noun` makes one for each of them.
    pub fn of<N: WatchedNoun + Sync>(
        name: &'static str,
        what: &'static [&'static str],
        kinds: impl Into<Vec<RecordKind>>,
        noun: impl Fn() -> N + Send + Sync + 'static,
        told: fn(N::Event) -> TopicEvent,
    ) -> Self {
        Self {
            name,
            what,
            kinds: kinds.into(),
            scope: None,
            shows: Box::new(|_| true),
            parts: N::parts,
            teller: Box::new(move || Box::new(OfNoun { noun: noun(), told })),
        }
    }

    /// Records that nobody watches otherwise, as `show` has them.
    pub fn of_records(
        name: &'static str,
        kinds: impl Into<Vec<RecordKind>>,
        show: fn(&ViewRecord) -> Option<EventData>,
    ) -> Self {
        Self {
            name,
            what: CHANGES,
            kinds: kinds.into(),
            scope: None,
            shows: Box::new(|_| true),
            parts: |_, _| 1,
            teller: Box::new(move || Box::new(OfRecords { show })),
        }
    }

    /// Only of records that anybody may see.
    #[must_use]
    pub fn showing(self, shows: impl Fn(&ViewRecord) -> bool + Send + Sync + 'static) -> Self {
        Self { shows: Box::new(shows), ..self }
    }

    /// Only for those who ask for it and hold this scope.
    #[must_use]
    pub fn for_holders_of(self, scope: Scope) -> Self {
        Self { scope: Some(scope), ..self }
    }

    /// Whether a record is one of those that it tells of.
    pub fn is_of(&self, record: &ViewRecord) -> bool {
        self.kinds.contains(&record.record.id.kind) && (self.shows)(record)
    }

    /// Number of events that a change is.
    pub fn parts(&self, entry: &ViewEntry, change: &ViewChange) -> usize {
        (self.parts)(entry, change)
    }

    /// Teller of the topic for one watcher.
    pub fn teller(&self) -> Box<dyn WatchedTopic> {
        (self.teller)()
    }
}

/// The topics of a node, each added by the part whose records it tells of.
#[derive(Default)]
pub struct Topics(RwLock<Vec<Arc<Topic>>>);

impl Topics {
    pub fn add(&self, topic: Topic) {
        self.0.write().push(Arc::new(topic));
    }

    /// All of them, in the order in which they were added.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.0.read().clone()
    }
}

/// Tells one watcher of a topic. As [`WatchedNoun`].
pub trait WatchedTopic: Send + Sync {
    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<TopicEvent>;

    fn settled<'a>(&'a self, step: &'a WatchStep) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    fn begin_look(&mut self);
}

struct OfRecords {
    show: fn(&ViewRecord) -> Option<EventData>,
}

impl WatchedTopic for OfRecords {
    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<TopicEvent> {
        Some(TopicEvent { what: frame.word(), data: (self.show)(shown.record()?)? })
    }

    fn settled<'a>(&'a self, _: &'a WatchStep) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(std::future::ready(true))
    }

    fn begin_look(&mut self) {}
}

struct OfNoun<N: WatchedNoun> {
    noun: N,
    told: fn(N::Event) -> TopicEvent,
}

impl<N: WatchedNoun + Sync> WatchedTopic for OfNoun<N> {
    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<TopicEvent> {
        self.noun.event(frame, shown).map(self.told)
    }

    fn settled<'a>(&'a self, step: &'a WatchStep) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.noun.settled(step))
    }

    fn begin_look(&mut self) {
        self.noun.begin_look();
    }
}
