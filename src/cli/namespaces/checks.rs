//! What `mesh check` asks of shards.

use serde_json::Value;

use super::LIST;
use crate::cli::check::facts::{Facts, NAMED_MAX, Question};
use crate::cli::check::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::client::{count, some_of};
use crate::cli::frame::document::{field, items, text};
use crate::core::shards::alarms::UNBALANCED;

/// All namespaces.
pub static NAMESPACES: Question = Question { rpc: &LIST, list: Some("namespaces") };

pub static CATEGORY: Category = Category {
    name: "shards",
    page: "runbooks/shards.md",
    checks: &[
        Check::new(
            "shards-owned",
            "every shard has an owner",
            "Nobody may own some shards: no node is left that the rules of their namespace allow. Work for them waits.",
            Judge::Answer(&NAMESPACES, owned),
        ),
        Check::new(
            "shards-rebalancing",
            "what is to be done with shards is done",
            "A plan has failed, waits for somebody, or is held up: by the brake, by a node that is in doubt, or because too \
             few nodes may own shards.",
            Judge::Answer(&NAMESPACES, rebalancing),
        ),
        Check::new(
            "shards-balance",
            "no node has much more than its share",
            "A node owns a quarter more shards than its share by weight, or has more to do than its thresholds allow.",
            Judge::Answer(&NAMESPACES, balanced),
        ),
        Check::new(
            "shards-holders",
            "every namespace names who may hold its shards",
            "Callers of the mesh have to prove who they are, and the policy of a namespace names no `holders`: whoever may connect \
             gets fence tokens of its shards, and reports what there is to do for nodes.",
            Judge::Answer(&NAMESPACES, held),
        ),
    ],
    items: &[],
};

fn owned(answer: &Value, _: &Facts) -> Finding {
    let without = named(answer, |namespace| {
        let unowned = number(namespace, "unowned");
        (unowned > 0).then(|| format!("{unowned} of {} of {}", number(namespace, "shards"), name(namespace)))
    });
    judged(answer, &without, "every shard has an owner", |some| {
        Finding::fail(format!("shards have no owner: {some}"))
    })
}

fn rebalancing(answer: &Value, _: &Facts) -> Finding {
    let words = |state: &'static str| {
        named(answer, |namespace| {
            (text(namespace, "state") == state)
                .then(|| format!("{} ({})", name(namespace), text(namespace, "stateReason")))
        })
    };
    let failed = words("failed");
    let waiting: Vec<_> = ["investigating", "rebalancePending"].into_iter().flat_map(words).collect();
    if failed.is_empty() {
        return judged(answer, &waiting, "nothing is held up", |some| {
            Finding::warn(format!("something waits: {some}"))
        });
    }
    judged(answer, &failed, "", |some| Finding::fail(format!("plans have failed: {some}")))
}

fn balanced(answer: &Value, _: &Facts) -> Finding {
    let uneven = named(answer, |namespace| {
        let (ratio, overloaded) =
            (field(namespace, "imbalance").as_f64().unwrap_or(0.0), number(namespace, "overloaded"));
        if overloaded > 0 {
            return Some(format!("{} ({} with too much to do)", name(namespace), count(overloaded, "node")));
        }
        (ratio > UNBALANCED).then(|| format!("{} ({ratio:.2} times a share)", name(namespace)))
    });
    judged(answer, &uneven, "no node has much more than its share", |some| {
        Finding::warn(format!("shards are unbalanced: {some}"))
    })
}

fn held(answer: &Value, facts: &Facts) -> Finding {
    let is_proven = facts.node().is_ok_and(|node| text(node, "letIn") == "nobody");
    if !is_proven {
        return Finding::skip("callers need not prove who they are");
    }
    let open = named(answer, |namespace| {
        let is_open = items(namespace, "spec.policy.holders").is_empty();
        is_open.then(|| name(namespace).to_owned())
    });
    let finding = judged(answer, &open, "each names who may hold its shards", |some| {
        Finding::warn(format!("whoever may connect may hold shards of {some}"))
    });
    match open.first() {
        Some((first, _)) => finding.hint(format!(
            "omnirelay mesh namespaces set {first} --holder service:NAME    # the identity of its workers"
        )),
        None => finding,
    }
}

/// What is said of those namespaces of which something is.
fn named(answer: &Value, of: impl Fn(&Value) -> Option<String>) -> Vec<(String, String)> {
    let all = items(answer, "namespaces").iter();
    all.filter_map(|namespace| Some((name(namespace).to_owned(), of(namespace)?))).collect()
}

fn judged(
    answer: &Value,
    found: &[(String, String)],
    fine: &str,
    bad: impl Fn(String) -> Finding,
) -> Finding {
    let [(first, _), ..] = found else {
        return match items(answer, "namespaces").len() as u64 {
            0 => Finding::skip("there is no namespace"),
            all => Finding::pass(format!("{}: {fine}", count(all, "namespace"))),
        };
    };
    let words: Vec<&str> = found.iter().map(|(_, words)| words.as_str()).collect();
    bad(some_of(&words, NAMED_MAX)).hint(format!("omnirelay mesh namespaces get {first}"))
}

fn name(namespace: &Value) -> &str {
    text(namespace, "namespace")
}

fn number(namespace: &Value, what: &str) -> u64 {
    field(namespace, what).as_u64().unwrap_or(0)
}
