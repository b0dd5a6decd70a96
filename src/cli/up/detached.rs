//! A mesh in the background: `omnirelay up -d` starts it, waits until it is ready, and goes.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::record::{self, DevMeshRecord};
use super::{UpArgs, running_already, tell};
use crate::frame::prelude::*;

/// How long the nodes may take until they are ready; one whose store is away takes longer.
const READY_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// So much of the log of a mesh that did not come up is shown.
const LOG_LINES: usize = 10;

/// Starts the mesh in a process of its own, and tells of it once it is ready.
///
/// # Errors
/// When one of this name runs, or it does not come up.
pub(crate) fn start(args: &UpArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let folder = record::folder(&session.settings.config_path);
    if let Some(found) = record::running(&folder, &args.name) {
        return Err(running_already(&found));
    }
    let log = record::log_of(&folder, &args.name);
    let interrupted = interrupted()?;
    let mut child = spawn(session, &log).map_err(|error| {
        CliError::local(
            reasons::UP_FAILED,
            format!("cannot start a mesh that logs to {}", log.display()),
            &error,
        )
        .hint("name a file beside which it may be with OMNIRELAY_CONFIG, or omnirelay up, in this terminal")
    })?;
    match await_ready((&folder, &args.name), &mut child, &interrupted, READY_MAX) {
        MeshStart::Ready(record) => {
            tell(session, &record)?;
            Ok(Exit::Ok)
        }
        MeshStart::Ended(status) => Err(ended(&log, status)),
        MeshStart::Interrupted => {
            end(&mut child, &interrupted);
            Ok(Exit::Interrupted)
        }
        MeshStart::Late => Err(waits(&args.name, &log)),
    }
}

/// Outcome of waiting for a mesh in another process.
pub(super) enum MeshStart {
    Ready(Box<DevMeshRecord>),
    Ended(ExitStatus),
    /// Who started it wants it no more.
    Interrupted,
    /// It takes longer than was waited.
    Late,
}

/// Waits until the mesh of this name, in the process of `child`, is ready.
pub(super) fn await_ready(
    (folder, name): (&Path, &str),
    child: &mut Child,
    interrupted: &AtomicBool,
    within: Duration,
) -> MeshStart {
    let began = Instant::now();
    loop {
        let found = record::running(folder, name).filter(|found| found.pid == child.id());
        if let Some(record) = found.filter(|found| found.ready) {
            return MeshStart::Ready(Box::new(record));
        }
        if let Ok(Some(status)) = child.try_wait() {
            return MeshStart::Ended(status);
        }
        if interrupted.swap(false, Ordering::Relaxed) {
            return MeshStart::Interrupted;
        }
        if began.elapsed() > within {
            return MeshStart::Late;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(super) fn interrupted() -> Result<Arc<AtomicBool>, CliError> {
    let flag = Arc::new(AtomicBool::new(false));
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(number, flag.clone())
            .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))?;
    }
    Ok(flag)
}

/// Who interrupts the start wants no mesh, and who does it again does not want to wait for its stop.
fn end(child: &mut Child, interrupted: &AtomicBool) {
    terminate(child.id());
    while let Ok(None) = child.try_wait() {
        if interrupted.load(Ordering::Relaxed) {
            let _ = child.kill();
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Asks a process to stop; one that is gone needs no asking.
pub(crate) fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Leaves the terminal and the folder that the process was started from: what ends there does not end it, and a file
/// system can be taken away.
pub(crate) fn leave() {
    // It fails where the process leads a group already, whose terminal is then not left.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
}

fn spawn(session: &CommandSession, log: &Path) -> std::io::Result<Child> {
    if let Some(folder) = log.parent() {
        record::make_folder(folder)?;
    }
    // What the one before said is kept once.
    let _ = std::fs::rename(log, log.with_extension("log.1"));
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    // As it was typed, and what wins over that: its log is for people.
    command.args(std::env::args_os().skip(1)).args(["--detached", "--output=table", "--config"]);
    command.arg(std::path::absolute(&session.settings.config_path)?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn()
}

/// The last lines of a log, but for what it says to try: that is said here, for the command that was typed.
fn last_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("  try:")).collect();
    match &lines[lines.len().saturating_sub(LOG_LINES)..] {
        [] => "it said nothing".to_owned(),
        last => last.join("\n").trim_start_matches("error: ").to_owned(),
    }
}

fn ended(log: &Path, status: ExitStatus) -> CliError {
    CliError::new(reasons::UP_FAILED, format!("the mesh did not come up ({status})"))
        .exiting(match status.code() {
            Some(code) if code == Exit::Usage as i32 => Exit::Usage,
            Some(code) if code == Exit::Conflict as i32 => Exit::Conflict,
            _ => Exit::Error,
        })
        .cause(last_of(log))
        .hint("omnirelay up     # without -d: in this terminal")
}

fn waits(name: &str, log: &Path) -> CliError {
    let waited = humantime::format_duration(READY_MAX);
    CliError::new(reasons::UP_NOT_READY, format!("the mesh `{name}` runs and is not ready after {waited}"))
        .cause(format!("{} ends with\n{}", log.display(), last_of(log)))
        .hint("omnirelay up status")
        .hint("omnirelay down")
}
