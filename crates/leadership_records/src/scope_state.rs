//! A scope as this daemon knows it: its record, its lease, and how the holder stands.

use std::sync::Arc;

use omnirelay_core::labels::Labels;
use omnirelay_core::scope::ScopeKind;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::{
    ElectionPolicy, HeldLease, LeaseStanding, TenureEnding, TenureNumbers, current, elections_since, end,
    ending, flaps_since, signed,
};
use omnirelay_peer_records::node_of_session;
use omnirelay_registry::view::{LeaseTenancy, View, ViewReading, ViewRecord};
use omnirelay_store::Lease;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use omnirelay_wire::timestamp::{millis, timestamp};

use crate::pb;
use crate::{LEADERSHIP, leadership_id};

/// An election that is longer ago is not counted.
const LATELY_MS: u64 = 3_600_000;

/// Why nobody leads a scope that nobody ever led.
pub const NEVER_LED: &str = "never_led";

/// A scope as this daemon knows it.
#[derive(Clone)]
pub struct ScopeState {
    pub record: Arc<ViewRecord>,
    pub value: Arc<LeadershipValue>,
    pub held: Option<HeldLease>,
    /// The greatest token that was ever seen of it.
    pub token_seen: u64,
    /// When it was read, by the store's clock.
    pub now: Millis,
}

/// All scopes in the order of their names, and before when nobody is granted one.
pub struct ScopeStates {
    pub reading: ViewReading,
    pub scopes: Vec<ScopeState>,
    pub now: Millis,
    pub quarantine_until: Millis,
}

impl ScopeStates {
    /// Reads them off a view.
    pub fn of(view: &View) -> Self {
        let reading = view.list(&LEADERSHIP);
        let tenancy = view.tenancy();
        let scopes = reading.records.iter().filter_map(|record| ScopeState::of(&tenancy, record)).collect();
        let (now, quarantine_until) = (tenancy.now(), tenancy.quarantine_until());
        drop(tenancy);
        Self { reading, scopes, now, quarantine_until }
    }

    /// A scope by its name; `None` if there is none.
    pub fn find(&self, scope: &str) -> Option<&ScopeState> {
        let place = self.scopes.binary_search_by(|known| known.scope().cmp(scope)).ok()?;
        self.scopes.get(place)
    }
}

impl ScopeState {
    /// A scope by its name; `None` if there is none.
    pub fn find(view: &View, scope: &str) -> Option<Self> {
        let record = view.get(&leadership_id(scope))?;
        Self::of(&view.tenancy(), &record)
    }

    /// State of the scope of a record, together with its lease; `None`: the record has no such value.
    pub fn of(tenancy: &LeaseTenancy<'_>, record: &Arc<ViewRecord>) -> Option<Self> {
        let value = record.value::<LeadershipValue>()?;
        let scope = &record.record.id.key;
        let held = tenancy.of(scope).and_then(|(lease, standing)| held(lease, standing));
        let token_seen = tenancy.token_seen(scope).max(value.token_floor);
        Some(Self { record: record.clone(), value, held, token_seen, now: tenancy.now() })
    }

    /// Its name.
    pub fn scope(&self) -> &str {
        &self.record.record.id.key
    }

    /// The lease, while it is valid.
    pub fn valid(&self) -> Option<(&HeldLease, Millis, Millis)> {
        let held = self.held.as_ref()?;
        match held.standing {
            LeaseStanding::Live { until, renewed_at } => Some((held, until, renewed_at)),
            LeaseStanding::Unconfirmed { .. }
            | LeaseStanding::Released
            | LeaseStanding::Expired { .. }
            | LeaseStanding::Closed { .. }
            | LeaseStanding::Replaced
            | LeaseStanding::Unknown => None,
        }
    }

    /// Id of the node that leads; `None`: nobody does now.
    pub fn leader(&self) -> Option<&str> {
        self.valid().map(|(held, ..)| held.node.as_str())
    }

    /// The labels, for a shard with its namespace and id.
    pub fn labels(&self) -> Labels {
        let kind = ScopeKind::of(self.scope()).unwrap_or(ScopeKind::Custom);
        kind.labels(&self.value.labels)
    }

    /// Policy of who may lead the scope; it was checked before it was stored.
    pub fn policy(&self) -> ElectionPolicy {
        ElectionPolicy::of(self.value.policy.as_ref()).unwrap_or_default()
    }

    /// Token that a leader shows; `None`: nobody leads.
    pub fn token(&self) -> Option<pb::LeadershipToken> {
        let (held, until, renewed_at) = self.valid()?;
        Some(pb::LeadershipToken {
            scope: self.scope().to_owned(),
            scope_kind: ScopeKind::word_of(self.scope()).to_owned(),
            leader_id: held.node.clone(),
            term: signed(held.term),
            fence_token: signed(held.token),
            issued_at: Some(timestamp(renewed_at)),
            expires_at: Some(timestamp(until)),
            labels: self.labels(),
        })
    }

    /// The newest tenures, the current one first.
    pub fn tenures(&self) -> Vec<pb::Tenure> {
        let numbers = self.held.as_ref().map(TenureNumbers::of).unwrap_or_default();
        let current = self.value.current.as_ref().map(|tenure| {
            let tenure = current(self.scope(), tenure, numbers);
            match self.unrecorded_end() {
                Some(ending) => end(tenure, ending, ""),
                None => tenure,
            }
        });
        current.into_iter().chain(self.value.past.iter().cloned()).collect()
    }

    /// As answers show it.
    pub fn leadership(&self) -> pb::Leadership {
        let value = &self.value;
        let record = &self.record.record;
        let numbers = self.held.as_ref().map(TenureNumbers::of).unwrap_or_default();
        let valid = self.valid();
        let past = value.past.first();
        let tenure = value.current.as_ref().filter(|_| valid.is_some());
        let acquired_at = value.current.as_ref().map(|_| numbers.acquired_at);
        let since = Millis(self.now.0.saturating_sub(LATELY_MS));
        let shown = tenure.map(|tenure| current(self.scope(), tenure, numbers));
        let leaderless_ms = shown.as_ref().and_then(|tenure| tenure.leaderless_ms);
        let (reason, correlation_id) = match (shown, self.unrecorded_end(), past) {
            (Some(tenure), ..) => (tenure.reason, tenure.correlation_id),
            (None, Some(ending), _) => (ending.reason.to_owned(), String::new()),
            (None, None, Some(past)) => (past.end_reason.clone(), past.end_correlation_id.clone()),
            (None, None, None) => (NEVER_LED.to_owned(), String::new()),
        };
        pb::Leadership {
            scope: self.scope().to_owned(),
            scope_kind: ScopeKind::word_of(self.scope()).to_owned(),
            labels: self.labels(),
            policy: value.policy.clone(),
            leader_id: valid.map(|(held, ..)| held.node.clone()).unwrap_or_default(),
            term: signed(numbers.term),
            fence_token: signed(numbers.token),
            elected_at: valid.map(|(held, ..)| timestamp(held.acquired_at)),
            renewed_at: valid.map(|(.., renewed_at)| timestamp(renewed_at)),
            expires_at: valid.map(|(_, until, _)| timestamp(until)),
            reason,
            correlation_id,
            previous_leader_id: self.previous_leader().unwrap_or_default().to_owned(),
            leaderless_ms,
            vacant_since: self.vacant_since().map(timestamp),
            elections_last_hour: elections_since(value, acquired_at, since),
            flaps_last_hour: flaps_since(value, since),
            order: value.order.clone(),
            version: record.version.0,
            updated_at: Some(timestamp(record.updated_at)),
            last_writer_id: record.writer.to_string(),
        }
    }

    /// As it was committed, with the leader of its record, whatever has become of the lease since. `numbers` are
    /// those of a lease that the same commit granted or released.
    pub fn as_committed(&self, numbers: Option<TenureNumbers>) -> pb::Leadership {
        let shown = self.leadership();
        let previous_leader_id = self.led_last().unwrap_or_default().to_owned();
        let Some(tenure) = &self.value.current else {
            let last = self.value.past.first();
            return pb::Leadership {
                leader_id: String::new(),
                term: last.map_or(0, |last| last.term),
                fence_token: last.map_or(0, |last| last.fence_token),
                elected_at: None,
                renewed_at: None,
                expires_at: None,
                reason: last.map_or_else(|| NEVER_LED.to_owned(), |last| last.end_reason.clone()),
                correlation_id: last.map(|last| last.end_correlation_id.clone()).unwrap_or_default(),
                previous_leader_id,
                leaderless_ms: None,
                vacant_since: Some(timestamp(self.recorded_vacant_since())),
                ..shown
            };
        };
        let is_its = |held: &&HeldLease| (&held.node, held.session) == (&tenure.leader_id, tenure.session);
        let lease = self.held.as_ref().filter(is_its);
        let numbers = numbers.or(lease.map(TenureNumbers::of));
        // A lease of the same session may be a later one.
        let is_valid = lease.is_some_and(|lease| numbers.is_some_and(|numbers| numbers.token == lease.token));
        let known = numbers.is_some();
        let tenure = current(self.scope(), tenure, numbers.unwrap_or_default());
        pb::Leadership {
            leader_id: tenure.leader_id,
            term: tenure.term,
            fence_token: tenure.fence_token,
            elected_at: tenure.elected_at.filter(|_| known),
            renewed_at: shown.renewed_at.filter(|_| is_valid),
            expires_at: shown.expires_at.filter(|_| is_valid),
            reason: tenure.reason,
            correlation_id: tenure.correlation_id,
            leaderless_ms: tenure.leaderless_ms.filter(|_| known),
            previous_leader_id,
            vacant_since: None,
            ..shown
        }
    }

    /// Who led before the one who leads, or led last.
    fn previous_leader(&self) -> Option<&str> {
        let over = self.value.current.as_ref().filter(|_| self.valid().is_none());
        over.map(|over| over.leader_id.as_str()).or(self.led_last())
    }

    /// Who led in the newest tenure that is over.
    fn led_last(&self) -> Option<&str> {
        self.value.past.first().map(|past| past.leader_id.as_str())
    }

    /// Instant since which nobody leads; `None` while somebody does.
    pub fn vacant_since(&self) -> Option<Millis> {
        if self.valid().is_some() {
            return None;
        }
        Some(self.unrecorded_end().map_or_else(|| self.recorded_vacant_since(), |ending| ending.at))
    }

    /// True once somebody has led it.
    pub fn was_led(&self) -> bool {
        self.value.current.is_some() || !self.value.past.is_empty()
    }

    fn recorded_vacant_since(&self) -> Millis {
        self.value.vacant_since.as_ref().map(millis).unwrap_or(self.record.record.created_at)
    }

    /// How the tenure has ended that the record still shows.
    fn unrecorded_end(&self) -> Option<TenureEnding> {
        ending(&self.value, self.held.as_ref(), self.record.record.updated_at)
    }
}

fn held(lease: &Lease, standing: LeaseStanding) -> Option<HeldLease> {
    Some(HeldLease {
        node: node_of_session(&lease.holder.id)?.to_owned(),
        session: lease.holder.instance,
        term: lease.term,
        token: lease.token,
        acquired_at: lease.acquired_at,
        standing,
    })
}
