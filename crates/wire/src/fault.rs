//! The fault: the one error an operation returns, and what each transport makes of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use omnirelay_core::text::{chain, innermost};
use tonic::metadata::MetadataMap;
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::code::{Code, Exit};
use crate::reasons::{self, Reason};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "omnirelay";

/// Fault of a call: what went wrong, in words for a person and in words for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// A stable word a program can match, such as `PEER_NOT_FOUND`.
    pub reason: Cow<'static, str>,
    /// What we were doing, to which object, and why it failed. No internals.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Further facts by name, such as `expectedVersion`.
    pub details: BTreeMap<String, String>,
    /// What the log of this daemon says besides, where the caller may not know it. It is not sent to anybody.
    pub why: Option<Box<Cow<'static, str>>>,
}

impl Fault {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (code, name) = (reason.code, reason.name.into());
        Self { code, reason: name, message: message.into(), hint: None, details: BTreeMap::new(), why: None }
    }

    /// Whether it is for this reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason.name
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what the log of this daemon says besides, and nobody is told: never a secret, or what came in place of one.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(Box::new(Cow::Owned(why.into())));
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }

    /// Says after what time the same may be tried again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.detail(RETRY_AFTER_MS, millis)
    }

    /// Time after which the same may be tried again; `None`: nothing is said of it.
    pub fn retried_after(&self) -> Option<Duration> {
        self.details.get(RETRY_AFTER_MS)?.parse().ok().map(Duration::from_millis)
    }

    /// The same in whole seconds, as the header `retry-after` has it: one at least.
    pub fn retried_after_seconds(&self) -> Option<u64> {
        let wait = self.retried_after()?;
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|seconds| seconds.max(1))
    }

    /// A request that can never succeed as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(reasons::INVALID_ARGUMENT, message)
    }

    /// Fault for a failure of our own: it tells nothing of the daemon's inside, only where to look.
    pub fn internal(request_id: impl fmt::Display) -> Self {
        Self::new(
            reasons::INTERNAL,
            format!("the daemon failed to answer; its log says why under request {request_id}"),
        )
    }

    /// The exit code of the command line.
    pub fn exit(&self) -> Exit {
        self.code.exit()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// The detail that says when the same may be tried again, in milliseconds.
const RETRY_AFTER_MS: &str = "retryAfterMs";

/// The name under which a hint travels in `google.rpc.ErrorInfo`.
const HINT: &str = "hint";

impl From<Fault> for tonic::Status {
    fn from(fault: Fault) -> Self {
        let (wait, seconds) = (fault.retried_after(), fault.retried_after_seconds());
        let mut metadata: std::collections::HashMap<String, String> = fault.details.into_iter().collect();
        if let Some(hint) = fault.hint {
            metadata.insert(HINT.to_owned(), hint);
        }
        let mut details = ErrorDetails::with_error_info(fault.reason, ERROR_DOMAIN, metadata);
        let mut headers = MetadataMap::new();
        if let (Some(wait), Some(seconds)) = (wait, seconds) {
            details.set_retry_info(Some(wait));
            headers.insert("retry-after", seconds.into());
        }
        tonic::Status::with_error_details_and_metadata(fault.code.grpc(), fault.message, details, headers)
    }
}

/// Reason why a call was not answered, in words: what happened on the way, or else what the other end says.
pub fn unanswered(status: &tonic::Status) -> String {
    let cause = innermost(status);
    match cause.is::<tonic::Status>() {
        true => Fault::from(status).message,
        false => chain(&cause),
    }
}

impl From<&tonic::Status> for Fault {
    fn from(status: &tonic::Status) -> Self {
        let code = Code::from_grpc(status.code());
        let Some(info) = status.get_details_error_info() else {
            let words = code.word().replace('_', " ");
            let message = if status.message().is_empty() { words.as_str() } else { status.message() };
            let (reason, message) = (code.word().to_ascii_uppercase().into(), message.to_owned());
            return Self { code, reason, message, hint: None, details: BTreeMap::new(), why: None };
        };
        let mut details: BTreeMap<String, String> = info.metadata.into_iter().collect();
        let hint = details.remove(HINT);
        let (reason, message) = (Cow::Owned(info.reason), status.message().to_owned());
        Self { code, reason, message, hint, details, why: None }
    }
}
