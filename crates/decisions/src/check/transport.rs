//! Checks of the mesh transport: how nodes reach each other.

use std::collections::BTreeMap;

use omnirelay_core::text::some_of;

use super::facts::{MeshFacts, NAMED_MAX, RegistryFacts};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};
use super::identity::enrol_hint;

/// The item of a node's readiness.
const ITEM: &str = "mesh";
/// How nodes of a mesh without an authority come to have certificates.
const BEGIN: &str = "omnirelay mesh join --server HOST --token-file FILE    # into a mesh that is there; or, where this one begins: \
                     omnirelay cert ca init";

pub static CATEGORY: FindingCategory = FindingCategory {
    name: "transport",
    page: "runbooks/transport.md",
    checks: &[
        CheckDefinition::new(
            "transport-port",
            "the mesh port of every node is open",
            "A node was enrolled and its mesh port is not bound, or it was never enrolled, and its mesh port turns everybody away for \
             want of a certificate: other nodes do not reach it there, and it calls none.",
            CheckJudge::Nodes(port),
        ),
        CheckDefinition::new(
            "transport-reached",
            "every node reaches every other one at its mesh port",
            "Two nodes live and one of them does not reach the other, though others may reach both: neither UDP nor TCP leads to \
             its mesh port from there. What one of them has to ask the other is not done.",
            CheckJudge::Registry(reached),
        ),
        CheckDefinition::new(
            "transport-http3",
            "calls among nodes go over HTTP/3",
            "Nothing comes back over UDP from a node, or HTTP/3 is switched off: calls go over HTTP/2, which works and is slower \
             where packets are lost.",
            CheckJudge::Registry(http3),
        ),
    ],
    items: &[ITEM],
};

fn port(facts: &MeshFacts) -> CheckResult {
    let closed: Vec<(&str, &str)> = facts
        .told()
        .filter(|(_, node)| node.mesh_port == "not_enrolled")
        .map(|(id, node)| (id, node.enrolment.as_str()))
        .collect();
    let ids: Vec<&str> = closed.iter().map(|(id, _)| *id).collect();
    let turned = |why: &str| {
        CheckResult::warn(format!("{}: the mesh port turns everybody away: {why}", some_of(&ids, NAMED_MAX)))
            .seen_by(ids.iter().copied())
            .about_themselves()
    };
    let is_not_enrolled = |(_, enrolment): &&(&str, &str)| *enrolment == "not_enrolled";
    match (closed.first(), closed.iter().find(is_not_enrolled)) {
        (_, Some((id, _))) => return turned("the mesh has given it no certificate").hint(enrol_hint(id)),
        (Some(_), None) => {
            return turned("this mesh has no authority, no node has a certificate, and none gossips")
                .hint(BEGIN);
        }
        (None, None) => {}
    }
    let found = CheckResult::of_item(
        facts,
        ITEM,
        CheckVerdict::Warn,
        "the mesh port is open",
        "the daemon does not say",
    );
    found.about_themselves().next("journalctl -u omnirelayd    # on its host: why the port cannot be had")
}

/// By the word of every node: two that are cut off from each other are well from a third.
fn reached(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    let cut = facts.reached_so(registry, |reach| !reach.unreached.is_empty());
    let Some((first, by)) = cut.first_key_value() else {
        return well(facts, "no node says that it does not reach another");
    };
    let from = by.first().copied().unwrap_or_default();
    CheckResult::warn(format!("not reached: {}", from_whom(&cut)))
        .hint(format!(
            "{} mesh peers ping {first}    # then what is between both hosts: routes, firewalls",
            registry.asking(from)
        ))
        .seen_by(cut.values().flatten().copied())
        .about(cut.keys().copied())
}

fn http3(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    let over_http2 = facts.reached_so(registry, |reach| !reach.downgrade.is_empty());
    let Some((first, by)) = over_http2.first_key_value() else {
        return well(facts, "no call goes over HTTP/2");
    };
    let from = by.first().copied().unwrap_or_default();
    let why = facts.told().find(|(id, _)| *id == from);
    let why = why.and_then(|(_, node)| node.reach.iter().find(|reach| reach.node_id == *first));
    let why = why.map(|reach| downgrade(&reach.downgrade)).unwrap_or_default();
    CheckResult::warn(format!("over HTTP/2: {} ({why})", from_whom(&over_http2)))
        .hint(format!("{} mesh peers ping {first}", registry.asking(from)))
        .seen_by(over_http2.values().flatten().copied())
        .about(over_http2.keys().copied())
}

/// `n2 from n1, n3`, for some of them.
fn from_whom(found: &BTreeMap<&str, Vec<&str>>) -> String {
    let told: Vec<String> =
        found.iter().map(|(id, by)| format!("{id} from {}", some_of(by, NAMED_MAX))).collect();
    some_of(&told, NAMED_MAX)
}

/// That all is well by the word of those that call others.
fn well(facts: &MeshFacts, fine: &str) -> CheckResult {
    match facts.witnesses("calls") {
        by if by.is_empty() => CheckResult::skip("no node that was asked has an open mesh port"),
        by => CheckResult::pass(format!("{fine}{}", facts.coverage(by.len()))).seen_by(by),
    }
}

/// Reason why a node is not called over HTTP/3, in words.
pub fn downgrade(word: &str) -> &str {
    match word {
        "not_offered" => "one of the two nodes does not serve HTTP/3 (mesh.http3Support)",
        "no_answer" => "nothing came back over UDP: is it blocked between the two?",
        "refused" => "HTTP/3 was refused",
        "lost" => "the path over UDP went silent; it is tried again",
        other => other,
    }
}
