//! A peer: one other node, and the connections to it. Calls share them; whatever ends one has the next call open another.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::body::{Body, BoxError, boxed};
use crate::carrier::{
    CallError, CallTarget, Carrier, ClientTls, ConnectError, Connection, ConnectionEnd, ConnectionProtocol,
};
use crate::datagrams::UnsentDatagram;
use crate::negotiate::{Downgrade, HEAD_START, Http3Reachability, RaceOutcome, race};

/// How long a connection may take to be opened.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// At how many addresses a peer is looked for at most.
const ADDRESSES_MAX: usize = 4;
/// How soon after neither carrier came up it is tried again at the earliest; twice as late each time, up to [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How much of a request that comes in parts is kept so that it can be sent again, in bytes.
const KEPT_MAX: usize = 64 * 1024;
/// How often a request that was not taken is sent.
const TRIES: usize = 3;

/// Carriers that open connections to other nodes.
pub struct Carriers {
    /// `None`: this node uses no HTTP/3.
    pub http3: Option<Arc<dyn Carrier>>,
    pub http2: Arc<dyn Carrier>,
}

/// Hears what becomes of the connections to a peer.
pub trait PeerObserver: Send + Sync {
    /// A call goes over HTTP/2 from now on.
    fn downgraded(&self, why: Downgrade);
    /// A connection is open.
    fn connected(&self, protocol: ConnectionProtocol);
    /// A datagram has come from the peer.
    fn heard(&self, datagram: Bytes);
}

/// One other node.
pub struct Peer {
    carriers: Arc<Carriers>,
    tls: Arc<dyn ClientTls>,
    observer: Arc<dyn PeerObserver>,
    state: Mutex<State>,
    /// One after the other: all calls use what comes of it.
    connecting: tokio::sync::Mutex<()>,
}

struct State {
    /// Where it is said to be, the likeliest first; never none.
    targets: Vec<CallTarget>,
    /// Where it was reached: whoever was there has shown that it is this peer.
    proven: Option<CallTarget>,
    /// Whether the other node says that it serves HTTP/3.
    offers: bool,
    http3: Option<Arc<dyn Connection>>,
    http2: Option<Arc<dyn Connection>>,
    memory: Http3Reachability,
    failed: Option<ConnectFailure>,
    /// HTTP/3 is being tried again beside calls over HTTP/2.
    retries: bool,
}

impl State {
    /// Has the next call open a connection as if none had ever been tried.
    fn begin_anew(&mut self) {
        (self.http3, self.http2, self.failed) = (None, None, None);
        self.memory.forget();
    }

    /// Where it is tried to be reached, the likeliest first.
    fn tried(&self) -> Vec<CallTarget> {
        let mut tried = Vec::with_capacity(self.targets.len() + 1);
        for target in self.proven.iter().chain(&self.targets) {
            if !tried.contains(target) {
                tried.push(target.clone());
            }
        }
        tried.truncate(ADDRESSES_MAX);
        tried
    }

    /// Has a connection take no more calls; whether it took any.
    fn retire(&mut self, open: &Arc<dyn Connection>) -> bool {
        let mut known = [&mut self.http3, &mut self.http2].into_iter();
        known.any(|known| known.take_if(|known| Arc::ptr_eq(known, open)).is_some())
    }
}

/// Failure of both carriers to come up.
struct ConnectFailure {
    what: String,
    until: Instant,
    wait: Duration,
}

/// Properties of a call by which its way is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallPath {
    /// Whether the same is meant when it arrives twice, so that it may be sent again when nobody knows whether it did.
    pub repeatable: bool,
    /// Whether it moves much: HTTP/2 is used.
    pub bulk: bool,
}

impl CallPath {
    /// Of a small call that may arrive twice.
    pub const REPEATABLE: Self = Self { repeatable: true, bulk: false };
}

/// Carrier by which calls go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedCarrier {
    /// `None`: no connection is open.
    pub protocol: Option<ConnectionProtocol>,
    /// Why it is not HTTP/3.
    pub why: Option<Downgrade>,
    /// It is to be as long as nothing changes: HTTP/3 is not offered, or did not come up several times in a row.
    pub is_lasting: bool,
    pub rtt: Option<Duration>,
    /// No connection could be opened, several times in a row.
    pub is_unreachable: bool,
}

/// Reason why a call to a peer was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It was not sent.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Peer {
    pub fn new(
        carriers: Arc<Carriers>,
        tls: Arc<dyn ClientTls>,
        target: CallTarget,
        offers: bool,
        observer: Arc<dyn PeerObserver>,
    ) -> Arc<Self> {
        let state = State {
            targets: vec![target],
            proven: None,
            offers,
            http3: None,
            http2: None,
            memory: Http3Reachability::default(),
            failed: None,
            retries: false,
        };
        let (state, connecting) = (Mutex::new(state), tokio::sync::Mutex::default());
        Arc::new(Self { carriers, tls, observer, state, connecting })
    }

    /// Says where the peer is now, and whether it serves HTTP/3. Connections to where it was take no more calls.
    pub fn is_at(&self, target: CallTarget, offers: bool) {
        let mut state = self.state.lock();
        if state.targets.as_slice() != std::slice::from_ref(&target) || state.offers != offers {
            state.begin_anew();
            (state.targets, state.proven, state.offers) = (vec![target], None, offers);
        }
    }

    /// Says where the peer may be, the likeliest first, and whether it serves HTTP/3, as far as was heard. Whoever is there has to
    /// show that it is this peer; as long as a connection is open it is used, and where the last one was is tried first.
    pub fn may_be_at(&self, targets: Vec<CallTarget>, offers: bool) {
        if targets.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.targets != targets {
            // Nobody knows whether it can be reached there.
            state.failed = None;
            state.targets = targets;
        }
        state.offers = offers;
    }

    /// Address where the peer is, `host:port`.
    pub fn address(&self) -> String {
        let state = self.state.lock();
        state
            .proven
            .as_ref()
            .or(state.targets.first())
            .map(|target| target.address.clone())
            .unwrap_or_default()
    }

    /// Carrier by which calls go now.
    pub fn used(&self) -> UsedCarrier {
        let state = self.state.lock();
        let open = [&state.http3, &state.http2].into_iter().flatten().find(|open| open.is_open());
        let protocol = open.map(|open| open.protocol());
        let is_offered = self.may_http3(&state);
        let why = match protocol {
            Some(ConnectionProtocol::Http3) => None,
            Some(ConnectionProtocol::Http2) | None => {
                state.memory.why().or((!is_offered).then_some(Downgrade::NotOffered))
            }
        };
        let is_lasting = why.is_some() && (!is_offered || state.memory.is_repeated());
        // Once may be a node that is being started.
        let is_unreachable =
            protocol.is_none() && state.failed.as_ref().is_some_and(|failed| failed.wait > AGAIN);
        UsedCarrier { protocol, why, is_lasting, rtt: open.and_then(|open| open.rtt()), is_unreachable }
    }

    /// Sends a datagram over the connection that is open, if there is one over QUIC; it may be lost.
    ///
    /// # Errors
    /// [`UnsentDatagram`]. A call opens a connection.
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), UnsentDatagram> {
        let open = self.state.lock().http3.clone();
        open.ok_or(UnsentDatagram::NoConnection)?.send_datagram(datagram)
    }

    /// Has what is sent next open another connection, as where the peer has started again. Calls under way go on.
    pub fn reconnect(&self) {
        self.state.lock().begin_anew();
    }

    /// Has HTTP/2 used for a while, as datagrams do not come through and calls do.
    pub fn give_up_http3(&self) {
        let mut state = self.state.lock();
        if state.http3.take().is_some() {
            state.memory.note_failure(Downgrade::Lost, Instant::now());
            drop(state);
            self.observer.downgraded(Downgrade::Lost);
        }
    }

    /// Sends a request, and answers once the head of its answer is there, whose extensions have the [`ConnectionProtocol`]. What the peer
    /// has not taken is sent again, and what it may have taken where that is the same.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn call(
        self: &Arc<Self>,
        request: Request<Body>,
        way: CallPath,
    ) -> Result<Response<Body>, PeerError> {
        let (head, body) = request.into_parts();
        let mut body = ResendableBody::of(body).await;
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = self.connection(way).await?;
            let Some((now, kept)) = body.next() else {
                return Err(PeerError::Unreachable("the request can be sent only once".to_owned()));
            };
            body = kept;
            let answered = connection.call(Request::from_parts(head.clone(), now)).await;
            let error = match answered {
                Ok(mut response) => {
                    response.extensions_mut().insert(connection.protocol());
                    return Ok(response);
                }
                Err(error) => error,
            };
            self.note(&connection, &error);
            let again = match &error {
                CallError::NotSent(_) => true,
                CallError::TooLarge(_) => false,
                CallError::Lost(_) => way.repeatable && !connection.is_open(),
            };
            if !again || tries >= TRIES || body.is_sent() {
                return Err(error.into());
            }
        }
    }

    /// Notes what a failed call says of its connection.
    fn note(&self, connection: &Arc<dyn Connection>, error: &CallError) {
        let is_gone = matches!(error, CallError::NotSent(_)) || !connection.is_open();
        if !is_gone {
            return;
        }
        let mut state = self.state.lock();
        // Of all calls that fail with it one alone tells.
        if state.retire(connection) && connection.is_silent() {
            state.memory.note_failure(Downgrade::Lost, Instant::now());
            drop(state);
            self.observer.downgraded(Downgrade::Lost);
        }
    }

    fn may_http3(&self, state: &State) -> bool {
        state.offers && self.carriers.http3.is_some()
    }

    /// The connection for a call: one that is open, else a new one.
    async fn connection(self: &Arc<Self>, way: CallPath) -> Result<Arc<dyn Connection>, PeerError> {
        if let Some(open) = self.open(way) {
            return Ok(open);
        }
        // Whoever asked may go away; what comes of it is noted for the others.
        let peer = Arc::clone(self);
        let connecting = tokio::spawn(async move { peer.connect_once(way).await });
        connecting.await.unwrap_or_else(|_| Err(PeerError::Unreachable("the daemon stops".to_owned())))
    }

    async fn connect_once(self: &Arc<Self>, way: CallPath) -> Result<Arc<dyn Connection>, PeerError> {
        let _one = self.connecting.lock().await;
        if let Some(open) = self.open(way) {
            return Ok(open);
        }
        let (targets, tries) = {
            let state = self.state.lock();
            if let Some(failed) = state.failed.as_ref().filter(|failed| Instant::now() < failed.until) {
                return Err(PeerError::Unreachable(failed.what.clone()));
            }
            let tries =
                self.may_http3(&state) && !way.bulk && state.memory.blocked_by(Instant::now()).is_none();
            (state.tried(), tries)
        };
        let dialled = first_of(targets, move |target| async move {
            let opened = match tries {
                true => self.negotiate(&target).await,
                false => self.connect(ConnectionProtocol::Http2, &target).await,
            };
            opened.map(|open| (target, open))
        });
        match dialled.await {
            Ok((target, open)) => Ok(self.keep(&target, open)),
            Err(error) => Err(self.note_unreachable(&error)),
        }
    }

    /// An open connection that a call of this kind may use.
    fn open(self: &Arc<Self>, way: CallPath) -> Option<Arc<dyn Connection>> {
        let mut state = self.state.lock();
        let is_open = |known: &Option<Arc<dyn Connection>>| known.clone().filter(|open| open.is_open());
        let http2 = is_open(&state.http2);
        if way.bulk {
            return http2;
        }
        if let Some(http3) = is_open(&state.http3) {
            return Some(http3);
        }
        let http2 = http2?;
        let target = state.proven.as_ref().or(state.targets.first()).cloned();
        if self.may_http3(&state)
            && state.memory.blocked_by(Instant::now()).is_none()
            && !state.retries
            && let Some(target) = target
        {
            // Beside the calls, which nobody has wait for what may not come up.
            state.retries = true;
            tokio::spawn(Arc::clone(self).try_http3(target));
        }
        Some(http2)
    }

    async fn try_http3(self: Arc<Self>, target: CallTarget) {
        let opened = self.connect(ConnectionProtocol::Http3, &target).await;
        let mut state = self.state.lock();
        state.retries = false;
        match opened {
            Ok(open) => {
                state.memory.forget();
                drop(state);
                self.keep(&target, open);
            }
            Err(error) => {
                // It was so before, and is told no second time.
                state.memory.note_failure(why(&error), Instant::now());
            }
        }
    }

    async fn negotiate(&self, target: &CallTarget) -> Result<Arc<dyn Connection>, ConnectError> {
        let begun = Instant::now();
        let http3 = self.connect(ConnectionProtocol::Http3, target);
        let http2 = self.connect(ConnectionProtocol::Http2, target);
        match race(http3, http2, HEAD_START).await {
            RaceOutcome::First(open) => {
                self.state.lock().memory.forget();
                Ok(open)
            }
            RaceOutcome::Second(open, error) => {
                let why = error.as_ref().map_or(Downgrade::NoAnswer, why);
                self.state.lock().memory.note_failure(why, Instant::now());
                self.observer.downgraded(why);
                Ok(open)
            }
            RaceOutcome::Neither(http3, http2) => {
                let http3 = http3.unwrap_or(ConnectError::TimedOut(begun.elapsed()));
                Err(ConnectError::Neither { http2: Box::new(http2), http3: Box::new(http3) })
            }
        }
    }

    async fn connect(
        &self,
        protocol: ConnectionProtocol,
        target: &CallTarget,
    ) -> Result<Arc<dyn Connection>, ConnectError> {
        let carrier = match (protocol, &self.carriers.http3) {
            (ConnectionProtocol::Http3, Some(http3)) => http3,
            (ConnectionProtocol::Http3, None) => {
                return Err(ConnectError::Failed("this node uses no HTTP/3".into()));
            }
            (ConnectionProtocol::Http2, _) => &self.carriers.http2,
        };
        let opened = timeout(CONNECT_WITHIN, carrier.connect(target, &*self.tls)).await;
        opened.unwrap_or(Err(ConnectError::TimedOut(CONNECT_WITHIN)))
    }

    /// Opens a connection of this kind beside what is used, as to measure it.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn measured(&self, protocol: ConnectionProtocol) -> Result<Arc<dyn Connection>, ConnectError> {
        let targets = self.state.lock().tried();
        first_of(targets, move |target| async move { self.connect(protocol, &target).await }).await
    }

    /// Has calls use a connection, until it has to end.
    fn keep(self: &Arc<Self>, target: &CallTarget, open: Arc<dyn Connection>) -> Arc<dyn Connection> {
        {
            let mut state = self.state.lock();
            state.failed = None;
            // It may be known to be elsewhere by now.
            if state.tried().contains(target) {
                state.proven = Some(target.clone());
                match open.protocol() {
                    ConnectionProtocol::Http3 => state.http3 = Some(open.clone()),
                    ConnectionProtocol::Http2 => state.http2 = Some(open.clone()),
                }
            }
        }
        self.observer.connected(open.protocol());
        let observer = self.observer.clone();
        open.hear(Box::new(move |datagram| observer.heard(datagram)));
        let Some(ends) = open.ends() else { return open };
        let (closed, peer, watched) = (open.closed(), Arc::downgrade(self), Arc::downgrade(&open));
        tokio::spawn(async move {
            let end = tokio::select! {
                end = ends => end,
                () = closed => return,
            };
            let Some(open) = watched.upgrade() else { return };
            if let Some(peer) = peer.upgrade() {
                peer.state.lock().retire(&open);
            }
            match end {
                ConnectionEnd::Retire(why) => tracing::debug!(why, "connection to a peer retired"),
                ConnectionEnd::Cut(why) => {
                    tracing::info!(why, "connection of this daemon's own cut");
                    open.cut(why);
                }
            }
        });
        open
    }

    fn note_unreachable(&self, error: &ConnectError) -> PeerError {
        let what = format!("{error}");
        let mut state = self.state.lock();
        let wait = state.failed.as_ref().map_or(AGAIN, |failed| (failed.wait * 2).min(AGAIN_MAX));
        // Not all at once.
        let jitter = RandomState::new().build_hasher().finish() % 256;
        let until = Instant::now()
            + wait / 2
            + (wait / 2).mul_f64(f64::from(u8::try_from(jitter).unwrap_or(0)) / 255.0);
        state.failed = Some(ConnectFailure { what: what.clone(), until, wait });
        PeerError::Unreachable(what)
    }
}

/// As [`omnirelay_dial::first_of`], of a peer.
async fn first_of<T, F>(targets: Vec<CallTarget>, dial: impl Fn(CallTarget) -> F) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let dialled = omnirelay_dial::first_of(targets, dial).await;
    dialled.map_err(|error| error.unwrap_or_else(|| ConnectError::Failed("no address of it is known".into())))
}

/// What a connection that was not opened says of HTTP/3.
fn why(error: &ConnectError) -> Downgrade {
    match error {
        ConnectError::TimedOut(_) => Downgrade::NoAnswer,
        ConnectError::Name { .. }
        | ConnectError::Tls(_)
        | ConnectError::Failed(_)
        | ConnectError::Neither { .. } => Downgrade::Refused,
    }
}

/// A body that may have to be sent again.
enum ResendableBody {
    Whole(Bytes),
    /// It is sent as it comes, once.
    Once(Body),
    Sent,
}

impl ResendableBody {
    /// Takes what is there already, which is all of a call with one message.
    async fn of(body: Body) -> Self {
        let (mut body, mut first, mut taken) = (body, Bytes::new(), BytesMut::new());
        while taken.len() <= KEPT_MAX {
            let Some(next) = body.frame().now_or_never() else {
                return Self::rest(first, taken, body);
            };
            match next {
                None if taken.is_empty() => return Self::Whole(first),
                None => return Self::Whole([first, taken.freeze()].concat().into()),
                Some(Ok(frame)) => match frame.into_data() {
                    // One message is kept as it is, however large.
                    Ok(data) if first.is_empty() => first = data,
                    Ok(data) => taken.extend_from_slice(&data),
                    // No client of ours sends trailers.
                    Err(_) => return Self::Whole([first, taken.freeze()].concat().into()),
                },
                Some(Err(error)) => {
                    let failed =
                        futures_util::stream::iter([Err::<http_body::Frame<Bytes>, BoxError>(error)]);
                    return Self::Once(boxed(StreamBody::new(failed)));
                }
            }
        }
        Self::rest(first, taken, body)
    }

    fn rest(first: Bytes, taken: BytesMut, body: Body) -> Self {
        let taken = [first, taken.freeze()].map(|data| Ok::<_, BoxError>(http_body::Frame::data(data)));
        let first = futures_util::stream::iter(taken);
        let rest = http_body_util::BodyStream::new(body);
        Self::Once(boxed(StreamBody::new(first.chain(rest))))
    }

    /// What is sent now, and what is left for another time.
    fn next(self) -> Option<(Body, Self)> {
        match self {
            Self::Whole(bytes) => Some((boxed(Full::new(bytes.clone())), Self::Whole(bytes))),
            Self::Once(body) => Some((body, Self::Sent)),
            Self::Sent => None,
        }
    }

    fn is_sent(&self) -> bool {
        matches!(self, Self::Sent)
    }
}
