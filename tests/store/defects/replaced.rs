//! Defects of what is kept about lives of a group that were replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, Group, GroupId, GroupRef, Lease, LeaseOp, MemoryStore, OpenGroup, OpenedGroup,
    Pulse, REPLACED_MAX, Store,
};

use super::commits::instead;
use super::{Defect, Restart, blank};
use crate::harness::now;

const SECRET: &str = "secret";

/// The lives of one group that were replaced while they lived, with their deadlines.
type Lives = Vec<(u64, Millis)>;
type Known = Arc<Mutex<BTreeMap<GroupId, Lives>>>;

/// Adds a life that is replaced now.
type Note = fn(&mut Lives, (u64, Millis), Millis);
/// Until when the leases of an instance are held now.
type Find = fn(&Lives, u64, Millis) -> Option<Millis>;

async fn live(store: &MemoryStore, id: &GroupId) -> Option<Group> {
    let beat = store.pulse(Pulse::default()).await.expect("a beat");
    beat.moved.into_iter().find(|group| group.of.id == *id && !group.closed && beat.now < group.deadline)
}

async fn leases(store: &MemoryStore) -> Vec<Lease> {
    let leases = store.leases().await.expect("the leases").leases;
    leases.into_iter().filter(|lease| !lease.released).collect()
}

/// Holds more leases than a sound store.
fn holding(note: Note, find: Find) -> Defect {
    let known = Known::default();
    let found = Arc::clone(&known);
    let mut defect = instead(move |store, commit| {
        let known = found.lock().unwrap().clone();
        Box::pin(async move {
            let now = now(store).await;
            for lease in leases(store).await {
                let taken = commit.leases.iter().any(|op| takes(op, &lease));
                let lives = known.get(&lease.holder.id).filter(|_| taken);
                if let Some(until) = lives.and_then(|lives| find(lives, lease.holder.instance, now)) {
                    let Lease { scope, holder, .. } = lease;
                    return Err(CommitError::LeaseHeld { scope, holder: Some(holder), until });
                }
            }
            store.commit(commit).await
        })
    });
    defect.open_instead = Some(Box::new(move |store, open| {
        let known = Arc::clone(&known);
        Box::pin(async move {
            let (id, replaced) = (open.id.clone(), live(store, &open.id).await);
            let opened = store.open_group(open).await?;
            if let (Some(Group { of, deadline, .. }), OpenedGroup::Open(group)) = (replaced, &opened) {
                let mut known = known.lock().unwrap();
                note(known.entry(id).or_default(), (of.instance, deadline), group.renewed_at);
            }
            Ok(opened)
        })
    }));
    defect
}

fn takes(op: &LeaseOp, lease: &Lease) -> bool {
    matches!(op, LeaseOp::Acquire { scope, holder, .. } if *scope == lease.scope && *holder != lease.holder)
}

/// Each replacement moves on what waits already.
pub(crate) fn moves_barriers_on() -> Defect {
    let note: Note = |lives, (instance, until), now| {
        lives.iter_mut().filter(|life| now < life.1).for_each(|life| life.1 = life.1.max(until));
        lives.push((instance, until));
    };
    holding(note, |lives, instance, now| {
        let found = lives.iter().find(|life| life.0 == instance && now < life.1);
        found.map(|life| life.1)
    })
}

/// Takes a life that ended long ago for one of those that were replaced.
pub(crate) fn holds_again_what_was_free() -> Defect {
    holding(
        |lives, life, _| lives.push(life),
        |lives, instance, now| {
            let found = lives.iter().find(|life| life.0 >= instance && now < life.1);
            found.map(|life| life.1)
        },
    )
}

pub(crate) fn replaces_without_limit() -> Defect {
    Defect {
        open_instead: Some(Box::new(|store, open: OpenGroup| {
            Box::pin(async move {
                let opened = store.open_group(open.clone()).await?;
                let is_limit = matches!(opened, OpenedGroup::Held { .. }) && open.secret == SECRET;
                let Some(Group { of, .. }) = live(store, &open.id).await.filter(|_| is_limit) else {
                    return Ok(opened);
                };
                store.close_group(open.epoch, of).await?;
                store.open_group(open).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn counts_replacements_for_ever() -> Defect {
    let known = Known::default();
    Defect {
        open_instead: Some(Box::new(move |store, open: OpenGroup| {
            let known = Arc::clone(&known);
            Box::pin(async move {
                if let Some(Group { of, deadline, .. }) = live(store, &open.id).await {
                    let mut known = known.lock().unwrap();
                    let lives = known.entry(of.id).or_default();
                    if lives.len() >= REPLACED_MAX {
                        return Ok(OpenedGroup::Held { until: deadline });
                    }
                    lives.push((of.instance, deadline));
                }
                store.open_group(open).await
            })
        })),
        ..Defect::default()
    }
}

/// Releases the leases of all lives that are not the present one.
async fn free_what_waits(store: &MemoryStore) {
    for Lease { scope, token, holder, .. } in leases(store).await {
        let GroupRef { id, instance } = holder;
        if live(store, &id).await.is_none_or(|group| group.of.instance != instance) {
            let leases = vec![LeaseOp::Release { scope, token }];
            store.commit(Commit { leases, ..blank(store).await }).await.expect("freed");
        }
    }
}

pub(crate) fn frees_leases_in_housekeeping() -> Defect {
    Defect {
        housekeep_instead: Some(Box::new(|store, (epoch, keep)| {
            Box::pin(async move {
                free_what_waits(store).await;
                store.housekeep(epoch, keep).await
            })
        })),
        ..Defect::default()
    }
}

fn frees_leases_before_commits() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            free_what_waits(store).await;
            store.commit(commit).await
        })
    })
}

pub(crate) fn forgets_barriers_at_restart() -> Defect {
    Defect { restart: Restart::Has(frees_leases_before_commits), ..Defect::default() }
}
