//! Server of the metrics of a probe.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::frame::local_server::{LocalServer, ServerLimits};
use crate::frame::prelude::*;

const LIMITS: ServerLimits = ServerLimits { connections_max: 16, connection_time: Duration::from_secs(300) };

/// Serves text at `/metrics`, until it is dropped.
pub(super) struct MetricsServer {
    server: LocalServer,
    text: watch::Sender<Bytes>,
}

impl MetricsServer {
    /// # Errors
    /// When nothing can listen at this address.
    pub(super) async fn listen(address: SocketAddr) -> Result<Self, CliError> {
        let (text, shown) = watch::channel(Bytes::new());
        let answered = move |request: Request<Incoming>| std::future::ready(answer(&request, &shown));
        Ok(Self { server: LocalServer::listen(address, LIMITS, answered).await?, text })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves this from now on.
    pub(super) fn show(&self, text: String) {
        self.text.send_replace(text.into());
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
