//! Settings of the exchange with federated clusters, changed while it goes on.

use std::sync::atomic::Ordering;

use omnirelay_decisions::range_digest::{OfferedRegisters, part_of};
use omnirelay_identity::lab::authority;
use omnirelay_identity::trust::{FederatedClusterTrust, MeshTrust};
use omnirelay_mesh_port::mount_gossip;
use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_peers::{StartupAnnouncement, mount_alone};
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::view::ViewRecord;
use omnirelay_scripted::memory;
use omnirelay_settings::LiveConfig;
use omnirelay_store::RecordId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::advertisements::advertisement_id;
use crate::{KINDS, mount_fetch};

const SECOND: Duration = Duration::from_secs(1);

struct FetchingNode {
    fetch: Arc<AdvertisementFetch>,
    settings: LiveConfig,
    trust: Arc<MeshTrust>,
    registry: Arc<Registry>,
    _node: LabNode,
}

async fn node() -> FetchingNode {
    let lab = Lab::on(memory(), "node-1").kinds(&[omnirelay_peers::KINDS, KINDS]).config(|config| {
        (config.mesh.gossip.enabled, config.mesh.http3_support) = (false, false);
    });
    let (node, (fetch, settings, trust)) = lab.with(|node| {
        let presence = mount_alone(node, StartupAnnouncement::default())?;
        let (mesh, _behind) = mount_gossip(node)?;
        let fetch = mount_fetch(node, &presence, mesh.transport)?;
        Ok((fetch, node.settings.clone(), node.trust.clone()))
    });
    let node = node.start();
    node.registered().await;
    FetchingNode { fetch, settings, trust, registry: node.registry.clone(), _node: node }
}

/// Waits until something comes to be.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn the_clusters_that_are_set_by_then_are_asked_as_often_as_is_set_by_then() {
    let node = node().await;
    let (root, seed) = (authority(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let bundle = TrustBundle::of(vec![root.certificate().clone()]).unwrap();
    let own = omnirelay_identity::lab::node(&root, "node-1").current().own.clone();
    node.trust.update(|trusted| {
        trusted.own = own;
        trusted.federated = vec![FederatedClusterTrust { cluster: "west".to_owned(), bundle }];
    });
    let (port, asked, mut tasks) =
        (seed.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let counted = asked.clone();
    tasks.spawn(async move {
        while seed.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let asked = || asked.load(Ordering::Relaxed);
    let clusters = || node.fetch.states().into_iter().map(|state| state.cluster).collect::<Vec<_>>();
    node.settings.set("registers.advertisementTtl", "24h");
    node.settings.set("registers.exchangeInterval", "1h");
    let west = json!({
        "cluster": "west", "trustDomain": "west.example", "bundle": "/west.pem",
        "seeds": [format!("127.0.0.1:{port}")],
    });
    node.settings.set("security.federatedClusters", Value::Array(vec![west]));
    until("it is known", || clusters() == ["west"]).await;
    until("it is asked", || asked() > 0).await;
    sleep(SECOND * 2).await;
    let before = asked();
    sleep(SECOND * 2).await;
    assert_eq!(asked(), before);
    node.settings.set("registers.exchangeInterval", "1s");
    until("it is asked again and again", || asked() >= before + 3).await;
    node.settings.set("security.federatedClusters", Value::Array(Vec::new()));
    until("it is left", || clusters().is_empty()).await;
}

/// A register as a node of another mesh offers it.
fn offer(id: &str) -> pb::FetchAdvertisedResponse {
    let register = pb::AdvertisedRegister {
        register_id: id.to_owned(),
        is_public: Some(true),
        ..pb::AdvertisedRegister::default()
    };
    let parts = vec![u32::try_from(part_of(id)).unwrap()];
    pb::FetchAdvertisedResponse { registers: vec![register], parts, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_lives_for_as_long_as_is_set_by_then() {
    let node = node().await;
    let (source, id) = ("n@west", advertisement_id("n@west", "orders", "exchange"));
    let found = |id: &RecordId| node.registry.view().get(id);
    let ttl = |record: Arc<ViewRecord>| {
        let group = record.record.group.clone().unwrap();
        node.registry.view().group(&group.id).map(|group| group.ttl)
    };
    let receive = async |held: &HeldOffers, offered: &OfferedRegisters| {
        let room = AtomicUsize::new(10);
        let (group, opened_until, untaken) = (None, None, None);
        let mut taking = OfferReceiver {
            exchange: &node.fetch,
            source,
            held,
            offered,
            room: &room,
            group,
            opened_until,
            changes: 0,
            untaken,
        };
        taking.rebind().await.unwrap();
        taking.take(&offer("orders")).await.unwrap();
    };
    receive(&HeldOffers::default(), &OfferedRegisters::new()).await;
    sleep(SECOND).await;
    assert_eq!(found(&id).and_then(ttl), Some(SECOND * 300));
    node.settings.set("registers.advertisementTtl", "20s");
    let held = HeldOffers::of_cluster(node.registry.view(), "west", SECOND * 20).remove(source).unwrap();
    receive(&held, &held.offered()).await;
    sleep(SECOND).await;
    assert_eq!(found(&id).and_then(ttl), Some(SECOND * 20));
}
