//! `audit export`: the trail as JSON lines that can be checked without a daemon.

use std::path::PathBuf;

use omnirelay_wire::rpc::audit_service;
use sha2::Sha256;

use super::{RecordArgs, UntilArgs};
use crate::frame::prelude::*;
use crate::frame::saved_lines::{self, SavedLines};

pub(super) const EXPORT: RpcMethod = audit_service::EXPORT;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("audit export", &[&EXPORT]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay audit export audit.jsonl
  omnirelay audit export audit.jsonl --force
  omnirelay audit export --since 24h | gzip > audit.jsonl.gz";

/// Write the trail and its seals as JSON lines
///
/// The newest records of the daemon that is asked are sealed first, if that takes no longer than 5s.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AuditExportArgs {
    /// Where to write; standard output if it is not given, or -
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    until: UntilArgs,
}

pub(super) async fn run(args: &AuditExportArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut request = args.records.request();
    request["until"] = json!(args.until.until);
    let call = Call::of(&EXPORT, &request)?;
    let lines = SavedLines { what: "export", file: args.file.as_deref(), force: args.force };
    let (mut records, mut seals, mut sealed) = (0, 0, true);
    let counts = std::cell::Cell::new((0, 0));
    let each = |item: &serde_json::Value| {
        records += u64::from(item.get("record").is_some());
        seals += u64::from(item.get("seal").is_some());
        counts.set((records, seals));
        sealed &= item.pointer("/head/sealed").is_none_or(|sealed| sealed == true);
    };
    lines.save(session, call, each, |hash| end_line(counts.get().0, counts.get().1, hash)).await?;
    let notes = session.notes();
    if !sealed {
        notes.warn("the newest records of the daemon are not sealed yet; export again to have them sealed");
    }
    notes.say(&format!("{}, {}", count(records, "record"), count(seals, "seal")));
    Ok(Exit::Ok)
}

/// The last line: what all lines before it come to.
pub(super) fn end_line(records: u64, seals: u64, hash: &Sha256) -> String {
    let counts = [("records", records), ("seals", seals)];
    saved_lines::end_line(
        counts.map(|(name, count)| (name.to_owned(), count.into())).into_iter().collect(),
        hash,
    )
}
