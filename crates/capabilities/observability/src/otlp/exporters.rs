//! The exporters: one sends the spans that wait, the other one what is counted, until they are told to stop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use omnirelay_host::live::Live;
use omnirelay_node::metrics::Metrics;
use omnirelay_node::readiness::Readiness;
use omnirelay_registry::Registry;
use omnirelay_surface::EndedSpan;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::sleep;

use super::collector_line::{CollectorLine, SendOutcome};
use super::export_metrics::{DropCause, ExportedKind};
use super::metric_messages::{CountedPeriod, metrics_request};
use super::resource::ExportedNode;
use super::span_messages::traces_request;
use super::tracer::SpanTracer;

/// How long spans wait at most for others to go with.
const SPANS_EVERY: Duration = Duration::from_secs(1);
/// How often the same spans are sent, which takes two minutes; those that wait meanwhile are newer.
const TRIES_MAX: u32 = 8;

/// Notice that the exporters are to send what they have, and end.
#[derive(Clone)]
pub(super) struct StopNotice(pub watch::Receiver<bool>);

impl StopNotice {
    fn is_given(&self) -> bool {
        *self.0.borrow()
    }

    async fn given(&mut self) {
        // Whoever gives none any more has ended.
        let _ = self.0.wait_for(|is_given| *is_given).await;
    }
}

/// Exporter of spans.
pub(super) struct SpanExporter {
    pub line: CollectorLine,
    pub tracer: Arc<SpanTracer>,
    pub node: ExportedNode,
    pub stop: StopNotice,
}

impl SpanExporter {
    pub(super) async fn run(mut self) {
        while !self.stop.is_given() {
            self.due().await;
            let spans = self.tracer.take();
            if !spans.is_empty() {
                self.send(spans).await;
            }
        }
        let mut is_taken = true;
        while is_taken {
            let spans = self.tracer.take();
            is_taken = !spans.is_empty() && self.send(spans).await;
        }
    }

    /// Returns once there may be something to send.
    async fn due(&mut self) {
        let is_on = self.line.settings.get().sampled().is_some();
        tokio::select! {
            () = self.tracer.filled() => {}
            () = sleep(SPANS_EVERY), if is_on => {}
            () = self.line.settings.replaced() => {}
            () = self.stop.given() => {}
        }
    }

    /// Sends spans until they are taken or refused, as often as is worth it. False: they are given up.
    async fn send(&mut self, spans: Vec<EndedSpan>) -> bool {
        let count = spans.len() as u64;
        let body = Bytes::from(traces_request(spans, &self.node).encode_to_vec());
        for _ in 0..TRIES_MAX {
            let pause = match self.line.send(count, &body).await {
                SendOutcome::Over => return true,
                SendOutcome::Later(pause) if !self.stop.is_given() => pause,
                SendOutcome::Later(_) | SendOutcome::Nowhere => break,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.line.settings.replaced() => {}
                () = self.stop.given() => {}
            }
        }
        self.line.counts.count_dropped(ExportedKind::Spans, DropCause::Unanswered, count);
        false
    }
}

/// Metrics of a node, and since when they count.
pub(super) struct CountedMetrics {
    pub metrics: Arc<Metrics>,
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub since: SystemTime,
}

/// Exporter of metrics.
pub(super) struct MetricsExporter {
    pub line: CollectorLine,
    pub counted: CountedMetrics,
    pub interval: Live<Duration>,
    pub node: ExportedNode,
    pub stop: StopNotice,
}

impl MetricsExporter {
    pub(super) async fn run(mut self) {
        while !self.stop.is_given() {
            if !self.is_on() {
                tokio::select! {
                    () = self.line.settings.replaced() => {}
                    () = self.stop.given() => {}
                }
                continue;
            }
            tokio::select! {
                () = self.interval.sleep() => self.send_in_time().await,
                () = self.stop.given() => {}
            }
        }
        if self.is_on() {
            self.send().await;
        }
    }

    fn is_on(&self) -> bool {
        let settings = self.line.settings.get();
        settings.metrics && settings.endpoint.is_some()
    }

    /// Sends what is counted, and lets a collector alone that does not take it.
    async fn send_in_time(&mut self) {
        // It may have been switched off since the last time.
        let pause = if self.is_on() { self.send().await } else { Duration::ZERO };
        tokio::select! {
            () = sleep(pause) => {}
            () = self.line.settings.replaced() => {}
            () = self.stop.given() => {}
        }
    }

    /// Sends what is counted by now, once: the next time says all of it again. Gives how long to wait before that.
    async fn send(&mut self) -> Duration {
        let CountedMetrics { metrics, registry, readiness, since } = &self.counted;
        let (node, since) = (self.node.clone(), *since);
        let made = metrics.reading(registry, readiness.is_ready(), move |families| {
            let counted = CountedPeriod { since, until: SystemTime::now() };
            let (request, count) = metrics_request(&families, &node, counted);
            (Bytes::from(request.encode_to_vec()), count)
        });
        let Ok((body, count)) = made.await else { return Duration::ZERO };
        match self.line.send(count, &body).await {
            SendOutcome::Over | SendOutcome::Nowhere => Duration::ZERO,
            SendOutcome::Later(pause) => {
                self.line.counts.count_dropped(ExportedKind::Metrics, DropCause::Unanswered, count);
                pause
            }
        }
    }
}
