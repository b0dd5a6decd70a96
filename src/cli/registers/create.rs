//! `registers create`.

use omnirelay_wire::rpc::register_service;

use super::KIND;
use super::change::RegistersChange;
use super::labels::{labels, setting};
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const CREATE: RpcMethod = register_service::CREATE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers create", &[&CREATE]).exiting("0 1 2 3 4 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers create orders --name Orders --advertise
  omnirelay registers create orders --name Orders --label tier=std --label team=sales --dry-run
  omnirelay registers create orders --node node-2 --latest-version 42 --reason \"moved, INC-4711\"";

/// Enter a register that the node has not
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersCreateArgs {
    /// Its id: 1 to 128 letters, digits and . _ : -
    #[arg(value_name = "ID")]
    id: String,
    /// Its name
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Advertise it to the mesh
    #[arg(long)]
    advertise: bool,
    /// How far it has come
    #[arg(long, value_name = "N", default_value_t = 0)]
    latest_version: u64,
    /// How far its dockets have come
    #[arg(long, value_name = "N", default_value_t = 0)]
    latest_docket_version: u64,
    /// A label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(
    args: &RegistersCreateArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    if args.write.if_match.is_some() {
        return Err(
            CliError::usage("a register that is created has no version yet").hint("leave --if-match out")
        );
    }
    let ids = ids::expand(std::slice::from_ref(&args.id), KIND)?;
    let labels = labels(args.label.iter().cloned().map(|(key, value)| (key, Some(value))))?;
    let change = RegistersChange {
        rpc: &CREATE,
        batch: None,
        node,
        write: &args.write,
        done: "created",
        follows: "advertise it",
        already: "it is there already",
        failed: "could not be created",
        forgives_missing: false,
        fields: json!({
            "name": args.name, "description": args.description, "advertise": args.advertise,
            "latestVersion": args.latest_version.to_string(),
            "latestDocketVersion": args.latest_docket_version.to_string(), "labels": labels.set,
        }),
    };
    change.run(session, ids).await
}
