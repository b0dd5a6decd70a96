//! QUIC: the UDP socket of a node, and the connections that it opens.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Endpoint, EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use tokio::task::AbortHandle;

use crate::body::{Body, BoxError, InterruptibleBody, boxed};
use crate::carrier::{
    CallError, CallTarget, Carrier, ClientTls, ConnectError, Connection, ConnectionEnd, ConnectionProtocol,
    TlsStart,
};
use crate::datagrams::{self, BUFFER_BYTES, UnsentDatagram};
use crate::h3;
use crate::handshake_bytes::{BoundedServer, HANDSHAKE_BYTES_MAX};
use crate::path::AcknowledgedPackets;

/// How much the system holds of what is received, in bytes, where it lets: packets of many nodes come at once.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// After more than so many packets they are acknowledged at once, else with what is sent next or after 25 ms: of small calls
/// each has an answer, on which its acknowledgement goes along.
const PACKETS_PER_ACK: u32 = 10;
/// Streams of one direction that the other side may open: HTTP/3 needs three.
const ONE_WAY_STREAMS: u32 = 8;
/// How long an endpoint that is closed stays to repeat that to whoever has missed it. By RFC 9000, 10.2, it would be three
/// times the probe timeout, which no limit bounds: 3 s for a handshake that nobody has answered, and after a pause of some
/// seconds, which counts as a long way, half a minute.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Limits of one QUIC connection.
#[derive(Clone, Copy, Debug)]
pub struct QuicLimits {
    /// Calls that the other side may have under way; each has some room kept for it from the start.
    pub streams_max: u32,
    /// How much of one stream the other side may send before it is read, in bytes.
    pub stream_bytes_max: u32,
    /// How much may be on its way to the other side, in bytes, over all streams.
    pub send_bytes_max: u64,
    /// How long it stays open while nothing comes; the shorter of both sides counts. A client with calls under way keeps it open.
    pub idle: Duration,
    /// Whether packets grow to what the path takes, which is tried now and then: less for large answers, more for the rest.
    pub grows: bool,
    /// Whether a client may go on from another address, as where a NAT gives it another port: what it says from there is
    /// answered there once it has shown that it hears that.
    pub moves: bool,
}

impl QuicLimits {
    /// Among nodes, who say something to each other now and then as long as both are there: opening a connection again costs
    /// more than keeping it. None of them moves: each has an address that others call it at, and is called there.
    #[must_use]
    pub fn among_nodes(self) -> Self {
        Self { idle: Duration::from_secs(300), grows: false, moves: false, ..self }
    }
}

impl Default for QuicLimits {
    fn default() -> Self {
        let idle = Duration::from_secs(30);
        let (streams_max, stream_bytes_max, send_bytes_max) = (128, 1024 * 1024, 2 * 1024 * 1024);
        Self { streams_max, stream_bytes_max, send_bytes_max, idle, grows: true, moves: true }
    }
}

/// Takes a UDP port.
///
/// # Errors
/// Those of the system.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let raw = socket2::SockRef::from(&socket);
    // The system gives as much as it is configured to.
    let _ = raw.set_recv_buffer_size(SOCKET_BYTES);
    let _ = raw.set_send_buffer_size(SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Endpoint that connections are opened and accepted by at a socket. To be called within a runtime.
///
/// # Errors
/// Those of the system.
pub fn endpoint(socket: UdpSocket) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(quinn::TokioRuntime))
}

/// Closes all connections of an endpoint, and stays for [`FAREWELL`] at most so that the others hear of it.
pub async fn close(endpoint: &Endpoint) {
    endpoint.close(h3::NO_ERROR, b"");
    // Whoever has not heard by then finds out by silence.
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
}

fn transport(limits: QuicLimits) -> TransportConfig {
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(PACKETS_PER_ACK.into());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams_max.into())
        .max_concurrent_uni_streams(ONE_WAY_STREAMS.into())
        .stream_receive_window(limits.stream_bytes_max.into())
        .receive_window(VarInt::from_u32(limits.stream_bytes_max.saturating_mul(4)))
        .send_window(limits.send_bytes_max)
        .max_idle_timeout(IdleTimeout::try_from(limits.idle).ok())
        .datagram_receive_buffer_size(Some(BUFFER_BYTES))
        .datagram_send_buffer_size(BUFFER_BYTES)
        .ack_frequency_config(Some(acks));
    if !limits.grows {
        transport.mtu_discovery_config(None);
    }
    transport
}

/// Configuration that a QUIC connection is accepted with. Nothing is sent before the handshake is over, and of that no
/// more than [`HANDSHAKE_BYTES_MAX`] is read.
///
/// # Errors
/// When the configuration has no TLS 1.3.
pub fn server_config(
    mut tls: rustls::ServerConfig,
    limits: QuicLimits,
) -> Result<quinn::ServerConfig, quinn::crypto::rustls::NoInitialCipherSuite> {
    tls.alpn_protocols = vec![h3::ALPN.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_half_rtt_data = false;
    let moves = limits.moves;
    let mut transport = transport(limits);
    // What comes out of order is as much of it at most.
    transport.crypto_buffer_size(HANDSHAKE_BYTES_MAX);
    let crypto = BoundedServer::new(QuicServerConfig::try_from(tls)?);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.migration(moves).transport_config(Arc::new(transport));
    Ok(config)
}

/// Opens connections that speak HTTP/3.
pub struct QuicCarrier {
    endpoint: Endpoint,
    limits: QuicLimits,
}

impl QuicCarrier {
    /// By the socket of `endpoint`.
    pub fn new(endpoint: Endpoint, limits: QuicLimits) -> Self {
        Self { endpoint, limits }
    }

    async fn open(&self, to: &CallTarget, tls: &dyn ClientTls) -> Result<Arc<dyn Connection>, ConnectError> {
        let TlsStart { mut config, ends } = tls.begin().map_err(ConnectError::Tls)?;
        config.alpn_protocols = vec![h3::ALPN.to_vec()];
        config.enable_early_data = false;
        let config = QuicClientConfig::try_from(config).map_err(|error| ConnectError::Tls(error.into()))?;
        let config = Arc::new(config);
        let failed = |error: BoxError| ConnectError::Failed(error);
        let begin = |address| {
            let config = config.clone();
            async move {
                let mut config = quinn::ClientConfig::new(config);
                let (mut transport, acknowledged) = (transport(self.limits), AcknowledgedPackets::default());
                transport.congestion_controller_factory(acknowledged.counting());
                config.transport_config(Arc::new(transport));
                let connecting = self.endpoint.connect_with(config, address, &to.name.to_str());
                let connection = connecting.map_err(|error| failed(error.into()))?.await;
                Ok((connection.map_err(|error| failed(error.into()))?, acknowledged))
            }
        };
        let addresses = resolve(to, self.endpoint.local_addr().ok()).await?;
        let begun = omnirelay_dial::first_of(addresses, begin).await;
        let (connection, acknowledged) = begun.map_err(|error| error.unwrap_or_else(|| unreachable(to)))?;
        let shown = connection.peer_identity().and_then(|shown| shown.downcast::<Vec<_>>().ok());
        let client = h3::Http3Client::begin(connection.clone()).await.map_err(failed)?;
        let ends = Mutex::new(Some(ends(shown.map(|shown| *shown).unwrap_or_default())));
        let (is_silent, hears) = (Arc::default(), OnceLock::new());
        Ok(Arc::new(QuicConnection { connection, acknowledged, is_silent, client, ends, hears }))
    }
}

/// The addresses of a host that a socket of `own` can reach; never none.
async fn resolve(to: &CallTarget, own: Option<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
    let (host, port) = to.place()?;
    let found = omnirelay_dial::lookup(host, port).await;
    let found = found.map_err(|source| ConnectError::Name { address: to.address.clone(), source })?;
    // A socket of all addresses of IPv6 reaches IPv4 too, by addresses that are mapped.
    let reaches = |to: &SocketAddr| {
        own.is_none_or(|own| own.is_ipv6() == to.is_ipv6() || own.is_ipv6() && own.ip().is_unspecified())
    };
    let mapped = |to: SocketAddr| match (to, own) {
        (SocketAddr::V4(v4), Some(SocketAddr::V6(_))) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        (to, _) => to,
    };
    let reached: Vec<_> = found.into_iter().filter(reaches).map(mapped).collect();
    if reached.is_empty() { Err(unreachable(to)) } else { Ok(reached) }
}

/// What a host is that has no address which the socket reaches.
fn unreachable(to: &CallTarget) -> ConnectError {
    ConnectError::Name { address: to.address.clone(), source: io::ErrorKind::AddrNotAvailable.into() }
}

impl Carrier for QuicCarrier {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http3
    }

    fn connect<'a>(
        &'a self,
        to: &'a CallTarget,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(self.open(to, tls))
    }
}

struct QuicConnection {
    connection: quinn::Connection,
    acknowledged: AcknowledgedPackets,
    is_silent: Arc<AtomicBool>,
    client: h3::Http3Client,
    ends: Mutex<Option<BoxFuture<'static, ConnectionEnd>>>,
    /// What reads datagrams; whoever reads has the connection, and must not keep it open.
    hears: OnceLock<AbortHandle>,
}

impl Drop for QuicConnection {
    fn drop(&mut self) {
        if let Some(hears) = self.hears.get() {
            hears.abort();
        }
    }
}

impl Connection for QuicConnection {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http3
    }

    fn ends(&self) -> Option<BoxFuture<'static, ConnectionEnd>> {
        self.ends.lock().take()
    }

    fn closed(&self) -> BoxFuture<'static, ()> {
        let connection = self.connection.clone();
        Box::pin(async move { drop(connection.closed().await) })
    }

    fn rtt(&self) -> Option<Duration> {
        Some(self.connection.rtt())
    }

    fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        let (client, connection) = (self.client.clone(), self.connection.clone());
        let (acknowledged, is_silent) = (self.acknowledged.clone(), self.is_silent.clone());
        let mut silent: BoxFuture<'static, BoxError> = Box::pin(async move {
            acknowledged.silence(connection.clone()).await;
            is_silent.store(true, Ordering::Relaxed);
            connection.close(h3::NO_ERROR, b"silent");
            "nothing is acknowledged any more".into()
        });
        Box::pin(async move {
            let mut call = std::pin::pin!(client.call(request));
            tokio::select! {
                biased;
                answered = &mut call => {
                    answered.map(|response| response.map(|body| boxed(InterruptibleBody::new(body, silent))))
                }
                // What had come by then it still has.
                _closed = &mut silent => call.await,
            }
        })
    }

    fn send_datagram(&self, datagram: Bytes) -> Result<(), UnsentDatagram> {
        datagrams::send(&self.connection, datagram)
    }

    fn hear(&self, heard: Box<dyn Fn(Bytes) + Send + Sync>) {
        let connection = self.connection.clone();
        self.hears.get_or_init(|| tokio::spawn(datagrams::hear(connection, heard)).abort_handle());
    }

    fn cut(&self, why: &'static str) {
        self.connection.close(h3::NO_ERROR, why.as_bytes());
    }
}
