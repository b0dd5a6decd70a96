//! `mesh config set`.

use std::path::PathBuf;

use clap::ValueHint;
use omnirelay_wire::rpc::config_service;

use super::change;
use super::file::policy_in;
use crate::frame::prelude::*;

const SET: RpcMethod = config_service::SET_TRANSPORT_POLICY;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh config set", &[&SET]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config set -f policy.yaml --dry-run
  omnirelay mesh config set -f policy.yaml --reason \"partners have HTTP/3, INC-4711\"
  echo '{\"budgets\": {\"rawEndpointsMax\": 2}}' | omnirelay mesh config set -f -";

/// Put a transport policy in the place of that which holds
///
/// The file is JSON or YAML: a policy by itself, the configuration of a daemon that has one, or what `mesh config get`
/// prints. What it does not say is as by default. Refused is what breaks a fixed rule, or is broken by an endpoint of the
/// daemon that is asked. Its schema is `omnirelay schema transport-policy`.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigSetArgs {
    /// The file; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &MeshConfigSetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.write.check(session, 1)?;
    let policy = policy_in(&args.file)?;
    change::run(&SET, &args.write, json!({"policy": policy}), "set", session).await
}
