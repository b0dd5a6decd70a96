//! Calls and handshakes that were refused for who the caller is: counted by the minute, and then entered in the trail.
//!
//! Whoever is refused may call as often as it likes. So what is remembered is bounded, in memory as in the
//! file, and alike refusals of one minute are one record.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records as certificates;
use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::log::FaultLimiter;
use omnirelay_host::wall_clock;
use omnirelay_identity::caller::cluster_kin;
use omnirelay_nouns::timestamp;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::audit_record::record_key;
use omnirelay_store::{CommitError, StoreError};
use omnirelay_surface::{FailedHandshake, FinishedCall};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::files::{AuditFiles, AuditFilesError};
use crate::trail_records::record_of;

/// The principal of whoever has proven nothing.
const NOBODY: &str = "-";
/// The most sorts of refusals that are kept apart; what comes beyond is counted together.
const SORTS_MAX: usize = 1024;
/// Of them, of strangers: whoever shakes no hands or shows nothing has proven nothing, and the nodes of federated clusters are
/// named by others. Neither must keep out what those of this mesh do.
const STRANGE_SORTS_MAX: usize = 256;
/// Of those, of the handshakes of one network: of 24 bits, of IPv6 64. What comes beyond is told by the network.
const NETWORK_SORTS_MAX: usize = 16;
/// Of strangers, how many sorts a day are told apart: each is a record that is kept for more than a year, and a host of many
/// addresses is as many strangers. What comes beyond is told together, a record for each reason and minute.
const STRANGE_SORTS_A_DAY: usize = 2000;
/// How many of them an address has; from then on it is told by the hour, so that what asks each minute leaves room for others.
const EACH_MINUTE_MAX: usize = 60;
/// Whoever is told together.
const STRANGERS: &str = "strangers";
/// The most records of one commit.
const BATCH_MAX: usize = 64;
/// The longest principal that is kept, in characters.
const PRINCIPAL_CHARS_MAX: usize = 256;
const MINUTE_MS: u64 = 60_000;
const HOUR_MINUTES: u64 = 60;
const DAY_MINUTES: u64 = 24 * HOUR_MINUTES;
/// How often is looked whether a minute is over; what came since the last look is lost in a crash.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a batch is repeated under its keys. They begin with the time, and the trail is read by it.
const KEYS_FOR_MS: u64 = 10 * MINUTE_MS;

/// What refusals beyond [`SORTS_MAX`] are called.
const DROPPED: &str = "audit.dropped";
/// What a handshake is called.
const HANDSHAKE: &str = "tls.handshake";
/// What the calls that change nothing are called together; their method follows.
const READS: &str = "reads";

/// Class of refusals: those that are alike and of one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct RefusalClass {
    minute: u64,
    principal: String,
    action: String,
    reason: String,
    /// Of a handshake: the holder of the certificate that was shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    object: String,
}

/// Count of refusals of a class, and the first and the last time, by the clock of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefusalCount {
    count: u32,
    first_ms: u64,
    last_ms: u64,
}

/// Row of the spool: a class of refusals with its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RefusalRow {
    #[serde(flatten)]
    sort: RefusalClass,
    #[serde(flatten)]
    seen: RefusalCount,
}

/// Records that are being written, under the keys they were first written under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefusalBatch {
    keyed_at_ms: u64,
    keys: Vec<String>,
    rows: Vec<RefusalRow>,
}

/// Spool of refusals, as it is kept in a file.
#[derive(Default, Serialize, Deserialize)]
struct Spool {
    rows: Vec<RefusalRow>,
    batch: Option<RefusalBatch>,
}

/// Number of sorts of strangers on a day, in all and of each.
#[derive(Default)]
struct StrangersOfDay {
    day: u64,
    all: usize,
    of: BTreeMap<String, usize>,
}

#[derive(Default)]
struct State {
    sorts: BTreeMap<RefusalClass, RefusalCount>,
    batch: Option<RefusalBatch>,
    /// The minute of the one sort of what was too much, as long as there is one.
    dropped: Option<u64>,
    strange: StrangersOfDay,
    /// Something is not spooled yet.
    dirty: bool,
}

/// The refusals of this node that are not in the trail yet.
#[derive(Default)]
pub struct UnwrittenRefusals {
    state: Mutex<State>,
    faults_told: FaultLimiter<AuditFilesError>,
}

/// Reason why refusals were not entered. They still are remembered.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error(transparent)]
    Files(#[from] AuditFilesError),
    #[error("the store did not take refusals")]
    Commit(#[from] CommitError),
    #[error("the store did not answer")]
    Store(#[from] StoreError),
}

impl UnwrittenRefusals {
    /// Takes up what was spooled before.
    ///
    /// # Errors
    /// When the file cannot be read. One that says nothing sensible is left behind: it is lossy anyway.
    pub fn open(files: &AuditFiles) -> Result<Self, AuditFilesError> {
        let Some(text) = files.refusals()? else { return Ok(Self::default()) };
        let spool: Spool = serde_json::from_slice(&text).unwrap_or_else(|error| {
            warn!(%error, "spooled refusals could not be read and are lost");
            Spool::default()
        });
        let mut sorts: BTreeMap<_, _> = spool.rows.into_iter().map(|row| (row.sort, row.seen)).collect();
        // One more, for what is dropped. The oldest come first.
        while sorts.len() > SORTS_MAX + 1 {
            sorts.pop_first();
        }
        let dropped = sorts.keys().find(|sort| sort.action == DROPPED).map(|sort| sort.minute);
        let state = Mutex::new(State { sorts, batch: spool.batch, dropped, ..State::default() });
        Ok(Self { state, faults_told: FaultLimiter::default() })
    }

    /// Takes note of a call that is over, if it was refused for who the caller is, or because they call or are issued something too
    /// often.
    pub fn note(&self, call: &FinishedCall<'_>) {
        const TOO_MANY: [reasons::Reason; 3] =
            [reasons::TOO_MANY_CALLS, reasons::TOO_MANY_CERTIFICATES, reasons::TOO_MANY_ISSUED];
        let refused = matches!(call.code, tonic::Code::Unauthenticated | tonic::Code::PermissionDenied)
            || TOO_MANY.iter().any(|reason| reason.name == call.reason);
        if refused && !call.cut {
            let reason = if call.reason.is_empty() { "REFUSED" } else { call.reason };
            let (action, principal) = told_as(call);
            self.note_at(principal, &action, reason, wall_ms());
        }
    }

    /// Takes note of a handshake that came to nothing, if the node has refused the client.
    pub fn note_handshake(&self, handshake: &FailedHandshake<'_>) {
        if handshake.cause.is_refusal() {
            self.note_sort(RefusalClass::of_handshake(handshake, wall_ms()), wall_ms());
        }
    }

    fn note_at(&self, principal: &str, action: &str, reason: &str, now_ms: u64) {
        let sort = RefusalClass {
            minute: now_ms / MINUTE_MS,
            principal: principal.chars().take(PRINCIPAL_CHARS_MAX).collect(),
            action: action.to_owned(),
            reason: reason.to_owned(),
            object: String::new(),
        };
        self.note_sort(sort, now_ms);
    }

    fn note_sort(&self, sort: RefusalClass, now_ms: u64) {
        let mut state = self.state.lock();
        let sort = if state.sorts.contains_key(&sort) { sort } else { state.together(sort) };
        let sort = state.within_the_day(sort);
        let full = !state.sorts.contains_key(&sort) && state.is_full_of(&sort);
        // One for all minutes: an outage of the store may last for many.
        let sort = if full {
            dropped(*state.dropped.get_or_insert(sort.minute))
        } else {
            state.count_strange(&sort);
            sort
        };
        let seen = state.sorts.entry(sort);
        let seen = seen.or_insert(RefusalCount { count: 0, first_ms: now_ms, last_ms: now_ms });
        seen.count = seen.count.saturating_add(1);
        seen.last_ms = seen.last_ms.max(now_ms);
        state.dirty = true;
    }

    /// What is to be spooled; `None` when nothing has changed.
    fn unspooled(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.dirty) {
            return None;
        }
        let rows = state.sorts.iter().map(|(sort, seen)| RefusalRow { sort: sort.clone(), seen: *seen });
        let spool = Spool { rows: rows.collect(), batch: state.batch.clone() };
        serde_json::to_vec(&spool).ok()
    }

    /// Puts what is of minutes that are over into a batch, unless there is one already.
    fn begin_batch(&self, now_ms: u64, store_now: Millis) -> Option<RefusalBatch> {
        let mut state = self.state.lock();
        if state.batch.is_none() {
            let current = now_ms / MINUTE_MS;
            let over = state.sorts.keys().filter(|sort| sort.minute < current).take(BATCH_MAX);
            let over: Vec<RefusalClass> = over.cloned().collect();
            if over.is_empty() {
                return None;
            }
            let rows = over.into_iter().filter_map(|sort| Some((state.sorts.remove(&sort)?, sort)));
            let rows: Vec<RefusalRow> = rows.map(|(seen, sort)| RefusalRow { sort, seen }).collect();
            if rows.iter().any(|row| row.sort.action == DROPPED) {
                state.dropped = None;
            }
            state.batch = Some(RefusalBatch::keyed(rows, store_now));
            state.dirty = true;
        }
        state.batch.clone()
    }

    /// Gives a batch that was not written new keys, or ends one that was.
    fn set_batch(&self, batch: Option<RefusalBatch>) {
        let mut state = self.state.lock();
        state.batch = batch;
        state.dirty = true;
    }
}

impl RefusalClass {
    /// The minute by which a refusal is told by the hour: it is entered once that is over.
    fn last_of_hour(&self) -> u64 {
        self.minute / HOUR_MINUTES * HOUR_MINUTES + HOUR_MINUTES - 1
    }

    fn day(&self) -> u64 {
        self.minute / DAY_MINUTES
    }

    fn is_of_stranger(&self) -> bool {
        let is_nobody = self.principal == NOBODY || self.principal == STRANGERS;
        self.action == HANDSHAKE || is_nobody || cluster_kin(&self.principal).is_some()
    }

    /// Who shook no hands is known by where it is, and by the record of the certificates of whoever an authority that is
    /// believed has named in what it has shown: any other name is made up as easily as another.
    fn of_handshake(handshake: &FailedHandshake<'_>, now_ms: u64) -> Self {
        let host = handshake.host;
        let network = if matches!(host, IpAddr::V6(host) if !host.is_loopback()) { "/64" } else { "" };
        let object = handshake.named.map(|id| certificates::record_of(id.holder()).to_string());
        let object = object.unwrap_or_default();
        Self {
            minute: now_ms / MINUTE_MS,
            principal: format!("address:{host}{network}"),
            action: HANDSHAKE.to_owned(),
            reason: handshake.cause.word().to_ascii_uppercase(),
            object: object.chars().take(PRINCIPAL_CHARS_MAX).collect(),
        }
    }
}

impl State {
    /// The sort by which a handshake is told: by its network, where many addresses of that are known already.
    fn together(&self, sort: RefusalClass) -> RefusalClass {
        let Some(network) = network_of(&sort).filter(|_| sort.action == HANDSHAKE) else { return sort };
        let of_network = |known: &&RefusalClass| {
            known.minute == sort.minute
                && known.action == HANDSHAKE
                && network_of(known).as_ref() == Some(&network)
        };
        match self.sorts.keys().filter(of_network).count() >= NETWORK_SORTS_MAX {
            true => RefusalClass { principal: network, object: String::new(), ..sort },
            false => sort,
        }
    }

    /// The sort by which a stranger is told once there were too many of them this day.
    fn within_the_day(&self, sort: RefusalClass) -> RefusalClass {
        let is_new = sort.is_of_stranger() && !self.sorts.contains_key(&sort);
        if !is_new || self.strange.day != sort.day() {
            return sort;
        }
        if self.strange.all >= STRANGE_SORTS_A_DAY {
            // Whose certificate was shown is told all the same: an authority that is believed has named it.
            return RefusalClass { principal: STRANGERS.to_owned(), ..sort };
        }
        let often = self.strange.of.get(&sort.principal).is_some_and(|count| *count >= EACH_MINUTE_MAX);
        if often { RefusalClass { minute: sort.last_of_hour(), ..sort } } else { sort }
    }

    /// Counts a sort that is about to be kept, if it is new and of a stranger.
    fn count_strange(&mut self, sort: &RefusalClass) {
        if !sort.is_of_stranger() || self.sorts.contains_key(sort) {
            return;
        }
        if self.strange.day != sort.day() {
            self.strange = StrangersOfDay { day: sort.day(), ..StrangersOfDay::default() };
        }
        // Strangers together are a few each minute.
        if sort.principal != STRANGERS {
            self.strange.all += 1;
            *self.strange.of.entry(sort.principal.clone()).or_default() += 1;
        }
    }

    /// Whether there is no room for another sort such as this.
    fn is_full_of(&self, sort: &RefusalClass) -> bool {
        let strange = || self.sorts.keys().filter(|known| known.is_of_stranger()).count();
        self.sorts.len() >= SORTS_MAX || (sort.is_of_stranger() && strange() >= STRANGE_SORTS_MAX)
    }
}

/// The network of a handshake's address, as principals have it: of 24 bits, of IPv6 64.
fn network_of(sort: &RefusalClass) -> Option<String> {
    let address = sort.principal.strip_prefix("address:")?;
    match address.parse().ok() {
        Some(IpAddr::V4(address)) => {
            let [first, second, third, _] = address.octets();
            Some(format!("address:{first}.{second}.{third}.0/24"))
        }
        Some(IpAddr::V6(_)) | None => Some(sort.principal.clone()),
    }
}

/// What the trail calls a refused call, and by whom it was. Reads of those who prove nothing, or whom others name, are one
/// sort: they may try every method there is.
fn told_as<'a>(call: &FinishedCall<'a>) -> (String, &'a str) {
    match (call.audit_action, cluster_kin(call.principal)) {
        (Some(action), _) => (action.to_owned(), call.principal),
        (None, Some(kin)) => (READS.to_owned(), kin),
        (None, None) if call.principal == NOBODY => (READS.to_owned(), call.principal),
        (None, None) => (read_of(call.method), call.principal),
    }
}

/// What the trail calls a call that would have changed nothing: `reads.PeerService.List`.
fn read_of(method: &str) -> String {
    let (service, method) = method.trim_start_matches('/').rsplit_once('/').unwrap_or(("", method));
    let service = service.rsplit('.').next().unwrap_or(service);
    format!("{READS}.{service}.{method}")
}

impl RefusalBatch {
    fn keyed(rows: Vec<RefusalRow>, now: Millis) -> Self {
        let keys = rows.iter().map(|row| record_key(now, row.sort.principal.as_bytes())).collect();
        Self { keyed_at_ms: now.0, keys, rows }
    }
}

/// Where refusals are counted that are of too many sorts.
fn dropped(minute: u64) -> RefusalClass {
    let (action, reason) = (DROPPED.to_owned(), "TOO_MANY".to_owned());
    RefusalClass { minute, principal: String::new(), action, reason, object: String::new() }
}

fn wall_ms() -> u64 {
    whole_ms(wall_clock::unix())
}

/// Spools refusals, from the beginning, and enters them in the trail while the store is there, for ever.
pub async fn enter_refusals(registry: Arc<Registry>, refusals: Arc<UnwrittenRefusals>, files: AuditFiles) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let entered = if registry.view().head().caught_up {
            enter_some(&registry, &refusals, &files, wall_ms()).await
        } else {
            spool(&refusals, &files).await
        };
        if let Err(error) = entered {
            debug!(error = %chain(&error), "refusals could not be entered in the audit trail");
        }
    }
}

async fn enter_some(
    registry: &Registry,
    refusals: &UnwrittenRefusals,
    files: &AuditFiles,
    now_ms: u64,
) -> Result<(), EnterError> {
    let batch = refusals.begin_batch(now_ms, registry.view().now());
    // The keys are in the file before they are in the store, so that a batch is entered once.
    spool(refusals, files).await?;
    let Some(batch) = batch else { return Ok(()) };
    let now = registry.view().now();
    let old = now.0.saturating_sub(batch.keyed_at_ms) > KEYS_FOR_MS;
    if old && !is_entered(registry, &batch).await? {
        refusals.set_batch(Some(RefusalBatch::keyed(batch.rows, now)));
        return Ok(());
    }
    if !old {
        enter(registry, &batch).await?;
    }
    refusals.set_batch(None);
    spool(refusals, files).await
}

async fn spool(refusals: &UnwrittenRefusals, files: &AuditFiles) -> Result<(), EnterError> {
    let Some(text) = refusals.unspooled() else { return Ok(()) };
    if let Err(error) = files.keep_refusals(text).await {
        if refusals.faults_told.is_due(&error) {
            warn!(error = %chain(&error), "refusals could not be spooled");
        }
        refusals.state.lock().dirty = true;
        return Err(error.into());
    }
    Ok(())
}

async fn is_entered(registry: &Registry, batch: &RefusalBatch) -> Result<bool, StoreError> {
    match batch.keys.first() {
        Some(key) => Ok(record_of(registry.store(), key).await?.is_some()),
        None => Ok(true),
    }
}

/// Commits a batch; one that was committed already stays as it is.
async fn enter(registry: &Registry, batch: &RefusalBatch) -> Result<(), CommitError> {
    let rows = batch.keys.iter().zip(&batch.rows);
    // The same key and value have the same MAC: a repeated batch is the same to the byte.
    let audits = rows.map(|(key, row)| (key.clone(), value_of(row, registry.node_id())));
    let act = DaemonAct::new("audit.refusals", [], WriteAuthority::Unfenced);
    match registry.attempt(&act, CommitPlan::default().audit_under(audits)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn value_of(row: &RefusalRow, node_id: &str) -> AuditValue {
    AuditValue {
        actor: row.sort.principal.clone(),
        action: row.sort.action.clone(),
        object: row.sort.object.clone(),
        node_id: node_id.to_owned(),
        refused: true,
        count: row.seen.count,
        refusal: row.sort.reason.clone(),
        first_at: Some(timestamp(Millis(row.seen.first_ms))),
        last_at: Some(timestamp(Millis(row.seen.last_ms))),
        ..AuditValue::default()
    }
}

#[cfg(test)]
#[path = "refusals_test.rs"]
mod tests;
