//! Derived values: what is made of all records of a kind, and kept until any of them is changed.

use std::sync::Arc;

use omnirelay_store::RecordKind;
use parking_lot::Mutex;

use super::{View, ViewRecord};
use crate::cursor::Cursor;

/// Value made of the records of a kind that are of no group: those of others end without a change.
#[derive(Debug)]
pub struct DerivedRecords<T>(Mutex<Option<(Cursor, Arc<T>)>>);

impl<T> Default for DerivedRecords<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> DerivedRecords<T> {
    /// Value that `make` makes of the records as they are now.
    pub fn of(&self, view: &View, kind: &RecordKind, make: impl FnOnce(&[Arc<ViewRecord>]) -> T) -> Arc<T> {
        let mut made = self.0.lock();
        let changed = view.changed(kind);
        if let Some((_, made)) = made.as_ref().filter(|(at, _)| *at == changed) {
            return made.clone();
        }
        let read = view.list(kind);
        let new = Arc::new(make(&read.records));
        *made = Some((read.changed, new.clone()));
        new
    }
}
