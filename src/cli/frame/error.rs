//! Error of a command that failed: three lines for a person, one object for a program, one exit code.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

pub use omnirelay_core::text::chain;
use omnirelay_wire::fault::{Code, Exit, Fault};
use omnirelay_wire::reasons::{self, Reason};
use serde_json::{Map, Value, json};

use super::screen::printable;

/// A command that failed.
///
/// Boxed inside, so that results stay small.
#[derive(Clone, Debug, PartialEq)]
pub struct CliError(Box<ErrorBody>);

/// Facts about a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBody {
    pub exit: Exit,
    /// As in `error.code`, such as `not_found`.
    pub code: Cow<'static, str>,
    /// As in `error.reason`, such as `PEER_NOT_FOUND`.
    pub reason: Cow<'static, str>,
    /// What was being done, to which object, and that it failed.
    pub message: String,
    /// Why; not repeated in `message`.
    pub cause: Option<String>,
    /// What to do next, one line each.
    pub hints: Vec<String>,
    pub retryable: bool,
    pub request_id: Option<String>,
    pub details: Vec<Value>,
    /// Whom was asked: `{context, cluster, address}`.
    pub target: Option<Value>,
    /// True: standard output is closed, so there is nobody to tell.
    pub broken_pipe: bool,
}

impl CliError {
    /// A failure for a reason, with the exit code of the reason's code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self::stated(reason.code, reason.name.into(), message.into())
    }

    /// With a code that need not be the reason's, for a reason that this version may not know.
    fn stated(code: Code, reason: Cow<'static, str>, message: String) -> Self {
        Self(Box::new(ErrorBody {
            exit: code.exit(),
            code: code.word().into(),
            reason,
            message,
            cause: None,
            hints: Vec::new(),
            retryable: code.retryable(),
            request_id: None,
            details: Vec::new(),
            target: None,
            broken_pipe: false,
        }))
    }

    /// The same, each of its texts told otherwise.
    #[must_use]
    pub fn reworded(mut self, word: impl Fn(&str) -> String) -> Self {
        self.0.message = word(&self.0.message);
        self.0.cause = self.0.cause.map(|cause| word(&cause));
        self.0.hints = self.0.hints.iter().map(|hint| word(hint)).collect();
        self
    }

    /// The command was called wrongly: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(reasons::USAGE, message)
    }

    /// A file is there, and nobody has said that it may be written over.
    pub fn not_written_over(path: &Path) -> Self {
        Self::usage(format!("{} is there already", path.display())).hint("add --force to write over it")
    }

    /// Something on this machine failed: exit code 1.
    pub fn local(reason: Reason, message: impl Into<String>, source: &dyn std::error::Error) -> Self {
        Self::stated(Code::Unknown, reason.name.into(), message.into()).cause(chain(source))
    }

    /// Standard output was closed by its reader.
    pub fn broken_pipe() -> Self {
        let mut error = Self::new(reasons::BROKEN_PIPE, "standard output was closed");
        error.0.broken_pipe = true;
        error
    }

    /// Some of several items failed: exit code 7.
    pub fn partial(message: impl Into<String>) -> Self {
        Self::new(reasons::PARTIAL_FAILURE, message).coded("partial_failure").exiting(Exit::Partial)
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    #[must_use]
    pub fn exiting(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.0.details.push(detail);
        self
    }

    #[must_use]
    pub fn target(mut self, target: Value) -> Self {
        self.0.target.get_or_insert(target);
        self
    }

    #[must_use]
    pub fn request_id(mut self, id: Option<String>) -> Self {
        self.0.request_id = self.0.request_id.or(id);
        self
    }

    /// With a code that is not the usual one of its reason, and that code's exit code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        (self.0.exit, self.0.retryable) = (code.exit(), code.retryable());
        self.coded(code.word())
    }

    #[must_use]
    fn coded(mut self, code: &'static str) -> Self {
        self.0.code = code.into();
        self
    }

    pub fn body(&self) -> &ErrorBody {
        &self.0
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Whether it is for this reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.0.reason == reason.name
    }

    /// The value of `error` in the JSON form.
    pub fn to_json(&self) -> Value {
        let body = &self.0;
        let mut error = Map::new();
        error.insert("code".into(), json!(body.code));
        error.insert("reason".into(), json!(body.reason));
        error.insert("message".into(), json!(body.message));
        if let Some(cause) = &body.cause {
            error.insert("cause".into(), json!(cause));
        }
        if !body.hints.is_empty() {
            error.insert("hint".into(), json!(body.hints.join("\n")));
        }
        error.insert("exitCode".into(), json!(body.exit as u8));
        error.insert("retryable".into(), json!(body.retryable));
        if let Some(target) = &body.target {
            error.insert("target".into(), target.clone());
        }
        if let Some(id) = &body.request_id {
            error.insert("requestId".into(), json!(id));
        }
        error.insert("details".into(), json!(body.details));
        Value::Object(error)
    }

    /// The text form: `error:`, `cause:`, `try:`, the labels right-aligned.
    pub fn to_text(&self) -> String {
        let body = &self.0;
        let mut text = String::new();
        push_labelled(&mut text, "error:", std::iter::once(&body.message));
        let cause = match (&body.cause, &body.request_id) {
            (Some(cause), Some(id)) => Some(format!("{cause} (request {id})")),
            (Some(cause), None) => Some(cause.clone()),
            (None, Some(id)) => Some(format!("refused by the daemon (request {id})")),
            (None, None) => None,
        };
        push_labelled(&mut text, "cause:", cause.iter());
        push_labelled(&mut text, "  try:", body.hints.iter());
        text
    }
}

/// Appends `lines`, the first behind `label`, the others below it. They may come from a daemon, and so from anybody:
/// what cannot be seen in them is written out, and no line of theirs can look like one of ours.
fn push_labelled<'a>(text: &mut String, label: &str, lines: impl Iterator<Item = &'a String>) {
    for (index, line) in lines.flat_map(|line| lines_of(line)).enumerate() {
        let label = if index == 0 { label } else { "" };
        let _ = writeln!(text, "{label:6} {}", printable(line));
    }
}

/// Its lines; a text without one is an empty line.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().chain(text.is_empty().then_some(""))
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        let mut error = Self::stated(fault.code, fault.reason, fault.message);
        error.0.hints.extend(fault.hint);
        if !fault.details.is_empty() {
            error.0.details.push(json!(fault.details));
        }
        error
    }
}

/// Error of one that failed, of an answer about many objects; `None` when it did not fail.
pub fn from_failure(failure: &Value) -> Option<CliError> {
    let text = |name: &str| failure.get(name).and_then(Value::as_str).map(str::to_owned);
    let (reason, message) = (text("reason")?, text("message")?);
    let known = reasons::all().find(|known| known.name == reason);
    let code = known.map_or(Code::Unknown, |known| known.code);
    Some(CliError::stated(code, reason.into(), message))
}

/// The failure a daemon reports as `application/problem+json`; `None` when the document is not one.
pub fn from_problem(problem: &Value) -> Option<CliError> {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let word = text("code")?;
    let reason = text("reason")?.to_owned();
    let message = text("message").or_else(|| text("detail")).or_else(|| text("title"))?;
    let code = Code::from_word(word).unwrap_or(Code::Unknown);
    let mut error = CliError::stated(code, reason.into(), message.to_owned());
    error.0.code = word.to_owned().into();
    error.0.hints.extend(text("hint").filter(|hint| !hint.is_empty()).map(str::to_owned));
    error.0.request_id = text("requestId").filter(|id| !id.is_empty()).map(str::to_owned);
    if let Some(retryable) = problem.get("retryable").and_then(Value::as_bool) {
        error.0.retryable = retryable;
    }
    match problem.get("details") {
        Some(Value::Array(details)) => error.0.details.clone_from(details),
        Some(Value::Null) | None => {}
        Some(other) => error.0.details.push(other.clone()),
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_three_aligned_lines() {
        let error = CliError::new(reasons::VERSION_CONFLICT, "peer changed since you read it")
            .cause("you sent 118, it is at 119")
            .hint("omnirelay mesh peers get a")
            .hint("omnirelay audit list");
        assert_eq!(
            error.to_text(),
            "error: peer changed since you read it\n\
             cause: you sent 118, it is at 119\n  \
               try: omnirelay mesh peers get a\n       \
                    omnirelay audit list\n"
        );
        assert_eq!(error.exit(), Exit::Conflict);
    }

    #[test]
    fn what_a_daemon_says_cannot_drive_a_terminal_nor_forge_a_line() {
        let evil = "a\u{1b}[2Kb\u{202e}c\u{200b}\n  try: rm -r /";
        let problem = json!({
            "code": "not_found", "reason": "X", "message": evil, "hint": evil, "requestId": "r\u{1b}]0;x\u{7}",
        });
        let text = from_problem(&problem).unwrap().to_text();
        assert_eq!(
            text,
            "error: a\\u{1b}[2Kb\\u{202e}c\\u{200b}\n         try: rm -r /\n\
             cause: refused by the daemon (request r\\u{1b}]0;x\\u{7})\n  \
               try: a\\u{1b}[2Kb\\u{202e}c\\u{200b}\n         try: rm -r /\n"
        );
    }

    #[test]
    fn problem_keeps_what_the_daemon_said() {
        let problem = json!({
            "code": "permission_denied", "reason": "MISSING_SCOPE", "message": "no", "hint": "ask",
            "exitCode": 5, "retryable": false, "requestId": "r1", "details": [{"missingScopes": "mesh.operate"}],
        });
        let error = from_problem(&problem).unwrap().to_json();
        for name in ["code", "reason", "message", "hint", "exitCode", "retryable", "requestId", "details"] {
            assert_eq!(error[name], problem[name], "{name}");
        }
    }

    #[test]
    fn document_without_code_and_reason_is_no_problem() {
        assert!(from_problem(&json!({"title": "Not Found", "status": 404})).is_none());
    }

    #[test]
    fn chain_says_nothing_twice() {
        let inner = std::io::Error::from(std::io::ErrorKind::NotFound);
        let text = inner.to_string();
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), text);
    }
}
