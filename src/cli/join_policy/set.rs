//! `join-policy set`.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use omnirelay_wire::rpc::enrollment_service;

use super::NAME;
use crate::frame::error::chain;
use crate::frame::prelude::*;

const SET: RpcMethod = enrollment_service::SET_JOIN_POLICY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("join-policy set", &[&SET]).exiting("0 1 2 4 5 6 8 9 10 11");

/// What a policy has that is told and not set.
const TOLD: [&str; 4] = ["version", "lastWriterId", "createdAt", "updatedAt"];

const EXAMPLES: &str = "\
Examples:
  omnirelay join-policy set -f policy.yaml --dry-run
  omnirelay join-policy set -f policy.yaml --reason \"gateways are attested, INC-4711\"
  echo '{\"rules\": [{\"name\": \"edge\", \"effect\": \"allow\", \"roles\": [\"gateway\"]}]}' | omnirelay join-policy set -f -";

/// Put rules in the place of those that there are
///
/// The file is JSON or YAML: `rules`, each with a name, an effect (allow or deny) and whom it is about, and `attesters`. The
/// first rule that matches a host decides; where none does, it does not join. What `join-policy show` prints is taken as it
/// is. Its schema is `omnirelay schema join-policy-file`.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct JoinPolicySetArgs {
    /// The file; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &JoinPolicySetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let write = &args.write;
    write.check(session, 1)?;
    let policy = read(&args.file)?;
    session.announce_target()?;
    let request = json!({
        "rules": policy.get("rules"), "attesters": policy.get("attesters"), "reason": write.reason_text(),
        "expectedVersion": write.if_match, "dryRun": write.is_dry_run(),
    });
    let document = session.call(&Call::of(&SET, &request)?.keyed(&write.key()?, "")).await?;
    let head = changed::head(NAME, &document, "set", "it is so already");
    let lines = changed::told(&head, changed::lines(&document, "set"));
    let changed = flag(&document, "changed");
    session.show(&CommandOutput::lines(document, NAME, lines))?;
    Ok(if changed && write.exit_code { Exit::Negative } else { Exit::Ok })
}

/// The policy of a file, without what a daemon tells of it.
fn read(file: &Path) -> Result<Value, CliError> {
    let shown = file.display();
    let refuse = |cause: String| CliError::usage(format!("cannot use the policy in {shown}")).cause(cause);
    let read = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let document: Value = serde_yaml::from_str(&read.map_err(|error| refuse(chain(&error)))?)
        .map_err(|error| refuse(chain(&error)))?;
    let mut policy = match document.get("policy") {
        Some(policy) => policy.clone(),
        None => document,
    };
    let fields = policy.as_object_mut().ok_or_else(|| refuse("it is no object with `rules`".to_owned()))?;
    TOLD.iter().for_each(|told| drop(fields.remove(*told)));
    let known = ["rules", "attesters"];
    if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(refuse(format!("there is no field `{unknown}`; there are `rules` and `attesters`")));
    }
    if !fields.contains_key("rules") {
        return Err(refuse("it has no `rules`; an empty list lets nobody in".to_owned()));
    }
    Ok(policy)
}
