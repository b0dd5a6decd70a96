//! Disk that has the bytes of an embedded store, and a watch on what happens to them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::boot::MachineBoot;
use super::files::{ASIDE_NAME, LOCK_NAME, PREPARED_NAME, RENEWALS_NAME, segment_path};
use super::note::{BatchNote, FoundNote};

/// Only the owner may read what the registry holds.
const FILE_MODE: u32 = 0o600;

/// Something that can be opened, and opened again after it failed.
pub trait Disk: Send + 'static {
    /// What messages call it.
    fn path(&self) -> &Path;

    /// Opens the bytes. Empty ones become a new store.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when somebody else has them open.
    fn open(&mut self) -> io::Result<DiskMedium>;

    /// Opens a segment of the write-ahead log, 0 or 1, or makes an empty one.
    ///
    /// # Errors
    /// Whatever stands in the way; the store is not used then.
    fn open_segment(&mut self, which: usize) -> io::Result<Box<dyn StorageBackend>>;

    /// Opens the file of the renewals, or makes an empty one.
    ///
    /// # Errors
    /// Whatever stands in the way; the store is not used then.
    fn open_renewals(&mut self) -> io::Result<Box<dyn StorageBackend>>;

    /// Which boot of the machine this is: what was written without a sync is there as long as it lasts. `None`: nobody
    /// knows.
    fn boot(&self) -> Option<MachineBoot>;

    /// Keeps a durable copy of the bytes, which nobody has open, under another name, for a program that understands
    /// only what version 0.1 wrote.
    ///
    /// # Errors
    /// Whatever stands in the way; the store is not used then.
    fn set_aside(&mut self) -> io::Result<()>;

    /// What was noted last beside the bytes.
    ///
    /// # Errors
    /// Whatever stands in the way; the store is not used then.
    fn noted(&mut self) -> io::Result<FoundNote>;

    /// Notes something in the place of what was noted before, without waiting for it to be
    /// durable. It becomes so before [`Disk::settle`] returns.
    ///
    /// # Errors
    /// Whatever stands in the way; what was noted before may stay.
    fn note(&mut self, note: BatchNote) -> io::Result<()>;

    /// Makes the store findable after a power loss, once it holds everything that a store must
    /// hold. Called at each start: the one that made the store may have ended before this.
    ///
    /// # Errors
    /// Whatever stands in the way; the store is not used then.
    fn settle(&mut self) -> io::Result<()>;
}

/// A file. A new one is prepared under another name, so that a crash leaves none that is half made.
/// The file that is locked to keep others out holds the note.
#[derive(Debug)]
pub(super) struct FileDisk {
    path: PathBuf,
    prepared: PathBuf,
    locked: Option<File>,
}

/// Medium that a disk gives to keep the bytes in.
#[derive(Debug)]
pub struct DiskMedium {
    pub backend: Box<dyn StorageBackend>,
    /// The file behind it, if room shall be taken from the file system before the file grows: a
    /// full disk is then found out before anything has been changed.
    pub file: Option<File>,
}

/// Medium that counts syncs and remembers failures of the one that it passes everything on to.
#[derive(Debug)]
pub(super) struct WatchedMedium {
    medium: DiskMedium,
    seen: Arc<MediumHealth>,
}

/// Syncs, failure and unsynced writes that a [`WatchedMedium`] backend has seen.
#[derive(Debug, Default)]
pub(super) struct MediumHealth {
    syncs: AtomicU64,
    failure: Mutex<Option<(io::ErrorKind, String)>>,
    /// What was written since the last sync that succeeded: lengths by offset.
    unsynced: Mutex<BTreeMap<u64, usize>>,
}

impl FileDisk {
    pub(super) fn new(path: PathBuf) -> Self {
        let prepared = path.with_file_name(PREPARED_NAME);
        Self { path, prepared, locked: None }
    }

    fn open_file(&mut self) -> io::Result<File> {
        self.lock()?;
        if self.path.try_exists()? {
            return open_private(&self.path);
        }
        let file = open_private(&self.prepared)?;
        // Whatever is there was never finished.
        file.set_len(0)?;
        Ok(file)
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Keeps others out for as long as this disk lives, and so between one opening and the next.
    fn lock(&mut self) -> io::Result<&File> {
        let file = match self.locked.take() {
            Some(file) => file,
            None => lock_file(&self.path.with_file_name(LOCK_NAME))?,
        };
        Ok(self.locked.insert(file))
    }
}

impl Disk for FileDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&mut self) -> io::Result<DiskMedium> {
        let file = self.open_file()?;
        let backend = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(DiskMedium { backend: Box::new(backend), file: Some(file) })
    }

    fn open_segment(&mut self, which: usize) -> io::Result<Box<dyn StorageBackend>> {
        let file = open_private(&segment_path(&self.path, which))?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn open_renewals(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        let file = open_private(&self.path.with_file_name(RENEWALS_NAME))?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn boot(&self) -> Option<MachineBoot> {
        MachineBoot::of_machine()
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let aside = self.path.with_file_name(ASIDE_NAME);
        let prepared = aside.with_extension("new");
        let mut copy = open_private(&prepared)?;
        copy.set_len(0)?;
        io::copy(&mut File::open(&self.path)?, &mut copy)?;
        copy.sync_all()?;
        std::fs::rename(&prepared, &aside)?;
        self.sync_directory()
    }

    fn noted(&mut self) -> io::Result<FoundNote> {
        let mut text = [0; BatchNote::BYTES];
        let length = self.lock()?.read_at(&mut text, 0)?;
        Ok(BatchNote::read(text.get(..length).unwrap_or_default()))
    }

    fn note(&mut self, note: BatchNote) -> io::Result<()> {
        self.lock()?.write_all_at(note.to_text().as_bytes(), 0)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.lock()?.sync_data()?;
        if !self.path.try_exists()? {
            std::fs::rename(&self.prepared, &self.path)?;
        }
        self.sync_directory()
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    let file = open_private(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o777 != FILE_MODE {
        permissions.set_mode(FILE_MODE);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

impl WatchedMedium {
    /// Watches `medium`, which holds for certain what the watched ones before it were given.
    pub(super) fn over(medium: DiskMedium, seen: Arc<MediumHealth>) -> io::Result<Self> {
        seen.confirm(medium.backend.as_ref())?;
        Ok(Self { medium, seen })
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let Some(file) = &self.medium.file else { return Ok(()) };
        if len <= self.medium.backend.len()? {
            return Ok(());
        }
        match FileExt::allocate(file, len) {
            // A file system that cannot promise room: the writes will find out.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result,
        }
    }

    fn note<R>(&self, what: &str, result: io::Result<R>) -> io::Result<R> {
        if let Err(error) = &result {
            let mut failure = self.seen.failure.lock();
            failure.get_or_insert_with(|| (error.kind(), format!("{what} failed: {error}")));
        }
        result
    }
}

impl MediumHealth {
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Counts a sync of what is not watched.
    pub(super) fn count_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// The first failure since this was asked last.
    pub(super) fn take_failure(&self) -> Option<(io::ErrorKind, String)> {
        self.failure.lock().take()
    }

    /// Whether there was a failure since it was taken last.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().is_some()
    }

    /// Writes again what no sync has confirmed, and syncs it.
    ///
    /// After a sync that failed, an operating system may show what was written and never write it
    /// out: then only what is written once more can be relied on, or is found to be missing.
    fn confirm(&self, backend: &dyn StorageBackend) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock();
        if unsynced.is_empty() {
            return Ok(());
        }
        let end = backend.len()?;
        for (&offset, &length) in unsynced.iter() {
            let there = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut data = vec![0; length.min(there)];
            backend.read(offset, &mut data)?;
            backend.write(offset, &data)?;
        }
        backend.sync_data()?;
        unsynced.clear();
        Ok(())
    }
}

impl StorageBackend for WatchedMedium {
    fn len(&self) -> io::Result<u64> {
        self.note("asking for the length", self.medium.backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.note("reading", self.medium.backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note("changing the length", self.grow(len).and_then(|()| self.medium.backend.set_len(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.seen.count_sync();
        let mut unsynced = self.seen.unsynced.lock();
        self.note("syncing", self.medium.backend.sync_data())?;
        unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note("writing", self.medium.backend.write(offset, data))?;
        let mut unsynced = self.seen.unsynced.lock();
        let length = unsynced.entry(offset).or_default();
        *length = data.len().max(*length);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.medium.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.backend.query_lock_range(start, end)
    }
}
