//! `alerts prove`.

mod faults;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnirelay_core::time::whole_ms;
use reqwest::Url;
use tokio::time::Instant;

use self::faults::{CALLED, DrillFault, DrillMesh};
use self::prometheus::{ActiveAlerts, LoadedRule, Prometheus};
use crate::frame::document::real;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;

pub(super) const LEAF: LeafCommand =
    LeafCommand::write("alerts prove", CALLED).exiting("0 1 2 3 4 5 6 7 8 9 10 11").listing(&COLUMNS, &[]);

/// How often is looked which alerts are active.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  omnirelay alerts prove --prometheus http://127.0.0.1:9090
  omnirelay alerts prove --prometheus http://127.0.0.1:9090 --fault leader,majority
  omnirelay alerts prove --prometheus http://127.0.0.1:9090 -o json | jq -r '.proofs[] | select(.result == \"fail\") | .alert'

Before:
  omnirelay up --nodes 5 -d
  omnirelay alerts export rules --speed 20    # for that Prometheus, which scrapes the mesh each second";

/// Plant faults on a mesh, and see whether its alerts fire and go
///
/// The mesh is one of omnirelay up. Each fault is planted by itself and put right again, also after Ctrl-C. For each alert that tells of it is shown how long it took from
/// the fault until it fired, and from the repair until it was gone. Exits with 10 when one does not fire, or does not go.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AlertsProveArgs {
    /// Address of the Prometheus that scrapes the mesh and has its rules
    #[arg(long, value_name = "URL", value_parser = address)]
    prometheus: Url,
    /// Only these faults
    #[arg(long, value_name = "FAULT,...", value_delimiter = ',')]
    fault: Vec<DrillFault>,
    /// How long an alert may take longer than its rule says, until it fires, and until it goes
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    patience: HumanDuration,
    #[command(flatten)]
    table: TableArgs,
}

fn address(given: &str) -> Result<Url, String> {
    let url: Url = given.parse().map_err(|error| format!("{error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("it is http://HOST:PORT, or https".to_owned()),
    }
}

/// Proof of one alert under one fault.
struct AlertProof {
    fault: DrillFault,
    alert: &'static str,
    rule: LoadedRule,
    /// Since the fault was planted.
    fired: Option<Duration>,
    /// Since it was put right.
    gone: Option<Duration>,
}

static COLUMNS: &[Column] = &[
    Column::new("alert", |row, _| text(row, "alert").to_owned()).keep(),
    Column::new("fault", |row, _| text(row, "fault").to_owned()).keep(),
    Column::new("result", |row, _| text(row, "result").to_owned()).keep(),
    Column::new("for", |row, _| shown(row, "forMs")).number(|row| real(row, "forMs")),
    Column::new("fires", |row, _| shown(row, "firesAfterMs")).keep().number(|row| real(row, "firesAfterMs")),
    Column::new("goes", |row, _| shown(row, "goesAfterMs")).keep().number(|row| real(row, "goesAfterMs")),
];

fn shown(row: &Value, name: &str) -> String {
    field(row, name).as_u64().map_or_else(|| "-".to_owned(), time::span)
}

impl AlertProof {
    fn row(&self) -> Value {
        let proven = self.fired.is_some() && self.gone.is_some();
        let mut row = json!({
            "alert": self.alert, "fault": self.fault.word(), "result": if proven { "pass" } else { "fail" },
            "forMs": whole_ms(self.rule.held_for),
        });
        for (name, after) in [("firesAfterMs", self.fired), ("goesAfterMs", self.gone)] {
            if let Some(after) = after {
                row[name] = json!(whole_ms(after));
            }
        }
        row
    }
}

pub(super) async fn run(args: &AlertsProveArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    session.announce_target()?;
    let faults = if args.fault.is_empty() { DrillFault::ALL.to_vec() } else { args.fault.clone() };
    let mut stop = StopSignals::listen()?;
    let (rows, also, interrupted) = {
        let mut proving = AlertsDrill::begin(args, &faults, session).await?;
        let mut interrupted = None;
        for fault in &faults {
            interrupted = proving.prove(*fault, &mut stop).await?;
            if interrupted.is_some() {
                break;
            }
        }
        (proving.proofs.iter().map(AlertProof::row).collect::<Vec<_>>(), proving.also, interrupted)
    };
    let success = interrupted.is_none() && rows.iter().all(|row| text(row, "result") == "pass");
    let document = json!({"schemaVersion": "v1", "success": success, "proofs": rows, "alsoFired": also});
    list().show(document, &args.table, session)?;
    Ok(interrupted.unwrap_or(if success { Exit::Ok } else { Exit::Negative }))
}

fn list() -> ListSpec {
    ListSpec {
        field: "proofs",
        columns: COLUMNS,
        name: |row| format!("alert/{}/{}", text(row, "fault"), text(row, "alert")),
        none: "Nothing was proven.".to_owned(),
        footer: |document, all| {
            let failed = all.iter().filter(|row| text(row, "result") == "fail").count();
            let also: Vec<&str> = items(document, "alsoFired").iter().filter_map(Value::as_str).collect();
            let also =
                if also.is_empty() { String::new() } else { format!("; also fired: {}", also.join(", ")) };
            format!("{}, {failed} failed{also}", count(all.len() as u64, "proof"))
        },
    }
}

/// Drill of the alerts: a mesh, the Prometheus that looks at it, and what came of the faults so far.
struct AlertsDrill<'a> {
    mesh: DrillMesh<'a>,
    prometheus: Prometheus,
    rules: BTreeMap<String, LoadedRule>,
    patience: Duration,
    session: &'a CommandSession,
    proofs: Vec<AlertProof>,
    /// Alerts that fired besides.
    also: BTreeSet<String>,
    /// Alerts that fired before anything was planted.
    before: BTreeSet<String>,
}

impl<'a> AlertsDrill<'a> {
    /// Checks that everything is there.
    ///
    /// # Errors
    /// When Prometheus lacks a rule or a node, or an alert of the faults is active already.
    async fn begin(
        args: &AlertsProveArgs,
        faults: &[DrillFault],
        session: &'a CommandSession,
    ) -> Result<Self, CliError> {
        let mesh = DrillMesh::of(session).await?;
        let prometheus = Prometheus::at(args.prometheus.clone())?;
        let rules = prometheus.rules().await?;
        let needed: BTreeSet<&str> = faults.iter().flat_map(|fault| fault.alerts()).copied().collect();
        let missing: Vec<&str> = needed.iter().copied().filter(|name| !rules.contains_key(*name)).collect();
        if !missing.is_empty() {
            return Err(CliError::usage(format!("Prometheus has no rule {}", missing.join(", ")))
                .hint("write them with omnirelay alerts export DIR, and name DIR/*.yaml in rule_files"));
        }
        let scraped = prometheus.scraped().await?;
        if let Some(node) = mesh.nodes().iter().find(|node| !scraped.contains(*node)) {
            return Err(CliError::usage(format!("Prometheus does not scrape {node}")).hint(format!(
                "scrape the targets of {}/control/prometheus/targets by http_sd_configs",
                session.client()?.address()
            )));
        }
        let active = prometheus.alerts().await?;
        if let Some(name) = needed.iter().find(|name| active.has(name)) {
            return Err(CliError::usage(format!("{name} is active before anything was planted"))
                .hint("omnirelay mesh check says what is wrong with the mesh"));
        }
        let (patience, before) = (args.patience.0, active.firing);
        Ok(Self {
            mesh,
            prometheus,
            rules,
            patience,
            session,
            proofs: Vec::new(),
            also: BTreeSet::new(),
            before,
        })
    }

    /// Plants a fault and puts it right again, also when a signal comes; with which exit the command ends then.
    ///
    /// # Errors
    /// What the mesh or Prometheus refuses.
    async fn prove(&mut self, fault: DrillFault, stop: &mut StopSignals) -> Result<Option<Exit>, CliError> {
        self.session.notes().say(&format!("{}: planting it", fault.word()));
        let first = self.proofs.len();
        for alert in fault.alerts() {
            let rule = self.rules[*alert];
            self.proofs.push(AlertProof { fault, alert, rule, fired: None, gone: None });
        }
        let planted = tokio::select! {
            exit = stop.wait() => Ok(Some(exit)),
            planted = self.plant_and_watch(fault, first) => planted.map(|()| None),
        };
        // Nobody is left with a mesh that is half killed.
        let healed = self.mesh.heal().await;
        let planted = match (planted, healed) {
            (Err(error), Err(unhealed)) => {
                return Err(error.hint(format!("it is not put right: {}", unhealed.body().message)));
            }
            (planted, Ok(())) => planted?,
            (Ok(_), Err(unhealed)) => return Err(unhealed),
        };
        if planted.is_some() {
            return Ok(planted);
        }
        self.session.notes().say(&format!("{}: put right", fault.word()));
        tokio::select! {
            exit = stop.wait() => Ok(Some(exit)),
            watched = self.watch_until_gone(first) => watched.map(|()| None),
        }
    }

    async fn plant_and_watch(&mut self, fault: DrillFault, first: usize) -> Result<(), CliError> {
        self.mesh.plant(fault).await?;
        // What it takes to prepare a fault is none of it.
        let begun = Instant::now();
        loop {
            let active = self.look(fault).await?;
            let mut waiting = false;
            for proof in self.proofs[first..].iter_mut().filter(|proof| proof.fired.is_none()) {
                proof.fired = active.firing.contains(proof.alert).then(|| begun.elapsed());
                let longest = proof.rule.held_for + 2 * proof.rule.interval + self.patience;
                waiting |= proof.fired.is_none() && begun.elapsed() < longest;
            }
            if !waiting {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no alert of the fault is active, those included that were pending only.
    async fn watch_until_gone(&mut self, first: usize) -> Result<(), CliError> {
        let begun = Instant::now();
        loop {
            let active = self.prometheus.alerts().await?;
            let mut waiting = false;
            for proof in self.proofs[first..].iter_mut().filter(|proof| proof.gone.is_none()) {
                proof.gone = (!active.has(proof.alert)).then(|| begun.elapsed());
                waiting |= proof.gone.is_none();
            }
            let scraped = self.prometheus.scraped().await?;
            waiting |= self.mesh.nodes().iter().any(|node| !scraped.contains(node));
            if !waiting || begun.elapsed() > self.patience {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&mut self, fault: DrillFault) -> Result<ActiveAlerts, CliError> {
        let active = self.prometheus.alerts().await?;
        let expected = |name: &String| fault.alerts().contains(&name.as_str()) || self.before.contains(name);
        self.also.extend(active.firing.iter().filter(|name| !expected(name)).cloned().collect::<Vec<_>>());
        Ok(active)
    }
}
