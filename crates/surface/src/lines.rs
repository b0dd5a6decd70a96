//! Lines of the log that callers cause by the call: written so often and no oftener.

use std::net::SocketAddr;
use std::time::Duration;

use omnirelay_host::log::{LogLimiter, LogTurn};
use omnirelay_identity::caller::RequestId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

/// Limits on the lines of the log, for each sort of them.
#[derive(Debug)]
pub(super) struct LogLimits {
    refused: LogLimiter,
    /// Failures of our own: a caller that has found one may repeat it.
    failed: LogLimiter,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { refused: LogLimiter::new(20, Duration::from_secs(3)), failed: LogLimiter::of_requests() }
    }
}

impl LogLimits {
    /// Tells of a call that was refused for who its caller is, where it comes from, or how often; of
    /// no other.
    pub(super) fn refused(
        &self,
        call: &str,
        principal: &str,
        fault: &Fault,
        remote: SocketAddr,
        id: &RequestId,
    ) {
        if (is_refusal(fault.code.grpc()) || fault.is(reasons::TOO_MANY_CALLS))
            && let Some(LogTurn { left_out }) = self.refused.turn()
        {
            let (reason, error, why) =
                (fault.reason.as_ref(), fault.message.as_str(), fault.why.as_deref().map(AsRef::as_ref));
            tracing::warn!(call, principal, reason, error, why, %remote, request_id = %id, left_out, "call refused");
        }
    }

    /// Whether a failure of our own is to be told.
    pub(super) fn failed(&self) -> Option<LogTurn> {
        self.failed.turn()
    }
}

/// Whether a call that ended so was refused for who its caller is.
pub(super) fn is_refusal(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::PermissionDenied | tonic::Code::Unauthenticated)
}
