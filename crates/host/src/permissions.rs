//! Permissions that others on this host have on the files and folders that are trusted.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::users::Uid;

/// The bits of everybody of this host who is neither owner nor of the group.
pub const EVERYBODY: u32 = 0o007;

/// The permission bits of a file.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// Whether anybody of this host may put files there or take them away.
pub fn is_writable_by_all(metadata: &Metadata) -> bool {
    mode(metadata) & 0o002 != 0
}

/// Whether all members of its group may.
pub fn is_writable_by_group(metadata: &Metadata) -> bool {
    mode(metadata) & 0o020 != 0
}

/// Whether others than its owner may read or write it.
pub fn is_open_to_others(metadata: &Metadata) -> bool {
    mode(metadata) & 0o077 != 0
}

/// The mode of a file that everybody of this host may read or write, neither its owner nor of its group; `None` for any
/// other, and where there is none. Blocks.
pub fn open_to_everybody(path: &Path) -> Option<u32> {
    let mode = mode(&std::fs::metadata(path).ok()?);
    (mode & EVERYBODY != 0).then_some(mode)
}

/// Whether it belongs to this process's user or to root, who may do anything anyway.
pub fn is_own(metadata: &Metadata) -> bool {
    [Uid::of_process(), Uid::ROOT].contains(&Uid(metadata.uid()))
}

/// Takes from others what they may do with a file; returns what its mode was, if it was another.
///
/// # Errors
/// Those of the file system. That there is no such file is none.
pub fn make_private(path: &Path) -> io::Result<Option<u32>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !metadata.is_file() || !is_open_to_others(&metadata) {
        return Ok(None);
    }
    std::fs::set_permissions(path, Permissions::from_mode(metadata.mode() & 0o700))?;
    Ok(Some(mode(&metadata)))
}

/// Reason why a file with a secret in it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsafeSecretFile {
    /// Others may read or write it; its mode.
    Open(u32),
    /// It belongs to another user.
    Foreign,
}

/// Checks that nobody else can read or write the opened file.
///
/// # Errors
/// Why it is not safe.
pub fn check_private(opened: &Metadata) -> Result<(), UnsafeSecretFile> {
    match opened {
        opened if is_open_to_others(opened) => Err(UnsafeSecretFile::Open(mode(opened))),
        opened if !is_own(opened) => Err(UnsafeSecretFile::Foreign),
        _ => Ok(()),
    }
}
