//! Server of the metrics of a probe.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::frame::prelude::*;

/// How many connections there are at most.
const CONNECTIONS_MAX: usize = 16;
/// How long a head of a request may take, and its answer.
const HEAD_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// Serves text at `/metrics`, until it is dropped.
pub(super) struct MetricsServer {
    address: SocketAddr,
    text: watch::Sender<Bytes>,
    accepting: AbortHandle,
}

impl MetricsServer {
    /// # Errors
    /// When nothing can listen at this address.
    pub(super) async fn listen(address: SocketAddr) -> Result<Self, CliError> {
        let cannot = |error| CliError::local(reasons::LISTEN, format!("cannot listen at {address}"), &error);
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let (text, shown) = watch::channel(Bytes::new());
        let accepting = tokio::spawn(accept(listener, shown)).abort_handle();
        Ok(Self { address, text, accepting })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves this from now on.
    pub(super) fn show(&self, text: String) {
        self.text.send_replace(text.into());
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, text: watch::Receiver<Bytes>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = text.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &text);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever reads slowly is cut off, and an error is the other side's.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, text: &watch::Receiver<Bytes>) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match request.uri().path() {
        "/metrics" | "/healthz" if !is_read => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        "/metrics" => (StatusCode::OK, text.borrow().clone()),
        "/healthz" => (StatusCode::OK, Bytes::from_static(b"ok\n")),
        _ => (StatusCode::NOT_FOUND, Bytes::from_static(b"metrics are at /metrics\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
