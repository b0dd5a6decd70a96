//! The surface: one listener that speaks gRPC, HTTP/JSON and server-sent events, all from one definition.
//!
//! A request passes the host check, gets an id, and finds its method: by its path when it is gRPC, by the
//! route its `google.api.http` rule declares when it is not. From there both go the same way through the
//! `pipeline`: authentication, scope, deadline, operation.

mod accept;
mod answer;
mod auth;
mod body;
mod caller;
mod deadline;
mod frame;
mod guard;
mod json;
mod method;
mod observe;
mod pipeline;
mod query;
mod routes;
mod serve;
mod shape;
mod sse;
mod template;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::ServiceExt as _;

pub use auth::{Authenticator, Hosts, Insecure, Loopback};
pub use caller::{Caller, IfMatch, PeerInfo, Principal, RequestId, Scope, Scopes};
pub use deadline::Deadlines;
pub use method::{Definition, OMNIRELAY};
pub use observe::{FinishedCall, Protocol, RequestObserver};
pub use serve::{Drained, Limits, serve};

use answer::Refusal;
use caller::RequestIds;
use method::Method;
use observe::Unobserved;
use pipeline::{GrpcService, Pipeline, Target, fault_response, stamp};
use routes::{Found, Routes};

use crate::wire::fault::Code;

/// Why a surface cannot be built: always a mistake in a definition, found at start.
#[derive(Debug, thiserror::Error)]
pub enum SurfaceError {
    #[error("the descriptors cannot be read")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    #[error("the descriptors lack the option `{option}`")]
    NoOption { option: &'static str },
    #[error("method {method} has no JSON converter: its table and its descriptors differ")]
    NoConverter { method: String },
    #[error("method {method} declares no known scope: `{scope}`")]
    UnknownScope { method: String, scope: String },
    #[error("method {method} cannot be reached at `{template}`: {why}")]
    Template { method: String, template: String, why: &'static str },
    #[error("service {service} is served but not defined")]
    Undefined { service: &'static str },
    #[error("reflection cannot be built from the descriptors")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Everything a listener serves. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Surface {
    parts: Arc<Parts>,
}

struct Parts {
    pipeline: Pipeline,
    routes: Routes,
    hosts: Hosts,
    request_ids: RequestIds,
    /// Routes made by hand, such as `/healthz`.
    extra: Router,
    health: HealthReporter,
}

/// Gathers what a [`Surface`] serves.
pub struct SurfaceBuilder {
    definitions: Vec<Definition>,
    services: HashMap<&'static str, Arc<dyn GrpcService>>,
    authenticator: Arc<dyn Authenticator>,
    observer: Arc<dyn RequestObserver>,
    hosts: Hosts,
    deadlines: Deadlines,
    extra: Router,
}

impl Surface {
    /// Begins a surface for the services these definitions define.
    pub fn builder(definitions: impl IntoIterator<Item = Definition>) -> SurfaceBuilder {
        SurfaceBuilder {
            definitions: definitions.into_iter().collect(),
            services: HashMap::new(),
            authenticator: Arc::new(Loopback::default()),
            observer: Arc::new(Unobserved),
            hosts: Hosts::default(),
            deadlines: Deadlines::default(),
            extra: Router::new(),
        }
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

    /// Serves one request of the peer.
    pub async fn handle(&self, request: Request<Body>, peer: &PeerInfo) -> Response<HttpBody> {
        let request_id = self.parts.request_ids.of(request.headers());
        let grpc = is_grpc(&request);
        if let Err(fault) = self.parts.hosts.check(request.uri(), request.headers()) {
            return match grpc {
                true => fault_response(fault, &request_id).map(HttpBody::new),
                false => Refusal::from(fault).answer(&request_id),
            };
        }
        if grpc {
            return self.parts.pipeline.grpc(request, peer, request_id).await.map(HttpBody::new);
        }
        let head = request.method() == http::Method::HEAD;
        let response = self.http(request, peer, request_id).await;
        if head { without_body(response) } else { response }
    }

    async fn http(
        &self,
        request: Request<Body>,
        peer: &PeerInfo,
        request_id: RequestId,
    ) -> Response<HttpBody> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        match self.parts.routes.find(&parts.method, &path) {
            Found::Route { choice, values } => {
                let values = values.into_iter().map(str::to_owned).collect();
                let call = json::Call { parts, peer, request_id, values };
                json::serve(&self.parts.pipeline, choice, call, body).await
            }
            Found::WrongVerb(verbs) if parts.method == http::Method::OPTIONS => options(&verbs, &request_id),
            Found::WrongVerb(verbs) => wrong_verb(&parts.method, &path, &verbs, &request_id),
            Found::Nothing => self.extra(Request::from_parts(parts, body), &path, request_id).await,
        }
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

impl SurfaceBuilder {
    /// Serves a generated tonic service; its routes follow from its definition.
    ///
    /// Whether its messages are compressed on gRPC is said on the service itself.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        self.services.insert(S::NAME, Arc::new(service));
        self
    }

    /// Says who proves callers; without it only loopback callers are let in.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Arc::new(authenticator);
        self
    }

    /// Says by which names the daemon may be called; without it only by those of this host.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Says who hears of finished calls.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn RequestObserver>) -> Self {
        self.observer = observer;
        self
    }

    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Adds routes made by hand, such as `/healthz`: they pass the host check, but no authentication.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.extra = self.extra.merge(routes);
        self
    }

    /// Puts the surface together.
    ///
    /// # Errors
    /// [`SurfaceError`] when a definition cannot be served as it is.
    pub fn build(self) -> Result<Surface, SurfaceError> {
        let described = method::describe(&self.definitions, |service| self.services.contains_key(service))?;
        let routes = Routes::of(&described)?;
        let (health, health_service) = health_reporter();
        let mut open = reflection(&self.definitions, &self.services)?;
        open.insert(named(&health_service), open_target("/grpc.health.v1.Health", health_service));
        let mut methods = HashMap::new();
        for described in &described {
            let name = described.descriptor.parent_service().full_name().to_owned();
            if let Some(service) = self.services.get(name.as_str()) {
                let target = Target { method: Arc::clone(&described.method), service: Arc::clone(service) };
                methods.insert(described.method.path, target);
            }
        }
        for service in self.services.keys() {
            let prefix = format!("/{service}/");
            if !methods.keys().any(|path: &&str| path.starts_with(&prefix)) {
                return Err(SurfaceError::Undefined { service });
            }
        }
        let pipeline = Pipeline {
            methods,
            open,
            authenticator: self.authenticator,
            observer: self.observer,
            deadlines: self.deadlines,
            unknown: "-".into(),
            draining: watch::Sender::new(false),
        };
        let extra = self.extra.fallback(no_route);
        let parts =
            Parts { pipeline, routes, hosts: self.hosts, request_ids: RequestIds::new(), extra, health };
        Ok(Surface { parts: Arc::new(parts) })
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

/// Reflection in both its versions, of what is served and of health.
fn reflection(
    definitions: &[Definition],
    services: &HashMap<&'static str, Arc<dyn GrpcService>>,
) -> Result<HashMap<&'static str, Target>, SurfaceError> {
    let configured = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection");
        let mut names: Vec<_> = services.keys().copied().collect();
        names.sort_unstable();
        for name in names {
            builder = builder.with_service_name(name);
        }
        definitions.iter().fold(builder, |builder, definition| {
            builder.register_encoded_file_descriptor_set(definition.descriptors)
        })
    };
    let v1 = configured().build_v1().map_err(SurfaceError::Reflection)?;
    let v1alpha = configured().build_v1alpha().map_err(SurfaceError::Reflection)?;
    Ok(HashMap::from([
        (named(&v1), open_target("/grpc.reflection.v1.ServerReflection", v1)),
        (named(&v1alpha), open_target("/grpc.reflection.v1alpha.ServerReflection", v1alpha)),
    ]))
}

fn named<S: NamedService>(_service: &S) -> &'static str {
    S::NAME
}

fn open_target(path: &'static str, service: impl GrpcService + 'static) -> Target {
    let method = Method { path, policy: None, streams: true };
    Target { method: Arc::new(method), service: Arc::new(service) }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let media = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = media.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        && request.method() == http::Method::POST
}

/// Marks the answer of the fallback of hand-made routes.
#[derive(Clone)]
struct NoRoute;

async fn no_route() -> axum::Extension<NoRoute> {
    axum::Extension(NoRoute)
}

fn unknown_route(path: &str) -> Refusal {
    let shown = shape::shortened(path);
    let mut refusal = Refusal::with(
        StatusCode::NOT_FOUND,
        Code::Unimplemented,
        "ROUTE_UNKNOWN",
        format!("this daemon has no route `{shown}`"),
    );
    refusal.fault = refusal.fault.hint("its routes are listed at /control/openapi.json");
    refusal
}

fn wrong_verb(verb: &http::Method, path: &str, verbs: &[http::Method], id: &RequestId) -> Response<HttpBody> {
    let known = verbs.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ");
    let (path, verb) = (shape::shortened(path), shape::shortened(verb.as_str()));
    let refusal = Refusal::with(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::Unimplemented,
        "VERB_UNKNOWN",
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
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, HttpBody::empty())
}
