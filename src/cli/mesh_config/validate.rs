//! `mesh config validate`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use omnirelay_core::time::Millis;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::ValidateConfigResponse;
use omnirelay_wire::reasons;

use super::file::Given;
use super::report;
use crate::cli::frame::document::{field, flag};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::View;
use crate::cli::frame::rpc::Leaf;
use crate::cli::frame::session::Session;
use crate::daemon::identity::trust::unix_now;
use crate::daemon::objects::SCHEMA_VERSION;

pub const LEAF: Leaf =
    Leaf::local("mesh config validate", "judges a file by what is built in").exiting("0 1 2 10");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config validate -f omnirelayd.yaml
  omnirelay mesh config validate -f policy.yaml --strict
  omnirelay mesh config validate -f omnirelayd.yaml -o json | jq -r '.report.findings[].rule'";

/// Judge the transports that a file configures, without a daemon
///
/// The file is the configuration of a daemon, or a transport policy by itself, as JSON or YAML. Exits with 10 when
/// something of it is refused, as the daemon would: the findings are the same.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct ValidateArgs {
    /// The file; - is standard input, for a policy
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
}

pub async fn run(args: &ValidateArgs, session: &mut Session) -> Result<Exit, CliError> {
    let given = Given::of(&args.file)?;
    let report = given.judge(&args.file, Millis::of_unix(unix_now()))?;
    let answer = ValidateConfigResponse { schema_version: SCHEMA_VERSION.to_owned(), report: Some(report) };
    let document = serde_json::to_value(answer)
        .map_err(|error| CliError::local(reasons::ENCODING, "cannot write the findings as JSON", &error))?;
    let report = field(&document, "report");
    let fails = !flag(report, "fit") || args.strict && report::warns(report);
    let lines = report::describe(report);
    session.show(&View::lines(document, "transport-policy/mesh", lines))?;
    Ok(if fails { Exit::Negative } else { Exit::Ok })
}
