//! The files that a configuration names: whether they can be used on this host.

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_identity::tokens;

use super::{ConfigError, LoadedConfig};

impl LoadedConfig {
    /// Checks the files that the settings of the store name.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the setting whose file cannot be used.
    pub fn check_store(&self) -> Result<(), ConfigError> {
        self.config.store.check_files().map_err(|(key, what)| self.refuse(key, what))
    }

    /// Checks all files that it names, on the host that it is for, at this time by its clock.
    ///
    /// # Errors
    /// [`ConfigError`], with the first that cannot be used, and why.
    pub fn check_files(&mut self, now: Millis) -> Result<(), ConfigError> {
        self.check_store()?;
        self.check_tokens()?;
        self.check_identity()?;
        self.check_transport(now)
    }

    /// Whether the tokens that are configured can be read.
    ///
    /// # Errors
    /// [`ConfigError::Value`], with what is wrong with their file.
    pub fn check_tokens(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.config.security.token_file else { return Ok(()) };
        tokens::read(path).map(drop).map_err(|error| self.refuse("security.tokenFile", chain(&error)))
    }

    /// Checks the files that the node's identity comes from, and those with the roots of federated clusters, if there are any.
    ///
    /// # Errors
    /// [`ConfigError`], with the file that cannot be used, and why.
    pub fn check_identity(&self) -> Result<(), ConfigError> {
        let provided = self.config.security.identity.provided();
        provided.check().map_err(|error| self.refuse("security.identity.source", chain(&error)))?;
        let federated = self.config.federated();
        let read = federated.iter().try_for_each(|named| named.read().map(drop));
        read.map_err(|error| self.refuse("security.federatedClusters", chain(&error)))
    }
}
