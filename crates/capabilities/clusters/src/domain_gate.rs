//! The gate of domains: records of a domain are written in the cluster where it is active, and on the condition that it still is.

use std::sync::Arc;

use omnirelay_cluster_records::domain::{DomainKind, Domains, FOLLOW, HEAL, MESH_DOMAIN, domain_id};
use omnirelay_cluster_records::{CLUSTER, endpoints_of};
use omnirelay_registry::epoch_loss::RESTORE;
use omnirelay_registry::view::View;
use omnirelay_registry::write_gate::{Passage, WriteRule};
use omnirelay_store::{Precondition, Version, Write};

/// Acts that write what another cluster has committed, or what this one has lost.
const EXEMPT: [&str; 3] = [FOLLOW, HEAL, RESTORE];

/// Gate of domains.
pub(crate) struct DomainGate {
    /// The cluster of the daemon.
    pub cluster: String,
    pub kinds: Arc<[DomainKind]>,
}

impl WriteRule for DomainGate {
    fn passages<'w>(&self, view: &View, action: &str, writes: &'w [Write]) -> Vec<(&'w Write, Passage)> {
        let of_kind = |write: &'w Write| {
            let kind = self.kinds.iter().find(|kind| kind.kind == write.id().kind)?;
            Some((write, kind))
        };
        let followed: Vec<(&Write, &DomainKind)> = writes.iter().filter_map(of_kind).collect();
        if followed.is_empty() || EXEMPT.contains(&action) {
            return Vec::new();
        }
        // Before what is read in it.
        let epoch = view.head().epoch;
        // Where there is any domain, there is this one: who may write is not known until it is put back.
        if view.awaits(&domain_id(MESH_DOMAIN)) {
            let unknown = Passage::Closed("which cluster may write it is not known yet; try again".into());
            return followed.into_iter().take(1).map(|(write, _)| (write, unknown.clone())).collect();
        }
        let domains = Domains::of(view);
        let is_alone =
            || view.list(&CLUSTER).records.iter().all(|record| record.record.id.key == self.cluster);
        if domains.all().is_empty() && is_alone() {
            return Vec::new();
        }
        let passage = |kind, write| {
            let name = domains.name_of(&namespace_of(kind, view, write)).to_owned();
            let is = |version| Precondition::Version { id: domain_id(&name), version };
            match domains.find(&name) {
                None => Passage::Open(epoch, is(Version(0))),
                Some(domain) if domain.value.active == self.cluster => {
                    Passage::Open(epoch, is(domain.record.record.version))
                }
                Some(domain) => Passage::Closed(elsewhere(view, &name, &domain.value.active).into()),
            }
        };
        followed.into_iter().map(|(write, kind)| (write, passage(kind, write))).collect()
    }
}

/// Namespace of a record that is written: by its new value, or by the one that is deleted.
fn namespace_of(kind: &DomainKind, view: &View, write: &Write) -> String {
    let id = write.id();
    match write.value() {
        Some(value) => kind.namespace_of(&id.key, value),
        None => {
            let held = view.get(id);
            kind.namespace_of(&id.key, held.as_ref().map_or(&[], |held| &held.record.value))
        }
    }
}

/// Says where the changes of a domain are made.
fn elsewhere(view: &View, domain: &str, cluster: &str) -> String {
    let at = endpoints_of(view, cluster).join(", ");
    let at = if at.is_empty() { String::new() } else { format!(", at {at}") };
    format!("domain `{domain}` is active in cluster `{cluster}`; make the change there{at}")
}
