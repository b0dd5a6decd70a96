//! `mesh leaders list`, and what it has in common with `status` and `watch`.

use std::time::Duration;

use omnirelay_wire::rpc::leadership_control_service;

use super::columns::{columns, line, news, summary};
use super::{KIND, get};
use crate::complete;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::table;
use crate::frame::watch as stream;
use crate::frame::watch::live::LiveTableFooter;
use crate::frame::watch::present::PolledState;
use crate::peers;

pub(crate) const LIST: RpcMethod = leadership_control_service::LIST;
pub(super) const WATCH: RpcMethod = leadership_control_service::WATCH;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh leaders list", &[&LIST, &WATCH])
    .exiting("0 1 2 5 6 8 9 10 11")
    .listing(&super::columns::COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders list
  omnirelay mesh leaders list --leader node-2 -o name
  omnirelay mesh leaders list --kind shard --sort-by flaps:desc
  omnirelay mesh leaders list -o json | jq -r '.scopes[] | select(.leaderId == \"\") | .scope'";

/// List every scope and who leads it, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct LeadersListArgs {
    #[command(flatten)]
    pub rows: LeadersRowArgs,
}

/// Which scopes, and how they are shown.
#[derive(Args, Clone, Debug)]
pub(super) struct LeadersRowArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub at: AtArgs,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub table: TableArgs,
    /// Go on with what happens to them
    #[arg(short, long, help_heading = "Watch options")]
    pub watch: bool,
    #[command(flatten)]
    pub watching: WatchArgs,
}

/// What a list of scopes is narrowed to; several values of a flag are alternatives.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List options")]
pub(super) struct FilterArgs {
    /// Only scopes of this kind: global, shard or custom
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["global", "shard", "custom"])]
    pub kind: Vec<String>,

    /// Only what this node leads; not with --watch
    #[arg(long, value_name = "NODE", value_delimiter = ',', add = complete::ids(&peers::OBJECTS))]
    pub leader: Vec<String>,
}

impl FilterArgs {
    /// In words, such as `shard/orders/03, kind=shard`; empty when all scopes are meant.
    fn describe(&self, scopes: &[String]) -> String {
        let mut parts = scopes.to_vec();
        parts.extend(self.kind.iter().map(|kind| format!("kind={kind}")));
        parts.extend(self.leader.iter().map(|leader| format!("leader={leader}")));
        parts.join(", ")
    }
}

pub(super) async fn run(args: &LeadersListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    rows(&[], &args.rows, session).await
}

/// Lists or watches `scopes`, all of them when none is named.
pub(super) async fn rows(
    scopes: &[String],
    args: &LeadersRowArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    args.at.check(args.watch)?;
    if args.watch {
        return watch(scopes, &args.filter, &args.watching, &args.table, session).await;
    }
    let columns = columns(session.out.screen());
    args.table.check_order(columns)?;
    let request = |page: &ListPage| {
        Call::of(
            &LIST,
            &json!({
                "scope": scopes, "kind": args.filter.kind, "leader": args.filter.leader,
                "pageSize": page.size, "pageToken": page.token, "at": args.at.text(),
            }),
        )
    };
    // The daemon sorts by name only, so for another order all of the list is needed first.
    let sorts_here = args.table.sort_by.is_some();
    let mut document = list::fetch(session, "scopes", &args.page, sorts_here, request).await?;
    args.table.order(columns, &mut document, "scopes")?;
    let absent = absent(scopes, args, session, &document).await?;
    list::limit(session, &mut document, "scopes", &args.page);
    let list = ListSpec {
        field: "scopes",
        columns,
        name: |scope| format!("{KIND}/{}", text(scope, "scope")),
        none: match args.filter.describe(scopes) {
            words if words.is_empty() => "There are no scopes.".to_owned(),
            words => format!("No scopes match {words}."),
        },
        footer,
    };
    args.at.tell(&document, session);
    let exit = list.print(document, &args.table, args.page.fail_empty, session)?;
    absent.map_or(Ok(exit), |absent| absent.verdict(session))
}

/// The scopes that were named and are not there, beside those that are; `None` when there is none, or when
/// the list was narrowed otherwise, so that it says nothing of them.
///
/// # Errors
/// When none of them is there.
async fn absent(
    scopes: &[String],
    args: &LeadersRowArgs,
    session: &CommandSession,
    document: &Value,
) -> Result<Option<BatchOutcomes>, CliError> {
    let filter = &args.filter;
    let is_whole = args.page.page_token.is_none() && text(document, "nextPageToken").is_empty();
    if !is_whole || !filter.kind.is_empty() || !filter.leader.is_empty() {
        return Ok(None);
    }
    let found = items(document, "scopes");
    let is_there = |scope: &str| found.iter().any(|found| text(found, "scope").eq_ignore_ascii_case(scope));
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    let mut first = None;
    for scope in scopes {
        let outcome = if is_there(scope) { Ok(Value::Null) } else { get::one(session, scope).await };
        if let Err(error) = &outcome {
            first.get_or_insert_with(|| error.clone());
        }
        batch.push(scope.clone(), outcome);
    }
    match first {
        None => Ok(None),
        Some(error) if scopes.len() == 1 => Err(error),
        Some(_) if found.is_empty() => batch.verdict(session).map(|_| None),
        Some(_) => Ok(Some(batch)),
    }
}

/// `3 scopes: 2 led, 1 without a leader, rev 7f2c:48240`
fn footer(document: &Value, found: &[Value]) -> String {
    let vacant = found.iter().filter(|scope| text(scope, "leaderId").is_empty());
    let (led, without) = (found.len() - vacant.clone().count(), vacant.clone().count());
    let mut parts = vec![format!("{led} led")];
    parts.extend((without > 0).then(|| format!("{without} without a leader")));
    let hint = vacant
        .map(|scope| text(scope, "scope"))
        .next()
        .map(|scope| format!("\nhint: nobody leads {scope}: omnirelay mesh leaders explain {scope}"));
    format!(
        "{}: {}, rev {}{}",
        count(found.len() as u64, "scope"),
        parts.join(", "),
        text(document, "cursor"),
        hint.unwrap_or_default()
    )
}

/// Watches instead of listing.
pub(super) async fn watch(
    scopes: &[String],
    filter: &FilterArgs,
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    if !filter.leader.is_empty() {
        return Err(CliError::usage("--leader narrows a list, not a watch: who leads is what changes")
            .hint("name scopes, or use --kind"));
    }
    let columns = columns(session.out.screen());
    if session.format().is_text() {
        for column in &table.columns {
            table::find(columns, column, "--columns")?;
        }
    }
    let feed = WatchFeed {
        object: "leadership",
        id: |scope| text(scope, "scope").to_owned(),
        columns,
        named: scopes,
        summary,
        line: Some(line),
        news: Some(LiveTableFooter { line: news, noun: "scope" }),
        present: Some(PolledState {
            call: Box::new(|scopes| Call::of(&LIST, &json!({ "scope": scopes }))),
            // Of a lease, which is the shortest-lived of what is shown, it leaves a few looks.
            every: Duration::from_millis(500),
            list: "scopes",
            fields: &["renewedAt", "expiresAt"],
        }),
        ..WatchFeed::of(&WATCH, &json!({ "scope": scopes, "kind": filter.kind }), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
