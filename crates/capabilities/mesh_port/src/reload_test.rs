//! The mesh port and gossip of a node whose settings change while it runs.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_gossip::{Gossip, GossipRecord};
use omnirelay_identity::proof::BindingGrants;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_node::{MeshPort, OpenMeshPort};
use omnirelay_peer_records::peer_id;
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_scripted::memory;
use omnirelay_settings::LiveConfig;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerMetadata;
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::MemberRecord;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::{mount, mount_gossip};

/// How soon a setting is in effect.
const SOON: Duration = Duration::from_secs(1);

/// Node `a`, whose mesh port is open.
struct Meshed {
    settings: LiveConfig,
    gossip: Arc<Gossip>,
    node: LabNode,
    _port: Arc<watch::Sender<MeshPort>>,
}

impl Meshed {
    async fn new() -> Self {
        let lab = Lab::on(memory(), "a").kinds(&[omnirelay_peers::KINDS]);
        let (node, gossip) = lab.with(|node| {
            let presence = mount_alone(node, StartupAnnouncement::default())?;
            let (mesh, _behind) = mount_gossip(node)?;
            mount(node, &presence, &mesh, Arc::new(BindingGrants::default()));
            Ok(mesh.gossip.unwrap())
        });
        let (settings, port) = (node.builder.settings.clone(), node.builder.mesh_port.clone());
        let address = "127.0.0.1:17421".parse().unwrap();
        port.send_replace(MeshPort::Open(OpenMeshPort { address, udp: None }));
        let node = node.start();
        node.registered().await;
        sleep(SOON).await;
        Self { settings, gossip, node, _port: port }
    }

    /// What it says of itself by gossip.
    fn says(&self) -> MemberRecord {
        self.gossip.health("a").unwrap().record().unwrap()
    }

    /// What it says of itself in the registry.
    fn tells(&self) -> PeerMetadata {
        let record = self.node.registry.view().get(&peer_id("a")).unwrap();
        record.value::<PeerValue>().unwrap().metadata.clone().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn gossip_ends_and_begins_as_it_is_switched() {
    let a = Meshed::new().await;
    assert!(a.gossip.has_begun());
    a.settings.set("mesh.gossip.enabled", false);
    sleep(SOON).await;
    assert!(!a.gossip.has_begun() && a.gossip.health("a").is_none());
    a.settings.set("mesh.gossip.enabled", true);
    sleep(SOON).await;
    assert!(a.gossip.has_begun() && a.gossip.health("a").is_some());
}

#[tokio::test(start_paused = true)]
async fn others_are_told_where_the_node_is_reached_by_then() {
    let a = Meshed::new().await;
    assert_eq!((a.says().endpoint.as_str(), a.tells().endpoint()), ("127.0.0.1:17421", "127.0.0.1:17421"));
    a.settings.set("mesh.advertise", "eu-1.example:4");
    sleep(SOON).await;
    assert_eq!((a.says().endpoint.as_str(), a.tells().endpoint()), ("eu-1.example:4", "eu-1.example:4"));
    let endpoints = a.tells().endpoints.unwrap();
    assert_eq!(endpoints.mesh(), "eu-1.example:4");
    assert!(endpoints.control().starts_with("eu-1.example:"), "{endpoints:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_of_itself_is_what_is_set_by_then() {
    let a = Meshed::new().await;
    assert_eq!((a.says().role, a.says().labels_digest), ("worker".to_owned(), 0));
    a.settings.set("node.role", "gateway");
    a.settings.set("node.region", "north");
    a.settings.set("node.zone", "north-1");
    a.settings.set("node.labels.tier", "std");
    sleep(Duration::from_millis(1)).await;
    let says = a.says();
    assert_eq!([says.role, says.region, says.zone], ["gateway", "north", "north-1"]);
    assert_ne!(says.labels_digest, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_of_itself_is_looked_at_as_often_as_is_set_by_then() {
    let a = Meshed::new().await;
    a.settings.set("mesh.gossip.metadataRefreshPeriod", "1h");
    sleep(SOON).await;
    let untrue = || GossipRecord { role: "untrue".to_owned(), ..GossipRecord::default() };
    a.gossip.say(&untrue()).unwrap();
    sleep(Duration::from_secs(1800)).await;
    assert_eq!(a.says().role, "untrue");
    a.settings.set("mesh.gossip.metadataRefreshPeriod", "1s");
    sleep(Duration::from_millis(1)).await;
    a.gossip.say(&untrue()).unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(a.says().role, "worker");
}
