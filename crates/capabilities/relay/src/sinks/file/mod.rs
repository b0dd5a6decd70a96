//! JSON Lines in files.

mod disk;
mod files;
mod finish;
mod names;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_settings::FileCompression;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::envelope::SinkBatch;
use super::queue::WriteBounds;
use super::worker::{SinkWriter, WriteError};

pub(super) use disk::{Disk, OpenFile, RealDisk};
use files::SinkFiles;

const BOUNDS: WriteBounds = WriteBounds { frames: 4000, bytes: 1024 * 1024 };

/// Settings of telemetry files.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileSettings {
    pub folder: PathBuf,
    pub prefix: String,
    pub rotate_every: Duration,
    pub rotate_bytes: u64,
    pub compress: FileCompression,
    /// 0: all are kept.
    pub files_max: usize,
    /// Whether what is written is put on the disk before it counts as written.
    pub synced: bool,
}

/// Writes files, on threads that may block.
pub(super) struct FileWriter {
    files: Arc<Mutex<SinkFiles>>,
    due: Option<Instant>,
}

impl FileWriter {
    /// Makes the folder, tries whether it can be written, and has what an earlier process left compressed.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub(super) fn open(settings: FileSettings) -> std::io::Result<Self> {
        disk::try_folder(&settings.folder, settings.synced)?;
        Ok(Self::on(Box::new(RealDisk), settings))
    }

    /// Checks that a folder can be written, or made. Makes none.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn check(folder: &Path) -> std::io::Result<()> {
        disk::check_folder(folder)
    }

    /// The same on a disk of one's own.
    pub(super) fn on(disk: Box<dyn Disk>, settings: FileSettings) -> Self {
        let files = Arc::new(Mutex::new(SinkFiles::new(disk, settings)));
        Self { files, due: None }
    }

    /// Does something with the files where it may block.
    async fn with<T: Send + 'static>(
        &mut self,
        act: impl FnOnce(&mut SinkFiles) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        let files = Arc::clone(&self.files);
        let done = spawn_blocking(move || {
            let mut files = files.lock();
            let answer = act(&mut files);
            (answer, files.due())
        });
        match done.await {
            Ok((answer, due)) => {
                self.due = due.map(Instant::from_std);
                Ok(answer)
            }
            // A file that was being written is gone from them, and the next write begins another.
            Err(error) => Err(WriteError::Failed(format!("the thread that writes ended: {error}"))),
        }
    }
}

#[async_trait]
impl SinkWriter for FileWriter {
    fn bounds(&self) -> WriteBounds {
        BOUNDS
    }

    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError> {
        let items = items.to_vec();
        self.with(move |files| files.write(items.iter().map(|item| item.lines().text.as_slice()))).await?
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    async fn attend(&mut self) {
        // Only a thread that panics fails, and then the next write begins a new file.
        let _ = self.with(SinkFiles::rotate_if_due).await;
    }

    async fn close(&mut self) -> Result<(), WriteError> {
        self.with(SinkFiles::close).await?
    }
}
