//! The HTTP port of a relay: metrics and health, for whoever watches it.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// More connections than this are closed as they come: probes and scrapers are few.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take to send a head, and how long an idle connection is kept.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long any connection is kept: one that does not read its answer holds its place no longer.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// The longest head, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves these routes on HTTP/1.1 until it is dropped.
pub async fn serve_probes(listener: TcpListener, routes: Router) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= CONNECTIONS_MAX => {}
            Ok((stream, _)) => drop(connections.spawn(connection(stream, routes.clone()))),
            Err(error) => {
                tracing::debug!(%error, "cannot accept probes");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // How a probe ends is nobody's concern.
    let _ = tokio::time::timeout(CONNECTION_AGE_MAX, served).await;
}
