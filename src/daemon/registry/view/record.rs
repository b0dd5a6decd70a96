//! A record of the view.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use omnirelay_store::{Epoch, Record};
use prost::Message;

/// A record with its value decoded once, on first use.
pub struct ViewRecord {
    pub record: Record,
    /// That it was read in. A commit that demands its version names this epoch, for versions begin anew with
    /// each.
    pub epoch: Epoch,
    decoded: OnceLock<Option<Arc<dyn Any + Send + Sync>>>,
    shown: OnceLock<Option<Bytes>>,
}

impl ViewRecord {
    /// Wraps a record as the store gave it in this epoch.
    pub fn new(epoch: Epoch, record: Record) -> Self {
        Self { record, epoch, decoded: OnceLock::new(), shown: OnceLock::new() }
    }

    /// What answers show of the record alone, as bytes: `show` makes the message, on first use. `None`: nothing.
    pub fn shown<M: Message>(&self, show: impl FnOnce(&Self) -> Option<M>) -> Option<&Bytes> {
        self.shown.get_or_init(|| Some(show(self)?.encode_to_vec().into())).as_ref()
    }

    /// The value as the message it was written as; `None` if it is not one.
    pub fn value<M: Message + Default + 'static>(&self) -> Option<Arc<M>> {
        let decoded = self.decoded.get_or_init(|| {
            let message = M::decode(self.record.value.clone()).ok()?;
            Some(Arc::new(message))
        });
        decoded.clone()?.downcast::<M>().ok()
    }
}
