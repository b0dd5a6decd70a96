//! `registers export`.

use std::path::PathBuf;

use clap::ValueHint;
use omnirelay_store::whole_file::write_whole;
use serde_json::Map;

use super::{KIND, LIST};
use crate::frame::list;
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const LEAF: LeafCommand = LeafCommand::read("registers export", &[&LIST]);

/// What is exported of a register: what an import takes.
const FIELDS: [&str; 7] =
    ["registerId", "name", "description", "advertise", "latestVersion", "latestDocketVersion", "labels"];

const EXAMPLES: &str = "\
Examples:
  omnirelay registers export registers.jsonl
  omnirelay registers export -l tier=std | wc -l
  omnirelay registers export --node node-1 | omnirelay registers import -f - --node node-2";

/// Write the registers of a node so that they can be imported
///
/// One JSON object a line, whatever --output says: what `registers import` takes, in the order of the ids.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersExportArgs {
    /// The file; without it, or with -, standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Only registers with these labels, such as tier=std,!legacy
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(
    args: &RegistersExportArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let file = args.file.as_deref().filter(|file| file.as_os_str() != "-");
    if let Some(file) = file.filter(|file| !args.force && file.exists()) {
        return Err(CliError::not_written_over(file));
    }
    let request = |page: &ListPage| {
        let ListPage { size, token } = page;
        let asked = json!({
            "nodeId": node.id(), "selector": args.selector, "pageSize": size, "pageToken": token,
        });
        Call::of(&LIST, &asked)
    };
    let document = list::fetch(session, "registers", &PageArgs::default(), true, request).await?;
    let registers = items(&document, "registers");
    let lines: String = registers.iter().map(|register| format!("{}\n", exported(register))).collect();
    match file {
        Some(file) => write_whole(file, lines.as_bytes()).map_err(|error| {
            CliError::local(reasons::FILE, format!("cannot write {}", file.display()), &error)
        })?,
        None => {
            session.out.write(lines.as_bytes())?;
            session.out.flush()?;
        }
    }
    session.notes().say(&format!("{} exported", count(registers.len() as u64, KIND)));
    Ok(Exit::Ok)
}

fn exported(register: &Value) -> Value {
    let fields = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), register.get(*name)?.clone())));
    Value::Object(fields.collect::<Map<String, Value>>())
}
