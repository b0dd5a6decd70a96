//! Metrics of a node, in the text form of Prometheus. Each node has its own registry, and each of its capabilities
//! registers there what it counts.

mod issuer;
pub mod registrar;
pub mod row;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_identity::caller::{CallEncoding, CallProtocol, CallTransport};
use omnirelay_registry::Registry;
use omnirelay_store::RecordKind;
use omnirelay_store::timed::{ObserveCall, TimedCall};
use omnirelay_surface::is_fault_of_server;
use omnirelay_wire::rpc;
use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::PortName;

pub use issuer::IssuerMetrics;
pub use transport::TransportMetrics;

use registrar::{gauge_value, raise_to};
use row::MetricLabel;

/// How often is counted anew where nobody scrapes.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Methods that are no operations of a mesh: those of health and of reflection.
const FURTHER_METHODS_MAX: usize = 16;
const METHOD: MetricLabel = MetricLabel::at_most("method", rpc::ALL.len() + FURTHER_METHODS_MAX, "methods");
const CODE: MetricLabel = MetricLabel::each("code", || CODES.to_vec());
const PROTOCOL: MetricLabel =
    MetricLabel::each("protocol", || CallEncoding::ALL.map(CallEncoding::protocol).to_vec());
const TRANSPORT: MetricLabel =
    MetricLabel::each("rpc_transport", || CallTransport::ALL.map(CallTransport::word).to_vec());
const ENCODING: MetricLabel =
    MetricLabel::each("rpc_encoding", || CallEncoding::ALL.map(CallEncoding::word).to_vec());
const ENDPOINT: MetricLabel = MetricLabel::each("endpoint", || PortName::ALL.map(PortName::word).to_vec());
const STORE_CALL: MetricLabel = MetricLabel::each("call", || TimedCall::ALL.map(TimedCall::word).to_vec());
const SERVED: &str = "served";
const FAILED: &str = "failed";
const RESULT: MetricLabel = MetricLabel::each("result", || vec![SERVED, FAILED]);
const KIND: MetricLabel = MetricLabel::at_most("kind", KINDS_MAX, "kinds of records");

/// The most kinds of records of all capabilities.
pub const KINDS_MAX: usize = 64;

/// Codes of gRPC by their numbers, as metrics have them.
const CODES: [&str; 17] = [
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

crate::metrics! {
    /// Metrics of calls, the store and the registry.
    struct NodeMetrics {
        calls: Counters("omnirelay_rpc_calls_total",
            "Finished calls by method, code and protocol", &[METHOD, CODE, PROTOCOL]),
        transports: Counters("mesh_transport_requests_total",
            "Finished calls by version of HTTP, encoding and the port they came in by", &[TRANSPORT, ENCODING, ENDPOINT]),
        call_seconds: Histograms("omnirelay_rpc_duration_seconds", "How long calls took; streams until their end", &[METHOD],
            &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0]),
        revision: Gauge("omnirelay_registry_revision", "The newest revision in the view"),
        store_silence: FloatGauge("omnirelay_store_silence_seconds",
            "Since when the store has not answered; 0 while it does"),
        sentinels_disagree: Gauge("omnirelay_store_sentinels_disagree",
            "1 while Sentinels name different masters, for longer than a failover takes").flag(),
        store_ahead: FloatGauge("omnirelay_store_clock_ahead_seconds",
            "By how much store time is ahead of the wall clock of this host, below 0 behind it; 0 before the first answer"),
        store_seconds: Histograms("omnirelay_store_call_seconds",
            "How long calls of the store took, whatever became of them; commits include their wait for the disk", &[STORE_CALL],
            &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0]),
        objective: Counters("omnirelay_objective_calls_total",
            "Finished calls, streams left out, that are no mistake of their callers, by whether they were answered (`served`) or not (`failed`)",
            &[RESULT]),
        ready: Gauge("omnirelay_ready", "1 while the daemon is ready").flag(),
        epoch_changes: Counter("mesh_registry_epoch_changes_total",
            "New epochs of the registry that this daemon has met"),
        records_lost: Counters("mesh_registry_records_lost_total",
            "Records that were gone or older in a new epoch", &[KIND]),
    }
}

/// The metrics of one node.
pub struct Metrics {
    all: prometheus::Registry,
    own: NodeMetrics,
    /// What is counted only when somebody asks.
    before_scrape: Mutex<Vec<ScrapeHook>>,
    /// One scrape at a time, so that nothing is counted twice, and no more than one thread is taken.
    scrape: Arc<tokio::sync::Mutex<()>>,
}

/// Counts something anew before a scrape.
type ScrapeHook = Box<dyn Fn() + Send + Sync>;

impl Metrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let all = prometheus::Registry::new();
        let own = NodeMetrics::new(&all)?;
        Ok(Self { all, own, before_scrape: Mutex::default(), scrape: Arc::default() })
    }

    /// Has the losses of each of these kinds counted from 0 on: what rises from nothing is not seen to rise.
    pub fn expect_losses(&self, kinds: &[RecordKind]) {
        for kind in kinds {
            self.own.records_lost.with_label_values(&[kind.0.as_ref()]);
        }
    }

    /// Counts by which version of HTTP a call came in, and what its messages were.
    pub fn count_transport(&self, protocol: CallProtocol, endpoint: &str) {
        let CallProtocol { transport, encoding } = protocol;
        self.own.transports.with_label_values(&[transport.word(), encoding.word(), endpoint]).inc();
    }

    /// Counts one finished call.
    pub fn count_call(&self, method: &str, code: tonic::Code, protocol: &str, took: Duration) {
        let code = CODES.get(code as usize).copied().unwrap_or(CODES[2]);
        self.own.calls.with_label_values(&[method, code, protocol]).inc();
        self.own.call_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    /// Counts one finished call for the objective. Streams are left out: one that ends, as all do when a daemon stops, was answered before.
    pub fn count_objective(&self, code: tonic::Code) {
        if let Some(result) = objective_result(code) {
            self.own.objective.with_label_values(&[result]).inc();
        }
    }

    /// Counts of the objective since the daemon started: calls that were answered, and those that were not.
    pub fn objective_counts(&self) -> (u64, u64) {
        let counted = |result| self.own.objective.with_label_values(&[result]).get();
        (counted(SERVED), counted(FAILED))
    }

    /// Observer of how long calls of the store take. It holds the histograms alone: the metrics hold what is read for a scrape, the
    /// registry among it, and so the store.
    pub fn store_timing(&self) -> ObserveCall {
        let histograms =
            TimedCall::ALL.map(|call| (call, self.own.store_seconds.with_label_values(&[call.word()])));
        Box::new(move |ended| {
            if let Some((_, histogram)) = histograms.iter().find(|(call, _)| *call == ended.call) {
                histogram.observe(ended.took.as_secs_f64());
            }
        })
    }

    /// Everything as Prometheus reads it, as of now.
    ///
    /// # Errors
    /// When a metric cannot be written: a mistake in this file.
    pub async fn text(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        ready: bool,
    ) -> Result<String, prometheus::Error> {
        self.reading(registry, ready, |families| TextEncoder::new().encode_to_string(&families)).await?
    }

    /// Hands everything that is counted, by name, to `make`; gauges are read off the registry now. Of thousands of peers and scopes this
    /// takes milliseconds, in which the event loop would answer nobody: a thread does it, and one at a time, whoever gives up meanwhile.
    ///
    /// # Errors
    /// When the thread has ended otherwise.
    pub async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        ready: bool,
        make: impl FnOnce(Vec<MetricFamily>) -> T + Send + 'static,
    ) -> Result<T, prometheus::Error> {
        let one = self.scrape.clone().lock_owned().await;
        let (metrics, registry) = (self.clone(), registry.clone());
        let read = tokio::task::spawn_blocking(move || {
            let _one = one;
            make(metrics.families(&registry, ready))
        });
        read.await.map_err(|error| prometheus::Error::Msg(chain(&error)))
    }

    fn families(&self, registry: &Registry, ready: bool) -> Vec<MetricFamily> {
        self.count_losses(registry);
        self.count_anew();
        let view = registry.view();
        self.own.revision.set(gauge_value(view.head().revision.0));
        let silence = view.silence().unwrap_or_default();
        self.own.store_silence.set(silence.as_secs_f64());
        self.own.sentinels_disagree.set(i64::from(registry.store().disagreement().is_some()));
        let ahead_ms = view.connectivity().ahead_of_host_ms().unwrap_or(0);
        self.own.store_ahead.set(ahead_ms as f64 / 1000.0);
        self.own.ready.set(i64::from(ready));
        self.all.gather()
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
            let (one, metrics) = (self.scrape.clone().lock_owned().await, self.clone());
            let counted = tokio::task::spawn_blocking(move || {
                let _one = one;
                metrics.count_anew();
            });
            // It has panicked, which is told.
            let _ = counted.await;
        }
    }

    fn count_anew(&self) {
        self.before_scrape.lock().iter().for_each(|count| count());
    }

    fn count_losses(&self, registry: &Registry) {
        let totals = registry.losses().totals();
        raise_to(&self.own.epoch_changes, totals.changes);
        for (kind, count) in totals.lost {
            raise_to(&self.own.records_lost.with_label_values(&[kind.0.as_ref()]), count);
        }
    }
}

/// Result of a call that the objective counts; `None`: its end says nothing about the daemon.
fn objective_result(code: tonic::Code) -> Option<&'static str> {
    match code {
        tonic::Code::Ok => Some(SERVED),
        // A client of another version asks for what there is not.
        tonic::Code::Unimplemented => None,
        code => is_fault_of_server(code).then_some(FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_called_as_tonic_calls_them() {
        for (number, word) in (0..).zip(CODES) {
            assert_eq!(format!("{:?}", tonic::Code::from_i32(number)), word);
        }
    }

    #[test]
    fn the_objective_leaves_out_mistakes_of_callers() {
        let metrics = Metrics::new().unwrap();
        for number in 0..17 {
            metrics.count_objective(tonic::Code::from_i32(number));
        }
        assert_eq!(metrics.objective_counts(), (1, 5));
    }
}
