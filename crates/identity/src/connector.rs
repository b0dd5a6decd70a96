//! Connections that a daemon itself opens: each ends as soon as whoever is at its other end is put out, or the node itself.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::trust::ChainUsage;
use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{ClientCertificate, LiveTlsClient};
use super::reach::{AddressReach, connect_outside};
use super::trust::{TrustSnapshot, unix_now};

/// After so much silence a connection is probed, and so much later again.
const SILENT: Duration = Duration::from_secs(15);
/// After so many probes without an answer it has ended.
const PROBES: u32 = 3;
/// What was sent and is acknowledged by nobody ends it after so long.
const UNANSWERED: Duration = Duration::from_secs(30);

/// Opens connections to `http://` and `https://` addresses, TLS as a client has it by then.
#[derive(Clone, Debug)]
pub struct LiveTlsConnector {
    tls: Arc<LiveTlsClient>,
    within: Duration,
    reach: AddressReach,
}

impl LiveTlsConnector {
    /// One whose connections have so long to be open, TLS included.
    ///
    /// A connection ends by itself once nobody is at the other end. All addresses of a host are tried.
    pub fn new(tls: Arc<LiveTlsClient>, within: Duration) -> Self {
        Self { tls, within, reach: AddressReach::Anywhere }
    }

    /// One that connects to these addresses and no others.
    #[must_use]
    pub fn reaching(self, reach: AddressReach) -> Self {
        Self { reach, ..self }
    }

    async fn connect(self, place: Uri) -> io::Result<DialedConnection> {
        if place.scheme() != Some(&Scheme::HTTPS) {
            let stream = self.tcp(place).await?;
            return Ok(DialedConnection { io: PlainOrTlsStream::Plain(stream), over: None, cut: None });
        }
        self.tls.refresh().await?;
        let host = place.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = self.tcp(place).await?;
        let judged_by = self.tls.trust().current();
        let config = Arc::new(self.tls.config().map_err(io::Error::other)?);
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let over = over(&self.tls, judged_by, stream.get_ref().1.peer_certificates());
        Ok(DialedConnection { io: PlainOrTlsStream::Tls(Box::new(stream)), over, cut: None })
    }

    async fn tcp(&self, place: Uri) -> io::Result<TcpStream> {
        let (host, port) = host_and_port(&place);
        let stream = match &self.reach {
            AddressReach::Anywhere => omnirelay_dial::tcp(host, port).await?,
            AddressReach::Outside { store } => connect_outside((host, port), store).await?,
        };
        settle(&stream)?;
        Ok(stream)
    }
}

/// Where an address of HTTP leads: the host without brackets.
fn host_and_port(place: &Uri) -> (&str, u16) {
    let host = place.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let of_scheme = if place.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    (host, place.port_u16().unwrap_or(of_scheme))
}

/// Has small messages sent at once, and a connection end whose other end is gone without a word.
fn settle(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENT)?;
    sockopt::set_tcp_keepintvl(stream, SILENT)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, u32::try_from(UNANSWERED.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}

impl tower::Service<Uri> for LiveTlsConnector {
    type Response = TokioIo<DialedConnection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<DialedConnection>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        let (within, connecting) = (self.within, self.clone().connect(place));
        Box::pin(async move {
            let connected = tokio::time::timeout(within, connecting).await;
            connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        })
    }
}

/// Becomes ready once a connection has to end, and says why. `None`: neither end was judged by the mesh.
fn over(
    tls: &LiveTlsClient,
    judged_by: Arc<TrustSnapshot>,
    chain: Option<&[CertificateDer<'static>]>,
) -> Option<BoxFuture<'static, &'static str>> {
    let believed = chain.filter(|_| tls.believes().is_judged_by_mesh());
    let server = believed.and_then(|chain| Some((Certificate::read(chain.first()?).ok()?, chain.to_vec())));
    let own = judged_by.own.clone().filter(|_| *tls.shows() == ClientCertificate::Node);
    if server.is_none() && own.is_none() {
        return None;
    }
    let trust = tls.trust().clone();
    Some(Box::pin(async move {
        let server = async {
            let Some((certificate, chain)) = &server else { return std::future::pending().await };
            let believed = (unix_now(), ChainUsage::Server);
            let standing = judged_by.standing(certificate, chain, believed).unwrap_or_default();
            trust.ended(judged_by, certificate, (chain, &standing), ChainUsage::Server).await
        };
        let own = async {
            let Some(own) = own else { return std::future::pending().await };
            trust.own_ended(&own.leaf).await
        };
        tokio::select! {
            why = server => why,
            why = own => why,
        }
    }))
}

/// A connection that was opened.
pub struct DialedConnection {
    io: PlainOrTlsStream,
    over: Option<BoxFuture<'static, &'static str>>,
    /// Why it was ended here.
    cut: Option<&'static str>,
}

enum PlainOrTlsStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl fmt::Debug for DialedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnConnection").field("cut", &self.cut).finish_non_exhaustive()
    }
}

impl DialedConnection {
    /// What it is read and written by.
    ///
    /// # Errors
    /// When it has to end.
    fn io(self: Pin<&mut Self>, cx: &mut Context<'_>) -> io::Result<Pin<&mut (dyn DuplexIo + 'static)>> {
        let this = self.get_mut();
        if let Some(Poll::Ready(why)) = this.over.as_mut().map(|over| over.as_mut().poll(cx)) {
            tracing::info!(why, "connection of this daemon's own cut");
            (this.over, this.cut) = (None, Some(why));
        }
        if let Some(why) = this.cut {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("it was ended here: {why}"),
            ));
        }
        Ok(match &mut this.io {
            PlainOrTlsStream::Plain(stream) => Pin::new(stream),
            PlainOrTlsStream::Tls(stream) => Pin::new(stream.as_mut()),
        })
    }
}

trait DuplexIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> DuplexIo for T {}

impl AsyncRead for DialedConnection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.io(cx)?.poll_read(cx, into)
    }
}

impl AsyncWrite for DialedConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io(cx)?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            PlainOrTlsStream::Plain(stream) => stream.is_write_vectored(),
            PlainOrTlsStream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io(cx)?.poll_write_vectored(cx, bytes)
    }
}

impl Connection for DialedConnection {
    fn connected(&self) -> Connected {
        let is_http2 = match &self.io {
            PlainOrTlsStream::Plain(_) => false,
            PlainOrTlsStream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        };
        if is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

/// Posts to HTTP servers. Connections are used again while both ends are who they were.
#[derive(Clone, Debug)]
pub struct LiveHttpClient(Client<LiveTlsConnector, Full<Bytes>>);

impl LiveHttpClient {
    /// A client whose connections have so long to be open.
    pub fn new(tls: Arc<LiveTlsClient>, connect_within: Duration) -> Self {
        Self::by(LiveTlsConnector::new(tls, connect_within))
    }

    /// A client that opens its connections so.
    pub fn by(connector: LiveTlsConnector) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        // The other end may be gone behind something that acknowledges for it.
        builder.http2_keep_alive_interval(SILENT).http2_keep_alive_timeout(UNANSWERED);
        Self(builder.build(connector))
    }

    /// Answers once the head of the answer is there; how long that may take is the caller's to say.
    ///
    /// # Errors
    /// When nobody answers. The address is not repeated.
    pub async fn post(
        &self,
        url: &reqwest::Url,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, PostError> {
        self.post_with(url, content_type, HeaderMap::new(), body.into()).await
    }

    /// The same with further headers, which do not replace those that every post has.
    ///
    /// # Errors
    /// As of [`Self::post`].
    pub async fn post_with(
        &self,
        url: &reqwest::Url,
        content_type: &'static str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, PostError> {
        let mut request = Request::post(url.as_str()).body(Full::from(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let agent = HeaderValue::from_static(concat!("omnirelayd/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        Ok(self.0.request(request).await?)
    }
}

/// Reason why a post was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("the address is none of HTTP")]
    Address(#[from] http::Error),
    #[error("the server did not answer")]
    Unanswered(#[from] Error),
}

impl PostError {
    /// Whether there was no connection.
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Unanswered(error) => error.is_connect(),
        }
    }
}

#[cfg(test)]
#[path = "connector_test.rs"]
mod tests;
