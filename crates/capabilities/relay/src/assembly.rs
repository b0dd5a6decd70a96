//! A relay, put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::metrics::Metrics;
use omnirelay_registry::Registry;
use omnirelay_settings::{RelayConfig, TelemetryWire};
use omnirelay_wire::telemetry::StreamShape;
use tokio::task::JoinSet;

use super::commands::RelayCommands;
use super::control::RelayController;
use super::gateway::GatewayCalls;
use super::identity::relay_id;
use super::report::{Reports, ReportsHealth};
use super::sessions::{AgentSessions, SessionSettings};
use super::sinks::{SinkError, Sinks};
use super::stream::{IntakeSettings, TelemetryIntake};
use crate::metrics::publish::PublishMetrics;
use crate::metrics::relay::RelayMetrics;
use crate::metrics::reports::ReportsMetrics;
use crate::metrics::sinks::SinkMetrics;
use crate::publish::Publications;

/// How long keys that are taken back and sinks that are closed may take, each.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
const SINKS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a relay may take to stop, once its streams have ended.
pub const STOP_LIMIT: Duration = LEAVE_TIMEOUT.saturating_add(SINKS_TIMEOUT);

/// Reason why a relay cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("cannot send telemetry where it should go")]
    Sinks(#[from] SinkError),
    #[error("cannot count")]
    Metrics(#[from] prometheus::Error),
}

/// A running relay. Dropping it ends it as a crash would.
pub struct Relay {
    sessions: Arc<AgentSessions>,
    intake: Arc<TelemetryIntake>,
    commands: Arc<RelayCommands>,
    sinks: Arc<Sinks>,
    publications: Arc<Publications>,
    reports: Arc<Reports>,
    /// Where it is recorded who commanded what.
    registry: Arc<Registry>,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Starts a relay whose files are in `folder` unless it is said. To be called within a runtime.
    ///
    /// # Errors
    /// [`RelayError`]; nothing runs then.
    pub fn start(
        config: &RelayConfig,
        folder: &Path,
        registry: Arc<Registry>,
        reports: Arc<Reports>,
        metrics: &Metrics,
        trust: &Arc<MeshTrust>,
    ) -> Result<Self, RelayError> {
        let counted = RelayMetrics::new(metrics.all())?;
        let reports_metrics = ReportsMetrics::new(metrics.all())?;
        let sink_metrics = Arc::new(SinkMetrics::new(metrics.all())?);
        let publish_metrics = Arc::new(PublishMetrics::new(metrics.all())?);
        let sinks =
            Arc::new(Sinks::open(&config.sinks, config.acknowledge_when, folder, sink_metrics, trust)?);
        let (ttl, sessions_max) = (config.session_ttl.0, config.sessions_max);
        let publications = Arc::new(Publications::new(&config.publish, ttl, sessions_max, publish_metrics));
        let settings = SessionSettings { relay_id: relay_id(config), ttl, sessions_max };
        let sessions = Arc::new(AgentSessions::new(settings, publications.clone(), reports.clone()));
        let commands = Arc::new(RelayCommands::default());
        let intake =
            TelemetryIntake::new(intake_settings(config), sinks.clone(), counted.clone(), commands.clone());

        let mut tasks = JoinSet::new();
        let sweeping = sessions.clone();
        tasks.spawn(async move { sweeping.sweep().await });
        let publishing = publications.clone();
        tasks.spawn(async move { publishing.run().await });
        let reporting = reports.clone();
        tasks.spawn(async move { reporting.run().await });
        let (counting, reported) = (sessions.clone(), reports.clone());
        metrics.before_scrape(move || {
            let (sessions, streams) = counting.counts();
            counted.set(sessions, streams);
            counted.retain(&counting.agents());
            let ReportsHealth { is_registered, failing_for, agents, agents_known, .. } = reported.health();
            reports_metrics.set(is_registered, failing_for, agents, agents_known);
        });
        let intake = Arc::new(intake);
        Ok(Self { sessions, intake, commands, sinks, publications, reports, registry, tasks })
    }

    /// Calls of agents, as the gateway serves them.
    pub fn gateway(&self) -> GatewayCalls {
        GatewayCalls::new(self.sessions.clone(), self.intake.clone())
    }

    /// Controller that operators and services ask.
    pub fn control(&self) -> RelayController {
        RelayController::new(self.sessions.clone(), self.commands.clone(), self.registry.clone())
    }

    /// Trouble with the sinks; `None` while all of them take telemetry.
    pub fn sink_trouble(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        sink_trouble(self.sinks.clone())
    }

    /// Whether telemetry can be acknowledged: every sink that has to have it takes it.
    pub fn acknowledges(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        acknowledges(self.sinks.clone())
    }

    /// Trouble with the publication of keys; the outer `None` where nothing is published.
    pub fn publish_trouble(&self) -> Option<impl Fn() -> Option<String> + Send + Sync + 'static> {
        let publications = self.publications.clone();
        let trouble = {
            let publications = publications.clone();
            move || {
                let lasts = publications.health().failing_for?;
                Some(format!("the Redis for published keys has not answered for {} s", lasts.as_secs()))
            }
        };
        publications.health().is_on.then_some(trouble)
    }

    /// Trouble that keeps the registry from being told; the outer `None` where nothing is told.
    pub fn registry_trouble(&self) -> Option<impl Fn() -> Option<String> + Send + Sync + 'static> {
        let reports = self.reports.clone();
        let is_on = reports.health().is_on;
        let trouble = move || {
            let ReportsHealth { is_registered, failing_for, agents, agents_known, .. } = reports.health();
            let seconds = failing_for?.as_secs();
            let relay = if is_registered { "" } else { "the relay and " };
            let unknown = agents.saturating_sub(agents_known);
            Some(format!(
                "the registry could not be told of all for {seconds} s: {relay}{unknown} of {agents} agents are \
                 not known to it"
            ))
        };
        is_on.then_some(trouble)
    }

    /// Takes back what was published, and writes what the sinks still have. Streams have ended by then.
    pub async fn stop(mut self) {
        self.sessions.leave();
        self.publications.close(LEAVE_TIMEOUT).await;
        self.sinks.close(SINKS_TIMEOUT).await;
        self.tasks.shutdown().await;
    }
}

fn intake_settings(config: &RelayConfig) -> IntakeSettings {
    IntakeSettings {
        inflight_max: config.max_inflight,
        inflight_bytes_max: config.inflight_bytes_max,
        shape: match config.telemetry_wire {
            TelemetryWire::Auto => None,
            TelemetryWire::Legacy => Some(StreamShape::Legacy),
            TelemetryWire::Envelope => Some(StreamShape::Envelope),
        },
    }
}

fn sink_trouble(sinks: Arc<Sinks>) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    move || {
        let failing = sinks.health().into_iter().filter_map(|sink| {
            let what = sink.what?;
            Some(format!("{}: {what}", sink.name))
        });
        let failing: Vec<String> = failing.collect();
        (!failing.is_empty()).then(|| failing.join("; "))
    }
}

fn acknowledges(sinks: Arc<Sinks>) -> impl Fn() -> bool + Send + Sync + 'static {
    move || sinks.health().iter().all(|sink| sink.healthy || !sink.acknowledges)
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;

    use super::*;
    use crate::batch::{Frame, FrameBatch};
    use omnirelay_settings::{AcknowledgeWhen, FileSinkConfig, HttpSinkConfig, SinksConfig};

    /// Sinks with a server that nobody listens at, once it has failed.
    async fn failing(with_file: bool, folder: &Path) -> Arc<Sinks> {
        // Bound, so that nobody else can listen there, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let nobody = socket.local_addr().unwrap();
        let config = SinksConfig {
            file: FileSinkConfig { enabled: Some(with_file), ..FileSinkConfig::default() },
            http: HttpSinkConfig { url: Some(format!("http://{nobody}/")), ..HttpSinkConfig::default() },
            ..SinksConfig::default()
        };
        let metrics = Arc::new(SinkMetrics::new(&prometheus::Registry::new()).unwrap());
        let sinks = Arc::new(
            Sinks::open(&config, AcknowledgeWhen::Written, folder, metrics, &Arc::default()).unwrap(),
        );
        let frame = Frame { message: TelemetryFrame::default(), raw: bytes::Bytes::new() };
        let batch = FrameBatch { agent_id: "a".into(), received_unix_ns: 1, frames: vec![frame] };
        let handed = sinks.take(Arc::new(batch)).await;
        while sinks.health().iter().all(|sink| sink.healthy) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(handed);
        sinks
    }

    #[tokio::test]
    async fn only_a_sink_that_acknowledges_makes_a_relay_unready() {
        for (what, with_file) in [("beside a file", true), ("alone", false)] {
            let place = tempfile::tempdir().unwrap();
            let sinks = failing(with_file, place.path()).await;
            assert_eq!(acknowledges(sinks.clone())(), with_file, "{what}");
            let trouble = sink_trouble(sinks)().unwrap_or_default();
            assert!(trouble.starts_with("http: "), "{what}: {trouble}");
        }
    }
}
