//! Checks of the registry: its store answers, is set up as it should be, and has lost nothing.

use serde_json::Value;

use super::facts::{Facts, NODE};
use super::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::document::{field, flag, items, text};

/// What readiness says of each of these is a check of its own.
const SETTINGS: &str = "store-settings";
const SENTINELS: &str = "store-sentinels";
const HISTORY: &str = "history";
const REPLICAS: &str = "leaders-replicas";
const SPLITS: &str = "leaders-split";
const STORE: &str = "store";
const LOST: &str = "lost-records";
const UNSAID: &str = "the daemon does not say";

pub static CATEGORY: Category = Category {
    name: "registry",
    page: "runbooks/store.md",
    checks: &[
        Check::new(
            "registry-store",
            "the store answers and keeps what it is given",
            "Reads and watches go on from memory, changes are refused, and nobody is judged gone until the store \
             answers again. With memory only, everything is lost when the daemon stops.",
            Judge::Nodes(store),
        ),
        Check::new(
            "registry-settings",
            "the store is set up as it should be",
            "The store runs, and with its settings may lose what it has acknowledged, or fill up.",
            Judge::Nodes(settings),
        ),
        Check::new(
            "registry-sentinels",
            "the Sentinels agree on the master",
            "One that is cut off, or was set up otherwise, names another master than the rest. The greatest epoch, or \
             the most, is believed; whoever hears that one alone writes to a server that was replaced.",
            Judge::Nodes(sentinels),
        ),
        Check::new(
            "registry-lost",
            "what the registry has lost is there again",
            "The store came back with less than it had. Each node puts back what is its own, and whoever knew most of the epoch \
             before the rest, within seconds; until then nobody else writes in its place, so that new namespaces, \
             certificates, bindings and registers of those names are refused.",
            Judge::Nodes(lost),
        ),
        Check::new(
            "registry-history",
            "the registry has lost nothing in the last day",
            "The store came back with less than it had: a flush, an older copy, a fail-over to a replica that lagged.",
            Judge::Answer(&NODE, history),
        ),
        Check::new(
            "registry-replicas",
            "as many replicas have a lease as leaders need",
            "A lease counts only once the configured number of replicas has it, and fewer have: nobody leads until \
             more follow the master.",
            Judge::Nodes(replicas),
        ),
        Check::new(
            "registry-splits",
            "no scope was led twice at once in the last day",
            "The network or the store was split, and two nodes were told that they lead one scope. Fences still \
             tell them apart.",
            Judge::Nodes(splits),
        ),
    ],
    items: &[STORE, SETTINGS, SENTINELS, LOST, HISTORY, REPLICAS, SPLITS],
};

fn store(facts: &Facts) -> Finding {
    let Ok(node) = facts.node() else { return Finding::not_asked() };
    let kind = text(node, "store");
    if flag(node, "stale") {
        let Some(ms) = field(node, "staleMs").as_u64() else {
            return Finding::warn(format!("the {kind} store has begun a new epoch, which is being restored"))
                .hint("omnirelay mesh check --wait 30s    # registry-history says what was lost");
        };
        return Finding::fail(format!("the {kind} store has not answered for {ms}ms"))
            .hint("omnirelay mesh check --wait 30s    # answers are from memory until then, and changes are refused");
    }
    if let Some(trouble) = facts.trouble(STORE) {
        return Finding::fail(trouble)
            .hint("omnirelay doctor    # on that host: the way from there to the store");
    }
    match kind {
        "memory" => Finding::warn("the store is memory only: everything is lost when the daemon stops")
            .hint("omnirelay up --store embedded: --data DIR"),
        "" => Finding::unknown("the daemon did not name its store"),
        kind => Finding::pass(format!("the {kind} store answers")),
    }
}

fn settings(facts: &Facts) -> Finding {
    Finding::of_item(facts, SETTINGS, "the store has no advice", UNSAID)
        .next("omnirelay explain registry-settings    # then set it so where the store is configured")
}

fn sentinels(facts: &Facts) -> Finding {
    Finding::of_item(facts, SENTINELS, "no Sentinels disagree on the master", UNSAID)
        .next("redis-cli -p 26379 sentinel ckquorum SERVICE    # on the host of the Sentinel that is alone with what it names")
}

fn replicas(facts: &Facts) -> Finding {
    Finding::of_item(facts, REPLICAS, "leaders have the replicas they need", UNSAID)
        .next("redis-cli info replication    # on the master: who follows it")
}

fn splits(facts: &Facts) -> Finding {
    Finding::of_item(facts, SPLITS, "no split of leadership was seen in the last day", UNSAID)
        .next("omnirelay mesh leaders history    # who led what, and with which fence")
}

/// What is missing is a fault until it is there or given up.
fn lost(facts: &Facts) -> Finding {
    match facts.trouble(LOST) {
        Some(told) => Finding::fail(told).hint(
            "omnirelay mesh peers list    # who lived then puts it back; what nobody knows: omnirelay mesh store give-up",
        ),
        None => Finding::of_item(facts, LOST, "nothing is missing of the epoch before", UNSAID),
    }
}

fn history(node: &Value, facts: &Facts) -> Finding {
    let said = items(node, "readiness").iter().find(|item| text(item, "name") == HISTORY);
    match said.map(|item| text(item, "message")) {
        // What was lost and restored is worth knowing for a day.
        Some(told) if !told.is_empty() && facts.trouble(HISTORY).is_none() => Finding::pass(told.to_owned()),
        _ => Finding::of_item(facts, HISTORY, "no new epoch of the registry in the last day", UNSAID)
            .next("omnirelay audit list    # what was ordered before; order it again"),
    }
}
