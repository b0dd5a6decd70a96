//! Tables and laws of what candidates and leaders decide.

mod laws;
mod moves;
mod policies;
mod tenures;

use std::time::Duration;

use omnirelay_core::labels::Labels;
use omnirelay_wire::pb::omnirelay::store::v1::{LeadershipTenure, PeerValue};
use omnirelay_wire::timestamp::timestamp;

use super::*;
use pb::peer::Status;

const BACKOFF: Duration = Duration::from_millis(100);

/// The nodes of a mesh: id, record, and whether its session is live.
#[derive(Clone, Debug)]
struct Crowd(Vec<(String, PeerValue, bool)>);

impl Crowd {
    /// Alive ones that campaign, each in its first session.
    fn of(ids: &[&str]) -> Self {
        Self(ids.iter().map(|id| ((*id).to_owned(), alive(), true)).collect())
    }

    fn nodes(&self) -> Vec<ElectionCandidate<'_>> {
        self.0
            .iter()
            .map(|(id, peer, session_live)| ElectionCandidate { id, peer, session_live: *session_live })
            .collect()
    }

    fn peer(&mut self, id: &str) -> &mut PeerValue {
        &mut self.0.iter_mut().find(|node| node.0 == id).unwrap().1
    }

    fn end_session(&mut self, id: &str) {
        self.0.iter_mut().find(|node| node.0 == id).unwrap().2 = false;
    }
}

fn alive() -> PeerValue {
    let metadata = pb::PeerMetadata { campaigns: true, ..pb::PeerMetadata::default() };
    PeerValue { status: Status::Alive.into(), session: 1, metadata: Some(metadata), ..PeerValue::default() }
}

/// A policy that prefers these nodes in this order, so that a table can name who comes first.
fn in_order(ids: &[&str]) -> pb::LeadershipPolicy {
    let prefer = ids.iter().rev().zip(1..).map(|(id, priority)| pb::LeadershipPreference {
        nodes: Some(only(&[id])),
        priority,
        unknown_fields: Default::default(),
    });
    pb::LeadershipPolicy { eligible: None, prefer: prefer.collect(), unknown_fields: Default::default() }
}

fn only(ids: &[&str]) -> pb::NodeFilter {
    pb::NodeFilter { nodes: names(ids), ..pb::NodeFilter::default() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn order(verb: Verb, to: &str) -> Option<pb::LeadershipOrder> {
    Some(pb::LeadershipOrder { verb: verb.into(), to: to.to_owned(), ..pb::LeadershipOrder::default() })
}

/// A record that says `leader` leads in its first session.
fn led_by(leader: &str) -> LeadershipValue {
    let current = LeadershipTenure {
        leader_id: leader.to_owned(),
        session: 1,
        reason: "created".to_owned(),
        correlation_id: "first".to_owned(),
        vacant_since: None,
        unknown_fields: Default::default(),
    };
    LeadershipValue { current: Some(current), ..LeadershipValue::default() }
}
