//! Domains on the memory store: where each may be active, and what the gate lets pass then.

use std::sync::Arc;

use omnirelay_cluster_records::CLUSTER;
use omnirelay_cluster_records::domain::{DOMAIN, DomainKind, FOLLOW, NamespacePlace, REPLICA};
use omnirelay_identity::caller::Caller;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_registry::lab;
use omnirelay_registry::write_gate::{Passage, WriteRule as _};
use omnirelay_store::{CommitError, MemoryStore, Precondition, RecordId, RecordKind, Revision, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{ClusterValue, DomainReplicaValue, domain_replica_value};

use super::*;
use crate::domain_gate::DomainGate;

const THING: RecordKind = RecordKind::of("thing");

struct Lab {
    registry: Arc<Registry>,
    _tasks: tokio::task::JoinSet<()>,
}

/// Cluster `west`, which knows `east`; a thing is of the namespace that its key begins with.
async fn lab() -> Lab {
    let kinds = [CLUSTER, DOMAIN, REPLICA, THING];
    let registry = Arc::new(lab::registry("node-1", Arc::new(MemoryStore::system()), &kinds));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow_log(registry.clone()));
    wait_for(registry.view(), Revision(0)).await;
    let namespace = NamespacePlace::Key(|key| key.split('/').next().unwrap_or_default().to_owned());
    let things: Arc<[DomainKind]> = [DomainKind { kind: THING, namespace: Some(namespace) }].into();
    registry.write_gate().add(Arc::new(DomainGate { cluster: "west".to_owned(), kinds: things }));
    Lab { registry, _tasks: tasks }
}

impl Lab {
    async fn write(&self, action: &'static str, write: Write) -> Result<(), CommitError> {
        let act = DaemonAct::new(action, [write.id().kind.clone()], WriteAuthority::Unfenced);
        self.registry.attempt(&act, CommitPlan::default().write([write])).await.map(drop)
    }

    async fn thing(&self, key: &str) -> Result<(), CommitError> {
        let id = RecordId::new(THING, key);
        self.write("things.put", Write::Put { id, value: bytes::Bytes::from_static(b"v"), group: None }).await
    }

    async fn know_east(&self) {
        let east = ClusterValue { replication_endpoints: vec!["e1:17420".to_owned()], ..Default::default() };
        self.write("clusters.set", put(omnirelay_cluster_records::cluster_id("east"), &east)).await.unwrap();
    }

    fn changes(&self) -> DomainChanges<'_> {
        DomainChanges { registry: &self.registry, cluster: "west" }
    }

    fn all(&self) -> Vec<pb::Domain> {
        DomainReader { view: self.registry.view(), cluster: "west" }.all()
    }

    async fn set(&self, asked: pb::SetDomainRequest) -> Result<pb::DomainChange, Fault> {
        let set = self.changes().set_one(&Caller::of_tests("alice"), asked).await?;
        self.registry.ready_for(&set.cursor).await?;
        Ok(set)
    }

    async fn active(&self, domain: &str, cluster: &str) -> Result<pb::DomainChange, Fault> {
        self.set(asked(domain, cluster, &[])).await
    }
}

fn asked(domain: &str, cluster: &str, namespaces: &[&str]) -> pb::SetDomainRequest {
    pb::SetDomainRequest {
        domain: domain.to_owned(),
        active_cluster: cluster.to_owned(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_domain_is_active_where_it_was_said_and_is_not_taken_by_saying_so() {
    let lab = lab().await;
    let unsaid = lab.all();
    assert_eq!((unsaid.len(), &*unsaid[0].domain, unsaid[0].active_here), (1, "mesh", true));
    assert!(lab.active("mesh", "east").await.unwrap_err().is(reasons::CLUSTER_NOT_FOUND));
    lab.know_east().await;
    for (domain, namespaces) in [("mesh", &["a"][..]), ("a", &[]), ("a", &["No Name"]), ("No Name", &["a"])] {
        let refused = lab.set(asked(domain, "west", namespaces)).await.unwrap_err();
        assert!(refused.is(reasons::INVALID_ARGUMENT), "{domain} {namespaces:?}: {refused:?}");
    }

    let early = lab.set(asked("pay", "west", &["a"])).await.unwrap_err();
    assert!(early.is(reasons::DOMAIN_NOT_FOUND), "who has it now is not said: {early:?}");

    // What was never heard of may be meant otherwise.
    let follows = lab.active("mesh", "east").await.unwrap();
    assert_eq!(follows.changes, ["domain: none -> mesh", "active: none -> east", "version: none -> 0@west"]);
    assert!(!lab.active("mesh", "east").await.unwrap().changed);
    let own = lab.active("mesh", "west").await.unwrap().domain.unwrap();
    assert_eq!((&*own.version, own.active_here, own.lineage.len()), ("1@west", true, 1));

    let refused = lab.active("mesh", "east").await.unwrap_err();
    assert!(refused.is(reasons::DOMAIN_ACTIVE_HERE), "{refused:?}");
    let give_up = pb::SetDomainRequest { give_up: true, ..asked("mesh", "east", &[]) };
    let given = lab.set(give_up).await.unwrap().domain.unwrap();
    assert_eq!((&*given.version, given.lineage.len()), ("0@west", 1), "what was is not forgotten");
    // Versions never repeat.
    assert_eq!(lab.active("mesh", "west").await.unwrap().domain.unwrap().version, "2@west");

    lab.set(asked("pay", "west", &["b", "a", "b"])).await.unwrap();
    let taken = lab.set(asked("other", "west", &["b"])).await.unwrap_err();
    assert!(taken.message.contains("`b` is of domain `pay` already"), "{taken:?}");
    let all = lab.all();
    assert_eq!(all.iter().map(|one| &*one.domain).collect::<Vec<_>>(), ["mesh", "pay"]);
    assert_eq!(all[1].namespaces, ["a", "b"]);
}

#[tokio::test]
async fn what_is_active_elsewhere_is_written_by_who_follows_alone() {
    let lab = lab().await;
    lab.thing("a/1").await.unwrap();
    lab.know_east().await;
    lab.thing("a/1").await.unwrap();
    lab.active("mesh", "east").await.unwrap();
    let refused = lab.thing("a/1").await.unwrap_err();
    assert!(
        matches!(&refused, CommitError::Closed { why, .. } if why.contains("`east`") && why.contains("e1:17420")),
        "{refused:?}"
    );
    let follow = Write::Delete { id: RecordId::new(THING, "a/1") };
    lab.write(FOLLOW, follow).await.unwrap();
    // One namespace of it becomes this cluster's own, by a word: the other one may change it as well.
    let refused = lab.set(asked("pay", "west", &["a"])).await.unwrap_err();
    assert!(refused.is(reasons::DOMAIN_ACTIVE_HERE), "{refused:?}");
    let mesh = || lab.registry.view().get(&domain_id("mesh")).unwrap().record.version;
    let before = mesh();
    lab.set(pb::SetDomainRequest { give_up: true, ..asked("pay", "west", &["a"]) }).await.unwrap();
    assert!(mesh() > before, "what is on its way into it rests on the domain that it was of");
    lab.thing("a/2").await.unwrap();
    assert!(matches!(lab.thing("b/1").await, Err(CommitError::Closed { .. })));
}

/// A commit that was decided before the domain was given up does not come through after it.
#[tokio::test]
async fn a_commit_holds_only_while_the_domain_is_as_it_was_read() {
    let lab = lab().await;
    lab.know_east().await;
    lab.active("mesh", "west").await.unwrap();
    let reading = lab.registry.view().get(&domain_id("mesh")).unwrap();
    let gate = DomainGate {
        cluster: "west".to_owned(),
        kinds: [DomainKind { kind: THING, namespace: None }].into(),
    };
    let thing = Write::Delete { id: RecordId::new(THING, "a/1") };
    let writes = [thing.clone()];
    let passages = gate.passages(lab.registry.view(), "things.put", &writes);
    let [(_, Passage::Open(_, on))] = &passages[..] else { panic!("{passages:?}") };
    let on = on.clone();
    assert_eq!(on, Precondition::Version { id: domain_id("mesh"), version: reading.record.version });
    let give_up = pb::SetDomainRequest { give_up: true, ..asked("mesh", "east", &[]) };
    lab.set(give_up).await.unwrap();
    let late = CommitPlan::default().require([on]).write([thing]);
    let act = DaemonAct::new(FOLLOW, [THING], WriteAuthority::Unfenced);
    let late = lab.registry.attempt(&act, late).await;
    assert!(matches!(late, Err(CommitError::Conflict { .. })), "{late:?}");
}

#[tokio::test]
async fn no_more_is_approved_than_was_counted() {
    let lab = lab().await;
    lab.know_east().await;
    lab.active("mesh", "east").await.unwrap();
    let approve = async || {
        let asked = pb::ApproveDomainRequest { domain: "mesh".to_owned(), ..Default::default() };
        lab.changes().approve_one(&Caller::of_tests("alice"), asked).await
    };
    assert!(approve().await.unwrap_err().is(reasons::DOMAIN_NOT_BRAKED));
    let mut braked = DomainReplicaValue {
        source: "east".to_owned(),
        braked_epoch: 7,
        braked_deletions: 12,
        braked_replacements: 3,
        ..Default::default()
    };
    braked.set_state(domain_replica_value::State::Braked);
    lab.write(FOLLOW, put(omnirelay_cluster_records::domain::replica_id("mesh"), &braked)).await.unwrap();
    let approved = approve().await.unwrap();
    assert_eq!(approved.changes, ["approved: none -> 12 deletions and 3 replacements"]);
    lab.registry.ready_for(&approved.cursor).await.unwrap();
    let (_, held) = omnirelay_cluster_records::domain::replica(lab.registry.view(), "mesh").unwrap();
    let approval = held.approval.as_ref().unwrap();
    assert_eq!((approval.epoch, approval.deletions, approval.replacements), (7, 12, 3));
    assert!(!approve().await.unwrap().changed, "it is so already");
}
