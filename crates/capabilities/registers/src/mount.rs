//! Mounts registers: the catalogue of this node, its pool of advertisements, and what pushes the one to the other.

use std::sync::Arc;

use omnirelay_identity::client::{ClientCertificate, ExpectedServers, LiveTlsClient, ServerTrust};
use omnirelay_identity::reach::AddressReach;
use omnirelay_node::readiness::item;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_peer_records::own_session;
use omnirelay_peer_records::presence::Presence;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_settings::peer_service;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_exchange_service_server::AdvertisementExchangeServiceServer;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_service_server::AdvertisementServiceServer;
use omnirelay_wire::pb::omnirelay::registers::v1::register_service_server::RegisterServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::advertisement_fetch::AdvertisementFetch;
use crate::advertisements::offer_service::{AdvertisementExchange, RecentOffers};
use crate::advertisements::pool::{LocalCounts, Pool, PoolSettings};
use crate::advertisements::{ADVERTISEMENT, Advertisements, ClusterFetches, remote_count};
use crate::catalogue::{REGISTER, Registers, catalogue};
use crate::metrics::{PoolCounts, RegistersMetrics};
use crate::resync::{PeerService, Resync, ResyncParts, ResyncSettings};
use crate::{advertisements, catalogue};

pub const KINDS: CapabilityKinds = CapabilityKinds {
    mirrored: &[REGISTER, ADVERTISEMENT],
    restored: &[
        RestorationRule::of(REGISTER, RestoredBy::Owner),
        // The pool of their node has them, and writes them in its new session.
        RestorationRule::of(ADVERTISEMENT, RestoredBy::ItsPart),
    ],
    ..CapabilityKinds::NONE
};

/// Mounts registers. What is fetched of other meshes is had of `exchange`.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    exchange: Arc<AdvertisementFetch>,
) -> Result<(), NodeError> {
    let (registry, watches_max) = (node.registry.clone(), node.config.control.watches_max);
    let pool = Arc::new(pool(node, presence));
    let resync = Arc::new(resync(node, presence, &pool)?);
    let pushed = resync.clone();
    node.readiness.add(move || vec![item("registers", false, pushed.trouble())]);
    node.run(StopPhase::End, resync.clone().run());
    let kept = pool.clone();
    node.run(StopPhase::End, async move { kept.run().await });
    node.topics.add(catalogue::reads::topic());
    node.topics.add(advertisements::watching::topic(pool.clone()));
    let registers = Registers::new(registry, pool.clone(), resync.pushed_through());
    let registers = RegisterServiceServer::new(registers).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, registers);
    let offered = AdvertisementExchange {
        pool: pool.clone(),
        resync: resync.clone(),
        control: control(node),
        http3: node.config.control.http3,
        recent: RecentOffers::default(),
    };
    node.serve(PortName::Control, AdvertisementExchangeServiceServer::new(offered));
    let fetches: Arc<dyn ClusterFetches> = exchange;
    let advertised = Advertisements::new(pool, resync, Some(fetches), watches_max);
    let advertised =
        AdvertisementServiceServer::new(advertised).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, advertised);
    Ok(())
}

/// Where others reach the control port.
fn control(node: &NodeBuilder) -> String {
    let told = node.addresses.endpoints(node.config.mesh.advertise.as_deref(), None);
    told.control.unwrap_or_default()
}

fn pool(node: &NodeBuilder, presence: &Arc<Presence>) -> Pool {
    let settings = PoolSettings {
        ttl: node.config.registers.advertisement_ttl.0,
        grace: node.config.session_ttl(),
        secret: node.session_secret.clone(),
    };
    let (presence, federation) = (presence.clone(), node.federation.clone());
    let pool = Pool::new(node.registry.clone(), settings, move || presence.has_rival());
    pool.federating(move |cluster| federation.has(cluster))
}

/// What pushes the catalogue to the pool, and to those of others.
fn resync(node: &NodeBuilder, presence: &Arc<Presence>, pool: &Arc<Pool>) -> Result<Resync, NodeError> {
    let registers = &node.config.registers;
    let metrics = Arc::new(RegistersMetrics::new(node.metrics.all())?);
    let (counted, registry) = (pool.clone(), node.registry.clone());
    let count_pool = move || {
        let LocalCounts { entries, unverified, deferred } = counted.counts();
        PoolCounts { local: entries, remote: remote_count(&counted), unverified, deferred }
    };
    let (read, count) = (metrics.clone(), count_pool.clone());
    node.metrics.before_scrape(move || {
        let catalogue = catalogue(registry.view(), registry.node_id());
        let advertised = catalogue.iter().filter(|(_, register)| register.advertise).count();
        read.set_registers(advertised, catalogue.len() - advertised);
        read.set_pool(count());
    });
    let (presence, sessions) = (presence.clone(), node.registry.clone());
    let tls = registers.peer_services_tls.client(ExpectedServers::NodesAndServices, &node.trust);
    let peer_services = registers.peer_services.iter().filter_map(|peer| {
        // Those that are none were refused with the configuration.
        let url = peer_service(peer.url()).ok()?;
        let federated = |cluster: &str| {
            LiveTlsClient::new(
                ServerTrust::Cluster(cluster.to_owned()),
                ClientCertificate::Node,
                node.trust.clone(),
            )
        };
        let tls = peer.cluster().map_or_else(|| tls.clone(), federated);
        Some(PeerService { url, tls })
    });
    let settings = ResyncSettings {
        resync_interval: registers.resync_interval.0,
        push_every: registers.push_every(),
        peer_services: peer_services.collect(),
        resync_peers: registers.resync_peers.iter().filter_map(|peer| peer_service(peer).ok()).collect(),
        reach: AddressReach::outside(node.config.store.servers()),
    };
    let parts = ResyncParts {
        registry: node.registry.clone(),
        pool: pool.clone(),
        operations: node.operations.clone(),
        metrics,
        tls,
        session: Arc::new(move || {
            if !presence.is_registered() {
                return None;
            }
            own_session(&sessions).map(|session| session.instance)
        }),
        count_pool: Arc::new(count_pool),
    };
    Ok(Resync::new(parts, &settings))
}
