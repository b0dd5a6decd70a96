//! The session that carries a node's presence and leases.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, within};
use super::{Config, HumanDuration};

/// The session that carries a node's presence and leases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeSessionConfig {
    /// 500 ms to 10 min. Too low: a busy machine loses its session; too high: a crash is noticed late.
    pub ttl: HumanDuration,
    /// How often it is renewed; at most half of `ttl`. Too low: needless work in the store.
    pub renew_every: HumanDuration,
}

impl Default for NodeSessionConfig {
    fn default() -> Self {
        Self {
            ttl: HumanDuration(Duration::from_secs(2)),
            renew_every: HumanDuration(Duration::from_millis(500)),
        }
    }
}

impl Section for NodeSessionConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let ms = Duration::from_millis;
        within("session.ttl", self.ttl, ms(500), Duration::from_secs(600))?;
        within("session.renewEvery", self.renew_every, ms(50), self.ttl.0 / 2)
    }
}

impl Config {
    /// Time for which a session, and so a lease, lives without a renewal.
    pub fn session_ttl(&self) -> Duration {
        self.mesh.leadership.lease_duration.map_or(self.session.ttl.0, |span| span.0)
    }

    /// Interval at which a session is renewed.
    pub fn renew_every(&self) -> Duration {
        let lead = self.mesh.leadership.renewal_lead_time;
        let every = lead.map(|lead| self.session_ttl().saturating_sub(lead.0));
        every.unwrap_or_else(|| self.session.renew_every.0.min(self.session_ttl() / 2))
    }
}
