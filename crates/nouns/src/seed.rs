//! Seeds: records that the configuration of a daemon names, entered into the registry once and never again.
//!
//! Whichever daemon comes first enters them. What is there stays as it was left, whatever the files of others say and however
//! often daemons start; only where the registry has lost it, as with an empty store, it is entered anew.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, OwnChange};
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, RecordId};
use tokio::time::Instant;
use tracing::{info, warn};

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// Seed of a record.
pub trait RecordSeed {
    /// Id of the record that it begins.
    fn record(&self) -> RecordId;

    /// Id of the record that tells, once it is there, that this was entered.
    fn noted(&self) -> RecordId {
        self.record()
    }

    /// What is written where it was not entered yet; the answer is whether the record that it begins is new.
    fn entry(&self, registry: &Registry, reader: &DecisionReader<'_>) -> OwnChange<bool>;

    /// The same; `None`: it was entered.
    fn begin(&self, registry: &Registry, reader: &DecisionReader<'_>) -> Option<OwnChange<bool>> {
        reader.get(&self.noted()).is_none().then(|| self.entry(registry, reader))
    }
}

/// Driver that enters what the configuration names by then, as soon as the mesh has an authority.
pub struct SeedDriver<S> {
    pub registry: Arc<Registry>,
    pub trust: Arc<MeshTrust>,
    /// Whether nothing that the registry has lost is still to be put back: what is about to come back is not entered anew.
    pub is_restored: fn(&View) -> bool,
    /// As the audit trail calls it, such as `bindings.seed`.
    pub action: &'static str,
    pub named: Live<Vec<S>>,
}

impl<S: RecordSeed> SeedDriver<S> {
    /// Does so for ever: a store may begin anew, and the configuration name others.
    pub async fn run(self) {
        let (trust, mut named) = (self.trust.clone(), self.named.clone());
        let sense = move |view: &View| (view.head().epoch, trust.has_authority());
        loop {
            tokio::select! {
                () = self.registry.react(&sense, || self.look()) => {}
                () = named.replaced() => {}
            }
        }
    }

    /// Enters what is due; when to look again, `None`: when something has changed.
    pub async fn look(&self) -> Option<Instant> {
        if self.trust.has_authority() != HasAuthority::Yes {
            return None;
        }
        let mut named = self.named.get();
        // Where records are signed, what this file names is for issuers to enter.
        named.retain(|seed| self.registry.may_write(&seed.record()));
        if named.is_empty() {
            return None;
        }
        if !(self.is_restored)(self.registry.view()) {
            return Some(Instant::now() + AGAIN);
        }
        let mut again = None;
        for seed in &named {
            let record = seed.record();
            match self.enter(seed).await {
                Ok(true) => info!(%record, "what the configuration names entered"),
                Ok(false) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(%record, error, "what the configuration names not entered; it is tried again");
                    again = Some(Instant::now() + AGAIN);
                }
            }
        }
        again
    }

    /// Enters one, unless that was done before; whether its record is new.
    async fn enter(&self, seed: &S) -> Result<bool, CommitError> {
        let (registry, kinds) = (&self.registry, [seed.record().kind, seed.noted().kind]);
        let done = registry.change_own(self.action, kinds, |reader| Ok(seed.begin(registry, reader)));
        done.await.map(|is_new| is_new.unwrap_or(false))
    }
}
