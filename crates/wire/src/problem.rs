//! A fault as HTTP carries it: `application/problem+json` (RFC 9457) with our extensions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::{Code, Fault};

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Where the reasons are documented; the reason follows.
const TYPE_BASE: &str = "https://omnirelay.dev/errors/";

/// A fault with what only HTTP says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status; a refusal of HTTP's own (405, 413, 415) differs from the code's.
    pub status: u16,
    pub fault: Fault,
    /// Empty when the request never got one.
    pub request_id: String,
}

/// Document of a problem, as JSON has it. Fields of later versions are ignored when it is read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    title: Cow<'a, str>,
    status: u16,
    detail: Cow<'a, str>,
    code: Cow<'a, str>,
    reason: Cow<'a, str>,
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'a, str>>,
    exit_code: u8,
    retryable: bool,
    #[serde(default)]
    request_id: Cow<'a, str>,
    #[serde(default)]
    details: Vec<BTreeMap<String, String>>,
}

impl Problem {
    /// The problem a fault is, with the status its code has.
    pub fn new(fault: Fault, request_id: impl Into<String>) -> Self {
        Self { status: fault.code.http(), fault, request_id: request_id.into() }
    }

    /// Writes the document, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        let fault = &self.fault;
        let document = ProblemDocument {
            kind: Cow::Owned(format!("{TYPE_BASE}{}", fault.reason)),
            title: Cow::Owned(title(fault.code)),
            status: self.status,
            detail: Cow::Borrowed(&fault.message),
            code: Cow::Borrowed(fault.code.word()),
            reason: Cow::Borrowed(&fault.reason),
            message: Cow::Borrowed(&fault.message),
            hint: fault.hint.as_deref().map(Cow::Borrowed),
            exit_code: fault.exit() as u8,
            retryable: fault.code.retryable(),
            request_id: Cow::Borrowed(&self.request_id),
            details: if fault.details.is_empty() { Vec::new() } else { vec![fault.details.clone()] },
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// Reads a document this daemon or a later one wrote; `None` when it is something else.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let document: ProblemDocument<'_> = serde_json::from_slice(json).ok()?;
        let fault = Fault {
            code: Code::from_word(&document.code).unwrap_or(Code::Unknown),
            reason: Cow::Owned(document.reason.into_owned()),
            message: document.message.into_owned(),
            hint: document.hint.map(Cow::into_owned),
            details: document.details.into_iter().flatten().collect(),
            why: None,
        };
        Some(Self { status: document.status, fault, request_id: document.request_id.into_owned() })
    }
}

impl Fault {
    /// The fault in a problem document, `None` when it is no such document.
    pub fn from_problem(json: &[u8]) -> Option<Self> {
        Problem::parse(json).map(|problem| problem.fault)
    }
}

/// The code in words, the same for every fault of the code.
fn title(code: Code) -> String {
    let mut words = code.word().replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reasons;

    #[test]
    fn a_fault_survives_the_document() {
        let fault = Fault::new(reasons::VERSION_CONFLICT, "peer `a` has changed")
            .hint("read it again")
            .detail("currentVersion", 7);
        let problem = Problem::new(fault.clone(), "r-1");
        let json = problem.to_json();
        assert_eq!(Problem::parse(&json), Some(problem));
        assert_eq!(Fault::from_problem(&json), Some(fault));
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains(r#""type":"https://omnirelay.dev/errors/VERSION_CONFLICT","title":"Aborted""#));
        assert!(text.contains(r#""exitCode":4,"retryable":false"#), "{text}");
    }

    #[test]
    fn every_refusal_says_the_status_that_it_has() {
        for reason in reasons::all() {
            let problem = Problem::new(Fault::new(*reason, "so"), "r-1");
            let told: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
            assert_eq!(
                (&told["status"], problem.status),
                (&reason.code.http().into(), reason.code.http()),
                "{}",
                reason.name
            );
        }
    }

    #[test]
    fn other_json_is_no_problem_document() {
        for json in [&b"{}"[..], b"[]", b"not json", br#"{"code":"not_found"}"#] {
            assert_eq!(Problem::parse(json), None);
        }
    }
}
