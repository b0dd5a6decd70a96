//! Prefix scans: records as the store has them, read past the view.

use std::time::Duration;

use omnirelay_store::{Kind, Record, Scan, StoreError};

use super::Registry;
use super::follow::in_time;

/// How many records are read at a time: a page keeps the store from serving others.
const PAGE: usize = 512;
/// How long a page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

impl Registry {
    /// Every record of a kind whose key begins with `prefix`, traces of deleted ones included, in the order of their
    /// keys. A record whose group is over is left out.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read_under(&self, kind: &Kind, prefix: &str) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let mut after = Some(prefix.to_owned());
        while after.is_some() {
            let scan = Scan { kind: kind.clone(), after: after.take(), backwards: false, limit: PAGE };
            let page = in_time(PAGE_TIMEOUT, self.store().scan(scan)).await?;
            // Behind the prefix nothing of it follows.
            let last = page.records.last().filter(|last| page.more && last.id.key.starts_with(prefix));
            after = last.map(|last| last.id.key.clone());
            found.extend(page.records.into_iter().filter(|record| record.id.key.starts_with(prefix)));
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}
