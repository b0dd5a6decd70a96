//! The agent in `tests/relay/python`, on its own implementation of gRPC and on what its own tools make of the protos.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::agent::Shape;
use crate::process::built;
use crate::process::python::{digest, hex, made_whole, run, with_packages};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/python");
const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
/// Those that a newer agent uses, below [`PROTOS`].
const NEWER: [&str; 4] = [
    "omnirelay/api/v1/options.proto",
    "aeroarc/agent/v1/agent.proto",
    "aeroarc/relay/v1/relay.proto",
    "aeroarc/registry/v1/registry.proto",
];
const OLDER: &str = "agent_gateway.proto";

/// An agent that runs; killed when it is dropped.
pub(crate) struct PythonAgent {
    child: Child,
    report: PathBuf,
    complaints: PathBuf,
    pub id: String,
}

/// What it said at its end.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub agent_id: String,
    /// How often it registered, and how many streams it opened.
    pub registered: usize,
    pub streams: usize,
    /// How often it got which status, by its number.
    pub statuses: BTreeMap<String, usize>,
    /// The commands it got.
    pub commands: Vec<String>,
    pub captured: u64,
    /// How many frames nobody has acknowledged.
    pub left: u64,
    pub acknowledged: Vec<u64>,
    /// What went wrong, and how often.
    pub failures: BTreeMap<String, usize>,
}

/// The environment with what `requirements.txt` names, and what was generated in it.
struct Kit {
    python: PathBuf,
    generated: PathBuf,
}

/// The kit, made once for each state of what it is made of, and kept with what cargo builds.
fn kit() -> Result<&'static Kit> {
    static KIT: OnceLock<Result<Kit, String>> = OnceLock::new();
    KIT.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("there is no Python to test with: {error}"))
}

fn make() -> Result<Kit> {
    let requirements = Path::new(FOLDER).join("requirements.txt");
    let (python, packages) = (with_packages(&requirements)?, std::fs::read(&requirements)?);
    let mut sources = vec![std::fs::read(Path::new(FOLDER).join("v0_1_0").join(OLDER))?];
    for proto in NEWER {
        sources.push(std::fs::read(Path::new(PROTOS).join(proto))?);
    }
    let state = digest(sources.iter().map(Vec::as_slice).chain([&packages[..]]));
    let generated = built().join(format!("python-protos-{state}"));
    if !generated.exists() {
        made_whole(&generated, |unfinished| {
            let older = Path::new(FOLDER).join("v0_1_0");
            compile(&python, &older, &unfinished.join("legacy"), &[OLDER])?;
            compile(&python, Path::new(PROTOS), &unfinished.join("envelope"), &NEWER)
        })?;
    }
    Ok(Kit { python, generated })
}

/// By the standard tool of the language.
fn compile(python: &Path, protos: &Path, out: &Path, files: &[&str]) -> Result<()> {
    std::fs::create_dir_all(out)?;
    let mut command = Command::new(python);
    command.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(protos);
    command.arg("--python_out").arg(out).arg("--grpc_python_out").arg(out).args(files);
    run(&mut command)
}

/// The UUID of an agent, and the id that v0.1.0 makes of it.
fn identity(number: usize) -> (String, String) {
    let uuid = format!("7c9e6679-7425-40de-944b-e07fc1f9{number:04x}");
    let id = hex(&Sha256::digest(uuid.as_bytes()));
    (uuid, id)
}

impl PythonAgent {
    /// Starts one; further arguments are those of `agent.py`.
    pub(crate) fn start(
        shape: Shape,
        number: usize,
        servers: &[String],
        folder: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let kit = kit()?;
        let word = match shape {
            Shape::Legacy => "legacy",
            Shape::Envelope => "envelope",
        };
        let (uuid, id) = identity(number);
        let report = folder.join(format!("agent-{number}.json"));
        let complaints = folder.join(format!("agent-{number}.log"));
        let mut command = Command::new(&kit.python);
        command.arg(Path::new(FOLDER).join("agent.py")).args(["--shape", word, "--identity", &uuid]);
        servers.iter().for_each(|server| {
            command.args(["--server", server]);
        });
        command.args(more).env("PYTHONPATH", kit.generated.join(word)).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null());
        command.stdout(std::fs::File::create(&report)?).stderr(std::fs::File::create(&complaints)?);
        Ok(Self { child: command.spawn()?, report, complaints, id })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It captures no more, and ends once all is acknowledged.
    pub(crate) fn land(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits for its end.
    pub(crate) fn report(mut self) -> Result<Report> {
        let status = self.child.wait()?;
        let said = std::fs::read_to_string(&self.complaints)?;
        ensure!(status.success(), "the agent ended with {status}: {said}");
        let report = std::fs::read(&self.report)?;
        let report: Report = serde_json::from_slice(&report).with_context(|| said.clone())?;
        ensure!(report.agent_id == self.id, "{} is not {}", report.agent_id, self.id);
        Ok(report)
    }
}

impl Drop for PythonAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
