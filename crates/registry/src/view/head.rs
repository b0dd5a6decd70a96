//! Head of a view.

use omnirelay_store::{Epoch, Revision};

use crate::cursor::Cursor;

/// Head of the registry, as far as this view knows: the epoch and revision at which it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryHead {
    pub epoch: Epoch,
    pub revision: Revision,
    /// False before the first load is complete; what is read before is not the registry.
    pub caught_up: bool,
    /// How often what differed from the store was loaded anew: what was told of it before is void.
    pub mends: u64,
    /// The revision of the last load of that kind.
    pub mended: Revision,
}

impl RegistryHead {
    /// Cursor right behind it.
    pub fn cursor(&self) -> Cursor {
        Cursor::at(self.epoch, self.revision)
    }
}
