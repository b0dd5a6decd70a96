//! `agents list`.

use super::columns::COLUMNS;
use super::{KIND, LIST, request};
use crate::complete;
use crate::frame::prelude::*;
use crate::relays;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("agents list", &[&LIST]).exiting("0 1 2 3 5 6 8 9 10 11").listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay agents list
  omnirelay agents list --relay relay-1 --sort-by last-heartbeat
  omnirelay agents list -o json | jq -r '.agents | group_by(.relayId)[] | \"\\(.[0].relayId) \\(length)\"'
  omnirelay agents list -o name | wc -l";

/// List the agents that live, and which relay holds each
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct AgentsListArgs {
    /// Only the agents of this relay, an id or relay/ID
    #[arg(long, value_name = "ID", value_parser = relays::id, help_heading = "List options",
          add = complete::ids(&relays::OBJECTS))]
    relay: Option<String>,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(args: &AgentsListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let relay = args.relay.as_deref().unwrap_or_default();
    let list = ListSpec {
        field: "agents",
        columns: COLUMNS,
        name: |agent| format!("{KIND}/{}", text(agent, "agentId")),
        none: match &args.relay {
            Some(relay) => format!("No agent is held by relay/{relay}."),
            None => "No agent is held by a live relay.".to_owned(),
        },
        footer,
    };
    let page = |page: &ListPage| request(relay, page, args.at.text());
    // The daemon sorts by id only.
    let sorts_here = args.table.sort_by.is_some();
    let document = list.pages(session, (&args.page, &args.table), sorts_here, page).await?;
    args.at.tell(&document, session);
    list.print(document, &args.table, args.page.fail_empty, session)
}

/// `120 agents of 3 relays, rev 7f2c:48213`
fn footer(document: &Value, agents: &[Value]) -> String {
    let mut relays: Vec<&str> = agents.iter().map(|agent| text(agent, "relayId")).collect();
    relays.sort_unstable();
    relays.dedup();
    format!(
        "{} of {}, rev {}",
        count(agents.len() as u64, "agent"),
        count(relays.len() as u64, "relay"),
        text(document, "cursor")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn footer_counts_agents_and_those_who_hold_them() {
        let agents = [json!({"relayId": "b"}), json!({"relayId": "a"}), json!({"relayId": "b"})];
        assert_eq!(footer(&json!({"cursor": "1:9"}), &agents), "3 agents of 2 relays, rev 1:9");
    }
}
