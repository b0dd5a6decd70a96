//! `mesh peers status`: how a peer is, or how all of them are, and why.

use std::collections::BTreeMap;

use omnirelay_decisions::check::membership::{next_of_dead, next_of_running};

use super::columns::UnprovenReason;
use super::drain::{GET_DRAIN, remaining};
use super::get::{GET, one};
use super::list::LIST;
use super::{KIND, columns};
use crate::check::checked_mesh::CHECK;
use crate::check::report::CheckRow;
use crate::check::wrong_with_nodes;
use crate::complete;
use crate::frame::list::whole;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh peers status", &[&GET, &LIST, &GET_DRAIN, &CHECK])
        .exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers status
  omnirelay mesh peers status node-2
  omnirelay mesh peers status -o json | jq '[.peers[] | select(.status != \"alive\")]'";

/// Show how peers are and why; without an id, the whole fleet
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersStatusArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
}

pub(super) async fn run(args: &PeersStatusArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    if args.ids.is_empty() {
        return fleet(session).await;
    }
    let ids = ids::expand(&args.ids, KIND)?;
    let found = if session.format().is_text() { wrong_with_nodes(session).await } else { Vec::new() };
    let mut batch =
        crate::frame::batch::BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    let mut drains = BTreeMap::new();
    for id in ids {
        let result = one(session, &id).await;
        if let Some(peer) = result.as_ref().ok().map(|document| field(document, "peer"))
            && flag(peer, "draining")
            && session.format().is_text()
        {
            drains.insert(text(peer, "nodeId").to_owned(), drain(session, peer).await);
        }
        batch.push(id, result);
    }
    batch.finish(session, |_, document| {
        let moment = time::moment(document, false);
        let peer = field(document, "peer");
        verdict(peer, moment, drains.get(text(peer, "nodeId")), &found)
    })
}

/// How far the drain of a peer is, in words.
async fn drain(session: &CommandSession, peer: &Value) -> String {
    let progress = match Call::of(&GET_DRAIN, &json!({ "nodeId": text(peer, "nodeId") })) {
        Ok(call) => session.call(&call).await,
        Err(error) => Err(error),
    };
    match progress {
        Ok(progress) if flag(&progress, "drained") => "done: it leads and owns nothing".to_owned(),
        Ok(progress) => format!("still {}", remaining(&progress)),
        Err(error) => format!("not known: {}", error.body().message),
    }
}

async fn fleet(session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = whole(session, &LIST, "peers", json!({})).await?;
    let moment = time::moment(&document, false);
    let peers = items(&document, "peers").to_vec();
    let names = peers.iter().map(|peer| format!("{KIND}/{}", text(peer, "nodeId"))).collect();
    let found = if session.format().is_text() { wrong_with_nodes(session).await } else { Vec::new() };
    let lines = fleet_lines(&peers, moment, &found);
    session.show(&CommandOutput { document, items: Some(peers), names, text: TextForm::Lines(lines) })?;
    Ok(Exit::Ok)
}

/// One line for the fleet, then one for each peer that is not simply alive.
fn fleet_lines(peers: &[Value], moment: CellContext, found: &[CheckRow]) -> String {
    let healthy = |peer: &&Value| columns::status(peer) == "alive" && of_peer(found, peer).next().is_none();
    let alive = peers.iter().filter(healthy).count();
    // Who was stopped has said that it goes: nothing is wrong with it.
    let has_left = |peer: &&Value| columns::status(peer) == "left" && of_peer(found, peer).next().is_none();
    let left = peers.iter().filter(has_left).count();
    let all = count(peers.len() as u64, "peer");
    let has_left = if left > 0 { format!(", {left} left") } else { String::new() };
    let mut lines = match (peers.len() - alive - left, left) {
        (0, 0) => format!("{all}, all alive\n"),
        (0, _) => format!("{all}, {alive} alive{has_left}\n"),
        (others, _) => format!("{all}, {alive} alive{has_left}, {others} to look at\n"),
    };
    for peer in peers.iter().filter(|peer| !healthy(peer)) {
        lines.push_str(&format!("  {}\n", headline(peer, moment)));
        // What the status says is said.
        let more = of_peer(found, peer).filter(|_| text(peer, "status") == "alive");
        lines.extend(more.map(|row| format!("    {}\n", told(row))));
    }
    lines
}

/// What the check of the mesh finds wrong with a peer.
fn of_peer<'a>(found: &'a [CheckRow], peer: &'a Value) -> impl Iterator<Item = &'a CheckRow> {
    found.iter().filter(|row| row.finding.about.iter().any(|node| node == text(peer, "nodeId")))
}

/// `warn  not reached: node-2 from node-3  [transport-reached]`
fn told(row: &CheckRow) -> String {
    format!("{}  {}  [{}]", row.finding.verdict.word(), printable(&row.finding.text), row.id)
}

/// `node-2  suspect for 14s (session_expired), draining, last seen 16s ago`: how long is known of the status alone.
fn headline(peer: &Value, moment: CellContext) -> String {
    let since = time::ago(field(peer, "statusSince"), moment);
    let seen = time::ago(field(peer, "lastSeen"), moment);
    let marks = columns::orders(peer).chain(columns::unproven(peer).map(UnprovenReason::mark));
    let (status, orders) = (text(peer, "status"), marks.map(|mark| format!(" {mark},")));
    format!(
        "{}  {status} for {since} ({}),{} last seen {seen} ago",
        text(peer, "nodeId"),
        text(peer, "statusReason"),
        orders.collect::<String>(),
    )
}

fn verdict(peer: &Value, moment: CellContext, drain: Option<&String>, found: &[CheckRow]) -> String {
    let id = text(peer, "nodeId");
    let mut rows = vec![("why", why(text(peer, "statusReason")))];
    if let Some(unproven) = columns::unproven(peer) {
        let costs = "it leads nothing, gets no shards, and nobody is shown what it advertises";
        rows.push(("identity", format!("{}: {costs}", unproven.why())));
    }
    if flag(peer, "cordoned") {
        rows.push(("cordoned", text(peer, "cordonReason").to_owned()));
    }
    rows.extend(drain.map(|drain| ("drain", drain.clone())));
    if let Some(ms) = field(peer, "rttMs").as_f64() {
        rows.push(("rtt", format!("{ms}ms")));
    }
    let found: Vec<&CheckRow> = of_peer(found, peer).filter(|_| text(peer, "status") == "alive").collect();
    rows.extend(found.iter().map(|row| ("found", told(row))));
    // One that lives and is as it was ordered needs what the check says, if anything.
    let is_plain = columns::status(peer) == "alive";
    let hint = found.iter().find_map(|row| row.finding.hint.clone()).filter(|_| is_plain);
    rows.push(("next", hint.unwrap_or_else(|| next(peer, id))));
    let rows = listing(&rows);
    let indented: String = rows.lines().map(|line| format!("  {line}\n")).collect();
    format!("{}\n{indented}", headline(peer, moment))
}

/// What a status reason means.
fn why(reason: &str) -> String {
    match reason {
        "registered" => "it registered and renews its session".to_owned(),
        "resumed" => "it came back and renews its session again".to_owned(),
        "session_expired" => "its session was not renewed in time".to_owned(),
        "silent" => "it has been silent for longer than peers.deadAfter".to_owned(),
        "stopped" => "it stopped cleanly".to_owned(),
        other => other.to_owned(),
    }
}

fn next(peer: &Value, id: &str) -> String {
    if let Some(unproven) = columns::unproven(peer) {
        return unproven.next(id);
    }
    match text(peer, "status") {
        "alive" if flag(peer, "draining") => format!("omnirelay mesh peers undrain {id}"),
        "alive" if flag(peer, "cordoned") => format!("omnirelay mesh peers uncordon {id}"),
        "alive" => "nothing to do".to_owned(),
        "suspect" | "dead" if is_heard(peer) => next_of_running(id, &ask(peer)),
        "suspect" => format!("omnirelay mesh peers watch --until status==alive  # or see why {id} is silent"),
        "dead" => next_of_dead(id, is_heard(peer), &ask(peer)),
        "left" => format!("start it again, or omnirelay mesh peers forget {id}"),
        _ => format!("omnirelay mesh peers get {id}"),
    }
}

/// Whether it answers other nodes, whatever the store says of it.
fn is_heard(peer: &Value) -> bool {
    text(peer, "health.state") == "alive"
}

/// How it is asked itself.
fn ask(peer: &Value) -> String {
    match text(peer, "metadata.endpoints.control") {
        "" => "omnirelay mesh check".to_owned(),
        control => format!("omnirelay mesh check --addr {control}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_start_what_runs() {
        let peer = |status: &str, health: &str, control: &str| {
            json!({
                "status": status, "health": {"state": health},
                "metadata": {"endpoints": {"control": control}},
            })
        };
        let cases = [
            ("dead", "alive", "10.0.0.2:17420", "check --addr 10.0.0.2:17420    # its daemon runs", false),
            ("suspect", "alive", "", "omnirelay mesh check    # its daemon runs", false),
            (
                "dead",
                "dead",
                "10.0.0.2:17420",
                "daemon runs: omnirelay mesh check --addr 10.0.0.2:17420",
                true,
            ),
            ("dead", "unknown", "", "where its daemon runs", true),
            ("suspect", "suspect", "", "status==alive", false),
            ("left", "left", "", "start it again", true),
            ("alive", "alive", "", "nothing to do", false),
        ];
        for (status, health, control, said, starts) in cases {
            let next = next(&peer(status, health, control), "n2");
            assert!(next.contains(said), "{status}, {health}: {next}");
            assert_eq!(next.contains("start it again"), starts, "{status}, {health}: {next}");
        }
        let revoked = json!({"status": "dead", "unproven": "certificate_revoked"});
        assert!(next(&revoked, "n2").starts_with("omnirelay cert reinstate --node n2"));
    }
}
