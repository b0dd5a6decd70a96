//! Offline work on a store that no daemon uses: checking it without a change, and giving back unused room.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::super::rules::{self, Inventory};
use super::super::{Epoch, Revision, SystemClock};
use super::boot::MachineBoot;
use super::disk::{Disk, DiskMedium, FileDisk, MediumHealth};
pub use super::failure::OpenError;
use super::files::{FILE_NAME, LOCK_NAME, RENEWALS_NAME, segment_path};
use super::note::{BatchNote, FoundNote};
use super::open::{self, OpeningInput, StartedStore};
use super::options::EmbeddedOptions;
use super::proof::DirectoryPast;
use super::{EmbeddedStore, proof, wal};
use crate::MissingFileAction;

/// Report of the check of a store: what it holds, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct StoreReport {
    pub path: PathBuf,
    pub epoch: Epoch,
    pub head: Revision,
    pub groups: usize,
    pub inventory: Inventory,
    /// The length of the store file, and of the log beside it, in bytes.
    pub file_bytes: u64,
    pub log_bytes: u64,
    /// How many batches only the log has.
    pub batches_in_log: u64,
    /// False: checksums of the file are wrong.
    pub is_sound: bool,
    /// True: `registry.lock` is not as its checksum has it, and fits file and log all the same.
    pub note_is_doubtful: bool,
}

/// Reads all of a store, as a daemon would that starts, and writes nothing.
///
/// # Errors
/// Those with which a daemon would not start.
pub fn check(dir: &Path) -> Result<StoreReport, OpenError> {
    let (path, past) = found(dir)?;
    let io = |source| OpenError::Io { path: path.clone(), source };
    open::once_free(|| open::refuse_untouched(&path, past))?;
    let mut disk = ScratchDisk::of(&path).map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => OpenError::Held { path: path.clone() },
        _ => io(source),
    })?;
    let note_is_doubtful = disk.noted.is_doubtful();
    let clock = Box::new(SystemClock::start());
    let given =
        OpeningInput { options: EmbeddedOptions::default(), past, missing: MissingFileAction::Refuse };
    let StartedStore { shared, file, .. } = open::open(&mut disk, clock, given)?;
    let batches_in_log = shared.shown().batch.saturating_sub(file.batch);
    let read = shared
        .read(|snapshot, state| Ok((rules::verify(snapshot, state)?, *state, shared.lives().groups.len())));
    let (inventory, state, groups) =
        read.map_err(|error| OpenError::Damaged { path: path.clone(), source: error.into() })?;
    Ok(StoreReport {
        epoch: state.epoch,
        head: state.head,
        groups,
        inventory,
        file_bytes: length(&path),
        log_bytes: log_length(&path),
        batches_in_log,
        is_sound: shared.verify_file(),
        note_is_doubtful,
        path,
    })
}

/// Gives the room that a store does not use back to the disk, and says how long file and log were before and are now, in
/// bytes.
///
/// # Errors
/// As [`EmbeddedStore::open`].
pub fn compact(dir: &Path) -> Result<(u64, u64), OpenError> {
    let (path, _) = found(dir)?;
    let length = || length(&path) + log_length(&path);
    let before = length();
    // What is in the log goes into the file.
    drop(EmbeddedStore::open(dir)?);
    let mut disk = FileDisk::new(path.clone());
    open::compact(&mut disk, &Arc::new(MediumHealth::default()))?;
    for which in 0..wal::SEGMENTS {
        disk.open_segment(which)
            .and_then(|segment| segment.set_len(0))
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
    }
    Ok((before, length()))
}

/// The store file of a directory, which must be there, and what the directory had before.
fn found(dir: &Path) -> Result<(PathBuf, DirectoryPast), OpenError> {
    let path = dir.join(FILE_NAME);
    let past = proof::past(dir, MissingFileAction::Refuse)?;
    let io = |source| OpenError::Io { path: path.clone(), source };
    if past == DirectoryPast::Unknown && !path.try_exists().map_err(io)? {
        return Err(io(io::ErrorKind::NotFound.into()));
    }
    Ok((path, past))
}

/// The length of a file in bytes.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

/// The length of the log beside a store file, in bytes.
fn log_length(path: &Path) -> u64 {
    (0..wal::SEGMENTS).map(|which| length(&segment_path(path, which))).sum()
}

/// The files of a store, of which what is written stays in memory.
struct ScratchDisk {
    path: PathBuf,
    locked: FileDisk,
    noted: FoundNote,
}

/// A file, and the pages of it that were written to.
#[derive(Debug)]
struct ScratchFile {
    file: Option<File>,
    written: Mutex<WrittenPages>,
}

/// Pages of a file that were written to, which are in memory alone.
#[derive(Debug)]
struct WrittenPages {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    length: u64,
    /// How much of the file itself has been part of it all the time.
    of_file: u64,
}

const PAGE: usize = 4096;

impl ScratchDisk {
    fn of(path: &Path) -> io::Result<Self> {
        let mut disk = FileDisk::new(path.to_path_buf());
        // It is locked from here on, if there is something to lock.
        let noted =
            if path.with_file_name(LOCK_NAME).try_exists()? { disk.noted()? } else { FoundNote::Nothing };
        Ok(Self { path: path.to_path_buf(), locked: disk, noted })
    }
}

impl Disk for ScratchDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&mut self) -> io::Result<DiskMedium> {
        Ok(DiskMedium { backend: Box::new(ScratchFile::of(&self.path)?), file: None })
    }

    fn open_segment(&mut self, which: usize) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(ScratchFile::of(&segment_path(&self.path, which))?))
    }

    fn open_renewals(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(ScratchFile::of(&self.path.with_file_name(RENEWALS_NAME))?))
    }

    fn boot(&self) -> Option<MachineBoot> {
        self.locked.boot()
    }

    fn set_aside(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn noted(&mut self) -> io::Result<FoundNote> {
        Ok(self.noted)
    }

    fn note(&mut self, _: BatchNote) -> io::Result<()> {
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ScratchFile {
    /// One that is not there is empty.
    fn of(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
        Ok(Self {
            file,
            written: Mutex::new(WrittenPages { pages: BTreeMap::new(), length, of_file: length }),
        })
    }

    /// A page as the file has it.
    fn page(&self, number: u64, of_file: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        let begin = number * PAGE as u64;
        let there = of_file.saturating_sub(begin).min(PAGE as u64) as usize;
        if let (Some(file), Some(part)) = (&self.file, page.get_mut(..there)) {
            file.read_exact_at(part, begin)?;
        }
        Ok(page)
    }
}

/// The pages of a stretch: each with its number, and which of its bytes and of the stretch's they share.
fn pages(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE as u64) as usize;
        let count = (PAGE - within).min(length - done);
        let part = (count > 0).then_some((at / PAGE as u64, within, done, count));
        done += count;
        part
    })
}

impl StorageBackend for ScratchFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock();
        if offset + out.len() as u64 > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, done, count) in pages(offset, out.len()) {
            let page = match written.pages.get(&number) {
                Some(page) => page.clone(),
                None => self.page(number, written.of_file)?,
            };
            out[done..done + count].copy_from_slice(&page[within..within + count]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written.lock();
        written.length = length;
        written.of_file = written.of_file.min(length);
        written.pages.retain(|number, _| number * (PAGE as u64) < length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock();
        for (number, within, done, count) in pages(offset, data.len()) {
            let mut page = match written.pages.remove(&number) {
                Some(page) => page,
                None => self.page(number, written.of_file)?,
            };
            page[within..within + count].copy_from_slice(&data[done..done + count]);
            written.pages.insert(number, page);
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commit, Pulse, RecordId, RecordKind, Store, Write};

    #[tokio::test]
    async fn a_log_that_could_not_be_written_to_the_file_is_not_given_up() {
        let (used, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = EmbeddedStore::open(used.path()).unwrap();
        let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
        let id = RecordId::new(RecordKind::of("thing"), "a");
        let writes = vec![Write::Put { id, value: bytes::Bytes::from_static(b"a"), group: None }];
        store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
        for file in std::fs::read_dir(used.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), killed.path().join(file.file_name())).unwrap();
        }
        let path = killed.path().join(FILE_NAME);
        let compacted = open::compact(&mut FileDisk::new(path), &Arc::default());
        assert!(matches!(compacted, Err(OpenError::Io { .. })), "{compacted:?}");
        drop(store);
        let path = used.path().join(FILE_NAME);
        open::compact(&mut FileDisk::new(path), &Arc::default()).expect("all is in the file");
    }
}
