//! Seals the audit records of this node, once a second while there are new ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_decisions::audit_seal::{ChainId, LEAVES_MAX, SealHead, VerifiedSeal, batch, open, sign};
use omnirelay_host::live::Live;
use omnirelay_host::log::FaultLimiter;
use omnirelay_peer_records::session_id;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::audit_record::made_at;
use omnirelay_registry::backoff::StoreFailures;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::view::ViewRecord;
use omnirelay_registry::watch::{Watch, WatchEvent};
use omnirelay_store::{CommitError, Epoch, RecordId, RecordKind, Revision, StoreError, Version, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{AuditLeaf, AuditSeal};
use prost::Message;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::AUDIT_SEAL;
use super::backlog::{OwnRecords, SealBacklog, is_of, without_sealed};
use super::files::{AuditFiles, AuditFilesError, AuditKey, ReplacedKey};
use super::heads::ChainHeads;
use super::missing::missing;
use super::pending::UnsealedRecords;
use super::prune;
use crate::trail_records::{newest_of, seal_of, stored_chains};

/// How often new records are sealed.
const SEAL_EVERY: Duration = Duration::from_secs(1);
/// How many records wait for their seal at most; more are read once these are sealed.
const PENDING_MAX: usize = 4096;
/// Epoch of a tip that is known by its head alone.
const NO_EPOCH: Epoch = Epoch(0);
/// How long a commit of the trail may take.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reason why sealing paused. What was to be sealed still is.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Files(#[from] AuditFilesError),
    #[error("the store did not take a seal")]
    Commit(#[from] CommitError),
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// Nothing that is signed from here on could be told from what is forged.
    #[error("another seal stands at `{key}`, where this node's belongs")]
    Foreign { key: String },
    #[error("another daemon has this node's session, and seals")]
    Replaced,
}

/// Tip of a chain of seals: where it stands.
#[derive(Clone, Copy, Debug)]
pub struct ChainTip {
    pub head: SealHead,
    /// The epoch in which its last seal was made.
    pub epoch: Epoch,
    /// When the newest sealed record was made; 0 when that is not known.
    pub newest_ms: u64,
    pub oldest_kept: u64,
}

/// Seals the records of one node.
pub struct Sealer {
    registry: Arc<Registry>,
    key: Arc<AuditKey>,
    files: AuditFiles,
    heads: Arc<ChainHeads>,
    /// How long records are kept.
    keep: Live<Duration>,
    /// The last seal that was signed; `None` before the first.
    tip: Option<ChainTip>,
    /// Before the first seal: what chains under older keys cover.
    covered: u64,
    /// Where the log stood when this node was set up anew, until what it had left unsealed then is sealed; else 0.
    anew_at: u64,
    /// True: the store was lost and began anew, so that its revisions may be below those that were sealed.
    anew: bool,
    /// True: the log does not reach back to what was sealed last.
    behind_log: bool,
    /// True: a seal was made since it was last asked.
    kept: bool,
}

/// Draft of the next seal: what goes into it.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub leaves: Vec<AuditLeaf>,
    /// Records that were gone before they could be sealed.
    pub missing: Vec<String>,
    pub through: u64,
    /// `None`: as before.
    pub oldest_kept: Option<u64>,
}

impl Sealer {
    pub fn new(
        registry: Arc<Registry>,
        key: Arc<AuditKey>,
        files: AuditFiles,
        heads: Arc<ChainHeads>,
        keep: impl Into<Live<Duration>>,
    ) -> Self {
        let keep = keep.into();
        let (anew, behind_log, kept) = (false, false, false);
        Self { registry, key, files, heads, keep, tip: None, covered: 0, anew_at: 0, anew, behind_log, kept }
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn chain(&self) -> &ChainId {
        self.key.chain()
    }

    pub(super) fn tip(&self) -> Option<ChainTip> {
        self.tip
    }

    pub(super) fn keep(&self) -> Duration {
        self.keep.get()
    }

    /// Seals until a foreign seal stands in its way, and that is for ever.
    pub async fn run(mut self) {
        wait_for(self.registry.view(), Revision(0)).await;
        let (mut failures, faults_told, mut is_unsettled) =
            (StoreFailures::default(), FaultLimiter::default(), false);
        loop {
            let ended = match self.settle().await {
                Ok(()) => {
                    if std::mem::take(&mut is_unsettled) {
                        self.registry.audit_faults().note_failing(None);
                    }
                    self.seal_what_comes().await
                }
                Err(error) => {
                    is_unsettled = true;
                    Err(error)
                }
            };
            // Only a seal shows that sealing works: the store may answer while the disk does not.
            if std::mem::take(&mut self.kept) {
                failures = StoreFailures::default();
                self.registry.audit_faults().note_failing(None);
            }
            let Err(error) = ended else { continue };
            if matches!(error, SealError::Foreign { .. }) {
                self.stop(&error);
                return;
            }
            // What the store refuses is told of the store.
            if let SealError::Files(error) = &error {
                let why = format!("audit records are not sealed, which is tried again: {}", chain(error));
                self.registry.audit_faults().note_failing(Some(why));
            }
            // That it was replaced its session says.
            if !matches!(error, SealError::Replaced) && faults_told.is_due(&error) {
                warn!(error = %chain(&error), "audit records could not be sealed; trying again");
            } else {
                debug!(error = %chain(&error), "audit records could not be sealed");
            }
            failures.wait().await;
        }
    }

    fn stop(&self, why: &SealError) {
        let faults = self.registry.audit_faults();
        faults.note();
        let said = format!(
            "audit records are not sealed any more: {why}; find out who wrote it with `omnirelay audit verify`, \
             then remove it, or `key` and `seal` of this node's audit directory, and restart the daemon"
        );
        if faults.stop(said) {
            error!(error = %why, "audit records are not sealed any more");
        }
    }

    /// Refuses while another process with the same data holds the session of this node: both would sign.
    fn check_not_replaced(&self) -> Result<(), SealError> {
        match self.registry.view().live_group(&session_id(self.registry.node_id())) {
            Some(group) if !self.registry.held_groups().all().contains(&group.of) => Err(SealError::Replaced),
            Some(_) | None => Ok(()),
        }
    }

    /// Brings the chain in the store and the one that was signed together.
    ///
    /// What was signed counts. The store may be a step behind, when a crash or a lost reply came between, or
    /// further, when it lost commits; it is ahead only when the data directory was restored.
    async fn settle(&mut self) -> Result<(), SealError> {
        self.check_not_replaced()?;
        let signed = self.files.last_seal(self.key.chain())?;
        let stored = newest_of(self.registry.store(), self.key.chain()).await?;
        let stored = stored.and_then(|record| Some((open(&record.value).ok()?, record.value)));
        let stored = stored.filter(|(opened, _)| opened.chain() == *self.key.chain());
        let sequence = |opened: Option<&VerifiedSeal>| opened.map_or(0, |opened| opened.seal.sequence);
        let behind = sequence(stored.as_ref().map(|(opened, _)| opened));
        let epoch = self.registry.view().head().epoch;
        let set_up_anew = self.files.set_up_anew()?;
        // Revisions of another epoch say nothing of this one.
        self.anew_at = set_up_anew.filter(|anew| anew.epoch == epoch.0).map_or(0, |anew| anew.revision);
        let is_of_before = |opened: &VerifiedSeal| opened.seal.epoch != epoch.0;
        // Seals that were put back of a snapshot may go further than the registry does now.
        let head = self.registry.view().head().revision.0;
        let begins_anew =
            |opened: &VerifiedSeal| is_of_before(opened) && (behind == 0 || head < opened.seal.through);
        self.anew = signed.as_ref().is_some_and(|(opened, _)| begins_anew(opened));
        match (signed, stored) {
            (Some((opened, value)), _) if opened.seal.sequence > behind => {
                if behind + 1 < opened.seal.sequence {
                    warn!(behind, sealed = opened.seal.sequence, "the store has lost seals of this node");
                    self.registry.audit_faults().note();
                }
                self.commit(&opened, value.into()).await?;
                self.stand_at(&opened);
            }
            (Some((opened, _)), Some((there, _))) if opened.seal.sequence == behind => {
                if opened.hash != there.hash {
                    return Err(SealError::Foreign { key: self.key.chain().key(behind) });
                }
                self.stand_at(&opened);
            }
            (_, Some((opened, value))) => {
                self.files.keep_seal(value.to_vec()).await?;
                self.stand_at(&opened);
            }
            (_, None) => {
                if set_up_anew.is_none() {
                    self.note_set_up_anew().await?;
                }
                self.covered = self.covered_by_older_keys().await?;
            }
        }
        self.heed_head();
        Ok(())
    }

    /// Goes on from what was seen of the own chain, should both the last seal and its copy here be lost: no
    /// sequence is signed twice.
    fn heed_head(&mut self) {
        let Some(head) = self.heads.head(self.key.chain()) else { return };
        let sequence = self.tip.map_or(0, |tip| tip.head.sequence);
        if sequence >= head.sequence {
            return;
        }
        error!(sequence, sealed = head.sequence, "the newest seals of this node are lost");
        self.registry.audit_faults().note();
        let tip = self.tip.map_or((0, 1), |tip| (tip.newest_ms, tip.oldest_kept));
        // What is not sealed is looked for among the records.
        self.tip = Some(ChainTip { head, epoch: NO_EPOCH, newest_ms: tip.0, oldest_kept: tip.1 });
    }

    /// Where a host was set up anew, notes where the log stands: what was left unsealed up to there is sealed as it is found.
    async fn note_set_up_anew(&mut self) -> Result<(), SealError> {
        if self.heads.was_set_up_anew(self.key.chain()) {
            let at = self.registry.view().head();
            self.files.keep_set_up_anew(ReplacedKey { epoch: at.epoch.0, revision: at.revision.0 }).await?;
            self.anew_at = at.revision.0;
        }
        Ok(())
    }

    /// What the chains of this node under other keys cover: a new key does not seal it again.
    async fn covered_by_older_keys(&self) -> Result<u64, SealError> {
        let mut covered = 0;
        let own = self.registry.node_id();
        let known = self.heads.chains().into_iter().chain(self.files.last_chain()?);
        // One that nobody here knows may be planted: it covers nothing that comes from now on, and
        // its key is told by everybody who checks.
        let head = self.registry.view().head().revision.0;
        let stored = stored_chains(self.registry.store()).await?;
        for id in known.chain(stored).filter(|id| id.node_id == own).collect::<BTreeSet<_>>() {
            let newest = newest_of(self.registry.store(), &id).await?;
            let opened = newest.and_then(|record| open(&record.value).ok());
            let opened = opened.filter(|opened| opened.chain() == id);
            covered = covered.max(opened.map_or(0, |opened| opened.seal.through.min(head)));
        }
        Ok(covered)
    }

    fn own_records(&self, anew_at: u64) -> OwnRecords<'_> {
        OwnRecords { node_id: self.registry.node_id(), mac: self.key.mac(), anew_at }
    }

    /// What was left unsealed before is sealed, and whatever else is found is not of that time.
    async fn end_set_up_anew(&mut self) -> Result<(), SealError> {
        if self.anew_at > 0 {
            let at = self.registry.view().head();
            self.files.keep_set_up_anew(ReplacedKey { epoch: at.epoch.0, revision: 0 }).await?;
            self.anew_at = 0;
        }
        Ok(())
    }

    fn stand_at(&mut self, opened: &VerifiedSeal) {
        let seal = &opened.seal;
        let newest_ms = match seal.leaves.last() {
            Some(leaf) => made_at(&leaf.key),
            // A seal without records says only what is kept.
            None => self.tip.map_or(0, |tip| tip.newest_ms),
        };
        self.tip = Some(ChainTip {
            head: opened.head(),
            epoch: Epoch(seal.epoch),
            newest_ms,
            oldest_kept: seal.oldest_kept.max(1),
        });
        self.heads.own(self.key.chain(), opened.head());
        let named = seal.leaves.iter().map(|leaf| &leaf.key).chain(&seal.missing);
        named.for_each(|key| self.registry.awaiting_seal().forget(key));
    }

    /// Everything of this node up to here is sealed.
    pub(super) fn through(&self) -> u64 {
        if self.anew {
            return 0;
        }
        self.tip.map_or(self.covered, |tip| tip.head.through)
    }

    /// Seals what was left behind and then what comes, until the log has to be read anew.
    async fn seal_what_comes(&mut self) -> Result<(), SealError> {
        let head = self.registry.view().head();
        let since = match self.tip {
            // The log says exactly what has come since.
            Some(tip) if tip.epoch == head.epoch && !self.behind_log && self.anew_at == 0 => {
                Cursor::at(head.epoch, Revision(tip.head.through))
            }
            Some(_) | None => {
                self.seal_backlog(head.revision).await?;
                self.end_set_up_anew().await?;
                self.behind_log = false;
                head.cursor()
            }
        };
        let own = self.registry.node_id().to_owned();
        let is_own = move |record: &ViewRecord| is_of(&record.record, &own);
        let mut watch = Watch::begin(self.registry.clone(), AUDIT, Box::new(is_own), Some(since));
        let mut pending = UnsealedRecords::default();
        let mut ticks = interval(SEAL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pruning = prune::PrunePace::new(self.keep());
        loop {
            tokio::select! {
                event = watch.next(), if pending.leaves.len() < PENDING_MAX => {
                    if let WatchEvent::Reset(_) = event {
                        self.behind_log = true;
                        return Ok(());
                    }
                    if let WatchEvent::Modified(_) = event {
                        self.registry.audit_faults().note();
                    }
                    pending.take(event, self.through(), self.own_records(0));
                }
                _ = ticks.tick() => {
                    self.seal_pending(&mut pending).await?;
                    self.seal_missing().await?;
                    if pruning.is_due(self.keep()) {
                        prune::step(self, &mut pruning).await?;
                    }
                }
            }
        }
    }

    /// Seals every record of this node that is not sealed yet, up to a revision.
    async fn seal_backlog(&mut self, until: Revision) -> Result<(), SealError> {
        let epoch = self.registry.view().head().epoch;
        // What was written since an epoch began may have revisions that were sealed in the one before: what counts is what seals
        // name.
        let is_of_before = self.tip.is_some_and(|tip| tip.epoch != NO_EPOCH && tip.epoch != epoch);
        let mut behind = if is_of_before { 0 } else { self.through() };
        loop {
            let since = self.tip.filter(|_| !self.anew).map_or(0, |tip| tip.newest_ms);
            let own = self.own_records(self.anew_at);
            let backlog = SealBacklog::read(self.registry.store(), own, behind, until.0, since).await?;
            let complete = backlog.complete;
            // All of these may be sealed already.
            behind = backlog.leaves.last().map_or(behind, |leaf| leaf.revision);
            let leaves = without_sealed(&self.registry, self.key.chain(), backlog.leaves).await?;
            let mut pending = UnsealedRecords { whole: leaves.len(), leaves };
            if pending.whole > 0 {
                info!(records = pending.whole, "audit records of before are sealed");
            }
            self.seal_pending(&mut pending).await?;
            if complete {
                return Ok(());
            }
        }
    }

    async fn seal_pending(&mut self, pending: &mut UnsealedRecords) -> Result<(), SealError> {
        while pending.whole > 0 {
            let count = batch(&pending.leaves[..pending.whole], LEAVES_MAX);
            let leaves = pending.leaves[..count].to_vec();
            let through = leaves.last().map_or(0, |leaf| leaf.revision);
            self.seal(Draft { leaves, through, ..Draft::default() }).await?;
            pending.leaves.drain(..count);
            pending.whole -= count;
        }
        Ok(())
    }

    /// Seals that records are gone which the store had confirmed.
    async fn seal_missing(&mut self) -> Result<(), SealError> {
        let through = self.through();
        let missing = missing(&self.registry, through).await?;
        if missing.is_empty() {
            return Ok(());
        }
        error!(records = missing.join(" "), "audit records were gone before they could be sealed");
        self.registry.audit_faults().note();
        self.seal(Draft { missing, through, ..Draft::default() }).await
    }

    /// Signs, keeps and commits the next seal.
    pub(super) async fn seal(&mut self, draft: Draft) -> Result<(), SealError> {
        self.check_not_replaced()?;
        let view = self.registry.view();
        let seal = AuditSeal {
            node_id: self.registry.node_id().to_owned(),
            public_key: self.key.public().to_vec(),
            sequence: self.tip.map_or(0, |tip| tip.head.sequence) + 1,
            previous: self.tip.map(|tip| tip.head.hash.0.to_vec()).unwrap_or_default(),
            epoch: view.head().epoch.0,
            through: draft.through,
            sealed_at_ms: view.now().0,
            oldest_kept: draft.oldest_kept.or(self.tip.map(|tip| tip.oldest_kept)).unwrap_or(1),
            leaves: draft.leaves,
            missing: draft.missing,
            unknown_fields: Default::default(),
        };
        let (records, foreign) = (seal.leaves.len(), seal.leaves.iter().any(|leaf| leaf.foreign));
        let value = sign(self.key.pair(), &seal);
        let opened = VerifiedSeal { hash: omnirelay_decisions::audit_seal::seal_hash(&value.body), seal };
        let value = value.encode_to_vec();
        // From here on this is the seal of its sequence, whatever becomes of the commit.
        self.files.keep_seal(value.clone()).await?;
        self.commit(&opened, value.into()).await?;
        debug!(
            sequence = opened.seal.sequence,
            records,
            revision = opened.seal.through,
            "audit records sealed"
        );
        self.stand_at(&opened);
        (self.anew, self.kept) = (false, true);
        if foreign {
            self.registry.audit_faults().note();
        }
        Ok(())
    }

    /// Act of the node on its own trail. It needs no session: it goes on in whatever comes after.
    pub(super) fn act(&self, action: &'static str, kinds: impl IntoIterator<Item = RecordKind>) -> DaemonAct {
        DaemonAct { within: COMMIT_TIMEOUT, ..DaemonAct::new(action, kinds, WriteAuthority::Unfenced) }
    }

    /// Commits a seal; may be repeated.
    async fn commit(&self, opened: &VerifiedSeal, value: Bytes) -> Result<(), SealError> {
        let key = self.key.chain().key(opened.seal.sequence);
        let id = RecordId::new(AUDIT_SEAL, key.clone());
        let plan = CommitPlan::default().expect([(id.clone(), Version(0))]);
        let plan = plan.write([Write::Put { id, value: value.clone(), group: None }]);
        match self.registry.attempt(&self.act("audit.seal", [AUDIT_SEAL]), plan).await {
            Ok(_) => Ok(()),
            Err(error @ CommitError::Conflict { .. }) => match seal_of(self.registry.store(), &key).await? {
                // Mostly this very seal, whose answer was lost.
                Some(record) if record.value == value => Ok(()),
                Some(_) => Err(SealError::Foreign { key }),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}
