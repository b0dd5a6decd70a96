//! Domains as they are shown: their records, and how far they were followed.

use std::time::Duration;

use omnirelay_cluster_records::domain::{
    DOMAIN_FOLLOWER, Domain, DomainVersion, Domains, MESH_DOMAIN, replica,
};
use omnirelay_core::time::Millis;
use omnirelay_nouns::timestamp;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{
    DomainFollowerValue, DomainReplicaValue, DomainTenureValue, DomainValue, SetAsideRecordValue,
    domain_replica_value,
};

use pb::domain_replica::State;

/// How long an active cluster may be silent before that is said.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(6);

/// Reads domains of a view.
pub(crate) struct DomainReader<'a> {
    pub view: &'a View,
    pub cluster: &'a str,
}

impl DomainReader<'_> {
    /// All of them, in the order of their names.
    pub(crate) fn all(&self) -> Vec<pb::Domain> {
        let domains = Domains::of(self.view);
        let mut all: Vec<pb::Domain> = domains.all().iter().map(|domain| self.show(domain)).collect();
        if domains.find(MESH_DOMAIN).is_none() {
            all.push(self.unsaid(MESH_DOMAIN));
            all.sort_by(|one, other| one.domain.cmp(&other.domain));
        }
        all
    }

    /// One by its name; of which nobody has said anything: as such.
    pub(crate) fn one(&self, name: &str) -> pb::Domain {
        match Domains::of(self.view).find(name) {
            Some(domain) => self.show(domain),
            None => self.unsaid(name),
        }
    }

    pub(super) fn unsaid(&self, name: &str) -> pb::Domain {
        let value = DomainValue { active: self.cluster.to_owned(), ..Default::default() };
        of_value(name, &value, self.cluster)
    }

    pub(super) fn show(&self, domain: &Domain) -> pb::Domain {
        let record = &domain.record.record;
        pb::Domain {
            replica: self.replica(domain.name(), &domain.value.active),
            followers: if domain.value.active == self.cluster {
                self.followers(domain.name())
            } else {
                Vec::new()
            },
            record_version: record.version.0,
            last_writer_id: record.writer.to_string(),
            created_at: Some(timestamp(record.created_at)),
            updated_at: Some(timestamp(record.updated_at)),
            ..of_value(domain.name(), &domain.value, self.cluster)
        }
    }

    /// Replica of a domain that is active in another cluster, as it is shown.
    pub(crate) fn replica(&self, name: &str, active: &str) -> Option<pb::DomainReplica> {
        let (_, value) = replica(self.view, name)?;
        (active != self.cluster && value.source == active).then(|| shown_replica(&value, self.view.now()))
    }

    /// Clusters that have followed a domain while it was active here.
    fn followers(&self, name: &str) -> Vec<pb::DomainFollower> {
        let records = self.view.list(&DOMAIN_FOLLOWER).records;
        let of_domain = records.iter().filter_map(|record| {
            let cluster = record.record.id.key.strip_prefix(name)?.strip_prefix('/')?;
            Some((cluster, record.value::<DomainFollowerValue>()?))
        });
        let shown = of_domain.map(|(cluster, value)| pb::DomainFollower {
            cluster_id: cluster.to_owned(),
            durable: Cursor::at(Epoch(value.epoch), Revision(value.durable)).to_string(),
            lag_revisions: value.head.saturating_sub(value.durable),
            heard_at: Some(timestamp(Millis(value.heard_ms))),
            durable_until: (value.until_ms > 0).then(|| timestamp(Millis(value.until_ms))),
        });
        shown.collect()
    }
}

/// The domain of a record, with another value.
pub(super) fn of_record(
    name: &str,
    record: Option<&ViewRecord>,
    value: &DomainValue,
    cluster: &str,
) -> pb::Domain {
    let shown = of_value(name, value, cluster);
    let Some(ViewRecord { record, .. }) = record else { return shown };
    pb::Domain {
        record_version: record.version.0,
        last_writer_id: record.writer.to_string(),
        created_at: Some(timestamp(record.created_at)),
        updated_at: Some(timestamp(record.updated_at)),
        ..shown
    }
}

fn of_value(name: &str, value: &DomainValue, cluster: &str) -> pb::Domain {
    pb::Domain {
        domain: name.to_owned(),
        active_cluster: value.active.clone(),
        active_here: value.active == cluster,
        version: match &value.version {
            Some(version) => DomainVersion::of(Some(version)).to_string(),
            None => String::new(),
        },
        namespaces: value.namespaces.clone(),
        lineage: value.lineage.iter().map(tenure).collect(),
        ..Default::default()
    }
}

/// A tenure as it is told.
pub(crate) fn tenure(value: &DomainTenureValue) -> pb::DomainTenure {
    pb::DomainTenure {
        version: DomainVersion::of(value.version.as_ref()).to_string(),
        cluster_id: value.cluster.clone(),
        since: Cursor::at(Epoch(value.epoch), Revision(value.first)).to_string(),
    }
}

/// A replica as it is told at `now`.
pub(crate) fn shown_replica(value: &DomainReplicaValue, now: Millis) -> pb::DomainReplica {
    let unheard = now.since(Millis(value.heard_ms));
    let is_silent = unheard > SILENT_AFTER;
    let state = match value.state() {
        domain_replica_value::State::Braked => State::Braked,
        _ if is_silent => State::Silent,
        domain_replica_value::State::Following => State::Following,
        domain_replica_value::State::Loading | domain_replica_value::State::Unspecified => State::Loading,
    };
    // What was applied in another epoch of the source is of no commit of this one.
    let is_behind = value.head > value.applied || value.state() != domain_replica_value::State::Following;
    let behind = if is_behind { value.head_time_ms.saturating_sub(value.applied_time_ms) } else { 0 };
    let behind = if value.epoch == 0 { now.0.saturating_sub(value.since_ms) } else { behind };
    let silence = if is_silent { unheard.as_millis() as u64 } else { 0 };
    let cursor = |revision| match value.epoch {
        0 => String::new(),
        epoch => Cursor::at(Epoch(epoch), Revision(revision)).to_string(),
    };
    let at = |ms: u64| (ms > 0).then(|| timestamp(Millis(ms)));
    pb::DomainReplica {
        state: state as i32,
        reason: value.reason.clone(),
        since: at(value.since_ms),
        source_cluster: value.source.clone(),
        applied: cursor(value.applied),
        head: cursor(value.head),
        lag_ms: u32::try_from(behind + silence).unwrap_or(u32::MAX),
        lag_revisions: value.head.saturating_sub(value.applied),
        heard_at: at(value.heard_ms),
        compared_at: at(value.compared_ms),
        braked_deletions: value.braked_deletions,
        braked_replacements: value.braked_replacements,
        unknown_kinds: value.unknown_kinds.clone(),
        set_aside: value.set_aside.iter().map(shown_aside).collect(),
    }
}

fn shown_aside(value: &SetAsideRecordValue) -> pb::SetAsideRecord {
    pb::SetAsideRecord {
        kind: value.kind.clone(),
        key: value.key.clone(),
        reason: value.reason.clone(),
        since: Some(timestamp(Millis(value.since_ms))),
    }
}
