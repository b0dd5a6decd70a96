//! Opening of the sinks, as they are configured.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::client::ExpectedServers;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::{
    AcknowledgeWhen, FileSinkConfig, HttpSinkConfig, QueueConfig, RedisSinkConfig, SinksConfig,
};
use parking_lot::{Mutex, RwLock};

use super::file::{FileSettings, FileWriter};
use super::http::HttpWriter;
use super::queue::Ticket;
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

/// Settings of one sink: what it is, and what it writes to.
#[derive(Clone, PartialEq)]
pub struct SinkSpec {
    pub(super) kind: SinkKind,
    pub(super) ticket: Ticket,
    pub(super) queue: QueueConfig,
    pub(super) target: SinkTarget,
}

/// Target of a sink.
#[derive(Clone, PartialEq)]
pub(super) enum SinkTarget {
    File(FileSettings),
    Redis(RedisSinkConfig),
    Http(HttpSinkConfig),
    Stdout,
}

/// The sinks that are configured; where none is, files in `default_folder`.
pub fn sink_specs(config: &SinksConfig, when: AcknowledgeWhen, default_folder: &Path) -> Vec<SinkSpec> {
    let SinksConfig { file, redis, http, stdout } = config;
    let has_file = config.has_file();
    let of = |name, patience, queue: &QueueConfig, target| {
        let acknowledges = queue.acknowledges.unwrap_or(name == "file" || !has_file);
        SinkSpec::of(SinkKind { name, acknowledges, patience }, queue, when, target)
    };
    let mut specs = Vec::new();
    if has_file {
        let folder = file.path.as_deref().unwrap_or(default_folder);
        specs.push(of("file", PATIENCE, &file.queue, SinkTarget::File(file_settings(file, folder, when))));
    }
    if redis.url.is_some() {
        specs.push(of("redis", redis::PATIENCE, &redis.queue, SinkTarget::Redis(redis.clone())));
    }
    if http.url.is_some() {
        let patience = http.timeout.0 + PATIENCE;
        specs.push(of("http", patience, &http.queue, SinkTarget::Http(http.clone())));
    }
    if stdout.enabled {
        specs.push(of("stdout", PATIENCE, &stdout.queue, SinkTarget::Stdout));
    }
    specs
}

impl SinkSpec {
    pub(super) fn of(kind: SinkKind, queue: &QueueConfig, when: AcknowledgeWhen, target: SinkTarget) -> Self {
        let ticket = match when {
            AcknowledgeWhen::Written | AcknowledgeWhen::Synced if kind.acknowledges => Ticket::Wanted,
            AcknowledgeWhen::Queued | AcknowledgeWhen::Written | AcknowledgeWhen::Synced => Ticket::No,
        };
        Self { kind, ticket, queue: queue.clone(), target }
    }

    /// Checks that it can be opened, as far as that can be said without changing anything.
    ///
    /// # Errors
    /// [`SinkError`].
    pub(super) fn check(&self) -> Result<(), SinkError> {
        match &self.target {
            SinkTarget::File(settings) => {
                let folder = &settings.folder;
                FileWriter::check(folder).map_err(|source| SinkError::Folder { path: folder.clone(), source })
            }
            SinkTarget::Redis(config) => config.server().map(drop).map_err(setting),
            SinkTarget::Http(config) => config.server().map(drop).map_err(setting),
            SinkTarget::Stdout => Ok(()),
        }
    }
}

/// Opener of sinks: what all of them are opened with.
pub(super) struct SinkOpener {
    pub metrics: Arc<SinkMetrics>,
    /// By what the node judges certificates.
    pub trust: Arc<MeshTrust>,
}

impl SinkOpener {
    /// Opens a sink. A server that cannot be reached is no error. To be called within a runtime, which the sink then uses.
    ///
    /// # Errors
    /// [`SinkError`].
    pub(super) fn open(&self, spec: SinkSpec) -> Result<Sink, SinkError> {
        let writer = self.writer(&spec.target)?;
        let name = spec.kind.name;
        let counts = self.metrics.of(name, type_name(name));
        Ok(Sink::start(spec, writer, counts))
    }

    fn writer(&self, target: &SinkTarget) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(match target {
            SinkTarget::File(settings) => {
                let path = settings.folder.clone();
                let opened = FileWriter::open(settings.clone());
                Box::new(opened.map_err(|source| SinkError::Folder { path, source })?)
            }
            SinkTarget::Redis(config) => {
                let (url, password) = config.server().map_err(setting)?.ok_or_else(|| off("redis"))?;
                Box::new(RedisWriter::new(url, password, &config.stream, config.entries_max))
            }
            SinkTarget::Http(config) => {
                let url = config.server().map_err(setting)?.ok_or_else(|| off("http"))?;
                let tls = config.tls.client(ExpectedServers::NodesAndServices, &self.trust);
                Box::new(HttpWriter::open(url, tls, config.timeout.0, config.batch_frames))
            }
            SinkTarget::Stdout => Box::new(StdoutWriter::new()),
        })
    }
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
        let opener = SinkOpener { metrics, trust: trust.clone() };
        let specs = sink_specs(config, when, default_folder).into_iter();
        let sinks = specs.map(|spec| opener.open(spec)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(sinks, opener))
    }

    pub(super) fn of(sinks: Vec<Sink>, opener: SinkOpener) -> Self {
        let current = sinks.into_iter().map(Arc::new).collect();
        Self { opener, current: RwLock::new(Arc::new(current)), retired: Mutex::default() }
    }
}

/// Names of the sinks that there can be.
pub(crate) const SINKS: [&str; 4] = ["file", "redis", "http", "stdout"];

/// Name by which streams know a sink.
pub(crate) fn type_name(name: &str) -> &'static str {
    match name {
        "redis" => "RedisSink",
        "http" => "HTTPSink",
        "stdout" => "StdoutSink",
        _ => "FileSink",
    }
}

fn setting((key, what): (&'static str, String)) -> SinkError {
    SinkError::Setting { key, what }
}

/// What is configured without an address is none of the specs.
fn off(name: &str) -> SinkError {
    SinkError::Setting { key: "relay.sinks", what: format!("sink `{name}` has no address") }
}

fn file_settings(config: &FileSinkConfig, folder: &Path, when: AcknowledgeWhen) -> FileSettings {
    FileSettings {
        folder: folder.to_owned(),
        prefix: config.prefix.clone(),
        rotate_every: config.rotate_every.0,
        rotate_bytes: config.rotate_bytes,
        compress: config.compress,
        files_max: config.files_max,
        synced: when == AcknowledgeWhen::Synced,
    }
}
