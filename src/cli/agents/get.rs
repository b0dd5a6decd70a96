//! `agents get`.

use super::{KIND, LIST, PLACEMENT, placement, request};
use crate::complete;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::relays::columns::{address, at, expires, heard};
use crate::relays::{self, LIST as RELAYS};

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("agents get", &[&PLACEMENT, &LIST, &RELAYS]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay agents get drone-7
  omnirelay agents get drone-7 drone-8 -o yaml
  omnirelay agents get drone-7 -o json | jq -r '\"\\(.relay.address):\\(.relay.grpcPort)\"'";

/// Show what the registry knows of agents: heartbeat, placement, relay
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct AgentsGetArgs {
    /// Ids or agent/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &AgentsGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let relays = relays::all(session).await?;
    session.warn_if_stale(&relays);
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => one(session, &relays, &id).await,
        };
        batch.push(id, outcome);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The placement of an agent, with the agent and its relay as their lists have them.
async fn one(session: &CommandSession, relays: &Value, id: &str) -> Result<Value, CliError> {
    let mut document = placement(session, id).await?;
    let relay_id = text(&document, "placement.relayId").to_owned();
    let page = |page: &ListPage| request(&relay_id, page, "");
    let agents = list::fetch(session, "agents", &PageArgs::default(), true, page).await?;
    let agent = items(&agents, "agents").iter().find(|agent| text(agent, "agentId") == id);
    // It may have ended or moved between the two questions.
    let agent = agent.ok_or_else(|| {
        CliError::new(
            reasons::PLACEMENT_CHANGED,
            format!("agent `{id}` moved or ended while it was asked for"),
        )
        .hint("repeat the command")
    })?;
    document["agent"] = agent.clone();
    let relay = items(relays, "relays").iter().find(|relay| text(relay, "relayId") == relay_id);
    if let Some(relay) = relay {
        document["relay"] = json!(relay);
    }
    Ok(document)
}

fn describe(document: &Value, absolute: bool) -> String {
    let (agent, placement) = (field(document, "agent"), field(document, "placement"));
    let moment = time::moment(document, absolute);
    let ago = |age: String| time::back(age, moment);
    listing(&[
        ("agent", text(agent, "agentId").to_owned()),
        ("last heartbeat", ago(heard(agent, moment))),
        ("expires in", expires(agent, moment)),
        ("relay", text(placement, "relayId").to_owned()),
        ("address", address(field(document, "relay"))),
        ("since", ago(at(placement, "placedAtUnixMs", moment))),
        ("previous relay", text(placement, "previousRelayId").to_owned()),
    ])
}
