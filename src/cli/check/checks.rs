//! The checks: each judges the facts, and says so when they do not suffice.

use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use serde_json::Value;

use super::facts::Facts;
use crate::cli::frame::client::count;
use crate::cli::frame::document::{field, flag, items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::time;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
    Skip,
    /// It could not be asked; that is no failure of what was to be checked.
    Unknown,
}

impl Verdict {
    /// As in `result`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Unknown => "unknown",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub text: String,
    pub hint: Option<String>,
}

/// One check. Its id is stable: scripts name it in `--skip`.
pub struct Check {
    pub id: &'static str,
    pub category: &'static str,
    pub description: &'static str,
    pub judge: fn(&Facts) -> Finding,
}

/// Every category, in the order of the report.
pub static CATEGORIES: &[&str] = &["client", "control-api", "registry", "membership", "versions"];

/// Every check, in the order of the report.
pub static CHECKS: &[Check] = &[
    check("client-config", "client", "the configuration file is valid and private", config),
    check("client-clock", "client", "this machine's clock agrees with the daemon's", clock),
    check("control-api-reachable", "control-api", "the daemon answers", reachable),
    check("control-api-access", "control-api", "the caller is known and may read", access),
    check("control-api-proof", "control-api", "it is known who comes in without proof", let_in),
    check("control-api-ready", "control-api", "the daemon is ready to serve", ready),
    check("registry-store", "registry", "the store answers and keeps what it is given", store),
    check("registry-settings", "registry", "the store is set up as it should be", settings),
    check("registry-history", "registry", "the registry has lost nothing in the last day", history),
    check("registry-replicas", "registry", "as many replicas have a lease as leaders need", replicas),
    check("registry-splits", "registry", "no scope was led twice at once in the last day", splits),
    check("membership-known", "membership", "the daemon that answers is a live peer", known),
    check("membership-suspect", "membership", "no peer is suspect", suspect),
    check("membership-dead", "membership", "no peer is dead", dead),
    check("membership-capacity", "membership", "a live peer takes new work", capacity),
    check("versions-client", "versions", "this client is new enough for the daemon", client_version),
    check(
        "versions-daemon",
        "versions",
        "client and daemon are at most one minor version apart",
        daemon_version,
    ),
    check("versions-peers", "versions", "live peers are at most one minor version apart", peer_versions),
];

const fn check(
    id: &'static str,
    category: &'static str,
    description: &'static str,
    judge: fn(&Facts) -> Finding,
) -> Check {
    Check { id, category, description, judge }
}

fn finding(verdict: Verdict, text: impl Into<String>) -> Finding {
    Finding { verdict, text: text.into(), hint: None }
}

impl Finding {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The report tells once, where it belongs, why nobody could be asked.
fn unknown(_: &CliError) -> Finding {
    finding(Verdict::Unknown, "could not be asked")
}

/// Judges the answer about the daemon; unknown without one.
fn of_node(facts: &Facts, judge: impl FnOnce(&Value) -> Finding) -> Finding {
    facts.node.as_ref().map_or_else(unknown, judge)
}

/// Judges the peers; unknown without a list of them.
fn of_peers(facts: &Facts, judge: impl FnOnce(&[Value]) -> Finding) -> Finding {
    facts.peers.as_ref().map_or_else(unknown, |document| judge(items(document, "peers")))
}

fn config(facts: &Facts) -> Finding {
    let file = match &facts.config {
        Ok(file) => file,
        Err(error) if error.is(reasons::CONFIG_UNREADABLE) => {
            return finding(Verdict::Unknown, error.body().message.clone());
        }
        Err(error) => {
            let cause = error.body().cause.clone().unwrap_or_default();
            return finding(Verdict::Fail, format!("{}: {cause}", error.body().message));
        }
    };
    let path = file.path.display();
    match file.mode {
        None => finding(Verdict::Pass, "there is no configuration file; what is built in applies"),
        Some(mode) if file.is_loose() => {
            finding(Verdict::Warn, format!("{path} can be read by others ({mode:04o})"))
                .hint(format!("chmod 600 {path}"))
        }
        Some(_) if !file.unknown_keys.is_empty() => {
            finding(Verdict::Warn, format!("{path} has unknown keys: {}", file.unknown_keys.join(", ")))
        }
        Some(mode) => finding(Verdict::Pass, format!("{path} is valid and private ({mode:04o})")),
    }
}

fn clock(facts: &Facts) -> Finding {
    const WARN_MS: i64 = 250;
    const FAIL_MS: i64 = 5_000;
    of_node(facts, |node| {
        let (Some(theirs), Some(ours)) = (time::millis(field(node, "generatedAt")), facts.now_ms) else {
            return finding(Verdict::Unknown, "the daemon did not say what time it is");
        };
        let skew = (ours - theirs).abs();
        let verdict = match skew {
            FAIL_MS.. => Verdict::Fail,
            WARN_MS.. => Verdict::Warn,
            _ => return finding(Verdict::Pass, format!("clocks are {skew}ms apart")),
        };
        finding(verdict, format!("clocks are {skew}ms apart (limit {WARN_MS}ms)"))
            .hint("synchronise the clocks, for example with chrony")
    })
}

fn reachable(facts: &Facts) -> Finding {
    let (address, ms) = (&facts.address, facts.node_ms);
    match &facts.node {
        Ok(_) => finding(Verdict::Pass, format!("{address} answered in {ms}ms")),
        // Whoever refuses a caller has answered.
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            finding(Verdict::Pass, format!("{address} answered in {ms}ms"))
        }
        Err(error) if error.exit() == Exit::Usage => unknown(error),
        Err(error) => {
            let cause = error.body().cause.clone().unwrap_or_default().replace('\n', "; ");
            let found = finding(Verdict::Fail, format!("{}: {cause}", error.body().message));
            match error.body().hints.first() {
                Some(hint) => found.hint(hint.clone()),
                None => found,
            }
        }
    }
}

fn access(facts: &Facts) -> Finding {
    match &facts.node {
        Ok(node) => {
            let scopes: Vec<&str> = items(node, "scopes").iter().filter_map(Value::as_str).collect();
            let who = format!("{} with {}", text(node, "principal"), scopes.join(", "));
            if scopes.contains(&"mesh.read") {
                finding(Verdict::Pass, format!("known as {who}"))
            } else {
                finding(Verdict::Fail, format!("known as {who}, which cannot read"))
            }
        }
        Err(error) if matches!(error.exit(), Exit::Denied | Exit::Unauthenticated) => {
            finding(Verdict::Fail, error.body().message.clone())
        }
        Err(error) => unknown(error),
    }
}

/// Open to the host is what a daemon begins with, so that it is told and no fault.
fn let_in(facts: &Facts) -> Finding {
    of_node(facts, |node| match text(node, "letIn") {
        "nobody" => finding(Verdict::Pass, "nobody comes in without proof"),
        "host" => {
            finding(Verdict::Pass, "every user of the daemon's host comes in without proof, with every scope")
                .hint("where they should not: --set security.loopback=proof for omnirelayd")
        }
        "anyone" => finding(Verdict::Warn, "whoever reaches the control port may do anything (--insecure)")
            .hint("start omnirelayd without --insecure, at 127.0.0.1"),
        _ => finding(Verdict::Skip, "the daemon does not say"),
    })
}

/// What readiness says of these is a finding of its own.
const ITEMS_WITH_A_CHECK: [&str; 4] = ["store-settings", "history", "leaders-replicas", "leaders-split"];

fn ready(facts: &Facts) -> Finding {
    of_node(facts, |node| {
        let open: Vec<String> = items(node, "readiness")
            .iter()
            .filter(|item| !flag(item, "ok") && !ITEMS_WITH_A_CHECK.contains(&text(item, "name")))
            .map(|item| format!("{}: {}", text(item, "name"), text(item, "message")))
            .collect();
        match (flag(node, "ready"), open.is_empty()) {
            (true, true) => finding(Verdict::Pass, format!("{} is ready", text(node, "localNodeId"))),
            // What is not required does not keep it from serving.
            (true, false) => finding(
                Verdict::Pass,
                format!("{} is ready ({})", text(node, "localNodeId"), open.join("; ")),
            ),
            (false, _) => finding(Verdict::Fail, format!("not ready: {}", open.join("; "))),
        }
    })
}

fn store(facts: &Facts) -> Finding {
    of_node(facts, |node| {
        let kind = text(node, "store");
        if flag(node, "stale") {
            let Some(ms) = field(node, "staleMs").as_u64() else {
                return finding(
                    Verdict::Warn,
                    format!("the {kind} store has begun a new epoch, which is being restored"),
                )
                .hint("check again in 10 seconds; registry-history says what was lost");
            };
            return finding(Verdict::Fail, format!("the {kind} store has not answered for {ms}ms"))
                .hint("answers are from memory until it does; changes are refused");
        }
        match kind {
            "memory" => {
                finding(Verdict::Warn, "the store is memory only: everything is lost when the daemon stops")
            }
            "" => finding(Verdict::Unknown, "the daemon did not name its store"),
            kind => finding(Verdict::Pass, format!("the {kind} store answers")),
        }
    })
}

fn settings(facts: &Facts) -> Finding {
    of_item(facts, "store-settings", "the store has no advice")
}

fn history(facts: &Facts) -> Finding {
    of_item(facts, "history", "no new epoch of the registry in the last day")
}

fn replicas(facts: &Facts) -> Finding {
    of_item(facts, "leaders-replicas", "leaders have the replicas they need")
}

fn splits(facts: &Facts) -> Finding {
    of_item(facts, "leaders-split", "no split of leadership was seen in the last day")
}

/// Judges what readiness says of one item; a daemon that does not know it is older than this check.
fn of_item(facts: &Facts, name: &str, fine: &str) -> Finding {
    of_node(facts, |node| match items(node, "readiness").iter().find(|item| text(item, "name") == name) {
        None => finding(Verdict::Skip, "the daemon does not say"),
        Some(item) if !flag(item, "ok") => finding(Verdict::Warn, text(item, "message").to_owned()),
        Some(item) if text(item, "message").is_empty() => finding(Verdict::Pass, fine),
        Some(item) => finding(Verdict::Pass, text(item, "message").to_owned()),
    })
}

fn known(facts: &Facts) -> Finding {
    let local = facts.node.as_ref().map(|node| text(node, "localNodeId")).unwrap_or_default();
    of_peers(facts, |peers| match peers.iter().find(|peer| text(peer, "nodeId") == local) {
        Some(peer) if text(peer, "status") == "alive" => {
            finding(Verdict::Pass, format!("{} known, {local} among them", count(peers.len() as u64, "peer")))
        }
        Some(peer) => finding(Verdict::Fail, format!("{local} answers but is {}", text(peer, "status"))),
        None => finding(Verdict::Fail, format!("{local} answers but is no peer")),
    })
}

fn suspect(facts: &Facts) -> Finding {
    of_peers(facts, |peers| match with_status(peers, "suspect").as_slice() {
        [] => finding(Verdict::Pass, "no peer is suspect"),
        ids => finding(Verdict::Warn, format!("suspect: {}", ids.join(", ")))
            .hint(format!("omnirelay mesh peers status {}", ids.join(" "))),
    })
}

fn dead(facts: &Facts) -> Finding {
    of_peers(facts, |peers| match with_status(peers, "dead").as_slice() {
        [] => finding(Verdict::Pass, "no peer is dead"),
        ids => finding(Verdict::Fail, format!("dead: {}", ids.join(", ")))
            .hint(format!("start them again, or omnirelay mesh peers forget {}", ids.join(" "))),
    })
}

fn with_status<'a>(peers: &'a [Value], status: &str) -> Vec<&'a str> {
    let with = peers.iter().filter(|peer| text(peer, "status") == status);
    with.map(|peer| text(peer, "nodeId")).collect()
}

fn capacity(facts: &Facts) -> Finding {
    of_peers(facts, |peers| {
        let alive: Vec<&Value> = peers.iter().filter(|peer| text(peer, "status") == "alive").collect();
        let open = alive.iter().filter(|peer| !flag(peer, "cordoned")).count();
        match open {
            0 => finding(
                Verdict::Fail,
                format!("none of {} takes new work", count(alive.len() as u64, "live peer")),
            )
            .hint("omnirelay mesh peers uncordon ID"),
            open => finding(
                Verdict::Pass,
                format!("{open} of {} take new work", count(alive.len() as u64, "live peer")),
            ),
        }
    })
}

/// This client's own version.
const CLIENT: &str = env!("CARGO_PKG_VERSION");

fn client_version(facts: &Facts) -> Finding {
    of_node(facts, |node| {
        let least = text(node, "clientVersionMin");
        match (version(CLIENT), version(least)) {
            (Some(ours), Some(least_parsed)) if ours < least_parsed => finding(
                Verdict::Fail,
                format!("this client is {CLIENT}, the daemon serves {least} and later"),
            )
            .hint("install a newer omnirelay"),
            (Some(_), Some(_)) => finding(Verdict::Pass, format!("client {CLIENT}, needed {least}")),
            _ => finding(Verdict::Unknown, format!("the daemon names no version it serves (`{least}`)")),
        }
    })
}

fn daemon_version(facts: &Facts) -> Finding {
    of_node(facts, |node| {
        let theirs = text(node, "version");
        match (version(CLIENT), version(theirs)) {
            (Some(ours), Some(parsed)) if apart(ours, parsed) => finding(
                Verdict::Warn,
                format!("client {CLIENT}, daemon {theirs}: more than one minor version apart"),
            ),
            (Some(_), Some(_)) => finding(Verdict::Pass, format!("client {CLIENT}, daemon {theirs}")),
            _ => finding(Verdict::Unknown, format!("the daemon's version `{theirs}` cannot be compared")),
        }
    })
}

fn peer_versions(facts: &Facts) -> Finding {
    of_peers(facts, |peers| {
        let alive = peers.iter().filter(|peer| text(peer, "status") == "alive");
        let mut words: Vec<&str> = alive.map(|peer| text(peer, "metadata.meshVersion")).collect();
        words.sort_unstable();
        words.dedup();
        let Some(mut parsed) = words.iter().map(|word| version(word)).collect::<Option<Vec<_>>>() else {
            return finding(
                Verdict::Unknown,
                format!("not all versions can be compared: {}", words.join(", ")),
            );
        };
        parsed.sort_unstable();
        let text =
            format!("live peers run {}", if words.is_empty() { "nothing".into() } else { words.join(", ") });
        match (parsed.first(), parsed.last()) {
            (Some(&oldest), Some(&newest)) if apart(oldest, newest) => {
                finding(Verdict::Warn, text).hint("bring the oldest up to date before the next upgrade")
            }
            _ => finding(Verdict::Pass, text),
        }
    })
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
