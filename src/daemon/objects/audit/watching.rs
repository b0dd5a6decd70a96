//! The trail as it grows.

use std::sync::Arc;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use tokio::sync::OwnedSemaphorePermit;

use super::shape::{Filter, show};
use super::{Audit, pb, timestamp};
use crate::daemon::audit::AUDIT;
use crate::daemon::audit::heads::Heads;
use crate::daemon::objects::watch_place;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::parse_cursor;
use crate::daemon::registry::view::ViewRecord;
use crate::daemon::registry::watch::{ResetReason, Step, Watch, WatchEvent};
use pb::audit_event::Type;

/// A watch being served; its place is free again when it is dropped.
pub struct Running {
    watch: Watch,
    /// Told first when there was no cursor to resume from.
    synced: Option<Cursor>,
    heads: Arc<Heads>,
    _place: OwnedSemaphorePermit,
}

impl Audit {
    pub(super) async fn begin_watch(&self, asked: pb::WatchAuditRecordsRequest) -> Result<Running, Fault> {
        let since = parse_cursor(&asked.since)?;
        let place = watch_place(&self.watches)?;
        self.registry.ready_for("").await?;
        let head = self.registry.view().head();
        let now = Cursor::at(head.epoch, head.revision);
        let filter = Filter { actor: asked.actor, action: asked.action, object: asked.object, since: None };
        let filter = Box::new(move |record: &ViewRecord| {
            record.value::<AuditValue>().is_some_and(|value| filter.matches(&value))
        });
        let watch = Watch::begin(self.registry.clone(), AUDIT, filter, Some(since.unwrap_or(now)));
        let synced = since.is_none().then_some(now);
        Ok(Running { watch, synced, heads: self.heads.clone(), _place: place })
    }
}

impl Running {
    /// The next event. Never ends.
    pub async fn next(&mut self) -> pb::AuditEvent {
        if let Some(cursor) = self.synced.take() {
            return plain(Type::Synced, cursor, None);
        }
        loop {
            return match self.watch.next().await {
                // No record is held in memory, so a snapshot is empty.
                WatchEvent::Snapshot(_) => continue,
                WatchEvent::Synced { cursor } => plain(Type::Synced, cursor, None),
                WatchEvent::Progress { cursor, previous } => plain(Type::Progress, cursor, Some(previous)),
                WatchEvent::Added(step) => self.step(Type::Added, &step),
                WatchEvent::Modified(step) => self.step(Type::Modified, &step),
                WatchEvent::Removed(step) => self.step(Type::Removed, &step),
                WatchEvent::Reset(reason) => {
                    let reason = match reason {
                        ResetReason::Compacted => "compacted",
                        ResetReason::EpochChanged => "epoch_changed",
                        ResetReason::SlowConsumer => "slow_consumer",
                    };
                    let reason = reason.to_owned();
                    pb::AuditEvent { r#type: Type::Reset.into(), reason, ..Default::default() }
                }
            };
        }
    }

    fn step(&self, kind: Type, step: &Step) -> pb::AuditEvent {
        let value = step.record.value::<AuditValue>().map(|value| AuditValue::clone(&value));
        let value = value.unwrap_or_default();
        let through = self.heads.through(&value.node_id);
        pb::AuditEvent {
            time: Some(timestamp(step.at)),
            record: Some(show(&step.record.record, value, through)),
            ..plain(kind, step.cursor, Some(step.previous))
        }
    }
}

fn plain(kind: Type, cursor: Cursor, previous: Option<Cursor>) -> pb::AuditEvent {
    pb::AuditEvent {
        r#type: kind.into(),
        cursor: cursor.to_string(),
        prev_cursor: previous.map(|previous| previous.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}
