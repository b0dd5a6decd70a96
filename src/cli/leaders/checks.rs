//! What `mesh check` asks of leadership.

use serde_json::Value;

use super::LIST;
use super::columns::times;
use crate::cli::check::facts::{Facts, Question};
use crate::cli::check::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::client::count;
use crate::cli::frame::document::{flag, items, text};
use crate::cli::peers::checks::PEERS;

/// All scopes.
pub static SCOPES: Question = Question { rpc: &LIST, list: Some("scopes") };

pub static CATEGORY: Category = Category {
    name: "leadership",
    page: "runbooks/leadership.md",
    checks: &[
        Check::new(
            "leadership-led",
            "every scope has a leader",
            "Nobody holds the lease of a scope, so what only its leader may do is not done. A hand-over takes about \
             two seconds after a crash and none when it is asked for.",
            Judge::Answer(&SCOPES, led),
        ),
        Check::new(
            "leadership-incumbents",
            "every leader is a live peer",
            "The lease of a scope is held by a node that is not alive; it runs out within seconds.",
            Judge::Answer(&SCOPES, incumbents),
        ),
        Check::new(
            "leadership-drained",
            "no node that drains leads",
            "A node was told to hand over what it leads, and nobody can take it: none is allowed to, or none lives.",
            Judge::Answer(&SCOPES, drained),
        ),
        Check::new(
            "leadership-stable",
            "no scope loses its leader often",
            "Leases of a scope ran out several times within an hour: nodes that come and go, or a store that is slow. \
             What was handed over does not count.",
            Judge::Answer(&SCOPES, stable),
        ),
    ],
    items: &[],
};

/// So many leaders lost within an hour are told.
const FLAPS_WARN: u64 = 3;

fn led(scopes: &Value, _: &Facts) -> Finding {
    let scopes = items(scopes, "scopes");
    let without: Vec<&str> = scopes
        .iter()
        .filter(|scope| text(scope, "leaderId").is_empty())
        .map(|scope| text(scope, "scope"))
        .collect();
    match (without.as_slice(), scopes.len() as u64) {
        ([], 0) => Finding::skip("there is no scope"),
        ([], all) => Finding::pass(format!("{} led", count(all, "scope"))),
        ([one], _) => {
            Finding::fail(format!("nobody leads {one}")).hint(format!("omnirelay mesh leaders explain {one}"))
        }
        ([first, ..], all) => {
            Finding::fail(format!("nobody leads {first}, and {} of {all} scopes in all", without.len()))
                .hint(format!("omnirelay mesh leaders explain {first}"))
        }
    }
}

fn incumbents(scopes: &Value, facts: &Facts) -> Finding {
    let Ok(peers) = facts.of(&PEERS) else { return Finding::not_asked() };
    let status = |id: &str| {
        let found = items(peers, "peers").iter().find(|peer| text(peer, "nodeId") == id);
        found.map_or("unknown", |peer| text(peer, "status"))
    };
    let held = items(scopes, "scopes").iter().filter(|scope| !text(scope, "leaderId").is_empty());
    let gone = held.filter(|scope| status(text(scope, "leaderId")) != "alive");
    let gone: Vec<String> = gone
        .map(|scope| {
            let leader = text(scope, "leaderId");
            format!("{} is led by {leader}, which is {}", text(scope, "scope"), status(leader))
        })
        .collect();
    match gone.as_slice() {
        [] => Finding::pass("every leader is a live peer"),
        gone => Finding::warn(gone.join("; "))
            .hint("omnirelay mesh check --wait 10s    # leases run out by themselves"),
    }
}

fn drained(scopes: &Value, facts: &Facts) -> Finding {
    let Ok(peers) = facts.of(&PEERS) else { return Finding::not_asked() };
    let drains = |id: &str| {
        items(peers, "peers").iter().any(|peer| text(peer, "nodeId") == id && flag(peer, "draining"))
    };
    match items(scopes, "scopes").iter().find(|scope| drains(text(scope, "leaderId"))) {
        None => Finding::pass("no node that drains leads"),
        Some(scope) => {
            let (name, leader) = (text(scope, "scope"), text(scope, "leaderId"));
            Finding::warn(format!("{leader} drains, and still leads {name}"))
                .hint(format!("omnirelay mesh leaders explain {name}"))
        }
    }
}

fn stable(scopes: &Value, _: &Facts) -> Finding {
    let scopes = items(scopes, "scopes");
    let Some(worst) = scopes.iter().max_by_key(|scope| times(scope)) else {
        return Finding::skip("there is no scope");
    };
    let (name, flaps) = (text(worst, "scope"), times(worst));
    if flaps >= FLAPS_WARN {
        return Finding::warn(format!("{name} lost its leader {flaps} times within an hour"))
            .hint(format!("omnirelay mesh leaders history {name}"));
    }
    Finding::pass(match flaps {
        0 => "no scope lost its leader within an hour".to_owned(),
        _ => format!("no scope lost its leader more than {} within an hour", count(flaps, "time")),
    })
}
