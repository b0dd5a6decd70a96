//! The pool in this daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_decisions::register::{EntryBefore, UnpushedEntries, plan};
use omnirelay_decisions::strays::StrayWithdrawal;
use omnirelay_host::live::Live;
use omnirelay_registry::Registry;
use omnirelay_store::StoreError;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::registers::v1 as pb;

use super::target::{FailureWeight, NodeCatalogue, PoolTarget, ResyncOutcome, ResyncTrouble, count};
use crate::advertisements::pool::{BATCH, Pool, Producer, ProducerPush, PushOutcome};

/// What the daemon's own pool is called.
pub const LOCAL: &str = "local";

/// Local pool: what is asked of the pool in this daemon.
#[tonic::async_trait]
pub trait LocalPool: Send + Sync {
    /// See [`Pool::held`].
    fn held(&self, producer: &Producer) -> BTreeMap<String, EntryBefore>;

    /// See [`Pool::compare_with_store`].
    async fn compare_with_store(&self) -> Result<bool, StoreError>;

    /// See [`Pool::push`].
    async fn push(&self, push: ProducerPush<'_>) -> Result<PushOutcome, Fault>;
}

#[tonic::async_trait]
impl LocalPool for Pool {
    fn held(&self, producer: &Producer) -> BTreeMap<String, EntryBefore> {
        Pool::held(self, producer)
    }

    async fn compare_with_store(&self) -> Result<bool, StoreError> {
        Pool::compare_with_store(self).await
    }

    async fn push(&self, push: ProducerPush<'_>) -> Result<PushOutcome, Fault> {
        Pool::push(self, push).await
    }
}

/// The pool in this daemon, kept as the catalogue says.
pub(super) struct LocalPoolTarget {
    registry: Arc<Registry>,
    pool: Arc<dyn LocalPool>,
    every: Live<Duration>,
}

impl LocalPoolTarget {
    pub(super) fn new(registry: Arc<Registry>, pool: Arc<dyn LocalPool>, every: Live<Duration>) -> Self {
        Self { registry, pool, every }
    }

    async fn push(
        &self,
        items: &[pb::AdvertisedRegister],
        rest: UnpushedEntries,
    ) -> Result<ResyncOutcome, ResyncTrouble> {
        let push = ProducerPush {
            producer: Producer::catalogue(),
            items,
            rest,
            batch: BATCH,
            caller: None,
            progress: &|_, _| {},
            cancelled: &|| false,
        };
        let pushed = self.pool.push(push).await.map_err(|fault| ResyncTrouble::away(fault.message))?;
        Ok(outcome(pushed, 0))
    }

    /// What may go of what the pool has beside the set.
    async fn dare(
        &self,
        catalogue: &NodeCatalogue,
        items: &[pb::AdvertisedRegister],
    ) -> Result<StrayWithdrawal, StoreError> {
        self.pool.compare_with_store().await?;
        let held = self.pool.held(&Producer::catalogue());
        let strays = plan(&held, items, &UnpushedEntries::WithdrawAll).remove;
        catalogue.dare(&self.registry, held.len(), &strays).await
    }
}

#[tonic::async_trait]
impl PoolTarget for LocalPoolTarget {
    fn name(&self) -> &str {
        LOCAL
    }

    fn every(&self) -> Live<Duration> {
        self.every.clone()
    }

    async fn all(&self, catalogue: &NodeCatalogue) -> Result<ResyncOutcome, ResyncTrouble> {
        let items = catalogue.items();
        match self.dare(catalogue, &items).await {
            Ok(dared) => {
                let outcome = self.push(&items, UnpushedEntries::Withdraw(dared.withdraw)).await?;
                Ok(ResyncOutcome { pushed: items.len(), drifted: dared.drifted, ..outcome })
            }
            Err(error) => {
                // What the catalogue says holds, whatever is in the store.
                let outcome = self.push(&items, UnpushedEntries::Withdraw(catalogue.hidden())).await?;
                let failing =
                    if outcome.failed.is_empty() { FailureWeight::Unread } else { FailureWeight::Refused };
                let message = format!("the store cannot be read: {}", chain(&error));
                Err(ResyncTrouble { message, failing })
            }
        }
    }

    async fn some(
        &self,
        catalogue: &NodeCatalogue,
        ids: &BTreeSet<String>,
    ) -> Result<ResyncOutcome, ResyncTrouble> {
        let (items, hidden) = catalogue.items_of(ids);
        let outcome = self.push(&items, UnpushedEntries::Withdraw(hidden)).await?;
        let pushed = catalogue.registers.values().filter(|register| register.advertise).count();
        Ok(ResyncOutcome { pushed, ..outcome })
    }
}

/// Outcome of a push, as targets say it.
pub(super) fn outcome(pushed: PushOutcome, drifted: usize) -> ResyncOutcome {
    let counts = pb::SyncCounts {
        processed: count(pushed.processed),
        added: count(pushed.added),
        updated: count(pushed.updated),
        removed: count(pushed.removed),
        unchanged: count(pushed.unchanged),
        failed: count(pushed.failed.len()),
        deferred: count(pushed.deferred),
    };
    let changed = pushed.added + pushed.updated + pushed.removed > 0;
    ResyncOutcome { counts, pushed: pushed.processed, drifted, failed: pushed.failed, changed }
}
