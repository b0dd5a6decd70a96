//! The record of a scope through elections and losses.

use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{LeadershipTenure, LeadershipValue};
use omnirelay_wire::timestamp::{millis, timestamp};

use super::{HeldLease, TenureEnding};
use pb::tenure::End;

/// How many tenures a record keeps.
pub const PAST_MAX: usize = 16;

/// Why the tenure of a scope ends that is removed.
pub const SCOPE_DELETED: &str = "scope_deleted";

/// Numbers that the store gives a tenure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenureNumbers {
    pub term: u64,
    pub token: u64,
    pub acquired_at: Millis,
}

/// Transition of leadership, as who watches it is told of a change of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum TenureTransition {
    Ended(pb::Tenure),
    Elected(pb::Tenure),
    /// The policy, the labels or the order.
    Changed,
    Removed,
}

impl TenureNumbers {
    /// Those of a lease.
    pub fn of(held: &HeldLease) -> Self {
        Self { term: held.term, token: held.token, acquired_at: held.acquired_at }
    }
}

/// The tenure that a record shows as going on, with the numbers of its lease.
pub fn current(scope: &str, tenure: &LeadershipTenure, numbers: TenureNumbers) -> pb::Tenure {
    let vacant_since = tenure.vacant_since.as_ref().map(millis);
    pb::Tenure {
        scope: scope.to_owned(),
        leader_id: tenure.leader_id.clone(),
        term: signed(numbers.term),
        fence_token: signed(numbers.token),
        elected_at: Some(timestamp(numbers.acquired_at)),
        reason: tenure.reason.clone(),
        correlation_id: tenure.correlation_id.clone(),
        leaderless_ms: vacant_since.map(|since| numbers.acquired_at.0.saturating_sub(since.0)),
        ..pb::Tenure::default()
    }
}

/// Returns the tenure as it stands in the record once it is over.
pub fn end(tenure: pb::Tenure, ending: TenureEnding, correlation_id: &str) -> pb::Tenure {
    pb::Tenure {
        ended_at: Some(timestamp(ending.at)),
        end: ending.end.into(),
        end_reason: ending.reason.to_owned(),
        end_correlation_id: correlation_id.to_owned(),
        ..tenure
    }
}

/// The record once nobody leads: `numbers` are those of the tenure that ended.
#[must_use]
pub fn vacate(
    scope: &str,
    value: &LeadershipValue,
    numbers: TenureNumbers,
    ending: TenureEnding,
    correlation_id: &str,
) -> LeadershipValue {
    let mut after = value.clone();
    after.order = None;
    if let Some(over) = after.current.take() {
        after.past.insert(0, end(current(scope, &over, numbers), ending, correlation_id));
        after.past.truncate(PAST_MAX);
        after.vacant_since = Some(timestamp(ending.at));
    }
    after
}

/// The record once `leader` leads a vacant scope in its session.
#[must_use]
pub fn elect(value: &LeadershipValue, leader: &str, session: u64, correlation_id: &str) -> LeadershipValue {
    let mut after = value.clone();
    let vacant_since = after.vacant_since.take();
    let reason = match after.past.first() {
        None => "created",
        Some(last) => last.end_reason.as_str(),
    };
    let reason = reason.to_owned();
    after.order = None;
    // The new lease is above it.
    after.token_floor = 0;
    after.current = Some(LeadershipTenure {
        leader_id: leader.to_owned(),
        session,
        reason,
        correlation_id: correlation_id.to_owned(),
        vacant_since,
        unknown_fields: Default::default(),
    });
    after
}

/// Number of tenures that began at `since` or later, the current one included.
pub fn elections_since(value: &LeadershipValue, elected_at: Option<Millis>, since: Millis) -> u32 {
    let past = value.past.iter().filter_map(|tenure| tenure.elected_at.as_ref().map(millis));
    let all = past.chain(elected_at).filter(|at| *at >= since).count();
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// Number of tenures that ended at `since` or later without their leader having handed over.
pub fn flaps_since(value: &LeadershipValue, since: Millis) -> u32 {
    let lately = |tenure: &&pb::Tenure| tenure.ended_at.as_ref().is_some_and(|at| millis(at) >= since);
    let flaps = value.past.iter().filter(lately).filter(|tenure| tenure.end() != End::SteppedDown).count();
    u32::try_from(flaps).unwrap_or(u32::MAX)
}

/// Transitions of leadership between two states of a record. `numbers` are those of the lease that the commit granted
/// or released, `at` is when the commit was made.
pub fn transitions(
    scope: &str,
    before: Option<&LeadershipValue>,
    after: Option<&LeadershipValue>,
    numbers: TenureNumbers,
    at: Millis,
) -> Vec<TenureTransition> {
    let led_before = before.and_then(|value| value.current.as_ref());
    let leads_after = after.and_then(|value| value.current.as_ref());
    let is_same =
        |one: &LeadershipTenure, other: &LeadershipTenure| one.correlation_id == other.correlation_id;
    let mut found = Vec::new();
    if let Some(led) = led_before.filter(|led| leads_after.is_none_or(|leads| !is_same(led, leads))) {
        let recorded = after.and_then(|value| value.past.first());
        found.push(TenureTransition::Ended(
            match recorded.filter(|past| past.correlation_id == led.correlation_id) {
                Some(past) => past.clone(),
                None => end(
                    current(scope, led, numbers),
                    TenureEnding { end: End::SteppedDown, reason: SCOPE_DELETED, at },
                    &led.correlation_id,
                ),
            },
        ));
    }
    if let Some(leads) = leads_after.filter(|leads| led_before.is_none_or(|led| !is_same(led, leads))) {
        found.push(TenureTransition::Elected(current(scope, leads, numbers)));
    }
    if after.is_none() {
        found.push(TenureTransition::Removed);
    } else if found.is_empty() {
        found.push(TenureTransition::Changed);
    }
    found
}

/// A term or a token as messages hold it; they stay far below the limit.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
