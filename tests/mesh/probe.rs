//! A probe of a real mesh: from outside, once and for Prometheus.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::secured::Secured;
use crate::servers::{Prometheus, eventually};
use crate::up::{Mesh, hold_ports};

/// How checks ended, by their names.
fn results(document: &Value) -> Vec<(&str, &str)> {
    let rows = document["checks"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["check"].as_str()?, row["result"].as_str()?))).collect()
}

/// A command that goes on; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_probe_does_what_callers_do() -> Result<()> {
    let settings = ["--set", "control.tls.source=mesh", "--set", "control.http3=true"];
    let mesh = Secured::start("n0", "127.0.0.1:0", &settings)?;
    let done = |line: &str| {
        let ended = mesh.by("admin", line)?;
        ensure!(ended.code == Some(0), "{line}: {}", ended.complaint);
        Ok(ended.output)
    };
    done("mesh namespaces create orders --shards 8")?;
    let all = ["list", "watch", "lookup", "http3", "change", "lock"];
    let probed = |who: &str| -> Result<Value> {
        let ended = mesh.by(who, "probe --writes -o json")?;
        serde_json::from_str(&ended.output).context(ended.complaint)
    };
    let well =
        eventually("all checks pass", || Ok(results(&probed("admin")?) == all.map(|check| (check, "pass"))));
    well.with_context(|| format!("{:?}", probed("admin")))?;
    // It changes its own scope, and nothing without being told so.
    ensure!(done("mesh leaders list -o name")?.contains("leader/probe/omnirelay"));
    let recorded = done("audit list --object leader/probe/omnirelay -o name")?;
    ensure!(!recorded.is_empty());
    done("probe")?;
    assert_eq!(done("audit list --object leader/probe/omnirelay -o name")?, recorded);
    assert_eq!(mesh.by("admin", "probe --check lock")?.code, Some(2), "it would change something");

    // Who may read and no more is told so.
    done("cert issue --service prober --out prober")?;
    let found = probed("prober")?;
    let refused = all.map(|check| (check, if ["change", "lock"].contains(&check) { "fail" } else { "pass" }));
    assert_eq!(results(&found), refused, "{found}");
    Ok(())
}

#[test]
fn prometheus_sees_a_mesh_end_by_its_probe() -> Result<()> {
    let mesh = Mesh::new()?;
    let up = mesh.up_with(&["--nodes", "2"])?;
    let (port, textfile) = (crate::servers::free_port()?, mesh.path("probe.prom"));
    let address = format!("127.0.0.1:{port}");
    let rules = mesh.path("rules").to_string_lossy().into_owned();
    mesh.run(&["alerts", "export", &rules, "--speed", "20"])?;
    let mut probe = mesh.omnirelay(&["probe", "--listen", &address, "--every", "1s", "--within", "3s", "-q"]);
    probe.args(["--textfile", &textfile.to_string_lossy()]);
    let probe = Running(probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [\"{rules}/*.yaml\"]\n\
         scrape_configs: [{{job_name: probe, static_configs: [{{targets: [\"{address}\"]}}]}}]\n"
    ))?;
    eventually("its checks are scraped", || {
        let series = prometheus.query("omnirelay_check_result{job=\"probe\"}")?;
        Ok(series.iter().any(|(_, value)| *value == 1.0))
    })?;
    let firing =
        |name: &str| prometheus.query(&format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}"));
    assert_eq!(firing("MeshAnswersNobody")?, []);
    assert_eq!(std::fs::metadata(&textfile)?.permissions().mode() & 0o777, 0o644, "another user reads it");
    assert!(std::fs::read_to_string(&textfile)?.contains("omnirelay_check_result{check=\"list\"} 1"));

    let _ports = hold_ports();
    mesh.run(&["dev", "kill", "node-1"])?;
    // One daemon of two is enough for callers that know both.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(firing("MeshAnswersNobody")?, []);
    up.signal("STOP")?;
    eventually("it pages", || Ok(!firing("MeshAnswersNobody")?.is_empty()))?;
    up.signal("CONT")?;
    eventually("it is well again", || Ok(firing("MeshAnswersNobody")?.is_empty()))?;

    // It ends as it is told to.
    let mut probe = probe;
    Command::new("kill").arg(probe.0.id().to_string()).status()?;
    eventually("it ends", || Ok(probe.0.try_wait()?.is_some()))
}
