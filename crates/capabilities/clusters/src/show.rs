//! Clusters as they are shown: their records, and what was heard of them.

use omnirelay_certificate_records::cluster_trust::{HeardTrustSize, trust_id};
use omnirelay_cluster_records::domain::{Domains, MESH_DOMAIN};
use omnirelay_core::time::Millis;
use omnirelay_nouns::timestamp;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::ClusterValue;

use crate::{OwnCluster, as_count};
use pb::cluster::State;

/// Reads clusters of a view.
pub(crate) struct ClusterReader<'a> {
    view: &'a View,
    own: &'a OwnCluster,
}

impl<'a> ClusterReader<'a> {
    pub(crate) fn of(view: &'a View, own: &'a OwnCluster) -> Self {
        Self { view, own }
    }

    /// The cluster of a record, with what was heard of it.
    pub(crate) fn show(&self, record: &ViewRecord) -> pb::Cluster {
        let name = &record.record.id.key;
        let heard = self.view.get(&trust_id(name)).filter(|_| *name != self.own.name);
        let trust = heard.map(|heard| {
            let HeardTrustSize { number, revocations, token_keys } = HeardTrustSize::of(&heard);
            pb::ClusterTrustState {
                revocations_number: number,
                revocations: as_count(revocations),
                token_keys: as_count(token_keys),
                changed_at: Some(timestamp(heard.record.updated_at)),
            }
        });
        pb::Cluster { trust, ..recorded(record, &self.own.name, self.view) }
    }

    /// The cluster of the daemon while there is no record of it.
    pub(crate) fn unsaid(&self) -> pb::Cluster {
        pb::Cluster {
            cluster_id: self.own.name.clone(),
            region: self.own.region.get(),
            state: state_of(&self.own.name, &self.own.name, self.view) as i32,
            local: true,
            ..Default::default()
        }
    }
}

/// The cluster of a record, as that has it.
pub(crate) fn recorded(record: &ViewRecord, own: &str, view: &View) -> pb::Cluster {
    let value = record.value::<ClusterValue>().unwrap_or_default();
    let shown = of_value(&record.record.id.key, &value, (own, view));
    pb::Cluster {
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
        ..shown
    }
}

/// The cluster of this name and value.
pub(crate) fn of_value(name: &str, value: &ClusterValue, (own, view): (&str, &View)) -> pb::Cluster {
    let maintenance = value.maintenance.as_ref().map(|order| pb::ClusterMaintenance {
        reason: order.reason.clone(),
        by: order.by.clone(),
        since: Some(timestamp(Millis(order.since_ms))),
    });
    let state = if maintenance.is_some() { State::Maintenance } else { state_of(name, own, view) };
    pb::Cluster {
        cluster_id: name.to_owned(),
        region: value.region.clone(),
        state: state as i32,
        priority: value.priority,
        replication_endpoints: value.replication_endpoints.clone(),
        owners: value.owners.clone(),
        change_ticket: value.change_ticket.clone(),
        annotations: value.annotations.clone().into_iter().collect(),
        maintenance_order: maintenance,
        local: name == own,
        ..Default::default()
    }
}

/// State of a cluster by the domains that it is active for. What nobody has said anything of is active where it is.
fn state_of(name: &str, own: &str, view: &View) -> State {
    let domains = Domains::of(view);
    let is_named = domains.all().iter().any(|domain| domain.value.active == name);
    let has_rest = name == own && domains.find(MESH_DOMAIN).is_none();
    if is_named || has_rest { State::Active } else { State::Passive }
}
