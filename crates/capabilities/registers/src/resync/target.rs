//! Target that advertisements are pushed to, and the set that is pushed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::register::advertisement_of;
use omnirelay_decisions::strays::{StrayCounts, StrayWithdrawal, limit_withdrawal};
use omnirelay_host::live::Live;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::in_time;
use omnirelay_registry::view::RegistryHead;
use omnirelay_store::StoreError;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::RegisterValue;

use crate::catalogue;

/// How long reading the traces of deletions may take.
const TRACES_TIMEOUT: Duration = Duration::from_secs(10);

/// The registers of one node, as the view has them.
pub(super) struct NodeCatalogue {
    /// All commits up to here are in it.
    pub head: RegistryHead,
    pub registers: BTreeMap<String, Arc<RegisterValue>>,
    /// Registers that are hosted, but nobody knows how: lost to a new epoch and not restored yet, or not readable.
    /// What is advertised of them is left alone.
    pub unknown: BTreeSet<String>,
}

/// Outcome of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ResyncOutcome {
    pub counts: pb::SyncCounts,
    /// How many registers were pushed.
    pub pushed: usize,
    /// How many entries should go and were left.
    pub drifted: usize,
    /// What was refused.
    pub failed: Vec<pb::ItemFailure>,
    /// False: the pool was so already.
    pub changed: bool,
}

/// Trouble of a run: why it failed, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ResyncTrouble {
    pub message: String,
    pub failing: FailureWeight,
}

/// Weight of a failure for the next run; the worse ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FailureWeight {
    /// All was pushed, but what the pool has besides is not known.
    Unread,
    /// The pool did not take what it was given, and may take something else.
    Refused,
    /// The pool takes nothing now.
    Away,
}

impl ResyncTrouble {
    pub(super) fn away(message: impl Into<String>) -> Self {
        Self { message: message.into(), failing: FailureWeight::Away }
    }
}

/// A pool that is kept as the catalogue says.
#[tonic::async_trait]
pub(super) trait PoolTarget: Send + Sync {
    /// `local`, or the address of the pool.
    fn name(&self) -> &str;

    /// How often all of the catalogue is pushed if nothing changes.
    fn every(&self) -> Live<Duration>;

    /// Pushes all of the catalogue, and withdraws what is dared to be.
    async fn all(&self, catalogue: &NodeCatalogue) -> Result<ResyncOutcome, ResyncTrouble>;

    /// Pushes these registers only: what the catalogue does not advertise of them is withdrawn.
    async fn some(
        &self,
        catalogue: &NodeCatalogue,
        ids: &BTreeSet<String>,
    ) -> Result<ResyncOutcome, ResyncTrouble>;
}

impl NodeCatalogue {
    /// As the view has it now.
    pub(super) fn read(registry: &Registry) -> Self {
        // What is committed while it is read may be in it as well.
        let head = registry.view().head();
        let mut unknown = catalogue::unknown(registry);
        let registers = catalogue::catalogue(registry.view(), registry.node_id());
        // An epoch may have begun meanwhile, or a register been restored.
        unknown.append(&mut catalogue::unknown(registry));
        let registers = registers.into_iter().filter(|(id, _)| !unknown.contains(id)).collect();
        Self { head, registers, unknown }
    }

    /// Items that are to be advertised, in the order of the ids.
    pub(super) fn items(&self) -> Vec<pb::AdvertisedRegister> {
        let advertised = self.registers.iter().filter(|(_, register)| register.advertise);
        advertised.map(|(id, register)| item_of(id, register)).collect()
    }

    /// Of these registers, what is to be advertised and what is not.
    pub(super) fn items_of(&self, ids: &BTreeSet<String>) -> (Vec<pb::AdvertisedRegister>, BTreeSet<String>) {
        let (mut items, mut hidden) = (Vec::new(), BTreeSet::new());
        for id in ids.difference(&self.unknown) {
            match self.registers.get(id).filter(|register| register.advertise) {
                Some(register) => items.push(item_of(id, register)),
                None => drop(hidden.insert(id.clone())),
            }
        }
        (items, hidden)
    }

    /// The registers that are hosted and not advertised.
    pub(super) fn hidden(&self) -> BTreeSet<String> {
        let hidden = self.registers.iter().filter(|(_, register)| !register.advertise);
        hidden.map(|(id, _)| id.clone()).collect()
    }

    /// Reason why an entry that is not of the set is none of it.
    pub(super) fn why_stray(&self, id: &str) -> &'static str {
        if self.registers.contains_key(id) { "not advertised any more" } else { "not in the catalogue" }
    }

    /// Whether something was deleted from the catalogue of this node, as far as the store has a trace of it.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn was_emptied(registry: &Registry) -> Result<bool, StoreError> {
        let deleted = catalogue::was_any_deleted(registry, registry.node_id());
        in_time(TRACES_TIMEOUT, deleted).await
    }

    /// Says which of these strays may go; `entries` is how many the pool has, strays included. What is not known is
    /// none.
    ///
    /// # Errors
    /// Those of the store that knows what was deleted.
    pub(super) async fn dare(
        &self,
        registry: &Registry,
        entries: usize,
        strays: &BTreeSet<String>,
    ) -> Result<StrayWithdrawal, StoreError> {
        let strays = strays - &self.unknown;
        let (mut explained, others): (BTreeSet<String>, BTreeSet<String>) =
            strays.iter().cloned().partition(|id| self.registers.contains_key(id));
        if !others.is_empty() {
            let traces = catalogue::deleted(registry, registry.node_id(), &others);
            explained.extend(in_time(TRACES_TIMEOUT, traces).await?);
        }
        Ok(limit_withdrawal(StrayCounts {
            entries,
            strays: &strays,
            explained: &explained,
            registers: self.registers.len(),
        }))
    }
}

fn item_of(id: &str, register: &RegisterValue) -> pb::AdvertisedRegister {
    let value = advertisement_of(register);
    pb::AdvertisedRegister {
        register_id: id.to_owned(),
        name: Some(value.name),
        description: Some(value.description),
        is_public: Some(value.is_public),
        latest_version: Some(value.latest_version),
        latest_docket_version: Some(value.latest_docket_version),
        sync_state: Some(value.sync_state),
    }
}

/// A count as messages have it.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
