//! The collector: one post of one request, and what its answer means.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use omnirelay_core::text::chain;
use omnirelay_identity::client::ExpectedServers;
use omnirelay_identity::connector::{LiveHttpClient, PostError};
use omnirelay_identity::retry_after::asked_to_wait;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::OtlpConfig;
use prost::Message as _;
use reqwest::Url;
use tokio::io::AsyncReadExt as _;

use super::export_metrics::ExportedKind;
use super::messages::ExportResponse;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The most of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The most of what a collector says that is told, in characters.
const SAID_MAX: usize = 200;
/// The largest file of headers, in bytes.
const HEADERS_BYTES_MAX: u64 = 16 * 1024;

/// Outcome of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PostOutcome {
    /// All of it was taken but so much, about which the collector says this.
    Taken { rejected: u64, said: String },
    /// It will not be taken, why ever it is posted.
    Refused(String),
    /// It may be taken later, at the earliest after what the collector asks for.
    Failed { why: String, wait: Option<Duration> },
}

/// Collector of the settings, as they are at one time. Connections to it are used again.
pub(super) struct Collector {
    http: LiveHttpClient,
    endpoint: Url,
    headers_file: Option<PathBuf>,
    timeout: Duration,
}

/// Reason why a post was not answered.
#[derive(Debug, thiserror::Error)]
enum CollectorError {
    #[error("cannot read the file of `otlp.headersFile`")]
    Headers(#[source] io::Error),
    #[error(transparent)]
    Post(#[from] PostError),
}

impl Collector {
    /// `None`: the settings name none.
    pub(super) fn of(settings: &OtlpConfig, trust: &Arc<MeshTrust>) -> Option<Self> {
        let endpoint = settings.collector().ok().flatten()?;
        let (timeout, headers_file) = (settings.timeout.0, settings.headers_file.clone());
        let tls = settings.tls.client(ExpectedServers::NodesAndServices, trust);
        let http = LiveHttpClient::new(tls, CONNECT_WITHIN.min(timeout));
        Some(Self { http, endpoint, headers_file, timeout })
    }

    /// Posts a request, within the time that is set.
    pub(super) async fn post(&self, kind: ExportedKind, body: Bytes) -> PostOutcome {
        let posted = tokio::time::timeout(self.timeout, self.exchange(&self.address(kind), body)).await;
        match posted {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => PostOutcome::Failed { why: chain(&error), wait: None },
            Err(_) => {
                let why = format!("no answer within {} ms", self.timeout.as_millis());
                PostOutcome::Failed { why, wait: None }
            }
        }
    }

    async fn exchange(&self, address: &Url, body: Bytes) -> Result<PostOutcome, CollectorError> {
        let headers = match &self.headers_file {
            Some(path) => read_headers(path).await.map_err(CollectorError::Headers)?,
            None => HeaderMap::new(),
        };
        let answer = self.http.post_with(address, "application/x-protobuf", headers, body).await?;
        let (head, body) = answer.into_parts();
        // One that is longer, or not whole, says nothing more; what counts is its head.
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(outcome(head.status, &head.headers, &body))
    }

    fn address(&self, kind: ExportedKind) -> Url {
        let below = match kind {
            ExportedKind::Metrics => "v1/metrics",
            ExportedKind::Spans => "v1/traces",
        };
        let mut address = self.endpoint.clone();
        address.set_path(&format!("{}/{below}", self.endpoint.path().trim_end_matches('/')));
        address
    }
}

/// What an answer means for what was posted.
fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> PostOutcome {
    let why = format!("the collector answered {status}");
    match status {
        status if status.is_success() => {
            // Somebody else answers who is asked for a page.
            let Ok(answer) = ExportResponse::decode(body) else {
                return PostOutcome::Refused(format!("{why}, and what it says is no answer of OTLP"));
            };
            let partial = answer.partial_success.unwrap_or_default();
            let rejected = u64::try_from(partial.rejected).unwrap_or_default();
            PostOutcome::Taken { rejected, said: partial.error_message.chars().take(SAID_MAX).collect() }
        }
        // These alone are to be sent again, as OTLP says.
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => PostOutcome::Failed { why, wait: asked_to_wait(headers) },
        _ => PostOutcome::Refused(why),
    }
}

async fn read_headers(path: &Path) -> io::Result<HeaderMap> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(HEADERS_BYTES_MAX + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > HEADERS_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {HEADERS_BYTES_MAX} bytes")));
    }
    headers_of(&text)
}

/// Headers, one a line; lines that are empty or begin with `#` are none. What is wrong is told without what stands there.
fn headers_of(text: &str) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let Some((name, value)) = header else {
            return Err(io::Error::other(format!("line {number} is no header: write `name: value`")));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::super::messages::PartialSuccess;
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn only_what_otlp_names_is_sent_again() {
        let failed =
            |code| matches!(outcome(status(code), &HeaderMap::new(), b""), PostOutcome::Failed { .. });
        let refused = |code| matches!(outcome(status(code), &HeaderMap::new(), b""), PostOutcome::Refused(_));
        assert!([429, 502, 503, 504].into_iter().all(failed));
        assert!([301, 400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 501].into_iter().all(refused));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "3600".parse().unwrap())]);
        let PostOutcome::Failed { wait, .. } = outcome(status(503), &headers, b"") else {
            panic!("it may pass")
        };
        assert_eq!(wait, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_a_collector_rejects_of_a_request_is_known() {
        let partial = PartialSuccess { rejected: 3, error_message: "x".repeat(300) };
        let answer = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
        let said = "x".repeat(200);
        assert_eq!(
            outcome(status(200), &HeaderMap::new(), &answer),
            PostOutcome::Taken { rejected: 3, said }
        );
        let taken = PostOutcome::Taken { rejected: 0, said: String::new() };
        assert_eq!(outcome(status(202), &HeaderMap::new(), b""), taken);
        for page in [&b"{}"[..], b"<html>"] {
            let found = outcome(status(200), &HeaderMap::new(), page);
            assert!(matches!(found, PostOutcome::Refused(_)), "{found:?}");
        }
    }

    #[test]
    fn headers_are_read_a_line_each_and_their_errors_hold_no_secret() {
        let headers =
            headers_of("# of the collector\n\nAuthorization: Bearer a:b\r\nx-scope : one\n").unwrap();
        assert_eq!(
            (headers["authorization"].as_bytes(), headers["x-scope"].as_bytes()),
            (&b"Bearer a:b"[..], &b"one"[..])
        );
        assert!(headers["authorization"].is_sensitive());
        for wrong in ["a: b\nsecret", "a: b\nse cret: x", "a: b\nx: secr\u{1}et"] {
            let error = headers_of(wrong).unwrap_err().to_string();
            assert_eq!(error, "line 2 is no header: write `name: value`");
        }
    }

    #[test]
    fn requests_go_below_the_endpoint() {
        for (endpoint, address) in [
            ("http://a:4318", "http://a:4318/v1/metrics"),
            ("http://a:4318/", "http://a:4318/v1/metrics"),
            ("https://a/in/otlp", "https://a/in/otlp/v1/metrics"),
        ] {
            let settings = OtlpConfig { endpoint: Some(endpoint.to_owned()), ..OtlpConfig::default() };
            let collector = Collector::of(&settings, &Arc::default()).unwrap();
            assert_eq!(collector.address(ExportedKind::Metrics).as_str(), address);
        }
        assert!(Collector::of(&OtlpConfig::default(), &Arc::default()).is_none());
    }
}
