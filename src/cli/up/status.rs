//! `up status`: the meshes of `omnirelay up` that run on this machine.

use super::record::{self, DevMeshRecord};
use crate::frame::prelude::*;
use crate::frame::table::TableLayout;

pub(super) const LEAF: LeafCommand =
    LeafCommand::local("up status", "reads what the processes on this machine have left").exiting("0 1 2 10");

const EXAMPLES: &str = "\
Examples:
  omnirelay up status
  omnirelay up status --fail-empty -o json | jq -r '.meshes[].nodes[].address'";

/// Show the meshes of `omnirelay up` that run here
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct UpStatusArgs {
    /// Exit with 10 when none runs
    #[arg(long)]
    fail_empty: bool,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

static COLUMNS: &[Column] = &[
    Column::new("mesh", |mesh, _| text(mesh, "name").to_owned()).keep(),
    Column::new("nodes", |mesh, _| items(mesh, "nodes").len().to_string()),
    Column::new("ready", |mesh, _| if flag(mesh, "ready") { "yes" } else { "no" }.to_owned()),
    Column::new("age", |mesh, moment| time::ago(field(mesh, "startedAt"), moment)),
    Column::new("pid", |mesh, _| field(mesh, "pid").to_string()),
    Column::new("address", |mesh, _| items(mesh, "nodes").first().map(first).unwrap_or_default()),
    Column::new("data", |mesh, _| text(mesh, "data").to_owned()),
    Column::new("log", |mesh, _| text(mesh, "log").to_owned()).wide(),
];

fn first(node: &Value) -> String {
    text(node, "address").to_owned()
}

/// # Errors
/// When standard output does not take it.
pub(super) fn run(args: &UpStatusArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let meshes: Vec<DevMeshRecord> = record::all(&record::folder(&session.settings.config_path));
    let rows: Vec<Value> = meshes.iter().map(|mesh| json!(mesh)).collect();
    let moment = CellContext { now_ms: time::now_ms(), absolute: args.absolute };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "meshes": rows}),
        items: Some(rows),
        names: meshes.iter().map(|mesh| format!("mesh/{}", mesh.name)).collect(),
        text: if meshes.is_empty() { TextForm::Lines(String::new()) } else { TextForm::Table(table) },
    })?;
    let told = match meshes.len() as u64 {
        0 => "No mesh of `omnirelay up` runs here.".to_owned(),
        1 => "omnirelay down     # ends it".to_owned(),
        more => format!("{more} meshes; omnirelay down NAME ends one"),
    };
    session.notes().say(&told);
    Ok(if meshes.is_empty() && args.fail_empty { Exit::Negative } else { Exit::Ok })
}
