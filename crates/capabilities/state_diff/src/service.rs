//! The service of the state diff: one comparison at a time, for whoever asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnirelay_core::text::{chain, count};
use omnirelay_decisions::check::facts::is_alive;
use omnirelay_identity::caller::Caller;
use omnirelay_node::node_asker::{AskableNode, NodeAsker};
use omnirelay_nouns::range_questions::{DIFFERENCES_LISTED, differences_listed};
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, check_reason, envelope, head_cursor, serve};
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons::{self, Reason};
use omnirelay_wire::rpc::state_diff_service::RECONCILE;
use pb::state_diff_service_server::StateDiffService;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tonic::Response;
use tracing::{info, warn};

use crate::compared::ComparedRecords;
use crate::metrics::{ComparedWith, StateDiffMetrics};
use crate::node_diff::{AskedNode, NodeDiff};
use crate::ranges::answer_ranges;
use crate::store_diff::compare_with_store;
use crate::{ComparedNodes, pb};

/// How many callers may wait for a comparison at once, the one that is made among them.
const WAITING_MAX: usize = 8;
/// How long a comparison may take, and until everything was loaded anew.
const COMPARE_PATIENCE: Duration = Duration::from_secs(60);
const MEND_PATIENCE: Duration = Duration::from_secs(30);
/// How many differences the audit trail names.
const RECORDED_MAX: usize = 20;

/// Compares what this daemon holds.
pub(crate) struct StateDiff {
    pub registry: Arc<Registry>,
    pub nodes: Arc<dyn ComparedNodes>,
    asker: NodeAsker,
    pub metrics: StateDiffMetrics,
    waiting: Semaphore,
    turn: Mutex<()>,
    /// One reconciliation at a time; who reads takes no place of theirs.
    reconciling: Mutex<()>,
}

/// Serves `StateDiffService`.
pub(crate) struct StateDiffCalls(pub Arc<StateDiff>);

serve! {
    StateDiffService for StateDiffCalls {
        get(GetStateDiffRequest) -> GetStateDiffResponse: |calls, _, asked| calls.0.get(asked);
        reconcile(ReconcileStateRequest) -> ReconcileStateResponse: |calls, caller, asked| calls.reconcile(caller, asked);
        compare_ranges(CompareRangesRequest) -> CompareRangesResponse: |calls, _, asked| answer_ranges(&calls.0.registry, asked);
    }
}

impl StateDiffCalls {
    /// Brings it to its end also when the caller has gone.
    async fn reconcile(
        &self,
        caller: &Caller,
        asked: pb::ReconcileStateRequest,
    ) -> Result<Response<pb::ReconcileStateResponse>, Fault> {
        check_reason(&asked.reason)?;
        let (diff, caller) = (self.0.clone(), caller.clone());
        diff.registry.ready_for("").await?;
        diff.registry.recheck(&caller).await?;
        let reconciled = tokio::spawn(async move { diff.reconcile(&caller, asked).await });
        reconciled.await.map_err(|error| Fault::new(reasons::INTERNAL, chain(&error)))?
    }
}

impl StateDiff {
    pub(crate) fn new(
        registry: Arc<Registry>,
        nodes: Arc<dyn ComparedNodes>,
        asker: NodeAsker,
        metrics: StateDiffMetrics,
    ) -> Self {
        let (waiting, turn, reconciling) = (Semaphore::new(WAITING_MAX), Mutex::default(), Mutex::default());
        Self { registry, nodes, asker, metrics, waiting, turn, reconciling }
    }

    async fn get(&self, asked: pb::GetStateDiffRequest) -> Result<Response<pb::GetStateDiffResponse>, Fault> {
        let limit = differences_listed(asked.limit)?;
        self.registry.ready_for("").await?;
        let answer = match asked.node_id.as_str() {
            "" => self.compare_with_store(limit).await?,
            own if own == self.registry.node_id() => {
                return Err(Fault::invalid(format!("field `node_id`: {own} is the node that is asked"))
                    .hint("leave it out to compare it with the store, or name another one"));
            }
            other => {
                let peer = self.nodes.node(other).await?;
                if !is_alive(&peer) {
                    let message = format!("node `{other}` is not alive, so that it cannot be asked");
                    return Err(Fault::new(reasons::NODE_NOT_ALIVE, message)
                        .hint(format!("omnirelay mesh peers status {other}")));
                }
                self.compare_with_node(&peer, limit).await?
            }
        };
        let cursor = answer.cursor.clone();
        Ok(at_cursor(answer, &cursor))
    }

    /// Compares with the store.
    pub(crate) async fn compare_with_store(&self, limit: usize) -> Result<pb::GetStateDiffResponse, Fault> {
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        self.look_at_store(limit).await
    }

    async fn look_at_store(&self, limit: usize) -> Result<pb::GetStateDiffResponse, Fault> {
        let _turn = self.turn.lock().await;
        let (began, mut found) = (Instant::now(), ComparedRecords::listing(limit));
        let compared = timeout(COMPARE_PATIENCE, compare_with_store(&self.registry, &mut found)).await;
        let compared = compared.unwrap_or_else(|_| Err(too_long(reasons::STORE_UNAVAILABLE, "the store")));
        self.found("store".to_owned(), ComparedWith::Store, (found, compared), began)
    }

    /// Compares with what the daemon of another node holds.
    pub(crate) async fn compare_with_node(
        &self,
        peer: &pb::Peer,
        limit: usize,
    ) -> Result<pb::GetStateDiffResponse, Fault> {
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.turn.lock().await;
        let (began, mut found) = (Instant::now(), ComparedRecords::listing(limit));
        let other = AskedNode { asker: &self.asker, node: AskableNode::of(peer) };
        let diff = NodeDiff { registry: &self.registry, other };
        let compared = timeout(COMPARE_PATIENCE, diff.compare(&mut found)).await;
        let node = format!("node `{}`", peer.node_id);
        let compared = compared.unwrap_or_else(|_| Err(too_long(reasons::NODE_NOT_ASKED, &node)));
        self.found(format!("node/{}", peer.node_id), ComparedWith::Node, (found, compared), began)
    }

    fn found(
        &self,
        compared_with: String,
        with: ComparedWith,
        (found, compared): (ComparedRecords, Result<(), Fault>),
        began: Instant,
    ) -> Result<pb::GetStateDiffResponse, Fault> {
        let took = began.elapsed();
        // One that is older compares nothing, which is no failure.
        if compared.as_ref().err().is_none_or(|fault| fault.reason != reasons::NODE_OLDER.name) {
            self.metrics.note(with, &found, compared.is_ok(), took);
        }
        compared?;
        let ComparedRecords { records, differing, differences, unsettled, questions, not_compared, .. } =
            found;
        let answer = pb::GetStateDiffResponse {
            cursor: head_cursor(self.registry.view()),
            compared_with,
            records,
            differing,
            differences,
            unsettled,
            took_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            questions,
            pools: self.nodes.pools(),
            not_compared,
            ..Default::default()
        };
        Ok(answer.within(envelope(&self.registry)))
    }

    async fn reconcile(
        &self,
        caller: &Caller,
        asked: pb::ReconcileStateRequest,
    ) -> Result<Response<pb::ReconcileStateResponse>, Fault> {
        let _reconciling = self.reconciling.try_lock().map_err(|_| {
            Fault::new(reasons::LIMIT_EXHAUSTED, "a reconciliation of this daemon is under way")
                .hint("come again in a moment")
        })?;
        let before = self.look_at_store(DIFFERENCES_LISTED as usize).await?;
        let changed = before.differing > 0;
        let mut after = None;
        if changed && !asked.dry_run {
            // Recorded first: with that commit all that is loaded is newer than what was told of it.
            self.record(caller, &asked, told(&before)).await?;
            after = self.mend(caller, &asked, before.differing).await;
        } else if asked.dry_run {
            self.record(caller, &asked, told(&before)).await?;
        }
        let cursor = head_cursor(self.registry.view());
        let answer = pb::ReconcileStateResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            local_node_id: self.registry.node_id().to_owned(),
            cursor: cursor.clone(),
            changed,
            dry_run: asked.dry_run,
            before: Some(before),
            after,
        };
        Ok(at_cursor(answer, &cursor))
    }

    /// Loads everything anew, and says how it is then; `None`: that is not known yet.
    async fn mend(
        &self,
        caller: &Caller,
        asked: &pb::ReconcileStateRequest,
        before: u64,
    ) -> Option<pb::GetStateDiffResponse> {
        let after = match timeout(MEND_PATIENCE, self.registry.mend_view()).await {
            Ok(()) => self.look_at_store(DIFFERENCES_LISTED as usize).await.map_err(|fault| fault.message),
            Err(_) => Err("it is loaded once the store answers".to_owned()),
        };
        let line = match &after {
            Ok(found) => format!("after: {} differ from the store", count(found.differing, "record")),
            Err(why) => format!("after: not known: {why}"),
        };
        info!(before, line, by = %caller.principal, "records loaded anew from the store");
        if let Err(fault) = self.record(caller, asked, vec![line]).await {
            let (request_id, error) = (&caller.request_id, fault.message);
            warn!(%request_id, error, "the end of a reconciliation is not in the audit trail");
        }
        after.ok()
    }

    async fn record(
        &self,
        caller: &Caller,
        asked: &pb::ReconcileStateRequest,
        changes: Vec<String>,
    ) -> Result<(), Fault> {
        let deed = AuditedAction {
            action: RECONCILE.audit_action,
            object: format!("node/{}", self.registry.node_id()),
            reason: &asked.reason,
            dry_run: asked.dry_run,
            changes,
        };
        let recorded = self.registry.record(caller, deed).await;
        recorded.map_err(|error| {
            let message =
                format!("what differs could not be recorded, so nothing was loaded: {}", chain(&error));
            Fault::new(reasons::STORE_UNAVAILABLE, message).hint("omnirelay mesh check")
        })
    }
}

/// What the audit trail says of the state before.
fn told(before: &pb::GetStateDiffResponse) -> Vec<String> {
    let mut lines = vec![format!("before: {} differ from the store", count(before.differing, "record"))];
    lines.extend(before.differences.iter().take(RECORDED_MAX).map(|one| {
        let version = |record: &Option<pb::StateRecord>| {
            record.as_ref().map_or_else(|| "none".to_owned(), |record| format!("version {}", record.version))
        };
        format!("{}/{}: {} here, {} in the store", one.kind, one.key, version(&one.here), version(&one.there))
    }));
    lines
}

fn too_long(reason: Reason, with: &str) -> Fault {
    let seconds = COMPARE_PATIENCE.as_secs();
    let message = format!("it could not be compared with {with} within {seconds} s");
    Fault::new(reason, message).hint("omnirelay mesh check")
}

fn busy() -> Fault {
    let message = format!("{WAITING_MAX} others have this daemon compare what it holds");
    Fault::new(reasons::LIMIT_EXHAUSTED, message).hint("come again in a moment")
}
