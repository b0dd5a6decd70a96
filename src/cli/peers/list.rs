//! `mesh peers list`.

use std::time::Duration;

use omnirelay_core::text::some_of;
use omnirelay_decisions::check::facts::NAMED_MAX;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{
    ListPeersRequest, WatchPeersRequest, peer, peer_health,
};
use omnirelay_wire::rpc::peer_control_service;

use super::KIND;
use super::columns::{self, COLUMNS, summary};
use crate::frame::args::FilterArgs;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::frame::table;
use crate::frame::watch as stream;
use crate::frame::watch::present::PolledState;

pub(crate) const LIST: RpcMethod = peer_control_service::LIST;
pub(super) const WATCH: RpcMethod = peer_control_service::WATCH;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh peers list", &[&LIST, &WATCH])
    .exiting("0 1 2 3 5 6 8 9 10 11")
    .listing(&COLUMNS, &["cluster", "health", "region", "role", "status", "version", "zone"]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers list
  omnirelay mesh peers list -o wide --sort-by rtt:desc
  omnirelay mesh peers list --filter status=suspect,role=gateway -l zone=a
  omnirelay mesh peers list -o json | jq -r '.peers[].nodeId'
  omnirelay mesh peers list --at 14:02
  omnirelay mesh peers list --watch -o jsonl --cursor-file peers.cursor";

/// Whether a watch tells changes of health.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PeersHealthArgs {
    /// Tell changes of health too, as events of type `health`; tables always do
    #[arg(long, help_heading = "Watch options")]
    pub health: bool,
}

/// List peers, or watch them
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct PeersListArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub at: AtArgs,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub table: TableArgs,
    /// Go on with changes as they happen
    #[arg(short, long, help_heading = "Watch options")]
    pub watch: bool,
    #[command(flatten)]
    pub health: PeersHealthArgs,
    #[command(flatten)]
    pub watching: WatchArgs,
}

pub(super) async fn run(args: &PeersListArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.watching.check(args.watch)?;
    args.at.check(args.watch)?;
    if args.watch {
        return watch(&args.filter, &args.health, &args.watching, &args.table, session).await;
    }
    let filters = filters(&args.filter)?;
    let order = args.table.sort_by.as_ref().map(order_by);
    // A column the daemon does not sort by is sorted here, so all of the list is needed first.
    let sorts_here = matches!(order, Some(None));
    let request = |page: &ListPage| {
        let request = ListPeersRequest {
            order_by: order.clone().flatten().unwrap_or_default(),
            page_size: page.size,
            page_token: page.token.clone(),
            at: args.at.text().to_owned(),
            ..filters.clone()
        };
        Call::of(&LIST, &request)
    };
    args.table.check_order(COLUMNS)?;
    let mut document = list::fetch(session, "peers", &args.page, sorts_here, request).await?;
    if sorts_here {
        args.table.order(COLUMNS, &mut document, "peers")?;
    }
    list::limit(session, &mut document, "peers", &args.page);
    show(args, session, document)
}

fn show(args: &PeersListArgs, session: &mut CommandSession, document: Value) -> Result<Exit, CliError> {
    let peers = items(&document, "peers").to_vec();
    let moment = time::moment(&document, args.table.absolute);
    // Made before the emptiness check, so that a wrong --columns is an error in any case.
    let table = TextTable::of(COLUMNS, &peers, moment, &args.table.layout())?;
    let empty = peers.is_empty();
    if empty && session.format().is_text() {
        session.notes().say(&nothing(&args.filter));
    } else {
        let names = peers.iter().map(|peer| format!("{KIND}/{}", text(peer, "nodeId"))).collect();
        let view = CommandOutput {
            document: document.clone(),
            items: Some(peers.clone()),
            names,
            text: TextForm::Table(table),
        };
        session.show(&view)?;
        if session.format().is_text() {
            footer(session, &document, &peers);
            args.at.tell(&document, session);
        }
    }
    Ok(if empty && args.page.fail_empty { Exit::Negative } else { Exit::Ok })
}

fn nothing(filter: &FilterArgs) -> String {
    match filter.describe() {
        words if words.is_empty() => "There are no peers.".to_owned(),
        words => format!("No peers match {words}."),
    }
}

/// `5 peers: 4 alive (1 cordoned), 1 suspect - rev 7f2c:48213`, and what to do next.
fn footer(session: &CommandSession, document: &Value, peers: &[Value]) {
    let mut parts = Vec::new();
    for word in ["alive", "suspect", "dead", "left"] {
        let with: Vec<&Value> = peers.iter().filter(|peer| text(peer, "status") == word).collect();
        let cordoned = with.iter().filter(|peer| flag(peer, "cordoned")).count();
        match (with.len(), cordoned) {
            (0, _) => {}
            (some, 0) => parts.push(format!("{some} {word}")),
            (some, cordoned) => parts.push(format!("{some} {word} ({cordoned} cordoned)")),
        }
    }
    let cursor = text(document, "cursor");
    session.notes().say(&format!(
        "{}: {}, rev {cursor}",
        count(peers.len() as u64, "peer"),
        parts.join(", ")
    ));
    heard_only(session, document);
    session.warn_if_stale(document);
    if let Some(peer) = peers.iter().find(|peer| text(peer, "status") == "suspect") {
        let id = text(peer, "nodeId");
        session.notes().say(&format!("hint: {id} is suspect: omnirelay mesh peers status {id}"));
    }
    let is_there = |peer: &&Value| matches!(text(peer, "status"), "alive" | "suspect");
    if let Some((peer, why)) =
        peers.iter().filter(is_there).find_map(|peer| Some((peer, columns::unproven(peer)?)))
    {
        let id = text(peer, "nodeId");
        session.notes().say(&format!("hint: {id} is none of the mesh, {}: {}", why.why(), why.next(id)));
    }
}

/// Whom the daemon hears of, and whom its registry has not.
fn heard_only(session: &CommandSession, document: &Value) {
    let heard = items(document, "heardOnly");
    for federated in [false, true] {
        let of = heard.iter().filter(|member| flag(member, "federated") == federated);
        let named: Vec<String> = of
            .map(|member| format!("{} ({})", text(member, "nodeId"), text(member, "health.state")))
            .collect();
        if named.is_empty() {
            continue;
        }
        let what = if federated {
            "of federated clusters"
        } else {
            "heard of by gossip alone, their store is another one"
        };
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        session.notes().say(&format!("{what}: {}", some_of(&named, NAMED_MAX)));
    }
}

/// Watches instead of listing.
pub(super) async fn watch(
    filter: &FilterArgs,
    health: &PeersHealthArgs,
    watching: &WatchArgs,
    table: &TableArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    if session.format().is_text() {
        for column in &table.columns {
            table::find(COLUMNS, column, "--columns")?;
        }
    }
    let filters = filters(filter)?;
    if !filters.health.is_empty() {
        let what = "a watch cannot be filtered by health";
        return Err(CliError::usage(what).hint("leave --watch out, or filter by status"));
    }
    let request = WatchPeersRequest {
        role: filters.role.clone(),
        cluster: filters.cluster.clone(),
        status: filters.status.clone(),
        version: filters.version.clone(),
        region: filters.region.clone(),
        zone: filters.zone.clone(),
        selector: filters.selector.clone(),
        // Scripts get what was committed, as they know it, unless they ask for more.
        health: health.health || session.format().is_text(),
        ..WatchPeersRequest::default()
    };
    let feed = WatchFeed {
        id: |peer| text(peer, "nodeId").to_owned(),
        columns: COLUMNS,
        summary,
        present: Some(PolledState {
            // The daemon takes no ids here; of a mesh of more than a page the rest is as its events told.
            call: Box::new(move |_| Call::of(&LIST, &filters)),
            every: Duration::from_secs(2),
            list: "peers",
            fields: &["leads", "lastSeen", "rttMs", "health", "shards", "unproven"],
        }),
        ..WatchFeed::of(&WATCH, &request, KIND)?
    };
    stream::run(session, feed, watching, table).await
}

/// The filter fields of a request.
pub(super) fn filters(args: &FilterArgs) -> Result<ListPeersRequest, CliError> {
    let mut request = ListPeersRequest {
        selector: args.selector.clone().unwrap_or_default(),
        ..ListPeersRequest::default()
    };
    for (name, value) in &args.filter {
        let value = value.clone();
        match name.as_str() {
            "role" => request.role.push(value),
            "cluster" => request.cluster.push(value),
            "version" => request.version.push(value),
            "region" => request.region.push(value),
            "zone" => request.zone.push(value),
            "health" => match peer_health::State::from_str_name(&value) {
                Some(state) => request.health.push(state.into()),
                None => {
                    return Err(CliError::usage(format!("there is no health `{value}`"))
                        .hint("choose from alive, suspect, dead, left, unknown"));
                }
            },
            "status" => match peer::Status::from_str_name(&value) {
                Some(status) => request.status.push(status.into()),
                None => {
                    return Err(CliError::usage(format!("there is no status `{value}`"))
                        .hint("choose from alive, suspect, dead, left"));
                }
            },
            other => {
                return Err(CliError::usage(format!("peers cannot be filtered by `{other}`")).hint(
                    "filter by role, cluster, status, health, version, region or zone; labels go into -l",
                ));
            }
        }
    }
    Ok(request)
}

/// The daemon's name of an order; `None` when it does not sort by that column.
fn order_by(by: &table::SortBy) -> Option<String> {
    let name = match by.column.as_str() {
        "id" => "node_id",
        name @ ("role" | "cluster" | "status" | "version" | "region" | "zone") => name,
        _ => return None,
    };
    Some(if by.descending { format!("{name} desc") } else { name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_what_gossip_says_and_status_what_was_committed() {
        let filtered = |name: &str, value: &str| {
            let filter = vec![(name.to_owned(), value.to_owned())];
            filters(&FilterArgs { selector: None, filter })
        };
        let health = filtered("health", "suspect").unwrap();
        assert_eq!((health.status.len(), health.health), (0, vec![peer_health::State::Suspect as i32]));
        assert_eq!(filtered("status", "suspect").unwrap().status.len(), 1);
        assert!(filtered("health", "fine").unwrap_err().to_text().contains("alive, suspect"));
        assert!(filtered("wealth", "suspect").is_err());
    }
}
