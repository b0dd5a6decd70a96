//! The fault: the one error an operation returns, and what each transport makes of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use tonic_types::{ErrorDetails, StatusExt};

use crate::reasons::{self, Reason};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "omnirelay";

/// What kind of fault it is. Everything a transport says follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// Process exit codes of the command line: a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Denied = 5,
    Unavailable = 6,
    Partial = 7,
    Timeout = 8,
    Unauthenticated = 9,
    Negative = 10,
    Incompatible = 11,
    Interrupted = 130,
    Terminated = 143,
}

/// Everything about a code, in one place.
struct CodeRow {
    code: Code,
    word: &'static str,
    grpc: tonic::Code,
    http: u16,
    exit: Exit,
    retryable: bool,
}

const CODES: [CodeRow; 16] = [
    row(Code::Cancelled, "cancelled", tonic::Code::Cancelled, 499, Exit::Interrupted, false),
    row(Code::Unknown, "unknown", tonic::Code::Unknown, 500, Exit::Error, false),
    row(Code::InvalidArgument, "invalid_argument", tonic::Code::InvalidArgument, 400, Exit::Usage, false),
    row(Code::DeadlineExceeded, "deadline_exceeded", tonic::Code::DeadlineExceeded, 504, Exit::Timeout, true),
    row(Code::NotFound, "not_found", tonic::Code::NotFound, 404, Exit::NotFound, false),
    row(Code::AlreadyExists, "already_exists", tonic::Code::AlreadyExists, 409, Exit::Conflict, false),
    row(Code::PermissionDenied, "permission_denied", tonic::Code::PermissionDenied, 403, Exit::Denied, false),
    row(
        Code::ResourceExhausted,
        "resource_exhausted",
        tonic::Code::ResourceExhausted,
        429,
        Exit::Unavailable,
        true,
    ),
    row(
        Code::FailedPrecondition,
        "failed_precondition",
        tonic::Code::FailedPrecondition,
        409,
        Exit::Conflict,
        false,
    ),
    row(Code::Aborted, "aborted", tonic::Code::Aborted, 412, Exit::Conflict, false),
    row(Code::OutOfRange, "out_of_range", tonic::Code::OutOfRange, 400, Exit::Usage, false),
    row(Code::Unimplemented, "unimplemented", tonic::Code::Unimplemented, 501, Exit::Incompatible, false),
    row(Code::Internal, "internal", tonic::Code::Internal, 500, Exit::Error, false),
    row(Code::Unavailable, "unavailable", tonic::Code::Unavailable, 503, Exit::Unavailable, true),
    row(Code::DataLoss, "data_loss", tonic::Code::DataLoss, 500, Exit::Error, false),
    row(
        Code::Unauthenticated,
        "unauthenticated",
        tonic::Code::Unauthenticated,
        401,
        Exit::Unauthenticated,
        false,
    ),
];

const fn row(
    code: Code,
    word: &'static str,
    grpc: tonic::Code,
    http: u16,
    exit: Exit,
    retryable: bool,
) -> CodeRow {
    CodeRow { code, word, grpc, http, exit, retryable }
}

impl Code {
    fn row(self) -> &'static CodeRow {
        CODES.iter().find(|row| row.code == self).unwrap_or(&CODES[1])
    }

    /// As in `error.code`: `not_found`.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The code of a gRPC status.
    pub fn grpc(self) -> tonic::Code {
        self.row().grpc
    }

    /// The HTTP status.
    pub fn http(self) -> u16 {
        self.row().http
    }

    /// The exit code of the command line.
    pub fn exit(self) -> Exit {
        self.row().exit
    }

    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        self.row().retryable
    }

    /// The code with this word, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        CODES.iter().find(|row| row.word == word).map(|row| row.code)
    }

    /// The code of a gRPC status code; `Ok` counts as unknown, because it is no fault.
    pub fn from_grpc(code: tonic::Code) -> Self {
        CODES.iter().find(|row| row.grpc == code).map_or(Self::Unknown, |row| row.code)
    }
}

/// What went wrong, in words for a person and in words for a program.
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
}

impl Fault {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (code, name) = (reason.code, reason.name.into());
        Self { code, reason: name, message: message.into(), hint: None, details: BTreeMap::new() }
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

    /// Adds a fact.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }

    /// A request that can never succeed as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(reasons::INVALID_ARGUMENT, message)
    }

    /// What a caller is told of a failure of our own: nothing of its inside, only where to look.
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

/// The name under which a hint travels in `google.rpc.ErrorInfo`.
const HINT: &str = "hint";

impl From<Fault> for tonic::Status {
    fn from(fault: Fault) -> Self {
        let mut metadata: std::collections::HashMap<String, String> = fault.details.into_iter().collect();
        if let Some(hint) = fault.hint {
            metadata.insert(HINT.to_owned(), hint);
        }
        let details = ErrorDetails::with_error_info(fault.reason, ERROR_DOMAIN, metadata);
        tonic::Status::with_error_details(fault.code.grpc(), fault.message, details)
    }
}

impl From<&tonic::Status> for Fault {
    fn from(status: &tonic::Status) -> Self {
        let code = Code::from_grpc(status.code());
        let Some(info) = status.get_details_error_info() else {
            let words = code.word().replace('_', " ");
            let message = if status.message().is_empty() { words.as_str() } else { status.message() };
            let (reason, message) = (code.word().to_ascii_uppercase().into(), message.to_owned());
            return Self { code, reason, message, hint: None, details: BTreeMap::new() };
        };
        let mut details: BTreeMap<String, String> = info.metadata.into_iter().collect();
        let hint = details.remove(HINT);
        Self { code, reason: Cow::Owned(info.reason), message: status.message().to_owned(), hint, details }
    }
}
