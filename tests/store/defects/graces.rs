//! Defects of silences of all and the grace behind them.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, GroupId, GroupRef, HousekeepingOutcome, MemoryStore, Pulse, PulseAnswer, Record, RecordKind,
    RenewalGrace, Store, Write,
};

use super::records::all;
use super::{Defect, altering, blank};
use crate::harness::epoch;

const KIND: RecordKind = RecordKind::of("thing");
/// Longer than what any rule asks for.
const LONG: Duration = Duration::from_secs(5);

pub(crate) fn forgets_silences() -> Defect {
    Defect { pulse: altering(|pulse: &mut Pulse| pulse.grace = Duration::ZERO), ..Defect::default() }
}

pub(crate) fn gives_grace_unasked() -> Defect {
    Defect { pulse: altering(|pulse: &mut Pulse| pulse.grace = Duration::from_secs(1)), ..Defect::default() }
}

pub(crate) fn keeps_graces_to_itself() -> Defect {
    Defect { beat: altering(|beat: &mut PulseAnswer| beat.grace = None), ..Defect::default() }
}

pub(crate) fn prolongs_graces() -> Defect {
    let beat = altering(|beat: &mut PulseAnswer| {
        if let Some(grace) = &mut beat.grace {
            grace.until = grace.until.max(beat.now.after(LONG));
        }
    });
    Defect { beat, ..Defect::default() }
}

pub(crate) fn begins_a_grace_with_each_renewal() -> Defect {
    let beat = altering(|beat: &mut PulseAnswer| {
        let (from, until) = (beat.now, beat.now.after(LONG));
        beat.grace = beat.grace.or((!beat.renewed.is_empty()).then_some(RenewalGrace { from, until }));
    });
    Defect { beat, ..Defect::default() }
}

pub(crate) fn takes_any_pulse_for_a_renewal() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, mut pulse| {
            Box::pin(async move {
                let renews_nothing = pulse.renew.is_empty();
                if renews_nothing {
                    pulse.renew.push(GroupRef { id: GroupId("nobody".into()), instance: 1 });
                    pulse.epoch = Some(epoch(store).await);
                }
                let mut beat = store.pulse(pulse).await?;
                if renews_nothing {
                    beat.renewed.clear();
                }
                Ok(beat)
            })
        })),
        ..Defect::default()
    }
}

/// The records that are bound to a group whose deadline has passed.
async fn past_their_deadline(store: &MemoryStore) -> Vec<Record> {
    let beat = store.pulse(Pulse::default()).await.expect("a beat");
    let over = |of: &GroupRef| {
        let deadline = beat.moved.iter().find(|group| group.of == *of).map(|group| group.deadline);
        deadline.unwrap_or(Millis(0)) <= beat.now
    };
    let mut records = all(store, KIND).await;
    records.retain(|record| !record.deleted && record.group.as_ref().is_some_and(over));
    records
}

pub(crate) fn expires_records_in_a_grace() -> Defect {
    Defect {
        housekeep_instead: Some(Box::new(|store, (epoch, keep)| {
            Box::pin(async move {
                let records = past_their_deadline(store).await;
                let records_expired = records.len();
                let writes = records.into_iter().map(|record| Write::Delete { id: record.id }).collect();
                store.commit(Commit { writes, ..blank(store).await }).await.expect("deleted");
                let kept = store.housekeep(epoch, keep).await?;
                Ok(HousekeepingOutcome { records_expired, ..kept })
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn keeps_house_in_any_epoch() -> Defect {
    Defect {
        housekeep_instead: Some(Box::new(|store, (_, keep)| {
            Box::pin(async move { store.housekeep(epoch(store).await, keep).await })
        })),
        ..Defect::default()
    }
}
