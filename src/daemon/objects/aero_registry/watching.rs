//! Watches of relays and placements: what the log says of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_store::Kind;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AgentValue;
use tokio::sync::OwnedSemaphorePermit;

use super::pb;
use crate::daemon::objects::agents::{self, check_agent_id};
use crate::daemon::objects::relays::{self, check_relay_id};
use crate::daemon::objects::{reset_word, timestamp};
use crate::daemon::registry::Registry;
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::view::{ViewChange, ViewEntry, ViewRecord};
use crate::daemon::registry::watch::{Step, Watch, WatchEvent};
use pb::watch_event::{Object, Type};
use pb::watch_request::Object as Asked;

/// What is watched.
pub struct Watched {
    /// In the order of their snapshots.
    kinds: Vec<Kind>,
    /// Empty: all.
    relay_id: String,
    agent_id: String,
}

impl Watched {
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

    fn matches(&self, record: &ViewRecord) -> bool {
        let key = &record.record.id.key;
        let any = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        if record.record.id.kind == relays::kind() {
            return any(&self.relay_id, key) && self.agent_id.is_empty();
        }
        let holds = |value: Arc<AgentValue>| any(&self.relay_id, &value.relay_id);
        any(&self.agent_id, key) && record.value::<AgentValue>().is_some_and(holds)
    }
}

/// A watch being served; its place is free again when it is dropped.
pub struct Running {
    watch: Watch,
    registry: Arc<Registry>,
    /// How many agents each relay holds, counted when a snapshot or a batch first asked for it: of many agents that is
    /// a long walk.
    held: Option<BTreeMap<String, u32>>,
    _place: OwnedSemaphorePermit,
}

/// Begins to watch.
pub fn begin(
    registry: Arc<Registry>,
    place: OwnedSemaphorePermit,
    watched: Watched,
    since: Option<Cursor>,
) -> Running {
    let kinds = watched.kinds.clone();
    let filter = Box::new(move |record: &ViewRecord| watched.matches(record));
    let watch = Watch::begin_all(registry.clone(), kinds, filter, since).with_parts(parts);
    Running { watch, registry, held: None, _place: place }
}

/// What was written again as it was, in another life, is no news.
fn parts(_: &ViewEntry, change: &ViewChange) -> usize {
    let same = |before: &Arc<ViewRecord>| before.record.value == change.after.record.value;
    usize::from(!(change.live().is_some() && change.before.as_ref().is_some_and(same)))
}

impl Running {
    pub async fn next(&mut self) -> pb::WatchEvent {
        loop {
            if !self.watch.has_more() {
                self.held = None;
            }
            let event = match self.watch.next().await {
                WatchEvent::Snapshot(record) if !self.is_shown(&record) => continue,
                WatchEvent::Snapshot(record) => {
                    pb::WatchEvent { object: self.show(&record), ..of(Type::Snapshot) }
                }
                WatchEvent::Synced { cursor } => {
                    pb::WatchEvent { cursor: cursor.to_string(), ..of(Type::Synced) }
                }
                WatchEvent::Added(step) => self.step(Type::Added, &step),
                WatchEvent::Modified(step) => self.step(Type::Modified, &step),
                WatchEvent::Removed(step) => self.step(Type::Removed, &step),
                WatchEvent::Reset(reason) => {
                    pb::WatchEvent { reason: reset_word(reason).to_owned(), ..of(Type::Reset) }
                }
                WatchEvent::Progress { cursor, previous } => pb::WatchEvent {
                    cursor: cursor.to_string(),
                    prev_cursor: previous.to_string(),
                    ..of(Type::Progress)
                },
            };
            return event;
        }
    }

    /// Whether a record is there for readers: the placements of a relay that has ended are about to be deleted.
    fn is_shown(&self, record: &ViewRecord) -> bool {
        record.record.id.kind == relays::kind() || agents::is_placed(self.registry.view(), record)
    }

    fn step(&mut self, kind: Type, step: &Step) -> pb::WatchEvent {
        pb::WatchEvent {
            cursor: step.cursor.to_string(),
            prev_cursor: step.previous.to_string(),
            time: Some(timestamp(step.at)),
            object: self.show(&step.record),
            ..of(kind)
        }
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

fn of(kind: Type) -> pb::WatchEvent {
    pb::WatchEvent { r#type: kind.into(), ..Default::default() }
}
