//! Network between simulated clusters: calls reach the other cluster's source in the same process, unless something is cut.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    /// Some of what is sent is refused, some never arrives.
    Lossy,
}

/// Listener of acknowledgements, as they are sent.
type HearsAcknowledged = Box<dyn Fn(&AcknowledgeDomainRequest) + Send + Sync>;

/// Tear of an answer, in the middle of a frame.
#[derive(Default)]
struct FrameTear {
    /// How many frames of answers come until one is torn; 0: none is.
    after: AtomicU32,
    /// Whether one was.
    is_met: AtomicBool,
}

/// Network of a simulation.
pub(super) struct SimulatedNetwork {
    /// Sources of clusters that run, by their names.
    sources: Mutex<BTreeMap<String, Arc<ReplicationSource>>>,
    /// Ways by the cluster to which they lead.
    ways: BTreeMap<&'static str, watch::Sender<WayState>>,
    tear: Arc<FrameTear>,
    hears: HearsAcknowledged,
}

impl SimulatedNetwork {
    /// Of clusters with these names.
    pub(super) fn new(names: &[&'static str], hears: HearsAcknowledged) -> Arc<Self> {
        let ways = names.iter().map(|to| (*to, watch::Sender::default())).collect();
        Arc::new(Self { sources: Mutex::default(), ways, tear: Arc::default(), hears })
    }

    pub(super) fn put(&self, cluster: &str, source: Option<Arc<ReplicationSource>>) {
        let mut sources = self.sources.lock();
        match source {
            Some(source) => drop(sources.insert(cluster.to_owned(), source)),
            None => drop(sources.remove(cluster)),
        }
    }

    /// Sets the way to one cluster, or to all.
    pub(super) fn set(&self, to: Option<&str>, state: WayState) {
        let ways = self.ways.iter().filter(|(name, _)| to.is_none_or(|to| to == **name));
        ways.for_each(|(_, way)| {
            way.send_replace(state);
        });
    }

    /// Tears an answer in the middle of the frame that comes after so many.
    pub(super) fn tear_after(&self, frames: u32) {
        self.tear.after.store(frames, Ordering::Relaxed);
    }

    pub(super) fn has_torn(&self) -> bool {
        self.tear.is_met.load(Ordering::Relaxed)
    }

    /// The way by which a cluster is reached from another one, and the one by which it answers.
    fn ways(&self, from: &str, to: &str) -> [&watch::Sender<WayState>; 2] {
        [to, from].map(|name| &self.ways[name])
    }
}

/// Lets a message pass, if the way is open.
async fn pass(way: &watch::Sender<WayState>) -> Result<(), &'static str> {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..20))).await;
    let state = *way.borrow();
    match state {
        WayState::Open => Ok(()),
        WayState::Refused => Err("refused"),
        WayState::Silent => pending().await,
        WayState::Lossy => match fastrand::u32(0..10) {
            0..3 => Err("lost"),
            3..5 => pending().await,
            _ => Ok(()),
        },
    }
}

/// Ways of a simulated cluster to the others.
pub(super) struct SimulatedWays {
    pub from: &'static str,
    pub network: Arc<SimulatedNetwork>,
}

impl SourceWays for SimulatedWays {
    fn channel(&self, cluster: &str, _: &str) -> Result<MeshChannel, String> {
        Ok(MeshChannel::over(Arc::new(SimulatedConnection {
            from: self.from,
            to: cluster.to_owned(),
            network: self.network.clone(),
        })))
    }

    fn keep_known(&self, _: &View) {}
}

struct SimulatedConnection {
    from: &'static str,
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
        let (from, to, network) = (self.from, self.to.clone(), self.network.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(CallError::Lost)?.to_bytes();
            if parts.uri.path().ends_with("/Acknowledge")
                && let Ok(asked) = AcknowledgeDomainRequest::decode(body.slice(5..))
            {
                (network.hears)(&asked);
            }
            let [way, back] = network.ways(from, &to);
            pass(way).await.map_err(|why| CallError::NotSent(why.into()))?;
            let source = network.sources.lock().get(&to).cloned();
            let source = source.ok_or_else(|| CallError::NotSent("nobody is there".into()))?;
            let mut request = Request::from_parts(parts, boxed(http_body_util::Full::new(body)));
            request.extensions_mut().insert(Caller::of_tests("sibling"));
            let alive = Arc::downgrade(&source);
            let mut server = ReplicationServiceServer::from_arc(source);
            let Ok(answer) = server.call(request).await;
            pass(back).await.map_err(|why| CallError::Lost(why.into()))?;
            let (state, tear) = (back.subscribe(), network.tear.clone());
            Ok(answer.map(|body| {
                boxed(SimulatedBody { body: boxed(body), state, tear, alive, is_torn: false, changed: None })
            }))
        }
        .boxed()
    }

    fn cut(&self, _: &'static str) {}
}

/// Answer that comes as long as the way is open.
struct SimulatedBody {
    body: Body,
    state: watch::Receiver<WayState>,
    tear: Arc<FrameTear>,
    is_torn: bool,
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
            WayState::Open | WayState::Lossy if self.alive.strong_count() == 0 => {
                Poll::Ready(Some(Err("the daemon has ended".into())))
            }
            _ if self.is_torn => Poll::Ready(Some(Err("the answer is torn".into()))),
            WayState::Open | WayState::Lossy => {
                let polled = Pin::new(&mut self.body).poll_frame(context);
                polled.map(|frame| frame.map(|frame| frame.map(|frame| self.torn(frame))))
            }
            WayState::Refused => Poll::Ready(Some(Err("the way is cut".into()))),
            WayState::Silent => Poll::Pending,
        }
    }
}

impl SimulatedBody {
    /// A frame as it comes: half of it, if this is the one that is torn.
    fn torn(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let left = self.tear.after.load(Ordering::Relaxed);
        self.tear.after.store(left.saturating_sub(1), Ordering::Relaxed);
        if left != 1 {
            return frame;
        }
        self.is_torn = true;
        self.tear.is_met.store(true, Ordering::Relaxed);
        frame.map_data(|data| data.slice(..data.len() / 2))
    }
}
