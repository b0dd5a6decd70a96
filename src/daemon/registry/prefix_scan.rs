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
        self.read_behind(kind, prefix, prefix).await
    }

    /// The same of those behind a key.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read_behind(
        &self,
        kind: &Kind,
        prefix: &str,
        after: &str,
    ) -> Result<Vec<Record>, StoreError> {
        self.scan_all(kind, prefix, (after, false), usize::MAX).await
    }

    /// So many of those before a key, the last first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read_before(
        &self,
        kind: &Kind,
        prefix: &str,
        before: &str,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.scan_all(kind, prefix, (before, true), limit).await
    }

    /// At most `limit` from a key on, which is not among them, and where to.
    async fn scan_all(
        &self,
        kind: &Kind,
        prefix: &str,
        (from, backwards): (&str, bool),
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let mut after = Some(from.to_owned());
        while after.is_some() && found.len() < limit {
            let limit = PAGE.min(limit - found.len());
            let scan = Scan { kind: kind.clone(), after: after.take(), backwards, limit };
            let page = in_time(PAGE_TIMEOUT, self.store().scan(scan)).await?;
            // Beyond the prefix nothing of it follows.
            let last = page.records.last().filter(|last| page.more && last.id.key.starts_with(prefix));
            after = last.map(|last| last.id.key.clone());
            found.extend(page.records.into_iter().filter(|record| record.id.key.starts_with(prefix)));
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}
