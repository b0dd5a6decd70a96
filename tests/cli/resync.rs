//! `registers resync`: what is asked before it, how it is followed, and what it comes to.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pool::{
    DEFERRED, PARTIAL, SYNCED, UNCHANGED, begun, ended, operation_event, plan, running, sync_state,
};
use crate::program::{Program, signal};
use crate::stub::{After, Reply, Request, Stub, answer, mesh, peer, problem};
use crate::terminal::Terminal;

fn program() -> (Stub, Program) {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    (stub, program)
}

fn paths(stub: &Stub) -> Vec<String> {
    stub.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

/// The bodies of what was sent, as JSON.
fn bodies(stub: &Stub) -> Vec<Value> {
    let sent = stub.requests().into_iter().filter(|request| request.method == "POST");
    sent.map(|request| serde_json::from_str(&request.body).unwrap()).collect()
}

fn is_watch(request: &Request) -> bool {
    request.path.starts_with("/control/operations/")
        && request.header("accept").is_some_and(|kind| kind.contains("event-stream"))
}

/// A daemon that begins a resync and answers watch number `n` of it, from 0, with `watch(n)`.
fn daemon(watch: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Stub {
    let watched = std::sync::atomic::AtomicUsize::new(0);
    Stub::start(move |request, _| match is_watch(request) {
        true => watch(watched.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        false if request.method == "POST" => begun(SYNCED),
        false => mesh(request),
    })
}

fn still(after: After) -> Reply {
    Reply::Events(vec![operation_event("snapshot", &running(SYNCED))], after)
}

fn finished() -> Reply {
    Reply::Events(vec![operation_event("finished", &ended(SYNCED))], After::Close)
}

#[test]
fn person_sees_what_a_full_sync_removes_and_is_asked() {
    let (stub, program) = program();
    for (typed, code, made) in [("n\n", 130, 1), ("\n", 130, 1), ("y\n", 0, 2)] {
        let before = bodies(&stub).len();
        let mut terminal = Terminal::start(&program, "registers resync --full", 100);
        terminal.wait_for("Continue? [y/N]");
        let words = "Full sync will ADD 1, UPDATE 1, KEEP 99 and REMOVE 1 local advertisement:\r\n  \
                     - reg-legacy-07   (not in the catalogue)\r\nRemote advertisements (214) are not touched.";
        assert!(terminal.seen.contains(words), "{}", terminal.seen);
        terminal.type_line(typed);
        let (ended, seen) = terminal.end();
        assert_eq!(ended, code, "{typed:?}: {seen}");
        let sent = &bodies(&stub)[before..];
        assert_eq!(sent.len(), made, "{typed:?}: {sent:?}");
        assert_eq!(sent[0]["dryRun"], true, "the plan is asked for first");
        let carried_out = |body: &Value| body["dryRun"].is_null() && body["overrideBrake"].is_null();
        assert!(sent[1..].iter().all(carried_out), "who has seen one go has not agreed to all: {sent:?}");
    }
}

#[test]
fn who_has_seen_that_most_goes_is_not_braked() {
    for (remove, keep, overrides) in [(12, 10, true), (12, 11, false), (10, 0, false), (11, 0, true)] {
        let stub = Stub::start(move |request, _| match request.body.contains("dryRun") {
            true => {
                let mut planned = plan(true);
                planned["plan"]["remove"] = remove.into();
                planned["plan"]["keep"] = keep.into();
                Reply::Json(200, planned)
            }
            false => mesh(request),
        });
        let mut terminal = Terminal::start(&Program::at(&stub.url()), "registers resync --full", 100);
        terminal.wait_for("Continue? [y/N]");
        terminal.type_line("y\n");
        let (ended, seen) = terminal.end();
        assert_eq!(ended, 0, "{seen}");
        let sent = bodies(&stub);
        assert_eq!(sent[1]["overrideBrake"] == true, overrides, "{remove} of {remove} and {keep}: {sent:?}");
    }
}

#[test]
fn nobody_is_asked_when_nothing_goes_or_consent_was_given() {
    let nothing = Stub::start(|request, _| match request.body.contains("dryRun") {
        true => Reply::Json(200, plan(false)),
        false => mesh(request),
    });
    let program = Program::at(&nothing.url());
    let (code, seen) = Terminal::start(&program, "registers resync --full", 100).end();
    assert!(code == 0 && seen.contains("and REMOVE 0 local") && !seen.contains("[y/N]"), "{code}: {seen}");
    let (stub, program) = self::program();
    let (code, seen) = Terminal::start(&program, "registers resync --full --yes", 100).end();
    assert!(code == 0 && !seen.contains("[y/N]"), "{code}: {seen}");
    let ended = program.run("registers resync --full");
    assert_eq!(ended.code, 0, "in a script --full is the consent: {ended:?}");
    let brakes: Vec<Value> = bodies(&stub).iter().map(|body| body["overrideBrake"].clone()).collect();
    assert_eq!(
        brakes,
        [json!(true), Value::Null],
        "only --yes takes the brake off, and nothing was asked before"
    );
}

#[test]
fn protected_context_wants_more_than_full() {
    let (stub, _) = program();
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: prod\ncontexts: [{{name: prod, address: '{}', cluster: eu-1, protected: true}}]",
        stub.url()
    ));
    let cases = [
        ("registers resync --full", 2, "--reason"),
        ("registers resync --full --reason x", 2, "--yes --context prod"),
        ("registers resync --full --reason x --yes", 2, "--context prod"),
        ("registers resync --full --reason x --yes --context prod", 0, "Target: prod"),
        ("registers resync --reason x", 0, "Target: prod"),
    ];
    for (line, code, words) in cases {
        let ended = program.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {}", ended.stderr);
    }
    let carried_out = bodies(&stub).iter().filter(|body| body["dryRun"].is_null()).count();
    assert_eq!(carried_out, 2);
}

#[test]
fn brake_is_a_conflict_that_names_yes() {
    let stub =
        Stub::start(|request, _| match request.method == "POST" && !request.body.contains("overrideBrake") {
            true => problem("failed_precondition", "REMOVES_TOO_MANY", 409),
            false => mesh(request),
        });
    let program = Program::at(&stub.url());
    let ended = program.run("registers resync --full");
    assert_eq!((ended.code, ended.stdout.as_str()), (4, ""), "{ended:?}");
    assert!(ended.stderr.contains("; --yes removes them all the same"), "{}", ended.stderr);
    assert_eq!(program.run("registers resync --full -o json").error()["reason"], "REMOVES_TOO_MANY");
    assert_eq!(program.run("registers resync --full --yes").code, 0);
}

#[test]
fn document_has_counts_as_numbers_and_what_failed() {
    let (_stub, program) = program();
    let ended = program.run_with_input("registers resync --file - -o json", "[{\"registerId\": \"a\"}]");
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_eq!(
        ended.json(),
        json!({
            "schemaVersion": "v1", "operationId": PARTIAL, "result": "partial", "processed": 101, "added": 3,
            "updated": 1, "removed": 1, "unchanged": 95, "failed": 1, "deferred": 0,
            "results": [{
                "registerId": "reg-orders-eu", "reason": "STORE_UNAVAILABLE",
                "message": "the store did not answer within 400ms; nothing was changed",
            }],
        })
    );
    let error = ended.error();
    assert_eq!((&error["reason"], &error["exitCode"]), (&json!("PARTIAL_FAILURE"), &json!(7)));
    assert_eq!(error["message"], "1 of 101 registers was not synced");
    let waiting = program.run("registers resync --peer http://peer-service:8080 -o json");
    assert_eq!((waiting.code, &waiting.json()["deferred"]), (7, &json!(3)), "{waiting:?}");
    assert_eq!(
        (&waiting.json()["operationId"], &waiting.json()["result"]),
        (&json!(DEFERRED), &json!("partial"))
    );
    assert_eq!(waiting.error()["message"], "3 advertisements wait in memory for the store");
}

#[test]
fn exit_code_tells_a_change_when_asked() {
    let (_stub, program) = program();
    let cases = [
        ("registers resync", 0),
        ("registers resync --exit-code", 0),
        ("registers resync --full", 0),
        ("registers resync --full --exit-code", 10),
        ("registers resync --full --dry-run", 0),
        ("registers resync --full --dry-run --exit-code", 10),
    ];
    for (line, code) in cases {
        assert_eq!(program.run(line).code, code, "{line}");
    }
    assert_eq!(program.run("registers resync -o json").json()["result"], "unchanged");
    assert_eq!(
        program.run("registers resync --full --dry-run -o json").json(),
        plan(true),
        "as it was answered"
    );
}

#[test]
fn file_is_sent_as_it_says_and_public_unless_it_says_otherwise() {
    let (stub, program) = program();
    let file = program.home.path().join("registers.jsonl");
    std::fs::write(
        &file,
        "{\"registerId\": \"a\", \"latestVersion\": 7}\n{\"registerId\": \"b\", \"isPublic\": false}\n",
    )
    .unwrap();
    let line = format!("registers resync --full --batch 50 --reason why -f {}", file.display());
    assert_eq!(program.run(&line).code, 7);
    assert_eq!(
        bodies(&stub),
        [json!({
            "full": true, "reason": "why", "fromFile": true, "batchSize": 50,
            "advertisements": [
                {"registerId": "a", "isPublic": true, "latestVersion": "7"}, {"registerId": "b", "isPublic": false},
            ],
        })]
    );
    std::fs::write(&file, "[{\"registerId\": \"a\"}, {\"registerId\": \"b\", \"puplic\": true}]").unwrap();
    let ended = program.run(&line);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("item 2 (b)") && ended.stderr.contains("`puplic`"), "{}", ended.stderr);
    assert_eq!(bodies(&stub).len(), 1, "nothing is sent of a file that is wrong");
}

#[test]
fn progress_is_a_line_in_a_pipe_and_nothing_for_programs() {
    let (_stub, program) = program();
    let ended = program.run("registers resync");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(said, ["resync: 50/101 (0 failed)"], "the next line is for ten seconds later");
    assert_eq!(program.run("registers resync -o json").stderr, "");
    assert_eq!(program.run("registers resync -q").stderr, "");
}

#[test]
fn progress_is_a_bar_on_a_terminal() {
    let stub = daemon(|_| still(After::Stay));
    for (locale, bar) in [("C.UTF-8", "▇"), ("C", "#")] {
        let program = Program::at(&stub.url()).with("LANG", locale).with("TERM", "xterm");
        let mut terminal = Terminal::start(&program, "registers resync", 100);
        terminal.wait_for("50/101  batch 1/2  0 failed  ETA");
        assert!(terminal.seen.contains(bar), "{}", terminal.seen);
        signal(&terminal.child, Signal::INT);
        let (code, seen) = terminal.end();
        assert!(code == 130 && seen.contains(&format!("omnirelay ops cancel {SYNCED}")), "{code}: {seen}");
    }
}

#[test]
fn terminal_that_cannot_draw_gets_lines() {
    let (stub, _) = program();
    let program = Program::at(&stub.url()).with("TERM", "dumb");
    let (code, seen) = Terminal::start(&program, "registers resync", 100).end();
    assert!(
        code == 0 && seen.contains("resync: 50/101 (0 failed)") && !seen.contains('\x1b'),
        "{code}: {seen}"
    );
}

#[test]
fn no_wait_prints_the_id_and_asks_nothing_more() {
    let (stub, program) = program();
    let ended = program.run("registers resync --no-wait");
    assert_eq!((ended.code, ended.stdout), (0, format!("{UNCHANGED}\n")));
    assert_eq!(paths(&stub), ["POST /control/registers:resync"]);
    let named = program.run("registers resync --no-wait -o name").stdout;
    assert_eq!(named, format!("operation/{UNCHANGED}\n"));
    assert_eq!(program.run("registers resync --no-wait --wait -o json").json()["result"], "unchanged");
}

#[test]
fn broken_watch_is_taken_up_again() {
    let stub = daemon(|watch| match watch {
        0 => still(After::Close),
        1 => Reply::Close,
        2 => problem("unavailable", "STORE_UNAVAILABLE", 503),
        _ => finished(),
    });
    let ended = Program::at(&stub.url()).run("registers resync");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("synced"), "{}", ended.stdout);
    let lost = ended.stderr.lines().filter(|line| line.starts_with("connection lost, looking for")).count();
    assert_eq!(lost, 1, "{}", ended.stderr);
    assert_eq!(paths(&stub).iter().filter(|path| path.starts_with("POST")).count(), 1, "it is begun once");
}

#[test]
fn operation_that_cannot_be_watched_any_more_may_go_on() {
    let (get, cancel) = (format!("omnirelay ops get {SYNCED}"), format!("omnirelay ops cancel {SYNCED}"));
    let stub = daemon(|watch| if watch == 0 { still(After::Close) } else { Reply::Close });
    let ended = Program::at(&stub.url()).run("registers resync --request-timeout 1s");
    assert_eq!((ended.code, ended.stdout.as_str()), (8, ""), "{ended:?}");
    assert!(ended.stderr.contains("lost sight of operation/"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&get) && ended.stderr.contains(&cancel), "{}", ended.stderr);
    let stub = daemon(|watch| match watch {
        0 => still(After::Close),
        _ => problem("not_found", "OPERATION_NOT_FOUND", 404),
    });
    let ended = Program::at(&stub.url()).run("registers resync -o json");
    assert_eq!((ended.code, &ended.error()["reason"]), (8, &json!("OPERATION_FORGOTTEN")), "{ended:?}");
    let stub = daemon(|_| problem("permission_denied", "MISSING_SCOPE", 403));
    assert_eq!(Program::at(&stub.url()).run("registers resync").code, 5);
}

#[test]
fn wait_ends_in_time_and_says_how_far_it_was() {
    let stub = daemon(|_| still(After::Stay));
    let begun = Instant::now();
    let ended = Program::at(&stub.url()).run("registers resync --timeout 1s -o json");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((ended.code, ended.stdout.as_str()), (8, ""), "{ended:?}");
    let error = ended.error();
    assert_eq!(
        (&error["reason"], &error["cause"]),
        (&json!("OPERATION_TIMEOUT"), &json!("done: 50/101, batch 1/2"))
    );
    assert!(error["hint"].as_str().unwrap().contains(&format!("omnirelay ops cancel {SYNCED}")));
}

#[test]
fn interrupted_wait_says_that_it_goes_on() {
    let stub = daemon(|_| still(After::Stay));
    let mut child = Program::at(&stub.url()).start("registers resync");
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("resync: ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended by itself");
    }
    signal(&child, Signal::INT);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let said = format!("goes on: omnirelay ops get {SYNCED}; omnirelay ops cancel {SYNCED}");
    assert!(rest.contains(&said), "{rest}");
    assert!(paths(&stub).iter().all(|path| !path.ends_with(":cancel")));
}

/// A daemon of `id` that knows the daemon of node-2 at `control`, and carries everything out.
fn node(id: &'static str, status: &'static str, control: &str) -> Stub {
    let control = control.trim_start_matches("http://").to_owned();
    Stub::start(move |request, _| {
        let mut reply = match request.path.as_str() {
            "/control/peers/node-2" => {
                let mut peer = peer("node-2", status, false);
                peer["metadata"]["endpoints"]["control"] = control.clone().into();
                answer(json!({ "peer": peer }))
            }
            "/control/registers:syncState?nodeId=node-2" => answer(sync_state(false)),
            _ => mesh(request),
        };
        if let Reply::Json(200, document) = &mut reply {
            document["localNodeId"] = id.into();
        }
        reply
    })
}

#[test]
fn node_that_is_named_carries_it_out_itself() {
    let second = node("node-2", "alive", "");
    let first = node("node-1", "alive", &second.url());
    let program = Program::at(&first.url());
    let ended = program.run("registers resync --full --node node-2 -v");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains(&format!("Target: {}\n", second.url())), "{}", ended.stderr);
    assert_eq!(paths(&first), ["GET /control/peers/node-2"]);
    let watch = format!("GET /control/operations/{SYNCED}");
    assert_eq!(paths(&second), ["GET /control/node", "POST /control/registers:resync", &watch]);
    assert_eq!(bodies(&second), [json!({"full": true, "nodeId": "node-2"})]);
    for line in [
        "ops list",
        &format!("ops get {SYNCED}"),
        &format!("ops wait {SYNCED}"),
        &format!("ops cancel {SYNCED}"),
    ] {
        let before = first.requests().len();
        assert_eq!(program.run(&format!("{line} --node node-2")).code, 0, "{line}");
        assert_eq!(first.requests().len() - before, 1, "{line}: only where the node is");
    }
    let ended = program.run("registers status --node node-2");
    assert_eq!(ended.code, 10, "{ended:?}");
    assert!(
        ended.stdout.contains("http://peer-service:8080 has drifted: 60 entries should go"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .contains("omnirelay registers resync --node node-2 --peer http://peer-service:8080 --full")
    );
}

#[test]
fn what_goes_on_elsewhere_is_found_again_by_its_node() {
    let second: &OnceLock<Stub> = Box::leak(Box::new(OnceLock::new()));
    let stub = second.get_or_init(|| {
        Stub::start(|request, _| match is_watch(request) {
            true => still(After::Stay),
            false => match mesh(request) {
                Reply::Json(200, mut document) => {
                    document["localNodeId"] = "node-2".into();
                    document["operation"]["nodeId"] = "node-2".into();
                    Reply::Json(200, document)
                }
                reply => reply,
            },
        })
    });
    let first = node("node-1", "alive", &stub.url());
    let ended = Program::at(&first.url()).run("registers resync --full --node node-2 --timeout 1s");
    assert_eq!(ended.code, 8, "{ended:?}");
    assert!(ended.stderr.contains(&format!("omnirelay ops get {SYNCED} --node")), "{}", ended.stderr);
}

#[test]
fn node_that_cannot_be_asked_is_six_and_nothing_is_begun() {
    let cases = [
        ("dead", "http://127.0.0.1:1", "NODE_NOT_ALIVE"),
        ("alive", "", "NODE_ADDRESS_UNKNOWN"),
        ("alive", "http://127.0.0.1:1", "CONNECTION_REFUSED"),
    ];
    for (status, control, reason) in cases {
        let first = node("node-1", status, control);
        let ended =
            Program::at(&first.url()).run("registers resync --node node-2 -o json --request-timeout 1s");
        assert_eq!((ended.code, &ended.error()["reason"]), (6, &json!(reason)), "{ended:?}");
        assert!(bodies(&first).is_empty());
    }
    let third = node("node-3", "alive", "");
    let first = node("node-1", "alive", &third.url());
    let ended = Program::at(&first.url()).run("registers resync --node node-2 -o json");
    assert_eq!((ended.code, &ended.error()["reason"]), (6, &json!("NODE_IS_ANOTHER")), "{ended:?}");
    assert!(bodies(&third).is_empty(), "another node is never taken for it");
}

#[test]
fn operation_is_watched_where_it_was_begun() {
    let other = Stub::start(|_, _| problem("not_found", "OPERATION_NOT_FOUND", 404));
    let stub = daemon(|watch| if watch == 0 { still(After::Close) } else { finished() });
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: two\ncontexts: [{{name: two, addresses: ['{}', '{}']}}]",
        stub.url(),
        other.url()
    ));
    let ended = program.run("registers resync");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(other.requests().is_empty(), "another daemon does not know of it");
}
