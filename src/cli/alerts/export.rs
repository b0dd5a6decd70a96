//! `alerts export`.

use std::path::PathBuf;

use clap::ValueHint;

use super::durations::hurried;
use crate::frame::file_export::{FileExport, RunbooksAddress};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::local("alerts export", "writes rules that are built in").exiting("0 1 2");

/// The files that are written, each with what is in it.
pub(super) static FILES: &[(&str, &str)] = &[
    ("alertmanager.example.yml", include_str!("../../../docs/observability/alertmanager.example.yml")),
    ("capacity.yaml", include_str!("../../../docs/observability/alerts/capacity.yaml")),
    ("daemons.yaml", include_str!("../../../docs/observability/alerts/daemons.yaml")),
    ("identity.yaml", include_str!("../../../docs/observability/alerts/identity.yaml")),
    ("leadership.yaml", include_str!("../../../docs/observability/alerts/leadership.yaml")),
    ("membership.yaml", include_str!("../../../docs/observability/alerts/membership.yaml")),
    ("probe.yaml", include_str!("../../../docs/observability/alerts/probe.yaml")),
    ("registers.yaml", include_str!("../../../docs/observability/alerts/registers.yaml")),
    ("relay.yaml", include_str!("../../../docs/observability/alerts/relay.yaml")),
    ("shards.yaml", include_str!("../../../docs/observability/alerts/shards.yaml")),
    ("slo.yaml", include_str!("../../../docs/observability/alerts/slo.yaml")),
    ("clusters.yaml", include_str!("../../../docs/observability/alerts/clusters.yaml")),
    ("state.yaml", include_str!("../../../docs/observability/alerts/state.yaml")),
    ("store.yaml", include_str!("../../../docs/observability/alerts/store.yaml")),
    ("transport-policy.yaml", include_str!("../../../docs/observability/alerts/transport-policy.yaml")),
    ("transport.yaml", include_str!("../../../docs/observability/alerts/transport.yaml")),
];

const EXAMPLES: &str = "\
Examples:
  omnirelay alerts export /etc/prometheus/omnirelay-rules
  omnirelay alerts export rules --runbooks https://wiki.example/omnirelay/runbooks/
  omnirelay alerts export drill --speed 60    # what fires after two minutes does after two seconds";

/// Write the alert rules for Prometheus that match this program
///
/// A file for each area, for rule_files of Prometheus, and an example for Alertmanager of what pages and what is left out then. Each rule
/// says which command to run first, and names its runbook.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AlertsExportArgs {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Base address of the runbooks [default: docs/runbooks/]
    #[arg(long, value_name = "URL")]
    runbooks: Option<RunbooksAddress>,
    /// Divide every `for` and range by this, for drills: 1 to 3600
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    speed: u32,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &AlertsExportArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let export = FileExport {
        noun: "alerts",
        dir: &args.dir,
        force: args.force,
        files: FILES.iter().map(|(name, rules)| (*name, rewritten(rules, args))).collect(),
        document: json!({"schemaVersion": "v1", "speed": args.speed}),
        note: "Prometheus takes them as rule_files",
    };
    export.write(session)
}

fn rewritten(rules: &str, args: &AlertsExportArgs) -> String {
    let text = match args.speed {
        1 => rules.to_owned(),
        speed => format!("# Every `for` and range is divided by {speed}.\n{}", hurried(rules, speed)),
    };
    match &args.runbooks {
        Some(address) => address.within(&text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::frame::file_export::RUNBOOKS;

    #[test]
    fn all_rules_that_are_shipped_are_written() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observability/alerts");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let shipped: BTreeSet<String> = names.filter(|name| !name.ends_with(".test.yaml")).collect();
        let written: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let missing: Vec<_> = shipped.difference(&written).collect();
        assert!(shipped.len() > 10 && missing.is_empty(), "{missing:?} would not be written");
    }

    #[test]
    fn runbooks_are_where_they_are_said_to_be_and_all_is_hurried() {
        let args = AlertsExportArgs {
            dir: PathBuf::new(),
            runbooks: Some("https://wiki.example/books/".parse().unwrap()),
            speed: 60,
            force: false,
        };
        for (name, rules) in FILES.iter().filter(|(name, _)| !name.starts_with("alertmanager")) {
            let text = rewritten(rules, &args);
            assert!(
                !text.contains(RUNBOOKS) && text.contains("runbook: https://wiki.example/books/"),
                "{name}"
            );
            let lines = text.lines().filter(|line| line.trim_start().starts_with("for: "));
            let slow: Vec<_> = lines.filter(|line| line.ends_with('h') || line.ends_with("5m")).collect();
            assert!(slow.is_empty(), "{name}: {slow:?}");
        }
    }
}
