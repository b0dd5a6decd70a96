//! The registry: commits, the view, watches and sessions, on any store.

pub mod act;
pub mod audit_faults;
pub mod audit_record;
pub mod awaiting_seal;
pub mod backoff;
pub mod commit_judge;
pub mod commits;
mod completeness;
pub mod confirm;
pub mod connectivity;
pub mod cursor;
pub mod epoch_loss;
pub mod follow;
pub mod heartbeat;
pub mod held_groups;
pub mod mutate;
pub mod other_registries;
pub mod past;
mod prefix_scan;
pub mod reactor;
pub mod record;
mod refusal;
pub mod revision_waiter;
pub mod session;
pub mod signed_records;
mod signing;
pub mod since;
pub mod stored_ranges;
pub mod ttl_records;
pub mod ttl_renewal;
pub mod view;
pub mod watch;
pub mod write_gate;

#[cfg(test)]
mod act_test;
#[cfg(test)]
mod commits_test;
#[cfg(test)]
mod epoch_loss_test;
#[cfg(any(test, feature = "testing"))]
pub mod lab;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, reason = "of tests")]
pub mod later_version;
#[cfg(test)]
mod mutate_test;
#[cfg(test)]
mod outage_test;
#[cfg(test)]
mod past_test;
#[cfg(test)]
mod reactor_test;
#[cfg(test)]
mod registry_test;
#[cfg(test)]
mod reload_test;
#[cfg(test)]
mod stored_ranges_test;
#[cfg(test)]
mod write_gate_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_decisions::audit_seal::mac::MacKey;
use omnirelay_host::live::Live;
use omnirelay_host::log::FaultLimiter;
use omnirelay_identity::caller::Caller;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, LogEntry, LogPage, RecordKind, Retention, Revision, Store,
    StoreError,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use audit_faults::AuditFaults;
use awaiting_seal::AwaitingSeal;
use confirm::LeaseConfirmationCounts;
use cursor::Cursor;
use epoch_loss::{NewEpochLosses, RestorationRule};
use held_groups::HeldGroups;
use other_registries::OtherRegistriesPlace;
use past::PastViews;
use stored_ranges::RecentRanges;
use ttl_records::LifeStartLocks;
use ttl_renewal::RefreshQueue;
use view::{AppliedEntries, View};
use write_gate::WriteGate;

/// How long a commit's caller waits for the view to show it.
const OWN_COMMIT_WAIT: Duration = Duration::from_secs(2);

/// How many watches read the store's log at once, and how long each may take.
const LOG_READERS_MAX: usize = 8;
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How often somebody who waits for the first load looks whether the store still answers.
const LOAD_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long one step of housekeeping may take.
const HOUSEKEEPING_TIMEOUT: Duration = Duration::from_secs(30);
/// How many steps one round has at most.
const HOUSEKEEPING_STEPS_MAX: usize = 1000;

/// One daemon's registry.
pub struct Registry {
    node_id: Arc<str>,
    store: Arc<dyn Store>,
    view: View,
    held_groups: HeldGroups,
    losses: NewEpochLosses,
    confirmations: LeaseConfirmationCounts,
    log_turns: Semaphore,
    refreshes: RefreshQueue,
    /// Kinds of what says itself that it lives, those first that others depend on.
    claimed: Vec<RecordKind>,
    beginnings: LifeStartLocks,
    write_gate: WriteGate,
    others: OtherRegistriesPlace,
    /// About mutations that the store refused.
    refusals: FaultLimiter<StoreError>,
    /// True: the last commit found no room.
    full: AtomicBool,
    /// How many commits were refused because their fence was stale.
    fenced: AtomicU64,
    /// Of the audit records that this node makes; `None` where nothing is sealed.
    audit_mac: Option<MacKey>,
    awaiting_seal: AwaitingSeal,
    audit_faults: AuditFaults,
    past: PastViews,
    recent_ranges: RecentRanges,
    /// Has the view loaded again.
    reload: Notify,
    begun: Instant,
}

impl Registry {
    /// A registry of `node_id` over a store, mirroring these kinds. Nothing runs until
    /// [`follow::follow_log`] and [`heartbeat::beat_heart`] do.
    pub fn new(node_id: impl Into<Arc<str>>, store: Arc<dyn Store>, mirrored: &[RecordKind]) -> Self {
        let node_id: Arc<str> = node_id.into();
        Self {
            losses: NewEpochLosses::new(node_id.to_string()),
            confirmations: LeaseConfirmationCounts::default(),
            node_id,
            view: View::new(mirrored).confirming(store.confirms()),
            held_groups: HeldGroups::confirming(store.confirms()),
            store,
            log_turns: Semaphore::new(LOG_READERS_MAX),
            refreshes: RefreshQueue::default(),
            claimed: Vec::new(),
            beginnings: LifeStartLocks::default(),
            write_gate: WriteGate::default(),
            others: OtherRegistriesPlace::default(),
            refusals: FaultLimiter::default(),
            full: AtomicBool::new(false),
            fenced: AtomicU64::new(0),
            audit_mac: None,
            awaiting_seal: AwaitingSeal::default(),
            audit_faults: AuditFaults::default(),
            past: PastViews::default(),
            recent_ranges: RecentRanges::default(),
            reload: Notify::new(),
            begun: Instant::now(),
        }
    }

    /// Has watches told of these kinds too, whose records the view does not hold.
    #[must_use]
    pub fn following(self, followed: &[RecordKind]) -> Self {
        Self { view: self.view.following(followed), ..self }
    }

    /// Tells nobody what a new epoch has lost of these kinds, but counts it: what lives says so again, and what does
    /// not is no loss. In this order they are brought back after an outage: name those first that others depend on.
    #[must_use]
    pub fn claiming(self, claimed: &[RecordKind]) -> Self {
        Self { losses: self.losses.untold(claimed), claimed: claimed.to_vec(), ..self }
    }

    /// Awaits what a new epoch has lost whole of these kinds until somebody puts it back, or it is given up. Others than its
    /// owner do so after `own_turn`.
    #[must_use]
    pub fn restoring(self, restored: Vec<Vec<RestorationRule>>, own_turn: impl Into<Live<Duration>>) -> Self {
        Self { losses: self.losses.restored(restored), view: self.view.awaiting(own_turn.into()), ..self }
    }

    /// Takes only what issuers have signed for records of these kinds, once [`View::sign_by`] says who they are.
    #[must_use]
    pub fn signing(self, signed: &[RecordKind]) -> Self {
        Self { view: self.view.signing(signed), ..self }
    }

    /// Asks `believes` whether nodes are believed by certificates of files.
    #[must_use]
    pub fn believing_files(self, believes: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { view: self.view.believing_files(believes), ..self }
    }

    /// Has its audit records carry a MAC, by which the sealer of this node knows them for its own.
    #[must_use]
    pub fn marking_audit(self, mac: MacKey) -> Self {
        Self { audit_mac: Some(mac), ..self }
    }

    /// Key with which the MACs of audit records are made.
    pub fn audit_mac(&self) -> Option<&MacKey> {
        self.audit_mac.as_ref()
    }

    /// The audit records that this node has made and not sealed yet.
    pub fn awaiting_seal(&self) -> &AwaitingSeal {
        &self.awaiting_seal
    }

    /// Faults that were noticed in the audit trail.
    pub fn audit_faults(&self) -> &AuditFaults {
        &self.audit_faults
    }

    /// The node whose daemon this is.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The same, as records name who wrote them.
    pub fn writer(&self) -> Arc<str> {
        Arc::clone(&self.node_id)
    }

    /// Time at which this daemon has started, by the store's clock as it is known now.
    pub fn begun_at(&self) -> Millis {
        Millis(self.view.now().0.saturating_sub(whole_ms(self.begun.elapsed())))
    }

    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    /// The groups this node renews.
    pub fn held_groups(&self) -> &HeldGroups {
        &self.held_groups
    }

    /// Losses by new epochs.
    pub fn losses(&self) -> &NewEpochLosses {
        &self.losses
    }

    /// Leaves an audit record of each new epoch that this daemon has met.
    ///
    /// # Errors
    /// Those of the store; call it again then.
    pub async fn record_epochs(&self) -> Result<(), CommitError> {
        for loss in self.losses.unrecorded(&self.view) {
            let object = format!("registry/{}", loss.epoch);
            let body =
                audit_record::own_body(&self.node_id, audit_record::EPOCH_CHANGED, object, loss.lines());
            let id = format!("{:x}", loss.epoch.0);
            self.record_once(audit_record::EPOCH_CHANGED, body, id, loss.epoch.0).await?;
            self.losses.note_recorded(loss.epoch);
        }
        Ok(())
    }

    /// The log behind a revision, for those who are behind the view: a few at a time, and nobody
    /// while the store is silent.
    async fn log_behind(&self, after: Revision, limit: usize) -> Result<LogPage, StoreError> {
        self.view.connectivity().heard().await;
        // The semaphore is never closed.
        let _turn = self.log_turns.acquire().await;
        follow::in_time(LOG_TIMEOUT, self.store.log(after, limit, Duration::ZERO)).await
    }

    /// Commits, and shows the result in this daemon's view before it returns; what the store has not answered `within`
    /// that time may have happened. [`Registry::mutate`] and [`Registry::act`]
    /// are the doors to it.
    async fn commit_within(&self, within: Duration, commit: Commit) -> Result<CommitOutcome, CommitError> {
        let epoch = commit.epoch;
        let late = |_| Err(StoreError::OutcomeUnknown("no answer in time".into()).into());
        let committed = tokio::time::timeout(within, self.store.commit(commit)).await.unwrap_or_else(late);
        let committed = committed.inspect_err(|error| {
            if let CommitError::Store(error) = error {
                self.view.connectivity().heed(error);
            }
        });
        self.note_refused(&committed);
        let committed = committed?;
        if let CommitOutcome::Done(entry) = &committed {
            if self.audit_mac.is_some() {
                self.awaiting_seal.note(epoch, entry);
            }
            self.show(epoch, entry).await;
        }
        Ok(committed)
    }

    /// Commits within the time that a daemon's own commits have.
    ///
    /// # Errors
    /// Those of the store.
    #[cfg(any(test, feature = "testing"))]
    pub async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        self.commit_within(OWN_COMMIT_WAIT, commit).await
    }

    /// The gate that all writes of this daemon pass.
    pub fn write_gate(&self) -> &WriteGate {
        &self.write_gate
    }

    /// Whether the last commit was refused for want of room. A store that is full goes on otherwise.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Number of commits of this daemon that the store refused because their fence was stale.
    pub fn fences_refused(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    fn note_refused(&self, committed: &Result<CommitOutcome, CommitError>) {
        match committed {
            Ok(_) => self.full.store(false, Ordering::Relaxed),
            Err(CommitError::Store(StoreError::Full(_))) => self.full.store(true, Ordering::Relaxed),
            Err(CommitError::Fenced { scope, token, current }) => {
                self.fenced.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(scope, token, current, "commit refused: its fence is stale");
            }
            Err(_) => {}
        }
    }

    async fn show(&self, epoch: Epoch, entry: &LogEntry) {
        let head = self.view.head();
        // A reply of another epoch says nothing about this one's log.
        if head.epoch != epoch || head.revision >= entry.revision {
            return;
        }
        // What was committed together is shown together.
        let page =
            self.store.log_in_memory(head.revision).filter(|page| page.epoch == epoch && !page.compacted);
        let applied = match &page {
            Some(page) => self.view.apply(page.entries.iter().map(Arc::as_ref)),
            None => self.view.apply(std::iter::once(entry)),
        };
        if applied == AppliedEntries::Gap {
            // Others' commits before it are still on their way.
            let shown = follow::wait_for(&self.view, entry.revision);
            let _ = tokio::time::timeout(OWN_COMMIT_WAIT, shown).await;
        }
    }

    /// Checks again that a caller who changes something is who they were taken for, by what the registry says. For changes that
    /// [`Registry::mutate`] does not carry out; it checks this itself.
    ///
    /// # Errors
    /// `PROOF_NEEDED` when they are not; as of [`Registry::ready_for`].
    pub async fn recheck(&self, caller: &Caller) -> Result<(), Fault> {
        let Some(provisional) = &caller.provisional else { return Ok(()) };
        self.ready_for("").await?;
        provisional.check()
    }

    /// Loads all records anew from the store, which mends a view that differs from it: watches of records that it holds begin anew. Waits
    /// for it without limit; it goes on when nobody waits.
    pub async fn mend_view(&self) {
        let mut head = self.view.follow_head();
        let before = head.borrow_and_update().mends;
        self.view.mend_by_next_load();
        self.reload.notify_one();
        let _ = head.wait_for(|head| head.mends > before).await;
    }

    /// Waits until the view has loaded, and has seen `min_revision` if one is given: a cursor of this registry, or of one that is
    /// followed here.
    ///
    /// # Errors
    /// `EPOCH_CHANGED` when the cursor is of another epoch, `INVALID_CURSOR` when it is none,
    /// `STORE_UNAVAILABLE` when nothing was loaded yet and the store does not answer. Otherwise it
    /// waits without limit: the caller's deadline ends it.
    pub async fn ready_for(&self, min_revision: &str) -> Result<(), Fault> {
        let cursor = parse_cursor(min_revision)?.unwrap_or_default();
        let head = self.view.head();
        let is_here = min_revision.is_empty()
            || cursor.epoch == head.epoch && cursor.part == 0 && head.revision >= cursor.revision;
        if head.caught_up && is_here {
            return Ok(());
        }
        self.loaded().await?;
        if let Err(other) = self.check_epoch(min_revision, cursor) {
            return if self.has_followed(cursor).await { Ok(()) } else { Err(other) };
        }
        // A cursor inside a commit is behind it only once that commit is there.
        let behind = Revision(cursor.revision.0.saturating_add(u64::from(cursor.part > 0)));
        follow::wait_for(&self.view, behind).await;
        self.check_epoch(min_revision, cursor)
    }

    /// Waits for the first load as long as it can succeed: a client that knows other daemons does
    /// better with them than with this one's silence.
    async fn loaded(&self) -> Result<(), Fault> {
        loop {
            let loaded = follow::wait_for(&self.view, Revision(0));
            if tokio::time::timeout(LOAD_LOOK_EVERY, loaded).await.is_ok() {
                return Ok(());
            }
            if self.view.silence().is_some() {
                // Why not is for those alone who may read.
                let message = "this daemon has not loaded the registry yet: the store cannot be reached";
                return Err(Fault::new(reasons::STORE_UNAVAILABLE, message)
                    .hint("try again, or another daemon; omnirelay mesh check at this one says why"));
            }
        }
    }

    fn check_epoch(&self, min_revision: &str, cursor: Cursor) -> Result<(), Fault> {
        let current = self.view.head().epoch;
        if min_revision.is_empty() || cursor.epoch == current {
            return Ok(());
        }
        let message = format!("the registry has begun a new epoch since cursor `{cursor}`");
        Err(Fault::new(reasons::EPOCH_CHANGED, message)
            .hint("read again without a minimum revision")
            .detail("epoch", format!("{:x}", current.0)))
    }

    /// Does the store's housekeeping at this pace for ever.
    pub async fn keep_house(self: Arc<Self>, keep: impl Into<Live<Retention>>, every: Duration) {
        let mut keep = keep.into();
        let faults_told = FaultLimiter::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = keep.replaced() => {}
            }
            let keep = keep.get();
            match self.tidy(keep).await {
                // Nobody else may ever meet what stops it, and the store grows.
                Err(error) if error.lasts() && faults_told.is_due(&error) => {
                    tracing::warn!(error = %chain(&error), "housekeeping failed");
                }
                Err(error) => tracing::debug!(error = %chain(&error), "housekeeping failed"),
                Ok(()) => {}
            }
            self.view.forget_groups(keep.tombstone_age);
            self.losses.settle(&self.view);
        }
    }

    /// One round of housekeeping; what it leaves is for the next.
    async fn tidy(&self, keep: Retention) -> Result<(), StoreError> {
        for _ in 0..HOUSEKEEPING_STEPS_MAX {
            let step = self.store.housekeep(self.view.head().epoch, keep);
            if !follow::in_time(HOUSEKEEPING_TIMEOUT, step).await?.more {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// A cursor from a request; empty is none.
///
/// # Errors
/// `INVALID_CURSOR` when the text is no cursor.
pub fn parse_cursor(text: &str) -> Result<Option<Cursor>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Cursor>() {
        Ok(cursor) => Ok(Some(cursor)),
        Err(error) => Err(Fault::new(reasons::INVALID_CURSOR, chain(&error))
            .hint("give a cursor as an answer's `cursor` field or an event's id gave it, or none")),
    }
}
