//! TCP: connections that speak HTTP/2 under TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::body::{Body, boxed};
use crate::carrier::{
    CallError, CallTarget, Carrier, ClientTls, ConnectError, Connection, ConnectionEnd, ConnectionProtocol,
    TlsStart,
};

/// What is agreed on in the TLS handshake.
pub const ALPN: &[u8] = b"h2";

/// How long a connection may be silent before it is probed, and then to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How much of one stream the other side may send before it is read, in bytes; four times as much of all.
const STREAM_BYTES_MAX: u32 = 1024 * 1024;

/// Opens connections that speak HTTP/2.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpCarrier;

impl TcpCarrier {
    async fn open(to: &CallTarget, tls: &dyn ClientTls) -> Result<Arc<dyn Connection>, ConnectError> {
        let TlsStart { mut config, ends } = tls.begin().map_err(ConnectError::Tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let (host, port) = to.place()?;
        let stream = omnirelay_dial::tcp(host, port).await.map_err(|error| failed(error.into()))?;
        // Small calls go out at once; an error here would only make them slower.
        let _ = stream.set_nodelay(true);
        let shaking = TlsConnector::from(Arc::new(config)).connect(to.name.clone(), stream);
        let stream = shaking.await.map_err(|error| failed(error.into()))?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(ALPN) {
            return Err(failed(io::Error::other("the other side speaks no HTTP/2").into()));
        }
        let chain = session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let tasks = ConnectionTasks::default();
        let mut builder = http2::Builder::new(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_BYTES_MAX)
            .initial_connection_window_size(STREAM_BYTES_MAX * 4);
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
        let open = watch::Sender::new(true);
        let closes = open.clone();
        // Ends with the connection.
        tasks.execute(async move {
            match connection.await {
                Ok(()) => tracing::debug!("HTTP/2 connection ended"),
                Err(error) => tracing::debug!(%error, "HTTP/2 connection ended"),
            }
            closes.send_replace(false);
        });
        let ends = Mutex::new(Some(ends(chain)));
        Ok(Arc::new(TcpConnection { sender, ends, open, tasks }))
    }
}

/// Tasks that run for one connection, so that all of them can be ended at once.
#[derive(Clone, Default)]
struct ConnectionTasks(Arc<Mutex<Vec<AbortHandle>>>);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(async move { drop(task.await) }).abort_handle());
    }
}

fn failed(error: crate::body::BoxError) -> ConnectError {
    ConnectError::Failed(error)
}

impl Carrier for TcpCarrier {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http2
    }

    fn connect<'a>(
        &'a self,
        to: &'a CallTarget,
        tls: &'a dyn ClientTls,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(Self::open(to, tls))
    }
}

struct TcpConnection {
    sender: SendRequest<Body>,
    ends: Mutex<Option<BoxFuture<'static, ConnectionEnd>>>,
    open: watch::Sender<bool>,
    /// Whoever drops it has them go on: calls may be under way.
    tasks: ConnectionTasks,
}

impl Connection for TcpConnection {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http2
    }

    fn ends(&self) -> Option<BoxFuture<'static, ConnectionEnd>> {
        self.ends.lock().take()
    }

    fn closed(&self) -> BoxFuture<'static, ()> {
        let mut is_open = self.open.subscribe();
        // Whoever would say so is gone with it.
        Box::pin(async move { drop(is_open.wait_for(|is_open| !is_open).await) })
    }

    fn rtt(&self) -> Option<Duration> {
        None
    }

    fn is_open(&self) -> bool {
        *self.open.borrow() && !self.sender.is_closed()
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
        tracing::debug!(why, "HTTP/2 connection cut");
        self.open.send_replace(false);
        self.tasks.0.lock().iter().for_each(AbortHandle::abort);
    }
}
