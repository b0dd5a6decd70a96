//! A record of the view.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use omnirelay_store::{Epoch, Record, RecordId};
use prost::Message;

/// A record with its value decoded once, on first use.
pub struct ViewRecord {
    pub record: Record,
    /// That it was read in. A commit that demands its version names this epoch, for versions begin anew with
    /// each.
    pub epoch: Epoch,
    /// Boxed: of most records nothing is asked.
    derived: OnceLock<Box<DerivedValues>>,
}

/// Values that are derived from a record, each made when it is first asked for.
#[derive(Default)]
struct DerivedValues {
    decoded: OnceLock<Option<Arc<dyn Any + Send + Sync>>>,
    made: OnceLock<Arc<dyn Any + Send + Sync>>,
    shown: OnceLock<Option<Bytes>>,
}

impl ViewRecord {
    /// Wraps a record as the store gave it in this epoch.
    pub fn new(epoch: Epoch, record: Record) -> Self {
        Self { record, epoch, derived: OnceLock::new() }
    }

    /// Bytes of what answers show of the record alone: `show` makes the message, on first use. `None`: nothing.
    pub fn shown<M: Message>(&self, show: impl FnOnce(&Self) -> Option<M>) -> Option<&Bytes> {
        self.derived().shown.get_or_init(|| Some(show(self)?.encode_to_vec().into())).as_ref()
    }

    /// The value as the message it was written as; `None` if it is not one.
    pub fn value<M: Message + Default + 'static>(&self) -> Option<Arc<M>> {
        let decoded = self.derived().decoded.get_or_init(|| {
            let message: M = self.read()?;
            Some(Arc::new(message))
        });
        decoded.clone()?.downcast::<M>().ok()
    }

    /// Value that `make` makes of the record, on first use: one for each kind of records. `None`: another was made.
    pub fn made<T: Send + Sync + 'static>(&self, make: impl FnOnce(&Self) -> T) -> Option<Arc<T>> {
        let made = self.derived().made.get_or_init(|| Arc::new(make(self)));
        made.clone().downcast::<T>().ok()
    }

    /// As [`ViewRecord::value`], and keeps nothing of it.
    pub fn read<M: Message + Default>(&self) -> Option<M> {
        M::decode(self.record.value.clone()).ok()
    }

    /// Bytes of its key and value.
    pub fn bytes(&self) -> u64 {
        record_bytes(&self.record.id, &self.record.value)
    }

    fn derived(&self) -> &DerivedValues {
        self.derived.get_or_init(Box::default)
    }
}

/// Bytes that a record of this key and value counts for.
pub fn record_bytes(id: &RecordId, value: &Bytes) -> u64 {
    (id.key.len() + value.len()) as u64
}
