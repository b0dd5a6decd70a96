//! `mesh config validate`.

use std::path::PathBuf;

use clap::ValueHint;
use omnirelay_core::time::Millis;
use omnirelay_identity::trust::unix_now;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{ValidateConfigRequest, ValidateConfigResponse};
use omnirelay_wire::rpc::config_service;

use super::file::JudgedConfig;
use super::report;
use crate::frame::prelude::*;

const VALIDATE: RpcMethod = config_service::VALIDATE_CONFIG;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh config validate", &[&VALIDATE]).exiting("0 1 2 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config validate -f omnirelayd.yaml
  omnirelay mesh config validate -f policy.yaml --strict
  omnirelay mesh config validate -f policy.yaml --remote    # by what the daemon that is asked listens at
  omnirelay mesh config validate -f omnirelayd.yaml -o json | jq -r '.report.findings[].rule'";

/// Judge the transports that a file configures; no daemon is needed
///
/// The file is the configuration of a daemon, or a transport policy by itself, as JSON or YAML. Exits with 10 when
/// something of it is refused, as the daemon would: the findings are the same.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigValidateArgs {
    /// The file; - is standard input, for a policy
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Have a daemon judge: what the file does not say is as it is there
    #[arg(long)]
    remote: bool,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
}

pub(super) async fn run(
    args: &MeshConfigValidateArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let given = JudgedConfig::of(&args.file)?;
    let document = match args.remote {
        true => ask(&given, session).await?,
        false => judge(&given, args)?,
    };
    let report = field(&document, "report");
    let fails = !flag(report, "fit") || args.strict && report::warns(report);
    let lines = report::describe(report);
    session.show(&CommandOutput::lines(document, "transport-policy/mesh", lines))?;
    Ok(if fails { Exit::Negative } else { Exit::Ok })
}

fn judge(given: &JudgedConfig, args: &MeshConfigValidateArgs) -> Result<Value, CliError> {
    let report = given.judge(&args.file, Millis::of_unix(unix_now()))?;
    json_of(&ValidateConfigResponse { schema_version: SCHEMA_VERSION.to_owned(), report: Some(report) })
}

async fn ask(given: &JudgedConfig, session: &CommandSession) -> Result<Value, CliError> {
    let request = ValidateConfigRequest {
        policy: given.policy.clone(),
        endpoints: given.endpoints.clone().unwrap_or_default(),
    };
    session.call(&Call::exactly(&VALIDATE, &json_of(&request)?)?).await
}

fn json_of(message: &impl serde::Serialize) -> Result<Value, CliError> {
    serde_json::to_value(message)
        .map_err(|error| CliError::local(reasons::ENCODING, "cannot write a message as JSON", &error))
}
