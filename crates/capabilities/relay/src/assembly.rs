//! A relay, put together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::NodeBuilder;
use omnirelay_registry::Registry;
use omnirelay_settings::{Config, LiveConfig, RelayConfig, TelemetryWire};
use omnirelay_wire::telemetry::StreamShape;
use tokio::task::JoinSet;

use super::commands::RelayCommands;
use super::control::RelayController;
use super::gateway::GatewayCalls;
use super::identity::RelayIdentity;
use super::report::{Reports, ReportsHealth};
use super::sessions::{AgentSessions, SessionSettings};
use super::sinks::{SinkError, Sinks, sink_specs};
use super::stream::{IntakeSettings, TelemetryIntake};
use crate::metrics::publish::PublishMetrics;
use crate::metrics::relay::RelayMetrics;
use crate::metrics::reports::ReportsMetrics;
use crate::metrics::sinks::SinkMetrics;
use crate::publish::{Publications, PublishHealth, PublishSettings};

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
        node: &NodeBuilder,
        identity: &RelayIdentity,
        folder: &Path,
        reports: Arc<Reports>,
    ) -> Result<Self, RelayError> {
        let NodeBuilder { settings, metrics, trust, .. } = node;
        let registry = node.registry.clone();
        let counted = Arc::new(RelayMetrics::new(metrics.all())?);
        let reports_metrics = ReportsMetrics::new(metrics.all())?;
        let sink_metrics = Arc::new(SinkMetrics::new(metrics.all())?);
        let publish_metrics = Arc::new(PublishMetrics::new(metrics.all())?);
        let mut tasks = JoinSet::new();
        let sinks = start_sinks(settings, folder, sink_metrics, trust, &mut tasks)?;
        let publications = Arc::new(Publications::new(settings.live(publish_settings), publish_metrics));
        let (of, named) = (identity.clone(), identity.clone());
        let of_sessions = settings.live(move |config| session_settings(&config.relay, &of));
        let sessions = Arc::new(AgentSessions::new(of_sessions, publications.clone(), reports.clone()));
        let commands = Arc::new(RelayCommands::default());
        let of_intake = settings.live(|config| intake_settings(&config.relay));
        let intake = TelemetryIntake::new(of_intake, sinks.clone(), counted.clone(), commands.clone());
        let intake = Arc::new(intake);

        let (sweeping, publishing_anew, resizing) = (sessions.clone(), sessions.clone(), intake.clone());
        tasks.spawn(async move { sweeping.sweep().await });
        tasks.spawn(async move { resizing.resize().await });
        let published = settings.live(move |config| (named.id(&config.relay), config.relay.publish.clone()));
        tasks.spawn(published.each(move |(relay_id, _)| publishing_anew.publish_as(&relay_id)));
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

    /// Trouble with the publication of keys; the outer `None` while nothing is published.
    pub fn publish_trouble(&self) -> impl Fn() -> Option<Option<String>> + Send + Sync + 'static {
        let publications = self.publications.clone();
        move || {
            let PublishHealth { is_on, failing_for, .. } = publications.health();
            let trouble = |lasts: Duration| {
                format!("the Redis for published keys has not answered for {} s", lasts.as_secs())
            };
            is_on.then(|| failing_for.map(trouble))
        }
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

/// Opens the sinks, and has them be as they are configured by then. What cannot be opened is no configuration.
pub(crate) fn start_sinks(
    settings: &LiveConfig,
    folder: &Path,
    metrics: Arc<SinkMetrics>,
    trust: &Arc<MeshTrust>,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Sinks>, SinkError> {
    let of = |folder: &Path| {
        let folder = folder.to_owned();
        move |config: &Config| sink_specs(&config.relay.sinks, config.relay.acknowledge_when, &folder)
    };
    let config = &settings.now().relay;
    let sinks = Arc::new(Sinks::open(&config.sinks, config.acknowledge_when, folder, metrics, trust)?);
    // They end with the relay.
    let (known, specs) = (Arc::downgrade(&sinks), of(folder));
    settings.check(move |config| known.upgrade().map_or(Ok(()), |sinks| sinks.check(&specs(config))));
    tasks.spawn(sinks.clone().follow(settings.live(of(folder))));
    Ok(sinks)
}

fn publish_settings(config: &Config) -> PublishSettings {
    let RelayConfig { publish, session_ttl, sessions_max, .. } = &config.relay;
    PublishSettings { server: publish.clone(), ttl: session_ttl.0, keys_max: *sessions_max }
}

fn session_settings(config: &RelayConfig, identity: &RelayIdentity) -> SessionSettings {
    let RelayConfig { session_ttl, sessions_max, .. } = config;
    SessionSettings { relay_id: identity.id(config), ttl: session_ttl.0, sessions_max: *sessions_max }
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

#[cfg(test)]
#[path = "reload_test.rs"]
mod reload_test;
