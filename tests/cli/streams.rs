//! Standard output is data, standard error is everything else, on every command.

use std::fs::File;
use std::process::Stdio;

use serde_json::json;

use crate::program::{Program, ended};
use crate::stub::{After, Reply, Stub, event, mesh, peer, problem};

/// A call of every command that ends by itself and succeeds.
const CALLS: &[&str] = &[
    "mesh peers list",
    "mesh peers list --watch --max-events 1",
    "mesh peers get relay-a7f3",
    "mesh peers get relay-a7f3 relay-b119",
    "mesh peers status",
    "mesh peers status relay-b119",
    "mesh peers watch --max-events 1",
    "mesh peers cordon relay-b119",
    "mesh peers cordon relay-b119 relay-b119",
    "mesh peers uncordon relay-b119",
    "mesh peers drain relay-b119 --yes",
    "mesh peers drain relay-b119 --yes --no-wait",
    "mesh peers undrain relay-b119",
    "mesh peers label relay-b119 tier=gold --overwrite",
    "mesh peers forget relay-b119 --yes",
    "mesh leaders list",
    "mesh leaders list --watch --max-events 1",
    "mesh leaders status global-control",
    "mesh leaders get global-control",
    "mesh leaders get global-control shard/orders/03",
    "mesh leaders watch --max-events 1",
    "mesh leaders history",
    "mesh leaders explain shard/orders/04",
    "mesh leaders transfer global-control --to relay-c0de --yes",
    "mesh leaders step-down global-control --yes",
    "mesh leaders create jobs/nightly",
    "mesh leaders set global-control --zone a",
    "mesh leaders delete jobs/nightly --yes",
    "mesh store switch --yes",
    "registers available",
    "registers available --watch --max-events 1",
    "registers watch --max-events 1",
    "registers status",
    "registers resync",
    "registers resync --full --node relay-a7f3",
    "registers resync --full --dry-run",
    "registers resync --no-wait",
    "ops list",
    "ops get op_01JD8Z4Q6W00000SYNCED00000",
    "ops get op_01JD8Z4Q6W00000SYNCED00000 op_01JD8Z4Q6W0000PARTIAL00000",
    "ops wait op_01JD8Z4Q6W00000SYNCED00000",
    "ops cancel op_01JD8Z4Q6W00000SYNCED00000",
    "mesh check --skip client-clock,leadership-led",
    "audit list",
    "dev list",
    "dev kill node-1",
    "dev pause node-1",
    "dev resume node-1",
    "context add extra --address http://127.0.0.1:1",
    "context list",
    "context current",
    "context get extra",
    "context use extra",
    "context set extra --cluster eu-1",
    "context rename extra other",
    "context delete other",
    "context test",
    "api GET /control/peers",
    "schema",
    "schema peers",
    "version",
    "version --client",
    "completions bash",
    "man mesh peers list",
    "help exit-codes",
    "help mesh peers list",
    "explain",
    "explain PEER_NOT_FOUND",
];

fn program() -> (Stub, Program) {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    (stub, program)
}

#[test]
fn every_command_prints_one_document_with_both_spellings_of_json() {
    for flag in ["-o json", "--json"] {
        let (_stub, program) = program();
        for call in CALLS {
            let ended = program.run(&format!("{call} {flag}"));
            assert_eq!(ended.code, 0, "{call}: {ended:?}");
            assert_eq!(ended.stderr, "", "{call}: chatter in JSON mode");
            if call.contains("atch") {
                assert!(ended.lines().len() > 1, "{call}: one document per line");
            } else {
                assert!(ended.json().is_object(), "{call}");
                assert_eq!(ended.json()["schemaVersion"].as_str().unwrap_or("v1"), "v1", "{call}");
            }
        }
    }
}

#[test]
fn every_command_takes_every_format() {
    for format in ["table", "wide", "jsonl", "yaml", "name"] {
        let (_stub, program) = program();
        for call in CALLS {
            let ended = program.run(&format!("{call} -o {format}"));
            assert_eq!(ended.code, 0, "{call} -o {format}: {ended:?}");
            match format {
                "jsonl" => assert!(ended.lines().iter().all(|line| line.is_object()), "{call}"),
                "yaml" => {
                    let documents = serde_yaml::Deserializer::from_str(&ended.stdout);
                    let read = documents
                        .map(serde::Deserialize::deserialize)
                        .collect::<Result<Vec<serde_yaml::Value>, _>>();
                    assert!(read.is_ok(), "{call}: {}", ended.stdout);
                }
                "name" if !call.starts_with("api") => {
                    for line in ended.stdout.lines() {
                        let (kind, id) = line.split_once('/').unwrap_or_else(|| panic!("{call}: {line}"));
                        assert!(!kind.is_empty() && !id.is_empty(), "{call}: {line}");
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn json_and_yaml_are_the_same_data() {
    let (_stub, program) = program();
    let json = program.run("mesh peers list -o json").json();
    let yaml = program.run("mesh peers list -o yaml").stdout;
    assert_eq!(serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap(), json);
    assert_eq!(json["peers"][0]["version"], "9007199254740993", "64-bit numbers keep every digit");
    let direct = program.run("api GET /control/peers").stdout;
    assert_eq!(program.run("mesh peers list -o json").stdout, direct, "the document of the API, unchanged");
}

#[test]
fn failing_command_leaves_standard_output_empty_and_one_object_on_standard_error() {
    let stub = Stub::start(|_, _| problem("permission_denied", "MISSING_SCOPE", 403));
    let program = Program::at(&stub.url());
    let local = ["context", "schema", "version", "completions", "man", "help", "explain", "mesh check"];
    for call in CALLS.iter().filter(|call| !local.iter().any(|name| call.starts_with(name))) {
        let several = ["relay-a7f3 relay-b119", "global-control shard", "0 op_"]
            .iter()
            .any(|several| call.contains(several));
        for flag in ["-o json", "-o jsonl"] {
            let ended = program.run(&format!("{call} {flag}"));
            assert_eq!(ended.code, 5, "{call}: {ended:?}");
            assert_eq!(ended.stdout.is_empty(), !several, "{call}: {ended:?}");
            assert!(ended.error().is_object(), "{call}");
        }
    }
}

#[test]
fn change_names_its_target_on_standard_error_only() {
    let (stub, program) = program();
    program.write_config(&format!(
        "contexts: [{{name: prod, address: '{}', cluster: eu-1, protected: true}}]",
        stub.url()
    ));
    let ended = program.run("mesh peers cordon relay-b119 -c prod --reason x");
    assert!(
        ended.stderr.starts_with(&format!("Target: prod (cluster eu-1, {})\n", stub.url())),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("Target"));
    assert_eq!(program.run("mesh peers cordon relay-b119 -q").stderr, "");
}

#[test]
fn reader_that_goes_away_ends_the_program_in_silence() {
    let (_stub, program) = program();
    for call in ["schema peers", "completions bash", "man", "mesh peers list -o jsonl", "--help"] {
        let script = format!("omnirelay {call} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}");
        let ended = program.shell(&script);
        assert!(matches!(ended.stdout.trim(), "0" | "141"), "{call}: {ended:?}");
        assert_eq!(ended.stderr, "", "{call}");
    }
    // More than a pipe holds, so the write must fail.
    let peers: Vec<_> = (0..1000).map(|number| peer(&format!("relay-{number}"), "alive", false)).collect();
    let many = Stub::start(move |_, _| Reply::Json(200, json!({"nextPageToken": "", "peers": peers})));
    let ended =
        Program::at(&many.url()).shell("omnirelay mesh peers list -o json | true; echo ${PIPESTATUS[0]}");
    assert!(matches!(ended.stdout.trim(), "0" | "141"), "{ended:?}");
    let busy = Stub::start(|_, _| {
        let snapshot = json!({"type": "snapshot", "cursor": "", "peer": peer("relay-a7f3", "alive", false)});
        Reply::Events(vec![event(&snapshot); 1000], After::Stay)
    });
    let ended = Program::at(&busy.url())
        .shell("set -o pipefail; omnirelay mesh peers watch -o jsonl | head -n 1 >/dev/null; echo $?");
    assert_eq!((ended.stdout.trim(), ended.stderr.as_str()), ("141", ""), "a watch that goes on printing");
}

#[test]
fn full_disk_is_an_error() {
    let (_stub, program) = program();
    for call in CALLS.iter().chain(&["--help", "--version"]) {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = program.command(call).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let ended = ended(child.wait_with_output().unwrap());
        let prints =
            !matches!(*call, "context use extra" | "context get extra" | "context set extra --cluster eu-1");
        assert_eq!(ended.code, 1, "{call}: {ended:?} {prints}");
        assert!(ended.stderr.contains("cannot write to standard output"), "{call}: {}", ended.stderr);
    }
}

#[test]
fn pipes_carry_no_escape_sequences() {
    let (_stub, program) = program();
    let plain: Vec<String> =
        CALLS.iter().map(|call| program.run(call)).map(|e| e.stdout + &e.stderr).collect();
    for (call, text) in CALLS.iter().zip(&plain) {
        assert!(!text.contains('\x1b'), "{call}: {text}");
    }
    let forced = Program::at(&_stub.url()).with("CLICOLOR_FORCE", "1");
    assert!(forced.run("mesh peers list").stdout.contains('\x1b'));
    let refused = Program::at(&_stub.url()).with("CLICOLOR_FORCE", "1").with("NO_COLOR", "1");
    assert!(!refused.run("mesh peers list").stdout.contains('\x1b'));
    assert!(forced.run("mesh peers list --color never").stdout.find('\x1b').is_none());
    assert!(!forced.run("mesh peers list -o json").stdout.contains('\x1b'), "JSON is never coloured");
}

#[test]
fn data_cannot_drive_a_terminal() {
    let stub = Stub::start(|request, _| match mesh(request) {
        crate::stub::Reply::Json(status, mut document) => {
            document["peers"][0]["metadata"]["role"] = "\u{1b}]0;owned\u{7}".into();
            crate::stub::Reply::Json(status, document)
        }
        reply => reply,
    });
    let ended = Program::at(&stub.url()).run("mesh peers list");
    assert!(!ended.stdout.contains('\x1b') && ended.stdout.contains("owned"), "{}", ended.stdout);
}

#[test]
fn fields_and_words_of_the_future_do_no_harm() {
    let stub = Stub::start(|request, _| match mesh(request) {
        crate::stub::Reply::Json(status, mut document) => {
            document["peers"][0]["status"] = "hibernating".into();
            document["peers"][0]["mood"] = serde_json::json!({"good": true});
            crate::stub::Reply::Json(status, document)
        }
        reply => reply,
    });
    let program = Program::at(&stub.url());
    assert!(program.run("mesh peers list").stdout.contains("hibernating"));
    assert_eq!(program.run("mesh peers list -o json").json()["peers"][0]["mood"]["good"], true);
}

#[test]
fn offline_commands_open_no_connection() {
    let (stub, program) = program();
    let talks = ["mesh", "registers", "ops", "audit", "dev", "api", "context test"];
    let local = CALLS.iter().filter(|call| !talks.iter().any(|name| call.starts_with(name)));
    for call in local.filter(|call| **call != "version").chain(&["--help", "--version", "mesh --help"]) {
        assert_eq!(program.run(call).code, 0, "{call}");
    }
    assert!(stub.requests().is_empty(), "{:?}", stub.requests());
}

#[test]
fn version_is_a_success_without_a_daemon() {
    let ended = Program::at("http://127.0.0.1:1").run("version");
    assert_eq!(ended.code, 0);
    assert_eq!(ended.stdout, format!("client {}\n", env!("CARGO_PKG_VERSION")));
    assert!(ended.stderr.starts_with("warning: the server's version is not known"), "{}", ended.stderr);
}

#[test]
fn ids_come_from_arguments_names_and_standard_input() {
    let (stub, program) = program();
    let ended =
        program.run_with_input("mesh peers get - peer/relay-a7f3 -o name", "peer/relay-b119\nrelay-c0de\n\n");
    assert_eq!(ended.stdout, "peer/relay-b119\npeer/relay-c0de\npeer/relay-a7f3\n", "{ended:?}");
    assert_eq!(program.run("mesh peers get shard/relay-b119").code, 2);
    assert_eq!(program.run_with_input("mesh peers get -", "").code, 2);
    drop(stub);
}

#[test]
fn beginning_of_an_id_will_do_if_it_is_the_only_one() {
    let (_stub, program) = program();
    let ended = program.run("mesh peers get relay-b -o json");
    assert_eq!((ended.code, ended.json()["peer"]["nodeId"].as_str()), (0, Some("relay-b119")), "{ended:?}");
    let ended = program.run("mesh peers get relay- -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (2, Some("AMBIGUOUS_ID")));
    assert_eq!(ended.error()["cause"], "it could be: relay-a7f3, relay-b119, relay-c0de");
    assert_eq!(program.run("mesh peers get rel").code, 3, "too short to stand for another");
}

#[test]
fn dry_run_shows_the_plan_and_tells_by_its_exit_code_when_asked() {
    let (stub, program) = program();
    let ended = program.run("mesh peers cordon relay-b119 --dry-run");
    assert!(
        ended.stdout.starts_with("peer/relay-b119 would be cordoned (dry run)\n  cordoned: false -> true\n")
    );
    assert!(stub.requests().iter().all(|request| request.body.contains("\"dryRun\":true")));
    assert_eq!(program.run("mesh peers cordon relay-b119 --dry-run=server --exit-code").code, 10);
    assert_eq!(program.run("mesh peers uncordon relay-b119 --dry-run --exit-code").code, 0);
}

#[test]
fn verbosity_shows_requests_and_hides_secrets() {
    let (_stub, program) = program();
    assert!(program.run("mesh peers list -vv").stderr.contains("/control/peers: 200 ("));
    let ended = program.run("mesh peers list -vvv -o json");
    assert!(ended.stderr.contains("< content-type: application/json"), "{}", ended.stderr);
    assert!(ended.json().is_object());
}
