//! Defects that only calls after or beside each other show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnirelay_store::{
    Commit, CommitOutcome, LogEntry, MemoryStore, PAGE_MAX, Record, RecordChange, Revision, Scan, ScanPage,
    Store, Version, Write,
};

use super::Defect;
use super::commits::instead;
use super::records::{all, head};

/// True at each `every`th call, over all callers.
fn at_each(every: u64) -> impl Fn() -> bool + Clone {
    let calls = Arc::new(AtomicU64::new(0));
    move || calls.fetch_add(1, Ordering::Relaxed) % every == every - 1
}

/// Every fifth page is one that was read before.
pub(crate) fn reads_what_was() -> Defect {
    type Kept = BTreeMap<(Option<String>, usize), ScanPage>;
    let kept: Arc<Mutex<Kept>> = Arc::default();
    let stale = at_each(5);
    Defect {
        scan_instead: Some(Box::new(move |store: &MemoryStore, scan: Scan| {
            let (kept, stale) = (kept.clone(), stale());
            Box::pin(async move {
                let page = store.scan(scan.clone()).await?;
                let mut kept = kept.lock().unwrap();
                let old = kept.entry((scan.after, scan.limit)).or_insert_with(|| page.clone());
                if !stale {
                    old.clone_from(&page);
                }
                Ok(old.clone())
            })
        })),
        ..Defect::default()
    }
}

/// Every second page lacks the last commit, as a replica does that lags by one.
pub(crate) fn reads_new_then_old() -> Defect {
    let lags = at_each(2);
    Defect {
        scan_instead: Some(Box::new(move |store: &MemoryStore, scan: Scan| {
            let lags = lags();
            Box::pin(async move {
                let mut page = store.scan(scan).await?;
                if let (true, Some(last)) = (lags, last_entry(store).await) {
                    for change in &last.changes {
                        take_back(&mut page, change);
                    }
                    page.head = last.previous;
                }
                Ok(page)
            })
        })),
        ..Defect::default()
    }
}

async fn last_entry(store: &MemoryStore) -> Option<Arc<LogEntry>> {
    let page = store.log(Revision(0), PAGE_MAX, Duration::ZERO).await.ok()?;
    page.entries.last().cloned()
}

fn take_back(page: &mut ScanPage, change: &RecordChange) {
    let Some(place) = page.records.iter().position(|record| record.id == change.after.id) else { return };
    match &change.before {
        Some(before) => page.records[place] = before.clone(),
        None => {
            page.records.remove(place);
        }
    }
}

/// Every ninth put is acknowledged and not made.
pub(crate) fn acknowledges_and_forgets() -> Defect {
    let forgets = at_each(9);
    instead(move |store, commit| {
        let forgets = forgets();
        Box::pin(async move {
            match commit.writes.first() {
                Some(Write::Put { .. }) if forgets && commit.preconditions.is_empty() => {
                    Ok(CommitOutcome::Done(Arc::new(as_if_made(store, &commit).await)))
                }
                _ => store.commit(commit).await,
            }
        })
    })
}

/// What a put would have been told.
async fn as_if_made(store: &MemoryStore, commit: &Commit) -> LogEntry {
    let id = commit.writes[0].id().clone();
    let previous = head(store).await;
    let before: Option<Record> =
        all(store, id.kind.clone()).await.into_iter().find(|record: &Record| record.id == id);
    let version = Version(before.as_ref().map_or(0, |record| record.version.0) + 1);
    // Beyond what the store has given out, so that nothing else has this revision.
    let revision = Revision(previous.0 + 1_000_000);
    let template = before.clone().unwrap_or_else(|| Record {
        id,
        value: bytes::Bytes::new(),
        version,
        revision,
        group: None,
        created_at: omnirelay_core::time::Millis(0),
        updated_at: omnirelay_core::time::Millis(0),
        writer: commit.writer.clone(),
        deleted: false,
    });
    let after = Record { version, revision, ..template };
    LogEntry {
        revision,
        previous,
        changes: vec![RecordChange { before, after, expired: false }],
        ..LogEntry::default()
    }
}

/// Every seventh commit is made a second time.
pub(crate) fn makes_commits_twice() -> Defect {
    let again = at_each(7);
    instead(move |store, commit| {
        let again = again();
        Box::pin(async move {
            let made = store.commit(commit.clone()).await?;
            if again {
                store.commit(Commit { preconditions: Vec::new(), ..commit }).await?;
            }
            Ok(made)
        })
    })
}

/// Every eleventh answer names the revision before its own.
pub(crate) fn answers_with_an_old_revision() -> Defect {
    let wrong = at_each(11);
    instead(move |store, commit| {
        let wrong = wrong();
        Box::pin(async move {
            Ok(match store.commit(commit).await? {
                CommitOutcome::Done(entry) if wrong => {
                    CommitOutcome::Done(Arc::new(LogEntry { revision: entry.previous, ..(*entry).clone() }))
                }
                made => made,
            })
        })
    })
}

/// Every third page has the head of the one before it.
pub(crate) fn mixes_pages() -> Defect {
    let mixes = at_each(3);
    let kept: Arc<Mutex<Option<Revision>>> = Arc::default();
    Defect {
        scan_instead: Some(Box::new(move |store: &MemoryStore, scan: Scan| {
            let (kept, mixes) = (kept.clone(), mixes());
            Box::pin(async move {
                let mut page = store.scan(scan).await?;
                let before = kept.lock().unwrap().replace(page.head);
                if mixes {
                    page.head = before.unwrap_or(page.head);
                }
                Ok(page)
            })
        })),
        ..Defect::default()
    }
}
