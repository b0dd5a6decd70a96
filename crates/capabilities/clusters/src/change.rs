//! Changes of clusters.

use std::sync::Arc;

use omnirelay_cluster_records::domain::DOMAIN_FOLLOWER;
use omnirelay_cluster_records::{CLUSTER, CLUSTERS_MAX, cluster_id};
use omnirelay_core::names::check_node_name;
use omnirelay_core::text::{chain, is_unseen, shown};
use omnirelay_decisions::peer::difference;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_registry::act::put;
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_settings::is_host_and_port;
use omnirelay_store::{RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{ClusterMaintenanceValue, ClusterValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::cluster_control_service::{DELETE, SET};

use crate::show::{of_value, recorded};
use crate::{Clusters, check_cluster, not_found};

/// What deleting changes besides the record of the cluster.
static FOLLOWERS: [RecordKind; 1] = [DOMAIN_FOLLOWER];
/// How many records of domains that it has followed go with a cluster at most: what a commit has room for.
const FOLLOWERS_DROPPED_MAX: usize = 200;

const PRIORITY_MAX: u32 = 1000;
const ENDPOINTS_MAX: usize = 16;
const OWNERS_MAX: usize = 16;
/// The longest owner and the longest ticket, in characters.
const TEXT_CHARS_MAX: usize = 128;
const ANNOTATIONS_MAX: usize = 32;
/// The longest name and the longest value of an annotation, in bytes.
const ANNOTATION_NAME_BYTES_MAX: usize = 63;
const ANNOTATION_BYTES_MAX: usize = 1024;
/// How much of something wrong an error shows, in characters.
const CHARS_SHOWN: usize = 64;

impl Clusters {
    /// Repeating it changes nothing.
    pub(crate) async fn set_one(
        &self,
        caller: &Caller,
        asked: pb::SetClusterRequest,
    ) -> Result<pb::ClusterChange, Fault> {
        let hash = request_hash(&asked);
        check(&asked)?;
        let pb::SetClusterRequest { reason, expected_version, dry_run, .. } = asked.clone();
        let (id, why) = (asked.cluster_id.clone(), reason.clone());
        let request = MutationRequest { caller, rpc: SET, id, reason, expected_version, dry_run, hash };
        let (registry, own) = (&self.registry, &self.own.name);
        request
            .of_records(registry, cluster_id(&asked.cluster_id), &[], |reader| {
                let found = reader.get(&cluster_id(&asked.cluster_id));
                let held = found.as_ref().and_then(|record| record.value::<ClusterValue>());
                // Room for the cluster of the daemon, of which there may be no record.
                if found.is_none() && registry.view().list(&CLUSTER).records.len() + 1 >= CLUSTERS_MAX {
                    return Err(too_many());
                }
                let order = |by: &str| ClusterMaintenanceValue {
                    reason: why.clone(),
                    by: by.to_owned(),
                    since_ms: registry.view().now().0,
                    ..Default::default()
                };
                let was = held.as_ref().and_then(|held| held.maintenance.clone());
                let value = ClusterValue {
                    region: asked.region.clone(),
                    replication_endpoints: asked.replication_endpoints.clone(),
                    priority: asked.priority,
                    owners: asked.owners.clone(),
                    change_ticket: asked.change_ticket.clone(),
                    annotations: asked.annotations.clone().into_iter().collect(),
                    // An order that stands is not given again.
                    maintenance: asked.maintenance.then(|| was.unwrap_or_else(|| order(&caller.principal))),
                    ..Default::default()
                };
                let value = match &held {
                    Some(held) => value.in_place_of(held),
                    None => value,
                };
                let before = held.as_deref().cloned().unwrap_or_default();
                let mut changes = differences(&before, &value);
                if found.is_none() {
                    changes.insert(0, format!("cluster: none -> {}", asked.cluster_id));
                }
                let is_new = found.is_none() || before != value;
                let mut shown = match &found {
                    Some(record) => pb::Cluster {
                        version: record.record.version.0 + u64::from(is_new),
                        ..of_record(record, &value, (own, registry.view()))
                    },
                    None => of_value(&asked.cluster_id, &value, (own, registry.view())),
                };
                let mut writes = Vec::new();
                if is_new {
                    registry.node_id().clone_into(&mut shown.last_writer_id);
                    writes.push(put(cluster_id(&asked.cluster_id), &value));
                }
                Ok(MutationDecision { writes, changes, answer: answer(shown) })
            })
            .await
    }

    pub(crate) async fn delete_one(
        &self,
        caller: &Caller,
        asked: pb::DeleteClusterRequest,
    ) -> Result<pb::ClusterChange, Fault> {
        let hash = request_hash(&asked);
        check_cluster(&asked.cluster_id)?;
        if asked.cluster_id == self.own.name {
            let message =
                format!("`{}` is the cluster of this daemon, which there is always", asked.cluster_id);
            return Err(Fault::new(reasons::CLUSTER_IS_LOCAL, message)
                .hint("name another one: omnirelay mesh clusters list"));
        }
        let pb::DeleteClusterRequest { cluster_id: id, reason, expected_version, dry_run } = asked;
        let request = MutationRequest { caller, rpc: DELETE, id, reason, expected_version, dry_run, hash };
        let name = request.id.clone();
        request
            .of_records(&self.registry, cluster_id(&name), &FOLLOWERS, |reader| {
                let found = reader.get(&cluster_id(&name)).ok_or_else(|| not_found(&name))?;
                let changes = vec![format!("cluster: {name} -> none")];
                let mut writes = vec![Write::Delete { id: found.record.id.clone() }];
                // Whether it follows again is said anew.
                let followers = self.registry.view().list(&DOMAIN_FOLLOWER).records;
                let ids = followers.iter().map(|follower| &follower.record.id);
                let of_cluster = ids.filter(|id| id.key.rsplit_once('/').is_some_and(|(_, of)| of == name));
                let gone = of_cluster.take(FOLLOWERS_DROPPED_MAX);
                writes.extend(gone.map(|id| Write::Delete { id: id.clone() }));
                let answer = answer(recorded(&found, &self.own.name, self.registry.view()));
                Ok(MutationDecision { writes, changes, answer })
            })
            .await
    }
}

/// The cluster of a record, with another value.
fn of_record(record: &Arc<ViewRecord>, value: &ClusterValue, (own, view): (&str, &View)) -> pb::Cluster {
    let was = recorded(record, own, view);
    pb::Cluster {
        version: was.version,
        last_writer_id: was.last_writer_id,
        created_at: was.created_at,
        updated_at: was.updated_at,
        ..of_value(&record.record.id.key, value, (own, view))
    }
}

fn differences(before: &ClusterValue, after: &ClusterValue) -> Vec<String> {
    let texts = |of: &ClusterValue| {
        let annotations: Vec<String> =
            of.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [
            ("region", of.region.clone()),
            ("priority", of.priority.to_string()),
            ("replicationEndpoints", of.replication_endpoints.join(", ")),
            ("owners", of.owners.join(", ")),
            ("changeTicket", of.change_ticket.clone()),
            ("annotations", annotations.join(", ")),
            ("maintenance", of.maintenance.as_ref().map_or("no", |_| "yes").to_owned()),
        ]
    };
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let pairs = texts(before).into_iter().zip(texts(after));
    pairs.filter_map(|((name, was), (_, is))| difference(name, or_none(was), or_none(is))).collect()
}

fn check(asked: &pb::SetClusterRequest) -> Result<(), Fault> {
    check_cluster(&asked.cluster_id)?;
    let refuse = |field: &str, what: String| Err(Fault::invalid(format!("field `{field}`: {what}")));
    if let Some(error) = check_node_name(&asked.region).err().filter(|_| !asked.region.is_empty()) {
        return refuse("region", chain(&error));
    }
    if asked.priority > PRIORITY_MAX {
        return refuse("priority", format!("{} is more than {PRIORITY_MAX}", asked.priority));
    }
    if asked.replication_endpoints.len() > ENDPOINTS_MAX {
        return refuse(
            "replicationEndpoints",
            format!("{} are more than {ENDPOINTS_MAX}", asked.replication_endpoints.len()),
        );
    }
    if let Some(wrong) = asked.replication_endpoints.iter().find(|endpoint| !is_host_and_port(endpoint)) {
        let wrong = shown(wrong, CHARS_SHOWN);
        return refuse(
            "replicationEndpoints",
            format!("`{wrong}` is no address; write HOST:PORT or [IPV6]:PORT"),
        );
    }
    let is_text = |text: &str| text.chars().count() <= TEXT_CHARS_MAX && !text.contains(is_unseen);
    if asked.owners.len() > OWNERS_MAX {
        return refuse("owners", format!("{} are more than {OWNERS_MAX}", asked.owners.len()));
    }
    if asked.owners.iter().any(|owner| owner.is_empty() || !is_text(owner)) {
        return refuse("owners", format!("an owner has 1 to {TEXT_CHARS_MAX} characters that can be seen"));
    }
    if !is_text(&asked.change_ticket) {
        return refuse(
            "changeTicket",
            format!("it has more than {TEXT_CHARS_MAX} characters, or some that cannot be seen"),
        );
    }
    if asked.annotations.len() > ANNOTATIONS_MAX {
        return refuse("annotations", format!("{} are more than {ANNOTATIONS_MAX}", asked.annotations.len()));
    }
    let is_annotation = |(name, value): (&String, &String)| {
        (1..=ANNOTATION_NAME_BYTES_MAX).contains(&name.len())
            && value.len() <= ANNOTATION_BYTES_MAX
            && !name.contains(is_unseen)
            && !value.contains(is_unseen)
    };
    match asked.annotations.iter().all(is_annotation) {
        true => Ok(()),
        false => refuse(
            "annotations",
            format!(
                "a name has 1 to {ANNOTATION_NAME_BYTES_MAX} bytes and a value {ANNOTATION_BYTES_MAX} at most, and none that cannot be seen"
            ),
        ),
    }
}

fn answer(cluster: pb::Cluster) -> pb::ClusterChange {
    pb::ClusterChange {
        schema_version: SCHEMA_VERSION.to_owned(),
        cluster: Some(cluster),
        ..Default::default()
    }
}

fn too_many() -> Fault {
    Fault::new(
        reasons::TOO_MANY_CLUSTERS,
        format!("{CLUSTERS_MAX} clusters are known already, and no more may be"),
    )
    .hint("forget those that are no more: omnirelay mesh clusters delete NAME")
}
