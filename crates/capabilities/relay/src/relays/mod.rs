//! Relays: which of them live, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_core::names::check_id;
use omnirelay_core::placement::RelayIncarnations;
use omnirelay_core::text::is_unseen;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::live::Live;
use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_nouns::listing::{self, AskedPage, ListMoment};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::ttl_records::{
    LifeError, NewTtlRecord, REGISTRATION_MAX, TtlClaim, TtlOutcome, TtlStanding,
};
use omnirelay_registry::view::{LeaseTenancy, View, ViewReading, ViewRecord};
use omnirelay_store::{Precondition, RecordId, RecordKind};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::RelayValue;
use omnirelay_wire::reasons;
use prost::Message;
use tokio::time::Instant;

use crate::aero_registry::AeroRegistrySettings;
use crate::lifetimes::live_by;

/// Records of relays; the key is the relay's id.
pub const RELAY: RecordKind = RecordKind::of("relay");
/// The longest address of a relay in bytes: that of a host name.
const ADDRESS_BYTES_MAX: usize = 253;
/// How often a registration looks again when somebody else was faster.
const TRIES_MAX: usize = 5;
const REGISTER: &str = "relays.register";

/// Speaker for a relay.
#[derive(Clone, Debug)]
pub struct RelaySpeaker {
    principal: Arc<str>,
    /// Of every relay, whoever has registered it.
    of_all: bool,
}

impl RelaySpeaker {
    /// Speaker who has called; `None`: this daemon itself, in its own process.
    pub fn of(caller: Option<&Caller>, node_id: &str) -> Self {
        match caller {
            Some(caller) => Self {
                principal: caller.principal.clone(),
                of_all: caller.scopes.contains(Scope::MeshOperate),
            },
            None => Self { principal: format!("node:{node_id}").into(), of_all: true },
        }
    }
}

/// A relay that lives.
pub struct LiveRelay {
    pub record: Arc<ViewRecord>,
    pub value: Arc<RelayValue>,
}

impl LiveRelay {
    /// Whether it is where this says.
    fn is(&self, value: &RelayValue) -> bool {
        let place = |value: &RelayValue| (value.address.clone(), value.grpc_port, value.tls);
        place(&self.value) == place(value)
    }

    /// Checks that somebody speaks for it.
    ///
    /// # Errors
    /// `RELAY_OF_ANOTHER`: another principal has registered it.
    pub fn check_speaker(&self, speaker: &RelaySpeaker) -> Result<(), Fault> {
        let by = &self.value.registered_by;
        if speaker.of_all || by.is_empty() || **by == *speaker.principal {
            return Ok(());
        }
        let (id, principal) = (&self.record.record.id.key, &speaker.principal);
        Err(Fault::new(reasons::RELAY_OF_ANOTHER, format!("{principal} has not registered relay `{id}`"))
            .hint("choose another relay id; or wait until that relay is not heard of for its time to live"))
    }

    /// Precondition that the relay is as it was read.
    pub fn unchanged(&self) -> Precondition {
        let record = &self.record.record;
        Precondition::Version { id: record.id.clone(), version: record.version }
    }
}

/// The kind of these records, for those who watch them.
pub fn kind() -> RecordKind {
    RELAY
}

/// The record of a relay.
pub fn relay_id(relay_id: &str) -> RecordId {
    RecordId::new(RELAY, relay_id)
}

/// A relay, while it lives.
pub fn find(view: &View, id: &str) -> Option<LiveRelay> {
    let record = view.get(&relay_id(id))?;
    let value = record.value::<RelayValue>()?;
    Some(LiveRelay { record, value })
}

/// The incarnation of a relay, while it lives.
pub fn incarnation(view: &View, id: &str) -> Option<u64> {
    find(view, id).map(|relay| relay.value.incarnation)
}

/// Those that live.
pub fn incarnations(view: &View) -> RelayIncarnations {
    let records = view.list(&RELAY).records;
    let known = |record: &Arc<ViewRecord>| {
        Some((record.record.id.key.clone(), record.value::<RelayValue>()?.incarnation))
    };
    records.iter().filter_map(known).collect()
}

/// Number of relays that live.
pub fn count(view: &View) -> usize {
    view.list(&RELAY).records.len()
}

/// The message of a relay that holds so many agents.
pub fn show(tenancy: &LeaseTenancy<'_>, record: &ViewRecord, agents: u32, stale: bool) -> Option<pb::Relay> {
    let value = record.value::<RelayValue>()?;
    let heard = TtlStanding::of(tenancy, record, stale);
    Some(pb::Relay {
        relay_id: record.record.id.key.clone(),
        address: value.address.clone(),
        grpc_port: i32::try_from(value.grpc_port).unwrap_or_default(),
        last_heartbeat_unix_ms: heard.at_unix_ms(),
        expires_in_ms: heard.expires_in_ms(),
        agents,
        tls: value.tls,
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
    })
}

/// The relays of a registry.
pub struct Relays {
    registry: Arc<Registry>,
    settings: Live<AeroRegistrySettings>,
}

impl Relays {
    /// About as many may be registered as the settings say: those that come at once are not counted.
    pub fn new(registry: Arc<Registry>, settings: Live<AeroRegistrySettings>) -> Self {
        Self { registry, settings }
    }

    /// Makes a relay known, or says anew where it is. What is so already is only refreshed, and while the store is
    /// away nothing else is taken.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `RELAY_OF_ANOTHER`, `STORE_UNAVAILABLE`, `TOO_MANY_RELAYS`: nothing was changed.
    pub async fn register(&self, speaker: &RelaySpeaker, relay: Option<pb::Relay>) -> Result<(), Fault> {
        let (id, value) = checked(relay)?;
        let value = RelayValue { registered_by: speaker.principal.to_string(), ..value };
        if self.registry.is_away()
            && let Some(known) = find(self.registry.view(), &id.key).filter(|known| known.is(&value))
        {
            known.check_speaker(speaker)?;
            return self.keep(&known.record, REGISTER).await;
        }
        let until = Instant::now() + REGISTRATION_MAX;
        self.registry.reachable_for(REGISTER, until).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            self.check_room(&id)?;
            if let Some(known) = find(self.registry.view(), &id.key) {
                known.check_speaker(speaker)?;
            }
            match self.try_register(&id, &value, until).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_overtaken() && tries < TRIES_MAX => {
                    self.registry.see_what_overtook(&error).await;
                }
                Err(error) => return Err(error.fault(REGISTER)),
            }
        }
    }

    /// Checks that a relay that is not there may come.
    fn check_room(&self, id: &RecordId) -> Result<(), Fault> {
        let (view, max) = (self.registry.view(), self.settings.get().relays_max);
        if view.held_count(&RELAY) < max || view.holds(id) {
            return Ok(());
        }
        let message = format!("as many relays are registered as may be: {max}");
        Err(Fault::new(reasons::TOO_MANY_RELAYS, message)
            .hint("register it once others have ended, or raise `registry.relaysMax`"))
    }

    async fn try_register(&self, id: &RecordId, value: &RelayValue, until: Instant) -> Result<(), LifeError> {
        let registry = &self.registry;
        let (epoch, ttl) = (registry.view().head().epoch, self.settings.get().relay_ttl);
        let Some(known) = find(registry.view(), &id.key) else {
            // Store time never goes back, so no incarnation comes twice.
            let begin = |now: Millis| encoded(&RelayValue { incarnation: now.0, ..value.clone() });
            let (id, preconditions) = (id.clone(), Vec::new());
            let beginning = NewTtlRecord { id, ttl, until, epoch, preconditions, value: &begin };
            return registry.begin_life(beginning).await;
        };
        // Who operates the mesh says something of it, and does not become who speaks for it.
        let registered_by = match known.value.registered_by.as_str() {
            "" => value.registered_by.clone(),
            before => before.to_owned(),
        };
        let wanted = RelayValue { incarnation: known.value.incarnation, registered_by, ..value.clone() }
            .in_place_of(&known.value);
        let value = encoded(&wanted);
        registry
            .claim(TtlClaim { record: &known.record, ttl, until, value: &value, preconditions: &[] })
            .await
    }

    /// Says that a relay lives.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `RELAY_NOT_FOUND` when it does not; `RELAY_OF_ANOTHER`.
    pub async fn heartbeat(&self, speaker: &RelaySpeaker, id: &str) -> Result<(), Fault> {
        check_relay_id("relayId", id)?;
        self.registry.ready_for("").await?;
        let find = || self.registry.view().get(&relay_id(id));
        let mut found = find();
        if found.is_none() {
            // It may have been registered at another daemon a moment ago.
            self.registry.see_all().await;
            found = find();
        }
        let record = found.ok_or_else(|| not_found(id))?;
        if let Some(value) = record.value::<RelayValue>() {
            LiveRelay { record: record.clone(), value }.check_speaker(speaker)?;
        }
        self.keep(&record, "relays.heartbeat").await
    }

    async fn keep(&self, record: &Arc<ViewRecord>, action: &str) -> Result<(), Fault> {
        match self.registry.keep_alive(record).await {
            Ok(TtlOutcome::Lives) => {
                live_by(&self.registry, vec![record.clone()], self.settings.get().relay_ttl).await;
                Ok(())
            }
            Ok(TtlOutcome::Deferred) => Ok(()),
            Ok(TtlOutcome::Gone) => Err(not_found(&record.record.id.key)),
            Err(error) => Err(error.fault(action)),
        }
    }

    /// Lists the live relays in the order of their ids; `agents` says how many each holds.
    ///
    /// # Errors
    /// As of a list.
    pub async fn list(
        &self,
        asked: pb::ListRelaysRequest,
        agents: impl Fn(&View) -> BTreeMap<String, u32>,
    ) -> Result<pb::ListRelaysResponse, Fault> {
        let query = request_hash(&pb::ListRelaysRequest { at: asked.at.clone(), ..Default::default() });
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let moment = ListMoment::of(&self.registry, &asked.at, page.token.as_ref()).await?;
        let (reading, agents) = listing::read_with(&self.registry, &RELAY, &moment, agents).await?;
        let ViewReading { cursor, records, .. } = reading;
        let stale = self.registry.view().silence();
        let is_stale = self.registry.is_stale();
        let tenancy = moment.view(&self.registry).tenancy();
        let item = |record: &ViewRecord| {
            let held = agents.get(&record.record.id.key).copied().unwrap_or(0);
            let shown = show(&tenancy, record, held, stale.is_some())?;
            match moment.past() {
                // Who was heard of then is not in the history.
                Some(_) => Some(pb::Relay { last_heartbeat_unix_ms: 0, expires_in_ms: None, ..shown }),
                None => Some(shown),
            }
        };
        let (relays, next_page_token) = page.cut(cursor, records.iter(), |record| [item(record)]);
        Ok(pb::ListRelaysResponse {
            relays,
            next_page_token,
            cursor: cursor.to_string(),
            stale: is_stale,
            stale_ms: stale.map(whole_ms),
        })
    }
}

/// Checks what is said of a relay.
fn checked(relay: Option<pb::Relay>) -> Result<(RecordId, RelayValue), Fault> {
    let relay = relay.ok_or_else(|| Fault::invalid("field `relay` is missing"))?;
    check_relay_id("relay.relayId", &relay.relay_id)?;
    let address = &relay.address;
    if address.is_empty() {
        return Err(Fault::invalid("field `relay.address` is empty"));
    }
    if address.len() > ADDRESS_BYTES_MAX || address.chars().any(|c| is_unseen(c) || c.is_whitespace()) {
        let message = format!(
            "field `relay.address` must be a host name or an address of at most {ADDRESS_BYTES_MAX} bytes"
        );
        return Err(Fault::invalid(message));
    }
    let port = u16::try_from(relay.grpc_port)
        .map_err(|_| Fault::invalid("field `relay.grpcPort` must be 0 to 65535"))?;
    let value = RelayValue {
        address: address.clone(),
        grpc_port: u32::from(port),
        tls: relay.tls,
        ..RelayValue::default()
    };
    Ok((relay_id(&relay.relay_id), value))
}

/// Checks the id of a relay that stands in `field`.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_relay_id(field: &str, id: &str) -> Result<(), Fault> {
    check_id(id).map_err(|error| Fault::invalid(format!("field `{field}` is no id of a relay: {error}")))
}

/// The fault for a relay that does not live.
pub fn not_found(id: &str) -> Fault {
    let message = format!("no relay `{id}` lives");
    Fault::new(reasons::RELAY_NOT_FOUND, message)
        .hint("register it; `omnirelay relays list` shows those that live")
}

fn encoded(value: &RelayValue) -> Bytes {
    Bytes::from(value.encode_to_vec())
}
