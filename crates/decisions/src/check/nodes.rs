//! Checks of nodes: each answers, is ready, lacks nothing, and its clock is right.

use std::collections::BTreeSet;

use omnirelay_core::text::{count, some_of};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::millis;

use super::CATEGORIES;
use super::control_api::open;
use super::facts::{MeshFacts, NAMED_MAX, NotAsked, RegistryFacts};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory, SKEW_WARN_MS};
use super::identity::enrol_hint;

/// The item of a node's readiness that tells how its clock stands to the store's.
const STORE_CLOCK: &str = "store-clock";
/// The one that tells how much room its disk has.
const DATA_DISK: &str = "data-disk";
/// Of so many items that no check judges it is told.
const UNCLAIMED_MAX: usize = 20;
/// From how many ms on store time that is ahead of all hosts is to be brought back.
const CLOCKS_APART_MS: i64 = 60_000;
const RESET: &str = "omnirelay mesh store reset-clock --dry-run    # once the clock of the store's host is right: store time does \
                     not go back by itself";

pub static CATEGORY: FindingCategory = FindingCategory {
    name: "nodes",
    page: "runbooks/peers.md",
    checks: &[
        CheckDefinition::new(
            "nodes-answer",
            "every node that lives answers",
            "A node renews its session, so it lives, and yet it does not answer the one that judges, at its mesh port or at its control \
             port: the network between, a firewall, a daemon that has stalled, or one that lets nobody in. What only it knows is \
             unknown.",
            CheckJudge::Registry(answer),
        ),
        CheckDefinition::new(
            "nodes-ready",
            "every other node that could be asked is ready",
            "A node lives and needs something before it can serve.",
            CheckJudge::Nodes(ready),
        ),
        CheckDefinition::new(
            "nodes-fit",
            "no node lacks anything else",
            "A part of a node says that something is wrong which no other check names.",
            CheckJudge::Nodes(fit),
        ),
        CheckDefinition::new(
            "nodes-disk",
            "every node has room on the disk of its data directory",
            "The disk of a node is nearly full. The embedded store refuses changes when it is; and wherever the registry is, the \
             node cannot keep its next certificate, nor what it has sealed.",
            CheckJudge::Nodes(disk),
        ),
        CheckDefinition::new(
            "nodes-clocks",
            "the clocks of the nodes' hosts agree with the store's",
            "Leases hold whatever clocks say. But certificates begin and end by the clock of the host that judges them, and \
             logs of different nodes do not line up.",
            CheckJudge::Nodes(clocks),
        ),
    ],
    items: &[STORE_CLOCK, DATA_DISK],
};

/// A node that answers nobody is a fault; of one that will not be asked nothing is known.
fn answer(registry: &RegistryFacts, facts: &MeshFacts) -> CheckResult {
    let (mut silent, mut no_way, mut first) = (Vec::new(), Vec::new(), None);
    let about = facts.others().filter(|node| node.said.is_err()).map(|node| node.id.as_str());
    for node in facts.others() {
        let Err(why) = &node.said else { continue };
        first = first.or(Some(&node.id));
        let told = format!("{}: {why}", node.id);
        match why {
            NotAsked::Silent(_) | NotAsked::AtAnotherTime(_) => silent.push(told),
            NotAsked::NoWay(_) | NotAsked::Older => no_way.push(told),
        }
    }
    let more = (facts.not_asked > 0).then(|| format!("{} more were not asked", facts.not_asked));
    let silent = (!silent.is_empty()).then(|| format!("live, but silent: {}", some_of(&silent, NAMED_MAX)));
    let is_unknown = !no_way.is_empty() || more.is_some();
    let no_way = (!no_way.is_empty()).then(|| format!("could not be asked: {}", some_of(&no_way, NAMED_MAX)));
    let told: Vec<String> = [silent, no_way, more].into_iter().flatten().collect();
    if !told.is_empty() {
        let verdict = if is_unknown { CheckVerdict::Unknown } else { CheckVerdict::Warn };
        let hint = match (facts.own().map(|own| own.enrolment.as_str()), first) {
            (Some("no_authority"), _) if is_unknown => {
                "omnirelay cert ca init    # nodes with certificates ask each other at their mesh ports"
                    .to_owned()
            }
            (Some("not_enrolled"), _) if is_unknown => enrol_hint(&registry.own),
            (_, Some(first)) => {
                format!(
                    "omnirelay mesh peers ping {first}    # whether it is reached; then omnirelay doctor on its host"
                )
            }
            (_, None) => "omnirelay mesh peers list    # and check those at their own address".to_owned(),
        };
        return CheckResult::new(verdict, told.join("; "))
            .hint(hint)
            .seen_by([registry.own.as_str()])
            .about(about);
    }
    let told: Vec<&str> = facts.others_told().map(|(id, _)| id).collect();
    match told.len() as u64 {
        0 => CheckResult::skip("there is no other live node"),
        asked => CheckResult::pass(format!("{} answered", count(asked, "other live node"))).seen_by(told),
    }
}

fn ready(facts: &MeshFacts) -> CheckResult {
    let told: Vec<(&str, Vec<String>)> =
        facts.others_told().map(|(id, said)| (id, open(said, true))).collect();
    let not: Vec<&(&str, Vec<String>)> = told.iter().filter(|(_, open)| !open.is_empty()).collect();
    if not.is_empty() {
        return match told.len() as u64 {
            0 => CheckResult::skip("no other node could be asked"),
            asked => CheckResult::pass(format!("{} ready", count(asked, "other node")))
                .seen_by(told.iter().map(|(id, _)| *id)),
        };
    }
    let words: Vec<String> = not.iter().map(|(id, open)| format!("{id}: {}", open.join("; "))).collect();
    CheckResult::fail(format!("not ready: {}", some_of(&words, NAMED_MAX)))
        .hint("omnirelay mesh check --wait 30s    # and the log of omnirelayd on its host")
        .seen_by(not.iter().map(|(id, _)| *id))
        .about_themselves()
}

fn fit(facts: &MeshFacts) -> CheckResult {
    let is_claimed = |name: &&str| CATEGORIES.iter().any(|category| category.items.contains(name));
    let readiness = facts.told().flat_map(|(_, node)| &node.readiness);
    let names: BTreeSet<&str> = readiness
        .filter(|item| !item.ok)
        .map(|item| item.name.as_str())
        .filter(|name| !is_claimed(name))
        .collect();
    let found: Vec<(String, Vec<&str>)> = names
        .iter()
        .take(UNCLAIMED_MAX)
        .filter_map(|name| facts.trouble(name).map(|(trouble, by)| (format!("{name} on {trouble}"), by)))
        .collect();
    if found.is_empty() {
        let by: Vec<&str> = facts.told().map(|(id, _)| id).collect();
        return CheckResult::pass(format!(
            "no node says that it lacks anything else{}",
            facts.coverage(by.len())
        ))
        .seen_by(by);
    }
    let told: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
    CheckResult::warn(told.join("; "))
        .hint("journalctl -u omnirelayd    # on that host")
        .seen_by(found.iter().flat_map(|(_, by)| by).copied())
        .about_themselves()
}

fn disk(facts: &MeshFacts) -> CheckResult {
    let is_full = |node: &pb::GetNodeResponse| node.disk_free_bytes.is_some_and(|free| free < DISK_FULL);
    let verdict =
        if facts.told().any(|(_, node)| is_full(node)) { CheckVerdict::Fail } else { CheckVerdict::Warn };
    CheckResult::of_item(facts, DATA_DISK, verdict, "every disk has room", "the daemons do not say")
        .about_themselves()
        .next("df -h    # on that host: make room on that disk, or move node.dataDir")
}

/// Below so many bytes that are free a disk is as good as full: what is to be sealed or kept may not be written any more.
const DISK_FULL: u64 = 16 << 20;

/// How far the clocks of the hosts are from the store's, which each node knows, in milliseconds: what an answer takes on its
/// way changes nothing of it. Daemons that do not say it are older.
fn skews(facts: &MeshFacts) -> Vec<(&str, i64)> {
    facts.told().filter_map(|(id, node)| Some((id, clock_ahead_ms(node)?))).collect()
}

/// Lead of the clock of a node's host over the store's, in milliseconds; negative: it is behind.
pub fn clock_ahead_ms(node: &pb::GetNodeResponse) -> Option<i64> {
    let (host, store) = (millis(node.host_time.as_ref()?).0, millis(node.generated_at.as_ref()?).0);
    Some(host.cast_signed() - store.cast_signed())
}

fn clocks(facts: &MeshFacts) -> CheckResult {
    let at_another_time: Vec<String> = facts
        .others()
        .filter_map(|node| match &node.said {
            Err(why @ NotAsked::AtAnotherTime(_)) => Some(format!("{}: {why}", node.id)),
            _ => None,
        })
        .collect();
    if !at_another_time.is_empty() {
        let told = some_of(&at_another_time, NAMED_MAX);
        return CheckResult::fail(format!(
            "a clock is off by so much that certificates of now do not count: {told}"
        ))
        .hint("date -u    # on that host and on this one; then chronyc tracking on the one that is wrong")
        .seen_by(facts.nodes.first().map(|own| own.id.as_str()));
    }
    let found = compared(facts);
    match facts.trouble(STORE_CLOCK) {
        Some((trouble, by)) if !found.verdict.is_wrong() => {
            CheckResult::warn(trouble).hint(RESET).seen_by(by)
        }
        _ => found,
    }
}

fn compared(facts: &MeshFacts) -> CheckResult {
    let skews = skews(facts);
    let Some((id, skew)) = skews.iter().max_by_key(|(_, skew)| skew.abs()) else {
        return CheckResult::skip("no node says what time it is on its host");
    };
    let by = || skews.iter().map(|(id, _)| *id);
    let ms = skew.unsigned_abs();
    let fine = format!("clocks of hosts are at most {ms}ms off the store's{}", facts.coverage(skews.len()));
    let (least, most) = skews
        .iter()
        .fold((i64::MAX, i64::MIN), |(least, most), (_, skew)| (least.min(*skew), most.max(*skew)));
    if skews.len() > 1 && most.abs_diff(least) < SKEW_WARN_MS {
        let text = format!(
            "the clocks of all hosts agree, and the store's is {ms}ms off them (limit {SKEW_WARN_MS}ms)"
        );
        // Behind all hosts, or a little ahead of them, it is the clock of its host that is wrong.
        let is_left_ahead = most < -CLOCKS_APART_MS;
        let hint = if is_left_ahead { RESET } else { "chronyc tracking    # on the store's host" };
        return CheckResult::of_skew(ms, text, fine, hint).seen_by(by());
    }
    let which = if *skew < 0 { "behind" } else { "ahead of" };
    let text = format!("the clock of {id} is {ms}ms {which} the store's (limit {SKEW_WARN_MS}ms)");
    // Of one host nobody knows whether it is its clock.
    let hint = match most < -CLOCKS_APART_MS {
        true => {
            "date -u    # on that host; if its clock is right: omnirelay mesh store reset-clock --dry-run"
                .to_owned()
        }
        false => format!("omnirelay doctor --node {id}    # what keeps its clock"),
    };
    CheckResult::of_skew(ms, text, fine, &hint).seen_by(by()).about([*id])
}
