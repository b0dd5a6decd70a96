//! `omnirelay mesh top`: a live terminal of the mesh.

mod cells;
mod data;
mod draw;
mod keymap;
mod live;
mod model;
mod once;
mod terminal;
mod views;

use std::io::IsTerminal as _;

use omnirelay_wire::rpc::{
    certificate_service, event_service, leadership_control_service, peer_control_service,
    rebalance_control_service, shard_control_service,
};

use super::entry::{CommandEntry, entry};
use super::frame::global::HumanDuration;
use super::frame::output::OutputFormat;
use super::schema::documents::own;
use super::schema::schemas;
use crate::check::checked_mesh::CHECK;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::{events, leaders, namespaces, peers, rebalance_plans, registers, relays};

const LEAF: LeafCommand = LeafCommand::read(
    "mesh top",
    &[
        &NODE,
        &CHECK,
        &event_service::WATCH,
        &peers::LIST,
        &peer_control_service::GET,
        &peer_control_service::EXPLAIN,
        &leaders::LIST,
        &leadership_control_service::GET,
        &leadership_control_service::EXPLAIN,
        &leadership_control_service::HISTORY,
        &namespaces::LIST,
        &shard_control_service::LIST,
        &shard_control_service::GET,
        &shard_control_service::EXPLAIN,
        &shard_control_service::HISTORY,
        &registers::AVAILABLE,
        &relays::LIST,
        &rebalance_plans::LIST,
        &rebalance_control_service::GET,
        &certificate_service::LIST,
    ],
)
.exiting("0 1 2 5 6 8 9 11");
pub(crate) static ENTRY: CommandEntry =
    entry!("top", TopArgs, asking, &[LEAF], &[own("top", "mesh top", schemas::top)]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh top
  omnirelay mesh top --once
  omnirelay mesh top -o json | jq -e '.problems == []'
  omnirelay mesh top -o jsonl --for 1m";

/// Look at the mesh live: what is wrong, why, what changed and what to type
///
/// Digits open a view, ? shows all keys, q closes it; its keys are those of the page. No key changes the mesh: c copies
/// the command for what is selected. Without a terminal, and with --once, the overview is printed once; -o json has it
/// as a document, and -o jsonl prints what happens, as `events tail` does.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Print the overview once and end
    #[arg(long)]
    once: bool,
    /// End with 0 after this time
    #[arg(long = "for", value_name = "DURATION")]
    for_duration: Option<HumanDuration>,
}

async fn run(args: &TopArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    match session.format() {
        OutputFormat::Jsonl if !args.once => return events::stream(args.for_duration, session).await,
        OutputFormat::Table | OutputFormat::Wide if !args.once => {}
        OutputFormat::Table
        | OutputFormat::Wide
        | OutputFormat::Json
        | OutputFormat::Jsonl
        | OutputFormat::Yaml
        | OutputFormat::Name => return once::run(session).await,
    }
    // A bundle is of one moment.
    let moves = session.settings.bundle.is_none() && session.out.screen().redraws;
    if !moves || !std::io::stdin().is_terminal() {
        return once::run(session).await;
    }
    live::run(session, args.for_duration.map(|span| span.0)).await
}
