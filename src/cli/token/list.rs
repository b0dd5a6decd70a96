//! `token list`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::enrollment_service;
use serde_json::{Value, json};

use super::{COLUMNS, KIND};
use crate::cli::frame::args::TableArgs;
use crate::cli::frame::client::count;
use crate::cli::frame::document::{items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Text, View};
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::table::{self, Table};
use crate::cli::frame::time;

const LIST: Rpc = enrollment_service::LIST_TOKENS;
pub const LEAF: Leaf = Leaf::read("token list", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay token list
  omnirelay token list --all -o wide";

/// List join tokens; what proves them is nowhere
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub struct ListArgs {
    /// Those too that let nobody in any more
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    table: TableArgs,
}

pub async fn run(args: &ListArgs, session: &mut Session) -> Result<Exit, CliError> {
    let mut document = session.call(&Call::of(&LIST, &json!({"all": args.all}))?).await?;
    if let (Some(by), Some(tokens)) =
        (&args.table.sort_by, document.get_mut("tokens").and_then(Value::as_array_mut))
    {
        table::sort(COLUMNS, tokens, by)?;
    }
    let tokens = items(&document, "tokens").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = Table::of(COLUMNS, &tokens, moment, &args.table.layout())?;
    if tokens.is_empty() && session.format().is_text() {
        session.notes().say("There are no join tokens.");
    } else {
        let names = tokens.iter().map(|token| format!("{KIND}/{}", text(token, "tokenId"))).collect();
        let footer = format!("{}, rev {}", count(tokens.len() as u64, "token"), text(&document, "cursor"));
        let view = View { document: document.clone(), items: Some(tokens), names, text: Text::Table(table) };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer);
        }
    }
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}
