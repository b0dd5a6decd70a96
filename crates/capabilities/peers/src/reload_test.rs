//! Peers by settings that change while their daemons run; in paused time.

use std::time::Duration;

use omnirelay_node::lab::{Lab, LabNode};
use omnirelay_registry::Registry;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_scripted::memory;
use omnirelay_settings::LiveConfig;
use omnirelay_store::{GroupRef, MemoryStore, Scan, Store as _};
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use tokio::time::{Instant, sleep};

use super::*;
use crate::mount::{StartupAnnouncement, mount_alone};
use pb::peer::Status;

/// In which a setting is to be in effect.
const SOON: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(10);

/// A daemon whose settings change.
struct Daemon {
    settings: LiveConfig,
    registry: Arc<Registry>,
    presence: Arc<omnirelay_peer_records::presence::Presence>,
    _node: LabNode,
}

async fn daemon(store: &Arc<MemoryStore>, node_id: &str) -> Daemon {
    let lab = Lab::on(store.clone(), node_id).kinds(&[crate::KINDS]);
    let (node, (settings, presence)) =
        lab.with(|node| Ok((node.settings.clone(), mount_alone(node, StartupAnnouncement::default())?)));
    let node = node.start();
    node.registered().await;
    Daemon { settings, registry: node.registry.clone(), presence, _node: node }
}

async fn two() -> (Daemon, Daemon, Arc<MemoryStore>) {
    let store = memory();
    let both = (daemon(&store, "a").await, daemon(&store, "b").await);
    sleep(SOON).await;
    (both.0, both.1, store)
}

impl Daemon {
    fn shown(&self, node_id: &str) -> Option<pb::Peer> {
        let record = self.registry.view().get(&peer_id(node_id))?;
        Some(peer(self.registry.view(), &record))
    }

    fn status(&self, node_id: &str) -> Option<Status> {
        self.shown(node_id).map(|peer| peer.status())
    }

    /// The session of a node, as this daemon knows it.
    fn session(&self, node_id: &str) -> GroupRef {
        self.registry.view().group(&session_id(node_id)).unwrap().of
    }

    /// How long it takes until a node that is dropped is not alive any more.
    async fn misses(&self, other: Daemon) -> Duration {
        let (node_id, dropped) = (other.registry.node_id().to_owned(), Instant::now());
        drop(other);
        while self.status(&node_id) == Some(Status::Alive) {
            sleep(STEP).await;
        }
        dropped.elapsed()
    }

    async fn renewals_in(&self, time: Duration) -> u64 {
        let before = self.registry.held_groups().renewals();
        sleep(time).await;
        self.registry.held_groups().renewals() - before
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_says_of_itself_what_it_is_configured_with_by_then() {
    let (a, b, _store) = two().await;
    let said = || a.shown("b").unwrap().metadata.unwrap();
    let control = || said().endpoints.unwrap().control.unwrap();
    let port = control().rsplit_once(':').unwrap().1.to_owned();
    assert!(said().campaigns);
    b.settings.set("node.role", "gateway");
    sleep(SOON).await;
    assert_eq!(said().role, "gateway");
    b.settings.set("node.region", "north");
    b.settings.set("node.zone", "north-1");
    sleep(SOON).await;
    assert_eq!((said().region, said().zone), ("north".to_owned(), "north-1".to_owned()));
    b.settings.set("mesh.leadership.enabled", false);
    sleep(SOON).await;
    assert!(!said().campaigns);
    b.settings.set("mesh.advertise", "eu-1.example:17421");
    sleep(SOON).await;
    assert_eq!(control(), format!("eu-1.example:{port}"));
    let (version, session) = (a.shown("b").unwrap().version, a.session("b"));
    b.settings.set("peers.forgetAfter", "100h");
    sleep(SOON).await;
    assert_eq!(a.shown("b").unwrap().version, version, "nothing else is written");
    assert_eq!(a.session("b"), session);
}

#[tokio::test(start_paused = true)]
async fn labels_are_as_they_are_configured_by_then_but_for_those_of_operators() {
    let (a, b, _store) = two().await;
    let peers = Peers::new(a.registry.clone(), 100, HeldByPeers::default());
    let labels = || a.shown("b").unwrap().metadata.unwrap().labels;
    let of = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    b.settings.set("node.labels", serde_json::json!({"tier": "std", "rack": "7"}));
    sleep(SOON).await;
    assert_eq!(labels(), of(&[("rack", "7"), ("tier", "std")]));
    let set = of(&[("tier", "ctl"), ("gpu", "yes")]);
    let asked =
        pb::UpdatePeerLabelsRequest { node_id: "b".to_owned(), set, overwrite: true, ..Default::default() };
    let mut request = tonic::Request::new(asked);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    pb::peer_control_service_server::PeerControlService::update_labels(&peers, request).await.unwrap();
    b.settings.set("node.labels", serde_json::json!({"tier": "low", "row": "1"}));
    sleep(SOON).await;
    assert_eq!(labels(), of(&[("gpu", "yes"), ("row", "1"), ("tier", "ctl")]));
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_for_as_long_as_is_set_by_then() {
    let (a, b, store) = two().await;
    let session = a.session("b");
    b.settings.set("session.ttl", "20s");
    sleep(SOON).await;
    let missed = a.misses(b).await;
    assert!(missed > Duration::from_secs(19) && missed < Duration::from_secs(21), "{missed:?}");
    assert_eq!(a.session("b"), session, "it was the same all the time");

    let c = daemon(&store, "c").await;
    c.settings.set("mesh.leadership.leaseDuration", "6s");
    sleep(SOON).await;
    let session = a.session("c");
    c.settings.set("mesh.leadership.leaseDuration", "1s");
    // What was promised has run out.
    sleep(Duration::from_secs(8)).await;
    let missed = a.misses(c).await;
    assert!(missed < Duration::from_millis(1600), "{missed:?}");
    assert_eq!(a.session("c"), session);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_as_often_as_is_set_by_then() {
    let (a, _b, _store) = two().await;
    let time = Duration::from_secs(10);
    assert!((19..=21).contains(&a.renewals_in(time).await));
    a.settings.set("session.renewEvery", "100ms");
    assert!((98..=102).contains(&a.renewals_in(time).await));
    a.settings.set("mesh.leadership.renewalLeadTime", "1s");
    assert!((9..=12).contains(&a.renewals_in(time).await));
}

#[tokio::test(start_paused = true)]
async fn peers_are_judged_by_what_is_set_by_then() {
    let (a, b, _store) = two().await;
    a.misses(b).await;
    a.settings.set("peers.deadAfter", "60s");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(a.status("b"), Some(Status::Suspect));
    a.settings.set("peers.deadAfter", "15s");
    sleep(SOON).await;
    assert_eq!(a.status("b"), Some(Status::Dead));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(a.status("b"), Some(Status::Dead));
    a.settings.set("peers.forgetAfter", "16s");
    sleep(SOON).await;
    assert_eq!(a.status("b"), None);
}

#[tokio::test(start_paused = true)]
async fn the_trail_tells_who_comes_and_goes_while_that_is_set() {
    let (a, b, store) = two().await;
    let told = async || {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 100 };
        let records = store.scan(scan).await.unwrap().records;
        let told = records.iter().map(|record| AuditValue::decode(record.value.clone()).unwrap());
        told.map(|told| format!("{} {}", told.object, told.action)).collect::<Vec<_>>()
    };
    b.presence.leave().await;
    assert!(told().await.is_empty());
    a.settings.set("audit.membership", true);
    a.presence.leave().await;
    assert_eq!(told().await, ["peer/a peers.leave"]);
}
