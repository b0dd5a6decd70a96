//! Files that somebody else keeps and replaces while the daemon runs: certificates, keys, passwords.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use omnirelay_host::permissions::{EVERYBODY, mode};
use zeroize::Zeroizing;

/// Longer files are neither certificates nor keys.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How often files are looked at that are used without being asked for.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Tells one state of some files from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesStamp(Vec<Option<State>>);

/// The state of a file. Who may read it is among what changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    modified: SystemTime,
    /// In seconds and nanoseconds of the Unix time.
    changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl FilesStamp {
    /// The state that they are in. Blocks.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let stamps = paths.into_iter().map(|path| {
            let file = std::fs::metadata(path).ok()?;
            let changed = (file.ctime(), file.ctime_nsec());
            Some(State { modified: file.modified().ok()?, changed, bytes: file.len(), inode: file.ino() })
        });
        Self(stamps.collect())
    }
}

/// Reads a file. Blocks.
///
/// # Errors
/// Those of the file system; that it is too long.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, FILE_BYTES_MAX)
}

/// The same of a file with a secret in it, which not everybody of this host may read or write. Its group may, as that is
/// how secrets are mounted into containers.
///
/// # Errors
/// As of [`read`]; that everybody may.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let mode = mode(&file.metadata()?);
    if mode & EVERYBODY != 0 {
        let what = format!("it holds a secret and is open to everybody (mode {mode:04o}); chmod o= it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    read_open(file, FILE_BYTES_MAX).map(Zeroizing::new)
}

/// Reads an open file, if it is not longer than so many bytes. Blocks.
pub(super) fn read_open(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let what = format!("it is longer than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}
