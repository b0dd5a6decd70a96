//! Mounts registers: the catalogue of this node, its pool of advertisements, and what pushes the one to the other.

use std::sync::Arc;

use omnirelay_host::live::Live;
use omnirelay_identity::reach::AddressReach;
use omnirelay_node::readiness::item;
use omnirelay_node::{CapabilityKinds, NodeBuilder, NodeError, PortName, StopPhase};
use omnirelay_peer_records::own_session;
use omnirelay_peer_records::presence::Presence;
use omnirelay_registry::epoch_loss::{RestorationRule, RestoredBy};
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_exchange_service_server::AdvertisementExchangeServiceServer;
use omnirelay_wire::pb::omnirelay::registers::v1::advertisement_service_server::AdvertisementServiceServer;
use omnirelay_wire::pb::omnirelay::registers::v1::register_service_server::RegisterServiceServer;
use tonic::codec::CompressionEncoding::Gzip;

use crate::advertisement_fetch::{AdvertisementFetch, FetchedClusters};
use crate::advertisements::offer_service::{AdvertisementExchange, RecentOffers};
use crate::advertisements::pool::{LocalCounts, Pool, PoolSettings};
use crate::advertisements::{ADVERTISEMENT, Advertisements, ClusterFetches, remote_count};
use crate::catalogue::{REGISTER, Registers, catalogue};
use crate::metrics::{PoolCounts, RegistersMetrics};
use crate::resync::{Resync, ResyncParts, ResyncSettings};
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

/// Mounts registers, and gives what pushes them. What is fetched of other meshes is had of `exchange`.
pub fn mount(
    node: &mut NodeBuilder,
    presence: &Arc<Presence>,
    exchange: Arc<AdvertisementFetch>,
) -> Result<Arc<Resync>, NodeError> {
    let (registry, watches_max) = (node.registry.clone(), node.watches_max());
    check_tls_files(node);
    let pool = Arc::new(pool(node, presence, exchange.clusters().clone()));
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
        http3: node.settings.now().control.http3,
        recent: RecentOffers::default(),
    };
    node.serve(PortName::Control, AdvertisementExchangeServiceServer::new(offered));
    let fetches: Arc<dyn ClusterFetches> = exchange;
    let advertised = Advertisements::new(pool, resync.clone(), Some(fetches), watches_max);
    let advertised =
        AdvertisementServiceServer::new(advertised).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, advertised);
    Ok(resync)
}

/// Address at which others reach the control port.
pub(crate) fn control(node: &NodeBuilder) -> Live<String> {
    let addresses = node.addresses;
    node.settings.live(move |config| {
        addresses.endpoints(config.mesh.advertise.as_deref(), None).control.unwrap_or_default()
    })
}

fn pool(node: &NodeBuilder, presence: &Arc<Presence>, clusters: FetchedClusters) -> Pool {
    let secret = node.session_secret.clone();
    let settings = node.settings.live(move |config| PoolSettings::of(config, &secret));
    let (presence, federation) = (presence.clone(), node.federation.clone());
    let pool = Pool::new(node.registry.clone(), settings, move || presence.has_rival());
    pool.federating(move |cluster| federation.has(cluster) || clusters.has(cluster))
}

/// Refuses other files of TLS with pools of others that cannot be read.
pub(crate) fn check_tls_files(node: &NodeBuilder) {
    node.settings.check_files(|config| {
        let tls = &config.registers.peer_services_tls;
        [
            ("registers.peerServicesTls.ca", tls.ca.clone()),
            ("registers.peerServicesTls.cert", tls.cert.clone()),
            ("registers.peerServicesTls.key", tls.key.clone()),
        ]
    });
}

/// What pushes the catalogue to the pool, and to those of others.
fn resync(node: &NodeBuilder, presence: &Arc<Presence>, pool: &Arc<Pool>) -> Result<Resync, NodeError> {
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
    let parts = ResyncParts {
        registry: node.registry.clone(),
        pool: pool.clone(),
        operations: node.operations.clone(),
        metrics,
        trust: node.trust.clone(),
        reach: AddressReach::outside(node.settings.now().store.servers()),
        session: Arc::new(move || {
            if !presence.is_registered() {
                return None;
            }
            own_session(&sessions).map(|session| session.instance)
        }),
        count_pool: Arc::new(count_pool),
    };
    Ok(Resync::new(parts, node.settings.live(ResyncSettings::of)))
}
