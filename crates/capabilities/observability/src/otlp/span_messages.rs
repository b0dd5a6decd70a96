//! Spans of calls as messages of OTLP.

use omnirelay_surface::{EndedSpan, SpanKind};

use super::messages as otlp;
use super::messages::{KeyValue, SpanKindCode, StatusCode};
use super::resource::{ExportedNode, scope, unix_nanos};

/// Request with spans.
pub(crate) fn traces_request(spans: Vec<EndedSpan>, node: &ExportedNode) -> otlp::TracesRequest {
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope()), spans }];
    otlp::TracesRequest {
        resource_spans: vec![otlp::ResourceSpans { resource: Some(node.resource()), scope_spans }],
    }
}

fn span(ended: EndedSpan) -> otlp::Span {
    let end_time_unix_nano = unix_nanos(ended.ended);
    let took = u64::try_from(ended.took.as_nanos()).unwrap_or(u64::MAX);
    let attributes = attributes(&ended);
    let kind = match ended.kind {
        SpanKind::Server => SpanKindCode::Server,
        SpanKind::Client => SpanKindCode::Client,
        SpanKind::Internal => SpanKindCode::Internal,
    };
    // Whoever serves says of a call that went well nothing: that is for whoever knows what was wanted.
    let status = ended.has_failed.then_some(otlp::Status { code: StatusCode::Error as i32 });
    otlp::Span {
        trace_id: ended.trace.bytes().to_vec(),
        span_id: ended.span.bytes().to_vec(),
        parent_span_id: ended.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        name: ended.name.trim_start_matches('/').to_owned(),
        kind: kind as i32,
        start_time_unix_nano: end_time_unix_nano.saturating_sub(took),
        end_time_unix_nano,
        attributes,
        status,
    }
}

/// What is said of a call; of other work its name says everything.
fn attributes(ended: &EndedSpan) -> Vec<KeyValue> {
    let Some((service, method)) = ended.name.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return Vec::new();
    };
    let mut attributes = vec![
        KeyValue::text("rpc.system", "grpc"),
        KeyValue::text("rpc.service", service),
        KeyValue::text("rpc.method", method),
    ];
    attributes
        .extend(ended.code.map(|code| KeyValue::number("rpc.grpc.status_code", i64::from(code as i32))));
    let principal = ended.principal.as_deref();
    attributes.extend(principal.map(|principal| KeyValue::text("omnirelay.principal", principal)));
    attributes
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use omnirelay_core::trace_context::{SpanId, TraceId};
    use tonic::Code;

    use super::*;

    fn ended(name: &'static str, kind: SpanKind, code: Option<Code>, has_failed: bool) -> EndedSpan {
        EndedSpan {
            trace: TraceId::of(1 << 120),
            span: SpanId::of(2),
            parent: None,
            name: name.into(),
            kind,
            ended: UNIX_EPOCH + Duration::from_millis(1500),
            took: Duration::from_millis(1),
            code,
            has_failed,
            principal: None,
        }
    }

    #[test]
    fn a_call_says_what_was_called_by_whom_and_how_it_ended() {
        let call = ended("/omnirelay.a.v1.PeerService/List", SpanKind::Server, Some(Code::Internal), true);
        let call = EndedSpan { parent: Some(SpanId::of(9)), principal: Some("operator:ann".into()), ..call };
        let sent = span(call);
        assert_eq!(
            (sent.trace_id.len(), sent.trace_id[0], sent.span_id.as_slice()),
            (16, 1, &[0, 0, 0, 0, 0, 0, 0, 2][..])
        );
        assert_eq!(sent.parent_span_id, [0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!((sent.name.as_str(), sent.kind), ("omnirelay.a.v1.PeerService/List", 2));
        assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (1_499_000_000, 1_500_000_000));
        assert_eq!(sent.status, Some(otlp::Status { code: 2 }));
        let said = [
            KeyValue::text("rpc.system", "grpc"),
            KeyValue::text("rpc.service", "omnirelay.a.v1.PeerService"),
            KeyValue::text("rpc.method", "List"),
            KeyValue::number("rpc.grpc.status_code", 13),
            KeyValue::text("omnirelay.principal", "operator:ann"),
        ];
        assert_eq!(sent.attributes, said);
    }

    #[test]
    fn other_work_is_its_name_and_what_went_well_has_no_status() {
        let sent = span(ended("store commit", SpanKind::Internal, None, false));
        assert_eq!((sent.name.as_str(), sent.kind, sent.status), ("store commit", 1, None));
        assert!(sent.attributes.is_empty() && sent.parent_span_id.is_empty());
        let sent = span(ended("/a.B/C", SpanKind::Client, None, true));
        assert_eq!((sent.kind, sent.attributes.len()), (3, 3), "nobody has answered");
    }
}
