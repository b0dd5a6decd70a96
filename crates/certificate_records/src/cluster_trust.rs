//! Records of how other clusters of the trust domain vouch, as it was heard of them.

use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{RecordId, RecordKind};
use omnirelay_wire::pb::omnirelay::store::v1::ClusterTrustValue;

use crate::revoked::known;

/// Records of what was heard of how other clusters vouch; the key is the name of the cluster.
pub const CLUSTER_TRUST: RecordKind = RecordKind::of("cluster-trust");

/// The record of how a cluster vouches.
pub fn trust_id(cluster: &str) -> RecordId {
    RecordId::new(CLUSTER_TRUST, cluster)
}

/// The newest commit that touched such records, as a view has it.
pub fn changed(view: &View) -> Cursor {
    view.changed(&CLUSTER_TRUST)
}

/// Size of what was heard of how a cluster vouches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeardTrustSize {
    /// The number of its list of revocations.
    pub number: u64,
    /// How many it has.
    pub revocations: usize,
    pub token_keys: usize,
}

impl HeardTrustSize {
    /// As a record has it; read once for each version of that.
    pub fn of(record: &ViewRecord) -> Self {
        record.made(Self::read).map(|heard| *heard).unwrap_or_default()
    }

    fn read(record: &ViewRecord) -> Self {
        let value = record.value::<ClusterTrustValue>().unwrap_or_default();
        let list = known(value.revocations.as_ref()).unwrap_or_default();
        let (revocations, token_keys) = (list.iter().count(), value.token_keys.len());
        Self { number: list.number(), revocations, token_keys }
    }
}
