//! Exit codes follow from the fault the daemon states, never from the HTTP status.

use std::time::Duration;

use crate::program::Program;
use crate::stub::{Reply, Stub, mesh, problem};
use omnirelay_support::servers::free_port;

#[test]
fn each_fault_has_its_exit_code() {
    // The HTTP status is the same throughout, so that nothing can follow from it.
    let cases = [
        ("cancelled", 130),
        ("unknown", 1),
        ("invalid_argument", 2),
        ("deadline_exceeded", 8),
        ("not_found", 3),
        ("already_exists", 4),
        ("permission_denied", 5),
        ("resource_exhausted", 6),
        ("failed_precondition", 4),
        ("aborted", 4),
        ("out_of_range", 2),
        ("unimplemented", 11),
        ("internal", 1),
        ("unavailable", 6),
        ("data_loss", 1),
        ("unauthenticated", 9),
        ("a_word_of_the_future", 1),
    ];
    for (code, exit) in cases {
        for status in [400, 503] {
            let stub = Stub::start(move |_, _| problem(code, "SOME_REASON", status));
            let ended = Program::at(&stub.url()).run("mesh peers list -o json");
            assert_eq!(ended.code, exit, "{code} with {status}");
            assert_eq!(ended.stdout, "", "{code}: nothing on standard output");
            let error = ended.error();
            assert_eq!(error["code"], code);
            assert_eq!(error["reason"], "SOME_REASON");
            assert_eq!(error["exitCode"], exit, "{code}");
            assert_eq!(error["message"], format!("the daemon says {code}"));
            assert_eq!(error["hint"], "do something else");
            assert_eq!(error["requestId"], "r-1");
            assert_eq!(error["target"]["address"], stub.url());
        }
    }
}

#[test]
fn failure_of_a_person_is_three_lines_without_debug_text() {
    let stub = Stub::start(|_, _| problem("permission_denied", "MISSING_SCOPE", 403));
    let ended = Program::at(&stub.url()).run("mesh peers list");
    assert_eq!(
        ended.stderr,
        "error: the daemon says permission_denied\n\
         cause: refused by the daemon (request r-1)\n  try: do something else\n"
    );
}

#[test]
fn each_way_of_not_reaching_a_daemon_has_its_own_words() {
    let refused = format!("http://127.0.0.1:{}", free_port().unwrap());
    let silent = Stub::start(|_, _| Reply::Hang(Duration::from_secs(20)));
    let other = Stub::start(|_, _| Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n"));
    let closing = Stub::start(|_, _| Reply::Close);
    let website = Stub::start(|_, _| Reply::Text(404, "text/html", "<h1>Not Found</h1>".into()));
    let gateway = Stub::start(|_, _| Reply::Text(502, "text/html", "<h1>Bad Gateway</h1>".into()));
    let page = Stub::start(|_, _| Reply::Text(200, "text/html", "<h1>Hello</h1>".into()));
    let cases = [
        (refused.as_str(), 6, "CONNECTION_REFUSED", "connection refused"),
        ("http://no-such-host.invalid:17420", 6, "NAME_NOT_RESOLVED", "the host name is not known"),
        (&silent.url(), 8, "REQUEST_TIMEOUT", "no answer in time"),
        (&other.url(), 6, "NOT_HTTP", "does not speak HTTP"),
        (&closing.url(), 6, "CONNECTION_LOST", "closed before the answer was complete"),
        (&website.url(), 1, "UNEXPECTED_ANSWER", "HTTP 404, text/html"),
        (&gateway.url(), 6, "UNEXPECTED_ANSWER", "HTTP 502"),
        (&page.url(), 1, "UNEXPECTED_ANSWER", "HTTP 200, text/html"),
    ];
    for (address, exit, reason, words) in cases {
        let program = Program::at(address);
        let ended = program.run("mesh peers list -o json --request-timeout 1s");
        assert_eq!((ended.code, ended.stdout.as_str()), (exit, ""), "{address}: {ended:?}");
        assert_eq!(ended.error()["reason"], reason, "{address}");
        let cause = ended.error()["cause"].as_str().unwrap().to_owned();
        assert!(cause.contains(words), "{address}: {cause}");
        let text = program.run("mesh peers list --request-timeout 1s").stderr;
        assert!(text.contains(address) && text.contains(words) && text.contains("  try: "), "{text}");
        for raw in ["Error {", "Status {", "os error", "reqwest", "hyper"] {
            assert!(!text.contains(raw), "{raw} in: {text}");
        }
    }
}

#[test]
fn usage_errors_are_two_and_json_when_asked_for() {
    let program = Program::at(&format!("http://127.0.0.1:{}", free_port().unwrap()));
    for line in [
        "mesh peers list --nope",
        "mesh",
        "",
        "mesh peers get",
        "mesh peers list -o xml",
        "mesh peers list --request-timeout 5",
        "mesh peers list --filter status=odd",
        "mesh peers list --columns odd",
        "mesh peers list --sort-by odd",
        "mesh peers list --since 1:2",
        "mesh check --category odd",
        "context use nobody",
        "help nobody",
    ] {
        let ended = program.run(line);
        let connects = line.contains("--columns");
        let expected = if connects { 6 } else { 2 };
        assert_eq!((ended.code, ended.stdout.as_str()), (expected, ""), "`{line}`: {ended:?}");
        assert!(!ended.stderr.is_empty(), "`{line}` says nothing");
    }
    let error = program.run("mesh peers list --nope -o json").error();
    assert_eq!((error["exitCode"].as_i64(), error["reason"].as_str()), (Some(2), Some("USAGE")));
    assert!(error["message"].as_str().unwrap().contains("--nope"));
}

#[test]
fn empty_list_is_a_success_and_negative_only_when_asked() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let ended = program.run("mesh peers list --filter role=gateway");
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (0, "", "No peers match role=gateway.\n")
    );
    let ended = program.run("mesh peers list --filter role=gateway --fail-empty -o json");
    assert_eq!(ended.code, 10);
    assert_eq!(ended.json()["peers"], serde_json::json!([]));
    let ended = program.run("mesh peers list --filter role=gateway --fail-empty -q -o name");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (10, "", ""));
}

#[test]
fn check_that_cannot_ask_is_not_a_check_that_failed() {
    let cases = [("unauthenticated", 401, 9), ("permission_denied", 403, 5), ("unavailable", 503, 6)];
    for (code, status, exit) in cases {
        let stub = Stub::start(move |_, _| problem(code, "R", status));
        let ended = Program::at(&stub.url()).run("mesh check -o json");
        assert_eq!(ended.code, exit, "{code}");
        let report = ended.json();
        assert_eq!(report["success"], false);
        let membership =
            report["categories"].as_array().unwrap().iter().find(|c| c["name"] == "membership").unwrap();
        for check in membership["checks"].as_array().unwrap() {
            assert_eq!(check["result"], "unknown", "{code}: {check}");
        }
    }
    let older = Stub::start(|request, _| match request.path.starts_with("/control/check") {
        true => problem("unimplemented", "ROUTE_UNKNOWN", 404),
        false => mesh(request),
    });
    let ended = Program::at(&older.url()).run("mesh check --skip client-clock");
    assert!(ended.stderr.contains("the daemon is older") && ended.code == 11, "{ended:?}");
    let sick = Stub::start(|request, _| match mesh(request) {
        Reply::Json(status, mut document) if request.path.starts_with("/control/check") => {
            document["categories"][1]["checks"][1]["result"] = "fail".into();
            Reply::Json(status, document)
        }
        reply => reply,
    });
    let ended = Program::at(&sick.url()).run("mesh check --skip client-clock,leadership-led -o json");
    assert_eq!((ended.code, ended.json()["summary"]["fail"].as_i64()), (10, Some(1)), "{ended:?}");
    let ended = Program::at(&sick.url()).run("mesh check --category registry");
    assert_eq!(ended.code, 0);
}

#[test]
fn check_with_a_bad_configuration_says_so() {
    let program = Program::new();
    program.write_config("contexts: [");
    let ended = program.run("mesh check -o json");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(ended.json()["categories"][0]["checks"][0]["result"], "fail");
    // With an address there is somebody to ask all the same.
    let stub = Stub::start(|request, _| mesh(request));
    let ended =
        program.run(&format!("mesh check --addr {} --skip client-clock,leadership-led -o json", stub.url()));
    assert_eq!(ended.code, 10, "{ended:?}");
}

#[test]
fn partial_failure_is_seven_and_nothing_is_left_out() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let ended = program.run("mesh peers get relay-a7f3 nope relay-c0de -o json");
    assert_eq!(ended.code, 7);
    let results = ended.json()["results"].as_array().unwrap().clone();
    let told: Vec<(&str, &str)> =
        results.iter().map(|row| (row["name"].as_str().unwrap(), row["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("peer/relay-a7f3", "ok"), ("peer/nope", "error"), ("peer/relay-c0de", "ok")]);
    assert_eq!(results[1]["error"]["reason"], "PEER_NOT_FOUND");
    assert_eq!(ended.error()["exitCode"], 7);
    let ended = program.run("mesh peers get nope nada");
    assert_eq!(ended.code, 3, "all of one kind is that kind: {ended:?}");
}
