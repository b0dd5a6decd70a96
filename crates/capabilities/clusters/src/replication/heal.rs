//! Healing: the active cluster of a domain gets back from one that follows it what it has lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnirelay_cluster_records::domain::{DomainKind, Domains, HEAL, domain_id};
use omnirelay_core::text::chain;
use omnirelay_identity::caller::Caller;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::audit_record::own_body;
use omnirelay_registry::view::View;
use omnirelay_store::{Epoch, Precondition, RecordId, RecordKind, Version, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::reasons;

use super::compare::{AskedCluster, OtherRecord};
use super::records::{DomainScope, write_of};
use super::replica::{FollowError, no_sense, portions};
use super::ways::SourceWays;
use crate::as_count;

/// Compares domains with what other clusters have of them, and gets back what is lost here.
pub(crate) struct ClusterComparer {
    pub(super) registry: Arc<Registry>,
    cluster: String,
    pub(super) kinds: Arc<[DomainKind]>,
    pub(super) ways: Arc<dyn SourceWays>,
}

/// Counts of what was got back, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HealedDomain {
    pub added: u32,
    pub replaced: u32,
    /// How many were written here since the other cluster has followed, and stay.
    pub kept: u32,
    /// How many records are here alone, and stay.
    pub only_here: u32,
}

impl ClusterComparer {
    pub(crate) fn new(
        registry: Arc<Registry>,
        cluster: String,
        kinds: Arc<[DomainKind]>,
        ways: Arc<dyn SourceWays>,
    ) -> Self {
        Self { registry, cluster, kinds, ways }
    }

    /// Takes from another cluster each record of a domain that is not here, or is older here. What is here alone stays, and what
    /// was written here since.
    ///
    /// # Errors
    /// `NOT_ACTIVE` where the domain is not active here; `CLUSTER_NOT_ASKED` where the other cluster does not answer, or not with sense;
    /// those of the store.
    pub(crate) async fn heal(
        &self,
        caller: &Caller,
        (name, from): (&str, &str),
        (reason, dry_run, expected): (&str, bool, Option<u64>),
    ) -> Result<HealedDomain, Fault> {
        let view = self.registry.view();
        let domains = Domains::of(view);
        let domain = domains.find(name).filter(|domain| domain.value.active == self.cluster);
        let Some(domain) = domain else {
            let message = format!("domain `{name}` is not active here: nothing of it is got back");
            return Err(Fault::new(reasons::NOT_ACTIVE, message).hint("omnirelay mesh domains list"));
        };
        let (epoch, version) = (view.head().epoch, domain.record.record.version);
        if let Some(expected) = expected.filter(|expected| *expected != version.0) {
            let message = format!("domain `{name}` has version {version}, not {expected}");
            return Err(Fault::new(reasons::VERSION_CONFLICT, message)
                .hint(format!("read it again: omnirelay mesh domains get {name}")));
        }
        let scope = DomainScope { kinds: self.kinds.clone(), members: domain.members(&domains) };
        let not_asked = |error: FollowError| not_asked(from, &chain(&error));
        let asked = AskedCluster { ways: &*self.ways, name: from };
        let (mut comparison, mut ranges) =
            asked.compare(&self.registry, (name, &scope)).await.map_err(not_asked)?;
        let mut healed = HealedDomain::default();
        while let Some(found) = comparison.next(&mut ranges).await.map_err(not_asked)? {
            healed.only_here += as_count(found.only_here.len());
            if found.source_cluster != self.cluster {
                return Err(not_asked(FollowError::Source(format!(
                    "it does not follow `{name}` of this cluster"
                ))));
            }
            let (kept, lost): (Vec<OtherRecord>, _) =
                found.others.into_iter().partition(OtherRecord::is_newer_here);
            healed.kept += as_count(kept.len());
            let added = lost.iter().filter(|other| other.here.is_none()).count();
            healed.added += as_count(added);
            healed.replaced += as_count(lost.len() - added);
            let writes = healing(view, &scope, lost).map_err(not_asked)?;
            if !dry_run {
                self.write(caller, (name, from, reason), (epoch, version), writes).await?;
            }
        }
        Ok(healed)
    }

    async fn write(
        &self,
        caller: &Caller,
        (name, from, reason): (&str, &str, &str),
        (epoch, version): (Epoch, Version),
        (writes, held): (Vec<Write>, HeldVersions),
    ) -> Result<(), Fault> {
        let kinds: Vec<RecordKind> = self.kinds.iter().map(|kind| kind.kind.clone()).collect();
        for portion in portions(writes) {
            let named: Vec<String> =
                portion.iter().take(NAMED_MAX).map(|write| format!("{}: healed", write.id())).collect();
            let count = format!("{} records from cluster {from}", portion.len());
            let changes = [count].into_iter().chain(named).collect();
            let body = own_body(self.registry.node_id(), HEAL, format!("domain/{name}"), changes);
            let body = AuditValue { actor: caller.principal.to_string(), reason: reason.to_owned(), ..body };
            let is = Precondition::Version { id: domain_id(name), version };
            // What was written here since it was compared stays.
            let held: Vec<_> = portion
                .iter()
                .map(|write| (write.id().clone(), held.get(write.id()).copied().unwrap_or(Version(0))))
                .collect();
            let plan = CommitPlan::read_in(epoch).require([is]).expect(held).write(portion).audit([body]);
            let act = DaemonAct::new(HEAL, kinds.clone(), WriteAuthority::Unfenced);
            self.registry.attempt(&act, plan).await.map_err(|error| {
                let message = format!("not all was got back: {}", chain(&error));
                Fault::new(reasons::STORE_UNAVAILABLE, message).hint("do it again: what is back stays")
            })?;
        }
        Ok(())
    }
}

/// Versions of the records that are held here.
type HeldVersions = BTreeMap<RecordId, Version>;

/// The writes that get records back, and which versions they take the place of.
fn healing(
    view: &View,
    scope: &DomainScope,
    lost: Vec<OtherRecord>,
) -> Result<(Vec<Write>, HeldVersions), FollowError> {
    let (mut writes, mut held) = (Vec::new(), HeldVersions::new());
    for other in lost {
        let write = write_of(scope, other.there).map_err(|error| no_sense(&chain(&error)))?;
        if scope.may_write(view, &write) {
            held.extend(other.here.map(|here| (here.id, here.version)));
            writes.push(write);
        }
    }
    Ok((writes, held))
}

/// How many records of a commit the audit trail names.
const NAMED_MAX: usize = 20;

pub(super) fn not_asked(cluster: &str, why: &str) -> Fault {
    Fault::new(reasons::CLUSTER_NOT_ASKED, format!("cluster `{cluster}` could not be asked: {why}"))
        .hint(format!("omnirelay mesh clusters get {cluster}"))
}
