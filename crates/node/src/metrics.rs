//! Metrics of a node, in the text form of Prometheus. Each node has its own registry, and each of its capabilities
//! registers there what it counts.

mod issuer;
pub mod registrar;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::caller::CallProtocol;
use omnirelay_registry::Registry;
use parking_lot::Mutex;
use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, TextEncoder};

pub use issuer::IssuerMetrics;
pub use transport::TransportMetrics;

use registrar::{MetricRegistrar, gauge_value};

/// How often is counted anew where nobody scrapes.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// The metrics of one node.
pub struct Metrics {
    all: prometheus::Registry,
    calls: IntCounterVec,
    transports: IntCounterVec,
    call_seconds: HistogramVec,
    revision: IntGauge,
    store_ahead: Gauge,
    store_silence: Gauge,
    sentinels_disagree: IntGauge,
    ready: IntGauge,
    epoch_changes: IntCounter,
    records_lost: IntCounterVec,
    /// What is counted only when somebody asks.
    before_scrape: Mutex<Vec<ScrapeHook>>,
    /// One scrape at a time, so that nothing is counted twice.
    scrape: Mutex<()>,
}

/// Counts something anew before a scrape.
type ScrapeHook = Box<dyn Fn() + Send + Sync>;

impl Metrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let all = prometheus::Registry::new();
        let calls = all.counters(
            "omnirelay_rpc_calls_total",
            "Finished calls by method, code and protocol",
            &["method", "code", "protocol"],
        )?;
        let transports = all.counters(
            "mesh_transport_requests_total",
            "Finished calls by version of HTTP, encoding and the port they came in by",
            &["rpc_transport", "rpc_encoding", "endpoint"],
        )?;
        let call_seconds = all.histograms(
            "omnirelay_rpc_duration_seconds",
            "How long calls took; streams until their end",
            &["method"],
            &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0],
        )?;
        let revision = all.gauge("omnirelay_registry_revision", "The newest revision in the view")?;
        let store_silence = all.seconds(
            "omnirelay_store_silence_seconds",
            "Since when the store has not answered; 0 while it does",
        )?;
        let sentinels_disagree = all.gauge(
            "omnirelay_store_sentinels_disagree",
            "1 while Sentinels name different masters, for longer than a failover takes",
        )?;
        let store_ahead = all.seconds(
            "omnirelay_store_clock_ahead_seconds",
            "By how much store time is ahead of the wall clock of this host, below 0 behind it; 0 before the first answer",
        )?;
        let ready = all.gauge("omnirelay_ready", "1 while the daemon is ready")?;
        let epoch_changes = all.counter(
            "mesh_registry_epoch_changes_total",
            "New epochs of the registry that this daemon has met",
        )?;
        let records_lost = all.counters(
            "mesh_registry_records_lost_total",
            "Records that were gone or older in a new epoch",
            &["kind"],
        )?;
        Ok(Self {
            all,
            calls,
            transports,
            call_seconds,
            revision,
            store_ahead,
            store_silence,
            sentinels_disagree,
            ready,
            epoch_changes,
            records_lost,
            before_scrape: Mutex::default(),
            scrape: Mutex::default(),
        })
    }

    /// Counts by which version of HTTP a call came in, and what its messages were.
    pub fn count_transport(&self, protocol: CallProtocol, endpoint: &str) {
        let CallProtocol { transport, encoding } = protocol;
        self.transports.with_label_values(&[transport.word(), encoding.word(), endpoint]).inc();
    }

    /// Counts one finished call.
    pub fn count_call(&self, method: &str, code: &str, protocol: &str, took: Duration) {
        self.calls.with_label_values(&[method, code, protocol]).inc();
        self.call_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    /// Everything as Prometheus reads it; gauges are read off the registry now.
    ///
    /// # Errors
    /// When a metric cannot be written: a mistake in this file.
    pub fn text(&self, registry: &Arc<Registry>, ready: bool) -> Result<String, prometheus::Error> {
        let _one = self.scrape.lock();
        self.count_losses(registry);
        self.count_anew();
        let view = registry.view();
        self.revision.set(gauge_value(view.head().revision.0));
        let silence = view.silence().unwrap_or_default();
        self.store_silence.set(silence.as_secs_f64());
        self.sentinels_disagree.set(i64::from(registry.store().disagreement().is_some()));
        let ahead_ms = view.connectivity().ahead_of_host_ms().unwrap_or(0);
        self.store_ahead.set(ahead_ms as f64 / 1000.0);
        self.ready.set(i64::from(ready));
        TextEncoder::new().encode_to_string(&self.all.gather())
    }

    /// Registry of Prometheus where a capability registers what it counts.
    pub fn all(&self) -> &prometheus::Registry {
        &self.all
    }

    /// Has something counted anew before each scrape.
    pub fn before_scrape(&self, count: impl Fn() + Send + Sync + 'static) {
        self.before_scrape.lock().push(Box::new(count));
    }

    /// Counts anew what is counted before each scrape, once a minute and for ever: where nobody scrapes, the series of what is gone
    /// would stay.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            let _one = self.scrape.lock();
            self.count_anew();
        }
    }

    fn count_anew(&self) {
        self.before_scrape.lock().iter().for_each(|count| count());
    }

    fn count_losses(&self, registry: &Registry) {
        let totals = registry.losses().totals();
        self.epoch_changes.inc_by(totals.changes.saturating_sub(self.epoch_changes.get()));
        for (kind, count) in totals.lost {
            let counter = self.records_lost.with_label_values(&[kind.0.as_ref()]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}
