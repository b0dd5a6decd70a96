//! Observation of each call when it is over: one log line, and whatever an observer makes of it.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Response};
use omnirelay_core::spiffe::SpiffeId;
use omnirelay_host::log::LogTurn;
use omnirelay_identity::caller::{CallProtocol, RequestId};
use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tonic::body::Body;

use super::call_judge::CallHold;
use super::call_trace::CallTrace;
use super::lines::{LogLimits, is_refusal};
use super::method::ServedMethod;
use super::pipeline::{Pipeline, fault_response, grpc_code};

/// Hears of every finished call, on the task that served it: it must not wait.
pub trait RequestObserver: Send + Sync + 'static {
    fn finished(&self, call: &FinishedCall<'_>);

    /// Hears of a handshake that came to nothing, so that there was no call.
    fn unshaken(&self, _handshake: &FailedHandshake<'_>) {}
}

/// A handshake that came to nothing, and not because the client went away.
#[derive(Clone, Copy, Debug)]
pub struct FailedHandshake<'a> {
    /// What the port is called.
    pub port: &'static str,
    pub cause: HandshakeFailure,
    /// Where it came from; of IPv6 the network, as one host has all of its addresses.
    pub host: IpAddr,
    /// Whom the certificate names that was shown, where an authority that is believed has signed it; nobody has proven to
    /// have its key.
    pub named: Option<&'a SpiffeId>,
}

/// One call that is over; for a stream, the stream with it.
#[derive(Clone, Copy)]
pub struct FinishedCall<'a> {
    /// `/package.Service/Method`: a bounded set, fit for a metric's label.
    pub method: &'static str,
    pub protocol: CallProtocol,
    /// What the port is called.
    pub port: &'static str,
    pub code: tonic::Code,
    pub duration: Duration,
    pub streamed: bool,
    /// Whether it is answered once its work is done, which may take seconds.
    pub awaits_work: bool,
    /// What the audit trail calls it, if it would have changed something.
    pub audit_action: Option<&'a str>,
    /// The reason of the fault it ended with, as far as the pipeline knows it; else empty.
    pub reason: &'a str,
    /// Whether its caller was let in, and proved nothing any more while it was under way: what it does is no refusal.
    pub cut: bool,
    pub request_id: &'a RequestId,
    pub principal: &'a str,
    pub remote: SocketAddr,
    /// The trace that it is of; `None`: its caller says none, and nobody records any.
    pub trace: Option<&'a CallTrace>,
}

/// Observer that hears of nothing.
pub(super) struct NoObserver;

impl RequestObserver for NoObserver {
    fn finished(&self, _call: &FinishedCall<'_>) {}
}

/// One call under way. However it ends, it is told of once: a call that is dropped was cancelled.
pub(super) struct ObservedCall {
    observer: Arc<dyn RequestObserver>,
    pub method: &'static str,
    pub protocol: CallProtocol,
    port: &'static str,
    streamed: bool,
    awaits_work: bool,
    audit_action: Option<Arc<str>>,
    reason: Cow<'static, str>,
    started: Instant,
    pub request_id: RequestId,
    /// `-` before the caller is known.
    pub principal: Arc<str>,
    remote: SocketAddr,
    lines: Arc<LogLimits>,
    /// What whoever judged it holds of it until it is over.
    pub hold: CallHold,
    pub trace: Option<CallTrace>,
    cut: bool,
    over: bool,
}

impl ObservedCall {
    pub(super) fn begin(
        pipeline: &Pipeline,
        method: &ServedMethod,
        protocol: CallProtocol,
        remote: SocketAddr,
        request_id: RequestId,
    ) -> Self {
        Self {
            observer: Arc::clone(&pipeline.observer),
            method: method.path,
            protocol,
            port: pipeline.port,
            streamed: method.streams,
            awaits_work: method.policy.is_some_and(|policy| policy.awaits_work),
            audit_action: method.audit_action.clone(),
            reason: Cow::Borrowed(""),
            started: Instant::now(),
            trace: CallTrace::begin(pipeline.tracer.as_ref(), request_id.trace()),
            request_id,
            principal: Arc::clone(&pipeline.unknown),
            remote,
            lines: Arc::clone(&pipeline.lines),
            hold: None,
            cut: false,
            over: false,
        }
    }

    /// Tells of the end.
    pub(super) fn finish(mut self, code: tonic::Code) {
        self.tell(code);
    }

    /// Tells of the end by a fault.
    pub(super) fn fail(mut self, fault: &Fault) {
        self.note(fault);
        self.finish(fault.code.grpc());
    }

    /// Notes the fault that an operation answered, where it is about the caller, or about how often they ask.
    pub(super) fn note_refusal(&mut self, code: tonic::Code, answer: &HeaderMap) {
        if !is_refusal(code) && code != tonic::Code::ResourceExhausted {
            return;
        }
        let Some(status) = tonic::Status::from_header_map(answer) else { return };
        let fault = Fault::from(&status);
        if is_refusal(code) || fault.is(reasons::TOO_MANY_ISSUED) || fault.is(reasons::TOO_MANY_CERTIFICATES)
        {
            self.note(&fault);
        }
    }

    fn note(&mut self, fault: &Fault) {
        self.reason = fault.reason.clone();
        self.lines.refused(self.method, &self.principal, fault, self.remote, &self.request_id);
    }

    /// Ends the call with a fault.
    pub(super) fn refuse(mut self, fault: Fault) -> Response<Body> {
        self.note(&fault);
        let response = fault_response(fault, &self.request_id);
        self.finish(grpc_code(response.headers()).unwrap_or(tonic::Code::Unknown));
        response
    }

    /// Answers a call that was let in, and is under way, with the fault that has ended its caller's proof.
    pub(super) fn cut(mut self, fault: Fault) -> Response<Body> {
        self.cut = true;
        self.refuse(fault)
    }

    /// Ends the call with a failure of our own, of which the caller learns nothing.
    pub(super) fn refuse_internal(self) -> Response<Body> {
        let fault = Fault::internal(&self.request_id);
        self.refuse(fault)
    }

    /// Writes down a status the caller is not shown.
    pub(super) fn log_internal(&self, status: &HeaderMap) {
        let Some(LogTurn { left_out }) = self.lines.failed() else { return };
        let cause = tonic::Status::from_header_map(status);
        let cause = cause.as_ref().map_or("", tonic::Status::message);
        tracing::error!(method = self.method, request_id = %self.request_id, cause, left_out, "operation failed");
    }

    /// Writes down a panic.
    pub(super) fn log_panic(&self, cause: &str) {
        let Some(LogTurn { left_out }) = self.lines.failed() else { return };
        let (method, streamed) = (self.method, self.streamed);
        tracing::error!(method, streamed, request_id = %self.request_id, cause, left_out, "handler panicked");
    }

    fn tell(&mut self, code: tonic::Code) {
        self.over = true;
        let duration = self.started.elapsed();
        tracing::debug!(
            method = self.method,
            port = self.port,
            rpc_transport = self.protocol.transport.word(),
            rpc_encoding = self.protocol.encoding.word(),
            code = ?code,
            duration_ms = duration.as_secs_f64() * 1e3,
            request_id = %self.request_id,
            principal = %self.principal,
            "call finished"
        );
        self.observer.finished(&FinishedCall {
            method: self.method,
            protocol: self.protocol,
            port: self.port,
            code,
            duration,
            streamed: self.streamed,
            awaits_work: self.awaits_work,
            audit_action: self.audit_action.as_deref(),
            reason: &self.reason,
            cut: self.cut,
            request_id: &self.request_id,
            principal: &self.principal,
            remote: self.remote,
            trace: self.trace.as_ref(),
        });
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        if !self.over {
            self.tell(tonic::Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    #[test]
    fn versions_differ_for_operations_and_not_for_metrics() {
        let cases = [
            (CallProtocol::of_grpc(Version::HTTP_2), "grpc", "grpc"),
            (CallProtocol::of_grpc(Version::HTTP_3), "grpc", "grpc"),
            (CallProtocol::of_http(Version::HTTP_10), "http", "http/1.1"),
            (CallProtocol::of_http(Version::HTTP_11), "http", "http/1.1"),
            (CallProtocol::of_http(Version::HTTP_2), "http", "http/2"),
            (CallProtocol::of_http(Version::HTTP_3), "http", "http/3"),
        ];
        for (protocol, word, negotiated) in cases {
            assert_eq!((protocol.word(), protocol.negotiated()), (word, negotiated), "{protocol:?}");
        }
    }
}
