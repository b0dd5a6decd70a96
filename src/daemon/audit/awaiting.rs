//! The records that this node committed and has not sealed yet, so that one that is taken away before is
//! missed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omnirelay_store::{Epoch, LogEntry, StoreError};
use tokio::time::Instant;

use super::AUDIT;
use super::store::record_of;
use crate::daemon::registry::Registry;

/// The most records that are remembered; what comes beyond is not missed.
const AWAITING_MAX: usize = 8192;
/// How long a record may take to come by before it is looked for in the store.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);
/// The most records that are looked for at once.
const LOOKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Made {
    /// The epoch that it was committed in.
    epoch: Epoch,
    /// When it was committed, or looked for last.
    seen: Instant,
}

/// What the store has confirmed and no seal names yet, by the keys of the records.
#[derive(Debug, Default)]
pub struct Awaiting(Mutex<BTreeMap<String, Made>>);

impl Awaiting {
    /// Takes note of a commit of this node that the store has confirmed.
    pub fn note(&self, epoch: Epoch, entry: &LogEntry) {
        let made = Made { epoch, seen: Instant::now() };
        for change in entry.changes.iter().filter(|change| change.after.id.kind == AUDIT) {
            let mut awaiting = self.lock();
            if !change.after.deleted && awaiting.len() < AWAITING_MAX {
                awaiting.insert(change.after.id.key.clone(), made);
            }
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Takes note of a record that is in a seal.
    pub fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    /// The records that are overdue and gone from the store. They stay noted until they are sealed as missing.
    ///
    /// Those that an older epoch had are forgotten: they are lost, as its end says.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn missing(&self, registry: &Registry, through: u64) -> Result<Vec<String>, StoreError> {
        let mut missing = Vec::new();
        for (key, made) in self.overdue() {
            match record_of(registry.store(), &key).await? {
                // Its seal was made before its commit was confirmed.
                Some(record) if record.revision.0 <= through => self.forget(&key),
                Some(_) => self.look_later(&key),
                None => missing.push((key, made.epoch)),
            }
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        // Asked for last: a store that was lost meanwhile has none of them, and that is no secret.
        let epoch = registry.ask_epoch().await?;
        let (missing, lost): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(_, of)| *of == epoch);
        lost.iter().for_each(|(key, _)| self.forget(key));
        Ok(missing.into_iter().map(|(key, _)| key).collect())
    }

    fn overdue(&self) -> Vec<(String, Made)> {
        let awaiting = self.lock();
        let overdue = awaiting.iter().filter(|(_, made)| made.seen.elapsed() >= OVERDUE_AFTER);
        overdue.take(LOOKS_MAX).map(|(key, made)| (key.clone(), *made)).collect()
    }

    fn look_later(&self, key: &str) {
        if let Some(made) = self.lock().get_mut(key) {
            made.seen = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
