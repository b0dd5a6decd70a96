//! Shards of a snapshot: they come back with their owners, and are fenced anew, whatever was given since.

use async_trait::async_trait;
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::StoreError;
use omnirelay_wire::pb::omnirelay::store::v1::ShardValue;
use prost::Message as _;

/// Puts shards back.
pub struct ShardMerger;

#[async_trait]
impl RecordMerger for ShardMerger {
    fn is_whole(&self, _lost: &ToRestore, _now: &ViewRecord) -> bool {
        false
    }

    async fn merge(
        &self,
        _registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError> {
        let was = lost.record.value::<ShardValue>();
        Ok(match (now, was) {
            (Some(_), _) => MergeOutcome::Superseded,
            (None, None) => MergeOutcome::Unknown,
            (None, Some(was)) => {
                // No store has epoch 0: the token is of another one.
                let value = ShardValue { fence_epoch: 0, ..(*was).clone() };
                MergeOutcome::Put(value.encode_to_vec().into())
            }
        })
    }
}
