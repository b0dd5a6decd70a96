//! The control socket: bound so that nobody comes in before it is closed to others, and removed at the end.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};

use super::permissions::{is_writable_by_all, mode};
use super::users::group_id;

/// The longest path that the system has room for, in bytes.
pub const PATH_BYTES_MAX: usize = 107;
/// How many connections may wait to be taken.
const WAITING_MAX: i32 = 1024;

/// Why there is no control socket. What stood at its path stands there still.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot open the control socket `{path}`")]
    Bind { path: PathBuf, source: io::Error },
    #[error(
        "the control socket `{path}` is in use by another daemon; stop that one, or choose another path with \
         --control-socket"
    )]
    InUse { path: PathBuf },
    #[error("`{path}` is there and no socket; remove it, or choose another path with --control-socket")]
    NoSocket { path: PathBuf },
    #[error(
        "anybody may put files into the folder of the control socket `{path}` (mode {mode:04o}), and so another \
         socket in its place; choose a folder that is writable for the daemon's user alone"
    )]
    OpenFolder { path: PathBuf, mode: u32 },
    #[error(
        "cannot give the control socket `{path}` to the group `{group}`; the daemon's user must be in it"
    )]
    Group { path: PathBuf, group: String, source: io::Error },
}

/// A bound socket. Its file goes with this value.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and number of the file, which may be another's by the end.
    file: (u64, u64),
    /// Held as long as the socket is ours; no other daemon takes it for that of a dead one meanwhile.
    _lock: File,
}

impl ControlSocket {
    /// Binds the socket for those that `mode` lets in. One that a dead daemon left behind is replaced.
    ///
    /// # Errors
    /// [`SocketError::InUse`] when somebody listens there.
    pub fn open(path: &Path, mode: u32, group: Option<&str>) -> Result<Self, SocketError> {
        let refuse = |source| SocketError::Bind { path: path.to_owned(), source };
        check_folder(path)?;
        let lock = lock(path)?;
        remove_dead(path)?;
        let listener = bind_private(path).map_err(refuse)?;
        let found = std::fs::symlink_metadata(path).map_err(refuse)?;
        let socket = Self { path: path.to_owned(), listener, file: (found.dev(), found.ino()), _lock: lock };
        if let Some(group) = group {
            let refuse =
                |source| SocketError::Group { path: path.to_owned(), group: group.to_owned(), source };
            let id = group_id(group).map_err(refuse)?;
            std::os::unix::fs::chown(path, None, Some(id)).map_err(refuse)?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(refuse)?;
        Ok(socket)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What takes connections.
    ///
    /// # Errors
    /// When the system has no room for another handle.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if found.is_ok_and(|found| found == self.file) {
            // One that stays is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at a path that only this user can open: the system takes the mode of the file from that of the handle.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, WAITING_MAX)?;
    Ok(socket.into())
}

/// Refuses a folder in which anybody may replace the socket.
fn check_folder(path: &Path) -> Result<(), SocketError> {
    const STICKY: u32 = 0o1000;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let found = std::fs::metadata(folder).map_err(|source| {
        let what = format!("cannot use its folder `{}`; make it first: {source}", folder.display());
        SocketError::Bind { path: path.to_owned(), source: io::Error::new(source.kind(), what) }
    })?;
    let mode = mode(&found);
    if is_writable_by_all(&found) && mode & STICKY == 0 {
        return Err(SocketError::OpenFolder { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Takes the lock that stands beside the socket, since two that start at once would both find a dead one.
fn lock(path: &Path) -> Result<File, SocketError> {
    let refuse = |source| SocketError::Bind { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(beside);
    let file = file.map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(refuse(source)),
    }
}

/// Removes a socket at which nobody listens any more.
fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let refuse = |source| SocketError::Bind { path: path.to_owned(), source };
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(refuse)?,
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(refuse)
        }
        Err(error) => Err(refuse(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control.sock");
        (place, path)
    }

    #[test]
    fn a_socket_is_open_to_whom_its_mode_says_and_goes_at_the_end() {
        for wanted in [0o600, 0o660] {
            let (_place, path) = place();
            let socket = ControlSocket::open(&path, wanted, None).unwrap();
            assert_eq!(mode(&std::fs::metadata(&path).unwrap()), wanted);
            UnixStream::connect(&path).unwrap();
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn nobody_else_can_open_it_before_it_has_its_mode() {
        let (_place, path) = place();
        let _listener = bind_private(&path).unwrap();
        assert_eq!(mode(&std::fs::metadata(&path).unwrap()), 0o600);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let (_place, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let first = ControlSocket::open(&path, 0o600, None).unwrap();
        let second = ControlSocket::open(&path, 0o600, None);
        assert!(matches!(second, Err(SocketError::InUse { .. })), "ours");
        UnixStream::connect(&path).unwrap();
        drop(first);
        let foreign = UnixListener::bind(&path).unwrap();
        let third = ControlSocket::open(&path, 0o600, None);
        assert!(matches!(third, Err(SocketError::InUse { .. })), "another program's");
        drop(foreign);
        ControlSocket::open(&path, 0o600, None).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (_place, path) = place();
        std::fs::write(&path, "mine").unwrap();
        let refused = ControlSocket::open(&path, 0o600, None);
        assert!(matches!(refused, Err(SocketError::NoSocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_anybody_may_write_to_is_refused_unless_it_protects_files() {
        let (place, path) = place();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
        let error = ControlSocket::open(&path, 0o600, None).unwrap_err();
        assert!(matches!(error, SocketError::OpenFolder { mode: 0o777, .. }), "{error}");
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o1777)).unwrap();
        ControlSocket::open(&path, 0o600, None).unwrap();
    }

    #[test]
    fn a_socket_that_another_has_made_meanwhile_is_not_removed() {
        let (_place, path) = place();
        let socket = ControlSocket::open(&path, 0o600, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }
}
