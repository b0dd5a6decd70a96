//! Settings of the audit trail: how long it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, within};
use super::{Config, HumanDuration};

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuditConfig {
    /// How long the records of this node are kept, 1 h to 10 years; default 400 days. Too low: what happened
    /// before the last review is gone.
    pub age: HumanDuration,
    /// Whether a record says of each node that it has joined, left, or was found dead; default true. False where so many come and go
    /// that nothing else is to be found.
    pub membership: bool,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { age: HumanDuration(Duration::from_secs(400 * 24 * 3600)), membership: true }
    }
}

impl Section for AuditConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let hour = Duration::from_secs(3600);
        within("audit.age", self.age, hour, hour * 24 * 3650)
    }
}
