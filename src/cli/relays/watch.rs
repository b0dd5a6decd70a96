//! `relays watch`.

use super::columns::{WATCHED, address};
use super::{KIND, WATCH};
use crate::frame::prelude::*;
use crate::frame::watch as stream;

pub(super) const LEAF: LeafCommand = LeafCommand::read("relays watch", &[&WATCH]);

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
pub(super) struct RelaysWatchArgs {
    #[command(flatten)]
    watching: WatchArgs,
}

pub(super) async fn run(args: &RelaysWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        object: "relay",
        id: |relay| text(relay, "relayId").to_owned(),
        columns: WATCHED,
        summary: address,
        ..WatchFeed::of(&WATCH, &json!({ "object": ["relays"] }), KIND)?
    };
    stream::run(session, feed, &args.watching, &TableArgs::default()).await
}
