//! Other registries: a cursor of one that is followed here is waited for as a cursor of this registry is.
//!
//! Whoever has changed something where it is active, and reads it where it is followed, sees the change.

use std::sync::Arc;

use omnirelay_store::{Epoch, Revision};
use parking_lot::RwLock;

use super::Registry;
use super::cursor::Cursor;
use super::view::View;

/// Registries of other clusters that are followed.
pub trait OtherRegistries: Send + Sync {
    /// Commit of the registry of this epoch up to which a view has everything; `None`: no registry of that epoch is followed.
    fn reached(&self, view: &View, epoch: Epoch) -> Option<Revision>;
}

/// Place for them: set once they are mounted.
pub(crate) type OtherRegistriesPlace = RwLock<Option<Arc<dyn OtherRegistries>>>;

impl Registry {
    /// Has cursors of other registries understood. What is set is kept by the registry, so that it must not keep the registry.
    pub fn set_other_registries(&self, others: Arc<dyn OtherRegistries>) {
        *self.others.write() = Some(others);
    }

    /// Waits until the view has everything up to a cursor of another registry; false: that is of none that is followed, or is so no more.
    pub(crate) async fn has_followed(&self, cursor: Cursor) -> bool {
        let Some(others) = self.others.read().clone() else { return false };
        let until = Revision(cursor.revision.0.saturating_add(u64::from(cursor.part > 0)));
        self.look_until_found(|view| match others.reached(view, cursor.epoch) {
            Some(reached) if reached < until => None,
            reached => Some(reached.is_some()),
        })
        .await
    }
}
