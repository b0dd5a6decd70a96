//! `registers`: what it asks of the daemon, and what it makes of the answers.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::{Program, ended, signal};
use crate::stub::{Reply, Request, Stub, answer, mesh, problem};

fn register(id: &str, advertise: bool) -> Value {
    json!({
        "registerId": id, "nodeId": "relay-a7f3", "name": format!("The {id}"), "description": "of the shop",
        "advertise": advertise, "latestVersion": "48211", "latestDocketVersion": "913",
        "labels": {"team": "sales"}, "version": "7", "lastWriterId": "relay-a7f3",
        "createdAt": "2026-11-14T06:01:00Z", "updatedAt": "2026-11-20T06:00:46Z",
    })
}

/// A small catalogue with fixed times, for what commands print.
pub(crate) fn registers(request: &Request, path: &str) -> Reply {
    let dry = request.body.contains("\"dryRun\":true") || request.path.contains("dryRun=true");
    let change = |id: &str, changed: bool, advertised: bool, lines: &[&str]| {
        Reply::Json(
            200,
            json!({
                "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": changed, "dryRun": dry,
                "register": register(id, true), "changes": lines, "advertised": advertised,
            }),
        )
    };
    match (request.method.as_str(), path) {
        ("GET", "/control/registers") if request.path.contains("advertise=false") => {
            answer(json!({"nextPageToken": "", "totalSize": 0, "registers": []}))
        }
        ("GET", "/control/registers") => {
            let found = [register("invoices", true), register("orders", true), register("payroll", false)];
            answer(json!({"nextPageToken": "", "totalSize": 3, "registers": found}))
        }
        ("GET", "/control/registers/orders") => {
            let by = |source: &str, producer: &str| json!({"source": source, "producer": producer, "isPublic": true});
            let by = [by("relay-a7f3", "catalogue"), by("relay-b119", "http:billing")];
            answer(json!({"register": register("orders", true), "advertisements": by}))
        }
        ("POST", "/control/registers") if request.body.contains("\"invoices\"") => {
            problem("already_exists", "REGISTER_EXISTS", 409)
        }
        ("POST", "/control/registers") => {
            change("orders", true, true, &["created", "name: \"\" -> \"Orders\""])
        }
        ("PATCH", "/control/registers/orders") if request.body.contains("\"advertise\":true") => {
            change("orders", false, true, &[])
        }
        ("PATCH", "/control/registers/orders") if request.body.contains("advertise") => {
            change("orders", true, true, &["advertise: true -> false"])
        }
        ("PATCH", "/control/registers/orders") => {
            change("orders", true, false, &["label tier: (none) -> \"gold\""])
        }
        ("PATCH", "/control/registers/invoices") => {
            change("invoices", true, false, &["advertise: false -> true"])
        }
        ("DELETE", "/control/registers/orders") => change("orders", true, true, &["deleted"]),
        ("POST", "/control/registers:import") => import(request, dry),
        ("POST", "/control/registers:batchUpdate" | "/control/registers:batchDelete") => batch(request, dry),
        (_, _) => problem("not_found", "REGISTER_NOT_FOUND", 404),
    }
}

/// Changes each, except for one called `full` and one called `gone`.
fn batch(request: &Request, dry: bool) -> Reply {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let line = if request.path.contains("Delete") { "deleted" } else { "advertise: false -> true" };
    let outcome = |id: &Value| {
        let failed = |reason: &str, message: &str| json!({"registerId": id, "failure": {"registerId": id, "reason": reason, "message": message}});
        match id.as_str() {
            Some("full") => failed("STORE_FULL", "the store is full"),
            Some("gone") => failed("REGISTER_NOT_FOUND", "`relay-a7f3` hosts no register `gone`"),
            _ => json!({
                "registerId": id,
                "change": {
                    "schemaVersion": "v1", "cursor": "7f2c:48214", "changed": true, "dryRun": dry,
                    "changes": [line], "advertised": true,
                },
            }),
        }
    };
    let results: Vec<Value> = body["registerId"].as_array().unwrap().iter().map(outcome).collect();
    Reply::Json(200, json!({"schemaVersion": "v1", "cursor": "7f2c:48214", "results": results}))
}

/// Takes in what comes, except for a register called `full`.
fn import(request: &Request, dry: bool) -> Reply {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let ids: Vec<&str> =
        body["registers"].as_array().unwrap().iter().filter_map(|it| it["registerId"].as_str()).collect();
    let failed = ids.contains(&"full");
    let results: Vec<Value> = failed
        .then(|| json!({"registerId": "full", "reason": "STORE_FULL", "message": "the store is full"}))
        .into_iter()
        .collect();
    Reply::Json(
        200,
        json!({
            "schemaVersion": "v1", "cursor": "7f2c:48214", "dryRun": dry, "processed": ids.len(),
            "added": ids.len() - usize::from(failed), "updated": 0, "unchanged": 0,
            "failed": usize::from(failed), "results": results, "advertised": true,
        }),
    )
}

#[test]
fn each_verb_is_one_request_of_the_api() {
    let cases = [
        ("list", "GET /control/registers", ""),
        (
            "list --filter advertise=false -l tier=std --sort-by updated:desc --limit 5",
            "GET /control/registers?orderBy=updated_at%20desc&pageSize=5&selector=tier%3Dstd&advertise=false",
            "",
        ),
        ("list --node n-2", "GET /control/registers?nodeId=n-2", ""),
        ("list --node peer/n-2", "GET /control/registers?nodeId=n-2", ""),
        ("--node n-2 get register/a:b", "GET /control/registers/a%3Ab?nodeId=n-2", ""),
        (
            "create a --advertise --label tier=std --reason why",
            "POST /control/registers",
            r#"{"name":"","description":"","advertise":true,"latestVersion":"0","latestDocketVersion":"0","labels":{"tier":"std"},"registerId":"a","reason":"why"}"#,
        ),
        (
            "update orders --name= --latest-version 0 --label a=1 --label b- --if-match 7",
            "PATCH /control/registers/orders",
            r#"{"name":"","latestVersion":"0","setLabels":{"a":"1"},"removeLabels":["b"],"expectedVersion":"7"}"#,
        ),
        (
            "advertise orders --node n-2",
            "PATCH /control/registers/orders",
            r#"{"advertise":true,"nodeId":"n-2"}"#,
        ),
        ("unadvertise orders", "PATCH /control/registers/orders", r#"{"advertise":false}"#),
        (
            "delete orders --yes --reason why --if-match 7 --node n-2",
            "DELETE /control/registers/orders?nodeId=n-2&reason=why&expectedVersion=7",
            "",
        ),
        ("delete orders --dry-run", "DELETE /control/registers/orders?dryRun=true", ""),
    ];
    for (line, asked, body) in cases {
        let stub = Stub::start(|request, _| mesh(request));
        let ended = Program::new().run(&format!("--addr {} registers {line}", stub.url()));
        let requests = stub.requests();
        let first = &requests[0];
        assert_eq!(format!("{} {}", first.method, first.path), asked, "{line}: {ended:?}");
        assert_eq!((first.body.as_str(), requests.len()), (body, 1), "{line}: {ended:?}");
    }
}

fn imported(
    lines: &str,
    flags: &str,
    reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> (Vec<Request>, crate::program::Ended) {
    let stub = Stub::start(reply);
    let program = Program::new();
    let file = program.home.path().join("registers.jsonl");
    std::fs::write(&file, lines).unwrap();
    let line = format!("--addr {} registers import -f {} {flags}", stub.url(), file.display());
    let ended = program.run(&line);
    (stub.requests(), ended)
}

fn lines(count: usize) -> String {
    (0..count).map(|at| format!("{{\"registerId\":\"r{at:05}\"}}\n")).collect()
}

#[test]
fn a_large_file_is_sent_in_requests_of_five_thousand_each_under_its_own_key() {
    let flags = "-o json --idempotency-key k";
    let (requests, ended) =
        imported(&(lines(12_000) + "{\"registerId\":\"r00000\"}"), flags, |request, _| mesh(request));
    assert_eq!(ended.code, 0, "{ended:?}");
    let sent: Vec<usize> = requests
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            body["registers"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(sent, [5000, 5000, 2000], "of two with one id the last is sent");
    let keys: Vec<_> = requests.iter().filter_map(|request| request.header("idempotency-key")).collect();
    assert_eq!(keys, ["k/0", "k/1", "k/2"]);
    let document = ended.json();
    let counts = ["processed", "added", "unchanged", "failed"].map(|name| document[name].as_u64().unwrap());
    assert_eq!(counts, [12_001, 12_000, 1, 0]);
}

#[test]
fn a_request_that_fails_later_leaves_the_rest_as_failed() {
    let (requests, ended) = imported(&lines(12_000), "-o json", |request, count| match count {
        0 => mesh(request),
        _ => problem("failed_precondition", "PEER_NOT_GONE", 409),
    });
    let document = ended.json();
    assert_eq!((ended.code, requests.len()), (7, 2), "{}", ended.stderr);
    assert_eq!((document["added"].as_u64(), document["failed"].as_u64()), (Some(5000), Some(7000)));
    let results = document["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["registerId"]), (7000, &json!("r05000")));
    assert_eq!(results[0]["reason"], "PEER_NOT_GONE");
    let (requests, ended) =
        imported(&lines(12_000), "-o json", |_, _| problem("failed_precondition", "PEER_NOT_GONE", 409));
    assert_eq!(
        (ended.code, requests.len(), ended.stdout.as_str()),
        (4, 1, ""),
        "nothing done is the fault itself"
    );
}

#[test]
fn what_the_store_refuses_is_named() {
    let file = lines(2) + "{\"registerId\":\"full\"}";
    let (_, ended) = imported(&file, "", |request, _| mesh(request));
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (7, "3 registers: 2 added, 0 updated, 0 unchanged, 1 failed\n")
    );
    for line in
        ["register/full: the store is full (STORE_FULL)", "error: 1 of 3 registers could not be imported"]
    {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
}

#[test]
fn a_file_with_anything_wrong_in_it_is_not_sent() {
    let wrong = lines(3) + "{\"registerId\":\"x\",\"colour\":1}";
    let (requests, ended) = imported(&wrong, "", |request, _| mesh(request));
    assert_eq!((ended.code, requests.len()), (2, 0));
    assert!(
        ended.stderr.contains("item 4 (x)") && ended.stderr.contains("unknown field `colour`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_the_pool_does_not_show_yet_is_told_by_whose_it_is() {
    const OWN: &str = "  the pool does not show this yet; it will as soon as it can be reached\n";
    let cases = [
        ("update orders --name N", true, OWN),
        ("update orders --name N", false, OWN),
        ("advertise orders --node n-2", true, "  n-2 will advertise it by itself\n"),
        ("advertise orders --node n-2", false, ""),
        ("create orders --node n-2", true, "  n-2 will advertise it by itself\n"),
        ("unadvertise orders", true, OWN),
        ("unadvertise orders --node n-2", true, "  n-2 will withdraw it by itself\n"),
        ("delete orders --yes", true, OWN),
        ("delete orders --yes --node peer/n-2", true, "  n-2 will withdraw it by itself\n"),
        ("delete orders --dry-run", true, ""),
    ];
    for (line, changed, said) in cases {
        let stub = Stub::start(move |request, _| {
            let dry = request.path.contains("dryRun=true");
            Reply::Json(200, json!({"changed": changed, "dryRun": dry, "changes": [], "advertised": false}))
        });
        let ended = Program::at(&stub.url()).run(&format!("registers {line}"));
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        let (_, below) = ended.stdout.split_once('\n').unwrap();
        assert_eq!(below, said, "{line}");
    }
}

#[test]
fn flags_that_do_not_fit_are_told_before_anybody_is_asked() {
    let stub = Stub::start(|request, _| mesh(request));
    for line in ["--for 1s", "--sort-by colour", "--columns colour", "--watch --columns colour"] {
        let ended = Program::at(&stub.url()).run(&format!("registers available --node node-2 {line}"));
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
    }
    assert!(stub.requests().is_empty(), "{:?}", stub.requests().len());
}

/// The ids of a request about many registers.
fn ids_of(request: &Request) -> Vec<String> {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let ids = body["registerId"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn many(count: usize) -> String {
    (0..count).map(|at| format!("register/r{at:05}\n")).collect()
}

#[test]
fn several_registers_go_in_requests_of_a_thousand_each_under_its_own_key() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let line = "registers delete - --yes --idempotency-key k --reason why -o json";
    let ended = program.run_with_input(line, &many(2500));
    assert_eq!(
        (ended.code, ended.json()["results"].as_array().unwrap().len()),
        (0, 2500),
        "{}",
        ended.stderr
    );
    let requests = stub.requests();
    let sent: Vec<usize> = requests.iter().map(|request| ids_of(request).len()).collect();
    let keys: Vec<_> = requests.iter().filter_map(|request| request.header("idempotency-key")).collect();
    assert_eq!((sent, keys), (vec![1000, 1000, 500], vec!["k/0", "k/1", "k/2"]));
    assert!(requests.iter().all(|request| request.path == "/control/registers:batchDelete"));
    assert!(requests.iter().all(|request| request.body.contains(r#""reason":"why""#)));
}

#[test]
fn each_register_of_several_has_its_outcome() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let ended = program.run("registers delete a gone full b --yes");
    assert_eq!((ended.code, ended.stdout.as_str()), (7, "register/a deleted\nregister/b deleted\n"));
    for line in
        ["register/gone: `relay-a7f3` hosts no register `gone`", "register/full: the store is full", "2 of 4"]
    {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    let ended = program.run("registers delete a gone b --yes --ignore-not-found");
    let told = "register/a deleted\nregister/gone unchanged: it was gone already\nregister/b deleted\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (0, told), "{}", ended.stderr);
}

#[test]
fn registers_with_labels_are_listed_first() {
    let stub = Stub::start(|request, _| mesh(request));
    let ended = Program::at(&stub.url()).run("registers advertise -l tier=std --node n-2");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let requests = stub.requests();
    assert!(requests[0].path.contains("selector=tier%3Dstd") && requests[0].path.contains("nodeId=n-2"));
    assert_eq!(ids_of(&requests[1]), ["invoices", "orders", "payroll"]);
    let nothing = Stub::start(|_, _| answer(json!({"nextPageToken": "", "totalSize": 0, "registers": []})));
    let ended = Program::at(&nothing.url()).run("registers delete -l tier=std --yes");
    assert_eq!((ended.code, ended.stdout.as_str(), nothing.requests().len()), (0, "", 1));
    assert!(ended.stderr.contains("No registers match tier=std."), "{}", ended.stderr);
}

#[test]
fn a_daemon_that_knows_no_batch_is_asked_one_by_one() {
    let stub = Stub::start(|request, _| match request.path.as_str() {
        "/control/registers:batchUpdate" => problem("unimplemented", "ROUTE_UNKNOWN", 404),
        _ => Reply::Json(200, json!({"changed": true, "dryRun": false, "changes": [], "advertised": true})),
    });
    let ended = Program::at(&stub.url()).run("registers unadvertise a b");
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, "register/a hidden\nregister/b hidden\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(stub.requests().len(), 3);
}

#[test]
fn whoever_interrupts_is_told_what_was_done_and_what_may_have_been() {
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let stub = Stub::start(|request, count| match count {
            0 => mesh(request),
            _ => Reply::Hang(Duration::from_secs(60)),
        });
        let program = Program::at(&stub.url());
        let child = program.start_with_input("registers delete - --yes", &many(2500));
        while stub.requests().len() < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&child, sent);
        let told = ended(child.wait_with_output().unwrap());
        assert_eq!(told.code, code, "{told:?}");
        assert_eq!(told.stdout.lines().count(), 1000, "what was done");
        for line in [
            "register/r01000, register/r01001, register/r01002 and 997 more: interrupted before it was answered",
            "register/r02000, register/r02001, register/r02002 and 497 more: interrupted before it was sent",
            "1500 of 2500 registers could not be deleted",
        ] {
            assert!(told.stderr.contains(line), "{}", told.stderr);
        }
    }
}

#[test]
fn what_is_exported_and_what_is_listed_is_imported_as_it_is() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let file = program.home.path().join("registers.jsonl");
    let exported = program.run(&format!("registers export {}", file.display()));
    assert_eq!((exported.code, exported.stdout.as_str()), (0, ""), "{}", exported.stderr);
    assert_eq!(program.run(&format!("registers export {}", file.display())).code, 2, "it is there already");
    let listed = program.run("registers list -o json").stdout;
    let lines = std::fs::read_to_string(&file).unwrap();
    for document in [lines, listed, program.run("registers list -o jsonl").stdout] {
        let ended = program.run_with_input("registers import -f -", &document);
        assert_eq!(
            ended.stdout, "3 registers: 3 added, 0 updated, 0 unchanged, 0 failed\n",
            "{}",
            ended.stderr
        );
    }
    let sent: Value = serde_json::from_str(&stub.requests().last().unwrap().body).unwrap();
    let first = json!({
        "registerId": "invoices", "name": "The invoices", "description": "of the shop", "advertise": true,
        "latestVersion": "48211", "latestDocketVersion": "913", "labels": {"team": "sales"},
    });
    assert_eq!(sent["registers"][0], first);
}
