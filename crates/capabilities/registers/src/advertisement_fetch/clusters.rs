//! Clusters that advertisements are fetched of: federated ones of the configuration, and the others of the trust domain.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_cluster_records::{self as cluster_records, OtherCluster, other_clusters};
use omnirelay_identity::federation::FederatedClusters;
use omnirelay_registry::Registry;
use tokio::sync::watch;

/// Relation of a cluster to that of the daemon: by what its nodes are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterRelation {
    /// It is of another mesh: by the roots that the configuration names.
    Federated,
    /// It is of the same trust domain: by the roots of the mesh.
    Sibling,
}

/// A cluster that is fetched of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedCluster {
    pub cluster: String,
    pub relation: ClusterRelation,
    /// Control ports of some of its nodes, `HOST:PORT`.
    pub seeds: Vec<String>,
}

/// The clusters that are fetched of by now, in the order of their names.
#[derive(Clone, Debug)]
pub struct FetchedClusters(watch::Sender<Vec<FetchedCluster>>);

impl FetchedClusters {
    /// Those of the configuration; records are read once [`Self::run`] runs.
    pub fn of(federation: &FederatedClusters) -> Self {
        Self(watch::Sender::new(chosen(federation, Vec::new())))
    }

    /// Hears which there are from now on.
    pub fn subscribe(&self) -> watch::Receiver<Vec<FetchedCluster>> {
        self.0.subscribe()
    }

    /// Whether a cluster is fetched of by now.
    pub fn has(&self, cluster: &str) -> bool {
        self.0.borrow().iter().any(|fetched| fetched.cluster == cluster)
    }

    /// Names of them.
    pub fn names(&self) -> Vec<String> {
        self.0.borrow().iter().map(|fetched| fetched.cluster.clone()).collect()
    }

    /// Keeps them as the configuration and the records of clusters say, for ever.
    pub async fn run(self, registry: Arc<Registry>, federation: FederatedClusters, own: String) {
        let mut federated = federation.subscribe();
        let mut read_at = None;
        loop {
            federated.borrow_and_update();
            let others = other_clusters(registry.view(), &own);
            let clusters = chosen(&federation, others);
            self.0.send_if_modified(|before| {
                let is_news = *before != clusters;
                *before = clusters;
                is_news
            });
            let changed = registry.look_until_found(|view| {
                let changed = cluster_records::changed(view);
                (view.head().caught_up && read_at != Some(changed)).then_some(changed)
            });
            tokio::select! {
                changed = changed => read_at = Some(changed),
                Ok(()) = federated.changed() => {}
            }
        }
    }
}

/// Those of both kinds that say where some of their nodes are. What the configuration says of a cluster counts.
fn chosen(federation: &FederatedClusters, others: Vec<OtherCluster>) -> Vec<FetchedCluster> {
    let siblings = others.into_iter().map(|OtherCluster { cluster, endpoints }| FetchedCluster {
        cluster,
        relation: ClusterRelation::Sibling,
        seeds: endpoints,
    });
    let federated = federation.named().into_iter().map(|named| FetchedCluster {
        cluster: named.cluster,
        relation: ClusterRelation::Federated,
        seeds: named.seeds,
    });
    let by_name: BTreeMap<_, _> =
        siblings.chain(federated).map(|fetched| (fetched.cluster.clone(), fetched)).collect();
    by_name.into_values().filter(|fetched| !fetched.seeds.is_empty()).collect()
}
