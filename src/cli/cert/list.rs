//! `cert list`.

use clap::{Args, ValueEnum};
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::certificate_service;
use serde_json::{Value, json};

use super::{COLUMNS, KIND, holder};
use crate::cli::frame::args::TableArgs;
use crate::cli::frame::client::count;
use crate::cli::frame::document::{items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Text, View};
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::table::{self, Table};
use crate::cli::frame::time;

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
    let mut document = session.call(&Call::of(&LIST, &request)?).await?;
    if let (Some(by), Some(certificates)) =
        (&args.table.sort_by, document.get_mut("certificates").and_then(Value::as_array_mut))
    {
        table::sort(COLUMNS, certificates, by)?;
    }
    let certificates = items(&document, "certificates").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = Table::of(COLUMNS, &certificates, moment, &args.table.layout())?;
    if certificates.is_empty() && session.format().is_text() {
        session.notes().say("There are no certificates like that.");
    } else {
        let names = certificates.iter().map(|one| format!("{KIND}/{}", holder(one))).collect();
        let footer =
            format!("{}, rev {}", count(certificates.len() as u64, "certificate"), text(&document, "cursor"));
        let view =
            View { document: document.clone(), items: Some(certificates), names, text: Text::Table(table) };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer);
        }
    }
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}
