//! Network between simulated clusters: calls reach the other cluster's source in the same process, unless something is cut.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use omnirelay_identity::caller::Caller;
use omnirelay_node::transport::channel::MeshChannel;
use omnirelay_registry::view::View;
use omnirelay_transport::body::{Body, boxed};
use omnirelay_transport::carrier::{CallError, Connection, ConnectionEnd, ConnectionProtocol};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::AcknowledgeDomainRequest;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::replication_service_server::ReplicationServiceServer;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::watch;
use tower::Service as _;

use super::super::ReplicationSource;
use super::super::ways::SourceWays;

/// State of the way from one cluster to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WayState {
    #[default]
    Open,
    /// Calls are refused at once, and streams end.
    Refused,
    /// Nothing arrives, and nobody says so.
    Silent,
}

/// Listener of acknowledgements: it is told the cursor that is said to be durable.
type HearsAcknowledged = Box<dyn Fn(&str) + Send + Sync>;

/// Network of a simulation.
pub(super) struct SimulatedNetwork {
    /// Sources of clusters that run, by their names.
    sources: Mutex<BTreeMap<String, Arc<ReplicationSource>>>,
    state: watch::Sender<WayState>,
    delay: Duration,
    hears: HearsAcknowledged,
}

impl SimulatedNetwork {
    pub(super) fn new(delay: Duration, hears: HearsAcknowledged) -> Arc<Self> {
        Arc::new(Self { sources: Mutex::default(), state: watch::Sender::default(), delay, hears })
    }

    pub(super) fn put(&self, cluster: &str, source: Option<Arc<ReplicationSource>>) {
        let mut sources = self.sources.lock();
        match source {
            Some(source) => drop(sources.insert(cluster.to_owned(), source)),
            None => drop(sources.remove(cluster)),
        }
    }

    pub(super) fn set(&self, state: WayState) {
        self.state.send_replace(state);
    }

    async fn passes(&self) -> Result<(), CallError> {
        tokio::time::sleep(self.delay).await;
        let state = *self.state.borrow();
        match state {
            WayState::Open => Ok(()),
            WayState::Refused => Err(CallError::NotSent("refused".into())),
            WayState::Silent => pending().await,
        }
    }
}

/// Ways of a simulated cluster to the others.
pub(super) struct SimulatedWays(pub Arc<SimulatedNetwork>);

impl SourceWays for SimulatedWays {
    fn channel(&self, cluster: &str, _: &str) -> Result<MeshChannel, String> {
        Ok(MeshChannel::over(Arc::new(SimulatedConnection {
            to: cluster.to_owned(),
            network: self.0.clone(),
        })))
    }

    fn keep_known(&self, _: &View) {}
}

struct SimulatedConnection {
    to: String,
    network: Arc<SimulatedNetwork>,
}

impl Connection for SimulatedConnection {
    fn protocol(&self) -> ConnectionProtocol {
        ConnectionProtocol::Http2
    }

    fn ends(&self) -> Option<BoxFuture<'static, ConnectionEnd>> {
        None
    }

    fn closed(&self) -> BoxFuture<'static, ()> {
        pending().boxed()
    }

    fn rtt(&self) -> Option<Duration> {
        None
    }

    fn is_open(&self) -> bool {
        true
    }

    fn is_silent(&self) -> bool {
        false
    }

    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        let (to, network) = (self.to.clone(), self.network.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(CallError::Lost)?.to_bytes();
            if parts.uri.path().ends_with("/Acknowledge")
                && let Ok(asked) = AcknowledgeDomainRequest::decode(body.slice(5..))
            {
                (network.hears)(&asked.durable);
            }
            network.passes().await?;
            let source = network.sources.lock().get(&to).cloned();
            let source = source.ok_or_else(|| CallError::NotSent("nobody is there".into()))?;
            let mut request = Request::from_parts(parts, boxed(http_body_util::Full::new(body)));
            request.extensions_mut().insert(Caller::of_tests("sibling"));
            let alive = Arc::downgrade(&source);
            let mut server = ReplicationServiceServer::from_arc(source);
            let Ok(answer) = server.call(request).await;
            network.passes().await?;
            let state = network.state.subscribe();
            Ok(answer.map(|body| boxed(SimulatedBody { body: boxed(body), state, alive, changed: None })))
        }
        .boxed()
    }

    fn cut(&self, _: &'static str) {}
}

/// Answer that comes as long as the way is open.
struct SimulatedBody {
    body: Body,
    state: watch::Receiver<WayState>,
    /// The daemon that answers, until it has ended.
    alive: Weak<ReplicationSource>,
    /// Wakes whoever reads once the way is another one.
    changed: Option<BoxFuture<'static, ()>>,
}

impl http_body::Body for SimulatedBody {
    type Data = Bytes;
    type Error = omnirelay_transport::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut watched = self.state.clone();
        watched.mark_unchanged();
        let mut changed = async move { drop(watched.changed().await) }.boxed();
        let _ = changed.poll_unpin(context);
        self.changed = Some(changed);
        let state = *self.state.borrow();
        match state {
            WayState::Open if self.alive.strong_count() == 0 => {
                Poll::Ready(Some(Err("the daemon has ended".into())))
            }
            WayState::Open => Pin::new(&mut self.body).poll_frame(context),
            WayState::Refused => Poll::Ready(Some(Err("the way is cut".into()))),
            WayState::Silent => Poll::Pending,
        }
    }
}
