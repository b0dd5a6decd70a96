//! Removes the records of this node that are old enough, and the seals that cover them.
//!
//! A seal says first which seals are kept; only then are older ones removed, oldest first and each after its
//! records. So whoever finds the beginning gone can tell whether its node meant it.

use std::time::Duration;

use omnirelay_core::time::whole_ms;
use omnirelay_decisions::audit_seal::open;
use omnirelay_registry::act::CommitPlan;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::{COMMIT_WRITES_MAX, Epoch, Record, RecordId, Write};
use omnirelay_wire::pb::omnirelay::store::v1::AuditSeal;
use tokio::time::Instant;
use tracing::info;

use super::AUDIT_SEAL;
use super::sealer::{Draft, SealError, Sealer};
use crate::trail_records::seals_of;

/// How often old seals are looked for, and how soon again while there are more.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
const GO_ON_AFTER: Duration = Duration::from_secs(1);
/// How soon after the start they are looked for first.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(30);
/// The most seals that are removed in one step.
const SEALS_MAX: usize = 16;

/// Result of a step of pruning: done, or more is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PruneStep {
    Done,
    More,
}

/// Pace of pruning: when to look next, and behind which key.
#[derive(Debug)]
pub(crate) struct PrunePace {
    at: Instant,
    /// How long records were kept by the last look.
    keep: Duration,
    /// Up to this key nothing is left.
    after: Option<String>,
}

impl PrunePace {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { at: Instant::now() + FIRST_LOOK_AFTER, keep, after: None }
    }

    /// Whether to look: it is time to, or records are kept for another time than before.
    pub(crate) fn is_due(&self, keep: Duration) -> bool {
        Instant::now() >= self.at || keep != self.keep
    }

    fn note(&mut self, step: PruneStep, keep: Duration) {
        self.keep = keep;
        self.at = Instant::now()
            + match step {
                PruneStep::Done => LOOK_EVERY,
                PruneStep::More => GO_ON_AFTER,
            };
    }
}

/// Removes what is old enough, at most [`SEALS_MAX`] seals with their records.
///
/// # Errors
/// Those of sealing; what was not removed is the next time.
pub(crate) async fn step(sealer: &mut Sealer, pace: &mut PrunePace) -> Result<(), SealError> {
    let keep = sealer.keep();
    let step = remove_some(sealer, pace, keep).await?;
    pace.note(step, keep);
    Ok(())
}

async fn remove_some(
    sealer: &mut Sealer,
    pace: &mut PrunePace,
    keep: Duration,
) -> Result<PruneStep, SealError> {
    let Some(tip) = sealer.tip() else { return Ok(PruneStep::Done) };
    let now = sealer.registry().view().now().0;
    let keep_ms = whole_ms(keep);
    let page = seals_of(sealer.registry().store(), sealer.chain(), pace.after.clone(), SEALS_MAX);
    let (records, more) = page.await?;
    let may_go = |record: &Record| {
        let Ok(opened) = open(&record.value) else { return false };
        // The newest seal always stays: the chain hangs on it.
        opened.seal.sequence < tip.head.sequence && opened.seal.sealed_at_ms.saturating_add(keep_ms) <= now
    };
    let old: Vec<Record> = records.into_iter().take_while(|one| one.deleted || may_go(one)).collect();
    let Some(last) = old.last() else { return Ok(PruneStep::Done) };
    let last = last.id.key.clone();
    let seals: Vec<AuditSeal> = old.iter().filter_map(|one| Some(open(&one.value).ok()?.seal)).collect();
    if let Some(newest) = seals.last().map(|seal| seal.sequence) {
        if tip.oldest_kept <= newest {
            let through = sealer.through();
            sealer.seal(Draft { through, oldest_kept: Some(newest + 1), ..Draft::default() }).await?;
        }
        for seal in &seals {
            remove(sealer, seal).await?;
        }
        info!(seals = seals.len(), oldest_kept = newest + 1, "old audit records removed");
    }
    pace.after = Some(last);
    Ok(if more && old.len() == SEALS_MAX { PruneStep::More } else { PruneStep::Done })
}

async fn remove(sealer: &Sealer, seal: &AuditSeal) -> Result<(), SealError> {
    let leaves = seal.leaves.iter().map(|leaf| RecordId::new(AUDIT, leaf.key.clone()));
    let mut ids: Vec<RecordId> = leaves.collect();
    ids.push(RecordId::new(AUDIT_SEAL, sealer.chain().key(seal.sequence)));
    let epoch: Epoch = sealer.registry().view().head().epoch;
    let act = sealer.act("audit.prune", [AUDIT, AUDIT_SEAL]);
    for ids in ids.chunks(COMMIT_WRITES_MAX) {
        let deletions = ids.iter().map(|id| Write::Delete { id: id.clone() });
        sealer.registry().attempt(&act, CommitPlan::read_in(epoch).write(deletions)).await?;
    }
    Ok(())
}
