//! A Prometheus that scrapes a mesh, and has the rules that the program writes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use omnirelay_support::servers::{Prometheus, eventually};

use crate::mesh::Mesh;

/// The folder of the rules, once they are written.
pub(crate) fn rules(mesh: &Mesh) -> PathBuf {
    mesh.program.home.path().join("rules")
}

/// Writes the rules, sixty times as fast.
pub(crate) fn export_rules(mesh: &Mesh) {
    let ended = mesh.program.run(&format!("alerts export {} --speed 60 --force", rules(mesh).display()));
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// Scrapes and evaluates each second, by the rules as they are.
pub(crate) fn scrape(mesh: &Mesh) -> Result<Prometheus> {
    let targets = mesh.program.run("mesh targets -o json").json();
    let address = targets["targets"][0]["targets"][0].as_str().context("address")?;
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [\"{}/*.yaml\"]\n\
         scrape_configs:\n  - job_name: omnirelay\n    http_sd_configs:\n      \
         - {{url: \"http://{address}/control/prometheus/targets\", refresh_interval: 1s}}\n",
        rules(mesh).display()
    ))?;
    eventually("all daemons are scraped", || Ok(prometheus.query("up == 1")?.len() == 3))?;
    Ok(prometheus)
}
