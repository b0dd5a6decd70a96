//! The log: reading it behind a revision.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::{LogEntry, PAGE_BYTES_MAX, Revision, StoreError};
use super::{State, Table, TableStretch, Tables, keys, rows};

/// Lag of a reader of the log: how far it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderLag {
    /// It has seen everything.
    Nothing,
    /// There is more for it.
    Something,
    /// What it knows is not, or no longer, in the log: it must read the records anew.
    Compacted,
}

/// Compares the revision that a reader has with the log that there is.
pub(crate) fn behind(state: &State, after: Revision) -> ReaderLag {
    if after < state.trimmed_through || after > state.head {
        ReaderLag::Compacted
    } else if after == state.head {
        ReaderLag::Nothing
    } else {
        ReaderLag::Something
    }
}

/// Reads up to `limit` entries behind `after`.
pub(crate) fn log_behind(
    tables: &impl Tables,
    after: Revision,
    limit: usize,
) -> Result<Vec<Arc<LogEntry>>, StoreError> {
    let mut stretch = TableStretch::whole(Table::Log);
    stretch.from = keys::revision(Revision(after.0.saturating_add(1))).to_vec();
    let (mut bytes, mut entries) = (0, Vec::new());
    tables.visit(&stretch, &mut |key, row| {
        if entries.len() == limit || bytes >= PAGE_BYTES_MAX {
            return Ok(ControlFlow::Break(()));
        }
        let entry = rows::log_entry(keys::revision_of(key)?, row)?;
        bytes += entry.value_bytes();
        entries.push(Arc::new(entry));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(entries)
}
