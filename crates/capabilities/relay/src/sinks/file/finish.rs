//! Finishing of files that get no more lines: they are put on the disk, compressed, and go when there are too many. On
//! a thread of its own, so that no write waits for it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use omnirelay_settings::FileCompression;
use tracing::{debug, warn};

use super::FileSettings;
use super::disk::sync_folder;
use super::names::{self, FileName, PARTIAL, PLAIN, ZSTD};
use crate::RELAY_RUNBOOK;

/// Level 3 is zstd's own default.
const LEVEL: i32 = 3;
/// How much is read at a time; between two reads it can be stopped.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many files may wait. Further ones are found with the next that is closed, as all are looked for.
const WAITING_MAX: usize = 64;

/// Finisher of closed files: its thread, and the way to it.
pub(super) struct FileFinisher {
    closed: Option<SyncSender<FileName>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FileFinisher {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Task of the thread: finishes the files that were closed.
struct FinisherTask {
    settings: FileSettings,
    stopping: Arc<AtomicBool>,
}

impl FileFinisher {
    /// Begins with what an earlier process left to be done.
    pub(super) fn start(settings: &FileSettings) -> Self {
        let (closed, names) = sync_channel(WAITING_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let finishing = FinisherTask { settings: settings.clone(), stopping: Arc::clone(&stopping) };
        let thread =
            thread::Builder::new().name("sink-files".to_owned()).spawn(move || finishing.run(&names));
        if let Err(error) = &thread {
            warn!(error = %error, runbook = RELAY_RUNBOOK, "closed telemetry files stay as they are until the next start");
        }
        Self { closed: Some(closed), stopping, thread: thread.ok() }
    }

    /// A file gets no more lines.
    pub(super) fn closed(&self, name: FileName) {
        let Some(closed) = &self.closed else { return };
        match closed.try_send(name) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Stops it within a chunk of a file; what is left is done at the next start.
    pub(super) fn stop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.closed = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that compresses telemetry files panicked");
        }
    }
}

impl FinisherTask {
    fn run(self, closed: &Receiver<FileName>) {
        if let Err(error) = self.remove_orphans() {
            let folder = self.settings.folder.display();
            warn!(folder = %folder, error = %error, runbook = RELAY_RUNBOOK, "cannot look after what an earlier process left");
        }
        self.finish_all();
        while let Ok(name) = closed.recv() {
            if let Err(error) = File::open(self.path(name, PLAIN)).and_then(|file| file.sync_data()) {
                warn!(file = %self.path(name, PLAIN).display(), error = %error, runbook = RELAY_RUNBOOK, "cannot put a file on the disk");
            }
            self.finish_all();
        }
    }

    /// Removes what was being compressed of files that are gone.
    fn remove_orphans(&self) -> io::Result<()> {
        let FileSettings { folder, prefix, .. } = &self.settings;
        for name in names::all(folder, prefix, PARTIAL)? {
            if !self.path(name, PLAIN).try_exists()? {
                std::fs::remove_file(self.path(name, PARTIAL))?;
            }
        }
        Ok(())
    }

    fn finish_all(&self) {
        if self.is_stopped() {
            return;
        }
        if let Err(error) = self.compress_all().and_then(|()| self.prune()) {
            let folder = self.settings.folder.display();
            warn!(folder = %folder, error = %error, runbook = RELAY_RUNBOOK, "cannot look after closed telemetry files");
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn compress_all(&self) -> io::Result<()> {
        let FileSettings { folder, prefix, compress, .. } = &self.settings;
        if *compress == FileCompression::None {
            return Ok(());
        }
        for name in names::all(folder, prefix, PLAIN)? {
            if self.is_stopped() {
                break;
            }
            if let Err(error) = self.compress(name) {
                let file = self.path(name, PLAIN);
                warn!(file = %file.display(), error = %error, runbook = RELAY_RUNBOOK, "cannot compress a telemetry file");
            }
        }
        Ok(())
    }

    /// Compresses a file that nobody writes. The compressed one gets its name when it is whole and on the disk, and
    /// only then does the other go.
    fn compress(&self, name: FileName) -> io::Result<()> {
        let [plain, partial, whole] = [PLAIN, PARTIAL, ZSTD].map(|ending| self.path(name, ending));
        // Locked until it is gone.
        let source = File::open(&plain)?;
        if source.try_lock().is_err() || source.metadata()?.len() == 0 {
            return Ok(());
        }
        if !whole.try_exists()? {
            if !self.copy(&source, &partial)? {
                return std::fs::remove_file(partial);
            }
            std::fs::rename(&partial, &whole)?;
            sync_folder(&self.settings.folder)?;
        }
        std::fs::remove_file(&plain)?;
        debug!(file = %whole.display(), "telemetry file compressed");
        Ok(())
    }

    /// False: it was stopped before the end.
    fn copy(&self, mut source: &File, to: &PathBuf) -> io::Result<bool> {
        // What is there was left by a process that ended meanwhile.
        let target = OpenOptions::new().write(true).create(true).truncate(true).open(to)?;
        target.set_permissions(source.metadata()?.permissions())?;
        let mut encoder = zstd::Encoder::new(target, LEVEL)?;
        encoder.include_checksum(true)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.is_stopped() {
                return Ok(false);
            }
            match source.read(&mut chunk)? {
                0 => break,
                read => encoder.write_all(&chunk[..read])?,
            }
        }
        encoder.finish()?.sync_all()?;
        Ok(true)
    }

    /// Removes the oldest of more files than are kept; never one that a process writes.
    fn prune(&self) -> io::Result<()> {
        let FileSettings { folder, prefix, files_max, .. } = &self.settings;
        if *files_max == 0 {
            return Ok(());
        }
        let of =
            |ending| names::all(folder, prefix, ending).map(|all| all.into_iter().map(move |n| (n, ending)));
        let mut all: Vec<_> = of(PLAIN)?.chain(of(ZSTD)?).collect();
        all.sort_unstable();
        let excess = all.len().saturating_sub(*files_max);
        for (name, ending) in all.into_iter().take(excess) {
            let path = self.path(name, ending);
            match remove_unused(&path) {
                Ok(true) => debug!(file = %path.display(), "old telemetry file removed"),
                Ok(false) => {}
                Err(error) => {
                    warn!(file = %path.display(), error = %error, runbook = RELAY_RUNBOOK, "cannot remove a telemetry file");
                }
            }
        }
        Ok(())
    }

    fn path(&self, name: FileName, ending: &str) -> PathBuf {
        name.path(&self.settings.folder, &self.settings.prefix, ending)
    }
}

/// Removes a file. False: a process writes it, and it stays.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => std::fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
