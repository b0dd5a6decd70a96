//! `mesh leaders`: what it asks of the daemon, and what it makes of the answers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::leadership::{elected, handed, leaders, scope};
use crate::program::Program;
use crate::stub::{After, Reply, Stub, answer, event, mesh, problem};

#[test]
fn each_verb_is_one_request_of_the_api() {
    let policy = r#"{"eligible":{"nodes":["n-1","n-2"],"roles":["worker"],"selector":"tier=std,!canary"},"prefer":[{"nodes":{"regions":["eu"],"zones":["a"]},"priority":-10}]}"#;
    let set = format!(r#"{{"policy":{policy},"labels":{{"team":"ops"}},"expectedVersion":"0"}}"#);
    let cases = [
        ("list", "GET /control/leaders", ""),
        (
            "list --kind shard,custom --leader n-1",
            "GET /control/leaders?kind=shard&kind=custom&leader=n-1",
            "",
        ),
        ("status a/b leader/C --kind custom", "GET /control/leaders?scope=a%2Fb&scope=C&kind=custom", ""),
        ("status --limit 5", "GET /control/leaders?pageSize=5", ""),
        ("get shard/orders/03", "GET /control/leaders/shard/orders/03", ""),
        ("get leader/jobs:x", "GET /control/leaders/jobs%3Ax", ""),
        (
            "watch a --kind custom --max-events 1 --timeout 60s",
            "GET /control/leaders?scope=a&kind=custom",
            "",
        ),
        ("history", "GET /control/leaders:history?limit=100", ""),
        ("history a/b --limit 5", "GET /control/leaders:history?scope=a%2Fb&limit=5", ""),
        ("explain shard/orders/04", "GET /control/leaders/shard/orders/04:explain", ""),
        ("transfer a/b --to n-2 --yes", "POST /control/leaders/a/b:transfer", r#"{"to":"n-2"}"#),
        (
            "transfer a --to peer/n-2 --yes --reason why --if-match 41 --dry-run",
            "POST /control/leaders/a:transfer",
            r#"{"to":"n-2","reason":"why","dryRun":true,"expectedVersion":"41"}"#,
        ),
        ("step-down a --yes --reason why", "POST /control/leaders/a:stepDown", r#"{"reason":"why"}"#),
        (
            "create jobs/x --node n-1,n-2 --role worker -l tier=std,!canary --prefer -10:region=eu,zone=a --label team=ops",
            "PUT /control/leaders/jobs/x",
            &set,
        ),
        ("delete a --yes --if-match 7", "DELETE /control/leaders/a?expectedVersion=7", ""),
    ];
    for (line, expected, body) in cases {
        let stub = Stub::start(|request, _| match request.header("accept") {
            Some(kind) if kind.contains("event-stream") => Reply::Events(vec![elected(2)], After::Stay),
            Some(_) | None => Reply::Json(200, json!({"schemaVersion": "v1"})),
        });
        let ended = Program::at(&stub.url()).run(&format!("mesh leaders {line}"));
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        let requests = stub.requests();
        assert_eq!(requests.len(), 1, "{line}: {requests:?}");
        let request = &requests[0];
        assert_eq!(format!("{} {}", request.method, request.path), expected, "{line}");
        assert_eq!(request.body, body, "{line}");
        assert_eq!(request.header("idempotency-key").is_some(), request.method != "GET", "{line}");
    }
}

#[test]
fn set_replaces_what_it_read_and_only_what_its_flags_name() {
    let sent = |line: &str| {
        let stub = Stub::start(|request, _| mesh(request));
        let ended = Program::at(&stub.url())
            .run(&format!("mesh leaders set global-control {line} --idempotency-key k -o json"));
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        let requests = stub.requests();
        let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["GET", "PUT"], "{line}");
        // Repeated after it was made it reads another version, so it is another request.
        assert_eq!(requests[1].header("idempotency-key"), Some("k/41"), "{line}");
        serde_json::from_str::<Value>(&requests[1].body).unwrap()
    };
    let was = scope("global-control", "relay-a7f3");
    let body = sent("--zone a,b --reason why");
    let mut eligible = was["policy"]["eligible"].clone();
    eligible["zones"] = json!(["a", "b"]);
    assert_eq!(body["policy"]["eligible"], eligible);
    assert_eq!(body["policy"]["prefer"], was["policy"]["prefer"]);
    assert_eq!(
        (&body["labels"], &body["expectedVersion"], &body["reason"]),
        (&was["labels"], &json!("41"), &json!("why"))
    );
    let body = sent("--clear-policy --label team- --label a=b --if-match 7");
    assert_eq!(body["policy"], json!({"eligible": {}}));
    assert_eq!((&body["labels"], &body["expectedVersion"]), (&json!({"a": "b"}), &json!("7")));
    assert_eq!(sent("--prefer 1:node=n-1")["policy"]["eligible"], was["policy"]["eligible"]);
}

#[test]
fn set_writes_no_labels_back_that_the_name_of_a_scope_says() {
    let stub = Stub::start(|request, _| match request.method.as_str() {
        "GET" => {
            let mut shard = scope("shard/orders/03", "relay-a7f3");
            shard["labels"] = json!({"team": "mesh", "namespace": "orders", "shardId": "03"});
            answer(json!({ "leadership": shard }))
        }
        _ => Reply::Json(200, json!({"changed": true, "changes": []})),
    });
    let program = Program::at(&stub.url());
    let ended = program.run("mesh leaders set shard/orders/03 --zone a -o json");
    assert_eq!(ended.code, 0, "{ended:?}");
    let sent: Value = serde_json::from_str(&stub.requests()[1].body).unwrap();
    assert_eq!(sent["labels"], json!({"team": "mesh"}));
    assert_eq!(program.run("mesh leaders set shard/orders/03 --label shardId- -o json").code, 2);
}

#[test]
fn what_is_wrong_with_a_command_is_said_before_anything_is_asked() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    for (line, words) in [
        ("set a", "nothing was named"),
        ("get leader/", "is no scope"),
        ("get a/../b", "is no scope"),
        ("transfer a --yes", "--to <NODE>"),
        ("transfer a --to b", "--yes"),
        ("step-down a", "--yes"),
        ("delete a", "--yes"),
        ("list --since 1:2", "--watch"),
        ("list --watch --leader a", "narrows a list"),
        ("list --kind planet", "planet"),
        ("list --columns colour", "no column"),
        ("list --sort-by colour", "no column"),
        ("history --sort-by colour", "no column"),
        ("explain a --sort-by colour", "no column"),
        ("history --limit 1001", "1001"),
        ("create a --prefer 1:colour=red", "`colour` is no key"),
        ("create a --label b-", "no label `b`"),
    ] {
        let ended = program.run(&format!("mesh leaders {line}"));
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
        assert!(ended.stderr.contains(words), "{line}: {}", ended.stderr);
    }
    let asked: Vec<_> = stub.requests().into_iter().filter(|request| request.method != "GET").collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn answer_of_a_daemon_without_its_store_says_how_old_it_is() {
    let stub = Stub::start(|request, _| match mesh(request) {
        Reply::Json(status, mut document) => {
            document["stale"] = true.into();
            document["staleMs"] = 1500.into();
            Reply::Json(status, document)
        }
        reply => reply,
    });
    let program = Program::at(&stub.url());
    for line in ["list", "status", "get global-control", "history", "explain shard/orders/04"] {
        let ended = program.run(&format!("mesh leaders {line}"));
        let warning = "warning: the store is out of reach; this was known 1500ms ago";
        assert!(ended.stderr.contains(warning), "{line}: {ended:?}");
        assert_eq!(program.run(&format!("mesh leaders {line} -o json")).stderr, "", "{line}");
    }
}

#[test]
fn watch_goes_on_from_its_cursor_file_over_a_lost_connection() {
    let stub = Stub::start(|request, before| match (before, request.header("last-event-id")) {
        (0, None) => {
            let snapshot = json!({"type": "snapshot", "cursor": "", "leadership": scope("a", "n-1")});
            let synced = json!({"type": "synced", "cursor": "7f2c:5", "prevCursor": ""});
            Reply::Events(vec![event(&snapshot), event(&synced), elected(6)], After::Close)
        }
        (1, Some("7f2c:6")) => Reply::Events(vec![elected(7), elected(8)], After::Stay),
        (_, Some("7f2c:7")) => Reply::Events(vec![elected(8)], After::Stay),
        (_, other) => panic!("resumed from {other:?}"),
    });
    let program = Program::at(&stub.url());
    let file = program.home.path().join("cur");
    let line = |most: u32| {
        format!(
            "mesh leaders watch --max-events {most} --timeout 60s -o jsonl --cursor-file {}",
            file.display()
        )
    };
    let cursors = |line: &str| -> Vec<Value> {
        program.run(line).lines().iter().map(|line| line["cursor"].clone()).collect()
    };
    assert_eq!(cursors(&line(2)), ["", "7f2c:5", "7f2c:6", "7f2c:7"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "7f2c:7\n");
    assert_eq!(cursors(&line(1)), ["7f2c:8"], "nothing twice");
}

#[test]
fn every_event_counts_and_is_what_until_looks_at() {
    let of = |kind: &str, leader: &str, cursor: &str| {
        event(
            &json!({"type": kind, "cursor": cursor, "leadership": scope("a", leader), "time": "2026-11-20T06:02:11Z"}),
        )
    };
    let stub = Stub::start(move |_, _| {
        let synced = event(&json!({"type": "synced", "cursor": "1:1"}));
        Reply::Events(
            vec![
                of("snapshot", "n-1", ""),
                synced,
                of("expired", "", "1:2"),
                of("elected", "n-2", "1:3"),
                of("removed", "n-2", "1:4"),
            ],
            After::Stay,
        )
    });
    let program = Program::at(&stub.url());
    let lines = |flags: &str| {
        program.run(&format!("mesh leaders watch -o jsonl --timeout 60s {flags}")).lines().len()
    };
    assert_eq!(lines("--max-events 1"), 3);
    assert_eq!(lines("--max-events 3"), 5);
    assert_eq!(lines("--until leaderId==n-2"), 4);
}

#[test]
fn scope_that_was_named_and_is_not_there_is_an_error_of_status_and_a_note_of_a_watch() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let cases = [
        ("status jobs/x", 3, "SCOPE_NOT_FOUND", 0),
        ("status jobs/x jobs/y", 3, "PARTIAL_FAILURE", 0),
        ("status jobs/x global-control", 7, "PARTIAL_FAILURE", 1),
    ];
    for (line, code, reason, documents) in cases {
        let ended = program.run(&format!("mesh leaders {line} -o json"));
        assert_eq!((ended.code, ended.error()["reason"].as_str()), (code, Some(reason)), "{line}: {ended:?}");
        assert_eq!(ended.stdout.lines().count(), documents, "{line}");
        assert_eq!(ended.error()["target"]["address"], stub.url(), "{line}");
    }
    let said = |line: &str| program.run(&format!("mesh leaders watch {line} --max-events 1")).stderr;
    assert_eq!(said("jobs/x Global-Control"), "There is no leader/jobs/x yet.\n");
    assert_eq!(said("jobs/x -o jsonl"), "");
    assert_eq!(said("jobs/x --since 7f2c:48240"), "", "nothing is known of what was before");
}

#[test]
fn handover_is_waited_for_at_the_address_that_was_asked() {
    // Longer than a daemon may hang when there is another to ask.
    let patient = Stub::start(|request, _| {
        std::thread::sleep(Duration::from_millis(1500));
        mesh(request)
    });
    let other = Stub::start(|_, _| problem("internal", "NOT_ASKED", 500));
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: m\ncontexts: [{{name: m, addresses: ['{}', '{}']}}]",
        patient.url(),
        other.url()
    ));
    let ended =
        program.run("mesh leaders transfer global-control --to relay-c0de --yes --request-timeout 60s");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!((patient.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn lost_answer_of_a_handover_names_the_key_to_repeat_it_with() {
    let stub = Stub::start(|request, before| match before {
        0..3 => Reply::Close,
        _ => leaders(request, request.path.split('?').next().unwrap()),
    });
    let program = Program::at(&stub.url());
    let line = "mesh leaders transfer global-control --to relay-c0de --yes --idempotency-key once";
    let ended = program.run(&format!("{line} -o json"));
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (8, Some("OUTCOME_UNKNOWN")), "{ended:?}");
    assert!(ended.error()["hint"].as_str().unwrap().contains("--idempotency-key once"));
    assert_eq!(program.run(line).code, 0);
    let keys: Vec<_> =
        stub.requests().iter().map(|request| request.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys.iter().all(|key| key.as_deref() == Some("once")), "{keys:?}");
}

#[test]
fn answer_of_a_handover_says_from_whom_to_whom_and_how_long_nobody_led() {
    let mut vacant = scope("a", "");
    vacant["previousLeaderId"] = "n-1".into();
    let cases = [
        (
            "a successor",
            handed("n-2", "n-1", "0"),
            true,
            "leader/a given up: n-1 -> n-2, term 18, fence 1795155507427, 0ms without a leader\n",
        ),
        (
            "after a while",
            handed("n-2", "n-1", "2300"),
            true,
            "leader/a given up: n-1 -> n-2, term 18, fence 1795155507427, 2.3s without a leader\n",
        ),
        ("nobody", vacant.clone(), true, "leader/a given up: n-1 -> -, nobody leads it yet\n"),
        ("it was so", vacant, false, "leader/a unchanged: nobody leads it\n"),
    ];
    for (what, scope, changed, expected) in cases {
        let stub = Stub::start(move |_, _| {
            Reply::Json(200, json!({"changed": changed, "dryRun": false, "leadership": scope, "changes": []}))
        });
        let ended = Program::at(&stub.url()).run("mesh leaders step-down a --yes");
        assert_eq!((ended.code, ended.stdout.as_str()), (0, expected), "{what}");
    }
}
