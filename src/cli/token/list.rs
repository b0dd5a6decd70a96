//! `token list`.

use omnirelay_wire::rpc::enrollment_service;

use super::{COLUMNS, KIND};
use crate::frame::list;
use crate::frame::prelude::*;

const LIST: RpcMethod = enrollment_service::LIST_TOKENS;
pub(super) const LEAF: LeafCommand = LeafCommand::read("token list", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay token list
  omnirelay token list --all -o wide";

/// List join tokens; what proves them is nowhere
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct TokenListArgs {
    /// Those too that let nobody in any more
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(args: &TokenListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = list::whole(session, &LIST, "tokens", json!({"all": args.all})).await?;
    let list = ListSpec {
        field: "tokens",
        columns: COLUMNS,
        name: |token| format!("{KIND}/{}", text(token, "tokenId")),
        none: "There are no join tokens.".to_owned(),
        footer: |document, all| counted(document, all, "token"),
    };
    list.show(document, &args.table, session)
}
