//! Domains: which cluster makes the changes of which records, as this one knows it.

mod change;
#[cfg(test)]
mod domains_test;
pub(crate) mod merge;
pub(crate) mod show;

use std::sync::Arc;

use omnirelay_cluster_records::cluster_id;
use omnirelay_cluster_records::domain::{MESH_DOMAIN, domain_id};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, check_reason, envelope, head_cursor, tagged};
use omnirelay_registry::Registry;
use omnirelay_registry::mutate::request_hash;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use prost::Message;
use tonic::Response;

use crate::replication::heal::{DomainHealer, HealedDomain};
use crate::{check_domain, not_found as cluster_not_found};
use change::DomainChanges;
use pb::domain_control_service_server::DomainControlService;
use show::DomainReader;

/// Serves `DomainControlService` from a registry.
pub(crate) struct Domains {
    registry: Arc<Registry>,
    /// The cluster of the daemon.
    cluster: String,
    healer: Arc<DomainHealer>,
}

serve! {
    DomainControlService for Domains {
        list(ListDomainsRequest) -> ListDomainsResponse: |domains, _, asked| domains.list_all(asked);
        get(GetDomainRequest) -> GetDomainResponse: |domains, _, asked| domains.get_one(asked);
        set(SetDomainRequest) -> DomainChange: |domains, caller, asked| domains.changes().set_one(caller, asked);
        approve(ApproveDomainRequest) -> DomainChange: |domains, caller, asked| domains.changes().approve_one(caller, asked);
        heal(HealDomainRequest) -> HealDomainResponse: |domains, caller, asked| domains.heal_one(caller, asked);
    }
}

impl Domains {
    pub(crate) fn new(registry: Arc<Registry>, cluster: String, healer: Arc<DomainHealer>) -> Self {
        Self { registry, cluster, healer }
    }

    async fn heal_one(
        &self,
        caller: &Caller,
        asked: pb::HealDomainRequest,
    ) -> Result<pb::HealDomainResponse, Fault> {
        check_domain(&asked.domain)?;
        check_reason(&asked.reason)?;
        self.registry.ready_for("").await?;
        if asked.from_cluster == self.cluster {
            return Err(Fault::invalid(
                "field `fromCluster`: it is this cluster; name another one".to_owned(),
            ));
        }
        self.registry
            .find(&cluster_id(&asked.from_cluster))
            .await?
            .ok_or_else(|| cluster_not_found(&asked.from_cluster))?;
        let (names, why) =
            ((&*asked.domain, &*asked.from_cluster), (&*asked.reason, asked.dry_run, asked.expected_version));
        let HealedDomain { added, replaced, kept, only_here } = self.healer.heal(caller, names, why).await?;
        Ok(pb::HealDomainResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            local_node_id: self.registry.node_id().to_owned(),
            cursor: head_cursor(self.registry.view()),
            changed: added + replaced > 0,
            dry_run: asked.dry_run,
            added,
            replaced,
            only_here,
            kept,
        })
    }

    fn changes(&self) -> DomainChanges<'_> {
        DomainChanges { registry: &self.registry, cluster: &self.cluster }
    }

    fn reader(&self) -> DomainReader<'_> {
        DomainReader { view: self.registry.view(), cluster: &self.cluster }
    }

    async fn list_all(
        &self,
        asked: pb::ListDomainsRequest,
    ) -> Result<Response<pb::ListDomainsResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let domains = self.registry.look(|_| self.reader().all()).await;
        let (cursor, envelope) = (head_cursor(self.registry.view()), envelope(&self.registry));
        let listed = pb::ListDomainsResponse { domains, ..Default::default() };
        let tag = tag(&listed, envelope.stale);
        let listed = pb::ListDomainsResponse { cursor: cursor.clone(), ..listed };
        Ok(tagged(listed.within(envelope), &tag, &cursor))
    }

    async fn get_one(&self, asked: pb::GetDomainRequest) -> Result<Response<pb::GetDomainResponse>, Fault> {
        check_domain(&asked.domain)?;
        self.registry.ready_for(&asked.min_revision).await?;
        if asked.domain != MESH_DOMAIN {
            let known = self.registry.find(&domain_id(&asked.domain)).await?;
            known.ok_or_else(|| not_found(&asked.domain))?;
        }
        let domain = self.reader().one(&asked.domain);
        let (cursor, envelope) = (head_cursor(self.registry.view()), envelope(&self.registry));
        let tag = tag(&domain, envelope.stale);
        let got =
            pb::GetDomainResponse { cursor: cursor.clone(), domain: Some(domain), ..Default::default() };
        Ok(tagged(got.within(envelope), &tag, &cursor))
    }
}

/// Tag of what is shown: how long a source was silent is not said by any commit.
fn tag(shown: &impl Message, is_stale: bool) -> String {
    let stale = if is_stale { "-stale" } else { "" };
    format!("W/\"{:x}{stale}\"", request_hash(shown))
}

fn not_found(name: &str) -> Fault {
    Fault::new(reasons::DOMAIN_NOT_FOUND, format!("domain `{name}` is none that is known here"))
        .hint("omnirelay mesh domains list")
}
