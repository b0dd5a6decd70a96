//! MeshFacts in which checks do not pass.

use super::*;

pub(super) fn bad_cases() -> Vec<Case> {
    let mut cases = bad_cases_of_the_registry();
    cases.extend(bad_cases_of_membership());
    cases.extend(bad_cases_of_nodes());
    cases.extend(bad_cases_of_clocks());
    cases.extend(bad_cases_of_transport());
    cases.extend(bad_cases_of_leadership());
    cases.extend(bad_cases_of_parts());
    cases.extend(bad_cases_of_identity());
    cases.extend(bad_cases_of_shards());
    cases
}

fn bad_cases_of_the_registry() -> Vec<Case> {
    let not_ready = with_node(1, |node| {
        node.ready = false;
        trouble(node, "view", "still being loaded");
    });
    let silent = with_node(1, |node| (node.stale, node.stale_ms) = (true, Some(1_200)));
    let memory = with_node(1, |node| node.store = "memory".to_owned());
    let anyone = with_node(1, |node| node.let_in = "anyone".to_owned());
    vec![
        ("control-api-proof", anyone, CheckVerdict::Warn, "--insecure"),
        ("control-api-ready", not_ready, CheckVerdict::Fail, "view: still"),
        ("registry-store", silent, CheckVerdict::Fail, "1200ms for node-1"),
        ("registry-store", memory, CheckVerdict::Warn, "lost"),
        ("registry-store", with_node(1, |node| node.stale = true), CheckVerdict::Warn, "is being restored"),
        ("registry-store", with_trouble(2, "store", "never answered"), CheckVerdict::Fail, "node-2: never"),
        ("registry-room", with_trouble(2, "store-room", "is full"), CheckVerdict::Fail, "node-2: is full"),
        (
            "registry-settings",
            with_trouble(1, "store-settings", "appendonly"),
            CheckVerdict::Warn,
            "appendonly",
        ),
        (
            "registry-sentinels",
            with_trouble(1, "store-sentinels", "s1 names a:1"),
            CheckVerdict::Warn,
            "s1 names",
        ),
        (
            "registry-history",
            with_trouble(1, "history", "3 records were lost"),
            CheckVerdict::Warn,
            "3 records",
        ),
        ("registry-replicas", with_trouble(1, "leaders-replicas", "0 have"), CheckVerdict::Warn, "0 have"),
        (
            "registry-splits",
            with_trouble(1, "leaders-split", "`x` is held by a"),
            CheckVerdict::Warn,
            "held by a",
        ),
        ("registry-lost", with_trouble(1, "lost-records", "64 shard"), CheckVerdict::Fail, "64 shard"),
    ]
}

fn bad_cases_of_membership() -> Vec<Case> {
    let alone = |id: &str, status| with_peers(vec![peer(id, status)]);
    let cordoned = with_registry(|registry| {
        registry.peers.iter_mut().for_each(|peer| peer.cordoned = true);
    });
    let unheard = with_reach(1, ["unheard", "", ""]);
    let versions = with_registry(|registry| {
        registry.peers[1].metadata.as_mut().unwrap().mesh_version = "0.3.0".to_owned();
    });
    let rival = with_registry(|registry| registry.peers[1].rival = "10.0.0.9:17420".to_owned());
    let another = "another daemon, at 10.0.0.9:17421, has the id of this node";
    vec![
        ("membership-known", with_peers(Vec::new()), CheckVerdict::Fail, "no peer"),
        ("membership-known", alone("node-1", Status::Dead), CheckVerdict::Fail, "dead"),
        ("membership-suspect", alone("node-9", Status::Suspect), CheckVerdict::Warn, "node-9"),
        ("membership-dead", alone("node-9", Status::Dead), CheckVerdict::Fail, "node-9"),
        (
            "membership-unreached",
            with_reach(2, ["gone", "", ""]),
            CheckVerdict::Warn,
            "gone: node-1 (by node-2)",
        ),
        ("membership-unreached", unheard, CheckVerdict::Warn, "not heard of node-2"),
        ("membership-one-id", rival, CheckVerdict::Warn, "node-2, which another daemon, at 10.0.0.9:17420"),
        ("membership-one-id", with_trouble(1, "gossip", another), CheckVerdict::Warn, "10.0.0.9"),
        ("membership-capacity", cordoned, CheckVerdict::Fail, "none of 2"),
        ("membership-capacity", with_peers(Vec::new()), CheckVerdict::Fail, "no live peer"),
        ("versions-peers", versions, CheckVerdict::Warn, "0.3.0"),
    ]
}

fn bad_cases_of_nodes() -> Vec<Case> {
    let silent = || without_answer(NotAsked::Silent("at its mesh port: connection refused".to_owned()));
    let mut full_disk = with_trouble(2, "data-disk", "3 MiB");
    full_disk.nodes[1].said.as_mut().unwrap().disk_free_bytes = Some(3 << 20);
    let days_ahead = || without_answer(NotAsked::AtAnotherTime("at b:1: certificate expired".to_owned()));
    vec![
        ("nodes-answer", silent(), CheckVerdict::Warn, "node-2: at its mesh port: connection refused"),
        ("nodes-answer", days_ahead(), CheckVerdict::Warn, "node-2: at b:1: certificate expired"),
        ("nodes-clocks", days_ahead(), CheckVerdict::Fail, "node-2: at b:1: certificate expired"),
        ("nodes-ready", with_trouble(2, "view", "being loaded"), CheckVerdict::Fail, "node-2: view: being"),
        ("nodes-disk", with_trouble(2, "data-disk", "3 MiB"), CheckVerdict::Warn, "node-2: 3 MiB"),
        ("nodes-disk", full_disk, CheckVerdict::Fail, "node-2: 3 MiB"),
        (
            "nodes-fit",
            with_trouble(2, "later", "no part yet"),
            CheckVerdict::Warn,
            "later on node-2: no part",
        ),
        (
            "nodes-fit",
            with_trouble(1, "later", "no part yet"),
            CheckVerdict::Warn,
            "later on node-1: no part",
        ),
    ]
}

fn bad_cases_of_clocks() -> Vec<Case> {
    // The clocks of both hosts are so many milliseconds before the store's.
    let hosts = |[one, two]: [i64; 2]| {
        let mut facts = facts();
        for (node, before) in facts.nodes.iter_mut().zip([one, two]) {
            let at = Millis(NOW.0.saturating_add_signed(before));
            node.said.as_mut().unwrap().host_time = Some(timestamp(at));
        }
        facts
    };
    vec![
        ("nodes-clocks", hosts([5, 1_000]), CheckVerdict::Warn, "node-2 is 1000ms ahead of"),
        ("nodes-clocks", hosts([5, -3_600_000]), CheckVerdict::Fail, "node-2 is 3600000ms behind"),
        ("nodes-clocks", hosts([60_000, 60_100]), CheckVerdict::Fail, "the store's is 60100ms off"),
        (
            "nodes-clocks",
            hosts([-108_000_000, -107_999_900]),
            CheckVerdict::Fail,
            "the store's is 108000000ms off",
        ),
        ("nodes-clocks", with_trouble(1, "store-clock", "a day ahead"), CheckVerdict::Warn, "a day ahead"),
    ]
}

fn bad_cases_of_transport() -> Vec<Case> {
    let enrolled = |enrolment: &'static str| {
        with_node(1, |node| {
            (node.mesh_port, node.enrolment) = ("not_enrolled".to_owned(), enrolment.to_owned());
        })
    };
    let turned = "node-1: the mesh port turns everybody away: the mesh has given it no certificate";
    let nobody = "node-1: the mesh port turns everybody away: this mesh has no authority";
    vec![
        ("transport-port", enrolled("not_enrolled"), CheckVerdict::Warn, turned),
        ("transport-port", enrolled("no_authority"), CheckVerdict::Warn, nobody),
        ("transport-port", with_trouble(2, "mesh", "taken"), CheckVerdict::Warn, "node-2: taken"),
        (
            "transport-reached",
            with_reach(2, ["", "others_answer", ""]),
            CheckVerdict::Warn,
            "node-1 from node-2",
        ),
        (
            "transport-reached",
            with_reach(1, ["", "no_connection", ""]),
            CheckVerdict::Warn,
            "node-2 from node-1",
        ),
        (
            "transport-http3",
            with_reach(1, ["", "", "no_answer"]),
            CheckVerdict::Warn,
            "over HTTP/2: node-2 from node-1 (nothing came back over UDP",
        ),
    ]
}

fn bad_cases_of_leadership() -> Vec<Case> {
    let with_scopes = |scopes: Vec<pb::Leadership>| with_registry(|registry| registry.scopes = scopes);
    let led_by = |leader: pb::Peer| {
        with_registry(|registry| {
            registry.scopes = vec![scope("a", &leader.node_id, 1)];
            registry.peers = vec![leader];
        })
    };
    let mut drains = peer("b", Status::Alive);
    drains.draining = true;
    let both = vec![scope("a", "", 1), scope("b", "", 1), scope("c", "node-1", 1)];
    let unknown = with_scopes(vec![scope("a", "node-9", 1)]);
    vec![
        ("leadership-led", with_scopes(vec![scope("a", "", 1)]), CheckVerdict::Fail, "nobody leads a"),
        ("leadership-led", with_scopes(both), CheckVerdict::Fail, "2 of 3 scopes"),
        ("leadership-incumbents", led_by(peer("b", Status::Dead)), CheckVerdict::Warn, "b, which is dead"),
        ("leadership-incumbents", unknown, CheckVerdict::Warn, "which is unknown"),
        ("leadership-drained", led_by(drains), CheckVerdict::Warn, "b drains, and still leads a"),
        (
            "leadership-stable",
            with_scopes(vec![scope("a", "b", 3)]),
            CheckVerdict::Warn,
            "a lost its leader 3",
        ),
    ]
}

fn bad_cases_of_parts() -> Vec<Case> {
    let other = with_node(2, |node| {
        node.mesh_wide_settings.insert("session.ttl".to_owned(), "10s".to_owned());
    });
    let due = with_node(2, |node| {
        node.restart_due = ["control.listen", "store.url"].map(str::to_owned).into();
    });
    vec![
        ("config-same", other, CheckVerdict::Warn, "session.ttl is 10s on node-2, 2s on node-1"),
        ("config-restart", due, CheckVerdict::Warn, "node-2: control.listen, store.url"),
        ("registers-synced", with_trouble(2, "registers", "pool x"), CheckVerdict::Warn, "node-2: pool x"),
        ("registers-federated", with_trouble(1, "federated-registers", "west"), CheckVerdict::Warn, "west"),
        ("clusters-followed", with_trouble(2, "domains-followed", "braked"), CheckVerdict::Warn, "braked"),
        ("clusters-protected", with_trouble(1, "domains-protected", "west"), CheckVerdict::Warn, "west"),
        ("relays-sinks", with_trouble(2, "sinks", "full"), CheckVerdict::Warn, "node-2: full"),
        ("relays-registered", with_trouble(1, "registry", "away"), CheckVerdict::Warn, "node-1: away"),
        ("relays-published", with_trouble(1, "publication", "old"), CheckVerdict::Warn, "node-1: old"),
        ("audit-trail", with_trouble(1, "audit-trail", "once"), CheckVerdict::Warn, "node-1: once"),
        ("audit-sealed", with_trouble(2, "audit", "no disk"), CheckVerdict::Fail, "node-2: no disk"),
        (
            "config-transport-policy",
            with_trouble(2, "transport-policy", "raw"),
            CheckVerdict::Fail,
            "node-2: raw",
        ),
        (
            "config-transport-budgets",
            with_trouble(1, "transport-policy-warnings", "raw"),
            CheckVerdict::Warn,
            "raw",
        ),
        (
            "capacity-reached",
            with_trouble(2, "limits-reached", "4 of 4"),
            CheckVerdict::Fail,
            "node-2: 4 of 4",
        ),
        ("capacity-near", with_trouble(1, "limits-near", "8 of 9"), CheckVerdict::Warn, "node-1: 8 of 9"),
    ]
}

fn bad_cases_of_identity() -> Vec<Case> {
    let behind = with_node(2, |node| node.revocations_enforced_number = 2);
    let newer = with_node(1, |node| node.revocations_number = 4);
    vec![
        ("identity-revocations", behind, CheckVerdict::Fail, "node-2 by list 2"),
        ("identity-revocations", newer, CheckVerdict::Fail, "node-1 by list 3"),
        (
            "identity-certificate",
            with_trouble(2, "identity", "it ended"),
            CheckVerdict::Warn,
            "node-2: it ended",
        ),
        (
            "identity-store-credentials",
            with_trouble(1, "store-credentials", "b"),
            CheckVerdict::Fail,
            "node-1: b",
        ),
        ("identity-plaintext", with_trouble(1, "plaintext", "read"), CheckVerdict::Warn, "node-1: read"),
        ("identity-federation", with_trouble(1, "federation", "west"), CheckVerdict::Warn, "node-1: west"),
        ("identity-strangers", with_trouble(1, "without-identity", "x"), CheckVerdict::Warn, "node-1: x"),
        ("identity-keys", with_trouble(1, "key-files", "k.pem"), CheckVerdict::Warn, "node-1: k.pem"),
        (
            "identity-signed-records",
            with_trouble(1, "signed-records", "eve"),
            CheckVerdict::Fail,
            "node-1: eve",
        ),
        ("identity-issuers", with_trouble(1, "issuers", "none"), CheckVerdict::Fail, "node-1: none"),
        ("identity-second-issuer", with_trouble(1, "second-issuer", "a"), CheckVerdict::Warn, "node-1: a"),
        (
            "identity-administrators",
            with_trouble(1, "administrators", "no"),
            CheckVerdict::Warn,
            "node-1: no",
        ),
        (
            "identity-unsigned-records",
            with_trouble(1, "unsigned-records", "all"),
            CheckVerdict::Warn,
            "node-1: all",
        ),
    ]
}

fn bad_cases_of_shards() -> Vec<Case> {
    use pb::namespace::State;
    let with = |change: &dyn Fn(&mut pb::Namespace)| {
        with_registry(|registry| {
            registry.namespaces.insert(0, namespace("a"));
            change(&mut registry.namespaces[1]);
        })
    };
    let state = |state: State, reason: &str| {
        with(&|one| (one.state, one.state_reason) = (state.into(), reason.to_owned()))
    };
    let open = |one: &mut pb::Namespace| {
        one.spec.as_mut().unwrap().policy.as_mut().unwrap().holders.clear();
    };
    let waits = state(State::RebalancePending, "plan 7 waits");
    let failed_without_owners = with(&|one| {
        (one.state, one.state_reason, one.orphaned) = (State::Failed.into(), "n2 is dead".to_owned(), 1);
    });
    vec![
        ("shards-owned", with(&|one| one.unowned = 3), CheckVerdict::Fail, "no owner: 3 of 8 of orders"),
        ("shards-owned", with(&|one| one.orphaned = 2), CheckVerdict::Fail, "gone: 2 of 8 of orders"),
        (
            "shards-controller",
            with_registry(|r| r.scopes.clear()),
            CheckVerdict::Fail,
            "global-control is not there",
        ),
        (
            "shards-controller",
            with_registry(|r| r.scopes = vec![scope("global-control", "", 0)]),
            CheckVerdict::Fail,
            "nobody leads global-control",
        ),
        ("shards-paused", with(&|one| one.paused = 2), CheckVerdict::Warn, "disabled: 2 of 8 of orders"),
        ("shards-rebalancing", state(State::Failed, "n2 is dead"), CheckVerdict::Warn, "failed: orders (n2"),
        ("shards-rebalancing", failed_without_owners, CheckVerdict::Fail, "failed: orders (n2"),
        (
            "shards-rebalancing",
            state(State::Investigating, "brake"),
            CheckVerdict::Warn,
            "waits: orders (brake)",
        ),
        ("shards-rebalancing", waits, CheckVerdict::Warn, "orders (plan 7 waits)"),
        ("shards-balance", with(&|one| one.imbalance = Some(1.26)), CheckVerdict::Warn, "orders (1.26 times"),
        (
            "shards-balance",
            with(&|one| one.overloaded = 2),
            CheckVerdict::Warn,
            "orders (2 nodes with too much",
        ),
        ("shards-holders", with(&open), CheckVerdict::Warn, "whoever may connect may hold shards of: orders"),
        ("shards-holders", with(&|one| one.spec = None), CheckVerdict::Warn, "hold shards of: orders"),
    ]
}
