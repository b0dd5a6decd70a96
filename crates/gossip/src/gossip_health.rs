//! Health of peers as this node hears of it by gossip, beside what the registry has of them.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::wall_clock;
use omnirelay_membership::MemberStatus;
use omnirelay_peer_records::alive_since;
use omnirelay_registry::view::View;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::{Timestamp, timestamp};

use crate::{Gossip, MemberHealth};
use pb::peer_health::State;

/// How long a node that stops lives on, as its session has it, once it has left by gossip.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// Health of all nodes by gossip at one moment, of this node too; empty: it does not gossip.
#[derive(Default)]
pub struct GossipHealth(BTreeMap<String, MemberHealth>);

impl GossipHealth {
    pub fn of(gossip: Option<&Gossip>, view: &View) -> Self {
        let members = gossip.map(Gossip::members).unwrap_or_default();
        Self(members.into_iter().filter(|(node, health)| is_of_now(view, node, health)).collect())
    }

    /// The same of one peer alone.
    pub fn of_one(gossip: Option<&Gossip>, view: &View, node_id: &str) -> Self {
        let health = gossip.and_then(|gossip| gossip.health(node_id));
        let health = health.filter(|health| is_of_now(view, node_id, health));
        Self(health.map(|health| (node_id.to_owned(), health)).into_iter().collect())
    }

    pub fn get(&self, node_id: &str) -> Option<&MemberHealth> {
        self.0.get(node_id)
    }

    /// Those that live.
    pub fn live(&self) -> impl Iterator<Item = (&String, &MemberHealth)> {
        self.0.iter().filter(|(_, health)| health.status.is_live())
    }

    /// As the API shows it.
    pub fn shown(&self, node_id: &str) -> pb::PeerHealth {
        shown(self.get(node_id))
    }

    pub fn state(&self, node_id: &str) -> State {
        self.get(node_id).map_or(State::Unknown, |health| state(health.status))
    }

    /// Age of the status of a peer: how long it has been so.
    pub fn age(&self, node_id: &str) -> Option<Duration> {
        self.get(node_id).map(|health| health.age)
    }

    /// Round-trip time of a peer that is live: how long its answers take.
    pub fn rtt(&self, node_id: &str) -> Option<Duration> {
        self.get(node_id).filter(|health| health.status.is_live())?.rtt
    }

    /// Whether others answer for a peer, and it does not answer this node.
    pub fn is_through_others(&self, node_id: &str) -> bool {
        self.get(node_id).is_some_and(|health| health.is_through_others)
    }

    /// Whether a peer is known not to be there.
    pub fn is_gone(&self, node_id: &str) -> bool {
        self.get(node_id).is_some_and(|health| !health.status.is_live())
    }
}

/// Time for which gossip has taken a node for suspect or dead; `None`: it does not.
pub fn doubted_for(gossip: &Gossip, view: &View, node_id: &str) -> Option<Duration> {
    let heard = GossipHealth::of_one(Some(gossip), view, node_id);
    matches!(heard.state(node_id), State::Suspect | State::Dead).then(|| heard.age(node_id)).flatten()
}

/// Whether what is known of a peer is of the start of it that there is now.
fn is_of_now(view: &View, node_id: &str, health: &MemberHealth) -> bool {
    let alive_since = alive_since(view, node_id);
    let lives_for = alive_since.map(|since| Duration::from_millis(view.now().0.saturating_sub(since.0)));
    counts(health.status, health.age, lives_for)
}

/// Whether a status that a peer has had for so long counts, where its session has been alive for so long. One that came back since it
/// was gone, and that gossip has not heard of since, is a daemon that does not gossip; so is one that has left long ago and lives.
fn counts(status: MemberStatus, age: Duration, lives_for: Option<Duration>) -> bool {
    let Some(lives_for) = lives_for.filter(|_| !status.is_live()) else { return true };
    let may_stop = status != MemberStatus::Left || age < STOPS_WITHIN;
    may_stop && lives_for >= age
}

fn state(status: MemberStatus) -> State {
    match status {
        MemberStatus::Alive => State::Alive,
        MemberStatus::Suspect => State::Suspect,
        MemberStatus::Dead => State::Dead,
        MemberStatus::Left => State::Left,
    }
}

fn shown(health: Option<&MemberHealth>) -> pb::PeerHealth {
    let Some(health) = health else {
        return pb::PeerHealth { state: State::Unknown.into(), ..pb::PeerHealth::default() };
    };
    pb::PeerHealth {
        state: state(health.status).into(),
        since: Some(ago(health.age)),
        by: health.by.clone(),
        heard_at: health.heard.map(ago),
        unwell: health.unwell.into(),
        incarnation: health.incarnation,
        flaps: health.flaps,
    }
}

/// The moment so long ago, by this host's clock.
fn ago(age: Duration) -> Timestamp {
    timestamp(Millis(whole_ms(wall_clock::unix().saturating_sub(age))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_daemon_that_does_not_gossip_nothing_is_known() {
        let cases = [
            (MemberStatus::Alive, 100, Some(1), true),
            (MemberStatus::Dead, 100, None, true),
            (MemberStatus::Dead, 100, Some(200), true),
            (MemberStatus::Dead, 100, Some(50), false),
            (MemberStatus::Left, 10, Some(200), true),
            (MemberStatus::Left, 100, Some(200), false),
            (MemberStatus::Left, 10, Some(5), false),
            (MemberStatus::Left, 100, None, true),
        ];
        for (status, age, lives_for, expected) in cases {
            let lives_for = lives_for.map(Duration::from_secs);
            let counted = counts(status, Duration::from_secs(age), lives_for);
            assert_eq!(counted, expected, "{status:?} {age} {lives_for:?}");
        }
    }
}
