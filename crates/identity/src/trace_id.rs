//! Trace id of a call, as its caller sends it: W3C Trace Context, the header `traceparent`.

use std::fmt;

use http::HeaderMap;
use omnirelay_core::text::{from_hex, hex};

/// Header in which a caller says the trace that a call is of: `VERSION-TRACE-SPAN-FLAGS` in hexadecimal.
const TRACEPARENT: &str = "traceparent";
/// Length of the header in version 00, in bytes; later versions may say more behind a hyphen.
const LENGTH: usize = 55;

/// Trace of a caller: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The trace that the caller says; `None`: it says none, or what is no `traceparent`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(TRACEPARENT).iter();
        let (one, None) = (said.next()?, said.next()) else { return None };
        parse(one.as_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

fn parse(said: &[u8]) -> Option<TraceId> {
    let (head, rest) = said.split_at_checked(LENGTH)?;
    let head =
        str::from_utf8(head).ok().filter(|head| !head.bytes().any(|byte| byte.is_ascii_uppercase()))?;
    let mut parts = head.split('-');
    let (version, trace) = (from_hex(parts.next()?)?, from_hex(parts.next()?)?);
    let (span, _flags) = (from_hex::<8>(parts.next()?)?, from_hex::<1>(parts.next()?)?);
    let goes_on = match version {
        [0xff] => false,
        [0] => rest.is_empty(),
        [_] => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    (goes_on && trace != [0; 16] && span != [0; 8]).then_some(TraceId(trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn said(text: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, text.parse().unwrap());
        TraceId::of(&headers).map(|trace| trace.to_string())
    }

    #[test]
    fn the_trace_of_a_caller_is_that_of_its_header() {
        for text in [format!("00-{TRACE}-{SPAN}-01"), format!("01-{TRACE}-{SPAN}-00-more")] {
            assert_eq!(said(&text).as_deref(), Some(TRACE), "{text}");
        }
        let zeros = "0".repeat(32);
        assert_eq!(said(&format!("00-{}1-{SPAN}-01", &zeros[1..])), Some(format!("{}1", &zeros[1..])));
    }

    #[test]
    fn what_is_no_trace_is_none() {
        let zeros = "0".repeat(32);
        let others = [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-0g"),
            "\u{e9}".repeat(40),
        ];
        for text in others {
            assert_eq!(said(&text), None, "{text}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(TRACEPARENT, format!("00-{TRACE}-{SPAN}-01").parse().unwrap());
        }
        assert_eq!(TraceId::of(&twice), None, "which of them?");
    }
}
