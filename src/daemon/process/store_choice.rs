//! The stores of the nodes of a process.

use std::path::Path;

use omnirelay_registry::held_groups::margin;
use omnirelay_settings::Config;
use omnirelay_store::{MissingFileAction, StoreOpenError, StoreOpening, StoreSource};

/// Opens the store that is configured; one that is kept on this host has its files in `directory`, and `missing` says what to
/// do when they were there and are not. A server that cannot be reached is no error: nodes wait for it.
///
/// # Errors
/// When a setting is wrong, or the files cannot be opened.
pub(super) fn open_store(
    config: &Config,
    directory: &Path,
    missing: MissingFileAction,
) -> Result<StoreSource, StoreOpenError> {
    let ttl = config.session_ttl();
    let quarantine = ttl + margin(ttl);
    config.store.open(&StoreOpening { directory, missing, cluster: &config.node.cluster, quarantine })
}
