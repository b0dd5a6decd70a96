//! A pool of others, behind the HTTP API of a peer service.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use omnirelay_core::text::{chain, innermost, is_unseen};
use omnirelay_decisions::register::check_register_id;
use omnirelay_decisions::strays::StrayWithdrawal;
use omnirelay_host::live::Live;
use omnirelay_identity::client::LiveTlsClient;
use omnirelay_identity::connector::{LiveHttpClient, LiveTlsConnector, PostError};
use omnirelay_identity::reach::AddressReach;
use omnirelay_registry::Registry;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::reasons;
use parking_lot::{Mutex, RwLock};
use reqwest::Url;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::debug;

use super::target::{FailureWeight, NodeCatalogue, PoolTarget, ResyncOutcome, ResyncTrouble, count};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What a peer service takes at once.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How much of an answer is shown in an error, in characters.
const SHOWN_CHARS_MAX: usize = 200;
/// Of more registers to hide than this, all is pushed instead.
const HIDES_MAX: usize = 16;

/// A register as the peer service takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerServiceItem<'a> {
    register_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    is_public: bool,
    latest_version: u64,
    latest_docket_version: u64,
}

/// Body of a push of many registers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BulkPush<'a> {
    advertisements: Vec<PeerServiceItem<'a>>,
    full_sync: bool,
}

/// Body of a push of whether one register is public.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VisibilityPush {
    is_public: bool,
}

/// Treatment of the items that the pool has and the pushed set does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnlistedItems {
    Keep,
    Remove,
}

/// Items that this daemon has pushed to the pool since it started, by id.
type SentItems = BTreeMap<String, pb::AdvertisedRegister>;

/// A pool of others.
pub(super) struct ForeignPool {
    registry: Arc<Registry>,
    name: String,
    url: Url,
    http: RwLock<LiveHttpClient>,
    every: Live<Duration>,
    /// Whether what it answers is told, besides counts: where a caller has named it, that is nobody's to read.
    tells: bool,
    sent: Mutex<SentItems>,
}

impl ForeignPool {
    /// The pool at an address that was checked; its path ends with a slash.
    pub(super) fn new(
        registry: Arc<Registry>,
        url: Url,
        tls: Arc<LiveTlsClient>,
        every: Live<Duration>,
    ) -> Self {
        let http = RwLock::new(LiveHttpClient::new(tls, CONNECT_TIMEOUT));
        let name = url.as_str().trim_end_matches('/').to_owned();
        Self { registry, name, url, http, every, tells: true, sent: Mutex::default() }
    }

    /// The same of an address that a caller has named: only what may be reached so is connected to, and nothing is told of what
    /// is answered but its status and counts.
    pub(super) fn named_by_caller(
        registry: Arc<Registry>,
        url: Url,
        tls: Arc<LiveTlsClient>,
        every: Live<Duration>,
        reach: AddressReach,
    ) -> Self {
        let http = LiveHttpClient::by(LiveTlsConnector::new(tls.clone(), CONNECT_TIMEOUT).reaching(reach));
        Self { http: RwLock::new(http), tells: false, ..Self::new(registry, url, tls, every) }
    }

    /// Has the connections that begin from now on made by another client; what is under way ends as it would have.
    pub(super) fn connect_by(&self, tls: Arc<LiveTlsClient>) {
        *self.http.write() = LiveHttpClient::new(tls, CONNECT_TIMEOUT);
    }

    /// Pushes of the catalogue, in one call.
    pub(super) async fn push(
        &self,
        items: &[pb::AdvertisedRegister],
        beside: UnlistedItems,
    ) -> Result<ResyncOutcome, ResyncTrouble> {
        let outcome = self.hand_over(items, beside).await?;
        let counts = &outcome.counts;
        let mut sent = self.sent.lock();
        // What was refused is not known to be there, nor is what should have gone known to be gone. Not all say what that is.
        let failed = |id: &str| {
            outcome.failed.iter().any(|failed| failed.register_id.is_empty() || failed.register_id == id)
        };
        let mut after = sent.clone();
        if beside == UnlistedItems::Remove {
            after.retain(|id, _| failed(id));
        }
        after.extend(items.iter().map(|item| (item.register_id.clone(), item.clone())));
        // A peer service may count what is as it was as updated.
        let changed = counts.added + counts.removed > 0 || counts.updated > 0 && *sent != after;
        *sent = after;
        Ok(ResyncOutcome { changed, ..outcome })
    }

    /// Pushes a set in one call, whoever answers for it.
    pub(super) async fn hand_over(
        &self,
        items: &[pb::AdvertisedRegister],
        beside: UnlistedItems,
    ) -> Result<ResyncOutcome, ResyncTrouble> {
        let bulk = BulkPush {
            advertisements: items.iter().map(item_of).collect(),
            full_sync: beside == UnlistedItems::Remove,
        };
        let body = encoded(&bulk)?;
        if body.len() > BODY_BYTES_MAX {
            let (bytes, registers) = (body.len(), items.len());
            let message = format!(
                "{registers} registers make {bytes} bytes, and a peer service takes {BODY_BYTES_MAX} at once"
            );
            return Err(ResyncTrouble { message, failing: FailureWeight::Refused });
        }
        let answer = self.post("api/registers/bulk-advertise", body).await?;
        let BulkAnswer { counts, failed } = BulkAnswer::of(&answer, self.tells)?;
        let changed = counts.added + counts.updated + counts.removed > 0;
        Ok(ResyncOutcome { counts, pushed: items.len(), failed, changed, ..ResyncOutcome::default() })
    }

    async fn hide(&self, id: &str) -> Result<(), ResyncTrouble> {
        let body = encoded(&VisibilityPush { is_public: false })?;
        self.post(&format!("api/registers/{id}/advertise"), body).await?;
        self.sent.lock().remove(id);
        Ok(())
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, ResyncTrouble> {
        let url = self.url.join(path).map_err(|error| ResyncTrouble::away(chain(&error)))?;
        let http = self.http.read().clone();
        let exchanged = tokio::time::timeout(CALL_TIMEOUT, async {
            let response = http.post(&url, "application/json", body).await;
            let (head, body) = response.map_err(|error| unanswered(&error))?.into_parts();
            Ok((head.status, read_some(body).await?))
        });
        let (status, answer) = exchanged.await.map_err(|_| late(CALL_TIMEOUT))??;
        if !status.is_success() {
            debug!(pool = self.name, %status, answer = shown(&answer), "a push was refused");
            let message = format!("the peer service answered {status}");
            let of_content = status.is_client_error()
                && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
            let failing = if of_content { FailureWeight::Refused } else { FailureWeight::Away };
            return Err(ResyncTrouble { message, failing });
        }
        Ok(answer)
    }

    /// What goes of what was pushed before; what was deleted is not known while the store is away.
    async fn dare(&self, catalogue: &NodeCatalogue, items: &[pb::AdvertisedRegister]) -> StrayWithdrawal {
        let (entries, strays) = {
            let sent = self.sent.lock();
            let set: BTreeSet<&String> = items.iter().map(|item| &item.register_id).collect();
            (sent.len(), sent.keys().filter(|id| !set.contains(id)).cloned().collect::<BTreeSet<_>>())
        };
        catalogue.dare(&self.registry, entries, &strays).await.unwrap_or_else(|error| {
            debug!(pool = self.name, error = %chain(&error), "traces of deletions could not be read");
            StrayWithdrawal { withdraw: BTreeSet::new(), drifted: (&strays - &catalogue.unknown).len() }
        })
    }

    /// Whether the catalogue is what it should be. An empty one is if something was deleted from it, or pushed from it
    /// since this daemon started; of any other nobody knows whether it was lost.
    async fn is_known(&self, catalogue: &NodeCatalogue) -> bool {
        if !catalogue.registers.is_empty() || !self.sent.lock().is_empty() {
            return true;
        }
        NodeCatalogue::was_emptied(&self.registry).await.unwrap_or_else(|error| {
            debug!(pool = self.name, error = %chain(&error), "traces of deletions could not be read");
            false
        })
    }

    /// The registers that were pushed there since this daemon started.
    #[cfg(test)]
    pub(super) fn sent(&self) -> Vec<String> {
        self.sent.lock().keys().cloned().collect()
    }
}

#[tonic::async_trait]
impl PoolTarget for ForeignPool {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> Live<Duration> {
        self.every.clone()
    }

    async fn all(&self, catalogue: &NodeCatalogue) -> Result<ResyncOutcome, ResyncTrouble> {
        let items = catalogue.items();
        let dared = self.dare(catalogue, &items).await;
        let all_known = dared.drifted == 0 && catalogue.unknown.is_empty();
        if all_known && self.is_known(catalogue).await {
            return self.push(&items, UnlistedItems::Remove).await;
        }
        for id in &dared.withdraw {
            self.hide(id).await?;
        }
        let outcome = self.push(&items, UnlistedItems::Keep).await?;
        Ok(ResyncOutcome {
            drifted: dared.drifted,
            changed: outcome.changed || !dared.withdraw.is_empty(),
            ..outcome
        })
    }

    async fn some(
        &self,
        catalogue: &NodeCatalogue,
        ids: &BTreeSet<String>,
    ) -> Result<ResyncOutcome, ResyncTrouble> {
        let (items, mut hidden) = catalogue.items_of(ids);
        // What the pool was never told of, it need not hear of now: not even that it is private.
        hidden.retain(|id| self.sent.lock().contains_key(id));
        // A `.` or `..` would be a step in the path.
        let in_path = |id: &String| id.bytes().any(|byte| byte != b'.');
        if hidden.len() > HIDES_MAX || !hidden.iter().all(in_path) {
            return self.all(catalogue).await;
        }
        for id in &hidden {
            self.hide(id).await?;
        }
        let mut outcome = ResyncOutcome::default();
        if !items.is_empty() {
            // The call for one register tells neither its name nor how far it has come.
            outcome = self.push(&items, UnlistedItems::Keep).await?;
        }
        outcome.counts.processed = count(ids.len());
        outcome.counts.removed += count(hidden.len());
        let pushed = catalogue.registers.values().filter(|register| register.advertise).count();
        let changed = !items.is_empty() || !hidden.is_empty();
        Ok(ResyncOutcome { pushed, changed, ..outcome })
    }
}

fn encoded(body: &impl Serialize) -> Result<Vec<u8>, ResyncTrouble> {
    serde_json::to_vec(body).map_err(|error| ResyncTrouble::away(chain(&error)))
}

fn item_of(item: &pb::AdvertisedRegister) -> PeerServiceItem<'_> {
    PeerServiceItem {
        register_id: &item.register_id,
        name: item.name.as_deref(),
        description: item.description.as_deref(),
        is_public: item.is_public.unwrap_or(true),
        latest_version: item.latest_version.unwrap_or(0),
        latest_docket_version: item.latest_docket_version.unwrap_or(0),
    }
}

fn late(within: Duration) -> ResyncTrouble {
    ResyncTrouble::away(format!("the peer service did not answer within {} s", within.as_secs()))
}

/// What a call came to that was not answered.
fn unanswered(error: &PostError) -> ResyncTrouble {
    let what = if error.is_connect() { "cannot be reached" } else { "broke off" };
    let cause = innermost(error);
    match cause.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::TimedOut => late(CONNECT_TIMEOUT),
        _ => ResyncTrouble::away(format!("the peer service {what}: {}", chain(cause))),
    }
}

async fn read_some(mut body: Incoming) -> Result<Vec<u8>, ResyncTrouble> {
    let mut answer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| ResyncTrouble::away(format!("the peer service broke off: {}", chain(&error))))?;
        answer.extend_from_slice(frame.data_ref().map_or(&[][..], |piece| piece));
        if answer.len() > ANSWER_BYTES_MAX {
            answer.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    Ok(answer)
}

/// Answer of a peer service to a bulk call.
struct BulkAnswer {
    counts: pb::SyncCounts,
    /// What it refused. A peer service that counts only has one without a register.
    failed: Vec<pb::ItemFailure>,
}

impl BulkAnswer {
    /// A count that is missing is 0.
    fn of(answer: &[u8], tells: bool) -> Result<Self, ResyncTrouble> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(answer) else {
            debug!(answer = shown(answer), "a peer service answered something else than counts");
            return Err(ResyncTrouble::away("the peer service answered something else than counts"));
        };
        let number = |name: &str| {
            let number = field(&fields, name).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let counts = pb::SyncCounts {
            processed: number("processed"),
            added: number("added"),
            updated: number("updated"),
            removed: number("removed"),
            unchanged: number("unchanged"),
            failed: number("failed"),
            deferred: number("deferred"),
        };
        let results =
            field(&fields, "results").and_then(Value::as_array).filter(|_| counts.failed > 0 && tells);
        let mut failed: Vec<_> = results.into_iter().flatten().filter_map(failure_of).collect();
        if failed.is_empty() && counts.failed > 0 {
            let message = match counts.failed {
                1 => "1 of the registers was refused; the peer service does not say which".to_owned(),
                many => format!("{many} of the registers were refused; the peer service does not say which"),
            };
            failed.push(failure(String::new(), &message));
        }
        Ok(Self { counts, failed })
    }
}

/// A field by its name, which peer services spell with a small or a capital letter.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// What became of one register, if it says which.
fn failure_of(result: &Value) -> Option<pb::ItemFailure> {
    let fields = result.as_object()?;
    let text = |name: &str| field(fields, name).and_then(Value::as_str).unwrap_or_default();
    let id = Some(text("registerId")).filter(|id| check_register_id(id).is_ok())?;
    Some(failure(id.to_owned(), &shown(text("message").as_bytes())))
}

fn failure(register_id: String, message: &str) -> pb::ItemFailure {
    pb::ItemFailure {
        register_id,
        reason: reasons::PEER_SERVICE_FAILED.name.to_owned(),
        message: message.to_owned(),
    }
}

/// The beginning of an answer on one line.
fn shown(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let clean = text.chars().map(|c| if is_unseen(c) { ' ' } else { c });
    let mut begun: String = clean.take(SHOWN_CHARS_MAX).collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        begun.push('…');
    }
    if begun.trim().is_empty() { "(nothing)".to_owned() } else { begun }
}
