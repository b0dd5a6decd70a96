//! Errors on the way to the master, told apart by what they mean for a command.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use omnirelay_core::text::chain;
use redis::RedisError;

/// Error of a command that has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// The command was not sent.
    #[error("the store cannot be reached")]
    Unreachable(#[source] StoreFailure),
    /// The command was sent, or part of it, and no answer came. The server may carry it out, even
    /// later.
    #[error("the store did not answer")]
    Lost(#[source] StoreFailure),
    /// The server answered with an error. Nothing was done.
    #[error("the store refused: {code} {detail}")]
    Refused {
        /// The first word of the answer, such as `OOM` or `NOSCRIPT`, or a script's own.
        code: String,
        /// All behind the first word.
        detail: String,
    },
}

/// Failure of the store: what failed, and why.
#[derive(Clone, Debug)]
pub struct StoreFailure {
    what: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The answers after which another server is looked for, or this one is authenticated to anew.
const ENDING: [&str; 9] =
    ["READONLY", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "NOAUTH", "UNBLOCKED", "LOADING"];
/// What a node of a Cluster answers when another one has the slot, has a part of its keys, or
/// nobody has it.
const ELSEWHERE: [&str; 4] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];
/// How it says that of a key that a script came upon; the code is `ERR`.
const NOT_LOCAL: &str = "non local key";

impl LinkError {
    /// The first word of the server's answer, if an error of the server is what it came from: also
    /// of one that kept the connection from being made.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable(failure) | Self::Lost(failure) => failure.code(),
        }
    }

    /// Whether the connection it came from is of no use any more.
    pub fn ends_connection(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Lost(_) => true,
            Self::Refused { code, .. } => ENDING.contains(&code.as_str()),
        }
    }

    /// Whether the answer says where keys are in a Cluster and nothing of what is under them: while
    /// a slot is moved from one node to another, the store cannot be used for a while.
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Lost(_) => false,
            Self::Refused { code, detail } => {
                ELSEWHERE.contains(&code.as_str()) || (code == "ERR" && detail.contains(NOT_LOCAL))
            }
        }
    }

    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl From<RedisError> for LinkError {
    /// What an error means that came from a connection after something was sent.
    fn from(error: RedisError) -> Self {
        match error.code() {
            Some(code) => {
                Self::Refused { code: code.to_owned(), detail: error.detail().unwrap_or_default().to_owned() }
            }
            None if error.is_timeout() => {
                Self::Lost(StoreFailure::new("no answer within the response timeout"))
            }
            None => Self::Lost(StoreFailure::new(format!("the connection broke: {}", chain(&error)))),
        }
    }
}

impl StoreFailure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    pub(super) fn because(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self { what: what.into(), source: Some(Arc::new(source)) }
    }

    /// Several attempts, none of which succeeded; the only one is itself the failure.
    pub(super) fn of_all(what: &str, mut tried: Vec<StoreFailure>) -> Self {
        match tried.len() {
            1 => tried.swap_remove(0),
            _ => Self::because(what, FailedAttempts(tried)),
        }
    }

    /// The first word of the server's answer that it came from.
    pub fn code(&self) -> Option<&str> {
        let source = self.source.as_deref()?;
        if let Some(error) = source.downcast_ref::<LinkError>() {
            return error.code();
        }
        if let Some(failure) = source.downcast_ref::<StoreFailure>() {
            return failure.code();
        }
        source.downcast_ref::<FailedAttempts>()?.0.iter().find_map(StoreFailure::code)
    }

    /// The failure and its causes in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for StoreFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Failures of several attempts.
#[derive(Debug)]
struct FailedAttempts(Vec<StoreFailure>);

impl fmt::Display for FailedAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(StoreFailure::chain).collect();
        f.write_str(&all.join("; "))
    }
}

impl Error for FailedAttempts {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_through_all_causes() {
        let refused = LinkError::Refused { code: "WRONGPASS".to_owned(), detail: "no".to_owned() };
        let one = StoreFailure::because("a:1 refused", refused.clone());
        let all = StoreFailure::of_all("nobody", vec![StoreFailure::new("b:1 is silent"), one.clone()]);
        let cases = [
            ("itself", refused.clone()),
            ("as a cause", LinkError::Unreachable(one)),
            ("among several", LinkError::Unreachable(StoreFailure::because("no master", all))),
        ];
        for (what, error) in cases {
            assert_eq!(error.code(), Some("WRONGPASS"), "{what}: {}", error.chain());
        }
        assert_eq!(LinkError::Lost(StoreFailure::new("x")).code(), None);
    }

    #[test]
    fn causes_are_told_once() {
        let refused = LinkError::Refused { code: "NOAUTH".to_owned(), detail: "first".to_owned() };
        let failure = StoreFailure::because("a:1 refused", refused);
        let all =
            StoreFailure::of_all("no server is a master", vec![failure, StoreFailure::new("b:1 is silent")]);
        assert_eq!(
            LinkError::Unreachable(all).chain(),
            "the store cannot be reached: no server is a master: a:1 refused: the store refused: NOAUTH first; \
             b:1 is silent"
        );
    }

    #[test]
    fn errors_of_the_crate_are_told_apart() {
        use redis::ErrorKind;
        let io = |kind: std::io::ErrorKind| RedisError::from(std::io::Error::from(kind));
        assert!(matches!(LinkError::from(io(std::io::ErrorKind::TimedOut)), LinkError::Lost(_)));
        assert!(matches!(LinkError::from(io(std::io::ErrorKind::BrokenPipe)), LinkError::Lost(_)));
        let garbled = RedisError::from((ErrorKind::Parse, "garbled"));
        assert!(matches!(LinkError::from(garbled), LinkError::Lost(_)));
        for answer in ["MOVED 1 a:1", "OOM no room", "FENCED"] {
            let error = refused(answer);
            let code = answer.split_whitespace().next();
            assert!(matches!(error, LinkError::Refused { .. }), "{error:?}");
            assert_eq!(error.code(), code);
            assert_eq!(error.ends_connection(), code == Some("MOVED"), "{answer}");
        }
    }

    #[test]
    fn a_key_on_another_node_is_told_from_a_key_of_something_else() {
        let of_script =
            "Script attempted to access a non local key in a cluster node script: 12, on @user_script:3.";
        // The answer, whether keys are elsewhere, and whether the connection ends with it.
        let cases = [
            ("MOVED 1 a:1".to_owned(), true, true),
            ("ASK 1 a:1".to_owned(), true, true),
            ("TRYAGAIN Multiple keys request during rehashing of slot".to_owned(), true, true),
            ("CLUSTERDOWN Hash slot not served".to_owned(), true, true),
            (format!("ERR {of_script}"), true, false),
            ("ERR Bad data format".to_owned(), false, false),
            ("WRONGTYPE Operation against a key".to_owned(), false, false),
            ("READONLY You can't write against a read only replica.".to_owned(), false, true),
        ];
        for (answer, elsewhere, ends) in cases {
            let error = refused(&answer);
            assert_eq!((error.is_elsewhere(), error.ends_connection()), (elsewhere, ends), "{answer}");
        }
        assert!(!LinkError::Lost(StoreFailure::new("MOVED")).is_elsewhere());
    }

    /// The error that an answer of the server comes to.
    fn refused(answer: &str) -> LinkError {
        let value = redis::parse_redis_value(format!("-{answer}\r\n").as_bytes()).unwrap();
        LinkError::from(value.extract_error().unwrap_err())
    }
}
