//! A server of Prometheus' kind for a test: a program with a file of configuration, a port and a log of its own.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{eventually, ports};

/// How often a server is started on another port when one was taken meanwhile.
const PORTS_TRIED: usize = 5;
/// The file of its log, in its directory.
const LOG: &str = "log";

/// A server that answers over HTTP; killed when it is dropped.
pub(super) struct WebServer {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl WebServer {
    /// Starts a program of a Debian package with this configuration, which it reads from `config.yml`, and waits until it is ready.
    pub(super) fn start(program: &str, package: &str, config: &str, arguments: &[&str]) -> Result<Self> {
        for _ in 0..PORTS_TRIED {
            let (directory, port) = (tempfile::tempdir()?, ports::free()?);
            std::fs::write(directory.path().join("config.yml"), config)?;
            let log = File::create(directory.path().join(LOG))?;
            let child = Command::new(program)
                .arg("--config.file=config.yml")
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(arguments)
                .current_dir(directory.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| {
                    format!("{program} of Debian's package {package}; scripts/packages installs it")
                })?;
            let mut server = Self { child, port, directory };
            let mut has_ended = false;
            eventually(&format!("{program} is ready"), || {
                has_ended = server.child.try_wait()?.is_some();
                Ok(has_ended || server.get("/-/ready", &[]).is_ok())
            })?;
            if !has_ended {
                return Ok(server);
            }
            let log = server.log();
            ensure!(log.contains("address already in use"), "{program} ended: {log}");
        }
        anyhow::bail!("no port was free long enough")
    }

    /// `host:port`
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it has written to its log.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default()
    }

    /// The body of an answer.
    pub(super) fn get(&self, path: &str, form: &[(&str, &str)]) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-f", "-m", "10", "--noproxy", "*", "-G"]);
        for (name, value) in form {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = curl.arg(format!("http://{}{path}", self.address())).output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
