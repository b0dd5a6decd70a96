//! The program against a mesh of its own: `omnirelay up`, and what an operator does with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use omnirelay_support::servers::free_port;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::program::{Program, ended, signal};

/// A mesh of three nodes, and the program that knows it.
pub(crate) struct Mesh {
    pub program: Program,
    child: Child,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Mesh {
    pub(crate) fn up() -> Self {
        Self::up_with("")
    }

    /// One that is started with more flags.
    pub(crate) fn up_with(flags: &str) -> Self {
        let program = Program::new();
        give_ports(&program.home.path().join("mesh"));
        let child = start(&program, &format!("-o json {flags}"));
        Self { program, child }
    }

    pub(crate) fn stop(&mut self) {
        signal(&self.child, Signal::INT);
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn restart(&mut self) {
        self.child = start(&self.program, "-o json");
    }

    /// Ends it, and returns what it said on standard error.
    pub(crate) fn stop_and_tell(&mut self) -> String {
        self.stop();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    /// Runs `line`, which succeeds.
    pub(crate) fn done(&self, line: &str) {
        let ended = self.program.run(line);
        assert_eq!(ended.code, 0, "{line}: {ended:?}");
    }

    /// Repeats `line` until it succeeds and its document fits.
    pub(crate) fn until(&self, line: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.program.run(line);
            if ended.code == 0 && fits(&ended.json()) {
                return ended.json();
            }
            assert!(Instant::now() < deadline, "{line}: {ended:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives the nodes of a folder ports that no other mesh takes while they are down, as if they had had them before.
pub(crate) fn give_ports(folder: &Path) {
    let address = || format!("127.0.0.1:{}", free_port().unwrap());
    let node = |number: usize| {
        let secret = format!("{:032x}", u128::from(std::process::id()) << 64 | number as u128);
        let relay = json!({"grpc": address(), "http": address()});
        json!({"nodeId": format!("node-{number}"), "control": address(), "relay": relay, "sessionSecret": secret})
    };
    let state = json!({"nodes": [node(1), node(2), node(3)]});
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("up.json"), state.to_string()).unwrap();
}

fn start(program: &Program, flags: &str) -> Child {
    let ready: PathBuf = program.home.path().join("ready.json");
    let data = program.home.path().join("mesh");
    let line = format!("up --data {} --ready-file {} {flags}", data.display(), ready.display());
    let mut child = program.start(&line);
    let deadline = Instant::now() + PATIENCE;
    // The context is written when the nodes are ready already.
    while !(ready.exists() && program.config().exists()) {
        assert!(child.try_wait().unwrap().is_none(), "up has ended");
        assert!(Instant::now() < deadline, "up is not ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// The lines of a watch, as they come.
pub(crate) struct Lines(Receiver<Value>);

impl Lines {
    pub(crate) fn of(child: &mut Child) -> Self {
        let (sender, receiver) = channel();
        let reader = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// Every line up to the first that fits.
    pub(crate) fn until(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let line = self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no such line: {seen:?}"));
            let found = fits(&line);
            seen.push(line);
            if found {
                return seen;
            }
        }
    }
}

#[test]
fn operator_sees_changes_marks_and_survives_a_restart() {
    let mut mesh = Mesh::up();
    let program = &mesh.program;
    assert_eq!(program.run("context current -o name").stdout, "context/dev\n");
    let peers = mesh.until("mesh peers list -o json", |list| list["totalSize"] == 3);
    assert_eq!(peers["peers"][1]["nodeId"], "node-2");
    // As far as a shell completes it.
    for line in ["mesh peers get node-", "mesh peers cordon node-"] {
        let ended = program.run(line);
        assert!(ended.code == 2 && ended.stderr.contains("node-1, node-2, node-3"), "{ended:?}");
    }

    let mut watch = program.start("mesh peers list --watch -o jsonl");
    let lines = Lines::of(&mut watch);
    assert_eq!(lines.until(|line| line["type"] == "synced").len(), 4);
    // Several session renewals pass, none of which is an event.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(program.run("mesh peers cordon node-2 --reason broken").code, 0);
    let seen = lines.until(|line| line["type"] == "modified");
    assert_eq!((seen.len(), seen[0]["peer"]["cordoned"].as_bool()), (1, Some(true)), "{seen:?}");
    let peer = program.run("mesh peers get node-2 -o json").json();
    assert_eq!(peer["peer"]["cordonReason"], "broken");
    let audit = program.run("audit list --object peer/node-2 -o json").json();
    assert_eq!(
        (audit["records"][0]["action"].as_str(), audit["records"][0]["reason"].as_str()),
        (Some("peers.cordon"), Some("broken"))
    );

    mesh.stop();
    assert_eq!(mesh.program.run("mesh peers list").code, 6);
    mesh.restart();
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    assert_eq!(mesh.program.run("mesh peers uncordon node-2").code, 0);
    let seen = lines.until(|line| line["peer"]["nodeId"] == "node-2" && line["peer"]["cordoned"] == false);
    assert!(seen.iter().all(|line| line["type"] == "modified"), "no reset and no snapshot: {seen:?}");
    assert!(chained(&seen), "nothing was lost: {seen:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    mesh.stop();
}

#[test]
fn killed_node_is_suspect_then_dead_and_can_be_forgotten() {
    let mut mesh = Mesh::up();
    let program = &mesh.program;
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let mut watch = program.start("mesh peers watch --since 0:0 -o jsonl");
    let lines = Lines::of(&mut watch);
    assert_eq!(program.run("dev kill node-3").code, 0);
    lines.until(|line| line["peer"]["nodeId"] == "node-3" && line["peer"]["status"] == "suspect");
    assert_eq!(program.run("mesh peers forget node-3 --yes").code, 4, "a suspect may come back");
    lines.until(|line| line["peer"]["nodeId"] == "node-3" && line["peer"]["status"] == "dead");
    assert_eq!(program.run("mesh check").code, 10);
    assert_eq!(program.run("mesh peers forget node-3 --yes --dry-run").code, 0);
    assert_eq!(program.run("mesh peers get node-3").code, 0, "a dry run removes nothing");
    assert_eq!(program.run("mesh peers forget node-3 --yes").code, 0);
    lines.until(|line| line["peer"]["nodeId"] == "node-3" && line["type"] == "removed");
    assert_eq!(program.run("mesh peers get node-3").code, 3);
    assert_eq!(program.run("dev resume node-3").code, 0);
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    assert_eq!(program.run("mesh check").code, 0);
    watch.kill().unwrap();
    watch.wait().unwrap();
    mesh.stop();
}

/// Whether each event names the one before it, so that none is missing and none there twice.
pub(crate) fn chained(events: &[Value]) -> bool {
    events.windows(2).all(|pair| pair[0]["cursor"] == pair[1]["prevCursor"])
}

#[test]
fn watch_outlives_a_daemon_that_is_killed_and_started_again() {
    let mut mesh = Mesh::up();
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let mut watch = mesh.program.start("mesh peers watch -o jsonl -v");
    let lines = Lines::of(&mut watch);
    lines.until(|line| line["type"] == "synced");
    let mut seen = Vec::new();
    for round in ["0", "1", "2"] {
        mesh.child.kill().unwrap();
        mesh.child.wait().unwrap();
        mesh.restart();
        let label = format!("mesh peers label node-1 round={round} --overwrite -o json");
        mesh.until(&label, |answer| answer["changed"] == true);
        seen.extend(lines.until(|line| line["peer"]["metadata"]["labels"]["round"] == *round));
    }
    let goes_on = |line: &Value| line["type"] == "modified" || line["type"] == "progress";
    assert!(seen.iter().all(goes_on), "no reset and no snapshot: {seen:?}");
    assert!(chained(&seen), "{seen:?}");
    signal(&watch, Signal::INT);
    let said = ended(watch.wait_with_output().unwrap()).stderr;
    let told = |what: &str| said.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!(told("connection lost"), told("connected again"), "{said}");
    assert!((3..10).contains(&told("connection lost")), "once for each time it was: {said}");
    mesh.stop();
}

#[test]
fn watch_moves_to_another_node_when_its_own_is_killed() {
    let mut mesh = Mesh::up();
    let program = &mesh.program;
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let mut watch = program.start("mesh peers watch -o jsonl");
    let lines = Lines::of(&mut watch);
    let mut seen = lines.until(|line| line["type"] == "synced").split_off(3);
    assert_eq!(program.run("dev kill node-1").code, 0);
    seen.extend(lines.until(|line| line["peer"]["nodeId"] == "node-1" && line["peer"]["status"] == "dead"));
    assert_eq!(program.run("mesh peers cordon node-3").code, 0);
    seen.extend(lines.until(|line| line["peer"]["nodeId"] == "node-3" && line["peer"]["cordoned"] == true));
    assert!(seen[1..].iter().all(|line| line["type"] == "modified"), "{seen:?}");
    assert!(chained(&seen), "{seen:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    mesh.stop();
}

#[test]
fn lists_and_changes_are_what_the_daemon_makes_of_them() {
    let mut mesh = Mesh::up();
    let program = &mesh.program;
    let mut line = String::new();
    BufReader::new(mesh.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((told["context"].as_str(), told["current"].as_bool()), (Some("dev"), Some(true)));
    assert_eq!(told["nodes"][0]["address"], program.run("context current -o json").json()["address"]);
    let list = mesh.until("mesh peers list -o json", |list| list["totalSize"] == 3);
    let pages = program.run("mesh peers list --page-size 1 -o json").json();
    assert_eq!(pages["peers"].as_array().unwrap().len(), 3);
    assert_eq!(
        program.run("mesh peers list --sort-by id:desc -o name").stdout,
        "peer/node-3\npeer/node-2\npeer/node-1\n"
    );
    let version = list["peers"][0]["version"].as_str().unwrap();
    assert_eq!(program.run(&format!("mesh peers label node-1 tier=std --if-match {version}")).code, 0);
    assert_eq!(
        program.run(&format!("mesh peers label node-1 tier=std2 --overwrite --if-match {version}")).code,
        4
    );
    assert_eq!(program.run("mesh peers label node-1 tier=gold").code, 4, "another value needs --overwrite");
    assert_eq!(program.run("mesh peers list -l tier=std -o name").stdout, "peer/node-1\n");
    let key = "--idempotency-key once -o json";
    let first = program.run(&format!("mesh peers cordon -l tier=std --reason a {key}")).json();
    let again = program.run(&format!("mesh peers cordon -l tier=std --reason a {key}")).json();
    for field in ["changed", "cursor", "changes"] {
        assert_eq!(first[field], again[field], "the answer of the first: {field}");
    }
    assert_eq!(first["peer"]["version"], again["peer"]["version"]);
    assert_eq!(program.run(&format!("mesh peers cordon node-1 --reason other {key}")).code, 4);
    let plan = program.run("mesh peers uncordon node-1 --dry-run -o json").json();
    let real = program.run("mesh peers uncordon node-1 -o json").json();
    assert_eq!(plan["changes"], real["changes"]);
    for line in ["mesh peers list -l a=(", "mesh peers list --page-token x", "audit list --page-token x"] {
        assert_eq!(program.run(line).code, 2, "{line}");
    }
    assert_eq!(program.run("api GET /control/nothing").code, 11);
    assert_eq!(program.run("context test").code, 0);
    assert_eq!(program.run("version -o json").json()["server"]["nodeId"], "node-1");
    mesh.stop();
}

#[test]
fn what_up_says_to_try_next_can_be_tried() {
    let mut mesh = Mesh::up();
    mesh.stop();
    mesh.child = start(&mesh.program, "-o table");
    let said = mesh.stop_and_tell();
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  omnirelay ")).collect();
    assert!(lines.contains(&"mesh leaders status --watch"), "{said}");
    assert!(lines.contains(&"dev kill node-1"), "{said}");
    for line in lines {
        assert_eq!(mesh.program.run(&format!("{line} --help")).code, 0, "{line}");
    }
}

#[test]
fn registers_of_a_file_are_available_on_a_fresh_mesh() {
    let mut mesh = Mesh::up();
    let program = &mesh.program;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/registers.jsonl");
    let imported = program.run(&format!("registers import -f {file}"));
    assert_eq!(imported.code, 0, "{imported:?}");
    let synced = program.run("registers resync --full");
    assert_eq!(synced.code, 0, "{synced:?}");
    let public = std::fs::read_to_string(file).unwrap().matches("\"advertise\":true").count();
    let found = program.run("registers available -o json").json();
    assert_eq!(found["registers"].as_array().unwrap().len(), public, "{found}");
    let typo = program.run("registers list --node node-22 -o json");
    assert_eq!((typo.code, &typo.error()["reason"]), (3, &Value::from("PEER_NOT_FOUND")), "{typo:?}");
    assert_eq!(program.run("registers list --node peer/node-2 -o json").json()["totalSize"], 0);
    mesh.stop();
}
