//! `ClusterControlService` on the memory store.

use futures_util::StreamExt as _;
use omnirelay_cluster_records::domain::{DOMAIN_FOLLOWER, follower_id};
use omnirelay_identity::caller::Caller;
use omnirelay_node::lab::reason;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_registry::lab;
use omnirelay_store::MemoryStore;
use omnirelay_wire::pb::omnirelay::store::v1::DomainFollowerValue;
use tonic::Request;

use super::*;

async fn served() -> (Clusters, tokio::task::JoinSet<()>) {
    let kinds = [
        CLUSTER,
        omnirelay_cluster_records::domain::DOMAIN,
        DOMAIN_FOLLOWER,
        omnirelay_certificate_records::cluster_trust::CLUSTER_TRUST,
    ];
    let registry = Arc::new(lab::registry("node-1", Arc::new(MemoryStore::system()), &kinds));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow_log(registry.clone()));
    wait_for(registry.view(), omnirelay_store::Revision(0)).await;
    let own = OwnCluster { name: "east".to_owned(), region: Live::fixed("eu-1".to_owned()) };
    (Clusters::new(registry, own, 10), tasks)
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

fn west() -> pb::SetClusterRequest {
    pb::SetClusterRequest {
        cluster_id: "west".to_owned(),
        region: "us-1".to_owned(),
        replication_endpoints: vec!["node-1.west:17420".to_owned()],
        owners: vec!["sre@acme".to_owned()],
        ..Default::default()
    }
}

async fn names(clusters: &Clusters, asked: pb::ListClustersRequest) -> Vec<String> {
    let listed = clusters.list(called(asked)).await.unwrap().into_inner();
    listed.clusters.into_iter().map(|one| one.cluster_id).collect()
}

#[tokio::test]
async fn a_cluster_is_set_shown_and_forgotten() {
    let (clusters, _tasks) = served().await;
    let everything = pb::ListClustersRequest::default;
    assert_eq!(names(&clusters, everything()).await, ["east"], "its own is one before anybody says so");
    let set = clusters.set(called(west())).await.unwrap().into_inner();
    assert_eq!(
        set.changes,
        [
            "cluster: none -> west",
            "region: none -> us-1",
            "replicationEndpoints: none -> node-1.west:17420",
            "owners: none -> sre@acme"
        ]
    );
    clusters.registry.ready_for(&set.cursor).await.unwrap();
    assert!(!clusters.set(called(west())).await.unwrap().into_inner().changed, "it is so already");
    assert_eq!(names(&clusters, everything()).await, ["east", "west"]);
    for size in 1..3 {
        let (mut token, mut all) = (String::new(), Vec::new());
        loop {
            let asked = pb::ListClustersRequest { page_size: size, page_token: token, ..everything() };
            let page = clusters.list(called(asked)).await.unwrap().into_inner();
            all.extend(page.clusters.into_iter().map(|one| one.cluster_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(all, ["east", "west"], "pages of {size}");
    }
    let of_region = pb::ListClustersRequest { region: "eu-1".to_owned(), ..everything() };
    assert_eq!(names(&clusters, of_region).await, ["east"]);
    let passive = pb::ListClustersRequest { state: State::Passive as i32, ..everything() };
    assert_eq!(names(&clusters, passive).await, ["west"]);
    let order = pb::SetClusterRequest { maintenance: true, reason: "moves".to_owned(), ..west() };
    let ordered = clusters.set(called(order.clone())).await.unwrap().into_inner();
    assert_eq!(ordered.changes, ["maintenance: no -> yes"]);
    clusters.registry.ready_for(&ordered.cursor).await.unwrap();
    let asked = pb::GetClusterRequest { cluster_id: "west".to_owned(), ..Default::default() };
    let got = clusters.get(called(asked.clone())).await.unwrap().into_inner().cluster.unwrap();
    let told = got.maintenance_order.clone().unwrap();
    assert_eq!((got.state(), &*told.reason, &*told.by), (State::Maintenance, "moves", "alice"));
    assert_eq!((got.version, got.local), (2, false));
    let again = clusters.set(called(pb::SetClusterRequest { reason: "again".to_owned(), ..order })).await;
    assert!(!again.unwrap().into_inner().changed, "an order that stands is not given again");
    let gone = pb::DeleteClusterRequest { cluster_id: "west".to_owned(), ..Default::default() };
    let deleted = clusters.delete(called(gone.clone())).await.unwrap().into_inner();
    clusters.registry.ready_for(&deleted.cursor).await.unwrap();
    assert_eq!(reason(clusters.delete(called(gone)).await), "CLUSTER_NOT_FOUND");
    assert_eq!(reason(clusters.get(called(asked)).await), "CLUSTER_NOT_FOUND");
    let own = pb::DeleteClusterRequest { cluster_id: "east".to_owned(), ..Default::default() };
    assert_eq!(reason(clusters.delete(called(own)).await), "CLUSTER_IS_LOCAL");
}

#[tokio::test]
async fn what_cannot_be_a_cluster_is_refused() {
    let (clusters, _tasks) = served().await;
    let many = |count: usize| (0..count).map(|at| format!("node-{at}:17420")).collect::<Vec<_>>();
    let refused = [
        ("name", pb::SetClusterRequest { cluster_id: "West".to_owned(), ..west() }),
        ("no name", pb::SetClusterRequest { cluster_id: String::new(), ..west() }),
        ("region", pb::SetClusterRequest { region: "us/1".to_owned(), ..west() }),
        ("priority", pb::SetClusterRequest { priority: 1001, ..west() }),
        ("address", pb::SetClusterRequest { replication_endpoints: vec!["node-1".to_owned()], ..west() }),
        ("addresses", pb::SetClusterRequest { replication_endpoints: many(17), ..west() }),
        ("owner", pb::SetClusterRequest { owners: vec![String::new()], ..west() }),
        ("owners", pb::SetClusterRequest { owners: many(17), ..west() }),
        ("ticket", pb::SetClusterRequest { change_ticket: "x".repeat(129), ..west() }),
        (
            "annotation",
            pb::SetClusterRequest {
                annotations: [("name".to_owned(), "x".repeat(1025))].into_iter().collect(),
                ..west()
            },
        ),
        (
            "annotations",
            pb::SetClusterRequest {
                annotations: many(33).into_iter().map(|name| (name, String::new())).collect(),
                ..west()
            },
        ),
    ];
    for (what, asked) in refused {
        assert_eq!(reason(clusters.set(called(asked)).await), "INVALID_ARGUMENT", "{what}");
    }
}

#[tokio::test]
async fn there_are_so_many_and_no_more() {
    let (clusters, _tasks) = served().await;
    let named = |at: usize| pb::SetClusterRequest { cluster_id: format!("c{at}"), ..west() };
    let mut cursor = String::new();
    for at in 0..omnirelay_cluster_records::CLUSTERS_MAX - 1 {
        cursor = clusters.set(called(named(at))).await.unwrap().into_inner().cursor;
    }
    clusters.registry.ready_for(&cursor).await.unwrap();
    assert_eq!(reason(clusters.set(called(named(99))).await), "TOO_MANY_CLUSTERS");
}

#[tokio::test]
async fn a_watch_tells_of_changes() {
    let (clusters, _tasks) = served().await;
    let mut watch = clusters.watch(called(pb::WatchClustersRequest::default())).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    clusters.set(called(west())).await.unwrap();
    while kinds.last() != Some(&Type::Added) {
        let event: pb::ClusterEvent = watch.next().await.unwrap().unwrap().into_message();
        kinds.push(event.r#type());
        if event.r#type() == Type::Added {
            assert_eq!(event.cluster.unwrap().cluster_id, "west");
        }
    }
    assert!(kinds.contains(&Type::Synced));
}

#[tokio::test]
async fn what_a_cluster_has_followed_is_forgotten_with_it() {
    let (clusters, _tasks) = served().await;
    let set = clusters.set(called(west())).await.unwrap().into_inner();
    clusters.registry.ready_for(&set.cursor).await.unwrap();
    let followers = [("mesh", "west"), ("payments", "west"), ("mesh", "north"), ("mesh", "northwest")];
    let ids = followers.map(|(domain, cluster)| follower_id(domain, cluster));
    let act = DaemonAct::new("domains.note-follower", [DOMAIN_FOLLOWER], WriteAuthority::Unfenced);
    let puts = ids.clone().map(|id| put(id, &DomainFollowerValue::default()));
    clusters.registry.attempt(&act, CommitPlan::default().write(puts)).await.unwrap();
    let gone = pb::DeleteClusterRequest { cluster_id: "west".to_owned(), ..Default::default() };
    let deleted = clusters.delete(called(gone)).await.unwrap().into_inner();
    clusters.registry.ready_for(&deleted.cursor).await.unwrap();
    let left = ids.map(|id| clusters.registry.view().get(&id).is_some());
    assert_eq!(left, [false, false, true, true]);
}
