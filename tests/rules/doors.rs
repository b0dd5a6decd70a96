//! There are two doors to the registry: what a daemon writes goes through `act` or `mutate`, and its groups are opened,
//! renewed and ended by the registry.

use anyhow::Result;

use crate::repository::{File, Finding, expect_findings, program, refuse};
use crate::rooms::CAPABILITIES;
use crate::tokens::code;

/// Where daemons are made.
const ROOMS: [&str; 10] = [
    "src/daemon/",
    CAPABILITIES,
    "crates/certificate_records/",
    "crates/cluster_records/",
    "crates/gossip/",
    "crates/leadership_records/",
    "crates/node/",
    "crates/nouns/",
    "crates/peer_records/",
    REGISTRY,
];
const REGISTRY: &str = "crates/registry/";
/// Where a commit is put together.
const DOOR: &str = "crates/registry/src/act.rs";
/// What the registry alone asks of the store.
const SESSIONS: [&str; 4] = ["commit", "open_group", "close_group", "pulse"];

fn side_doors(file: &File) -> Vec<Finding> {
    let tokens = code(file);
    if !ROOMS.iter().any(|room| file.is_below(room)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let is_type = at > 0 && (tokens[at - 1].is_symbol(">") || tokens[at - 1].is_word("struct"));
        if pair[0].is_word("Commit") && pair[1].is_symbol("{") && !is_type && file.path != DOOR {
            found.push(file.finding(pair[0].line, "a commit is put together by `Registry::act` alone"));
        }
    }
    for call in tokens.windows(5) {
        let of_store = call[0].is_word("store") && call[1].is_symbol("(") && call[2].is_symbol(")");
        let asks = SESSIONS.iter().any(|asks| call[4].is_word(asks));
        if of_store && call[3].is_symbol(".") && asks && !file.is_below(REGISTRY) {
            let what = format!(
                "`store().{}` is for the registry: see `crates/registry/src/session.rs`",
                call[4].text
            );
            found.push(file.finding(call[4].line, what));
        }
    }
    found
}

#[test]
fn the_daemon_writes_through_its_doors() -> Result<()> {
    let found: Vec<Finding> = program()?.iter().flat_map(side_doors).collect();
    refuse(&found);
    Ok(())
}

#[test]
fn a_side_door_is_found() {
    let path = "crates/peer_records/src/presence.rs";
    expect_findings(
        side_doors,
        &[
            ("a commit by hand", path, "fn f() { let c = Commit { epoch, ..Commit::default() }; }", 1),
            ("one that is given back", path, "fn f() -> Commit { g() }", 0),
            ("at the door", DOOR, "fn f() { Commit { epoch } }", 0),
            ("in a test", path, "#[cfg(test)] mod tests { fn f() { g(Commit { epoch }); } }", 0),
            ("a group", path, "fn f() { self.registry.store().open_group(open); }", 1),
            ("a pulse", path, "fn f() { registry.store().pulse(Pulse::default()); }", 1),
            ("by the registry", "crates/registry/src/session.rs", "fn f() { self.store().pulse(p); }", 0),
            ("a reading", path, "fn f() { registry.store().scan(scan); }", 0),
            ("a service's own", "tests/leadership/simulation/server.rs", "fn f() { Commit { epoch } }", 0),
        ],
    );
}
