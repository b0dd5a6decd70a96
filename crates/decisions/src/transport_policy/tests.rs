use serde_json::{Value, json};

use super::*;

const NOW: Millis = Millis(1_800_000_000_000);

fn policy(document: Value) -> pb::TransportPolicy {
    serde_json::from_value(document).unwrap()
}

/// An endpoint of `orders`, such as `ingest edge http3+raw,http2+json`.
fn endpoint(text: &str) -> pb::TransportEndpoint {
    let words: Vec<&str> = text.split_whitespace().collect();
    let profiles = words[2].split(',').map(|pairing| {
        let (transport, encoding) = pairing.split_once('+').unwrap();
        json!({"transport": transport, "encoding": encoding})
    });
    let acl: Vec<&str> = words[3..].to_vec();
    let document = json!({"name": words[0], "namespace": "orders", "category": words[1],
        "profiles": profiles.collect::<Vec<_>>(), "acl": acl});
    serde_json::from_value(document).unwrap()
}

fn judge(document: Value, endpoints: &[&str]) -> pb::TransportReport {
    let endpoints: Vec<_> = endpoints.iter().map(|text| endpoint(text)).collect();
    evaluate(&policy(document), &endpoints, NOW).unwrap()
}

/// `violation raw-acl orders/ingest`, and so on; what is about the policy has no name.
fn told(judged: &pb::TransportReport) -> Vec<String> {
    let told = judged.findings.iter().map(|finding| {
        let id = [finding.namespace.as_str(), finding.endpoint.as_str()].join("/");
        let text = format!("{} {} {}", finding.level().as_str_name(), finding.rule, id.trim_matches('/'));
        text.trim().to_owned()
    });
    told.collect()
}

fn exception(change: impl FnOnce(&mut Value)) -> Value {
    let mut exception = json!({"name": "old", "category": "control-plane", "endpoints": ["orders/admin"],
        "pairings": [{"transport": "http2", "encoding": "raw"}], "reason": "INC-4711", "approvedBy": "ann",
        "expiresAt": "2030-01-01T00:00:00Z"});
    change(&mut exception);
    json!({"exceptions": [exception], "budgets": {"rawEndpointsMax": 9}})
}

/// Case of a test: its name, a policy, endpoints, and what is found.
type Case = (&'static str, Value, &'static [&'static str], &'static [&'static str]);

const RAW: &str = "admin control-plane http2+raw service:a";

fn h3() -> Value {
    json!({"transport": "http3", "encoding": "protobuf"})
}

fn h2() -> Value {
    json!({"transport": "http2", "encoding": "protobuf"})
}

fn json_over(transport: &str) -> Value {
    json!({"transport": transport, "encoding": "json"})
}

/// A policy with one category.
fn category(name: &str, allowed: &[Value], preferred: Value, requires: bool) -> Value {
    let category =
        json!({"name": name, "allowed": allowed, "preferred": preferred, "requiresPreferred": requires});
    json!({ "categories": [category] })
}

fn raw_budget(max: u32) -> Value {
    json!({"budgets": {"rawEndpointsMax": max}})
}

fn cases_of_fixed_rules() -> Vec<Case> {
    let none = || json!({});
    let mesh =
        |allowed: &[Value], preferred, requires| category("mesh-internal", allowed, preferred, requires);
    vec![
        ("nothing", none(), &[], &[]),
        ("what is to be inside", none(), &["a mesh-internal http3+protobuf,http2+protobuf"], &[]),
        ("a second profile outside", none(), &["a edge http3+protobuf,http1+json,http3+json"], &[]),
        (
            "HTTP/1.1 inside",
            none(),
            &["a mesh-internal http3+protobuf,http2+protobuf,http1+json"],
            &["violation mesh-internal-http1 orders/a"],
        ),
        (
            "JSON inside",
            none(),
            &["a mesh-internal http3+protobuf,http2+protobuf,http2+json"],
            &["violation mesh-internal-encoding orders/a"],
        ),
        (
            "raw inside, whoever may",
            raw_budget(1),
            &["a mesh-internal http3+protobuf,http2+protobuf,http3+raw service:a"],
            &["violation mesh-internal-encoding orders/a"],
        ),
        (
            "no fallback inside",
            none(),
            &["a mesh-internal http3+protobuf"],
            &["violation mesh-internal-profile orders/a"],
        ),
        (
            "fallback alone inside",
            none(),
            &["a mesh-internal http2+protobuf"],
            &["violation mesh-internal-profile orders/a"],
        ),
        (
            "a policy with HTTP/1.1 inside",
            mesh(&[h3(), h2(), json_over("http1")], h3(), true),
            &[],
            &["violation mesh-internal-http1"],
        ),
        (
            "a policy with JSON inside",
            mesh(&[h3(), h2(), json_over("http3")], h3(), true),
            &[],
            &["violation mesh-internal-encoding"],
        ),
        (
            "a policy that prefers the fallback",
            mesh(&[h3(), h2()], h2(), true),
            &[],
            &["violation mesh-internal-profile"],
        ),
        (
            "a policy that asks for nothing",
            mesh(&[h3(), h2()], h3(), false),
            &[],
            &["violation mesh-internal-profile"],
        ),
        (
            "a policy without the fallback",
            mesh(&[h3()], h3(), true),
            &[],
            &["violation mesh-internal-profile"],
        ),
    ]
}

fn cases_outside() -> Vec<Case> {
    let none = || json!({});
    let own = |allowed: &[Value], preferred, requires| category("own", allowed, preferred, requires);
    vec![
        ("raw for anybody", raw_budget(1), &["a edge http3+raw"], &["violation raw-acl orders/a"]),
        ("raw for somebody", raw_budget(1), &["a edge http3+raw service:b"], &[]),
        (
            "protobuf over HTTP/1.1",
            none(),
            &["a edge http1+protobuf"],
            &["violation unsupported-pairing orders/a"],
        ),
        ("of no category", none(), &["a outer http2+json"], &["violation unknown-category orders/a"]),
        ("of the mesh's own category", own(&[h2()], h2(), true), &["a own http2+protobuf"], &[]),
        (
            "what is not allowed",
            none(),
            &["a diagnostics http2+protobuf"],
            &["violation pairing-not-allowed orders/a"],
        ),
        (
            "without what is required",
            own(&[h3(), h2()], h3(), true),
            &["a own http2+protobuf"],
            &["violation preferred-missing orders/a"],
        ),
        ("without what is preferred", own(&[h3(), h2()], h3(), false), &["a own http2+protobuf"], &[]),
        (
            "a preference that is not allowed",
            own(&[h2()], h3(), false),
            &[],
            &["violation preferred-not-allowed"],
        ),
        ("too much raw", none(), &["a edge http3+raw service:b"], &["warning raw-budget"]),
        ("as much that is legacy as may be", none(), &["a edge http1+json", "b edge http1+json"], &[]),
        (
            "too much that is legacy",
            none(),
            &["a edge http1+json", "b edge http1+json", "c edge http1+json"],
            &["warning legacy-budget"],
        ),
        (
            "what the policy says is legacy",
            json!({"legacy": [json_over("http2")], "budgets": {"legacyPairingsMax": 0}}),
            &["a edge http1+json", "b edge http2+json,http2+protobuf"],
            &["warning legacy-budget"],
        ),
    ]
}

fn cases_of_exceptions() -> Vec<Case> {
    const REFUSED: &[&str] = &["violation pairing-not-allowed orders/admin"];
    let mut required = category("own", &[h3(), h2()], h3(), true);
    required["exceptions"] = exception(|one| {
        one["category"] = json!("own");
        one["endpoints"] = json!([]);
        one["pairings"] = json!([h2()]);
    })["exceptions"]
        .clone();
    vec![
        ("an exception", exception(|_| {}), &[RAW], &["excepted pairing-not-allowed orders/admin"]),
        (
            "one of all of a category",
            exception(|one| one["endpoints"] = json!([])),
            &[RAW],
            &["excepted pairing-not-allowed orders/admin"],
        ),
        (
            "one from what is required",
            required,
            &["a own http2+protobuf"],
            &["excepted preferred-missing orders/a"],
        ),
        ("one of another endpoint", exception(|one| one["endpoints"] = json!(["admin"])), &[RAW], REFUSED),
        (
            "one of another pairing",
            exception(|one| one["pairings"] = json!([json_over("http1")])),
            &[RAW],
            REFUSED,
        ),
        (
            "one for raw from anybody",
            exception(|_| {}),
            &["admin control-plane http2+raw"],
            &["excepted pairing-not-allowed orders/admin", "violation raw-acl orders/admin"],
        ),
    ]
}

fn cases_of_bad_exceptions() -> Vec<Case> {
    const INCOMPLETE: &[&str] = &["violation exception-incomplete"];
    let nobody_speaks = json!([{"transport": "http1", "encoding": "protobuf"}]);
    vec![
        (
            "one that has ended",
            exception(|one| one["expiresAt"] = json!("2027-01-15T08:00:00Z")),
            &[RAW],
            &["warning exception-expired", "violation pairing-not-allowed orders/admin"],
        ),
        (
            "one without an end",
            exception(|one| one["expiresAt"] = Value::Null),
            &[RAW],
            &["violation exception-incomplete", "violation pairing-not-allowed orders/admin"],
        ),
        ("one that nobody has approved", exception(|one| one["approvedBy"] = json!(" ")), &[], INCOMPLETE),
        ("one without a reason", exception(|one| one["reason"] = json!("")), &[], INCOMPLETE),
        (
            "one inside",
            exception(|one| one["category"] = json!("mesh-internal")),
            &[],
            &["violation exception-of-fixed-rule"],
        ),
        (
            "one of no category",
            exception(|one| one["category"] = json!("outer")),
            &[],
            &["violation unknown-category"],
        ),
        (
            "one for what nobody speaks",
            exception(|one| one["pairings"] = nobody_speaks),
            &[],
            &["violation unsupported-pairing"],
        ),
    ]
}

#[test]
fn each_rule_finds_what_breaks_it_and_nothing_else() {
    let cases = [cases_of_fixed_rules(), cases_outside(), cases_of_exceptions(), cases_of_bad_exceptions()];
    let mut seen = Vec::new();
    for (what, document, endpoints, expected) in cases.concat() {
        let judged = judge(document, endpoints);
        assert_eq!(told(&judged), *expected, "{what}");
        assert_eq!(judged.fit, !expected.iter().any(|line| line.starts_with("violation")), "{what}");
        seen.extend(judged.findings.into_iter().map(|finding| (finding.level(), finding.rule)));
    }
    // What is about a policy that no case can be of.
    let unreadable = unreadable("there is no transport `http9`").findings.remove(0);
    seen.push((unreadable.level(), unreadable.rule));
    let of_rule = |rule: AuditRule| rule.levels().iter().map(move |level| (*level, rule.word().to_owned()));
    let all: Vec<_> = AuditRule::ALL.iter().copied().flat_map(of_rule).collect();
    for one in &all {
        assert!(seen.contains(one), "no case breaks {one:?}");
    }
    assert!(seen.iter().all(|one| all.contains(one)), "each rule knows its levels");
}

#[test]
fn a_finding_says_which_endpoint_and_what_to_do() {
    let judged = judge(json!({}), &["a diagnostics http2+protobuf"]);
    assert_eq!(
        line(&judged.findings[0]),
        "pairing-not-allowed: `orders/a` speaks http2+protobuf, and `diagnostics` allows http3+json, http2+json, \
         http1+json; take one that is allowed, or have an exception approved for a time"
    );
    let ended = exception(|one| one["expiresAt"] = json!("2027-01-15T08:00:00Z"));
    let judged = judge(ended, &["admin control-plane http2+raw service:a"]);
    assert_eq!(judged.findings[1].remedy, "exception `old` has ended: have it approved anew");
}

#[test]
fn what_is_to_go_is_counted() {
    let judged = judge(
        json!({"budgets": {"legacyPairingsMax": 7}}),
        &["a edge http1+json,http3+raw service:b", "b edge http1+json"],
    );
    let counted =
        [judged.raw_endpoints, judged.raw_endpoints_max, judged.legacy_pairings, judged.legacy_pairings_max];
    assert_eq!(counted, [1, 0, 2, 7], "what is not said is as by default");
}

#[test]
fn the_first_findings_are_told_and_how_many_more_there_are() {
    let one = |number: usize| format!("a{number} outer http2+json");
    let endpoints: Vec<_> = (0..10).map(|number| endpoint(&one(number))).collect();
    let judged = evaluate(&pb::TransportPolicy::default(), &endpoints, NOW).unwrap();
    let told = summary(&judged, Level::Violation).unwrap();
    assert!(told.contains("orders/a7") && !told.contains("orders/a8"), "{told}");
    assert!(told.ends_with(" | and 2 more"), "{told}");
    assert_eq!(summary(&judged, Level::Warning), None);
}

#[test]
fn a_time_that_cannot_be_told_is_refused() {
    let far = |seconds, nanos| {
        let mut policy = policy(exception(|_| {}));
        policy.exceptions[0].expires_at = Some(omnirelay_wire::timestamp::Timestamp { seconds, nanos });
        evaluate(&policy, &[], NOW).map(|judged| judged.fit)
    };
    for (seconds, nanos) in [(i64::MAX, 0), (-1, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
        assert!(far(seconds, nanos).unwrap_err().contains("`expiresAt`"), "{seconds} {nanos}");
    }
    assert_eq!(far(253_402_300_799, 999_999_999), Ok(true));
}

#[test]
fn what_means_nothing_is_no_policy() {
    let category = |change: fn(&mut Value)| {
        let mut category = json!({"name": "own", "allowed": []});
        change(&mut category);
        json!({"categories": [category]})
    };
    let cases = [
        ("a category of no name", category(|one| one["name"] = json!("")), "`name`"),
        (
            "an unknown transport",
            category(|one| one["allowed"] = json!([{"transport": "http9", "encoding": "json"}])),
            "there is no transport `http9`; choose from http3, http2, http1",
        ),
        ("no encoding", category(|one| one["preferred"] = json!({"transport": "http3"})), "no encoding ``"),
        ("a category twice", json!({"categories": [{"name": "a"}, {"name": "a"}]}), "`a` stands there twice"),
        (
            "an exception twice",
            json!({"exceptions": [{"name": "a"}, {"name": "a"}]}),
            "`a` stands there twice",
        ),
        ("an exception of nothing", exception(|one| one["pairings"] = json!([])), "no `pairings`"),
        (
            "an exception of no endpoint",
            exception(|one| one["endpoints"] = json!(["a/b/c"])),
            "`a/b/c` is no endpoint",
        ),
        (
            "an unknown legacy transport",
            json!({"legacy": [{"transport": "tcp"}]}),
            "`legacy`: there is no transport",
        ),
        ("too many categories", json!({"categories": vec![json!({"name": "a"}); 33]}), "at most 32"),
        ("too long", exception(|one| one["reason"] = json!("x".repeat(40_000))), "longer than 32768 bytes"),
    ];
    for (what, document, expected) in cases {
        let said = evaluate(&policy(document), &[], NOW).unwrap_err();
        assert!(said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn what_means_nothing_is_no_endpoint() {
    let of = |change: fn(&mut pb::TransportEndpoint)| {
        let mut one = endpoint("a edge http2+json");
        change(&mut one);
        vec![one]
    };
    let cases = [
        ("no name", of(|one| one.name = "A b".into()), "`name`"),
        ("no namespace", of(|one| one.namespace = "a/b".into()), "`namespace`"),
        ("no category", of(|one| one.category.clear()), "`category`"),
        ("nothing spoken", of(|one| one.profiles.clear()), "no `profiles`"),
        ("everybody may", of(|one| one.acl = vec!["*".into()]), "`*` is nobody"),
        ("every service may", of(|one| one.acl = vec!["service:*".into()]), "`service:*` is nobody"),
        ("twice", [of(|_| {}), of(|_| {})].concat(), "`orders/a` stands there twice"),
        ("too many", vec![endpoint("a edge http2+json"); 257], "at most 256"),
    ];
    for (what, endpoints, expected) in cases {
        let said = evaluate(&pb::TransportPolicy::default(), &endpoints, NOW).unwrap_err();
        assert!(said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn what_changes_is_told_line_by_line() {
    let after = json!({
        "categories": [{"name": "own", "allowed": [{"transport": "http2", "encoding": "json"}]}],
        "exceptions": [{"name": "old"}], "legacy": [{"transport": "http2", "encoding": "json"}],
        "budgets": {"rawEndpointsMax": 3},
    });
    let lines = differences(&pb::TransportPolicy::default(), &policy(after.clone()));
    let expected = [
        "category own: none -> http2+json",
        "exceptions: - -> old",
        "legacy: http1 -> http2+json",
        "budgets.rawEndpointsMax: 0 -> 3",
    ];
    assert_eq!(lines, expected);
    assert!(differences(&policy(after.clone()), &policy(after)).is_empty());
    assert!(differences(&pb::TransportPolicy::default(), &defaults()).is_empty(), "it is the same, said");
}
