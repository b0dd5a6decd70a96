//! Trace of a caller: the context that it sends in the header `traceparent`.

use http::{HeaderMap, HeaderName};
use omnirelay_core::trace_context::TraceContext;

/// Header in which a caller says the trace that a call is of.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The context that the caller says; `None`: it says none, several, or what is none.
pub(crate) fn caller_trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let (one, None) = (said.next()?, said.next()) else { return None };
    TraceContext::parse(one.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_of_a_caller_is_that_of_its_one_header() {
        let said = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(caller_trace(&headers), None);
        headers.append(TRACEPARENT, said.parse().unwrap());
        assert_eq!(caller_trace(&headers).map(|context| context.to_string()).as_deref(), Some(said));
        headers.append(TRACEPARENT, said.parse().unwrap());
        assert_eq!(caller_trace(&headers), None, "which of them?");
    }
}
