//! `mesh leaders set`.

use omnirelay_core::labels::Labels;
use omnirelay_core::scope::ScopeKind;

use super::KIND;
use super::change::of_policy;
use super::create::SET_SCOPE;
use super::explain::EXPLAIN;
use super::get::{GET, one};
use super::policy::LeadersPolicyArgs;
use crate::complete;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh leaders set", &[&GET, &SET_SCOPE, &EXPLAIN]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders set jobs/nightly --zone eu-west-1a,eu-west-1b
  omnirelay mesh leaders set jobs/nightly --prefer 10:region=eu --reason \"closer to the data\"
  omnirelay mesh leaders set jobs/nightly --clear-policy --label team=ops --label draft-";

/// Change who may lead a scope, who should, and its labels
///
/// Changes what the flags name and nothing else: each flag replaces all values that were there before,
/// and an empty value, as in --zone '', takes a restriction away. --label KEY- removes a label. Who leads
/// goes on if the policy still lets it, and hands over otherwise.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct LeadersSetArgs {
    /// A scope or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: String,
    /// Begin with no policy at all, so that every node may lead it
    #[arg(long, help_heading = "Policy options")]
    clear_policy: bool,
    #[command(flatten)]
    policy: LeadersPolicyArgs,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &LeadersSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    if !args.clear_policy && args.policy.is_empty() {
        return Err(CliError::usage("nothing was named that is to be changed")
            .hint("see omnirelay help mesh leaders set"));
    }
    args.write.check(session, 1)?;
    let document = one(session, &args.scope).await?;
    let mut before = field(&document, "leadership").clone();
    before["labels"] = given_labels(&args.scope, field(&before, "labels"));
    if args.clear_policy {
        before["policy"] = json!({});
    }
    let (policy, labels) = args.policy.applied_to(&before)?;
    let change = ObjectChange {
        rpc: &SET_SCOPE,
        name: format!("{KIND}/{}", args.scope),
        write: &args.write,
        question: None,
        done: "changed",
        already: "it is so already",
        became: None,
        version: text(&before, "version").parse().ok(),
        fields: json!({ "scope": args.scope, "policy": policy, "labels": labels }),
    };
    of_policy(&change, &args.scope, text(&before, "leaderId"), session).await
}

/// The labels that were given to a scope: those that its name says are not written back.
fn given_labels(scope: &str, labels: &Value) -> Value {
    let kind = ScopeKind::of(scope).unwrap_or(ScopeKind::Custom);
    let mut given = labels.as_object().cloned().unwrap_or_default();
    for (name, value) in kind.labels(&Labels::new()) {
        if given.get(&name).and_then(Value::as_str) == Some(value.as_str()) {
            given.shift_remove(&name);
        }
    }
    Value::Object(given)
}
