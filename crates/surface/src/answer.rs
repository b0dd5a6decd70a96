//! HTTP answers: JSON, problems, and what every answer carries.

use std::io::Write as _;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use omnirelay_identity::caller::RequestId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::problem::{self, Problem};
use omnirelay_wire::reasons::Reason;

use super::accept::weight;
use super::in_flight::InFlight;
use super::pipeline::stamp;

/// Smaller answers are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A fault with the HTTP status that says it best.
#[derive(Debug)]
pub(super) struct HttpRefusal {
    pub status: StatusCode,
    pub fault: Fault,
}

impl From<Fault> for HttpRefusal {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(fault.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, fault }
    }
}

impl HttpRefusal {
    /// A refusal whose status says more than its code.
    pub(super) fn with(status: StatusCode, reason: Reason, message: String) -> Self {
        Self { status, fault: Fault::new(reason, message) }
    }

    /// The problem document this is.
    pub(super) fn answer(self, request_id: &RequestId) -> Response<Body> {
        let wait = self.fault.retried_after_seconds();
        let problem =
            Problem { status: self.status.as_u16(), fault: self.fault, request_id: request_id.to_string() };
        let mut response = Response::new(Body::from(problem.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        stamp(headers, request_id);
        response
    }
}

/// The `Allow` header of these verbs; `HEAD` follows `GET`.
pub(super) fn allow(verbs: &[http::Method]) -> HeaderValue {
    let mut words: Vec<_> = verbs.iter().map(http::Method::as_str).collect();
    if words.contains(&"GET") {
        words.push("HEAD");
    }
    words.push("OPTIONS");
    words.sort_unstable();
    words.dedup();
    HeaderValue::try_from(words.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
}

/// An answer in JSON, compressed when the caller takes it and it pays.
///
/// # Errors
/// `ResourceExhausted` when too much is in flight already.
pub(super) fn json(
    json: Bytes,
    request: &HeaderMap,
    mut headers: HeaderMap,
    in_flight: &InFlight,
) -> Result<Response<Body>, Fault> {
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    let mut bytes = json;
    if bytes.len() > GZIP_BYTES_MIN
        && weight(request, &ACCEPT_ENCODING, "gzip") > 0
        && let Ok(small) = gzip(&bytes)
    {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        bytes = small.into();
    }
    let mut response = Response::new(Body::from(in_flight.hold(bytes)?));
    *response.headers_mut() = headers;
    Ok(response)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // Lists compress to a tenth even at the fastest level, which is what an answer under way can afford.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
