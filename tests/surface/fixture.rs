//! The fixture's operations, a daemon that serves them on a real socket, and clients to call it with.

use omnirelay_wire::tls::nobody;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use omnirelay_fixture::fixture::v1::fixture_service_client::FixtureServiceClient;
use omnirelay_fixture::fixture::v1::fixture_service_server::{FixtureService, FixtureServiceServer};
use omnirelay_fixture::fixture::v1::{
    CountRequest, CountResponse, EchoRequest, EchoResponse, FollowResponse, Inner, Numbers, OfferRequest,
    OfferResponse, PutRequest, PutResponse, ScopeRequest, ScopeResponse,
};
use omnirelay_identity::authenticate::Authenticator;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::tls::ListenerTls;
use omnirelay_surface::{
    DrainOutcome, ListenerLimits, OMNIRELAY, ServiceDefinition, Surface, SurfaceBuilder, serve_with,
};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::{Code, Fault};
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::reasons::Reason;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

const THING_NOT_FOUND: Reason = Reason { name: "THING_NOT_FOUND", code: Code::NotFound, means: "", next: "" };
const COUNTER_GONE: Reason = Reason { name: "COUNTER_GONE", code: Code::Unavailable, means: "", next: "" };

pub(crate) static FIXTURE: ServiceDefinition =
    ServiceDefinition { descriptors: omnirelay_fixture::DESCRIPTORS, methods: omnirelay_fixture::METHODS };

/// The operations. What they do is chosen by the request, so that every test can share them.
#[derive(Clone, Default)]
pub(crate) struct Operations {
    /// Streams that are open now.
    pub streams: Arc<AtomicUsize>,
    /// Messages that streams were asked for.
    pub produced: Arc<AtomicUsize>,
}

/// Counts a stream as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Operations {
    async fn answer(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::internal("no caller in the extensions"))?;
        let request = request.into_inner();
        match request.name.as_str() {
            "missing" => {
                let fault = Fault::new(THING_NOT_FOUND, "there is no thing `missing`")
                    .hint("list the things")
                    .detail("thing", "missing");
                return Err(fault.into());
            }
            "bare" => return Err(Status::already_exists("it is there already")),
            "secret" => return Err(Status::internal("the password is hunter2")),
            "unknown" => return Err(Status::unknown("the password is hunter2")),
            "panic" => panic!("the password is hunter2"),
            "slow" => tokio::time::sleep(Duration::from_secs(30)).await,
            _ => {}
        }
        let etag = format!("\"{}\"", request.int32_field);
        let seen = caller.has_seen(&etag);
        let principal = format!(
            "{} key={:?} match={:?} id={}",
            caller.principal, caller.idempotency_key, caller.if_match, caller.request_id
        );
        let mut response = Response::new(EchoResponse { request: Some(request), principal });
        let metadata = response.metadata_mut();
        metadata.insert("etag", etag.parse().unwrap());
        metadata.insert("omnirelay-cursor", "1:42".parse().unwrap());
        metadata.insert("x-internal", "hidden".parse().unwrap());
        if seen {
            metadata.insert("omnirelay-not-modified", "1".parse().unwrap());
        }
        Ok(response)
    }
}

fn protocol_of<T>(request: &Request<T>) -> String {
    request.extensions().get::<Caller>().unwrap().protocol.negotiated().to_owned()
}

fn scope_answer(method: &str, request: Request<ScopeRequest>) -> Result<Response<ScopeResponse>, Status> {
    let protocol = protocol_of(&request);
    let request = Some(request.into_inner());
    Ok(Response::new(ScopeResponse { method: method.to_owned(), request, protocol }))
}

fn offered(mut request: OfferRequest) -> OfferResponse {
    let text_bytes = request.offer.as_ref().map_or(0, |offer| offer.text.len() as u64);
    if text_bytes > 1024 {
        request.offer = None;
    }
    let counted = |number: u32| Numbers { uint64_field: number.into(), ..Numbers::default() };
    request.offers.extend((1..=request.count).map(counted));
    OfferResponse { name: request.name, offer: request.offer, offers: request.offers, text_bytes }
}

#[tonic::async_trait]
impl FixtureService for Operations {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.answer(request).await
    }

    async fn find(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.answer(request).await
    }

    async fn lenient(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        self.answer(request).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        if request.name == "slow" {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        Ok(Response::new(PutResponse { inner: request.inner }))
    }

    async fn get_scope(&self, request: Request<ScopeRequest>) -> Result<Response<ScopeResponse>, Status> {
        scope_answer("get", request)
    }

    async fn scope_history(&self, request: Request<ScopeRequest>) -> Result<Response<ScopeResponse>, Status> {
        scope_answer("history", request)
    }

    async fn transfer_scope(
        &self,
        request: Request<ScopeRequest>,
    ) -> Result<Response<ScopeResponse>, Status> {
        scope_answer("transfer", request)
    }

    async fn scope_leader(&self, request: Request<ScopeRequest>) -> Result<Response<ScopeResponse>, Status> {
        scope_answer("leader", request)
    }

    /// Says how long the offer's text is, and not the text: it may be longer than a client's answers.
    async fn offer(&self, request: Request<OfferRequest>) -> Result<Response<OfferResponse>, Status> {
        Ok(Response::new(offered(request.into_inner())))
    }

    async fn list_offers(&self, request: Request<OfferRequest>) -> Result<Response<OfferResponse>, Status> {
        let answer = offered(request.into_inner());
        if answer.name == "missing" {
            return Err(Fault::new(THING_NOT_FOUND, "there is no thing `missing`").into());
        }
        let mut response = Response::new(answer);
        response.metadata_mut().insert("etag", "\"offers\"".parse().unwrap());
        Ok(response)
    }

    type FollowOffersStream =
        Pin<Box<dyn Stream<Item = Result<EncodedMessage<OfferResponse>, Status>> + Send>>;

    async fn follow_offers(
        &self,
        request: Request<OfferRequest>,
    ) -> Result<Response<Self::FollowOffersStream>, Status> {
        let answer = offered(request.into_inner());
        Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(answer.into())]))))
    }

    type TalkStream = Pin<Box<dyn Stream<Item = Result<RawMessage, Status>> + Send>>;

    /// With `stubborn` in its metadata it does not care for how its stream ends, and goes on for ever.
    async fn talk(
        &self,
        request: Request<Streaming<RawMessage>>,
    ) -> Result<Response<Self::TalkStream>, Status> {
        let stubborn = request.metadata().contains_key("stubborn");
        self.streams.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.streams));
        let heard = request.into_inner().flat_map(move |heard| {
            let _open = &open;
            let said = match heard {
                Err(_) if stubborn => vec![],
                Err(status) => vec![Ok(RawMessage("bye".into())), Err(status)],
                Ok(message) => vec![Ok(message)],
            };
            futures_util::stream::iter(said)
        });
        if stubborn {
            return Ok(Response::new(Box::pin(heard.chain(futures_util::stream::pending()))));
        }
        Ok(Response::new(Box::pin(heard)))
    }

    async fn withdraw_offer(
        &self,
        request: Request<OfferRequest>,
    ) -> Result<Response<OfferResponse>, Status> {
        Ok(Response::new(offered(request.into_inner())))
    }

    type FollowStream = Pin<Box<dyn Stream<Item = Result<EncodedMessage<FollowResponse>, Status>> + Send>>;

    /// Counts from after `since` to `up_to`, then fails with `fail_with` unless that is empty.
    async fn follow(&self, request: Request<CountRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let protocol = protocol_of(&request);
        let request = request.into_inner();
        let numbers = request.since.parse().unwrap_or(0) + 1..=request.up_to;
        let messages = numbers.map(move |number| {
            let inner = Inner { text: protocol.clone(), big: number.into() };
            let message = FollowResponse {
                cursor: if number % 4 == 0 { String::new() } else { number.to_string() },
                inner: (number % 2 == 1).then_some(inner),
            };
            Ok(message.into())
        });
        let failed = (!request.fail_with.is_empty()).then(|| Err(Status::unavailable(request.fail_with)));
        Ok(Response::new(Box::pin(futures_util::stream::iter(messages.chain(failed)))))
    }

    type CountStream = Pin<Box<dyn Stream<Item = Result<EncodedMessage<CountResponse>, Status>> + Send>>;

    /// Counts from after `since` to `up_to`, then ends as `fail_with` says: with its error, in a panic, or
    /// (`hang`) not at all. `up_to` 0 with `refuse` fails before the stream begins.
    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        let request = request.into_inner();
        if request.fail_with == "refuse" {
            return Err(Status::failed_precondition("not now"));
        }
        self.streams.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.streams));
        let produced = Arc::clone(&self.produced);
        let first = request.since.parse().unwrap_or(0) + 1;
        let stream = futures_util::stream::unfold((first, open), move |(number, open)| {
            let (request, produced) = (request.clone(), Arc::clone(&produced));
            async move {
                if number <= request.up_to {
                    produced.fetch_add(1, Ordering::SeqCst);
                    let message = CountResponse { number, cursor: number.to_string() };
                    return Some((Ok(message.into()), (number + 1, open)));
                }
                match request.fail_with.as_str() {
                    "" => None,
                    "hang" => std::future::pending().await,
                    "panic" => {
                        // What was sent before is on its way by then.
                        tokio::task::yield_now().await;
                        panic!("the password is hunter2")
                    }
                    "secret" => Some((Err(Status::internal("the password is hunter2")), (number, open))),
                    words => {
                        let fault = Fault::new(COUNTER_GONE, words);
                        Some((Err(fault.into()), (number, open)))
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A daemon that serves the fixture (and nothing else) on a port of its own.
pub(crate) struct Served {
    pub address: SocketAddr,
    pub surface: Surface,
    pub operations: Operations,
    pub http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<DrainOutcome>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder, ListenerLimits::default()).await
    }

    pub(crate) async fn start_as(authenticator: impl Authenticator) -> Self {
        Self::start_with(|builder| builder.authenticator(authenticator), ListenerLimits::default()).await
    }

    pub(crate) async fn start_with(
        configure: impl FnOnce(SurfaceBuilder) -> SurfaceBuilder,
        limits: ListenerLimits,
    ) -> Self {
        Self::start_under(None, configure, limits).await
    }

    pub(crate) async fn start_under(
        tls: Option<Arc<ListenerTls>>,
        configure: impl FnOnce(SurfaceBuilder) -> SurfaceBuilder,
        limits: ListenerLimits,
    ) -> Self {
        let operations = Operations::default();
        let service = FixtureServiceServer::new(operations.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let builder = Surface::builder([OMNIRELAY, FIXTURE]).service(service);
        let surface = configure(builder).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve_with(listener, tls, surface.clone(), limits, async move {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().tls_backend_preconfigured(nobody()).no_proxy().build().unwrap();
        Self { address, surface, operations, http, stop: Some(stop), running }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, json: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.http.post(self.url(path)).header("content-type", "application/json");
        request.body(json).send().await.unwrap()
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        tonic::transport::Endpoint::from_shared(self.url("")).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn grpc(&self) -> FixtureServiceClient<tonic::transport::Channel> {
        FixtureServiceClient::new(self.channel().await)
    }

    /// Tells the listener to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the listener has stopped.
    pub(crate) async fn stopped(self) -> DrainOutcome {
        self.running.await.unwrap()
    }
}

/// The JSON of an answer.
pub(crate) async fn json(response: reqwest::Response) -> serde_json::Value {
    let bytes = response.bytes().await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}"))
}

/// A header of an answer.
pub(crate) fn header<'r>(response: &'r reqwest::Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}
