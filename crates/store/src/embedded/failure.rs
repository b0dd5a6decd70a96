//! Failures of the files of a store, when it was opened and since.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::StoreError;
use super::base::SCHEMA;

/// Error of opening an embedded store. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "store file `{}` is open elsewhere: stop the process that uses it, or choose another data directory",
        path.display()
    )]
    Held { path: PathBuf },
    #[error(
        "store file `{}` was written by a newer version of this program (its schema is {found}, this one knows {SCHEMA})",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "store file `{}` is damaged, or is no store file: restore it from a copy; or move it away and start once with \
         --accept-data-loss, which begins anew without anything that was registered",
        path.display()
    )]
    Damaged { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "store file `{}` is {what}, and this directory had a registry: put the file back, or restore it from a copy; or \
         start once with --accept-data-loss, which begins anew without anything that was registered",
        path.display()
    )]
    Lost { path: PathBuf, what: &'static str },
    #[error(
        "the log beside store file `{}` lacks its newest changes, which were acknowledged: it is missing, cut, damaged or of \
         another state; put `registry.wal.0` and `registry.wal.1` back, or start once with --accept-data-loss, which goes \
         on with what is there, in a new epoch",
        path.display()
    )]
    Behind { path: PathBuf },
    #[error(
        "`{}` is damaged: it says which store file and which log were used here last, and without it nobody knows whether \
         they lack changes that were acknowledged; look at the disk, then start once with --accept-data-loss, which goes on \
         with all that file and log hold, in a new epoch",
        path.display()
    )]
    Note { path: PathBuf },
    #[error("cannot open store file `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Failure of the store file, of which many callers hear.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot use `{}`: {what}", path.display())]
pub(super) struct FileFailure {
    path: Arc<PathBuf>,
    what: Arc<str>,
    full: bool,
}

impl FileFailure {
    pub(super) fn new(path: &Arc<PathBuf>, what: impl Into<Arc<str>>) -> Self {
        Self { path: Arc::clone(path), what: what.into(), full: false }
    }

    /// A failure of the medium: some of them mean that there is no room.
    pub(super) fn of_medium(path: &Arc<PathBuf>, kind: ErrorKind, what: String) -> Self {
        let full =
            matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
        Self { path: Arc::clone(path), what: what.into(), full }
    }

    /// As told to a caller whose change was certainly not made.
    pub(super) fn not_made(&self) -> StoreError {
        if self.full {
            StoreError::Full(Box::new(self.clone()))
        } else {
            StoreError::Unavailable(Box::new(self.clone()))
        }
    }

    /// As told to a caller whose change may have been made.
    pub(super) fn unknown(&self) -> StoreError {
        StoreError::OutcomeUnknown(Box::new(self.clone()))
    }
}

pub(super) fn damaged(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Damaged { path: path.to_path_buf(), source: error.into() }
}
