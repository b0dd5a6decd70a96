//! `registers watch`: changes of advertisements.

use omnirelay_wire::rpc::advertisement_service;

use super::KIND;
use crate::complete;
use crate::frame::prelude::*;
use crate::frame::watch as stream;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub(super) const WATCH: RpcMethod = advertisement_service::WATCH;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("registers watch", &[&WATCH, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers watch
  omnirelay registers watch --register reg-orders-eu --max-events 1
  omnirelay registers watch --source node-2 -o jsonl --cursor-file registers.cursor
  omnirelay registers watch --register reg-orders-eu --until syncState==active --timeout 2m";

/// Watch who advertises which register
///
/// One line for each change, and on a terminal a table that is drawn again, unless --append. Public advertisements
/// only: one that is hidden is told as removed, one that is merely refreshed is not told.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersWatchArgs {
    /// Only this register, an id or register/ID; several are alternatives
    #[arg(long, value_name = "ID,...", value_delimiter = ',', value_parser = register)]
    register: Vec<String>,
    /// Only what this node advertises; several are alternatives
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = complete::ids(&peers::OBJECTS))]
    source: Vec<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

/// An id as it was given: `register/` is taken off, for what `-o name` prints can be given again.
fn register(given: &str) -> Result<String, String> {
    let id = id_in("register", given);
    if id.is_empty() { Err(format!("an empty text is no id of a {KIND}")) } else { Ok(id.to_owned()) }
}

/// The columns of a live table of advertisements.
pub(super) static WATCHED: &[Column] = &[
    Column::new("register", |one, _| text(one, "registerId").to_owned()).keep(),
    Column::new("source", |one, _| text(one, "source").to_owned()).keep(),
    Column::new("producer", |one, _| text(one, "producer").to_owned()),
    Column::new("name", |one, _| text(one, "name").to_owned()),
    Column::new("version", |one, _| number(one, "latestVersion").to_string())
        .number(|one| number(one, "latestVersion") as f64),
    Column::new("docket", |one, _| number(one, "latestDocketVersion").to_string())
        .number(|one| number(one, "latestDocketVersion") as f64),
    Column::new("state", |one, _| text(one, "syncState").to_owned()),
    Column::new("changed", |one, moment| time::ago(field(one, "timestamp"), moment))
        .ranked(|one| time::millis(field(one, "timestamp")).unwrap_or(0) as f64)
        .wide(),
    Column::new("description", |one, _| text(one, "description").to_owned()).wide(),
];

pub(super) async fn run(
    args: &RegistersWatchArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    node.go(session).await?;
    watch(&args.register, &args.source, &args.watching, &TableArgs::default(), session).await
}

/// Watches the advertisements of `registers` by `sources`; of all when none is named.
pub(super) async fn watch(
    registers: &[String],
    sources: &[String],
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        id: key,
        columns: WATCHED,
        summary,
        ..WatchFeed::of(&WATCH, &json!({ "registerId": registers, "source": sources }), "advertisement")?
    };
    stream::run(session, feed, watching, table).await
}

/// What tells one advertisement from all others: `reg-orders-eu/node-1/catalogue`, so that those of a register
/// stand together. Empty when it is none.
fn key(advertisement: &Value) -> String {
    let parts = ["registerId", "source", "producer"].map(|name| text(advertisement, name));
    if parts[0].is_empty() { String::new() } else { parts.join("/") }
}

/// What a line says of an advertisement that is new or gone.
fn summary(advertisement: &Value) -> String {
    format!(
        "{} version={} docket={}",
        text(advertisement, "syncState"),
        number(advertisement, "latestVersion"),
        number(advertisement, "latestDocketVersion"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertisements_of_one_register_are_told_apart() {
        let one = |source: &str, producer: &str| {
            key(&json!({"registerId": "reg-a", "source": source, "producer": producer}))
        };
        assert_eq!(one("node-1", "catalogue"), "reg-a/node-1/catalogue");
        assert_ne!(one("node-1", "catalogue"), one("node-1", "http:sorcha"));
        assert_ne!(one("node-1", "catalogue"), one("node-2", "catalogue"));
        assert_eq!(key(&Value::Null), "", "as in an event that is about none");
    }

    #[test]
    fn register_may_be_given_as_its_name_is_printed() {
        assert_eq!(register("register/reg-a").unwrap(), "reg-a");
        assert_eq!(register("reg-a").unwrap(), "reg-a");
        assert!(register("register/").is_err());
    }
}
