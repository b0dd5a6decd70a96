//! Running the program with nothing around it that a test did not put there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program and its environment.
pub(crate) struct Program {
    /// Holds the configuration.
    pub home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How the program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As a shell tells it: 128 and the number of the signal when one ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A program that talks to `url`.
    pub(crate) fn at(url: &str) -> Self {
        Self::new().with("OMNIRELAY_ADDR", url)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join(".config/omnirelay/config.yaml")
    }

    pub(crate) fn write_config(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.config();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The call, split at blanks; nothing on standard input.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_omnirelay"));
        command.args(line.split_whitespace());
        self.clean(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// Gives `command` the environment of this program and no other.
    pub(crate) fn clean(&self, command: &mut Command) {
        command.env_clear().env("HOME", self.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        // By it `scripts/test` finds what is left behind.
        command.envs(std::env::vars_os().filter(|(name, _)| name == "OMNIRELAY_TEST_RUN"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        ended(self.command(line).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Ended {
        ended(self.start_with_input(line, input).wait_with_output().unwrap())
    }

    /// Starts it with `input`, both outputs piped.
    pub(crate) fn start_with_input(&self, line: &str, input: &str) -> Child {
        let mut command = self.command(line);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child
    }

    /// Starts it with both outputs piped.
    pub(crate) fn start(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A line of shell in which `omnirelay` is the program.
    pub(crate) fn shell(&self, script: &str) -> Ended {
        let mut command = Command::new("bash");
        let function = format!("omnirelay() {{ {} \"$@\"; }}; {script}", env!("CARGO_BIN_EXE_omnirelay"));
        command.args(["-c", &function]);
        self.clean(&mut command);
        ended(command.stdin(Stdio::null()).output().unwrap())
    }
}

/// Sends a signal to a program that was started here.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub(crate) fn ended(output: Output) -> Ended {
    use std::os::unix::process::ExitStatusExt as _;
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// Standard output as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error object on standard error, which holds nothing else.
    pub(crate) fn error(&self) -> Value {
        let document: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        document["error"].clone()
    }

    /// Each line of standard output as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
