//! Checks of the registry: its store answers, is set up as it should be, and has lost nothing.

use omnirelay_core::text::some_of;

use super::facts::{MeshFacts, NAMED_MAX};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

/// What readiness says of each of these is a check of its own.
const SETTINGS: &str = "store-settings";
const SENTINELS: &str = "store-sentinels";
const HISTORY: &str = "history";
const REPLICAS: &str = "leaders-replicas";
const SPLITS: &str = "leaders-split";
const STORE: &str = "store";
const ROOM: &str = "store-room";
const LOST: &str = "lost-records";
const UNSAID: &str = "the daemon does not say";

pub(super) static CATEGORY: FindingCategory = FindingCategory {
    name: "registry",
    page: "runbooks/store.md",
    checks: &[
        CheckDefinition::new(
            "registry-store",
            "the store answers and keeps what it is given",
            "Reads and watches go on from memory, changes are refused, and nobody is judged gone until the store \
             answers again. With memory only, everything is lost when the daemon stops.",
            CheckJudge::Nodes(store),
        ),
        CheckDefinition::new(
            "registry-room",
            "the store has room",
            "The store is full and has refused a change: reads, watches, sessions and leaders go on, and nothing is changed. Once \
             there is room, daemons find that out by themselves within seconds.",
            CheckJudge::Nodes(room),
        ),
        CheckDefinition::new(
            "registry-settings",
            "the store is set up as it should be",
            "The store runs, and with its settings may lose what it has acknowledged, or fill up.",
            CheckJudge::Nodes(settings),
        ),
        CheckDefinition::new(
            "registry-sentinels",
            "the Sentinels agree on the master",
            "One that is cut off, or was set up otherwise, names another master than the rest. The greatest epoch, or \
             the most, is believed; whoever hears that one alone writes to a server that was replaced.",
            CheckJudge::Nodes(sentinels),
        ),
        CheckDefinition::new(
            "registry-lost",
            "what the registry has lost is there again",
            "The store came back with less than it had. Each node puts back what is its own, and whoever knew most of the epoch \
             before the rest, within seconds; until then nobody else writes in its place, so that new namespaces, \
             certificates, bindings and registers of those names are refused.",
            CheckJudge::Nodes(lost),
        ),
        CheckDefinition::new(
            "registry-history",
            "the registry has lost nothing in the last day",
            "The store came back with less than it had: a flush, an older copy, a fail-over to a replica that lagged.",
            CheckJudge::Nodes(history),
        ),
        CheckDefinition::new(
            "registry-replicas",
            "as many replicas have a lease as leaders need",
            "A lease counts only once the configured number of replicas has it, and fewer have: nobody leads until \
             more follow the master.",
            CheckJudge::Nodes(replicas),
        ),
        CheckDefinition::new(
            "registry-splits",
            "no scope was led twice at once in the last day",
            "The network or the store was split, and two nodes were told that they lead one scope. Fences still \
             tell them apart.",
            CheckJudge::Nodes(splits),
        ),
    ],
    items: &[STORE, ROOM, SETTINGS, SENTINELS, LOST, HISTORY, REPLICAS, SPLITS],
};

/// The nodes whose store has not answered for a while, each with how long in milliseconds.
fn silent(facts: &MeshFacts) -> Vec<(&str, u32)> {
    facts.told().filter_map(|(id, node)| Some((id, node.stale_ms.filter(|_| node.stale)?))).collect()
}

fn store(facts: &MeshFacts) -> CheckResult {
    let Some(own) = facts.own() else { return CheckResult::unknown(UNSAID) };
    let silent = silent(facts);
    let by = || silent.iter().map(|(id, _)| *id);
    if let Some(longest) = silent.iter().map(|(_, ms)| ms).max() {
        let all = if silent.len() == facts.told().count() {
            String::new()
        } else {
            format!(" for {}", some_of(&by().collect::<Vec<_>>(), NAMED_MAX))
        };
        let why = facts.told().find(|(_, node)| node.stale && !node.store_trouble.is_empty());
        let told = why.map(|(id, node)| format!("; {id}: {}", node.store_trouble)).unwrap_or_default();
        let hint = match ["WRONGPASS", "NOAUTH"].iter().any(|word| told.contains(word)) {
            true => {
                "systemctl restart omnirelayd    # on that host, once store.passwordFile and the user of store.url are right there"
            }
            false => {
                "omnirelay mesh check --wait 30s    # answers are from memory until then, and changes are refused"
            }
        };
        return CheckResult::fail(format!(
            "the {} store has not answered for {longest}ms{all}{told}",
            own.store
        ))
        .hint(hint)
        .seen_by(by())
        .about(by());
    }
    let restoring = facts.told().filter(|(_, node)| node.stale).map(|(id, _)| id).collect::<Vec<_>>();
    if !restoring.is_empty() {
        return CheckResult::warn(format!(
            "the {} store has begun a new epoch, which is being restored",
            own.store
        ))
        .hint("omnirelay mesh check --wait 30s    # registry-history says what was lost")
        .seen_by(restoring);
    }
    if let Some((trouble, by)) = facts.trouble(STORE) {
        return CheckResult::fail(trouble)
            .hint("omnirelay doctor    # on that host: the way from there to the store")
            .seen_by(by);
    }
    let by = facts.told().map(|(id, _)| id).collect::<Vec<_>>();
    match own.store.as_str() {
        "memory" => CheckResult::warn("the store is memory only: everything is lost when the daemon stops")
            .hint("omnirelay up --store embedded: --data DIR"),
        "" => CheckResult::unknown("the daemon did not name its store"),
        kind => {
            CheckResult::pass(format!("the {kind} store answers{}", facts.coverage(by.len()))).seen_by(by)
        }
    }
}

fn room(facts: &MeshFacts) -> CheckResult {
    let finding = CheckResult::of_item(
        facts,
        ROOM,
        CheckVerdict::Fail,
        "no change was refused for want of room",
        UNSAID,
    );
    let is_embedded = facts.own().is_some_and(|own| own.store == "embedded");
    finding.about_themselves().next(match is_embedded {
        true => "df -h    # of the data directory, on that host: make room there",
        false => "redis-cli info memory    # then raise maxmemory, or have fewer keys beside the registry",
    })
}

fn settings(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, SETTINGS, CheckVerdict::Warn, "the store has no advice", UNSAID)
        .next("omnirelay explain registry-settings    # then set it so where the store is configured")
}

fn sentinels(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, SENTINELS, CheckVerdict::Warn, "no Sentinels disagree on the master", UNSAID)
        .next("redis-cli -p 26379 sentinel ckquorum SERVICE    # on the host of the Sentinel that is alone with what it names")
}

fn replicas(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, REPLICAS, CheckVerdict::Warn, "leaders have the replicas they need", UNSAID)
        .next("redis-cli info replication    # on the master: who follows it")
}

fn splits(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        SPLITS,
        CheckVerdict::Warn,
        "no split of leadership was seen in the last day",
        UNSAID,
    )
    .next("omnirelay mesh leaders history    # who led what, and with which fence")
}

/// What is missing is a fault until it is there or given up.
fn lost(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(facts, LOST, CheckVerdict::Fail, "nothing is missing of the epoch before", UNSAID).next(
        "omnirelay mesh peers list    # who lived then puts it back; what nobody knows: omnirelay mesh store give-up",
    )
}

fn history(facts: &MeshFacts) -> CheckResult {
    let told = facts.own().and_then(|own| own.readiness.iter().find(|item| item.name == HISTORY));
    match told {
        // What was lost and restored is worth knowing for a day.
        Some(item) if item.ok && !item.message.is_empty() && facts.trouble(HISTORY).is_none() => {
            CheckResult::pass(item.message.clone()).seen_by(facts.nodes.first().map(|own| own.id.as_str()))
        }
        _ => CheckResult::of_item(
            facts,
            HISTORY,
            CheckVerdict::Warn,
            "no new epoch of the registry in the last day",
            UNSAID,
        )
        .next("omnirelay audit list    # what was ordered before; order it again"),
    }
}
