//! `bindings list`.

use omnirelay_wire::rpc::binding_service;

use super::{COLUMNS, KIND, scopes};
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::watch as stream;

pub(crate) const LIST: RpcMethod = binding_service::LIST;
pub(super) const WATCH: RpcMethod = binding_service::WATCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("bindings list", &[&LIST, &WATCH]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay bindings list
  omnirelay bindings list -o json | jq -r '.bindings[] | select(.scopes | index(\"mesh.admin\")).principal'
  omnirelay bindings list --watch -o jsonl";

/// List role bindings, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct BindingsListArgs {
    #[command(flatten)]
    table: TableArgs,
    /// Go on with changes as they happen
    #[arg(short, long, help_heading = "Watch options")]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &BindingsListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    if args.watch {
        return watch(&args.watching, &args.table, session).await;
    }
    let document = list::whole(session, &LIST, "bindings", json!({})).await?;
    let list = ListSpec {
        field: "bindings",
        columns: COLUMNS,
        name: |binding| format!("{KIND}/{}", text(binding, "principal")),
        none: "There are no bindings: everybody has the scopes of their proof.".to_owned(),
        footer: |document, all| counted(document, all, "binding"),
    };
    list.show(document, &args.table, session)
}

/// Watches instead of listing.
pub(super) async fn watch(
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        id: |binding| text(binding, "principal").to_owned(),
        columns: COLUMNS,
        summary: |binding| format!("{}: {}", text(binding, "principal"), scopes(binding)),
        ..WatchFeed::of(&WATCH, &json!({}), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
