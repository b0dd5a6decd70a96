//! The webhook: whoever leads tells a server what becomes of plans, and which namespaces are held up or have failed.
//!
//! It follows the log as any watch does, so what waits to be told is in no queue: the log has it. Where it stands is in the registry, and
//! whoever leads next goes on there: what was told and not noted yet is told again, under the same id.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::{chain, hex};
use omnirelay_store::{CommitError, Kind, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{NamespaceValue, ShardWebhookValue};
use prost::Message as _;
use reqwest::{StatusCode, Url};
use ring::hmac;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::known::{NAMESPACE, PLAN};
use super::plans::watching::{WatchedPlans, WatchedStates};
use super::{SHARDS_RUNBOOK, pb};
use crate::daemon::identity::named_server::{ServerTlsError, client_of};
use crate::daemon::metrics::ShardMetrics;
use crate::daemon::objects::feed::{Noun as _, framed};
use crate::daemon::objects::leaders::campaign::Campaigner;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::cursor::Cursor;
use crate::daemon::registry::since::Since;
use crate::daemon::registry::watch::{Step, Watch, WatchEvent};
use pb::namespace::State;

/// Where the webhook stands; the key is [`KEY`].
pub const WEBHOOK: Kind = Kind::of("shard-webhook");
const KEY: &str = "cursor";
/// How far back it begins for the first time.
const FIRST: Duration = Duration::from_secs(30);
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
    /// The cursor of the change: the same each time it is told, and of no other.
    id: String,
    body: Vec<u8>,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("cannot read the secret")]
    Secret(#[source] std::io::Error),
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
    #[error("the server was not reached")]
    Send(#[source] reqwest::Error),
    #[error("the server answered {0}")]
    Answer(StatusCode),
}

impl DeliveryError {
    /// Without the address, which may have a token in it.
    fn of(error: reqwest::Error) -> Self {
        Self::Send(error.without_url())
    }

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
            if let Err(error) = self.follow().await {
                debug!(error = %chain(&error), "what becomes of plans is not followed; trying again");
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn leads(&self) -> bool {
        self.campaigner.fence(GLOBAL_CONTROL).is_some()
    }

    /// Tells what comes, until somebody else leads.
    async fn follow(&self) -> Result<(), CommitError> {
        let Some(begins) = self.begins().await else { return Ok(()) };
        self.note(begins).await?;
        let kinds = vec![PLAN, NAMESPACE];
        let mut watch = Watch::begin_all(self.registry.clone(), kinds, Box::new(|_| true), Some(begins));
        while self.leads() {
            let event = watch.next().await;
            if let WatchEvent::Reset(_) = event {
                self.metrics.count_told("lost");
                warn!(
                    runbook = SHARDS_RUNBOOK,
                    "webhook is not told what the log does not reach back to any more"
                );
            }
            let Some((fact, step)) = self.fact(&event).zip(event.step()) else { continue };
            if !self.deliver(&fact).await {
                break;
            }
            self.note(step.cursor).await?;
        }
        Ok(())
    }

    /// Where whoever led before has stopped; else a moment ago. `None`: the log cannot be read.
    async fn begins(&self) -> Option<Cursor> {
        let stood = self.registry.view().get(&RecordId::new(WEBHOOK, KEY));
        let stood = stood.and_then(|record| record.value::<ShardWebhookValue>()?.cursor.parse().ok());
        match stood {
            Some(stood) => Some(stood),
            None => self.registry.start_of(Since::Ago(FIRST)).await.ok().map(|start| start.cursor),
        }
    }

    /// Has whoever leads next go on behind `cursor`.
    async fn note(&self, cursor: Cursor) -> Result<(), CommitError> {
        let Some(fence) = self.campaigner.fence(GLOBAL_CONTROL) else { return Ok(()) };
        let act = Act::new("shards.webhook", [WEBHOOK], Authority::Leader(fence));
        let value = ShardWebhookValue { cursor: cursor.to_string() }.encode_to_vec().into();
        let write = Write::Put { id: RecordId::new(WEBHOOK, KEY), value, group: None };
        let epoch = self.registry.view().head().epoch;
        self.registry.attempt(&act, Plan::read_in(epoch).write([write])).await.map(drop)
    }

    /// What an event is for the server, as those who watch are told of it; `None`: nothing.
    fn fact(&self, event: &WatchEvent) -> Option<Fact> {
        let (WatchEvent::Added(step) | WatchEvent::Modified(step)) = event else { return None };
        let (frame, shown) = framed(event);
        // Each change of a plan is one of its state.
        let (what, event) = if step.record.record.id.kind == PLAN {
            let event = WatchedPlans { registry: self.registry.clone() }.event(frame, shown)?;
            ("plan", serde_json::to_value(event))
        } else {
            states(step).filter(|(before, after)| is_news(*before, *after))?;
            ("namespace", serde_json::to_value(WatchedStates.event(frame, shown)?))
        };
        let id = step.cursor.to_string();
        let body = json!({"id": id, "what": what, "event": event.ok()?}).to_string().into_bytes();
        Some(Fact { id, body })
    }

    /// Tells it, again and again for a while. False: somebody else leads by now, and tells it.
    async fn deliver(&self, fact: &Fact) -> bool {
        let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
        let (outcome, error) = loop {
            // What somebody else tells by now is not to be told after what follows it.
            if !self.leads() {
                return false;
            }
            match self.target.post(fact).await {
                Ok(()) => {
                    self.metrics.count_told("delivered");
                    return true;
                }
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
        true
    }
}

impl Target {
    async fn post(&self, fact: &Fact) -> Result<(), DeliveryError> {
        // Read each time: whoever changes a secret or a certificate starts no daemon anew.
        let secret = read_secret(&self.secret_file).await.map_err(DeliveryError::Secret)?;
        let client = client_of(&self.url, self.ca.as_deref()).await?.timeout(WITHIN);
        let client = client.build().map_err(DeliveryError::of)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(ID, &fact.id).header(SIGNATURE, signature(&secret, now, &fact.body));
        let sent = request.body(fact.body.clone()).send().await.map_err(DeliveryError::of)?;
        let status = sent.status();
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Answer(status)) }
    }
}

/// `t=<seconds>,v1=<hexadecimal digits>`
fn signature(secret: &[u8], seconds: u64, body: &[u8]) -> String {
    let mut signed = format!("{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed);
    format!("t={seconds},v1={}", hex(tag.as_ref()))
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

/// What was being done with a namespace before a step, and what is.
fn states(step: &Step) -> Option<(State, State)> {
    let before = step.change().and_then(|change| change.before.as_ref()?.value::<NamespaceValue>());
    let before = before.map(|value| value.state()).unwrap_or_default();
    Some((before, step.record.value::<NamespaceValue>()?.state()))
}

/// A namespace that is held up or has failed, and one that is so no more.
fn is_news(before: State, after: State) -> bool {
    let is_trouble = |state: State| matches!(state, State::Investigating | State::Failed);
    before != after && (is_trouble(before) || is_trouble(after))
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
        let states = [
            (State::Steady, false),
            (State::Rebalancing, false),
            (State::Investigating, true),
            (State::Investigating, false),
            (State::Failed, true),
            (State::Steady, true),
            (State::Completed, false),
        ];
        let mut before = State::Unspecified;
        for (state, is_told) in states {
            assert_eq!(is_news(before, state), is_told, "{before:?} {state:?}");
            before = state;
        }
    }
}
