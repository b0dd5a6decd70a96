//! HTTP/JSON calls: each becomes a message, passes the pipeline, and its answer becomes JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use omnirelay_core::text::chain;
use omnirelay_identity::caller::CallProtocol;
use omnirelay_identity::caller::{Caller, PeerInfo, REQUEST_ID, RequestId};
use omnirelay_identity::request_conditions::refused;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::json::JsonError;
use omnirelay_wire::reasons;
use prost_reflect::FieldDescriptor;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tonic::body::Body;

use super::accept::{self, AnswerForm};
use super::answer::{self, HttpRefusal};
use super::body::read_json;
use super::deadline;
use super::frame::{self, FrameReader};
use super::in_flight::InFlightShare;
use super::observe::ObservedCall;
use super::pipeline::{MethodTarget, Pipeline};
use super::query;
use super::routes::{BodyRule, RouteBinding, RouteChoice};
use super::shape::{ValuePath, fit_field, fit_message};
use super::sse::EventStream;

/// Set by an operation whose answer the caller has seen already.
const NOT_MODIFIED: HeaderName = HeaderName::from_static("omnirelay-not-modified");
/// What operations say in metadata that HTTP passes on, beside `etag`.
const METADATA_PREFIX: &str = "omnirelay-";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The field of a watch's request that says where to resume.
const SINCE: &str = "since";

/// One call over HTTP, with the route that was found for it.
pub(super) struct JsonCall<'a> {
    pub parts: http::request::Parts,
    pub peer: &'a PeerInfo,
    pub request_id: RequestId,
    /// What the variables of the path stand for, still encoded.
    pub values: Vec<String>,
}

/// Serves a call, in the form the caller wants.
pub(super) async fn serve(
    pipeline: &Pipeline,
    choice: &RouteChoice,
    call: JsonCall<'_>,
    body: Body,
) -> Response<HttpBody> {
    let request_id = call.request_id.clone();
    let outcome = match pick(choice, &call) {
        Ok((binding, form)) => run(pipeline, binding, form, call, body).await,
        Err(refusal) => Err(refusal),
    };
    outcome.unwrap_or_else(|refusal| refusal.answer(&request_id))
}

/// The method a call means among those that share its route.
fn pick<'c>(
    choice: &'c RouteChoice,
    call: &JsonCall<'_>,
) -> Result<(&'c Arc<RouteBinding>, AnswerForm), HttpRefusal> {
    let headers = &call.parts.headers;
    // A HEAD asks about a document; a stream has none.
    let stream = choice.stream.as_ref().filter(|_| call.parts.method != http::Method::HEAD);
    let form = accept::choose(headers, choice.unary.is_some(), stream.is_some());
    let binding = match form {
        Some(AnswerForm::Json) => choice.unary.as_ref(),
        Some(AnswerForm::EventStream | AnswerForm::Lines) => stream,
        None => None,
    };
    form.and_then(|form| Some((binding?, form))).ok_or_else(|| {
        let mut forms = Vec::new();
        if choice.unary.is_some() {
            forms.push(AnswerForm::Json.media_type());
        }
        if stream.is_some() {
            forms.extend([AnswerForm::EventStream.media_type(), AnswerForm::Lines.media_type()]);
        }
        let asked = headers.get(ACCEPT).map_or("", |value| value.to_str().unwrap_or("?"));
        HttpRefusal::with(
            StatusCode::NOT_ACCEPTABLE,
            reasons::NOT_ACCEPTABLE,
            format!("this route answers {}, not `{}`", forms.join(" or "), super::shape::shortened(asked)),
        )
    })
}

async fn run(
    pipeline: &Pipeline,
    binding: &Arc<RouteBinding>,
    form: AnswerForm,
    call: JsonCall<'_>,
    body: Body,
) -> Result<Response<HttpBody>, HttpRefusal> {
    let method = &binding.method;
    let Some(target) = pipeline.find(method.path) else {
        return Err(Fault::internal(&call.request_id).into());
    };
    let protocol = CallProtocol::of_http(call.parts.version);
    let mut watched = pipeline.watch(method, protocol, call.peer, call.request_id.clone());
    let admitted = pipeline.admit(method, &call.parts.headers, call.peer, &mut watched).await;
    // Held until the operation has answered.
    let share = pipeline.in_flight.share();
    let prepared = match admitted {
        Ok(caller) => prepare(pipeline, binding, &call, caller.as_ref(), body, &share)
            .await
            .and_then(|bytes| Ok(pipeline.check_own_node(method, caller.as_ref(), &bytes).map(|()| bytes)?))
            .map(|bytes| (caller, bytes)),
        Err(fault) => Err(fault.into()),
    };
    let (caller, message) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => {
            watched.fail(&refusal.fault);
            return Err(refusal);
        }
    };
    let response = invoke(pipeline, target, caller, watched, &message).await;
    drop((message, share));
    match form {
        AnswerForm::Json => unary_answer(pipeline, binding, response, &call).await,
        AnswerForm::EventStream | AnswerForm::Lines => {
            stream_answer(binding, response, form, call.request_id).await
        }
    }
}

async fn invoke(
    pipeline: &Pipeline,
    target: &MethodTarget,
    caller: Option<Caller>,
    watched: ObservedCall,
    message: &[u8],
) -> Response<Body> {
    let mut request = Request::new(Body::new(Full::new(frame::encode(message))));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(target.method.path);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    // It was made here, from a body that was not too large.
    pipeline.invoke(target, caller, watched, request, usize::MAX).await
}

/// Makes the message of a call from its path, query and body, within the call's deadline.
async fn prepare(
    pipeline: &Pipeline,
    binding: &RouteBinding,
    call: &JsonCall<'_>,
    caller: Option<&Caller>,
    body: Body,
    share: &InFlightShare,
) -> Result<Vec<u8>, HttpRefusal> {
    let begin_by = tokio::time::Instant::now() + pipeline.deadlines.default;
    let deadline = caller.and_then(|caller| caller.deadline).unwrap_or(begin_by);
    let reading = read_json(&call.parts.headers, body, binding.policy.body_bytes_max, share);
    let body = match tokio::time::timeout_at(deadline, reading).await {
        Ok(body) => body?,
        // The operation has not begun, so nothing can have changed.
        Err(_elapsed) => return Err(deadline::elapsed(binding.method.path, false, None).into()),
    };
    let mut message = from_body(binding, body)?;
    for (path, raw) in binding.path_fields.iter().zip(&call.values) {
        let Some(field) = path.last() else { continue };
        query::set(&mut message, path, query::path_value(raw, field)?, "the path")?;
    }
    from_query(binding, &call.parts, &mut message)?;
    resume_from_header(binding, &call.parts.headers, &mut message)?;
    (binding.json.request)(Value::Object(message)).map_err(|error| not_converted(&error).into())
}

fn from_body(binding: &RouteBinding, body: Option<Value>) -> Result<Map<String, Value>, HttpRefusal> {
    let reading = &binding.reading;
    let mut message = Map::new();
    match (&binding.body, body) {
        (BodyRule::Nothing | BodyRule::Field(_), None) => {}
        (BodyRule::Nothing, Some(_)) => {
            return Err(Fault::invalid("this route takes no body; give its fields in the query").into());
        }
        (BodyRule::Whole, body) => {
            let value = body.unwrap_or_else(|| Value::Object(Map::new()));
            if let Value::Object(fitted) = fit_message(value, &binding.input, &ValuePath::ROOT, reading)? {
                message = fitted;
            }
        }
        (BodyRule::Field(field), Some(value)) => {
            let fitted = fit_field(value, field, &ValuePath::ROOT.field(field.json_name()), reading)?;
            message.insert(field.json_name().to_owned(), fitted);
        }
    }
    Ok(message)
}

fn from_query(
    binding: &RouteBinding,
    parts: &http::request::Parts,
    message: &mut Map<String, Value>,
) -> Result<(), HttpRefusal> {
    let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
    match &binding.body {
        BodyRule::Nothing => query::fill(message, query, &binding.input, None)?,
        BodyRule::Field(field) => query::fill(message, query, &binding.input, Some(field.name()))?,
        BodyRule::Whole => {
            return Err(Fault::new(
                reasons::UNKNOWN_PARAMETER,
                "this route takes no query parameters; give its fields in the body",
            )
            .into());
        }
    }
    Ok(())
}

/// A client that reconnects says by header where it was. That is later than what its query says: a browser
/// reconnects to the address it began with.
fn resume_from_header(
    binding: &RouteBinding,
    headers: &HeaderMap,
    message: &mut Map<String, Value>,
) -> Result<(), HttpRefusal> {
    let takes_since = binding.method.streams && binding.input.get_field_by_name(SINCE).is_some();
    let Some(last) = headers.get(LAST_EVENT_ID).filter(|last| takes_since && !last.is_empty()) else {
        return Ok(());
    };
    let last = last.to_str().map_err(|_| refused("Last-Event-ID", "is not visible ASCII"))?;
    message.insert(SINCE.to_owned(), Value::String(last.to_owned()));
    Ok(())
}

/// What the generated converter refused although its shape was right, such as a time that is none.
fn not_converted(error: &JsonError) -> Fault {
    let JsonError::Request { field, source } = error else { return Fault::invalid(chain(error)) };
    Fault::new(reasons::INVALID_FIELD, format!("field `{field}`: {}", chain(source))).detail("field", field)
}

async fn unary_answer(
    pipeline: &Pipeline,
    binding: &RouteBinding,
    response: Response<Body>,
    call: &JsonCall<'_>,
) -> Result<Response<HttpBody>, HttpRefusal> {
    let (parts, body) = response.into_parts();
    let headers = passed_on(&parts.headers);
    let message = match unary_message(&parts.headers, body, &call.request_id).await {
        Ok(message) => message,
        Err(fault) => return Ok(with_metadata(HttpRefusal::from(fault).answer(&call.request_id), headers)),
    };
    if parts.headers.contains_key(NOT_MODIFIED) {
        let mut response = with_metadata(Response::new(HttpBody::empty()), headers);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let json = binding.answer_json(&message).map_err(|error| {
        tracing::error!(method = binding.method.path, request_id = %call.request_id, %error, "answer is no JSON");
        Fault::internal(&call.request_id)
    })?;
    // A document has to say something.
    let json = json.map_or(Bytes::from_static(b"null"), Bytes::from);
    Ok(answer::json(json, &call.parts.headers, headers, &pipeline.in_flight)?)
}

/// The one message of a unary answer, or the fault it is instead.
async fn unary_message(headers: &HeaderMap, body: Body, request_id: &RequestId) -> Result<Bytes, Fault> {
    let refuse = |headers: &HeaderMap| match tonic::Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(Fault::from(&status)),
        _ => Ok(()),
    };
    refuse(headers)?;
    let collected = body.collect().await.map_err(|_| Fault::internal(request_id))?;
    if let Some(trailers) = collected.trailers() {
        refuse(trailers)?;
    }
    let mut frames = FrameReader::default();
    frames.push(collected.to_bytes());
    match frames.next() {
        Ok(Some(message)) if frames.finish().is_ok() => Ok(message),
        _ => Err(Fault::internal(request_id)),
    }
}

async fn stream_answer(
    binding: &Arc<RouteBinding>,
    response: Response<Body>,
    form: AnswerForm,
    request_id: RequestId,
) -> Result<Response<HttpBody>, HttpRefusal> {
    let (parts, body) = response.into_parts();
    if let Some(status) = tonic::Status::from_header_map(&parts.headers)
        && status.code() != tonic::Code::Ok
    {
        return Err(Fault::from(&status).into());
    }
    let stream = EventStream::open(body, form, Arc::clone(binding), request_id).await?;
    let mut response = with_metadata(Response::new(HttpBody::new(stream)), passed_on(&parts.headers));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that gather answers before they pass them on would hold events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// How headers begin that the origin has.
const ORIGIN_PREFIX: &str = "x-omnirelay-";

/// The headers of a gRPC answer that mean something in HTTP.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let known = |name: &HeaderName| {
        *name == ETAG
            || *name == REQUEST_ID
            || (name.as_str().starts_with(METADATA_PREFIX) && *name != NOT_MODIFIED)
            || name.as_str().starts_with(ORIGIN_PREFIX)
    };
    headers
        .iter()
        .filter(|(name, _)| known(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn with_metadata(mut response: Response<HttpBody>, metadata: HeaderMap) -> Response<HttpBody> {
    response.headers_mut().extend(metadata);
    response
}

impl RouteBinding {
    /// The JSON of an answer's wire bytes, or of the one field of it that is shown; `None` when that field is
    /// not set.
    pub(super) fn answer_json(&self, message: &[u8]) -> Result<Option<Vec<u8>>, JsonError> {
        let json = (self.json.response)(message)?;
        if let Some(numbers) = &self.numbers {
            let only = self.response_body.as_ref().map(FieldDescriptor::json_name);
            return numbers.rewrite(&json, only).map_err(JsonError::Encode);
        }
        let Some(field) = &self.response_body else { return Ok(Some(json)) };
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&json).map_err(JsonError::Encode)?;
        Ok(fields.get(field.json_name()).map(|value| value.get().as_bytes().to_vec()))
    }
}
