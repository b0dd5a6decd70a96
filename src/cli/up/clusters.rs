//! `omnirelay up --clusters`: several clusters of one trust domain, each in a process of its own, the first active for everything.

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::detached::{MeshStart, await_ready, interrupted, terminate};
use super::record::{self, DevMeshLock, DevMeshRecord};
use super::{UpArgs, keep, not_taken, own_command, tell};
use omnirelay_daemon::process::up::FIRST_PORT;
use omnirelay_store::whole_file::write_whole;

use crate::frame::error::chain;
use crate::frame::prelude::*;

/// How long a cluster may take until its nodes are ready, and a command of the ceremony until it succeeds.
const READY_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long clusters have to stop before they are ended.
const STOP_MAX: Duration = Duration::from_secs(60);

/// By how much the ports of one cluster are above those of the one before.
const PORTS_APART: u16 = 1000;

/// Processes of the clusters; they are ended with this value.
struct ClusterProcesses {
    children: Vec<(String, Child)>,
}

impl Drop for ClusterProcesses {
    fn drop(&mut self) {
        for (_, child) in &self.children {
            terminate(child.id());
        }
        let until = Instant::now() + STOP_MAX;
        for (_, child) in &mut self.children {
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK_EVERY);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// File that says where all nodes are, while they run.
struct ReadyFile<'a>(&'a Path);

impl<'a> ReadyFile<'a> {
    fn write(path: &'a Path, record: &DevMeshRecord) -> Result<Self, CliError> {
        let text = json!({ "nodes": record.nodes }).to_string();
        let written = write_whole(path, text.as_bytes());
        written.map_err(|error| {
            CliError::local(reasons::UP_FAILED, format!("cannot write {}", path.display()), &error)
        })?;
        Ok(Self(path))
    }
}

impl Drop for ReadyFile<'_> {
    fn drop(&mut self) {
        // One that stays names nodes that are gone, as one of a crash does.
        let _ = std::fs::remove_file(self.0);
    }
}

/// Name of a cluster, of its mesh and of its context.
fn name_of(mesh: &str, number: u16) -> String {
    format!("{mesh}-{number}")
}

/// Ends this process once the one that has started it is gone.
pub(super) fn end_with_parent() {
    let mut input = std::io::stdin().lock();
    // It says nothing: its end is the end of the input.
    let _ = std::io::copy(&mut input, &mut std::io::sink());
    terminate(std::process::id());
}

/// Runs so many clusters until it is told to stop, or one of them ends.
///
/// # Errors
/// Why they could not be started, or introduced to each other.
pub(super) fn run(args: &UpArgs, clusters: u16, session: &mut CommandSession) -> Result<Exit, CliError> {
    check(args, clusters)?;
    let folder = record::folder(&session.settings.config_path);
    let mut held = match DevMeshLock::take(&folder, &args.name) {
        Ok(held) => Some(held),
        Err(failure) => not_taken(failure, session)?,
    };
    let interrupted = interrupted()?;
    if let Some(path) = &args.ready_file {
        // What is there is of another time.
        let _ = std::fs::remove_file(path);
    }
    let mut record = DevMeshRecord {
        name: args.name.clone(),
        pid: std::process::id(),
        started_at: super::started_at(),
        data: args.data.clone(),
        log: args.detached.then(|| record::log_of(&folder, &args.name)),
        ..DevMeshRecord::default()
    };
    keep(session, held.as_mut(), &record);
    let mut processes = ClusterProcesses { children: Vec::new() };
    let mut meshes: Vec<DevMeshRecord> = Vec::new();
    for number in 1..=clusters {
        let name = name_of(&args.name, number);
        let first = meshes.first().map(|mesh| mesh.name.as_str());
        let child = spawn(args, session, (number, &name), first).map_err(|error| {
            CliError::local(reasons::UP_FAILED, format!("cannot start cluster `{name}`"), &error)
        })?;
        processes.children.push((name, child));
        match await_cluster(&folder, &mut processes, &interrupted)? {
            Some(mesh) => meshes.push(mesh),
            None => return Ok(Exit::Interrupted),
        }
    }
    introduce(session, &meshes, &interrupted)?;
    record.nodes = meshes.iter().flat_map(|mesh| mesh.nodes.clone()).collect();
    record.context = meshes.first().and_then(|mesh| mesh.context.clone());
    record.ready = true;
    keep(session, held.as_mut(), &record);
    if !args.detached {
        tell(session, &record)?;
        let names: Vec<&str> = meshes.iter().map(|mesh| mesh.name.as_str()).collect();
        session.notes().say(&format!(
            "Clusters and their contexts: {}. The first is active for everything, and the others follow it:\n  omnirelay mesh domains list --context {}\nCtrl-C stops them all.",
            names.join(", "),
            names.last().unwrap_or(&"")
        ));
    }
    let _ready = args.ready_file.as_deref().map(|path| ReadyFile::write(path, &record)).transpose()?;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(Exit::Ok);
        }
        for (name, child) in &mut processes.children {
            if let Ok(Some(status)) = child.try_wait() {
                let message = format!("cluster `{name}` has ended ({status}), and the others with it");
                return Err(CliError::new(reasons::UP_FAILED, message).hint("omnirelay up --clusters again"));
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn check(args: &UpArgs, clusters: u16) -> Result<(), CliError> {
    match args.stores.len() {
        0 => Ok(()),
        count if count == usize::from(clusters) => Ok(()),
        count => Err(CliError::usage(format!(
            "{clusters} clusters have {clusters} stores: name as many with --store, or none for an embedded one each, not {count}"
        ))),
    }
}

/// Starts the process of a cluster.
fn spawn(
    args: &UpArgs,
    session: &CommandSession,
    (number, name): (u16, &str),
    sibling_of: Option<&str>,
) -> std::io::Result<Child> {
    let mut command = own_command(session)?;
    command.args(["up", "--quiet", "--output", "table"]);
    command.args(["--name", name, "--cluster", name, "--part-of", &args.name, "--secure"]);
    command.args(["--first-port", &(FIRST_PORT + PORTS_APART * (number - 1)).to_string()]);
    if let Some(context) = sibling_of {
        command.args(["--sibling-of", context]);
    }
    if let Some(nodes) = args.nodes {
        command.args(["--nodes", &nodes.to_string()]);
    }
    if let Some(data) = &args.data {
        command.arg("--data").arg(std::path::absolute(data)?.join(name));
    }
    if let Some(store) = args.stores.get(usize::from(number) - 1) {
        command.args(["--store", store]);
    }
    for service in &args.services {
        command.args(["--service", service]);
    }
    for set in &args.set {
        command.args(["--set", set]);
    }
    if args.accept_data_loss {
        command.arg("--accept-data-loss");
    }
    // It ends with this process, however that ends.
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    // Ctrl-C at the terminal is for this process, which stops them.
    std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn()
}

/// Waits until the cluster that was started last is ready; `None`: who started it wants it no more.
fn await_cluster(
    folder: &Path,
    processes: &mut ClusterProcesses,
    interrupted: &AtomicBool,
) -> Result<Option<DevMeshRecord>, CliError> {
    let Some((name, child)) = processes.children.last_mut() else { return Ok(None) };
    match await_ready((folder, name), child, interrupted, READY_MAX) {
        MeshStart::Ready(mesh) => Ok(Some(*mesh)),
        MeshStart::Interrupted => Ok(None),
        MeshStart::Ended(status) => {
            let message = format!("cluster `{name}` did not come up ({status})");
            Err(CliError::new(reasons::UP_FAILED, message).hint("its lines are above"))
        }
        MeshStart::Late => Err(CliError::new(
            reasons::UP_NOT_READY,
            format!("cluster `{name}` is not ready after {} s", READY_MAX.as_secs()),
        )),
    }
}

/// Has each cluster know the others, and the first be active for everything.
fn introduce(
    session: &CommandSession,
    meshes: &[DevMeshRecord],
    interrupted: &Arc<AtomicBool>,
) -> Result<(), CliError> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let pairs = || {
        meshes.iter().flat_map(|mesh| {
            meshes.iter().filter(|other| other.name != mesh.name).map(move |other| (mesh, other))
        })
    };
    // One that is not known yet lets in nobody who asks.
    for (mesh, other) in pairs() {
        succeed(session, &mesh.name, &words(&["mesh", "clusters", "set", &other.name]), interrupted)?;
    }
    for (mesh, other) in pairs() {
        let mut set = words(&["mesh", "clusters", "set", &other.name]);
        for address in other.addresses() {
            set.extend(["--endpoint".to_owned(), address.authority().to_owned()]);
        }
        succeed(session, &mesh.name, &set, interrupted)?;
    }
    let first = meshes.first().map(|mesh| mesh.name.as_str()).unwrap_or_default();
    for mesh in meshes {
        let set = words(&["mesh", "domains", "set", "mesh", "--active", first]);
        succeed(session, &mesh.name, &set, interrupted)?;
    }
    Ok(())
}

/// Runs a command of this program by a context, until it succeeds.
fn succeed(
    session: &CommandSession,
    context: &str,
    words: &[String],
    interrupted: &Arc<AtomicBool>,
) -> Result<(), CliError> {
    let begun = Instant::now();
    loop {
        let ended = own_command(session).and_then(|mut command| {
            command.args(words).args(["--context", context]).stdin(Stdio::null()).output()
        });
        let complaint = match &ended {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => chain(error),
        };
        if begun.elapsed() > READY_MAX || interrupted.load(Ordering::Relaxed) {
            let message = format!("`omnirelay {}` does not succeed", words.join(" "));
            return Err(CliError::new(reasons::UP_FAILED, message)
                .cause(complaint.trim_start_matches("error: ").to_owned()));
        }
        std::thread::sleep(LOOK_EVERY * 4);
    }
}
