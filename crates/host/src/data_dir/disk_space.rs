//! Free space on the disk of a data directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{info, warn};

/// How often it is looked. A disk fills in seconds, and a look is one call of the system.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// With fewer bytes left the registry is about to refuse changes, and certificates to be renewed nowhere: a checkpoint, the log's
/// other segment and some files have to fit.
const BYTES_MIN: u64 = 100 << 20;

/// The disk that a data directory is on.
#[derive(Debug)]
pub struct DiskSpace {
    path: PathBuf,
    /// Bytes that this user may still write; `None`: nobody has looked, or it cannot be told.
    free: Mutex<Option<u64>>,
}

impl DiskSpace {
    /// Of a folder, which may not be there yet.
    pub fn of(path: PathBuf) -> Self {
        Self { path, free: Mutex::default() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Free bytes, as it was looked last.
    pub fn free(&self) -> Option<u64> {
        *self.free.lock()
    }

    /// Trouble with the free space; `None`: there is room.
    pub fn trouble(&self) -> Option<String> {
        let free = self.free().filter(|free| *free < BYTES_MIN)?;
        Some(format!(
            "{} MiB are free where {} is, and less than {} are few",
            free >> 20,
            self.path.display(),
            BYTES_MIN >> 20
        ))
    }

    /// Looks now and then, for ever, and tells the log when room gets short and when there is some again.
    pub async fn watch(&self) {
        let mut is_short = false;
        loop {
            let path = self.path.clone();
            // A file system may be far away, and not answer.
            let looked = tokio::task::spawn_blocking(move || bytes_free(&path)).await;
            *self.free.lock() = looked.ok().flatten();
            let trouble = self.trouble();
            match (is_short, &trouble) {
                (false, Some(why)) => warn!(why, "the disk of the data directory is nearly full"),
                (true, None) => info!("the disk of the data directory has room again"),
                (false, None) | (true, Some(_)) => {}
            }
            is_short = trouble.is_some();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Bytes that this user may still write where a path is, or will be.
pub fn bytes_free(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(existing).ok()?;
    Some(found.f_bavail * found.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_little_room_is_trouble() {
        let disk = DiskSpace::of("/data".into());
        for (free, is_trouble) in
            [(None, false), (Some(BYTES_MIN), false), (Some(BYTES_MIN - 1), true), (Some(0), true)]
        {
            *disk.free.lock() = free;
            assert_eq!(disk.trouble().is_some(), is_trouble, "{free:?}");
        }
        assert!(disk.trouble().unwrap().contains("0 MiB are free where /data is"));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_on_the_disk_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(bytes_free(&folder.path().join("a/b")).is_some());
    }
}
