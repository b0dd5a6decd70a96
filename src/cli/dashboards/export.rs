//! `dashboards export`.

use std::path::PathBuf;

use clap::ValueHint;

use crate::frame::file_export::{FileExport, RunbooksAddress};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::local("dashboards export", "writes dashboards that are built in").exiting("0 1 2");

/// The files that are written, each with what is in it.
static FILES: [(&str, &str); 5] = [
    ("leadership.json", include_str!("../../../docs/observability/dashboards/leadership.json")),
    ("members.json", include_str!("../../../docs/observability/dashboards/members.json")),
    ("node.json", include_str!("../../../docs/observability/dashboards/node.json")),
    ("overview.json", include_str!("../../../docs/observability/dashboards/overview.json")),
    ("replication.json", include_str!("../../../docs/observability/dashboards/replication.json")),
];

const EXAMPLES: &str = "\
Examples:
  omnirelay dashboards export dashboards
  omnirelay dashboards export dashboards --force --runbooks https://wiki.example/runbooks/";

/// Write the dashboards for Grafana that match this program
///
/// A file for each dashboard, to import or to provision: the mesh at a glance, its members and transport, its leaders, shards and store,
/// what it follows of other clusters, and one node. They ask for the data source, and have stable addresses, so that a later export takes
/// the place of an earlier one. Give the address of your copy of the runbooks: panels lead there, and to nothing without it.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct DashboardsExportArgs {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Base address of the runbooks [default: docs/runbooks/]
    #[arg(long, value_name = "URL")]
    runbooks: Option<RunbooksAddress>,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &DashboardsExportArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let note = match args.runbooks {
        Some(_) => "Grafana imports them, or is provisioned with their folder",
        None => "Grafana imports them; their links to runbooks lead somewhere with --runbooks URL",
    };
    let export = FileExport {
        noun: "dashboards",
        dir: &args.dir,
        force: args.force,
        files: FILES.iter().map(|(name, text)| (*name, rewritten(text, args.runbooks.as_ref()))).collect(),
        document: json!({"schemaVersion": "v1"}),
        note,
    };
    export.write(session)
}

fn rewritten(text: &str, runbooks: Option<&RunbooksAddress>) -> String {
    runbooks.map_or_else(|| text.to_owned(), |address| address.within(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::frame::file_export::RUNBOOKS;

    #[test]
    fn all_dashboards_that_are_shipped_are_written() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observability/dashboards");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let shipped: BTreeSet<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        let written: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(shipped, written);
    }

    #[test]
    fn runbooks_are_where_they_are_said_to_be() {
        let address = "https://wiki.example/books".parse().unwrap();
        for (name, text) in FILES {
            let there: Value = serde_json::from_str(&rewritten(text, Some(&address))).unwrap();
            let there = there.to_string();
            assert!(there.contains("\"https://wiki.example/books/\"") && !there.contains(RUNBOOKS), "{name}");
            assert_eq!(rewritten(text, None), text, "{name}");
        }
    }
}
