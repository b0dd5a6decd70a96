//! `registers advertisements`: what each node says of each register, one by one.

use omnirelay_wire::rpc::advertisement_service;

use super::KIND;
use super::watch::WATCHED;
use crate::complete;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::node::{NODE, NodeArgs};
use crate::peers;

const LIST: RpcMethod = advertisement_service::LIST;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("registers advertisements", &[&LIST, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 10 11")
        .listing(&WATCHED, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers advertisements
  omnirelay registers advertisements orders --source node-2
  omnirelay registers advertisements -o json | jq -r '.advertisements[] | [.source, .registerId, .producer] | @tsv'";

/// List advertisements: one for each node, register and producer
///
/// Those that are hidden are told by their own node alone. registers available shows each register once.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersAdvertisementsArgs {
    /// Only of these registers
    #[arg(value_name = "REGISTER", add = complete::ids(&super::OBJECTS))]
    registers: Vec<String>,
    /// Only what these nodes advertise
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = complete::ids(&peers::OBJECTS))]
    source: Vec<String>,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(
    args: &RegistersAdvertisementsArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.table.check_order(WATCHED)?;
    node.go(session).await?;
    let plain = |given: &[String], kind: &str| -> Vec<String> {
        let one = |text: &String| text.strip_prefix(kind).unwrap_or(text).to_owned();
        given.iter().map(one).collect()
    };
    let (registers, sources) = (plain(&args.registers, "register/"), plain(&args.source, "peer/"));
    let request = |page: &ListPage| {
        let request = json!({"registerId": registers, "source": sources, "pageSize": page.size, "pageToken": page.token, "at": args.at.text()});
        Call::of(&LIST, &request)
    };
    let sorts_here = args.table.sort_by.is_some();
    let mut document = list::fetch(session, "advertisements", &args.page, sorts_here, request).await?;
    args.table.order(WATCHED, &mut document, "advertisements")?;
    list::limit(session, &mut document, "advertisements", &args.page);
    args.at.tell(&document, session);
    show(args, session, document)
}

fn show(
    args: &RegistersAdvertisementsArgs,
    session: &mut CommandSession,
    document: Value,
) -> Result<Exit, CliError> {
    let found = items(&document, "advertisements").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = TextTable::of(WATCHED, &found, moment, &args.table.layout())?;
    if found.is_empty() && session.format().is_text() {
        session.notes().say("Nothing is advertised like that.");
    } else {
        let names = found.iter().map(|one| format!("{KIND}/{}", text(one, "registerId"))).collect();
        let footer =
            format!("{}, rev {}", count(found.len() as u64, "advertisement"), text(&document, "cursor"));
        let view = CommandOutput {
            document: document.clone(),
            items: Some(found.clone()),
            names,
            text: TextForm::Table(table),
        };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer);
        }
    }
    session.warn_if_stale(&document);
    Ok(if found.is_empty() && args.page.fail_empty { Exit::Negative } else { Exit::Ok })
}
