mod bad_cases;

use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::timestamp::timestamp;

use super::facts::{MeshFacts, NodeAnswer, NotAsked, RegistryFacts};
use super::finding::{CheckResult, CheckVerdict};
use super::{CATEGORIES, all, judge};
use bad_cases::bad_cases;
use pb::peer::Status;
use pb::peer_health::State;

const NOW: Millis = Millis(1_795_000_000_000);
/// Items that are required.
const REQUIRED: [&str; 3] = ["serving", "view", "session"];

/// A node with which all is as it should be.
fn node(id: &str) -> pb::GetNodeResponse {
    let items = CATEGORIES.iter().flat_map(|category| category.items);
    let item = |name: &str| pb::ReadinessItem {
        name: name.to_owned(),
        ok: true,
        message: String::new(),
        required: REQUIRED.contains(&name),
    };
    pb::GetNodeResponse {
        local_node_id: id.to_owned(),
        generated_at: Some(timestamp(NOW)),
        host_time: Some(timestamp(Millis(NOW.0 + 5))),
        version: "0.1.0".to_owned(),
        store: "embedded".to_owned(),
        ready: true,
        readiness: items.map(|name| item(name)).collect(),
        let_in: "nobody".to_owned(),
        revocations_number: 3,
        revocations_enforced_number: 3,
        mesh_port: "open".to_owned(),
        enrolment: "certified".to_owned(),
        mesh_wide_settings: [("session.ttl".to_owned(), "2s".to_owned())].into(),
        knows_reach_by: vec!["calls".to_owned(), "gossip".to_owned()],
        ..Default::default()
    }
}

fn said(node: pb::GetNodeResponse) -> NodeAnswer {
    NodeAnswer { id: node.local_node_id.clone(), said: Ok(Box::new(node)) }
}

/// A peer that was registered long ago, and that gossip has as the registry does.
fn peer(id: &str, status: Status) -> pb::Peer {
    let state = match status {
        Status::Alive => State::Alive,
        Status::Suspect => State::Suspect,
        Status::Dead => State::Dead,
        Status::Left | Status::Unspecified => State::Left,
    };
    let endpoints = pb::PeerEndpoints {
        control: Some(format!("{id}.test:17420")),
        mesh: Some(format!("{id}.test:17421")),
        ..Default::default()
    };
    pb::Peer {
        node_id: id.to_owned(),
        status: status.into(),
        status_since: Some(timestamp(Millis(NOW.0 - 3_600_000))),
        health: Some(pb::PeerHealth { state: state.into(), ..Default::default() }),
        metadata: Some(pb::PeerMetadata {
            mesh_version: "0.1.0".to_owned(),
            endpoints: Some(endpoints),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn scope(name: &str, leader: &str, flaps: u32) -> pb::Leadership {
    pb::Leadership {
        scope: name.to_owned(),
        leader_id: leader.to_owned(),
        flaps_last_hour: flaps,
        ..Default::default()
    }
}

/// One with which all is as it should be.
fn namespace(name: &str) -> pb::Namespace {
    let policy = pb::RebalancePolicy { holders: vec!["service:orders".to_owned()], ..Default::default() };
    pb::Namespace {
        namespace: name.to_owned(),
        shards: 8,
        state: pb::namespace::State::Steady.into(),
        imbalance: Some(1.25),
        spec: Some(pb::NamespaceSpec { policy: Some(policy), ..Default::default() }),
        ..Default::default()
    }
}

/// Of a mesh of two nodes with which all is as it should be.
fn facts() -> MeshFacts {
    let registry = RegistryFacts {
        own: "node-1".to_owned(),
        peers: vec![peer("node-1", Status::Alive), peer("node-2", Status::Alive)],
        scopes: vec![scope("global-control", "node-1", 0)],
        namespaces: vec![namespace("orders")],
    };
    MeshFacts {
        nodes: vec![said(node("node-1")), said(node("node-2"))],
        not_asked: 0,
        registry: Some(registry),
    }
}

/// The same with something else in the registry.
fn with_registry(change: impl FnOnce(&mut RegistryFacts)) -> MeshFacts {
    let mut facts = facts();
    change(facts.registry.as_mut().unwrap());
    facts
}

fn with_peers(peers: Vec<pb::Peer>) -> MeshFacts {
    with_registry(|registry| registry.peers = peers)
}

/// The same, but that node 1 or 2 says something else.
fn with_node(number: usize, change: impl FnOnce(&mut pb::GetNodeResponse)) -> MeshFacts {
    let mut facts = facts();
    change(facts.nodes[number - 1].said.as_mut().unwrap());
    facts
}

/// An item of readiness of node 1 or 2 is not fine.
fn with_trouble(number: usize, name: &str, message: &str) -> MeshFacts {
    with_node(number, |node| trouble(node, name, message))
}

fn trouble(node: &mut pb::GetNodeResponse, name: &str, message: &str) {
    node.readiness.retain(|item| item.name != name);
    let (name, message, required) = (name.to_owned(), message.to_owned(), REQUIRED.contains(&name));
    node.readiness.push(pb::ReadinessItem { name, ok: false, message, required });
}

/// Node 1 or 2 reaches the other so: by gossip, by calls, and why not over HTTP/3.
fn with_reach(number: usize, [gossip, unreached, downgrade]: [&str; 3]) -> MeshFacts {
    with_node(number, |node| {
        let [gossip, unreached, downgrade] = [gossip, unreached, downgrade].map(str::to_owned);
        let node_id = format!("node-{}", 3 - number);
        node.reach = vec![pb::PeerReach { node_id, gossip, unreached, downgrade }];
    })
}

fn without_answer(why: NotAsked) -> MeshFacts {
    let mut facts = facts();
    facts.nodes[1].said = Err(why);
    facts
}

fn found(id: &str, facts: &MeshFacts) -> CheckResult {
    judge(facts).find(|(_, check, _)| check.id == id).unwrap().2
}

/// A check, facts in which it does not pass, what it says then, and what its text names.
type Case = (&'static str, MeshFacts, CheckVerdict, &'static str);

#[test]
fn everything_passes_on_a_fit_mesh_and_says_by_whose_word() {
    for (_, check, finding) in judge(&facts()) {
        assert_eq!(finding.verdict, CheckVerdict::Pass, "{}: {}", check.id, finding.text);
        let by = finding.seen_by;
        assert!(by.is_empty() || by == ["node-1", "node-2"] || by.len() == 1, "{}: {by:?}", check.id);
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
fn no_check_lacks_a_bad_case() {
    for (_, check) in all() {
        assert!(
            bad_cases().iter().any(|(id, ..)| *id == check.id),
            "{} has no case in which it fails",
            check.id
        );
    }
}

/// What the registry has is unknown before it was loaded; what nodes say of themselves is not.
#[test]
fn nothing_is_said_of_a_registry_that_is_not_loaded() {
    let loading = MeshFacts { registry: None, ..with_trouble(1, "view", "still being loaded") };
    for id in ["membership-dead", "leadership-led", "shards-owned", "versions-peers", "nodes-answer"] {
        assert_eq!(found(id, &loading).verdict, CheckVerdict::Unknown, "{id}");
    }
    let store = found("registry-store", &loading);
    assert!(store.verdict == CheckVerdict::Pass && store.text.contains("not known yet"), "{}", store.text);
}

#[test]
fn every_item_of_readiness_is_judged_once() {
    let mut claimed: Vec<&str> = CATEGORIES.iter().flat_map(|category| category.items).copied().collect();
    claimed.sort_unstable();
    let all = claimed.len();
    claimed.dedup();
    assert_eq!(claimed.len(), all);
    for item in claimed {
        let facts = with_trouble(2, item, "planted");
        let mut bad = judge(&facts).filter(|(_, _, found)| found.verdict.is_bad());
        let told = bad.find(|(_, _, found)| found.text.contains("planted"));
        let (_, check, found) = told.unwrap_or_else(|| panic!("{item} is judged by nothing"));
        assert_eq!(found.seen_by, ["node-2"], "{item}, {}", check.id);
    }
}

/// A fault that one node alone sees is told whoever judges, and by whose word.
#[test]
fn what_only_one_node_sees_is_told_with_its_name() {
    for number in [1, 2] {
        let by = format!("node-{number}");
        for (id, reach) in [
            ("membership-unreached", ["gone", "", ""]),
            ("membership-unreached", ["unheard", "", ""]),
            ("transport-reached", ["", "others_answer", ""]),
            ("transport-reached", ["", "no_connection", ""]),
            ("transport-http3", ["", "", "no_answer"]),
        ] {
            let finding = found(id, &with_reach(number, reach));
            assert_eq!((finding.verdict, finding.seen_by), (CheckVerdict::Warn, vec![by.clone()]), "{id}");
            assert_eq!(finding.about, [format!("node-{}", 3 - number)], "{id}");
            assert!(finding.text.contains(&finding.about[0]), "{id}: {}", finding.text);
        }
        let away = with_node(number, |node| (node.stale, node.stale_ms) = (true, Some(1_200)));
        let finding = found("registry-store", &away);
        assert_eq!(
            (finding.verdict, finding.seen_by),
            (CheckVerdict::Fail, vec![by.clone()]),
            "{}",
            finding.text
        );
    }
}

#[test]
fn each_advice_is_told_once_on_a_line_of_its_own() {
    let mut facts = with_trouble(1, "store-settings", "sync each write\nadd a replica");
    trouble(facts.nodes[1].said.as_mut().unwrap(), "store-settings", "add a replica");
    let finding = found("registry-settings", &facts);
    assert_eq!(finding.text, "node-1: sync each write\nnode-1, node-2: add a replica");
    assert_eq!(finding.seen_by, ["node-1", "node-2"]);
}

/// Whoever has gone since is told of by its status, and by nothing else.
#[test]
fn a_node_that_is_gone_is_not_called_unreached() {
    for unreached in ["others_answer", "no_connection"] {
        let mut facts = with_reach(1, ["gone", unreached, "no_answer"]);
        facts.registry.as_mut().unwrap().peers[1].status = Status::Suspect.into();
        for id in ["membership-unreached", "transport-reached", "transport-http3"] {
            assert!(!found(id, &facts).verdict.is_bad(), "{id}");
        }
    }
}

#[test]
fn a_node_that_cannot_be_asked_is_never_well() {
    let many = MeshFacts { not_asked: 900, ..facts() };
    let finding = found("nodes-answer", &many);
    assert!(
        finding.verdict == CheckVerdict::Unknown && finding.text == "900 more were not asked",
        "{finding:?}"
    );
    assert!(found("audit-sealed", &many).text.ends_with("(2 of 902 live nodes said so)"));
    let no_way = without_answer(NotAsked::NoWay("at b:1 it lets in nobody without proof".to_owned()));
    let finding = found("nodes-answer", &no_way);
    assert_eq!(finding.verdict, CheckVerdict::Unknown);
    assert!(finding.text.contains("node-2: at b:1 it lets in nobody"), "{}", finding.text);
    assert!(found("audit-sealed", &no_way).text.ends_with("(1 of 2 live nodes said so)"));
    // One that is silent besides takes nothing of that away.
    let mut both = no_way;
    both.nodes
        .push(NodeAnswer { id: "node-3".to_owned(), said: Err(NotAsked::Silent("at c:1: gone".to_owned())) });
    let finding = found("nodes-answer", &both);
    assert_eq!(finding.verdict, CheckVerdict::Unknown);
    assert!(finding.text.contains("silent: node-3") && finding.text.contains("asked: node-2"), "{finding:?}");
}

/// Those that say nothing of how they reach others are no witnesses that they do.
#[test]
fn who_does_not_call_others_is_no_witness_that_they_are_reached() {
    let older = with_node(2, |node| node.knows_reach_by.clear());
    for id in ["membership-unreached", "transport-reached", "transport-http3"] {
        let finding = found(id, &older);
        assert_eq!(
            (finding.verdict, finding.seen_by),
            (CheckVerdict::Pass, vec!["node-1".to_owned()]),
            "{id}"
        );
        assert!(finding.text.ends_with("(1 of 2 live nodes said so)"), "{id}: {}", finding.text);
    }
}

#[test]
fn who_was_put_out_is_meant_to_be_gone() {
    let mut out = peer("node-2", Status::Dead);
    out.unproven = "certificate_revoked".to_owned();
    let finding = found("membership-dead", &with_registry(|registry| registry.peers[1] = out));
    assert_eq!(finding.verdict, CheckVerdict::Pass);
    assert!(finding.text.contains("put out: node-2"), "{}", finding.text);
    assert!(finding.hint.unwrap().starts_with("omnirelay mesh peers forget node-2"));
}

/// It stands in a command that somebody copies.
#[test]
fn an_address_that_is_none_stands_in_no_command() {
    for (control, is_one) in [
        ("10.0.0.2:17420", true),
        ("[fe80::1]:17420", true),
        ("b.example:1", true),
        ("b;rm -rf x:1", false),
        ("$(x):17420", false),
        ("b.example", false),
        (":17420", false),
        ("b:0", false),
        ("b\n:1", false),
    ] {
        let mut dead = peer("node-2", Status::Dead);
        let said = dead.metadata.as_mut().unwrap().endpoints.as_mut().unwrap();
        said.control = Some(control.to_owned());
        let hint =
            found("membership-dead", &with_registry(|registry| registry.peers[1] = dead)).hint.unwrap();
        assert_eq!(hint.contains("--addr"), is_one, "{control}: {hint}");
    }
}

#[test]
fn what_older_daemons_do_not_say_is_left_out() {
    let mut older = facts();
    for node in &mut older.nodes {
        node.said.as_mut().unwrap().readiness.clear();
    }
    for (id, said) in [
        ("registry-settings", "store-settings"),
        ("registry-sentinels", "store-sentinels"),
        ("registry-history", "history"),
        ("registry-lost", "lost-records"),
        ("registry-replicas", "leaders-replicas"),
        ("registry-splits", "leaders-split"),
    ] {
        assert_eq!(found(id, &older).verdict, CheckVerdict::Skip, "{id}");
        assert_eq!(found("control-api-ready", &with_trouble(1, said, "set it")).text, "node-1 is ready");
    }
}

#[test]
fn a_node_whose_store_is_silent_does_not_judge_leases() {
    let mut facts = with_registry(|registry| registry.scopes = vec![scope("global-control", "", 0)]);
    let judged =
        |facts: &MeshFacts| ["leadership-led", "shards-controller"].map(|id| found(id, facts).verdict);
    assert_eq!(judged(&facts), [CheckVerdict::Fail; 2]);
    let own = facts.nodes[0].said.as_mut().unwrap();
    (own.stale, own.stale_ms, own.store_trouble) = (true, Some(9_000), "WRONGPASS".to_owned());
    assert_eq!(judged(&facts), [CheckVerdict::Unknown; 2]);
    assert!(found("leadership-led", &facts).text.contains("node-1 cannot know it"));
    facts.registry.as_mut().unwrap().scopes = vec![scope("global-control", "node-1", 0)];
    assert_eq!(judged(&facts), [CheckVerdict::Unknown; 2], "what its memory has is over");
    let told = found("registry-store", &facts);
    assert!(told.text.ends_with("9000ms for node-1; node-1: WRONGPASS"), "{}", told.text);
    assert!(told.hint.unwrap().contains("store.passwordFile"));
}

#[test]
fn who_comes_in_without_proof_is_told() {
    let cases = [
        ("nobody", CheckVerdict::Pass, "nobody comes in without proof", false),
        ("host", CheckVerdict::Pass, "node-1: every user of the daemon's host", true),
        ("anyone", CheckVerdict::Warn, "node-1: whoever reaches", true),
        ("", CheckVerdict::Pass, "(1 of 2 live nodes said so)", false),
    ];
    for (word, verdict, text, hints) in cases {
        let finding = found("control-api-proof", &with_node(1, |node| node.let_in = word.to_owned()));
        assert_eq!((finding.verdict, finding.hint.is_some()), (verdict, hints), "{word}: {finding:?}");
        assert!(finding.text.contains(text), "{word}: {finding:?}");
    }
}

#[test]
fn nobody_is_told_to_start_what_runs() {
    let runs = with_registry(|registry| {
        let mut dead = peer("node-2", Status::Dead);
        dead.health = Some(pb::PeerHealth { state: State::Alive.into(), ..Default::default() });
        registry.peers[1] = dead;
    });
    let is_off = with_registry(|registry| registry.peers[1] = peer("node-2", Status::Dead));
    for (facts, said) in [(runs, "its daemon runs, for node-2 answers"), (is_off, "start it again")] {
        let hint = found("membership-dead", &facts).hint.unwrap();
        assert!(hint.contains(said) && hint.contains("--addr node-2.test:17420 mesh check"), "{hint}");
    }
}

#[test]
fn a_mesh_without_an_authority_says_that_nobody_gossips() {
    let mut facts = facts();
    for node in &mut facts.nodes {
        let node = node.said.as_mut().unwrap();
        (node.mesh_port, node.enrolment) = ("not_enrolled".to_owned(), "no_authority".to_owned());
        node.knows_reach_by.clear();
    }
    let port = found("transport-port", &facts);
    assert!(port.verdict == CheckVerdict::Warn && port.text.contains("none gossips"), "{port:?}");
    let unreached = found("membership-unreached", &facts);
    assert!(
        unreached.verdict == CheckVerdict::Skip && unreached.text.contains("no authority"),
        "{unreached:?}"
    );
    assert_eq!(found("identity-certificate", &facts).verdict, CheckVerdict::Skip);
}
