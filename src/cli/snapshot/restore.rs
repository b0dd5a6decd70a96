//! `snapshot restore`.

use std::path::PathBuf;

use omnirelay_core::time::rfc3339;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::rpc::snapshot_service;
use omnirelay_wire::timestamp::millis;
use tokio::sync::mpsc;

use super::file::{SnapshotContents, read};
use crate::frame::bar::ProgressMeter;
use crate::frame::prelude::*;

const RESTORE: RpcMethod = snapshot_service::RESTORE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("snapshot restore", &[&RESTORE]).exiting("0 1 2 4 5 6 8 9 10 11");

/// How many records go in one request, and how many bytes of values.
const AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 1024 * 1024;
/// How many records that were not put back are shown.
const SHOWN_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  omnirelay snapshot restore mesh.snapshot --dry-run
  omnirelay snapshot restore mesh.snapshot --yes --reason \"moved to Redis\"";

/// Put back what the registry lacks of a snapshot
///
/// Records come back as they were where the registry has nothing; what is there stays, and orders about peers and
/// revocations are put together with it. What was deleted since comes back. A restore that was cut off is run again. To go back to what
/// was, restore into an empty store. Signed records come back with their signatures, and where these count. Exits with 10 when
/// something could not be put back.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
pub(super) struct SnapshotRestoreArgs {
    /// What omnirelay snapshot save has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

/// Total of what became of all that was sent.
#[derive(Default)]
struct RestoreTotal {
    restored: u64,
    merged: u64,
    kept: u64,
    refused_count: u64,
    refused: Vec<Value>,
    cursor: String,
}

pub(super) async fn run(args: &SnapshotRestoreArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.write.without_version("a registry")?;
    args.write.check(session, 1)?;
    // All of it is looked at before anything is sent.
    let contents = read(&args.file, |_| Ok(()))?;
    session.announce_target()?;
    if !args.write.is_dry_run() {
        args.write.confirm(session, &question(&contents))?;
    }
    let mut total = RestoreTotal::default();
    let mut bar =
        ProgressMeter::of(session, "records", usize::try_from(contents.records).unwrap_or(usize::MAX));
    let (send, mut read_ahead) = mpsc::channel::<Vec<pb::SnapshotRecord>>(2);
    let file = args.file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut some, mut bytes) = (Vec::new(), 0);
        let contents = read(&file, |record| {
            if some.len() == AT_ONCE || !some.is_empty() && bytes + record.value.len() > BYTES_AT_ONCE {
                bytes = 0;
                // Nobody takes it where a request has failed.
                let _ = send.blocking_send(std::mem::take(&mut some));
            }
            bytes += record.value.len();
            some.push(record);
            Ok(())
        });
        let _ = send.blocking_send(some);
        contents
    });
    let (mut sent, key) = (0, args.write.key()?);
    while let Some(records) = read_ahead.recv().await {
        let part = format!("/{sent}");
        sent += records.len();
        let request = pb::RestoreSnapshotRequest {
            cluster_id: contents.head.cluster_id.clone(),
            cursor: contents.head.cursor.clone(),
            records,
            dry_run: args.write.is_dry_run(),
            reason: args.write.reason_text(),
        };
        let call = Call { awaits_work: true, ..Call::of(&RESTORE, &request)?.keyed(&key, &part) };
        total.take(&session.call(&call).await?);
        bar.show(sent);
    }
    let again =
        reading.await.map_err(|_| CliError::new(reasons::INPUT, "the file cannot be read any more"))??;
    drop(bar);
    if again.sha256 != contents.sha256 {
        let message = format!("`{}` was changed while it was restored", args.file.display());
        return Err(CliError::new(reasons::SNAPSHOT_UNREADABLE, message)
            .hint("restore again from a file that stays as it is"));
    }
    let document = total.document(&contents, args.write.is_dry_run());
    session.show(&CommandOutput::lines(document.clone(), "store/snapshot", describe(&document)))?;
    let has_changed = args.write.exit_code && total.restored + total.merged > 0;
    Ok(if total.refused_count > 0 || has_changed { Exit::Negative } else { Exit::Ok })
}

fn question(of: &SnapshotContents) -> String {
    let taken = of.head.taken_at.as_ref().map(|at| rfc3339(millis(at))).unwrap_or_default();
    format!(
        "Put back what is missing of {}, taken {} of the cluster {}?",
        count(of.records, "record"),
        printable(&taken),
        printable(&of.head.cluster_id)
    )
}

impl RestoreTotal {
    fn take(&mut self, answer: &Value) {
        self.restored += number(answer, "restored");
        self.merged += number(answer, "merged");
        self.kept += number(answer, "kept");
        self.refused_count += number(answer, "refusedCount");
        let room = SHOWN_MAX.saturating_sub(self.refused.len());
        self.refused.extend(items(answer, "refused").iter().take(room).cloned());
        self.cursor = text(answer, "cursor").to_owned();
    }

    fn document(&self, of: &SnapshotContents, dry_run: bool) -> Value {
        json!({
            "schemaVersion": "v1",
            "clusterId": of.head.cluster_id,
            "cursor": self.cursor,
            "changed": self.restored + self.merged > 0,
            "dryRun": dry_run,
            "records": of.records,
            "restored": self.restored,
            "merged": self.merged,
            "kept": self.kept,
            "refusedCount": self.refused_count,
            "refused": self.refused,
        })
    }
}

/// `812 of 900 records put back, 3 put together with what is there, 85 there already`.
fn describe(document: &Value) -> String {
    let word = |name: &str| number(document, name);
    let would = if flag(document, "dryRun") { " would be" } else { "" };
    let mut told = format!("{} of {}{would} put back", word("restored"), count(word("records"), "record"));
    if word("merged") > 0 {
        told += &format!(", {}{would} put together with what is there", word("merged"));
    }
    if word("kept") > 0 {
        told += &format!(", {} there already", word("kept"));
    }
    told += if flag(document, "dryRun") { " (dry run)\n" } else { "\n" };
    if word("refusedCount") > 0 {
        told += &format!("not put back: {}\n", count(word("refusedCount"), "record"));
        for refused in items(document, "refused") {
            let (kind, key) = (printable(text(refused, "kind")), printable(text(refused, "key")));
            told += &format!("  {kind}/{key}: {}\n", printable(text(refused, "why")));
        }
    }
    told
}
