//! A daemon process of a test, and how to talk to it.

pub mod api;
pub mod channel;
pub mod python;
pub mod secured;
pub mod siblings;
pub mod skew;
pub mod stub;

use omnirelay_wire::tls::nobody;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long anything that should happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of the programs that cargo built, above `deps`, which is that of the test binaries.
pub fn built() -> PathBuf {
    let binary = std::env::current_exe().unwrap_or_default();
    binary.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// A program of this release, `omnirelay` or `omnirelayd`: built with the tests, as their package has them.
pub fn program(name: &str) -> PathBuf {
    built().join(name)
}

/// Further variables that a daemon reads.
const RELAY_SETTINGS: [&str; 4] = ["REDIS_ADDR", "REDIS_PASSWORD", "REDIS_DB", "RELAY_ID"];

/// A running `omnirelayd`; killed when it is dropped.
pub struct Daemon {
    child: Child,
    pub control: String,
    pub node_id: String,
}

/// Where a daemon keeps its state, and what it is started with.
pub struct Place {
    pub directory: tempfile::TempDir,
    /// Where its API listens; port 0: wherever there is room.
    pub listen: String,
    pub arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The daemon's program: this release's.
    pub program: PathBuf,
    /// Lets a write beyond the limit of file sizes fail instead of ending the process.
    pub outlives_size_limit: bool,
}

impl Place {
    pub fn new(arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let (directory, listen) = (tempfile::tempdir()?, "127.0.0.1:0".to_owned());
        let (environment, program) = (Vec::new(), program("omnirelayd"));
        Ok(Self { directory, listen, arguments, environment, program, outlives_size_limit: false })
    }

    /// With these variables in the environment.
    pub fn with(mut self, environment: &[(&str, &str)]) -> Self {
        let pairs = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment.extend(pairs);
        self
    }

    /// Under a clock that is off, such as `+3600s`. What measures durations is left alone, as it is by
    /// whoever sets a clock.
    pub fn with_clock(self, shift: &str) -> Result<Self> {
        let variables = faketime(shift)?;
        let pairs: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(self.with(&pairs))
    }

    pub fn ready_file(&self) -> PathBuf {
        self.directory.path().join("ready.json")
    }

    pub fn log_file(&self) -> PathBuf {
        self.directory.path().join("daemon.log")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn command(&self) -> Result<Command> {
        let mut command = match self.outlives_size_limit {
            false => clean(&self.program),
            true => {
                let mut shell = clean("sh");
                shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(&self.program);
                shell
            }
        };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--ready-file")
            .arg(self.ready_file())
            .args(["--control-listen", &self.listen])
            // Many of them share this host.
            .args(["--set", "mesh.listen=127.0.0.1:0"])
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stderr(log);
        Ok(command)
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&self) -> Result<Daemon> {
        self.ready(self.begin()?)
    }

    /// Starts the daemon and waits until it says where it listens: it may wait for its store.
    pub fn start_unready(&self) -> Result<Daemon> {
        let said_before = self.log().len();
        let mut daemon = self.begin()?;
        let begun = Instant::now();
        loop {
            let log = self.log();
            let said = log.get(said_before..).unwrap_or_default();
            if let Some(line) = said.lines().find(|line| line.contains("control port listens")) {
                let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
                let text = |name: &str| field(name).map(|text| text.trim_matches('"').to_owned());
                daemon.control = text("control=").context("no address")?;
                daemon.node_id = text("peer=").context("no id")?;
                return Ok(daemon);
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended with {status}: {log}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the daemon does not listen: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the daemon; where it listens is not known yet.
    pub fn begin(&self) -> Result<Daemon> {
        let child = self.command()?.spawn().context("cannot start omnirelayd")?;
        Ok(Daemon { child, control: String::new(), node_id: String::new() })
    }

    /// Waits until a daemon that has begun says that it is ready.
    pub fn ready(&self, mut daemon: Daemon) -> Result<Daemon> {
        let begun = Instant::now();
        loop {
            let ready = read_json(&self.ready_file());
            // A process that was killed has left its own behind.
            if let Some(ready) = ready.filter(|ready| ready["nodes"][0]["pid"] == daemon.pid()) {
                let node = &ready["nodes"][0];
                let text = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
                (daemon.control, daemon.node_id) = (text("control"), text("nodeId"));
                return Ok(daemon);
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("the daemon ended with {status}: {}", self.log());
            }
            ensure!(begun.elapsed() < PATIENCE, "the daemon is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Lets this process, and what it starts, have so many files open.
pub fn raise_open_files(files: usize) -> Result<()> {
    let limit = format!("--nofile={files}:{files}");
    let raised = Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).status();
    ensure!(raised.is_ok_and(|status| status.success()), "the limit of open files cannot be raised");
    Ok(())
}

/// Waits for something that must come true, and says what if it does not. What fails meanwhile is
/// not true yet.
pub async fn until(what: &str, is_true: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    within(PATIENCE, what, is_true).await
}

/// As [`until`], with a limit that is promised.
pub async fn within(
    limit: Duration,
    what: &str,
    mut is_true: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let outcome = is_true().await;
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > limit {
            outcome.with_context(|| what.to_owned())?;
            bail!("waited {limit:?} in vain: {what}");
        }
        tokio::time::sleep(pause(begun)).await;
    }
}

/// How long a test that has waited since `begun` pauses before it looks again: what it asks takes the processor from what it waits for.
pub fn pause(begun: Instant) -> Duration {
    (begun.elapsed() / 10).clamp(Duration::from_millis(5), Duration::from_millis(200))
}

/// The daemon's program, without input and without the caller's settings.
pub fn omnirelayd() -> Command {
    clean(program("omnirelayd"))
}

/// A program without input, output and the caller's settings.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        let ours = shown.starts_with("OMNIRELAY") && !shown.starts_with("OMNIRELAY_TEST");
        if ours || RELAY_SETTINGS.contains(&&*shown) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs the program to its end and returns how it ended, its output and its complaints.
pub fn run(arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = omnirelayd().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    /// Sends a signal by its name, such as `TERM`; after `KILL` it waits until nothing of the process is open any more.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status()?;
        ensure!(status.success(), "cannot send {name}");
        let begun = Instant::now();
        while name == "KILL" && self.has_files_open() {
            ensure!(begun.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Whether the process, or a thread of it, has not ended: whoever has ended is there until somebody waits for it, with no file.
    fn has_files_open(&self) -> bool {
        let count =
            |of: &str| std::fs::read_dir(format!("/proc/{}/{of}", self.pid())).map_or(0, Iterator::count);
        count("fd") > 0 || count("task") > 1
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the daemon to end by itself.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the daemon does not end")
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// What of it is memory that the daemon has asked for, and no page of its program.
    pub fn resident_anonymous(&self) -> Result<u64> {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = reqwest::Client::builder()
            .tls_backend_preconfigured(nobody())
            .build()?
            .get(self.url(path))
            .send()
            .await?;
        let status = response.status();
        let body = response.bytes().await?;
        ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    /// What is answered, as text.
    pub async fn text(&self, path: &str) -> Result<String> {
        let client = reqwest::Client::builder().tls_backend_preconfigured(nobody()).build()?;
        Ok(client.get(self.url(path)).send().await?.error_for_status()?.text().await?)
    }

    /// Posts JSON; returns the status and the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = reqwest::Client::builder()
            .tls_backend_preconfigured(nobody())
            .build()?
            .post(self.url(path))
            .header("content-type", "application/json")
            .body(body.to_string());
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_slice(&response.bytes().await?)?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The variables under which the clock of a program is off, such as `+3600s`; what measures durations is left alone.
pub fn faketime(shift: &str) -> Result<[(&'static str, String); 3]> {
    let library = libfaketime()?.to_str().context("no UTF-8")?.to_owned();
    let monotonic = ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned());
    Ok([("LD_PRELOAD", library), ("FAKETIME", shift.to_owned()), monotonic])
}

/// The library that moves the clocks of a program.
fn libfaketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(Result::ok).map(|folder| folder.path());
    let folders = std::iter::once(PathBuf::from("/usr/lib")).chain(folders);
    let mut found =
        folders.map(|folder| folder.join("faketime/libfaketime.so.1")).filter(|path| path.exists());
    found.next().context("libfaketime is not installed: scripts/packages does it")
}

fn read_json(path: &Path) -> Option<Value> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
