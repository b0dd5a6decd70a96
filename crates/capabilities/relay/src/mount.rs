//! Mounts the relay: takes telemetry of agents, and knows relays and agents, at ports of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_host::live::{Live, LiveSource};
use omnirelay_identity::authenticate::AllowedHosts;
use omnirelay_identity::proof::{BindingGrants, ProofAuthenticator};
use omnirelay_identity::tls::{ClientCertificateRule, ListenerTls, TlsError};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::readiness::item;
use omnirelay_node::{
    AdmitWithoutProof, CapabilityKinds, LiveTls, NodeBuilder, NodeError, PortName, PortState, PortTls,
    RELAY_REGISTRY_SERVICE, RELAY_SERVICE, ServedPort, StopPhase, asynchronous, let_in, per_address_max,
};
use omnirelay_peer_records::presence::Presence;
use omnirelay_settings::{
    Config, LiveConfig, RefusedSetting, RelayAllowConfig, RelayClients, RelayConfig, RelayTlsConfig,
    RelayTlsSource,
};
use omnirelay_surface::{ListenerLimits, OMNIRELAY, Surface};
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_server::AgentGatewayServer;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_server::RelayControlServer;
use tonic::codec::CompressionEncoding::Gzip;
use tracing::warn;

use crate::RELAY_RUNBOOK;
use crate::aero_registry::watching::topics;
use crate::aero_registry::{AeroRegistry, AeroRegistrySettings};
use crate::agents::{self, AGENT};
use crate::allow::{AllowRule, AllowedCallers};
use crate::assembly::Relay;
use crate::http::serve_probes;
use crate::identity::RelayIdentity;
use crate::metrics::aero::AeroMetrics;
use crate::proof::{PortAuthenticator, UnprovenCallers};
use crate::relays::{self, RELAY};
use crate::report::{RegistryAddress, ReportSettings, Reports, ToldRegistry};
use pb::aero_registry_server::AeroRegistryServer;

/// Agents are with relays, so those come back first.
pub const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: &[RELAY, AGENT], claimed: &[RELAY, AGENT], ..CapabilityKinds::NONE };

/// How much of a stream an agent may send before it is read, in bytes: a second of much telemetry on a far link.
const RECEIVE_BYTES_MAX: u32 = 256 * 1024;

/// Address at which others reach the relay of this node, as its record tells; `None`: it has none.
pub fn live_endpoint(node: &NodeBuilder) -> Live<Option<String>> {
    let Some(at) = node.addresses.relay else { return Live::fixed(None) };
    let identity = RelayIdentity::at(at.grpc);
    node.settings.live(move |config| Some(identity.endpoint(&config.relay)))
}

/// The same, as it is at the start.
pub fn told_endpoint(node: &NodeBuilder) -> Option<String> {
    live_endpoint(node).get()
}

/// Mounts the relay, which keeps telemetry in `telemetry` unless its configuration says where.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    telemetry: &Path,
    grants: Arc<BindingGrants>,
) -> Result<(), NodeError> {
    let settings = node.settings.live(registry_settings);
    let registry = AeroRegistry::new(node.registry.clone(), settings, node.watches_max());
    let refreshed = registry.clone();
    node.run(StopPhase::End, async move { refreshed.run().await });
    topics(&node.registry).into_iter().for_each(|topic| node.topics.add(topic));
    let (metrics, counted) = (AeroMetrics::new(node.metrics.all())?, node.registry.clone());
    node.metrics.before_scrape(move || {
        let view = counted.view();
        metrics.set(relays::count(view), agents::count(view), counted.refreshes_deferred());
    });
    let server = AeroRegistryServer::new(registry.clone());
    node.serve(PortName::Control, server.clone().send_compressed(Gzip).accept_compressed(Gzip));
    let Some(at) = node.addresses.relay else { return Ok(()) };
    let config = node.settings.now();
    let serves_relay = config.serves(RELAY_SERVICE);
    let relay = serves_relay.then(|| start(node, at.grpc, &registry, telemetry)).transpose()?;
    open_ports(node, relay.as_ref(), grants)?;
    if config.serves(RELAY_REGISTRY_SERVICE) {
        let rule = allowed(node, "relay.allow.relays", |allow| &allow.relays);
        node.serve(PortName::Relay, AllowedCallers::new(server, rule));
    }
    if let Some(relay) = relay {
        attach(node, relay);
    }
    let says = presence.clone();
    let moved = live_endpoint(node).each(move |endpoint| {
        says.say(|says| says.endpoints.get_or_insert_default().relay = endpoint);
    });
    node.run(StopPhase::Leave, moved);
    Ok(())
}

/// Settings of the registry of relays and agents.
pub(crate) fn registry_settings(config: &Config) -> AeroRegistrySettings {
    AeroRegistrySettings {
        relay_ttl: config.registry.relay_ttl.0,
        agent_ttl: config.registry.agent_ttl.0,
        relays_max: config.registry.relays_max,
        agents_max: config.registry.agents_max,
        grace: config.session_ttl(),
    }
}

/// Settings of the reports of a relay.
pub(crate) fn report_settings(config: &RelayConfig, identity: &RelayIdentity) -> ReportSettings {
    let (address, port) = identity.advertised(config);
    ReportSettings {
        relay: pb::Relay {
            relay_id: identity.id(config),
            address,
            grpc_port: port.into(),
            tls: config.tls.source() != RelayTlsSource::Off,
            ..pb::Relay::default()
        },
        heartbeat_interval: config.registry.heartbeat_interval.0,
        request_timeout: config.registry.request_timeout.0,
        agents_max: config.sessions_max,
    }
}

/// The relay that listens at `bound`.
fn start(
    node: &mut NodeBuilder,
    bound: SocketAddr,
    registry: &AeroRegistry,
    telemetry: &Path,
) -> Result<Relay, NodeError> {
    let identity = RelayIdentity::at(bound);
    let told = told(node, registry)?;
    let of = identity.clone();
    let settings = node.settings.live(move |config| report_settings(&config.relay, &of));
    let reports = Arc::new(Reports::new(settings, told));
    let relay = Relay::start(node, &identity, telemetry, reports);
    relay.map_err(NodeError::of("cannot start the relay"))
}

/// The registry that the relay tells, as it is configured by then: `own`, or another.
pub(crate) fn told(node: &mut NodeBuilder, own: &AeroRegistry) -> Result<Live<ToldRegistry>, NodeError> {
    let addresses = node.settings.live(|config| RegistryAddress::of(&config.relay.registry));
    let (own, trust) = (Arc::new(own.clone()), node.trust.clone());
    let connect = move |address: &RegistryAddress| address.connect(&own, &trust);
    let first = connect(&addresses.get());
    let first = first.map_err(NodeError::of("cannot use the registry that the relay is to tell"))?;
    node.settings.check(|config| {
        let address = RegistryAddress::of(&config.relay.registry);
        let refused = |error| RefusedSetting { key: "relay.registry.address", what: chain(&error) };
        address.check().map_err(refused)
    });
    let source = LiveSource::new(first);
    let told = source.live(Clone::clone);
    node.run(
        StopPhase::End,
        addresses.each(move |address| match connect(&address) {
            Ok(told) => source.replace(told),
            Err(error) => {
                let error = chain(&error);
                warn!(error, runbook = RELAY_RUNBOOK, "the registry that is told stays as it was");
            }
        }),
    );
    Ok(told)
}

/// Opens both ports: gRPC for agents and relays, HTTP for whoever watches them.
fn open_ports(
    node: &mut NodeBuilder,
    relay: Option<&Relay>,
    grants: Arc<BindingGrants>,
) -> Result<(), NodeError> {
    let Some(listeners) = node.relay.take() else { return Ok(()) };
    let tls = live_tls(node)?;
    let otherwise = port_authenticator(&node.settings, node.trust.clone());
    // Whoever shows a certificate is who it says; tokens are for the control port.
    let surface = Surface::builder([OMNIRELAY])
        .of_node(node.registry.node_id())
        .hosts(AllowedHosts::any())
        .authenticator(ProofAuthenticator::by_certificate(grants, otherwise));
    let port = ServedPort {
        listens: PortState::Taken(listeners.grpc),
        socket: None,
        udp: None,
        tls,
        limits: node.settings.live(limits),
        surface,
    };
    node.open(PortName::Relay, port);
    // A sink that nobody waits for is no reason to send agents elsewhere.
    let acknowledges = relay.map(|relay| Arc::new(relay.acknowledges()));
    let probes = node.relay_probes(move || acknowledges.as_ref().is_none_or(|acknowledges| acknowledges()));
    node.run(StopPhase::End, serve_probes(asynchronous(listeners.http)?, probes));
    Ok(())
}

/// Serves the relay, says what it needs, and stops it once its streams have ended.
fn attach(node: &mut NodeBuilder, relay: Relay) {
    let operators = allowed(node, "relay.allow.operators", |allow| &allow.operators);
    let agents = allowed(node, "relay.allow.agents", |allow| &allow.agents);
    // What operators and services ask of the relay, on every port.
    node.serve(PortName::Control, RelayControlServer::new(relay.control()));
    node.serve(PortName::Relay, AllowedCallers::new(RelayControlServer::new(relay.control()), operators));
    node.serve(PortName::Relay, AllowedCallers::new(AgentGatewayServer::new(relay.gateway()), agents));
    let (sinks, published, registry) =
        (relay.sink_trouble(), relay.publish_trouble(), relay.registry_trouble());
    node.readiness.add(move || {
        let published = published().map(|trouble| item("publication", false, trouble));
        let registry = registry.as_ref().map(|trouble| item("registry", false, trouble()));
        std::iter::once(item("sinks", false, sinks())).chain(published).chain(registry).collect()
    });
    node.after_drain(PortName::Relay, relay.stop());
}

/// Whom a setting allows, as it is by then.
fn allowed(
    node: &mut NodeBuilder,
    key: &'static str,
    list: fn(&RelayAllowConfig) -> &Vec<String>,
) -> Live<Option<Arc<AllowRule>>> {
    let (rule, kept) = AllowRule::live(&node.settings, key, list);
    node.run(StopPhase::End, kept);
    rule
}

/// Authenticator of those who show no certificate. Where being on this host is no proof on the control port, it is none here either.
pub(crate) fn port_authenticator(settings: &LiveConfig, trust: Arc<MeshTrust>) -> PortAuthenticator {
    PortAuthenticator::new(settings.live(move |config| {
        if config.relay.tls.clients == RelayClients::Required {
            return UnprovenCallers::Nobody;
        }
        match config.relay.trust_local && let_in(config, &trust) != AdmitWithoutProof::Nobody {
            true => UnprovenCallers::HostAsItself,
            false => UnprovenCallers::All,
        }
    }))
}

pub(crate) fn limits(config: &Config) -> ListenerLimits {
    let RelayConfig { connections_max, connections_per_address_max, .. } = config.relay;
    ListenerLimits {
        connections_max,
        per_address_max: per_address_max(connections_max, connections_per_address_max),
        grace: config.control.drain_grace.0,
        receive_bytes_max: RECEIVE_BYTES_MAX,
        ..ListenerLimits::default()
    }
}

/// TLS of the port for agents and relays, as it is set by then.
pub(crate) fn live_tls(node: &mut NodeBuilder) -> Result<LiveTls, TlsError> {
    let trust = node.trust.clone();
    node.follow_tls(PortTls {
        of: |config| config.relay.tls.clone(),
        open: Box::new(move |tls| port_tls(tls, &trust)),
        wrong: wrong_tls,
    })
}

/// TLS of the port for agents and relays; `None`: there is none.
fn port_tls(config: &RelayTlsConfig, trust: &Arc<MeshTrust>) -> Result<Option<ListenerTls>, TlsError> {
    let tls = match (config.source(), &config.cert, &config.key) {
        (RelayTlsSource::Off, ..) => return Ok(None),
        (RelayTlsSource::Files, Some(cert), Some(key)) => ListenerTls::open(cert, key)?,
        // `files` without both was refused with the configuration.
        (RelayTlsSource::Mesh | RelayTlsSource::Files, ..) => ListenerTls::of_node(trust.clone()),
    };
    Ok(Some(match config.clients {
        RelayClients::None => tls,
        RelayClients::Optional => tls.judging(trust.clone(), ClientCertificateRule::May),
        RelayClients::Required => tls.judging(trust.clone(), ClientCertificateRule::Must),
    }))
}

/// The setting that is wrong where its files cannot be used.
fn wrong_tls(config: &RelayTlsConfig, error: &TlsError) -> &'static str {
    match error {
        TlsError::Read { path, .. } | TlsError::Content { path, .. } if config.key.as_ref() == Some(path) => {
            "relay.tls.key"
        }
        TlsError::Read { .. } | TlsError::Content { .. } | TlsError::Pair { .. } => "relay.tls.cert",
    }
}
