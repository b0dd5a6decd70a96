//! What went wrong with the file, as often as it must be told.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::StoreError;

/// A failure that many callers hear of.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot use `{}`: {what}", path.display())]
pub(super) struct Failure {
    path: Arc<PathBuf>,
    what: Arc<str>,
    full: bool,
}

impl Failure {
    pub fn new(path: &Arc<PathBuf>, what: impl Into<Arc<str>>) -> Self {
        Self { path: Arc::clone(path), what: what.into(), full: false }
    }

    /// A failure of the medium: some of them mean that there is no room.
    pub fn of_medium(path: &Arc<PathBuf>, kind: ErrorKind, what: String) -> Self {
        let full =
            matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        Self { path: Arc::clone(path), what: what.into(), full }
    }

    /// As told to a caller whose change was certainly not made.
    pub fn not_made(&self) -> StoreError {
        if self.full {
            StoreError::Full(Box::new(self.clone()))
        } else {
            StoreError::Unavailable(Box::new(self.clone()))
        }
    }

    /// As told to a caller whose change may have been made.
    pub fn unknown(&self) -> StoreError {
        StoreError::OutcomeUnknown(Box::new(self.clone()))
    }
}
