//! `omnirelay up` as a newcomer runs it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{PATIENCE, clean, pause};
use crate::servers::eventually;

/// What is said of nodes whose store is away.
const WAITS: &str = "the nodes wait for their store";

/// Held while a mesh takes its ports, and while a node is killed or a mesh is restarted: another mesh would take
/// its ports.
static PORTS: Mutex<()> = Mutex::new(());

pub(crate) fn hold_ports() -> MutexGuard<'static, ()> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mesh in a directory, with the contexts of a user of its own.
pub(crate) struct Mesh {
    directory: tempfile::TempDir,
}

/// A running `up`; killed when it is dropped.
pub(crate) struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Up {
    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name}");
        Ok(())
    }

    /// Ctrl-C, and waits for the end.
    pub(crate) fn interrupt(mut self) -> Result<()> {
        self.signal("INT")?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "up ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("up does not end")
    }
}

impl Mesh {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command line, with this user's contexts.
    pub(crate) fn omnirelay(&self, arguments: &[&str]) -> Command {
        let mut command = clean(env!("CARGO_BIN_EXE_omnirelay"));
        command.env("OMNIRELAY_CONFIG", self.path("config.yaml")).args(arguments);
        command
    }

    pub(crate) fn up(&self) -> Result<Up> {
        self.up_with(&[])
    }

    /// With further arguments.
    pub(crate) fn up_with(&self, further: &[&str]) -> Result<Up> {
        self.up_on(hold_ports(), further)
    }

    /// With variables and further arguments.
    pub(crate) fn up_in(&self, variables: &[(String, String)], further: &[&str]) -> Result<Up> {
        let (_ports, ready) = (hold_ports(), self.ready_file());
        let mut up = self.omnirelay(&[]);
        up.envs(variables.iter().map(|(name, value)| (name, value)));
        self.started_as(up, further, || ready.exists())
    }

    /// With a store that is away: waits until it says that it waits.
    pub(crate) fn up_unready(&self, further: &[&str]) -> Result<Up> {
        let waits = || std::fs::read_to_string(self.path("up.log")).is_ok_and(|log| log.contains(WAITS));
        self.up_until(hold_ports(), further, waits)
    }

    /// On ports that nobody else may take meanwhile.
    fn up_on(&self, ports: MutexGuard<'static, ()>, further: &[&str]) -> Result<Up> {
        let ready = self.ready_file();
        self.up_until(ports, further, || ready.exists())
    }

    pub(crate) fn ready_file(&self) -> PathBuf {
        self.path("ready.json")
    }

    fn up_until(
        &self,
        _ports: MutexGuard<'static, ()>,
        further: &[&str],
        is_up: impl Fn() -> bool,
    ) -> Result<Up> {
        let data = self.path("mesh");
        self.started(&[&["--data", &data.to_string_lossy()], further].concat(), is_up)
    }

    /// Without a folder that is named.
    pub(crate) fn up_without_folder(&self, further: &[&str]) -> Result<Up> {
        let (_ports, ready) = (hold_ports(), self.ready_file());
        self.started(further, || ready.exists())
    }

    fn started(&self, further: &[&str], is_up: impl Fn() -> bool) -> Result<Up> {
        self.started_as(self.omnirelay(&[]), further, is_up)
    }

    fn started_as(&self, mut command: Command, further: &[&str], is_up: impl Fn() -> bool) -> Result<Up> {
        let ready = self.ready_file();
        let log = std::fs::File::create(self.path("up.log"))?;
        command.args(["up", "--ready-file", &ready.to_string_lossy()]).args(further);
        let mut up = Up(command.stderr(log).spawn()?);
        let begun = Instant::now();
        while !is_up() {
            if let Some(status) = up.0.try_wait()? {
                bail!("up ended with {status}: {}", std::fs::read_to_string(self.path("up.log"))?);
            }
            ensure!(begun.elapsed() < PATIENCE, "the mesh is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(up)
    }

    /// Runs a command that must succeed and returns what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.omnirelay(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {} {complaint}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(arguments)?)?)
    }

    pub(crate) fn status_of(&self, node_id: &str) -> Result<String> {
        let peer = self.json(&["mesh", "peers", "get", node_id, "-o", "json"])?;
        Ok(peer["peer"]["status"].as_str().context("status")?.to_owned())
    }

    pub(crate) fn wait_for(&self, node_id: &str, status: &str) -> Result<()> {
        let begun = Instant::now();
        while self.status_of(node_id)? != status {
            ensure!(begun.elapsed() < PATIENCE, "{node_id} does not become {status}");
            std::thread::sleep(pause(begun));
        }
        Ok(())
    }
}

/// A watch that runs in the background; its lines are read when it is stopped.
struct Watch {
    child: Child,
    lines: std::sync::mpsc::Receiver<Value>,
}

impl Watch {
    fn start(mesh: &Mesh) -> Result<Self> {
        let mut child = mesh
            .omnirelay(&["mesh", "peers", "list", "--watch", "-o", "jsonl"])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("stdout")?;
        let (say, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { return };
                if say.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next event as `[type, node, status, cordoned]`.
    fn next(&self) -> Result<String> {
        let event = self.lines.recv_timeout(PATIENCE).context("no further event")?;
        let peer = &event["peer"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let cordoned = if peer["cordoned"] == true { " cordoned" } else { "" };
        Ok(format!("{} {} {}{cordoned}", text(&event["type"]), text(&peer["nodeId"]), text(&peer["status"])))
    }

    fn quiet_for(&self, duration: Duration) -> Result<()> {
        match self.lines.recv_timeout(duration) {
            Ok(event) => bail!("nothing was to happen, but: {event}"),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_nodes_are_seen_the_same_everywhere() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let list = mesh.json(&["mesh", "peers", "list", "-o", "json"])?;
    let ids: Vec<_> =
        list["peers"].as_array().context("peers")?.iter().map(|peer| peer["nodeId"].clone()).collect();
    assert_eq!(ids, ["node-1", "node-2", "node-3"]);
    let context = mesh.json(&["context", "current", "-o", "json"])?;
    assert_eq!(context["name"], "dev");
    for address in context["addresses"].as_array().context("addresses")? {
        let address = address.as_str().context("text")?;
        let names = mesh.run(&["--addr", address, "mesh", "peers", "list", "-o", "name"])?;
        assert_eq!(names, "peer/node-1\npeer/node-2\npeer/node-3\n", "{address}");
    }
    // The last of them may have its certificate a moment after it serves.
    let begun = Instant::now();
    loop {
        let status = mesh.json(&["mesh", "status", "-o", "json"])?;
        assert_eq!(status["peers"]["alive"], 3, "{status}");
        if status["problems"] == json!([]) {
            return Ok(());
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(pause(begun));
    }
}

#[test]
fn a_watch_outlives_a_restart_of_the_mesh_and_loses_nothing() -> Result<()> {
    let mesh = Mesh::new()?;
    let up = mesh.up()?;
    let watch = Watch::start(&mesh)?;
    for expected in ["snapshot node-1 alive", "snapshot node-2 alive", "snapshot node-3 alive", "synced - -"]
    {
        assert_eq!(watch.next()?, expected);
    }
    watch.quiet_for(Duration::from_secs(2))?;
    mesh.run(&["mesh", "peers", "cordon", "node-2", "--reason", "x"])?;
    assert_eq!(watch.next()?, "modified node-2 alive cordoned");
    // The watch would follow another mesh to the ports of this one.
    let ports = hold_ports();
    up.interrupt()?;
    let _up = mesh.up_on(ports, &[])?;
    let mut seen: Vec<String> = (0..9).map(|_| watch.next()).collect::<Result<_>>()?;
    seen.sort();
    // Each says that it leads nothing any more, that it left, and that it is back.
    let expected = [
        "modified node-1 alive",
        "modified node-1 alive",
        "modified node-1 left",
        "modified node-2 alive cordoned",
        "modified node-2 alive cordoned",
        "modified node-2 left cordoned",
        "modified node-3 alive",
        "modified node-3 alive",
        "modified node-3 left",
    ];
    assert_eq!(seen, expected, "the departures it missed, the new registrations, and no reset");
    let audit = mesh.json(&["audit", "list", "-o", "json"])?;
    let cordoned = |record: &Value| record["action"] == "peers.cordon" && record["reason"] == "x";
    assert!(audit["records"].as_array().is_some_and(|records| records.iter().any(cordoned)), "{audit}");
    Ok(())
}

#[test]
fn killed_and_paused_nodes_are_noticed_and_come_back() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let ports = hold_ports();
    mesh.run(&["dev", "kill", "node-3"])?;
    mesh.wait_for("node-3", "suspect")?;
    mesh.wait_for("node-3", "dead")?;
    let status = mesh.json(&["mesh", "status", "-o", "json"])?;
    let told = status["problems"].as_array().is_some_and(|problems| {
        problems
            .iter()
            .any(|problem| problem["id"] == "membership-dead" && problem["message"] == "dead: node-3")
    });
    assert!(told && status["peers"]["dead"] == 1, "{status}");
    mesh.run(&["mesh", "peers", "force-leave", "node-3"])?;
    mesh.wait_for("node-3", "left")?;
    mesh.run(&["dev", "resume", "node-3"])?;
    drop(ports);
    mesh.wait_for("node-3", "alive")?;
    // The first address of the context is the one that freezes: the others must do.
    mesh.run(&["dev", "pause", "node-1"])?;
    mesh.wait_for("node-1", "suspect")?;
    mesh.run(&["mesh", "peers", "cordon", "node-2"])?;
    mesh.run(&["dev", "resume", "node-1"])?;
    mesh.wait_for("node-1", "alive")?;
    Ok(())
}

#[test]
fn a_directory_serves_one_mesh_at_a_time() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let data = mesh.path("mesh");
    let output = mesh
        .omnirelay(&["up", "--name", "other", "--data", &data.to_string_lossy()])
        .stderr(Stdio::piped())
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("in use"), "{complaint}");
    Ok(())
}

#[test]
fn a_mesh_that_cannot_be_announced_leaves_no_ready_file() -> Result<()> {
    let mesh = Mesh::new()?;
    let (ready, _ports) = (mesh.path("ready.json"), hold_ports());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let status = mesh
        .omnirelay(&["up", "--nodes", "1", "--store", "memory:", "--ready-file", &ready.to_string_lossy()])
        .stdout(full)
        .status()?;
    assert_eq!(status.code(), Some(1));
    assert!(!ready.exists());
    Ok(())
}

#[test]
fn a_mesh_is_announced_before_it_is_said_to_be_ready() -> Result<()> {
    let (mesh, _ports) = (Mesh::new()?, hold_ports());
    // A standard output that takes nothing holds up the announcement after its context was written.
    let (reader, writer) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    while (&writer).write(&[b'\n'; 4096]).is_ok() {}
    writer.set_nonblocking(false)?;
    let ready = mesh.ready_file();
    let arguments = ["up", "--nodes", "2", "--store", "memory:", "--ready-file", &ready.to_string_lossy()];
    let _up = Up(mesh.omnirelay(&arguments).stdout(OwnedFd::from(writer)).spawn()?);
    let context = || std::fs::read_to_string(mesh.path("config.yaml")).is_ok_and(|text| text.contains("dev"));
    eventually("the context is written", || Ok(context()))?;
    assert!(!ready.exists(), "nobody can have read which nodes there are");
    let read = std::thread::spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
    eventually("it is said to be ready", || Ok(ready.exists()))?;
    assert!(!read.is_finished());
    Ok(())
}

#[test]
fn a_mesh_interrupted_while_it_starts_leaves_nothing() -> Result<()> {
    let mesh = Mesh::new()?;
    let (ready, temporary) = (mesh.path("ready.json"), mesh.path("tmp"));
    std::fs::create_dir(&temporary)?;
    let left = || -> Result<usize> { Ok(std::fs::read_dir(&temporary)?.count()) };
    let mut command = mesh.omnirelay(&["up", "--nodes", "16", "--ready-file", &ready.to_string_lossy()]);
    let _ports = hold_ports();
    let mut up = Up(command.env("TMPDIR", &temporary).spawn()?);
    let begun = Instant::now();
    while left()? == 0 {
        ensure!(begun.elapsed() < PATIENCE && up.0.try_wait()?.is_none(), "no directory was made");
        std::thread::yield_now();
    }
    up.interrupt()?;
    assert!(!ready.exists());
    assert_eq!(left()?, 0);
    Ok(())
}

#[test]
fn a_node_can_be_resumed_at_once_and_says_how_it_is() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let _ports = hold_ports();
    let state = |verb: &str| -> Result<Value> {
        Ok(mesh.json(&["dev", verb, "node-3", "-o", "json"])?["node"]["state"].clone())
    };
    assert_eq!(state("kill")?, "killed");
    assert_eq!(state("pause")?, "killed", "a killed node cannot be paused");
    assert_eq!(state("resume")?, "running");
    Ok(())
}
