//! Watches of advertisements: what the log says of those that anybody may see.

use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;
use tokio::sync::OwnedSemaphorePermit;

use super::pb;
use super::reading::Showing;
use super::{ADVERTISEMENT, parts};
use crate::daemon::objects::listing::is_among;
use crate::daemon::objects::{reset_word, timestamp};
use crate::daemon::registry::Registry;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::view::ViewRecord;
use crate::daemon::registry::watch::{Step, Watch, WatchEvent};
use pb::advertisement_event::Type;

/// A watch being served; its place is free again when it is dropped.
pub struct Running {
    watch: Watch,
    registry: Arc<Registry>,
    _place: OwnedSemaphorePermit,
}

/// Begins to watch the public advertisements of these registers and sources; empty means all.
pub fn begin(
    registry: Arc<Registry>,
    place: OwnedSemaphorePermit,
    asked: pb::WatchAdvertisementsRequest,
    since: Option<Cursor>,
) -> Running {
    let pb::WatchAdvertisementsRequest { register_id: registers, source: sources, .. } = asked;
    let filter = move |record: &ViewRecord| {
        let Some((source, register, _)) = parts(&record.record.id) else { return false };
        is_among(&registers, register)
            && is_among(&sources, source)
            && record.value::<AdvertisementValue>().is_some_and(|value| value.is_public)
    };
    let watch = Watch::begin(registry.clone(), ADVERTISEMENT, Box::new(filter), since);
    Running { watch, registry, _place: place }
}

impl Running {
    pub async fn next(&mut self) -> pb::AdvertisementEvent {
        match self.watch.next().await {
            WatchEvent::Snapshot(record) => pb::AdvertisementEvent {
                r#type: Type::Snapshot.into(),
                advertisement: self.show(&record),
                ..Default::default()
            },
            WatchEvent::Synced { cursor } => pb::AdvertisementEvent {
                r#type: Type::Synced.into(),
                cursor: cursor.to_string(),
                ..Default::default()
            },
            WatchEvent::Added(step) => self.step(Type::Added, &step, &step.record),
            WatchEvent::Modified(step) => self.step(Type::Modified, &step, &step.record),
            WatchEvent::Removed(step) => {
                // What was hidden is shown as it was: what it is now is nobody's business.
                let before = step.change().and_then(|change| change.before.clone());
                self.step(Type::Removed, &step, before.as_ref().unwrap_or(&step.record))
            }
            WatchEvent::Reset(reason) => {
                let reason = reset_word(reason).to_owned();
                pb::AdvertisementEvent { r#type: Type::Reset.into(), reason, ..Default::default() }
            }
            WatchEvent::Progress { cursor, previous } => pb::AdvertisementEvent {
                r#type: Type::Progress.into(),
                cursor: cursor.to_string(),
                prev_cursor: previous.to_string(),
                ..Default::default()
            },
        }
    }

    fn step(&self, kind: Type, step: &Step, record: &ViewRecord) -> pb::AdvertisementEvent {
        pb::AdvertisementEvent {
            r#type: kind.into(),
            cursor: step.cursor.to_string(),
            prev_cursor: step.previous.to_string(),
            time: Some(timestamp(step.at)),
            advertisement: self.show(record),
            reason: String::new(),
        }
    }

    fn show(&self, record: &ViewRecord) -> Option<pb::Advertisement> {
        Showing::of(self.registry.view()).record(record)
    }
}
