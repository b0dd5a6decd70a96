//! Agents: which relay holds each of them.

mod orphans;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use omnirelay_core::names::check_id;
use omnirelay_core::placement::{RelayIncarnations, holds};
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::live::Live;
use omnirelay_nouns::listing::{self, AskedPage, ListMoment};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::ttl_records::{
    LifeError, NewTtlRecord, REGISTRATION_MAX, TtlClaim, TtlOutcome, TtlStanding,
};
use omnirelay_registry::view::{LeaseTenancy, View, ViewReading, ViewRecord};
use omnirelay_store::{RecordId, RecordKind, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use omnirelay_wire::pb::aeroarc::registry::v1::heartbeat_agents_response::Refused;
use omnirelay_wire::pb::omnirelay::store::v1::AgentValue;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::{millis, timestamp};
use prost::Message;
use tokio::time::Instant;
use tonic::Status;

use crate::aero_registry::AeroRegistrySettings;
use crate::lifetimes::live_by;
use crate::relays::{self, LiveRelay, RelaySpeaker, check_relay_id};

/// Records of agents; the key is the agent's id.
pub const AGENT: RecordKind = RecordKind::of("agent");
/// The most agents of one message of heartbeats.
const HEARTBEATS_MAX: usize = 1000;
/// How often a registration looks again when somebody else was faster.
const TRIES_MAX: usize = 5;
const REGISTER: &str = "agents.register";
const HEARTBEAT: &str = "agents.heartbeat";

/// The kind of these records, for those who watch them.
pub fn kind() -> RecordKind {
    AGENT
}

/// The record of an agent.
pub fn agent_id(agent_id: &str) -> RecordId {
    RecordId::new(AGENT, agent_id)
}

/// Whether the relay that a record names still holds the agent.
pub fn is_placed(view: &View, record: &ViewRecord) -> bool {
    let value = record.value::<AgentValue>();
    value.is_some_and(|value| holds(relays::incarnation(view, &value.relay_id), value.relay_incarnation))
}

/// Number of live agents that each live relay holds.
pub fn held(view: &View) -> BTreeMap<String, u32> {
    let live = relays::incarnations(view);
    let mut held = BTreeMap::new();
    for (_, value) in placed(&view.list(&AGENT), &live) {
        match held.get_mut(&value.relay_id) {
            Some(count) => *count += 1,
            None => {
                held.insert(value.relay_id.clone(), 1);
            }
        }
    }
    held
}

/// Number of live agents that live relays hold.
pub fn count(view: &View) -> usize {
    let live = relays::incarnations(view);
    placed(&view.list(&AGENT), &live).count()
}

/// The records whose relay still holds the agent.
fn placed<'a>(
    reading: &'a ViewReading,
    live: &'a RelayIncarnations,
) -> impl Iterator<Item = (&'a Arc<ViewRecord>, Arc<AgentValue>)> {
    let known = reading.records.iter().filter_map(|record| Some((record, record.value::<AgentValue>()?)));
    known.filter(|(_, value)| is_held(value, live))
}

/// Whether the relay that an agent was placed with lives still, in the same life.
fn is_held(value: &AgentValue, live: &RelayIncarnations) -> bool {
    holds(live.get(&value.relay_id).copied(), value.relay_incarnation)
}

/// The message of a placement.
pub fn show(tenancy: &LeaseTenancy<'_>, record: &ViewRecord, stale: bool) -> Option<pb::AgentPlacement> {
    let value = record.value::<AgentValue>()?;
    let heard = TtlStanding::of(tenancy, record, stale);
    let placed_at = value.placed_at.as_ref().map(millis).unwrap_or_default();
    // A move is news of it as a heartbeat is.
    let updated = heard.at.max(placed_at);
    Some(pb::AgentPlacement {
        agent_id: record.record.id.key.clone(),
        relay_id: value.relay_id.clone(),
        last_updated_unix_ms: unix_ms(updated),
        expires_in_ms: heard.expires_in_ms(),
        previous_relay_id: value.previous_relay_id.clone(),
        placed_at_unix_ms: unix_ms(placed_at),
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
    })
}

/// The agents of a registry.
pub struct Agents {
    registry: Arc<Registry>,
    settings: Live<AeroRegistrySettings>,
}

impl Agents {
    /// About as many may be registered as the settings say: those that come at once are not counted.
    pub fn new(registry: Arc<Registry>, settings: Live<AeroRegistrySettings>) -> Self {
        Self { registry, settings }
    }

    /// Places an agent with a live relay. What is so already is only refreshed, and while the store is away nothing
    /// else is taken.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `RELAY_NOT_FOUND`, `RELAY_OF_ANOTHER`, `STORE_UNAVAILABLE`, `TOO_MANY_AGENTS`: nothing was changed.
    pub async fn register(
        &self,
        speaker: &RelaySpeaker,
        asked: pb::RegisterAgentRequest,
    ) -> Result<(), Fault> {
        check_relay_id("relayId", &asked.relay_id)?;
        let agent = asked.agent.ok_or_else(|| Fault::invalid("field `agent` is missing"))?;
        check_agent_id("agent.agentId", &agent.agent_id)?;
        if self.registry.is_away()
            && let Ok(record) = self.held_by(speaker, &agent.agent_id, &asked.relay_id)
        {
            return self.keep(&record, REGISTER).await;
        }
        let until = Instant::now() + REGISTRATION_MAX;
        self.registry.reachable_for(REGISTER, until).await?;
        let id = agent_id(&agent.agent_id);
        let mut tries = 0;
        loop {
            tries += 1;
            let relay = self.holder(&asked.relay_id).await?;
            relay.check_speaker(speaker)?;
            self.check_room(&id)?;
            match self.try_register(&id, &relay, until).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_overtaken() && tries < TRIES_MAX => {
                    self.registry.see_what_overtook(&error).await;
                }
                Err(error) => return Err(error.fault(REGISTER)),
            }
        }
    }

    /// The relay that is to hold an agent.
    async fn holder(&self, id: &str) -> Result<LiveRelay, Fault> {
        let find = || relays::find(self.registry.view(), id);
        if let Some(relay) = find() {
            return Ok(relay);
        }
        // It may have been registered at another daemon a moment ago.
        self.registry.see_all().await;
        find().ok_or_else(|| relays::not_found(id))
    }

    /// Checks that an agent that is not there may come.
    fn check_room(&self, id: &RecordId) -> Result<(), Fault> {
        let (view, max) = (self.registry.view(), self.settings.get().agents_max);
        if view.held_count(&AGENT) < max || view.holds(id) {
            return Ok(());
        }
        let message = format!("as many agents are registered as may be: {max}");
        Err(Fault::new(reasons::TOO_MANY_AGENTS, message)
            .hint("register it once others have ended, or raise `registry.agentsMax`"))
    }

    async fn try_register(&self, id: &RecordId, relay: &LiveRelay, until: Instant) -> Result<(), LifeError> {
        let (registry, ttl) = (&self.registry, self.settings.get().agent_ttl);
        let known = registry.view().get(id);
        let known = known.and_then(|record| Some((record.value::<AgentValue>()?, record)));
        let Some((value, record)) = known else {
            let begin = |now| encoded(&placed_anew(relay, now, String::new()));
            let preconditions = vec![relay.unchanged()];
            let (id, epoch) = (id.clone(), relay.record.epoch);
            let beginning = NewTtlRecord { id, ttl, until, epoch, preconditions, value: &begin };
            return registry.begin_life(beginning).await;
        };
        if record.epoch != relay.record.epoch {
            // The relay is looked for again.
            return Err(StoreError::EpochChanged { current: record.epoch }.into());
        }
        let wanted = moved(&value, relay, registry.view().now());
        let (value, preconditions) = (encoded(&wanted), [relay.unchanged()]);
        registry
            .claim(TtlClaim { record: &record, ttl, until, value: &value, preconditions: &preconditions })
            .await
    }

    /// Says that an agent lives, and if a relay is named, that this one holds it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `AGENT_NOT_FOUND` when no live relay holds it; `AGENT_MOVED` when another one does;
    /// `RELAY_OF_ANOTHER`: who asks does not speak for the one that does.
    pub async fn heartbeat(
        &self,
        speaker: &RelaySpeaker,
        asked: pb::HeartbeatAgentRequest,
    ) -> Result<(), Fault> {
        let record = self.heard_of(speaker, &asked.agent_id, &asked.relay_id).await?;
        self.keep(&record, HEARTBEAT).await
    }

    /// The same of many agents; says which of them are not heard of, and why.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when they are too many.
    pub async fn heartbeat_all(
        &self,
        speaker: &RelaySpeaker,
        asked: pb::HeartbeatAgentsRequest,
    ) -> Result<pb::HeartbeatAgentsResponse, Fault> {
        let pb::HeartbeatAgentsRequest { relay_id, agent_id: agents } = asked;
        if agents.len() > HEARTBEATS_MAX {
            let message =
                format!("field `agentId` names {} agents, at most {HEARTBEATS_MAX} may be", agents.len());
            return Err(Fault::invalid(message).hint("say the others in further messages"));
        }
        let (mut records, mut unseen) = (Vec::new(), Vec::new());
        for agent_id in agents {
            match self.held_by(speaker, &agent_id, &relay_id) {
                Ok(record) => records.push(record),
                Err(_) => unseen.push(agent_id),
            }
        }
        // Nobody waits until those who are not seen have been looked for: their time may be short.
        let (mut refused, unheard) =
            tokio::join!(self.keep_all(&records), self.look_and_keep(speaker, unseen, &relay_id));
        refused.extend(unheard);
        Ok(pb::HeartbeatAgentsResponse { refused })
    }

    /// Says of agents that are not seen here that they live, if they are found.
    async fn look_and_keep(
        &self,
        speaker: &RelaySpeaker,
        agents: Vec<String>,
        relay_id: &str,
    ) -> Vec<Refused> {
        let held = join_all(agents.iter().map(|agent_id| self.heard_of(speaker, agent_id, relay_id))).await;
        let (mut refused, mut records) = (Vec::new(), Vec::new());
        for (agent_id, held) in agents.into_iter().zip(held) {
            match held {
                Ok(record) => records.push(record),
                Err(fault) => refused.push(refusal(agent_id, fault)),
            }
        }
        refused.extend(self.keep_all(&records).await);
        refused
    }

    /// Together: where the store is far away they share a journey, and where it is here a lock.
    async fn keep_all(&self, records: &[Arc<ViewRecord>]) -> Vec<Refused> {
        let kept = self.registry.keep_all_alive(records).await;
        let (mut living, mut refused) = (Vec::new(), Vec::new());
        for (record, kept) in records.iter().zip(kept) {
            if matches!(kept, Ok(TtlOutcome::Lives)) {
                living.push(record.clone());
            }
            if let Err(fault) = told(record, kept, HEARTBEAT) {
                refused.push(refusal(record.record.id.key.clone(), fault));
            }
        }
        live_by(&self.registry, living, self.settings.get().agent_ttl).await;
        refused
    }

    async fn keep(&self, record: &Arc<ViewRecord>, action: &str) -> Result<(), Fault> {
        let kept = self.registry.keep_alive(record).await;
        if matches!(kept, Ok(TtlOutcome::Lives)) {
            live_by(&self.registry, vec![record.clone()], self.settings.get().agent_ttl).await;
        }
        told(record, kept, action)
    }

    /// The record of an agent that is heard of, which this relay holds.
    async fn heard_of(
        &self,
        speaker: &RelaySpeaker,
        id: &str,
        relay_id: &str,
    ) -> Result<Arc<ViewRecord>, Fault> {
        check_agent_id("agentId", id)?;
        if !relay_id.is_empty() {
            check_relay_id("relayId", relay_id)?;
        }
        self.registry.ready_for("").await?;
        match self.held_by(speaker, id, relay_id) {
            Ok(record) => Ok(record),
            Err(_) => {
                // It may have been registered at another daemon a moment ago.
                self.registry.see_all().await;
                self.held_by(speaker, id, relay_id)
            }
        }
    }

    /// The record of an agent that this relay holds; any, if none is named.
    fn held_by(&self, speaker: &RelaySpeaker, id: &str, relay_id: &str) -> Result<Arc<ViewRecord>, Fault> {
        let record = find(self.registry.view(), id)?;
        let holder = record
            .value::<AgentValue>()
            .and_then(|value| relays::find(self.registry.view(), &value.relay_id));
        if !relay_id.is_empty() {
            check_holder(&record, id, relay_id)?;
        }
        if let Some(holder) = holder {
            holder.check_speaker(speaker)?;
        }
        Ok(record)
    }

    /// Lists the live agents of live relays in the order of their ids.
    ///
    /// # Errors
    /// As of a list.
    pub async fn list(&self, asked: pb::ListAgentsRequest) -> Result<pb::ListAgentsResponse, Fault> {
        let filters = pb::ListAgentsRequest {
            relay_id: asked.relay_id.clone(),
            at: asked.at.clone(),
            ..Default::default()
        };
        let page = AskedPage::of(asked.page_size, &asked.page_token, request_hash(&filters))?;
        if !asked.relay_id.is_empty() {
            check_relay_id("relayId", &asked.relay_id)?;
        }
        self.registry.ready_for(&asked.min_revision).await?;
        let live = relays::incarnations;
        let moment = ListMoment::of(&self.registry, &asked.at, page.token.as_ref()).await?;
        let (reading, live) = listing::read_with(&self.registry, &AGENT, &moment, live).await?;
        let view = moment.view(&self.registry);
        let is_meant = |value: &AgentValue| {
            is_held(value, &live) && (asked.relay_id.is_empty() || asked.relay_id == value.relay_id)
        };
        let stale = view.silence();
        let is_stale = self.registry.is_stale();
        let tenancy = view.tenancy();
        let item = |record: &ViewRecord| {
            record.value::<AgentValue>().filter(|value| is_meant(value))?;
            let shown = list_item(&tenancy, record, stale.is_some())?;
            match moment.past() {
                // Who was heard of then is not in the history.
                Some(_) => Some(pb::Agent { last_heartbeat_unix_ms: 0, expires_in_ms: None, ..shown }),
                None => Some(shown),
            }
        };
        let (agents, next_page_token) =
            page.cut(reading.cursor, reading.records.iter(), |record| [item(record)]);
        Ok(pb::ListAgentsResponse {
            agents,
            next_page_token,
            cursor: reading.cursor.to_string(),
            stale: is_stale,
            stale_ms: stale.map(whole_ms),
        })
    }

    /// Says which relay holds an agent, while both live.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `AGENT_NOT_FOUND`.
    pub async fn placement(
        &self,
        asked: pb::GetAgentPlacementRequest,
    ) -> Result<pb::GetAgentPlacementResponse, Fault> {
        check_agent_id("agentId", &asked.agent_id)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let view = self.registry.view();
        // What a new epoch has lost comes back with the next heartbeat of its relay.
        if let Some(agent) = self.registry.find(&agent_id(&asked.agent_id)).await?
            && let Some(value) = agent.value::<AgentValue>()
        {
            self.registry.find(&relays::relay_id(&value.relay_id)).await?;
        }
        let look = |view: &View| (omnirelay_nouns::head_cursor(view), find(view, &asked.agent_id));
        let (cursor, record) = self.registry.look(look).await;
        let record = record?;
        let (stale, is_stale) = (view.silence(), self.registry.is_stale());
        Ok(pb::GetAgentPlacementResponse {
            placement: show(&view.tenancy(), &record, stale.is_some()),
            cursor,
            stale: is_stale,
            stale_ms: stale.map(whole_ms),
        })
    }
}

fn refusal(agent_id: String, fault: Fault) -> Refused {
    let status = Status::from(fault);
    let (code, message) = (status.code().into(), status.message().to_owned());
    Refused { agent_id, code, message }
}

/// What is said to whoever has kept a record alive.
fn told(record: &ViewRecord, kept: Result<TtlOutcome, LifeError>, action: &str) -> Result<(), Fault> {
    match kept {
        Ok(TtlOutcome::Lives | TtlOutcome::Deferred) => Ok(()),
        Ok(TtlOutcome::Gone) => Err(not_found(&record.record.id.key)),
        Err(error) => Err(error.fault(action)),
    }
}

/// The record of an agent that a live relay holds.
fn find(view: &View, id: &str) -> Result<Arc<ViewRecord>, Fault> {
    let record = view.get(&agent_id(id)).filter(|record| is_placed(view, record));
    record.ok_or_else(|| not_found(id))
}

fn list_item(tenancy: &LeaseTenancy<'_>, record: &ViewRecord, stale: bool) -> Option<pb::Agent> {
    let value = record.value::<AgentValue>()?;
    let heard = TtlStanding::of(tenancy, record, stale);
    Some(pb::Agent {
        agent_id: record.record.id.key.clone(),
        last_heartbeat_unix_ms: heard.at_unix_ms(),
        expires_in_ms: heard.expires_in_ms(),
        relay_id: value.relay_id.clone(),
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
    })
}

/// What is written of an agent that is as `value` says and that `relay` says it holds.
fn moved(value: &AgentValue, relay: &LiveRelay, now: Millis) -> AgentValue {
    let holder = &relay.record.record.id.key;
    if value.relay_id != *holder {
        return placed_after(value, relay, now, value.relay_id.clone());
    }
    if value.relay_incarnation != relay.value.incarnation {
        return placed_after(value, relay, now, value.previous_relay_id.clone());
    }
    value.clone()
}

/// As [`placed_anew`], with what a later version has written of the agent.
fn placed_after(
    before: &AgentValue,
    relay: &LiveRelay,
    now: Millis,
    previous_relay_id: String,
) -> AgentValue {
    placed_anew(relay, now, previous_relay_id).in_place_of(before)
}

fn placed_anew(relay: &LiveRelay, now: Millis, previous_relay_id: String) -> AgentValue {
    AgentValue {
        relay_id: relay.record.record.id.key.clone(),
        relay_incarnation: relay.value.incarnation,
        placed_at: Some(timestamp(now)),
        previous_relay_id,
        unknown_fields: Default::default(),
    }
}

fn check_holder(record: &ViewRecord, id: &str, relay_id: &str) -> Result<(), Fault> {
    if record.value::<AgentValue>().is_some_and(|value| value.relay_id == relay_id) {
        return Ok(());
    }
    let message = format!("relay `{relay_id}` does not hold agent `{id}` any more");
    Err(Fault::new(reasons::AGENT_MOVED, message)
        .hint("say nothing of it any more, or register it anew if it is there again"))
}

/// Checks the id of an agent that stands in `field`.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_agent_id(field: &str, id: &str) -> Result<(), Fault> {
    check_id(id).map_err(|error| Fault::invalid(format!("field `{field}` is no id of an agent: {error}")))
}

fn not_found(id: &str) -> Fault {
    let message = format!("no live relay holds agent `{id}`");
    Fault::new(reasons::AGENT_NOT_FOUND, message).hint("`omnirelay agents list` shows those that are placed")
}

fn unix_ms(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn encoded(value: &AgentValue) -> Bytes {
    Bytes::from(value.encode_to_vec())
}
