//! The webhook: whoever leads tells a server what becomes of plans, and which namespaces are held up or have failed.
//!
//! It follows the log as any watch does, so what is told cannot be forgotten, and what waits to be told is in no queue: the log has it.
//! After a change of leaders what is newer than [`AGAIN_SINCE`] is told again, under the same id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::chain;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::tls::{ClientTls, PemError, authorities, nobody};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use ring::hmac;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::known::{NAMESPACE, PLAN};
use super::plans::watching::{WatchedPlans, WatchedStates};
use super::{SHARDS_RUNBOOK, pb};
use crate::daemon::metrics::ShardMetrics;
use crate::daemon::objects::feed::Watches;
use crate::daemon::objects::leaders::campaign::Campaigner;
use crate::daemon::registry::Registry;
use pb::namespace::State;

/// How far back a new leader begins.
const AGAIN_SINCE: &str = "30s";
/// How often it is looked whether this node leads.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the server may take, and how long something is tried again.
const WITHIN: Duration = Duration::from_secs(5);
const TRIED_FOR: Duration = Duration::from_secs(15 * 60);
/// The first pause before something is tried again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The headers: what it is called, and by whom it was sent: `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>" in hexadecimal digits>`.
const ID: &str = "omnirelay-delivery";
const SIGNATURE: &str = "omnirelay-signature";
/// The longest secret, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Where it is told, and the secret by which the server knows who tells it.
pub struct Target {
    pub url: Url,
    pub secret_file: PathBuf,
    /// The authorities of the server; `None`: those that everybody knows.
    pub ca: Option<PathBuf>,
}

/// Tells what becomes of plans and namespaces, while this node leads.
pub struct Webhook {
    pub registry: Arc<Registry>,
    pub campaigner: Arc<Campaigner>,
    pub metrics: Arc<ShardMetrics>,
    pub target: Target,
}

/// What is told.
struct Fact {
    /// The cursor of the change: the same each time it is told.
    id: String,
    body: Vec<u8>,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("cannot read the secret")]
    Secret(#[source] std::io::Error),
    #[error("cannot read the file of the authorities")]
    Authorities(#[from] PemError),
    #[error("cannot speak TLS with those authorities")]
    Tls(#[from] rustls::Error),
    #[error("the server was not reached")]
    Send(#[from] reqwest::Error),
    #[error("the server answered {0}")]
    Answer(StatusCode),
}

impl DeliveryError {
    /// Whether the server will say the same again.
    fn is_for_good(&self) -> bool {
        let for_good = [
            StatusCode::BAD_REQUEST,
            StatusCode::GONE,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        matches!(self, Self::Answer(status) if for_good.contains(status))
    }
}

impl Webhook {
    /// Does so for ever.
    pub async fn run(&self) {
        loop {
            while !self.leads() {
                sleep(LOOK_EVERY).await;
            }
            if let Err(fault) = self.follow().await {
                debug!(error = fault.message, "what becomes of plans is not followed; trying again");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn leads(&self) -> bool {
        self.campaigner.fence(GLOBAL_CONTROL).is_some()
    }

    async fn follow(&self) -> Result<(), Fault> {
        let watches = Watches::<pb::PlanEvent>::new(self.registry.clone(), 2);
        let states = watches.reshaped::<pb::RebalanceEvent>();
        let plans = watches.begin([PLAN], |_| true, AGAIN_SINCE).await?;
        let mut plans = plans.of(WatchedPlans { registry: self.registry.clone() });
        let mut states = states.begin([NAMESPACE], |_| true, AGAIN_SINCE).await?.of(WatchedStates);
        let mut known = BTreeMap::new();
        while self.leads() {
            let fact = tokio::select! {
                event = plans.next_made() => plan_fact(&event),
                event = states.next_made() => state_fact(&event, &mut known),
                () = sleep(LOOK_EVERY) => None,
            };
            if let Some(fact) = fact {
                self.deliver(&fact).await;
            }
        }
        Ok(())
    }

    /// Tells it, again and again for a while.
    async fn deliver(&self, fact: &Fact) {
        let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
        let (outcome, error) = loop {
            match self.target.post(fact).await {
                Ok(()) => return self.metrics.count_told("delivered"),
                Err(error) if error.is_for_good() => break ("refused", error),
                Err(error) if begun.elapsed() >= TRIED_FOR => break ("given_up", error),
                Err(error) => {
                    debug!(error = %chain(&error), delivery = fact.id, "webhook failed; trying again");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        self.metrics.count_told(outcome);
        let error = &error as &dyn std::error::Error;
        warn!(error, delivery = fact.id, outcome, runbook = SHARDS_RUNBOOK, "webhook was not told");
    }
}

impl Target {
    async fn post(&self, fact: &Fact) -> Result<(), DeliveryError> {
        // Read each time: whoever changes a secret or a certificate starts no daemon anew.
        let secret = read_secret(&self.secret_file).await.map_err(DeliveryError::Secret)?;
        let tls = match self.url.scheme() {
            "https" => {
                let roots = Some(authorities(self.ca.as_deref()).await?);
                ClientTls { roots, ..ClientTls::default() }.config()?
            }
            _ => nobody(),
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(WITHIN)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("omnirelayd/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(ID, &fact.id).header(SIGNATURE, signature(&secret, now, &fact.body));
        let status = request.body(fact.body.clone()).send().await?.status();
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Answer(status)) }
    }
}

/// `t=<seconds>,v1=<hexadecimal digits>`
fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut signed = format!("{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={digits}")
}

/// What is in the file, without the end of its line.
async fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let text = tokio::fs::read(path).await?;
    let secret = text.trim_ascii().to_vec();
    let what = match secret.len() {
        0 => "the file is empty",
        length if length > SECRET_BYTES_MAX => "a secret has 4096 bytes at most",
        _ => return Ok(secret),
    };
    Err(std::io::Error::other(what))
}

fn fact(what: &str, id: &str, event: &impl serde::Serialize) -> Option<Fact> {
    let event: Value = serde_json::to_value(event).ok()?;
    let body = json!({"id": id, "what": what, "event": event}).to_string().into_bytes();
    Some(Fact { id: id.to_owned(), body })
}

/// Each change of a plan is one of its state.
fn plan_fact(event: &pb::PlanEvent) -> Option<Fact> {
    use pb::plan_event::Type;
    let is_change = matches!(event.r#type(), Type::Added | Type::Modified);
    is_change.then(|| fact("plan", &event.cursor, event)).flatten()
}

/// A namespace that is held up or has failed, and one that is so no more.
fn state_fact(event: &pb::RebalanceEvent, known: &mut BTreeMap<String, State>) -> Option<Fact> {
    use pb::rebalance_event::Type;
    let namespace = event.namespace.as_ref()?;
    let is_trouble = |state: State| matches!(state, State::Investigating | State::Failed);
    let state = namespace.state();
    let before = known.insert(namespace.namespace.clone(), state).unwrap_or_default();
    let is_news = before != state && (is_trouble(before) || is_trouble(state));
    let is_change = matches!(event.r#type(), Type::Added | Type::Modified);
    (is_news && is_change).then(|| fact("namespace", &event.cursor, event)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_signed_so_that_others_can_check_it() {
        // As `printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac key` has it.
        let signed = signature(b"key", 1_700_000_000, br#"{"id":"1"}"#);
        assert_eq!(
            signed,
            "t=1700000000,v1=9e040cb90cefc5a04ab9a9848a74e2ff0489b4d8837b38d54555cb67e4f8e76e"
        );
    }

    #[test]
    fn a_namespace_is_told_of_when_it_is_held_up_and_when_it_is_no_more() {
        let mut known = BTreeMap::new();
        let mut told = |state: State| {
            let namespace =
                pb::Namespace { namespace: "orders".to_owned(), state: state.into(), ..Default::default() };
            let event = pb::RebalanceEvent {
                r#type: pb::rebalance_event::Type::Modified.into(),
                namespace: Some(namespace),
                cursor: "1:2".to_owned(),
                ..Default::default()
            };
            state_fact(&event, &mut known).is_some()
        };
        let states = [
            (State::Steady, false),
            (State::Rebalancing, false),
            (State::Investigating, true),
            (State::Investigating, false),
            (State::Failed, true),
            (State::Steady, true),
            (State::Completed, false),
        ];
        for (state, is_told) in states {
            assert_eq!(told(state), is_told, "{state:?}");
        }
    }
}
