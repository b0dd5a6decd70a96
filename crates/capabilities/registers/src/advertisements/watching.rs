//! Watches of advertisements: what the log says of those that anybody may see.

use std::sync::Arc;

use omnirelay_nouns::feed::{EventFrame, ShownChange, WatchedNoun};
use omnirelay_nouns::listing::is_among;
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;

use super::pb;
use super::pool::Pool;
use super::reading::AdvertisementReading;
use super::{ADVERTISEMENT, parts};
use pb::advertisement_event::Type;

/// Filter of watched advertisements: those of these registers and sources that anybody may see; empty means all.
pub fn filter(
    pool: &Arc<Pool>,
    asked: &pb::WatchAdvertisementsRequest,
) -> impl Fn(&ViewRecord) -> bool + use<> {
    let (registers, sources) = (asked.register_id.clone(), asked.source.clone());
    let pool = pool.clone();
    move |record| {
        let Some((source, register, _)) = parts(&record.record.id) else { return false };
        is_among(&registers, register) && is_among(&sources, source) && is_shown(&pool, record)
    }
}

/// Topic of advertisements in the stream of events: what is told of them.
pub fn topic(pool: Arc<Pool>) -> Topic {
    let registry = pool.registry().clone();
    let noun = move || PublicAdvertisements { registry: registry.clone() };
    let topic = Topic::of("advertisements", CHANGES, [ADVERTISEMENT], noun, |event| TopicEvent {
        what: event.r#type().as_str_name(),
        data: EventData { advertisement: event.advertisement, ..EventData::default() },
    });
    topic.showing(move |record| is_shown(&pool, record))
}

/// Whether it is public, and of a source that counts.
fn is_shown(pool: &Pool, record: &ViewRecord) -> bool {
    let is_public = record.value::<AdvertisementValue>().is_some_and(|value| value.is_public);
    is_public && parts(&record.record.id).is_some_and(|(source, ..)| pool.sources().count(source))
}

/// Public advertisements as those who watch them are told of them.
pub struct PublicAdvertisements {
    pub registry: Arc<Registry>,
}

impl WatchedNoun for PublicAdvertisements {
    type Event = pb::AdvertisementEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        // What was hidden is shown as it was: what it is now is nobody's business.
        let hidden = match shown {
            ShownChange::Removed(step) => step.change().and_then(|change| change.before.as_ref()),
            _ => None,
        };
        let record = hidden.or(shown.record());
        Some(pb::AdvertisementEvent {
            r#type: frame.kind(Type::from_str_name),
            advertisement: record.and_then(|record| AdvertisementReading::of(&self.registry).record(record)),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}
