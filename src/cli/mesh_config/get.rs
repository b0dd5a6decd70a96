//! `mesh config get`.

use omnirelay_wire::rpc::config_service;

use super::{NAME, report};
use crate::frame::prelude::*;

const GET: RpcMethod = config_service::GET_CONFIG;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh config get", &[&GET]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config get
  omnirelay mesh config get -o yaml > policy.yaml   # to be changed, and given to mesh config set
  omnirelay mesh config get -o json | jq -r '.report.findings[].what'";

/// Show the policies that hold, and what this node listens at
///
/// That are the transport policy and the join policy. Endpoints and findings are those of the daemon that answers.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigGetArgs {}

pub(super) async fn run(_: &MeshConfigGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&GET, &json!({}))?).await?;
    let lines = describe(&document);
    session.show(&CommandOutput::lines(document.clone(), NAME, lines))?;
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}

fn describe(document: &Value) -> String {
    let transport = field(document, "transport");
    let mut lines = format!("transport policy {}\n", from(transport));
    for category in items(transport, "policy.categories") {
        let verb = if flag(category, "requiresPreferred") { "requires" } else { "prefers" };
        let preferred = Some(field(category, "preferred")).filter(|one| one.is_object());
        let preferred = preferred.map_or_else(String::new, |one| format!("; {verb} {}", pairing(one)));
        let allowed = pairings(category, "allowed");
        lines.push_str(&format!("  {}: {allowed}{preferred}\n", printable(text(category, "name"))));
    }
    for exception in items(transport, "policy.exceptions") {
        let of = |name| printable(text(exception, name));
        lines.push_str(&format!(
            "  exception {} of {}: {} until {}, by {}\n",
            of("name"),
            of("category"),
            pairings(exception, "pairings"),
            of("expiresAt"),
            of("approvedBy"),
        ));
    }
    lines.push_str(&format!("  legacy: {}\n", pairings(transport, "policy.legacy")));
    let join = field(document, "join");
    let rules: Vec<&str> = items(join, "policy.rules").iter().map(|rule| text(rule, "name")).collect();
    lines.push_str(&format!("join policy {}\n  rules: {}\n", from(join), printable(&rules.join(", "))));
    lines.push_str(&format!("endpoints of {}\n", text(document, "localNodeId")));
    for endpoint in items(document, "endpoints") {
        let acl: Vec<&str> = items(endpoint, "acl").iter().filter_map(Value::as_str).collect();
        let acl =
            if acl.is_empty() { String::new() } else { format!("; for {}", printable(&acl.join(", "))) };
        let [name, category] = ["name", "category"].map(|name| printable(text(endpoint, name)));
        let namespace = match text(endpoint, "namespace") {
            "" => String::new(),
            namespace => format!("{}/", printable(namespace)),
        };
        lines.push_str(&format!(
            "  {namespace}{name} ({category}): {}{acl}\n",
            pairings(endpoint, "profiles")
        ));
    }
    lines + &report::describe(field(document, "report"))
}

/// `of the registry, version 3`.
fn from(policy: &Value) -> String {
    match (text(policy, "source"), number(policy, "version").max(number(policy, "policy.version"))) {
        ("registry", version) => format!("of the registry, version {version}"),
        ("configuration", _) => "of this daemon's configuration".to_owned(),
        _ => "by default".to_owned(),
    }
}

pub(super) fn pairings(of: &Value, list: &str) -> String {
    let all: Vec<String> = items(of, list).iter().map(pairing).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn pairing(one: &Value) -> String {
    match text(one, "encoding") {
        "" => printable(text(one, "transport")),
        encoding => printable(&format!("{}+{encoding}", text(one, "transport"))),
    }
}
