//! The store beside the view: every record of every kind that is held, page by page.
//!
//! A page tells at which commit it was read. What the view held at that commit is compared with it, so that changes meanwhile are no
//! differences; where the view cannot tell any more, the page is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_nouns::range_questions::state_record;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::{in_time, wait_for};
use omnirelay_registry::view::{ExpectedRecord, RecordScope};
use omnirelay_store::{PAGE_MAX, Record, RecordKind, Scan, ScanPage, StoreError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::time::timeout;

use super::compared::ComparedRecords;

/// How long a page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the view may take to show the commit at which a page was read.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How often a page is read whose records change each time.
const TRIES: u32 = 5;

/// Compares what a daemon holds with its store.
///
/// # Errors
/// `STORE_UNAVAILABLE`: the store does not answer, or the view does not follow it; `EPOCH_CHANGED` while it does.
pub(crate) async fn compare_with_store(
    registry: &Registry,
    found: &mut ComparedRecords,
) -> Result<(), Fault> {
    let mut kinds = registry.view().mirrored().to_vec();
    kinds.sort();
    for kind in kinds {
        let mut after = None;
        while let Some(last) = compare_page(registry, &kind, after, found).await? {
            after = Some(last);
        }
    }
    Ok(())
}

/// Compares a page, and gives the key behind which there is more.
async fn compare_page(
    registry: &Registry,
    kind: &RecordKind,
    after: Option<String>,
    found: &mut ComparedRecords,
) -> Result<Option<String>, Fault> {
    let (mut is_heard, mut tries) = (false, 0);
    loop {
        tries += 1;
        let page = read_page(registry, kind, after.clone()).await?;
        let last = page.records.last().filter(|_| page.more).map(|record| record.id.key.clone());
        if tries > TRIES {
            found.unsettled += page.records.len() as u64;
            return Ok(last);
        }
        let scope = RecordScope::Keys { after: after.as_deref(), until: last.as_deref() };
        let Some(expected) = registry.view().expected_at(kind, (page.epoch, page.head), scope) else {
            continue;
        };
        let there = page.records.iter().filter(|record| !record.deleted);
        let stored: BTreeMap<&str, &Record> = there.map(|record| (record.id.key.as_str(), record)).collect();
        let has_ended = |(key, here): (&String, &ExpectedRecord)| {
            let is_bound = matches!(here, ExpectedRecord::Whole(held) if held.group.is_some());
            is_bound && !stored.contains_key(key.as_str())
        };
        if !is_heard && expected.iter().any(has_ended) {
            // Mostly its group has ended by the store's clock, and no beat has told of it yet.
            registry.see_all().await;
            is_heard = true;
            continue;
        }
        found.records += expected.len() as u64;
        let keys: BTreeSet<&str> =
            expected.keys().map(String::as_str).chain(stored.keys().copied()).collect();
        for key in keys {
            let (here, there) = (expected.get(key), stored.get(key).copied());
            if !here.map_or(there.is_none(), |here| here.is(there)) {
                found.note(
                    kind,
                    key,
                    here.and_then(ExpectedRecord::record).map(state_record),
                    there.map(state_record),
                );
            }
        }
        return Ok(last);
    }
}

/// Reads a page, and waits until the view shows the commit at which it was read.
async fn read_page(registry: &Registry, kind: &RecordKind, after: Option<String>) -> Result<ScanPage, Fault> {
    let scan = Scan { kind: kind.clone(), after, backwards: false, limit: PAGE_MAX };
    let page = in_time(PAGE_TIMEOUT, registry.store().scan(scan)).await;
    let page = page.map_err(|error: StoreError| unreadable(&chain(&error)))?;
    let view = registry.view();
    if timeout(SHOWN_WITHIN, wait_for(view, page.head)).await.is_err() && page.epoch == view.head().epoch {
        let (there, here) = (page.head.0, view.head().revision.0);
        return Err(unreadable(&format!(
            "this daemon stands at commit {here} of the store's {there}, and has seen no other for {} s",
            SHOWN_WITHIN.as_secs()
        )));
    }
    if page.epoch != view.head().epoch {
        let message = "the registry of the store is of another epoch than what this daemon holds";
        return Err(Fault::new(reasons::EPOCH_CHANGED, message).hint("ask again in a moment"));
    }
    Ok(page)
}

fn unreadable(why: &str) -> Fault {
    Fault::new(reasons::STORE_UNAVAILABLE, format!("it could not be compared with the store: {why}"))
        .hint("omnirelay mesh check says how this daemon and its store stand")
}
