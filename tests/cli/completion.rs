//! What a shell is offered while a line is typed: the peers of the mesh, at once or not at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::pool::{PARTIAL, SYNCED};
use crate::process::built;
use crate::program::{Ended, Program, ended};
use crate::stub::{Reply, Stub, mesh, problem};

const PEERS: [&str; 3] = ["relay-a7f3", "relay-b119", "relay-c0de"];
/// Much longer than a completion may take, and much shorter than a daemon hangs here.
const PATIENCE: Duration = Duration::from_secs(30);
const HANG: Duration = Duration::from_secs(600);

/// A program whose shells find `omnirelay` by its name.
fn found(program: Program) -> Program {
    let folder = built();
    let path = std::env::var("PATH").unwrap();
    let program = program.with("PATH", &format!("{}:{path}", folder.display()));
    // What a busy machine may need.
    program.with("OMNIRELAY_COMPLETE_TIMEOUT", "5s")
}

fn at(stub: &Stub) -> Program {
    found(Program::at(&stub.url()))
}

/// Runs a shell, which must not say anything on standard error.
fn shell(program: &Program, name: &str, args: &[&str]) -> String {
    let mut command = Command::new(name);
    program.clean(&mut command);
    let output = command.args(args).env("TERM", "dumb").stdin(Stdio::null()).output();
    let ended = ended(output.unwrap_or_else(|error| panic!("{name} is needed by this test: {error}")));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name} {args:?}");
    ended.stdout
}

/// What Bash offers with the cursor at the end of `line`, which it has split into `words`.
fn bash(program: &Program, line: &str, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.last().unwrap().trim_start_matches([':', '=']);
    let script = format!(
        "source <(omnirelay completions bash); COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; \
         COMP_WORDS=({}); COMP_CWORD={}; _omnirelay omnirelay '{last}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
    );
    lines(&shell(program, "bash", &["--norc", "-c", &script]))
}

/// What zsh is told: each candidate and its description.
fn zsh(program: &Program, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "compdef() {{ }}; _describe() {{ print -rl -- ${{(P)argv[-1]}} }}; source <(omnirelay completions zsh); \
         words=({}); CURRENT={}; _clap_dynamic_completer_omnirelay",
        quoted.join(" "),
        words.len(),
    );
    lines(&shell(program, "zsh", &["-f", "-c", &script]))
}

fn fish(program: &Program, line: &str) -> Vec<String> {
    let script = format!("omnirelay completions fish | source; complete -C '{line}'");
    lines(&shell(program, "fish", &["--no-config", "-c", &script]))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What the program answers a script: as fish asks, the cursor in the last word.
fn asked(program: &Program, words: &[&str]) -> Ended {
    let mut command = program.command("-- omnirelay");
    ended(command.args(words).env("OMNIRELAY_COMPLETE", "fish").output().unwrap())
}

/// The ids that the program offers, and that nothing else comes of it.
fn offered(program: &Program, words: &[&str]) -> Vec<String> {
    let ended = asked(program, words);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{words:?}");
    let first = |line: &str| line.split('\t').next().unwrap().to_owned();
    ended.stdout.lines().map(first).collect()
}

const GET: &[&str] = &["mesh", "peers", "get", ""];

#[test]
fn each_shell_offers_the_peers_of_the_mesh() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    let words = ["omnirelay", "mesh", "peers", "get", ""];
    assert_eq!(bash(&program, "omnirelay mesh peers get ", &words), PEERS);
    let described = ["alive", "suspect", "alive, cordoned"];
    let expected = |sign: &str| -> Vec<String> {
        PEERS.iter().zip(described).map(|(id, status)| format!("{id}{sign}{status}")).collect()
    };
    assert_eq!(zsh(&program, &words), expected(":"));
    assert_eq!(fish(&program, "omnirelay mesh peers get "), expected("\t"));
    assert_eq!(fish(&program, "omnirelay mesh peers get relay-b"), ["relay-b119\tsuspect"]);
}

#[test]
fn operations_are_offered_with_how_they_are() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    for verb in ["get", "wait", "cancel"] {
        assert_eq!(offered(&program, &["ops", verb, ""]), [SYNCED, PARTIAL], "{verb}");
    }
    let said = asked(&program, &["ops", "wait", "operation/op_01JD8Z4Q6W00000S"]).stdout;
    assert_eq!(said, format!("operation/{SYNCED}\tregisters.resync running\n"));
    assert_eq!(stub.requests()[0].path, "/control/operations", "the list has no pages");
}

#[test]
fn zsh_completes_at_the_first_call_of_the_autoloaded_script() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let script = format!(
        "compdef() {{ }}; _describe() {{ print -rl -- ${{(P)argv[-1]}} }}; fpath=({} $fpath); \
         autoload -Uz _omnirelay; words=(omnirelay mesh peers get relay-c); CURRENT=5; _omnirelay",
        folder.display()
    );
    assert_eq!(lines(&shell(&program, "zsh", &["-f", "-c", &script])), ["relay-c0de:alive, cordoned"]);
}

#[test]
fn bash_words_split_at_colons_are_one_word_again() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = found(Program::new());
    let address = stub.url();
    let (scheme, rest) = address.split_once(':').unwrap();
    let (host, port) = rest.split_once(':').unwrap();
    let line = format!("omnirelay --addr {address} mesh peers get relay-b");
    let words = ["omnirelay", "--addr", scheme, ":", host, ":", port, "mesh", "peers", "get", "relay-b"];
    assert_eq!(bash(&program, &line, &words), ["relay-b119"]);
    let line = format!("omnirelay mesh peers get --addr={address} ");
    let words = ["omnirelay", "mesh", "peers", "get", "--addr", "=", scheme, ":", host, ":", port, ""];
    assert_eq!(bash(&program, &line, &words), PEERS);
    // Of a word that it has split, Bash replaces the last piece.
    let line = "omnirelay mesh peers list --output=js";
    let words = ["omnirelay", "mesh", "peers", "list", "--output", "=", "js"];
    assert_eq!(bash(&program, line, &words), ["json", "jsonl"]);
    let line = "omnirelay mesh peers list --output=";
    let words = ["omnirelay", "mesh", "peers", "list", "--output", "="];
    assert!(bash(&program, line, &words).contains(&"yaml".to_owned()));
}

#[test]
fn every_argument_that_names_a_peer_is_completed() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    let verbs = ["get", "status", "cordon", "uncordon", "drain", "undrain", "label", "forget"];
    for verb in verbs {
        assert_eq!(offered(&program, &["mesh", "peers", verb, ""]), PEERS, "{verb}");
        assert_eq!(offered(&program, &["mesh", "p", verb, "relay-c"]), ["relay-c0de"], "{verb}");
    }
    for verb in ["kill", "pause", "resume"] {
        assert_eq!(offered(&program, &["dev", verb, "relay-a"]), ["relay-a7f3"], "{verb}");
    }
    let prefixed = ["peer/relay-a7f3", "peer/relay-b119", "peer/relay-c0de"];
    assert_eq!(offered(&program, &["audit", "list", "--object", ""]), prefixed);
    assert_eq!(offered(&program, &["mesh", "peers", "get", "peer/relay-b"]), ["peer/relay-b119"]);
    assert_eq!(offered(&program, &["mesh", "peers", "get", "relay-a7f3", ""]), PEERS[1..], "named already");
}

#[test]
fn every_argument_that_names_a_scope_is_completed() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    let scopes = ["global-control", "shard/orders/03", "shard/orders/04"];
    for verb in ["status", "get", "watch", "history", "explain", "transfer", "step-down", "set", "delete"] {
        assert_eq!(offered(&program, &["mesh", "leaders", verb, ""]), scopes, "{verb}");
        assert_eq!(offered(&program, &["mesh", "leader", verb, "shard/"]), scopes[1..], "{verb}");
    }
    assert!(offered(&program, &["mesh", "leaders", "create", ""]).is_empty(), "what is created is new");
    assert_eq!(offered(&program, &["mesh", "leaders", "get", "leader/g"]), ["leader/global-control"]);
    let described = asked(&program, &["mesh", "leaders", "get", ""]).stdout;
    let help = ["led by relay-a7f3", "led by relay-c0de", "no leader"];
    let expected: String =
        scopes.iter().zip(help).map(|(scope, help)| format!("{scope}\t{help}\n")).collect();
    assert_eq!(described, expected);
    for line in [
        ["mesh", "leaders", "transfer", "a", "--to"],
        ["mesh", "leaders", "list", "-q", "--leader"],
        ["mesh", "leaders", "create", "a", "--node"],
    ] {
        assert_eq!(offered(&program, &[&line[..], &[""]].concat()), PEERS, "{line:?}");
    }
    let line = "omnirelay mesh leaders explain shard/orders/0";
    let words = ["omnirelay", "mesh", "leaders", "explain", "shard/orders/0"];
    assert_eq!(bash(&program, line, &words), scopes[1..]);
    assert_eq!(fish(&program, line), ["shard/orders/03\tled by relay-c0de", "shard/orders/04\tno leader"]);
}

#[test]
fn flags_of_the_line_say_which_mesh_is_meant() {
    let other = Stub::start(|_, _| Reply::Json(200, json!({"peers": [{"nodeId": "x-1", "status": "dead"}]})));
    let stub = Stub::start(|request, _| mesh(request));
    let program = found(Program::new());
    program.write_config(&format!(
        "currentContext: one\ncontexts: [{{name: one, address: '{}'}}, {{name: two, address: '{}'}}]",
        stub.url(),
        other.url()
    ));
    assert_eq!(offered(&program, GET), PEERS);
    assert_eq!(offered(&program, &["-c", "two", "mesh", "peers", "get", ""]), ["x-1"]);
    assert_eq!(offered(&program, &["mesh", "peers", "get", "--context=two", ""]), ["x-1"]);
    assert_eq!(offered(&program, &["mesh", "peers", "get", "--addr", &other.url(), ""]), ["x-1"]);
    assert!(offered(&program, &["-c", "three", "mesh", "peers", "get", ""]).is_empty());
    let program = program.with("OMNIRELAY_CONTEXT", "two");
    assert_eq!(offered(&program, GET), ["x-1"]);
}

#[test]
fn nothing_is_offered_and_nothing_said_when_no_daemon_answers_well() {
    let stubs = [
        ("fault", Stub::start(|_, _| problem("unavailable", "STORE_AWAY", 503))),
        ("refusal", Stub::start(|_, _| problem("unauthenticated", "NO", 401))),
        ("garbage", Stub::start(|_, _| Reply::Raw("garbage\r\n\r\n"))),
        ("not JSON", Stub::start(|_, _| Reply::Text(200, "text/html", "<html>".into()))),
        ("other JSON", Stub::start(|_, _| Reply::Json(200, json!([1, 2])))),
        ("no peers", Stub::start(|_, _| Reply::Json(200, json!({"peers": {"a": 1}})))),
        ("wrong ids", Stub::start(|_, _| Reply::Json(200, json!({"peers": [{"nodeId": "$(reboot)"}, 7]})))),
        ("closed", Stub::start(|_, _| Reply::Close)),
    ];
    for (what, stub) in &stubs {
        assert!(offered(&at(stub), GET).is_empty(), "{what}");
        assert!(!stub.requests().is_empty(), "{what}: it was asked");
    }
    assert!(offered(&Program::at("http://127.0.0.1:1"), GET).is_empty(), "no daemon");
    assert!(offered(&Program::at("no address"), GET).is_empty(), "no address");
    let program = Program::new();
    program.write_config("contexts: 7");
    assert!(offered(&program, GET).is_empty(), "no configuration");
    assert!(offered(&program.with("OMNIRELAY_OUTPUT", "nonsense"), GET).is_empty());
}

#[test]
fn hanging_daemon_is_not_waited_for() {
    let stub = Stub::start(|_, _| Reply::Hang(HANG));
    let started = Instant::now();
    assert!(offered(&at(&stub), GET).is_empty());
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert_eq!(stub.requests().len(), 1, "it was asked");
}

#[test]
fn healthy_address_answers_for_a_hanging_one() {
    let hanging = Stub::start(|_, _| Reply::Hang(HANG));
    let stub = Stub::start(|request, _| mesh(request));
    let program = found(Program::new());
    let addresses = format!("['{}', '{}']", hanging.url(), stub.url());
    program.write_config(&format!("currentContext: m\ncontexts: [{{name: m, addresses: {addresses}}}]"));
    assert_eq!(offered(&program, GET), PEERS);
}

/// The one cache file of `program`.
fn cache(program: &Program) -> PathBuf {
    let folder = program.home.path().join(".cache/omnirelay");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Makes the cache say that it was written `age` ago.
fn age(program: &Program, age: Duration) {
    let path = cache(program);
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let written = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - age;
    file["writtenAtMs"] = json!(u64::try_from(written.as_millis()).unwrap());
    std::fs::write(&path, file.to_string()).unwrap();
}

#[test]
fn peers_are_remembered_for_a_while() {
    let stub = Stub::start(|request, before| if before == 0 { mesh(request) } else { Reply::Hang(HANG) });
    let program = at(&stub);
    assert_eq!(offered(&program, GET), PEERS);
    // A time a moment ahead would be taken for no age at all, so a busy machine cannot spoil the count.
    age(&program, Duration::ZERO);
    assert_eq!(offered(&program, GET), PEERS);
    assert_eq!(stub.requests().len(), 1, "a fresh answer is not asked for again");
    age(&program, Duration::from_secs(60));
    assert_eq!(offered(&program, GET), PEERS, "better than nothing");
    assert_eq!(stub.requests().len(), 2, "the daemon was asked first");
    age(&program, Duration::from_secs(600));
    assert!(offered(&program, GET).is_empty(), "too old to be better than nothing");
}

#[test]
fn corrupt_memory_is_ignored_and_replaced() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    assert_eq!(offered(&program, GET), PEERS);
    for text in ["", "{\"peers\": [", "\u{0}\u{1}", "[]"] {
        let before = stub.requests().len();
        std::fs::write(cache(&program), text).unwrap();
        assert_eq!(offered(&program, GET), PEERS, "{text:?}");
        assert_eq!(stub.requests().len(), before + 1, "{text:?}");
        assert!(std::fs::read_to_string(cache(&program)).unwrap().contains("relay-a7f3"), "{text:?}");
    }
}

#[test]
fn memory_that_cannot_be_written_is_no_failure() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = at(&stub);
    std::fs::write(program.home.path().join(".cache"), "a file where the folder should be").unwrap();
    assert_eq!(offered(&program, GET), PEERS);
    let program = program.with("XDG_CACHE_HOME", "/proc/nowhere");
    assert_eq!(offered(&program, GET), PEERS);
}

#[test]
fn flags_are_offered_once_a_hyphen_is_typed() {
    let program = Program::at("http://127.0.0.1:1");
    assert_eq!(offered(&program, &["mesh", "pe"]), ["peers"]);
    let all = asked(&program, &["mesh", ""]).stdout;
    assert!(all.starts_with("peers\t") && !all.contains("--context"), "{all}");
    assert!(asked(&program, &["mesh", "peers", "ls"]).stdout.starts_with("ls\t"), "an alias that is typed");
    let flags = asked(&program, &["mesh", "peers", "get", "--con"]).stdout;
    assert!(flags.contains("--context\t") && flags.contains("--config\t"), "{flags}");
    assert_eq!(program.run("version --client").code, 0, "an ordinary run is none of this");
    let program = program.with("OMNIRELAY_COMPLETE", "bash");
    assert!(program.run("version --client").stdout.starts_with("client "), "the variable alone is nothing");
}

#[test]
fn words_that_the_program_knows_itself_are_offered_without_a_daemon() {
    let program = Program::at("http://127.0.0.1:9");
    let has = |words: &[&str], expected: &[&str]| {
        let offered = offered(&program, words);
        for word in expected {
            assert!(offered.iter().any(|one| one == word), "{words:?}: {word} is not among {offered:?}");
        }
    };
    has(&["mesh", "peers", "list", "--columns", ""], &["id", "status", "zone"]);
    has(&["peers", "list", "--columns", "id,st"], &["id,status"]);
    has(&["mesh", "leaders", "list", "--sort-by", ""], &["scope", "fence"]);
    has(&["registers", "ls", "--sort-by", "updated:"], &["updated:desc"]);
    has(&["registers", "--node", "n-2", "list", "--filter", ""], &["advertise="]);
    has(&["mesh", "peers", "list", "--filter", "ro"], &["role="]);
    has(&["mesh", "peers", "watch", "--until", ""], &["status==", "metadata."]);
    has(&["mesh", "peers", "list", "--watch", "--until", "status==a"], &["status==alive"]);
    has(&["mesh", "leaders", "status", "--until", "leader"], &["leaderId=="]);
    has(&["relays", "watch", "--until", "a"], &["agents=="]);
    has(&["audit", "list", "--action", "peers."], &["peers.cordon", "peers.drain"]);
    has(&["explain", "OUTCOME"], &["OUTCOME_UNKNOWN"]);
    has(&["explain", "membership-"], &["membership-dead"]);
    has(&["events", "tail", "--type", "peers,st"], &["peers,store"]);
    assert_eq!(offered(&program, &["mesh", "peers", "list", "--columns", "nope"]), [""; 0]);
}

#[test]
fn contexts_are_offered_with_where_they_lead() {
    let program = Program::new();
    for (name, address) in [("dev", "http://127.0.0.1:17420"), ("prod-eu", "http://eu-1:17420")] {
        assert_eq!(program.run(&format!("context add {name} --address {address}")).code, 0);
    }
    for words in
        [&["context", "use", ""][..], &["context", "delete", ""], &["mesh", "peers", "list", "-c", ""]]
    {
        assert_eq!(offered(&program, words), ["dev", "prod-eu"], "{words:?}");
    }
    assert_eq!(offered(&program, &["mesh", "status", "--context", "p"]), ["prod-eu"]);
}
