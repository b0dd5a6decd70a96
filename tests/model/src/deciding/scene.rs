//! What a node of the model knows of the world, as the scene that the core decides on.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::{
    ElectionCandidate as Candidate, HeldLease, LeadershipMove, LeadershipScene, LeaseStanding,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{LeadershipTenure, LeadershipValue, PeerValue};

use super::{NODES, Verb, World};
use crate::store::TTL;

/// An instant of the model is a millisecond, and candidates take turns of one.
const BACKOFF: Duration = Duration::from_millis(1);
const SCOPE: &str = "x";
const NAMES: [&str; NODES] = ["a", "b"];

pub(super) type Decide = fn(&LeadershipScene<'_>) -> LeadershipMove;

/// What `me` does about a world, as far as it knows it, at `now`.
pub(super) fn ask(
    decide: Decide,
    seen: &World,
    me: usize,
    session: Option<u8>,
    in_doubt: bool,
    now: u8,
) -> LeadershipMove {
    let (value, held) = (value(seen), held(seen, now));
    let peers = [0, 1].map(|at| peer(seen, at));
    let nodes = [0, 1].map(|at| Candidate {
        id: NAMES[at],
        peer: &peers[at],
        session_live: seen.store.is_live_at(at, now),
    });
    decide(&LeadershipScene {
        scope: SCOPE,
        value: &value,
        held: held.as_ref(),
        token_seen: held.as_ref().map_or(0, |held| held.token),
        me: NAMES[me],
        my_session: session.map(u64::from),
        changed_at: ms(seen.record.changed_at),
        last_led: None,
        nodes: &nodes,
        now: ms(now),
        not_before: ms(seen.store.quarantine_until),
        backoff: BACKOFF,
        left_alone_until: None,
        in_doubt,
        leaving: false,
    })
}

/// Which node has this name.
pub(super) fn named(name: &str) -> usize {
    NAMES.iter().position(|of| *of == name).unwrap()
}

fn ms(at: u8) -> Millis {
    Millis(u64::from(at))
}

fn value(seen: &World) -> LeadershipValue {
    let record = &seen.record;
    let current = record.current.map(|(node, session)| LeadershipTenure {
        leader_id: NAMES[node].to_owned(),
        session: u64::from(session),
        ..LeadershipTenure::default()
    });
    let past = record.stepped_down.map(|node| pb::Tenure {
        leader_id: NAMES[node].to_owned(),
        end_reason: "step_down".to_owned(),
        ..pb::Tenure::default()
    });
    let order = record.order.map(|verb| {
        let (verb, to) = match verb {
            Verb::Transfer(to) => (pb::leadership_order::Verb::Transfer, NAMES[to]),
            Verb::StepDown => (pb::leadership_order::Verb::StepDown, ""),
            Verb::Delete => (pb::leadership_order::Verb::Delete, ""),
        };
        pb::LeadershipOrder { verb: verb.into(), to: to.to_owned(), ..pb::LeadershipOrder::default() }
    });
    LeadershipValue { current, past: past.into_iter().collect(), order, ..LeadershipValue::default() }
}

/// A lease that was given back is left out: the record says so, and the core makes no difference.
fn held(seen: &World, now: u8) -> Option<HeldLease> {
    let (node, life) = seen.store.lease.holder?;
    let session = seen.store.sessions[node];
    let (deadline, renewed_at) = (ms(session.deadline), ms(session.deadline.saturating_sub(TTL)));
    let standing = if session.instance > life {
        LeaseStanding::Replaced
    } else if session.instance < life {
        LeaseStanding::Unknown
    } else if now < session.deadline {
        LeaseStanding::Live { until: deadline, renewed_at }
    } else {
        LeaseStanding::Expired { renewed_at, at: deadline }
    };
    let token = u64::from(seen.store.lease.token);
    Some(HeldLease {
        node: NAMES[node].to_owned(),
        session: u64::from(life),
        term: token,
        token,
        acquired_at: Millis(0),
        standing,
    })
}

fn peer(seen: &World, at: usize) -> PeerValue {
    let metadata = pb::PeerMetadata { campaigns: true, ..pb::PeerMetadata::default() };
    PeerValue {
        status: pb::peer::Status::Alive.into(),
        session: u64::from(seen.store.sessions[at].instance),
        draining: seen.draining == Some(at),
        metadata: Some(metadata),
        ..PeerValue::default()
    }
}
