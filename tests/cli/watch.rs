//! Watches: what is printed, how they end, and that nothing is lost on the way.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::{Program, ended, signal};
use crate::stub::{After, Reply, Stub, event, mesh, peer, problem};

fn modified(revision: u32) -> String {
    let (cursor, before) = (format!("1:{revision}"), format!("1:{}", revision - 1));
    event(&json!({
        "type": "modified", "cursor": cursor, "prevCursor": before, "time": "2026-11-20T06:01:09Z",
        "peer": peer(&format!("node-{revision}"), "alive", false),
    }))
}

fn snapshot(ids: &[&str]) -> Vec<String> {
    ids.iter()
        .map(|id| event(&json!({"type": "snapshot", "cursor": "", "peer": peer(id, "alive", false)})))
        .collect()
}

fn synced(cursor: &str) -> String {
    event(&json!({"type": "synced", "cursor": cursor, "prevCursor": ""}))
}

fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["type"].as_str().unwrap()).collect()
}

#[test]
fn records_are_the_events_of_the_api_one_per_line() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    for line in [
        "mesh peers list --watch -o jsonl --max-events 1",
        "mesh peers list -w --json --max-events 1",
        "mesh peers watch -o json --max-events 1",
    ] {
        let ended = program.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{line}");
        let lines = ended.lines();
        assert_eq!(types(&lines), ["snapshot", "snapshot", "snapshot", "synced", "modified"], "{line}");
        assert_eq!(lines[4]["peer"]["nodeId"], "relay-b119");
        assert_eq!(lines[4]["cursor"], "7f2c:48214");
    }
    assert_eq!(stub.requests()[0].header("accept"), Some("text/event-stream"));
}

#[test]
fn progress_is_printed_only_when_asked_and_moves_the_cursor() {
    let stub = Stub::start(|_, _| {
        let progress = event(&json!({"type": "progress", "cursor": "1:9", "prevCursor": "1:5"}));
        Reply::Events(vec![synced("1:5"), progress], After::Stay)
    });
    let program = Program::at(&stub.url());
    let file = program.home.path().join("cur");
    let line = format!("mesh peers watch -o jsonl --for 500ms --cursor-file {}", file.display());
    assert_eq!(types(&program.run(&line).lines()), ["synced"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1:9\n");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(types(&program.run(&format!("{line} -v")).lines()), ["synced", "progress"]);
}

#[test]
fn broken_stream_is_taken_up_where_it_was() {
    let stub = Stub::start(|request, before| match before {
        0 => Reply::Events([snapshot(&["a"]), vec![synced("1:5"), modified(6)]].concat(), After::Close),
        1 => Reply::Close,
        2 => problem("unavailable", "DRAINING", 503),
        _ => {
            assert_eq!(request.header("last-event-id"), Some("1:6"));
            Reply::Events(vec![modified(7), modified(8)], After::Stay)
        }
    });
    let ended = Program::at(&stub.url()).run("mesh peers watch --max-events 3 -o jsonl");
    assert_eq!(ended.code, 0, "{ended:?}");
    let cursors: Vec<Value> = ended.lines().iter().map(|line| line["cursor"].clone()).collect();
    assert_eq!(cursors, ["", "1:5", "1:6", "1:7", "1:8"]);
    let asked: Vec<_> =
        stub.requests().iter().map(|r| r.header("last-event-id").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("1:6".to_owned()), Some("1:6".to_owned()), Some("1:6".to_owned())]);
}

/// Longer than any test may take: a daemon that is waited for in vain.
const HANG: Duration = Duration::from_secs(600);

#[test]
fn reconnecting_is_said_once_and_being_back_once_however_many_tries_it_takes() {
    let stub = Stub::start(|request, before| {
        assert_eq!(request.header("last-event-id"), (before > 0).then_some("1:5"));
        match before {
            0 => Reply::Events(vec![synced("1:5")], After::Close),
            1 => Reply::Close,
            2 => problem("unavailable", "DRAINING", 503),
            3 => problem("internal", "BUG", 500),
            4 => Reply::Text(502, "text/html", "<html>bad gateway</html>".to_owned()),
            5 => Reply::Raw("not HTTP\r\n\r\n"),
            6 => Reply::Events(Vec::new(), After::Close),
            _ => Reply::Events(vec![modified(6)], After::Stay),
        }
    });
    let ended = Program::at(&stub.url()).run("mesh peers watch --max-events 1");
    let said: Vec<&str> = ended.stderr.lines().collect();
    let back = format!("connected again, to {}", stub.url());
    let lost = "connection lost, reconnecting from 1:5: the daemon closed the stream";
    assert_eq!((ended.code, said), (0, vec![lost, back.as_str()]));
    assert_eq!(stub.requests().len(), 8);
    assert!(!ended.stdout.contains("connect"), "{}", ended.stdout);
}

#[test]
fn daemon_that_accepts_and_says_nothing_is_not_waited_for() {
    let problem =
        "HTTP/1.1 503 Later\r\ncontent-type: application/problem+json\r\ncontent-length: 99\r\n\r\n{";
    let stub = Stub::start(move |_, before| match before {
        0 => Reply::Events(vec![synced("1:5")], After::Close),
        1 => Reply::Hang(HANG),
        2 => Reply::Stall("HTTP/1.1 200 OK\r\n"),
        3 => Reply::Stall(problem),
        _ => Reply::Events(vec![modified(6)], After::Stay),
    });
    let started = Instant::now();
    let ended =
        Program::at(&stub.url()).run("mesh peers watch --max-events 1 -o jsonl --request-timeout 200ms");
    assert_eq!((ended.code, types(&ended.lines())), (0, vec!["synced", "modified"]), "{ended:?}");
    assert_eq!(stub.requests().len(), 5);
    assert!(started.elapsed() < HANG / 4);
}

#[test]
fn event_that_was_cut_off_is_asked_for_again() {
    let whole = modified(6);
    for kept in [whole.len() - 40, whole.len() - 2, whole.len() - 1] {
        let cut = whole[..kept].to_owned();
        let stub = Stub::start(move |request, before| match (before, request.header("last-event-id")) {
            (0, None) => Reply::Events(vec![synced("1:5"), cut.clone()], After::Close),
            (_, Some("1:5")) => Reply::Events(vec![modified(6), modified(7)], After::Stay),
            (_, other) => panic!("resumed from {other:?}"),
        });
        let ended = Program::at(&stub.url()).run("mesh peers watch --max-events 2 -o jsonl");
        let cursors: Vec<Value> = ended.lines().iter().map(|line| line["cursor"].clone()).collect();
        assert_eq!(cursors, ["1:5", "1:6", "1:7"], "{kept}: neither lost nor twice");
    }
}

#[test]
fn fault_that_lasts_at_the_start_is_the_error_of_the_watch() {
    for (code, reason, status, exit) in [("unavailable", "DRAINING", 503, 6), ("internal", "BUG", 500, 1)] {
        let stub = Stub::start(move |_, _| problem(code, reason, status));
        let ended = Program::at(&stub.url()).run("mesh peers watch -o jsonl");
        assert_eq!((ended.code, ended.error()["reason"].as_str()), (exit, Some(reason)), "{ended:?}");
        assert_eq!(stub.requests().len(), 3, "tried again before that");
    }
}

#[test]
fn fault_inside_a_stream_is_told_apart_from_events() {
    let fault = |code: &str, retryable: bool| {
        let document = json!({"code": code, "reason": "R", "message": "no more", "retryable": retryable});
        format!("event: error\ndata: {document}\n\n")
    };
    let stub = Stub::start(move |_, before| match before {
        0 => Reply::Events(vec![synced("1:5"), fault("unavailable", true)], After::Close),
        _ => Reply::Events(vec![modified(6), fault("permission_denied", false)], After::Close),
    });
    let ended = Program::at(&stub.url()).run("mesh peers watch -o jsonl");
    assert_eq!((ended.code, types(&ended.lines())), (5, vec!["synced", "modified"]), "{ended:?}");
}

#[test]
fn snapshot_that_was_cut_off_is_voided() {
    let stub = Stub::start(|request, before| match before {
        0 => Reply::Events(snapshot(&["a", "b"]), After::Close),
        _ => {
            assert_eq!(request.header("last-event-id"), None);
            Reply::Events([snapshot(&["b"]), vec![synced("1:5"), modified(6)]].concat(), After::Stay)
        }
    });
    let ended = Program::at(&stub.url()).run("mesh peers watch -o jsonl --max-events 1");
    assert_eq!(
        types(&ended.lines()),
        ["snapshot", "snapshot", "reset", "snapshot", "synced", "modified"],
        "{ended:?}"
    );
}

#[test]
fn reset_is_printed_and_its_snapshot_resumed_from() {
    let reset = event(&json!({"type": "reset", "cursor": "", "prevCursor": "", "reason": "compacted"}));
    let stub = Stub::start(move |request, before| match before {
        0 => {
            Reply::Events([vec![reset.clone()], snapshot(&["a"]), vec![synced("2:1")]].concat(), After::Close)
        }
        _ => {
            assert_eq!(request.header("last-event-id"), Some("2:1"));
            Reply::Events(vec![modified(2)], After::Stay)
        }
    });
    let ended = Program::at(&stub.url()).run("mesh peers watch -o jsonl --since 1:5 --max-events 1");
    assert_eq!(types(&ended.lines()), ["reset", "snapshot", "synced", "modified"]);
    assert_eq!(stub.requests()[0].header("last-event-id"), Some("1:5"));
}

#[test]
fn cursor_file_carries_over_to_the_next_run() {
    let stub = Stub::start(|request, _| match request.header("last-event-id") {
        None => Reply::Events(vec![synced("1:5"), modified(6)], After::Stay),
        Some("1:6") => Reply::Events(vec![modified(7)], After::Stay),
        Some(other) => panic!("resumed from {other}"),
    });
    let program = Program::at(&stub.url());
    let file = program.home.path().join("cur");
    let line = format!("mesh peers watch -o jsonl --max-events 1 --cursor-file {}", file.display());
    assert_eq!(types(&program.run(&line).lines()), ["synced", "modified"]);
    assert_eq!(types(&program.run(&line).lines()), ["modified"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1:7\n");
}

#[test]
fn watch_that_ends_inside_a_revision_goes_on_with_its_rest() {
    let part = |cursor: &str, id: &str| {
        event(&json!({"type": "modified", "cursor": cursor, "peer": peer(id, "alive", false)}))
    };
    let stub = Stub::start(move |request, _| match request.header("last-event-id") {
        None => Reply::Events(
            vec![synced("1:5"), part("1:5.1", "a"), part("1:5.2", "b"), part("1:6", "c")],
            After::Stay,
        ),
        Some("1:5.1") => Reply::Events(vec![part("1:5.2", "b"), part("1:6", "c")], After::Stay),
        Some("1:5.2") => Reply::Events(vec![part("1:6", "c")], After::Stay),
        Some(other) => panic!("resumed from {other}"),
    });
    let program = Program::at(&stub.url());
    let file = program.home.path().join("cur");
    let line = format!("mesh peers watch -o name --max-events 1 --cursor-file {}", file.display());
    for (printed, saved) in [("a", "1:5.1"), ("b", "1:5.2"), ("c", "1:6")] {
        assert_eq!(program.run(&line).stdout, format!("peer/{printed}\n"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{saved}\n"));
    }
}

#[test]
fn until_ends_the_watch_and_timeout_says_that_it_did_not() {
    let stub = Stub::start(|_, _| {
        let suspect = event(&json!({"type": "snapshot", "cursor": "", "peer": peer("a", "suspect", false)}));
        let alive = event(&json!({"type": "modified", "cursor": "1:6", "peer": peer("a", "alive", false)}));
        Reply::Events(vec![suspect, synced("1:5"), alive], After::Stay)
    });
    let program = Program::at(&stub.url());
    let ended = program.run("mesh peers watch --until status==alive -o jsonl");
    assert_eq!((ended.code, types(&ended.lines())), (0, vec!["snapshot", "synced", "modified"]));
    assert_eq!(
        program.run("mesh peers watch --until status==suspect").code,
        0,
        "true of the snapshot already"
    );
    let ended = program.run("mesh peers watch --until status==dead --timeout 300ms -o jsonl");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (8, Some("WATCH_TIMEOUT")));
    assert_eq!(program.run("mesh peers watch --for 200ms").code, 0);
}

#[test]
fn no_connection_at_the_start_ends_the_watch() {
    let ended = Program::at("http://127.0.0.1:1").run("mesh peers watch -o jsonl");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (6, Some("CONNECTION_REFUSED")));
    let stub = Stub::start(|_, _| problem("unauthenticated", "R", 401));
    assert_eq!(Program::at(&stub.url()).run("mesh peers watch").code, 9);
    assert_eq!(stub.requests().len(), 1, "a refusal is not tried again");
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"peers": []})));
    let ended = Program::at(&stub.url()).run("mesh peers watch -o json");
    assert_eq!((ended.code, ended.error()["reason"].as_str()), (1, Some("UNEXPECTED_ANSWER")));
}

#[test]
fn addresses_of_the_context_take_turns() {
    let leaving = Stub::start(|_, before| match before {
        0 => Reply::Events(vec![synced("1:5")], After::Close),
        _ => Reply::Close,
    });
    let other = Stub::start(|request, _| {
        assert_eq!(request.header("last-event-id"), Some("1:5"));
        Reply::Events(vec![modified(6)], After::Stay)
    });
    let program = Program::new();
    program.write_config(&format!(
        "contexts: [{{name: m, addresses: ['{}', '{}']}}]",
        leaving.url(),
        other.url()
    ));
    let ended = program.run("mesh peers watch -c m -o jsonl --max-events 1");
    assert_eq!((ended.code, types(&ended.lines())), (0, vec!["synced", "modified"]), "{ended:?}");
}

#[test]
fn each_line_is_there_at_once_and_signals_end_it() {
    for (name, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let stub = Stub::start(|request, _| mesh(request));
        let mut child = Program::at(&stub.url()).start("mesh peers watch -o jsonl");
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..5 {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("{\"type\":"), "{line}");
        }
        signal(&child, name);
        let ended = ended(child.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{name:?}");
    }
}

#[test]
fn names_and_text_are_one_line_per_event() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let names = program.run("mesh peers watch -o name --max-events 1").stdout;
    assert_eq!(names, "peer/relay-a7f3\npeer/relay-b119\npeer/relay-c0de\npeer/relay-b119\n");
    let text = program.run("mesh peers list --watch --max-events 1").stdout;
    let last = text.lines().last().unwrap();
    assert_eq!(last, "2026-11-20T06:01:09Z  modified  relay-b119  status: suspect -> alive");
}

#[test]
fn silent_stream_stays_open() {
    let stub = Stub::start(|_, _| Reply::Events(vec![synced("1:5")], After::Stay));
    let mut child = Program::at(&stub.url()).start("mesh peers watch -o jsonl");
    std::thread::sleep(Duration::from_millis(600));
    assert!(child.try_wait().unwrap().is_none(), "a watch never ends by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(stub.requests().len(), 1);
}
