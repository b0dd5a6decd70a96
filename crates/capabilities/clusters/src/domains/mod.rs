//! Domains: which cluster makes the changes of which records, as this one knows it.

pub(crate) mod change;
#[cfg(test)]
mod domains_test;
pub(crate) mod merge;
pub(crate) mod show;

use std::sync::Arc;

use omnirelay_cluster_records::cluster_id;
use omnirelay_cluster_records::domain::{DOMAIN, Domain, MESH_DOMAIN, domain_id};
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::listing::{self, AskedPage};
use omnirelay_nouns::range_questions::differences_listed;
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

use crate::replication::heal::{ClusterComparer, HealedDomain};
use crate::{OwnAmong, check_domain, not_found as cluster_not_found};
use change::DomainChanges;
use pb::domain_control_service_server::DomainControlService;
use show::DomainReader;

/// Serves `DomainControlService` from a registry.
pub(crate) struct DomainCalls {
    registry: Arc<Registry>,
    /// The cluster of the daemon.
    cluster: String,
    comparer: Arc<ClusterComparer>,
}

serve! {
    DomainControlService for DomainCalls {
        list(ListDomainsRequest) -> ListDomainsResponse: |domains, _, asked| domains.list_all(asked);
        get(GetDomainRequest) -> GetDomainResponse: |domains, _, asked| domains.get_one(asked);
        compare(CompareDomainRequest) -> GetStateDiffResponse: |domains, _, asked| domains.compare_one(asked);
        set(SetDomainRequest) -> DomainChange: |domains, caller, asked| domains.changes().set_one(caller, asked);
        approve(ApproveDomainRequest) -> DomainChange: |domains, caller, asked| domains.changes().approve_one(caller, asked);
        heal(HealDomainRequest) -> HealDomainResponse: |domains, caller, asked| domains.heal_one(caller, asked);
    }
}

impl DomainCalls {
    pub(crate) fn new(registry: Arc<Registry>, cluster: String, comparer: Arc<ClusterComparer>) -> Self {
        Self { registry, cluster, comparer }
    }

    async fn compare_one(&self, asked: pb::CompareDomainRequest) -> Result<pb::GetStateDiffResponse, Fault> {
        check_domain(&asked.domain)?;
        let limit = differences_listed(asked.limit)?;
        self.registry.ready_for("").await?;
        self.check_other("withCluster", &asked.with_cluster).await?;
        let compared = self.comparer.diff((&asked.domain, &asked.with_cluster), limit).await?;
        let compared = pb::GetStateDiffResponse { cursor: head_cursor(self.registry.view()), ..compared };
        Ok(compared.within(envelope(&self.registry)))
    }

    /// That a field names another cluster that is known here.
    async fn check_other(&self, field: &str, name: &str) -> Result<(), Fault> {
        if name == self.cluster {
            return Err(Fault::invalid(format!("field `{field}`: it is this cluster; name another one")));
        }
        let known = self.registry.find(&cluster_id(name)).await?;
        known.map(drop).ok_or_else(|| cluster_not_found(name))
    }

    async fn heal_one(
        &self,
        caller: &Caller,
        asked: pb::HealDomainRequest,
    ) -> Result<pb::HealDomainResponse, Fault> {
        check_domain(&asked.domain)?;
        check_reason(&asked.reason)?;
        self.registry.ready_for("").await?;
        self.check_other("fromCluster", &asked.from_cluster).await?;
        let (names, why) =
            ((&*asked.domain, &*asked.from_cluster), (&*asked.reason, asked.dry_run, asked.expected_version));
        let HealedDomain { added, replaced, kept, only_here } =
            self.comparer.heal(caller, names, why).await?;
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
        let query = request_hash(&pb::ListDomainsRequest::default());
        let page = AskedPage::of(asked.page_size, &asked.page_token, query)?;
        self.registry.ready_for(&asked.min_revision).await?;
        let read = listing::read(&self.registry, &DOMAIN, &page.token.as_ref().into()).await?;
        let reader = self.reader();
        let unsaid = || Some(reader.unsaid(MESH_DOMAIN));
        let items = OwnAmong::of(&read.records, MESH_DOMAIN);
        let (mut domains, next_page_token) = page.cut(read.cursor, read.records.iter(), |record| {
            let shown = Domain::of(record.clone()).map(|domain| reader.show(&domain));
            items.with(record, shown, unsaid)
        });
        if read.records.is_empty() {
            domains.extend(unsaid());
        }
        let (cursor, envelope) = (read.cursor.to_string(), envelope(&self.registry));
        let listed = pb::ListDomainsResponse { domains, next_page_token, ..Default::default() };
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

pub(crate) fn not_found(name: &str) -> Fault {
    Fault::new(reasons::DOMAIN_NOT_FOUND, format!("domain `{name}` is none that is known here"))
        .hint("omnirelay mesh domains list")
}
