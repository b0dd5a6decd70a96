//! `mesh config reload`.

use std::collections::BTreeSet;

use omnirelay_core::text::some_of;
use omnirelay_wire::rpc::node_service;

use crate::complete;
use crate::frame::list::whole;
use crate::frame::prelude::*;
use crate::node::NODE;
use crate::peers;

const RELOAD: RpcMethod = node_service::RELOAD_CONFIG;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh config reload", &[&RELOAD, &NODE, &peers::get::GET, &peers::LIST])
        .exiting("0 1 2 3 4 5 6 7 8 9 10 11");

/// The kind in `node/ID`.
const KIND: &str = "node";
/// How many settings a person is told of by name.
const NAMED_MAX: usize = 10;

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh config reload --dry-run
  omnirelay mesh config reload --node node-2 --reason \"more watches, INC-4711\"
  omnirelay mesh config reload --all-nodes
  omnirelay mesh config reload --all-nodes -o json | jq -r '.results[] | select(.status == \"error\") | .name'";

/// Have daemons read their configuration again
///
/// Each takes over all settings that may change while it runs, or none if one of them is wrong. Who the node is, where its records are
/// and where it listens is as before until it is started again; `mesh check` says where that is due.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct MeshConfigReloadArgs {
    /// The node whose daemon is meant; may be repeated [default: the one that answers]
    #[arg(long, value_name = "NODE", conflicts_with = "all_nodes", add = complete::ids(&peers::OBJECTS))]
    node: Vec<String>,
    /// The daemons of all nodes that are alive
    #[arg(long)]
    all_nodes: bool,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &MeshConfigReloadArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    if args.write.if_match.is_some() {
        return Err(CliError::usage("--if-match: the configuration of a daemon has no version"));
    }
    session.announce_target()?;
    let mut nodes = if args.all_nodes { living(session).await? } else { args.node.clone() };
    let mut seen = BTreeSet::new();
    nodes.retain(|node| seen.insert(node.clone()));
    if nodes.is_empty() {
        let document = reload(args, "", session).await?;
        let node = text(&document, "localNodeId").to_owned();
        let lines = describe(&node, &document);
        let changed = flag(&document, "changed");
        session.show(&CommandOutput::lines(document, format!("{KIND}/{node}"), lines))?;
        return Ok(verdict(args, changed));
    }
    let asked = session.target()?.clone();
    let mut batch = BatchOutcomes::new(KIND, "reload", "did not reload their configuration");
    for node in nodes {
        // Each is looked up where the command was sent to.
        session.turn_to(asked.clone())?;
        let outcome = match session.go_to_node(&node).await {
            Ok(node) => reload(args, &node, session).await,
            Err(error) => Err(error),
        };
        batch.push(node, outcome);
    }
    let changed =
        batch.outcomes().iter().any(|(_, outcome)| outcome.as_ref().is_ok_and(|one| flag(one, "changed")));
    batch.finish(session, describe)?;
    Ok(verdict(args, changed))
}

fn verdict(args: &MeshConfigReloadArgs, changed: bool) -> Exit {
    if changed && args.write.exit_code { Exit::Negative } else { Exit::Ok }
}

/// Ids of the nodes that are alive.
async fn living(session: &CommandSession) -> Result<Vec<String>, CliError> {
    let document = whole(session, &peers::LIST, "peers", json!({"status": ["alive"]})).await?;
    let nodes: Vec<String> =
        items(&document, "peers").iter().map(|peer| text(peer, "nodeId").to_owned()).collect();
    match nodes.is_empty() {
        false => Ok(nodes),
        true => Err(CliError::usage("--all-nodes: no node is alive; name one with --node")),
    }
}

async fn reload(
    args: &MeshConfigReloadArgs,
    node: &str,
    session: &CommandSession,
) -> Result<Value, CliError> {
    let request = json!({"reason": args.write.reason_text(), "dryRun": args.write.is_dry_run()});
    let part = if args.write.is_dry_run() { format!("{node}/dry-run") } else { node.to_owned() };
    session.call(&Call::of(&RELOAD, &request)?.keyed(&args.write.key()?, &part)).await
}

fn describe(node: &str, document: &Value) -> String {
    let named = |field: &str| {
        let keys: Vec<&str> = items(document, field).iter().filter_map(Value::as_str).collect();
        (keys.len() as u64, some_of(&keys, NAMED_MAX))
    };
    let (done, due) = match flag(document, "dryRun") {
        false => ("in effect", "with the next start of the daemon"),
        true => ("would be in effect", "would be with the next start of the daemon"),
    };
    let mut lines = match named("settings") {
        (0, _) => format!("{KIND}/{node}: no setting is otherwise\n"),
        (settings, keys) => format!("{KIND}/{node}: {} {done}: {keys}\n", count(settings, "setting")),
    };
    if let (1.., keys) = named("restartDue") {
        lines.push_str(&format!("{KIND}/{node}: {due}: {keys}\n"));
    }
    lines
}
