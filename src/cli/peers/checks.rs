//! What `mesh check` asks of peers.

use serde_json::Value;

use super::LIST;
use super::status::gone;
use crate::cli::check::facts::{Facts, NAMED_MAX, Question};
use crate::cli::check::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::client::{count, some_of};
use crate::cli::frame::document::{field, flag, items, text};
use crate::cli::frame::time;

/// The item of a node's readiness that says whether another daemon has its id.
const GOSSIP: &str = "gossip";

/// How long a node may be registered before gossip has heard of it.
const NEW_MS: i64 = 10_000;

/// All peers.
pub static PEERS: Question = Question { rpc: &LIST, list: Some("peers") };

pub static CATEGORY: Category = Category {
    name: "membership",
    page: "runbooks/peers.md",
    checks: &[
        Check::new(
            "membership-known",
            "the daemon that answers is a live peer",
            "The daemon answers and the mesh does not count on it: it is not registered, or was judged gone.",
            Judge::Answer(&PEERS, known),
        ),
        Check::new(
            "membership-suspect",
            "no peer is suspect",
            "The store has not heard from a node for the length of its session. It is dead soon, or back.",
            Judge::Answer(&PEERS, suspect),
        ),
        Check::new(
            "membership-dead",
            "no peer is dead",
            "The store has not heard from a node for long. What it led has gone to others.",
            Judge::Answer(&PEERS, dead),
        ),
        Check::new(
            "membership-unreached",
            "every live peer is reached by gossip",
            "A node renews its session in the store and no other node reaches it: it keeps what it leads, and nobody can call it.",
            Judge::Answer(&PEERS, unreached),
        ),
        Check::new(
            "membership-one-id",
            "no two daemons have one id",
            "Two daemons say that they are the same node: each is taken for the other, and both flap.",
            Judge::Nodes(one_id),
        ),
        Check::new(
            "membership-capacity",
            "a live peer takes new work",
            "Every live node is cordoned: nothing new can be placed, and no scope without a leader gets one.",
            Judge::Answer(&PEERS, capacity),
        ),
    ],
    items: &[GOSSIP],
};

fn known(peers: &Value, facts: &Facts) -> Finding {
    let local = facts.node().map(|node| text(node, "localNodeId")).unwrap_or_default();
    let peers = items(peers, "peers");
    match peers.iter().find(|peer| text(peer, "nodeId") == local) {
        Some(peer) if text(peer, "status") == "alive" => {
            Finding::pass(format!("{} known, {local} among them", count(peers.len() as u64, "peer")))
        }
        Some(peer) => Finding::fail(format!("{local} answers but is {}", text(peer, "status")))
            .hint(format!("omnirelay mesh peers status {local}")),
        None => Finding::fail(format!("{local} answers but is no peer"))
            .hint("journalctl -u omnirelayd    # on its host: why it could not register"),
    }
}

fn suspect(peers: &Value, _: &Facts) -> Finding {
    match with(peers, |peer| text(peer, "status") == "suspect").as_slice() {
        [] => Finding::pass("no peer is suspect"),
        ids => Finding::warn(format!("suspect: {}", some_of(ids, NAMED_MAX)))
            .hint(format!("omnirelay mesh peers status {}", ids[0])),
    }
}

fn dead(peers: &Value, _: &Facts) -> Finding {
    let is_dead = |peer: &Value| text(peer, "status") == "dead";
    match (with(peers, is_dead).as_slice(), items(peers, "peers").iter().find(|peer| is_dead(peer))) {
        (ids, Some(first)) => Finding::fail(format!("dead: {}", some_of(ids, NAMED_MAX)))
            .hint(gone(first, text(first, "nodeId"))),
        (_, None) => Finding::pass("no peer is dead"),
    }
}

fn unreached(peers: &Value, _: &Facts) -> Finding {
    let is_unreached = |peer: &Value| {
        text(peer, "status") == "alive" && matches!(text(peer, "health.state"), "suspect" | "dead" | "left")
    };
    let is_known = |peer: &Value| !matches!(text(peer, "health.state"), "" | "unknown");
    // Whoever has just come is heard of a moment later.
    let is_new = |peer: &Value| {
        let since = time::millis(field(peer, "statusSince")).zip(time::millis(field(peers, "generatedAt")));
        since.is_some_and(|(since, now)| now - since < NEW_MS)
    };
    let is_unheard = |peer: &Value| text(peer, "status") == "alive" && !is_known(peer) && !is_new(peer);
    match with(peers, is_unreached).as_slice() {
        [] if with(peers, is_known).is_empty() => Finding::skip("the daemon that answers does not gossip"),
        [] => match with(peers, is_unheard).as_slice() {
            [] => Finding::pass("every live peer is reached"),
            ids => Finding::warn(format!("gossip has not heard of {}", some_of(ids, NAMED_MAX))).hint(format!(
                "omnirelay mesh peers ping {}    # whether its mesh port is reached; else mesh.gossip.enabled is false there, or it is older",
                ids[0]
            )),
        },
        ids => Finding::warn(format!("their sessions live, and nobody reaches {}", some_of(ids, NAMED_MAX)))
            .hint(format!(
                "omnirelay mesh peers explain {0}    # who does not; then its mesh port, or: omnirelay mesh peers drain {0}",
                ids[0]
            )),
    }
}

fn one_id(facts: &Facts) -> Finding {
    let found =
        Finding::of_item(facts, GOSSIP, "every id is that of one daemon", "no daemon that is asked gossips");
    found.next("omnirelayd --node-id OTHER    # on one of the two hosts, with a certificate of its own")
}

fn capacity(peers: &Value, _: &Facts) -> Finding {
    let alive: Vec<&Value> =
        items(peers, "peers").iter().filter(|peer| text(peer, "status") == "alive").collect();
    let open = alive.iter().filter(|peer| !flag(peer, "cordoned")).count();
    let of = count(alive.len() as u64, "live peer");
    match (open, alive.first()) {
        (0, Some(first)) => Finding::fail(format!("none of {of} takes new work"))
            .hint(format!("omnirelay mesh peers uncordon {}", text(first, "nodeId"))),
        (0, None) => Finding::fail("there is no live peer").hint("omnirelay mesh peers status"),
        (open, _) => Finding::pass(format!("{open} of {of} take new work")),
    }
}

fn with(peers: &Value, is: impl Fn(&Value) -> bool) -> Vec<&str> {
    items(peers, "peers").iter().filter(|peer| is(peer)).map(|peer| text(peer, "nodeId")).collect()
}
