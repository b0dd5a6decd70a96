//! Records of clusters, as every capability reads them: which the trust domain has, and where they are.

pub mod domain;

use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::View;
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::ClusterValue;

/// Records of clusters; the key is the name of the cluster.
pub const CLUSTER: RecordKind = RecordKind::of("cluster");

/// How many clusters there may be, that of the daemon included.
pub const CLUSTERS_MAX: usize = 64;

/// The record of a cluster.
pub fn cluster_id(cluster: &str) -> RecordId {
    RecordId::new(CLUSTER, cluster)
}

/// The newest commit that touched records of clusters, as a view has it.
pub fn changed(view: &View) -> Cursor {
    view.changed(&CLUSTER)
}

/// Another cluster, and where its daemons are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherCluster {
    pub cluster: String,
    /// Control ports, `HOST:PORT`.
    pub endpoints: Vec<String>,
}

/// Addresses at which the daemons of a cluster are called; none: it is not known, or nobody has said where it is.
pub fn endpoints_of(view: &View, cluster: &str) -> Vec<String> {
    let known = view.get(&cluster_id(cluster)).and_then(|record| record.value::<ClusterValue>());
    known.map(|cluster| cluster.replication_endpoints.clone()).unwrap_or_default()
}

/// The clusters that a view knows besides `own`, in the order of their names.
pub fn other_clusters(view: &View, own: &str) -> Vec<OtherCluster> {
    let records = view.list(&CLUSTER).records;
    let others = records.iter().filter(|record| record.record.id.key != own).map(|record| OtherCluster {
        cluster: record.record.id.key.clone(),
        endpoints: record.value::<ClusterValue>().unwrap_or_default().replication_endpoints.clone(),
    });
    others.collect()
}
