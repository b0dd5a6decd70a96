//! `mesh peers drain`: until when it waits, and what it says meanwhile.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::{Program, ended, signal};
use crate::stub::{Reply, Request, Stub, answer, peer, problem};

/// What the daemon says of a drain: each scope that is left, and what blocks it.
fn left(remaining: &[(&str, &str)]) -> Reply {
    let remaining: Vec<Value> =
        remaining.iter().map(|(scope, blocked)| json!({"scope": scope, "blockedBy": blocked})).collect();
    answer(json!({
        "nodeId": "relay-b119", "draining": true, "drained": remaining.is_empty(), "remaining": remaining,
    }))
}

/// The answer to the order of a drain.
fn ordered(request: &Request) -> Option<Reply> {
    let id = request.path.strip_prefix("/control/peers/")?.strip_suffix(":drain")?;
    let mut drained = peer(id, "alive", true);
    drained["draining"] = true.into();
    drained["leads"] = json!(["global-control"]);
    Some(Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": true, "dryRun": false, "peer": drained,
            "changes": ["draining: false -> true"],
        }),
    ))
}

/// The peer once it is drained.
fn got(request: &Request) -> Option<Reply> {
    let id = request.path.split('?').next()?.strip_prefix("/control/peers/")?;
    let mut drained = peer(id, "alive", true);
    drained["leads"] = json!([]);
    drained["version"] = "99".into();
    (!id.contains('/') && request.method == "GET").then(|| answer(json!({ "peer": drained })))
}

/// A daemon that takes every order, and answers look number `n` with `look(n)`; the first is 1.
fn daemon(look: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::start(move |request, before| {
        ordered(request).or_else(|| got(request)).unwrap_or_else(|| look(before))
    })
}

fn paths(stub: &Stub) -> Vec<String> {
    stub.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

const BLOCKED: (&str, &str) = ("shard/orders/03", "no other node may lead it: 1 dead");

#[test]
fn drain_ends_when_the_peer_leads_nothing_and_says_each_change_once() {
    let stub = daemon(|look| match look {
        1..3 => left(&[("global-control", ""), BLOCKED]),
        3..5 => left(&[BLOCKED]),
        // Longer than one request is repeated for.
        5..9 => problem("unavailable", "STORE_UNAVAILABLE", 503),
        9 => left(&[BLOCKED]),
        _ => left(&[]),
    });
    let ended = Program::at(&stub.url()).run("mesh peers drain relay-b119 --yes --timeout 60s");
    assert_eq!(ended.code, 0, "{ended:?}");
    let said: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        said,
        [
            "peer/relay-b119 still leads 2 scopes: shard/orders/03 (no other node may lead it: 1 dead), global-control",
            "peer/relay-b119 still leads 1 scope: shard/orders/03 (no other node may lead it: 1 dead)",
        ]
    );
    assert_eq!(
        ended.stdout,
        "peer/relay-b119 draining\n  draining: false -> true\npeer/relay-b119 drained\n"
    );
    let asked = paths(&stub);
    let (read, looks) = asked[1..].split_last().unwrap();
    assert!(looks.len() == 10, "{looks:?}");
    assert_eq!(read, "GET /control/peers/relay-b119?minRevision=7f2c%3A48214");
    let look = "GET /control/peers/relay-b119/drain?minRevision=7f2c%3A48214";
    assert!(looks.iter().all(|path| path == look), "it sees the change: {looks:?}");
}

#[test]
fn drain_that_takes_too_long_is_eight_and_names_what_blocks_it() {
    let stub = daemon(|_| left(&[BLOCKED]));
    let program = Program::at(&stub.url());
    let ended = program.run("mesh peers drain relay-b119 --yes --timeout 300ms -o json");
    let error = ended.error();
    assert_eq!((ended.code, ended.stdout.as_str()), (8, ""), "{ended:?}");
    assert_eq!(error["reason"], "DRAIN_TIMEOUT");
    assert_eq!(error["message"], "peer/relay-b119 is not drained after 300ms; the drain goes on");
    assert_eq!(error["cause"], "it still leads 1 scope: shard/orders/03 (no other node may lead it: 1 dead)");
    assert!(error["hint"].as_str().unwrap().contains("omnirelay mesh peers undrain relay-b119"));
    assert_eq!((&error["target"]["address"], &error["requestId"]), (&json!(stub.url()), &json!("stub-1")));
}

#[test]
fn drain_is_given_all_of_its_time_and_looked_at_when_it_is_over() {
    let stub = daemon(|_| left(&[BLOCKED]));
    let begun = Instant::now();
    // The pauses double, so that the rest of the time is shorter than the next of them.
    let ended = Program::at(&stub.url()).run("mesh peers drain relay-b119 --yes --timeout 500ms");
    assert!(ended.code == 8 && begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[test]
fn document_of_a_finished_drain_is_the_peer_as_it_is_then() {
    let program = |stub: &Stub| Program::at(&stub.url());
    let stub = daemon(|_| left(&[]));
    let document = program(&stub).run("mesh peers drain relay-b119 --yes -o json").json();
    assert_eq!((&document["peer"]["leads"], &document["peer"]["version"]), (&json!([]), &json!("99")));
    assert_eq!(
        (&document["changed"], &document["changes"]),
        (&json!(true), &json!(["draining: false -> true"]))
    );
    let gone = Stub::start(|request, _| match got(request) {
        Some(_) => problem("not_found", "PEER_NOT_FOUND", 404),
        None => ordered(request).unwrap_or_else(|| left(&[])),
    });
    let ended = program(&gone).run("mesh peers drain relay-b119 --yes -o json");
    assert_eq!((ended.code, &ended.json()["peer"]["leads"]), (0, &json!([])), "it is drained all the same");
}

#[test]
fn nothing_is_waited_for_without_an_order_or_a_wish_to_wait() {
    for flag in ["--no-wait", "--dry-run"] {
        let stub = daemon(|_| left(&[BLOCKED]));
        let ended = Program::at(&stub.url()).run(&format!("mesh peers drain relay-b119 --yes {flag}"));
        assert_eq!(
            (ended.code, paths(&stub)),
            (0, vec!["POST /control/peers/relay-b119:drain".to_owned()]),
            "{flag}"
        );
    }
}

#[test]
fn drain_that_somebody_takes_back_is_a_conflict() {
    let stub = daemon(|look| match look {
        1 => left(&[BLOCKED]),
        _ => answer(json!({"nodeId": "relay-b119", "draining": false, "drained": true, "remaining": []})),
    });
    let ended = Program::at(&stub.url()).run("mesh peers drain relay-b119 --yes -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (4, Some("DRAIN_TAKEN_BACK")), "{ended:?}");
}

#[test]
fn all_drains_are_ordered_before_one_is_waited_for_and_all_are_tried() {
    let stub = Stub::start(|request, _| {
        let stays = request.path.starts_with("/control/peers/a/");
        let looked = || if stays { left(&[BLOCKED]) } else { left(&[]) };
        ordered(request).or_else(|| got(request)).unwrap_or_else(looked)
    });
    let program = Program::at(&stub.url());
    let line = "mesh peers drain a b --yes --reason upgrade --idempotency-key k --timeout 250ms -o json";
    let ended = program.run(line);
    assert_eq!((ended.code, ended.error()["exitCode"].as_u64()), (7, Some(7)), "{ended:?}");
    let results = &ended.json()["results"];
    assert_eq!((results[0]["status"].as_str(), results[1]["status"].as_str()), (Some("error"), Some("ok")));
    assert_eq!(results[0]["error"]["reason"], "DRAIN_TIMEOUT");
    assert_eq!(results[1]["change"]["peer"]["nodeId"], "b");
    assert_eq!(results[1]["change"]["peer"]["leads"], json!([]));
    let asked = paths(&stub);
    assert_eq!(asked[..2], ["POST /control/peers/a:drain", "POST /control/peers/b:drain"]);
    let second = asked.iter().position(|path| path.contains("/peers/b/drain")).unwrap();
    assert!(asked[2..second].iter().all(|path| path.contains("/peers/a/drain")), "{asked:?}");
    assert!(asked[second..].iter().all(|path| path.contains("/peers/b")), "{asked:?}");
    let orders: Vec<Request> =
        stub.requests().into_iter().filter(|request| request.method == "POST").collect();
    let keys: Vec<_> = orders.iter().map(|order| order.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys, ["k/a", "k/b"]);
    assert!(orders.iter().all(|order| order.body == r#"{"reason":"upgrade"}"#));
}

#[test]
fn interrupted_drain_goes_on_and_says_so() {
    let stub = daemon(|_| left(&[BLOCKED]));
    let mut child = Program::at(&stub.url()).start("mesh peers drain relay-b119 --yes --timeout 60s");
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    while !said.next().unwrap().unwrap().contains("still leads") {}
    signal(&child, Signal::INT);
    assert_eq!(
        said.next().unwrap().unwrap(),
        "The drain goes on; omnirelay mesh peers undrain takes it back."
    );
    assert_eq!(ended(child.wait_with_output().unwrap()).code, 130);
}

#[test]
fn status_of_a_draining_peer_says_how_far_it_is() {
    let cases = [
        (
            "blocked",
            left(&[BLOCKED]),
            "still leads 1 scope: shard/orders/03 (no other node may lead it: 1 dead)",
        ),
        ("done", left(&[]), "done: it leads and owns nothing"),
        (
            "not known",
            problem("unimplemented", "METHOD_UNKNOWN", 501),
            "not known: the daemon says unimplemented",
        ),
    ];
    for (what, progress, expected) in cases {
        let progress = std::sync::Mutex::new(Some(progress));
        let stub = Stub::start(move |request, _| {
            if request.path.ends_with("/drain") {
                return progress.lock().unwrap().take().unwrap();
            }
            let mut draining = peer("relay-b119", "alive", true);
            draining["draining"] = true.into();
            answer(json!({ "peer": draining }))
        });
        let program = Program::at(&stub.url());
        let ended = program.run("mesh peers status relay-b119");
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        let line = ended.stdout.lines().find(|line| line.trim_start().starts_with("drain ")).unwrap();
        assert_eq!(line.trim_start().trim_start_matches("drain").trim_start(), expected, "{what}");
        assert_eq!(program.run("mesh peers status relay-b119 -o json").code, 0);
        // The peer, its drain and what is found of it; and the peer alone.
        assert_eq!(stub.requests().len(), 4, "{what}: a program asks for the peer alone");
    }
}
