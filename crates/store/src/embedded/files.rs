//! Names of the files of an embedded store, in its directory.

use std::path::{Path, PathBuf};

/// The name of the file in its directory.
pub const FILE_NAME: &str = "registry.redb";
/// The file that is locked to keep others out; it holds the note.
pub(super) const LOCK_NAME: &str = "registry.lock";
/// What version 0.1 left, as it was before this version wrote to it.
pub(super) const ASIDE_NAME: &str = "registry.redb.0.1";
/// How far the lives of groups were prolonged.
pub(super) const RENEWALS_NAME: &str = "registry.renewals";
/// A new file before it is complete.
pub(super) const PREPARED_NAME: &str = "registry.new";

/// Path of a segment of the log, beside the store file.
pub(super) fn segment_path(store: &Path, which: usize) -> PathBuf {
    store.with_file_name(format!("registry.wal.{which}"))
}
