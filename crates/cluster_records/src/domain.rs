//! Domains: which cluster makes the changes of which records, and how far this one has followed those of others.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{Epoch, RecordId, RecordKind, Revision};
use omnirelay_wire::pb::omnirelay::store::v1::{DomainReplicaValue, DomainValue, DomainVersionValue};

/// Records of domains; the key is the name.
pub const DOMAIN: RecordKind = RecordKind::of("domain");
/// Records of how far domains of other clusters were followed; the key is the name of the domain.
pub const REPLICA: RecordKind = RecordKind::of("domain-replica");
/// Records of how far other clusters have followed domains that are active here; the key is `<domain>/<cluster>`.
pub const DOMAIN_FOLLOWER: RecordKind = RecordKind::of("domain-follower");
/// The domain of everything that is of no other one.
pub const MESH_DOMAIN: &str = "mesh";
/// How many domains there may be, `mesh` included.
pub const DOMAINS_MAX: usize = 256;
/// How many namespaces a domain has at most.
pub const NAMESPACES_MAX: usize = 256;
/// How many tenures of a domain are kept.
pub const LINEAGE_MAX: usize = 64;

/// Act that writes what another cluster has committed, as the audit trail calls it.
pub const FOLLOW: &str = "domains.follow";
/// Act that gets back from a follower what this cluster has lost.
pub const HEAL: &str = "domains.heal";

/// The record of a domain.
pub fn domain_id(domain: &str) -> RecordId {
    RecordId::new(DOMAIN, domain)
}

/// The record of how far a domain was followed.
pub fn replica_id(domain: &str) -> RecordId {
    RecordId::new(REPLICA, domain)
}

/// The record of how far a cluster has followed a domain.
pub fn follower_id(domain: &str, cluster: &str) -> RecordId {
    RecordId::new(DOMAIN_FOLLOWER, format!("{domain}/{cluster}"))
}

/// Kind of records that clusters follow of each other.
#[derive(Clone, Debug)]
pub struct DomainKind {
    pub kind: RecordKind,
    /// `None`: all are of the domain `mesh`.
    pub namespace: Option<NamespacePlace>,
}

/// Place where a record says of which namespace it is.
#[derive(Clone, Copy, Debug)]
pub enum NamespacePlace {
    Key(fn(&str) -> String),
    /// Of nothing that is no value it says the empty name.
    Value(fn(&[u8]) -> String),
}

impl DomainKind {
    /// Namespace that a record is of; empty: of none.
    pub fn namespace_of(&self, key: &str, value: &[u8]) -> String {
        match self.namespace {
            None => String::new(),
            Some(NamespacePlace::Key(namespace)) => namespace(key),
            Some(NamespacePlace::Value(namespace)) => namespace(value),
        }
    }
}

/// Version of a domain: rises whenever it becomes active in another cluster. Written `TERM@CLUSTER`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainVersion {
    /// 0: nobody has said where the domain is active, or the active cluster was not heard yet.
    pub term: u64,
    /// The cluster that has raised it: two that do so at the same time raise two versions.
    pub raised_by: String,
}

impl DomainVersion {
    /// Version of a record's value.
    pub fn of(value: Option<&DomainVersionValue>) -> Self {
        let DomainVersionValue { term, raised_by, .. } = value.cloned().unwrap_or_default();
        Self { term, raised_by }
    }

    /// The value that a record has of it.
    pub fn value(&self) -> DomainVersionValue {
        DomainVersionValue { term: self.term, raised_by: self.raised_by.clone(), ..Default::default() }
    }
}

impl fmt::Display for DomainVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.term, self.raised_by)
    }
}

/// The text is no version of a domain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version of a domain is TERM@CLUSTER")]
pub struct NoDomainVersion;

impl FromStr for DomainVersion {
    type Err = NoDomainVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (term, raised_by) = text.split_once('@').ok_or(NoDomainVersion)?;
        let term = term.parse().map_err(|_| NoDomainVersion)?;
        Ok(Self { term, raised_by: raised_by.to_owned() })
    }
}

/// A domain that somebody has said something of.
#[derive(Clone)]
pub struct Domain {
    pub record: Arc<ViewRecord>,
    pub value: Arc<DomainValue>,
}

impl Domain {
    /// The domain of a record; `None`: it is none.
    pub fn of(record: Arc<ViewRecord>) -> Option<Self> {
        Some(Self { value: record.value::<DomainValue>()?, record })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.record.record.id.key
    }

    /// Its version.
    pub fn version(&self) -> DomainVersion {
        DomainVersion::of(self.value.version.as_ref())
    }

    /// Members of it, beside those of `domains`.
    pub fn members(&self, domains: &Domains) -> DomainMembers {
        DomainMembers::new(
            self.name(),
            self.value.namespaces.clone(),
            domains.namespaces_besides(self.name()),
        )
    }
}

/// All domains that somebody has said something of, as a view has them.
#[derive(Clone, Default)]
pub struct Domains(Vec<Domain>);

impl Domains {
    /// Reads them off a view.
    pub fn of(view: &View) -> Self {
        let records = view.list(&DOMAIN).records;
        Self(records.iter().cloned().filter_map(Domain::of).collect())
    }

    /// In the order of their names.
    pub fn all(&self) -> &[Domain] {
        &self.0
    }

    /// One by its name.
    pub fn find(&self, name: &str) -> Option<&Domain> {
        self.0.iter().find(|domain| domain.name() == name)
    }

    /// Name of the domain that a namespace is of; empty: what is of no namespace.
    pub fn name_of(&self, namespace: &str) -> &str {
        let of = |domain: &&Domain| domain.value.namespaces.iter().any(|one| one == namespace);
        self.0.iter().find(of).filter(|_| !namespace.is_empty()).map_or(MESH_DOMAIN, Domain::name)
    }

    /// Namespaces of all other domains.
    pub fn namespaces_besides(&self, name: &str) -> Vec<String> {
        let others = self.0.iter().filter(|domain| domain.name() != name);
        let mut all: Vec<String> = others.flat_map(|domain| domain.value.namespaces.clone()).collect();
        all.sort();
        all
    }
}

/// Domains of other clusters that are followed here: nothing of their namespaces is anybody's business here.
pub struct FollowedDomains {
    domains: Domains,
    /// Their names.
    followed: Vec<String>,
}

impl FollowedDomains {
    /// Reads them off a view.
    pub fn of(view: &View) -> Self {
        let domains = Domains::of(view);
        let is_followed = |domain: &&Domain| {
            replica(view, domain.name()).is_some_and(|(_, value)| value.source == domain.value.active)
        };
        let followed =
            domains.all().iter().filter(is_followed).map(|domain| domain.name().to_owned()).collect();
        Self { domains, followed }
    }

    /// Whether a namespace is of one of them.
    pub fn has(&self, namespace: &str) -> bool {
        !self.followed.is_empty() && self.followed.iter().any(|name| name == self.domains.name_of(namespace))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }
}

/// Namespaces that a domain has: those it names, or for `mesh` all, but none that another domain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainMembers {
    is_mesh: bool,
    named: Vec<String>,
    others: Vec<String>,
}

impl DomainMembers {
    /// Of the domain of this name, which names namespaces itself, while other domains name others.
    pub fn new(domain: &str, named: Vec<String>, others: Vec<String>) -> Self {
        Self { is_mesh: domain == MESH_DOMAIN, named, others }
    }

    /// Whether no other domain has anything.
    pub fn is_alone(&self) -> bool {
        self.is_mesh && self.others.is_empty()
    }

    /// Whether what is of a namespace is of the domain; empty: what is of none.
    pub fn has(&self, namespace: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| name == namespace);
        match self.is_mesh {
            true => namespace.is_empty() || !is_in(&self.others),
            false => is_in(&self.named) && !is_in(&self.others),
        }
    }
}

/// Replica of a domain: the record of how far it was followed.
pub fn replica(view: &View, domain: &str) -> Option<(Arc<ViewRecord>, Arc<DomainReplicaValue>)> {
    let record = view.get(&replica_id(domain))?;
    let value = record.value::<DomainReplicaValue>()?;
    Some((record, value))
}

/// The newest commit that touched records of domains, as a view has it.
pub fn domains_changed(view: &View) -> Cursor {
    view.changed(&DOMAIN)
}

/// Commit of the registry of an epoch up to which a view has all domains that are followed from there; `None`: there are none.
pub fn reached(view: &View, epoch: Epoch) -> Option<Revision> {
    let domains = Domains::of(view);
    let replicas = domains.all().iter().filter_map(|domain| {
        let (_, replica) = replica(view, domain.name())?;
        (replica.source == domain.value.active).then_some(replica)
    });
    replicas.filter(|replica| replica.epoch == epoch.0).map(|replica| Revision(replica.applied)).min()
}
