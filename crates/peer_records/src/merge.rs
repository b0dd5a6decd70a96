//! Merger of peers that a new epoch of the registry has lost: what operators ordered of them is kept.
//!
//! Each node merges its own record as it enters itself. One that was down knows nothing of it, and begins anew when it starts; so
//! every daemon merges what it held of the others.

use async_trait::async_trait;
use omnirelay_decisions::peer::{restore, restore_orders};
use omnirelay_nouns::merge::{MergeOutcome, RecordMerger};
use omnirelay_nouns::timestamp;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::{EpochStartRecord, ToRestore};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::{Record, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;

use crate::pb;
use pb::peer::Status;

/// The record of this node as it is to be entered in the new epoch: what was lost, together with what was written
/// before the node came to restore it. `None`: nobody knows what is newer of the two, so what is there stands.
///
/// # Errors
/// Those of the store; ask again then.
pub(super) async fn restored(
    registry: &Registry,
    lost: &ToRestore,
    now: Option<&ViewRecord>,
) -> Result<Option<PeerValue>, StoreError> {
    let Some(was) = lost.record.value::<PeerValue>() else { return Ok(None) };
    let Some(held) = now.and_then(ViewRecord::value::<PeerValue>) else {
        return Ok(Some(stamped(lost, PeerValue::clone(&was))));
    };
    if is_restored(lost, &held) {
        return Ok(Some(PeerValue::clone(&held)));
    }
    let base = base(registry, lost, now).await?;
    Ok(base.map(|base| stamped(lost, restore(&was, &base, &held))))
}

/// Merges what operators ordered of a peer.
pub struct PeerMerger;

#[async_trait]
impl RecordMerger for PeerMerger {
    fn is_whole(&self, lost: &ToRestore, now: &ViewRecord) -> bool {
        now.value::<PeerValue>().is_some_and(|now| is_restored(lost, &now))
    }

    async fn merge(
        &self,
        registry: &Registry,
        lost: &ToRestore,
        now: Option<&ViewRecord>,
    ) -> Result<MergeOutcome, StoreError> {
        let was = lost.record.value::<PeerValue>();
        let Some(was) = was else { return Ok(MergeOutcome::Unknown) };
        let Some(record) = now else {
            return Ok(MergeOutcome::Put(stamped(lost, absent(registry, &was)).encode_to_vec().into()));
        };
        let Some(now) = record.value::<PeerValue>() else { return Ok(MergeOutcome::Unknown) };
        let Some(base) = base(registry, lost, Some(record)).await? else { return Ok(MergeOutcome::Unknown) };
        let value = restore_orders(&was, &base, &now);
        if value == *now {
            return Ok(MergeOutcome::Restored);
        }
        Ok(MergeOutcome::Put(stamped(lost, value).encode_to_vec().into()))
    }
}

/// What the new epoch began with of a peer, before operators gave new orders, with what others have restored of it
/// that is older than what is known here: no such thing is an order. `None`: nobody knows.
async fn base(
    registry: &Registry,
    lost: &ToRestore,
    now: Option<&ViewRecord>,
) -> Result<Option<PeerValue>, StoreError> {
    let record = now.map(|now| &now.record);
    let (begun, writes) = match record.filter(|now| is_older(lost, &value_of(now))) {
        Some(now) => registry.history(lost, now).await?,
        None => (registry.untouched(lost, record).await?, Vec::new()),
    };
    let base = match begun {
        EpochStartRecord::Record(record) | EpochStartRecord::Begun(record) => value_of(&record),
        EpochStartRecord::Absent => PeerValue::default(),
        EpochStartRecord::Unknown => return Ok(None),
    };
    let writes =
        writes.iter().rev().filter_map(|write| Some((value_of(write.before.as_ref()?), &write.after)));
    Ok(Some(writes.fold(base, |base, (before, after)| {
        let after = value_of(after);
        let is_restored = is_older(lost, &after) && stamp(&before) != stamp(&after);
        if is_restored { restore(&base, &before, &after) } else { base }
    })))
}

fn value_of(record: &Record) -> PeerValue {
    PeerValue::decode(record.value.clone()).unwrap_or_default()
}

/// Which record a value restores.
fn stamp(value: &PeerValue) -> (u64, u64) {
    (value.restored_epoch, value.restored_version)
}

/// Whether it was restored from an older version than is known here.
fn is_older(lost: &ToRestore, now: &PeerValue) -> bool {
    let record = &lost.record;
    now.restored_epoch == record.epoch.0 && now.restored_version < record.record.version.0
}

/// Whether somebody has restored at least what is known here of it.
fn is_restored(lost: &ToRestore, now: &PeerValue) -> bool {
    let record = &lost.record;
    now.restored_epoch == record.epoch.0 && now.restored_version >= record.record.version.0
}

/// Says which record it restores.
fn stamped(lost: &ToRestore, value: PeerValue) -> PeerValue {
    let record = &lost.record;
    PeerValue { restored_epoch: record.epoch.0, restored_version: record.record.version.0, ..value }
}

/// A peer that has not come back to the new epoch. Sessions of the one before are void.
fn absent(registry: &Registry, was: &PeerValue) -> PeerValue {
    let mut value = PeerValue { session: 0, ..was.clone() };
    if matches!(value.status(), Status::Alive | Status::Unspecified) {
        value.set_status(Status::Suspect);
        "session_expired".clone_into(&mut value.status_reason);
        value.status_since = Some(timestamp(registry.view().now()));
    }
    value
}
