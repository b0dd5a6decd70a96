//! `agents watch`.

use super::KIND;
use super::columns::WATCHED;
use crate::complete;
use crate::frame::prelude::*;
use crate::frame::watch as stream;
use crate::relays::{self, WATCH};

pub(super) const LEAF: LeafCommand = LeafCommand::read("agents watch", &[&WATCH]);

const EXAMPLES: &str = "\
Examples:
  omnirelay agents watch
  omnirelay agents watch --relay relay-1 -o jsonl --cursor-file agents.cursor
  omnirelay agents watch --agent drone-7 --until relayId==relay-2 --timeout 2m";

/// Watch agents that come, move to another relay and go
///
/// One line for each change, and on a terminal a table that is drawn again, unless --append. Heartbeats are not told.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AgentsWatchArgs {
    /// Only the agents of this relay, an id or relay/ID
    #[arg(long, value_name = "ID", value_parser = relays::id, add = complete::ids(&relays::OBJECTS))]
    relay: Option<String>,
    /// Only this agent, an id or agent/ID
    #[arg(long, value_name = "ID", value_parser = id, add = complete::ids(&super::OBJECTS))]
    agent: Option<String>,
    #[command(flatten)]
    watching: WatchArgs,
}

/// An id as it was given: `agent/` is taken off.
fn id(given: &str) -> Result<String, String> {
    let id = id_in("agent", given);
    if id.is_empty() { Err(format!("an empty text is no id of an {KIND}")) } else { Ok(id.to_owned()) }
}

pub(super) async fn run(args: &AgentsWatchArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let request = json!({ "object": ["agents"], "relayId": args.relay, "agentId": args.agent });
    let feed = WatchFeed {
        object: "placement",
        id: |placement| text(placement, "agentId").to_owned(),
        columns: WATCHED,
        summary,
        named: args.agent.as_slice(),
        ..WatchFeed::of(&WATCH, &request, KIND)?
    };
    stream::run(session, feed, &args.watching, &TableArgs::default()).await
}

/// Line about a placement that is new or gone.
pub(crate) fn summary(placement: &Value) -> String {
    match text(placement, "previousRelayId") {
        "" => format!("relay={}", text(placement, "relayId")),
        previous => format!("relay={} previous={previous}", text(placement, "relayId")),
    }
}
