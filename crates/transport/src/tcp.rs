//! TCP: connections that speak HTTP/2 under TLS.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::body::{Body, boxed};
use crate::carrier::{CallError, Carrier, ClientTls, ConnectError, Connection, Protocol, Target};

/// What is agreed on in the TLS handshake.
pub const ALPN: &[u8] = b"h2";

/// How long a connection may be silent before it is probed, and then to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How much of one stream the other side may send before it is read, in bytes; four times as much of all.
const STREAM_BYTES_MAX: u32 = 1024 * 1024;

/// Opens connections that speak HTTP/2.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Tcp {
    async fn open(to: &Target, tls: &dyn ClientTls) -> Result<Arc<dyn Connection>, ConnectError> {
        let mut config = tls.config().map_err(ConnectError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let stream = TcpStream::connect(&to.address).await.map_err(|error| failed(error.into()))?;
        // Small calls go out at once; an error here would only make them slower.
        let _ = stream.set_nodelay(true);
        let shaking = TlsConnector::from(Arc::new(config)).connect(to.name.clone(), stream);
        let stream = shaking.await.map_err(|error| failed(error.into()))?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(ALPN) {
            return Err(failed(io::Error::other("the other side speaks no HTTP/2").into()));
        }
        let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_BYTES_MAX)
            .initial_connection_window_size(STREAM_BYTES_MAX * 4);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
        let (cut, mut is_cut) = watch::channel(None::<&'static str>);
        let is_open = Arc::new(AtomicBool::new(true));
        let open = is_open.clone();
        // Ends with the connection.
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => match ended {
                    Ok(()) => tracing::debug!("HTTP/2 connection ended"),
                    Err(error) => tracing::debug!(%error, "HTTP/2 connection ended"),
                },
                // Not when the sender is dropped: calls may be under way.
                () = async { if is_cut.wait_for(Option::is_some).await.is_err() { std::future::pending().await } } => {}
            }
            open.store(false, Ordering::Relaxed);
        });
        Ok(Arc::new(Open { sender, chain, is_open, cut }))
    }
}

fn failed(error: crate::body::BoxError) -> ConnectError {
    ConnectError::Failed(error)
}

impl Carrier for Tcp {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn connect<'a>(
        &'a self,
        to: &'a Target,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(Self::open(to, tls))
    }
}

struct Open {
    sender: SendRequest<Body>,
    chain: Vec<CertificateDer<'static>>,
    is_open: Arc<AtomicBool>,
    cut: watch::Sender<Option<&'static str>>,
}

impl Connection for Open {
    fn protocol(&self) -> Protocol {
        Protocol::Http2
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    fn rtt(&self) -> Option<Duration> {
        None
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    fn is_silent(&self) -> bool {
        false
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        let mut sender = self.sender.clone();
        Box::pin(async move {
            sender.ready().await.map_err(|error| CallError::NotSent(error.into()))?;
            match sender.try_send_request(request).await {
                Ok(response) => Ok(response.map(boxed)),
                Err(mut error) => {
                    // It comes back where it was never on the connection.
                    let is_back = error.take_message().is_some();
                    let error = error.into_error().into();
                    Err(if is_back { CallError::NotSent(error) } else { CallError::Lost(error) })
                }
            }
        })
    }

    fn cut(&self, why: &'static str) {
        self.cut.send_replace(Some(why));
    }
}
