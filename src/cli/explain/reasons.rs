//! The reasons, what they mean and what to do about them.

use crate::wire::fault::Code;

/// What a reason means.
pub struct Explanation {
    pub reason: &'static str,
    pub code: Code,
    pub means: &'static str,
    pub next: &'static str,
}

const fn explain(reason: &'static str, code: Code, means: &'static str, next: &'static str) -> Explanation {
    Explanation { reason, code, means, next }
}

/// Every reason, in alphabetical order.
pub static REASONS: &[Explanation] = &[
    explain(
        "AMBIGUOUS_ID",
        Code::InvalidArgument,
        "the beginning of an id fits several objects",
        "give more of the id",
    ),
    explain("BROKEN_PIPE", Code::Cancelled, "the reader of standard output went away", "nothing"),
    explain("CLIENT", Code::Unknown, "the HTTP client could not be prepared", "report it as a bug"),
    explain(
        "CONFIG_INVALID",
        Code::InvalidArgument,
        "the file of contexts does not say what it should",
        "correct it, or name another with --config",
    ),
    explain(
        "CONFIG_LOCKED",
        Code::Unknown,
        "another process keeps the file of contexts locked",
        "wait for it, then repeat the command",
    ),
    explain(
        "CONFIG_UNREADABLE",
        Code::InvalidArgument,
        "the file of contexts cannot be read",
        "check its permissions, or name another with --config",
    ),
    explain(
        "CONFIG_UNWRITABLE",
        Code::Unknown,
        "the file of contexts cannot be written; nothing was changed",
        "check its permissions and the space left, or name another with --config",
    ),
    explain(
        "CONNECTION_LOST",
        Code::Unavailable,
        "the connection was cut before the answer was complete",
        "repeat the command; look at the daemon's log",
    ),
    explain(
        "CONNECTION_REFUSED",
        Code::Unavailable,
        "nothing listens at that address",
        "omnirelay up, or omnirelay context current -v",
    ),
    explain(
        "CONNECT_FAILED",
        Code::Unavailable,
        "no connection to that address can be made",
        "check the network and the address",
    ),
    explain(
        "CONNECT_TIMEOUT",
        Code::Unavailable,
        "nothing answered at that address in time",
        "check firewalls and the address; --connect-timeout waits longer",
    ),
    explain(
        "CONTEXT_EXISTS",
        Code::AlreadyExists,
        "there is a context of that name",
        "omnirelay context set NAME ...",
    ),
    explain(
        "CONTEXT_UNKNOWN",
        Code::InvalidArgument,
        "there is no context of that name",
        "omnirelay context list",
    ),
    explain(
        "CURSOR_FILE",
        Code::Unknown,
        "the file of --cursor-file cannot be read or written",
        "check its permissions and the space left",
    ),
    explain(
        "DECLINED",
        Code::Cancelled,
        "the question was not answered with yes; nothing was changed",
        "nothing",
    ),
    explain(
        "DESCRIPTORS",
        Code::Internal,
        "the descriptors built into this program are damaged",
        "report it as a bug",
    ),
    explain(
        "ENCODING",
        Code::Unknown,
        "a document could not be written in the form asked for",
        "try -o json; report it as a bug",
    ),
    explain("INPUT", Code::Unknown, "standard input or a file named could not be read", "check the file"),
    explain(
        "INVALID_ARGUMENT",
        Code::InvalidArgument,
        "the daemon refuses the request as it is",
        "correct what the message names",
    ),
    explain(
        "NAME_NOT_RESOLVED",
        Code::Unavailable,
        "the host name in the address is not known",
        "check the address and the resolver",
    ),
    explain(
        "NOT_BUILT",
        Code::Unimplemented,
        "this build lacks what was asked for",
        "install a complete build",
    ),
    explain(
        "NOT_HTTP",
        Code::Unavailable,
        "what answers at that address does not speak HTTP",
        "check the port; omnirelay context current -v",
    ),
    explain("NO_ADDRESS", Code::Internal, "there is no address to ask", "report it as a bug"),
    explain(
        "OUTCOME_UNKNOWN",
        Code::DeadlineExceeded,
        "a change was sent and its answer lost: it may have been made or not",
        "repeat the command with the --idempotency-key that was printed",
    ),
    explain(
        "OUTPUT",
        Code::Unknown,
        "standard output does not take the data",
        "check the space left where it goes",
    ),
    explain(
        "PARTIAL_FAILURE",
        Code::Unknown,
        "some of several objects failed",
        "look into results[], repeat the command for those",
    ),
    explain(
        "RANDOM",
        Code::Unknown,
        "the operating system gave no random numbers",
        "give --idempotency-key; check the system",
    ),
    explain("REASON_UNKNOWN", Code::NotFound, "this version does not know that reason", "omnirelay explain"),
    explain(
        "REQUEST_TIMEOUT",
        Code::DeadlineExceeded,
        "the daemon did not answer in time",
        "repeat with a longer --request-timeout",
    ),
    explain(
        "RUNTIME",
        Code::Unknown,
        "the program could not prepare to talk to a daemon",
        "check the limits of the system",
    ),
    explain("SCHEMA_UNKNOWN", Code::NotFound, "there is no document of that kind", "omnirelay schema"),
    explain("SIGNALS", Code::Unknown, "the program could not listen for signals", "report it as a bug"),
    explain(
        "UNEXPECTED_ANSWER",
        Code::Unknown,
        "something other than omnirelayd answers at that address",
        "omnirelay context current -v",
    ),
    explain("USAGE", Code::InvalidArgument, "a flag or an argument is wrong", "omnirelay COMMAND --help"),
    explain(
        "WATCH_TIMEOUT",
        Code::DeadlineExceeded,
        "a watch did not see in time what it waited for",
        "wait longer with --timeout",
    ),
];
