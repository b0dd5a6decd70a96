//! `omnirelay probe`: whether a mesh answers its callers, asked from outside, once or for Prometheus.

mod checks;
mod http3;
mod outcome;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use omnirelay_core::time::whole_ms;
use omnirelay_store::whole_file::write_shown;
use tokio::time::{Instant, MissedTickBehavior};

use self::checks::{CALLED, CheckEnd, ProbeCheck, ProbeTarget};
use self::outcome::{ProbeMetrics, ProbeOutcome, ProbeRound};
use super::entry::{CommandEntry, entry};
use super::schema::documents::own;
use super::schema::schemas;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;
use crate::leaders::scope;

const LEAF: LeafCommand =
    LeafCommand::write("probe", CALLED).exiting("0 1 2 10").listing(&outcome::COLUMNS, &[]);
pub(crate) static ENTRY: CommandEntry =
    entry!("probe", ProbeArgs, asking, &[LEAF], &[own("probe", "probe", schemas::probe)]);

const EXAMPLES: &str = "\
Examples:
  omnirelay probe
  omnirelay probe --writes --within 3s -o json | jq -r '.checks[] | select(.result == \"fail\") | .check'
  omnirelay probe --writes --listen 127.0.0.1:17490 --every 30s
  omnirelay probe --textfile /var/lib/prometheus/node-exporter/omnirelay.prom    # from a timer";

/// Ask a mesh from outside whether it answers its callers
///
/// Each check does what callers do, by connections of its own: it lists peers, follows a watch, looks up the owner of a shard, and calls
/// over HTTP/3 where that is offered. With --writes it also changes a scope that is there for probes alone and sees that in a watch, and
/// has its leader step down and waits for a later fence token. Exits with 10 when a check fails.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct ProbeArgs {
    /// Only these checks
    #[arg(long, value_name = "CHECK,...", value_delimiter = ',')]
    check: Vec<ProbeCheck>,
    /// Change something too: checks change and lock, which need mesh.operate and are recorded in the audit trail
    #[arg(long)]
    writes: bool,
    /// The scope that is changed, below probe/; it is made when it is not there
    #[arg(long, value_name = "SCOPE", default_value = "probe/omnirelay", value_parser = probe_scope)]
    scope: String,
    /// How long a check may take
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    within: HumanDuration,
    /// Go on, and serve what came of it at /metrics of this address
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// How often, with --listen: 1s to 5m
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "listen", value_parser = pause)]
    every: Duration,
    /// Write what came of it to this file, as Prometheus reads it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    textfile: Option<PathBuf>,
    #[command(flatten)]
    table: TableArgs,
}

/// A scope that is there for probes alone: what is changed of another one, somebody counts on.
fn probe_scope(given: &str) -> Result<String, String> {
    let scope = scope(given)?;
    match scope.strip_prefix("probe/") {
        Some(name) if !name.is_empty() => Ok(scope),
        _ => Err("the scope of a probe is called probe/NAME".to_owned()),
    }
}

fn pause(given: &str) -> Result<Duration, String> {
    let HumanDuration(pause) = given.parse()?;
    let possible = Duration::from_secs(1)..=Duration::from_secs(300);
    possible.contains(&pause).then_some(pause).ok_or_else(|| "it is 1s to 5m".to_owned())
}

impl ProbeArgs {
    /// Checks that are made, in their order.
    ///
    /// # Errors
    /// Usage, when one is named that changes something, and nobody said that it may.
    fn checks(&self) -> Result<Vec<ProbeCheck>, CliError> {
        let wanted = |check: &ProbeCheck| match self.check.as_slice() {
            [] => self.writes || !check.writes(),
            named => named.contains(check),
        };
        let checks: Vec<ProbeCheck> = ProbeCheck::ALL.into_iter().filter(wanted).collect();
        match checks.iter().find(|check| check.writes() && !self.writes) {
            Some(check) => {
                Err(CliError::usage(format!("the check {} changes something", check.word()))
                    .hint("add --writes"))
            }
            None => Ok(checks),
        }
    }
}

async fn run(args: &ProbeArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(outcome::COLUMNS)?;
    let checks = args.checks()?;
    session.target()?;
    match args.listen {
        None => once(args, &checks, session).await,
        Some(address) => serve(args, &checks, address, session).await,
    }
}

async fn once(
    args: &ProbeArgs,
    checks: &[ProbeCheck],
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let made = probe(args, checks, session).await;
    // What was there tells of another time.
    let told = made.as_ref().map_or_else(|error| ProbeRound::failed_all(checks, error), ProbeRound::clone);
    write(args, &ProbeMetrics::of_one(&told)?.text()?)?;
    let round = made?;
    let exit = if round.success() { Exit::Ok } else { Exit::Negative };
    outcome::list().show(round.document(), &args.table, session)?;
    Ok(exit)
}

/// Writes the file of `--textfile`, where one is named.
fn write(args: &ProbeArgs, text: &str) -> Result<(), CliError> {
    let Some(path) = &args.textfile else { return Ok(()) };
    write_shown(path, text.as_bytes())
        .map_err(|error| CliError::local(reasons::FILE, format!("cannot write {}", path.display()), &error))
}

/// Probes until a signal comes.
async fn serve(
    args: &ProbeArgs,
    checks: &[ProbeCheck],
    address: SocketAddr,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let served = serve::MetricsServer::listen(address).await?;
    let mut stop = StopSignals::listen()?;
    session.notes().say(&format!(
        "What comes of {} is at http://{}/metrics",
        count(checks.len() as u64, "check"),
        served.address()
    ));
    let (metrics, mut is_first) = (ProbeMetrics::of(checks)?, true);
    let mut ticks = tokio::time::interval_at(Instant::now(), args.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            exit = stop.wait() => return Ok(exit),
            _ = ticks.tick() => {}
        }
        let round = tokio::select! {
            exit = stop.wait() => return Ok(exit),
            round = probe(args, checks, session) => round,
        };
        // A file that is being renewed cannot be read for a moment; the first time it has to be.
        let round = match round {
            Err(error) if is_first => return Err(error),
            round => round.unwrap_or_else(|error| ProbeRound::failed_all(checks, &error)),
        };
        is_first = false;
        for failed in round.failed() {
            session.notes().warn(&format!("{} fails: {}", failed.check.word(), failed.detail));
        }
        metrics.note(&round);
        let text = metrics.text()?;
        if let Err(error) = write(args, &text) {
            session.notes().warn(&error.body().message);
        }
        served.show(text);
    }
}

/// Makes each check once, one after the other, by connections that are new.
///
/// # Errors
/// When there is no client at all, as where a file of it cannot be read.
async fn probe(
    args: &ProbeArgs,
    checks: &[ProbeCheck],
    session: &mut CommandSession,
) -> Result<ProbeRound, CliError> {
    let configured = session.target()?.clone();
    session.turn_to(configured)?;
    let target = ProbeTarget::new(session, &args.scope)?;
    let mut outcomes = Vec::with_capacity(checks.len());
    for check in checks {
        let begun = Instant::now();
        let within = args.within.0;
        let made = tokio::time::timeout(within, check.make(&target)).await;
        let late =
            || Err(CheckEnd::Failed(format!("it was not done within {}", time::span(whole_ms(within)))));
        outcomes.push(ProbeOutcome::of(*check, begun.elapsed(), made.unwrap_or_else(|_| late())));
    }
    Ok(ProbeRound { outcomes })
}
