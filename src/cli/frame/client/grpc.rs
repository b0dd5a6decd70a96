//! gRPC beside HTTP/JSON: the same addresses, connections, failures and answers; only the messages differ.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Limited};
use omnirelay_wire::codec::SmallBufferCodec;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::json::MethodJson;
use omnirelay_wire::problem::{CONTENT_TYPE, Problem};
use omnirelay_wire::raw::RawMessage;
use omnirelay_wire::reasons;
use omnirelay_wire::tls::connect_with;
use rustls::ClientConfig;
use serde_json::{Map, Value, json};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tower::{Layer as _, Service, ServiceExt as _};

use super::reached::ReachedFlag;
use super::{Address, Answer, BODY_BYTES_MAX, Client};
use crate::frame::error::CliError;
use crate::frame::failure::CallFailure;
use crate::frame::rpc::{Call, RpcMessage};
use crate::frame::time;

/// The connections for gRPC. No proxy is used for it, on whatever machine the daemon is: hardly one lets it through.
///
/// # Errors
/// When they cannot be prepared.
pub(crate) fn transport(
    connect_timeout: Duration,
    socket: Option<&Path>,
    tls: &ClientConfig,
    reached: ReachedFlag,
) -> Result<reqwest::Client, CliError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(connect_timeout)
        .connector_layer(reached)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .no_proxy()
        .http2_prior_knowledge()
        .user_agent(concat!("omnirelay/", env!("CARGO_PKG_VERSION")));
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket);
    }
    builder
        .build()
        .map_err(|error| CliError::local(reasons::CLIENT, "cannot prepare the gRPC client", &error))
}

/// The connections for gRPC to one address under TLS.
///
/// # Errors
/// When they cannot be prepared.
pub(crate) fn under_tls(
    address: &Address,
    connect_timeout: Duration,
    tls: Arc<ClientConfig>,
    reached: ReachedFlag,
) -> Result<Channel, CliError> {
    let refuse = |error| CliError::local(reasons::CLIENT, "cannot prepare the gRPC client", &error);
    let endpoint = Endpoint::from_shared(address.base().to_owned())
        .and_then(|endpoint| endpoint.user_agent(concat!("omnirelay/", env!("CARGO_PKG_VERSION"))))
        .map_err(refuse)?;
    let connector = tower::service_fn(move |place| {
        let connecting = tokio::time::timeout(connect_timeout, connect_with(place, tls.clone()));
        async { connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }
    });
    Ok(endpoint.connect_with_connector_lazy(reached.layer(connector)))
}

/// Reason why there is no message.
#[derive(Debug, thiserror::Error)]
enum MissingMessage {
    /// Nothing was answered.
    #[error("{0}")]
    Failed(CallFailure),
    /// Something that is no gRPC was answered.
    #[error("HTTP {}", .0.status)]
    Foreign(Box<Answer>),
}

/// The connections, as the gRPC client wants them.
#[derive(Clone, Debug)]
struct GrpcTransport {
    lane: GrpcLane,
    address: String,
}

#[derive(Clone, Debug)]
enum GrpcLane {
    Plain(reqwest::Client),
    Tls(Channel),
}

type GrpcBody = UnsyncBoxBody<Bytes, MissingMessage>;

impl Service<http::Request<tonic::body::Body>> for GrpcTransport {
    type Response = http::Response<GrpcBody>;
    type Error = MissingMessage;
    type Future = BoxFuture<'static, Result<Self::Response, MissingMessage>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MissingMessage>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move { wire.send(request).await })
    }
}

impl GrpcTransport {
    async fn send(
        self,
        request: http::Request<tonic::body::Body>,
    ) -> Result<http::Response<GrpcBody>, MissingMessage> {
        let response = match self.lane {
            GrpcLane::Plain(http) => send_plain(http, request).await?,
            GrpcLane::Tls(channel) => send_under_tls(channel, request).await?,
        };
        let kind = response.headers().get(http::header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        let answer =
            Answer { status, headers, body, address: self.address, took: Duration::ZERO, came_ms: None };
        Err(MissingMessage::Foreign(Box::new(answer)))
    }
}

async fn send_plain(
    http: reqwest::Client,
    request: http::Request<tonic::body::Body>,
) -> Result<http::Response<GrpcBody>, MissingMessage> {
    let failed = |error: reqwest::Error| MissingMessage::Failed(CallFailure::of(&error));
    let (parts, body) = request.into_parts();
    // A request is one message, so that it is whole before it is sent.
    let body = body.collect().await.map_err(cut_off)?;
    let request = http::Request::from_parts(parts, body.to_bytes());
    let request = reqwest::Request::try_from(request).map_err(failed)?;
    let response = http.execute(request).await.map_err(failed)?;
    Ok(http::Response::from(response).map(|body| body.map_err(failed).boxed_unsync()))
}

async fn send_under_tls(
    channel: Channel,
    request: http::Request<tonic::body::Body>,
) -> Result<http::Response<GrpcBody>, MissingMessage> {
    let response = channel.oneshot(request).await;
    let response = response.map_err(|error| MissingMessage::Failed(CallFailure::of_tls(&error)))?;
    Ok(response.map(|body| body.map_err(cut_off).boxed_unsync()))
}

fn cut_off(status: Status) -> MissingMessage {
    MissingMessage::Failed(CallFailure::garbled(status.message()))
}

impl Client {
    /// One try at one address. A status that is a fault becomes the answer that HTTP would have given.
    pub(super) async fn attempt_grpc(
        &self,
        address: &Address,
        call: &Call,
        message: &RpcMessage,
        left: Duration,
    ) -> Result<Answer, CallFailure> {
        let started = Instant::now();
        let asked = async {
            let (mut grpc, path) = self.service(address, call);
            grpc.unary(
                self.message(address, message, Some(left)),
                path,
                SmallBufferCodec::<RawMessage, RawMessage>::default(),
            )
            .await
        };
        let answered = match tokio::time::timeout(left, asked).await {
            Ok(Ok(response)) => {
                let (metadata, raw, _) = response.into_parts();
                let body = document(message.json, &raw.0).unwrap_or_default();
                let headers = metadata.into_headers();
                Ok(Answer {
                    status: 200,
                    headers,
                    body,
                    address: String::new(),
                    took: Duration::ZERO,
                    came_ms: None,
                })
            }
            Ok(Err(status)) => answer_of(status),
            Err(_) => Err(self.lines.to(address).late()),
        };
        match answered {
            Ok(answer) => {
                let answer = Answer { address: address.to_string(), took: started.elapsed(), ..answer };
                self.trace(call, &answer);
                Ok(answer)
            }
            Err(failure) => {
                self.trace_failure(address, call, started, &failure);
                Err(failure)
            }
        }
    }

    /// Opens the stream of a call at the address that would be asked next.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn open_grpc(&self, call: &Call, message: &RpcMessage) -> Result<GrpcStream, StreamLoss> {
        let address = self.address();
        let (mut grpc, path) = self.service(address, call);
        let request = self.message(address, message, None);
        let opened =
            grpc.server_streaming(request, path, SmallBufferCodec::<RawMessage, RawMessage>::default()).await;
        let messages = opened.map_err(StreamLoss::of)?.into_inner();
        Ok(GrpcStream { messages, json: message.json })
    }

    fn service(&self, address: &Address, call: &Call) -> (Grpc<GrpcTransport>, PathAndQuery) {
        self.notes.step(3, || {
            format!("> gRPC {address}{} {}", call.path, call.body.as_deref().unwrap_or_default())
        });
        let lane = match &self.under_tls {
            Some(channel) if address.is_tls() => GrpcLane::Tls(channel.clone()),
            Some(_) | None => GrpcLane::Plain(self.lines.to(address).grpc.clone()),
        };
        let wire = GrpcTransport { lane, address: address.to_string() };
        // An address was checked when it was read, and a path is a method's name.
        let origin = address.base().parse().unwrap_or_default();
        let path = call.path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"));
        (Grpc::with_origin(wire, origin).max_decoding_message_size(BODY_BYTES_MAX), path)
    }

    fn message(
        &self,
        address: &Address,
        message: &RpcMessage,
        timeout: Option<Duration>,
    ) -> Request<RawMessage> {
        let mut request = Request::new(RawMessage(message.bytes.clone()));
        if let Some(proof) = self.proof_at(address).and_then(|proof| proof.to_str().ok()?.parse().ok()) {
            request.metadata_mut().insert("authorization", proof);
        }
        if let Some(timeout) = timeout {
            // Rounded up, so that the daemon does not give up before its client does.
            request.set_timeout(timeout + Duration::from_millis(1));
        }
        for (name, said) in &self.known_by {
            if let Ok(said) = said.parse() {
                request.metadata_mut().insert(*name, said);
            }
        }
        request
    }
}

/// The JSON of an answer, with the head that the documents of HTTP have.
fn document(method: &MethodJson, bytes: &[u8]) -> Option<Bytes> {
    let fields = (method.response)(bytes).ok()?;
    let fields: Map<String, Value> = serde_json::from_slice(&fields).ok()?;
    let mut document = head();
    document.extend(fields);
    serde_json::to_vec(&document).ok().map(Bytes::from)
}

/// Head that every document begins with; the time is this machine's.
pub(crate) fn head() -> Map<String, Value> {
    let mut head = Map::new();
    head.insert("schemaVersion".into(), json!("v1"));
    if let Some(now) = time::now_ms() {
        head.insert("generatedAt".into(), json!(time::exact_clock(now)));
    }
    head
}

/// The answer that HTTP would have given, or what kept it away.
fn answer_of(status: Status) -> Result<Answer, CallFailure> {
    match missing(&status) {
        Some(MissingMessage::Failed(failure)) => return Err(failure.clone()),
        Some(MissingMessage::Foreign(answer)) => return Ok((**answer).clone()),
        None => {}
    }
    let fault = Fault::from(&status);
    let headers = status.metadata().clone().into_headers();
    let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let problem = Problem::new(fault, id);
    let body = Bytes::from(problem.to_json());
    let (address, took) = (String::new(), Duration::ZERO);
    let mut headers: HeaderMap = headers;
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(CONTENT_TYPE));
    Ok(Answer { status: problem.status, headers, body, address, took, came_ms: None })
}

/// What the connection said of it, when it is not the daemon that speaks in a status.
fn missing(status: &Status) -> Option<&MissingMessage> {
    let mut current = status.source();
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<MissingMessage>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

/// Reason why a stream cannot be had or has ended.
#[derive(Debug)]
pub enum StreamLoss {
    Failed(CallFailure),
    /// An answer that is no stream: of somebody else, or a fault as HTTP states it.
    Answered(Box<Answer>),
}

impl StreamLoss {
    fn of(status: Status) -> Self {
        match answer_of(status) {
            Ok(answer) => Self::Answered(Box::new(answer)),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// An open stream of messages.
#[derive(Debug)]
pub struct GrpcStream {
    messages: Streaming<RawMessage>,
    json: &'static MethodJson,
}

impl GrpcStream {
    /// The next message as JSON.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub async fn next(&mut self) -> Result<Value, StreamLoss> {
        let garbled = || StreamLoss::Failed(CallFailure::garbled("an event was not what was declared"));
        match self.messages.message().await {
            Ok(Some(raw)) => {
                let json = (self.json.response)(&raw.0).map_err(|_| garbled())?;
                serde_json::from_slice(&json).map_err(|_| garbled())
            }
            Ok(None) => Err(StreamLoss::Failed(CallFailure::closed())),
            Err(status) => Err(StreamLoss::of(status)),
        }
    }
}
