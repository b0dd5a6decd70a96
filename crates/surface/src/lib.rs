//! The surface: one listener that speaks gRPC, HTTP/JSON and server-sent events, all from one definition.
//!
//! A request passes the host check, gets an id, and finds its method: by its path when it is gRPC, by the
//! route its `google.api.http` rule declares when it is not. From there both go the same way through the
//! `pipeline`: authentication, scope, deadline, operation.

mod accept;
mod answer;
mod authority;
mod body;
mod builder;
mod call_judge;
mod call_trace;
mod caller_reach;
mod carried;
mod deadline;
mod dialect;
mod distinct;
mod frame;
mod guard;
mod head;
mod in_flight;
mod json;
mod leftover;
mod lines;
mod method;
mod observe;
mod openapi;
mod own_node;
mod pipeline;
mod places;
mod preface;
mod query;
mod quic;
mod rates;
mod received;
mod reflection;
mod required;
mod routes;
mod serve;
mod shape;
mod sse;
mod template;
mod unix;
mod unread;
mod writes_through;

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::header::{ALLOW, ALT_SVC, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use omnirelay_core::spiffe::SpiffeId;
use omnirelay_host::live::Live;
use omnirelay_identity::authenticate::AllowedHosts;
use omnirelay_identity::caller::{CallProtocol, PeerInfo, RequestId, RequestIds};
use omnirelay_identity::handshake::HandshakeFailure;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tonic::body::Body;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

pub use builder::{SurfaceBuilder, SurfaceError, TonicService};
pub use call_judge::{BeginningCall, CallHold, CallJudge};
pub use call_trace::{CallTrace, CallTracer, ChildSpan, EndedSpan, SpanKind, is_fault_of_server};
pub use deadline::CallDeadlines;
pub use method::{OMNIRELAY, ServiceDefinition};
pub use observe::{FailedHandshake, FinishedCall, RequestObserver};
pub use openapi::openapi;
pub use quic::{ConnectionCompanion, serve_quic};
pub use serve::{DrainOutcome, ListenerLimits, serve, serve_with};
pub use unix::serve_unix;

use answer::HttpRefusal;
use builder::NoRoute;
use caller_reach::{CallerReach, beyond};
use openapi::LazyDocument;
use pipeline::{Pipeline, fault_response, stamp, stamp_protocol};
use routes::{RouteMatch, RouteTable};

/// Everything a listener serves. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Surface {
    parts: Arc<SurfaceParts>,
}

struct SurfaceParts {
    /// The port where the same is served over HTTP/3; `None`: nowhere.
    http3: Option<Live<u16>>,
    pipeline: Pipeline,
    routes: RouteTable,
    hosts: Live<AllowedHosts>,
    request_ids: RequestIds,
    /// Routes made by hand, such as `/healthz`.
    extra: Router,
    health: HealthReporter,
    document: LazyDocument,
}

impl Surface {
    /// Begins a surface for the services these definitions define.
    pub fn builder(definitions: impl IntoIterator<Item = ServiceDefinition>) -> SurfaceBuilder {
        SurfaceBuilder::new(definitions)
    }

    /// Sets what gRPC health says of each service; the name `""` is the daemon as a whole.
    pub fn health(&self) -> HealthReporter {
        self.parts.health.clone()
    }

    /// Ends every stream with `UNAVAILABLE`, reason `DRAINING`, so that clients go elsewhere.
    ///
    /// Streams that begin later end at once; unary calls are served as before.
    pub fn drain(&self) {
        self.parts.pipeline.draining.send_replace(true);
    }

    /// Is ready once streams end.
    async fn draining(&self) {
        // The sender lives as long as the surface.
        let _ = self.parts.pipeline.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Tells of a handshake that came to nothing.
    fn tell_of_handshake(&self, cause: HandshakeFailure, host: IpAddr, named: Option<&SpiffeId>) {
        let pipeline = &self.parts.pipeline;
        pipeline.observer.unshaken(&FailedHandshake { port: pipeline.port, cause, host, named });
    }

    /// Serves one request of the peer.
    pub async fn handle(&self, request: Request<Body>, peer: &PeerInfo) -> Response<HttpBody> {
        let (version, grpc) = (request.version(), is_grpc(&request));
        let mut response = self.answer(request, peer, grpc).await;
        let protocol = if grpc { CallProtocol::of_grpc(version) } else { CallProtocol::of_http(version) };
        stamp_protocol(response.headers_mut(), protocol);
        let http3 = self.parts.http3.as_ref().filter(|_| !grpc && version != http::Version::HTTP_3);
        if let Some(alt_svc) = http3.and_then(|port| alt_svc(port.get())) {
            response.headers_mut().insert(ALT_SVC, alt_svc);
        }
        response
    }

    async fn answer(&self, request: Request<Body>, peer: &PeerInfo, grpc: bool) -> Response<HttpBody> {
        let request_id = self.parts.request_ids.of(request.headers());
        if !grpc && self.parts.pipeline.among_nodes {
            return only_grpc().answer(&request_id);
        }
        let hosts = self.parts.hosts.get();
        let checked = match &peer.user {
            Some(_) => hosts.check_at_socket(request.uri(), request.headers()),
            None => hosts.check(request.uri(), request.headers()),
        };
        if let Err(fault) = checked {
            self.tell_of_stranger(&request, peer, grpc, &fault, &request_id);
            return match grpc {
                true => fault_response(fault, &request_id).map(HttpBody::new),
                false => HttpRefusal::from(fault).answer(&request_id),
            };
        }
        if grpc {
            return self.parts.pipeline.grpc(request, peer, request_id).await.map(HttpBody::new);
        }
        let head = request.method() == http::Method::HEAD;
        // Boxed so that a call by gRPC does not keep room for it.
        let response = Box::pin(self.http(request, peer, request_id)).await;
        if head { without_body(response) } else { response }
    }

    /// Tells of a call that was turned away for where it came from.
    fn tell_of_stranger(
        &self,
        request: &Request<Body>,
        peer: &PeerInfo,
        grpc: bool,
        fault: &Fault,
        id: &RequestId,
    ) {
        let (pipeline, path) = (&self.parts.pipeline, request.uri().path());
        let found = if grpc {
            pipeline.find(path).map(|target| (&target.method, CallProtocol::of_grpc(request.version())))
        } else {
            match self.parts.routes.find(request.method(), path) {
                RouteMatch::Route { choice, .. } => choice.unary.as_ref().or(choice.stream.as_ref()),
                RouteMatch::WrongVerb(_) | RouteMatch::Nothing => None,
            }
            .map(|binding| (&binding.method, CallProtocol::of_http(request.version())))
        };
        match found {
            Some((method, protocol)) => pipeline.watch(method, protocol, peer, id.clone()).fail(fault),
            None => {
                pipeline.lines.refused(&shape::shortened(path), &pipeline.unknown, fault, peer.remote, id);
            }
        }
    }

    /// Refuses a request whose head is larger than is taken.
    fn refuse_head(&self, request: &Request<Body>, bytes_max: usize) -> Response<HttpBody> {
        let request_id = self.parts.request_ids.of(request.headers());
        let message = format!("the headers are larger than the {bytes_max} bytes that are taken");
        let fault = Fault::new(reasons::HEADERS_TOO_LARGE, message);
        if is_grpc(request) {
            return fault_response(fault, &request_id).map(HttpBody::new);
        }
        HttpRefusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, fault }.answer(&request_id)
    }

    async fn http(
        &self,
        request: Request<Body>,
        peer: &PeerInfo,
        request_id: RequestId,
    ) -> Response<HttpBody> {
        let (parts, body) = request.into_parts();
        let (path, reach) = (parts.uri.path().to_owned(), CallerReach::of(&peer.standing));
        match self.parts.routes.find(&parts.method, &path) {
            RouteMatch::Route { choice, values } => {
                let values = values.into_iter().map(str::to_owned).collect();
                let call = json::JsonCall { parts, peer, request_id, values };
                json::serve(&self.parts.pipeline, choice, call, body).await
            }
            RouteMatch::WrongVerb(_) | RouteMatch::Nothing if reach != CallerReach::ByScope => {
                let route = shape::shortened(&path);
                HttpRefusal::from(beyond(reach, &route, "the caller")).answer(&request_id)
            }
            RouteMatch::WrongVerb(verbs) if parts.method == http::Method::OPTIONS => {
                options(&verbs, &request_id)
            }
            RouteMatch::WrongVerb(verbs) => wrong_verb(&parts.method, &path, &verbs, &request_id),
            RouteMatch::Nothing if routes::canonical(&path) == openapi::PATH => {
                self.document(&parts.method, &parts.headers, &request_id)
            }
            RouteMatch::Nothing => self.extra(Request::from_parts(parts, body), &path, request_id).await,
        }
    }

    /// Serves the OpenAPI document.
    fn document(&self, verb: &http::Method, headers: &HeaderMap, id: &RequestId) -> Response<HttpBody> {
        let verbs = [http::Method::GET];
        match *verb {
            http::Method::GET | http::Method::HEAD => {}
            http::Method::OPTIONS => return options(&verbs, id),
            _ => return wrong_verb(verb, openapi::PATH, &verbs, id),
        }
        let document = &self.parts.document;
        let mut response = if headers.get(IF_NONE_MATCH) == Some(&document.etag) {
            let mut response = Response::new(HttpBody::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            match answer::json(
                document.json.clone(),
                headers,
                HeaderMap::new(),
                &self.parts.pipeline.in_flight,
            ) {
                Ok(response) => response,
                Err(fault) => return HttpRefusal::from(fault).answer(id),
            }
        };
        response.headers_mut().insert(ETAG, document.etag.clone());
        stamp(response.headers_mut(), id);
        response
    }

    /// Serves a route made by hand, or says that there is none.
    async fn extra(&self, request: Request<Body>, path: &str, request_id: RequestId) -> Response<HttpBody> {
        let mut response = match self.parts.extra.clone().oneshot(request.map(HttpBody::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if response.extensions().get::<NoRoute>().is_some() {
            return unknown_route(path).answer(&request_id);
        }
        stamp(response.headers_mut(), &request_id);
        response
    }
}

/// Lets the surface stand wherever a tower service can, once a layer has put [`PeerInfo`] in extensions.
impl<B> tower::Service<Request<B>> for Surface
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<HttpBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let surface = self.clone();
        let request = request.map(Body::new);
        Box::pin(async move {
            let peer = request.extensions().get::<Arc<PeerInfo>>().cloned();
            // Nobody is trusted for where they are unless the listener says where that is.
            let peer = peer.unwrap_or_else(|| Arc::new(PeerInfo::unknown()));
            Ok(surface.handle(request, &peer).await)
        })
    }
}

/// Header that says at which port the same is served over HTTP/3.
fn alt_svc(port: u16) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma=3600")).ok()
}

fn is_grpc(request: &Request<Body>) -> bool {
    let media = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = media.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        && request.method() == http::Method::POST
}

fn only_grpc() -> HttpRefusal {
    let mut refusal = HttpRefusal::with(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        reasons::UNSUPPORTED_MEDIA_TYPE,
        "the mesh port speaks gRPC alone: nodes call each other there".to_owned(),
    );
    refusal.fault = refusal.fault.hint("call the control port");
    refusal
}

fn unknown_route(path: &str) -> HttpRefusal {
    let shown = shape::shortened(path);
    let mut refusal = HttpRefusal::with(
        StatusCode::NOT_FOUND,
        reasons::ROUTE_UNKNOWN,
        format!("this daemon has no route `{shown}`"),
    );
    refusal.fault = refusal.fault.hint("its routes are listed at /control/openapi.json");
    refusal
}

fn wrong_verb(verb: &http::Method, path: &str, verbs: &[http::Method], id: &RequestId) -> Response<HttpBody> {
    let known = verbs.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    let (path, verb) = (shape::shortened(path), shape::shortened(verb.as_str()));
    let refusal = HttpRefusal::with(
        StatusCode::METHOD_NOT_ALLOWED,
        reasons::VERB_UNKNOWN,
        format!("`{path}` takes {known}, not {verb}"),
    );
    let mut response = refusal.answer(id);
    response.headers_mut().insert(ALLOW, answer::allow(verbs));
    response
}

fn options(verbs: &[http::Method], id: &RequestId) -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, answer::allow(verbs));
    stamp(response.headers_mut(), id);
    response
}

/// The head of an answer, with the length its body would have had.
fn without_body(response: Response<HttpBody>) -> Response<HttpBody> {
    let (mut parts, body) = response.into_parts();
    // Routes made by hand answer without a body, and have said already how long it would have been.
    if let Some(length) = body.size_hint().exact().filter(|_| !parts.headers.contains_key(CONTENT_LENGTH)) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, HttpBody::empty())
}

#[cfg(test)]
mod reused_connection_test;
#[cfg(test)]
mod stranger_test;
