//! Watches of advertisements: what the log says of those that anybody may see.

use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::pb::omnirelay::store::v1::AdvertisementValue;

use super::pb;
use super::reading::Showing;
use super::{ADVERTISEMENT, parts};
use crate::daemon::objects::events::topic::{CHANGES, Told, Topic};
use crate::daemon::objects::feed::{Frame, Noun, Shown};
use crate::daemon::objects::listing::is_among;
use crate::daemon::registry::Registry;
use crate::daemon::registry::view::ViewRecord;
use pb::advertisement_event::Type;

/// Which advertisements are watched: the public ones of these registers and sources; empty means all.
pub fn filter(asked: &pb::WatchAdvertisementsRequest) -> impl Fn(&ViewRecord) -> bool + use<> {
    let (registers, sources) = (asked.register_id.clone(), asked.source.clone());
    move |record| {
        let Some((source, register, _)) = parts(&record.record.id) else { return false };
        is_among(&registers, register) && is_among(&sources, source) && is_public(record)
    }
}

/// What is told of them in the stream of events.
pub fn topic(registry: Arc<Registry>) -> Topic {
    let noun = move || PublicAdvertisements { registry: registry.clone() };
    let topic = Topic::of("advertisements", CHANGES, [ADVERTISEMENT], noun, |event| Told {
        what: event.r#type().as_str_name(),
        data: EventData { advertisement: event.advertisement, ..EventData::default() },
    });
    topic.showing(is_public)
}

fn is_public(record: &ViewRecord) -> bool {
    record.value::<AdvertisementValue>().is_some_and(|value| value.is_public)
}

/// Public advertisements as those who watch them are told of them.
pub struct PublicAdvertisements {
    pub registry: Arc<Registry>,
}

impl Noun for PublicAdvertisements {
    type Event = pb::AdvertisementEvent;

    fn event(&mut self, frame: Frame, shown: Shown<'_>) -> Option<Self::Event> {
        // What was hidden is shown as it was: what it is now is nobody's business.
        let hidden = match shown {
            Shown::Removed(step) => step.change().and_then(|change| change.before.as_ref()),
            _ => None,
        };
        let record = hidden.or(shown.record());
        Some(pb::AdvertisementEvent {
            r#type: frame.kind(Type::from_str_name),
            advertisement: record.and_then(|record| Showing::of(&self.registry).record(record)),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }
}
