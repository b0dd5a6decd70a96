//! `join-policy show`.

use omnirelay_wire::rpc::enrollment_service;

use super::NAME;
use crate::frame::prelude::*;

const GET: RpcMethod = enrollment_service::GET_JOIN_POLICY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("join-policy show", &[&GET]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay join-policy show
  omnirelay join-policy show -o yaml > policy.yaml   # to be changed, and given to join-policy set";

/// Show the rules, in the order in which they are asked
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct JoinPolicyShowArgs {}

pub(super) async fn run(_: &JoinPolicyShowArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&GET, &json!({}))?).await?;
    let lines = describe(field(&document, "policy"));
    session.show(&CommandOutput::lines(document.clone(), NAME, lines))?;
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}

/// A line for each rule, and what becomes of those that none is about.
fn describe(policy: &Value) -> String {
    let mut lines = String::new();
    for (at, rule) in items(policy, "rules").iter().enumerate() {
        let (effect, name) = (text(rule, "effect"), text(rule, "name"));
        lines.push_str(&format!("{}. {effect} {name}{}\n", at + 1, about(rule)));
    }
    lines.push_str("   deny all others\n");
    for attester in items(policy, "attesters") {
        lines.push_str(&format!("attester {}\n", text(attester, "name")));
    }
    if number(policy, "version") == 0 {
        lines.push_str("(nobody has set a policy: whoever has a token joins)\n");
    }
    lines
}

/// `: role gateway, worker; environment prod`.
fn about(rule: &Value) -> String {
    let words = |path: &str| {
        let words: Vec<&str> = items(rule, path).iter().filter_map(Value::as_str).collect();
        words.join(", ")
    };
    let mut parts: Vec<String> = [
        ("cluster", words("clusters")),
        ("role", words("roles")),
        ("environment", words("environments")),
        ("namespace", words("namespaces")),
        ("label", text(rule, "labelSelector").to_owned()),
        ("attested by", words("attesters")),
    ]
    .into_iter()
    .filter(|(_, words)| !words.is_empty())
    .map(|(what, words)| format!("{what} {words}"))
    .collect();
    let claims = field(rule, "claims").as_object().into_iter().flatten();
    parts.extend(claims.map(|(name, value)| format!("{name} is {}", value.as_str().unwrap_or_default())));
    if flag(rule, "needsAttestation") {
        parts.push("attested".to_owned());
    }
    if number(rule, "lifetimeSeconds") > 0 {
        parts.push(format!("certificates of {}s", number(rule, "lifetimeSeconds")));
    }
    if parts.is_empty() { ": everybody".to_owned() } else { format!(": {}", parts.join("; ")) }
}
