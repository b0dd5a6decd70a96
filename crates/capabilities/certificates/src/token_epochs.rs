//! Join tokens in a new epoch: an issuer that has followed the epoch before carries over those that let somebody in then.
//!
//! A token counts in the epoch of its record alone, so that none counts again of which nobody knows who used it since. Whoever has
//! followed the registry until the epoch ended, and is told by nobody that something is missing, knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::{JOIN_TOKEN, current_authority};
use omnirelay_core::text::chain;
use omnirelay_identity::trust::unix_now;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_restoration_records::is_over;
use omnirelay_store::{CommitError, Epoch, RecordId};
use omnirelay_wire::pb::omnirelay::store::v1::JoinTokenValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info};

use super::pb;
use super::signer::Signer;
use super::tokens::status;
use pb::join_token::Status;

/// How long after a new epoch was met others have to put back what they know of it: issuers what they have signed, and all what is missing.
const WAIT: Duration = Duration::from_secs(5);
/// How soon it is looked again where something is missing still.
const AGAIN: Duration = Duration::from_secs(1);
/// How many tokens are carried over in one commit.
const AT_ONCE: usize = 64;

/// Carries join tokens over into new epochs.
pub struct TokenEpochs {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    /// The epoch that was met last, and when.
    pub met: Mutex<Option<(Epoch, Instant)>>,
}

impl TokenEpochs {
    /// Does so for ever.
    pub async fn run(self) {
        let registry = self.registry.clone();
        registry.react(|view| view.head().epoch, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let view = self.registry.view();
        let epoch = view.head().epoch;
        let due = self.met_at(epoch) + WAIT;
        if Instant::now() < due {
            return Some(due);
        }
        let authority = current_authority(view)?;
        let tokens = self.to_carry_over(epoch);
        if tokens.is_empty() || !self.signer.can_issue(&authority) {
            return None;
        }
        if !is_over(view, epoch) {
            return Some(Instant::now() + AGAIN);
        }
        for some in tokens.chunks(AT_ONCE) {
            if let Err(error) = self.carry_over(epoch, some).await {
                debug!(error = %chain(&error), "join tokens not carried over into the new epoch; trying again");
                return Some(Instant::now() + AGAIN);
            }
        }
        info!(count = tokens.len(), %epoch, "join tokens carried over into the new epoch");
        None
    }

    fn met_at(&self, epoch: Epoch) -> Instant {
        let mut met = self.met.lock();
        match *met {
            Some((known, at)) if known == epoch => at,
            Some(_) | None => {
                let now = Instant::now();
                *met = Some((epoch, now));
                now
            }
        }
    }

    /// The epochs that this daemon has followed until the present one began, one after the other.
    fn followed(&self, epoch: Epoch) -> BTreeSet<u64> {
        let (mut followed, mut of) = (BTreeSet::new(), epoch);
        for loss in self.registry.losses().told(self.registry.view()).iter().rev() {
            if loss.epoch == of && loss.accepted.is_none() {
                of = loss.epoch_before;
                followed.insert(of.0);
            }
        }
        followed
    }

    fn to_carry_over(&self, epoch: Epoch) -> Vec<RecordId> {
        let followed = self.followed(epoch);
        let lost: BTreeSet<RecordId> = self.registry.losses().lost_of(&JOIN_TOKEN).into_iter().collect();
        let records = self.registry.view().list(&JOIN_TOKEN).records;
        let is_due =
            |id: &RecordId, token: &JoinTokenValue| is_due(token, epoch, &followed) && !lost.contains(id);
        let each = records.iter().filter(|record| {
            record.value::<JoinTokenValue>().is_some_and(|token| is_due(&record.record.id, &token))
        });
        each.map(|record| record.record.id.clone()).collect()
    }

    async fn carry_over(&self, epoch: Epoch, tokens: &[RecordId]) -> Result<(), CommitError> {
        let action = "join-tokens.carry-over";
        let done = self.registry.change_own(action, [JOIN_TOKEN], |reader| {
            let followed = self.followed(epoch);
            let (mut writes, mut changes) = (Vec::new(), Vec::new());
            for id in tokens {
                let found = reader.get(id).and_then(|found| found.value::<JoinTokenValue>());
                let Some(token) = found.filter(|token| is_due(token, epoch, &followed)) else { continue };
                let value = JoinTokenValue { epoch: epoch.0, ..(*token).clone() };
                writes.push(put(id.clone(), &value));
                changes.push(format!("{id}: epoch {} -> {epoch}", Epoch(token.epoch)));
            }
            let object = tokens.first().map(ToString::to_string).unwrap_or_default();
            let is_same = reader.epoch() == epoch && !writes.is_empty();
            Ok(is_same.then_some(OwnChange { object, writes, changes, answer: () }))
        });
        done.await.map(drop)
    }
}

/// Whether a token let somebody in when an epoch ended that was followed until then.
fn is_due(token: &JoinTokenValue, epoch: Epoch, followed: &BTreeSet<u64>) -> bool {
    token.epoch != epoch.0
        && followed.contains(&token.epoch)
        && status(token, token.epoch, unix_now()) == Status::Valid
}
