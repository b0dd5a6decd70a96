//! The row of the memory store in the table of backends.

use std::sync::Arc;

use super::MemoryStore;
use crate::backend::{Backend, StoreOpenError, StoreOpening, StorePlace, StoreSource};
use crate::settings::{InvalidStoreSetting, StoreConfig};

/// A store that all nodes of one process share, and that ends with it.
pub(crate) struct MemoryBackend;

impl Backend for MemoryBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["memory:"]
    }

    fn place(&self, config: &StoreConfig) -> Result<StorePlace, InvalidStoreSetting> {
        Ok(StorePlace::in_process(&config.url))
    }

    fn open(&self, _: &StoreConfig, _: &StoreOpening<'_>) -> Result<StoreSource, StoreOpenError> {
        Ok(StoreSource::One(Arc::new(MemoryStore::system())))
    }
}
