//! `bindings list`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::binding_service;
use serde_json::{Value, json};

use super::{COLUMNS, KIND, scopes};
use crate::cli::frame::args::{TableArgs, WatchArgs};
use crate::cli::frame::client::count;
use crate::cli::frame::document::{items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Text, View};
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::table::{self, Table};
use crate::cli::frame::time;
use crate::cli::frame::watch::{self as stream, Feed, Keep};

pub const LIST: Rpc = binding_service::LIST;
pub const WATCH: Rpc = binding_service::WATCH;
pub const LEAF: Leaf = Leaf::read("bindings list", &[&LIST, &WATCH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay bindings list
  omnirelay bindings list -o json | jq -r '.bindings[] | select(.scopes | index(\"mesh.admin\")).principal'
  omnirelay bindings list --watch -o jsonl";

/// List role bindings, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub struct ListArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Go on with changes as they happen
    #[arg(short, long, help_heading = "Watch options")]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

pub async fn run(args: &ListArgs, session: &mut Session) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    if args.watch {
        return watch(&args.watching, &args.table, session).await;
    }
    let mut document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    if let (Some(by), Some(bindings)) =
        (&args.table.sort_by, document.get_mut("bindings").and_then(Value::as_array_mut))
    {
        table::sort(COLUMNS, bindings, by)?;
    }
    let bindings = items(&document, "bindings").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = Table::of(COLUMNS, &bindings, moment, &args.table.layout())?;
    if bindings.is_empty() && session.format().is_text() {
        session.notes().say("There are no bindings: everybody has the scopes of their proof.");
    } else {
        let names = bindings.iter().map(|binding| format!("{KIND}/{}", text(binding, "principal"))).collect();
        let footer =
            format!("{}, rev {}", count(bindings.len() as u64, "binding"), text(&document, "cursor"));
        let view =
            View { document: document.clone(), items: Some(bindings), names, text: Text::Table(table) };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer);
        }
    }
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}

/// Watches instead of listing.
pub async fn watch(watching: &WatchArgs, table: &TableArgs, session: &mut Session) -> Result<Exit, CliError> {
    let feed = Feed {
        rpc: &WATCH,
        call: Call::of(&WATCH, &json!({}))?,
        object: KIND,
        kind: KIND,
        id: |binding| text(binding, "principal").to_owned(),
        columns: COLUMNS,
        summary: |binding| format!("{}: {}", text(binding, "principal"), scopes(binding)),
        line: None,
        named: &[],
        news: None,
        present: None,
        keep: Keep::Latest,
    };
    stream::run(session, feed, watching, table).await
}
