//! Records of the trail in the store: where its seals and audit records stand.

use omnirelay_decisions::audit_seal::{ChainId, StoredRecord};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::{PAGE_MAX, Record, RecordKind, Scan, ScanPage, Store, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message;

use super::AUDIT_SEAL;

/// The most chains that are looked at.
pub const CHAINS_MAX: usize = 4096;
/// Sorts behind every sequence, which is written in digits.
const BEHIND_DIGITS: &str = "~";

/// A page that goes on behind a record that cannot be read.
#[derive(Debug)]
pub struct TrailPage {
    pub records: Vec<Record>,
    /// The key of the record that cannot be read, which is the only one then.
    pub unreadable: Option<String>,
    /// Where the store stood.
    pub head: u64,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<String>,
}

/// Reads records behind `after`, or says which one cannot be read.
///
/// # Errors
/// Those of the store, but for a record that cannot be read.
pub async fn stretch(
    store: &dyn Store,
    kind: RecordKind,
    after: Option<String>,
    mut limit: usize,
) -> Result<TrailPage, StoreError> {
    loop {
        let scan = Scan { kind: kind.clone(), after: after.clone(), backwards: false, limit };
        match store.scan(scan).await {
            Ok(page) => {
                let last = page.records.last().map(|record| record.id.key.clone());
                let next = last.filter(|_| page.more);
                return Ok(TrailPage { records: page.records, unreadable: None, head: page.head.0, next });
            }
            // Those before it are read first.
            Err(StoreError::Incompatible { record: Some(_), .. }) if limit > 1 => limit = limit.div_ceil(2),
            Err(StoreError::Incompatible { record: Some(id), .. }) => {
                let next = Some(id.key.clone());
                return Ok(TrailPage { records: Vec::new(), unreadable: Some(id.key), head: 0, next });
            }
            Err(error) => return Err(error),
        }
    }
}

/// A record as a seal protects it.
pub fn stored(record: &Record) -> StoredRecord<'_> {
    StoredRecord {
        key: &record.id.key,
        value: &record.value,
        version: record.version.0,
        revision: record.revision.0,
        created_at_ms: record.created_at.0,
        updated_at_ms: record.updated_at.0,
        writer: &record.writer,
    }
}

/// The chains of which seals are stored, at most [`CHAINS_MAX`], in their order.
///
/// # Errors
/// Those of the store.
pub async fn stored_chains(store: &dyn Store) -> Result<Vec<ChainId>, StoreError> {
    let mut chains = Vec::new();
    let mut after = None;
    while chains.len() < CHAINS_MAX {
        let Some(found) = next_live(store, AUDIT_SEAL, after.take(), false).await? else { break };
        let key = found.map_or_else(|unreadable| unreadable, |record| record.id.key);
        after = Some(match ChainId::parse(&key) {
            Some((chain, _)) => {
                let behind = format!("{}{BEHIND_DIGITS}", chain.prefix());
                chains.push(chain);
                behind
            }
            None => key,
        });
    }
    Ok(chains)
}

/// The newest seal of a chain as it is stored; what cannot be read is passed over.
///
/// # Errors
/// Those of the store.
pub async fn newest_of(store: &dyn Store, chain: &ChainId) -> Result<Option<Record>, StoreError> {
    let mut behind = format!("{}{BEHIND_DIGITS}", chain.prefix());
    loop {
        match next_live(store, AUDIT_SEAL, Some(behind), true).await? {
            Some(Err(unreadable)) if unreadable.starts_with(&chain.prefix()) => behind = unreadable,
            Some(Ok(record)) if record.id.key.starts_with(&chain.prefix()) => return Ok(Some(record)),
            Some(_) | None => return Ok(None),
        }
    }
}

/// The seals of a chain behind `after`, in their order; false when there are no more.
///
/// # Errors
/// Those of the store.
pub async fn seals_of(
    store: &dyn Store,
    chain: &ChainId,
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<Record>, bool), StoreError> {
    let prefix = chain.prefix();
    let after = after.unwrap_or_else(|| prefix.clone());
    let scan = Scan { kind: AUDIT_SEAL, after: Some(after), backwards: false, limit };
    let page = store.scan(scan).await?;
    let passed = page.records.last().is_some_and(|record| !record.id.key.starts_with(&prefix));
    let records = page.records.into_iter().filter(|record| record.id.key.starts_with(&prefix));
    Ok((records.collect(), page.more && !passed))
}

/// As [`seals_of`], and goes on behind a seal that cannot be read.
///
/// # Errors
/// Those of the store, but for a seal that cannot be read.
pub async fn seals_stretch(
    store: &dyn Store,
    chain: &ChainId,
    after: Option<String>,
    limit: usize,
) -> Result<TrailPage, StoreError> {
    let prefix = chain.prefix();
    let after = after.unwrap_or_else(|| prefix.clone());
    let mut page = stretch(store, AUDIT_SEAL, Some(after), limit).await?;
    page.records.retain(|record| record.id.key.starts_with(&prefix));
    page.unreadable = page.unreadable.filter(|key| key.starts_with(&prefix));
    page.next = page.next.filter(|key| key.starts_with(&prefix));
    Ok(page)
}

/// A page of audit records.
///
/// # Errors
/// Those of the store.
pub async fn records_page(
    store: &dyn Store,
    after: Option<String>,
    backwards: bool,
    limit: usize,
) -> Result<ScanPage, StoreError> {
    store.scan(Scan { kind: AUDIT, after, backwards, limit }).await
}

/// One audit record; `None` when there is none.
///
/// # Errors
/// Those of the store.
pub async fn record_of(store: &dyn Store, key: &str) -> Result<Option<Record>, StoreError> {
    let found = at_key(store, AUDIT, key).await?;
    Ok(found.filter(|record| !record.deleted))
}

/// One seal; `None` when there is none.
///
/// # Errors
/// Those of the store.
pub async fn seal_of(store: &dyn Store, key: &str) -> Result<Option<Record>, StoreError> {
    let found = at_key(store, AUDIT_SEAL, key).await?;
    Ok(found.filter(|record| !record.deleted))
}

async fn at_key(store: &dyn Store, kind: RecordKind, key: &str) -> Result<Option<Record>, StoreError> {
    // From behind comes whatever is last before the key with a NUL at its end, which is the key itself.
    let behind = format!("{key}\0");
    let scan = Scan { kind, after: Some(behind), backwards: true, limit: 1 };
    match store.scan(scan).await {
        Ok(page) => Ok(page.records.into_iter().next().filter(|record| record.id.key == key)),
        // It is another that cannot be read.
        Err(StoreError::Incompatible { record: Some(id), .. }) if id.key != key => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first record behind `after` that is no tombstone, or the key of one before it that cannot be read.
async fn next_live(
    store: &dyn Store,
    kind: RecordKind,
    mut after: Option<String>,
    backwards: bool,
) -> Result<Option<Result<Record, String>>, StoreError> {
    let mut limit = 1;
    loop {
        let scan = Scan { kind: kind.clone(), after: after.clone(), backwards, limit };
        let page = match store.scan(scan).await {
            Ok(page) => page,
            Err(StoreError::Incompatible { record: Some(_), .. }) if limit > 1 => {
                limit = 1;
                continue;
            }
            Err(StoreError::Incompatible { record: Some(id), .. }) => return Ok(Some(Err(id.key))),
            Err(error) => return Err(error),
        };
        after = page.records.last().map(|record| record.id.key.clone());
        let more = page.more && after.is_some();
        if let Some(record) = page.records.into_iter().find(|record| !record.deleted) {
            return Ok(Some(Ok(record)));
        }
        if !more {
            return Ok(None);
        }
        limit = 256;
    }
}

/// The newest revision of a record of a node among the newest records; 0 when there is none.
///
/// # Errors
/// Those of the store.
pub async fn newest_revision_of(store: &dyn Store, node_id: &str) -> Result<u64, StoreError> {
    let page = records_page(store, None, true, PAGE_MAX).await?;
    let own = page.records.iter().filter(|record| !record.deleted);
    let own = own.filter(|record| node_of(record).is_some_and(|node| node == node_id));
    Ok(own.map(|record| record.revision.0).max().unwrap_or(0))
}

/// Decodes what an audit record says; `None` when it cannot be read or was deleted.
pub fn decode(record: &Record) -> Option<AuditValue> {
    (!record.deleted).then(|| AuditValue::decode(record.value.clone()).ok()).flatten()
}

/// The node that a record says it is of; `None` when it cannot be read.
pub fn node_of(record: &Record) -> Option<String> {
    Some(decode(record)?.node_id)
}
