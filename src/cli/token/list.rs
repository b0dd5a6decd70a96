//! `token list`.

use clap::Args;
use omnirelay_core::text::count;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::enrollment_service;
use serde_json::json;

use super::{COLUMNS, KIND};
use crate::frame::args::TableArgs;
use crate::frame::document::text;
use crate::frame::error::CliError;
use crate::frame::list;
use crate::frame::rpc::{Leaf, Rpc};
use crate::frame::session::Session;
use crate::frame::whole_list::WholeList;

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
    let document = list::whole(session, &LIST, "tokens", json!({"all": args.all})).await?;
    let list = WholeList {
        field: "tokens",
        columns: COLUMNS,
        name: |token| format!("{KIND}/{}", text(token, "tokenId")),
        none: "There are no join tokens.",
        footer: |document, all| format!("{}, rev {}", count(all, "token"), text(document, "cursor")),
    };
    list.show(document, &args.table, session)
}
