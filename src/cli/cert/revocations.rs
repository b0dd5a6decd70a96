//! `cert revocations`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::rpc::certificate_service;
use serde_json::{Value, json};

use crate::cli::frame::args::TableArgs;
use crate::cli::frame::document::{field, items, number, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Text, View};
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::table::{self, Column, Table};
use crate::cli::frame::time;

const LIST: Rpc = certificate_service::LIST_REVOCATIONS;
pub const LEAF: Leaf = Leaf::read("cert revocations", &[&LIST]).listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay cert revocations
  omnirelay cert revocations -o json | jq -r '.revocations[].id | select(. != \"\")'";

/// List what is revoked
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct RevocationsArgs {
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("what", |revocation, _| what(revocation)).keep(),
    Column::new("since", |revocation, moment| time::ago(field(revocation, "since"), moment))
        .ranked(|revocation| -(time::millis(field(revocation, "since")).unwrap_or(0) as f64)),
    Column::new("reason", |revocation, _| text(revocation, "reason").to_owned()),
];

fn what(revocation: &Value) -> String {
    let all = [("holder", "id"), ("key", "keyFingerprint"), ("serial", "serial")];
    let given = all.into_iter().find(|(_, path)| !text(revocation, path).is_empty());
    given.map(|(kind, path)| format!("{kind}/{}", text(revocation, path))).unwrap_or_default()
}

pub async fn run(args: &RevocationsArgs, session: &mut Session) -> Result<Exit, CliError> {
    let mut document = session.call(&Call::of(&LIST, &json!({}))?).await?;
    if let (Some(by), Some(all)) =
        (&args.table.sort_by, document.get_mut("revocations").and_then(Value::as_array_mut))
    {
        table::sort(COLUMNS, all, by)?;
    }
    let all = items(&document, "revocations").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    let table = Table::of(COLUMNS, &all, moment, &args.table.layout())?;
    if all.is_empty() && session.format().is_text() {
        session.notes().say("Nothing is revoked.");
    } else {
        let (names, known) = (all.iter().map(what).collect(), number(&document, "number"));
        let enforced = number(&document, "enforcedNumber");
        let view = View { document: document.clone(), items: Some(all), names, text: Text::Table(table) };
        session.show(&view)?;
        if session.format().is_text() {
            session
                .notes()
                .say(&format!("list {known}, {} judges by {enforced}", text(&document, "localNodeId")));
        }
    }
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}
