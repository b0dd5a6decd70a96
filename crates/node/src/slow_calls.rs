//! Slow calls: a line of the log for each call that takes longer than the settings say.

use std::time::Duration;

use omnirelay_core::time::whole_ms;
use omnirelay_host::live::Live;
use omnirelay_host::log::{LogLimiter, LogTurn};
use omnirelay_surface::{CallTrace, FinishedCall, RequestObserver};

/// How many lines are written at once, and after those how often one: what makes one call slow makes many.
const AT_ONCE: u32 = 5;
const EVERY: Duration = Duration::from_secs(10);

/// Log of slow calls. What streams, or is answered once its work is done, is never one; nor is what failed because something is away,
/// such as the store, which is told once.
pub(crate) struct SlowCallLog {
    /// How long a call may take; zero: no line is written.
    slow: Live<Duration>,
    lines: LogLimiter,
}

impl SlowCallLog {
    pub(crate) fn new(slow: Live<Duration>) -> Self {
        Self { slow, lines: LogLimiter::new(AT_ONCE, EVERY) }
    }
}

impl RequestObserver for SlowCallLog {
    fn finished(&self, call: &FinishedCall<'_>) {
        let slow = self.slow.get();
        let may_take_long = call.streamed || call.awaits_work || call.code == tonic::Code::Unavailable;
        if may_take_long || slow.is_zero() || call.duration < slow {
            return;
        }
        let Some(LogTurn { left_out }) = self.lines.turn() else { return };
        let recorded = call.trace.filter(|trace| trace.is_recorded()).map(CallTrace::context);
        let trace = call.request_id.trace().or(recorded);
        let trace_id = trace.map(|context| tracing::field::display(context.trace));
        tracing::warn!(
            method = call.method,
            port = call.port,
            code = ?call.code,
            duration_ms = whole_ms(call.duration),
            request_id = %call.request_id,
            trace_id,
            principal = call.principal,
            remote = %call.remote,
            left_out,
            "call slow"
        );
    }
}
