//! Facts in which checks do not pass.

use super::*;

pub fn bad_cases() -> Vec<Case> {
    let mut cases = bad_cases_of_the_client();
    cases.extend(bad_cases_of_the_mesh());
    cases.extend(bad_cases_of_nodes());
    cases.extend(bad_cases_of_transport());
    cases.extend(bad_cases_of_parts());
    cases.extend(bad_cases_of_identity());
    cases.extend(bad_cases_of_config());
    cases.extend(bad_cases_of_shards());
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
                trouble(node, "view", "still being loaded");
            }),
            Verdict::Fail,
            "view: still",
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
        (
            "registry-settings",
            with_trouble("store-settings", "set appendonly yes"),
            Verdict::Warn,
            "appendonly",
        ),
        ("registry-sentinels", with_trouble("store-sentinels", "s1 names a:1"), Verdict::Warn, "s1 names"),
        ("registry-history", with_trouble("history", "3 records were lost"), Verdict::Warn, "3 records"),
        (
            "registry-replicas",
            with_trouble("leaders-replicas", "0 have what was granted"),
            Verdict::Warn,
            "0 have",
        ),
        ("registry-splits", with_trouble("leaders-split", "`x` is held by a"), Verdict::Warn, "held by a"),
        ("registry-store", with_other_trouble("store", "never answered"), Verdict::Fail, "node-2: never"),
        ("membership-known", with_peers(json!([])), Verdict::Fail, "no peer"),
        ("membership-known", alone("node-1", "dead", false), Verdict::Fail, "dead"),
        ("membership-suspect", alone("node-9", "suspect", false), Verdict::Warn, "node-9"),
        ("membership-dead", alone("node-9", "dead", false), Verdict::Fail, "node-9"),
        ("membership-unreached", with_peers(json!([heard("node-9", "dead")])), Verdict::Warn, "node-9"),
        (
            "membership-unreached",
            with_peers(json!([heard("node-1", "alive"), heard("node-9", "unknown")])),
            Verdict::Warn,
            "not heard of node-9",
        ),
        (
            "membership-one-id",
            with_trouble("gossip", "another daemon, at 10.0.0.9:17421, has the id of this node"),
            Verdict::Warn,
            "10.0.0.9",
        ),
        ("membership-capacity", alone("a", "alive", true), Verdict::Fail, "none of 1"),
        ("membership-capacity", with_peers(json!([])), Verdict::Fail, "no live peer"),
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

fn bad_cases_of_nodes() -> Vec<Case> {
    let away = CliError::new(reasons::CONNECTION_REFUSED, "cannot reach it").cause("connection refused");
    let silent = with_other(|other| other.said = Err(away));
    let later = |text: &str| {
        let text = text.to_owned();
        with_other(move |other| other.said.as_mut().unwrap()["hostTime"] = json!(text))
    };
    let all_later = || {
        let mut facts = with_node(|node| node["hostTime"] = json!("2026-11-20T06:01:00Z"));
        facts.others[0].said.as_mut().unwrap()["hostTime"] = json!("2026-11-20T06:01:00.100Z");
        facts
    };
    let refused = |cause: &str| {
        let refused = CliError::new(reasons::CERTIFICATE_REJECTED, "the daemon does not take it")
            .cause(cause.to_owned());
        with_other(|other| other.said = Err(refused))
    };
    let days_ahead =
        || refused("it does not take the certificate of this command: it has ended, or not begun");
    let left_ahead = || {
        let mut facts = with_node(|node| node["hostTime"] = json!("2026-11-19T00:00:00Z"));
        facts.others[0].said.as_mut().unwrap()["hostTime"] = json!("2026-11-19T00:00:00.100Z");
        facts
    };
    vec![
        ("nodes-clocks", days_ahead(), Verdict::Fail, "node-2 at 127.0.0.1:2: it does not take"),
        ("nodes-answer", days_ahead(), Verdict::Warn, "node-2 at 127.0.0.1:2: it does not take"),
        ("nodes-clocks", left_ahead(), Verdict::Fail, "the store's is 108000000ms off"),
        ("nodes-answer", silent, Verdict::Warn, "node-2 at 127.0.0.1:2: connection refused"),
        ("nodes-ready", with_other_trouble("view", "being loaded"), Verdict::Fail, "node-2: view: being"),
        ("nodes-fit", with_other_trouble("later", "no part yet"), Verdict::Warn, "later on node-2: no part"),
        ("nodes-fit", with_trouble("later", "no part yet"), Verdict::Warn, "later on node-1: no part"),
        ("nodes-clocks", later("2026-11-20T06:00:01Z"), Verdict::Warn, "node-2 is 1000ms before"),
        ("nodes-clocks", later("2026-11-20T05:00:00Z"), Verdict::Fail, "node-2 is 3600000ms behind"),
        ("nodes-clocks", all_later(), Verdict::Fail, "the store's is 60100ms off"),
    ]
}

fn bad_cases_of_transport() -> Vec<Case> {
    let enrolled = |port: &'static str, enrolment: &'static str| {
        with_node(move |node| (node["meshPort"], node["enrolment"]) = (json!(port), json!(enrolment)))
    };
    vec![
        (
            "transport-port",
            enrolled("not_enrolled", "not_enrolled"),
            Verdict::Warn,
            "node-1: the mesh port turns everybody away: the mesh has given it no certificate",
        ),
        (
            "transport-port",
            enrolled("not_enrolled", "no_authority"),
            Verdict::Warn,
            "node-1: the mesh port turns everybody away: this mesh has no authority",
        ),
        ("transport-port", with_other_trouble("mesh", "taken"), Verdict::Warn, "node-2: taken"),
        (
            "transport-reached",
            with_peers(json!([meshed("b", "", "no_answer")])),
            Verdict::Warn,
            "not reached: b",
        ),
        (
            "transport-http3",
            with_peers(json!([meshed("b", "http2", "no_answer"), meshed("c", "http3", "")])),
            Verdict::Warn,
            "over HTTP/2: b (nothing came back over UDP",
        ),
    ]
}

fn bad_cases_of_parts() -> Vec<Case> {
    let led_by = |leader: &str, peers: Value| {
        let mut facts = with_scopes(json!([scope("a", leader, 1)]));
        facts.answers[1].1.said = Ok(json!({ "peers": peers }));
        facts
    };
    let mut drains = peer("b", "alive", true, "0.1.0");
    drains["draining"] = json!(true);
    let both = json!([scope("a", "", 1), scope("b", "", 1), scope("c", "node-1", 1)]);
    vec![
        ("leadership-led", with_scopes(json!([scope("a", "", 1)])), Verdict::Fail, "nobody leads a"),
        ("leadership-led", with_scopes(both), Verdict::Fail, "2 of 3 scopes"),
        (
            "leadership-incumbents",
            led_by("b", json!([peer("b", "dead", false, "1")])),
            Verdict::Warn,
            "b, which is dead",
        ),
        ("leadership-incumbents", led_by("b", json!([])), Verdict::Warn, "which is unknown"),
        ("leadership-drained", led_by("b", json!([drains])), Verdict::Warn, "b drains, and still leads a"),
        ("leadership-stable", with_scopes(json!([scope("a", "b", 3)])), Verdict::Warn, "a lost its leader 3"),
        (
            "registers-synced",
            with_other_trouble("registers", "the pool x"),
            Verdict::Warn,
            "node-2: the pool",
        ),
        (
            "registers-federated",
            with_trouble("federated-registers", "no node of cluster west answers"),
            Verdict::Warn,
            "cluster west",
        ),
        ("relays-sinks", with_other_trouble("sinks", "full"), Verdict::Warn, "node-2: full"),
        ("relays-registered", with_trouble("registry", "away"), Verdict::Warn, "node-1: away"),
        ("relays-published", with_trouble("publication", "old"), Verdict::Warn, "node-1: old"),
        ("audit-trail", with_trouble("audit-trail", "once"), Verdict::Warn, "node-1: once"),
        ("audit-sealed", with_other_trouble("audit", "no disk"), Verdict::Fail, "node-2: no disk"),
    ]
}

fn bad_cases_of_identity() -> Vec<Case> {
    vec![
        (
            "identity-revocations",
            with_other(|other| other.said.as_mut().unwrap()["revocationsEnforcedNumber"] = json!("2")),
            Verdict::Fail,
            "node-2 by list 2",
        ),
        (
            "identity-revocations",
            with_node(|node| node["revocationsNumber"] = json!("4")),
            Verdict::Fail,
            "node-1 by list 3",
        ),
        (
            "identity-certificate",
            with_other_trouble("identity", "it ended"),
            Verdict::Warn,
            "node-2: it ended",
        ),
        (
            "identity-store-credentials",
            with_trouble("store-credentials", "node/b knows"),
            Verdict::Fail,
            "node-1: node/b knows",
        ),
        ("identity-plaintext", with_trouble("plaintext", "read"), Verdict::Warn, "node-1: read"),
        ("identity-federation", with_trouble("federation", "west"), Verdict::Warn, "node-1: west"),
        ("identity-strangers", with_trouble("without-identity", "node-9"), Verdict::Warn, "node-1: node-9"),
        ("identity-keys", with_trouble("key-files", "k.pem"), Verdict::Warn, "node-1: k.pem"),
        ("identity-signed-records", with_trouble("signed-records", "eve"), Verdict::Fail, "node-1: eve"),
        ("identity-issuers", with_trouble("issuers", "none"), Verdict::Fail, "node-1: none"),
        (
            "identity-second-issuer",
            with_trouble("second-issuer", "a alone"),
            Verdict::Warn,
            "node-1: a alone",
        ),
        ("identity-unsigned-records", with_trouble("unsigned-records", "all"), Verdict::Warn, "node-1: all"),
    ]
}

fn bad_cases_of_shards() -> Vec<Case> {
    let with = |but: Value| {
        let all = json!([namespace("users", &json!({})), namespace("orders", &but)]);
        with_answer(3, json!({ "namespaces": all }))
    };
    let state = |state: &str, reason: &str| with(json!({"state": state, "stateReason": reason}));
    let waits = state("rebalancePending", "plan 7 waits");
    vec![
        ("registry-lost", with_trouble("lost-records", "64 shard are missing"), Verdict::Fail, "64 shard"),
        ("shards-owned", with(json!({"unowned": 3})), Verdict::Fail, "no owner: 3 of 8 of orders"),
        ("shards-rebalancing", state("failed", "plan 7: n2 is dead"), Verdict::Fail, "orders (plan 7: n2"),
        (
            "shards-rebalancing",
            state("investigating", "the brake"),
            Verdict::Warn,
            "waits: orders (the brake)",
        ),
        ("shards-rebalancing", waits, Verdict::Warn, "orders (plan 7 waits)"),
        ("shards-balance", with(json!({"imbalance": 1.26})), Verdict::Warn, "orders (1.26 times a share)"),
        (
            "shards-balance",
            with(json!({"overloaded": 2})),
            Verdict::Warn,
            "orders (2 nodes with too much to do)",
        ),
        (
            "shards-holders",
            with(json!({"spec": {"policy": {"holders": []}}})),
            Verdict::Warn,
            "whoever may connect may hold shards of orders",
        ),
        ("shards-holders", with(json!({"spec": null})), Verdict::Warn, "hold shards of orders"),
    ]
}

fn bad_cases_of_config() -> Vec<Case> {
    vec![
        (
            "config-transport-policy",
            with_other_trouble("transport-policy", "raw-acl"),
            Verdict::Fail,
            "node-2: raw-acl",
        ),
        (
            "config-transport-budgets",
            with_trouble("transport-policy-warnings", "raw-budget"),
            Verdict::Warn,
            "node-1: raw-budget",
        ),
    ]
}
