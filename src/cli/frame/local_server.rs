//! HTTP server of a command, for whoever is on this machine or scrapes it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::prelude::*;

/// How long a head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long is waited where nothing can be accepted, as where files are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerLimits {
    pub connections_max: usize,
    /// How long a connection may last.
    pub connection_time: Duration,
}

/// Server over HTTP/1.1, until it is dropped.
pub(crate) struct LocalServer {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl LocalServer {
    /// Answers each request by `answer`.
    ///
    /// # Errors
    /// `LISTEN`, when nothing can listen at this address.
    pub(crate) async fn listen<A, F, B>(
        address: SocketAddr,
        limits: ServerLimits,
        answer: A,
    ) -> Result<Self, CliError>
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let cannot = |error| CliError::local(reasons::LISTEN, format!("cannot listen at {address}"), &error);
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let accepting = tokio::spawn(accept(listener, limits, answer)).abort_handle();
        Ok(Self { address, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<A, F, B>(listener: TcpListener, limits: ServerLimits, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let free = Arc::new(Semaphore::new(limits.connections_max));
    // They end with this.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever reads slowly is cut off, and an error is the other side's.
            let _ = tokio::time::timeout(limits.connection_time, connection).await;
            drop(permit);
        });
    }
}
