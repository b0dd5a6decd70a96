//! The codes of faults: what each is over gRPC, over HTTP and as the exit of the command line.

/// Kind of a fault. Everything a transport says follows from it.
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
