//! The file that is being written, and when it is followed by another. Blocks.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Instant;

use omnirelay_host::wall_clock;
use tracing::{debug, warn};

use super::disk::sync_folder;
use super::finish::FileFinisher;
use super::names::{FileName, PARTIAL, PLAIN, ZSTD};
use super::{Disk, FileSettings, OpenFile};
use crate::RELAY_RUNBOOK;
use crate::sinks::worker::WriteError;

/// The most files of one second.
const NAMES_TRIED: usize = 10_000;

/// Files of a sink: the current one is written, closed ones are finished.
pub(super) struct SinkFiles {
    disk: Box<dyn Disk>,
    settings: FileSettings,
    current: Option<CurrentFile>,
    finisher: FileFinisher,
    /// What is written in one go.
    buffer: Vec<u8>,
}

/// File that is being written now.
struct CurrentFile {
    file: Box<dyn OpenFile>,
    name: FileName,
    /// Up to where it holds whole lines that count as written.
    length: u64,
    begun: Instant,
}

impl SinkFiles {
    pub(super) fn new(disk: Box<dyn Disk>, settings: FileSettings) -> Self {
        let finisher = FileFinisher::start(&settings);
        Self { disk, settings, current: None, finisher, buffer: Vec::new() }
    }

    /// Time at which the file is to be followed by another.
    pub(super) fn due(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.begun + self.settings.rotate_every)
    }

    /// Closes the file if it is old enough; the next write begins another.
    pub(super) fn rotate_if_due(&mut self) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.rotate();
        }
    }

    /// Appends all of it, whole, or as if nothing had been written.
    pub(super) fn write<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>) -> Result<(), WriteError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        texts.for_each(|text| buffer.extend_from_slice(text));
        let written = self.append(&buffer);
        self.buffer = buffer;
        written.map_err(|(doing, error)| {
            WriteError::Failed(format!("cannot {doing} in `{}`: {error}", self.settings.folder.display()))
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), (&'static str, io::Error)> {
        self.rotate_if_due();
        let room = |current: &CurrentFile| current.length + bytes.len() as u64 <= self.settings.rotate_bytes;
        // A single write larger than a whole file gets one of its own.
        if self.current.as_ref().is_some_and(|current| current.length > 0 && !room(current)) {
            self.rotate();
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin().map_err(|error| ("begin a file", error))?,
        };
        let mut written = current.file.append(bytes).map_err(|error| ("write", error));
        if written.is_ok() && self.settings.synced {
            written = current.file.sync().map_err(|error| ("put on the disk what was written", error));
        }
        match written {
            Ok(()) => {
                current.length += bytes.len() as u64;
                self.current = Some(current);
                Ok(())
            }
            Err((doing, error)) => {
                self.repair(current, &error);
                Err((doing, error))
            }
        }
    }

    /// Takes away what was written of lines that do not count. A file that may hold the half of one, or that fails
    /// for another reason than a lack of room, gets no more lines.
    fn repair(&mut self, mut current: CurrentFile, error: &io::Error) {
        let whole = current.file.truncate(current.length);
        if let Err(error) = &whole {
            let file = self.path(current.name, PLAIN);
            warn!(file = %file.display(), length = current.length, error = %error, runbook = RELAY_RUNBOOK, "half a line was left at the end");
        }
        let may_go_on = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if whole.is_ok() && (may_go_on || current.length == 0) {
            self.current = Some(current);
        } else {
            self.finisher.closed(current.name);
        }
    }

    fn rotate(&mut self) {
        if let Some(current) = self.current.take() {
            let CurrentFile { file, name, length, .. } = current;
            // Closed, and so free for whoever compresses it.
            drop(file);
            debug!(file = %self.path(name, PLAIN).display(), bytes = length, "telemetry file closed");
            self.finisher.closed(name);
        }
    }

    /// A new file, under a name that no file had.
    fn begin(&self) -> io::Result<CurrentFile> {
        let mut name = FileName { seconds: wall_clock::unix().as_secs(), at: 0 };
        for _ in 0..NAMES_TRIED {
            match self.create(name) {
                Ok(Some(file)) => return Ok(CurrentFile { file, name, length: 0, begun: Instant::now() }),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let Some(next) = name.next() else { break };
            name = next;
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "too many files of this second"))
    }

    /// `None`: there is or was a file of this name.
    fn create(&self, name: FileName) -> io::Result<Option<Box<dyn OpenFile>>> {
        for ending in [ZSTD, PARTIAL] {
            if self.path(name, ending).try_exists()? {
                return Ok(None);
            }
        }
        let path = self.path(name, PLAIN);
        let file = self.disk.create(&path)?;
        // One of this name may have been compressed since it was looked for, and whoever does that would take the new
        // one for what it has compressed already.
        if self.path(name, ZSTD).try_exists()? {
            std::fs::remove_file(path)?;
            return Ok(None);
        }
        if self.settings.synced
            && let Err(error) = sync_folder(&self.settings.folder)
        {
            // It is empty, and nothing refers to it.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(Some(file))
    }

    fn path(&self, name: FileName, ending: &str) -> std::path::PathBuf {
        name.path(Path::new(&self.settings.folder), &self.settings.prefix, ending)
    }

    /// Puts what was written on the disk. Files that wait to be compressed are left to the next start.
    pub(super) fn close(&mut self) -> Result<(), WriteError> {
        let synced = match self.current.take() {
            Some(mut current) => current.file.sync(),
            None => Ok(()),
        };
        self.finisher.stop();
        synced.map_err(|error| {
            let folder = self.settings.folder.display();
            WriteError::Failed(format!("cannot put on the disk what was written in `{folder}`: {error}"))
        })
    }
}
