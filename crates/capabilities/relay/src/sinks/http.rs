//! Lines that are posted to an HTTP server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http_body_util::BodyExt as _;
use omnirelay_core::text::chain;
use omnirelay_identity::client::LiveTlsClient;
use omnirelay_identity::connector::{LiveHttpClient, PostError};
use omnirelay_identity::retry_after::asked_to_wait;
use reqwest::Url;

use super::envelope::SinkBatch;
use super::queue::WriteBounds;
use super::worker::{SinkWriter, WriteError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// About the most bytes of frames in one request.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Posts batches of lines.
pub(super) struct HttpWriter {
    http: LiveHttpClient,
    url: Url,
    timeout: Duration,
    batch_frames: usize,
    /// How many requests with lines of the batches that failed last were taken before.
    posted: usize,
    /// How long the server has asked to be left alone.
    asked_to_wait: Option<Duration>,
}

impl HttpWriter {
    pub(super) fn open(url: Url, tls: Arc<LiveTlsClient>, timeout: Duration, batch_frames: usize) -> Self {
        let http = LiveHttpClient::new(tls, CONNECT_TIMEOUT.min(timeout));
        let batch_frames = batch_frames.max(1);
        Self { http, url, timeout, batch_frames, posted: 0, asked_to_wait: None }
    }

    async fn post(&mut self, lines: Vec<u8>) -> Result<(), WriteError> {
        let exchanged = tokio::time::timeout(self.timeout, async {
            let response = self.http.post(&self.url, "application/x-ndjson", lines).await?;
            let (head, mut body) = response.into_parts();
            // A little of the answer is read so that the connection can be used again.
            let _ = body.frame().await;
            Ok::<_, PostError>(head)
        });
        let late =
            || WriteError::Failed(format!("the request timed out after {} ms", self.timeout.as_millis()));
        let head = exchanged.await.map_err(|_| late())?;
        let head = head.map_err(|error| WriteError::Failed(chain(&error)))?;
        self.asked_to_wait = asked_to_wait(&head.headers);
        outcome(head.status)
    }
}

/// What an answer means for what was posted.
fn outcome(status: StatusCode) -> Result<(), WriteError> {
    let what = format!("the server answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        // Whatever else a server says may pass: it is being set up anew, or does not know its clients yet.
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(WriteError::Refused(what)),
        _ => Err(WriteError::Failed(what)),
    }
}

#[async_trait]
impl SinkWriter for HttpWriter {
    fn bounds(&self) -> WriteBounds {
        WriteBounds { frames: self.batch_frames, bytes: BYTES_MAX }
    }

    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError> {
        let lines: Vec<&[u8]> = items.iter().flat_map(|item| item.lines().with_breaks()).collect();
        self.asked_to_wait = None;
        // More than one request only for a batch that is larger by itself; what the server has of it is not sent again.
        for lines in lines.chunks(self.batch_frames).skip(self.posted) {
            match self.post(lines.concat()).await {
                Ok(()) => self.posted += 1,
                Err(error) => {
                    if matches!(error, WriteError::Refused(_)) {
                        self.posted = 0;
                    }
                    return Err(error);
                }
            }
        }
        self.posted = 0;
        Ok(())
    }

    fn forget(&mut self) {
        self.posted = 0;
    }

    fn may_take(&self, items: &[Arc<SinkBatch>]) -> Duration {
        let frames: usize = items.iter().map(|item| item.frames()).sum();
        let requests = frames.div_ceil(self.batch_frames).saturating_sub(self.posted);
        self.timeout * u32::try_from(requests).unwrap_or(u32::MAX)
    }

    fn asked_to_wait(&self) -> Option<Duration> {
        self.asked_to_wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_succeed_later_is_tried_again() {
        let failed =
            |code: u16| matches!(outcome(StatusCode::from_u16(code).unwrap()), Err(WriteError::Failed(_)));
        let refused =
            |code: u16| matches!(outcome(StatusCode::from_u16(code).unwrap()), Err(WriteError::Refused(_)));
        for code in [200, 201, 202, 204] {
            assert!(outcome(StatusCode::from_u16(code).unwrap()).is_ok(), "{code}");
        }
        let passing = [302, 401, 403, 404, 405, 407, 408, 409, 410, 421, 425, 429, 451, 500, 502, 503, 504];
        assert!(passing.into_iter().all(failed));
        assert!([400, 413, 415, 422].into_iter().all(refused));
    }
}
