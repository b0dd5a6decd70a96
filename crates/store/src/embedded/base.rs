//! The store file: a redb database that holds everything up to its last checkpoint.
//!
//! Two tables hold everything: the log has its own, because it only grows at its end; all others share one, because
//! each table that a transaction touches costs pages.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition};

use super::overlay::{Overlay, Tree};
use super::written_state::{STATE_KEY, WrittenState};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");

/// The version of the rows that this program writes. 1 is read: it had all rows in this file alone, and no log beside it.
pub(super) const SCHEMA: u32 = 2;

const SCHEMA_KEY: &[u8] = &[0, 0];

/// A table of the file.
pub(super) type FileTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Base of the store: the rows and the log that the file held after a checkpoint.
pub(super) struct FileBase {
    rows: FileTable,
    log: FileTable,
}

impl FileBase {
    pub(super) fn of(database: &Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_read()?;
        Ok(Self { rows: transaction.open_table(ROWS)?, log: transaction.open_table(LOG)? })
    }

    pub(super) fn table(&self, tree: Tree) -> &FileTable {
        match tree {
            Tree::Rows => &self.rows,
            Tree::Log => &self.log,
        }
    }
}

/// Reads the version of the rows; `None` in a file without any.
pub(super) fn schema(transaction: &ReadTransaction) -> Result<Option<u32>, redb::Error> {
    let rows = match transaction.open_table(ROWS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        rows => rows?,
    };
    let Some(row) = rows.get(SCHEMA_KEY)? else { return Ok(None) };
    Ok(Some(row.value().try_into().map_or(u32::MAX, u32::from_be_bytes)))
}

/// Writes these changes, the oldest first, and what is known of the store itself, durably in one transaction. After a
/// crash the file opens without a look at all its pages.
pub(super) fn checkpoint(
    database: &Database,
    changes: &[&Overlay],
    written: Option<&WrittenState>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut rows = transaction.open_table(ROWS)?;
        let mut log = transaction.open_table(LOG)?;
        for (tree, key, row) in changes.iter().flat_map(|changes| changes.changes()) {
            let table = match tree {
                Tree::Rows => &mut rows,
                Tree::Log => &mut log,
            };
            match row {
                Some(row) => drop(table.insert(key.as_ref(), row.as_ref())?),
                None => drop(table.remove(key.as_ref())?),
            }
        }
        if let Some(written) = written {
            rows.insert(SCHEMA_KEY, SCHEMA.to_be_bytes().as_slice())?;
            rows.insert(STATE_KEY, written.row().as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

/// Closes a database that may be of a damaged file.
pub(super) fn close(database: Database) {
    // There is nothing that could be done about it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}
