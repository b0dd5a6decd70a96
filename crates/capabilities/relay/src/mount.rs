//! Mounts the relay: takes telemetry of agents, and knows relays and agents, at ports of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use omnirelay_identity::authenticate::{AllowedHosts, HostAuthenticator};
use omnirelay_identity::client::ExpectedServers;
use omnirelay_identity::proof::{BindingGrants, ProofAuthenticator, RefusingAuthenticator};
use omnirelay_identity::tls::{ClientCertificateRule, ListenerTls};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::readiness::item;
use omnirelay_node::{
    AdmitWithoutProof, CapabilityKinds, NodeBuilder, NodeError, PortName, PortState, RELAY_REGISTRY_SERVICE,
    RELAY_SERVICE, ServedPort, StopPhase, asynchronous, let_in, per_address_max,
};
use omnirelay_settings::{Config, RelayClients, RelayConfig, RelayTlsConfig, RelayTlsSource};
use omnirelay_surface::{ListenerLimits, OMNIRELAY, Surface};
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_server::AgentGatewayServer;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_server::RelayControlServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::aero_registry::watching::topics;
use crate::aero_registry::{AeroRegistry, AeroRegistrySettings};
use crate::agents::{self, AGENT};
use crate::allow::{AllowRule, AllowedCallers};
use crate::assembly::Relay;
use crate::http::serve_probes;
use crate::identity::{advertised, endpoint, relay_id};
use crate::metrics::aero::AeroMetrics;
use crate::relays::{self, RELAY};
use crate::report::{OtherRegistry, OwnRegistry, RegistryClient, Reports};
use pb::aero_registry_server::AeroRegistryServer;

/// Agents are with relays, so those come back first.
pub const KINDS: CapabilityKinds =
    CapabilityKinds { mirrored: &[RELAY, AGENT], claimed: &[RELAY, AGENT], ..CapabilityKinds::NONE };

/// How much of a stream an agent may send before it is read, in bytes: a second of much telemetry on a far link.
const RECEIVE_BYTES_MAX: u32 = 256 * 1024;

/// Address at which others reach the relay of this node, as its record tells; `None`: it has none.
pub fn told_endpoint(node: &NodeBuilder) -> Option<String> {
    node.addresses.relay.map(|at| endpoint(&node.config.relay, at.grpc))
}

/// Mounts the relay, which keeps telemetry in `telemetry` unless its configuration says where.
pub fn mount(node: &mut NodeBuilder, telemetry: &Path, grants: Arc<BindingGrants>) -> Result<(), NodeError> {
    let registry = registry(node);
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
    let relay =
        node.config.serves(RELAY_SERVICE).then(|| start(node, at.grpc, &registry, telemetry)).transpose()?;
    open_ports(node, relay.as_ref(), grants)?;
    if node.config.serves(RELAY_REGISTRY_SERVICE) {
        let rule = AllowRule::of("relay.allow.relays", &node.config.relay.allow.relays);
        node.serve(PortName::Relay, AllowedCallers::new(server, rule));
    }
    if let Some(relay) = relay {
        attach(node, relay);
    }
    Ok(())
}

/// The registry of relays and agents.
fn registry(node: &NodeBuilder) -> AeroRegistry {
    let config = &node.config;
    let settings = AeroRegistrySettings {
        relay_ttl: config.registry.relay_ttl.0,
        agent_ttl: config.registry.agent_ttl.0,
        relays_max: config.registry.relays_max,
        agents_max: config.registry.agents_max,
        grace: config.session_ttl(),
    };
    AeroRegistry::new(node.registry.clone(), settings, config.control.watches_max)
}

/// The relay that listens at `bound`.
fn start(
    node: &NodeBuilder,
    bound: SocketAddr,
    registry: &AeroRegistry,
    telemetry: &Path,
) -> Result<Relay, NodeError> {
    let config = &node.config.relay;
    let told: Arc<dyn RegistryClient> = match &config.registry.address {
        Some(address) => {
            let timeout = config.registry.request_timeout.0;
            let other = if address.starts_with("https://") {
                let tls = config.registry.client_tls().client(ExpectedServers::Nodes, &node.trust);
                OtherRegistry::under_tls(address, timeout, tls)
            } else {
                OtherRegistry::new(address, timeout)
            };
            Arc::new(other.map_err(NodeError::of("cannot use the registry that the relay is to tell"))?)
        }
        None => Arc::new(OwnRegistry::new(Arc::new(registry.clone()))),
    };
    let (address, port) = advertised(config, bound);
    let relay = pb::Relay {
        relay_id: relay_id(config),
        address,
        grpc_port: port.into(),
        tls: config.tls.source() != RelayTlsSource::Off,
        ..pb::Relay::default()
    };
    let reports = Arc::new(Reports::new(relay, &config.registry, told, config.sessions_max));
    let (registry, trust) = (node.registry.clone(), &node.trust);
    let relay = Relay::start(config, telemetry, registry, reports, &node.metrics, trust);
    relay.map_err(NodeError::of("cannot start the relay"))
}

/// Opens both ports: gRPC for agents and relays, HTTP for whoever watches them.
fn open_ports(
    node: &mut NodeBuilder,
    relay: Option<&Relay>,
    grants: Arc<BindingGrants>,
) -> Result<(), NodeError> {
    let Some(listeners) = node.relay.take() else { return Ok(()) };
    let config = node.config.clone();
    // Where being on this host is no proof, it is none on this port either.
    let (trust, own) = (node.trust.clone(), config.clone());
    let trusts_host = move || own.relay.trust_local && let_in(&own, &trust) != AdmitWithoutProof::Nobody;
    let tls = tls(&config.relay.tls, &node.trust)?;
    if let Some(tls) = &tls {
        node.run(StopPhase::End, tls.clone().keep());
    }
    // Whoever shows a certificate is who it says; tokens are for the control port.
    let surface = Surface::builder([OMNIRELAY]).of_node(node.registry.node_id()).hosts(AllowedHosts::any());
    let surface = match config.relay.tls.clients {
        RelayClients::Required => {
            surface.authenticator(ProofAuthenticator::by_certificate(grants, RefusingAuthenticator))
        }
        RelayClients::None | RelayClients::Optional => surface
            .authenticator(ProofAuthenticator::by_certificate(grants, HostAuthenticator::new(trusts_host))),
    };
    let port = ServedPort {
        listens: PortState::Taken(listeners.grpc),
        socket: None,
        udp: None,
        tls,
        limits: limits(&config),
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
    let allow = &node.config.relay.allow;
    let operators = AllowRule::of("relay.allow.operators", &allow.operators);
    let agents = AllowRule::of("relay.allow.agents", &allow.agents);
    // What operators and services ask of the relay, on every port.
    node.serve(PortName::Control, RelayControlServer::new(relay.control()));
    node.serve(PortName::Relay, AllowedCallers::new(RelayControlServer::new(relay.control()), operators));
    node.serve(PortName::Relay, AllowedCallers::new(AgentGatewayServer::new(relay.gateway()), agents));
    let (sinks, published, registry) =
        (relay.sink_trouble(), relay.publish_trouble(), relay.registry_trouble());
    node.readiness.add(move || {
        let published = published.as_ref().map(|trouble| item("publication", false, trouble()));
        let registry = registry.as_ref().map(|trouble| item("registry", false, trouble()));
        std::iter::once(item("sinks", false, sinks())).chain(published).chain(registry).collect()
    });
    node.after_drain(PortName::Relay, relay.stop());
}

fn limits(config: &Config) -> ListenerLimits {
    let RelayConfig { connections_max, connections_per_address_max, .. } = config.relay;
    ListenerLimits {
        connections_max,
        per_address_max: per_address_max(connections_max, connections_per_address_max),
        grace: config.control.drain_grace.0,
        receive_bytes_max: RECEIVE_BYTES_MAX,
        ..ListenerLimits::default()
    }
}

fn tls(config: &RelayTlsConfig, trust: &Arc<MeshTrust>) -> Result<Option<Arc<ListenerTls>>, NodeError> {
    let tls = match (config.source(), &config.cert, &config.key) {
        (RelayTlsSource::Off, ..) => return Ok(None),
        (RelayTlsSource::Files, Some(cert), Some(key)) => ListenerTls::open(cert, key)?,
        // `files` without both was refused with the configuration.
        (RelayTlsSource::Mesh | RelayTlsSource::Files, ..) => ListenerTls::of_node(trust.clone()),
    };
    Ok(Some(Arc::new(match config.clients {
        RelayClients::None => tls,
        RelayClients::Optional => tls.judging(trust.clone(), ClientCertificateRule::May),
        RelayClients::Required => tls.judging(trust.clone(), ClientCertificateRule::Must),
    })))
}
