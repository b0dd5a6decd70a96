//! The listener: connections of any HTTP version on one port, bounded, and drained at the end.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use omnirelay_host::live::Live;
use omnirelay_host::log::{LogLimiter, LogTurn};
use omnirelay_identity::caller::PeerInfo;
use omnirelay_identity::handshake::{HandshakeError, HandshakeFailure};
use omnirelay_identity::handshake_budget::HandshakeAttempt;
use omnirelay_identity::tls::{ListenerTls, ShownCertificate, TlsClient};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::problem::{CONTENT_TYPE, Problem};
use omnirelay_wire::reasons;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::body::Body;

use super::Surface;
use super::head::{ConnectionTurns, HeadTimeout};
use super::leftover;
use super::places::{ConnectionPlace, ConnectionPlaces, host_of};
use super::preface::{self, HttpVersion, PeekStream};
use super::unread::{self, MeteredBody, UnreadPieces};

/// Limits of one listener. How many connections it may have and how long they get to finish may change while it listens; those that
/// are open stay so. The others hold as they were when it began.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// More connections than this are closed as soon as they open. Too low: clients are turned away.
    pub connections_max: usize,
    /// As [`Self::connections_max`], of one address other than those of the loopback interface; of IPv6, of one
    /// network of 64 bits. Too low: clients behind one gateway are turned away; too high: one host keeps all others out.
    pub per_address_max: usize,
    /// How long a client may take to send the head of a request, once it has begun. Too low: slow links fail; too high:
    /// attackers hold connections.
    pub header_read_timeout: Duration,
    /// How long an HTTP/1.1 connection is kept on which nothing is asked. Too low: load balancers, most of which keep theirs
    /// for a minute, send a request on one that is closed at that moment; too high: idle clients hold connections.
    pub idle_timeout: Duration,
    /// Streams one HTTP/2 connection may have open at a time.
    pub streams_max: u32,
    /// How long an HTTP/2 connection may be silent before it is probed, and then to answer.
    pub keepalive: Duration,
    /// How much of a stream is held for a client that does not read, and of a request's head, in bytes;
    /// at least 8192. Too high: clients that never read fill the memory.
    pub buffer_bytes_max: usize,
    /// How much more the system holds for a client that does not read and is no node, in bytes; it may double it. Too low: far
    /// clients are slow.
    pub send_bytes_max: usize,
    /// How long a client may read nothing of what is sent to it before its connection is cut; large answers have a
    /// second more for each 16 KiB. Too low: clients that were paused are cut off.
    pub write_timeout: Duration,
    /// How much of an HTTP/2 stream a client may send before it is read, in bytes. Too low: far clients are slow;
    /// too high: clients that are read slowly fill the memory.
    pub receive_bytes_max: u32,
    /// How long running calls get to finish once the listener is told to stop.
    pub grace: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            per_address_max: 4096,
            header_read_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            streams_max: 1024,
            keepalive: Duration::from_secs(20),
            buffer_bytes_max: 16 * 1024,
            send_bytes_max: 64 * 1024,
            write_timeout: Duration::from_secs(60),
            receive_bytes_max: 1024 * 1024,
            grace: Duration::from_secs(10),
        }
    }
}

/// Outcome of the drain of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Connections that were cut because their calls outlasted the grace.
    pub cut: usize,
}

/// How often is told, at most, that connections are turned away.
const REFUSED_EVERY: Duration = Duration::from_secs(10);

/// How often is told, at most, that a handshake came to nothing, once many did.
const UNSHAKEN_EVERY: Duration = Duration::from_secs(3);

/// How long somebody who does not speak TLS may take to read that.
const AWAY_WITHIN: Duration = Duration::from_secs(2);

/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How much one HTTP/2 stream may have on its way, in bytes: less slows large lists down.
const HTTP2_SEND_BYTES_MAX: usize = 64 * 1024;

/// How much larger a head of HTTP/2 is read, so that it can be refused in words; a larger one is refused without.
const HEADS_READ: usize = 8;

/// Serves the surface on a listener until `shutdown` is ready, then drains it.
///
/// Draining ends streams at once and gives unary calls `limits.grace`. The surface is drained for all its
/// listeners; each must be told to stop.
pub async fn serve(
    listener: TcpListener,
    surface: Surface,
    limits: impl Into<Live<ListenerLimits>>,
    shutdown: impl Future<Output = ()>,
) -> DrainOutcome {
    serve_with(listener, None, surface, limits, shutdown).await
}

/// As [`serve`], under TLS where it is given: each connection under what that is when it begins.
pub async fn serve_with(
    listener: TcpListener,
    tls: impl Into<Live<Option<Arc<ListenerTls>>>>,
    surface: Surface,
    limits: impl Into<Live<ListenerLimits>>,
    shutdown: impl Future<Output = ()>,
) -> DrainOutcome {
    let (line, tls) = (ListenerState::of(surface, limits.into()), tls.into());
    let begin = |line: Arc<ListenerState>, door: &AdmissionDoor, open, (stream, remote), watcher| {
        let tls = tls.get();
        if tls.as_ref().is_some_and(|tls| is_over_budget(tls, remote)) {
            line.drop_unread(remote);
            return None;
        }
        let place = door.place(remote, open)?;
        Some(connection(line, AdmittedConnection { stream, remote, place, tls }, watcher))
    };
    accept_all(async move || listener.accept().await, line, begin, shutdown).await
}

/// Accepts connections and begins what each of them is served by, until `shutdown` is ready; then drains them.
/// What `accept` holds is dropped before, so that nobody waits to be accepted meanwhile.
pub(super) async fn accept_all<C, A: Debug, F>(
    accept: impl AsyncFn() -> io::Result<(C, A)>,
    line: Arc<ListenerState>,
    begin: impl Fn(Arc<ListenerState>, &AdmissionDoor, usize, (C, A), Watcher) -> Option<F>,
    shutdown: impl Future<Output = ()>,
) -> DrainOutcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut door = AdmissionDoor::of(line.live.clone());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept() => accepted,
        };
        let open = connections.len();
        let Some(admitted) = door.admit(accepted, open).await else { continue };
        if let Some(connection) = begin(Arc::clone(&line), &door, open, admitted, graceful.watcher()) {
            connections.spawn(connection);
        }
    }
    drop(accept);
    line.surface.drain();
    drain(graceful.shutdown(), connections, line.live.get().grace).await
}

/// Door of a listener: it decides on connections as they come.
pub(super) struct AdmissionDoor {
    limits: Live<ListenerLimits>,
    places: Arc<ConnectionPlaces>,
    /// Of lines about connections that were turned away.
    refused: LogLimiter,
    /// Whether the last try failed for want of descriptors or memory: it is said once, not twenty times a second.
    starved: bool,
}

/// A connection, and what it was let in by.
struct AdmittedConnection {
    stream: TcpStream,
    remote: SocketAddr,
    place: ConnectionPlace,
    tls: Option<Arc<ListenerTls>>,
}

impl AdmissionDoor {
    pub(super) fn of(limits: Live<ListenerLimits>) -> Self {
        Self {
            places: ConnectionPlaces::new(limits.map(|limits| limits.per_address_max)),
            limits,
            refused: LogLimiter::new(10, REFUSED_EVERY),
            starved: false,
        }
    }

    /// Turns a connection away when there are too many, and waits when none can be accepted.
    async fn admit<C, A: Debug>(&mut self, accepted: io::Result<(C, A)>, open: usize) -> Option<(C, A)> {
        let error = match accepted {
            Ok((_, remote)) if self.is_full(&remote, open) => return None,
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

    /// Whether too many connections are open for another one.
    fn is_full(&self, remote: &impl Debug, open: usize) -> bool {
        let is_full = open >= self.limits.get().connections_max;
        if is_full {
            self.refuse(remote, open, "too many are open");
        }
        is_full
    }

    /// A place for a connection from an address, unless too many are open from it.
    fn place(&self, remote: SocketAddr, open: usize) -> Option<ConnectionPlace> {
        let place = self.places.take(remote.ip());
        if place.is_none() {
            self.refuse(&remote, open, "too many are open from its address");
        }
        place
    }

    /// A place for a connection from an address, unless too many are open.
    pub(super) fn let_in(&self, remote: SocketAddr, open: usize) -> Option<ConnectionPlace> {
        if self.is_full(&remote, open) { None } else { self.place(remote, open) }
    }

    fn refuse(&self, remote: &impl Debug, open: usize, why: &str) {
        if let Some(LogTurn { left_out }) = self.refused.turn() {
            tracing::warn!(?remote, open, error = why, left_out, "connection refused");
        }
    }
}

/// State that all connections of a listener share.
pub(super) struct ListenerState {
    servers: HttpServers,
    pub(super) surface: Surface,
    /// As they were when it began.
    pub(super) limits: ListenerLimits,
    /// As they are now.
    pub(super) live: Live<ListenerLimits>,
    /// Of lines about connections that were cut because nobody reads.
    cut: LogLimiter,
    /// Of lines about handshakes that came to nothing.
    unshaken: LogLimiter,
    /// Of lines about connections that were dropped unread.
    unread: LogLimiter,
}

impl ListenerState {
    pub(super) fn of(surface: Surface, live: Live<ListenerLimits>) -> Arc<Self> {
        let limits = live.get();
        Arc::new(Self {
            servers: HttpServers::new(&limits),
            surface,
            limits,
            live,
            cut: LogLimiter::of_requests(),
            unshaken: LogLimiter::new(20, UNSHAKEN_EVERY),
            unread: LogLimiter::new(3, REFUSED_EVERY),
        })
    }

    /// Tells of a connection that is dropped before anything of it is read.
    pub(super) fn drop_unread(&self, remote: SocketAddr) {
        self.surface.tell_of_handshake(HandshakeFailure::TooMany, host_of(remote.ip()), None);
        if let Some(LogTurn { left_out }) = self.unread.turn() {
            let error = "too many handshakes of its address came to nothing";
            tracing::warn!(%remote, error, left_out, "connection dropped unread");
        }
    }

    /// Tells of a handshake that came to nothing.
    pub(super) fn refuse(&self, remote: SocketAddr, unshaken: &HandshakeError) {
        let HandshakeError { cause, shown, is_signed, .. } = unshaken;
        let error = unshaken as &dyn std::error::Error;
        let Some(cause) = *cause else {
            return tracing::debug!(%remote, error, "connection closed during its handshake");
        };
        self.surface.tell_of_handshake(cause, host_of(remote.ip()), shown.as_ref().filter(|_| *is_signed));
        if let Some(LogTurn { left_out }) = self.unshaken.turn() {
            let (reason, id) = (cause.word(), shown.as_ref().map(tracing::field::display));
            tracing::warn!(%remote, reason, id, error, left_out, "TLS handshake refused");
        }
    }
}

/// Whether nothing that an address says would be read, whatever it is.
fn is_over_budget(tls: &ListenerTls, remote: SocketAddr) -> bool {
    !tls.is_beside_plaintext() && tls.budget().is_spent(remote.ip())
}

/// Servers for each version of HTTP.
struct HttpServers {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl HttpServers {
    fn new(limits: &ListenerLimits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle_timeout)
            .max_buf_size(limits.buffer_bytes_max.max(8192));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(limits.keepalive)
            .max_concurrent_streams(limits.streams_max)
            .initial_stream_window_size(limits.receive_bytes_max)
            .max_header_list_size(u32::try_from(limits.buffer_bytes_max * HEADS_READ).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BYTES_MAX);
        Self { http1, http2 }
    }
}

async fn connection(line: Arc<ListenerState>, admitted: AdmittedConnection, watcher: Watcher) {
    let AdmittedConnection { stream, remote, place: _place, tls } = admitted;
    // Small answers go out at once; an error here would only make them slower.
    let _ = stream.set_nodelay(true);
    unread::bound(&stream, line.limits.send_bytes_max, line.limits.write_timeout);
    let peer = PeerInfo::at(remote, stream.local_addr().ok());
    let Some(tls) = &tls else { return converse(&line, stream, Arc::new(peer), watcher).await };
    match speaks_tls(&line, &stream).await {
        // What speaks no TLS yet says so as it says everything.
        Some(true) if tls.is_beside_plaintext() && !tls.has_certificate() => {
            converse(&line, stream, Arc::new(peer), watcher).await;
        }
        // Boxed so that connections without TLS do not keep room for it.
        Some(true) => match tls.budget().begin(remote.ip()) {
            Some(attempt) => Box::pin(encrypted(&line, (tls, attempt), stream, peer, watcher)).await,
            None => line.drop_unread(remote),
        },
        Some(false) if tls.is_beside_plaintext() => converse(&line, stream, Arc::new(peer), watcher).await,
        Some(false) => {
            line.surface.tell_of_handshake(HandshakeFailure::Plaintext, host_of(remote.ip()), None);
            send_away(stream).await;
        }
        None => tracing::debug!(%remote, "connection closed: it said nothing"),
    }
}

/// Tells a client that begins in plaintext that TLS is spoken here, as HTTP/1.1 has it.
async fn send_away(mut stream: TcpStream) {
    let answer = tls_needed();
    // Whoever does not read it has no use for it.
    let _ = tokio::time::timeout(AWAY_WITHIN, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

/// What a client is told that begins in plaintext: a status of HTTP's own, since there is no call yet.
fn tls_needed() -> Vec<u8> {
    let fault = Fault::new(reasons::TLS_NEEDED, "this port speaks TLS only").hint("call it as https://");
    let status = http::StatusCode::BAD_REQUEST;
    let body = Problem { status: status.as_u16(), fault, request_id: String::new() }.to_json();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_ref()].concat()
}

/// Whether a client begins as TLS does, and no HTTP; `None` when it does not say in time, or the daemon stops meanwhile.
async fn speaks_tls(line: &ListenerState, stream: &TcpStream) -> Option<bool> {
    const HANDSHAKE: u8 = 0x16;
    let mut begun = [0; 1];
    tokio::select! {
        peeked = stream.peek(&mut begun) => (peeked.ok()? == 1).then_some(begun[0] == HANDSHAKE),
        () = line.surface.draining() => None,
        () = tokio::time::sleep(line.limits.header_read_timeout) => None,
    }
}

/// Serves a connection that is not encrypted.
async fn converse<S>(line: &ListenerState, stream: S, peer: Arc<PeerInfo>, watcher: Watcher)
where
    S: PeekStream + AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Some(version) = begun(&stream, line).await else {
        tracing::debug!(remote = %peer.remote, "connection closed: it said too little to be HTTP");
        return;
    };
    speak(line, version, stream, peer, watcher).await;
}

async fn encrypted(
    line: &ListenerState,
    (tls, attempt): (&ListenerTls, HandshakeAttempt),
    stream: TcpStream,
    peer: PeerInfo,
    watcher: Watcher,
) {
    let remote = peer.remote;
    let shaken = tokio::select! {
        shaken = tls.accept(stream) => shaken,
        () = line.surface.draining() => return,
        () = tokio::time::sleep(line.limits.header_read_timeout) => Err(HandshakeError::too_slow()),
    };
    let TlsClient { stream, shown } = match shaken {
        Ok(shaken) => shaken,
        Err(unshaken) => {
            if unshaken.cause == Some(HandshakeFailure::NotReady) {
                attempt.give_back();
            }
            return line.refuse(remote, &unshaken);
        }
    };
    attempt.succeeded(shown.is_some());
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => HttpVersion::Http2,
        _ => HttpVersion::Http1,
    };
    if shown.as_ref().is_some_and(ShownCertificate::is_of_node) {
        unread::bound_to_node(stream.get_ref().0);
    }
    let peer = Arc::new(peer.showing(shown.as_ref()));
    until_out(tls, shown, remote, speak(line, version, stream, peer, watcher)).await;
}

/// Serves a connection until whoever has shown this is out, and answers why then. What it calls ends with it: nothing is
/// answered any more.
pub(super) async fn until_out(
    tls: &ListenerTls,
    shown: Option<ShownCertificate>,
    remote: SocketAddr,
    served: impl Future<Output = ()>,
) -> Option<&'static str> {
    let Some(shown) = shown else {
        served.await;
        return None;
    };
    let certificate = Arc::clone(&shown.certificate);
    tokio::select! {
        () = served => None,
        why = tls.ended(shown) => {
            tracing::info!(%remote, id = %certificate.id, serial = %certificate.serial, why, "connection cut");
            Some(why)
        }
    }
}

/// Serves a connection in the version that its client speaks.
pub(super) async fn speak<S>(
    line: &ListenerState,
    version: HttpVersion,
    stream: S,
    peer: Arc<PeerInfo>,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (surface, remote) = (line.surface.clone(), peer.remote);
    let unread = UnreadPieces::new(line.limits.write_timeout);
    let turn = ConnectionTurns::default();
    let turns = turn.clone();
    let (noted, head_bytes_max) = (Arc::clone(&unread), line.limits.buffer_bytes_max);
    let service = service_fn(move |request: Request<Incoming>| {
        let (surface, peer, unread) = (surface.clone(), Arc::clone(&peer), Arc::clone(&noted));
        let answering = (version == HttpVersion::Http1).then(|| turns.answer());
        // Boxed so that connections and streams, which keep the room of their last call, keep little.
        Box::pin(async move {
            let (request, leftover) = match version {
                HttpVersion::Http1 => {
                    let (request, leftover) = leftover::watched(request);
                    (request.map(Body::new), Some(leftover))
                }
                HttpVersion::Http2 => (request.map(Body::new), None),
            };
            let mut response = match head_bytes(&request) > head_bytes_max {
                true => surface.refuse_head(&request, head_bytes_max),
                false => surface.handle(request, &peer).await,
            };
            if let Some(leftover) = leftover
                && !leftover.settle().await
            {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| MeteredBody::new(body, unread, answering)))
        })
    });
    let served = async {
        match version {
            HttpVersion::Http1 => {
                let io = TokioIo::new(HeadTimeout::new(stream, turn, line.limits.header_read_timeout));
                watcher.watch(line.servers.http1.serve_connection(io, service)).await
            }
            // Boxed so that connections of the other version do not keep room for it.
            HttpVersion::Http2 => {
                let serving = line.servers.http2.serve_connection(TokioIo::new(stream), service);
                Box::pin(watcher.watch(serving)).await
            }
        }
    };
    let outcome = tokio::select! {
        outcome = served => outcome,
        () = unread.overdue() => {
            if let Some(LogTurn { left_out }) = line.cut.turn() {
                tracing::info!(%remote, left_out, "connection cut: its client does not read");
            }
            return;
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%remote, error = &error as &dyn std::error::Error, "connection ended");
    }
}

/// How large the headers of a request are, as HTTP/2 counts them.
fn head_bytes(request: &Request<Body>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    fields.sum::<usize>() + request.uri().path_and_query().map_or(0, |path| path.as_str().len())
}

/// The version a client speaks; `None` when it does not say in time, or the daemon stops meanwhile.
pub(super) async fn begun(stream: &impl PeekStream, line: &ListenerState) -> Option<HttpVersion> {
    tokio::select! {
        version = preface::version(stream) => version.ok().flatten(),
        () = line.surface.draining() => None,
        () = tokio::time::sleep(line.limits.header_read_timeout) => None,
    }
}

/// Gives connections so long to finish that were told to by `told`, and cuts the others.
pub(super) async fn drain(
    told: impl Future<Output = ()>,
    mut connections: JoinSet<()>,
    grace: Duration,
) -> DrainOutcome {
    let drained = tokio::time::timeout(grace, async {
        told.await;
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_ok() {
        return DrainOutcome { cut: 0 };
    }
    let cut = connections.len();
    tracing::warn!(cut, "calls outlasted the grace and were cut");
    connections.shutdown().await;
    DrainOutcome { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_in_plaintext_is_told_one_status() {
        let answer = String::from_utf8(tls_needed()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let told = Problem::parse(body.as_bytes()).unwrap();
        assert_eq!(told.fault.reason, "TLS_NEEDED");
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", told.status)), "{head} and {}", told.status);
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    }
}
