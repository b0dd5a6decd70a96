//! `mesh leaders` and `mesh peers drain` against a mesh of their own.

use std::process::Child;

use serde_json::Value;

use crate::mesh::{Lines, Mesh, chained};

fn elected<'a>(scope: &'a str, leader: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |line| {
        line["type"] == "elected" && line["tenure"]["scope"] == scope && line["tenure"]["leaderId"] == leader
    }
}

/// A watch that ends with its test.
struct Watching {
    child: Child,
    lines: Lines,
}

impl Watching {
    /// Starts it, and waits until it stands.
    fn start(mesh: &Mesh, line: &str) -> Self {
        let mut child = mesh.program.start(line);
        let lines = Lines::of(&mut child);
        let watching = Self { child, lines };
        watching.lines.until(|line| line["type"] == "synced");
        watching
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon hears of the session of another within a beat. Whichever leads must know of the others, or it
/// hands nothing over; then `nodes` of them may lead the scope.
fn until_eligible(mesh: &Mesh, scope: &str, nodes: usize) {
    let peers = mesh.program.run("mesh peers list -o json").json();
    for peer in peers["peers"].as_array().unwrap() {
        let control = peer["metadata"]["endpoints"]["control"].as_str().unwrap();
        mesh.until(&format!("mesh leaders explain {scope} -o json --addr http://{control}"), |answer| {
            let candidates = answer["candidates"].as_array().unwrap();
            candidates.iter().filter(|candidate| candidate["eligible"] == true).count() == nodes
        });
    }
}

#[test]
fn scope_is_created_handed_over_drained_away_and_deleted() {
    let mut mesh = Mesh::up();
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let program = &mesh.program;
    let watching = Watching::start(&mesh, "mesh leaders watch jobs/nightly -o jsonl");
    let (lines, mut seen) = (&watching.lines, Vec::new());

    assert_eq!(program.run("mesh leaders create jobs/nightly --node node-1,node-2 --reason why").code, 0);
    assert_eq!(program.run("mesh leaders create jobs/nightly").code, 4, "it is there already");
    until_eligible(&mesh, "jobs/nightly", 2);
    let scope =
        mesh.until("mesh leaders get jobs/nightly -o json", |answer| answer["leadership"]["leaderId"] != "");
    let first = scope["leadership"]["leaderId"].as_str().unwrap().to_owned();
    let second = if first == "node-1" { "node-2" } else { "node-1" };
    seen.extend(lines.until(elected("jobs/nightly", &first)));

    let ended = program.run("mesh leaders transfer jobs/nightly --to node-3 --yes -o json");
    assert_eq!(ended.code, 4, "it may not lead: {ended:?}");
    let line = format!("mesh leaders transfer jobs/nightly --to {second} --yes -o json");
    let answer = program.run(&line).json();
    assert_eq!(answer["leadership"]["leaderId"], second);
    assert_eq!(answer["leadership"]["previousLeaderId"], first.as_str());
    assert_eq!(program.run(&line).json()["changed"], false);
    seen.extend(lines.until(elected("jobs/nightly", second)));

    assert_eq!(program.run(&format!("mesh peers drain {second} --yes --timeout 60s")).code, 0);
    let peer = program.run(&format!("mesh peers get {second} -o json")).json();
    assert_eq!(
        (&peer["peer"]["draining"], &peer["peer"]["leads"]),
        (&true.into(), &Value::Array(Vec::new()))
    );
    seen.extend(lines.until(elected("jobs/nightly", &first)));
    let ended = program.run(&format!("mesh peers drain {first} --yes --timeout 300ms -o json"));
    let error = ended.error();
    assert_eq!((ended.code, error["reason"].as_str()), (8, Some("DRAIN_TIMEOUT")), "{error}");
    assert!(error["cause"].as_str().unwrap().contains("jobs/nightly ("), "it says what blocks it: {error}");
    assert_eq!(program.run("mesh peers undrain node-1 node-2").code, 0);

    let history = program.run("mesh leaders history jobs/nightly -o json").json();
    let reasons: Vec<&str> =
        history["tenures"].as_array().unwrap().iter().map(|t| t["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.last(), Some(&"created"), "the newest first: {reasons:?}");
    assert!(reasons.contains(&"transferred") && reasons.contains(&"drained"), "{reasons:?}");
    assert_eq!(program.run("mesh leaders delete jobs/nightly --yes").code, 0);
    seen.extend(lines.until(|line| line["type"] == "removed"));
    assert!(chained(&seen), "nothing was lost: {seen:?}");
    assert_eq!(program.run("mesh leaders get jobs/nightly").code, 3);
    assert_eq!(program.run("mesh leaders status jobs/nightly").code, 3);
    drop(watching);
    mesh.stop();
}

#[test]
fn leader_that_is_killed_is_succeeded_and_the_next_one_can_step_down() {
    let mut mesh = Mesh::up();
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let program = &mesh.program;
    assert_eq!(program.run("mesh leaders create jobs/x --prefer 10:node=node-3").code, 0);
    until_eligible(&mesh, "jobs/x", 3);
    mesh.until("mesh leaders status jobs/x -o json", |list| list["tokens"].as_array().unwrap().len() == 1);
    assert_eq!(program.run("mesh leaders transfer jobs/x --to node-3 --yes").code, 0);
    let before = program.run("mesh leaders status jobs/x -o json").json();
    let watching = Watching::start(&mesh, "mesh leaders watch jobs/x -o jsonl");
    let lines = &watching.lines;
    assert_eq!(program.run("dev kill node-3").code, 0);
    let seen = lines.until(|line| line["type"] == "elected");
    assert!(seen.iter().any(|line| line["type"] == "expired"), "{seen:?}");
    let after = program.run("mesh leaders status jobs/x -o json").json();
    let fence = |list: &Value| list["tokens"][0]["fenceToken"].as_str().unwrap().parse::<i64>().unwrap();
    assert!(fence(&after) > fence(&before), "{before} {after}");
    let down = program.run("mesh leaders step-down jobs/x --yes");
    assert!(down.code == 0 && down.stdout.starts_with("leader/jobs/x given up: "), "{down:?}");
    lines.until(|line| line["type"] == "elected");
    drop(watching);
    mesh.stop();
}
