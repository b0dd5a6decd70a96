//! The log of a store, for a test that judges by it.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_store::{LogEntry, PAGE_MAX, Revision, Store};

/// Everything in the log of a store.
pub async fn log_of(store: &dyn Store) -> Vec<Arc<LogEntry>> {
    let mut entries = Vec::new();
    let mut after = Revision(0);
    loop {
        let page = store.log(after, PAGE_MAX, Duration::ZERO).await.unwrap();
        let Some(last) = page.entries.last() else { return entries };
        after = last.revision;
        entries.extend(page.entries);
    }
}
