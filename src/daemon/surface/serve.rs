//! The listener: connections of any HTTP version on one port, bounded, and drained at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::body::Body;

use super::preface::{self, Version};
use super::{PeerInfo, Surface};

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// More connections than this are closed as soon as they open. Too low: clients are turned away.
    pub connections_max: usize,
    /// How long a client may take to send the head of a request, and how long an idle HTTP/1.1
    /// connection is kept. Too low: slow links fail; too high: idle attackers hold connections.
    pub header_read_timeout: Duration,
    /// Streams one HTTP/2 connection may have open at a time.
    pub streams_max: u32,
    /// How long an HTTP/2 connection may be silent before it is probed, and then to answer.
    pub keepalive: Duration,
    /// How much of a stream is held for a client that does not read, and of a request's head, in bytes;
    /// at least 8192. Too high: clients that never read fill the memory.
    pub buffer_bytes_max: usize,
    /// How long running calls get to finish once the listener is told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            header_read_timeout: Duration::from_secs(15),
            streams_max: 1024,
            keepalive: Duration::from_secs(20),
            buffer_bytes_max: 32 * 1024,
            grace: Duration::from_secs(10),
        }
    }
}

/// How a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their calls outlasted the grace.
    pub cut: usize,
}

/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much one HTTP/2 stream may have on its way, in bytes: less slows large lists down.
const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;

/// Serves the surface on a listener until `shutdown` is ready, then drains it.
///
/// Draining ends streams at once and gives unary calls `limits.grace`. The surface is drained for all its
/// listeners; each must be told to stop.
pub async fn serve(
    listener: TcpListener,
    surface: Surface,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let servers = Arc::new(Servers::new(&limits));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut door = Door { starved: false };
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Some((stream, remote)) = door.admit(accepted, connections.len(), &limits).await else { continue };
        let watcher = graceful.watcher();
        let (servers, surface) = (Arc::clone(&servers), surface.clone());
        connections.spawn(connection(servers, surface, stream, remote, limits, watcher));
    }
    drop(listener);
    surface.drain();
    drain(graceful, connections, limits.grace).await
}

/// Decides on connections as they come.
struct Door {
    /// Whether the last try failed for want of descriptors or memory: it is said once, not twenty times a second.
    starved: bool,
}

impl Door {
    /// Turns a connection away when there are too many, and waits when none can be accepted.
    async fn admit(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        open: usize,
        limits: &Limits,
    ) -> Option<(TcpStream, SocketAddr)> {
        let error = match accepted {
            Ok(_) if open >= limits.connections_max => {
                tracing::debug!(open, "connection refused: too many are open");
                return None;
            }
            Ok(connection) => {
                self.starved = false;
                return Some(connection);
            }
            Err(error) => error,
        };
        // A client that went away before it was accepted is no trouble of ours.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return None;
        }
        if !self.starved {
            tracing::warn!(%error, open, "cannot accept connections");
        }
        self.starved = true;
        tokio::time::sleep(ACCEPT_PAUSE).await;
        None
    }
}

/// What speaks each version of HTTP.
struct Servers {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Servers {
    fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read_timeout)
            .max_buf_size(limits.buffer_bytes_max.max(8192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(limits.keepalive)
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(u32::try_from(limits.buffer_bytes_max).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BYTES_MAX);
        Self { http1, http2 }
    }
}

async fn connection(
    servers: Arc<Servers>,
    surface: Surface,
    stream: TcpStream,
    remote: SocketAddr,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small answers go out at once; an error here would only make them slower.
    let _ = stream.set_nodelay(true);
    let Some(version) = begun(&stream, &surface, limits.header_read_timeout).await else {
        tracing::debug!(%remote, "connection closed: it said too little to be HTTP");
        return;
    };
    let peer = Arc::new(PeerInfo { remote });
    let io = TokioIo::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (surface, peer) = (surface.clone(), Arc::clone(&peer));
        async move { Ok::<_, std::convert::Infallible>(surface.handle(request.map(Body::new), &peer).await) }
    });
    let outcome = match version {
        Version::Http1 => watcher.watch(servers.http1.serve_connection(io, service)).await,
        // Boxed so that connections of the other version do not keep room for it.
        Version::Http2 => Box::pin(watcher.watch(servers.http2.serve_connection(io, service))).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(%remote, error = &error as &dyn std::error::Error, "connection ended");
    }
}

/// The version a client speaks; `None` when it does not say in time, or the daemon stops meanwhile.
async fn begun(stream: &TcpStream, surface: &Surface, timeout: Duration) -> Option<Version> {
    tokio::select! {
        version = preface::version(stream) => version.ok().flatten(),
        () = surface.draining() => None,
        () = tokio::time::sleep(timeout) => None,
    }
}

async fn drain(graceful: GracefulShutdown, mut connections: JoinSet<()>, grace: Duration) -> Drained {
    let drained = tokio::time::timeout(grace, async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_ok() {
        return Drained { cut: 0 };
    }
    let cut = connections.len();
    tracing::warn!(cut, "calls outlasted the grace and were cut");
    connections.shutdown().await;
    Drained { cut }
}
