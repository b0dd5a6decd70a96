//! Lines that are posted to an HTTP server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

use super::envelope::Item;
use super::queue::Bounds;
use super::worker::{WriteError, Writer};
use crate::daemon::registry::follow::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// About the most bytes of frames in one request.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Posts batches of lines.
pub(super) struct HttpWriter {
    http: Client,
    url: Url,
    batch_frames: usize,
}

impl HttpWriter {
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn open(url: Url, timeout: Duration, batch_frames: usize) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            // Telemetry goes to the host that was named, and to no other.
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("omnirelayd/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, url, batch_frames: batch_frames.max(1) })
    }

    async fn post(&self, lines: Vec<u8>) -> Result<(), WriteError> {
        let request =
            self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/x-ndjson").body(lines);
        // The address may hold what others must not see.
        let failed = |error: reqwest::Error| WriteError::Failed(chain(&error.without_url()));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        // A little of the answer is read so that the connection can be used again; the timeout is over all of it.
        let _ = response.chunk().await;
        outcome(status)
    }
}

/// What an answer means for what was posted.
fn outcome(status: StatusCode) -> Result<(), WriteError> {
    let what = format!("the server answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(WriteError::Failed(what)),
        status if status.is_client_error() => Err(WriteError::Refused(what)),
        _ => Err(WriteError::Failed(what)),
    }
}

#[async_trait]
impl Writer for HttpWriter {
    fn bounds(&self) -> Bounds {
        Bounds { frames: self.batch_frames, bytes: BYTES_MAX }
    }

    async fn write(&mut self, items: &[Arc<Item>]) -> Result<(), WriteError> {
        let lines: Vec<&[u8]> = items.iter().flat_map(|item| item.lines().with_breaks()).collect();
        // More than one request only for a batch that is larger by itself.
        for lines in lines.chunks(self.batch_frames) {
            self.post(lines.concat()).await?;
        }
        Ok(())
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
        assert!([302, 408, 429, 500, 502, 503, 504].into_iter().all(failed));
        assert!([400, 401, 403, 404, 413, 422].into_iter().all(refused));
    }
}
