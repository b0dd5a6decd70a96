use std::time::Duration;

use omnirelay_decisions::check::all;
use omnirelay_decisions::check::finding::CheckVerdict;
use omnirelay_wire::fault::Code;

use super::report::CheckRow;
use super::{CheckArgs, CheckedFacts, judge, names, rows, wants_mesh};
use crate::check::checked_mesh::FactAnswer;
use crate::frame::context_file::ContextFile;
use crate::frame::prelude::*;

fn answer(said: Value) -> FactAnswer {
    let came_ms = time::millis(&json!("2026-11-20T06:00:00.010Z"));
    FactAnswer { said: Ok(said), took: Duration::from_millis(20), came_ms }
}

fn node() -> Value {
    json!({
        "generatedAt": "2026-11-20T06:00:00Z", "localNodeId": "node-1", "version": env!("CARGO_PKG_VERSION"),
        "principal": "local", "scopes": ["mesh.read", "mesh.operate"], "clientVersionMin": "0.1.0",
    })
}

/// What a daemon finds, all of it well but for the results of these checks.
fn report(but: &[(&str, &str)]) -> Value {
    let categories = omnirelay_decisions::check::CATEGORIES.iter().map(|category| {
        let checks = category.checks.iter().map(|check| {
            let result = but.iter().find(|(id, _)| *id == check.id).map_or("pass", |(_, result)| result);
            json!({
                "id": check.id, "description": check.description, "result": result, "message": "as found",
                "hint": "do this", "seenBy": ["node-2"],
            })
        });
        json!({"name": category.name, "checks": checks.collect::<Vec<_>>()})
    });
    let nodes = json!([{"nodeId": "node-1", "by": "itself"}, {"nodeId": "node-2", "trouble": "silent"}]);
    json!({"categories": categories.collect::<Vec<_>>(), "nodes": nodes})
}

fn facts(but: &[(&str, &str)]) -> CheckedFacts {
    CheckedFacts {
        config: Ok(ContextFile::default()),
        address: "http://127.0.0.1:1".into(),
        node: answer(node()),
        mesh: Some(answer(report(but))),
    }
}

fn args() -> CheckArgs {
    CheckArgs { short: false, category: Vec::new(), skip: Vec::new(), strict: false, wait: None }
}

fn with_node(change: impl FnOnce(&mut Value)) -> CheckedFacts {
    let mut facts = facts(&[]);
    change(facts.node.said.as_mut().unwrap());
    facts
}

fn refused(code: Code) -> CheckedFacts {
    let error = CliError::new(reasons::INTERNAL, "the daemon said no").with_code(code).cause("because");
    let refused = FactAnswer { said: Err(error), took: Duration::ZERO, came_ms: None };
    CheckedFacts { node: refused.clone(), mesh: Some(refused), ..facts(&[]) }
}

fn found(id: &str, facts: &CheckedFacts) -> CheckRow {
    rows(facts).into_iter().find(|row| row.id == id).unwrap()
}

#[test]
fn every_check_is_in_the_report_once_and_in_the_order_of_the_names() {
    let rows = rows(&facts(&[]));
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (&*row.category, &*row.id)).collect();
    assert_eq!(told, names().collect::<Vec<_>>());
    for row in rows {
        assert_eq!(row.finding.verdict, CheckVerdict::Pass, "{}: {}", row.id, row.finding.text);
    }
}

#[test]
fn what_the_command_line_judges_itself_fails_when_it_should() {
    let mut loose = ContextFile::default();
    loose.mode = Some(0o644);
    let mut stray = ContextFile::default();
    stray.mode = Some(0o600);
    stray.unknown_keys = vec!["colour".into()];
    let invalid = CliError::new(reasons::CONFIG_INVALID, "c.yaml is wrong");
    let at = |text: &str| with_node(|node| node["generatedAt"] = json!(text));
    let cases = [
        ("client-config", CheckedFacts { config: Ok(loose), ..facts(&[]) }, CheckVerdict::Warn, "0644"),
        ("client-config", CheckedFacts { config: Ok(stray), ..facts(&[]) }, CheckVerdict::Warn, "colour"),
        ("client-config", CheckedFacts { config: Err(invalid), ..facts(&[]) }, CheckVerdict::Fail, "c.yaml"),
        ("client-clock", at("2026-11-20T05:00:00Z"), CheckVerdict::Fail, "apart"),
        // It was asked at 05:59:59.990 and answered at 06:00:00.010.
        ("client-clock", at("2026-11-20T05:59:59.740Z"), CheckVerdict::Warn, "250ms"),
        ("client-clock", at("2026-11-20T06:00:00.260Z"), CheckVerdict::Warn, "250ms"),
        ("control-api-reachable", refused(Code::Unavailable), CheckVerdict::Fail, "because"),
        ("control-api-access", refused(Code::Unauthenticated), CheckVerdict::Fail, "said no"),
        ("control-api-access", refused(Code::PermissionDenied), CheckVerdict::Fail, "said no"),
        (
            "control-api-access",
            with_node(|node| node["scopes"] = json!([])),
            CheckVerdict::Fail,
            "cannot read",
        ),
        (
            "versions-client",
            with_node(|node| node["clientVersionMin"] = json!("99.0.0")),
            CheckVerdict::Fail,
            "99",
        ),
        (
            "versions-daemon",
            with_node(|node| node["version"] = json!("99.0.0")),
            CheckVerdict::Warn,
            "99.0.0",
        ),
    ];
    for (id, facts, verdict, names) in cases {
        let CheckRow { finding, .. } = found(id, &facts);
        assert_eq!(finding.verdict, verdict, "{id}: {}", finding.text);
        assert!(finding.text.contains(names), "{id}: {}", finding.text);
        assert!(finding.hint.is_some(), "{id} does not say what to do");
    }
    for within in ["2026-11-20T05:59:59.741Z", "2026-11-20T06:00:00.259Z"] {
        assert_eq!(found("client-clock", &at(within)).finding.verdict, CheckVerdict::Pass, "{within}");
    }
}

#[test]
fn what_could_not_be_asked_is_unknown() {
    let away = refused(Code::Unavailable);
    let known = ["client-config", "control-api-reachable"];
    for row in rows(&away).iter().filter(|row| !known.contains(&&*row.id)) {
        assert_eq!(row.finding.verdict, CheckVerdict::Unknown, "{}: {}", row.id, row.finding.text);
    }
    assert_eq!(rows(&away).len(), rows(&facts(&[])).len());
    // No target, so there is nobody to reach.
    let nobody = refused(Code::InvalidArgument);
    assert_eq!(found("control-api-reachable", &nobody).finding.verdict, CheckVerdict::Unknown);
    let unreadable = CliError::new(reasons::CONFIG_UNREADABLE, "cannot read c.yaml");
    let unreadable = CheckedFacts { config: Err(unreadable), ..facts(&[]) };
    assert_eq!(found("client-config", &unreadable).finding.verdict, CheckVerdict::Unknown);
    assert_eq!(
        found("control-api-reachable", &refused(Code::Unauthenticated)).finding.verdict,
        CheckVerdict::Pass
    );
}

#[test]
fn skipped_and_unwanted_checks_do_not_count() {
    let skips =
        CheckArgs { category: vec!["membership".into()], skip: vec!["membership-dead".into()], ..args() };
    let facts = facts(&[("membership-dead", "fail"), ("leadership-led", "fail")]);
    let report = judge(&skips, &facts, Duration::ZERO);
    assert!(report.success());
    assert_eq!(report.counts(CheckVerdict::Skip), 1);
    let members = all().filter(|(category, _)| category.name == "membership").count();
    assert_eq!(report.rows.len(), members);
    let without_skip = CheckArgs { skip: Vec::new(), ..skips };
    assert!(!judge(&without_skip, &facts, Duration::ZERO).success());
}

#[test]
fn warnings_fail_only_when_strict() {
    for (strict, success) in [(false, true), (true, false)] {
        let args = CheckArgs { strict, ..args() };
        let report = judge(&args, &facts(&[("membership-suspect", "warn")]), Duration::ZERO);
        assert_eq!(report.success(), success, "strict: {strict}");
    }
}

/// A result that a later daemon has a word for, and this program has not, is not taken for a good one.
#[test]
fn what_a_later_daemon_finds_is_shown_and_never_well() {
    let mut later = report(&[("nodes-fit", "astonishing")]);
    let more =
        json!({"name": "orbits", "checks": [{"id": "orbits-stable", "result": "fail", "message": "m"}]});
    later["categories"].as_array_mut().unwrap().push(more);
    let later = CheckedFacts { mesh: Some(answer(later)), ..facts(&[]) };
    assert_eq!(found("nodes-fit", &later).finding.verdict, CheckVerdict::Unknown);
    assert_eq!(found("orbits-stable", &later).category, "orbits");
    assert!(!judge(&args(), &later, Duration::ZERO).success());
}

#[test]
fn the_daemon_is_asked_only_for_what_it_judges() {
    assert!(wants_mesh(&args()));
    assert!(!wants_mesh(&CheckArgs { category: vec!["client".into()], ..args() }));
    let category = vec!["shards".into()];
    assert!(!wants_mesh(&CheckArgs { category: category.clone(), skip: vec!["shards".into()], ..args() }));
    assert!(wants_mesh(&CheckArgs { category, ..args() }));
}
