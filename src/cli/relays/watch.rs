//! `relays watch`.

use clap::Args;
use omnirelay_wire::fault::Exit;
use serde_json::json;

use super::columns::{WATCHED, address};
use super::{KIND, WATCH};
use crate::frame::args::{TableArgs, WatchArgs};
use crate::frame::document::text;
use crate::frame::error::CliError;
use crate::frame::rpc::{Call, Leaf};
use crate::frame::session::Session;
use crate::frame::watch::{self as stream, Feed, Keep};

pub const LEAF: Leaf = Leaf::read("relays watch", &[&WATCH]);

const EXAMPLES: &str = "\
Examples:
  omnirelay relays watch
  omnirelay relays watch -o jsonl --cursor-file relays.cursor
  omnirelay relays watch --max-events 1 --timeout 2m";

/// Watch relays that come, move and go
///
/// One line for each change, and on a terminal a table that is drawn again, unless --append. Heartbeats are not told.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct WatchVerbArgs {
    #[command(flatten)]
    watching: WatchArgs,
}

pub async fn run(args: &WatchVerbArgs, session: &mut Session) -> Result<Exit, CliError> {
    let feed = Feed {
        rpc: &WATCH,
        call: Call::of(&WATCH, &json!({ "object": ["relays"] }))?,
        object: "relay",
        kind: KIND,
        id: |relay| text(relay, "relayId").to_owned(),
        columns: WATCHED,
        summary: address,
        line: None,
        named: &[],
        news: None,
        present: None,
        keep: Keep::Latest,
    };
    stream::run(session, feed, &args.watching, &TableArgs::default()).await
}
