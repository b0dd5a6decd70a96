//! Verifying: whether everything that is stored can be read, and whether what leads to what agrees.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use omnirelay_core::text::chain;

use super::super::{GroupRef, Record, RecordKind, Revision, StoreError};
use super::{State, Table, TableStretch, Tables, incompatible, keys, rows};

/// The most findings that are told one by one.
const FINDINGS_MAX: usize = 20;

/// Inventory of what is stored, and what was found wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// How many records there are of each kind, tombstones not counted.
    pub records: BTreeMap<RecordKind, u64>,
    pub tombstones: u64,
    pub log_entries: u64,
    pub leases: u64,
    pub answers: u64,
    /// What is wrong, the first 20 sentences.
    pub findings: Vec<String>,
    /// How much is wrong.
    pub faults: u64,
}

impl Inventory {
    fn note(&mut self, finding: impl FnOnce() -> String) {
        self.faults += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding());
        }
    }

    fn note_unless(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.note(finding);
        }
    }
}

/// Reads every row.
///
/// # Errors
/// When the tables themselves cannot be read.
pub(crate) fn verify(tables: &impl Tables, state: &State) -> Result<Inventory, StoreError> {
    let mut found = Inventory::default();
    records(tables, state, &mut found)?;
    members(tables, &mut found)?;
    log(tables, state, &mut found)?;
    each(tables, Table::Leases, &mut |scope, row| {
        let scope = String::from_utf8_lossy(scope).into_owned();
        found.leases += 1;
        match rows::lease(scope, row) {
            Ok(_) => {}
            Err(error) => found.note(|| chain(&error)),
        }
        Ok(())
    })?;
    each(tables, Table::Answers, &mut |_, row| {
        found.answers += 1;
        match rows::answer(row) {
            Ok(_) => {}
            Err(error) => found.note(|| chain(&error)),
        }
        Ok(())
    })?;
    let (answers, noted) = (found.answers, state.answers);
    found.note_unless(answers == noted, || format!("there are {answers} answers, and {noted} are noted"));
    Ok(found)
}

fn records(tables: &impl Tables, state: &State, found: &mut Inventory) -> Result<(), StoreError> {
    each(tables, Table::Records, &mut |key, row| {
        let record = match keys::record_of(key).and_then(|id| rows::record(id, row)) {
            Ok(record) => record,
            Err(error) => {
                found.note(|| chain(&error));
                return Ok(());
            }
        };
        let Record { id, revision, deleted, group, updated_at, .. } = &record;
        found.note_unless(*revision <= state.head, || {
            format!("`{id}` has revision {revision}, which is to come")
        });
        if *deleted {
            found.tombstones += 1;
            let timed = tables.get(Table::Tombstones, &keys::timed(*updated_at, key))?;
            found.note_unless(timed.is_some(), || {
                format!("no housekeeping would find the tombstone of `{id}`")
            });
        } else {
            *found.records.entry(id.kind.clone()).or_default() += 1;
        }
        if let Some(of) = group {
            let member = tables.get(Table::Members, &keys::member(of, key))?;
            found.note_unless(member.is_some(), || format!("`{id}` would outlive its group `{of}`"));
            found.note_unless(is_known(tables, state, of), || {
                format!("`{id}` is of group `{of}`, which is not there")
            });
        }
        Ok(())
    })
}

fn is_known(tables: &impl Tables, state: &State, of: &GroupRef) -> bool {
    tables.group(&of.id).map_or(state.instance_floor, |group| group.instance) >= of.instance
}

fn members(tables: &impl Tables, found: &mut Inventory) -> Result<(), StoreError> {
    each(tables, Table::Members, &mut |key, _| {
        let bound = keys::record_of_member(key).and_then(|record| {
            let row = tables.get(Table::Records, record)?;
            row.ok_or_else(|| incompatible("a record that is bound to a group and is not there"))
        });
        match bound {
            Ok(_) => {}
            Err(StoreError::Incompatible { what, .. }) => found.note(|| what),
            Err(error) => return Err(error),
        }
        Ok(())
    })
}

fn log(tables: &impl Tables, state: &State, found: &mut Inventory) -> Result<(), StoreError> {
    let mut last: Option<Revision> = None;
    each(tables, Table::Log, &mut |key, row| {
        found.log_entries += 1;
        match keys::revision_of(key).and_then(|revision| rows::log_entry(revision, row)) {
            Ok(entry) => {
                let before = last.unwrap_or(state.trimmed_through);
                let (revision, previous) = (entry.revision, entry.previous);
                found.note_unless(previous == before || last.is_none() && previous <= before, || {
                    format!("log entry {revision} goes on from {previous}, and stands behind {before}")
                });
                last = Some(revision);
            }
            Err(error) => found.note(|| chain(&error)),
        }
        Ok(())
    })?;
    let (end, head) = (last.unwrap_or(state.trimmed_through), state.head);
    found.note_unless(end == head, || format!("the log ends at {end}, and the newest commit is {head}"));
    let (entries, noted) = (found.log_entries, state.log_entries);
    found.note_unless(entries == noted, || format!("there are {entries} log entries, and {noted} are noted"));
    Ok(())
}

fn each(
    tables: &impl Tables,
    table: Table,
    see: &mut impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    tables.visit(&TableStretch::whole(table), &mut |key, row| see(key, row).map(ControlFlow::Continue))
}
