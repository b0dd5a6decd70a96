use std::time::Duration;

use omnirelay_wire::fault::Code;
use omnirelay_wire::reasons;
use serde_json::{Value, json};

use super::checks::{CHECKS, Finding, Verdict};
use super::facts::Facts;
use super::{CATEGORIES_PARSER, CheckArgs, judge};
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::error::CliError;
use crate::cli::frame::time;

fn node() -> Value {
    json!({
        "generatedAt": "2026-11-20T06:00:00Z", "localNodeId": "node-1", "stale": false,
        "version": env!("CARGO_PKG_VERSION"), "store": "embedded", "principal": "local",
        "scopes": ["mesh.read", "mesh.operate"], "ready": true,
        "readiness": [
            {"name": "store", "ok": true, "message": "", "required": true},
            {"name": "store-settings", "ok": true, "message": "", "required": false},
            {"name": "history", "ok": true, "message": "", "required": false},
            {"name": "leaders-replicas", "ok": true, "message": "", "required": false},
            {"name": "leaders-split", "ok": true, "message": "", "required": false},
        ],
        "clientVersionMin": "0.1.0", "letIn": "nobody",
    })
}

fn peer(id: &str, status: &str, cordoned: bool, version: &str) -> Value {
    json!({"nodeId": id, "status": status, "cordoned": cordoned, "metadata": {"meshVersion": version}})
}

fn facts() -> Facts {
    Facts {
        config: Ok(ContextFile::default()),
        node: Ok(node()),
        node_ms: 2,
        peers: Ok(
            json!({"peers": [peer("node-1", "alive", false, "0.1.0"), peer("node-2", "alive", true, "0.1.0")]}),
        ),
        peers_ms: 3,
        now_ms: time::millis(&json!("2026-11-20T06:00:00.010Z")),
        address: "http://127.0.0.1:1".into(),
    }
}

fn found(id: &str, facts: &Facts) -> Finding {
    let check = CHECKS.iter().find(|check| check.id == id).unwrap();
    (check.judge)(facts)
}

fn with_node(change: impl FnOnce(&mut Value)) -> Facts {
    let mut node = node();
    change(&mut node);
    Facts { node: Ok(node), ..facts() }
}

/// An item of readiness that is not fine.
fn with_trouble(place: usize, message: &str) -> Facts {
    with_node(|node| {
        node["readiness"][place]["ok"] = json!(false);
        node["readiness"][place]["message"] = json!(message);
    })
}

fn with_peers(peers: Value) -> Facts {
    Facts { peers: Ok(json!({ "peers": peers })), ..facts() }
}

fn refused(code: Code) -> Facts {
    let error = CliError::new(reasons::INTERNAL, "the daemon said no").with_code(code).cause("because");
    Facts { node: Err(error.clone()), peers: Err(error), ..facts() }
}

/// A check, facts in which it does not pass, what it says then, and what its text names.
type Case = (&'static str, Facts, Verdict, &'static str);

fn bad_cases() -> Vec<Case> {
    let mut cases = bad_cases_of_the_client();
    cases.extend(bad_cases_of_the_mesh());
    cases
}

fn bad_cases_of_the_client() -> Vec<Case> {
    let mut loose = ContextFile::default();
    loose.mode = Some(0o644);
    let mut stray = ContextFile::default();
    stray.mode = Some(0o600);
    stray.unknown_keys = vec!["colour".into()];
    let invalid = CliError::new(reasons::CONFIG_INVALID, "c.yaml is wrong");
    vec![
        ("client-config", Facts { config: Ok(loose), ..facts() }, Verdict::Warn, "0644"),
        ("client-config", Facts { config: Ok(stray), ..facts() }, Verdict::Warn, "colour"),
        ("client-config", Facts { config: Err(invalid), ..facts() }, Verdict::Fail, "c.yaml"),
        ("client-clock", Facts { now_ms: Some(0), ..facts() }, Verdict::Fail, "apart"),
        (
            "client-clock",
            Facts { now_ms: time::millis(&json!("2026-11-20T06:00:00.250Z")), ..facts() },
            Verdict::Warn,
            "250ms",
        ),
        ("control-api-reachable", refused(Code::Unavailable), Verdict::Fail, "because"),
        ("control-api-access", refused(Code::Unauthenticated), Verdict::Fail, "said no"),
        ("control-api-access", refused(Code::PermissionDenied), Verdict::Fail, "said no"),
        ("control-api-access", with_node(|node| node["scopes"] = json!([])), Verdict::Fail, "cannot read"),
        ("control-api-proof", with_node(|node| node["letIn"] = json!("anyone")), Verdict::Warn, "--insecure"),
    ]
}

fn bad_cases_of_the_mesh() -> Vec<Case> {
    vec![
        (
            "control-api-ready",
            with_node(|node| {
                node["ready"] = json!(false);
                node["readiness"][0]["ok"] = json!(false);
            }),
            Verdict::Fail,
            "store",
        ),
        (
            "registry-store",
            with_node(|node| {
                node["stale"] = json!(true);
                node["staleMs"] = json!(1200);
            }),
            Verdict::Fail,
            "1200ms",
        ),
        ("registry-store", with_node(|node| node["store"] = json!("memory")), Verdict::Warn, "lost"),
        ("registry-store", with_node(|node| node["stale"] = json!(true)), Verdict::Warn, "is being restored"),
        ("registry-settings", with_trouble(1, "set appendonly yes"), Verdict::Warn, "appendonly"),
        ("registry-history", with_trouble(2, "3 records were lost"), Verdict::Warn, "3 records"),
        ("registry-replicas", with_trouble(3, "0 have what was granted"), Verdict::Warn, "0 have"),
        ("registry-splits", with_trouble(4, "`x` is held by a"), Verdict::Warn, "held by a"),
        ("membership-known", with_peers(json!([])), Verdict::Fail, "no peer"),
        (
            "membership-known",
            with_peers(json!([peer("node-1", "dead", false, "0.1.0")])),
            Verdict::Fail,
            "dead",
        ),
        (
            "membership-suspect",
            with_peers(json!([peer("node-9", "suspect", false, "0.1.0")])),
            Verdict::Warn,
            "node-9",
        ),
        (
            "membership-dead",
            with_peers(json!([peer("node-9", "dead", false, "0.1.0")])),
            Verdict::Fail,
            "node-9",
        ),
        (
            "membership-capacity",
            with_peers(json!([peer("a", "alive", true, "0.1.0")])),
            Verdict::Fail,
            "none of 1",
        ),
        (
            "versions-client",
            with_node(|node| node["clientVersionMin"] = json!("99.0.0")),
            Verdict::Fail,
            "99.0.0",
        ),
        ("versions-daemon", with_node(|node| node["version"] = json!("99.0.0")), Verdict::Warn, "99.0.0"),
        (
            "versions-peers",
            with_peers(json!([peer("a", "alive", false, "0.1.0"), peer("b", "alive", false, "0.3.0")])),
            Verdict::Warn,
            "0.3.0",
        ),
    ]
}

/// Facts in which the check cannot be made.
fn unknown_cases() -> Vec<(&'static str, Facts)> {
    let unreadable = CliError::new(reasons::CONFIG_UNREADABLE, "cannot read c.yaml");
    let mut cases = vec![
        ("client-config", Facts { config: Err(unreadable), ..facts() }),
        // No target, so there is nobody to reach.
        ("control-api-reachable", refused(Code::InvalidArgument)),
    ];
    let dependants = [
        "client-clock",
        "control-api-access",
        "control-api-proof",
        "control-api-ready",
        "registry-store",
        "registry-settings",
        "registry-history",
        "registry-replicas",
        "registry-splits",
        "membership-known",
        "membership-suspect",
        "membership-dead",
        "membership-capacity",
        "versions-client",
        "versions-daemon",
        "versions-peers",
    ];
    cases.extend(dependants.map(|id| (id, refused(Code::Unavailable))));
    cases
}

#[test]
fn everything_passes_on_a_fit_mesh() {
    for check in CHECKS {
        let finding = (check.judge)(&facts());
        assert_eq!(finding.verdict, Verdict::Pass, "{}: {}", check.id, finding.text);
    }
}

#[test]
fn each_check_fails_when_it_should() {
    for (id, facts, verdict, names) in bad_cases() {
        let finding = found(id, &facts);
        assert_eq!(finding.verdict, verdict, "{id}: {}", finding.text);
        assert!(finding.text.contains(names), "{id}: {}", finding.text);
    }
}

#[test]
fn each_check_is_unknown_when_it_cannot_be_made() {
    for (id, facts) in unknown_cases() {
        let finding = found(id, &facts);
        assert_eq!(finding.verdict, Verdict::Unknown, "{id}: {}", finding.text);
    }
}

#[test]
fn no_check_lacks_a_bad_and_an_unknown_case() {
    for check in CHECKS {
        assert!(
            bad_cases().iter().any(|(id, ..)| *id == check.id),
            "{} has no case in which it fails",
            check.id
        );
        assert!(unknown_cases().iter().any(|(id, _)| *id == check.id), "{} has no unknown case", check.id);
    }
}

#[test]
fn what_is_not_required_is_told_and_does_not_count() {
    let item = json!([{"name": "mesh", "ok": false, "message": "not enrolled", "required": false}]);
    let finding = found("control-api-ready", &with_node(|node| node["readiness"] = item));
    assert_eq!(finding.verdict, Verdict::Pass);
    assert!(finding.text.contains("not enrolled"), "{}", finding.text);
}

#[test]
fn refusing_daemon_is_reachable() {
    assert_eq!(found("control-api-reachable", &refused(Code::Unauthenticated)).verdict, Verdict::Pass);
}

#[test]
fn categories_of_the_flag_are_those_of_the_checks() {
    assert_eq!(CATEGORIES_PARSER.as_slice(), super::CATEGORIES);
    for check in CHECKS {
        assert!(super::CATEGORIES.contains(&check.category), "{}", check.id);
    }
}

#[test]
fn skipped_and_unwanted_checks_do_not_count() {
    let args = CheckArgs {
        short: false,
        category: vec!["membership".into()],
        skip: vec!["membership-dead".into()],
        strict: false,
        wait: None,
    };
    let facts =
        with_peers(json!([peer("node-1", "alive", false, "0.1.0"), peer("b", "dead", false, "0.1.0")]));
    let report = judge(&args, &facts, Duration::ZERO);
    assert!(report.success());
    assert_eq!(report.counts(Verdict::Skip), 1);
    assert_eq!(report.rows.len(), 4);
    let without_skip = CheckArgs { skip: Vec::new(), ..args };
    assert!(!judge(&without_skip, &facts, Duration::ZERO).success());
}

#[test]
fn warnings_fail_only_when_strict() {
    let facts =
        with_peers(json!([peer("node-1", "alive", false, "0.1.0"), peer("b", "suspect", false, "0.1.0")]));
    for (strict, success) in [(false, true), (true, false)] {
        let args = CheckArgs { short: false, category: Vec::new(), skip: Vec::new(), strict, wait: None };
        assert_eq!(judge(&args, &facts, Duration::ZERO).success(), success, "strict: {strict}");
    }
}

#[test]
fn settings_and_history_are_said_once() {
    let said =
        [(1, "registry-settings"), (2, "registry-history"), (3, "registry-replicas"), (4, "registry-splits")];
    for (place, id) in said {
        let older = with_node(|node| node["readiness"] = json!([]));
        assert_eq!(found(id, &older).verdict, Verdict::Skip, "an older daemon");
        let ready = found("control-api-ready", &with_trouble(place, "set it"));
        assert_eq!(ready.text, "node-1 is ready");
    }
}

#[test]
fn who_comes_in_without_proof_is_told() {
    let cases = [
        ("nobody", Verdict::Pass, "nobody", false),
        ("host", Verdict::Pass, "every user of the daemon's host", true),
        ("anyone", Verdict::Warn, "whoever reaches", true),
        ("", Verdict::Skip, "does not say", false),
    ];
    for (word, verdict, text, hints) in cases {
        let finding = found("control-api-proof", &with_node(|node| node["letIn"] = json!(word)));
        assert_eq!((finding.verdict, finding.hint.is_some()), (verdict, hints), "{word}: {finding:?}");
        assert!(finding.text.contains(text), "{word}: {finding:?}");
    }
}
