//! What becomes of peers that a new epoch of the registry has lost: what operators ordered of them is kept.
//!
//! Each node restores its own record. One that was down knows nothing of it, and begins anew when it starts; so every
//! daemon restores what it held of the others, beside what was written since.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_store::{CommitError, Epoch, GroupRef, Record, RecordId, StoreError, Version, Write};
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use prost::Message;
use tracing::info;

use super::{PEER, own_session, pb, session_id};
use crate::core::peer::{restore, restore_orders};
use crate::daemon::objects::timestamp;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::epoch_loss::{ToRestore, Untouched};
use crate::daemon::registry::view::ViewRecord;
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

/// Writes what a new epoch has lost of other peers, each beside what was written of it since. Each of them has
/// `own_turn` to do it itself, for it knows best what it was.
///
/// # Errors
/// Those of the store; what was restored by then is, and the rest is when it is called again.
pub async fn restore_others(registry: &Registry, own_turn: Duration) -> Result<(), CommitError> {
    let lost = registry.losses().lost_of(&PEER);
    let Some(session) = own_session(registry) else { return Ok(()) };
    for id in lost.iter().filter(|id| id.key != registry.node_id()) {
        let Some(lost) = registry.losses().of(registry.view(), id) else { continue };
        match next(registry, &lost, id, own_turn).await? {
            Next::Wait => {}
            Next::Superseded => registry.losses().note_superseded(id),
            Next::Restored => registry.losses().note_restored(id),
            Next::Put { read, value } => put(registry, id, read, &value, &session).await?,
        }
    }
    Ok(())
}

/// What is to be done about a lost peer.
enum Next {
    Wait,
    /// It was forgotten in the new epoch.
    Superseded,
    /// All that was ordered of it is there.
    Restored,
    Put {
        /// What it replaces, and the epoch in which that was read.
        read: (Epoch, Version),
        value: Box<PeerValue>,
    },
}

async fn next(
    registry: &Registry,
    lost: &ToRestore,
    id: &RecordId,
    own_turn: Duration,
) -> Result<Next, StoreError> {
    let Some(was) = lost.record.value::<PeerValue>() else { return Ok(Next::Wait) };
    let view = registry.view();
    // Before the record, which is looked for in this epoch or in a later one.
    let epoch = view.head().epoch;
    let (shown, is_early) = (view.get(id), lost.known_for() < own_turn);
    let Some((record, now)) = shown.as_deref().and_then(|now| Some((now, now.value::<PeerValue>()?))) else {
        let is_back = view.live_group(&session_id(&id.key)).is_some();
        if shown.is_some() || is_back || is_early {
            return Ok(Next::Wait);
        }
        let traces = registry.read_under(&PEER, &id.key).await?;
        if traces.iter().any(|trace| trace.id == *id && lost.is_older_than(trace)) {
            return Ok(Next::Superseded);
        }
        let value = Box::new(stamped(lost, absent(registry, &was)));
        return Ok(Next::Put { read: (epoch, Version(0)), value });
    };
    if is_restored(lost, &now) {
        return Ok(Next::Restored);
    }
    if is_early {
        return Ok(Next::Wait);
    }
    let Some(base) = base(registry, lost, Some(record)).await? else { return Ok(Next::Wait) };
    let value = restore_orders(&was, &base, &now);
    if value == *now {
        return Ok(Next::Restored);
    }
    let read = (record.epoch, record.record.version);
    Ok(Next::Put { read, value: Box::new(stamped(lost, value)) })
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
        Untouched::Record(record) | Untouched::Begun(record) => value_of(&record),
        Untouched::Absent => PeerValue::default(),
        Untouched::Unknown => return Ok(None),
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

async fn put(
    registry: &Registry,
    id: &RecordId,
    (epoch, version): (Epoch, Version),
    value: &PeerValue,
    session: &GroupRef,
) -> Result<(), CommitError> {
    let value = Bytes::from(value.encode_to_vec());
    let act = Act::new("peers.restore", [PEER], Authority::Session(session.clone()));
    let write = Write::Put { id: id.clone(), value, group: None };
    let plan = Plan::read_in(epoch).expect([(id.clone(), version)]).write([write]);
    match registry.attempt(&act, plan).await {
        Ok(_) => {
            registry.losses().note_restored(id);
            info!(peer = %id.key, "lost orders of a peer restored");
            Ok(())
        }
        // Somebody was faster; what is there then is looked at with the next beat.
        Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
