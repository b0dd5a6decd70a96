//! Replicas: what cannot be written is set aside by its name, and the rest goes on.

use std::ops::ControlFlow::Continue;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_cluster_records::CLUSTER;
use omnirelay_cluster_records::domain::{
    DOMAIN, DomainKind, DomainVersion, NamespacePlace, REPLICA, domain_id, replica,
};
use omnirelay_core::time::Millis;
use omnirelay_nouns::timestamp;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_store::{
    COMMIT_BYTES_MAX, Commit, CommitOutcome, Epoch, GroupId, LeaseFence, LeaseOp, MemoryStore, OpenedGroup,
    Record, RecordId, RecordKind, Revision, Store, VALUE_BYTES_MAX,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, DomainReplicaValue, DomainValue};
use prost::Message as _;

use super::replica::{DomainReplica, FollowError};
use super::set_aside::SET_ASIDE_MAX;

const THING: RecordKind = RecordKind::of("thing");
const SCOPE: &str = "global-control";
const TTL: Duration = Duration::from_secs(60);
/// Epoch of the source.
const EPOCH: Epoch = Epoch(7);

struct Lab {
    store: Arc<dyn Store>,
    lab: LabRegistry,
    fence: LeaseFence,
}

impl Lab {
    /// Cluster `west`, which follows `mesh` of `east`.
    async fn start() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
        let kinds = [CLUSTER, DOMAIN, REPLICA, THING];
        let lab = LabRegistry::new(lab::registry("w1", store.clone(), &kinds)).await;
        let opened = lab.registry.open_session(GroupId("session/w1".to_owned()), TTL, "w1").await.unwrap();
        let OpenedGroup::Open(session) = opened else { panic!("{opened:?}") };
        let holder = session.of.clone();
        let acquire = LeaseOp::Acquire { scope: SCOPE.to_owned(), holder, token_floor: 0 };
        let epoch = lab.registry.view().head().epoch;
        let commit = Commit { epoch, leases: vec![acquire], ..Commit::default() };
        let CommitOutcome::Done(entry) = store.commit(commit).await.unwrap() else { panic!("replayed") };
        let token = entry.leases[0].token;
        let version = DomainVersion { term: 1, raised_by: "east".to_owned() };
        let mesh =
            DomainValue { active: "east".to_owned(), version: Some(version.value()), ..Default::default() };
        let act = DaemonAct::new("domains.set", [DOMAIN], WriteAuthority::Unfenced);
        let plan = CommitPlan::default().write([put(domain_id("mesh"), &mesh)]);
        lab.registry.attempt(&act, plan).await.unwrap();
        Self { store, lab, fence: LeaseFence { scope: SCOPE.to_owned(), token } }
    }

    fn registry(&self) -> &Registry {
        &self.lab.registry
    }

    fn replica(&self) -> DomainReplica<'_> {
        let namespace = NamespacePlace::Key(|key| key.split('/').next().unwrap_or_default().to_owned());
        let things = [DomainKind { kind: THING, namespace: Some(namespace) }].into();
        DomainReplica::of(self.registry(), self.fence.clone(), ("mesh", "west"), things).unwrap()
    }

    fn said(&self) -> Arc<DomainReplicaValue> {
        replica(self.registry().view(), "mesh").unwrap().1
    }

    /// Waits until the view shows all that the store has.
    async fn heard(&self) {
        let page = self.store.log(Revision(0), 256, Duration::ZERO).await.unwrap();
        let last = page.entries.last().map(|entry| entry.revision).unwrap_or_default();
        wait_for(self.registry().view(), last).await;
    }

    /// Names of what is set aside.
    fn aside(&self) -> Vec<(String, String)> {
        self.said().set_aside.iter().map(|aside| (aside.kind.clone(), aside.key.clone())).collect()
    }

    /// Changes that the audit trail has of what is set aside, in their order.
    async fn audited(&self) -> Vec<String> {
        let mut changes = Vec::new();
        let each = |record: Record| {
            let body = AuditValue::decode(&*record.value).unwrap();
            changes.extend(body.changes.into_iter().filter(|change| change.contains("set aside")));
            Continue(())
        };
        self.registry().each_behind(&AUDIT, "", "", each).await.unwrap();
        changes
    }

    fn has(&self, key: &str) -> bool {
        self.registry().view().get(&RecordId::new(THING, key)).is_some()
    }
}

fn at(revision: u64) -> Cursor {
    Cursor::at(EPOCH, Revision(revision))
}

fn sent(key: &str, revision: u64, bytes: usize) -> pb::DomainRecord {
    let deleted = bytes == 0;
    pb::DomainRecord {
        kind: THING.0.to_string(),
        key: key.to_owned(),
        deleted,
        version: revision,
        revision,
        created_ms: 1,
        updated_ms: revision,
        writer: "e1".to_owned(),
        value: vec![b'v'; bytes],
    }
}

/// Follows from a commit on, as after a comparison.
async fn follow_from(replica: &mut DomainReplica<'_>, revision: u64) {
    let done = replica.note(State::Following, "", |value| {
        (value.epoch, value.applied, value.head) = (EPOCH.0, revision, revision);
    });
    done.await.unwrap();
}

fn batch(from: u64, to: u64, records: Vec<pb::DomainRecord>) -> pb::DomainBatch {
    let time = Some(timestamp(Millis(to)));
    let [from, to] = [from, to].map(|revision| at(revision).to_string());
    pb::DomainBatch { from, head: to.clone(), to, time, head_time: time, commits: 1, records }
}

#[tokio::test]
async fn what_cannot_be_written_is_set_aside_by_its_name_and_the_rest_goes_on() {
    let lab = Lab::start().await;
    let mut replica = lab.replica();
    follow_from(&mut replica, 1).await;
    let large = VALUE_BYTES_MAX + 1;
    replica.apply(batch(1, 2, vec![sent("a/1", 2, 3), sent("a/2", 2, large)])).await.unwrap();
    lab.heard().await;
    assert_eq!((lab.has("a/1"), lab.has("a/2"), lab.said().applied), (true, false, 2));
    assert_eq!(lab.aside(), [("thing".to_owned(), "a/2".to_owned())]);
    assert!(replica.is_as(&[]).is_none(), "what differs is known");

    // Another node that goes on knows it too, and what is written again as it can be is so no more.
    let mut replica = lab.replica();
    replica.apply(batch(2, 3, vec![sent("a/2", 3, 4), sent("a/3", 3, large)])).await.unwrap();
    replica.apply(batch(3, 4, vec![sent("a/3", 4, 0)])).await.unwrap();
    lab.heard().await;
    assert_eq!((lab.has("a/2"), lab.aside()), (true, Vec::new()));
    let mut trail = lab.audited().await;
    trail.sort();
    let of = |key: &str, what: &str| format!("thing/a/{key}: {what}");
    let [aside, back] = ["set aside", "no longer set aside"];
    assert_eq!(trail, [of("2", back), of("2", aside), of("3", back), of("3", aside)]);

    // Of more than are set aside it is not followed on, and nothing is passed.
    let many = (0..=SET_ASIDE_MAX).map(|number| sent(&format!("b/{number}"), 5, large)).collect();
    let refused = replica.apply(batch(4, 5, many)).await.unwrap_err();
    assert!(matches!(&refused, FollowError::SetAside(last) if last == "thing/b/64"), "{refused}");
    lab.heard().await;
    assert_eq!(lab.said().applied, 4);
}

#[tokio::test]
async fn a_batch_that_no_commit_has_room_for_is_written_in_several() {
    let lab = Lab::start().await;
    let mut replica = lab.replica();
    follow_from(&mut replica, 1).await;
    let many = COMMIT_BYTES_MAX / VALUE_BYTES_MAX + 1;
    let records = (0..many).map(|number| sent(&format!("a/{number}"), 2, VALUE_BYTES_MAX)).collect();
    replica.apply(batch(1, 2, records)).await.unwrap();
    lab.heard().await;
    assert!((0..many).all(|number| lab.has(&format!("a/{number}"))));
    assert_eq!((lab.said().applied, lab.said().state(), lab.aside()), (2, State::Following, Vec::new()));
}

/// Others commit all the time at the source: a beat finds some of theirs that were not looked at yet.
#[tokio::test]
async fn a_beat_between_commits_of_others_says_when_what_was_sent_was_made() {
    let lab = Lab::start().await;
    let mut replica = lab.replica();
    follow_from(&mut replica, 1).await;
    replica.apply(batch(1, 2, vec![sent("a/1", 2, 3)])).await.unwrap();
    let lag = |value: &DomainReplicaValue| value.head_time_ms - value.applied_time_ms;
    for (sent, head, sent_time, time, expected) in [
        (1002, 1005, Some(60_000), 60_003, 3),
        (1010, 1010, Some(61_000), 61_009, 0),
        // A source of before says nothing of it.
        (1011, 1012, None, 61_020, 11),
        (1013, 1014, Some(90_000), 61_030, 0),
    ] {
        let beat = pb::DomainBeat {
            sent: at(sent).to_string(),
            head: at(head).to_string(),
            time: Some(timestamp(Millis(time))),
            sent_time: sent_time.map(|time| timestamp(Millis(time))),
            ..Default::default()
        };
        replica.hear(&beat).unwrap();
        assert_eq!((lag(replica.value()), replica.value().applied), (expected, sent), "{beat:?}");
    }
}
