//! Records: reading them, and the rows that a change of one leaves.

use std::ops::ControlFlow;

use omnirelay_core::time::Millis;

use super::super::{
    PAGE_BYTES_MAX, Record, RecordId, RecordKind, Scan, ScanPage, StoreError, Version, limits,
};
use super::{State, Step, Table, TableStretch, Tables, TablesMut, groups, keys, rows};

/// Write of one record that has been judged, but not made.
pub(super) struct PlannedWrite {
    /// What the table holds now, a tombstone included.
    pub stored: Option<Record>,
    pub after: Record,
    pub expired: bool,
}

/// Reads a page of the records of one kind; those of groups that are over are left out.
pub(crate) fn scan(
    tables: &impl Tables,
    state: &State,
    now: Millis,
    scan: &Scan,
) -> Result<ScanPage, StoreError> {
    limits::scan(scan)?;
    let judged_at = state.judged_at(tables, now);
    let mut records = Vec::new();
    let (mut bytes, mut more) = (0, false);
    tables.visit(&stretch_of(scan), &mut |key, row| {
        let record = match rows::record(keys::record_in(&scan.kind, key)?, row) {
            // It is of the next page.
            Err(_) if records.len() == scan.limit => {
                more = true;
                return Ok(ControlFlow::Break(()));
            }
            record => record?,
        };
        if record.group.as_ref().is_some_and(|of| groups::is_over(tables, of, judged_at)) {
            return Ok(ControlFlow::Continue(()));
        }
        more = records.len() == scan.limit || bytes >= PAGE_BYTES_MAX;
        if more {
            return Ok(ControlFlow::Break(()));
        }
        bytes += record.value.len();
        records.push(record.beside(records.last()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ScanPage { epoch: state.epoch, head: state.head, records, more })
}

fn stretch_of(scan: &Scan) -> TableStretch {
    let mut stretch = TableStretch::prefixed(Table::Records, keys::kind(&scan.kind));
    stretch.backwards = scan.backwards;
    if let Some(after) = &scan.after {
        let mut bound = keys::kind(&scan.kind);
        bound.extend_from_slice(after.as_bytes());
        if scan.backwards {
            stretch.to = Some(bound);
        } else {
            // The least key behind `after`.
            bound.push(0);
            stretch.from = bound;
        }
    }
    stretch
}

impl<T: TablesMut> Step<'_, T> {
    pub(super) fn stored(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        let row = self.tables.get(Table::Records, &keys::record(id))?;
        row.map(|row| rows::record(id.clone(), row)).transpose()
    }

    /// True if a reader finds this record: no tombstone, and no record whose group is over.
    pub(super) fn is_there(&self, record: &Record) -> bool {
        let over = |of| groups::is_over(self.tables, of, self.state.judged_at(self.tables, self.now));
        !record.deleted && !record.group.as_ref().is_some_and(over)
    }

    /// The version of a record that does not exist yet and never left a tombstone.
    pub(super) fn first_version(&self, kind: &RecordKind) -> Result<Version, StoreError> {
        Ok(Version(self.version_floor(kind)?.saturating_add(1)))
    }

    /// Remembers the version of a tombstone that is collected.
    pub(super) fn raise_version_floor(
        &mut self,
        kind: &RecordKind,
        version: Version,
    ) -> Result<(), StoreError> {
        if version.0 <= self.version_floor(kind)? {
            return Ok(());
        }
        self.tables.put(Table::VersionFloors, kind.0.as_bytes(), &version.0.to_be_bytes())
    }

    /// Writes the record's row and those that lead to it.
    pub(super) fn write_record(&mut self, planned: &PlannedWrite) -> Result<(), StoreError> {
        let key = keys::record(&planned.after.id);
        let (stored, after) = (planned.stored.as_ref(), &planned.after);
        let group_before = stored.and_then(|stored| stored.group.as_ref());
        if group_before != after.group.as_ref() {
            if let Some(of) = group_before {
                self.tables.delete(Table::Members, &keys::member(of, &key))?;
            }
            if let Some(of) = &after.group {
                self.tables.put(Table::Members, &keys::member(of, &key), &[])?;
            }
        }
        if let Some(stored) = stored.filter(|stored| stored.deleted) {
            self.tables.delete(Table::Tombstones, &keys::timed(stored.updated_at, &key))?;
        }
        if after.deleted {
            self.tables.put(Table::Tombstones, &keys::timed(after.updated_at, &key), &[])?;
        }
        self.tables.put(Table::Records, &key, &rows::record_row(after))
    }

    fn version_floor(&self, kind: &RecordKind) -> Result<u64, StoreError> {
        let row = self.tables.get(Table::VersionFloors, kind.0.as_bytes())?;
        let Some(row) = row else { return Ok(0) };
        let bytes = row.as_ref().try_into();
        bytes
            .map(u64::from_be_bytes)
            .map_err(|_| super::incompatible(format!("the version floor of `{kind}`")))
    }
}
