//! The keys of the tables. Their order by bytes is the order that the rules read them in.

use omnirelay_core::time::Millis;

use super::super::{GroupRef, IdempotencyKey, RecordId, RecordKind, Revision, StoreError};
use super::incompatible;

/// Ends the kind in a record's key; no kind contains it.
const KIND_END: u8 = 0;

/// The first key behind all that begin with `prefix`; `None` if there is none.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

/// Prefix of the keys of all records of `kind`.
pub(super) fn kind(RecordKind(kind): &RecordKind) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + 1);
    key.extend_from_slice(kind.as_bytes());
    key.push(KIND_END);
    key
}

pub(super) fn record(id: &RecordId) -> Vec<u8> {
    let mut key = kind(&id.kind);
    key.extend_from_slice(id.key.as_bytes());
    key
}

/// The record that `key` is of.
pub(super) fn record_of(key: &[u8]) -> Result<RecordId, StoreError> {
    let split = || {
        let end = key.iter().position(|&byte| byte == KIND_END)?;
        let kind = std::str::from_utf8(key.get(..end)?).ok()?;
        let key = std::str::from_utf8(key.get(end + 1..)?).ok()?;
        Some(RecordId::new(RecordKind(kind.to_owned().into()), key))
    };
    split().ok_or_else(|| incompatible(format!("a record's key of {} bytes", key.len())))
}

/// The record of this kind that `key` is of. All records of a scan share the text of their kind.
pub(super) fn record_in(kind: &RecordKind, key: &[u8]) -> Result<RecordId, StoreError> {
    let rest = key.strip_prefix(kind.0.as_bytes()).and_then(|rest| rest.strip_prefix(&[KIND_END]));
    let record = rest.and_then(|key| Some(RecordId::new(kind.clone(), std::str::from_utf8(key).ok()?)));
    record.ok_or_else(|| incompatible(format!("a record's key of {} bytes", key.len())))
}

/// Prefix of the keys of all members of the lives of a group.
pub(super) fn members(group: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + 10);
    push_part(&mut key, group);
    key
}

/// Prefix of the keys of all members of one life of a group.
pub(super) fn members_of_life(group: &GroupRef) -> Vec<u8> {
    let mut key = members(&group.id.0);
    key.extend_from_slice(&group.instance.to_be_bytes());
    key
}

pub(super) fn member(group: &GroupRef, record: &[u8]) -> Vec<u8> {
    let mut key = members_of_life(group);
    key.extend_from_slice(record);
    key
}

/// The record in a key made by [`member`].
pub(super) fn record_of_member(key: &[u8]) -> Result<&[u8], StoreError> {
    let split = || {
        let (length, rest) = key.split_first_chunk()?;
        rest.get(usize::from(u16::from_be_bytes(*length)) + size_of::<u64>()..)
    };
    split().ok_or_else(|| incompatible("a key of a group's member"))
}

pub(crate) fn answer(of: &IdempotencyKey) -> Vec<u8> {
    let mut key = Vec::with_capacity(of.principal.len() + of.method.len() + of.id.len() + 4);
    push_part(&mut key, &of.principal);
    push_part(&mut key, &of.method);
    key.extend_from_slice(of.id.as_bytes());
    key
}

/// `key` ordered by `at`.
pub(super) fn timed(at: Millis, key: &[u8]) -> Vec<u8> {
    let mut timed = Vec::with_capacity(8 + key.len());
    timed.extend_from_slice(&at.0.to_be_bytes());
    timed.extend_from_slice(key);
    timed
}

/// The two parts of a key made by [`timed`].
pub(super) fn timed_parts(timed: &[u8]) -> Result<(Millis, &[u8]), StoreError> {
    let (at, key) = timed.split_first_chunk().ok_or_else(|| incompatible("a key without its time"))?;
    Ok((Millis(u64::from_be_bytes(*at)), key))
}

pub(super) fn revision(revision: Revision) -> [u8; 8] {
    revision.0.to_be_bytes()
}

pub(super) fn revision_of(key: &[u8]) -> Result<Revision, StoreError> {
    let bytes = key.try_into().map_err(|_| incompatible("a log entry without its revision"))?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

/// A part that others follow: its length, then it. The limits keep every part below 64 KiB.
fn push_part(key: &mut Vec<u8>, part: &str) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(end_of_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(end_of_prefix(&[255]), None);
        assert_eq!(end_of_prefix(&[]), None);
    }

    #[test]
    fn a_record_is_read_back_from_its_key() {
        let id = RecordId::new(RecordKind::of("peer"), "a\0b/ü");
        assert_eq!(record_of(&record(&id)).unwrap(), id);
    }
}
