//! Defects of commits, idempotency and limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Idempotency, LogEntry, MemoryStore, Precondition, Record, Revision,
    Store, StoreError, VALUE_BYTES_MAX, Version, Write,
};

use super::records::{all, head};
use super::{Answer, Defect, altering, blank, write_junk};
use crate::harness::epoch;

type Made<'a> = Answer<'a, Result<CommitOutcome, CommitError>>;

fn altered(alter: impl Fn(&mut Commit) + Send + Sync + 'static) -> Defect {
    Defect { commit: altering(alter), ..Defect::default() }
}

pub(super) fn instead(
    commit: impl for<'a> Fn(&'a MemoryStore, Commit) -> Made<'a> + Send + Sync + 'static,
) -> Defect {
    Defect { commit_instead: Some(Box::new(commit)), ..Defect::default() }
}

/// What a commit gets that was made without changing anything.
pub(super) async fn nothing_done(store: &MemoryStore) -> CommitOutcome {
    let revision = head(store).await;
    CommitOutcome::Done(Arc::new(LogEntry { revision, previous: revision, ..LogEntry::default() }))
}

/// Judges the version preconditions apart from the commit.
async fn judge_versions(store: &MemoryStore, preconditions: &[Precondition]) -> Result<(), CommitError> {
    for precondition in preconditions {
        let Precondition::Version { id, version: expected } = precondition else { continue };
        let records: Vec<Record> = all(store, id.kind.clone()).await;
        let found = records.iter().find(|record| record.id == *id && !record.deleted);
        let actual = found.map_or(Version(0), |record| record.version);
        if actual != *expected {
            return Err(CommitError::Conflict { id: id.clone(), expected: *expected, actual });
        }
    }
    Ok(())
}

pub(crate) fn loses_atomicity() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            if let Some(first) = commit.writes.first() {
                store.commit(Commit { writes: vec![first.clone()], ..blank(store).await }).await?;
            }
            store.commit(commit).await
        })
    })
}

pub(crate) fn ignores_preconditions() -> Defect {
    altered(|commit| commit.preconditions.clear())
}

pub(crate) fn takes_version_zero_for_any() -> Defect {
    altered(|commit| {
        let zero = |of: &Precondition| matches!(of, Precondition::Version { version: Version(0), .. });
        commit.preconditions.retain(|of| !zero(of));
    })
}

pub(crate) fn checks_before_it_writes() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            judge_versions(store, &commit.preconditions).await?;
            tokio::task::yield_now().await;
            commit.preconditions.clear();
            store.commit(commit).await
        })
    })
}

pub(crate) fn forgets_what_was_before() -> Defect {
    let entry =
        altering(|entry: &mut LogEntry| entry.changes.iter_mut().for_each(|change| change.before = None));
    Defect { entry, ..Defect::default() }
}

pub(crate) fn logs_empty_commits() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let before = head(store).await;
            let done = store.commit(commit).await?;
            if head(store).await == before {
                write_junk(store).await;
            }
            Ok(done)
        })
    })
}

pub(crate) fn breaks_the_chain() -> Defect {
    Defect { entry: altering(|entry: &mut LogEntry| entry.previous = Revision(0)), ..Defect::default() }
}

pub(crate) fn commits_in_any_epoch() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            commit.epoch = epoch(store).await;
            store.commit(commit).await
        })
    })
}

pub(crate) fn judges_preconditions_before_fences() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            judge_versions(store, &commit.preconditions).await?;
            store.commit(commit).await
        })
    })
}

pub(crate) fn applies_replays_twice() -> Defect {
    altered(|commit| commit.idempotency = None)
}

pub(crate) fn ignores_the_request_hash() -> Defect {
    altered(|commit| {
        if let Some(idempotency) = &mut commit.idempotency {
            idempotency.request_hash = 0;
        }
    })
}

pub(crate) fn judges_preconditions_before_replays() -> Defect {
    judges_preconditions_before_fences()
}

pub(crate) fn forgets_answers() -> Defect {
    Defect { recalled: altering(|recalled| *recalled = None), ..Defect::default() }
}

pub(crate) fn keeps_answers_of_refusals() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let idempotency = commit.idempotency.clone();
            let result = store.commit(commit).await;
            if result.is_err() {
                store.commit(Commit { idempotency, ..blank(store).await }).await?;
            }
            result
        })
    })
}

pub(crate) fn forgets_answers_of_nothing() -> Defect {
    altered(|commit| {
        if commit.writes.iter().all(|write| matches!(write, Write::Delete { .. })) {
            commit.idempotency = None;
        }
    })
}

pub(crate) fn confuses_principals() -> Defect {
    altered(|commit| {
        if let Some(Idempotency { key, .. }) = &mut commit.idempotency {
            key.principal.clear();
        }
    })
}

pub(crate) fn splits_large_commits() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let mut done = nothing_done(store).await;
            for writes in commit.writes.chunks(100) {
                done = store.commit(Commit { writes: writes.to_vec(), ..blank(store).await }).await?;
            }
            Ok(done)
        })
    })
}

pub(crate) fn ignores_the_bytes_of_a_commit() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let whole = store.commit(commit.clone()).await;
            let Err(CommitError::Store(StoreError::Invalid { .. })) = whole else { return whole };
            let mut done = whole;
            for write in commit.writes {
                done = store.commit(Commit { writes: vec![write], ..blank(store).await }).await;
            }
            done
        })
    })
}

pub(crate) fn takes_the_last_of_two() -> Defect {
    altered(|commit| {
        let mut seen = BTreeSet::new();
        commit.writes.reverse();
        commit.writes.retain(|write| seen.insert(write.id().clone()));
    })
}

pub(crate) fn takes_any_name() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            match store.commit(commit).await {
                Err(CommitError::Store(StoreError::Invalid { .. })) => Ok(nothing_done(store).await),
                result => result,
            }
        })
    })
}

pub(crate) fn cuts_large_values() -> Defect {
    altered(|commit| {
        for write in &mut commit.writes {
            if let Write::Put { value, .. } = write {
                *value = Bytes::copy_from_slice(&value[..value.len().min(VALUE_BYTES_MAX)]);
            }
        }
    })
}
