//! Watches of relays and placements: what the log says of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_nouns::feed::{EventFrame, ShownChange, WatchedNoun};
use omnirelay_nouns::topic::{CHANGES, Topic, TopicEvent};
use omnirelay_registry::Registry;
use omnirelay_registry::view::{ViewChange, ViewEntry, ViewRecord};
use omnirelay_store::RecordKind;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EventData;
use omnirelay_wire::pb::omnirelay::store::v1::AgentValue;

use super::pb;
use crate::agents::{self, check_agent_id};
use crate::relays::{self, check_relay_id};
use pb::watch_event::{Object, Type};
use pb::watch_request::Object as Asked;

/// Filter of what a watch is about.
pub struct WatchFilter {
    /// In the order of their snapshots.
    pub kinds: Vec<RecordKind>,
    /// Empty: all.
    relay_id: String,
    agent_id: String,
}

impl WatchFilter {
    /// Reads a request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn of(asked: &pb::WatchRequest) -> Result<Self, Fault> {
        let unknown = || Fault::invalid("field `object` must be `relays`, `agents` or both");
        let mut wanted = Vec::with_capacity(asked.object.len().min(2));
        for object in &asked.object {
            match Asked::try_from(*object) {
                Ok(Asked::Unspecified) | Err(_) => return Err(unknown()),
                Ok(object) if !wanted.contains(&object) => wanted.push(object),
                Ok(_) => {}
            }
        }
        if !asked.relay_id.is_empty() {
            check_relay_id("relayId", &asked.relay_id)?;
        }
        if !asked.agent_id.is_empty() {
            check_agent_id("agentId", &asked.agent_id)?;
        }
        let is_wanted = |object| wanted.is_empty() || wanted.contains(&object);
        let relays = is_wanted(Asked::Relays).then(relays::kind);
        let agents = is_wanted(Asked::Agents).then(agents::kind);
        Ok(Self {
            kinds: relays.into_iter().chain(agents).collect(),
            relay_id: asked.relay_id.clone(),
            agent_id: asked.agent_id.clone(),
        })
    }

    /// Whether a record is.
    pub fn matches(&self, record: &ViewRecord) -> bool {
        let key = &record.record.id.key;
        let any = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        if record.record.id.kind == relays::kind() {
            return any(&self.relay_id, key) && self.agent_id.is_empty();
        }
        let holds = |value: Arc<AgentValue>| any(&self.relay_id, &value.relay_id);
        any(&self.agent_id, key) && record.value::<AgentValue>().is_some_and(holds)
    }
}

/// Topics of relays and of agents in the stream of events: what is told of them.
pub fn topics(registry: &Arc<Registry>) -> [Topic; 2] {
    let noun = |registry: Arc<Registry>| move || RelaysAndAgents::new(registry.clone());
    [
        Topic::of("relays", CHANGES, [relays::kind()], noun(registry.clone()), told),
        Topic::of("agents", CHANGES, [agents::kind()], noun(registry.clone()), told),
    ]
}

fn told(event: pb::WatchEvent) -> TopicEvent {
    let what = event.r#type().as_str_name();
    let data = match event.object {
        Some(Object::Relay(relay)) => EventData { relay: Some(relay), ..EventData::default() },
        Some(Object::Placement(placement)) => {
            EventData { placement: Some(placement), ..EventData::default() }
        }
        None => EventData::default(),
    };
    TopicEvent { what, data }
}

/// What was written again as it was, in another life, is no news.
fn is_news(change: &ViewChange) -> bool {
    let same = |before: &Arc<ViewRecord>| before.record.value == change.after.record.value;
    !(change.live().is_some() && change.before.as_ref().is_some_and(same))
}

/// Relays and placements as those who watch them are told of them.
pub struct RelaysAndAgents {
    registry: Arc<Registry>,
    /// How many agents each relay holds, counted when a snapshot or a batch first asked for it: of many agents that is
    /// a long walk.
    held: Option<BTreeMap<String, u32>>,
}

impl RelaysAndAgents {
    /// Those of a registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, held: None }
    }

    /// Whether a record is there for readers: the placements of a relay that has ended are about to be deleted.
    fn is_shown(&self, record: &ViewRecord) -> bool {
        record.record.id.kind == relays::kind() || agents::is_placed(self.registry.view(), record)
    }

    fn show(&mut self, record: &ViewRecord) -> Option<Object> {
        let view = self.registry.view();
        let stale = view.silence().is_some();
        if record.record.id.kind != relays::kind() {
            return agents::show(&view.tenancy(), record, stale).map(Object::Placement);
        }
        let held = self.held.get_or_insert_with(|| agents::held(view));
        let held = held.get(&record.record.id.key).copied().unwrap_or(0);
        relays::show(&view.tenancy(), record, held, stale).map(Object::Relay)
    }
}

impl WatchedNoun for RelaysAndAgents {
    type Event = pb::WatchEvent;

    fn event(&mut self, frame: EventFrame, shown: ShownChange<'_>) -> Option<Self::Event> {
        if matches!(shown, ShownChange::Record(record) if !self.is_shown(record)) {
            return None;
        }
        Some(pb::WatchEvent {
            r#type: frame.kind(Type::from_str_name),
            object: shown.record().and_then(|record| self.show(record)),
            cursor: frame.cursor,
            prev_cursor: frame.prev_cursor,
            time: frame.time,
            reason: frame.reason,
        })
    }

    fn parts(_: &ViewEntry, change: &ViewChange) -> usize {
        usize::from(is_news(change))
    }

    fn begin_look(&mut self) {
        self.held = None;
    }
}
