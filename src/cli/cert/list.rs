//! `cert list`.

use clap::{Args, ValueEnum};
use omnirelay_core::text::count;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::certificate_service;
use serde_json::json;

use super::{COLUMNS, KIND, holder};
use crate::cli::frame::args::TableArgs;
use crate::cli::frame::document::text;
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::whole_list::WholeList;

pub const LIST: Rpc = certificate_service::LIST;
pub const LEAF: Leaf = Leaf::read("cert list", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay cert list
  omnirelay cert list --kind operator --all
  omnirelay cert list -o json | jq -r '.certificates[] | [.id, .notAfter] | @tsv'";

/// List certificates: the newest of each holder, or all
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub struct ListArgs {
    /// Only of these (repeatable)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Only of the holder with this name
    #[arg(long)]
    name: Option<String>,
    /// Those too that have ended, or were superseded or revoked
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Who a certificate may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Node,
    Operator,
    Service,
}

pub async fn run(args: &ListArgs, session: &mut Session) -> Result<Exit, CliError> {
    let kinds: Vec<String> = args
        .kind
        .iter()
        .filter_map(|kind| kind.to_possible_value())
        .map(|kind| kind.get_name().to_owned())
        .collect();
    let request = json!({"kinds": kinds, "name": args.name, "all": args.all});
    let document = session.call(&Call::of(&LIST, &request)?).await?;
    let list = WholeList {
        field: "certificates",
        columns: COLUMNS,
        name: |one| format!("{KIND}/{}", holder(one)),
        none: "There are no certificates like that.",
        footer: |document, all| format!("{}, rev {}", count(all, "certificate"), text(document, "cursor")),
    };
    list.show(document, &args.table, session)
}
