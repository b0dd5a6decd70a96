//! `registers status`: how far the catalogue and the pools agree, as one node knows it.

use omnirelay_wire::rpc::advertisement_service;

use crate::frame::prelude::*;
use crate::frame::table::TableLayout;
use crate::node::NODE;
use crate::node::NodeArgs;
use crate::peers;

pub const SYNC_STATE: RpcMethod = advertisement_service::GET_SYNC_STATE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("registers status", &[&SYNC_STATE, &peers::get::GET, &peers::LIST, &NODE])
        .exiting("0 1 2 3 5 6 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers status
  omnirelay registers status --node node-2
  omnirelay registers status -o json | jq '.targets[] | select(.status != \"success\")'";

/// Show how far a node's catalogue and the pools agree
///
/// Exits with 10 when a target has failed or drifted: it has entries that should go, and an automatic run does not
/// dare to remove so many. And when no node of another cluster answers whose advertisements are fetched.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct RegistersStatusArgs {
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

static COLUMNS: &[Column] = &[
    Column::new("target", |target, _| text(target, "target").to_owned()).keep(),
    Column::new("status", |target, _| text(target, "status").to_owned()).keep(),
    Column::new("last-success", |target, moment| time::ago(field(target, "lastSuccessAt"), moment)),
    Column::new("last-attempt", |target, moment| time::ago(field(target, "lastAttemptAt"), moment)),
    Column::new("next-run", |target, moment| time::left(field(target, "nextRunAt"), moment)),
    Column::new("registers", |target, _| number(target, "registerCount").to_string())
        .number(|target| number(target, "registerCount") as f64),
    Column::new("drifted", |target, _| number(target, "drifted").to_string())
        .number(|target| number(target, "drifted") as f64),
    Column::new("failures", |target, _| number(target, "failures").to_string())
        .number(|target| number(target, "failures") as f64),
    Column::new("runs", |target, _| runs(target)).wide(),
    Column::new("last-run", |target, _| last_run(target)).wide(),
];

static REMOTE_NODES: &[Column] = &[
    Column::new("remote-node", |node, _| text(node, "source").to_owned()).keep(),
    Column::new("registers", |node, _| number(node, "registers").to_string())
        .number(|node| number(node, "registers") as f64),
    Column::new("asked", |node, _| if flag(node, "asked") { "here" } else { "elsewhere" }.to_owned()),
    Column::new("last-answer", |node, moment| time::ago(field(node, "lastAnswerAt"), moment)),
    Column::new("failures", |node, _| number(node, "failures").to_string())
        .number(|node| number(node, "failures") as f64),
    Column::new("control", |node, _| text(node, "control").to_owned()),
    Column::new("protocol", |node, _| text(node, "protocol").to_owned()).seldom(),
    Column::new("error", |node, _| text(node, "error").to_owned()).seldom(),
];

/// `12 (11 unchanged)`
fn runs(target: &Value) -> String {
    format!("{} ({} unchanged)", number(target, "runs"), number(target, "runsUnchanged"))
}

/// `added 3, unchanged 98`: what the last run did, nothings apart.
fn last_run(target: &Value) -> String {
    let words = ["added", "updated", "removed", "unchanged", "failed", "deferred"];
    let counts = words.map(|word| (word, number(target, &format!("lastRun.{word}"))));
    let told = counts.iter().filter(|(_, times)| *times > 0).map(|(word, times)| format!("{word} {times}"));
    told.collect::<Vec<_>>().join(", ")
}

pub(super) async fn run(
    args: &RegistersStatusArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.go(session).await?;
    let document = session.call(&Call::of(&SYNC_STATE, &json!({ "nodeId": node }))?).await?;
    let moment = time::moment(&document, args.absolute);
    let lines = describe(&document, moment, session)?;
    let targets = items(&document, "targets").to_vec();
    let is_well = !targets.iter().any(|target| has_failed(target) || has_drifted(target))
        && !items(&document, "federated").iter().any(is_lost);
    let names = vec![format!("{}/{}", peers::KIND, text(&document, "localNodeId"))];
    session.show(&CommandOutput {
        document: document.clone(),
        items: None,
        names,
        text: TextForm::Lines(lines),
    })?;
    session.warn_if_stale(&document);
    Ok(if is_well { Exit::Ok } else { Exit::Negative })
}

/// The node, its targets as a table, and what is to be done about them.
fn describe(document: &Value, moment: CellContext, session: &CommandSession) -> Result<String, CliError> {
    let targets = items(document, "targets");
    let wide = session.format() == crate::frame::output::OutputFormat::Wide;
    let table =
        TextTable::of(COLUMNS, targets, moment, &TableLayout::default())?.render(wide, session.out.screen());
    let node = text(document, "localNodeId");
    let next: String = targets.iter().filter_map(|target| next(target, node)).collect();
    let federated = federated(document, moment, session)?;
    let parts = [listing(&rows(document)), table.lines, next, federated];
    Ok(parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("\n"))
}

/// The nodes of other clusters, and which clusters do not answer.
fn federated(document: &Value, moment: CellContext, session: &CommandSession) -> Result<String, CliError> {
    let clusters = items(document, "federated");
    let nodes: Vec<Value> = clusters.iter().flat_map(|cluster| items(cluster, "nodes")).cloned().collect();
    let mut lines = String::new();
    if !nodes.is_empty() {
        let table = TextTable::of(REMOTE_NODES, &nodes, moment, &TableLayout::default())?;
        lines = table.render(false, session.out.screen()).lines;
    }
    for cluster in clusters.iter().filter(|cluster| is_lost(cluster)) {
        let line = format!(
            "no node of cluster {} answers: {}\n{}",
            text(cluster, "cluster"),
            printable(text(cluster, "error")),
            advice(cluster),
        );
        lines.push_str(&line);
    }
    Ok(lines)
}

/// What to do about a cluster of which no node answers.
fn advice(cluster: &Value) -> String {
    if flag(cluster, "sibling") {
        return format!(
            "  try: omnirelay mesh clusters get {}    # where it is said to be, and whether its issuer is trusted\n",
            text(cluster, "cluster")
        );
    }
    "  try: omnirelay mesh check    # whether its bundle can be used, and this mesh has an authority\n  try: see that its seeds in \
     security.federatedClusters, and what its nodes give as mesh.advertise, are reached from this host\n"
        .to_owned()
}

/// Whether none of another cluster's nodes is known that answers.
fn is_lost(cluster: &Value) -> bool {
    !text(cluster, "error").is_empty()
}

fn rows(document: &Value) -> Vec<(&'static str, String)> {
    let of = |name: &str| number(document, name);
    let mut local = count(of("local"), "advertisement");
    if of("unverified") > 0 {
        local.push_str(&format!(", {} not confirmed since the node started", of("unverified")));
    }
    vec![
        ("node", text(document, "localNodeId").to_owned()),
        (
            "catalogue",
            format!("{}, {} to be advertised", count(of("registers"), "register"), of("advertise")),
        ),
        ("pool", local),
        ("others", count(of("remote"), "advertisement")),
        ("store", store(document)),
    ]
}

/// Where the node's advertisements are: in the store, or in memory as long as it is away.
fn store(document: &Value) -> String {
    let waiting = number(document, "deferred");
    let waits = |verb: &str| format!("{} {verb} in memory", count(waiting, "advertisement"));
    let waits = waits(if waiting == 1 { "waits" } else { "wait" });
    match (flag(document, "stale"), waiting) {
        (false, 0) => "all is stored".to_owned(),
        (false, _) => format!("{waits}, and will be written soon"),
        (true, 0) => "away; what was stored is shown, nothing waits".to_owned(),
        (true, _) => format!("away; {waits} until it is back"),
    }
}

/// Whether the last run failed. The status alone does not say so: while the next one goes on it is another.
fn has_failed(target: &Value) -> bool {
    number(target, "failures") > 0 || text(target, "status") == "failed"
}

/// Whether there are entries that should go, whatever has become of the last run.
fn has_drifted(target: &Value) -> bool {
    number(target, "drifted") > 0 || text(target, "status") == "drift"
}

/// What is the matter with a target and what to do; `None` when nothing is.
fn next(target: &Value, node: &str) -> Option<String> {
    let name = text(target, "target");
    let peer = if name == "local" { String::new() } else { format!(" --peer {name}") };
    let resync = format!("omnirelay registers resync --node {node}{peer}");
    let mut lines = String::new();
    if has_failed(target) {
        let times = count(number(target, "failures").max(1), "time");
        lines.push_str(&format!("{name} has failed {times}: {}\n  try: {resync}\n", text(target, "error")));
    }
    if has_drifted(target) {
        let entries = number(target, "drifted");
        let some = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
        lines.push_str(&format!(
            "{name} has drifted: {some} should go, which is more than an automatic run dares to remove\n  \
             try: {resync} --full --dry-run    # which\n       {resync} --full --yes        # remove them\n"
        ));
    }
    let lines: String = lines.lines().map(|line| format!("{}\n", printable(line))).collect();
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_is_told_by_what_waits_for_it() {
        let said = |stale: bool, deferred: u32| store(&json!({"stale": stale, "deferred": deferred}));
        assert_eq!(said(false, 0), "all is stored");
        assert_eq!(said(false, 1), "1 advertisement waits in memory, and will be written soon");
        assert_eq!(said(true, 3), "away; 3 advertisements wait in memory until it is back");
        assert_eq!(said(true, 0), "away; what was stored is shown, nothing waits");
    }

    #[test]
    fn what_to_do_names_the_node_and_the_pool() {
        let target = |status: &str, drifted: u32, failures: u32| json!({"target": "http://p:1", "status": status, "drifted": drifted, "failures": failures, "error": "it\nis away"});
        let told = next(&target("drift", 12, 0), "node-1").unwrap();
        assert!(told.starts_with("http://p:1 has drifted: 12 entries should go"), "{told}");
        assert!(
            told.contains("omnirelay registers resync --node node-1 --peer http://p:1 --full --dry-run"),
            "{told}"
        );
        let told = next(&target("failed", 0, 2), "node-1").unwrap();
        assert!(told.starts_with("http://p:1 has failed 2 times: it"), "{told}");
        let told = next(&target("failed", 12, 2), "node-1").unwrap();
        assert!(told.contains("has failed 2 times") && told.contains("has drifted: 12"), "{told}");
        for status in ["in_progress", "a word of a newer daemon"] {
            assert!(
                next(&target(status, 0, 1), "node-1").unwrap().contains("has failed 1 time:"),
                "{status}"
            );
            assert!(next(&target(status, 1, 0), "node-1").unwrap().contains("1 entry should go"), "{status}");
            assert_eq!(next(&target(status, 0, 0), "node-1"), None, "{status}");
        }
        assert_eq!(next(&target("success", 0, 0), "node-1"), None);
        assert_eq!(next(&target("never", 0, 0), "node-1"), None);
    }
}
