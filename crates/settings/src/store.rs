//! Settings of the store, which the store itself reads: where the registry is, and who the daemon is to its servers.

use omnirelay_store::StoreConfig;

use super::Config;
use super::check::{InvalidSetting, Section};

impl Section for StoreConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        self.place().map(drop)
    }
}
