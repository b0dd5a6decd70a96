//! The tracer: which calls are recorded, and their spans until they are sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omnirelay_core::split_mix::{STEP, split_mix};
use omnirelay_core::trace_context::{SpanId, TraceContext, TraceId};
use omnirelay_surface::{CallTracer, EndedSpan, FinishedCall, RequestObserver};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::export_metrics::{DropCause, ExportMetrics, ExportedKind};

/// The most spans that wait, about 250 bytes each.
const WAITING_MAX: usize = 2048;
/// The most spans of one request.
pub(super) const BATCH_MAX: usize = 512;

/// Tracer of the calls of a node. Its spans wait for a collector, as long as there is room.
pub(super) struct SpanTracer {
    /// Bits of the share of traces that are recorded; those of NaN: spans are not recorded at all. It is read with each call.
    share: AtomicU64,
    ids: RandomIds,
    waiting: Mutex<VecDeque<EndedSpan>>,
    filled: Notify,
    counts: Arc<ExportMetrics>,
}

impl SpanTracer {
    /// One that records nothing yet, and whose ids follow from `seed`.
    pub(super) fn new(seed: u64, counts: Arc<ExportMetrics>) -> Self {
        Self {
            share: AtomicU64::new(f64::NAN.to_bits()),
            ids: RandomIds(AtomicU64::new(seed)),
            waiting: Mutex::default(),
            filled: Notify::new(),
            counts,
        }
    }

    /// Records this share of the traces that begin here, 0 to 1; `None`: nothing, whatever callers say.
    pub(super) fn record_share(&self, share: Option<f64>) {
        self.share.store(share.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
        if share.is_none() {
            self.waiting.lock().clear();
        }
    }

    /// Takes the oldest spans that wait, as many as are sent at once.
    pub(super) fn take(&self) -> Vec<EndedSpan> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(BATCH_MAX);
        waiting.drain(..count).collect()
    }

    /// Returns once as many spans wait as are sent at once.
    pub(super) async fn filled(&self) {
        while self.waiting.lock().len() < BATCH_MAX {
            self.filled.notified().await;
        }
    }
}

impl CallTracer for SpanTracer {
    fn begin(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
        let share = f64::from_bits(self.share.load(Ordering::Relaxed));
        if share.is_nan() {
            return None;
        }
        let span = self.span_id();
        Some(match caller {
            Some(caller) => TraceContext { span, ..caller },
            None => {
                let trace = self.ids.trace_id();
                TraceContext { trace, span, is_sampled: trace.is_within(share) }
            }
        })
    }

    fn span_id(&self) -> SpanId {
        SpanId::of(self.ids.next())
    }

    fn record(&self, span: EndedSpan) {
        // Of calls that began while spans were recorded.
        if f64::from_bits(self.share.load(Ordering::Relaxed)).is_nan() {
            return;
        }
        let waiting = {
            let mut waiting = self.waiting.lock();
            if waiting.len() < WAITING_MAX {
                waiting.push_back(span);
                waiting.len()
            } else {
                self.counts.count_dropped(ExportedKind::Spans, DropCause::QueueFull, 1);
                0
            }
        };
        if waiting == BATCH_MAX {
            self.filled.notify_one();
        }
    }
}

impl RequestObserver for SpanTracer {
    fn finished(&self, call: &FinishedCall<'_>) {
        if let Some(trace) = call.trace.filter(|trace| trace.is_recorded()) {
            let span = trace.ended(call.method, call.duration, call.code);
            self.record(EndedSpan { principal: Some(call.principal.into()), ..span });
        }
    }
}

/// Ids that nobody else has: SplitMix64, which the system seeds.
struct RandomIds(AtomicU64);

impl RandomIds {
    fn next(&self) -> u64 {
        split_mix(self.0.fetch_add(STEP, Ordering::Relaxed))
    }

    fn trace_id(&self) -> TraceId {
        TraceId::of(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnirelay_node::prometheus::Registry;
    use omnirelay_surface::CallTrace;
    use tonic::Code;

    use super::*;

    fn tracer() -> (Registry, Arc<SpanTracer>) {
        let all = Registry::new();
        let counts = Arc::new(ExportMetrics::new(&all).unwrap());
        (all, Arc::new(SpanTracer::new(7, counts)))
    }

    fn caller(is_sampled: bool) -> TraceContext {
        TraceContext { trace: TraceId::of(5), span: SpanId::of(50), is_sampled }
    }

    #[test]
    fn whoever_calls_decides_for_its_trace_and_others_are_drawn() {
        let (_, tracer) = tracer();
        assert_eq!(tracer.begin(Some(caller(true))), None, "it is off");
        tracer.record_share(Some(0.0));
        for is_sampled in [true, false] {
            let begun = tracer.begin(Some(caller(is_sampled))).unwrap();
            assert_eq!((begun.trace, begun.is_sampled), (TraceId::of(5), is_sampled));
            assert_ne!(begun.span, SpanId::of(50));
        }
        let drawn = |share| {
            tracer.record_share(Some(share));
            (0..1000).filter(|_| tracer.begin(None).unwrap().is_sampled).count()
        };
        let few = drawn(0.25);
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 1000));
        assert!((200..300).contains(&few), "{few}");
        assert_ne!(tracer.begin(None).unwrap().trace, tracer.begin(None).unwrap().trace);
    }

    #[tokio::test]
    async fn spans_wait_in_their_order_and_what_finds_no_room_is_counted() {
        let (all, tracer) = tracer();
        tracer.record_share(Some(1.0));
        let as_tracer: Arc<dyn CallTracer> = tracer.clone();
        let trace = CallTrace::begin(Some(&as_tracer), Some(caller(true))).unwrap();
        for took in 0..WAITING_MAX + 10 {
            tracer.record(trace.ended("/a.B/C", Duration::from_secs(took as u64), Code::Ok));
        }
        tracer.filled().await;
        let first = tracer.take();
        assert_eq!((first.len(), first[0].took, first[511].took.as_secs()), (BATCH_MAX, Duration::ZERO, 511));
        let rest: usize = std::iter::from_fn(|| Some(tracer.take().len()).filter(|count| *count > 0)).sum();
        assert_eq!(BATCH_MAX + rest, WAITING_MAX);
        let text = omnirelay_node::prometheus::TextEncoder::new().encode_to_string(&all.gather()).unwrap();
        assert!(
            text.contains(r#"omnirelay_otlp_dropped_total{kind="spans",mesh_cause="queue_full"} 10"#),
            "{text}"
        );
        assert!(text.contains(r#"omnirelay_otlp_sent_total{kind="metrics"} 0"#), "{text}");
        assert!(!text.contains(r#"kind="metrics",mesh_cause="queue_full""#), "{text}");
    }
}
