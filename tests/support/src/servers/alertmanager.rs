//! An Alertmanager of a test.

use anyhow::{Context, Result};
use serde_json::Value;

use super::web_server::WebServer;

/// An Alertmanager that judges which alerts tell of something new; killed when it is dropped.
pub struct Alertmanager(WebServer);

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
        let arguments = ["--storage.path=data", "--cluster.listen-address="];
        let program = "prometheus-alertmanager";
        WebServer::start(program, program, config, &arguments).map(Self)
    }

    /// `host:port`, as Prometheus sends to it.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// All alerts that it has.
    pub fn alerts(&self) -> Result<Vec<HeldAlert>> {
        let answer: Value = serde_json::from_str(&self.0.get("/api/v2/alerts", &[])?)?;
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
}
