//! Checks of the control ports: who comes in without proof, and whether the daemon that answers is ready.

use omnirelay_core::text::some_of;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, NAMED_MAX};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, FindingCategory};

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "control-api",
    page: "guides/operations.md",
    checks: &[
        CheckDefinition::new(
            "control-api-proof",
            "it is known who comes in without proof",
            "Whoever reaches the control port of a node may do anything: its daemon was started with --insecure.",
            CheckJudge::Nodes(let_in),
        ),
        CheckDefinition::new(
            "control-api-ready",
            "the daemon is ready to serve",
            "A need of the daemon that answers is not met, so that its /readyz says 503 and balancers send nobody \
             there.",
            CheckJudge::Nodes(ready),
        ),
    ],
    items: &["serving", "view", "session"],
};

/// Open to the host is what a daemon begins with, so that it is told and no fault.
fn let_in(facts: &MeshFacts) -> CheckResult {
    let of = |word: &'static str| -> Vec<&str> {
        facts.told().filter(|(_, node)| node.let_in == word).map(|(id, _)| id).collect()
    };
    let (anyone, host, nobody) = (of("anyone"), of("host"), of("nobody"));
    if !anyone.is_empty() {
        let named = some_of(&anyone, NAMED_MAX);
        return CheckResult::warn(format!(
            "{named}: whoever reaches the control port comes in without proof (--insecure)"
        ))
        .hint("start omnirelayd without --insecure, at 127.0.0.1")
        .seen_by(anyone);
    }
    if !host.is_empty() {
        let whose = if host.len() == facts.told().count() {
            "every".to_owned()
        } else {
            format!("{}: every", some_of(&host, NAMED_MAX))
        };
        return CheckResult::pass(format!(
            "{whose} user of the daemon's host comes in without proof, with what its door gives"
        ))
        .hint("where they should not: --set security.loopback=proof for omnirelayd")
        .seen_by(host);
    }
    match nobody.len() {
        0 => CheckResult::skip("the daemon does not say"),
        said => CheckResult::pass(format!("nobody comes in without proof{}", facts.coverage(said)))
            .seen_by(nobody),
    }
}

/// The messages of the items that are not fine, of those that are required or those that are not.
pub(super) fn open(node: &pb::GetNodeResponse, required: bool) -> Vec<String> {
    let open = node.readiness.iter().filter(|item| !item.ok && item.required == required);
    open.map(|item| format!("{}: {}", item.name, item.message.replace('\n', "; "))).collect()
}

fn ready(facts: &MeshFacts) -> CheckResult {
    let Some(own) = facts.own() else { return CheckResult::unknown("the daemon does not say") };
    let id = &own.local_node_id;
    match own.ready {
        true => CheckResult::pass(format!("{id} is ready")),
        false => CheckResult::fail(format!("{id} is not ready: {}", open(own, true).join("; ")))
            .hint("omnirelay mesh check --wait 30s    # and the log of omnirelayd on its host"),
    }
    .seen_by([id.as_str()])
}
