//! Disk: what files need of the operating system; tests put something between.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use omnirelay_host::chance::random_u64;

/// Makes files.
pub(in super::super) trait Disk: Send {
    /// Makes a file that was not there, to be written at its end, and marks it as in use by this process.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;
}

/// A file that is being written.
pub(in super::super) trait OpenFile: Send {
    /// Writes all of it at the end; when it fails, any part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

/// Disk of the operating system.
pub(in super::super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?;
        // Whoever compresses files may have come upon it before it was locked, and remove it. Where files cannot be
        // locked, nobody compresses any.
        let lost = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if lost || std::fs::metadata(path)?.ino() != file.metadata()?.ino() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(Box::new(file))
    }
}

impl OpenFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the folder if need be, and a file in it that goes again. `synced`: what was made outlasts the host.
pub(super) fn try_folder(folder: &Path, synced: bool) -> io::Result<()> {
    for parent in make_folder(folder)?.iter().filter(|_| synced) {
        sync_folder(parent)?;
    }
    probe(folder)
}

/// Checks that a folder that is there can be written, or where it is not, that it could be made. Makes none.
pub(super) fn check_folder(folder: &Path) -> io::Result<()> {
    for above in folder.ancestors().filter(|above| !above.as_os_str().is_empty()) {
        if above.try_exists()? {
            return probe(above);
        }
    }
    probe(Path::new("."))
}

/// Makes a file in a folder that goes again.
fn probe(folder: &Path) -> io::Result<()> {
    let name = format!(".omnirelayd-{}-{}", std::process::id(), random_u64()?);
    let probe = folder.join(name);
    OpenOptions::new().write(true).create(true).truncate(true).open(&probe)?;
    std::fs::remove_file(probe)
}

/// Makes a folder with those above it, and says in which ones there is a new name, the highest first.
fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for above in folder.ancestors().filter(|above| !above.as_os_str().is_empty()) {
        if above.try_exists()? {
            break;
        }
        missing.push(above);
    }
    DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    let parent = |made: &&Path| match made.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    Ok(missing.iter().rev().map(parent).collect())
}

/// Puts the names in a folder on the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_with_a_new_name_is_told() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b/c");
        let expected = [place.path().to_owned(), place.path().join("a"), place.path().join("a/b")];
        assert_eq!(make_folder(&folder).unwrap(), expected);
        assert!(folder.is_dir());
        assert!(make_folder(&folder).unwrap().is_empty(), "they are there");
        try_folder(&folder.join("d/e"), true).unwrap();
        assert!(make_folder(Path::new(".")).unwrap().is_empty());
    }
}
