//! `registers update`.

use omnirelay_wire::rpc::register_service;
use serde_json::Map;

use super::LIST;
use super::change::RegistersChange;
use super::labels::{labels, word};
use super::which::RegistersWhichArgs;
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const UPDATE: RpcMethod = register_service::UPDATE;
pub(super) const BATCH_UPDATE: RpcMethod = register_service::BATCH_UPDATE;
pub(super) const LEAF: LeafCommand = LeafCommand::write("registers update", &[&LIST, &UPDATE, &BATCH_UPDATE]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers update orders --name \"Orders of the shop\"
  omnirelay registers update orders invoices --label tier=gold --label legacy- --dry-run
  omnirelay registers update orders --latest-version 43 --if-match 7";

/// Change what is given of registers, and leave the rest
///
/// Versions are never lowered. To advertise or hide registers: advertise, unadvertise.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersUpdateArgs {
    #[command(flatten)]
    which: RegistersWhichArgs,
    /// Its name; empty for none
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// What it is for; empty for nothing
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How far it has come
    #[arg(long, value_name = "N")]
    latest_version: Option<u64>,
    /// How far its dockets have come
    #[arg(long, value_name = "N")]
    latest_docket_version: Option<u64>,
    /// A label to set, or to remove with KEY-; may be repeated
    #[arg(long, value_name = "KEY=VALUE|KEY-", value_parser = word)]
    label: Vec<(String, Option<String>)>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersUpdateArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    let ids = args.which.ids(node, &args.write, session).await?;
    let fields = fields(args)?;
    if fields.as_object().is_some_and(Map::is_empty) {
        return Err(CliError::usage("nothing was given to change")
            .hint("add --name, --description, --label, --latest-version or --latest-docket-version"));
    }
    let change = RegistersChange {
        rpc: &UPDATE,
        batch: Some(&BATCH_UPDATE),
        node,
        write: &args.write,
        done: "updated",
        follows: "advertise it",
        already: "it is so already",
        failed: "could not be updated",
        forgives_missing: false,
        fields,
    };
    change.run(session, ids).await
}

/// What was given, by the API's names.
fn fields(args: &RegistersUpdateArgs) -> Result<Value, CliError> {
    let labels = labels(args.label.iter().cloned())?;
    let version = |number: Option<u64>| number.map(|number| json!(number.to_string()));
    let given = [
        ("name", args.name.as_ref().map(|name| json!(name))),
        ("description", args.description.as_ref().map(|text| json!(text))),
        ("latestVersion", version(args.latest_version)),
        ("latestDocketVersion", version(args.latest_docket_version)),
        ("setLabels", (!labels.set.is_empty()).then(|| json!(labels.set))),
        ("removeLabels", (!labels.remove.is_empty()).then(|| json!(labels.remove))),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(Value::Object(given.collect()))
}
