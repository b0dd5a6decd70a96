//! Opening of the sinks, as they are configured.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::client::ExpectedServers;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::{AcknowledgeWhen, FileSinkConfig, QueueConfig, SinksConfig};

use super::file::{FileSettings, FileWriter};
use super::http::HttpWriter;
use super::redis::{self, RedisWriter};
use super::stdout::StdoutWriter;
use super::worker::SinkWriter;
use super::{Sink, SinkKind, Sinks};
use crate::metrics::sinks::SinkMetrics;

/// How long what is on this host may do nothing before those who wait give up; a server has as long beyond its timeout.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reason why a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error("cannot write telemetry files in `{path}`; choose another folder with relay.sinks.file.path")]
    Folder { path: PathBuf, source: io::Error },
    #[error("`{key}`: {what}")]
    Setting { key: &'static str, what: String },
}

/// Opening of all sinks of a relay: what they are opened with.
struct SinkOpening<'a> {
    when: AcknowledgeWhen,
    metrics: &'a SinkMetrics,
    has_file: bool,
    sinks: Vec<Sink>,
}

impl Sinks {
    /// Opens the sinks that are configured; where none is, files in `default_folder`. A server that cannot be reached
    /// is no error. `trust` is by what the node judges certificates. To be called within a runtime, which the sinks then use.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn open(
        config: &SinksConfig,
        when: AcknowledgeWhen,
        default_folder: &Path,
        metrics: Arc<SinkMetrics>,
        trust: &Arc<MeshTrust>,
    ) -> Result<Self, SinkError> {
        let SinksConfig { file, redis, http, stdout } = config;
        let has_file = config.has_file();
        let mut opening = SinkOpening { when, metrics: &metrics, has_file, sinks: Vec::new() };
        if has_file {
            let folder = file.path.as_deref().unwrap_or(default_folder);
            let writer = Box::new(file_writer(file, folder, when)?);
            opening.start(("file", "FileSink"), PATIENCE, writer, &file.queue);
        }
        if let Some((url, password)) = redis.server().map_err(setting)? {
            let writer = Box::new(RedisWriter::new(url, password, &redis.stream, redis.entries_max));
            opening.start(("redis", "RedisSink"), redis::PATIENCE, writer, &redis.queue);
        }
        if let Some(url) = http.server().map_err(setting)? {
            let tls = http.tls.client(ExpectedServers::NodesAndServices, trust);
            let writer = HttpWriter::open(url, tls, http.timeout.0, http.batch_frames);
            let patience = http.timeout.0 + PATIENCE;
            opening.start(("http", "HTTPSink"), patience, Box::new(writer), &http.queue);
        }
        if stdout.enabled {
            let writer = Box::new(StdoutWriter::new());
            opening.start(("stdout", "StdoutSink"), PATIENCE, writer, &stdout.queue);
        }
        Ok(Self { sinks: opening.sinks })
    }
}

impl SinkOpening<'_> {
    fn start(
        &mut self,
        (name, type_name): (&'static str, &'static str),
        patience: Duration,
        writer: Box<dyn SinkWriter>,
        queue: &QueueConfig,
    ) {
        let acknowledges = queue.acknowledges.unwrap_or(name == "file" || !self.has_file);
        let kind = SinkKind { name, acknowledges, patience };
        let counts = self.metrics.of(name, type_name);
        self.sinks.push(Sink::start(kind, writer, queue, self.when, counts));
    }
}

fn setting((key, what): (&'static str, String)) -> SinkError {
    SinkError::Setting { key, what }
}

fn file_writer(
    config: &FileSinkConfig,
    folder: &Path,
    when: AcknowledgeWhen,
) -> Result<FileWriter, SinkError> {
    let settings = FileSettings {
        folder: folder.to_owned(),
        prefix: config.prefix.clone(),
        rotate_every: config.rotate_every.0,
        rotate_bytes: config.rotate_bytes,
        compress: config.compress,
        files_max: config.files_max,
        synced: when == AcknowledgeWhen::Synced,
    };
    FileWriter::open(settings).map_err(|source| SinkError::Folder { path: folder.to_owned(), source })
}
