//! Merging: how an object puts together what a new epoch has lost of a record with what was written since.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{RecordKind, StoreError};
use parking_lot::RwLock;

/// Outcome of the merge of a lost record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeOutcome {
    /// Nobody can say yet.
    Unknown,
    /// What is there has the last word.
    Superseded,
    /// What is there has all that was lost.
    Restored,
    /// This takes the place of what is there.
    Put(Bytes),
}

/// Puts together what was lost of a record with what is there now.
#[async_trait]
pub trait RecordMerger: Send + Sync {
    /// Whether what is there has all that was lost, as can be seen of it alone.
    fn is_whole(&self, lost: &ToRestore, now: &ViewRecord) -> bool;

    /// What is to be there of a record of which this was lost, and of which there is `now`, which is not whole; nothing where
    /// that is `None`.
    ///
    /// # Errors
    /// Those of the store; it is asked again then.
    async fn merge(
        &self,
        registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError>;
}

/// Mergers of lost records, by the kind of the records.
#[derive(Default)]
pub struct RecordMergers(RwLock<BTreeMap<RecordKind, Arc<dyn RecordMerger>>>);

impl RecordMergers {
    /// Has the lost records of a kind merged by its object.
    pub fn add(&self, kind: RecordKind, merger: Arc<dyn RecordMerger>) {
        self.0.write().insert(kind, merger);
    }

    /// Merger of the records of this kind.
    pub fn of(&self, kind: &RecordKind) -> Option<Arc<dyn RecordMerger>> {
        self.0.read().get(kind).cloned()
    }
}
