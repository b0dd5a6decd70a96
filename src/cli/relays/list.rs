//! `relays list`.

use super::columns::COLUMNS;
use super::{KIND, LIST, none_lives, request};
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("relays list", &[&LIST]).exiting("0 1 2 3 5 6 8 9 10 11").listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay relays list
  omnirelay relays list --sort-by agents:desc --limit 5
  omnirelay relays list -o json | jq -r '.relays[] | \"\\(.relayId) \\(.address):\\(.grpcPort)\"'
  omnirelay relays list -o name --fail-empty -q || echo \"no relay lives\"";

/// List the relays that live, and how many agents each holds
///
/// One that has not been heard of for its time to live is not shown any more, nor are its agents.
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct RelaysListArgs {
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(args: &RelaysListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let list = ListSpec {
        field: "relays",
        columns: COLUMNS,
        name: |relay| format!("{KIND}/{}", text(relay, "relayId")),
        none: none_lives(session.target()?).to_owned(),
        footer,
    };
    // The daemon sorts by id only.
    let sorts_here = args.table.sort_by.is_some();
    let page = |page: &ListPage| request(page, args.at.text());
    let document = list.pages(session, (&args.page, &args.table), sorts_here, page).await?;
    args.at.tell(&document, session);
    list.print(document, &args.table, args.page.fail_empty, session)
}

/// `3 relays: 120 agents, rev 7f2c:48213`
fn footer(document: &Value, relays: &[Value]) -> String {
    let agents: u64 = relays.iter().map(|relay| number(relay, "agents")).sum();
    format!(
        "{}: {}, rev {}",
        count(relays.len() as u64, "relay"),
        count(agents, "agent"),
        text(document, "cursor")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn footer_counts_relays_and_their_agents() {
        let relays = [json!({"agents": 7}), json!({"agents": 1})];
        assert_eq!(footer(&json!({"cursor": "1:9"}), &relays), "2 relays: 8 agents, rev 1:9");
    }
}
