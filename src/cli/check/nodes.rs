//! Checks of the other nodes: each is asked itself, where it can be reached from here.

use omnirelay_wire::fault::Exit;

use super::control_api::open;
use super::facts::{Facts, NAMED_MAX, NodeSaid};
use super::finding::{Category, Check, Finding, Judge, SKEW_WARN_MS};
use crate::cli::frame::client::{count, some_of};
use crate::cli::frame::document::{field, items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::failure::is_about_time;
use crate::cli::frame::{address::Address, time};

/// The item of a node's readiness that tells how its clock stands to the store's.
const STORE_CLOCK: &str = "store-clock";
/// From how many ms on store time that is ahead of all hosts is to be brought back.
const CLOCKS_APART_MS: i64 = 60_000;
const RESET: &str = "omnirelay mesh store reset-clock --dry-run    # once the clock of the store's host is right: store time does \
                     not go back by itself";

pub static CATEGORY: Category = Category {
    name: "nodes",
    page: "runbooks/peers.md",
    checks: &[
        Check::new(
            "nodes-answer",
            "every node that lives answers at its own address",
            "A node renews its session, so it lives, and yet its control port does not answer from here: the network \
             between, a firewall, or a daemon that has stalled.",
            Judge::Nodes(answer),
        ),
        Check::new(
            "nodes-ready",
            "every other node that could be asked is ready",
            "A node lives and needs something before it can serve.",
            Judge::Nodes(ready),
        ),
        Check::new(
            "nodes-fit",
            "no node lacks anything else",
            "A part of a node says that something is wrong which no other check names.",
            Judge::Nodes(fit),
        ),
        Check::new(
            "nodes-clocks",
            "the clocks of the nodes' hosts agree with the store's",
            "Leases hold whatever clocks say. But certificates begin and end by the clock of the host that judges them, and \
             logs of different nodes do not line up.",
            Judge::Nodes(clocks),
        ),
    ],
    items: &[STORE_CLOCK],
};

/// How one of the others was reached.
enum Reached {
    Asked,
    /// One of both takes the certificate of the other for one that does not count now.
    AtAnotherTime(String),
    /// It answers, and not to this caller; or its address means something else from here.
    NotFromHere,
    Silent(String),
}

fn reached(facts: &Facts, node: &NodeSaid) -> Reached {
    let address = node.address.parse::<Address>();
    let is_loopback = address.as_ref().is_ok_and(Address::is_loopback);
    match &node.said {
        Ok(_) if node.itself().is_some() => Reached::Asked,
        Err(error) if is_about_time(cause_of(error)) => {
            Reached::AtAnotherTime(format!("{} at {}: {}", node.id, node.address, cause_of(error)))
        }
        // Another one's loopback is not ours.
        Ok(_) => Reached::NotFromHere,
        Err(_) if is_loopback && !facts.is_loopback => Reached::NotFromHere,
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => Reached::NotFromHere,
        Err(_) if address.is_err() => Reached::NotFromHere,
        Err(error) => Reached::Silent(format!("{} at {}: {}", node.id, node.address, cause_of(error))),
    }
}

fn cause_of(error: &CliError) -> &str {
    let cause = error.body().cause.as_ref().and_then(|cause| cause.lines().next());
    cause.unwrap_or(&error.body().message)
}

fn answer(facts: &Facts) -> Finding {
    let (mut silent, mut elsewhere, mut asked) = (Vec::new(), Vec::new(), 0u64);
    for node in &facts.others {
        match reached(facts, node) {
            Reached::Asked => asked += 1,
            Reached::NotFromHere => elsewhere.push(node.id.as_str()),
            Reached::Silent(why) | Reached::AtAnotherTime(why) => silent.push(why),
        }
    }
    if let Some(first) = facts.others.iter().find(|node| is_silent(facts, node)) {
        return Finding::warn(format!("live, but silent: {}", some_of(&silent, NAMED_MAX)))
            .hint(format!("omnirelay mesh peers status {}    # and omnirelay doctor on its host", first.id));
    }
    if facts.not_asked > 0 {
        let asked = count(asked, "other live node");
        return Finding::pass(format!("{asked} answered; {} more were not asked", facts.not_asked));
    }
    match (asked, elsewhere.as_slice()) {
        (0, []) => Finding::skip("there is no other live node"),
        (_, []) => Finding::pass(format!("{} answered", count(asked, "other live node"))),
        (0, ids) => Finding::skip(format!("not to be asked from here: {}", some_of(ids, NAMED_MAX))),
        (_, ids) => Finding::pass(format!(
            "{} answered; not to be asked from here: {}",
            count(asked, "other live node"),
            some_of(ids, NAMED_MAX)
        )),
    }
}

fn is_silent(facts: &Facts, node: &NodeSaid) -> bool {
    match reached(facts, node) {
        Reached::Silent(_) | Reached::AtAnotherTime(_) => true,
        Reached::Asked | Reached::NotFromHere => false,
    }
}

/// The others that could be asked.
fn asked(facts: &Facts) -> impl Iterator<Item = (&NodeSaid, &serde_json::Value)> {
    facts.others.iter().filter_map(|node| Some((node, node.itself()?.1)))
}

fn ready(facts: &Facts) -> Finding {
    let told: Vec<(&str, Vec<String>)> =
        asked(facts).map(|(node, said)| (node.id.as_str(), open(said, true))).collect();
    let not: Vec<String> = told
        .iter()
        .filter(|(_, open)| !open.is_empty())
        .map(|(id, open)| format!("{id}: {}", open.join("; ")))
        .collect();
    match (told.len() as u64, not.as_slice()) {
        (0, _) => Finding::skip("no other node could be asked"),
        (asked, []) => Finding::pass(format!("{} ready", count(asked, "other node"))),
        (_, not) => Finding::fail(format!("not ready: {}", some_of(not, NAMED_MAX)))
            .hint("omnirelay mesh check --wait 30s    # and the log of omnirelayd on its host"),
    }
}

fn fit(facts: &Facts) -> Finding {
    let readiness = facts.nodes().flat_map(|(_, node)| items(node, "readiness"));
    let mut names: Vec<&str> =
        readiness.map(|item| text(item, "name")).filter(|name| !facts.claimed.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    let told: Vec<String> = names
        .iter()
        .filter_map(|name| facts.trouble(name).map(|trouble| format!("{name} on {trouble}")))
        .collect();
    if told.is_empty() {
        return Finding::pass("no node says that it lacks anything else");
    }
    Finding::warn(told.join("; ")).hint("journalctl -u omnirelayd    # on that host")
}

/// How far the clocks of the hosts are from the store's, which each node knows, in milliseconds: what an answer takes on its
/// way changes nothing of it. Daemons that do not say it are older.
fn skews(facts: &Facts) -> Vec<(&str, i64)> {
    let skew = |(id, node)| {
        let host = time::millis(field(node, "hostTime"))?;
        Some((id, host - time::millis(field(node, "generatedAt"))?))
    };
    facts.nodes().filter_map(skew).collect()
}

fn clocks(facts: &Facts) -> Finding {
    let at_another_time: Vec<String> = facts
        .others
        .iter()
        .filter_map(|node| match reached(facts, node) {
            Reached::AtAnotherTime(why) => Some(why),
            Reached::Asked | Reached::NotFromHere | Reached::Silent(_) => None,
        })
        .collect();
    if !at_another_time.is_empty() {
        let told = some_of(&at_another_time, NAMED_MAX);
        return Finding::fail(format!(
            "a clock is off by so much that certificates of now do not count: {told}"
        ))
        .hint("date -u    # on that host and on this one; then chronyc tracking on the one that is wrong");
    }
    let found = compared(facts);
    match facts.trouble(STORE_CLOCK) {
        Some(trouble) if !found.is_wrong() => Finding::warn(trouble).hint(RESET),
        _ => found,
    }
}

fn compared(facts: &Facts) -> Finding {
    let skews = skews(facts);
    let Some((id, skew)) = skews.iter().max_by_key(|(_, skew)| skew.abs()) else {
        return Finding::skip("no node says what time it is on its host");
    };
    let ms = skew.abs();
    let fine = format!("clocks of hosts are at most {ms}ms off the store's{}", facts.coverage());
    let (least, most) = skews
        .iter()
        .fold((i64::MAX, i64::MIN), |(least, most), (_, skew)| (least.min(*skew), most.max(*skew)));
    if skews.len() > 1 && most - least < SKEW_WARN_MS {
        let text = format!(
            "the clocks of all hosts agree, and the store's is {ms}ms off them (limit {SKEW_WARN_MS}ms)"
        );
        // Behind all hosts, or a little ahead of them, it is the clock of its host that is wrong.
        let is_left_ahead = most < -CLOCKS_APART_MS;
        let hint = if is_left_ahead { RESET } else { "chronyc tracking    # on the store's host" };
        return Finding::of_skew(ms, text, fine, hint);
    }
    let which = if *skew < 0 { "behind" } else { "before" };
    let text = format!("the clock of {id} is {ms}ms {which} the store's (limit {SKEW_WARN_MS}ms)");
    // Of one host nobody knows whether it is its clock.
    let hint = match most < -CLOCKS_APART_MS {
        true => {
            "date -u    # on that host; if its clock is right: omnirelay mesh store reset-clock --dry-run"
        }
        false => "omnirelay doctor    # on that host: what keeps its clock",
    };
    Finding::of_skew(ms, text, fine, hint)
}
