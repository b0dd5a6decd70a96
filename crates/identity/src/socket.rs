//! The control socket: bound so that nobody comes in before it is closed to others, and removed at the end.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use omnirelay_host::permissions::{is_own, is_writable_by_all, is_writable_by_group, mode};
use omnirelay_host::users::group_id;
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tracing::warn;

/// The longest path that the system has room for, in bytes.
pub const PATH_BYTES_MAX: usize = 107;
/// How many connections may wait to be taken. Too low: beside a flood whoever connects is not heard, and tries again after a
/// second.
pub const WAITING_MAX: i32 = 1024;

/// Reason why there is no control socket. What stood at its path stands there still.
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
        "the folder of the control socket `{path}` belongs to another user, who may put another socket in its place; \
         choose one of the daemon's user or of root"
    )]
    ForeignFolder { path: PathBuf },
    #[error(
        "the lock of the control socket, `{path}`, is a link, and what it leads to is left alone; remove the link"
    )]
    LinkedLock { path: PathBuf },
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
        let_in(path, mode, group)?;
        Ok(socket)
    }

    /// Path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listener that takes connections.
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

/// Gives the socket to those that `mode` and the group let in, and never what a link in its place leads to: others may
/// be allowed to write to the folder.
fn let_in(path: &Path, mode: u32, group: Option<&str>) -> Result<(), SocketError> {
    let refuse = |source| SocketError::Bind { path: path.to_owned(), source };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map(File::from).map_err(|error| refuse(error.into()))?;
    if !file.metadata().map_err(refuse)?.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    // Such a handle takes neither itself; its name does, and is of this file whatever is at the path by now.
    let itself = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if let Some(group) = group {
        let refuse = |source| SocketError::Group { path: path.to_owned(), group: group.to_owned(), source };
        let id = group_id(group).map_err(refuse)?;
        chown(&itself, None, Some(id)).map_err(refuse)?;
    }
    std::fs::set_permissions(&itself, Permissions::from_mode(mode)).map_err(refuse)
}

/// Refuses a folder in which others may put another socket in its place. That they may not remove this one, as in
/// `/tmp`, is not enough: whoever comes first, or while it is not there, has the path.
fn check_folder(path: &Path) -> Result<(), SocketError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let found = std::fs::metadata(folder).map_err(|source| {
        let what = format!("cannot use its folder `{}`; make it first: {source}", folder.display());
        SocketError::Bind { path: path.to_owned(), source: io::Error::new(source.kind(), what) }
    })?;
    if is_writable_by_all(&found) {
        return Err(SocketError::OpenFolder { path: path.to_owned(), mode: mode(&found) });
    }
    if !is_own(&found) {
        return Err(SocketError::ForeignFolder { path: path.to_owned() });
    }
    if is_writable_by_group(&found) {
        let (path, mode) = (folder.display(), format!("{:04o}", mode(&found)));
        warn!(%path, mode, "folder of the control socket open to its group, which may replace the socket");
    }
    Ok(())
}

/// Takes the lock that stands beside the socket, since two that start at once would both find a dead one.
fn lock(path: &Path) -> Result<File, SocketError> {
    let refuse = |source| SocketError::Bind { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        open(&beside, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(|error| match error {
            Errno::LOOP => SocketError::LinkedLock { path: beside.into() },
            error => refuse(error.into()),
        })?;
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
    match try_connect(path) {
        // Another program may take nobody in, and still be there.
        Ok(()) | Err(Errno::AGAIN) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(refuse),
        Err(error) => Err(refuse(error.into())),
    }
}

/// Connects without waiting: [`Errno::AGAIN`] where so many wait to be taken that there is no room.
fn try_connect(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use omnirelay_host::users::Uid;

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
    fn a_program_that_takes_nobody_in_is_not_waited_for() {
        let (_place, path) = place();
        let foreign = UnixListener::bind(&path).unwrap();
        listen(&foreign, 0).unwrap();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let address = SocketAddrUnix::new(&path).unwrap();
        let mut waiting = Vec::new();
        loop {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            match connect(&socket, &address) {
                Ok(()) => waiting.push(socket),
                Err(error) => break assert_eq!(error, Errno::AGAIN),
            }
        }
        let (said, opened) = mpsc::channel();
        std::thread::spawn(move || said.send(ControlSocket::open(&path, 0o600, None)));
        let refused = opened.recv_timeout(Duration::from_secs(10)).expect("it waits for the other program");
        assert!(matches!(refused, Err(SocketError::InUse { .. })), "{refused:?}");
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
    fn a_folder_that_anybody_may_write_to_is_refused() {
        let (place, path) = place();
        // The last one lets nobody remove another's file, and anybody be the first at a path.
        for wanted in [0o777, 0o703, 0o1777] {
            std::fs::set_permissions(place.path(), Permissions::from_mode(wanted)).unwrap();
            match ControlSocket::open(&path, 0o600, None) {
                Err(SocketError::OpenFolder { mode, .. }) => assert_eq!(mode, wanted),
                other => panic!("{wanted:o}: {other:?}"),
            }
            let left = std::fs::read_dir(place.path()).unwrap().count();
            assert_eq!(left, 0, "{wanted:o}: something was made there");
        }
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o770)).unwrap();
        ControlSocket::open(&path, 0o600, None).expect("its group is only warned of");
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        if Uid::of_process() != Uid::ROOT {
            // Only root can give a folder away.
            return;
        }
        let (place, path) = place();
        chown(place.path(), Some(65534), None).unwrap();
        let refused = ControlSocket::open(&path, 0o600, None);
        assert!(matches!(refused, Err(SocketError::ForeignFolder { .. })), "{refused:?}");
    }

    #[test]
    fn what_a_planted_link_leads_to_is_left_alone() {
        let (place, path) = place();
        let secret = place.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, &path).unwrap();
        let group = std::fs::metadata(&secret).unwrap().gid().to_string();
        let refused = let_in(&path, 0o660, Some(&group));
        assert!(matches!(refused, Err(SocketError::NoSocket { .. })), "{refused:?}");
        assert_eq!(mode(&std::fs::metadata(&secret).unwrap()), 0o600);

        std::fs::remove_file(&path).unwrap();
        symlink(place.path().join("made"), place.path().join("control.sock.lock")).unwrap();
        let refused = ControlSocket::open(&path, 0o600, None);
        assert!(matches!(refused, Err(SocketError::LinkedLock { .. })), "{refused:?}");
        assert!(!place.path().join("made").exists(), "the link was followed");
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
