//! The part of peers: keeps the node present in the mesh, judges silent peers, and serves what is known of all.

use std::sync::Arc;

use omnirelay_registry::epoch_loss::{RestoredBy, RestoredKind};
use omnirelay_registry::view::View;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use tonic::codec::CompressionEncoding::Gzip;

use crate::exchange::Exchange;
use crate::metrics::PeersMetrics;
use crate::node::{Kinds, Mount, NodeError, Part, Phase, PortName};
use crate::objects::certificates::lacking::Standing;
use crate::objects::peers::merge::PeerMerger;
use crate::objects::peers::presence::{Presence, PresenceSettings};
use crate::objects::peers::{PEER, Peers, statuses, topic};
use crate::presence::keep_present;
use crate::readiness::item;
use crate::relay::identity::endpoint;
use pb::peer::Status;
use pb::peer_control_service_server::PeerControlServiceServer;

pub const PART: Part = Part {
    kinds: Kinds {
        mirrored: &[PEER],
        // What operators ordered of a peer is to outlive it, so every daemon restores what it knows of that.
        restored: &[RestoredKind::merged(PEER, RestoredBy::Presence)],
        ..Kinds::NONE
    },
    mount,
};

fn mount(node: &mut Mount) -> Result<(), NodeError> {
    let registry = node.registry.clone();
    let presence = Arc::new(presence(node));
    // The first is kept; a second one would be of another node.
    node.presence.get_or_init(|| presence.clone());
    node.mergers.add(PEER, Arc::new(PeerMerger));
    node.run(Phase::Leave, keep_present(registry.clone(), presence.clone(), node.config.renew_every()));
    let withdrawn = presence.clone();
    node.at(Phase::Withdraw, async move { withdrawn.withdraw().await });
    node.at(Phase::Leave, async move { presence.leave().await });
    let untold = node.addresses.trouble(node.config.mesh.advertise.as_deref());
    node.readiness.add(move || vec![item("address", false, untold.clone())]);
    let (metrics, counted) = (PeersMetrics::new(node.metrics.all())?, registry.clone());
    node.metrics.before_scrape(move || count(&metrics, counted.view()));
    node.topics.add(topic(registry.clone()));
    let peers = Peers::new(registry, node.config.control.watches_max).calling(node.transport.clone());
    let exchange = node.exchange.clone();
    let federated = move || exchange.as_ref().map(|exchange| exchange.members()).unwrap_or_default();
    let peers = peers.hearing(node.gossip.clone()).beside(federated);
    let peers = PeerControlServiceServer::new(peers).send_compressed(Gzip).accept_compressed(Gzip);
    node.serve(PortName::Control, peers);
    Ok(())
}

fn presence(node: &Mount) -> Presence {
    let config = &node.config;
    let settings = PresenceSettings {
        session_ttl: config.session_ttl(),
        dead_after: config.dead_after(),
        forget_after: config.forget_after(),
        session_secret: node.session_secret.clone(),
        audited: config.audit.membership,
    };
    let relay = node.addresses.relay.map(|at| endpoint(&config.relay, at.grpc));
    let standing = Standing::at_start(&node.identity_files, config.security.make_authority);
    let profile = pb::PeerMetadata {
        role: config.node.role.clone(),
        cluster_id: config.node.cluster.clone(),
        region: config.node.region.clone(),
        zone: config.node.zone.clone(),
        mesh_version: env!("CARGO_PKG_VERSION").to_owned(),
        http3_support: false,
        endpoint: None,
        endpoints: Some(node.addresses.endpoints(config.mesh.advertise.as_deref(), relay)),
        metadata_version: 0,
        labels: config.node.labels.clone(),
        audit_key: node.audit_key.public().to_vec(),
        campaigns: config.mesh.leadership.enabled,
        fetches: Exchange::fetched(&node.federation.named()),
        unknown_fields: Default::default(),
        knows_signed_records: true,
        without_identity: standing.without_identity,
        identity_of_files: standing.of_files,
        issues: standing.issues,
    };
    Presence::new(node.registry.clone(), settings, profile)
}

fn count(metrics: &PeersMetrics, view: &View) {
    let found = statuses(view);
    for status in [Status::Unspecified, Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
        metrics.set(status.as_str_name(), found.iter().filter(|found| **found == status).count());
    }
}
