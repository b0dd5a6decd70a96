//! `context list`.

use super::{LOCAL, object};
use crate::frame::context_file::ContextFile;
use crate::frame::prelude::*;
use crate::frame::table;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context list", LOCAL).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay context list
  omnirelay context list -o name";

/// List the contexts
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct ContextListArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("name", |context, _| text(context, "name").to_owned()).keep(),
    Column::new("current", |context, _| if flag(context, "current") { "*" } else { "" }.to_owned()).keep(),
    Column::new("address", |context, _| {
        let addresses = items(context, "addresses").iter().filter_map(Value::as_str);
        addresses.collect::<Vec<_>>().join(",")
    }),
    Column::new("cluster", |context, _| text(context, "cluster").to_owned()),
    Column::new("protected", |context, _| if flag(context, "protected") { "yes" } else { "no" }.to_owned()),
];

pub(super) async fn run(args: &ContextListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let file = ContextFile::load(&session.settings.config_path)?;
    let current = file.current.clone().unwrap_or_default();
    let mut contexts: Vec<Value> =
        file.contexts.iter().map(|context| object(context, context.name == current)).collect();
    if let Some(by) = &args.table.sort_by {
        table::sort(COLUMNS, &mut contexts, by)?;
    }
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &contexts, moment, &args.table.layout())?;
    if contexts.is_empty() && session.format().is_text() {
        session.notes().say(&format!("There are no contexts in {}.", file.path.display()));
        return Ok(Exit::Ok);
    }
    let names = file.contexts.iter().map(|context| format!("context/{}", context.name)).collect();
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "current": current, "contexts": contexts}),
        items: Some(contexts),
        names,
        text: TextForm::Table(table),
    })?;
    Ok(Exit::Ok)
}
