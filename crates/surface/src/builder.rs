//! Puts a surface together, and refuses definitions that could not be served.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use http::{Request, Response};
use omnirelay_host::live::Live;
use omnirelay_identity::authenticate::{AllowedHosts, Authenticator, LoopbackAuthenticator};
use omnirelay_identity::buckets::CallRates;
use omnirelay_identity::caller::RequestIds;
use omnirelay_wire::bounded::BoundedService;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::server::health_reporter;

use super::call_judge::CallJudge;
use super::call_trace::CallTracer;
use super::deadline::CallDeadlines;
use super::in_flight::InFlight;
use super::method::{self, ServedMethod, ServiceDefinition};
use super::observe::{NoObserver, RequestObserver};
use super::openapi::OpenApiDocument;
use super::pipeline::{DefinedService, GrpcService, MethodTarget, OpenService, Pipeline};
use super::rates::CallRateLimiter;
use super::reflection::ReflectionService;
use super::routes::RouteTable;
use super::{Surface, SurfaceParts};

/// Reason why a surface cannot be built: always a mistake in a definition, found at start.
#[derive(Debug, thiserror::Error)]
pub enum SurfaceError {
    #[error("the descriptors cannot be read")]
    Unreadable(#[source] prost::DecodeError),
    #[error("the descriptors do not fit together")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    #[error("the descriptors lack the option `{option}`")]
    NoOption { option: &'static str },
    #[error("method {method} has no JSON converter: its table and its descriptors differ")]
    NoConverter { method: String },
    #[error("method {method} declares no known scope: `{scope}`")]
    UnknownScope { method: String, scope: String },
    #[error("method {method} has no text field `{field}` that could name the node which a call concerns")]
    OwnNodeRule { method: String, field: String },
    #[error("method {method} cannot be reached at `{template}`: {why}")]
    Template { method: String, template: String, why: &'static str },
    #[error("method {method} cannot speak the JSON of its origin below `{below}`: {why}")]
    OriginJson { method: String, below: String, why: &'static str },
    #[error("service {service} is served but not defined")]
    Undefined { service: &'static str },
}

/// A generated tonic service.
pub trait TonicService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + NamedService
    + BoundedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> TonicService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + NamedService
        + BoundedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Gathers what a [`Surface`] serves.
pub struct SurfaceBuilder {
    port: &'static str,
    definitions: Vec<ServiceDefinition>,
    services: HashMap<&'static str, Arc<dyn GrpcService>>,
    authenticator: Arc<dyn Authenticator>,
    rates: CallRateLimiter,
    observer: Arc<dyn RequestObserver>,
    judge: Option<Arc<dyn CallJudge>>,
    tracer: Option<Arc<dyn CallTracer>>,
    hosts: Live<AllowedHosts>,
    deadlines: CallDeadlines,
    in_flight_bytes_max: usize,
    names_changes: bool,
    among_nodes: bool,
    node_id: String,
    http3: Option<Live<u16>>,
    extra: Router,
}

/// How much requests and unread answers may hold together, in bytes, unless the builder is told.
const IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;

impl SurfaceBuilder {
    pub(super) fn new(definitions: impl IntoIterator<Item = ServiceDefinition>) -> Self {
        Self {
            port: "",
            definitions: definitions.into_iter().collect(),
            services: HashMap::new(),
            authenticator: Arc::new(LoopbackAuthenticator::default()),
            rates: CallRateLimiter::default(),
            observer: Arc::new(NoObserver),
            judge: None,
            tracer: None,
            hosts: AllowedHosts::default().into(),
            deadlines: CallDeadlines::default(),
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            names_changes: false,
            among_nodes: false,
            node_id: String::new(),
            http3: None,
            extra: Router::new(),
        }
    }

    /// Serves a generated tonic service; its routes follow from its definition.
    ///
    /// Whether its messages are compressed on gRPC is said on the service itself; how large they may be, in
    /// the policies of its methods.
    #[must_use]
    pub fn service<S: TonicService>(mut self, service: S) -> Self {
        self.add(service);
        self
    }

    /// The same of a builder that is kept.
    pub fn add<S: TonicService>(&mut self, service: S) {
        self.services.insert(S::NAME, Arc::new(DefinedService(service)));
    }

    /// Says who proves callers; without it only loopback callers are let in.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.set_authenticator(authenticator);
        self
    }

    /// The same of a builder that is kept.
    pub fn set_authenticator(&mut self, authenticator: impl Authenticator) {
        self.authenticator = Arc::new(authenticator);
    }

    /// Says how often callers may call; without it as often as they like.
    #[must_use]
    pub fn call_rates(mut self, rates: impl Into<Live<CallRates>>) -> Self {
        self.rates = CallRateLimiter::of(&rates.into());
        self
    }

    /// Says by which names the daemon may be called; without it only by those of this host.
    #[must_use]
    pub fn hosts(mut self, hosts: impl Into<Live<AllowedHosts>>) -> Self {
        self.hosts = hosts.into();
        self
    }

    /// Says who hears of finished calls.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn RequestObserver>) -> Self {
        self.observer = observer;
        self
    }

    /// Says who judges whether a call that was let in may begin; without it every one may.
    pub fn judge_calls(&mut self, judge: Arc<dyn CallJudge>) {
        self.judge = Some(judge);
    }

    /// Says who records what is done for calls; without it nobody does.
    pub fn trace_calls(&mut self, tracer: Arc<dyn CallTracer>) {
        self.tracer = Some(tracer);
    }

    #[must_use]
    pub fn deadlines(mut self, deadlines: CallDeadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Says how many bytes of requests and unread answers are held over all connections; without it 256 MiB.
    ///
    /// Those of at most 4 KiB are not counted, and streams have bounds of their own. Too low: large lists are
    /// refused while others are read; too high: clients that never read fill the memory.
    #[must_use]
    pub fn in_flight_bytes_max(mut self, bytes_max: usize) -> Self {
        self.in_flight_bytes_max = bytes_max;
        self
    }

    /// Serves only what nodes need from each other, as the policy of each method says, and that by gRPC alone.
    #[must_use]
    pub fn among_nodes(self) -> Self {
        Self { among_nodes: true, ..self }
    }

    /// Says that the same is served over HTTP/3 at a port, and has answers over HTTP/1.1 and HTTP/2 say so (RFC 7838).
    #[must_use]
    pub fn beside_http3(self, port: impl Into<Live<u16>>) -> Self {
        Self { http3: Some(port.into()), ..self }
    }

    /// Says what its port is called, where it is told of.
    pub fn name_port(&mut self, port: &'static str) {
        self.port = port;
    }

    /// Says which node serves it: what concerns that one may be called by who may do no more than that.
    #[must_use]
    pub fn of_node(self, node_id: &str) -> Self {
        Self { node_id: node_id.to_owned(), ..self }
    }

    /// Says whether a change whose caller gave no idempotency key is given one, under which its answer is kept: worth its
    /// price only where that answer can be lost between the daemon and its store.
    pub fn name_changes(&mut self, names_changes: bool) {
        self.names_changes = names_changes;
    }

    /// Adds routes made by hand, such as `/healthz`: they pass the host check, but no authentication.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.add_routes(routes);
        self
    }

    /// The same of a builder that is kept.
    pub fn add_routes(&mut self, routes: Router) {
        self.extra = std::mem::take(&mut self.extra).merge(routes);
    }

    /// Puts the surface together.
    ///
    /// # Errors
    /// [`SurfaceError`] when a definition cannot be served as it is.
    pub fn build(self) -> Result<Surface, SurfaceError> {
        let mut described =
            method::describe(&self.definitions, |service| self.services.contains_key(service))?;
        for service in self.services.keys() {
            if !described.iter().any(|described| described.is_of(service)) {
                return Err(SurfaceError::Undefined { service });
            }
        }
        if self.among_nodes {
            described.retain(|described| described.policy.mesh);
        }
        let routes = RouteTable::of(&described)?;
        let (health, health_service) = health_reporter();
        let mut served: Vec<_> = self.services.keys().copied().collect();
        served.sort_unstable();
        // Nodes need neither from each other.
        let open = if self.among_nodes {
            HashMap::new()
        } else {
            HashMap::from([
                open_target("/grpc.health.v1.Health", OpenService(health_service)),
                open_target(
                    "/grpc.reflection.v1.ServerReflection",
                    ReflectionService::v1(&self.definitions, &served),
                ),
                open_target(
                    "/grpc.reflection.v1alpha.ServerReflection",
                    ReflectionService::v1alpha(&self.definitions, &served),
                ),
            ])
        };
        let mut methods = HashMap::new();
        for described in &described {
            let name = described.descriptor.parent_service().full_name().to_owned();
            if let Some(service) = self.services.get(name.as_str()) {
                let target =
                    MethodTarget { method: Arc::clone(&described.method), service: Arc::clone(service) };
                methods.insert(described.method.path, target);
            }
        }
        let pipeline = Pipeline {
            methods,
            port: self.port,
            among_nodes: self.among_nodes,
            node_id: self.node_id,
            open,
            authenticator: self.authenticator,
            rates: self.rates,
            observer: self.observer,
            judge: self.judge,
            tracer: self.tracer,
            lines: Arc::default(),
            deadlines: self.deadlines,
            in_flight: InFlight::new(self.in_flight_bytes_max),
            names_changes: self.names_changes,
            unknown: "-".into(),
            draining: watch::Sender::new(false),
        };
        let extra = self.extra.fallback(no_route);
        let document = OpenApiDocument::lazy(&self.definitions, described);
        let request_ids = RequestIds::default();
        let (hosts, http3) = (self.hosts, self.http3);
        let parts = SurfaceParts { http3, pipeline, routes, hosts, request_ids, extra, health, document };
        Ok(Surface { parts: Arc::new(parts) })
    }
}

/// A service that anyone may call, by its name.
fn open_target(path: &'static str, service: impl GrpcService + 'static) -> (&'static str, MethodTarget) {
    let method = ServedMethod {
        path,
        policy: None,
        audit_action: None,
        streams: true,
        client_streams: true,
        own_node: None,
    };
    let name = path.trim_start_matches('/');
    (name, MethodTarget { method: Arc::new(method), service: Arc::new(service) })
}

/// Marks the answer of the fallback of hand-made routes.
#[derive(Clone)]
pub(super) struct NoRoute;

async fn no_route() -> axum::Extension<NoRoute> {
    axum::Extension(NoRoute)
}
