//! Answers of the Redis scripts, and the rows in them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use omnirelay_core::time::Millis;
use redis::Value;

use super::super::{
    Epoch, Group, GroupId, GroupRef, Lease, LogEntry, Record, RecordChange, RecordId, RecordKind, Revision,
    StoreError, Version,
};

const DELETED: u8 = 1;
const BOUND: u8 = 2;

/// The answer of a script, taken apart from its front.
pub(super) struct Reply(VecDeque<Value>);

/// A row, taken apart from its front.
struct Row {
    bytes: Bytes,
    what: &'static str,
}

/// Head of a log entry.
pub(super) struct LogHead {
    pub epoch: Epoch,
    pub previous: Revision,
}

impl Reply {
    /// A list of values, whatever they are.
    pub(super) fn of(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(values) => Ok(Self(values.into())),
            other => Err(odd(&other)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn value(&mut self) -> Result<Value, StoreError> {
        self.0.pop_front().ok_or_else(|| incompatible("an answer that ends too early"))
    }

    pub(super) fn list(&mut self) -> Result<Self, StoreError> {
        Self::of(self.value()?)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, StoreError> {
        match self.value()? {
            Value::BulkString(bytes) => Ok(bytes.into()),
            other => Err(odd(&other)),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        match self.value()? {
            Value::SimpleString(text) => Ok(text),
            Value::BulkString(bytes) => {
                String::from_utf8(bytes).map_err(|_| incompatible("a name that is no UTF-8"))
            }
            other => Err(odd(&other)),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        match self.value()? {
            Value::Int(number) => u64::try_from(number).map_err(|_| incompatible("a negative number")),
            other => Err(odd(&other)),
        }
    }

    /// A number that is negative where there is none.
    pub(super) fn number_or_none(&mut self) -> Result<Option<u64>, StoreError> {
        match self.value()? {
            Value::Int(number) => Ok(u64::try_from(number).ok()),
            other => Err(odd(&other)),
        }
    }

    pub(super) fn count(&mut self) -> Result<usize, StoreError> {
        self.number().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(super) fn millis(&mut self) -> Result<Millis, StoreError> {
        self.number().map(Millis)
    }

    /// The id of a group, then its instance.
    pub(super) fn group(&mut self) -> Result<GroupRef, StoreError> {
        // An instance that was an argument comes back as its digits.
        let id = GroupId(self.text()?);
        let instance = match self.value()? {
            Value::Int(number) => u64::try_from(number).ok(),
            Value::BulkString(digits) => {
                std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok())
            }
            _ => None,
        };
        let instance = instance.ok_or_else(|| incompatible("the instance of a group"))?;
        Ok(GroupRef { id, instance })
    }
}

impl Row {
    fn of(what: &'static str, bytes: Bytes) -> Self {
        Self { bytes, what }
    }

    fn take(&mut self, count: usize) -> Result<Bytes, StoreError> {
        if self.bytes.len() < count {
            return Err(incompatible(self.what));
        }
        Ok(self.bytes.split_to(count))
    }

    fn u8(&mut self) -> Result<u8, StoreError> {
        self.take(1).map(|mut bytes| bytes.get_u8())
    }

    fn u48(&mut self) -> Result<u64, StoreError> {
        self.take(6).map(|mut bytes| bytes.get_uint(6))
    }

    fn u64(&mut self) -> Result<u64, StoreError> {
        self.take(8).map(|mut bytes| bytes.get_u64())
    }

    fn millis(&mut self) -> Result<Millis, StoreError> {
        self.u64().map(Millis)
    }

    /// Bytes behind their length in two bytes.
    fn short(&mut self) -> Result<Bytes, StoreError> {
        let count = self.take(2)?.get_u16();
        self.take(usize::from(count))
    }

    fn text(&mut self) -> Result<String, StoreError> {
        let bytes = self.short()?;
        String::from_utf8(bytes.into()).map_err(|_| incompatible(self.what))
    }
}

/// The record that `row` is of.
pub(super) fn record(id: RecordId, row: Bytes) -> Result<Record, StoreError> {
    let mut row = Row::of("the row of a record", row);
    let flags = row.u8()?;
    if flags > BOUND {
        return Err(incompatible(&format!("the row of `{id}`")));
    }
    let version = Version(row.u64()?);
    let revision = Revision(row.u64()?);
    let (created_at, updated_at) = (row.millis()?, row.millis()?);
    let group = if flags == BOUND {
        let instance = row.u64()?;
        Some(GroupRef { id: GroupId(row.text()?), instance })
    } else {
        None
    };
    let writer = row.text()?;
    let deleted = flags == DELETED;
    Ok(Record {
        id,
        value: row.bytes,
        version,
        revision,
        group,
        created_at,
        updated_at,
        writer: writer.into(),
        deleted,
    })
}

/// The group that `row` is of.
pub(super) fn group(id: GroupId, row: Bytes) -> Result<Group, StoreError> {
    let mut row = Row::of("the row of a group", row);
    let instance = row.u64()?;
    let ttl = Duration::from_millis(row.u64()?);
    let (deadline, renewed_at) = (row.millis()?, row.millis()?);
    let closed = row.u8()? == 1;
    Ok(Group { of: GroupRef { id, instance }, ttl, deadline, renewed_at, closed })
}

/// The groups that moved at `since` or later: from reports of several, the newest of each last; or
/// from all, each as id and row.
pub(super) fn moved(mut reports: Reply, mut all: Reply, since: Millis) -> Result<Vec<Group>, StoreError> {
    let mut groups = BTreeMap::new();
    while !reports.is_empty() {
        let mut report = Row::of("a report of renewals", reports.bytes()?);
        while !report.bytes.is_empty() {
            let group = reported_group(&mut report)?;
            groups.insert(group.of.id.clone(), group);
        }
    }
    while !all.is_empty() {
        let id = GroupId(all.text()?);
        groups.insert(id.clone(), group(id, all.bytes()?)?);
    }
    let moved = |group: &Group| since <= if group.closed { group.deadline } else { group.renewed_at };
    Ok(groups.into_values().filter(moved).collect())
}

/// What a report says of one group; short, because every pulse reads those of all.
fn reported_group(report: &mut Row) -> Result<Group, StoreError> {
    let id = GroupId(report.text()?);
    let instance = report.u48()?;
    let ttl = Duration::from_millis(report.u48()?);
    let (deadline, renewed_at) = (Millis(report.u48()?), Millis(report.u48()?));
    let closed = report.u8()? == 1;
    Ok(Group { of: GroupRef { id, instance }, ttl, deadline, renewed_at, closed })
}

/// The lease that `row` is of.
pub(super) fn lease(scope: String, row: Bytes) -> Result<Lease, StoreError> {
    lease_of(scope, Row::of("the row of a lease", row))
}

/// A lease in the log: its scope, then its row, and one more byte where it was forgotten, which version 0.2 does not
/// read: to it the lease was given back.
pub(super) fn take_lease(
    bytes: Bytes,
    leases: &mut Vec<Lease>,
    forgotten: &mut Vec<String>,
) -> Result<(), StoreError> {
    let mut row = Row::of("a lease in the log", bytes);
    let scope = row.text()?;
    let lease = lease_in(scope, &mut row)?;
    if row.bytes.is_empty() {
        leases.push(lease);
    } else {
        forgotten.push(lease.scope);
    }
    Ok(())
}

fn lease_of(scope: String, mut row: Row) -> Result<Lease, StoreError> {
    lease_in(scope, &mut row)
}

fn lease_in(scope: String, row: &mut Row) -> Result<Lease, StoreError> {
    let (term, token, acquired_at) = (row.u64()?, row.u64()?, row.millis()?);
    let released = row.u8()? == 1;
    let instance = row.u64()?;
    let holder = GroupRef { id: GroupId(row.text()?), instance };
    Ok(Lease { scope, holder, term, token, acquired_at, released })
}

/// An entry of the stream: its id, then its fields.
pub(super) fn log_entry(value: Value) -> Result<(LogHead, Arc<LogEntry>), StoreError> {
    let mut entry = Reply::of(value)?;
    let revision = revision_of(&entry.text()?)?;
    log_fields(revision, entry.list()?).map_err(|error| match error {
        StoreError::Incompatible { what, .. } => incompatible(&format!("log entry {revision}: {what}")),
        other => other,
    })
}

fn log_fields(revision: Revision, mut fields: Reply) -> Result<(LogHead, Arc<LogEntry>), StoreError> {
    let (mut head, mut changes, mut leases, mut forgotten) = (None, Vec::new(), Vec::new(), Vec::new());
    while !fields.is_empty() {
        let (name, value) = (fields.text()?, fields.bytes()?);
        match name.as_str() {
            "h" => head = Some(log_head(value)?),
            "c" => changes.push(change(value, &mut fields)?),
            "l" => take_lease(value, &mut leases, &mut forgotten)?,
            other => return Err(incompatible(&format!("a field `{other}`"))),
        }
    }
    let (head, at, writer) = head.ok_or_else(|| incompatible("it has no head"))?;
    leases.sort_by(|one, other| one.scope.cmp(&other.scope));
    forgotten.sort();
    let (previous, writer) = (head.previous, writer.into());
    let entry = LogEntry { revision, previous, at, writer, changes, leases, forgotten };
    Ok((head, Arc::new(entry)))
}

fn revision_of(id: &str) -> Result<Revision, StoreError> {
    let number = id.strip_suffix("-0").and_then(|digits| digits.parse().ok());
    number.map(Revision).ok_or_else(|| incompatible("a log entry without its revision"))
}

fn log_head(bytes: Bytes) -> Result<(LogHead, Millis, String), StoreError> {
    let mut row = Row::of("the head of a log entry", bytes);
    let head = LogHead { epoch: Epoch(row.u64()?), previous: Revision(row.u64()?) };
    Ok((head, row.millis()?, row.text()?))
}

/// A change: what it is about, and behind it the row before, if there was one, and the row after.
fn change(bytes: Bytes, fields: &mut Reply) -> Result<RecordChange, StoreError> {
    let mut row = Row::of("a change in the log", bytes);
    let expired = row.u8()? == 1;
    let kind = RecordKind(row.text()?.into());
    let id = RecordId { kind, key: row.text()? };
    let (mut name, mut value) = (fields.text()?, fields.bytes()?);
    let mut before = None;
    if name == "b" {
        before = Some(record(id.clone(), value)?);
        (name, value) = (fields.text()?, fields.bytes()?);
    }
    if name != "a" {
        return Err(incompatible(&format!("a field `{name}`")));
    }
    Ok(RecordChange { before, after: record(id, value)?, expired })
}

/// Something in the store that cannot be understood.
pub(super) fn incompatible(what: &str) -> StoreError {
    StoreError::Incompatible { what: what.to_owned(), record: None }
}

fn odd(value: &Value) -> StoreError {
    let what = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a text",
        Value::Array(_) => "a list",
        _ => "a value",
    };
    incompatible(&format!("{what} where an answer has something else"))
}
