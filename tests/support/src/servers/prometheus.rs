//! A Prometheus of a test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, ports};

/// How often a server is started on another port when one was taken meanwhile.
const PORTS_TRIED: usize = 5;

/// A Prometheus that scrapes; killed when it is dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Prometheus {
    /// Starts one with this configuration, and waits until it is ready.
    pub fn start(config: &str) -> Result<Self> {
        for _ in 0..PORTS_TRIED {
            let (directory, port) = (tempfile::tempdir()?, ports::free()?);
            std::fs::write(directory.path().join("prometheus.yml"), config)?;
            let log = File::create(directory.path().join("log"))?;
            let child = Command::new("prometheus")
                .arg("--config.file=prometheus.yml")
                .arg("--storage.tsdb.path=data")
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .current_dir(directory.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("prometheus of Debian's package prometheus; scripts/packages installs it")?;
            let mut server = Self { child, port, directory };
            let mut has_ended = false;
            eventually("Prometheus is ready", || {
                has_ended = server.child.try_wait()?.is_some();
                Ok(has_ended || server.get("/-/ready", &[]).is_ok())
            })?;
            if !has_ended {
                return Ok(server);
            }
            let log = server.log();
            ensure!(log.contains("address already in use"), "Prometheus ended: {log}");
        }
        anyhow::bail!("no port was free long enough")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The series of an instant query: their labels, each with its value, and the value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let answer = self.get("/api/v1/query", &[("query", expression)])?;
        let answer: Value = serde_json::from_str(&answer)?;
        let series = answer["data"]["result"].as_array().context("no result")?;
        series
            .iter()
            .map(|one| {
                let value = one["value"][1].as_str().context("no value")?;
                Ok((one["metric"].clone(), value.parse()?))
            })
            .collect()
    }

    /// The series of a query over the last seconds, a point each second: their labels, each with its points.
    pub fn query_range(&self, expression: &str, seconds: u64) -> Result<Vec<(Value, Vec<f64>)>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        let form = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let answer: Value = serde_json::from_str(&self.get("/api/v1/query_range", &form)?)?;
        let series = answer["data"]["result"].as_array().context("no result")?;
        let mut all = Vec::new();
        for one in series {
            let points = one["values"].as_array().context("no values")?.iter();
            let numbers = points.map(|point| Ok(point[1].as_str().context("no value")?.parse()?));
            all.push((one["metric"].clone(), numbers.collect::<Result<_>>()?));
        }
        Ok(all)
    }

    fn get(&self, path: &str, form: &[(&str, &str)]) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-f", "-m", "10", "--noproxy", "*", "-G"]);
        for (name, value) in form {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = curl.arg(format!("http://127.0.0.1:{}{path}", self.port)).output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
