//! `registers push`, and what it has in common with `withdraw`: advertisements as a register service makes them.

use std::path::PathBuf;

use omnirelay_wire::pb::omnirelay::registers::v1::{AdvertisedRegister, BulkAdvertiseRequest};
use omnirelay_wire::rpc::advertisement_service;

use super::resync::FORM;
use super::{KIND, file};
use crate::complete;
use crate::frame::prelude::*;
use crate::node::{NODE, NodeArgs};
use crate::peers;

/// By the routes whose JSON is that of all others.
const ADVERTISE: RpcMethod =
    RpcMethod { path: "/control/registers/{register_id}/advertise", ..advertisement_service::ADVERTISE };
const BULK: RpcMethod =
    RpcMethod { path: "/control/registers/bulk-advertise", ..advertisement_service::BULK_ADVERTISE };
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("registers push", &[&ADVERTISE, &BULK, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers push orders
  omnirelay registers push orders --hidden
  omnirelay registers push -f registers.json
  omnirelay registers push -f registers.json --full --yes --node node-2";

/// Push advertisements to a node's pool, as a register service does
///
/// They are those of the caller alone, and end unless they are pushed again. registers advertise changes what the
/// node's catalogue says, and registers resync pushes that.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersPushArgs {
    /// The register
    #[arg(value_name = "REGISTER", required_unless_present = "file", conflicts_with = "file",
          add = complete::ids(&super::OBJECTS))]
    register: Option<String>,
    /// Keep it for the node itself, and hide it from everybody else
    #[arg(long, conflicts_with = "file")]
    hidden: bool,
    /// The registers in this file: JSON, JSON Lines or YAML; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// They are all: what the caller has advertised besides is withdrawn
    #[arg(long, requires = "file")]
    full: bool,
    /// Do not ask before a full push
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(
    args: &RegistersPushArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let Some(file) = &args.file else {
        let id = args.register.as_deref().unwrap_or_default();
        let fields = json!({"registerId": plain(id), "isPublic": !args.hidden});
        let done = if args.hidden { "hidden" } else { "advertised" };
        return change_one(&ADVERTISE, fields, done, node, session).await;
    };
    let advertisements: Vec<AdvertisedRegister> = file::read(file, &FORM)?;
    node.go(session).await?;
    if args.full && !args.yes {
        let all = count(advertisements.len() as u64, "register");
        let question = format!("Push {all} and withdraw all else that you have advertised there? [y/N] ");
        session.confirm(&question, &["y", "yes"], "--yes")?;
    }
    session.announce_target()?;
    let request = BulkAdvertiseRequest { advertisements, full_sync: args.full };
    let mut fields = serde_json::to_value(&request)
        .map_err(|error| CliError::local(reasons::ENCODING, "cannot write the request as JSON", &error))?;
    if fields["advertisements"].is_null() {
        fields["advertisements"] = json!([]);
    }
    let call = Call { awaits_work: true, ..Call::exactly(&BULK, &fields)? };
    let document = session.call(&call).await?;
    finish(session, document)
}

/// Tells what became of a push of many.
fn finish(session: &mut CommandSession, document: Value) -> Result<Exit, CliError> {
    let parts = ["added", "updated", "removed", "unchanged", "deferred", "failed"];
    let counts = parts.map(|name| (number(&document, name), name)).into_iter().filter(|(many, _)| *many > 0);
    let counts: Vec<String> = counts.map(|(many, name)| format!("{many} {name}")).collect();
    let all = count(number(&document, "processed"), "register");
    let mut lines = format!("{all} pushed: {}\n", counts.join(", "));
    for failure in items(&document, "results") {
        lines.push_str(&format!("  {}: {}\n", text(failure, "registerId"), text(failure, "message")));
    }
    let failed = number(&document, "failed") > 0;
    session.show(&CommandOutput::lines(document, "push/registers", lines))?;
    Ok(if failed { Exit::Partial } else { Exit::Ok })
}

/// Advertises or withdraws one register at a node.
pub(super) async fn change_one(
    rpc: &RpcMethod,
    fields: Value,
    done: &str,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    node.go(session).await?;
    session.announce_target()?;
    let document = session.call(&Call::exactly(rpc, &fields)?).await?;
    let name = format!("{KIND}/{}", text(&document, "registerId"));
    let already = if flag(&document, "changed") { "" } else { "already " };
    let later = if flag(&document, "deferred") { " (written once the store answers)" } else { "" };
    let line = format!("{name} {already}{done}{later}\n");
    session.show(&CommandOutput::lines(document, name, line))?;
    Ok(Exit::Ok)
}

/// An id as it was given; what `-o name` prints of one can be given again.
pub(super) fn plain(given: &str) -> &str {
    id_in("register", given)
}
