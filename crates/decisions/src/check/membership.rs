//! Checks of peers: they live, one node reaches another, and work can be placed.

use std::collections::BTreeMap;

use omnirelay_core::text::{count, printable, some_of};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, NAMED_MAX, RegistryFacts, health, is_alive};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};
use pb::peer::Status;
use pb::peer_health::State;

/// The item of a node's readiness that says whether another daemon has its id.
const GOSSIP: &str = "gossip";
const OTHER_ID: &str = "omnirelayd --node-id OTHER    # on one of the two hosts, with a data directory and a certificate of its own";

pub static CATEGORY: FindingCategory = FindingCategory {
    name: "membership",
    page: "runbooks/peers.md",
    checks: &[
        CheckDefinition::new(
            "membership-known",
            "the daemon that answers is a live peer",
            "The daemon answers and the mesh does not count on it: it is not registered, or was judged gone.",
            CheckJudge::Registry(known),
        ),
        CheckDefinition::new(
            "membership-suspect",
            "no peer is suspect",
            "The store has not heard from a node for the length of its session. It is dead soon, or back.",
            CheckJudge::Registry(suspect),
        ),
        CheckDefinition::new(
            "membership-dead",
            "no peer is dead",
            "The store has not heard from a node for long. What it led has gone to others.",
            CheckJudge::Registry(dead),
        ),
        CheckDefinition::new(
            "membership-unreached",
            "every live peer is reached by gossip",
            "A node renews its session in the store and no other node reaches it: it keeps what it leads, and nobody can call it.",
            CheckJudge::Registry(unreached),
        ),
        CheckDefinition::new(
            "membership-one-id",
            "no two daemons have one id",
            "Two daemons say that they are the same node: each is taken for the other, and both flap.",
            CheckJudge::Registry(one_id),
        ),
        CheckDefinition::new(
            "membership-capacity",
            "a live peer takes new work",
            "Every live node is cordoned: nothing new can be placed, and no scope without a leader gets one.",
            CheckJudge::Registry(capacity),
        ),
    ],
    items: &[GOSSIP],
};

fn known(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let own = &registry.own;
    match registry.peer(own) {
        Some(peer) if is_alive(peer) => {
            let peers = count(registry.peers.len() as u64, "peer");
            CheckResult::pass(format!("{peers} known, {own} among them"))
        }
        Some(peer) => CheckResult::fail(format!("{own} answers but is {}", peer.status().as_str_name()))
            .about([own.as_str()])
            .hint(format!("omnirelay mesh peers status {own}")),
        None => CheckResult::fail(format!("{own} answers but is no peer"))
            .hint("journalctl -u omnirelayd    # on its host: why it could not register"),
    }
}

fn suspect(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    match registry.peers_with(|peer| peer.status() == Status::Suspect).as_slice() {
        [] => CheckResult::pass("no peer is suspect"),
        ids => CheckResult::warn(format!("suspect: {}", some_of(ids, NAMED_MAX)))
            .hint(format!("omnirelay mesh peers status {}", ids[0]))
            .about(ids.iter().copied()),
    }
}

/// Whoever was put out of the mesh is meant to be gone.
fn dead(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let was_put_out = |peer: &pb::Peer| peer.unproven == "certificate_revoked";
    let is_dead = |peer: &pb::Peer| peer.status() == Status::Dead && !was_put_out(peer);
    let ids = registry.peers_with(is_dead);
    if let Some(first) = registry.peers.iter().find(|peer| is_dead(peer)) {
        return CheckResult::fail(format!("dead: {}", some_of(&ids, NAMED_MAX)))
            .hint(next_of_dead(
                &first.node_id,
                health(first) == State::Alive,
                &format!("{} mesh check", registry.asking(&first.node_id)),
            ))
            .about(ids);
    }
    match registry.peers_with(|peer| peer.status() == Status::Dead).as_slice() {
        [] => CheckResult::pass("no peer is dead"),
        ids => CheckResult::pass(format!(
            "no peer is dead but those that were put out: {}",
            some_of(ids, NAMED_MAX)
        ))
        .hint(format!("omnirelay mesh peers forget {}    # if it is not to come back", ids[0])),
    }
}

/// Next step for a peer that is dead, and whose daemon is asked by `ask`. It may run, and be refused by its store:
/// `answers_others`.
pub fn next_of_dead(id: &str, answers_others: bool, ask: &str) -> String {
    match answers_others {
        true => next_of_running(id, ask),
        false => format!(
            "systemctl start omnirelayd    # start it again, on the host of {id}; where its daemon runs: {ask}, for its store may refuse \
             it; if {id} is gone for good: omnirelay mesh peers forget {id}"
        ),
    }
}

/// Next step for a daemon that runs, and whose session the store has ended.
pub fn next_of_running(id: &str, ask: &str) -> String {
    format!(
        "{ask}    # its daemon runs, for {id} answers other nodes: its store is away from it, or refuses it"
    )
}

/// By the word of every node: one that answers the node which judges may be cut off from another.
fn unreached(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    let named = |found: &BTreeMap<&str, Vec<&str>>| {
        let told: Vec<String> =
            found.iter().map(|(id, by)| format!("{id} (by {})", some_of(by, NAMED_MAX))).collect();
        some_of(&told, NAMED_MAX)
    };
    let gone = facts.reached_so(registry, |reach| reach.gossip == "gone");
    if let Some((first, _)) = gone.first_key_value() {
        return CheckResult::warn(format!("their sessions live, and gossip has them gone: {}", named(&gone)))
            .hint(format!(
                "omnirelay mesh peers explain {first}    # who does not reach it; then its mesh port, or: omnirelay mesh peers drain {first}"
            ))
            .seen_by(gone.values().flatten().copied())
            .about(gone.keys().copied());
    }
    let unheard = facts.reached_so(registry, |reach| reach.gossip == "unheard");
    if let Some((first, _)) = unheard.first_key_value() {
        return CheckResult::warn(format!("gossip has not heard of {}", named(&unheard)))
            .hint(format!(
                "omnirelay mesh peers ping {first}    # whether its mesh port is reached; else mesh.gossip.enabled is false there, or it is older"
            ))
            .seen_by(unheard.values().flatten().copied())
            .about(unheard.keys().copied());
    }
    let by = facts.witnesses("gossip");
    if !by.is_empty() {
        return CheckResult::pass(format!("gossip reaches every live peer{}", facts.coverage(by.len())))
            .seen_by(by);
    }
    let is_without_authority = facts.own().is_some_and(|own| own.enrolment == "no_authority");
    CheckResult::skip(match is_without_authority {
        true => "nodes do not gossip, for this mesh has no authority and so no mesh port is open",
        false => "no node that was asked gossips",
    })
}

/// By the word of the daemon that has lost its session to another one with its id, and of gossip.
fn one_id(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    let rivals = registry.peers.iter().filter(|peer| !peer.rival.is_empty());
    let told: Vec<String> = rivals
        .map(|peer| format!("{}, which another daemon, at {}, has too", peer.node_id, printable(&peer.rival)))
        .collect();
    if !told.is_empty() {
        return CheckResult::warn(format!("two daemons have one id: {}", some_of(&told, NAMED_MAX)))
            .hint(OTHER_ID)
            .about(registry.peers_with(|peer| !peer.rival.is_empty()));
    }
    let fine = "every id is that of one daemon";
    let found =
        CheckResult::of_item(facts, GOSSIP, CheckVerdict::Warn, fine, "no daemon that is asked gossips");
    found.about_themselves().next(OTHER_ID)
}

fn capacity(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let alive: Vec<&pb::Peer> = registry.alive().collect();
    let open = alive.iter().filter(|peer| !peer.cordoned).count();
    let of = count(alive.len() as u64, "live peer");
    match (open, alive.first()) {
        (0, Some(first)) => CheckResult::fail(format!("none of {of} takes new work"))
            .hint(format!("omnirelay mesh peers uncordon {}", first.node_id)),
        (0, None) => CheckResult::fail("there is no live peer").hint("omnirelay mesh peers status"),
        (open, _) => CheckResult::pass(format!("{open} of {of} take new work")),
    }
}
