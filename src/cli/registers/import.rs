//! `registers import`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use omnirelay_decisions::catalogue::{check_imported, counting, pieces};
use omnirelay_wire::pb::omnirelay::registers::v1::ImportedRegister;
use omnirelay_wire::rpc::register_service;
use serde_json::Map;

use super::KIND;
use super::change::{in_flight, not_sent, not_shown};
use super::file::{self, FileFormat};
use crate::frame::bar::ProgressMeter;
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;
use crate::node::NodeArgs;

pub const IMPORT: RpcMethod = register_service::IMPORT;
pub const LEAF: LeafCommand = LeafCommand::write("registers import", &[&IMPORT]);

/// The most registers of one request, and the most bytes of them.
const REQUEST_ITEMS_MAX: usize = 5000;
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many failures a person is told of by name, and how many of what a dry run would do.
const TOLD_MAX: usize = 10;
const NAMED_MAX: usize = 100;
const COUNTS: [&str; 4] = ["added", "updated", "unchanged", "failed"];
const LISTS: [&str; 4] = ["results", "addedIds", "updatedIds", "outdatedIds"];

/// A hundred thousand registers with a page of text each. What a daemon would refuse is refused here, so that a file is
/// sent in order or not at all.
const FORM: FileFormat<ImportedRegister> = FileFormat {
    bytes_max: 256 * 1024 * 1024,
    too_long: "import it in parts",
    prepare: as_imported,
    check: |register| match check_imported(register) {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("field `{}`: {error}", error.field())),
    },
};

/// Takes what a list, an export or a file for `resync` says besides what is imported.
fn as_imported(register: &mut Map<String, Value>) {
    for name in ["nodeId", "version", "lastWriterId", "createdAt", "updatedAt", "syncState"] {
        register.shift_remove(name);
    }
    if let Some(public) = register.shift_remove("isPublic") {
        register.entry("advertise").or_insert(public);
    }
}

/// The registers of a file; `-` is standard input.
///
/// # Errors
/// When the file cannot be read; usage, naming the register, when something is wrong in it.
pub fn read(file: &Path) -> Result<Vec<ImportedRegister>, CliError> {
    file::read(file, &FORM)
}

const EXAMPLES: &str = "\
Examples:
  omnirelay registers import -f registers.yaml --dry-run
  omnirelay registers import -f registers.jsonl --reason \"moved, INC-4711\"
  omnirelay registers export | omnirelay registers import -f - --node node-2
  echo '{\"registerId\": \"orders\", \"name\": \"Orders\", \"advertise\": true}' | omnirelay registers import -f -";

/// Create and update registers from a file
///
/// The file is a JSON array, a JSON object with registers, JSON lines, or YAML. Fields are registerId, name,
/// description, advertise, latestVersion, latestDocketVersion and labels; what is absent stays as it is, what
/// is not in the file as well, and a lower version is left out. What `registers export`
/// and `registers list -o json` print is taken as it is. Of two with one id the last counts. A second
/// import of the same file changes nothing.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct RegistersImportArgs {
    /// The file; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(
    args: &RegistersImportArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    if args.write.if_match.is_some() {
        return Err(CliError::usage("--if-match is one version, but a file has many registers")
            .hint("leave it out; versions are never lowered"));
    }
    args.write.check(session, 1)?;
    let registers = read(&args.file)?;
    session.announce_target()?;
    let key = args.write.key()?;
    let import = RegistersImport { args, node, key, registers: &registers, items: counting(&registers) };
    let (document, stopped) = import.send(session).await?;
    let failed = number(&document, "failed");
    let changed = ["added", "updated"].iter().any(|name| number(&document, name) > 0);
    show(session, &document, node)?;
    if failed > 0 {
        let all = count(registers.len() as u64, KIND);
        let error = CliError::partial(format!("{failed} of {all} could not be imported"))
            .hint("repeat the command: what is there already is not changed again");
        return Err(stopped.into_iter().fold(error, CliError::exiting));
    }
    Ok(if changed && args.write.exit_code { Exit::Negative } else { Exit::Ok })
}

struct RegistersImport<'a> {
    args: &'a RegistersImportArgs,
    node: &'a str,
    key: String,
    registers: &'a [ImportedRegister],
    /// The places of those that count.
    items: Vec<usize>,
}

impl RegistersImport<'_> {
    /// Sends all of it, and adds up the answers; with which exit, if somebody did not want to wait for all.
    ///
    /// # Errors
    /// What was answered to the first request; what is answered to a later one is told of its registers.
    async fn send(&self, session: &CommandSession) -> Result<(Value, Option<Exit>), CliError> {
        let encoded = self.items.iter().map(|&at| json!(self.registers[at])).collect::<Vec<Value>>();
        let sizes: Vec<usize> = encoded.iter().map(|item| item.to_string().len() + 1).collect();
        let mut requests = pieces(&sizes, REQUEST_ITEMS_MAX, REQUEST_BYTES_MAX);
        // A file without registers is asked about as well, so that the answer is the daemon's.
        if requests.is_empty() {
            requests.push(0..0);
        }
        let (mut bar, mut stops) =
            (ProgressMeter::of(session, "registers", self.items.len()), StopSignals::listen()?);
        let (mut total, mut stopped): (Option<Value>, Option<Exit>) = (None, None);
        for (number, range) in requests.iter().enumerate() {
            let call = self.call(&encoded[range.clone()], number)?;
            let answered = tokio::select! {
                answered = session.call(&call) => answered,
                exit = stops.wait() => {
                    stopped = Some(exit);
                    let total = total.get_or_insert_with(|| nothing(self.args.write.is_dry_run()));
                    self.fail(total, range.clone(), &in_flight(self.args.write.is_dry_run()));
                    self.fail(total, range.end..self.items.len(), &not_sent());
                    break;
                }
            };
            match (answered, &mut total) {
                (Ok(document), None) => total = Some(document),
                (Ok(document), Some(total)) => add(total, document),
                (Err(error), None) => return Err(error),
                (Err(error), Some(total)) => {
                    self.fail(total, range.start..self.items.len(), &error);
                    break;
                }
            }
            bar.show(range.end);
        }
        let mut total = total.unwrap_or_default();
        let overridden = self.registers.len() - self.items.len();
        total["unchanged"] = json!(number(&total, "unchanged") + overridden as u64);
        total["processed"] = json!(self.registers.len());
        Ok((total, stopped))
    }

    fn call(&self, registers: &[Value], number: usize) -> Result<Call, CliError> {
        let request = json!({
            "nodeId": self.node, "registers": registers, "reason": self.args.write.reason_text(),
            "dryRun": self.args.write.is_dry_run(),
        });
        let mut part = format!("/{number}");
        if self.args.write.is_dry_run() {
            part.push_str("/dry-run");
        }
        let call = Call::of(&IMPORT, &request)?.keyed(&self.key, &part);
        Ok(Call { awaits_work: true, ..call })
    }

    /// Tells of registers that were not imported because the request that held them was refused, or not sent.
    fn fail(&self, total: &mut Value, range: Range<usize>, error: &CliError) {
        total["failed"] = json!(number(total, "failed") + range.len() as u64);
        let failures = self.items[range].iter().map(|&at| {
            let id = &self.registers[at].register_id;
            json!({"registerId": id, "reason": error.reason(), "message": error.body().message})
        });
        if let Some(results) = total.get_mut("results").and_then(Value::as_array_mut) {
            results.extend(failures);
        }
    }
}

/// The answer before any.
fn nothing(dry_run: bool) -> Value {
    json!({
        "schemaVersion": "v1", "cursor": "", "dryRun": dry_run, "processed": 0, "added": 0, "updated": 0,
        "unchanged": 0, "failed": 0, "results": [], "advertised": true, "addedIds": [], "updatedIds": [],
        "outdatedIds": [],
    })
}

/// Adds the answer to a request to those before it.
fn add(total: &mut Value, mut more: Value) {
    for name in COUNTS {
        total[name] = json!(number(total, name) + number(&more, name));
    }
    total["advertised"] = json!(flag(total, "advertised") && flag(&more, "advertised"));
    total["cursor"] = more["cursor"].take();
    for name in LISTS {
        let found = more.get_mut(name).and_then(Value::as_array_mut);
        if let (Some(known), Some(found)) = (total.get_mut(name).and_then(Value::as_array_mut), found) {
            known.append(found);
        }
    }
}

fn show(session: &mut CommandSession, document: &Value, node: &str) -> Result<(), CliError> {
    let counts: Vec<String> =
        COUNTS.iter().map(|name| format!("{} {name}", number(document, name))).collect();
    let dry_run = if flag(document, "dryRun") { " (dry run)" } else { "" };
    let all = count(number(document, "processed"), KIND);
    let mut lines = format!("{all}: {}{dry_run}\n", counts.join(", "));
    for (list, what) in [
        ("addedIds", "would be added"),
        ("updatedIds", "would be updated"),
        ("outdatedIds", "has a higher version already, which stays"),
    ] {
        let ids = items(document, list);
        let named = ids.iter().take(NAMED_MAX).filter_map(Value::as_str);
        lines.extend(named.map(|id| format!("  {KIND}/{} {what}\n", printable(id))));
        if ids.len() > NAMED_MAX {
            lines.push_str(&format!("  and {} more {what}; -o json names all\n", ids.len() - NAMED_MAX));
        }
    }
    if !flag(document, "advertised") && dry_run.is_empty() {
        let changed = number(document, "added") + number(document, "updated") > 0;
        let said = not_shown(node, "advertise them", changed);
        lines.extend(said.map(|said| format!("{}\n", printable(&said))));
    }
    session.show(&CommandOutput {
        document: document.clone(),
        items: None,
        names: Vec::new(),
        text: TextForm::Lines(lines),
    })?;
    let failures = items(document, "results");
    if !session.format().is_json() {
        for failure in failures.iter().take(TOLD_MAX) {
            let (id, reason) = (text(failure, "registerId"), text(failure, "reason"));
            let line = format!("{KIND}/{id}: {} ({reason})", text(failure, "message"));
            session.notes().write(&printable(&line));
        }
        if failures.len() > TOLD_MAX {
            session.notes().write(&format!("and {} more; -o json names all", failures.len() - TOLD_MAX));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_added_up() {
        let answer = |added: u64, advertised: bool, failed: &[&str]| {
            let results: Vec<Value> = failed.iter().map(|id| json!({ "registerId": id })).collect();
            json!({
                "cursor": format!("c{added}"), "added": added, "updated": 1, "unchanged": 0,
                "failed": failed.len(), "results": results, "advertised": advertised,
            })
        };
        let mut total = answer(3, true, &["x"]);
        add(&mut total, answer(4, false, &["y", "z"]));
        let expected = json!({
            "cursor": "c4", "added": 7, "updated": 2, "unchanged": 0, "failed": 3,
            "results": [{"registerId": "x"}, {"registerId": "y"}, {"registerId": "z"}], "advertised": false,
        });
        assert_eq!(total, expected);
    }
}
