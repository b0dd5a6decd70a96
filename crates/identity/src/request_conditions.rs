//! Request conditions: what the headers of a call ask of the operation itself.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use omnirelay_host::chance::random_secret;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use crate::caller::{IfMatch, KEY_BYTES_MAX};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest `If-None-Match` taken from a caller, in bytes.
const ETAGS_BYTES_MAX: usize = 1024;

/// Conditions that the caller's headers put to the operation, checked.
pub struct RequestConditions {
    pub idempotency_key: Option<String>,
    pub if_match: Option<IfMatch>,
    pub if_none_match: Option<String>,
}

impl RequestConditions {
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Fault> {
        Ok(Self {
            idempotency_key: idempotency_key(headers)?,
            if_match: if_match(headers)?,
            if_none_match: if_none_match(headers)?,
        })
    }
}

/// A new idempotency key; `None` where the operating system has no chance to give.
pub fn generated_key() -> Option<String> {
    random_secret().ok().map(|secret| format!("auto-{secret}"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = only(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let bytes = value.as_bytes();
    if !(1..=KEY_BYTES_MAX).contains(&bytes.len()) {
        return Err(refused(
            "Idempotency-Key",
            format!("has {} characters; 1 to {KEY_BYTES_MAX} are allowed", bytes.len()),
        ));
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(refused("Idempotency-Key", "must be visible ASCII characters without spaces"));
    }
    Ok(value.to_str().ok().map(str::to_owned))
}

/// Takes `"12"`, `W/"12"`, `12` and `*`; what stands behind a `-` in an ETag is of what moves without a version.
fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Fault> {
    let Some(value) = only(headers, &http::header::IF_MATCH)? else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(IfMatch::Exists));
    }
    let tag = text.strip_prefix("W/").unwrap_or(text);
    let number = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    let number = number.split_once('-').map_or(number, |(version, _)| version);
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse() {
        Ok(version) if digits => Ok(Some(IfMatch::Version(version))),
        _ => {
            Err(refused("If-Match", "must be one version as the object's ETag has it, such as \"12\", or *"))
        }
    }
}

fn if_none_match(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = only(headers, &http::header::IF_NONE_MATCH)? else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= ETAGS_BYTES_MAX => Ok(Some(text.to_owned())),
        _ => Err(refused("If-None-Match", format!("must be at most {ETAGS_BYTES_MAX} visible characters"))),
    }
}

/// The header's only value.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Fault> {
    let Some(first) = headers.get(name) else { return Ok(None) };
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(refused(name.as_str(), "is given more than once"));
    }
    Ok(Some(first))
}

/// The fault of a header that says something unusable.
pub fn refused(header: &str, why: impl fmt::Display) -> Fault {
    Fault::new(reasons::INVALID_HEADER, format!("header `{header}` {why}")).detail("header", header)
}

#[cfg(test)]
#[path = "request_conditions_test.rs"]
mod tests;
