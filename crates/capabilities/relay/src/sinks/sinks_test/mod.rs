//! Sinks as streams use them.

mod delivering;
mod disks;
mod files;
mod lines;
mod queueing;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_settings::{AcknowledgeWhen, Backpressure, QueueConfig};
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Semaphore;

use super::envelope::SinkBatch;
use super::open::{SinkOpener, SinkSpec, SinkTarget};
use super::queue::WriteBounds;
use super::worker::{SinkWriter, WriteError};
use super::{Sink, SinkKind, Sinks, type_name};
use crate::batch::{Frame, FrameBatch};
use crate::metrics::sinks::{SinkCounts, SinkMetrics};

const PATIENCE: Duration = Duration::from_secs(30);

fn frame(message: TelemetryFrame) -> Frame {
    let raw = Bytes::from(message.encode_to_vec());
    Frame { message, raw }
}

/// Frames of an agent with these sequence numbers.
pub(super) fn batch(agent: &str, seqs: impl IntoIterator<Item = u64>) -> Arc<FrameBatch> {
    let message = |seq| TelemetryFrame { seq, msg_name: "HEARTBEAT".to_owned(), ..TelemetryFrame::default() };
    let frames = seqs.into_iter().map(|seq| frame(message(seq))).collect();
    Arc::new(FrameBatch { agent_id: agent.into(), received_unix_ns: 1_700_000_000_000_000_001, frames })
}

pub(super) fn item(agent: &str, seqs: impl IntoIterator<Item = u64>) -> Arc<SinkBatch> {
    Arc::new(SinkBatch::new(batch(agent, seqs)))
}

pub(super) fn metrics() -> Arc<SinkMetrics> {
    omnirelay_host::chance::seed_thread();
    Arc::new(SinkMetrics::new(&prometheus::Registry::new()).unwrap())
}

fn counts(name: &str) -> SinkCounts {
    metrics().of(name, type_name(name))
}

/// Agent and number of each line.
pub(super) fn seqs(text: &str) -> Vec<(String, u64)> {
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["agent_id"].as_str().unwrap().to_owned(), line["sequence"].as_u64().unwrap())
    };
    text.lines().map(read).collect()
}

/// Waits for what must come true.
pub(super) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All files of a folder, in the order of their names.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Script of a stub: what it does, and what it was given.
struct Script {
    /// One for each write that may go on.
    go: Semaphore,
    failing: AtomicBool,
    panicking: AtomicBool,
    /// Batches with this number as their first are refused.
    refusing: AtomicUsize,
    written: Mutex<Vec<(String, u64)>>,
    /// How many batches there were in each write.
    groups: Mutex<Vec<usize>>,
    closed: AtomicBool,
}

struct Stub(Arc<Script>);

impl Script {
    fn new(go: usize) -> Arc<Self> {
        Arc::new(Self {
            go: Semaphore::new(go),
            failing: AtomicBool::new(false),
            panicking: AtomicBool::new(false),
            refusing: AtomicUsize::new(usize::MAX),
            written: Mutex::default(),
            groups: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    fn written(&self) -> Vec<(String, u64)> {
        self.written.lock().clone()
    }
}

#[async_trait]
impl SinkWriter for Stub {
    fn bounds(&self) -> WriteBounds {
        WriteBounds { frames: 1000, bytes: 1024 * 1024 }
    }

    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError> {
        self.0.go.acquire().await.unwrap().forget();
        if self.0.failing.load(Ordering::SeqCst) {
            self.0.go.add_permits(1);
            return Err(WriteError::Failed("as planned".to_owned()));
        }
        assert!(!self.0.panicking.swap(false, Ordering::SeqCst), "as planned");
        let refusing = self.0.refusing.load(Ordering::SeqCst) as u64;
        if items.iter().any(|item| item.batch.frames[0].message.seq == refusing) {
            return Err(WriteError::Refused("as planned".to_owned()));
        }
        self.0.groups.lock().push(items.len());
        let texts = items.iter().map(|item| String::from_utf8(item.lines().text.clone()).unwrap());
        self.0.written.lock().extend(texts.flat_map(|text| seqs(&text)));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), WriteError> {
        self.0.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn queue_of(size: usize, backpressure: impl Into<Option<Backpressure>>) -> QueueConfig {
    QueueConfig { size, backpressure: backpressure.into(), ..QueueConfig::default() }
}

/// A sink on a stub that may write for ever.
fn stub_sink(name: &'static str, acknowledges: bool, queue: &QueueConfig) -> (Sink, Arc<Script>) {
    stub_sink_with(name, acknowledges, queue, Script::new(Semaphore::MAX_PERMITS / 2))
}

fn stub_sink_with(
    name: &'static str,
    acknowledges: bool,
    queue: &QueueConfig,
    script: Arc<Script>,
) -> (Sink, Arc<Script>) {
    let kind = SinkKind { name, acknowledges, patience: Duration::from_secs(2) };
    let writer = Box::new(Stub(Arc::clone(&script)));
    (Sink::start(spec_of(kind, queue, AcknowledgeWhen::Written), writer, counts(name)), script)
}

fn spec_of(kind: SinkKind, queue: &QueueConfig, when: AcknowledgeWhen) -> SinkSpec {
    SinkSpec::of(kind, queue, when, SinkTarget::Stdout)
}

fn sinks_of(sinks: Vec<Sink>) -> Sinks {
    Sinks::of(sinks, SinkOpener { metrics: metrics(), trust: Arc::default() })
}
