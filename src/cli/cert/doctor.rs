//! `cert doctor`: are the files of a certificate fit, when do they end, and what is to be rotated first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueHint;
use omnirelay_doctor::certificate::checks::{CATEGORIES, CATEGORY};
use omnirelay_doctor::certificate::papers::{CertificateFiles, CertificatePaths};
use omnirelay_host::data_dir;
use omnirelay_identity::node_identity::IDENTITY_FOLDER;

use crate::check::report::{self, CheckRow, RoundReport};
use crate::doctor::remote::{self, CHECK_HOST, DoctorHostArgs, ReportOptions};
use crate::frame::prelude::*;

pub(crate) const LEAF: LeafCommand =
    LeafCommand::read("cert doctor", &[&CHECK_HOST]).exiting("0 1 2 3 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert doctor
  omnirelay cert doctor ~/.omnirelay/ann
  omnirelay cert doctor /var/lib/omnirelay/identity --short
  omnirelay cert doctor ann -o json | jq -e .success
  omnirelay cert doctor --node node-2";

/// Where the data directory of an installed daemon is.
const INSTALLED: &str = "/var/lib/omnirelay";

/// Check the files of a certificate, and say what to rotate first
///
/// It asks no daemon, and works when everything has ended. Exits with 10 when a check fails. DIR holds what `cert issue --out`
/// writes (key.pem, chain.pem, bundle.pem), or is the folder identity of a daemon's data directory. With --node the daemon of that
/// node looks at its own.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct CertDoctorArgs {
    /// Folder of a certificate, or a daemon's identity [default: the files of the context, else the identity of the
    /// daemon of this host]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "node")]
    dir: Option<PathBuf>,
    /// Print only what did not pass, and the result
    #[arg(long)]
    short: bool,
    /// Leave these checks out
    #[arg(long, value_name = "ID,...", value_delimiter = ',', value_parser = skippable)]
    skip: Vec<String>,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    host: DoctorHostArgs,
}

fn skippable(text: &str) -> Result<String, String> {
    report::skippable(text, CATEGORY.checks.iter().map(|check| (CATEGORY.name, check.id)))
}

/// # Errors
/// When standard output does not take the report; why the daemon of a node could not be asked.
pub(crate) async fn run(args: &CertDoctorArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let kind = "CertificateReport";
    let report = match args.host.node() {
        None => of_this_host(args, session, kind),
        Some(node) => {
            let (categories, strict) = (&[CATEGORY.name][..], args.strict);
            let options = ReportOptions { kind, categories, skip: &args.skip, strict };
            remote::report(session, node, &options).await?
        }
    };
    report.show(args.short, session)?;
    Ok(if report.success() { Exit::Ok } else { Exit::Negative })
}

fn of_this_host(args: &CertDoctorArgs, session: &CommandSession, kind: &'static str) -> RoundReport {
    let began = Instant::now();
    let now = time::now_ms().unwrap_or(0) / 1000;
    let papers = CertificateFiles::read(&places(args.dir.as_deref(), session), now);
    let mut rows: Vec<CheckRow> = CheckRow::judged(CATEGORIES, &papers, Duration::ZERO).collect();
    report::leave_out(&mut rows, &args.skip);
    RoundReport { kind, rows, took: began.elapsed(), strict: args.strict, nodes: Vec::new() }
}

/// Where the files are: in the folder that is given, or where the context has them, or where the daemon of this host does.
fn places(given: Option<&Path>, session: &CommandSession) -> CertificatePaths {
    if let Some(folder) = given {
        return CertificatePaths::in_folder(folder);
    }
    let shown = session.target().ok().map(|target| target.tls.clone());
    if let Some((cert, tls)) = shown.and_then(|tls| Some((tls.cert.clone()?, tls))) {
        let folder = cert.parent().unwrap_or(Path::new(".")).to_owned();
        let key = tls.key.unwrap_or_else(|| cert.clone());
        let bundle = tls.ca.unwrap_or_else(|| folder.join("bundle.pem"));
        return CertificatePaths { folder, key, chain: cert, bundle };
    }
    let installed = Path::new(INSTALLED).join(IDENTITY_FOLDER);
    match installed.exists() {
        true => CertificatePaths::in_folder(&installed),
        false => CertificatePaths::in_folder(&data_dir::default_path().join(IDENTITY_FOLDER)),
    }
}
