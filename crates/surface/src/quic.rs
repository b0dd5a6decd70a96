//! The listener over QUIC: connections that speak HTTP/3, bounded, and drained at the end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Version};
use omnirelay_host::live::Live;
use omnirelay_identity::caller::PeerInfo;
use omnirelay_identity::handshake::{HandshakeError, HandshakeFailure, HandshakeRefusalNote};
use omnirelay_identity::handshake_budget::HandshakeAttempt;
use omnirelay_identity::tls::{ListenerTls, ShownCertificate};
use omnirelay_identity::trust::TrustSnapshot;
use omnirelay_pki::trust::CHAIN_BYTES_MAX;
use omnirelay_transport::handshake_bytes::HANDSHAKE_BYTES_MAX;
use omnirelay_transport::{h3, quic};
use rustls::AlertDescription;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::Surface;
use super::places::{ConnectionPlace, host_of};
use super::serve::{AdmissionDoor, DrainOutcome, ListenerLimits, ListenerState, drain, until_out};

/// A chain that is taken over TCP is taken over QUIC.
const _: () = assert!(CHAIN_BYTES_MAX + 4096 <= HANDSHAKE_BYTES_MAX);

/// How often it is looked whether a client goes on from another host.
const MOVES_SEEN: Duration = Duration::from_secs(5);

/// Companion of a connection: it runs beside the serving of calls, until the connection ends.
pub type ConnectionCompanion =
    Arc<dyn Fn(&ShownCertificate, quinn::Connection) -> BoxFuture<'static, ()> + Send + Sync>;

/// As [`super::serve_with`], over QUIC: whoever shows no certificate that is taken has no connection. With `beside` it is among nodes.
pub async fn serve_quic(
    endpoint: quinn::Endpoint,
    tls: impl Into<Live<Option<Arc<ListenerTls>>>>,
    (surface, beside): (Surface, Option<ConnectionCompanion>),
    limits: impl Into<Live<ListenerLimits>>,
    shutdown: impl Future<Output = ()>,
) -> DrainOutcome {
    let (limits, tls) = (limits.into(), tls.into());
    let line = Arc::new(QuicListenerState { line: ListenerState::of(surface, limits.clone()), beside });
    let mut shutdown = std::pin::pin!(shutdown);
    let first = tokio::select! {
        () = &mut shutdown => return DrainOutcome { cut: 0 },
        first = shows(tls.clone()) => first,
    };
    match line.server_config(&first) {
        // Connections are let in by it at all; each is given what is so by then.
        Ok((config, ..)) => endpoint.set_server_config(Some(config)),
        Err(error) => {
            tracing::error!(%error, "nothing is served over UDP");
            return DrainOutcome { cut: 0 };
        }
    }
    let (door, mut connections) = (AdmissionDoor::of(limits.clone()), JoinSet::new());
    loop {
        let incoming = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if !incoming.remote_address_validated() {
            // Whoever begins proves first that the address is its own: less is sent there than came, nobody has handshakes begun
            // in the name of others, and none is counted against them.
            let _ = incoming.retry();
            continue;
        }
        let (remote, open) = (incoming.remote_address(), connections.len());
        let Some((tls, place)) = tls.get().zip(door.let_in(remote, open)) else {
            incoming.refuse();
            continue;
        };
        let Some(attempt) = tls.budget().begin(remote.ip()) else {
            incoming.refuse();
            line.line.drop_unread(remote);
            continue;
        };
        let at = ConnectionAddresses { remote, local: endpoint.local_addr().ok() };
        connections.spawn(connection(Arc::clone(&line), tls, incoming, (at, place, attempt)));
    }
    endpoint.set_server_config(None);
    line.line.surface.drain();
    let drained = drain(std::future::ready(()), connections, limits.get().grace).await;
    quic::close(&endpoint).await;
    drained
}

/// Returns once there is something to show, with what shows it.
async fn shows(mut tls: Live<Option<Arc<ListenerTls>>>) -> Arc<ListenerTls> {
    loop {
        let current = tls.get();
        let shown = async {
            match &current {
                Some(tls) => tls.shows().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shown => {}
            () = tls.replaced() => continue,
        }
        if let Some(current) = current {
            return current;
        }
    }
}

/// Addresses that a connection is from, and to.
#[derive(Clone, Copy)]
struct ConnectionAddresses {
    remote: SocketAddr,
    local: Option<SocketAddr>,
}

/// State that all connections of a listener have in common.
struct QuicListenerState {
    line: Arc<ListenerState>,
    beside: Option<ConnectionCompanion>,
}

async fn connection(
    on: Arc<QuicListenerState>,
    tls: Arc<ListenerTls>,
    incoming: quinn::Incoming,
    (at, _place, attempt): (ConnectionAddresses, ConnectionPlace, HandshakeAttempt),
) {
    let line = &on.line;
    let (connection, shown) = match on.shake(&tls, incoming).await {
        Ok(shaken) => shaken,
        Err(unshaken) => {
            if unshaken.cause == Some(HandshakeFailure::NotReady) {
                attempt.give_back();
            }
            return line.refuse(at.remote, &unshaken);
        }
    };
    attempt.succeeded(shown.is_some());
    let beside = on.beside.as_ref().zip(shown.as_ref());
    let beside = beside.map(|(beside, shown)| beside(shown, connection.clone()));
    let peer = PeerInfo::at(at.remote, at.local).showing(shown.as_ref());
    let (surface, peer) = (line.surface.clone(), Arc::new(peer));
    let service = move |request: Request<omnirelay_transport::Body>| {
        let (surface, peer) = (surface.clone(), Arc::clone(&peer));
        async move {
            let mut request = request.map(Body::new);
            *request.version_mut() = Version::HTTP_3;
            surface.handle(request, &peer).await
        }
    };
    let limits = h3::Http3Limits {
        head_bytes_max: u64::try_from(line.limits.buffer_bytes_max).unwrap_or(u64::MAX),
        head_within: line.limits.header_read_timeout,
        write_within: line.limits.write_timeout,
    };
    let served = async {
        let served = h3::serve(connection.clone(), limits, line.surface.draining(), service);
        // It ends with the calls, and not they with it.
        let beside = async {
            if let Some(beside) = beside {
                beside.await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::debug!(remote = %at.remote, %error, "connection ended");
            },
            () = beside => {}
            () = moved(|| connection.remote_address().ip(), at.remote.ip()) => {
                tracing::info!(remote = %at.remote, now = %connection.remote_address(), "connection cut: it goes on from another host");
                connection.close(h3::NO_ERROR, b"it goes on from another host");
            }
        }
    };
    if let Some(why) = until_out(&tls, shown, at.remote, served).await {
        connection.close(h3::NO_ERROR, why.as_bytes());
    }
}

/// Is ready once a client goes on from another host: it is there at two looks in a row, of one each [`MOVES_SEEN`]. At one alone
/// QUIC may not have found out yet whether the client is there, or somebody else has sent on what it said. Another port is that
/// of a NAT; a host has its connections counted, and is told of as the one that it was.
async fn moved(now: impl Fn() -> IpAddr, from: IpAddr) {
    let mut was_elsewhere = false;
    loop {
        tokio::time::sleep(MOVES_SEEN).await;
        let is_elsewhere = host_of(now()) != host_of(from);
        if is_elsewhere && was_elsewhere {
            return;
        }
        was_elsewhere = is_elsewhere;
    }
}

impl QuicListenerState {
    /// Shakes hands, as this node is by now.
    async fn shake(
        &self,
        tls: &ListenerTls,
        incoming: quinn::Incoming,
    ) -> Result<(quinn::Connection, Option<ShownCertificate>), HandshakeError> {
        let (config, judged_by, noted) = self.server_config(tls)?;
        let ListenerState { surface, limits, .. } = &*self.line;
        let failed = |error: quinn::ConnectionError, noted: &HandshakeRefusalNote| match error {
            quinn::ConnectionError::TransportError(ref why)
                if why.code == quinn::TransportErrorCode::CRYPTO_BUFFER_EXCEEDED =>
            {
                HandshakeError::too_large(of_quic(error))
            }
            error => noted.unshaken(of_quic(error)),
        };
        let accepted = incoming.accept_with(Arc::new(config)).map_err(|error| failed(error, &noted))?;
        let connection = tokio::select! {
            shaken = accepted => shaken.map_err(|error| failed(error, &noted))?,
            () = surface.draining() => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            () = tokio::time::sleep(limits.header_read_timeout) => return Err(HandshakeError::too_slow()),
        };
        let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<_>>().ok());
        let shown = ShownCertificate::of(&chain.map(|chain| *chain).unwrap_or_default(), judged_by)?;
        Ok((connection, shown))
    }

    /// What connections begin with now.
    fn server_config(
        &self,
        tls: &ListenerTls,
    ) -> io::Result<(quinn::ServerConfig, Arc<TrustSnapshot>, HandshakeRefusalNote)> {
        let (config, judged_by, noted) = tls.quic()?;
        let stream_bytes_max = self.line.limits.receive_bytes_max;
        let limits = quic::QuicLimits { stream_bytes_max, ..quic::QuicLimits::default() };
        let limits = if self.beside.is_some() { limits.among_nodes() } else { limits };
        let config = quic::server_config(config, limits).map_err(io::Error::other)?;
        Ok((config, judged_by, noted))
    }
}

/// What a failed connection is as a failure of a handshake. Of what TLS found wrong QUIC keeps the alert alone.
fn of_quic(error: quinn::ConnectionError) -> io::Error {
    use quinn::ConnectionError as Failed;
    let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    match error {
        Failed::TimedOut => io::ErrorKind::TimedOut.into(),
        Failed::ConnectionClosed(closed) => match alert(closed.error_code.into()) {
            Some(alert) => tls(rustls::Error::AlertReceived(alert)),
            None => io::ErrorKind::ConnectionReset.into(),
        },
        Failed::ApplicationClosed(_) | Failed::Reset | Failed::LocallyClosed => {
            io::Error::new(io::ErrorKind::ConnectionReset, error)
        }
        Failed::TransportError(error) => match alert(error.code.into()) {
            Some(AlertDescription::CertificateRequired) => tls(rustls::Error::NoCertificatesPresented),
            Some(AlertDescription::NoApplicationProtocol) => tls(rustls::Error::NoApplicationProtocol),
            Some(AlertDescription::ProtocolVersion) => {
                let why = rustls::PeerIncompatible::SupportedVersionsExtensionRequired;
                tls(rustls::Error::PeerIncompatible(why))
            }
            Some(AlertDescription::DecryptError) => {
                tls(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature))
            }
            Some(_) | None => io::Error::new(io::ErrorKind::InvalidData, error),
        },
        Failed::VersionMismatch | Failed::CidsExhausted => io::Error::other(error),
    }
}

/// The alert of TLS that an error of QUIC stands for (RFC 9001, 4.8).
fn alert(code: u64) -> Option<AlertDescription> {
    (0x100..0x200)
        .contains(&code)
        .then(|| AlertDescription::from(u8::try_from(code & 0xff).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_elsewhere_at_one_look_has_not_moved() {
        let [home, away]: [IpAddr; 2] = ["10.0.0.7", "10.0.0.8"].map(|at| at.parse().unwrap());
        let seen = [home, away, home, away, away];
        let looks = Cell::new(0);
        let now = || {
            let look = looks.get();
            looks.set(look + 1);
            seen[look]
        };
        moved(now, home).await;
        assert_eq!(looks.get(), seen.len());
    }
}
