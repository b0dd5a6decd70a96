//! `agents placement`: which relay holds an agent.

use super::{KIND, PLACEMENT};
use crate::complete;
use crate::frame::prelude::*;
use crate::relays::columns::{at, expires};

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("agents placement", &[&PLACEMENT]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay agents placement drone-7
  omnirelay agents placement drone-7 -o json | jq -r .placement.relayId
  omnirelay agents list -o name | omnirelay agents placement - -o jsonl";

/// Show which relay holds an agent, and which one did before
///
/// An agent is placed while it and its relay live; else the exit code is 3.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct AgentsPlacementArgs {
    /// Ids or agent/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &AgentsPlacementArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let mut batch = BatchOutcomes::new(KIND, "response", "is not placed or could not be asked for");
    for id in ids {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => placement(session, &id).await,
        };
        if let Ok(document) = &outcome {
            session.warn_if_stale(document);
        }
        batch.push(id, outcome);
    }
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The document of the placement of an agent.
///
/// # Errors
/// Not found, when it or its relay does not live; what kept the answer away.
pub(crate) async fn placement(session: &CommandSession, id: &str) -> Result<Value, CliError> {
    let found = session.call(&Call::of(&PLACEMENT, &json!({ "agentId": id }))?).await;
    found.map_err(|error| match (error.exit(), error.body().hints.is_empty()) {
        (Exit::NotFound, true) => error
            .hint("omnirelay agents list         # those that a live relay holds")
            .hint(format!("omnirelay drones status {id}  # asks every live relay")),
        _ => error,
    })
}

fn describe(document: &Value, absolute: bool) -> String {
    let placement = field(document, "placement");
    let moment = time::moment(document, absolute);
    let ago = |name: &str| time::back(at(placement, name, moment), moment);
    listing(&[
        ("agent", text(placement, "agentId").to_owned()),
        ("relay", text(placement, "relayId").to_owned()),
        ("since", ago("placedAtUnixMs")),
        ("previous relay", text(placement, "previousRelayId").to_owned()),
        ("last heartbeat", ago("lastUpdatedUnixMs")),
        ("expires in", expires(placement, moment)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_tells_since_when_and_where_before() {
        let document = json!({
            "generatedAt": "1970-01-01T00:16:40Z",
            "placement": {
                "agentId": "drone-7", "relayId": "relay-1", "lastUpdatedUnixMs": "997000",
                "expiresInMs": "27000", "previousRelayId": "", "placedAtUnixMs": "700000",
            },
        });
        let text = describe(&document, false);
        for line in
            ["relay           relay-1", "since           5m ago", "previous relay  -", "expires in      27s"]
        {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
