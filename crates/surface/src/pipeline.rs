//! Pipeline that every call passes, however it came in: authentication, scope, deadline, operation.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use omnirelay_host::stalls::doing;
use omnirelay_identity::authenticate::Authenticator;
use omnirelay_identity::caller::CallProtocol;
use omnirelay_identity::caller::{
    Caller, CallerProof, PeerInfo, Principal, REQUEST_ID, RequestId, Scope, Scopes,
};
use omnirelay_identity::request_conditions::{RequestConditions, generated_key};
use omnirelay_identity::trust::LAST_ANSWER;
use omnirelay_wire::bounded::BoundedService;
use omnirelay_wire::codec::{oversized, undecodable};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::sync::watch;
use tonic::body::Body;
use tower::ServiceExt as _;

use super::call_judge::{BeginningCall, CallJudge};
use super::call_trace::{CallTrace, CallTracer};
use super::caller_reach::{CallerReach, beyond, is_named_here};
use super::carried::CarriedCall;
use super::deadline::{self, CallDeadlines};
use super::frame::FrameScan;
use super::guard::{DrainSignal, GuardedBody};
use super::in_flight::InFlight;
use super::lines::LogLimits;
use super::method::ServedMethod;
use super::observe::{ObservedCall, RequestObserver};
use super::own_node::principal_of;
use super::rates::CallRateLimiter;
use super::received::{self, ReceivedBody};

/// Says which version of the daemon answers.
pub(super) const SERVER_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("omnirelay-server-version"),
    HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
);

/// Says how the messages of a request are compressed, if some are.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// A tonic service of any type.
pub(super) trait GrpcService: Send + Sync {
    /// Serves a request whose message has at most so many bytes.
    fn call(&self, request: Request<Body>, message_bytes_max: usize) -> AnswerFuture;
}

/// An answer that is being made.
pub(super) type AnswerFuture = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Service made by tonic, which can be cloned.
pub(super) trait CloneableService:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> CloneableService for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A service of our own, whose messages have the limits that its definition names.
pub(super) struct DefinedService<S>(pub S);

impl<S: CloneableService + BoundedService> GrpcService for DefinedService<S> {
    fn call(&self, request: Request<Body>, message_bytes_max: usize) -> AnswerFuture {
        answer(self.0.clone().with_message_bytes_max(message_bytes_max), request)
    }
}

/// Health or reflection, which have a limit of their own.
pub(super) struct OpenService<S>(pub S);

impl<S: CloneableService> GrpcService for OpenService<S> {
    fn call(&self, request: Request<Body>, _message_bytes_max: usize) -> AnswerFuture {
        answer(self.0.clone(), request)
    }
}

fn answer(service: impl CloneableService, request: Request<Body>) -> AnswerFuture {
    let answer = service.oneshot(request);
    Box::pin(async move {
        match answer.await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    })
}

/// A method and the service that carries it out.
#[derive(Clone)]
pub(super) struct MethodTarget {
    pub method: Arc<ServedMethod>,
    pub service: Arc<dyn GrpcService>,
}

/// Everything a call needs on its way to its operation.
pub(super) struct Pipeline {
    /// By path: the methods of our own services.
    pub methods: HashMap<&'static str, MethodTarget>,
    /// What its port is called.
    pub port: &'static str,
    /// Whether it serves nodes of the mesh alone, and only what they need from each other.
    pub among_nodes: bool,
    /// The node that serves.
    pub node_id: String,
    /// By service name: health and reflection, which anyone may call.
    pub open: HashMap<&'static str, MethodTarget>,
    pub authenticator: Arc<dyn Authenticator>,
    pub rates: CallRateLimiter,
    pub observer: Arc<dyn RequestObserver>,
    /// `None`: every call that is let in may begin.
    pub judge: Option<Arc<dyn CallJudge>>,
    /// `None`: nobody records what is done for calls.
    pub tracer: Option<Arc<dyn CallTracer>>,
    pub lines: Arc<LogLimits>,
    pub deadlines: CallDeadlines,
    pub in_flight: InFlight,
    /// Whether a change whose caller gave no idempotency key is given one.
    pub names_changes: bool,
    /// What a caller is called before it is known: `-`.
    pub unknown: Arc<str>,
    /// True once the daemon drains: streams end.
    pub draining: watch::Sender<bool>,
}

impl Pipeline {
    /// Serves a native gRPC request.
    pub(super) async fn grpc(
        &self,
        request: Request<Body>,
        peer: &PeerInfo,
        request_id: RequestId,
    ) -> Response<Body> {
        let Some(target) = self.find(request.uri().path()) else {
            return fault_response(self.unknown_method(request.uri().path()), &request_id);
        };
        let mut watched =
            self.watch(&target.method, CallProtocol::of_grpc(request.version()), peer, request_id);
        let caller = match self.admit(&target.method, request.headers(), peer, &mut watched).await {
            Ok(caller) => caller,
            Err(fault) => return watched.refuse(fault),
        };
        let share = Arc::new(self.in_flight.share());
        // Unless they stream, ours take one message each; what health and reflection take is theirs to say.
        let compressed = request.headers().get(GRPC_ENCODING).is_some_and(|encoding| encoding != "identity");
        let message_bytes_max = target.method.message_bytes_max();
        let needed = caller.is_some() && !target.method.client_streams;
        let scan = FrameScan::new(compressed, needed, message_bytes_max);
        let request = request.map(|body| {
            let received = ReceivedBody::new(body, scan, Arc::clone(&share));
            match target.method.hears_of_drain() {
                true => Body::new(received.until(DrainSignal::new(self.draining.subscribe()))),
                false => Body::new(received),
            }
        });
        let (parts, body) = request.into_parts();
        let body = match self.own_node_only(&target.method, caller.as_ref(), body).await {
            Ok(body) => body,
            Err(fault) => return watched.refuse(fault),
        };
        let request = Request::from_parts(parts, body);
        self.invoke(target, caller, watched, request, message_bytes_max).await
    }

    fn unknown_method(&self, path: &str) -> Fault {
        let shown: String = path.chars().take(200).collect();
        match self.among_nodes {
            true => Fault::new(
                reasons::METHOD_UNKNOWN,
                format!("the mesh port has no method {shown}: it serves what nodes need from each other"),
            )
            .hint("call the control port; a newer daemon may have this one here"),
            false => Fault::new(reasons::METHOD_UNKNOWN, format!("this daemon has no method {shown}"))
                .hint("list the services it has by reflection; a newer daemon may have this one"),
        }
    }

    /// The method with this path.
    pub(super) fn find(&self, path: &str) -> Option<&MethodTarget> {
        self.methods.get(path).or_else(|| {
            let (service, _) = path.strip_prefix('/')?.split_once('/')?;
            self.open.get(service)
        })
    }

    /// Begins the record of a call.
    pub(super) fn watch(
        &self,
        method: &ServedMethod,
        protocol: CallProtocol,
        peer: &PeerInfo,
        request_id: RequestId,
    ) -> ObservedCall {
        ObservedCall::begin(self, method, protocol, peer.remote, request_id)
    }

    /// Who calls, if not too often: what costs something to judge is counted before, where it comes from. Of those who call
    /// what anybody may call that is shown by what they ask.
    async fn principal(
        &self,
        scope: Option<Scope>,
        headers: &HeaderMap,
        peer: &PeerInfo,
    ) -> Result<Principal, Fault> {
        let known = self.authenticator.recognize(peer, headers);
        let costs = known.is_none();
        let authenticated = match known {
            Some(known) => known,
            None => {
                self.rates.judged(peer)?;
                if let Some(awaited) = self.authenticator.awaits(headers) {
                    // What they are judged by may be other by now.
                    awaited.await;
                }
                self.authenticator.authenticate(peer, headers)
            }
        };
        match (authenticated, scope) {
            (Ok(principal), _) => {
                if costs {
                    self.rates.has_proved(peer);
                }
                self.rates.proven(&principal.name)?;
                Ok(principal)
            }
            (Err(fault), Some(_)) => {
                if !costs {
                    self.rates.unproven(peer)?;
                }
                Err(fault)
            }
            (Err(fault), None) => {
                let (name, proof) = (Arc::clone(&self.unknown), CallerProof::Refused(Box::new(fault)));
                Ok(Principal::proven(name, Scopes::NONE, proof))
            }
        }
    }

    /// Lets a caller in, or says why not. `None` for a method that anyone may call.
    pub(super) async fn admit(
        &self,
        method: &ServedMethod,
        headers: &HeaderMap,
        peer: &PeerInfo,
        watched: &mut ObservedCall,
    ) -> Result<Option<Caller>, Fault> {
        // What strangers call is recorded for nobody.
        let trace = watched.trace.take();
        let reach = CallerReach::of(&peer.standing);
        if method.policy.is_none() && reach == CallerReach::ByScope {
            return Ok(None);
        }
        let scope = method.policy.and_then(|policy| policy.scope);
        let principal = self.principal(scope, headers, peer).await?;
        watched.principal = Arc::clone(&principal.name);
        // Who proves nothing was not let in: it calls what anybody may call, which is limited where it is judged.
        let is_let_in = !matches!(principal.proof, CallerProof::Refused(_));
        watched.trace = trace.filter(|_| is_let_in);
        match reach {
            CallerReach::Exchange if method.is_exchange() => {}
            CallerReach::Siblings if method.is_for_siblings() => {}
            CallerReach::Exchange | CallerReach::Siblings => {
                return Err(beyond(reach, method.path, &principal.name));
            }
            CallerReach::ByScope => {
                let may = |scope| principal.scopes.contains(scope);
                // Whether a call concerns this node is seen once it was read.
                let may_here = |scope| method.own_node.is_some() && principal.own_node.contains(scope);
                if let Some(scope) = scope.filter(|scope| !may(*scope) && !may_here(*scope)) {
                    return Err(missing_scope(method.path, scope, &principal, &self.node_id));
                }
            }
        }
        if let Some(judge) = self.judge.as_ref().filter(|_| is_let_in) {
            let is_watch = method.streams && !method.client_streams;
            watched.hold = judge.begin(&BeginningCall { method: method.path, port: self.port, is_watch })?;
        }
        let conditions = RequestConditions::from_headers(headers)?;
        let unnamed = self.names_changes && method.mutates() && conditions.idempotency_key.is_none();
        let provisional = if method.mutates() { self.authenticator.provisional(&principal) } else { None };
        Ok(Some(Caller {
            provisional,
            principal: principal.name,
            scopes: principal.scopes,
            own_node: principal.own_node,
            proof: principal.proof,
            // Whoever another cluster vouches for is nobody of the same name here.
            certificate: peer.certificate.clone().filter(|_| is_named_here(&peer.standing)),
            remote: peer.remote,
            request_id: watched.request_id.clone(),
            protocol: watched.protocol,
            idempotency_key: conditions.idempotency_key,
            generated_key: unnamed.then(generated_key).flatten(),
            if_match: conditions.if_match,
            if_none_match: conditions.if_none_match,
            deadline: self.deadlines.of(headers, method.streams)?,
        }))
    }

    /// Carries an admitted call out. The answer is a gRPC response that says nothing of our inside.
    pub(super) async fn invoke(
        &self,
        target: &MethodTarget,
        caller: Option<Caller>,
        watched: ObservedCall,
        mut request: Request<Body>,
        message_bytes_max: usize,
    ) -> Response<Body> {
        let method = &target.method;
        let deadline = caller.as_ref().and_then(|caller| caller.deadline);
        let mut unproven = caller.as_ref().and_then(|caller| self.ends(method, caller));
        // Even a stream that may run for days has to begin.
        let begin_by = deadline.unwrap_or_else(|| tokio::time::Instant::now() + self.deadlines.default);
        if let Some(caller) = &caller {
            request.extensions_mut().insert(caller.clone());
        }
        let call = AssertUnwindSafe(target.service.call(request, message_bytes_max)).catch_unwind();
        let call = tokio::time::timeout_at(begin_by, doing(method.path, call));
        let call = CallTrace::within(watched.trace.clone(), call);
        let call: BoxFuture<'_, _> = match method.mutates() && !method.streams {
            true => Box::pin(CarriedCall::new(call)),
            false => Box::pin(call),
        };
        let call = tokio::select! {
            biased;
            call = call => call,
            fault = until(unproven.as_mut()) => return watched.cut(cut_short(fault, method)),
        };
        let response = match call {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => {
                let cause = panic_text(panic.as_ref());
                watched.log_panic(cause);
                return watched.refuse_internal();
            }
            Err(_elapsed) => {
                return watched.refuse(deadline::elapsed(method.path, method.mutates(), caller.as_ref()));
            }
        };
        self.finish(method, (deadline, unproven), watched, response)
    }

    /// What ends a call of this caller, and what is said then.
    fn ends(&self, method: &ServedMethod, caller: &Caller) -> Option<BoxFuture<'static, Fault>> {
        let principal = principal_of(caller);
        // What one may do at this node alone is not taken away.
        let needed = method.policy.and_then(|policy| policy.scope);
        let needed = needed.filter(|needed| caller.scopes.contains(*needed));
        let (path, node_id) = (method.path, self.node_id.clone());
        let ended = self.authenticator.ends(&principal, needed)?;
        Some(Box::pin(async move {
            match (ended.await, needed) {
                (Ok(principal), Some(needed)) => {
                    last_answer(missing_scope(path, needed, &principal, &node_id)).await
                }
                (Err(fault), _) => last_answer(fault).await,
                // Who needs no scope lacks none.
                (Ok(_), None) => std::future::pending().await,
            }
        }))
    }

    /// The answer of a unary call, counted until it is sent.
    ///
    /// It is encoded here: until then nobody knows how large it is.
    fn hold(&self, mut body: Body) -> Result<Body, Fault> {
        let first = match body.frame().now_or_never() {
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(Frame::data(self.in_flight.hold(data)?)),
                Err(frame) => Ok(frame),
            },
            Some(Some(Err(status))) => Err(status),
            Some(None) | None => return Ok(body),
        };
        let first = futures_util::stream::iter([first]);
        Ok(Body::new(StreamBody::new(first.chain(BodyStream::new(body)))))
    }

    /// Gives an answer its headers, hides what is internal, and keeps watch over a stream.
    fn finish(
        &self,
        method: &ServedMethod,
        (deadline, unproven): (Option<tokio::time::Instant>, Option<BoxFuture<'static, Fault>>),
        mut watched: ObservedCall,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let code = grpc_code(response.headers());
        if code == Some(tonic::Code::ResourceExhausted) && oversized(response.headers()) {
            return watched.refuse(received::too_large(method.message_bytes_max()));
        }
        if let Some(code) = code
            && is_internal(code)
        {
            if let Some(why) = undecodable(response.headers()) {
                return watched.refuse(received::malformed(why));
            }
            watched.log_internal(response.headers());
            return watched.refuse_internal();
        }
        stamp(response.headers_mut(), &watched.request_id);
        if let Some(code) = code {
            watched.note_refusal(code, response.headers());
            watched.finish(code);
            return response;
        }
        if !method.streams {
            let (parts, body) = response.into_parts();
            return match self.hold(body) {
                Ok(body) => {
                    watched.finish(tonic::Code::Ok);
                    Response::from_parts(parts, body)
                }
                Err(fault) => watched.refuse(fault),
            };
        }
        let draining = DrainSignal::new(self.draining.subscribe());
        let last_words = method.hears_of_drain();
        response.map(|body| {
            let guarded = GuardedBody::new(body, watched, deadline, draining).until(unproven);
            Body::new(if last_words { guarded.with_last_words() } else { guarded })
        })
    }
}

/// Never returns where there is nothing to wait for.
async fn until(ends: Option<&mut BoxFuture<'static, Fault>>) -> Fault {
    match ends {
        Some(ends) => ends.await,
        None => std::future::pending().await,
    }
}

/// Gives whoever has put out themselves the time to hear that it is done.
async fn last_answer(fault: Fault) -> Fault {
    tokio::time::sleep(LAST_ANSWER).await;
    fault
}

/// What a caller is told whose call was ended because they are nobody any more, or may less.
fn cut_short(mut fault: Fault, method: &ServedMethod) -> Fault {
    if method.mutates() {
        let said = std::mem::take(&mut fault.message);
        fault.message =
            format!("{said}; the call was under way, and goes on: its outcome is in the audit trail");
    }
    fault
}

/// The code in headers or trailers, if they hold one.
pub(super) fn grpc_code(headers: &HeaderMap) -> Option<tonic::Code> {
    headers.get("grpc-status").map(|value| tonic::Code::from_bytes(value.as_bytes()))
}

/// Whether the message of a status with this code may speak of our inside.
pub(super) fn is_internal(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Internal | tonic::Code::Unknown)
}

/// A gRPC response that holds nothing but a fault.
pub(super) fn fault_response(fault: Fault, request_id: &RequestId) -> Response<Body> {
    let mut response = tonic::Status::from(fault).into_http();
    stamp(response.headers_mut(), request_id);
    response
}

/// Adds what every answer carries.
pub(super) fn stamp(headers: &mut HeaderMap, request_id: &RequestId) {
    headers.insert(REQUEST_ID, request_id.header());
    headers.insert(SERVER_VERSION.0, SERVER_VERSION.1);
}

/// Says by what a call came in.
pub(super) fn stamp_protocol(headers: &mut HeaderMap, protocol: CallProtocol) {
    let word = HeaderValue::from_static;
    headers.insert(HeaderName::from_static("rpc-transport"), word(protocol.transport.word()));
    headers.insert(HeaderName::from_static("rpc-encoding"), word(protocol.encoding.word()));
}

/// Message of a panic, for the log only.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or(owned).unwrap_or("a panic without words")
}

/// The fault of somebody who may not call what is served at this node.
pub(super) fn missing_scope(method: &str, needed: Scope, principal: &Principal, node_id: &str) -> Fault {
    let (is_of_host, rule) = (principal.own_node.contains(needed), rule(needed, principal));
    let needed = needed.word();
    let besides = if is_of_host { format!(", and besides what concerns {node_id}") } else { String::new() };
    let hint = match is_of_host {
        true => format!(
            "{rule}: show the certificate that this mesh has given an operator (--tls-cert FILE --tls-key FILE), send a token of the mesh, or call an \
             issuer on its own host; what makes a host one is the secret in its data directory (identity/issuer-secret)"
        ),
        false => format!("ask an owner of the mesh to grant {needed} to {}: {rule}", principal.name),
    };
    Fault::new(
        reasons::MISSING_SCOPE,
        format!("{method} needs scope {needed}; {} has {}{besides}", principal.name, principal.scopes),
    )
    .hint(hint)
    .detail("rule", rule)
    .detail("method", method)
    .detail("missingScope", needed)
    .detail("principal", &principal.name)
    .detail("scopes", principal.scopes)
}

/// By what rule a principal has the scopes that it has, and so not this one.
fn rule(needed: Scope, principal: &Principal) -> &'static str {
    match &principal.proof {
        _ if principal.own_node.contains(needed) => {
            "nobody administers the mesh for being on a host that is no issuer, nor for what that host's configuration says"
        }
        CallerProof::Bearer(bearer) if bearer.narrowed.is_some_and(|narrowed| !narrowed.contains(needed)) => {
            "its token was narrowed to fewer scopes than its holder has; one without --scope has all of them"
        }
        CallerProof::Bearer(bearer) if bearer.issued.is_none() => {
            "a token of an issuer outside has the scopes that bindings of its name and its roles give, and no others"
        }
        CallerProof::Bearer(_) | CallerProof::Certificate if principal.name.starts_with("node:") => {
            "what a node may do is the same for all nodes"
        }
        CallerProof::Federated(_) => "whoever is of a federated cluster has no scopes here",
        proof if proof.sibling().is_some() => {
            "whoever another cluster vouches for has what a binding of that name gives here (omnirelay bindings set), and nothing else"
        }
        CallerProof::Bearer(_) | CallerProof::Certificate | CallerProof::CertificateOfHost => {
            "its certificate alone gives mesh.read, its binding what is more (omnirelay bindings set)"
        }
        CallerProof::TokenFile(_) => "its line in the token file and its binding say what it may do",
        CallerProof::Nothing | CallerProof::Refused(_) | CallerProof::Sibling(_) | CallerProof::Socket => {
            "nobody who has proved nothing has it here"
        }
    }
}
