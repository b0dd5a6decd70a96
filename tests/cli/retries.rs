//! What is tried again, and with what.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::Program;
use crate::stub::{Reply, Stub, mesh, problem};

#[test]
fn read_is_tried_three_times() {
    let stub = Stub::start(|request, before| if before < 2 { Reply::Close } else { mesh(request) });
    let ended = Program::at(&stub.url()).run("mesh peers list -o name -v");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(stub.requests().len(), 3);
    assert!(
        ended.stderr.contains("retrying (2/3)") && ended.stderr.contains("retrying (3/3)"),
        "{}",
        ended.stderr
    );
    let stub = Stub::start(|_, _| problem("unavailable", "STORE_UNAVAILABLE", 503));
    assert_eq!(Program::at(&stub.url()).run("mesh peers list").code, 6);
    assert_eq!(stub.requests().len(), 3);
}

#[test]
fn fault_that_would_stay_is_not_tried_again() {
    let stub = Stub::start(|_, _| problem("not_found", "PEER_NOT_FOUND", 404));
    assert_eq!(Program::at(&stub.url()).run("mesh peers get abc").code, 3);
    assert_eq!(stub.requests().len(), 1);
}

#[test]
fn change_is_repeated_with_the_same_key() {
    let stub = Stub::start(|request, before| if before == 0 { Reply::Close } else { mesh(request) });
    let ended = Program::at(&stub.url()).run("mesh peers cordon relay-b119");
    assert_eq!(ended.code, 0, "{ended:?}");
    let keys: Vec<String> =
        stub.requests().iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0].len() >= 32, "{keys:?}");
}

#[test]
fn lost_answer_of_a_change_is_eight_and_names_the_key() {
    type Case = (&'static str, fn() -> Reply);
    let cases: [Case; 4] = [
        ("connection closed", || Reply::Close),
        ("no answer", || Reply::Hang(Duration::from_secs(20))),
        ("gateway error without a fault", || Reply::Text(502, "text/html", "bad gateway".into())),
        ("the daemon does not know", || problem("deadline_exceeded", "OUTCOME_UNKNOWN", 504)),
    ];
    for (what, reply) in cases {
        let stub = Stub::start(move |_, _| reply());
        let line = "mesh peers cordon relay-b119 --idempotency-key key-1 --request-timeout 1s";
        let ended = Program::at(&stub.url()).run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (8, ""), "{what}: {ended:?}");
        assert!(ended.stderr.contains("--idempotency-key key-1"), "{what}: {}", ended.stderr);
        let error = Program::at(&stub.url()).run(&format!("{line} -o json")).error();
        assert_eq!(error["reason"], "OUTCOME_UNKNOWN", "{what}");
        assert_eq!(error["details"], json!([{"idempotencyKey": "key-1"}]), "{what}");
    }
}

#[test]
fn change_that_never_left_is_six() {
    let ended = Program::at("http://127.0.0.1:1").run("mesh peers cordon relay-b119 -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (6, Some("CONNECTION_REFUSED")));
}

#[test]
fn nothing_was_changed_is_not_believed_of_a_lost_try() {
    // The first try may have arrived; that the second was refused says nothing of it.
    let stub = Stub::start(|_, before| match before {
        0 => Reply::Close,
        _ => problem("unavailable", "STORE_UNAVAILABLE", 503),
    });
    let ended = Program::at(&stub.url()).run("mesh peers cordon relay-b119 -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (8, Some("OUTCOME_UNKNOWN")));
}

#[test]
fn keys_of_several_objects_differ_and_can_be_repeated() {
    let stub = Stub::start(|_, _| {
        Reply::Json(200, json!({"changed": true, "peer": {"nodeId": "x"}, "changes": []}))
    });
    let program = Program::at(&stub.url());
    program.run("mesh peers cordon a b --idempotency-key k --dry-run");
    program.run("mesh peers cordon a b --idempotency-key k");
    let keys: Vec<String> =
        stub.requests().iter().map(|request| request.header("idempotency-key").unwrap().to_owned()).collect();
    assert_eq!(keys, ["k/a/dry-run", "k/b/dry-run", "k/a", "k/b"]);
}

#[test]
fn lost_answer_of_one_of_several_names_the_key_of_the_command() {
    let stub = Stub::start(|request, _| match request.path.as_str() {
        "/control/peers/b:cordon" => Reply::Close,
        _ => Reply::Json(200, json!({"changed": true, "peer": {"nodeId": "a"}, "changes": []})),
    });
    let ended = Program::at(&stub.url()).run("mesh peers cordon a b --idempotency-key k");
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.stderr.contains("--idempotency-key k; that is safe"), "{}", ended.stderr);
    assert_eq!(stub.requests()[1].header("idempotency-key"), Some("k/b"));
}

#[test]
fn keys_and_request_ids_are_checked_before_anything_is_sent() {
    let program = Program::at("http://127.0.0.1:1");
    let long = "x".repeat(57);
    for line in [
        format!("mesh peers cordon a --idempotency-key {long}"),
        format!("mesh peers list --request-id {long}"),
    ] {
        assert_eq!(program.run(&line).code, 2, "{line}");
    }
}

#[test]
fn addresses_of_a_context_are_tried_in_order() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::new();
    program.write_config(&format!(
        "contexts: [{{name: dev, addresses: ['http://127.0.0.1:1', '{}']}}]",
        stub.url()
    ));
    let ended = program.run("mesh peers list -c dev -o name");
    assert_eq!(ended.code, 0, "{ended:?}");
    // The one that answered is kept: no second request looks at the first address again.
    let ended = program.run("mesh check -c dev --skip client-clock,leadership-led -vv");
    assert_eq!(ended.stderr.matches("connection refused").count(), 1, "{}", ended.stderr);
}

#[test]
fn hanging_daemon_leaves_time_for_the_next_address() {
    let hanging = Stub::start(|_, _| Reply::Hang(Duration::from_secs(20)));
    let good = Stub::start(|request, _| mesh(request));
    let program = Program::new();
    program.write_config(&format!(
        "contexts: [{{name: dev, addresses: ['{}', '{}']}}]",
        hanging.url(),
        good.url()
    ));
    let ended = program.run("mesh peers list -c dev -o name --request-timeout 2s");
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn hanging_daemon_costs_a_second_and_a_slow_one_gets_the_rest() {
    let hanging = Stub::start(|_, _| Reply::Hang(Duration::from_secs(20)));
    let slow = Stub::start(|request, _| {
        std::thread::sleep(Duration::from_millis(1500));
        mesh(request)
    });
    let program = Program::new();
    let addresses = format!("['{}', '{}']", hanging.url(), slow.url());
    program.write_config(&format!("contexts: [{{name: dev, addresses: {addresses}}}]"));
    for line in ["mesh peers list -c dev", "mesh peers cordon relay-b119 -c dev"] {
        let (begun, slow_before) = (Instant::now(), slow.requests().len());
        let ended = program.run(line);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
        assert!(begun.elapsed() < Duration::from_secs(9), "{line}: {:?}", begun.elapsed());
        assert_eq!(slow.requests().len(), slow_before + 1, "{line}: the slow one is asked once");
    }
}

#[test]
fn requests_carry_what_was_asked_for() {
    let stub = Stub::start(|request, _| mesh(request));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let program = Program::at(&stub.url()).with("TRACEPARENT", trace);
    program.run("mesh peers list --filter status=suspect,status=dead,role=gateway -l tier!=std --limit 5 --sort-by zone:desc --request-id me-1 --request-timeout 4s");
    program.run("mesh peers label relay-b119 a=1 b- --overwrite --reason why --if-match 0");
    program.run("mesh peers forget relay-b119 --yes --dry-run --reason gone");
    let requests = stub.requests();
    assert_eq!(
        requests[0].path,
        "/control/peers?role=gateway&status=suspect&status=dead&selector=tier%21%3Dstd&orderBy=zone%20desc&pageSize=5"
    );
    assert_eq!(requests[0].header("x-request-id"), Some("me-1"));
    assert!(requests.iter().all(|request| request.header("traceparent") == Some(trace)));
    let timeout = requests[0].header("omnirelay-timeout").unwrap();
    let ms: u64 = timeout.strip_suffix("ms").unwrap().parse().unwrap();
    assert!((3000..=4001).contains(&ms), "{timeout}");
    let body: serde_json::Value = serde_json::from_str(&requests[1].body).unwrap();
    assert_eq!(
        body,
        json!({"set": {"a": "1"}, "remove": ["b"], "overwrite": true, "reason": "why", "expectedVersion": "0"})
    );
    assert_eq!(requests[2].method, "DELETE");
    assert_eq!(requests[2].path, "/control/peers/relay-b119?reason=gone&dryRun=true");
}

#[test]
fn pages_are_joined_and_a_moved_list_is_begun_again() {
    let stub = Stub::start(|request, before| {
        let page = |ids: &[&str], next: &str| {
            let peers: Vec<_> = ids.iter().map(|id| json!({"nodeId": id, "status": "alive"})).collect();
            Reply::Json(200, json!({"cursor": "1:1", "nextPageToken": next, "totalSize": 3, "peers": peers}))
        };
        match (request.path.contains("pageToken=t1"), before) {
            (true, 1) => problem("aborted", "PAGE_TOKEN_EXPIRED", 412),
            (true, _) => page(&["c"], ""),
            (false, _) => page(&["a", "b"], "t1"),
        }
    });
    let program = Program::at(&stub.url());
    assert_eq!(program.run("mesh peers list -o name").stdout, "peer/a\npeer/b\npeer/c\n");
    let document = program.run("mesh peers list -o json").json();
    assert_eq!(
        (document["peers"].as_array().unwrap().len(), document["nextPageToken"].as_str()),
        (3, Some(""))
    );
    let ended = program.run("mesh peers list --limit 2");
    assert!(ended.stderr.contains("Stopped at --limit 2"), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 3);
}

#[test]
fn order_by_last_seen_is_made_of_all_pages() {
    let stub = Stub::start(|request, _| {
        let page = |id: &str, seen: u32, next: &str| {
            let peer = json!({"nodeId": id, "lastSeen": format!("2026-11-20T06:00:0{seen}Z")});
            Reply::Json(200, json!({"cursor": "1:1", "nextPageToken": next, "peers": [peer]}))
        };
        match request.path.split_once("pageToken=").map(|(_, token)| token) {
            None => page("a", 2, "t1"),
            Some("t1") => page("b", 3, "t2"),
            Some(_) => page("c", 1, ""),
        }
    });
    let program = Program::at(&stub.url());
    assert_eq!(
        program.run("mesh peers list --sort-by last-seen:desc -o name --limit 2").stdout,
        "peer/b\npeer/a\n"
    );
    assert!(stub.requests().iter().all(|request| !request.path.contains("orderBy")));
}

#[test]
fn what_was_answered_to_a_read_is_told_when_nothing_more_comes() {
    let stub = Stub::start(|_, before| match before {
        0 => problem("unavailable", "STORE_UNAVAILABLE", 503),
        _ => Reply::Hang(Duration::from_secs(20)),
    });
    let ended = Program::at(&stub.url()).run("mesh peers list --request-timeout 1s -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (6, Some("STORE_UNAVAILABLE")));
    // Of a change that is not enough: the second try may have been carried out.
    let stub = Stub::start(|_, before| match before {
        0 => problem("unavailable", "STORE_UNAVAILABLE", 503),
        _ => Reply::Hang(Duration::from_secs(20)),
    });
    let ended = Program::at(&stub.url()).run("mesh peers cordon relay-b119 --request-timeout 1s -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (8, Some("OUTCOME_UNKNOWN")));
}
