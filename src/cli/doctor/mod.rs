//! `omnirelay doctor`: is this machine fit for a daemon and for the command line, and if not, what to do.

pub mod checks;
mod daemons;
mod machine;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use omnirelay_wire::fault::Exit;

use self::checks::{CATEGORIES, Examine};
use super::check::report::{self, Report, Row};
use super::entry::{Entry, entry};
use super::frame::error::CliError;
use super::frame::rpc::Leaf;
use super::frame::session::Session;
use super::schema::documents::own;
use super::schema::schemas;
use crate::core::check::finding::{Category, Check, Finding, checks_of};

const LEAF: Leaf = Leaf::local("doctor", "looks at this machine only").exiting("0 1 2 10");
pub static ENTRY: Entry =
    entry!("doctor", DoctorArgs, asking, &[LEAF], &[own("doctor", "doctor", schemas::check)]);

const EXAMPLES: &str = "\
Examples:
  omnirelay doctor
  omnirelay doctor --short --skip doctor-clock
  omnirelay doctor --daemon-config ./omnirelayd.yaml --data-dir ./data";

/// Check this machine: configuration, names, ports, disk, limits, clock
///
/// It asks no daemon and no mesh; `omnirelay mesh check` does. Exits with 10 when a check fails.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct DoctorArgs {
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
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    daemon_config: Option<PathBuf>,
    /// The daemon's data directory, instead of the one of its configuration
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
}

/// Every check with its category, in the order of the report.
fn all() -> impl Iterator<Item = (&'static Category<Examine>, &'static Check<Examine>)> + Clone {
    checks_of(CATEGORIES)
}

fn skippable(text: &str) -> Result<String, String> {
    report::skippable(text, all().map(|(category, check)| (category.name, check.id)))
}

/// # Errors
/// When standard output does not take the report.
async fn run(args: &DoctorArgs, session: &mut Session) -> Result<Exit, CliError> {
    let began = Instant::now();
    let wanted = |id: &str| {
        all().any(|(category, check)| {
            check.id == id && !report::is_left_out(&args.skip, category.name, check.id)
        })
    };
    let machine =
        machine::examine(session, args.daemon_config.as_deref(), args.data_dir.as_deref(), wanted).await;
    let rows = all().map(|(category, check)| {
        let left_out = report::is_left_out(&args.skip, category.name, check.id);
        let finding = if left_out { Finding::skip("left out") } else { (check.judge)(&machine) };
        Row::of(category, check, finding, Duration::ZERO)
    });
    let rows = rows.collect();
    let report =
        Report { kind: "DoctorReport", rows, took: began.elapsed(), strict: args.strict, nodes: Vec::new() };
    report.show(args.short, session)?;
    Ok(if report.success() { Exit::Ok } else { Exit::Negative })
}
