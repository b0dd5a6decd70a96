//! What a node counts, in the text form of Prometheus. Each node has its own registry.

mod aero;
mod leadership;
mod publish;
mod registers;
mod relay;
mod reports;
mod sinks;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, TextEncoder,
};

use aero::AeroMetrics;
pub use leadership::LeadershipMetrics;
pub use publish::PublishMetrics;
pub use registers::{CountPool, PoolCounts, RegistersMetrics};
pub use relay::{RelayMetrics, SourceCounts};
pub use reports::ReportsMetrics;
pub use sinks::{SinkCounts, SinkMetrics};

use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

use super::objects::peers::PEER;
use super::registry::Registry;

/// The metrics of one node.
pub struct Metrics {
    all: prometheus::Registry,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    peers: IntGaugeVec,
    revision: IntGauge,
    store_silence: Gauge,
    ready: IntGauge,
    epoch_changes: IntCounter,
    records_lost: IntCounterVec,
    audit: AuditMetrics,
    aero: AeroMetrics,
    leadership: Arc<LeadershipMetrics>,
    registers: Arc<RegistersMetrics>,
    /// What is counted only when somebody asks.
    before_scrape: Mutex<Vec<Count>>,
    /// One scrape at a time, so that nothing is counted twice.
    scrape: Mutex<()>,
}

/// Counts something anew.
type Count = Box<dyn Fn() + Send + Sync>;

/// What is counted of the audit trail.
struct AuditMetrics {
    unsealed: IntGauge,
    faults: IntCounter,
}

impl AuditMetrics {
    fn new(all: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let unsealed = IntGauge::new(
            "mesh_audit_unsealed_records",
            "Audit records that this daemon has made and not sealed yet; at most 8192 are counted",
        )?;
        let faults = IntCounter::new(
            "mesh_audit_faults_total",
            "What this daemon has noticed of the audit trail that should not be; its log says what",
        )?;
        all.register(Box::new(unsealed.clone()))?;
        all.register(Box::new(faults.clone()))?;
        Ok(Self { unsealed, faults })
    }

    fn read(&self, registry: &Registry) {
        self.unsealed.set(i64::try_from(registry.awaiting_seal().count()).unwrap_or(i64::MAX));
        self.faults.inc_by(registry.audit_faults().noticed().saturating_sub(self.faults.get()));
    }
}

impl Metrics {
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let all = prometheus::Registry::new();
        let calls = IntCounterVec::new(
            Opts::new("omnirelay_rpc_calls_total", "Finished calls by method, code and protocol"),
            &["method", "code", "protocol"],
        )?;
        let call_seconds = HistogramVec::new(
            HistogramOpts::new(
                "omnirelay_rpc_duration_seconds",
                "How long calls took; streams until their end",
            )
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0]),
            &["method"],
        )?;
        let peers = IntGaugeVec::new(Opts::new("omnirelay_peers", "Peers by status"), &["status"])?;
        let revision = IntGauge::new("omnirelay_registry_revision", "The newest revision in the view")?;
        let store_silence = Gauge::new(
            "omnirelay_store_silence_seconds",
            "Since when the store has not answered; 0 while it does",
        )?;
        let ready = IntGauge::new("omnirelay_ready", "1 while the daemon is ready")?;
        let epoch_changes = IntCounter::new(
            "mesh_registry_epoch_changes_total",
            "New epochs of the registry that this daemon has met",
        )?;
        let records_lost = IntCounterVec::new(
            Opts::new("mesh_registry_records_lost_total", "Records that were gone or older in a new epoch"),
            &["kind"],
        )?;
        all.register(Box::new(epoch_changes.clone()))?;
        all.register(Box::new(records_lost.clone()))?;
        all.register(Box::new(calls.clone()))?;
        all.register(Box::new(call_seconds.clone()))?;
        all.register(Box::new(peers.clone()))?;
        all.register(Box::new(store_silence.clone()))?;
        for gauge in [&revision, &ready] {
            all.register(Box::new(gauge.clone()))?;
        }
        Ok(Self {
            audit: AuditMetrics::new(&all)?,
            aero: AeroMetrics::new(&all)?,
            leadership: Arc::new(LeadershipMetrics::new(&all)?),
            registers: Arc::new(RegistersMetrics::new(&all)?),
            all,
            calls,
            call_seconds,
            peers,
            revision,
            store_silence,
            ready,
            epoch_changes,
            records_lost,
            before_scrape: Mutex::default(),
            scrape: Mutex::default(),
        })
    }

    /// What is counted of leadership.
    pub fn leadership(&self) -> Arc<LeadershipMetrics> {
        self.leadership.clone()
    }

    /// What is counted of registers and their advertisements.
    pub fn registers(&self) -> Arc<RegistersMetrics> {
        self.registers.clone()
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
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.count_losses(registry);
        self.audit.read(registry);
        self.aero.read(registry);
        self.leadership.read(registry);
        self.registers.read(registry);
        self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|count| count());
        let view = registry.view();
        // Counted first and then set, so that two scrapes at once say the same.
        let found: Vec<Status> = view
            .list(&PEER)
            .records
            .iter()
            .map(|record| record.value::<PeerValue>().map(|value| value.status()).unwrap_or_default())
            .collect();
        for status in [Status::Unspecified, Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
            let count = found.iter().filter(|found| **found == status).count();
            self.peers.with_label_values(&[status.as_str_name()]).set(count as i64);
        }
        self.revision.set(i64::try_from(view.head().revision.0).unwrap_or(i64::MAX));
        let silence = view.silence().unwrap_or_default();
        self.store_silence.set(silence.as_secs_f64());
        self.ready.set(i64::from(ready));
        TextEncoder::new().encode_to_string(&self.all.gather())
    }

    /// Where a part of the node registers what it counts.
    pub fn all(&self) -> &prometheus::Registry {
        &self.all
    }

    /// Has something counted anew before each scrape.
    pub fn before_scrape(&self, count: impl Fn() + Send + Sync + 'static) {
        self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(count));
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
