//! Settings of the rate at which callers may call.

use omnirelay_identity::buckets::{CallRate, CallRates};
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, count};

const PER_SECOND_MAX: usize = 1_000_000;
const BURST_MAX: usize = 10_000_000;

/// Settings of the rate at which each caller of the control port may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Calls a second of each principal, 1 to 1000000. Too low: tools that list and watch much are refused; too high: one
    /// caller takes all there is.
    pub calls_per_second: usize,
    /// How many of them at once, after a while without any, 1 to 10000000.
    pub burst: usize,
    /// Calls a second of those who prove nothing, from each address or network of 64 bits.
    pub unproven_per_second: usize,
    /// How many of them at once.
    pub unproven_burst: usize,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { calls_per_second: 10_000, burst: 20_000, unproven_per_second: 100, unproven_burst: 1000 }
    }
}

impl RateLimitConfig {
    /// As the surface has it.
    pub fn rates(&self) -> CallRates {
        let rate = |burst: usize, each_second: usize| CallRate {
            burst: burst as f64,
            each_second: each_second as f64,
        };
        CallRates {
            proven: rate(self.burst, self.calls_per_second),
            unproven: rate(self.unproven_burst, self.unproven_per_second),
        }
    }

    pub(super) fn check(&self) -> Result<(), InvalidSetting> {
        count("control.rateLimit.callsPerSecond", self.calls_per_second, 1, PER_SECOND_MAX)?;
        count("control.rateLimit.burst", self.burst, 1, BURST_MAX)?;
        count("control.rateLimit.unprovenPerSecond", self.unproven_per_second, 1, PER_SECOND_MAX)?;
        count("control.rateLimit.unprovenBurst", self.unproven_burst, 1, BURST_MAX)
    }
}
