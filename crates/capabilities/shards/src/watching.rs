//! Watching what becomes of shards.

use std::sync::Arc;

use omnirelay_nouns::feed::{EventFrame, NounEventStream, ShownChange, WatchedNoun};
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::ViewRecord;
use omnirelay_registry::watch::WatchStep;
use omnirelay_store::Revision;
use omnirelay_wire::fault::Fault;

use super::filter::ShardFilter;
use super::{Shards, history_of, pb};
use crate::shard_map_view::{SHARD, ShardLeads, show};
use pb::shard_diff_notification::Type;

impl Shards {
    pub(super) async fn serve_watch(
        &self,
        asked: pb::ShardWatchRequest,
    ) -> Result<NounEventStream<pb::ShardDiffNotification>, Fault> {
        let filter = ShardFilter::of(&asked.namespace, &asked.owner_node_id, &asked.statuses, &asked.search)?;
        let since = self.since(&asked).await?;
        let passes = move |record: &ViewRecord| filter.matches(record);
        let begun = self.watches.begin([SHARD], passes, &since).await?;
        Ok(begun.of(WatchedShards { registry: self.registry.clone() }).events())
    }

    /// Behind what is told: a cursor, or a position of the registry as it is.
    async fn since(&self, asked: &pb::ShardWatchRequest) -> Result<String, Fault> {
        if !asked.since.is_empty() || asked.resume_token == 0 {
            return Ok(asked.since.clone());
        }
        let position = u64::try_from(asked.resume_token)
            .map_err(|_| Fault::invalid("field `resumeToken` is no position: it is below 0"))?;
        self.registry.ready_for("").await?;
        let epoch = self.registry.view().head().epoch;
        Ok(Cursor::at(epoch, Revision(position)).to_string())
    }
}

/// Topic of shards in the stream of events: what is told of them.
pub fn topic(registry: Arc<Registry>) -> Topic {
    let noun = move || WatchedShards { registry: registry.clone() };
    Topic::of("shards", CHANGES, [SHARD], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: pb::EventData {
            shard: event.current,
            shard_history: event.history,
            ..pb::EventData::default()
        },
    })
}

/// Shards as those who watch them are told of them.
struct WatchedShards {
    registry: Arc<Registry>,
}

impl WatchedShards {
    fn shown(&self, record: &ViewRecord) -> Option<pb::ShardRecord> {
        show(&ShardLeads::of_one(self.registry.view(), &record.record.id), record)
    }
}

impl WatchedNoun for WatchedShards {
    type Event = pb::ShardDiffNotification;

    /// Nobody is sent to an owner that may be none after a failover.
    async fn settled(&self, step: &WatchStep) -> bool {
        self.registry.confirmations().lacking().is_none() && self.registry.outlives(step.entry.at).await
    }

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        let record = shown.record();
        let change = shown.step().and_then(|step| step.change());
        let position = shown.step().map_or(0, |step| step.entry.revision.0.cast_signed());
        Some(pb::ShardDiffNotification {
            position,
            current: record.and_then(|record| self.shown(record)),
            previous: change.and_then(|change| self.shown(change.before.as_ref()?)),
            history: record.and_then(|record| history_of(record)),
            r#type: frame.kind(Type::from_str_name),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
            more: frame.more,
        })
    }
}
