//! Checks of the daemon that answers: it is there, it is ready, and the caller may ask it.

use omnirelay_wire::fault::Exit;
use serde_json::Value;

use super::facts::{Facts, NODE};
use super::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::document::{flag, items, text};

pub static CATEGORY: Category = Category {
    name: "control-api",
    page: "guides/operations.md",
    checks: &[
        Check::new(
            "control-api-reachable",
            "the daemon answers",
            "Nothing answers at the address, or what answers is no daemon: everything else could not be asked. The \
             mesh itself may be well.",
            Judge::Facts(reachable),
        ),
        Check::new(
            "control-api-access",
            "the caller is known and may read",
            "The daemon does not know who asks, or gives them no scope to read with.",
            Judge::Facts(access),
        ),
        Check::new(
            "control-api-proof",
            "it is known who comes in without proof",
            "Whoever reaches the control port may do anything: the daemon was started with --insecure.",
            Judge::Answer(&NODE, let_in),
        ),
        Check::new(
            "control-api-ready",
            "the daemon is ready to serve",
            "A need of the daemon that answers is not met, so that its /readyz says 503 and balancers send nobody \
             there.",
            Judge::Answer(&NODE, ready),
        ),
    ],
    items: &["serving", "view", "session"],
};

fn reachable(facts: &Facts) -> Finding {
    let (address, ms) = (&facts.address, facts.took_ms(&NODE));
    match facts.node() {
        Ok(node) if flag(node, "development") => {
            Finding::pass(format!("{address} answered in {ms}ms, of a development mesh (omnirelay up)"))
        }
        Ok(_) => Finding::pass(format!("{address} answered in {ms}ms")),
        // Whoever refuses a caller has answered.
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            Finding::pass(format!("{address} answered in {ms}ms"))
        }
        Err(error) if error.exit() == Exit::Usage => Finding::not_asked(),
        Err(error) => {
            let cause = error.body().cause.clone().unwrap_or_default().replace('\n', "; ");
            Finding::fail(format!("{}: {cause}", error.body().message))
                .hint_of(error, "omnirelay context current -v    # where this address comes from")
        }
    }
}

fn access(facts: &Facts) -> Finding {
    match facts.node() {
        Ok(node) => {
            let scopes: Vec<&str> = items(node, "scopes").iter().filter_map(Value::as_str).collect();
            let who = format!("{} with {}", text(node, "principal"), scopes.join(", "));
            if scopes.contains(&"mesh.read") {
                Finding::pass(format!("known as {who}"))
            } else {
                Finding::fail(format!("known as {who}, which cannot read"))
                    .hint("have an owner of the mesh bind mesh.read to you: omnirelay bindings set --help")
            }
        }
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            Finding::fail(error.body().message.clone())
                .hint_of(error, "name a file with a token that the daemon knows: --token-file")
        }
        Err(_) => Finding::not_asked(),
    }
}

/// Open to the host is what a daemon begins with, so that it is told and no fault.
fn let_in(node: &Value, _: &Facts) -> Finding {
    match text(node, "letIn") {
        "nobody" => Finding::pass("nobody comes in without proof"),
        "host" => {
            Finding::pass("every user of the daemon's host comes in without proof, with what its door gives")
                .hint("where they should not: --set security.loopback=proof for omnirelayd")
        }
        "anyone" => Finding::warn("whoever reaches the control port comes in without proof (--insecure)")
            .hint("start omnirelayd without --insecure, at 127.0.0.1"),
        _ => Finding::skip("the daemon does not say"),
    }
}

/// The messages of the items that are not fine, of those that are required or those that are not.
pub fn open(node: &Value, required: bool) -> Vec<String> {
    let items = items(node, "readiness").iter();
    let open = items.filter(|item| !flag(item, "ok") && flag(item, "required") == required);
    open.map(|item| format!("{}: {}", text(item, "name"), text(item, "message"))).collect()
}

fn ready(node: &Value, _: &Facts) -> Finding {
    let id = text(node, "localNodeId");
    match flag(node, "ready") {
        true => Finding::pass(format!("{id} is ready")),
        false => Finding::fail(format!("{id} is not ready: {}", open(node, true).join("; ")))
            .hint("omnirelay mesh check --wait 30s    # and the log of omnirelayd on its host"),
    }
}
