//! Owner of the files of a data directory: root joins a host for the user that its daemon runs as.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// The user and the group of a data directory, where this process is root and they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataDirOwner {
    uid: Uid,
    gid: Gid,
}

impl DataDirOwner {
    /// Owner of this directory; `None`: this process is not root, or the directory is root's, or is not there yet.
    pub(super) fn of(directory: &Path) -> Option<Self> {
        let found = std::fs::metadata(directory).ok()?;
        let is_foreign = rustix::process::geteuid().is_root() && found.uid() != Uid::ROOT.as_raw();
        is_foreign.then(|| Self { uid: Uid::from_raw(found.uid()), gid: Gid::from_raw(found.gid()) })
    }

    /// The number of the group.
    pub(super) fn group(self) -> u32 {
        self.gid.as_raw()
    }

    /// Does something in this thread as that user. Root would follow links that the user has put into its directory, and
    /// would leave files there that the user cannot read.
    ///
    /// # Errors
    /// Where the system does not let this process be another user.
    pub(super) fn act<T>(self, work: impl FnOnce() -> T) -> io::Result<T> {
        let _root = RootGuard::leave(self)?;
        Ok(work())
    }
}

/// Makes the thread root's again when it is dropped.
struct RootGuard;

impl RootGuard {
    fn leave(owner: DataDirOwner) -> io::Result<Self> {
        // The group first: only root may.
        set_thread_res_gid(None::<Gid>, Some(owner.gid), None::<Gid>)?;
        let root = Self;
        set_thread_res_uid(None::<Uid>, Some(owner.uid), None::<Uid>)?;
        Ok(root)
    }
}

impl Drop for RootGuard {
    fn drop(&mut self) {
        // The thread's real user is root still, so that neither is refused; if one were, less could be done, and not more.
        let _ = set_thread_res_uid(None::<Uid>, Some(Uid::ROOT), None::<Uid>);
        let _ = set_thread_res_gid(None::<Gid>, Some(Gid::ROOT), None::<Gid>);
    }
}
