//! Membership by gossip: how members probe each other, pass on news, and judge.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{Invalid, Section};
use super::span::Span;

/// How many times as long a suspect has whom nobody else accuses as one whom many do.
const SUSPICION_MAX: u32 = 6;
/// The largest counts that can be set.
const FANOUT_MAX: usize = 32;
const RETRANSMIT_MAX: u32 = 32;

/// Membership by gossip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GossipConfig {
    /// Whether this node gossips: without it nobody knows its health, and it knows nobody's.
    pub enabled: bool,
    /// To how many members news is passed on each time, 1 to 32.
    pub fanout: usize,
    /// From one probe to the next, `100ms` to `1m`; a probe may take as long.
    pub interval: Span,
    /// How long a suspect has to answer whom nobody else accuses, in a mesh of up to ten members; a sixth of that once many do.
    /// Longer in larger meshes, by the logarithm of how many there are. `600ms` to `10m`.
    pub suspicion_interval: Span,
    /// How long an answer to a ping may take before others are asked and a stream is tried; less than `interval`.
    pub ping_timeout: Span,
    /// How often a member passes on one change, times the logarithm of how many members there are, 1 to 32.
    pub retransmit_limit: u32,
    /// How often what this node says of itself is looked at anew, `1s` to `1h`.
    pub metadata_refresh_period: Span,
}

impl Default for GossipConfig {
    fn default() -> Self {
        let of = omnirelay_membership::Config::default();
        Self {
            enabled: true,
            fanout: of.fanout,
            interval: Span(of.interval),
            suspicion_interval: Span(of.suspicion * of.suspicion_max),
            ping_timeout: Span(of.ping_timeout),
            retransmit_limit: of.retransmit,
            metadata_refresh_period: Span(Duration::from_secs(30)),
        }
    }
}

impl GossipConfig {
    /// As the membership takes it.
    pub fn membership(&self) -> omnirelay_membership::Config {
        let of = omnirelay_membership::Config::default();
        omnirelay_membership::Config {
            interval: self.interval.0,
            ping_timeout: self.ping_timeout.0,
            // News goes out five times in each round of probes.
            gossip_interval: self.interval.0 / 5,
            fanout: self.fanout,
            retransmit: self.retransmit_limit,
            suspicion: self.suspicion_interval.0 / SUSPICION_MAX,
            suspicion_max: SUSPICION_MAX,
            exchange_interval: of.exchange_interval.max(self.interval.0 * 10),
            ..of
        }
    }
}

impl Section for GossipConfig {
    fn check(&self, _: &Config) -> Result<(), Invalid> {
        let within = |key, span: Span, least: Duration, most: Duration| match (least..=most).contains(&span.0)
        {
            true => Ok(()),
            false => Err((key, format!("{span} is not between {} and {}", Span(least), Span(most)))),
        };
        let millis = Duration::from_millis;
        within("mesh.gossip.interval", self.interval, millis(100), millis(60_000))?;
        within("mesh.gossip.suspicionInterval", self.suspicion_interval, millis(600), millis(600_000))?;
        within("mesh.gossip.pingTimeout", self.ping_timeout, millis(10), millis(60_000))?;
        within(
            "mesh.gossip.metadataRefreshPeriod",
            self.metadata_refresh_period,
            millis(1_000),
            millis(3_600_000),
        )?;
        if self.ping_timeout.0 >= self.interval.0 {
            let what =
                format!("{} is not less than `mesh.gossip.interval`, {}", self.ping_timeout, self.interval);
            return Err(("mesh.gossip.pingTimeout", what));
        }
        if !(1..=FANOUT_MAX).contains(&self.fanout) {
            return Err(("mesh.gossip.fanout", format!("{} is not between 1 and {FANOUT_MAX}", self.fanout)));
        }
        if !(1..=RETRANSMIT_MAX).contains(&self.retransmit_limit) {
            let what = format!("{} is not between 1 and {RETRANSMIT_MAX}", self.retransmit_limit);
            return Err(("mesh.gossip.retransmitLimit", what));
        }
        let checked = self.membership().check();
        checked.map_err(|what| ("mesh.gossip", what.to_owned()))
    }
}
