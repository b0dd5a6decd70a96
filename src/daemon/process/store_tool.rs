//! `omnirelayd store`: what can be done with an embedded store that no daemon uses.

use std::fmt::Write as _;

use omnirelay_store::offline::{self, OpenError, StoreReport};
use omnirelay_wire::fault::Exit;

use super::args::StoreCommand;

/// Runs a command on a store: what it has found or done, as it is printed, and how the process ends.
///
/// # Errors
/// When the store could not be looked at: somebody uses it, or its directory cannot be read.
pub fn run(command: &StoreCommand) -> Result<(String, Exit), OpenError> {
    let outcome = match command {
        StoreCommand::Check { dir } => offline::check(dir).map(|report| described(&report)),
        StoreCommand::Compact { dir } => offline::compact(dir).map(|(before, after)| {
            let text = format!("store {}: {} -> {}\n", dir.display(), size(before), size(after));
            (text, Exit::Ok)
        }),
    };
    match outcome {
        Err(error @ (OpenError::Held { .. } | OpenError::Io { .. })) => Err(error),
        Err(error) => Ok((format!("not sound: {error}\n"), Exit::Negative)),
        Ok(told) => Ok(told),
    }
}

fn described(report: &StoreReport) -> (String, Exit) {
    let StoreReport { path, epoch, head, groups, inventory, file_bytes, log_bytes, batches_in_log, .. } =
        report;
    let mut rows = vec![
        ("store".to_owned(), path.display().to_string()),
        ("file".to_owned(), size(*file_bytes)),
        ("log".to_owned(), format!("{}, {batches_in_log} batches that the file has not", size(*log_bytes))),
        ("epoch".to_owned(), epoch.to_string()),
        ("revision".to_owned(), head.to_string()),
    ];
    rows.extend(
        inventory.records.iter().map(|(kind, count)| (format!("records of {kind}"), count.to_string())),
    );
    let counts = [
        ("tombstones", inventory.tombstones),
        ("groups", *groups as u64),
        ("leases", inventory.leases),
        ("log entries", inventory.log_entries),
        ("answers", inventory.answers),
    ];
    rows.extend(counts.map(|(what, count)| (what.to_owned(), count.to_string())));
    if report.note_is_doubtful {
        let note = "not as its checksum has it; it fits file and log, and the next start writes it anew";
        rows.push(("registry.lock".to_owned(), note.to_owned()));
    }
    let wide = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let mut text: String = rows.iter().map(|(what, value)| format!("{what:wide$}  {value}\n")).collect();
    let mut findings = inventory.findings.clone();
    if !report.is_sound {
        findings.push("checksums of the file are wrong".to_owned());
    }
    for finding in &findings {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "finding: {finding}");
    }
    let told = inventory.findings.len() as u64;
    if inventory.faults > told {
        let _ = writeln!(text, "and {} more", inventory.faults - told);
    }
    if findings.is_empty() {
        text.push_str("the store is sound\n");
        return (text, Exit::Ok);
    }
    text.push_str("the store is not sound: restore it from a copy\n");
    (text, Exit::Negative)
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
