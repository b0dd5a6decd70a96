//! Files that are replaced whole; but for those that are to be shown, nobody else may read them.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a file so that a reader sees either the old content or the new, whatever happens.
///
/// # Errors
/// Those of the file system; the old file is then untouched.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o600)
}

/// Writes a file in the same way that everybody may read.
///
/// # Errors
/// As of [`write_whole`].
pub fn write_shown(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o644)
}

fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = private_file().truncate(true).mode(mode).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| std::fs::rename(&temporary, path));
    if replaced.is_err() {
        // What is left of it is of no use, and may fill the disk.
        let _ = std::fs::remove_file(&temporary);
    }
    replaced
}

/// Writes a file that was not there, and that nobody else may read.
///
/// # Errors
/// Those of the file system; [`io::ErrorKind::AlreadyExists`] where something has its name, be it a link that leads nowhere.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Options to open a file that nobody else may read, and that is made when it is missing.
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}
