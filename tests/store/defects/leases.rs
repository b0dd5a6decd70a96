//! Defects of leases and fences.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, Lease, LeaseOp, LogEntry, MemoryStore, OpenGroup, OpenedGroup, Pulse, Store,
};

use super::commits::{instead, nothing_done};
use super::{Defect, altering, blank};

async fn lease(store: &MemoryStore, scope: &str) -> Option<Lease> {
    store.leases().await.expect("the leases").leases.into_iter().find(|lease| lease.scope == scope)
}

fn forgets(commit: &Commit) -> bool {
    commit.leases.iter().any(|op| matches!(op, LeaseOp::Forget { .. }))
}

pub(crate) fn forgets_nothing() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        if forgets(commit) {
            commit.leases.clear();
        }
    });
    Defect { commit, ..Defect::default() }
}

pub(crate) fn forgets_what_is_held() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            for op in commit.leases.iter().filter(|op| matches!(op, LeaseOp::Forget { .. })) {
                let scope = op.scope().to_owned();
                let Some(token) = lease(store, &scope).await.map(|lease| lease.token) else { continue };
                let leases = vec![LeaseOp::Release { scope, token }];
                store.commit(Commit { epoch: commit.epoch, leases, ..Commit::default() }).await?;
            }
            store.commit(commit).await
        })
    })
}

fn held(scope: &str) -> CommitError {
    CommitError::LeaseHeld { scope: scope.into(), holder: None, until: Millis(u64::MAX) }
}

fn releases(commit: &Commit) -> bool {
    commit.leases.iter().any(|op| matches!(op, LeaseOp::Release { .. }))
}

pub(crate) fn grants_to_the_dead() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            match store.commit(commit).await {
                Err(CommitError::GroupOver(_)) => Ok(nothing_done(store).await),
                result => result,
            }
        })
    })
}

pub(crate) fn steals_leases() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            match store.commit(commit.clone()).await {
                Err(CommitError::LeaseHeld { scope, .. }) => {
                    let token = lease(store, &scope).await.expect("a lease").token;
                    commit.leases.insert(0, LeaseOp::Release { scope, token });
                    store.commit(commit).await
                }
                result => result,
            }
        })
    })
}

pub(crate) fn holds_forever() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            for op in &commit.leases {
                let LeaseOp::Acquire { scope, holder, .. } = op else { continue };
                if lease(store, scope).await.is_some_and(|lease| !lease.released && lease.holder != *holder) {
                    return Err(held(scope));
                }
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn repeats_tokens() -> Defect {
    let leases = altering(|leases: &mut Vec<Lease>| leases.iter_mut().for_each(|lease| lease.token = 7));
    // The sound store below needs the token that it knows.
    Defect { leases, ..releases_by_scope_alone() }
}

pub(crate) fn ignores_the_token_floor() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        for op in &mut commit.leases {
            if let LeaseOp::Acquire { token_floor, .. } = op {
                *token_floor = 0;
            }
        }
    });
    Defect { commit, ..Defect::default() }
}

pub(crate) fn counts_tokens_from_one() -> Defect {
    let leases =
        altering(|leases: &mut Vec<Lease>| leases.iter_mut().for_each(|lease| lease.token = lease.term));
    Defect { leases, ..Defect::default() }
}

pub(crate) fn grants_anew_to_the_holder() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            for op in commit.leases.clone() {
                if let (LeaseOp::Acquire { scope, .. }, Some(lease)) = (&op, lease(store, op.scope()).await) {
                    commit.leases.insert(0, LeaseOp::Release { scope: scope.clone(), token: lease.token });
                }
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn keeps_released_leases() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            if releases(&commit) {
                return Ok(nothing_done(store).await);
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn forgets_tokens_at_release() -> Defect {
    let leases = altering(|leases: &mut Vec<Lease>| {
        for lease in leases.iter_mut().filter(|lease| lease.term > 1) {
            lease.token = lease.acquired_at.0;
        }
    });
    Defect { leases, ..Defect::default() }
}

pub(crate) fn releases_by_scope_alone() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            for op in &mut commit.leases {
                let present = lease(store, op.scope()).await;
                if let (LeaseOp::Release { token, .. }, Some(present)) = (op, present) {
                    *token = present.token;
                }
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn forgets_the_barrier() -> Defect {
    Defect {
        open_instead: Some(Box::new(|store, open: OpenGroup| {
            Box::pin(async move {
                let groups = store.pulse(Pulse::default()).await?.moved;
                let live = groups.into_iter().find(|group| group.of.id == open.id);
                if let (OpenedGroup::Open(_), Some(live)) = (store.open_group(open.clone()).await?, live) {
                    let again = store.open_group(open.clone()).await?;
                    for lease in
                        store.leases().await?.leases.into_iter().filter(|lease| lease.holder == live.of)
                    {
                        let op = LeaseOp::Release { scope: lease.scope, token: lease.token };
                        store.commit(Commit { leases: vec![op], ..blank(store).await }).await.expect("freed");
                    }
                    return Ok(again);
                }
                store.open_group(open).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn forgets_releases_of_the_replaced() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            let groups = store.pulse(Pulse::default()).await?.moved;
            let mut kept = Vec::new();
            for op in commit.leases {
                let holder = lease(store, op.scope()).await.map(|lease| lease.holder);
                let current = holder.is_none_or(|holder| groups.iter().any(|group| group.of == holder));
                if current || matches!(op, LeaseOp::Acquire { .. }) {
                    kept.push(op);
                }
            }
            commit.leases = kept;
            store.commit(commit).await
        })
    })
}

pub(crate) fn blocks_after_closing() -> Defect {
    let closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closed);
    let mut defect = instead(move |store, commit| {
        let closed = seen.load(Ordering::SeqCst);
        Box::pin(async move {
            match commit.leases.first() {
                Some(op @ LeaseOp::Acquire { .. }) if closed => Err(held(op.scope())),
                Some(_) | None => store.commit(commit).await,
            }
        })
    });
    defect.close_instead = Some(Box::new(move |store, (epoch, of)| {
        closed.store(true, Ordering::SeqCst);
        Box::pin(async move { store.close_group(epoch, of).await })
    }));
    defect
}

pub(crate) fn forgets_the_fence() -> Defect {
    Defect { commit: altering(|commit: &mut Commit| commit.fence = None), ..Defect::default() }
}

pub(crate) fn fences_by_token_alone() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            if let Some(fence) = &commit.fence
                && lease(store, &fence.scope).await.is_some_and(|lease| lease.token == fence.token)
            {
                commit.fence = None;
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn acquires_before_it_releases() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        commit.leases.sort_by_key(|op| matches!(op, LeaseOp::Release { .. }));
    });
    Defect { commit, ..Defect::default() }
}

pub(crate) fn logs_no_leases() -> Defect {
    Defect { entry: altering(|entry: &mut LogEntry| entry.leases.clear()), ..Defect::default() }
}

pub(crate) fn hides_released_leases() -> Defect {
    let leases = altering(|leases: &mut Vec<Lease>| leases.retain(|lease| !lease.released));
    Defect { leases, ..Defect::default() }
}
