//! Prefix scans: records as the store has them, read past the view.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use omnirelay_store::{Record, RecordKind, Scan, StoreError};

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
    pub async fn read_under(&self, kind: &RecordKind, prefix: &str) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let each = |record| {
            found.push(record);
            Continue(())
        };
        self.each_behind(kind, prefix, prefix, each).await?;
        Ok(found)
    }

    /// Goes through those behind a key until `each` has enough, and keeps none itself: there may be many, and large ones.
    ///
    /// # Errors
    /// Those of the store; some have been gone through then.
    pub async fn each_behind(
        &self,
        kind: &RecordKind,
        prefix: &str,
        after: &str,
        each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.go_through(kind, prefix, (after, false), PAGE, each).await
    }

    /// The same of those before a key, the last first, so many at a time.
    ///
    /// # Errors
    /// Those of the store; some have been gone through then.
    pub async fn each_before(
        &self,
        kind: &RecordKind,
        prefix: &str,
        (before, some): (&str, usize),
        each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.go_through(kind, prefix, (before, true), some.min(PAGE), each).await
    }

    /// The record of a kind that has this key, the trace of a deleted one included.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn read_one(&self, kind: &RecordKind, key: &str) -> Result<Option<Record>, StoreError> {
        let (mut found, behind) = (None, format!("{key}\0"));
        let each = |record: Record| {
            found = Some(record);
            Break(())
        };
        self.go_through(kind, key, (&behind, true), 1, each).await?;
        Ok(found)
    }

    /// From a key on, which is not among them, and where to; so many at a time.
    async fn go_through(
        &self,
        kind: &RecordKind,
        prefix: &str,
        (from, backwards): (&str, bool),
        limit: usize,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut after = Some(from.to_owned());
        while after.is_some() {
            let scan = Scan { kind: kind.clone(), after: after.take(), backwards, limit };
            let page = in_time(PAGE_TIMEOUT, self.store().scan(scan)).await?;
            // Beyond the prefix nothing of it follows.
            let last = page.records.last().filter(|last| page.more && last.id.key.starts_with(prefix));
            after = last.map(|last| last.id.key.clone());
            let mut of_prefix = page.records.into_iter().filter(|record| record.id.key.starts_with(prefix));
            if of_prefix.try_for_each(&mut each).is_break() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
