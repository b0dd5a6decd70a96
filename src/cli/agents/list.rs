//! `agents list`.

use super::columns::COLUMNS;
use super::{KIND, LIST, request};
use crate::complete;
use crate::frame::list::{self, PAGE_MAX};
use crate::frame::prelude::*;
use crate::relays;

pub const LEAF: LeafCommand =
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
pub struct ListArgs {
    /// Only the agents of this relay, an id or relay/ID
    #[arg(long, value_name = "ID", value_parser = relays::id, help_heading = "List options",
          add = complete::ids(&relays::OBJECTS))]
    relay: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub async fn run(args: &ListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let relay = args.relay.as_deref().unwrap_or_default();
    let page = |page: &ListPage| request(relay, page.size_or(PAGE_MAX), &page.token);
    // The daemon sorts by id only, so for another order all of the list is needed first.
    let sorts_here = args.table.sort_by.is_some();
    let mut document = list::fetch(session, "agents", &args.page, sorts_here, page).await?;
    args.table.order(COLUMNS, &mut document, "agents")?;
    list::limit(session, &mut document, "agents", &args.page);
    show(args, session, document)
}

fn show(args: &ListArgs, session: &mut CommandSession, document: Value) -> Result<Exit, CliError> {
    let agents = items(&document, "agents").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = TextTable::of(COLUMNS, &agents, moment, &args.table.layout())?;
    let empty = agents.is_empty();
    if empty && session.format().is_text() {
        session.notes().say(&match &args.relay {
            Some(relay) => format!("No agent is held by relay/{relay}."),
            None => "No agent is held by a live relay.".to_owned(),
        });
    } else {
        let names = agents.iter().map(|agent| format!("{KIND}/{}", text(agent, "agentId"))).collect();
        let view = CommandOutput {
            document: document.clone(),
            items: Some(agents.clone()),
            names,
            text: TextForm::Table(table),
        };
        session.show(&view)?;
        if session.format().is_text() {
            session.notes().say(&footer(&document, &agents));
        }
    }
    session.warn_if_stale(&document);
    Ok(if empty && args.page.fail_empty { Exit::Negative } else { Exit::Ok })
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
