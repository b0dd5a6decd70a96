//! The client of the API: addresses in order, retries that are safe, faults as the daemon states them.

pub(crate) mod grpc;
mod line;
mod proxies;
mod reached;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use omnirelay_core::backoff::Backoff;
use omnirelay_core::text::hex;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use reqwest::header::{self, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use serde_json::Value;
use tonic::transport::Channel;

pub(crate) use self::line::token_of;
use self::line::{ClientConnections, DaemonConnections};
use super::address::Address;
use super::bundle::{self, SupportBundle};
use super::error::{self, CliError};
use super::failure::{CallFailure, FailureKind};
use super::output::StderrNotes;
use super::rpc::Call;
use super::settings::{CommandSettings, CommandTarget};
use super::time;

/// How often a request is tried in all.
const TRIES: u32 = 3;
/// The longest answer that is taken: a thousand peers are 0.6 MB.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).spread(0.5);
/// How long a daemon may hang while there is another address to ask. The same idempotency key
/// protects what is asked twice.
const HANG_MAX: Duration = Duration::from_secs(1);

/// Speaks to the daemons of one target.
#[derive(Debug)]
pub struct Client {
    lines: ClientConnections,
    /// To an address under TLS, for gRPC; there is no other in that target.
    under_tls: Option<Channel>,
    /// Proves who calls; it stays on this machine.
    proof: Option<HeaderValue>,
    target: CommandTarget,
    /// Index of the address that answered last.
    preferred: AtomicUsize,
    request_timeout: Duration,
    /// Headers by which daemons know its calls again: their request id, and their trace.
    known_by: Vec<(&'static str, String)>,
    /// Answers in the place of daemons, which are not asked then.
    bundle: Option<Arc<SupportBundle>>,
    notes: StderrNotes,
}

/// Parts of the requests of an event stream: the client, its headers, how long an answer may take.
#[derive(Clone, Debug)]
pub struct EventRequest {
    pub line: DaemonConnections,
    pub headers: HeaderMap,
    pub timeout: Duration,
}

/// Answer of a daemon.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Where it came from.
    pub address: String,
    /// How long it took, the failed tries included.
    pub took: Duration,
    /// This machine's time when it came, in milliseconds since 1970.
    pub came_ms: Option<i64>,
}

impl Answer {
    /// The header called `name`, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// State of a call after some tries.
#[derive(Default)]
struct CallAttempts {
    made: u32,
    failures: Vec<(String, CallFailure)>,
    /// A try may have been carried out although its answer was lost.
    may_have_arrived: bool,
}

impl Client {
    /// A client for `target`. Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, or the token file cannot be read.
    pub fn new(settings: &CommandSettings, target: CommandTarget) -> Result<Self, CliError> {
        Ok(Self {
            lines: ClientConnections::of(settings, &target)?,
            under_tls: None,
            proof: line::proof(&target)?,
            target,
            preferred: AtomicUsize::new(0),
            request_timeout: settings.request_timeout,
            known_by: known_by(settings),
            bundle: settings.bundle.clone(),
            notes: settings.notes,
        })
    }

    /// A client for another target, with the same connections, request id and verbosity.
    ///
    /// # Errors
    /// As of [`Client::new`].
    pub fn towards(&self, target: CommandTarget, request_timeout: Duration) -> Result<Self, CliError> {
        Ok(Self {
            lines: self.lines.clone().and(&target.addresses)?,
            under_tls: None,
            proof: line::proof(&target)?,
            target,
            preferred: AtomicUsize::new(0),
            request_timeout,
            known_by: self.known_by.clone(),
            bundle: self.bundle.clone(),
            notes: self.notes,
        })
    }

    /// The same for one address, that which would be asked next.
    ///
    /// # Errors
    /// As of [`Client::new`].
    pub fn alone(&self) -> Result<Self, CliError> {
        let target = CommandTarget { addresses: vec![self.address().clone()], ..self.target.clone() };
        self.towards(target, self.request_timeout)
    }

    /// The same, whose target is one address under TLS, as `tls` has it. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the gRPC client cannot be built.
    pub fn trusting(self, tls: Arc<ClientConfig>) -> Result<Self, CliError> {
        let reached = self.lines.to(self.address()).reached.clone();
        let channel = grpc::under_tls(self.address(), self.lines.connect_timeout(), tls, reached)?;
        Ok(Self { under_tls: Some(channel), ..self })
    }

    /// The token that proves the caller at an address: in plaintext none leaves this machine.
    fn proof_at(&self, address: &Address) -> Option<&HeaderValue> {
        self.proof.as_ref().filter(|_| address.is_loopback() || address.is_tls())
    }

    pub fn target(&self) -> &CommandTarget {
        &self.target
    }

    /// The address that would be asked next.
    pub fn address(&self) -> &Address {
        let index = self.preferred.load(Ordering::Relaxed) % self.target.addresses.len().max(1);
        &self.target.addresses[index]
    }

    /// Turns to the address after the one that would be asked next.
    pub fn turn_away(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls a method and gives back the document it answers.
    ///
    /// # Errors
    /// The daemon's fault; or what kept the answer away.
    pub async fn call(&self, call: &Call) -> Result<Value, CliError> {
        self.ask(call).await.map(|(document, _)| document)
    }

    /// As [`Client::call`], with the answer that holds the document.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub async fn ask(&self, call: &Call) -> Result<(Value, Answer), CliError> {
        let answer = self.send(call).await?;
        match serde_json::from_slice(&answer.body) {
            Ok(document) => Ok((document, answer)),
            Err(_) => Err(self.unexpected(call, &answer)),
        }
    }

    /// Sends a request and gives back a successful answer.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub async fn send(&self, call: &Call) -> Result<Answer, CliError> {
        if let Some(bundle) = &self.bundle {
            return self.recorded(bundle, call);
        }
        let started = Instant::now();
        let deadline = started + self.request_timeout;
        let mut attempts = CallAttempts::default();
        // What was answered, where the answer was that it may do later.
        let mut refused = None;
        loop {
            attempts.made += 1;
            let pause = pause(attempts.made);
            let answered = self.round(call, deadline, &mut attempts).await;
            let may_repeat = attempts.made < TRIES && Instant::now() + pause < deadline;
            match answered {
                Some(answer) if (200..300).contains(&answer.status) => {
                    return Ok(Answer { took: started.elapsed(), ..answer });
                }
                Some(answer) => {
                    let error = self.fault(call, &answer, &attempts);
                    if !(may_repeat && is_worth_repeating(&error)) {
                        return Err(error);
                    }
                    self.say_retry(&attempts, &error.body().message);
                    refused = Some(error);
                }
                None => {
                    if !may_repeat || attempts.last_for_all() {
                        // Of a change that may have been made since, the answer of before says nothing.
                        let refused = refused.filter(|_| call.is_read());
                        let silent = || self.no_answer(call, &attempts, started.elapsed());
                        return Err(refused.unwrap_or_else(silent));
                    }
                    self.say_retry(&attempts, attempts.last_cause());
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The answer of a bundle; says when that is not all that there was.
    fn recorded(&self, bundle: &SupportBundle, call: &Call) -> Result<Answer, CliError> {
        let (answer, is_cut) = bundle.answer(self.address(), call)?;
        if is_cut {
            self.notes
                .say(&format!("the support bundle has the newest of {} only: there were more", call.path));
        }
        Ok(answer)
    }

    /// Refuses what needs a daemon that goes on telling, where a bundle answers.
    ///
    /// # Errors
    /// Usage.
    pub(crate) fn check_live(&self) -> Result<(), CliError> {
        self.bundle.as_ref().map_or(Ok(()), |_| Err(bundle::read_only("watch or export")))
    }

    /// Tries the addresses in order until one answers; `None` when none does.
    ///
    /// An address is left for the next only while the request cannot have arrived; after that the
    /// next address is for the next try, with the same idempotency key.
    async fn round(&self, call: &Call, deadline: Instant, attempts: &mut CallAttempts) -> Option<Answer> {
        attempts.failures.clear();
        for _ in 0..self.target.addresses.len() {
            let (address, patience) = (self.address(), self.patience(call, deadline, attempts.made));
            if patience.is_zero() && !attempts.failures.is_empty() {
                return None;
            }
            match self.attempt(address, call, patience).await {
                Ok(answer) => return Some(answer),
                Err(failure) => {
                    let arrived = failure.kind.may_have_arrived();
                    attempts.failures.push((address.to_string(), failure));
                    self.turn_away();
                    if arrived {
                        attempts.may_have_arrived = true;
                        return None;
                    }
                }
            }
        }
        None
    }

    /// How long try number `made` may take: what is left, once every address had a short try, or at once
    /// when the call is answered only when its work is done.
    fn patience(&self, call: &Call, deadline: Instant, made: u32) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_last = made >= TRIES || made as usize >= self.target.addresses.len();
        if is_last || call.awaits_work { left } else { (left / TRIES).min(HANG_MAX) }
    }

    async fn attempt(&self, address: &Address, call: &Call, left: Duration) -> Result<Answer, CallFailure> {
        let started = Instant::now();
        if left.is_zero() {
            // Nothing of this try was sent.
            return Err(CallFailure::connect_timeout());
        }
        if let Some(message) = &call.grpc {
            return self.attempt_grpc(address, call, message, left).await;
        }
        let mut request = self.request(address, call).timeout(left);
        // Rounded up, so that the daemon does not give up before its client does.
        request = request.header("omnirelay-timeout", format!("{}ms", left.as_millis() + 1));
        let sent = request.send().await;
        let response = sent.map_err(|error| self.failed(address, call, started, &error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = whole(response).await.map_err(|error| match error {
            UnreadBodyReason::Failed(error) => self.failed(address, call, started, &error),
            UnreadBodyReason::TooLong => {
                CallFailure::garbled(format!("the answer is longer than {BODY_BYTES_MAX} bytes"))
            }
        })?;
        let (address, took, came_ms) = (address.to_string(), started.elapsed(), time::now_ms());
        let answer = Answer { status, headers, body, address, took, came_ms };
        self.trace(call, &answer);
        Ok(answer)
    }

    /// Opens a response that is read as it comes; only the time until it begins is bounded.
    ///
    /// # Errors
    /// The failure when the address does not answer. An answer that is a fault is an answer.
    pub async fn open(&self, call: &Call) -> Result<reqwest::Response, CliError> {
        self.check_live()?;
        let started = Instant::now();
        let address = self.address();
        let sent = tokio::time::timeout(self.request_timeout, self.request(address, call).send()).await;
        let failure = match sent {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => self.failed(address, call, started, &error),
            Err(_) => self.lines.to(address).late(),
        };
        Err(self.unreachable(call, vec![(address.to_string(), failure)], 1, started.elapsed()))
    }

    /// Parts that an event client needs to make requests as every other call does.
    pub fn event_request(&self) -> EventRequest {
        let mut headers = HeaderMap::new();
        let known_by = self.known_by.iter().filter_map(|(name, said)| Some((*name, said.parse().ok()?)));
        known_by.for_each(|(name, said)| drop(headers.insert(name, said)));
        let address = self.address();
        if let Some(proof) = self.proof_at(address) {
            headers.insert(header::AUTHORIZATION, proof.clone());
        }
        EventRequest { line: self.lines.to(address).clone(), headers, timeout: self.request_timeout }
    }

    fn request(&self, address: &Address, call: &Call) -> reqwest::RequestBuilder {
        self.notes.step(3, || {
            format!("> {} {address}{} {}", call.word(), call.path, call.body.as_deref().unwrap_or_default())
        });
        let url = format!("{}{}", address.base(), call.path);
        let mut request = self.lines.to(address).http.request(call.method.clone(), url);
        let own = call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if let Some(proof) = self.proof_at(address).filter(|_| !own) {
            request = request.header(header::AUTHORIZATION, proof);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        for (name, said) in &self.known_by {
            request = request.header(*name, said);
        }
        call.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    fn failed(
        &self,
        address: &Address,
        call: &Call,
        started: Instant,
        error: &reqwest::Error,
    ) -> CallFailure {
        let line = self.lines.to(address);
        let failure = match CallFailure::of(error) {
            CallFailure { kind: FailureKind::Timeout, .. } => line.late(),
            failure => failure,
        }
        .through(line.proxy.as_deref());
        self.trace_failure(address, call, started, &failure);
        self.notes.step(3, || format!("< {}", error::chain(error)));
        failure
    }

    fn trace_failure(&self, address: &Address, call: &Call, started: Instant, failure: &CallFailure) {
        self.notes.step(2, || {
            let ms = started.elapsed().as_millis();
            format!("{} {address}{}: {} ({ms}ms)", call.word(), call.path, failure.cause)
        });
    }

    fn trace(&self, call: &Call, answer: &Answer) {
        self.notes.step(2, || {
            let id = answer.header("x-request-id").unwrap_or("-");
            let ms = answer.took.as_millis();
            format!(
                "{} {}{}: {} ({ms}ms, request {id})",
                call.word(),
                answer.address,
                call.path,
                answer.status
            )
        });
        self.notes.step(3, || {
            let headers = answer.headers.iter().map(|(name, value)| {
                format!("< {name}: {}", redacted(name.as_str(), value.to_str().unwrap_or("(binary)")))
            });
            let body = without_secrets(&answer.body);
            headers.chain([format!("< {body}")]).collect::<Vec<_>>().join("\n")
        });
    }

    fn say_retry(&self, attempts: &CallAttempts, cause: &str) {
        self.notes.step(1, || format!("retrying ({}/{TRIES}): {cause}", attempts.made + 1));
    }
}

/// Reason why the body of an answer was not read to its end.
enum UnreadBodyReason {
    Failed(reqwest::Error),
    TooLong,
}

/// The body of an answer, as long as it is of a bearable length.
async fn whole(mut response: reqwest::Response) -> Result<Bytes, UnreadBodyReason> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(UnreadBodyReason::Failed)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(UnreadBodyReason::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

impl CallAttempts {
    /// Whether another round would end as this one, at each address.
    fn last_for_all(&self) -> bool {
        !self.failures.is_empty() && self.failures.iter().all(|(_, failure)| failure.kind.lasts())
    }

    /// The address whose failure says most of what to do next; of several, the first.
    fn most_telling(&self) -> Option<&(String, CallFailure)> {
        self.failures.iter().rev().max_by_key(|(_, failure)| failure.kind.tells())
    }

    fn last_cause(&self) -> &str {
        self.failures.last().map_or("", |(_, failure)| failure.cause.as_str())
    }
}

/// Whether the daemon said that the same request may do later and that nothing was changed.
fn is_worth_repeating(error: &CliError) -> bool {
    error.exit() == Exit::Unavailable && error.body().retryable
}

/// Time to wait after so many tries.
pub(crate) fn pause(tries: u32) -> Duration {
    BACKOFF.after(tries, chance())
}

/// A number of 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers the waits are only less spread.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// A fresh idempotency key.
///
/// # Errors
/// When the operating system has no random numbers.
pub(crate) fn fresh_key() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::new(reasons::RANDOM, "cannot make an idempotency key").cause(format!("{error}"))
    })?;
    Ok(hex(&bytes))
}

/// The value of a header, unless it is a secret.
fn redacted<'a>(name: &str, value: &'a str) -> &'a str {
    match name {
        "authorization" | "cookie" | "set-cookie" | "proxy-authorization" => "(redacted)",
        _ => value,
    }
}

/// The fields of answers that hold a secret: a token, and the credentials of the store.
const SECRETS: [&str; 2] = ["token", "grant"];

/// A body as it may be shown: without what others must not see.
fn without_secrets(body: &[u8]) -> String {
    let shown = || String::from_utf8_lossy(body).into_owned();
    let Ok(mut document) = serde_json::from_slice(body) else { return shown() };
    if redact(&mut document) { document.to_string() } else { shown() }
}

/// Takes the secrets out, however deep they are; whether there was one.
fn redact(document: &mut Value) -> bool {
    match document {
        Value::Object(fields) => fields.iter_mut().fold(false, |found, (name, value)| {
            if SECRETS.contains(&name.as_str()) && value.is_string() {
                *value = Value::from("(redacted)");
                return true;
            }
            redact(value) || found
        }),
        Value::Array(items) => items.iter_mut().map(redact).filter(|found| *found).count() > 0,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Headers by which daemons know the calls of a command again.
fn known_by(settings: &CommandSettings) -> Vec<(&'static str, String)> {
    let id = settings.request_id.clone().map(|id| ("x-request-id", id));
    let trace = settings.trace.map(|trace| ("traceparent", trace.to_string()));
    id.into_iter().chain(trace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_answer_has_no_secret_in_it() {
        let cases = [
            (r#"{"tokenId":"7f","token":"eyJ.a.b"}"#, r#"{"tokenId":"7f","token":"(redacted)"}"#),
            (r#"{"items":[{"grant":"c2VjcmV0"}]}"#, r#"{"items":[{"grant":"(redacted)"}]}"#),
            // What has none is shown to the letter.
            (r#"{ "peers": [] , "nextPageToken": "t" }"#, r#"{ "peers": [] , "nextPageToken": "t" }"#),
            ("no JSON", "no JSON"),
        ];
        for (body, expected) in cases {
            assert_eq!(without_secrets(body.as_bytes()), expected);
        }
    }
}
