//! Export by OTLP: metrics and spans of calls, sent to a collector by HTTP as it is set by then.

mod collector;
mod collector_line;
mod export_metrics;
mod exporters;
mod messages;
mod metric_messages;
mod resource;
mod span_messages;
mod tracer;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use omnirelay_host::chance::random_u64;
use omnirelay_node::{NodeBuilder, NodeError, StopPhase};
use omnirelay_settings::OtlpConfig;
use tokio::sync::{mpsc, watch};

use collector_line::{CollectorLine, LineParts};
use export_metrics::{ExportMetrics, ExportedKind};
use exporters::{CountedMetrics, MetricsExporter, SpanExporter, StopNotice};
use resource::{ExportedNode, unix_nanos};
use tracer::SpanTracer;

/// How long a stop waits at most for what is sent last.
const LAST_WITHIN: Duration = Duration::from_secs(1);

/// Mounts the export. While no collector is set, nothing is recorded and nothing runs.
///
/// # Errors
/// [`NodeError`] when a metric cannot be made.
pub(crate) fn mount_export(node: &mut NodeBuilder) -> Result<(), NodeError> {
    let counts = Arc::new(ExportMetrics::new(node.metrics.all())?);
    node.settings.check_files(|config| {
        let OtlpConfig { headers_file, tls, .. } = &config.otlp;
        [
            ("otlp.headersFile", headers_file.clone()),
            ("otlp.tls.ca", tls.ca.clone()),
            ("otlp.tls.cert", tls.cert.clone()),
            ("otlp.tls.key", tls.key.clone()),
        ]
    });
    let tracer = mount_tracer(node, counts.clone());
    let (give_notice, notice) = watch::channel(false);
    let (stop, settings) = (StopNotice(notice), node.settings.live(|config| config.otlp.clone()));
    let parts = LineParts { settings, trust: node.trust.clone(), counts };
    let exported = ExportedNode {
        id: node.registry.node_id().to_owned(),
        cluster: node.settings.now().node.cluster.clone(),
    };
    let spans = SpanExporter {
        line: CollectorLine::new(ExportedKind::Spans, parts.clone()),
        tracer,
        node: exported.clone(),
        stop: stop.clone(),
    };
    let counted = CountedMetrics {
        metrics: node.metrics.clone(),
        registry: node.registry.clone(),
        readiness: node.readiness.clone(),
        since: SystemTime::now(),
    };
    let metrics = MetricsExporter {
        line: CollectorLine::new(ExportedKind::Metrics, parts),
        counted,
        interval: node.settings.live(|config| config.otlp.metrics_interval.0),
        node: exported,
        stop,
    };
    let (runs, mut ended) = mpsc::channel::<()>(1);
    let runs_too = runs.clone();
    node.run(StopPhase::End, async move {
        spans.run().await;
        drop(runs);
    });
    node.run(StopPhase::End, async move {
        metrics.run().await;
        drop(runs_too);
    });
    // Calls are over by then.
    node.at(StopPhase::Leave, async move {
        give_notice.send_replace(true);
        // Whoever does not answer by then misses the last ones.
        let _ = tokio::time::timeout(LAST_WITHIN, ended.recv()).await;
    });
    Ok(())
}

fn mount_tracer(node: &mut NodeBuilder, counts: Arc<ExportMetrics>) -> Arc<SpanTracer> {
    let seed = random_u64().unwrap_or_else(|_| unix_nanos(SystemTime::now()));
    let tracer = Arc::new(SpanTracer::new(seed, counts));
    let share = node.settings.live(|config| config.otlp.sampled());
    tracer.record_share(share.get());
    let follows = tracer.clone();
    node.run(StopPhase::End, share.each(move |share| follows.record_share(share)));
    node.trace_calls(tracer.clone());
    node.observe(tracer.clone());
    tracer
}

#[cfg(test)]
mod lab;
#[cfg(test)]
mod reload_test;
#[cfg(test)]
mod trouble_test;
