//! Decisions of a node about the leadership of a scope.
//!
//! The store grants leases and numbers them; this decides who asks for one, when, and who gives one up.
//! Candidates campaign one after another in an order that all of them know, so that a free scope is asked
//! for once, and not by everybody at the same instant.

mod candidates;
#[cfg(test)]
mod lease_test;
mod tenure;

use std::time::Duration;

pub use candidates::{
    ElectionCandidate, ElectionPolicy, LeaderExclusion, NAMES_MAX, PREFERENCES_MAX, PRIORITY_MAX,
    PolicyError, RankedCandidate, place_among, place_of,
};
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;
use pb::leadership_order::Verb;
use pb::tenure::End;
pub use tenure::{
    PAST_MAX, SCOPE_DELETED, TenureNumbers, TenureTransition, current, elect, elections_since, end,
    flaps_since, signed, transitions, vacate,
};

/// Why a leader is elected anew that has a smaller token than one that was seen.
pub const TOKEN_OVERTAKEN: &str = "token_overtaken";
/// Why nobody leads while the store has not confirmed the lease.
pub const UNCONFIRMED: &str = "unconfirmed";
/// Why a leader steps down that may have given its lease back.
const IN_DOUBT: &str = "in_doubt";
/// Why a leader gives up what it leads when it stops.
pub const SHUTDOWN: &str = "shutdown";
/// Why a leader gives up a scope that somebody wants to be elected anew: by an order, or by the settings of the leader.
pub const STEP_DOWN: &str = "step_down";

/// A lease as the store has it, and how the session that holds it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    pub node: String,
    pub session: u64,
    pub term: u64,
    pub token: u64,
    pub acquired_at: Millis,
    pub standing: LeaseStanding,
}

/// Standing of the session of a lease, by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStanding {
    /// The lease is valid.
    Live { until: Millis, renewed_at: Millis },
    /// The store has it as valid until then, and not where it would outlive the server that granted it: nobody may
    /// rely on it, and nobody else is granted the scope.
    Unconfirmed { until: Millis, renewed_at: Millis },
    /// The leader gave it back.
    Released,
    /// The session ran out.
    Expired { renewed_at: Millis, at: Millis },
    /// The leader ended its session.
    Closed { at: Millis },
    /// The node has another session.
    Replaced,
    /// The session is one that the store no longer has.
    Unknown,
}

/// Facts by which a node decides about a scope.
#[derive(Clone, Copy, Debug)]
pub struct LeadershipScene<'a> {
    pub scope: &'a str,
    pub value: &'a LeadershipValue,
    pub held: Option<&'a HeldLease>,
    /// The greatest token that was ever seen of it, by this node or by whoever has written that down.
    pub token_seen: u64,
    /// The node that decides.
    pub me: &'a str,
    /// Its session, as long as it may rely on it.
    pub my_session: Option<u64>,
    /// When the record was written last.
    pub changed_at: Millis,
    /// When the node last knew the scope to be led.
    pub last_led: Option<Millis>,
    /// The nodes of the mesh; of those that have left `me` at the most.
    pub nodes: &'a [ElectionCandidate<'a>],
    pub now: Millis,
    /// Before this nobody is granted the scope.
    pub not_before: Millis,
    /// How much later than the one before it each candidate campaigns.
    pub backoff: Duration,
    /// Until when the scope is left alone: somebody else was faster, or a commit failed.
    pub left_alone_until: Option<Millis>,
    /// The node may have given back the lease that it has, and does not know.
    pub in_doubt: bool,
    /// The node does not enter the scope any more: what it leads of it goes to another node that may lead it.
    pub leaving: bool,
}

/// End of a tenure: its kind, its reason and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenureEnding {
    pub end: End,
    pub reason: &'static str,
    /// When the leader was last known to lead.
    pub at: Millis,
}

/// Move of a node about the leadership of a scope: what to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadershipMove {
    /// Nothing, until something changes.
    Rest,
    /// Nothing; look again at this instant.
    Look { at: Millis },
    /// Ask for the lease; `ending` is how the tenure before ended, if that is not recorded yet.
    Campaign { ending: Option<TenureEnding> },
    /// Give the lease to another node in one step.
    HandOver { to: String, reason: &'static str },
    /// Give the lease back.
    StepDown { reason: &'static str },
    /// Give the lease back, if it is held, and remove the scope.
    Remove,
    /// Forget an order that cannot be carried out.
    DropOrder,
    /// Write down that a greater token than the leader's was seen.
    Raise { token: u64 },
    /// Record that nobody leads any more.
    Vacate { ending: TenureEnding },
}

/// Decides what the node does about the scope.
pub fn decide(scene: &LeadershipScene<'_>) -> LeadershipMove {
    if let Some(at) = scene.left_alone_until {
        return LeadershipMove::Look { at };
    }
    match by_lease(scene) {
        // It does not act on a lease that it may have given back, so nobody would.
        LeadershipMove::Rest | LeadershipMove::Look { .. } if scene.in_doubt => {
            LeadershipMove::StepDown { reason: IN_DOUBT }
        }
        act => act,
    }
}

/// Move of a leader that ceases to lead anything, for this reason: it hands its scope over, or steps down.
pub fn give_up(scene: &LeadershipScene<'_>, reason: &'static str) -> LeadershipMove {
    match successor(scene) {
        Some(to) => LeadershipMove::HandOver { to, reason },
        None => LeadershipMove::StepDown { reason },
    }
}

fn by_lease(scene: &LeadershipScene<'_>) -> LeadershipMove {
    let Some(held) = scene.held else { return fill(scene) };
    match held.standing {
        LeaseStanding::Live { .. } if held.node == scene.me && Some(held.session) == scene.my_session => {
            lead(scene)
        }
        LeaseStanding::Live { .. }
            if is_overtaken(scene, held) && scene.token_seen > scene.value.token_floor =>
        {
            LeadershipMove::Raise { token: scene.token_seen }
        }
        LeaseStanding::Live { until, .. } | LeaseStanding::Unconfirmed { until, .. } => {
            LeadershipMove::Look { at: until }
        }
        LeaseStanding::Released
        | LeaseStanding::Expired { .. }
        | LeaseStanding::Closed { .. }
        | LeaseStanding::Replaced
        | LeaseStanding::Unknown => fill(scene),
    }
}

/// Whether the lease has a smaller token than one that was seen before: whoever checks tokens refuses it.
fn is_overtaken(scene: &LeadershipScene<'_>, held: &HeldLease) -> bool {
    held.token < scene.token_seen
}

/// What a leader does: it goes on, unless somebody else is to lead.
fn lead(scene: &LeadershipScene<'_>) -> LeadershipMove {
    let Ok(policy) = ElectionPolicy::of(scene.value.policy.as_ref()) else { return LeadershipMove::Rest };
    if let Some(order) = &scene.value.order {
        let ranked = policy.rank(scene.scope, scene.nodes, None);
        let may = order.to != scene.me && ranked.iter().any(|ranked| ranked.id == order.to);
        return match order.verb() {
            Verb::Delete => LeadershipMove::Remove,
            Verb::StepDown => LeadershipMove::StepDown { reason: STEP_DOWN },
            Verb::Transfer if may => LeadershipMove::HandOver { to: order.to.clone(), reason: "transferred" },
            Verb::Transfer | Verb::Unspecified => LeadershipMove::DropOrder,
        };
    }
    let Some(me) = scene.nodes.iter().find(|node| node.id == scene.me) else { return LeadershipMove::Rest };
    if scene.held.is_some_and(|held| is_overtaken(scene, held)) {
        return LeadershipMove::HandOver { to: scene.me.to_owned(), reason: TOKEN_OVERTAKEN };
    }
    let allowed = policy.allows(me);
    if allowed && !me.peer.draining && !scene.leaving {
        return LeadershipMove::Rest;
    }
    let unwanted = if me.peer.draining { "drained" } else { STEP_DOWN };
    let ranked = policy.rank(scene.scope, scene.nodes, None);
    let successor = ranked.iter().find(|ranked| ranked.id != scene.me);
    match (allowed, successor) {
        (false, Some(to)) => LeadershipMove::HandOver { to: to.id.to_owned(), reason: "not_eligible" },
        (false, None) => LeadershipMove::StepDown { reason: "not_eligible" },
        (true, Some(to)) => LeadershipMove::HandOver { to: to.id.to_owned(), reason: unwanted },
        (true, None) => LeadershipMove::Rest,
    }
}

/// Whom a leader that stops hands its scope to; `None`: nobody may lead it.
fn successor(scene: &LeadershipScene<'_>) -> Option<String> {
    let policy = ElectionPolicy::of(scene.value.policy.as_ref()).ok()?;
    let ranked = policy.rank(scene.scope, scene.nodes, Some(scene.me));
    ranked.first().filter(|first| first.id != scene.me).map(|first| first.id.to_owned())
}

/// What a node does about a scope that nobody leads.
fn fill(scene: &LeadershipScene<'_>) -> LeadershipMove {
    let order = scene.value.order.as_ref();
    let Some(my_session) = scene.my_session else { return LeadershipMove::Rest };
    let ending = how_it_ended(scene);
    let free_at = ending.map_or(scene.changed_at, |(_, free_at)| free_at);
    // Dated so far ahead it is of before store time was brought back, and long over.
    let free_at = free_at.as_of(scene.now).max(scene.not_before);
    let ending = ending.map(|(ending, _)| ending);
    if order.is_some_and(|order| order.verb() == Verb::Delete) {
        return in_turn(scene, free_at, place_of(scene.scope, scene.nodes, scene.me), LeadershipMove::Remove);
    }
    let Ok(policy) = ElectionPolicy::of(scene.value.policy.as_ref()) else { return LeadershipMove::Rest };
    let mut ranked = policy.rank(scene.scope, scene.nodes, stepped_down(scene.value));
    if let Some(wanted) = order.filter(|order| order.verb() == Verb::Transfer) {
        // What the leader before did not come to do.
        ranked.sort_by_key(|ranked| ranked.id != wanted.to);
    }
    match (ranked.iter().position(|ranked| ranked.id == scene.me), ending) {
        (Some(place), ending) if is_in_session(scene, my_session) => {
            in_turn(scene, free_at, place, LeadershipMove::Campaign { ending })
        }
        (None, Some(ending)) if ranked.is_empty() => {
            let place = place_of(scene.scope, scene.nodes, scene.me);
            in_turn(scene, free_at, place, LeadershipMove::Vacate { ending })
        }
        (Some(_) | None, _) => LeadershipMove::Rest,
    }
}

/// Whether the node's record is of the session that it has: otherwise it is about to be entered anew.
fn is_in_session(scene: &LeadershipScene<'_>, session: u64) -> bool {
    scene.nodes.iter().any(|node| node.id == scene.me && node.peer.session == session)
}

/// The move, when it is the node's turn.
fn in_turn(
    scene: &LeadershipScene<'_>,
    free_at: Millis,
    place: usize,
    then: LeadershipMove,
) -> LeadershipMove {
    let turns = u32::try_from(place).unwrap_or(u32::MAX);
    let at = free_at.after(scene.backoff.saturating_mul(turns));
    if scene.now >= at { then } else { LeadershipMove::Look { at } }
}

/// How the tenure that the record shows has ended, and since when the scope is free: the same for every node,
/// and however often it is asked, because candidates take turns from there.
fn how_it_ended(scene: &LeadershipScene<'_>) -> Option<(TenureEnding, Millis)> {
    let ending = ending(scene.value, scene.held, scene.last_led.unwrap_or(scene.now))?;
    let free_at = match scene.held.map(|held| held.standing) {
        Some(LeaseStanding::Expired { at, .. } | LeaseStanding::Closed { at }) => at,
        Some(
            LeaseStanding::Live { .. }
            | LeaseStanding::Unconfirmed { .. }
            | LeaseStanding::Released
            | LeaseStanding::Replaced
            | LeaseStanding::Unknown,
        )
        | None => scene.changed_at,
    };
    Some((ending, free_at))
}

/// End of the tenure that a record shows as going on; `None`: it goes on, or there is none. `last_led` is when the
/// scope was last known to be led, for an end that the store cannot tell the time of.
pub fn ending(value: &LeadershipValue, held: Option<&HeldLease>, last_led: Millis) -> Option<TenureEnding> {
    let current = value.current.as_ref()?;
    let of_current = |held: &&HeldLease| held.node == current.leader_id && held.session == current.session;
    let lost = |reason, at| Some(TenureEnding { end: End::Lost, reason, at });
    let Some(held) = held.filter(of_current) else { return lost("epoch_changed", last_led) };
    // No tenure ends before it began, whatever was heard of its session before.
    let last_led = last_led.max(held.acquired_at);
    match held.standing {
        LeaseStanding::Live { .. } => None,
        LeaseStanding::Unconfirmed { renewed_at, .. } => {
            let at = renewed_at.max(held.acquired_at);
            Some(TenureEnding { end: End::Lost, reason: UNCONFIRMED, at })
        }
        LeaseStanding::Expired { renewed_at, .. } => {
            let last_heard = renewed_at.max(held.acquired_at);
            Some(TenureEnding { end: End::Expired, reason: "lease_expired", at: last_heard })
        }
        LeaseStanding::Closed { at } => Some(TenureEnding { end: End::SteppedDown, reason: SHUTDOWN, at }),
        LeaseStanding::Replaced => lost("session_replaced", last_led),
        // Its release would have changed the record in the same commit.
        LeaseStanding::Released | LeaseStanding::Unknown => lost("epoch_changed", last_led),
    }
}

/// The node that was told to step down last, if nobody has led since: it may lead again if nobody else can.
fn stepped_down(value: &LeadershipValue) -> Option<&str> {
    let last = value.past.first().filter(|_| value.current.is_none())?;
    (last.end_reason == STEP_DOWN).then_some(last.leader_id.as_str())
}
