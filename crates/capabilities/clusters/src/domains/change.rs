//! Changes of domains.

use omnirelay_cluster_records::cluster_id;
use omnirelay_cluster_records::domain::{
    DOMAINS_MAX, DomainVersion, Domains, LINEAGE_MAX, MESH_DOMAIN, NAMESPACES_MAX, REPLICA, domain_id,
    replica_id,
};
use omnirelay_decisions::peer::difference;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_store::{RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;
use omnirelay_wire::pb::omnirelay::store::v1::{
    DomainReplicaApprovalValue, DomainReplicaValue, DomainTenureValue, DomainValue,
};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::domain_control_service::{APPROVE, SET};

use super::not_found;
use super::show::{DomainReader, of_record};
use crate::{check_domain, check_name, not_found as cluster_not_found};

/// What approving changes besides the record of the domain.
static REPLICAS: [RecordKind; 1] = [REPLICA];

/// Changes of the domains of a registry, in a cluster.
pub(crate) struct DomainChanges<'a> {
    pub registry: &'a Registry,
    pub cluster: &'a str,
}

impl DomainChanges<'_> {
    /// Repeating it changes nothing.
    pub(super) async fn set_one(
        &self,
        caller: &Caller,
        asked: pb::SetDomainRequest,
    ) -> Result<pb::DomainChange, Fault> {
        let hash = request_hash(&asked);
        let namespaces = check(&asked)?;
        let pb::SetDomainRequest { reason, expected_version, dry_run, .. } = asked.clone();
        let id = asked.domain.clone();
        let request = MutationRequest { caller, rpc: SET, id, reason, expected_version, dry_run, hash };
        request
            .of_records(self.registry, domain_id(&asked.domain), &[], |reader| {
                let found = reader.get(&domain_id(&asked.domain));
                let held = found.as_ref().and_then(|record| record.value::<DomainValue>());
                self.check_room(&asked.domain, found.is_none(), &namespaces)?;
                let is_known =
                    asked.active_cluster == self.cluster || reader.knows(&cluster_id(&asked.active_cluster));
                if !is_known {
                    return Err(cluster_not_found(&asked.active_cluster));
                }
                let value = self.activated(reader, held.as_deref(), &asked)?;
                let value = DomainValue { namespaces: namespaces.clone(), ..value };
                let moves = self.check_moves(reader, held.as_deref(), &value, &asked)?;
                let value = match &held {
                    Some(held) => value.in_place_of(held),
                    None => value,
                };
                let before = held.as_deref().cloned().unwrap_or_default();
                let is_new = found.is_none() || before != value;
                let mut changes = differences(&before, &value);
                if found.is_none() {
                    changes.insert(0, format!("domain: none -> {}", asked.domain));
                }
                let mut domain = of_record(&asked.domain, found.as_deref(), &value, self.cluster);
                let mut writes = Vec::new();
                if is_new {
                    domain.record_version += u64::from(found.is_some());
                    self.registry.node_id().clone_into(&mut domain.last_writer_id);
                    writes.push(put(domain_id(&asked.domain), &value));
                    // What is on its way into a namespace rests on this record, or on the one that is set.
                    writes.extend(moves.map(|mesh| put(domain_id(MESH_DOMAIN), &mesh)));
                }
                Ok(decided(writes, changes, domain))
            })
            .await
    }

    /// Lets pass what the brake has stopped, no more than was counted.
    pub(crate) async fn approve_one(
        &self,
        caller: &Caller,
        asked: pb::ApproveDomainRequest,
    ) -> Result<pb::DomainChange, Fault> {
        let hash = request_hash(&asked);
        check_domain(&asked.domain)?;
        let pb::ApproveDomainRequest { domain: name, reason, expected_version, dry_run } = asked;
        let id = name.clone();
        let request = MutationRequest { caller, rpc: APPROVE, id, reason, expected_version, dry_run, hash };
        request
            .of_records(self.registry, domain_id(&name), &REPLICAS, |reader| {
                let domain = reader.get(&domain_id(&name)).ok_or_else(|| not_found(&name))?;
                let value = domain.value::<DomainValue>().unwrap_or_default();
                let replica =
                    reader.get(&replica_id(&name)).and_then(|record| record.value::<DomainReplicaValue>());
                let braked = replica.filter(|of| of.state() == State::Braked && of.source == value.active);
                let braked = braked.ok_or_else(|| not_braked(&name))?;
                let approval = DomainReplicaApprovalValue {
                    epoch: braked.braked_epoch,
                    deletions: braked.braked_deletions,
                    replacements: braked.braked_replacements,
                    by: caller.principal.to_string(),
                    ..Default::default()
                };
                let (mut writes, mut changes) = (Vec::new(), Vec::new());
                if braked.approval.as_ref().is_none_or(|held| {
                    (held.epoch, held.deletions, held.replacements)
                        != (approval.epoch, approval.deletions, approval.replacements)
                }) {
                    changes.push(format!(
                        "approved: none -> {} deletions and {} replacements",
                        approval.deletions, approval.replacements
                    ));
                    let mut braked = (*braked).clone();
                    braked.approval = Some(approval);
                    writes.push(put(replica_id(&name), &braked));
                }
                let shown = DomainReader { view: self.registry.view(), cluster: self.cluster };
                let domain = pb::Domain {
                    replica: shown.replica(&name, &value.active),
                    ..of_record(&name, Some(&domain), &value, self.cluster)
                };
                Ok(decided(writes, changes, domain))
            })
            .await
    }

    /// The domain once it is active where it is asked to be.
    ///
    /// # Errors
    /// `NOT_ACTIVE` where it is active elsewhere and would be here; `DOMAIN_ACTIVE_HERE` where it is active here, or was followed, and
    /// would be another cluster's without a word that it may be given up.
    fn activated(
        &self,
        reader: &DecisionReader<'_>,
        held: Option<&DomainValue>,
        asked: &pb::SetDomainRequest,
    ) -> Result<DomainValue, Fault> {
        let (to, domain) = (&asked.active_cluster, &asked.domain);
        let before = held.map(|held| DomainVersion::of(held.version.as_ref())).unwrap_or_default();
        let is_settled = before.term > 0;
        match held {
            Some(held) if held.active == *to => Ok(held.clone()),
            Some(held) if to == self.cluster && is_settled => {
                let message = format!(
                    "domain `{domain}` is active in cluster `{}` since version {before}; it is not made active here by saying so",
                    held.active
                );
                Err(Fault::new(reasons::NOT_ACTIVE, message)
                    .hint(format!("make changes of it there: omnirelay mesh clusters get {}", held.active)))
            }
            Some(held) if is_settled && !asked.give_up => {
                let message = format!(
                    "domain `{domain}` is active in cluster `{}` since version {before}: what is in `{to}` would take the place of what is here",
                    held.active
                );
                Err(Fault::new(reasons::DOMAIN_ACTIVE_HERE, message)
                    .hint("say --give-up to have it follow that cluster from now on"))
            }
            _ if to == self.cluster => {
                let known = held.into_iter().flat_map(|held| &held.lineage);
                let terms = known.map(|tenure| DomainVersion::of(tenure.version.as_ref()).term);
                let term = terms.max().unwrap_or_default().max(before.term) + 1;
                let version = DomainVersion { term, raised_by: self.cluster.to_owned() }.value();
                let tenure = DomainTenureValue {
                    version: Some(version.clone()),
                    cluster: self.cluster.to_owned(),
                    epoch: reader.epoch().0,
                    first: self.registry.view().head().revision.0 + 1,
                    ..Default::default()
                };
                let mut lineage = vec![tenure];
                lineage.extend(held.into_iter().flat_map(|held| held.lineage.clone()));
                lineage.truncate(LINEAGE_MAX);
                Ok(DomainValue { active: to.clone(), version: Some(version), lineage, ..Default::default() })
            }
            _ => {
                // The active cluster has a greater one, and it is taken over once that is heard.
                let version = DomainVersion { term: 0, raised_by: self.cluster.to_owned() }.value();
                let lineage = held.map(|held| held.lineage.clone()).unwrap_or_default();
                Ok(DomainValue { active: to.clone(), version: Some(version), lineage, ..Default::default() })
            }
        }
    }

    /// Checks which namespaces come from the domain `mesh`, or go back to it; answers the value of that where any does, which is written
    /// again.
    ///
    /// # Errors
    /// `DOMAIN_NOT_FOUND` where nobody has said yet where `mesh` is active; `NOT_ACTIVE` where the domain is followed, and its active cluster
    /// says which it has; `DOMAIN_ACTIVE_HERE` where one of the two clusters may lose them by that, without a word that it may.
    fn check_moves(
        &self,
        reader: &DecisionReader<'_>,
        held: Option<&DomainValue>,
        after: &DomainValue,
        asked: &pb::SetDomainRequest,
    ) -> Result<Option<DomainValue>, Fault> {
        let before = held.map(|held| held.namespaces.clone()).unwrap_or_default();
        let is_moved =
            |(one, other): (&Vec<String>, &Vec<String>)| one.iter().any(|name| !other.contains(name));
        let moves = [(&after.namespaces, &before), (&before, &after.namespaces)].map(is_moved);
        if moves == [false; 2] {
            return Ok(None);
        }
        let mesh = reader.get(&domain_id(MESH_DOMAIN)).and_then(|record| record.value::<DomainValue>());
        let Some(mesh) = mesh else {
            let message = format!(
                "nobody has said yet where domain `{MESH_DOMAIN}` is active, which has these namespaces"
            );
            return Err(Fault::new(reasons::DOMAIN_NOT_FOUND, message)
                .hint(format!("omnirelay mesh domains set {MESH_DOMAIN} --active {}", self.cluster)));
        };
        let is_heard = held.is_some_and(|held| DomainVersion::of(held.version.as_ref()).term > 0);
        if is_heard && after.active != self.cluster {
            let message = format!(
                "domain `{}` is active in cluster `{}`, which says what namespaces it has",
                asked.domain, after.active
            );
            return Err(Fault::new(reasons::NOT_ACTIVE, message).hint("say it there"));
        }
        if mesh.active != after.active && !asked.give_up {
            let message = format!(
                "`{MESH_DOMAIN}` is active in cluster `{}`, and `{}` in `{}`: a namespace that goes from one to the other may be changed in both",
                mesh.active, asked.domain, after.active
            );
            return Err(Fault::new(reasons::DOMAIN_ACTIVE_HERE, message)
                .hint("say --give-up, in the cluster that gives it up first"));
        }
        Ok(Some((*mesh).clone()))
    }

    /// That there is room for one more, and that its namespaces are of no other domain.
    fn check_room(&self, name: &str, is_new: bool, namespaces: &[String]) -> Result<(), Fault> {
        let domains = Domains::of(self.registry.view());
        // Room for `mesh`, of which there may be no record.
        if is_new && name != MESH_DOMAIN && domains.all().len() + 1 >= DOMAINS_MAX {
            return Err(Fault::new(
                reasons::TOO_MANY_DOMAINS,
                format!("{DOMAINS_MAX} domains are known already, and no more may be"),
            ));
        }
        let taken = domains.namespaces_besides(name);
        match namespaces.iter().find(|namespace| taken.contains(namespace)) {
            None => Ok(()),
            Some(namespace) => Err(Fault::invalid(format!(
                "field `namespaces`: `{namespace}` is of domain `{}` already",
                domains.name_of(namespace)
            ))),
        }
    }
}

/// Decision of a change, with the domain as it is shown then.
fn decided(
    writes: Vec<Write>,
    changes: Vec<String>,
    domain: pb::Domain,
) -> MutationDecision<pb::DomainChange> {
    let schema_version = SCHEMA_VERSION.to_owned();
    let answer = pb::DomainChange { schema_version, domain: Some(domain), ..Default::default() };
    MutationDecision { writes, changes, answer }
}

fn not_braked(name: &str) -> Fault {
    Fault::new(reasons::DOMAIN_NOT_BRAKED, format!("nothing of domain `{name}` waits for an operator's word"))
        .hint(format!("omnirelay mesh domains get {name}"))
}

/// Checks a request; its namespaces in their order.
fn check(asked: &pb::SetDomainRequest) -> Result<Vec<String>, Fault> {
    check_domain(&asked.domain)?;
    check_name("activeCluster", "cluster", &asked.active_cluster)?;
    let refuse = |field: &str, what: String| Err(Fault::invalid(format!("field `{field}`: {what}")));
    let namespaces = &asked.namespaces;
    match (asked.domain == MESH_DOMAIN, namespaces.len()) {
        (true, 0) | (false, 1..=NAMESPACES_MAX) => {}
        (true, _) => {
            return refuse(
                "namespaces",
                "`mesh` has all that no other domain names, and names none".to_owned(),
            );
        }
        (false, 0) => {
            return refuse(
                "namespaces",
                "a domain has at least one namespace; `mesh` has the rest".to_owned(),
            );
        }
        (false, many) => return refuse("namespaces", format!("{many} are more than {NAMESPACES_MAX}")),
    }
    namespaces.iter().try_for_each(|name| check_name("namespaces", "namespace", name))?;
    let mut sorted = namespaces.clone();
    sorted.sort();
    sorted.dedup();
    Ok(sorted)
}

fn differences(before: &DomainValue, after: &DomainValue) -> Vec<String> {
    let texts = |of: &DomainValue| {
        [
            ("active", of.active.clone()),
            (
                "version",
                of.version
                    .as_ref()
                    .map_or(String::new(), |_| DomainVersion::of(of.version.as_ref()).to_string()),
            ),
            ("namespaces", of.namespaces.join(", ")),
        ]
    };
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let pairs = texts(before).into_iter().zip(texts(after));
    pairs.filter_map(|((name, was), (_, is))| difference(name, or_none(was), or_none(is))).collect()
}
