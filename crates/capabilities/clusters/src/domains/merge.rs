//! Merging of domains that a new epoch has lost: of two versions the greater one counts.

use async_trait::async_trait;
use omnirelay_cluster_records::domain::DomainVersion;
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::StoreError;
use omnirelay_wire::pb::omnirelay::store::v1::DomainValue;

/// Puts domains back, so that none is active again where it was given up.
pub(crate) struct DomainMerger;

fn version(record: &ViewRecord) -> DomainVersion {
    record.value::<DomainValue>().map(|value| DomainVersion::of(value.version.as_ref())).unwrap_or_default()
}

/// Whether what was lost is to count: it is of a greater version, or has been given up since.
fn counts(lost: &ViewRecord, now: &ViewRecord) -> bool {
    let was_given_up = lost.value::<DomainValue>().is_some_and(|lost| {
        let known = lost.lineage.iter().map(|tenure| DomainVersion::of(tenure.version.as_ref()));
        known.max().is_some_and(|greatest| greatest >= version(now))
    });
    version(lost) > version(now) || was_given_up && lost.record.version > now.record.version
}

#[async_trait]
impl RecordMerger for DomainMerger {
    fn is_whole(&self, lost: &ToRestore, now: &ViewRecord) -> bool {
        !counts(&lost.record, now)
    }

    async fn merge(
        &self,
        _registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError> {
        Ok(match now {
            Some(now) if !counts(&lost.record, now) => MergeOutcome::Restored,
            Some(_) | None => MergeOutcome::Put(lost.record.record.value.clone()),
        })
    }
}
