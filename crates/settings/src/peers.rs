//! Settings by which peers are judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, within};
use super::{Config, HumanDuration};

/// Settings by which peers are judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeersConfig {
    /// How long a peer is silent before it is dead; default five times `session.ttl`, at least `session.ttl`.
    pub dead_after: Option<HumanDuration>,
    /// How long the record of a dead or departed peer is kept, unless it is cordoned; default 72 h.
    pub forget_after: Option<HumanDuration>,
}

impl Section for PeersConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let day = Duration::from_secs(24 * 3600);
        within("peers.deadAfter", HumanDuration(all.dead_after()), all.session_ttl(), day)?;
        within("peers.forgetAfter", HumanDuration(all.forget_after()), all.dead_after(), day * 365)
    }
}

impl Config {
    /// Time for which a peer is silent before it is dead.
    pub fn dead_after(&self) -> Duration {
        self.peers.dead_after.map_or(self.session_ttl() * 5, |span| span.0)
    }

    /// Time for which the record of a peer that is gone is kept.
    pub fn forget_after(&self) -> Duration {
        self.peers.forget_after.map_or(Duration::from_secs(72 * 3600), |span| span.0)
    }
}
