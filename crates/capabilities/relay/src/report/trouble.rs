//! Trouble between the relay and the registry: told once when it begins, and when it is over.

use std::time::Duration;

use omnirelay_core::backoff::Backoff;
use omnirelay_host::chance::random_part;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::held::AgentNews;
use crate::RELAY_RUNBOOK;

const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Whether nobody is there who could hear, rather than that this one call was not liked.
pub(super) fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::ResourceExhausted
    )
}

/// Calls of the relay of itself, registrations of its agents and their heartbeats may fail apart: a registry whose
/// store is away registers nobody, and hears of all that it knows.
#[derive(Debug, Default)]
pub(super) struct FailingCalls {
    since: Option<Instant>,
    /// How often in a row the registry did not hear of the relay.
    relay: u32,
    /// How often in a row it has forgotten the relay.
    forgotten: u32,
    registrations: Setback,
    heartbeats: Setback,
}

/// Setback that words of one kind about agents have met.
#[derive(Debug, Default)]
struct Setback {
    /// How often in a row the registry was away when it was to hear of an agent.
    failures: u32,
    /// When it may be told of agents again.
    from: Option<Instant>,
}

impl FailingCalls {
    /// Notes that the registry did not hear of the relay; says how long to wait, at most about `pause_max`.
    pub(super) fn relay_failed(&mut self, status: &Status, now: Instant, pause_max: Duration) -> Duration {
        self.begins(status, now);
        self.relay = self.relay.saturating_add(1);
        pause(self.relay, pause_max)
    }

    /// Notes that the registry knows the relay no more; says how long to wait.
    pub(super) fn forgotten(&mut self, pause_max: Duration) -> Duration {
        self.forgotten = self.forgotten.saturating_add(1);
        pause(self.forgotten.saturating_sub(1), pause_max)
    }

    /// Notes that it knows the relay since it was registered.
    pub(super) fn remembered(&mut self) {
        self.forgotten = 0;
    }

    /// Notes that it heard of the relay.
    pub(super) fn relay_heard(&mut self, now: Instant) {
        if self.relay > 0 {
            // What has failed with it need not wait.
            (self.registrations.from, self.heartbeats.from) = (None, None);
        }
        self.relay = 0;
        self.may_be_over(now);
    }

    /// Notes that it was away when it was to hear this of an agent: that of others waits for a while.
    pub(super) fn agents_failed(
        &mut self,
        news: AgentNews,
        status: &Status,
        now: Instant,
        pause_max: Duration,
    ) {
        self.begins(status, now);
        let setback = self.setback(news);
        // Of many calls that fail together the first counts.
        if setback.from.is_none_or(|from| from <= now) {
            setback.failures = setback.failures.saturating_add(1);
            setback.from = Some(now + pause(setback.failures, pause_max));
        }
    }

    /// Notes that it heard this of an agent, or that there is none of which to tell it.
    pub(super) fn agents_heard(&mut self, news: AgentNews, now: Instant) {
        *self.setback(news) = Setback::default();
        self.may_be_over(now);
    }

    /// Number of words of a kind that may be on their way together, and from when on: after a failure one goes ahead.
    pub(super) fn words_max(&self, news: AgentNews, most: usize) -> (usize, Option<Instant>) {
        let setback = match news {
            AgentNews::IsHere => &self.registrations,
            AgentNews::Lives => &self.heartbeats,
        };
        let words = match (self.relay, setback.failures) {
            (0, 0) => most,
            (0, _) => 1,
            _ => 0,
        };
        (words, setback.from)
    }

    /// Instant since which there is trouble.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    fn setback(&mut self, news: AgentNews) -> &mut Setback {
        match news {
            AgentNews::IsHere => &mut self.registrations,
            AgentNews::Lives => &mut self.heartbeats,
        }
    }

    fn begins(&mut self, status: &Status, now: Instant) {
        let (code, error) = (status.code(), status.message());
        if self.since.is_some() {
            debug!(?code, error, "registry could still not be told");
            return;
        }
        self.since = Some(now);
        warn!(
            ?code,
            error,
            runbook = RELAY_RUNBOOK,
            "registry could not be told of the relay and its agents; trying again"
        );
    }

    fn may_be_over(&mut self, now: Instant) {
        if self.relay > 0 || self.registrations.failures > 0 || self.heartbeats.failures > 0 {
            return;
        }
        if let Some(since) = self.since.take() {
            let duration = now.saturating_duration_since(since);
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            info!(duration_ms, "registry is told of the relay and its agents again");
        }
    }
}

fn pause(failures: u32, max: Duration) -> Duration {
    Backoff::new(PAUSE_FIRST, max).after(failures, random_part())
}

/// A time shortened by up to a part of it, at random.
pub(super) fn shortened(time: Duration, part: f64) -> Duration {
    time.mul_f64(1.0 - part * random_part())
}
