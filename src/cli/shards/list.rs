//! `mesh shards list`, and what it has in common with `watch`.

use omnirelay_wire::rpc::shard_control_service;

use super::KIND;
use super::columns::{COLUMNS, difference, id, summary};
use crate::complete;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::watch as stream;
use crate::node::bare;
use crate::{namespaces, peers};

pub(super) const LIST: RpcMethod = shard_control_service::LIST;
pub(super) const WATCH: RpcMethod = shard_control_service::WATCH;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh shards list", &[&LIST, &WATCH])
    .exiting("0 1 2 3 5 6 8 9 10 11")
    .listing(&COLUMNS, &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards list
  omnirelay mesh shards list -n orders --owner node-2
  omnirelay mesh shards list --status draining,paused -o wide
  omnirelay mesh shards list -n orders -o json | jq -r '.items[] | [.shardId, .ownerNodeId] | @tsv'";

/// List shards and who owns them, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct ShardsListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Go on with what becomes of them
    #[arg(short, long, help_heading = "Watch options")]
    watch: bool,
    #[command(flatten)]
    watching: WatchArgs,
}

/// What shards are narrowed to; several values of a flag are alternatives.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "List options")]
pub(super) struct FilterArgs {
    /// Only shards of this namespace
    #[arg(short, long, value_name = "NAMESPACE", value_parser = id_of(namespaces::KIND),
          add = complete::ids(&namespaces::OBJECTS))]
    pub namespace: Option<String>,

    /// Only what this node owns
    #[arg(long, value_name = "NODE", add = complete::ids(&peers::OBJECTS))]
    pub owner: Option<String>,

    /// Only shards that are so: active, draining, paused or disabled
    #[arg(long, value_name = "STATUS", value_delimiter = ',', ignore_case = true,
          value_parser = ["active", "draining", "paused", "disabled"])]
    pub status: Vec<String>,

    /// Only shards with this in their id
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
}

impl FilterArgs {
    /// The fields of a request.
    pub(super) fn fields(&self) -> Value {
        let owner = self.owner.as_deref().map(bare);
        let status: Vec<String> = self.status.iter().map(|status| status.to_ascii_lowercase()).collect();
        json!({
            "namespace": self.namespace, "owner": owner, "status": status, "search": self.search,
        })
    }
}

pub(super) async fn run(args: &ShardsListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    args.at.check(args.watch)?;
    if args.watch {
        return watch(&args.filter, &args.watching, &args.table, session).await;
    }
    let mut list = ListSpec {
        field: "items",
        columns: COLUMNS,
        name: |shard| format!("{KIND}/{}", id(shard)),
        none: "No shards matched the filters.".to_owned(),
        footer,
    };
    let request = |page: &ListPage| {
        let mut fields = args.filter.fields();
        fields["pageSize"] = json!(page.size_or(list::PAGE_MAX));
        fields["cursor"] = json!(page.token);
        fields["at"] = json!(args.at.text());
        Call::of(&LIST, &fields)
    };
    let sorts_here = args.table.sort_by.is_some();
    let document = list.pages(session, (&args.page, &args.table), sorts_here, request).await?;
    if items(&document, "maps").is_empty() {
        list.none = "There are no namespaces: omnirelay mesh namespaces create NAME --shards 128".to_owned();
    }
    args.at.tell(&document, session);
    list.print(document, &args.table, args.page.fail_empty, session)
}

/// `128 shards, orders: map 7 (checksum 41BEDDCFF3DC7126)`
fn footer(document: &Value, shards: &[Value]) -> String {
    let maps = items(document, "maps").iter().take(4).map(|map| {
        format!(
            "{}: map {} (checksum {})",
            text(map, "namespace"),
            text(map, "version"),
            text(map, "checksum")
        )
    });
    let maps: Vec<String> = maps.collect();
    format!("{}, {}", count(shards.len() as u64, "shard"), maps.join(", "))
}

/// Watches instead of listing.
pub(super) async fn watch(
    filter: &FilterArgs,
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let feed = WatchFeed {
        object: "current",
        id: |shard| if field(shard, "shardId").is_null() { String::new() } else { id(shard) },
        columns: COLUMNS,
        summary,
        line: Some(|event| match text(event, "type") {
            "added" | "modified" | "removed" => difference(event),
            "snapshot" => summary(field(event, "current")),
            _ => String::new(),
        }),
        ..WatchFeed::of(&WATCH, &filter.fields(), KIND)?
    };
    stream::run(session, feed, watching, table).await
}
