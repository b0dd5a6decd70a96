//! `omnirelay mesh status`: what matters now, on one screen.

mod all_nodes;

use super::check::problems;
use super::entry::{CommandEntry, entry};
use super::frame::list::whole;
use super::frame::screen::printable_lines;
use super::frame::table::TableLayout;
use super::frame::time::moment;
use super::node::NODE;
use super::registers::SYNC_STATE;
use super::schema::documents::own;
use super::schema::schemas;
use super::{leaders, peers, relays};
use crate::check::checked_mesh::{CHECK, CheckedFacts};
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::read(
    "mesh status",
    &[&NODE, &CHECK, &peers::LIST, &leaders::LIST, &SYNC_STATE, &relays::LIST],
);
pub(crate) static ENTRY: CommandEntry = entry!(
    "status",
    StatusArgs,
    asking,
    &[LEAF],
    &[
        own("status", "mesh status", schemas::status),
        own("node-status", "mesh status --all-nodes", schemas::node_status),
    ]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh status
  omnirelay mesh status --all-nodes
  omnirelay mesh status -o json | jq -e '.problems == []'
  watch -n 2 omnirelay mesh status";

/// Show what matters now on one screen, and what is wrong
///
/// Each thing that is wrong comes with the command to run next. It is what `mesh check` finds; the exit code is 0 all the
/// same.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// A line for each node: its version, store, leads, certificate, disk and clock, and what the check finds of it
    #[arg(long)]
    all_nodes: bool,
}

async fn run(args: &StatusArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let facts = CheckedFacts::gather(session, true).await;
    let node = facts.node.said.as_ref().map_err(Clone::clone)?;
    let peers = whole(session, &peers::LIST, "peers", json!({})).await?;
    if args.all_nodes {
        return show_all_nodes(&facts, node, items(&peers, "peers"), session);
    }
    let leaders = whole(session, &leaders::LIST, "scopes", json!({})).await;
    let registers = session.call(&Call::of(&SYNC_STATE, &json!({}))?).await;
    let relays = relays::all(session).await;
    let mut problems: Vec<Value> = problems(&facts);
    for (what, asked, next) in [
        ("leaders", &leaders, "omnirelay mesh leaders list"),
        ("registers", &registers, "omnirelay registers status"),
        // Over gRPC: what stands before a daemon may let through nothing but HTTP/JSON.
        ("relays", &relays, "omnirelay relays list"),
    ] {
        problems.extend(asked.as_ref().err().map(|error| unasked(what, error, next)));
    }
    let mut document = json!({
        "schemaVersion": "v1",
        "generatedAt": node["generatedAt"],
        "localNodeId": node["localNodeId"],
        "cursor": node["cursor"],
        "stale": node["stale"],
        "staleMs": node["staleMs"],
        "clusterId": node["clusterId"],
        "version": node["version"],
        "development": node["development"],
        "store": node["store"],
        "peers": of_peers(items(&peers, "peers")),
        "leaders": leaders.as_ref().map(|leaders| of_leaders(items(leaders, "scopes"))).ok(),
        "registers": registers.as_ref().map(of_registers).ok(),
        "relays": relays.as_ref().map(|relays| of_relays(items(relays, "relays"))).ok(),
        "problems": problems,
    });
    if let Some(fields) = document.as_object_mut() {
        // What is not known is left out.
        fields.retain(|_, value| !value.is_null());
    }
    let names = vec![format!("{}/{}", peers::KIND, text(&document, "localNodeId"))];
    let lines = describe(&document);
    session.show(&CommandOutput { document, items: None, names, text: TextForm::Lines(lines) })?;
    Ok(Exit::Ok)
}

/// A line for each node.
fn show_all_nodes(
    facts: &CheckedFacts,
    node: &Value,
    peers: &[Value],
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let found = facts.mesh.as_ref().map(|mesh| mesh.said.as_ref()).transpose().map_err(Clone::clone)?;
    let nodes = all_nodes::all_nodes(peers, found.map(|found| items(found, "nodes")).unwrap_or_default());
    let document = json!({
        "schemaVersion": "v1", "generatedAt": node["generatedAt"], "localNodeId": node["localNodeId"],
        "cursor": node["cursor"], "stale": node["stale"], "clusterId": node["clusterId"], "nodes": nodes,
    });
    let moment = moment(&document, false);
    let table = TextTable::of(all_nodes::COLUMNS, &nodes, moment, &TableLayout::default())?;
    let names = nodes.iter().map(|node| format!("{}/{}", peers::KIND, text(node, "nodeId"))).collect();
    session.show(&CommandOutput { document, items: Some(nodes), names, text: TextForm::Table(table) })?;
    Ok(Exit::Ok)
}

fn of_peers(peers: &[Value]) -> Value {
    let with = |status: &str| peers.iter().filter(|peer| text(peer, "status") == status).count();
    let cordoned = peers.iter().filter(|peer| flag(peer, "cordoned")).count();
    json!({
        "total": peers.len(), "alive": with("alive"), "suspect": with("suspect"), "dead": with("dead"),
        "left": with("left"), "cordoned": cordoned,
    })
}

fn of_leaders(scopes: &[Value]) -> Value {
    let led = scopes.iter().filter(|scope| !text(scope, "leaderId").is_empty()).count();
    json!({ "scopes": scopes.len(), "led": led })
}

fn of_registers(state: &Value) -> Value {
    json!({
        "hosted": state["registers"], "toAdvertise": state["advertise"], "local": state["local"],
        "remote": state["remote"], "deferred": state["deferred"],
    })
}

fn of_relays(relays: &[Value]) -> Value {
    let agents: u64 = relays.iter().map(|relay| number(relay, "agents")).sum();
    json!({ "total": relays.len(), "agents": agents })
}

fn unasked(what: &str, error: &CliError, next: &str) -> Value {
    let message = format!("{what} could not be asked for: {}", error.body().message);
    json!({ "id": what, "result": "unknown", "message": message, "hint": next })
}

/// The screen: a line for each thing, and below them what is wrong.
fn describe(document: &Value) -> String {
    let of = |name: &str| number(document, name);
    let told = |name: &str, words: &[&str]| {
        let counts = words.iter().map(|word| (of(&format!("{name}.{word}")), *word));
        counts
            .filter(|(times, _)| *times > 0)
            .map(|(times, word)| format!("{times} {word}"))
            .collect::<Vec<_>>()
    };
    let peers = told("peers", &["alive", "suspect", "dead", "left", "cordoned"]).join(", ");
    let without = of("leaders.scopes").saturating_sub(of("leaders.led"));
    let without = if without > 0 { format!("{without} without a leader") } else { "all led".to_owned() };
    let waiting = of("registers.deferred");
    let waiting = if waiting > 0 { format!(", {waiting} wait for the store") } else { String::new() };
    let known = |name: &str, told: String| {
        if document.get(name).is_some() { told } else { "unknown".to_owned() }
    };
    let relays = format!("{}, {}", of("relays.total"), count(of("relays.agents"), "agent"));
    let leaders = format!("{}, {without}", count(of("leaders.scopes"), "scope"));
    let (here, advertised) = (of("registers.hosted"), of("registers.local"));
    let registers =
        format!("{here} here, {advertised} advertised; {} of others{waiting}", of("registers.remote"));
    let store = match (flag(document, "stale"), document.get("staleMs").is_none()) {
        (false, _) => "answers",
        (true, false) => "away; answers are from memory",
        (true, true) => "in a new epoch, which is being restored",
    };
    let rows = [
        ("mesh", text(document, "clusterId").to_owned()),
        ("asked", asked(document)),
        ("peers", format!("{}: {peers}", of("peers.total"))),
        ("leaders", known("leaders", leaders)),
        ("registers", known("registers", registers)),
        ("relays", known("relays", relays)),
        ("store", format!("{}, {store}", text(document, "store"))),
    ];
    let problems: String = items(document, "problems").iter().map(line).collect();
    let problems = if problems.is_empty() { "nothing is wrong\n".to_owned() } else { problems };
    format!("{}\n{problems}", listing(&rows))
}

/// `node-1, version 0.2.0`, and what sort of mesh it is of.
fn asked(document: &Value) -> String {
    let of = if flag(document, "development") { ", of a development mesh (omnirelay up)" } else { "" };
    format!("{}, version {}{of}", text(document, "localNodeId"), text(document, "version"))
}

/// `warn  suspect: node-2`, and below it what tells more.
fn line(problem: &Value) -> String {
    let hint = match text(problem, "hint") {
        "" => String::new(),
        hint => format!("      try: {}\n", printable(hint)),
    };
    format!("{}  {}\n{hint}", text(problem, "result"), printable_lines(text(problem, "message")))
}
