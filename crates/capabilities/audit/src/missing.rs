//! The records of this node that were taken away before they were sealed.

use omnirelay_registry::Registry;
use omnirelay_store::StoreError;

use crate::trail_records::record_of;

/// The records that are overdue and gone from the store. They stay noted until they are sealed as missing.
///
/// Those that an older epoch had are forgotten: they are lost, as its end says.
///
/// # Errors
/// Those of the store.
pub(crate) async fn missing(registry: &Registry, through: u64) -> Result<Vec<String>, StoreError> {
    let awaiting = registry.awaiting_seal();
    let mut missing = Vec::new();
    for (key, epoch) in awaiting.overdue() {
        match record_of(registry.store(), &key).await? {
            // Its seal was made before its commit was confirmed.
            Some(record) if record.revision.0 <= through => awaiting.forget(&key),
            Some(_) => awaiting.look_later(&key),
            None => missing.push((key, epoch)),
        }
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    // Asked for last: a store that was lost meanwhile has none of them, and that is no secret.
    let epoch = registry.ask_epoch().await?;
    let (missing, lost): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(_, of)| *of == epoch);
    lost.iter().for_each(|(key, _)| awaiting.forget(key));
    Ok(missing.into_iter().map(|(key, _)| key).collect())
}
