//! Carriers: what opens connections of one kind, and what every connection can do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::body::{Body, BoxError};
use crate::datagrams::UnsentDatagram;

/// Protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionProtocol {
    Http3,
    Http2,
}

impl ConnectionProtocol {
    pub const ALL: [Self; 2] = [Self::Http3, Self::Http2];

    /// As metrics, logs and answers have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http3 => "http3",
            Self::Http2 => "http2",
        }
    }
}

/// Address where somebody is, and the name that TLS knows them by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTarget {
    /// `host:port`; names are looked up for each connection anew.
    pub address: String,
    pub name: ServerName<'static>,
}

impl CallTarget {
    /// Its host, without brackets, and its port.
    pub(crate) fn place(&self) -> Result<(&str, u16), ConnectError> {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let source = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "it has no port");
        let port = port
            .parse()
            .map_err(|_| ConnectError::Name { address: self.address.clone(), source: source() })?;
        Ok((host, port))
    }
}

/// Reason why no connection was opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("`{address}` is not known: {source}")]
    Name { address: String, source: std::io::Error },
    #[error("nothing can be shown or believed: {0}")]
    Tls(BoxError),
    #[error("no connection: {0}")]
    Failed(BoxError),
    #[error("no answer in {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("over HTTP/2: {http2}; over HTTP/3: {http3}")]
    Neither { http2: Box<Self>, http3: Box<Self> },
}

/// Reason why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other side has not taken it: it may be sent again.
    #[error("the request was not taken: {0}")]
    NotSent(BoxError),
    /// It never will be: its head is larger than the other side takes.
    #[error("the request was not sent: {0}")]
    TooLarge(BoxError),
    /// Nobody knows whether it was carried out.
    #[error("the connection was lost: {0}")]
    Lost(BoxError),
}

/// TLS of a client, asked anew for each connection.
pub trait ClientTls: Send + Sync {
    /// What a connection begins with.
    ///
    /// # Errors
    /// What keeps this node from showing or believing anything.
    fn begin(&self) -> Result<TlsStart, BoxError>;
}

/// TLS configuration that one connection begins with, and what the connection depends on from then on.
pub struct TlsStart {
    /// Which protocols are offered is added to it.
    pub config: rustls::ClientConfig,
    /// Becomes ready once the connection to whoever has shown this chain has to end, and says how.
    pub ends: ConnectionEnding,
}

/// Says how a connection has to end, once it has; given what the other side has shown.
pub type ConnectionEnding =
    Box<dyn FnOnce(Vec<CertificateDer<'static>>) -> BoxFuture<'static, ConnectionEnd> + Send>;

/// Way in which a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It takes no more calls; those under way go on.
    Retire(&'static str),
    /// At once.
    Cut(&'static str),
}

/// Opens connections.
pub trait Carrier: Send + Sync {
    fn protocol(&self) -> ConnectionProtocol;

    /// Opens a connection; how long that may take is the caller's to say.
    fn connect<'a>(
        &'a self,
        to: &'a CallTarget,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>>;
}

/// An open connection. It is closed once nobody has it and its calls are over.
pub trait Connection: Send + Sync {
    fn protocol(&self) -> ConnectionProtocol;

    /// Becomes ready once it has to end, and says how. For the first who asks; `None` for all others.
    fn ends(&self) -> Option<BoxFuture<'static, ConnectionEnd>>;

    /// Becomes ready once it is closed, by whomever.
    fn closed(&self) -> BoxFuture<'static, ()>;

    /// How long a packet takes there and back, where the carrier knows.
    fn rtt(&self) -> Option<Duration>;

    /// Whether it takes calls still, as far as is known.
    fn is_open(&self) -> bool;

    /// Whether it ended because nothing was heard on it any more.
    fn is_silent(&self) -> bool;

    /// Sends a request, and answers once the head of its answer is there.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, CallError>>;

    /// Sends a datagram, which may be lost.
    ///
    /// # Errors
    /// [`UnsentDatagram`]; over TCP there are none.
    fn send_datagram(&self, _datagram: Bytes) -> Result<(), UnsentDatagram> {
        Err(UnsentDatagram::NoConnection)
    }

    /// Hands over the datagrams that come, for as long as somebody has the connection. To be asked once.
    fn hear(&self, _heard: Box<dyn Fn(Bytes) + Send + Sync>) {}

    /// Ends it at once, its calls too.
    fn cut(&self, why: &'static str);
}
