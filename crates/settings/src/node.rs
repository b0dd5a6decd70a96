//! Settings of the node itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use omnirelay_core::labels::{self, Labels};
use omnirelay_core::names::check_node_name;
use omnirelay_core::text::chain;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{InvalidSetting, Section};

/// Settings of the node itself: its name, its role and its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Unique in the mesh; default: the host name and four hex digits, kept in the data directory.
    pub id: Option<String>,
    /// What it is for: `gateway`, `worker`, `control`, ...
    pub role: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    /// Services to switch on: `relay`, `registry`.
    pub services: Vec<String>,
    /// Labels it begins with; what operators set later wins.
    pub labels: Labels,
    /// Where it keeps what must survive a restart. Locked by the process.
    pub data_dir: Option<PathBuf>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            id: None,
            role: "worker".to_owned(),
            cluster: "default".to_owned(),
            region: String::new(),
            zone: String::new(),
            services: Vec::new(),
            labels: BTreeMap::new(),
            data_dir: None,
        }
    }
}

impl Section for NodeConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let Self { id, role, cluster, region, zone, labels, .. } = self;
        let name = |key, name: &str| check_node_name(name).map_err(|error| (key, chain(&error)));
        if let Some(id) = id {
            name("node.id", id)?;
        }
        name("node.role", role)?;
        name("node.cluster", cluster)?;
        for (key, text) in [("node.region", region), ("node.zone", zone)] {
            if !text.is_empty() {
                name(key, text)?;
            }
        }
        let known = |service: &&String| ["relay", "registry"].contains(&service.as_str());
        if let Some(service) = self.services.iter().find(|service| !known(service)) {
            let what = format!("`{service}` is no service; there are `relay` and `registry`");
            return Err(("node.services", what));
        }
        labels::update(&Labels::new(), labels, &[], false).map_err(|error| ("node.labels", chain(&error)))?;
        Ok(())
    }
}

impl Config {
    /// Whether a service is switched on.
    pub fn serves(&self, service: &str) -> bool {
        self.node.services.iter().any(|name| name == service)
    }
}
