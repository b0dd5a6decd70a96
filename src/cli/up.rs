//! `omnirelay up`: a whole mesh in one process.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::env;
use super::error::CliError;
use super::rpc::Leaf;
use super::session::Session;
use crate::daemon::up::{self, LogFormat, UpOptions};
use crate::wire::fault::Exit;

pub const LEAF: Leaf = Leaf::local("up", "starts the daemons that others talk to").exiting("0 1 2 4 6");

const EXAMPLES: &str = "\
Examples:
  omnirelay up
  omnirelay up --nodes 5 --data ./mesh
  omnirelay up --data ./mesh --ready-file ./mesh/ready.json";

/// Run a development mesh until Ctrl-C
///
/// Starts complete nodes that share one embedded store, writes the context `dev` with their
/// addresses, and prints what to try next. Ctrl-C is a clean leave of all of them.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct UpArgs {
    /// How many nodes, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,
    /// Folder that keeps store, ids and ports; without it nothing outlives the process
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File to write once all nodes are ready; removed at start and stop
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Store that the nodes share [default: embedded:]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Services to switch on besides the control plane, such as relay
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormatArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

/// Runs the mesh until it is told to stop.
///
/// # Errors
/// Why it could not be started.
pub fn run(args: &UpArgs, session: &mut Session) -> Result<Exit, CliError> {
    let options = UpOptions {
        nodes: args.nodes,
        data: args.data.clone(),
        ready_file: args.ready_file.clone(),
        store: args.store.clone(),
        services: args.services.clone(),
        log_format: match args.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        },
        log_filter: session.settings.env.get(env::LOG).map(str::to_owned),
        contexts: session.settings.config_path.clone(),
        machine: session.format().is_json(),
    };
    up::run(options)?;
    Ok(Exit::Ok)
}
