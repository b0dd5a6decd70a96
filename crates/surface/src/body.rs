//! Reads the JSON body of a request, never more of it than is allowed.

use std::io::{self, Read as _};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use omnirelay_core::text::chain;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use serde_json::Value;
use tonic::body::Body;

use super::answer::HttpRefusal;
use super::distinct::DistinctKeys;
use super::in_flight::InFlightShare;
use super::shape::shortened;

/// Reads and parses a body; `None` when there is none.
///
/// # Errors
/// 413 beyond `bytes_max` (before decompression and after), without reading on; 429 when all calls together
/// hold too much; 415 for anything but JSON,
/// plain or with gzip; 400 naming line and column for what is no JSON,
/// or has a key twice.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    share: &InFlightShare,
) -> Result<Option<Value>, HttpRefusal> {
    if body.is_end_stream() {
        return Ok(None);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    check_type(headers)?;
    let zipped = is_gzip(headers)?;
    let bytes = read(body, bytes_max, share).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = if zipped { gunzip(&bytes, bytes_max)? } else { bytes };
    share.cover(bytes.len())?;
    match serde_json::from_slice(&bytes) {
        Ok(DistinctKeys(value)) => Ok(Some(value)),
        Err(error) => Err(malformed(&error)),
    }
}

async fn read(mut body: Body, bytes_max: usize, share: &InFlightShare) -> Result<Bytes, HttpRefusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|status| cut_off(&status))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        share.cover(whole.len() + data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Why a body ended too early: its client is gone, unless what came is no body.
fn cut_off(status: &tonic::Status) -> Fault {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            let message = "the body cannot be read: its chunks are malformed";
            return Fault::new(reasons::MALFORMED_BODY, message)
                .hint("send it with a content-length, or in chunks as RFC 9112 has them");
        }
        source = error.source();
    }
    Fault::new(reasons::BODY_INCOMPLETE, "the connection ended inside the body")
}

/// What is no JSON is refused, not guessed at: it is also what a page of another origin may send unasked.
fn check_type(headers: &HeaderMap) -> Result<(), HttpRefusal> {
    let given = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || (media.starts_with("application/") && media.ends_with("+json")) {
        return Ok(());
    }
    let given = if given.is_empty() { "none".to_owned() } else { format!("`{}`", shortened(given)) };
    Err(unsupported(format!("the body must be application/json; its content-type is {given}")))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, HttpRefusal> {
    let given = headers.get(CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or("?"));
    match given.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => Err(unsupported(format!("content-encoding `{}` is not taken; gzip is", shortened(other)))),
    }
}

pub(super) fn gunzip(bytes: &[u8], bytes_max: usize) -> Result<Bytes, HttpRefusal> {
    let mut whole = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut whole)
        .map_err(|_| Fault::new(reasons::MALFORMED_GZIP, "the body is not gzip, or is cut off"))?;
    if whole.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(whole.into())
}

fn malformed(error: &serde_json::Error) -> HttpRefusal {
    // The parser's own words end with the position, which is said first here.
    let text = chain(&error);
    let what = text.split(" at line ").next().unwrap_or_default();
    let (line, column) = (error.line(), error.column());
    let body = if error.is_data() { "the body is ambiguous" } else { "the body is no JSON" };
    Fault::new(reasons::MALFORMED_JSON, format!("{body}: line {line}, column {column}: {what}"))
        .detail("line", line)
        .detail("column", column)
        .into()
}

fn unsupported(message: String) -> HttpRefusal {
    HttpRefusal::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, reasons::UNSUPPORTED_MEDIA_TYPE, message)
}

fn too_large(bytes_max: usize) -> HttpRefusal {
    HttpRefusal::with(
        StatusCode::PAYLOAD_TOO_LARGE,
        reasons::BODY_TOO_LARGE,
        format!("the body is larger than the {bytes_max} bytes this route takes"),
    )
}
