//! The record of a running mesh: a file beside the contexts, locked by the process that runs it.
//!
//! It says where the nodes are, so that another process can show and end the mesh. A record that nobody holds is what a
//! crash left: whoever starts or ends a mesh removes it, and the context that it is about.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::frame::address::Address;

/// Record of a mesh that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DevMeshRecord {
    /// Also the name of its context.
    pub name: String,
    /// The mesh of several clusters that runs it, and ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<String>,
    pub pid: u32,
    /// RFC 3339.
    pub started_at: String,
    /// Whether every node has been ready.
    pub ready: bool,
    /// The context that leads to the nodes; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where its store, ids and ports are kept; `None`: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Where its operator's certificate is, which callers have to show; `None`: they prove nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<PathBuf>,
    /// Where a mesh in the background logs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    pub nodes: Vec<DevMeshNode>,
    /// What its operator is to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A node of such a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DevMeshNode {
    pub node_id: String,
    /// `http://HOST:PORT`, or `https://` where there is an operator.
    pub address: String,
}

/// The record of the mesh of this process: locked, and gone with this value.
#[derive(Debug)]
pub(crate) struct DevMeshLock {
    file: File,
    path: PathBuf,
}

/// Reason why a record could not be taken.
#[derive(Debug)]
pub(crate) enum DevMeshLockFailure {
    /// A mesh of this name runs.
    Running(Box<DevMeshRecord>),
    Io(PathBuf, std::io::Error),
}

impl DevMeshRecord {
    /// Addresses of the nodes.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.nodes.iter().filter_map(|node| node.address.parse().ok()).collect()
    }
}

/// Folder of the records: beside the file of contexts.
pub(crate) fn folder(contexts: &Path) -> PathBuf {
    contexts.with_file_name("omnirelay-up")
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// Path of the log of a mesh of this name in the background.
pub(crate) fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

/// Whoever looks whether a mesh runs has its lock for a moment, so that it is asked for so often.
const LOOKERS_MAX: u32 = 5;
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(10);

/// Makes the folder of records, which is for this user alone.
///
/// # Errors
/// Those of the file system.
pub(crate) fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

impl DevMeshLock {
    /// Takes the record of this name for the mesh of this process.
    ///
    /// # Errors
    /// [`DevMeshLockFailure::Running`] when another process has it; else when the file cannot be made or locked.
    pub(crate) fn take(folder: &Path, name: &str) -> Result<Self, DevMeshLockFailure> {
        let path = path_of(folder, name);
        let failed = |error| DevMeshLockFailure::Io(path.clone(), error);
        make_folder(folder).map_err(failed)?;
        let mut refused = 0;
        loop {
            let file = open(&path, true).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if refused < LOOKERS_MAX => {
                    refused += 1;
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let running = DevMeshRecord { name: name.to_owned(), ..DevMeshRecord::default() };
                    return Err(DevMeshLockFailure::Running(Box::new(read(&file).unwrap_or(running))));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever had it may have removed it since it was opened.
            if is_at(&file, &path) {
                return Ok(Self { file, path });
            }
        }
    }

    /// Writes what is known.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write(&mut self, record: &DevMeshRecord) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text)?;
        self.file.flush()
    }
}

impl Drop for DevMeshLock {
    fn drop(&mut self) {
        // Before the lock goes: nobody is to find it without its process.
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The mesh of this name, if it runs.
pub(crate) fn running(folder: &Path, name: &str) -> Option<DevMeshRecord> {
    let file = open(&path_of(folder, name), false).ok()?;
    matches!(file.try_lock(), Err(TryLockError::WouldBlock)).then(|| read(&file))?
}

/// Removes the records that crashes left, and gives them.
pub(crate) fn sweep(folder: &Path) -> Vec<DevMeshRecord> {
    let left = |name: &String| {
        let path = path_of(folder, name);
        let file = open(&path, false).ok()?;
        file.try_lock().ok()?;
        let record = is_at(&file, &path).then(|| read(&file))??;
        std::fs::remove_file(&path).ok()?;
        Some(record)
    };
    names(folder).iter().filter_map(left).collect()
}

/// Every mesh that runs, by name; of several clusters the whole alone, while that runs.
pub(crate) fn all(folder: &Path) -> Vec<DevMeshRecord> {
    let all: Vec<DevMeshRecord> = names(folder).iter().filter_map(|name| running(folder, name)).collect();
    let runs = |name: &String| all.iter().any(|mesh| mesh.name == *name);
    all.iter().filter(|mesh| !mesh.part_of.as_ref().is_some_and(runs)).cloned().collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    names
}

fn open(path: &Path, create: bool) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode =
        |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    inode(file.metadata()) == inode(std::fs::metadata(path))
}

/// What is in it; one that is just being written is read again.
fn read(mut file: &File) -> Option<DevMeshRecord> {
    const TRIES: u32 = 20;
    for _ in 0..TRIES {
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        if let Ok(record) = serde_json::from_str(&text) {
            return Some(record);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_there_while_its_process_holds_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("up");
        assert_eq!(all(&folder), []);
        let mut held = DevMeshLock::take(&folder, "dev").unwrap();
        let record = DevMeshRecord { name: "dev".into(), pid: 7, ..DevMeshRecord::default() };
        held.write(&DevMeshRecord { started_at: "longer than what comes".into(), ..record.clone() }).unwrap();
        held.write(&record).unwrap();
        assert_eq!(all(&folder), std::slice::from_ref(&record));
        let Err(DevMeshLockFailure::Running(found)) = DevMeshLock::take(&folder, "dev") else {
            panic!("taken twice")
        };
        assert_eq!(*found, record);
        assert!(DevMeshLock::take(&folder, "other").is_ok());
        drop(held);
        assert_eq!(running(&folder, "dev"), None);
        assert!(std::fs::read_dir(&folder).unwrap().next().is_none(), "nothing is left behind");
    }

    #[test]
    fn what_a_crash_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let record = DevMeshRecord { name: "dev".into(), pid: 7, ..DevMeshRecord::default() };
        std::fs::write(place.path().join("dev.json"), serde_json::to_string(&record).unwrap()).unwrap();
        std::fs::write(place.path().join("other.json"), "{\"a\": 1}").unwrap();
        assert_eq!(all(place.path()), []);
        let held = DevMeshLock::take(place.path(), "runs").unwrap();
        assert_eq!(sweep(place.path()), [record]);
        assert!(!place.path().join("dev.json").exists());
        assert!(place.path().join("other.json").exists(), "it is nobody's record");
        drop(held);
    }
}
