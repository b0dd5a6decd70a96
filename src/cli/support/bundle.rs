//! `support bundle`.

use std::path::PathBuf;

use clap::ValueHint;

use super::reads::CALLS;
use super::recorder::{AskedOfNode, BundleRecorder};
use crate::complete;
use crate::frame::bundle::archive;
use crate::frame::bundle::manifest::{BundleManifest, BundledFile};
use crate::frame::prelude::*;
use crate::frame::table::TableLayout;
use crate::node::NODE;
use crate::peers;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("support bundle", CALLS).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay support bundle mesh.tar.gz --all-nodes
  omnirelay support bundle node-2.tar.gz --node node-2 --yes
  omnirelay support bundle mesh.tar.gz --all-nodes --dry-run -o json | jq -r '.files[].file'
  omnirelay --support-bundle mesh.tar.gz mesh check";

/// Record how a node or the mesh is, for who cannot ask it
///
/// It says what the file will contain, and asks, before it writes. What it holds is named, field by field: no secret is. A node that does
/// not answer is missing from it, and the manifest says why. Commands that read take it with --support-bundle FILE instead of a daemon.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct SupportBundleArgs {
    /// The file to write, a tar.gz that only you can read
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The node whose daemon is asked [default: the one that answers]
    #[arg(long, value_name = "NODE", conflicts_with = "all_nodes", add = complete::ids(&peers::OBJECTS))]
    node: Option<String>,
    /// The daemons of all nodes that have not left
    #[arg(long)]
    all_nodes: bool,
    /// Say what it would contain, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Confirm without being asked
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: &SupportBundleArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    if !args.dry_run {
        archive::check_free(&args.file, args.force)?;
        if !args.yes {
            session.check_can_confirm("--yes")?;
        }
    }
    let BundleRecorder { manifest, files, .. } = record(args, session).await?;
    show(&manifest, session)?;
    let path = args.file.display();
    if !args.dry_run {
        if !args.yes {
            session.confirm(&format!("Write {path}? [y/N]"), &["y", "yes"], "--yes")?;
        }
        let bytes = archive::write(&args.file, &manifest, &files, args.force)?;
        session.notes().say(&format!("{path}: {bytes} bytes; omnirelay --support-bundle {path} mesh check"));
    }
    match manifest.missing.len() {
        0 => Ok(Exit::Ok),
        missing => Err(CliError::partial(format!("{} could not be had", count(missing as u64, "answer")))
            .hint("its manifest says which, and why")),
    }
}

/// Asks the daemons that are meant.
async fn record(args: &SupportBundleArgs, session: &mut CommandSession) -> Result<BundleRecorder, CliError> {
    // What was recorded once is not made younger.
    session.client()?.check_live()?;
    if let Some(node) = &args.node {
        session.go_to_node(node).await?;
    } else {
        session.client()?;
    }
    let own = session.call(&Call::of(&NODE, &json!({}))?).await?;
    session.stay()?;
    let (own, asked) = (text(&own, "localNodeId").to_owned(), session.target()?.clone());
    let mut recorder = BundleRecorder::new()?;
    let first = if args.all_nodes { AskedOfNode::First } else { AskedOfNode::Alone };
    recorder.record(&own, first, session).await?;
    if args.all_nodes {
        for node in others(&recorder, &own) {
            session.turn_to(asked.clone())?;
            let recorded = match session.go_to_node(&node).await {
                Ok(_) => recorder.record(&node, AskedOfNode::Further, session).await,
                Err(error) => Err(error),
            };
            if let Err(error) = recorded {
                recorder.missing_node(&node, &error);
            }
        }
    }
    Ok(recorder)
}

/// Ids of the other nodes that have not left, as the first one has listed them.
fn others(recorder: &BundleRecorder, own: &str) -> Vec<String> {
    let others = recorder.listed(peers::LIST.path).iter().filter(|peer| text(peer, "status") != "left");
    others.map(|peer| text(peer, "nodeId").to_owned()).filter(|node| node != own).collect()
}

static COLUMNS: &[Column] = &[
    Column::new("node", |row, _| text(row, "nodeId").to_owned()).keep(),
    Column::new("what", |row, _| text(row, "what").to_owned()).keep(),
    Column::new("files", |row, _| number(row, "count").to_string()).number(|row| number(row, "count") as f64),
    Column::new("bytes", |row, _| number(row, "bytes").to_string()).number(|row| number(row, "bytes") as f64),
];

/// Shows what the bundle contains: all of it to programs, a line for each sort of answer to people.
fn show(manifest: &BundleManifest, session: &mut CommandSession) -> Result<(), CliError> {
    let document = serde_json::to_value(manifest)
        .map_err(|error| CliError::local(reasons::ENCODING, "cannot write the manifest as JSON", &error))?;
    let rows = rows(manifest);
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    let names = manifest.files.iter().map(|file| format!("file/{}", file.file)).collect();
    let files = document["files"].as_array().cloned().unwrap_or_default();
    session.show(&CommandOutput { document, items: Some(files), names, text: TextForm::Table(table) })?;
    for missing in &manifest.missing {
        session.notes().say(&format!("missing of {}: {}: {}", missing.node_id, missing.what, missing.why));
    }
    manifest.cut.iter().for_each(|cut| session.notes().say(&format!("cut: {cut}")));
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let (nodes, files) =
        (count(manifest.nodes.len() as u64, "node"), count(manifest.files.len() as u64, "file"));
    session.notes().say(&format!(
        "{files} of {nodes}, {bytes} bytes unpacked. Never in it: {}.",
        manifest.never.join("; ")
    ));
    Ok(())
}

/// One for each sort of answer of a node, in the order in which they were asked for.
fn rows(manifest: &BundleManifest) -> Vec<Value> {
    let alike =
        |one: &BundledFile, other: &BundledFile| one.node_id == other.node_id && one.what == other.what;
    let row = |files: &[BundledFile]| {
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let of = files.first()?;
        Some(json!({"nodeId": of.node_id, "what": of.what, "count": files.len(), "bytes": bytes}))
    };
    manifest.files.chunk_by(alike).filter_map(row).collect()
}
