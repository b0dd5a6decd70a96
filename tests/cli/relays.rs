//! Relays, agents and drones: what is asked over gRPC, of whom, and what comes of it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use omnirelay_wire::fault::{Code, Fault};
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Answer;
use omnirelay_wire::pb::aeroarc::registry::v1::watch_event::{Object, Type};
use omnirelay_wire::pb::aeroarc::registry::v1::{AgentPlacement, WatchEvent};
use omnirelay_wire::reasons::{self, Reason};

use crate::aero::{Fake, World, agent, drone, placement, relay};
use crate::program::Program;
use crate::stub::{Stub, mesh};
use omnirelay_support::servers::free_port;

/// A port on which nobody listens.
fn closed() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

/// Two relays, one of which holds two drones and the other none.
pub(crate) fn small_fleet() -> Fake {
    let snapshot =
        |object| WatchEvent { r#type: Type::Snapshot.into(), object: Some(object), ..WatchEvent::default() };
    Fake::start(|address| {
        let relay_1 = relay("relay-1", address, 2);
        let moved = placement("drone-7", "relay-1", "relay-2");
        let told = vec![
            snapshot(Object::Relay(relay_1.clone())),
            snapshot(Object::Placement(moved)),
            event(Type::Synced, "1:7", None),
            WatchEvent {
                r#type: Type::Removed.into(),
                cursor: "1:8".to_owned(),
                object: Some(Object::Relay(relay("relay-2", address, 0))),
                ..WatchEvent::default()
            },
        ];
        World {
            relays: vec![relay_1],
            agents: vec![agent("drone-7", "relay-1"), agent("drone-8", "relay-1")],
            drones: vec![drone("drone-7", "relay-1", true), drone("drone-8", "relay-1", false)],
            answer: Answer::Applied,
            told,
            ..World::default()
        }
    })
}

/// A registry that knows of one relay, itself, and of the drone that it holds.
fn alone() -> Fake {
    Fake::start(|address| World {
        relays: vec![relay("relay-1", address, 1)],
        agents: vec![agent("drone-7", "relay-1")],
        drones: vec![drone("drone-7", "relay-1", true)],
        answer: Answer::Applied,
        ..World::default()
    })
}

/// One that no daemon of today gives.
fn reason(code: Code) -> Reason {
    Reason { name: "SOME_REASON", code, means: "", next: "" }
}

#[test]
fn faults_over_grpc_are_those_of_every_command() {
    let cases = [
        (Code::InvalidArgument, 2),
        (Code::DeadlineExceeded, 8),
        (Code::NotFound, 3),
        (Code::PermissionDenied, 5),
        (Code::ResourceExhausted, 6),
        (Code::FailedPrecondition, 4),
        (Code::Unimplemented, 11),
        (Code::Internal, 1),
        (Code::Unavailable, 6),
        (Code::Unauthenticated, 9),
    ];
    let fake = alone();
    let program = Program::at(&fake.url());
    for (code, exit) in cases {
        fake.world.lock().unwrap().fault =
            Some(Fault::new(reason(code), "the daemon says no").hint("do something else"));
        let ended = program.run("relays list -o json");
        assert_eq!((ended.code, ended.stdout.as_str()), (exit, ""), "{code:?}: {ended:?}");
        let error = ended.error();
        assert_eq!(error["code"], code.word());
        assert_eq!(error["reason"], "SOME_REASON");
        assert_eq!(error["message"], "the daemon says no");
        assert_eq!(error["hint"], "do something else");
        assert_eq!(error["target"]["address"], fake.url());
    }
}

#[test]
fn address_that_refuses_leaves_the_call_to_the_next() {
    let fake = alone();
    let program = Program::new();
    let closed = closed();
    assert_eq!(
        program.run(&format!("context add a --address http://{closed} --address {}", fake.url())).code,
        0
    );
    let ended = program.run("-c a relays list -o name -vv");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "relay/relay-1\n"), "{ended:?}");
    assert!(ended.stderr.contains(&format!("gRPC http://{closed}/aeroarc")), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("gRPC {}/aeroarc", fake.url())), "{}", ended.stderr);
}

#[test]
fn what_is_no_grpc_is_told_in_words() {
    let refused = Program::at(&format!("http://{}", closed())).run("relays list -o json");
    assert_eq!((refused.code, refused.error()["reason"].as_str()), (6, Some("CONNECTION_REFUSED")));
    // A stub that speaks HTTP/1 only.
    let stub = Stub::start(|request, _| mesh(request));
    let ended = Program::at(&stub.url()).run("agents list --request-timeout 2s");
    assert!(ended.code == 6 || ended.code == 1, "{ended:?}");
    for raw in ["Error {", "Status {", "os error", "reqwest", "hyper"] {
        assert!(!ended.stderr.contains(raw), "{raw} in: {}", ended.stderr);
    }
}

#[test]
fn ten_thousand_agents_are_ten_pages() {
    let fake = Fake::start(|address| World {
        relays: vec![relay("relay-1", address, 10_000)],
        agents: (0..10_000).map(|at| agent(&format!("drone-{at:05}"), "relay-1")).collect(),
        ..World::default()
    });
    let program = Program::at(&fake.url());
    let document = program.run("agents list -o json").json();
    assert_eq!(document["agents"].as_array().unwrap().len(), 10_000);
    assert_eq!(document["schemaVersion"], "v1");
    assert!(document["generatedAt"].is_string() && document["nextPageToken"] == "");
    assert_eq!(document["agents"][0]["expiresInMs"], "25500", "64-bit numbers are strings");
    assert_eq!(fake.seen(), vec!["agents 1000 ".to_owned(); 10]);
    let few = program.run("agents list --limit 3 -o name");
    assert_eq!(few.stdout.lines().count(), 3);
    assert_eq!(fake.seen().last().unwrap(), "agents 3 ");
    assert_eq!(program.run("agents list --relay relay/nobody -o name --fail-empty").code, 10);
    assert_eq!(fake.seen().last().unwrap(), "agents 1000 nobody");
}

#[test]
fn stale_registry_is_said_to_people_and_to_programs() {
    let fake = alone();
    fake.world.lock().unwrap().stale = true;
    let program = Program::at(&fake.url());
    let ended = program.run("relays list");
    assert!(ended.stderr.contains("the store is out of reach; this was known 1500ms ago"), "{ended:?}");
    let document = program.run("relays list -o json").json();
    assert_eq!((&document["stale"], &document["staleMs"]), (&true.into(), &"1500".into()));
    assert_eq!(program.run("drones list -o json").json()["stale"], true);
}

#[test]
fn placement_of_nobody_is_three_with_a_next_step() {
    let ended = Program::at(&alone().url()).run("agents placement nobody");
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("omnirelay agents list"), "{}", ended.stderr);
}

#[test]
fn relay_that_is_silent_is_in_the_document_and_makes_it_partial() {
    let closed = closed();
    let fake = Fake::start(|address| World {
        relays: vec![relay("relay-1", address, 1), relay("relay-2", closed, 1)],
        drones: vec![drone("drone-8", "relay-1", false), drone("drone-7", "relay-1", true)],
        ..World::default()
    });
    let program = Program::at(&fake.url());
    let ended = program.run("drones list -o json");
    assert_eq!(ended.code, 7, "{ended:?}");
    let document = ended.json();
    let ids: Vec<&str> = document["drones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drone| drone["droneId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["drone-7", "drone-8"], "sorted, whatever the relay's order");
    assert_eq!(document["drones"][0]["ackedSeq"], "9007199254740993");
    assert_eq!(document["relays"], 2);
    assert_eq!(document["unreachable"][0]["relayId"], "relay-2");
    assert_eq!(document["unreachable"][0]["error"]["reason"], "CONNECTION_REFUSED");
    assert_eq!(ended.error()["exitCode"], 7);
    let text = program.run("drones list");
    assert!(text.stderr.contains("warning: relay/relay-2 at"), "{}", text.stderr);
    assert_eq!(program.run("drones list --relay relay-1 -o name").code, 0, "one that answers is enough");
    let refused = program.run("drones list --relay relay-2 -o json");
    assert_eq!((refused.code, refused.stdout.as_str()), (6, ""));
}

#[test]
fn relay_that_is_named_by_its_address_needs_no_registry() {
    let fake = alone();
    let program = Program::at(&format!("http://{}", closed()));
    let ended = program.run(&format!("drones list --relay-addr {} -o name", fake.address));
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "drone/drone-7\n"), "{ended:?}");
    let missing = program.run(&format!("drones status nobody --relay-addr {}", fake.address));
    assert_eq!(missing.code, 3);
    assert!(missing.stderr.contains("leave --relay-addr out"), "{}", missing.stderr);
}

#[test]
fn nobody_lives_is_an_empty_list_with_a_next_step() {
    let fake = Fake::start(|_| World::default());
    let program = Program::at(&fake.url());
    for line in ["relays list", "drones list"] {
        let ended = program.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{line}");
        assert!(ended.stderr.contains("omnirelay up --service relay"), "{}", ended.stderr);
        assert_eq!(program.run(&format!("{line} --fail-empty")).code, 10);
    }
    let ended = program.run("drones status drone-7 -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (3, Some("DRONE_NOT_FOUND")));
}

#[test]
fn drone_that_is_placed_nowhere_is_looked_for_everywhere() {
    let holder =
        Fake::start(|_| World { drones: vec![drone("drone-9", "relay-2", false)], ..World::default() });
    let fake = Fake::start(|address| World {
        relays: vec![relay("relay-1", address, 0), relay("relay-2", holder.address, 0)],
        answer: Answer::Applied,
        ..World::default()
    });
    let program = Program::at(&fake.url());
    let document = program.run("drones status drone-9 -o json").json();
    assert_eq!(document["drone"]["relayId"], "relay-2");
    assert_eq!(document["address"], holder.address.to_string());
    assert_eq!(holder.seen(), ["drone drone-9"]);
    // A command goes to the one that holds it, and to no other.
    program.run("drones clear-context drone-9 --flight f --command-id c-1");
    assert_eq!(holder.seen().last().unwrap(), "clear drone-9 f c-1");
    assert!(fake.seen().iter().all(|asked| !asked.starts_with("clear")), "{:?}", fake.seen());
}

#[test]
fn answer_of_the_agent_is_the_exit_code() {
    let fake = alone();
    let program = Program::at(&fake.url());
    let set = "drones set-context drone-7 --flight f-1 --intent i-1 --intent-version 2";
    let cases = [
        (Answer::Applied, 0),
        (Answer::AlreadyApplied, 0),
        (Answer::Rejected, 10),
        (Answer::TemporaryError, 6),
    ];
    for (answer, exit) in cases {
        fake.world.lock().unwrap().answer = answer;
        let ended = program.run(&format!("{set} --command-id c-41"));
        assert_eq!(ended.code, exit, "{answer:?}: {ended:?}");
        assert_eq!(fake.seen().last().unwrap(), "set drone-7 f-1 i-1 2 c-41");
    }
    fake.world.lock().unwrap().answer = Answer::Applied;
    let ended = program.run(set);
    let fresh = fake.seen().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert!(fresh.len() == 36 && ended.stderr.contains(&fresh), "the id that was made is said: {ended:?}");
    let document = program.run(&format!("{set} -o json")).json();
    assert_eq!(document["result"]["status"], "applied");
    assert_eq!((&document["agentId"], &document["relayId"]), (&"drone-7".into(), &"relay-1".into()));
}

#[test]
fn refusal_of_a_command_says_what_to_do() {
    let fake = alone();
    let program = Program::at(&fake.url());
    fake.world.lock().unwrap().fault = Some(
        Fault::new(reasons::MISSING_SCOPE, "mesh.operate is missing")
            .hint("run it on the relay's own machine"),
    );
    let line = format!("drones clear-context drone-7 --flight f --relay-addr {}", fake.address);
    let ended = program.run(&line);
    assert_eq!(ended.code, 5);
    assert!(ended.stderr.contains("run it on the relay's own machine"), "{}", ended.stderr);
}

#[test]
fn protected_context_wants_a_confirmation_before_a_command() {
    let fake = alone();
    let program = Program::new();
    assert_eq!(program.run(&format!("context add p --address {} --protected", fake.url())).code, 0);
    assert_eq!(program.run("context use p").code, 0);
    let line = "drones clear-context drone-7 --flight f";
    for refused in [line.to_owned(), format!("{line} --yes")] {
        assert_eq!(program.run(&refused).code, 2, "{refused}");
    }
    assert!(fake.seen().is_empty(), "{:?}", fake.seen());
    assert_eq!(program.run(&format!("{line} --yes --context p")).code, 0);
}

fn event(kind: Type, cursor: &str, placement: Option<AgentPlacement>) -> WatchEvent {
    WatchEvent {
        r#type: kind.into(),
        cursor: cursor.to_owned(),
        object: placement.map(Object::Placement),
        ..WatchEvent::default()
    }
}

#[test]
fn watch_goes_on_from_its_cursor_over_connections() {
    let first = vec![
        event(Type::Snapshot, "", Some(placement("drone-7", "relay-1", ""))),
        event(Type::Synced, "1:7", None),
        event(Type::Modified, "1:8", Some(placement("drone-7", "relay-2", "relay-1"))),
    ];
    let second = vec![event(Type::Removed, "1:9", Some(placement("drone-7", "relay-2", "relay-1")))];
    let fake = Fake::start(|_| World { streams: VecDeque::from([first, second]), ..World::default() });
    let program = Program::at(&fake.url());
    let file = program.home.path().join("agents.cursor");
    let ended =
        program.run(&format!("agents watch -o jsonl --max-events 2 --cursor-file {}", file.display()));
    let types: Vec<String> =
        ended.lines().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["snapshot", "synced", "modified", "removed"], "{ended:?}");
    assert_eq!(ended.lines()[2]["placement"]["relayId"], "relay-2");
    assert_eq!(fake.seen(), ["watch [2] ", "watch [2] 1:8"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "1:9\n");
}

#[test]
fn watch_that_is_refused_ends_with_the_fault() {
    let fake = alone();
    fake.world.lock().unwrap().fault = Some(Fault::new(reasons::INVALID_CURSOR, "no such cursor"));
    let ended = Program::at(&fake.url()).run("relays watch --since x -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (2, Some("INVALID_CURSOR")));
}

#[test]
fn drones_are_watched_by_asking_and_frames_are_no_change() {
    let fake = alone();
    let program = Program::at(&fake.url());
    let child = program.start("drones watch --interval 100ms -o jsonl --max-events 3");
    let asked = |times: usize| {
        let before = fake.seen().iter().filter(|asked| *asked == "drones").count();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while fake.seen().iter().filter(|asked| *asked == "drones").count() < before + times {
            assert!(std::time::Instant::now() < end, "nobody asks: {:?}", fake.seen());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    let change = |of: &dyn Fn(&mut World)| {
        of(&mut fake.world.lock().unwrap());
        asked(2);
    };
    asked(1);
    change(&|world| world.drones[0].acked_frames += 1);
    change(&|world| world.drones[0].streaming = false);
    change(&|world| world.drones.push(drone("drone-8", "relay-1", true)));
    // With this change the watch has seen enough, and asks no more.
    fake.world.lock().unwrap().drones.remove(0);
    let ended = crate::program::ended(child.wait_with_output().unwrap());
    let told: Vec<(String, String)> = ended
        .lines()
        .iter()
        .map(|event| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["type"]), text(&event["drone"]["droneId"]))
        })
        .collect();
    let expected = [
        ("snapshot", "drone-7"),
        ("synced", ""),
        ("modified", "drone-7"),
        ("added", "drone-8"),
        ("removed", "drone-7"),
    ];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect();
    assert_eq!((ended.code, told), (0, expected), "{}", ended.stderr);
}
