mod bad_cases;

use std::time::Duration;

use omnirelay_wire::fault::Code;
use omnirelay_wire::reasons;
use serde_json::{Value, json};

use super::facts::{Answer, NODE, NodeSaid};
use super::{Check, CheckArgs, Facts, Finding, Verdict, all, judge, questions};
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::error::CliError;
use crate::cli::frame::time;
use crate::cli::leaders::checks::SCOPES;
use crate::cli::namespaces::checks::NAMESPACES;
use crate::cli::peers::checks::PEERS;
use bad_cases::bad_cases;

fn node() -> Value {
    json!({
        "generatedAt": "2026-11-20T06:00:00Z", "localNodeId": "node-1", "stale": false,
        "version": env!("CARGO_PKG_VERSION"), "store": "embedded", "principal": "local",
        "scopes": ["mesh.read", "mesh.operate"], "ready": true,
        "readiness": [
            {"name": "store", "ok": true, "message": "", "required": true},
            {"name": "store-settings", "ok": true, "message": "", "required": false},
            {"name": "store-sentinels", "ok": true, "message": "", "required": false},
            {"name": "history", "ok": true, "message": "", "required": false},
            {"name": "lost-records", "ok": true, "message": "", "required": false},
            {"name": "leaders-replicas", "ok": true, "message": "", "required": false},
            {"name": "leaders-split", "ok": true, "message": "", "required": false},
            {"name": "audit", "ok": true, "message": "", "required": false},
            {"name": "audit-trail", "ok": true, "message": "", "required": false},
            {"name": "mesh", "ok": true, "message": "", "required": false},
            {"name": "identity", "ok": true, "message": "", "required": false},
            {"name": "store-credentials", "ok": true, "message": "", "required": false},
            {"name": "plaintext", "ok": true, "message": "", "required": false},
            {"name": "federation", "ok": true, "message": "", "required": false},
            {"name": "key-files", "ok": true, "message": "", "required": false},
            {"name": "without-identity", "ok": true, "message": "", "required": false},
            {"name": "signed-records", "ok": true, "message": "", "required": false},
            {"name": "unsigned-records", "ok": true, "message": "", "required": false},
            {"name": "issuers", "ok": true, "message": "", "required": false},
            {"name": "second-issuer", "ok": true, "message": "", "required": false},
            {"name": "transport-policy", "ok": true, "message": "", "required": false},
            {"name": "transport-policy-warnings", "ok": true, "message": "", "required": false},
            {"name": "registers", "ok": true, "message": "", "required": false},
            {"name": "federated-registers", "ok": true, "message": "", "required": false},
            {"name": "gossip", "ok": true, "message": "", "required": false},
            {"name": "sinks", "ok": true, "message": "", "required": false},
            {"name": "publication", "ok": true, "message": "", "required": false},
            {"name": "registry", "ok": true, "message": "", "required": false},
        ],
        "clientVersionMin": "0.1.0", "letIn": "nobody",
        "hostTime": "2026-11-20T06:00:00.005Z", "revocationsNumber": "3", "revocationsEnforcedNumber": "3",
        "meshPort": "open", "enrolment": "certified",
    })
}

fn peer(id: &str, status: &str, cordoned: bool, version: &str) -> Value {
    json!({
        "nodeId": id, "status": status, "cordoned": cordoned, "metadata": {"meshVersion": version},
        "health": {"state": status},
    })
}

/// One that gossip has so.
fn heard(id: &str, health: &str) -> Value {
    let mut peer = peer(id, "alive", false, "0.1.0");
    peer["health"] = json!({"state": health, "by": ["node-1"]});
    peer
}

/// One that is called at its mesh port.
fn meshed(id: &str, by: &str, downgrade: &str) -> Value {
    let mut peer = peer(id, "alive", false, "0.1.0");
    peer["metadata"]["endpoints"] = json!({"mesh": "10.0.0.2:17421"});
    (peer["rpcTransport"], peer["downgrade"]) = (json!(by), json!(downgrade));
    peer
}

fn scope(name: &str, leader: &str, flaps: u64) -> Value {
    json!({"scope": name, "leaderId": leader, "flapsLastHour": flaps})
}

/// A node that is another one, as it says of itself.
fn other() -> NodeSaid {
    let mut said = node();
    said["localNodeId"] = json!("node-2");
    NodeSaid { id: "node-2".into(), address: "127.0.0.1:2".into(), said: Ok(said) }
}

fn facts() -> Facts {
    let mut other_peer = meshed("node-2", "http3", "");
    other_peer["cordoned"] = json!(true);
    let peers = json!([peer("node-1", "alive", false, "0.1.0"), other_peer]);
    let answer = |said| Answer { said: Ok(said), took_ms: 2 };
    Facts {
        config: Ok(ContextFile::default()),
        address: "http://127.0.0.1:1".into(),
        is_loopback: true,
        now_ms: time::millis(&json!("2026-11-20T06:00:00.010Z")),
        answers: vec![
            (&NODE, answer(node())),
            (&PEERS, answer(json!({ "peers": peers }))),
            (&SCOPES, answer(json!({"scopes": [scope("global-control", "node-1", 0)]}))),
            (&NAMESPACES, answer(json!({"namespaces": [namespace("orders", &json!({}))]}))),
        ],
        others: vec![other()],
        not_asked: 0,
        nodes_ms: 3,
        claimed: super::CATEGORIES.iter().flat_map(|category| category.items).copied().collect(),
    }
}

/// One with which all is as it should be, but for this.
fn namespace(name: &str, but: &Value) -> Value {
    let mut namespace = json!({"namespace": name, "shards": 8, "state": "steady", "unowned": 0, "imbalance": 1.25,
               "spec": {"policy": {"holders": ["service:orders"]}}});
    for (field, value) in but.as_object().into_iter().flatten() {
        namespace[field] = value.clone();
    }
    namespace
}

fn check(id: &str) -> &'static Check {
    all().map(|(_, check)| check).find(|check| check.id == id).unwrap()
}

fn found(id: &str, facts: &Facts) -> Finding {
    check(id).judge(facts)
}

fn with_answer(place: usize, said: Value) -> Facts {
    let mut facts = facts();
    facts.answers[place].1.said = Ok(said);
    facts
}

fn with_node(change: impl FnOnce(&mut Value)) -> Facts {
    let mut node = node();
    change(&mut node);
    with_answer(0, node)
}

/// An item of readiness that is not fine.
fn with_trouble(name: &str, message: &str) -> Facts {
    with_node(|node| trouble(node, name, message))
}

fn trouble(node: &mut Value, name: &str, message: &str) {
    let items = node["readiness"].as_array_mut().unwrap();
    items.retain(|item| item["name"] != name);
    items.push(json!({"name": name, "ok": false, "message": message, "required": name == "view"}));
}

/// The other node says or is something else.
fn with_other(change: impl FnOnce(&mut NodeSaid)) -> Facts {
    let mut facts = facts();
    change(&mut facts.others[0]);
    facts
}

fn with_other_trouble(name: &str, message: &str) -> Facts {
    with_other(|other| trouble(other.said.as_mut().unwrap(), name, message))
}

fn with_peers(peers: Value) -> Facts {
    with_answer(1, json!({ "peers": peers }))
}

/// A mesh of one peer.
fn alone(id: &str, status: &str, cordoned: bool) -> Facts {
    with_peers(json!([peer(id, status, cordoned, "0.1.0")]))
}

fn with_scopes(scopes: Value) -> Facts {
    with_answer(2, json!({ "scopes": scopes }))
}

fn refused(code: Code) -> Facts {
    let error = CliError::new(reasons::INTERNAL, "the daemon said no").with_code(code).cause("because");
    let mut facts = facts();
    for (_, answer) in &mut facts.answers {
        answer.said = Err(error.clone());
    }
    facts.others.clear();
    facts
}

/// A check, facts in which it does not pass, what it says then, and what its text names.
type Case = (&'static str, Facts, Verdict, &'static str);

/// Facts in which the check cannot be made.
fn unknown_cases() -> Vec<(&'static str, Facts)> {
    let unreadable = CliError::new(reasons::CONFIG_UNREADABLE, "cannot read c.yaml");
    let mut cases = vec![
        ("client-config", Facts { config: Err(unreadable), ..facts() }),
        // No target, so there is nobody to reach.
        ("control-api-reachable", refused(Code::InvalidArgument)),
    ];
    let alone = ["client-config", "control-api-reachable"];
    let dependants = all().map(|(_, check)| check.id).filter(|id| !alone.contains(id));
    cases.extend(dependants.map(|id| (id, refused(Code::Unavailable))));
    cases
}

#[test]
fn everything_passes_on_a_fit_mesh() {
    for (_, check) in all() {
        let finding = check.judge(&facts());
        assert_eq!(finding.verdict, Verdict::Pass, "{}: {}", check.id, finding.text);
    }
}

#[test]
fn each_check_fails_when_it_should() {
    for (id, facts, verdict, names) in bad_cases() {
        let finding = found(id, &facts);
        assert_eq!(finding.verdict, verdict, "{id}: {}", finding.text);
        assert!(finding.text.contains(names), "{id}: {}", finding.text);
        assert!(finding.hint.is_some(), "{id} does not say what to do");
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
    for (_, check) in all() {
        assert!(
            bad_cases().iter().any(|(id, ..)| *id == check.id),
            "{} has no case in which it fails",
            check.id
        );
        assert!(unknown_cases().iter().any(|(id, _)| *id == check.id), "{} has no unknown case", check.id);
    }
}

#[test]
fn every_item_of_readiness_is_judged_once() {
    let mut claimed: Vec<&str> =
        super::CATEGORIES.iter().flat_map(|category| category.items).copied().collect();
    claimed.sort_unstable();
    let all = claimed.len();
    claimed.dedup();
    assert_eq!(claimed.len(), all);
    for item in claimed.iter().filter(|item| **item != "serving") {
        let told = all_bad(&with_other_trouble(item, "planted"));
        assert!(told.iter().any(|text| text.contains("planted")) || *item == "session", "{item}: {told:?}");
    }
}

fn all_bad(facts: &Facts) -> Vec<String> {
    all().map(|(_, check)| check.judge(facts)).filter(Finding::is_bad).map(|found| found.text).collect()
}

#[test]
fn a_node_that_cannot_be_asked_from_here_is_named() {
    let many = Facts { not_asked: 900, ..facts() };
    assert!(found("nodes-answer", &many).text.contains("900 more were not asked"));
    assert!(found("audit-sealed", &many).text.ends_with("(2 of 902 live nodes said so)"));
    let mut elsewhere = with_other(|other| {
        other.said = Err(CliError::new(reasons::CONNECTION_REFUSED, "away"));
    });
    elsewhere.is_loopback = false;
    let another = with_other(|other| other.said.as_mut().unwrap()["localNodeId"] = json!("node-7"));
    for facts in [elsewhere, another] {
        let finding = found("nodes-answer", &facts);
        assert_eq!(finding.verdict, Verdict::Skip);
        assert!(finding.text.contains("not to be asked from here: node-2"), "{}", finding.text);
        assert_eq!(found("nodes-ready", &facts).verdict, Verdict::Skip);
        assert!(found("audit-sealed", &facts).text.ends_with("(1 of 2 live nodes said so)"));
    }
}

#[test]
fn refusing_daemon_is_reachable() {
    assert_eq!(found("control-api-reachable", &refused(Code::Unauthenticated)).verdict, Verdict::Pass);
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
    assert_eq!(report.rows.len(), 6);
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

/// Nodes that say no more of themselves than this.
fn older(readiness: Value) -> Facts {
    let mut facts = with_node(|node| node["readiness"] = readiness);
    facts.others.clear();
    facts
}

#[test]
fn settings_and_history_are_said_once() {
    let said = [
        ("store-settings", "registry-settings"),
        ("store-sentinels", "registry-sentinels"),
        ("history", "registry-history"),
        ("lost-records", "registry-lost"),
        ("leaders-replicas", "registry-replicas"),
        ("leaders-split", "registry-splits"),
    ];
    for (name, id) in said {
        let older = older(json!([]));
        assert_eq!(found(id, &older).verdict, Verdict::Skip, "an older daemon");
        let ready = found("control-api-ready", &with_trouble(name, "set it"));
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

/// The page of the documents that says what each check means.

#[test]
fn the_command_names_every_method_that_is_asked() {
    for question in questions() {
        let named = super::LEAF.calls.iter().any(|rpc| rpc.method == question.rpc.method);
        assert!(named, "{}", question.rpc.method);
    }
}
