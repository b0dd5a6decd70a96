//! An Alertmanager of a test.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, ports};

/// An Alertmanager that judges which alerts tell of something new; killed when it is dropped.
pub struct Alertmanager {
    child: Child,
    port: u16,
    directory: TempDir,
}

/// Alert as an Alertmanager has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldAlert {
    pub name: String,
    pub severity: String,
    /// Another one says it already.
    pub is_inhibited: bool,
}

impl Alertmanager {
    /// Starts one with this configuration, and waits until it is ready.
    pub fn start(config: &str) -> Result<Self> {
        let (directory, port) = (tempfile::tempdir()?, ports::free()?);
        std::fs::write(directory.path().join("alertmanager.yml"), config)?;
        let log = File::create(directory.path().join("log"))?;
        let child = Command::new("prometheus-alertmanager")
            .args(["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("prometheus-alertmanager of Debian's package; scripts/packages installs it")?;
        let server = Self { child, port, directory };
        let is_ready = eventually("Alertmanager is ready", || Ok(server.get("/-/ready").is_ok()));
        is_ready.with_context(|| server.log())?;
        Ok(server)
    }

    /// `host:port`, as Prometheus sends to it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// All alerts that it has.
    pub fn alerts(&self) -> Result<Vec<HeldAlert>> {
        let answer: Value = serde_json::from_str(&self.get("/api/v2/alerts")?)?;
        let held = answer.as_array().context("no list")?.iter().map(|alert| {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            let by = alert["status"]["inhibitedBy"].as_array();
            HeldAlert {
                name: label("alertname"),
                severity: label("severity"),
                is_inhibited: by.is_some_and(|by| !by.is_empty()),
            }
        });
        Ok(held.collect())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-f", "-m", "10", "--noproxy", "*"]);
        let output = curl.arg(format!("http://127.0.0.1:{}{path}", self.port)).output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
