//! Channels: what the generated clients of services call nodes by.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::HeaderName;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use omnirelay_transport::BoxError;
use omnirelay_transport::body::{InterruptibleBody, boxed};
use omnirelay_transport::carrier::{CallError, Connection, ConnectionProtocol};
use omnirelay_transport::negotiate::Downgrade;
use omnirelay_transport::peer::{CallPath, Peer, PeerError};

use super::call_span::{begin_span, ending_span};
use crate::metrics::TransportMetrics;

/// How long a call may take unless it says so itself.
const WITHIN: Duration = Duration::from_secs(10);
/// What every node of the mesh is called in requests.
const AUTHORITY: &str = "node.mesh";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Calls a node.
#[derive(Clone)]
pub struct MeshChannel {
    over: ChannelRoute,
    within: Duration,
    /// What it is called in requests.
    authority: Authority,
    /// Whether answers may go on for as long as they like, once they have begun.
    streams: bool,
}

#[derive(Clone)]
enum ChannelRoute {
    /// Whichever connection there is.
    Peer { peer: Arc<Peer>, way: CallPath, metrics: Option<Arc<TransportMetrics>> },
    /// This one, whatever becomes of it.
    Connection(Arc<dyn Connection>),
}

/// Reason why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("no answer in {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl MeshChannel {
    /// `metrics` counts the calls; `None`: they are none of the mesh.
    pub(super) fn to(peer: Arc<Peer>, way: CallPath, metrics: Option<Arc<TransportMetrics>>) -> Self {
        Self::by(ChannelRoute::Peer { peer, way, metrics })
    }

    /// Calls whoever is behind this connection, whatever becomes of it.
    pub fn over(connection: Arc<dyn Connection>) -> Self {
        Self::by(ChannelRoute::Connection(connection))
    }

    fn by(over: ChannelRoute) -> Self {
        Self { over, within: WITHIN, authority: Authority::from_static(AUTHORITY), streams: false }
    }

    /// Calls it by this name.
    #[must_use]
    pub(super) fn called(self, authority: Authority) -> Self {
        Self { authority, ..self }
    }

    /// With so much time for a call.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// With as much time as it takes for an answer that has begun.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }
}

type CallResult = Result<Response<omnirelay_transport::Body>, ChannelError>;

impl ChannelRoute {
    async fn call(self, request: Request<omnirelay_transport::Body>) -> CallResult {
        match self {
            Self::Connection(connection) => Ok(connection.call(request).await?),
            Self::Peer { peer, way, metrics } => {
                let answered = peer.call(request, way).await?;
                if let (Some(protocol), Some(metrics)) =
                    (answered.extensions().get::<ConnectionProtocol>(), metrics)
                {
                    let why = (*protocol == ConnectionProtocol::Http2).then(|| peer.used().why).flatten();
                    metrics.count_call(*protocol, if way.bulk { Some(Downgrade::Bulk) } else { why });
                }
                Ok(answered)
            }
        }
    }
}

impl tower::Service<Request<tonic::body::Body>> for MeshChannel {
    type Response = Response<omnirelay_transport::Body>;
    type Error = ChannelError;
    type Future = BoxFuture<'static, CallResult>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Self { over, within, authority, streams } = self.clone();
        let mut request = addressed(request, authority, (!streams).then_some(within));
        let span = begin_span(&mut request);
        Box::pin(async move {
            let late = tokio::time::sleep(within);
            let mut late: BoxFuture<'static, BoxError> = Box::pin(async move {
                late.await;
                ChannelError::TimedOut(within).into()
            });
            let answered = tokio::select! {
                answered = over.call(request) => answered?,
                _ = &mut late => return Err(ChannelError::TimedOut(within)),
            };
            let answered = ending_span(answered, span);
            // Whoever sends a head and then nothing is no better than who sends nothing.
            Ok(if streams {
                answered
            } else {
                answered.map(|body| boxed(InterruptibleBody::new(body, late)))
            })
        })
    }
}

/// The request as it is sent: with an address, and with the time it has.
fn addressed(
    request: Request<tonic::body::Body>,
    authority: Authority,
    within: Option<Duration>,
) -> Request<omnirelay_transport::Body> {
    let mut request = request.map(boxed);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority);
    // It has a path: each method has.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    if let Some(within) = within
        && !request.headers().contains_key(GRPC_TIMEOUT)
        && let Ok(value) = HeaderValue::try_from(format!("{}m", within.as_millis()))
    {
        request.headers_mut().insert(GRPC_TIMEOUT, value);
    }
    request
}
