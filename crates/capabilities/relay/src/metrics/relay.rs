//! Metrics that a relay keeps of telemetry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_node::metrics::registrar::gauge_value;
use omnirelay_node::metrics::row::MetricLabel;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;

/// The most series of messages; what would need more is counted under `other`.
const SERIES_MAX: usize = 10_000;
const OTHER: &str = "other";
/// How long the series of an agent stay after it has left: longer than lies between two scrapes.
const SERIES_STAY: Duration = Duration::from_secs(600);

const SOURCE: MetricLabel = MetricLabel::at_most("source", SERIES_MAX, "agents, and `other`");
const MESSAGE_TYPE: MetricLabel = MetricLabel::at_most("message_type", SERIES_MAX, "types, and `other`");
const REASON: MetricLabel = MetricLabel::each("reason", || vec!["invalid", "full", "failed"]);

omnirelay_node::metrics! {
    /// Metrics of one relay.
    pub struct RelayMetrics while "the node serves the relay" {
        messages: Counters("aero_relay_messages_total",
            "Frames taken, by agent and type of message; at most 10000 series", &[SOURCE, MESSAGE_TYPE])
            .at_most(SERIES_MAX + 1),
        acked: Counter("aero_relay_frames_acked_total", "Frames acknowledged as taken"),
        refused: Counters("aero_relay_frames_refused_total",
            "Frames not taken: invalid ones, and those that a sink had no room for (full) or could not write (failed)",
            &[REASON]),
        sessions: Gauge("aero_relay_sessions", "Agents that have a session"),
        streams: Gauge("aero_relay_streams", "Telemetry streams that are open"),
    } with {
        /// Agent and type of each series of messages.
        series: Mutex<HashSet<(Arc<str>, String)>>,
        /// Agents that have series and are not there, since when.
        gone: Mutex<HashMap<Arc<str>, Instant>>,
    }
}

impl RelayMetrics {
    /// Counts the frames of one stream.
    pub fn of_source(self: &Arc<Self>, source: &Arc<str>) -> SourceCounts {
        SourceCounts { metrics: self.clone(), source: source.clone(), by_type: HashMap::new() }
    }

    /// Counts frames that were acknowledged.
    pub fn acked(&self, frames: usize) {
        self.acked.inc_by(frames as u64);
    }

    /// Counts frames that were not taken.
    pub fn refused(&self, reason: &str, frames: usize) {
        self.refused.with_label_values(&[reason]).inc_by(frames as u64);
    }

    /// Says how many sessions and streams there are.
    pub fn set(&self, sessions: usize, streams: usize) {
        self.sessions.set(gauge_value(sessions));
        self.streams.set(gauge_value(streams));
    }

    /// Takes out the series of agents that have not been there for long, which would keep newer ones from series of their own.
    /// Until then they are scraped: what an agent has sent just before it left counts as well.
    pub fn retain(&self, there: &HashSet<Arc<str>>) {
        let mut series = self.series.lock();
        let mut gone = self.gone.lock();
        let now = Instant::now();
        gone.retain(|agent, _| !there.contains(agent));
        for (source, _) in series.iter().filter(|(source, _)| !there.contains(source)) {
            gone.entry(source.clone()).or_insert(now);
        }
        let over: HashSet<Arc<str>> = gone
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) >= SERIES_STAY)
            .map(|(agent, _)| agent.clone())
            .collect();
        if over.is_empty() {
            return;
        }
        series.retain(|(source, _)| !over.contains(source));
        gone.retain(|agent, _| !over.contains(agent));
        self.messages.retain("source", |source| !over.contains(source));
    }

    fn counter(&self, source: &Arc<str>, message_type: &str) -> IntCounter {
        let one = (source.clone(), message_type.to_owned());
        let mut series = self.series.lock();
        let known = series.contains(&one) || series.len() < SERIES_MAX && series.insert(one);
        let labels = if known { [&**source, message_type] } else { [OTHER, OTHER] };
        self.messages.with_label_values(&labels)
    }
}

/// Counts of one stream.
pub struct SourceCounts {
    metrics: Arc<RelayMetrics>,
    source: Arc<str>,
    by_type: HashMap<String, IntCounter>,
}

/// The most types of messages that one stream counts apart, and the longest of their names in bytes.
const TYPES_MAX: usize = 64;
const TYPE_BYTES_MAX: usize = 128;

impl SourceCounts {
    /// Counts a frame.
    pub fn message(&mut self, message_type: &str) {
        if let Some(counter) = self.by_type.get(message_type) {
            return counter.inc();
        }
        let known = self.by_type.len() < TYPES_MAX && message_type.len() <= TYPE_BYTES_MAX;
        let message_type = if known { message_type } else { OTHER };
        let counter = self.by_type.entry(message_type.to_owned());
        counter.or_insert_with(|| self.metrics.counter(&self.source, message_type)).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn series_of(all: &Registry) -> usize {
        let all = all.gather();
        let family = all.iter().find(|family| family.name() == "aero_relay_messages_total").unwrap();
        family.get_metric().len()
    }

    #[tokio::test(start_paused = true)]
    async fn agents_cannot_make_series_without_end() {
        let all = Registry::new();
        let metrics = Arc::new(RelayMetrics::new(&all).unwrap());
        for agent in 0..300 {
            // Coming again makes no new ones.
            for _ in 0..2 {
                let mut counts = metrics.of_source(&format!("agent-{agent}").into());
                (0..50).for_each(|number| counts.message(&format!("type-{number}")));
            }
        }
        let family =
            all.gather().into_iter().find(|family| family.name() == "aero_relay_messages_total").unwrap();
        let series = family.get_metric();
        assert_eq!(series.len(), SERIES_MAX + 1);
        let of_first = |metric: &&prometheus::proto::Metric| {
            metric.get_label().iter().any(|label| label.value() == "agent-0")
        };
        assert_eq!(series.iter().filter(of_first).count(), 50);
        let total: f64 = series.iter().map(|metric| metric.get_counter().get_value()).sum();
        assert_eq!(total, 30_000.0);
        let there = HashSet::from(["agent-0".into()]);
        metrics.retain(&there);
        metrics.of_source(&"agent-299".into()).message("type-1");
        assert_eq!(series_of(&all), SERIES_MAX + 1, "they are scraped once more");
        tokio::time::advance(SERIES_STAY).await;
        metrics.retain(&there);
        metrics.of_source(&"agent-299".into()).message("type-0");
        assert_eq!(series_of(&all), 52, "its own, what is counted together, and one of the new agent");
    }
}
