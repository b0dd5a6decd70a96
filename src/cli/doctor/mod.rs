//! `omnirelay doctor`: is this machine fit for a daemon and for the command line, and if not, what to do.

pub(crate) mod command_line;
mod ports;
pub(crate) mod remote;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueHint;
use omnirelay_decisions::check::finding::checks_of;
use omnirelay_doctor::checks::CATEGORIES;
use omnirelay_doctor::machine::{self, HostFacts, host_of, named};
use omnirelay_doctor::processes::daemons;
use omnirelay_settings::Config;

use self::command_line::CommandLineFacts;
use self::remote::{CHECK_HOST, DoctorHostArgs, ReportOptions};
use super::check::report::{self, CheckRow, RoundReport};
use super::entry::{CommandEntry, entry};
use super::schema::documents::own;
use super::schema::schemas;
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::read("doctor", &[&CHECK_HOST]).exiting("0 1 2 3 5 6 8 9 10 11");
pub(crate) static ENTRY: CommandEntry =
    entry!("doctor", DoctorArgs, asking, &[LEAF], &[own("doctor", "doctor", schemas::check)]);

const EXAMPLES: &str = "\
Examples:
  omnirelay doctor
  omnirelay doctor --short --skip doctor-clock
  omnirelay doctor --daemon-config ./omnirelayd.yaml --data-dir ./data
  omnirelay doctor --node node-2";

/// Check this machine: configuration, names, ports, disk, limits, clock
///
/// It asks no daemon and no mesh; `omnirelay mesh check` does. With --node the daemon of that node judges its host, by the
/// configuration as its file has it now. Exits with 10 when a check fails.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Print only what did not pass, and the result
    #[arg(long)]
    short: bool,
    /// Leave these checks or categories out
    #[arg(long, value_name = "ID|CATEGORY,...", value_delimiter = ',', value_parser = skippable)]
    skip: Vec<String>,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
    /// The daemon's configuration [default: /etc/omnirelay/omnirelayd.yaml, where it is]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "node")]
    daemon_config: Option<PathBuf>,
    /// The daemon's data directory, instead of the one of its configuration
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "node")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    host: DoctorHostArgs,
}

/// The names of all checks with those of their categories, in the order of the report.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
    let own = checks_of(command_line::CATEGORIES).map(|(category, check)| (category.name, check.id));
    own.chain(checks_of(CATEGORIES).map(|(category, check)| (category.name, check.id)))
}

fn skippable(text: &str) -> Result<String, String> {
    report::skippable(text, names())
}

/// # Errors
/// When standard output does not take the report; why the daemon of another host could not be asked.
async fn run(args: &DoctorArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let report = match args.host.node() {
        None => of_this_host(args, session).await,
        Some(node) => {
            let categories: Vec<&str> = CATEGORIES.iter().map(|category| category.name).collect();
            let options = ReportOptions {
                kind: "DoctorReport",
                categories: &categories,
                skip: &args.skip,
                strict: args.strict,
            };
            remote::report(session, node, &options).await?
        }
    };
    report.show(args.short, session)?;
    Ok(if report.success() { Exit::Ok } else { Exit::Negative })
}

async fn of_this_host(args: &DoctorArgs, session: &CommandSession) -> RoundReport {
    let began = Instant::now();
    let is_wanted = |wanted: &str| {
        names().any(|(category, id)| id == wanted && !report::is_left_out(&args.skip, category, id))
    };
    let contexts = &session.settings.config;
    let command_line = CommandLineFacts::examine(contexts.clone(), &session.settings.config_path);
    let daemon = machine::config_in(args.daemon_config.as_deref());
    let addresses = contexts.iter().flat_map(|file| &file.contexts).flat_map(|context| &context.addresses);
    let mut named: BTreeSet<String> =
        addresses.filter_map(|address| named(&host_of(address.as_str())?)).collect();
    let built_in = Config::default();
    let config = daemon.as_ref().map_or(Some(&built_in), |(_, config)| config.as_ref().ok());
    let ports = match config.filter(|_| is_wanted("doctor-ports")) {
        Some(config) => ports::ports(session, config).await,
        None => Vec::new(),
    };
    named.extend(config.into_iter().flat_map(machine::names_of));
    let names = if is_wanted("doctor-names") { machine::look_up(named).await } else { Vec::new() };
    let running = daemons(Path::new("/proc"));
    let machine = HostFacts::examine(daemon, &built_in, args.data_dir.as_deref(), names, ports, running);
    let own = CheckRow::judged(command_line::CATEGORIES, &command_line, Duration::ZERO);
    let mut rows: Vec<CheckRow> = own.chain(CheckRow::judged(CATEGORIES, &machine, Duration::ZERO)).collect();
    report::leave_out(&mut rows, &args.skip);
    RoundReport { kind: "DoctorReport", rows, took: began.elapsed(), strict: args.strict, nodes: Vec::new() }
}
