//! The row of the embedded store in the table of backends.

use std::sync::Arc;

use super::EmbeddedStore;
use crate::backend::{Backend, StoreOpenError, StoreOpening, StorePlace, StoreSource};
use crate::settings::{InvalidStoreSetting, StoreConfig};

/// A store in the data directory, which all nodes of one process share.
pub(crate) struct EmbeddedBackend;

impl Backend for EmbeddedBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["embedded:"]
    }

    fn place(&self, config: &StoreConfig) -> Result<StorePlace, InvalidStoreSetting> {
        Ok(StorePlace::in_process(&config.url))
    }

    fn open(&self, _: &StoreConfig, opening: &StoreOpening<'_>) -> Result<StoreSource, StoreOpenError> {
        let opened = EmbeddedStore::open_or(opening.directory, opening.missing);
        Ok(StoreSource::One(Arc::new(opened.map_err(|error| StoreOpenError::Backend(error.into()))?)))
    }
}
