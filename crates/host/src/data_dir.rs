//! The data directory: what a node keeps across restarts, locked by its process.

pub mod disk_space;

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use omnirelay_core::names::{check_node_name, to_node_name};
use omnirelay_core::text::chain;
use omnirelay_store::whole_file::{private_file, write_whole};
use tracing::warn;
use xxhash_rust::xxh64::xxh64;

use crate::chance::{random_secret, random_u64};
use crate::permissions::{is_writable_by_all, is_writable_by_group, make_private, mode};
use crate::users::Uid;

const LOCK: &str = "omnirelayd.lock";
const NODE_ID: &str = "node-id";
/// The checksum of the node id, beside it: version 0.2 reads no more than the id from its own file.
const NODE_ID_SUM: &str = "node-id.xxh64";
const SESSION_SECRET: &str = "session-secret";
/// The nodes of `omnirelay up`, with their session secrets.
pub const UP_STATE: &str = "up.json";
/// The files that are nobody else's, but for the store, which closes its own, and the token, which is refused.
const SECRETS: [&str; 2] = [SESSION_SECRET, UP_STATE];
/// Longer files are not ours.
const FILE_BYTES_MAX: u64 = 4096;

/// Error of opening a data directory or reading its files. The directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot use the data directory `{path}`")]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "the data directory `{path}` is in use by another process; stop that one, or choose another \
         with --data-dir"
    )]
    Locked { path: PathBuf },
    #[error(
        "anybody may write to the data directory `{path}` (mode {mode:04o}), and so change the registry; \
         chmod 700 it, or name a folder below it with --data-dir, which is made for this user alone"
    )]
    OpenToAll { path: PathBuf, mode: u32 },
    #[error("`{path}` does not hold a node id: {what}; correct it, or give --node-id")]
    NodeId { path: PathBuf, what: String },
    #[error(
        "`{path}` holds `{id}`, and `{sum}` says that it does not: a node under another id is another node; put the id \
         right, or, if you have changed it, remove `{sum}`"
    )]
    NodeIdChanged { path: PathBuf, sum: PathBuf, id: String },
}

/// Default data directory of a daemon that the user of this process starts, if its configuration names none.
pub fn default_path() -> PathBuf {
    if Uid::of_process() == Uid::ROOT {
        return PathBuf::from("/var/lib/omnirelay");
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("."));
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty());
    let state = state.map_or_else(|| home.join(".local/state"), PathBuf::from);
    state.join("omnirelay")
}

/// A locked data directory. The lock ends with the process or with this value.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be (only its owner may look into it) and locks it.
    ///
    /// One that its group may write to is warned of. Of the secrets in it those that others may use are closed to them.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] when another process has it, [`DataDirError::OpenToAll`] when everybody may write to it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let refuse = |source| DataDirError::Open { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse)?;
        check_mode(path)?;
        let lock = private_file().truncate(false).open(path.join(LOCK)).map_err(refuse)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(refuse(source)),
        }
        for name in SECRETS {
            close(&path.join(name)).map_err(refuse)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Path of the data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The node id: the configured one, else the one kept here, else a new one from the host
    /// name, which is kept.
    ///
    /// # Errors
    /// When what is kept is no node id, or cannot be read or written.
    pub fn node_id(&self, configured: Option<&str>) -> Result<String, DataDirError> {
        if let Some(id) = configured {
            return Ok(id.to_owned());
        }
        let path = self.path.join(NODE_ID);
        let id = self.kept(NODE_ID, || {
            let host = File::open("/proc/sys/kernel/hostname").and_then(read_short).unwrap_or_default();
            let host = to_node_name(host.trim()).unwrap_or_else(|| "node".to_owned());
            Ok(format!("{host}-{:04x}", random_u64()? & 0xffff))
        })?;
        let named = |error: omnirelay_core::names::NameError| DataDirError::NodeId {
            path: path.clone(),
            what: chain(&error),
        };
        check_node_name(&id).map_err(named)?;
        self.check_sum(&path, &id)?;
        Ok(id)
    }

    /// Refuses an id whose checksum is another one, and notes that of one that has none.
    fn check_sum(&self, path: &Path, id: &str) -> Result<(), DataDirError> {
        let sum = format!("{:016x}", xxh64(id.as_bytes(), 0));
        if self.kept(NODE_ID_SUM, || Ok(sum.clone()))? == sum {
            return Ok(());
        }
        let (path, id) = (path.to_owned(), id.to_owned());
        Err(DataDirError::NodeIdChanged { path, sum: self.path.join(NODE_ID_SUM), id })
    }

    /// Secret that lets this node replace a session that it left behind in a crash. An empty file holds none and is
    /// written anew: the session that the lost one was for has to run out.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn session_secret(&self) -> Result<String, DataDirError> {
        let secret = self.kept(SESSION_SECRET, random_secret)?;
        if !secret.is_empty() {
            return Ok(secret);
        }
        let path = self.path.join(SESSION_SECRET);
        warn!(path = %path.display(), "session secret was empty; a new one was made");
        make_file(&path, random_secret)
    }

    /// The content of a file, which is made when it is not there.
    fn kept(&self, name: &str, make: impl Fn() -> io::Result<String>) -> Result<String, DataDirError> {
        let path = self.path.join(name);
        let refuse = |source| DataDirError::Open { path: path.clone(), source };
        match File::open(&path).and_then(read_short) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error)),
        }
        make_file(&path, make)
    }
}

/// Refuses a directory to which everybody may write. It is not closed here: it may be one that others need, such as
/// `/tmp`.
fn check_mode(path: &Path) -> Result<(), DataDirError> {
    let refuse = |source| DataDirError::Open { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(refuse)?;
    if is_writable_by_all(&found) {
        return Err(DataDirError::OpenToAll { path: path.to_owned(), mode: mode(&found) });
    }
    if is_writable_by_group(&found) {
        let mode = format!("{:04o}", mode(&found));
        warn!(path = %path.display(), mode, "data directory open to its group, which may change the registry");
    }
    Ok(())
}

/// Keeps others from a file with a secret, and says so: what they have read they know.
///
/// # Errors
/// Those of the file system. That there is no such file is none.
pub fn close(path: &Path) -> io::Result<()> {
    if let Some(mode) = make_private(path)? {
        let mode = format!("{mode:04o}");
        warn!(path = %path.display(), mode, "secret was open to others, and is not any more");
    }
    Ok(())
}

/// Writes what is made into a file, and returns it.
fn make_file(path: &Path, make: impl Fn() -> io::Result<String>) -> Result<String, DataDirError> {
    let refuse = |source| DataDirError::Open { path: path.to_owned(), source };
    let text = make().map_err(refuse)?;
    write_whole(path, format!("{text}\n").as_bytes()).map_err(refuse)?;
    Ok(text)
}

fn read_short(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_secret_survive_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let first = DataDir::open(&path).unwrap();
        let (id, secret) = (first.node_id(None).unwrap(), first.session_secret().unwrap());
        drop(first);
        let second = DataDir::open(&path).unwrap();
        assert_eq!((second.node_id(None).unwrap(), second.session_secret().unwrap()), (id.clone(), secret));
        assert_eq!(second.node_id(Some("chosen")).unwrap(), "chosen");
        assert_eq!(second.node_id(None).unwrap(), id, "a chosen id is not kept");
    }

    #[test]
    fn a_flipped_bit_of_the_node_id_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(NODE_ID);
        std::fs::write(&path, "host-1a2b\n").unwrap();
        let directory = DataDir::open(place.path()).unwrap();
        assert_eq!(directory.node_id(None).unwrap(), "host-1a2b", "it has no checksum yet");
        std::fs::write(&path, "host-1a2c\n").unwrap();
        let refused = directory.node_id(None).unwrap_err();
        assert!(matches!(refused, DataDirError::NodeIdChanged { .. }), "{refused}");
        assert_eq!(directory.node_id(Some("chosen")).unwrap(), "chosen");
        std::fs::remove_file(place.path().join(NODE_ID_SUM)).unwrap();
        assert_eq!(directory.node_id(None).unwrap(), "host-1a2c", "somebody has changed it");
        std::fs::write(&path, "host-1a2b\n").unwrap();
        assert!(directory.node_id(None).is_err());
    }

    #[test]
    fn an_empty_secret_is_made_anew_and_kept() {
        for left in ["", "\n", " \n"] {
            let place = tempfile::tempdir().unwrap();
            std::fs::write(place.path().join(SESSION_SECRET), left).unwrap();
            let directory = DataDir::open(place.path()).unwrap();
            let secret = directory.session_secret().unwrap();
            assert!(!secret.is_empty(), "{left:?}");
            assert_eq!(directory.session_secret().unwrap(), secret, "{left:?}");
        }
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let _first = DataDir::open(place.path()).unwrap();
        assert!(matches!(DataDir::open(place.path()), Err(DataDirError::Locked { .. })));
    }

    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_everybody_may_write_to_is_refused_as_it_is() {
        for given in [0o777, 0o1777, 0o702] {
            let place = tempfile::tempdir().unwrap();
            chmod(place.path(), given);
            let error = DataDir::open(place.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{given:04o}")) && error.contains("chmod 700"), "{error}");
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing was put there");
            DataDir::open(&place.path().join("own")).unwrap();
        }
        for given in [0o755, 0o770] {
            let place = tempfile::tempdir().unwrap();
            chmod(place.path(), given);
            DataDir::open(place.path()).unwrap();
        }
    }

    #[test]
    fn secrets_that_others_may_use_are_closed_to_them() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        DataDir::open(place.path()).unwrap().session_secret().unwrap();
        let path = place.path().join(SESSION_SECRET);
        for given in [0o644, 0o620, 0o604] {
            chmod(&path, given);
            DataDir::open(place.path()).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "it was {given:o}");
        }
    }

    #[test]
    fn a_spoilt_node_id_is_named() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(NODE_ID), "Not An Id\n").unwrap();
        let error = DataDir::open(place.path()).unwrap().node_id(None).unwrap_err();
        assert!(error.to_string().contains("node-id"), "{error}");
    }

    #[test]
    fn only_the_owner_may_look_inside() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let directory = DataDir::open(&path).unwrap();
        directory.session_secret().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(SESSION_SECRET)), 0o600);
    }
}
