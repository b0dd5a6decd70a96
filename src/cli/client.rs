//! The client of the API: addresses in order, retries that are safe, faults as the daemon states them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap};
use serde_json::{Value, json};

use super::address::Address;
use super::error::{self, CliError};
use super::failure::{Failure, FailureKind};
use super::output::Notes;
use super::rpc::Call;
use super::settings::{Settings, Target};
use crate::wire::fault::{Code, Exit};

/// How often a request is tried in all.
const TRIES: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Speaks to the daemons of one target.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    target: Target,
    /// Index of the address that answered last.
    preferred: AtomicUsize,
    request_timeout: Duration,
    request_id: Option<String>,
    notes: Notes,
}

/// What makes the requests of an event stream: the client, its headers, how long an answer may take.
#[derive(Clone, Debug)]
pub struct EventRequest {
    pub http: reqwest::Client,
    pub headers: HeaderMap,
    pub timeout: Duration,
}

/// What a daemon answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Where it came from.
    pub address: String,
    /// How long it took, the failed tries included.
    pub took: Duration,
}

impl Answer {
    /// The header called `name`, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What is known after some tries.
#[derive(Default)]
struct Attempts {
    made: u32,
    failures: Vec<(String, Failure)>,
    /// A try may have been carried out although its answer was lost.
    may_have_arrived: bool,
}

impl Client {
    /// A client for `target`. Connects to nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: &Settings, target: Target) -> Result<Self, CliError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("omnirelay/", env!("CARGO_PKG_VERSION")));
        if target.addresses.iter().all(Address::is_loopback) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| CliError::local("CLIENT", "cannot prepare the HTTP client", &error))?;
        Ok(Self {
            http,
            target,
            preferred: AtomicUsize::new(0),
            request_timeout: settings.request_timeout,
            request_id: settings.request_id.clone(),
            notes: settings.notes,
        })
    }

    pub fn target(&self) -> &Target {
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
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|_| self.unexpected(call, &answer))
    }

    /// Sends a request and gives back a successful answer.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub async fn send(&self, call: &Call) -> Result<Answer, CliError> {
        let started = Instant::now();
        let deadline = started + self.request_timeout;
        let mut attempts = Attempts::default();
        loop {
            attempts.made += 1;
            let pause = backoff(attempts.made);
            let may_repeat = attempts.made < TRIES && Instant::now() + pause < deadline;
            match self.round(call, deadline, &mut attempts).await {
                Some(answer) if (200..300).contains(&answer.status) => {
                    return Ok(Answer { took: started.elapsed(), ..answer });
                }
                Some(answer) => {
                    let error = self.fault(call, &answer, &attempts);
                    if !(may_repeat && is_worth_repeating(&error)) {
                        return Err(error);
                    }
                    self.say_retry(&attempts, &error.body().message);
                }
                None => {
                    let lasting = attempts.last_kind() == Some(FailureKind::NotHttp);
                    if !may_repeat || lasting {
                        return Err(self.no_answer(call, &attempts, started.elapsed()));
                    }
                    self.say_retry(&attempts, attempts.last_cause());
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Tries the addresses in order until one answers; `None` when none does.
    ///
    /// An address is left for the next only while the request cannot have arrived; after that the
    /// next address is for the next try, with the same idempotency key.
    async fn round(&self, call: &Call, deadline: Instant, attempts: &mut Attempts) -> Option<Answer> {
        attempts.failures.clear();
        for _ in 0..self.target.addresses.len() {
            let address = self.address();
            match self.attempt(address, call, self.patience(deadline)).await {
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

    /// How long one try may take. Where there is another address, a daemon that hangs gets a part of
    /// the time only.
    fn patience(&self, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.target.addresses.len() > 1 { left / TRIES } else { left }
    }

    async fn attempt(&self, address: &Address, call: &Call, left: Duration) -> Result<Answer, Failure> {
        let started = Instant::now();
        if left.is_zero() {
            return Err(Failure::timeout());
        }
        let mut request = self.request(address, call).timeout(left);
        // Rounded up, so that the daemon does not give up before its client does.
        request = request.header("omnirelay-timeout", format!("{}ms", left.as_millis() + 1));
        let sent = request.send().await;
        let response = sent.map_err(|error| self.failed(address, call, started, &error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(|error| self.failed(address, call, started, &error))?;
        let answer = Answer { status, headers, body, address: address.to_string(), took: started.elapsed() };
        self.trace(call, &answer);
        Ok(answer)
    }

    /// Opens a response that is read as it comes; only the time until it begins is bounded.
    ///
    /// # Errors
    /// The failure when the address does not answer. An answer that is a fault is an answer.
    pub async fn open(&self, call: &Call) -> Result<reqwest::Response, CliError> {
        let started = Instant::now();
        let address = self.address();
        let sent = tokio::time::timeout(self.request_timeout, self.request(address, call).send()).await;
        let failure = match sent {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => self.failed(address, call, started, &error),
            Err(_) => Failure::timeout(),
        };
        Err(self.unreachable(call, vec![(address.to_string(), failure)], 1, started.elapsed()))
    }

    /// What an event client needs to make requests as every other call does.
    pub fn event_request(&self) -> EventRequest {
        let mut headers = HeaderMap::new();
        if let Some(id) = self.request_id.as_deref().and_then(|id| id.parse().ok()) {
            headers.insert("x-request-id", id);
        }
        EventRequest { http: self.http.clone(), headers, timeout: self.request_timeout }
    }

    /// The failure when a call that may be repeated freely was answered by none of its addresses.
    pub fn unreachable(
        &self,
        call: &Call,
        failures: Vec<(String, Failure)>,
        made: u32,
        took: Duration,
    ) -> CliError {
        let may_have_arrived = failures.iter().any(|(_, failure)| failure.kind.may_have_arrived());
        self.no_answer(call, &Attempts { made, failures, may_have_arrived }, took)
    }

    fn request(&self, address: &Address, call: &Call) -> reqwest::RequestBuilder {
        let url = format!("{}{}", address.as_str(), call.path);
        self.notes
            .step(3, || format!("> {} {url} {}", call.method, call.body.as_deref().unwrap_or_default()));
        let mut request = self.http.request(call.method.clone(), url);
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(id) = &self.request_id {
            request = request.header("x-request-id", id);
        }
        call.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    fn failed(&self, address: &Address, call: &Call, started: Instant, error: &reqwest::Error) -> Failure {
        let failure = Failure::of(error);
        self.notes.step(2, || {
            let ms = started.elapsed().as_millis();
            format!("{} {address}{}: {} ({ms}ms)", call.method, call.path, failure.cause)
        });
        self.notes.step(3, || format!("< {}", error::chain(error)));
        failure
    }

    fn trace(&self, call: &Call, answer: &Answer) {
        self.notes.step(2, || {
            let id = answer.header("x-request-id").unwrap_or("-");
            let ms = answer.took.as_millis();
            format!(
                "{} {}{}: {} ({ms}ms, request {id})",
                call.method, answer.address, call.path, answer.status
            )
        });
        self.notes.step(3, || {
            let headers = answer.headers.iter().map(|(name, value)| {
                format!("< {name}: {}", redacted(name.as_str(), value.to_str().unwrap_or("(binary)")))
            });
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            headers.chain([format!("< {body}")]).collect::<Vec<_>>().join("\n")
        });
    }

    fn say_retry(&self, attempts: &Attempts, cause: &str) {
        self.notes.step(1, || format!("retrying ({}/{TRIES}): {cause}", attempts.made + 1));
    }

    /// The failure that `answer` states.
    fn fault(&self, call: &Call, answer: &Answer, attempts: &Attempts) -> CliError {
        let stated = serde_json::from_slice(&answer.body).ok().and_then(|body| error::from_problem(&body));
        let unknown = !call.is_read() && (answer.status >= 500 || attempts.may_have_arrived);
        let error = match stated {
            Some(error) if error.reason() == "OUTCOME_UNKNOWN" => outcome_unknown(call, error),
            // "Nothing was changed" is said of this try; an earlier one may have arrived.
            Some(error) if unknown && error.exit() == Exit::Unavailable && attempts.may_have_arrived => {
                outcome_unknown(call, error)
            }
            Some(error) => error,
            None if unknown => {
                let cause = format!("{} answered HTTP {} without saying why", answer.address, answer.status);
                outcome_unknown(
                    call,
                    CliError::new(Code::DeadlineExceeded, "OUTCOME_UNKNOWN", "").cause(cause),
                )
            }
            None => self.unexpected(call, answer),
        };
        let id = answer.header("x-request-id").map(str::to_owned);
        error.request_id(id).target(self.target.to_json(&answer.address))
    }

    /// An answer no daemon of ours gives.
    fn unexpected(&self, call: &Call, answer: &Answer) -> CliError {
        let kind = answer.header("content-type").unwrap_or("no content type");
        let bad_gateway = matches!(answer.status, 502..=504);
        let code = if bad_gateway { Code::Unavailable } else { Code::Unknown };
        let message = format!("{} did not answer as omnirelayd does", answer.address);
        CliError::new(code, "UNEXPECTED_ANSWER", message)
            .cause(format!("{} {}: HTTP {}, {kind}", call.method, call.path, answer.status))
            .hint("omnirelay context current -v     # where the address comes from")
            .target(self.target.to_json(&answer.address))
    }

    /// The failure when no address answered.
    fn no_answer(&self, call: &Call, attempts: &Attempts, took: Duration) -> CliError {
        let Some((address, failure)) = attempts.failures.last() else {
            return CliError::new(Code::Internal, "NO_ADDRESS", "there is no address to ask");
        };
        let made = format!("{} in {:.1}s", count(attempts.made, "attempt"), took.as_secs_f64());
        let cause = match attempts.failures.as_slice() {
            [(_, one)] => format!("{} ({made})", one.cause),
            several => {
                let each = several.iter().map(|(address, failure)| format!("{address}: {}", failure.cause));
                format!("{}\n({made})", each.collect::<Vec<_>>().join("\n"))
            }
        };
        let target = self.target.to_json(address);
        if attempts.may_have_arrived && !call.is_read() {
            let error = CliError::new(Code::DeadlineExceeded, "OUTCOME_UNKNOWN", "").cause(cause);
            return outcome_unknown(call, error).target(target);
        }
        let code = match failure.kind {
            FailureKind::Timeout => Code::DeadlineExceeded,
            _ => Code::Unavailable,
        };
        let message = match (failure.kind, attempts.failures.len()) {
            (FailureKind::Timeout, _) => format!("omnirelayd at {address} did not answer in time"),
            (FailureKind::Lost, _) => format!("lost the connection to omnirelayd at {address}"),
            (_, 1) => format!("cannot reach omnirelayd at {address}"),
            (_, several) => format!("cannot reach omnirelayd at any of {several} addresses"),
        };
        let error = CliError::new(code, failure.kind.reason(), message).cause(cause);
        self.hints(error, failure.kind).target(target)
    }

    fn hints(&self, error: CliError, kind: FailureKind) -> CliError {
        let origin = match self.target.context.as_str() {
            "" => format!("the address is from: {}", self.target.source),
            name => format!("the address is from: context `{name}`"),
        };
        match kind {
            FailureKind::Refused | FailureKind::Lost | FailureKind::Unreachable => error
                .hint("omnirelay up                  # start a development mesh here")
                .hint("omnirelay context list        # or choose another mesh")
                .hint(origin),
            FailureKind::Timeout => error.hint("repeat with a longer --request-timeout").hint(origin),
            FailureKind::UnknownName | FailureKind::ConnectTimeout | FailureKind::NotHttp => {
                error.hint("omnirelay context current -v  # where the address comes from").hint(origin)
            }
        }
    }
}

impl Attempts {
    fn last_kind(&self) -> Option<FailureKind> {
        self.failures.last().map(|(_, failure)| failure.kind)
    }

    fn last_cause(&self) -> &str {
        self.failures.last().map_or("", |(_, failure)| failure.cause.as_str())
    }
}

/// A mutation of which nobody can say whether it was carried out.
fn outcome_unknown(call: &Call, error: CliError) -> CliError {
    let key = call.idempotency_key.clone().unwrap_or_default();
    let cause = error.body().cause.clone().unwrap_or_else(|| error.body().message.clone());
    CliError::new(
        Code::DeadlineExceeded,
        "OUTCOME_UNKNOWN",
        "the answer was lost: the change may have been made or not",
    )
    .exiting(Exit::Timeout)
    .cause(cause)
    .hint(format!("repeat the command with --idempotency-key {key}; that is safe"))
    .detail(json!({ "idempotencyKey": key }))
    .request_id(error.body().request_id.clone())
}

/// Whether the daemon said that the same request may do later and that nothing was changed.
fn is_worth_repeating(error: &CliError) -> bool {
    error.exit() == Exit::Unavailable && error.body().retryable
}

/// How long to wait after try number `made`: doubling, with half of it left to chance.
fn backoff(made: u32) -> Duration {
    let whole = BACKOFF_FIRST.saturating_mul(1 << made.saturating_sub(1).min(5));
    whole.mul_f64(0.5 + chance() / 2.0)
}

/// A number of 0 to 1.
pub fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers the waits are only less spread.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// A fresh idempotency key.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn fresh_key() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::new(Code::Unknown, "RANDOM", "cannot make an idempotency key").cause(error.to_string())
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The value of a header, unless it is a secret.
fn redacted<'a>(name: &str, value: &'a str) -> &'a str {
    match name {
        "authorization" | "cookie" | "set-cookie" | "proxy-authorization" => "(redacted)",
        _ => value,
    }
}

/// `1 peer`, `2 peers`.
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
