//! Checks of versions: client, daemon and nodes can work together.

use serde_json::Value;

use super::facts::{Facts, NODE};
use super::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::document::{items, text};
use crate::cli::peers::checks::PEERS;

pub static CATEGORY: Category = Category {
    name: "versions",
    page: "guides/operations.md",
    checks: &[
        Check::new(
            "versions-client",
            "this client is new enough for the daemon",
            "The daemon no longer serves what this client may send.",
            Judge::Answer(&NODE, client),
        ),
        Check::new(
            "versions-daemon",
            "client and daemon are at most one minor version apart",
            "What one of them can do, the other may not know. Nothing breaks, but something may be missing.",
            Judge::Answer(&NODE, daemon),
        ),
        Check::new(
            "versions-peers",
            "live peers are at most one minor version apart",
            "An upgrade was left half done: daemons work together across one minor version, not more.",
            Judge::Answer(&PEERS, peers),
        ),
    ],
    items: &[],
};

/// This client's own version.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

fn client(node: &Value, _: &Facts) -> Finding {
    let least = text(node, "clientVersionMin");
    match (version(CLIENT), version(least)) {
        (Some(ours), Some(least_parsed)) if ours < least_parsed => {
            Finding::fail(format!("this client is {CLIENT}, the daemon serves {least} and later"))
                .hint(format!("install omnirelay {} on this machine", text(node, "version")))
        }
        (Some(_), Some(_)) => Finding::pass(format!("client {CLIENT}, needed {least}")),
        _ => Finding::unknown(format!("the daemon names no version it serves (`{least}`)")),
    }
}

fn daemon(node: &Value, _: &Facts) -> Finding {
    let theirs = text(node, "version");
    match (version(CLIENT), version(theirs)) {
        (Some(ours), Some(parsed)) if apart(ours, parsed) => {
            Finding::warn(format!("client {CLIENT}, daemon {theirs}: more than one minor version apart"))
                .hint(format!("install omnirelay {theirs} on this machine"))
        }
        (Some(_), Some(_)) => Finding::pass(format!("client {CLIENT}, daemon {theirs}")),
        _ => Finding::unknown(format!("the daemon's version `{theirs}` cannot be compared")),
    }
}

fn peers(peers: &Value, _: &Facts) -> Finding {
    let alive = items(peers, "peers").iter().filter(|peer| text(peer, "status") == "alive");
    let mut words: Vec<&str> = alive.map(|peer| text(peer, "metadata.meshVersion")).collect();
    words.sort_unstable();
    words.dedup();
    let Some(mut parsed) = words.iter().map(|word| version(word)).collect::<Option<Vec<_>>>() else {
        return Finding::unknown(format!("not all versions can be compared: {}", words.join(", ")));
    };
    parsed.sort_unstable();
    let text =
        format!("live peers run {}", if words.is_empty() { "nothing".into() } else { words.join(", ") });
    match (parsed.first(), parsed.last()) {
        (Some(&oldest), Some(&newest)) if apart(oldest, newest) => Finding::warn(text)
            .hint("omnirelay mesh peers list -o wide --sort-by version    # upgrade the oldest first"),
        _ => Finding::pass(text),
    }
}

/// Major, minor and patch; `None` when the text has another shape.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse);
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
        (Ok(major), Ok(minor), Ok(patch), None) => Some((major, minor, patch)),
        _ => None,
    }
}

fn apart(a: (u64, u64, u64), b: (u64, u64, u64)) -> bool {
    a.0 != b.0 || a.1.abs_diff(b.1) > 1
}
