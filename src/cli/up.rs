//! `omnirelay up`: a whole mesh in one process.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use omnirelay_store::embedded::Missing;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use serde_json::{Value, json};

use super::context::put_context;
use super::entry::{Entry, entry};
use super::frame::address::Address;
use super::frame::env;
use super::frame::error::CliError;
use super::frame::output::{Text, View};
use super::frame::rpc::Leaf;
use super::frame::session::Session;
use super::frame::table::{Column, Layout, Moment, Table};
use crate::daemon::log::LogFormat;
use crate::daemon::process::fleet::FleetError;
use crate::daemon::process::up::{self, UpError, UpNode, UpOptions};

const LEAF: Leaf = Leaf::local("up", "starts the daemons that others talk to").exiting("0 1 2");
pub static ENTRY: Entry = entry!("up", UpArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay up
  omnirelay up --nodes 5 --data ./mesh
  omnirelay up --store redis://127.0.0.1:6379
  omnirelay up --data ./mesh --ready-file ./mesh/ready.json";

/// Run a development mesh until Ctrl-C
///
/// Starts complete nodes that share one store, embedded or in Redis, writes the context `dev` with their
/// addresses, and prints what to try next. Ctrl-C is a clean leave of all of them.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct UpArgs {
    /// How many nodes, 1 to 64 [default: as many as DIR knows, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(up::NODES_MAX)))]
    nodes: Option<u16>,
    /// Folder that keeps store, ids and ports; without it nothing outlives the process
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File to write once all nodes are ready; removed at start and stop
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Store that the nodes share: embedded:, memory: or the URL of a Redis store [default: embedded:]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Services to switch on besides the control plane, such as relay
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// A setting of all nodes, as of omnirelayd; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormatArg,
    /// Begin anew when the registry that DIR had is missing or empty: everything that was registered is given up
    #[arg(long)]
    accept_data_loss: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

/// The context that leads to the nodes.
const CONTEXT: &str = "dev";
/// The cluster that nodes are of when nothing says otherwise.
const CLUSTER: &str = "default";

static COLUMNS: &[Column] = &[
    Column::new("node", |node, _| super::frame::document::text(node, "nodeId").to_owned()).keep(),
    Column::new("address", |node, _| super::frame::document::text(node, "address").to_owned()).keep(),
];

/// Runs the mesh until it is told to stop.
///
/// # Errors
/// Why it could not be started.
fn run(args: &UpArgs, session: &mut Session) -> Result<Exit, CliError> {
    let options = UpOptions {
        nodes: args.nodes,
        data: args.data.clone(),
        missing: if args.accept_data_loss { Missing::AcceptLoss } else { Missing::Refuse },
        ready_file: args.ready_file.clone(),
        store: args.store.clone(),
        services: args.services.clone(),
        set: args.set.clone(),
        log_format: match args.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        },
        // By default only what needs attention comes between the operator and the terminal.
        log_filter: session.settings.env.get(env::LOG).unwrap_or("warn").to_owned(),
    };
    let mesh = match up::start(&options) {
        Ok(mesh) => mesh,
        // Asked to stop while it started: that is a clean end too.
        Err(UpError::Fleet(FleetError::Stopped)) => return Ok(Exit::Ok),
        Err(error) => return Err(not_started(&error)),
    };
    announce(session, mesh.nodes())?;
    if let Some(why) = mesh.awaited() {
        session.notes().warn(&format!("the nodes wait for their store: {why}"));
    }
    mesh.serve().map_err(|error| not_started(&error))
}

/// Prints the nodes, writes the context that leads to them, and says what to try next.
fn announce(session: &mut Session, nodes: &[UpNode]) -> Result<(), CliError> {
    let addresses: Vec<String> = nodes.iter().map(|node| format!("http://{}", node.control)).collect();
    let parsed = addresses.iter().filter_map(|address| address.parse::<Address>().ok()).collect();
    let current = put_context(&session.settings.config_path, CONTEXT, parsed, CLUSTER);
    let rows: Vec<Value> = nodes
        .iter()
        .zip(&addresses)
        .map(|(node, address)| json!({"nodeId": node.node_id, "address": address}))
        .collect();
    let moment = Moment { now_ms: None, absolute: false };
    let table = Table::of(COLUMNS, &rows, moment, &Layout::default())?;
    session.show(&View {
        document: json!({
            "schemaVersion": "v1",
            "context": if current.is_ok() { CONTEXT } else { "" },
            "current": matches!(current, Ok(true)),
            "nodes": rows,
        }),
        items: Some(rows),
        names: nodes.iter().map(|node| format!("node/{}", node.node_id)).collect(),
        text: Text::Table(table),
    })?;
    let notes = session.notes();
    match current {
        Ok(true) => notes.say(&format!("\nContext `{CONTEXT}` leads to these nodes. In another shell:")),
        Ok(false) => {
            notes.say(&format!(
                "\nContext `{CONTEXT}` leads to these nodes; another one is current. In another shell:"
            ));
            notes.say(&format!("  omnirelay context use {CONTEXT}"));
        }
        Err(error) => {
            notes.warn(&format!("no context was written: {}", error.body().message));
            let first = addresses.first().cloned().unwrap_or_default();
            notes.say(&format!("In another shell:\n  export OMNIRELAY_ADDR={first}"));
        }
    }
    notes.say(
        "  omnirelay mesh peers list\n  omnirelay mesh peers watch\n  omnirelay mesh leaders status --watch",
    );
    if let (Some(first), Some(last)) = (nodes.first(), nodes.last()) {
        let (first, last) = (&first.node_id, &last.node_id);
        notes.say(&format!(
            "  omnirelay mesh peers cordon {last} --reason test\n  omnirelay dev kill {first}"
        ));
    }
    notes.say("Ctrl-C stops them all.");
    Ok(())
}

fn not_started(error: &UpError) -> CliError {
    match error {
        UpError::Nodes(_) | UpError::Store(_) | UpError::Config(_) => {
            CliError::usage(error.to_string()).hint("omnirelay up --help")
        }
        other => {
            let error = CliError::local(reasons::UP_FAILED, "cannot run the mesh", other);
            error.hint("another process may be using the folder: name another with --data")
        }
    }
}
