//! The trail as it grows.

use std::sync::Arc;

use omnirelay_identity::caller::Scope;
use omnirelay_nouns::feed::{EventFrame, NounEventStream, ShownChange, WatchedNoun};
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;

use super::heads::ChainHeads;
use super::shape::{TrailFilter, TrailQuery, show};
use super::{Audit, pb};
use pb::audit_event::Type;

impl Audit {
    pub(super) async fn serve_watch(
        &self,
        asked: pb::WatchAuditRecordsRequest,
    ) -> Result<NounEventStream<pb::AuditEvent>, Fault> {
        let pb::WatchAuditRecordsRequest { actor, action, object, node_id, .. } = &asked;
        let filter = TrailFilter::of(TrailQuery { actor, action, object, node_id }, None, None)?;
        let filter = move |record: &ViewRecord| {
            record.value::<AuditValue>().is_some_and(|value| filter.matches(&value))
        };
        // No record is held in memory, so a snapshot is empty.
        let begun = self.watches.begin([AUDIT], filter, &asked.since).await?;
        Ok(begun.of(WatchedTrail { heads: self.heads.clone() }).events())
    }
}

/// Topic of the audit trail in the stream of events: what is told of it.
pub fn topic(heads: Arc<ChainHeads>) -> Topic {
    let noun = move || WatchedTrail { heads: heads.clone() };
    let topic = Topic::of("audit", CHANGES, [AUDIT], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: EventData { record: event.record, ..EventData::default() },
    });
    topic.for_holders_of(Scope::MeshAdmin)
}

/// Trail as those who watch it are told of it.
struct WatchedTrail {
    heads: Arc<ChainHeads>,
}

impl WatchedNoun for WatchedTrail {
    type Event = pb::AuditEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        let record = shown.record().map(|record| {
            let value = record.value::<AuditValue>().map(|value| AuditValue::clone(&value));
            let value = value.unwrap_or_default();
            let through = self.heads.through(&value.node_id);
            show(&record.record, value, through)
        });
        Some(pb::AuditEvent {
            r#type: frame.kind(Type::from_str_name),
            record,
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}
