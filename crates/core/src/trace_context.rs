//! Trace context of a call, as W3C Trace Context writes it in `traceparent`: the trace that the call is of, and the span that it came from.

use std::fmt;

use crate::text::{from_hex, hex};

/// Length in version 00, in bytes; later versions may say more behind a hyphen.
const LENGTH: usize = 55;
/// Flag of a trace whose spans are recorded.
const SAMPLED: u8 = 1;

/// Id of a trace: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// Id of a span within its trace: 8 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The id of these 128 bits; zero is taken for 1.
    pub fn of(bits: u128) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether the trace is one of this share of all, 0 to 1. It follows from the id, so that whoever has the same share says the same.
    pub fn is_within(&self, share: f64) -> bool {
        // What is random of an id are its last 56 bits.
        let random = u128::from_be_bytes(self.0) & ((1 << 56) - 1);
        // As whole numbers: a fraction has not as many digits, and all are to be within 1.
        random < (share * (1_u64 << 56) as f64) as u128
    }
}

impl SpanId {
    /// The id of these 64 bits; zero is taken for 1.
    pub fn of(bits: u64) -> Self {
        Self(bits.max(1).to_be_bytes())
    }

    pub fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Trace context that a caller hands on. Its text is the `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: TraceId,
    /// The span that calls.
    pub span: SpanId,
    /// Whether the spans of the trace are recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The context that a `traceparent` says: `VERSION-TRACE-SPAN-FLAGS` in hexadecimal; `None`: it is none.
    pub fn parse(said: &[u8]) -> Option<Self> {
        let (head, rest) = said.split_at_checked(LENGTH)?;
        let head =
            str::from_utf8(head).ok().filter(|head| !head.bytes().any(|byte| byte.is_ascii_uppercase()))?;
        let mut parts = head.split('-');
        let (version, trace) = (from_hex(parts.next()?)?, from_hex(parts.next()?)?);
        let (span, [flags]) = (from_hex(parts.next()?)?, from_hex(parts.next()?)?);
        let goes_on = match version {
            [0xff] => false,
            [0] => rest.is_empty(),
            [_] => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let is_one = goes_on && trace != [0; 16] && span != [0; 8];
        let is_sampled = flags & SAMPLED == SAMPLED;
        is_one.then_some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn said(text: &str) -> Option<String> {
        TraceContext::parse(text.as_bytes()).map(|context| context.to_string())
    }

    #[test]
    fn a_context_is_read_and_written_as_it_was() {
        let written = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(said(&written), Some(written.clone()));
        assert_eq!(said(&format!("00-{TRACE}-{SPAN}-00")), Some(format!("00-{TRACE}-{SPAN}-00")));
        // Flags of later versions, and what they say more, are not handed on.
        assert_eq!(said(&format!("01-{TRACE}-{SPAN}-03-more")), Some(written));
        let zeros = "0".repeat(31);
        let least = format!("00-{zeros}1-{SPAN}-01");
        assert_eq!(said(&least), Some(least));
    }

    #[test]
    fn what_is_no_context_is_none() {
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
    }

    #[test]
    fn a_share_of_traces_is_that_share_and_is_the_same_for_all() {
        let ids = (0..1000_u128).map(|number| TraceId::of(number << 46 | 7));
        let within = |share| ids.clone().filter(|id| id.is_within(share)).count();
        assert_eq!([0.0, 0.25, 1.0].map(within), [0, 256, 1000]);
        assert!(!TraceId::of(u128::MAX).is_within(0.999) && TraceId::of(u128::MAX).is_within(1.0));
        assert_eq!((TraceId::of(0), SpanId::of(0)), (TraceId::of(1), SpanId::of(1)), "none is all zero");
    }
}
