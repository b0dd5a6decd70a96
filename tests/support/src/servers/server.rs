//! One `redis-server` process.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::FromRedisValue;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::ports;
pub use crate::process::PATIENCE;
use crate::process::pause;

/// How often another port is tried.
const PORTS_TRIED: usize = 20;

/// How much of the output is shown when a test fails, in bytes.
const OUTPUT_SHOWN: usize = 4000;

/// A running server; killed when it is dropped. Its output is shown if the test fails.
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

/// Waits for something that must come true, and says what if it does not.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let outcome = is_true();
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            outcome?;
            bail!("waited in vain: {what}");
        }
        std::thread::sleep(pause(begun));
    }
}

impl RedisServer {
    /// Starts a server that keeps nothing, with further arguments, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, arguments)
    }

    /// As [`RedisServer::start`], in a directory that may hold files for it. In an argument,
    /// `{dir}` stands for that directory, and `{tls}` for a free port beside its own.
    pub fn start_in(directory: TempDir, arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let mut server = Self { child: None, port: 0, directory, arguments };
        for _ in 0..PORTS_TRIED {
            server.port = ports::free()?;
            if server.try_launch()? {
                return Ok(server);
            }
        }
        bail!("no port was free long enough: {}", server.output())
    }

    /// Starts it again, on its port and in its directory, after [`RedisServer::kill`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server runs");
        eventually("the port of the server is free again", || self.try_launch())
    }

    /// False: the port was taken meanwhile.
    fn try_launch(&mut self) -> Result<bool> {
        let from = self.output().len();
        self.child = Some(self.command()?.spawn().context("cannot start redis-server")?);
        let begun = Instant::now();
        loop {
            if self.is_up() {
                return Ok(true);
            }
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                self.child = None;
                let output = self.output().split_off(from);
                let taken = ["Address already in use", "Failed listening", "Could not create server TCP"];
                if taken.iter().any(|text| output.contains(text)) {
                    return Ok(false);
                }
                bail!("the server ended with {status}: {output}");
            }
            ensure!(begun.elapsed() < PATIENCE, "the server does not answer: {}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process that listens there is this one, and serves.
    fn is_up(&self) -> bool {
        let info = self.cli::<String>(&["INFO"]);
        let pid = self.child.as_ref().map(|child| format!("process_id:{}\r", child.id()));
        match (info, pid) {
            (Ok(info), Some(pid)) => info.contains(&pid) && !info.contains("loading:1"),
            // A server that was told to let nobody in is up when it says so.
            (Err(error), Some(_)) => error.to_string().contains("NOAUTH"),
            (_, None) => false,
        }
    }

    fn command(&self) -> Result<Command> {
        let output = OpenOptions::new().create(true).append(true).open(self.output_file())?;
        let mut command = Command::new("redis-server");
        let own = self.arguments.iter().map(|text| self.filled(text)).collect::<Vec<_>>();
        // A configuration file, if there is one, comes first.
        let (file, own) = match own.split_first() {
            Some((first, rest)) if !first.starts_with('-') => (Some(first), rest),
            _ => (None, own.as_slice()),
        };
        command.args(file);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        if !self.is_sentinel() {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        command.args(own).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(command)
    }

    fn is_sentinel(&self) -> bool {
        self.arguments.iter().any(|text| text == "--sentinel")
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{tls}", &self.tls_port().to_string())
            .replace("{dir}", &self.directory.path().to_string_lossy())
    }

    /// `None`: it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `{tls}` stands for in its arguments.
    pub fn tls_port(&self) -> u16 {
        self.port + ports::BUS
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn output_file(&self) -> PathBuf {
        self.directory.path().join("output.log")
    }

    /// What the server has said since it was started first.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output_file()).unwrap_or_default()
    }

    /// Runs one command on a connection of its own, as the user `default` without a password.
    pub fn cli<T: FromRedisValue>(&self, command: &[&str]) -> Result<T> {
        self.cli_of("", command)
    }

    /// As [`RedisServer::cli`], as somebody: `name:password`.
    pub fn cli_as<T: FromRedisValue>(&self, user: &str, command: &[&str]) -> Result<T> {
        self.cli_of(&format!("{user}@"), command)
    }

    fn cli_of<T: FromRedisValue>(&self, user: &str, command: &[&str]) -> Result<T> {
        let client = redis::Client::open(format!("redis://{user}{}", self.address()))?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut redis = redis::cmd(command.first().context("no command")?);
        redis.arg(&command[1..]);
        Ok(redis.query(&mut connection)?)
    }

    /// A field of `INFO`.
    pub fn info(&self, field: &str) -> Result<String> {
        let info: String = self.cli(&["INFO"])?;
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.with_context(|| format!("INFO has no {field}"))?.to_owned())
    }

    /// Its processor time.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let of = |field: &str| -> Result<f64> { Ok(self.info(field)?.parse()?) };
        Ok(of("used_cpu_sys")? + of("used_cpu_user")?)
    }

    /// How many connections have the name that daemons give theirs.
    pub fn connections(&self) -> Result<usize> {
        let clients: String = self.cli(&["CLIENT", "LIST"])?;
        Ok(clients.lines().filter(|line| line.contains("name=omnirelayd")).count())
    }

    /// How many connections were accepted since the start, those of [`RedisServer::cli`] included.
    pub fn connections_received(&self) -> Result<u64> {
        Ok(self.info("total_connections_received")?.parse()?)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops the process where it is; its sockets stay open.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a stopped process go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the server does not run")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for RedisServer {
    #[expect(clippy::print_stdout, reason = "what the test harness shows of a test that fails")]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The test harness shows it only if the test fails; a benchmark would always.
        if std::env::args().any(|argument| argument == "--bench") {
            return;
        }
        let output = self.output();
        let tail = output.get(output.len().saturating_sub(OUTPUT_SHOWN)..).unwrap_or(&output);
        println!("the server on port {} said:\n{tail}", self.port);
    }
}
