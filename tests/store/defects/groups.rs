//! Defects of groups and of the records that are bound to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, Epoch, Group, GroupRef, MemoryStore, OpenGroup, OpenedGroup, Precondition, Pulse,
    PulseAnswer, Record, RecordId, RecordKind, ScanPage, Store, Version, Write,
};

use super::commits::instead;
use super::records::all;
use super::{Defect, altering, blank, write_junk};
use crate::harness::epoch;

const KIND: RecordKind = RecordKind::of("thing");
const SECRET: &str = "secret";

async fn groups(store: &MemoryStore) -> Vec<Group> {
    store.pulse(Pulse::default()).await.expect("a beat").moved
}

/// The present life of the group that `of` is a life of.
async fn present(store: &MemoryStore, of: &GroupRef) -> GroupRef {
    let found = groups(store).await.into_iter().find(|group| group.of.id == of.id);
    found.map_or_else(|| of.clone(), |group| group.of)
}

/// Opens every group that is over again.
pub(crate) async fn revive(store: &MemoryStore) {
    let now = store.pulse(Pulse::default()).await.expect("a beat").now;
    for group in groups(store).await.into_iter().filter(|group| group.deadline <= now) {
        let open =
            OpenGroup { epoch: epoch(store).await, id: group.of.id, ttl: group.ttl, secret: SECRET.into() };
        store.open_group(open).await.expect("an answer");
    }
}

pub(crate) fn renews_what_is_over() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, pulse| {
            Box::pin(async move {
                let asked = pulse.renew.clone();
                let mut beat = store.pulse(pulse).await?;
                for (of, renewed) in asked.into_iter().zip(&mut beat.renewed) {
                    let open = OpenGroup {
                        epoch: epoch(store).await,
                        id: of.id,
                        ttl: Duration::from_secs(1),
                        secret: SECRET.into(),
                    };
                    if let (None, OpenedGroup::Open(group)) = (&renewed, store.open_group(open).await?) {
                        *renewed = Some(group.deadline);
                    }
                }
                Ok(beat)
            })
        })),
        ..Defect::default()
    }
}

fn pulses_in(epoch_for: fn(Option<Epoch>, Epoch) -> Option<Epoch>) -> Defect {
    Defect {
        pulse_instead: Some(Box::new(move |store, mut pulse| {
            Box::pin(async move {
                pulse.epoch = epoch_for(pulse.epoch, epoch(store).await);
                store.pulse(pulse).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn renews_in_any_epoch() -> Defect {
    pulses_in(|named, present| named.and(Some(present)))
}

pub(crate) fn takes_no_epoch_for_the_present_one() -> Defect {
    pulses_in(|named, present| named.or(Some(present)))
}

pub(crate) fn opens_in_any_epoch() -> Defect {
    Defect {
        open_instead: Some(Box::new(|store, open| {
            Box::pin(async move {
                let epoch = epoch(store).await;
                store.open_group(OpenGroup { epoch, ..open }).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn closes_in_any_epoch() -> Defect {
    Defect {
        close_instead: Some(Box::new(|store, (_, of)| {
            Box::pin(async move { store.close_group(epoch(store).await, of).await })
        })),
        ..Defect::default()
    }
}

pub(crate) fn ignores_renewals() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, pulse| {
            Box::pin(async move {
                let asked = pulse.renew.len();
                let mut beat = store.pulse(Pulse { renew: vec![], ..pulse }).await?;
                beat.renewed = vec![beat.moved.first().map(|group| group.deadline); asked];
                Ok(beat)
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn ignores_times_to_live() -> Defect {
    Defect { pulse: altering(|pulse: &mut Pulse| pulse.ttl = None), ..Defect::default() }
}

pub(crate) fn cuts_lives_short() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, pulse| {
            Box::pin(async move {
                let ttl = pulse.ttl;
                let mut beat = store.pulse(pulse).await?;
                if let Some(ttl) = ttl {
                    beat.renewed = beat.renewed.iter().map(|of| of.map(|_| beat.now.after(ttl))).collect();
                }
                Ok(beat)
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn ignores_secrets() -> Defect {
    Defect { open: altering(|open: &mut OpenGroup| open.secret = SECRET.into()), ..Defect::default() }
}

pub(crate) fn repeats_instances() -> Defect {
    let opened = altering(|opened: &mut OpenedGroup| {
        if let OpenedGroup::Open(group) = opened {
            group.of.instance = 1;
        }
    });
    Defect { opened, ..Defect::default() }
}

pub(crate) fn closes_late() -> Defect {
    Defect { close_instead: Some(Box::new(|_, _| Box::pin(async { Ok(true) }))), ..Defect::default() }
}

pub(crate) fn closes_any_instance() -> Defect {
    Defect {
        close_instead: Some(Box::new(|store, (epoch, of)| {
            Box::pin(async move {
                let present = present(store, &of).await;
                store.close_group(epoch, present).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn renews_any_instance() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, mut pulse| {
            Box::pin(async move {
                for of in &mut pulse.renew {
                    *of = present(store, of).await;
                }
                store.pulse(pulse).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn ignores_since_when() -> Defect {
    Defect { pulse: altering(|pulse: &mut Pulse| pulse.moved_since = Millis(0)), ..Defect::default() }
}

pub(crate) fn hides_closed_groups() -> Defect {
    let beat = altering(|beat: &mut PulseAnswer| beat.moved.retain(|group| !group.closed));
    Defect { beat, ..Defect::default() }
}

pub(crate) fn logs_renewals() -> Defect {
    Defect {
        pulse_instead: Some(Box::new(|store, pulse| {
            Box::pin(async move {
                if !pulse.renew.is_empty() {
                    write_junk(store).await;
                }
                store.pulse(pulse).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn keeps_expired_records_visible() -> Defect {
    let known: Arc<Mutex<Vec<Record>>> = Arc::default();
    let page = altering(move |page: &mut ScanPage| {
        let mut known = known.lock().unwrap();
        known.retain(|record| page.records.iter().all(|found| found.id != record.id));
        page.records.extend(known.iter().cloned());
        *known = page.records.clone();
    });
    Defect { page, ..Defect::default() }
}

pub(crate) fn binds_records_to_any_instance() -> Defect {
    Defect {
        open_instead: Some(Box::new(|store, open| {
            Box::pin(async move {
                let mut bound = all(store, KIND).await;
                let opened = store.open_group(open).await?;
                if let OpenedGroup::Open(group) = &opened {
                    bound.retain(|record| record.group.as_ref().is_some_and(|of| of.id == group.of.id));
                    let group = Some(group.of.clone());
                    let put = |record: Record| Write::Put {
                        id: record.id,
                        value: record.value,
                        group: group.clone(),
                    };
                    let writes = bound.into_iter().map(put).collect();
                    store.commit(Commit { writes, ..blank(store).await }).await.expect("bound anew");
                }
                Ok(opened)
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn binds_records_forever() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            let known = all(store, KIND).await;
            for write in &mut commit.writes {
                let bound = known.iter().find(|record| record.id == *write.id());
                if let (Write::Put { group, .. }, Some(Record { group: Some(of), .. })) = (write, bound) {
                    *group = Some(of.clone());
                }
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn puts_under_dead_groups() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            let result = store.commit(commit.clone()).await;
            if !matches!(result, Err(CommitError::GroupOver(_))) {
                return result;
            }
            for write in &mut commit.writes {
                if let Write::Put { group, .. } = write {
                    *group = None;
                }
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn counts_expired_records() -> Defect {
    let ever: Arc<Mutex<Vec<RecordId>>> = Arc::default();
    instead(move |store, commit| {
        let ever = Arc::clone(&ever);
        Box::pin(async move {
            for of in &commit.preconditions {
                let Precondition::Version { id, version } = of else { continue };
                if version.0 == 0 && ever.lock().unwrap().contains(id) {
                    let actual = Version(1);
                    return Err(CommitError::Conflict { id: id.clone(), expected: *version, actual });
                }
            }
            ever.lock().unwrap().extend(commit.writes.iter().map(|write| write.id().clone()));
            store.commit(commit).await
        })
    })
}

pub(crate) fn ignores_that_a_group_must_live() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        commit.preconditions.retain(|of| !matches!(of, Precondition::GroupLive(_)));
    });
    Defect { commit, ..Defect::default() }
}

pub(crate) fn ignores_that_a_group_must_be_over() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        commit.preconditions.retain(|of| !matches!(of, Precondition::GroupOver(_)));
    });
    Defect { commit, ..Defect::default() }
}

pub(crate) fn ignores_the_quarantine() -> Defect {
    Defect { no_quarantine: true, ..Defect::default() }
}

pub(crate) fn remembers_closed_groups() -> Defect {
    let closed: Mutex<Vec<Group>> = Mutex::default();
    let beat = altering(move |beat: &mut PulseAnswer| {
        let mut closed = closed.lock().unwrap();
        closed.retain(|group| beat.moved.iter().all(|moved| moved.of.id != group.of.id));
        beat.moved.extend(closed.iter().cloned());
        *closed = beat.moved.iter().filter(|group| group.closed).cloned().collect();
    });
    Defect {
        beat,
        housekeep_instead: Some(Box::new(|store, (epoch, mut keep)| {
            Box::pin(async move {
                keep.tombstone_age = Duration::MAX;
                store.housekeep(epoch, keep).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn restarts_instances_at_collection() -> Defect {
    let opened = altering(|opened: &mut OpenedGroup| {
        if let OpenedGroup::Open(group) = opened {
            group.of.instance = group.of.instance.min(2);
        }
    });
    Defect { opened, ..Defect::default() }
}
