//! What `mesh check` asks of the mesh transport: how the daemon that answers reaches each other node.

use serde_json::Value;

use super::checks::PEERS;
use super::columns::enrol;
use super::ping::told;
use crate::cli::check::facts::{Facts, NAMED_MAX};
use crate::cli::check::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::client::{count, some_of};
use crate::cli::frame::document::{items, text};

/// The item of a node's readiness.
const ITEM: &str = "mesh";
/// How nodes of a mesh without an authority come to have certificates.
const BEGIN: &str = "omnirelay mesh join --server HOST --token-file FILE    # into a mesh that is there; or, where this one begins: \
                     omnirelay cert ca init";

pub static CATEGORY: Category = Category {
    name: "transport",
    page: "runbooks/transport.md",
    checks: &[
        Check::new(
            "transport-port",
            "the mesh port of every node is open",
            "A node was enrolled and its mesh port is not bound, or it was never enrolled, and its mesh port turns everybody away for \
             want of a certificate: other nodes do not reach it there, and it calls none.",
            Judge::Nodes(port),
        ),
        Check::new(
            "transport-reached",
            "every other node is reached at its mesh port",
            "Neither UDP nor TCP leads to the mesh port of a node from the one that answers.",
            Judge::Answer(&PEERS, reached),
        ),
        Check::new(
            "transport-http3",
            "calls among nodes go over HTTP/3",
            "Nothing comes back over UDP from a node, or HTTP/3 is switched off: calls go over HTTP/2, which works and is slower \
             where packets are lost.",
            Judge::Answer(&PEERS, http3),
        ),
    ],
    items: &[ITEM],
};

fn port(facts: &Facts) -> Finding {
    let closed: Vec<(&str, &str)> = facts
        .nodes()
        .filter(|(_, node)| text(node, "meshPort") == "not_enrolled")
        .map(|(id, node)| (id, text(node, "enrolment")))
        .collect();
    let ids: Vec<&str> = closed.iter().map(|(id, _)| *id).collect();
    let turned = |why: &str| {
        Finding::warn(format!("{}: the mesh port turns everybody away: {why}", some_of(&ids, NAMED_MAX)))
    };
    let is_not_enrolled = |(_, enrolment): &&(&str, &str)| *enrolment == "not_enrolled";
    match (closed.first(), closed.iter().find(is_not_enrolled)) {
        (_, Some((id, _))) => return turned("the mesh has given it no certificate").hint(enrol(id)),
        (Some(_), None) => {
            return turned("this mesh has no authority, and no node has a certificate").hint(BEGIN);
        }
        (None, None) => {}
    }
    Finding::of_item(facts, ITEM, "the mesh port is open", "the daemon does not say")
        .next("journalctl -u omnirelayd    # on its host: why the port cannot be had")
}

/// The other nodes that live.
fn others<'a>(peers: &'a Value, facts: &Facts) -> Vec<&'a Value> {
    let local = facts.node().map(|node| text(node, "localNodeId")).unwrap_or_default();
    let is_other = |peer: &&Value| text(peer, "status") == "alive" && text(peer, "nodeId") != local;
    items(peers, "peers").iter().filter(is_other).collect()
}

/// Those of them that say where their mesh port is.
fn called<'a>(peers: &'a Value, facts: &Facts) -> Vec<&'a Value> {
    let mut others = others(peers, facts);
    others.retain(|peer| !text(peer, "metadata.endpoints.mesh").is_empty());
    others
}

fn ids<'a>(peers: &[&'a Value], is: impl Fn(&Value) -> bool) -> Vec<&'a str> {
    peers.iter().filter(|peer| is(peer)).map(|peer| text(peer, "nodeId")).collect()
}

fn reached(peers: &Value, facts: &Facts) -> Finding {
    let called = called(peers, facts);
    // Nothing is known of those that were not called yet, as just after a start.
    let is_silent =
        |peer: &Value| text(peer, "rpcTransport").is_empty() && !text(peer, "downgrade").is_empty();
    match ids(&called, is_silent).as_slice() {
        [] if called.is_empty() => Finding::skip("no other node has a mesh port"),
        [] => Finding::pass(format!("{} reached", count(called.len() as u64, "node"))),
        silent => Finding::warn(format!("not reached: {}", some_of(silent, NAMED_MAX)))
            .hint(format!("omnirelay mesh peers ping {}", silent[0])),
    }
}

fn http3(peers: &Value, facts: &Facts) -> Finding {
    let called = called(peers, facts);
    let fell_back = |peer: &Value| text(peer, "rpcTransport") == "http2";
    let over_http2: Vec<&Value> = called.iter().copied().filter(|peer| fell_back(peer)).collect();
    match over_http2.first() {
        None if called.is_empty() => Finding::skip("no other node has a mesh port"),
        None => Finding::pass("no call goes over HTTP/2"),
        Some(first) => Finding::warn(format!(
            "over HTTP/2: {} ({})",
            some_of(&ids(&over_http2, |_| true), NAMED_MAX),
            told(text(first, "downgrade")),
        ))
        .hint(format!("omnirelay mesh peers ping {}", text(first, "nodeId"))),
    }
}
