//! Filter and order of the peers that a list or a watch is about.

use std::collections::BTreeSet;

use omnirelay_core::selector::Selector;
use omnirelay_nouns::listing::ListOrder;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

use super::pb;
use pb::peer::Status;

/// The most values of one filter.
const FILTER_VALUES_MAX: usize = 256;

/// A peer passes when it passes each filter that is not empty.
#[derive(Debug, Default)]
pub(crate) struct PeerFilter {
    node_id: BTreeSet<String>,
    role: BTreeSet<String>,
    cluster: BTreeSet<String>,
    status: BTreeSet<i32>,
    version: BTreeSet<String>,
    region: BTreeSet<String>,
    zone: BTreeSet<String>,
    selector: Selector,
}

impl PeerFilter {
    /// # Errors
    /// `INVALID_ARGUMENT` for an unknown status, a bad selector or too many values.
    pub(crate) fn of_list(asked: &pb::ListPeersRequest) -> Result<Self, Fault> {
        Self {
            node_id: BTreeSet::new(),
            role: set("role", &asked.role)?,
            cluster: set("cluster", &asked.cluster)?,
            status: statuses(&asked.status)?,
            version: set("version", &asked.version)?,
            region: set("region", &asked.region)?,
            zone: set("zone", &asked.zone)?,
            selector: Selector::default(),
        }
        .selecting(&asked.selector)
    }

    /// # Errors
    /// As of [`PeerFilter::of_list`].
    pub(crate) fn of_watch(asked: &pb::WatchPeersRequest) -> Result<Self, Fault> {
        Self {
            node_id: set("nodeId", &asked.node_id)?,
            role: set("role", &asked.role)?,
            cluster: set("cluster", &asked.cluster)?,
            status: statuses(&asked.status)?,
            version: set("version", &asked.version)?,
            region: set("region", &asked.region)?,
            zone: set("zone", &asked.zone)?,
            selector: Selector::default(),
        }
        .selecting(&asked.selector)
    }

    fn selecting(mut self, selector: &str) -> Result<Self, Fault> {
        self.selector = Selector::parse(selector).map_err(|error| {
            Fault::invalid(format!("field `selector`: {error}")).hint("such as `tier=std,!canary`")
        })?;
        Ok(self)
    }

    fn takes_all(&self) -> bool {
        let Self { node_id, role, cluster, status, version, region, zone, selector } = self;
        let names = [node_id, role, cluster, version, region, zone];
        names.into_iter().all(BTreeSet::is_empty) && status.is_empty() && selector.is_empty()
    }

    /// Whether the record of a peer passes.
    pub(crate) fn matches(&self, record: &ViewRecord) -> bool {
        // Of most lists all peers are asked, of which nothing need be known for that.
        if self.takes_all() {
            return true;
        }
        let Some(value) = record.value::<PeerValue>() else { return false };
        let Some(metadata) = &value.metadata else { return false };
        let passes = |set: &BTreeSet<String>, text: &String| set.is_empty() || set.contains(text);
        passes(&self.node_id, &record.record.id.key)
            && passes(&self.role, &metadata.role)
            && passes(&self.cluster, &metadata.cluster_id)
            && passes(&self.version, &metadata.mesh_version)
            && passes(&self.region, &metadata.region)
            && passes(&self.zone, &metadata.zone)
            && (self.status.is_empty() || self.status.contains(&value.status))
            && self.selector.matches(&metadata.labels)
    }
}

fn set(name: &str, values: &[String]) -> Result<BTreeSet<String>, Fault> {
    if values.len() > FILTER_VALUES_MAX {
        return Err(Fault::invalid(format!("field `{name}` has more than {FILTER_VALUES_MAX} values")));
    }
    Ok(values.iter().cloned().collect())
}

fn statuses(values: &[i32]) -> Result<BTreeSet<i32>, Fault> {
    let known = |value: &i32| Status::try_from(*value).is_ok_and(|status| status != Status::Unspecified);
    match values.iter().find(|value| !known(value)) {
        Some(_) => Err(Fault::invalid("field `status` must be `alive`, `suspect`, `dead` or `left`")),
        None => Ok(values.iter().copied().collect()),
    }
}

/// Field by which a list of peers is sorted; the node id settles ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerSortField {
    NodeId,
    Role,
    Cluster,
    Status,
    Version,
    Region,
    Zone,
}

/// What stands still while pages are read. When a peer was seen does not, so it is no order.
const FIELDS: [(&str, PeerSortField); 7] = [
    ("node_id", PeerSortField::NodeId),
    ("role", PeerSortField::Role),
    ("cluster", PeerSortField::Cluster),
    ("status", PeerSortField::Status),
    ("version", PeerSortField::Version),
    ("region", PeerSortField::Region),
    ("zone", PeerSortField::Zone),
];

/// Reads `orderBy`; empty is by node id.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the known fields.
pub(crate) fn order(text: &str) -> Result<ListOrder<PeerSortField>, Fault> {
    ListOrder::parse(text, &FIELDS)
}

/// Key by which a peer is sorted.
pub(crate) fn key(field: PeerSortField, record: &ViewRecord) -> String {
    let value = record.value::<PeerValue>().unwrap_or_default();
    let metadata = value.metadata.clone().unwrap_or_default();
    match field {
        PeerSortField::NodeId => String::new(),
        PeerSortField::Role => metadata.role,
        PeerSortField::Cluster => metadata.cluster_id,
        PeerSortField::Status => Status::try_from(value.status).unwrap_or_default().as_str_name().to_owned(),
        PeerSortField::Version => metadata.mesh_version,
        PeerSortField::Region => metadata.region,
        PeerSortField::Zone => metadata.zone,
    }
}
