//! Trace of a call: its context, which is handed on to whoever is called for it, and the spans of what is done for it elsewhere.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::Either;
use omnirelay_core::trace_context::{SpanId, TraceContext, TraceId};
use tonic::Code;

tokio::task_local! {
    /// The call that this task carries out. What is done for it by another task is none of its spans.
    static CURRENT: CallTrace;
}

/// Tracer of the calls of a surface: says of which trace a call is, and takes the spans that are recorded.
pub trait CallTracer: Send + Sync + 'static {
    /// Context of a call that begins, from that of its caller; `None`: nothing is recorded, and what the caller says is handed on.
    fn begin(&self, caller: Option<TraceContext>) -> Option<TraceContext>;

    /// Id of a further span.
    fn span_id(&self) -> SpanId;

    /// Takes a span that is over, on the task that it ended on: it must not wait.
    fn record(&self, span: EndedSpan);
}

/// Relation of a span to the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A call that this daemon has served.
    Server,
    /// A call of this daemon to another.
    Client,
    /// Work of the daemon itself.
    Internal,
}

/// Span that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct EndedSpan {
    pub trace: TraceId,
    pub span: SpanId,
    /// The span above it; `None`: the trace begins here.
    pub parent: Option<SpanId>,
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    pub ended: SystemTime,
    pub took: Duration,
    /// Outcome of a call; `None`: it is no call, or nobody has answered.
    pub code: Option<Code>,
    /// Whether it came to nothing, by no mistake of whoever asked.
    pub has_failed: bool,
    /// Who has called, if that was proven.
    pub principal: Option<Box<str>>,
}

/// Trace of a call under way.
#[derive(Clone)]
pub struct CallTrace {
    context: TraceContext,
    parent: Option<SpanId>,
    /// `None`: its spans are not recorded here.
    tracer: Option<Arc<dyn CallTracer>>,
}

impl CallTrace {
    /// The trace of a call that begins; `None`: nobody records any, and its caller says none.
    pub fn begin(tracer: Option<&Arc<dyn CallTracer>>, caller: Option<TraceContext>) -> Option<Self> {
        let parent = caller.map(|caller| caller.span);
        match tracer.and_then(|tracer| Some((tracer.begin(caller)?, tracer))) {
            Some((context, tracer)) => {
                let tracer = context.is_sampled.then(|| tracer.clone());
                Some(Self { context, parent, tracer })
            }
            None => Some(Self { context: caller?, parent, tracer: None }),
        }
    }

    /// The call that this task carries out; `None`: it is of no trace, or none is carried out.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Carries out a call: what it does is of its trace.
    pub fn within<F: Future>(trace: Option<Self>, work: F) -> impl Future<Output = F::Output> {
        match trace {
            Some(trace) => Either::Left(CURRENT.scope(trace, work)),
            None => Either::Right(work),
        }
    }

    /// Context of what is done for the call.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether its spans are recorded here.
    pub fn is_recorded(&self) -> bool {
        self.tracer.is_some()
    }

    /// Begins a call of somebody else: the context to tell them, and its span, where it is recorded here.
    pub fn calling(&self, name: &str) -> (TraceContext, Option<ChildSpan>) {
        let Some(tracer) = self.tracer.clone() else { return (self.context, None) };
        let trace = self.below(tracer.as_ref());
        let (context, name, began) = (trace.context, name.to_owned(), Instant::now());
        (context, Some(ChildSpan { trace, tracer, name, began, code: None, has_failed: true }))
    }

    /// Notes what was done for the call that this task carries out, if one is: it has just ended, and took so long.
    pub fn note(name: &'static str, took: Duration, has_failed: bool) {
        let noted = |trace: &Self| {
            if let Some(tracer) = &trace.tracer {
                let span = trace.below(tracer.as_ref()).over(name.into(), SpanKind::Internal, took);
                tracer.record(EndedSpan { has_failed, ..span });
            }
        };
        // Most of what is done is done for no call.
        let _ = CURRENT.try_with(noted);
    }

    /// Span of the call itself, which has just ended.
    pub fn ended(&self, name: &'static str, took: Duration, code: Code) -> EndedSpan {
        let span = self.over(name.into(), SpanKind::Server, took);
        EndedSpan { code: Some(code), has_failed: is_fault_of_server(code), ..span }
    }

    /// Trace of what is done for this one, under a further span.
    fn below(&self, tracer: &dyn CallTracer) -> Self {
        let context = TraceContext { span: tracer.span_id(), ..self.context };
        Self { context, parent: Some(self.context.span), tracer: None }
    }

    /// Its span, which has just ended, and took so long.
    fn over(&self, name: Cow<'static, str>, kind: SpanKind, took: Duration) -> EndedSpan {
        EndedSpan {
            trace: self.context.trace,
            span: self.context.span,
            parent: self.parent,
            name,
            kind,
            ended: SystemTime::now(),
            took,
            code: None,
            has_failed: false,
            principal: None,
        }
    }
}

/// Whether a call that ended so failed by no mistake of its caller.
pub fn is_fault_of_server(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// Span under way of a call of somebody else. Dropping it ends it; until it is told an outcome it has failed.
pub struct ChildSpan {
    trace: CallTrace,
    tracer: Arc<dyn CallTracer>,
    name: String,
    began: Instant,
    code: Option<Code>,
    has_failed: bool,
}

impl ChildSpan {
    /// Notes with which code the call was answered; for who called, each but `Ok` is a failure.
    pub fn answered(&mut self, code: Code) {
        (self.code, self.has_failed) = (Some(code), code != Code::Ok);
    }
}

impl Drop for ChildSpan {
    fn drop(&mut self) {
        let span =
            self.trace.over(std::mem::take(&mut self.name).into(), SpanKind::Client, self.began.elapsed());
        self.tracer.record(EndedSpan { code: self.code, has_failed: self.has_failed, ..span });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use parking_lot::Mutex;

    use super::*;

    /// Records everything, or nothing, with ids in their order.
    #[derive(Default)]
    struct NotingTracer {
        is_on: bool,
        ids: AtomicU64,
        spans: Mutex<Vec<EndedSpan>>,
    }

    impl CallTracer for NotingTracer {
        fn begin(&self, caller: Option<TraceContext>) -> Option<TraceContext> {
            let trace = caller.map_or(TraceId::of(7), |caller| caller.trace);
            let is_sampled = caller.is_none_or(|caller| caller.is_sampled);
            self.is_on.then(|| TraceContext { trace, span: self.span_id(), is_sampled })
        }

        fn span_id(&self) -> SpanId {
            SpanId::of(self.ids.fetch_add(1, Ordering::Relaxed) + 1)
        }

        fn record(&self, span: EndedSpan) {
            self.spans.lock().push(span);
        }
    }

    fn caller(is_sampled: bool) -> Option<TraceContext> {
        Some(TraceContext { trace: TraceId::of(5), span: SpanId::of(50), is_sampled })
    }

    /// What is done for a call: what it hands on, and what is noted of it.
    async fn done(is_on: bool, caller: Option<TraceContext>) -> (Option<TraceContext>, Vec<EndedSpan>) {
        let noting = Arc::new(NotingTracer { is_on, ..NotingTracer::default() });
        let tracer: Arc<dyn CallTracer> = noting.clone();
        let trace = CallTrace::begin(Some(&tracer), caller);
        let handed_on = CallTrace::within(trace, async {
            CallTrace::note("store commit", Duration::from_millis(1), false);
            let (context, mut calls) = CallTrace::current()?.calling("/a.B/C");
            calls.iter_mut().for_each(|calls| calls.answered(Code::NotFound));
            Some(context)
        });
        let handed_on = handed_on.await;
        assert!(CallTrace::current().is_none(), "it is over");
        (handed_on, std::mem::take(&mut *noting.spans.lock()))
    }

    #[tokio::test]
    async fn what_is_done_for_a_call_is_of_its_trace_and_below_it() {
        for (of, trace) in [(None, TraceId::of(7)), (caller(true), TraceId::of(5))] {
            let (handed_on, spans) = done(true, of).await;
            let span = SpanId::of(3);
            assert_eq!(handed_on, Some(TraceContext { trace, span, is_sampled: true }));
            let said: Vec<_> = spans.iter().map(|span| (&*span.name, span.span, span.parent)).collect();
            let call = Some(SpanId::of(1));
            assert_eq!(said, [("store commit", SpanId::of(2), call), ("/a.B/C", span, call)]);
            assert!(spans.iter().all(|span| span.trace == trace));
            let outcomes = spans.iter().map(|span| (span.code, span.has_failed)).collect::<Vec<_>>();
            assert_eq!(outcomes, [(None, false), (Some(Code::NotFound), true)]);
        }
    }

    #[tokio::test]
    async fn what_is_not_recorded_is_handed_on_all_the_same() {
        assert_eq!(done(false, None).await, (None, Vec::new()));
        assert_eq!(done(false, caller(true)).await, (caller(true), Vec::new()));
        let (handed_on, spans) = done(true, caller(false)).await;
        assert!(spans.is_empty(), "{spans:?}");
        let handed_on = handed_on.unwrap();
        assert_eq!((handed_on.trace, handed_on.is_sampled), (TraceId::of(5), false));
    }

    #[test]
    fn a_call_that_nobody_answers_has_failed() {
        let noting = Arc::new(NotingTracer { is_on: true, ..NotingTracer::default() });
        let tracer: Arc<dyn CallTracer> = noting.clone();
        let trace = CallTrace::begin(Some(&tracer), caller(true)).unwrap();
        drop(trace.calling("/a.B/C"));
        let spans = noting.spans.lock();
        assert!(spans.iter().all(|span| span.has_failed && span.code.is_none()) && spans.len() == 1);
        let own = trace.ended("/a.B/D", Duration::ZERO, Code::NotFound);
        assert_eq!((own.parent, own.span, own.has_failed), (Some(SpanId::of(50)), SpanId::of(1), false));
    }
}
