//! Where the seals and records of the trail stand in the store.

use prost::Message;

use crate::core::audit_seal::{ChainId, Stored};
use crate::daemon::audit::AUDIT;
use crate::daemon::objects::audit::AUDIT_SEAL;
use crate::daemon::store::{Kind, PAGE_MAX, Record, Scan, ScanPage, Store, StoreError};
use crate::wire::pb::omnirelay::store::v1::AuditValue;

/// The most chains that are looked at.
pub const CHAINS_MAX: usize = 4096;
/// Sorts behind every sequence, which is written in digits.
const BEHIND_DIGITS: &str = "~";

/// A record as a seal protects it.
pub fn stored(record: &Record) -> Stored<'_> {
    Stored {
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
        let Some(record) = next_live(store, AUDIT_SEAL, after.take(), false).await? else { break };
        after = Some(match ChainId::parse(&record.id.key) {
            Some((chain, _)) => {
                let behind = format!("{}{BEHIND_DIGITS}", chain.prefix());
                chains.push(chain);
                behind
            }
            None => record.id.key,
        });
    }
    Ok(chains)
}

/// The newest seal of a chain as it is stored.
///
/// # Errors
/// Those of the store.
pub async fn newest_of(store: &dyn Store, chain: &ChainId) -> Result<Option<Record>, StoreError> {
    let behind = format!("{}{BEHIND_DIGITS}", chain.prefix());
    let found = next_live(store, AUDIT_SEAL, Some(behind), true).await?;
    Ok(found.filter(|record| record.id.key.starts_with(&chain.prefix())))
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

async fn at_key(store: &dyn Store, kind: Kind, key: &str) -> Result<Option<Record>, StoreError> {
    // From behind comes whatever is last before the key with a NUL at its end, which is the key itself.
    let behind = format!("{key}\0");
    let scan = Scan { kind, after: Some(behind), backwards: true, limit: 1 };
    Ok(store.scan(scan).await?.records.into_iter().next().filter(|record| record.id.key == key))
}

/// The first record behind `after` that is no tombstone.
async fn next_live(
    store: &dyn Store,
    kind: Kind,
    mut after: Option<String>,
    backwards: bool,
) -> Result<Option<Record>, StoreError> {
    let mut limit = 1;
    loop {
        let page = store.scan(Scan { kind: kind.clone(), after, backwards, limit }).await?;
        after = page.records.last().map(|record| record.id.key.clone());
        let more = page.more && after.is_some();
        if let Some(record) = page.records.into_iter().find(|record| !record.deleted) {
            return Ok(Some(record));
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

/// The node that a record says it is of; `None` when it cannot be read.
pub fn node_of(record: &Record) -> Option<String> {
    Some(AuditValue::decode(record.value.clone()).ok()?.node_id)
}
