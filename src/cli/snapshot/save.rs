//! `snapshot save`.

use std::cell::Cell;
use std::path::PathBuf;

use omnirelay_wire::rpc::snapshot_service;

use super::file::end_line;
use crate::frame::prelude::*;
use crate::frame::saved_lines::SavedLines;

const SAVE: RpcMethod = snapshot_service::SAVE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("snapshot save", &[&SAVE]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay snapshot save mesh.snapshot
  omnirelay snapshot save mesh.snapshot --force
  omnirelay snapshot save - | gzip > mesh.snapshot.gz";

/// Save the registry as it is now
///
/// All records of one moment, and the audit trail as far as it is sealed by then, as JSON lines. What living nodes say of
/// themselves is not in it (sessions, leases, advertisements, relays, agents), nor are join tokens. The file holds the keys of the authority, sealed,
/// and who may do what: only its owner can read it.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct SnapshotSaveArgs {
    /// Where to write; - is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(args: &SnapshotSaveArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let call = Call::of(&SAVE, &json!({}))?;
    let lines = SavedLines { what: "snapshot", file: Some(&args.file), force: args.force };
    let records = Cell::new(0);
    let each = |item: &Value| records.set(records.get() + u64::from(item.get("record").is_some()));
    lines.save(session, call, each, |hash| end_line(records.get(), hash)).await?;
    session.notes().say(&format!("{} saved", count(records.get(), "record")));
    Ok(Exit::Ok)
}
