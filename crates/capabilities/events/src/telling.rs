//! Telling of what happened, as an event of `CloudEvents` 1.0.

use std::sync::Arc;

use omnirelay_nouns::feed::{EventFrame, ShownChange, WatchedNoun};
use omnirelay_nouns::notice::Notice;
use omnirelay_nouns::timestamp;
use omnirelay_nouns::topic::{Topic, TopicEvent, WatchedTopic};
use omnirelay_registry::audit_record::cause_of;
use omnirelay_registry::view::{ViewChange, ViewEntry, ViewRecord};
use omnirelay_registry::watch::WatchStep;
use omnirelay_store::RecordKind;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::request::WatchedTopics;

/// What stands before the type of every event.
pub(crate) const TYPE: &str = "omnirelay.";
/// The topic of the stream itself.
pub(crate) const STREAM: &str = "events";

/// Events of the registry, as one watcher is told of them.
pub(crate) struct WatchedEvents {
    wanted: Arc<WatchedTopics>,
    /// As `wanted.topics`.
    tellers: Vec<Box<dyn WatchedTopic>>,
    /// Of what is registered.
    source: String,
    /// Whether the caller may read the audit trail.
    sees_audit: bool,
}

impl WatchedEvents {
    /// `source` is whose events they are.
    pub(crate) fn new(wanted: Arc<WatchedTopics>, source: String, sees_audit: bool) -> Self {
        let tellers = wanted.topics.iter().map(|topic| topic.teller()).collect();
        Self { wanted, tellers, source, sees_audit }
    }

    /// The kinds of the records that are looked at.
    pub(crate) fn kinds(&self) -> Vec<RecordKind> {
        self.wanted.topics.iter().flat_map(|topic| topic.kinds.iter().cloned()).collect()
    }

    /// Which of its topics tells of a record.
    fn topic_of(&self, record: &ViewRecord) -> Option<usize> {
        self.wanted.topics.iter().position(|topic| topic.kinds.contains(&record.record.id.kind))
    }
}

impl WatchedNoun for WatchedEvents {
    type Event = pb::Event;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<pb::Event> {
        let Some(step) = shown.step() else {
            // A snapshot is no event: what is there is listed.
            return shown.record().is_none().then(|| of_stream(&self.source, &frame));
        };
        let at = self.topic_of(&step.record)?;
        let (step, topic) = (step.clone(), self.wanted.topics.get(at)?.clone());
        let told = self.tellers.get_mut(at)?.event(frame.clone(), shown)?;
        let cause =
            self.sees_audit.then(|| cause_of(&step.entry, &step.record.record.id, told.what)).flatten();
        Some(of_step(&self.source, frame, &step, &topic, told, cause.as_deref()))
    }

    async fn settled(&self, step: &WatchStep) -> bool {
        match self.topic_of(&step.record).and_then(|at| self.tellers.get(at)) {
            Some(teller) => teller.settled(step).await,
            None => true,
        }
    }

    fn begin_look(&mut self) {
        self.tellers.iter_mut().for_each(|teller| teller.begin_look());
    }
}

impl WatchedTopics {
    /// Number of events that a change makes.
    pub(crate) fn parts(&self, entry: &ViewEntry, change: &ViewChange) -> usize {
        let topic = self.topics.iter().find(|topic| topic.kinds.contains(&change.after.record.id.kind));
        topic.map_or(0, |topic| topic.parts(entry, change))
    }
}

/// What is the same in all events.
fn event(source: &str, id: String, topic: &str, what: &str) -> pb::Event {
    pb::Event {
        specversion: "1.0".to_owned(),
        id,
        source: source.to_owned(),
        r#type: format!("{TYPE}{topic}.{what}"),
        datacontenttype: "application/json".to_owned(),
        ..pb::Event::default()
    }
}

fn of_step(
    source: &str,
    frame: EventFrame,
    step: &WatchStep,
    topic: &Topic,
    told: TopicEvent,
    cause: Option<&AuditValue>,
) -> pb::Event {
    let subject = step.record.record.id.to_string();
    let part = if step.part == 0 { String::new() } else { format!("#{}", step.part) };
    // A record changes once in a commit, whatever else is watched.
    let id = format!("{}:{}/{subject}{part}", step.cursor.epoch, step.entry.revision);
    let word = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    pb::Event {
        subject: Some(subject),
        time: frame.time,
        data: Some(told.data),
        cursor: frame.cursor,
        actor: cause.and_then(|cause| word(&cause.actor)),
        action: cause.and_then(|cause| word(&cause.action)),
        reason: cause.and_then(|cause| word(&cause.reason)),
        ..event(source, id, topic.name, told.what)
    }
}

/// Event that tells of the stream itself: `synced`, `reset` or `progress`.
pub(crate) fn of_stream(source: &str, frame: &EventFrame) -> pb::Event {
    pb::Event {
        cursor: frame.cursor.clone(),
        reason: Some(frame.reason.clone()).filter(|reason| !reason.is_empty()),
        // It is given an id with its place.
        ..event(source, String::new(), STREAM, frame.word())
    }
}

/// Event that tells what a daemon has noticed of itself.
pub(crate) fn of_notice(source: &str, node_id: &str, notice: &Notice) -> pb::Event {
    pb::Event {
        subject: Some(format!("node/{node_id}")),
        time: Some(timestamp(notice.at)),
        data: Some(notice.data.clone()),
        ..event(source, notice.at.to_string(), notice.topic, notice.what)
    }
}
