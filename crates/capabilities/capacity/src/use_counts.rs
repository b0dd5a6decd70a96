//! Counts of what limits are about and no record shows: calls, watches, commits, hosts that join, and refusals.

use std::sync::atomic::{AtomicU64, Ordering};

use omnirelay_decisions::capacity::{LimitKind, LimitMeasure, LimitMode, ReachedLimit, SetLimit};
use omnirelay_host::live::Live;
use omnirelay_identity::buckets::{CallRate, RateBuckets};
use omnirelay_settings::LimitsConfig;

/// Counts of one daemon, since its start.
#[derive(Debug, Default)]
pub(crate) struct UseCounts {
    pub calls: AtomicU64,
    pub commits: AtomicU64,
    pub joins: AtomicU64,
    /// How many watches are served now.
    pub watchers: AtomicU64,
    /// How often each limit has refused something, in the order of [`LimitKind::ALL`].
    refused: [AtomicU64; LimitKind::ALL.len()],
}

impl UseCounts {
    /// Counts a refusal, and gives it back.
    pub(crate) fn refuse(&self, reached: ReachedLimit) -> ReachedLimit {
        self.refusals(reached.kind).fetch_add(1, Ordering::Relaxed);
        reached
    }

    /// Number of refusals because of this limit.
    pub(crate) fn refused(&self, kind: LimitKind) -> u64 {
        self.refusals(kind).load(Ordering::Relaxed)
    }

    fn refusals(&self, kind: LimitKind) -> &AtomicU64 {
        &self.refused[kind as usize]
    }
}

/// Limiter of a rate: as many at once as the limit says, and no more in the long run.
pub(crate) struct RateLimit {
    kind: LimitKind,
    limits: Live<LimitsConfig>,
    bucket: RateBuckets<()>,
}

impl RateLimit {
    /// Limiter of a kind that is a rate.
    pub(crate) fn new(kind: LimitKind, limits: Live<LimitsConfig>) -> Self {
        let per = match kind.row().measure {
            LimitMeasure::Rate(per) => per.as_secs_f64(),
            LimitMeasure::Count => 1.0,
        };
        let rate = limits.map(move |limits| {
            let burst = limits.of(kind).map_or(f64::MAX, |limit| limit.max as f64);
            CallRate { burst, each_second: burst / per }
        });
        Self { kind, limits, bucket: RateBuckets::new(rate) }
    }

    /// Takes one of those that may come; where the limit is observed alone, there is always one. What may not be refused takes the
    /// last one as well, so that less is left for what may: it heeds no error.
    ///
    /// # Errors
    /// [`ReachedLimit`], with the time until there is one again.
    pub(crate) fn take(&self) -> Result<(), ReachedLimit> {
        let Some(SetLimit { max, mode: LimitMode::Enforce }) = self.limits.get().of(self.kind) else {
            return Ok(());
        };
        let wait = self.bucket.take(&());
        wait.map_err(|wait| ReachedLimit { kind: self.kind, used: max, max, retry_after: Some(wait) })
    }

    /// Gives one back that did not come.
    pub(crate) fn give_back(&self) {
        self.bucket.give_back(&());
    }
}
