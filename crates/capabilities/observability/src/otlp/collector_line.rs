//! The line to the collector for one kind of what is sent: one request at a time, and a pause that grows while none is taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::backoff::Backoff;
use omnirelay_host::chance::random_part;
use omnirelay_host::live::Live;
use omnirelay_host::log::{LogLimiter, LogTurn};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_settings::OtlpConfig;
use tracing::{info, warn};

use super::collector::{Collector, PostOutcome};
use super::export_metrics::{DropCause, ExportMetrics, ExportedKind};

/// Pauses after a request that was not taken: a collector that comes back has the next one within half a minute.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// How often is told what a collector does not take.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);

/// Outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    /// It was taken, or never will be; it is counted.
    Over,
    /// It may be taken after this pause.
    Later(Duration),
    /// There is no collector.
    Nowhere,
}

/// Parts that the lines of a node have in common.
#[derive(Clone)]
pub(super) struct LineParts {
    pub settings: Live<OtlpConfig>,
    pub trust: Arc<MeshTrust>,
    pub counts: Arc<ExportMetrics>,
}

/// Line to the collector that is set by then.
pub(super) struct CollectorLine {
    pub settings: Live<OtlpConfig>,
    pub counts: Arc<ExportMetrics>,
    kind: ExportedKind,
    trust: Arc<MeshTrust>,
    /// The settings that the collector is of; both are made when something is sent.
    used: Option<OtlpConfig>,
    collector: Option<Collector>,
    failures: u32,
    refusals: LogLimiter,
}

impl CollectorLine {
    pub(super) fn new(kind: ExportedKind, parts: LineParts) -> Self {
        let LineParts { settings, trust, counts } = parts;
        let refusals = LogLimiter::new(1, REFUSALS_EVERY);
        Self { settings, counts, kind, trust, used: None, collector: None, failures: 0, refusals }
    }

    /// Sends a request with so many spans or points. Where other settings are taken over meanwhile, it is sent by those at once.
    pub(super) async fn send(&mut self, count: u64, body: &Bytes) -> SendOutcome {
        loop {
            let settings = self.settings.get();
            if self.used.as_ref() != Some(&settings) {
                self.collector = Collector::of(&settings, &self.trust);
                self.failures = 0;
            }
            let used = self.used.insert(settings);
            let Some(collector) = &self.collector else { return SendOutcome::Nowhere };
            tokio::select! {
                outcome = collector.post(self.kind, body.clone()) => return self.note(count, outcome),
                _ = self.settings.other_than(used) => {}
            }
        }
    }

    fn note(&mut self, count: u64, outcome: PostOutcome) -> SendOutcome {
        let kind = self.kind;
        match outcome {
            PostOutcome::Taken { rejected, said } => {
                self.note_answered();
                let rejected = rejected.min(count);
                self.counts.count_sent(kind, count - rejected);
                self.counts.count_dropped(kind, DropCause::Rejected, rejected);
                if (rejected > 0 || !said.is_empty())
                    && let Some(LogTurn { left_out }) = self.refusals.turn()
                {
                    warn!(
                        kind = kind.word(),
                        rejected, count, said, left_out, "collector rejected a part, or warns"
                    );
                }
                SendOutcome::Over
            }
            PostOutcome::Refused(error) => {
                self.note_answered();
                self.counts.count_dropped(kind, DropCause::Refused, count);
                if let Some(LogTurn { left_out }) = self.refusals.turn() {
                    warn!(kind = kind.word(), count, error, left_out, "collector refused a request");
                }
                SendOutcome::Over
            }
            PostOutcome::Failed { why, wait } => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    warn!(kind = kind.word(), error = why, "collector was not reached");
                }
                let pause = BACKOFF.after(self.failures, random_part());
                SendOutcome::Later(wait.map_or(pause, |wait| wait.max(pause)))
            }
        }
    }

    fn note_answered(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            info!(kind = self.kind.word(), "collector was reached again");
        }
    }
}
