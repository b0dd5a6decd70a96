//! `snapshot inspect`.

use std::path::PathBuf;

use omnirelay_core::time::rfc3339;
use omnirelay_wire::timestamp::millis;

use super::file::{SnapshotContents, read};
use crate::audit::offline::TrailCheck;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::local("snapshot inspect", "it reads a file").exiting("0 1 2 10");

const EXAMPLES: &str = "\
Examples:
  omnirelay snapshot inspect mesh.snapshot
  omnirelay snapshot inspect mesh.snapshot -o json | jq .kinds
  gunzip -c mesh.snapshot.gz | omnirelay snapshot inspect -";

/// Say what a snapshot holds, and check that it is whole
///
/// Reads all of it: its lines are those that were saved, and its audit trail is as its seals say. Exits with 10 when the trail
/// is not sound. No daemon is needed.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct SnapshotInspectArgs {
    /// What omnirelay snapshot save has written; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(args: &SnapshotInspectArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let mut trail = TrailCheck::new();
    let contents = read(&args.file, |record| {
        match record.kind.as_str() {
            "audit-seal" => trail.seal(record.key, record.value),
            "audit" => trail.record(&record),
            _ => {}
        }
        Ok(())
    })?;
    let document = document(&contents, &trail.end());
    let sound = flag(&document, "trailSound");
    session.show(&CommandOutput::lines(document.clone(), "snapshot", describe(&document)))?;
    Ok(if sound { Exit::Ok } else { Exit::Negative })
}

fn document(of: &SnapshotContents, trail: &Value) -> Value {
    let SnapshotContents { head, kinds, records, bytes, sha256 } = of;
    json!({
        "schemaVersion": "v1",
        "clusterId": head.cluster_id,
        "takenAt": head.taken_at.as_ref().map(|at| rfc3339(millis(at))),
        "localNodeId": head.local_node_id,
        "cursor": head.cursor,
        "version": head.version,
        "records": records,
        "leftOut": head.left_out,
        "bytes": bytes,
        "sha256": sha256,
        "kinds": kinds,
        "trailSound": flag(trail, "ok"),
        "findings": field(trail, "findings"),
    })
}

fn describe(document: &Value) -> String {
    let word = |name: &str| printable(text(document, name)).to_string();
    let mut told = format!(
        "snapshot of the cluster {}, taken {} by {} (omnirelay {})\n",
        word("clusterId"),
        word("takenAt"),
        word("localNodeId"),
        word("version"),
    );
    told += &format!("whole: {}, sha256 {}\n", count(number(document, "records"), "record"), word("sha256"));
    let kinds = document["kinds"].as_object().into_iter().flatten();
    for (kind, records) in kinds {
        told += &format!("  {:>7}  {}\n", records.as_u64().unwrap_or(0), printable(kind));
    }
    let left_out = number(document, "leftOut");
    if left_out > 0 {
        told += &format!("not in it: {} of living nodes, which say them again\n", count(left_out, "record"));
    }
    match items(document, "findings") {
        [] => told += "audit trail: sound\n",
        findings => {
            told += &format!("audit trail: NOT SOUND, {}\n", count(findings.len() as u64, "finding"));
            for finding in findings.iter().take(10) {
                told += &format!("  {}\n", printable(text(finding, "what")));
            }
        }
    }
    told
}
