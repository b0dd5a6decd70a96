//! Signed records: what somebody who may only write to the store does to them changes nothing.

pub(super) mod lab;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_audit::written::{ReadPosition, SignedRecordTally, WrittenRecords};
use omnirelay_certificate_records::JOIN_TOKEN;
use omnirelay_decisions::signed_record::{join, split};
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_node::lab::reason;
use omnirelay_pki::authority::CertificateAuthority;
use omnirelay_pki::certificate::key_of;
use omnirelay_registry::act::DaemonAct;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::{MemoryStore, Pulse, Record, RecordChange, Scan, Store, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuditValue, JoinPolicyValue, JoinTokenValue, RecordSignature, RecordSigning, SigningValue,
};
use prost::Message as _;

use super::record_issuers::MeshIssuers;
use super::record_keeper::kept_by_joining;
use super::tests::called;
use super::*;
use lab::*;

/// What a daemon believes of the records that are attacked.
fn believed(of: &Daemon) -> Vec<(String, u64)> {
    let records = SIGNED.into_iter().flat_map(|kind| of.view().list(&kind).records.to_vec());
    records
        .map(|record| (record.record.id.to_string(), xxhash_rust::xxh64::xxh64(&record.record.value, 0)))
        .collect()
}

/// Each way to forge, as writes.
async fn forgeries(attacker: &Attacker, a: &Daemon) -> Vec<(&'static str, Vec<Write>)> {
    let put = |id: &RecordId, value: Bytes| vec![Write::Put { id: id.clone(), value, group: None }];
    let admin = token_of("operator").encode_to_vec();
    let stranger = foreign();
    let mut rooted = (*authority_of(a)).clone();
    let root = CertificateAuthority::root("mesh.local".parse().unwrap(), stranger.validity()).unwrap();
    let root = SigningValue { certificate: root.certificate().to_vec(), ..Default::default() };
    rooted.roots.push(root);
    let mut open = (*authority_of(a)).clone();
    open.record_signing = None;
    let mut taken = (*authority_of(a)).clone();
    taken
        .issuers
        .insert(0, SigningValue { certificate: stranger.certificate().to_vec(), ..Default::default() });
    let key = key_of(stranger.certificate()).unwrap().as_bytes().to_vec();
    taken.record_signing = Some(RecordSigning { keys: vec![key], ..Default::default() });
    let own = attacker.stored(&token()).await.unwrap().value;
    let made = RecordId::new(JOIN_TOKEN, "ffffffffffffffff");
    let delete = |id: RecordId| vec![Write::Delete { id }];
    vec![
        ("a token of another role", put(&token(), admin.clone().into())),
        ("the same, signed by a stranger", put(&token(), signed_by(&stranger, &token(), &admin, u64::MAX))),
        ("a token that is new", put(&made, admin.into())),
        ("one's signature on another", put(&made, own)),
        ("a token deleted", delete(token())),
        ("a policy that lets all in", put(&policy(), Bytes::new())),
        ("the policy deleted", delete(policy())),
        ("a second root", put(&authority_id(), rooted.encode_to_vec().into())),
        (
            "a second root, signed by a stranger",
            put(&authority_id(), signed_by(&stranger, &authority_id(), &rooted.encode_to_vec(), u64::MAX)),
        ),
        ("no protection", put(&authority_id(), open.encode_to_vec().into())),
        (
            "an issuer of a stranger's",
            put(&authority_id(), signed_by(&stranger, &authority_id(), &taken.encode_to_vec(), u64::MAX)),
        ),
        ("no authority", delete(authority_id())),
        ("garbage", put(&authority_id(), Bytes::from_static(b"\xff\xff\xff"))),
    ]
}

#[tokio::test]
async fn what_somebody_forges_counts_nowhere_and_is_put_right_and_told_with_its_node() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let before = believed(&a);
    assert!(a.keeper.trouble().is_none() && b.keeper.trouble().is_none());
    for (what, writes) in forgeries(&attacker, &a).await {
        let id = writes[0].id().clone();
        let (told, ids) =
            (attacker.told("signed-records.restore").await.len(), a.view().refusals_of_records());
        attacker.write(writes).await;
        a.until(what, |a| a.view().refusals_of_records() > ids).await;
        for daemon in [&a, &b] {
            daemon.until(what, |of| of.view().refused_records().is_empty()).await;
            daemon.sees_all(&*attacker.0).await;
            assert_eq!(believed(daemon), before, "{what}");
        }
        let restored = attacker.told("signed-records.restore").await;
        assert_eq!(restored.len(), told + 1, "{what}");
        let audit = restored.iter().find(|audit| audit.object == id.to_string()).expect(what);
        assert!(audit.changes[0].ends_with("; written by worker-7"), "{what}: {:?}", audit.changes);
        for daemon in [&a, &b] {
            let trouble = daemon.keeper.trouble().expect(what);
            assert!(trouble.contains("put right") && trouble.contains(&id.to_string()), "{what}: {trouble}");
        }
        // Whoever begins now finds what counts.
        let late = Daemon::start("late", attacker.0.clone(), place.path()).await;
        assert_eq!(believed(&late), before, "{what}");
    }
}

#[tokio::test]
async fn without_an_issuer_what_is_forged_does_not_count_either_and_is_told() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let (before, all) = (believed(&b), forgeries(&attacker, &a).await);
    drop(a);
    for (what, writes) in all {
        let (id, refusals) = (writes[0].id().clone(), b.view().refusals_of_records());
        attacker.write(writes).await;
        b.until(what, |b| b.view().refusals_of_records() > refusals).await;
        assert_eq!(believed(&b), before, "{what}");
        let trouble = b.keeper.trouble().expect(what);
        assert!(trouble.contains("no issuer has put it right yet"), "{what}: {trouble}");
        assert!(b.view().refused_records().contains_key(&id), "{what}");
    }
    b.until("it is told", |b| !b.view().refused_records().is_empty()).await;
    let mut told = Vec::new();
    for _ in 0..100 {
        told = attacker.told("signed-records.refuse").await;
        if !told.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told[0].changes.iter().any(|line| line.contains("written by worker-7")), "{told:?}");
    // The issuer is back, and puts it right.
    let a = Daemon::start("a", attacker.0.clone(), place.path()).await;
    a.until("it is put right", |a| a.view().refused_records().is_empty()).await;
}

#[tokio::test]
async fn what_was_signed_once_and_followed_does_not_count_again() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let old = attacker.stored(&token()).await.unwrap().value;
    let old_authority = attacker.stored(&authority_id()).await.unwrap().value;
    super::tests::remember(&a.served.registry, token(), {
        let of = a.view().get(&token()).unwrap().value::<JoinTokenValue>().unwrap();
        JoinTokenValue { revoked: true, ..(*of).clone() }.encode_to_vec()
    })
    .await;
    let rotate = called(pb::RotateAuthorityRequest { root: true, ..Default::default() });
    a.served.rotate_authority(rotate).await.unwrap();
    b.sees_all(&*attacker.0).await;
    b.until("all is signed by the newest issuer", |b| {
        authority_of(b).record_signing.as_ref().is_some_and(|signing| signing.keys.len() == 1)
    })
    .await;
    let before = believed(&b);
    for (id, value) in [(token(), old), (authority_id(), old_authority)] {
        let refusals = b.view().refusals_of_records();
        attacker.put(&id, value).await;
        b.until("it is refused", |b| b.view().refusals_of_records() > refusals).await;
        assert_eq!(believed(&b), before);
        b.until("it is put right", |b| b.view().refused_records().is_empty()).await;
    }
    let told = attacker.told("signed-records.restore").await;
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn what_is_deleted_is_known_to_be_so_and_can_be_made_again() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let old = attacker.stored(&token()).await.unwrap().value;
    let act = DaemonAct::own("test.delete", [JOIN_TOKEN]);
    let delete = async |reader: DecisionReader<'_>| {
        reader.get(&token()).expect("it is there");
        Ok::<_, omnirelay_store::CommitError>(Some((
            reader.plan().write([Write::Delete { id: token() }]),
            (),
        )))
    };
    a.served.registry.act(&act, delete).await.unwrap();
    b.sees_all(&*attacker.0).await;
    assert!(a.view().get(&token()).is_none() && b.view().get(&token()).is_none());
    let note = split(&attacker.stored(&token()).await.expect("a note of it").value);
    assert!(note.signature.is_some_and(|signature| signature.deleted) && note.payload.is_empty());
    let refusals = b.view().refusals_of_records();
    attacker.put(&token(), old).await;
    b.until("it is refused", |b| b.view().refusals_of_records() > refusals).await;
    a.until("it is put right", |a| a.view().refused_records().is_empty()).await;
    assert!(a.view().get(&token()).is_none() && b.view().get(&token()).is_none());
    super::tests::remember(&a.served.registry, token(), token_of("gateway").encode_to_vec()).await;
    b.sees_all(&*attacker.0).await;
    let made = b.view().get(&token()).unwrap().value::<JoinTokenValue>().unwrap();
    assert_eq!(made.role, "gateway");
}

#[tokio::test]
async fn whoever_is_no_issuer_changes_nothing_that_is_signed() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, _a, b) = mesh(place.path()).await;
    let rules = vec![pb::JoinRule { name: "all".into(), effect: 1, ..Default::default() }];
    let asked = pb::SetJoinPolicyRequest { rules, ..Default::default() };
    let enrolment = EnrollmentCalls(b.served.clone());
    use pb::enrollment_service_server::EnrollmentService as _;
    assert_eq!(reason(enrolment.set_join_policy(called(asked.clone())).await), "NOT_AN_ISSUER");
    let dry = pb::SetJoinPolicyRequest { dry_run: true, ..asked };
    assert_eq!(reason(enrolment.set_join_policy(called(dry)).await), "NOT_AN_ISSUER");
    assert!(attacker.told("signed-records.restore").await.is_empty());
}

#[tokio::test]
async fn a_stolen_issuer_signs_nothing_any_more_once_it_is_revoked() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let stolen = a.served.signer.issuer(&authority_of(&a)).unwrap();
    let rotate = pb::RotateAuthorityRequest { root: true, revoke_before: true, ..Default::default() };
    a.served.rotate_authority(called(rotate)).await.unwrap();
    b.sees_all(&*attacker.0).await;
    b.until("all is signed by the newest issuer", |b| b.view().records_to_sign().is_empty()).await;
    let before = believed(&b);
    let forged = RecordId::new(JOIN_TOKEN, "ffffffffffffffff");
    let refusals = b.view().refusals_of_records();
    attacker
        .put(&forged, signed_by(&stolen, &forged, &token_of("operator").encode_to_vec(), u64::MAX / 2))
        .await;
    b.until("it is refused", |b| b.view().refusals_of_records() > refusals).await;
    assert_eq!(believed(&b), before);
}

#[tokio::test]
async fn what_changed_since_it_was_looked_at_is_not_signed_unseen() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let a = Daemon::start("a", store.clone(), place.path()).await;
    let asked = |digest: &str, dry_run| {
        called(pb::ProtectRecordsRequest { digest: digest.to_owned(), dry_run, ..Default::default() })
    };
    assert_eq!(reason(a.served.protect_records(asked("", false)).await), "NO_AUTHORITY");
    make_unprotected(&a).await;
    let shown = a.served.protect_records(asked("", true)).await.unwrap().into_inner();
    assert!(shown.records.is_empty() && shown.digest.is_empty());
    Attacker(store.clone()).put(&token(), token_of("operator").encode_to_vec()).await;
    a.sees_all(&*store).await;
    assert_eq!(reason(a.served.protect_records(asked(&shown.digest, false)).await), "RECORDS_CHANGED");
    assert!(!a.view().demands_signatures() && authority_of(&a).record_signing.is_none());
    assert!(a.protect().await.records_protected);
    let again = a.served.protect_records(asked("", false)).await.unwrap().into_inner();
    assert!(!again.changed && again.records_protected, "it is one way, and once");
}

/// What is behind the view reads the log itself.
#[tokio::test]
async fn a_forged_entry_of_the_log_is_no_event_for_those_who_are_behind() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, _b) = mesh(place.path()).await;
    let stored = attacker.stored(&token()).await.unwrap();
    let forged = Record { value: token_of("operator").encode_to_vec().into(), ..stored.clone() };
    let of_log = |before: &Record, after: &Record| {
        a.view().change_of_log(&RecordChange {
            before: Some(before.clone()),
            after: after.clone(),
            expired: false,
        })
    };
    assert!(of_log(&stored, &forged).is_none(), "a forged one");
    assert!(of_log(&stored, &Record { deleted: true, value: Bytes::new(), ..stored.clone() }).is_none());
    let back = of_log(&forged, &stored).expect("what counts");
    assert!(back.before.is_none() && split(&back.after.record.value).signature.is_none());
}

/// The file of this host says what counted before it started.
#[tokio::test]
async fn what_counted_before_a_restart_counts_after_it_whatever_the_store_has_by_then() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let old = attacker.stored(&token()).await.unwrap().value;
    let revoked = JoinTokenValue {
        revoked: true,
        ..(*a.view().get(&token()).unwrap().value::<JoinTokenValue>().unwrap()).clone()
    };
    super::tests::remember(&a.served.registry, token(), revoked.encode_to_vec()).await;
    b.sees_all(&*attacker.0).await;
    let before = believed(&b);
    // What counts is kept within a second, twice because of what came just before.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop((a, b));
    attacker.put(&token(), old).await;
    attacker.put(&authority_id(), Bytes::from_static(b"\xff")).await;
    attacker.write(vec![Write::Delete { id: policy() }]).await;
    let b = Daemon::start("b", attacker.0.clone(), place.path()).await;
    assert_eq!(believed(&b), before);
    assert_eq!(b.view().refused_records().len(), 3);
    let a = Daemon::start("a", attacker.0.clone(), place.path()).await;
    a.until("it is put right", |a| a.view().refused_records().is_empty()).await;
    let late = Daemon::start("late", attacker.0.clone(), place.path()).await;
    assert_eq!(believed(&late), before);
}

#[tokio::test]
async fn notes_of_deletions_outlive_the_issuer_that_signed_them() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let act = DaemonAct::own("test.delete", [JOIN_TOKEN]);
    let ended = RecordId::new(JOIN_TOKEN, "ffffffffffffffff");
    let long_ago = JoinTokenValue { not_after: 1, ..token_of("worker") };
    super::tests::remember(&a.served.registry, ended.clone(), long_ago.encode_to_vec()).await;
    let old = attacker.stored(&token()).await.unwrap().value;
    let delete = async |reader: DecisionReader<'_>| {
        let writes = [token(), ended.clone()].map(|id| Write::Delete { id });
        Ok::<_, omnirelay_store::CommitError>(Some((reader.plan().write(writes), ())))
    };
    a.served.registry.act(&act, delete).await.unwrap();
    assert!(attacker.stored(&ended).await.is_none(), "of a token that has ended no note is needed");
    let note = attacker.stored(&token()).await.expect("a note").value;
    a.served.rotate_authority(called(pb::RotateAuthorityRequest::default())).await.unwrap();
    b.sees_all(&*attacker.0).await;
    b.until("all is signed anew", |b| {
        authority_of(b).record_signing.as_ref().is_some_and(|signing| signing.keys.len() == 1)
    })
    .await;
    let anew = split(&attacker.stored(&token()).await.expect("a note still").value);
    assert!(anew.signature.as_ref().is_some_and(|signature| signature.deleted));
    assert_ne!(anew.signature, split(&note).signature);
    assert!(b.view().refused_records().is_empty() && b.view().get(&ended).is_none());
    let refusals = b.view().refusals_of_records();
    attacker.put(&token(), old).await;
    b.until("it is refused", |b| b.view().refusals_of_records() > refusals).await;
    assert!(b.view().get(&token()).is_none());
}

/// What nobody has signed beside the value has no effect.
#[tokio::test]
async fn a_signed_record_that_somebody_binds_to_a_group_does_not_end_with_it() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let before = believed(&b);
    let epoch = attacker.0.pulse(Pulse::default()).await.unwrap().epoch;
    let open = omnirelay_store::OpenGroup {
        epoch,
        id: omnirelay_store::GroupId("session/worker-7".to_owned()),
        ttl: Duration::from_secs(60),
        secret: "s".to_owned(),
    };
    let omnirelay_store::OpenedGroup::Open(group) = attacker.0.open_group(open).await.unwrap() else {
        panic!("the group is open")
    };
    let group = group.of;
    for id in [policy(), authority_id()] {
        let value = attacker.stored(&id).await.unwrap().value;
        attacker.write(vec![Write::Put { id, value, group: Some(group.clone()) }]).await;
    }
    attacker.0.close_group(epoch, group).await.unwrap();
    b.sees_all(&*attacker.0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(believed(&b), before);
    assert_eq!(believed(&a), before);
}

/// What `mesh join` leaves a host says that signatures are demanded.
#[tokio::test]
async fn a_host_that_has_joined_believes_nothing_that_nobody_has_signed_from_its_first_start_on() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let signed = attacker.stored(&authority_id()).await.unwrap().value;
    let mut open = (*authority_of(&a)).clone();
    drop((a, b));
    open.record_signing = None;
    let made = RecordId::new(JOIN_TOKEN, "ffffffffffffffff");
    attacker.put(&made, token_of("operator").encode_to_vec()).await;
    let authorities = [
        (
            "one that demands none",
            Write::Put { id: authority_id(), value: open.encode_to_vec().into(), group: None },
        ),
        ("none", Write::Put { id: authority_id(), value: Bytes::from_static(b"\xff"), group: None }),
        ("a deleted one", Write::Delete { id: authority_id() }),
    ];
    for (at, (what, write)) in authorities.into_iter().enumerate() {
        let node = format!("joined-{at}");
        let kept = kept_by_joining(signed.to_vec());
        let files = IdentityFiles::of(&place.path().join(&node), None);
        files.keep_signed_records(&kept).unwrap();
        attacker.write(vec![write]).await;
        let host = Daemon::start(&node, attacker.0.clone(), place.path()).await;
        assert!(host.view().demands_signatures(), "{what}");
        assert!(host.view().get(&made).is_none(), "{what}");
        assert!(host.view().get(&token()).is_some(), "{what}: what is signed counts");
        assert_eq!(host.view().refused_records().len(), 2, "{what}");
    }
}

/// Nobody has signed when a row was written, nor in which commit.
#[tokio::test]
async fn a_row_that_says_that_it_is_of_a_later_commit_holds_nobody_up() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, _b) = mesh(place.path()).await;
    let view = omnirelay_registry::view::View::new(&LAB_KINDS).signing(&SIGNED);
    let trust = Arc::new(MeshTrust::default());
    let signer = Arc::new(Signer::new(IdentityFiles::of(place.path(), None), trust.clone(), "default"));
    view.sign_by(MeshIssuers { cluster: "default".into(), trust, signer }.signing());
    let (authority, first) =
        (attacker.stored(&authority_id()).await.unwrap(), attacker.stored(&token()).await.unwrap());
    let revoked = JoinTokenValue { revoked: true, ..token_of("worker") };
    super::tests::remember(&a.served.registry, token(), revoked.encode_to_vec()).await;
    let second = attacker.stored(&token()).await.unwrap();
    let entry = |revision: u64, after: Record| omnirelay_store::LogEntry {
        revision: omnirelay_store::Revision(revision),
        previous: omnirelay_store::Revision(revision - 1),
        changes: vec![RecordChange { before: None, after, expired: false }],
        ..Default::default()
    };
    let later = Record { revision: omnirelay_store::Revision(1 << 60), ..first };
    let entries = [entry(1, authority), entry(2, later), entry(3, second)];
    view.apply(entries.iter());
    assert!(view.get(&token()).unwrap().value::<JoinTokenValue>().unwrap().revoked);
}

#[tokio::test]
async fn an_issuer_of_before_makes_no_authority_any_more() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let (before, old) = (a.served.signer.issuer(&authority_of(&a)).unwrap(), (*authority_of(&a)).clone());
    a.served.rotate_authority(called(pb::RotateAuthorityRequest::default())).await.unwrap();
    b.sees_all(&*attacker.0).await;
    b.until("the newest issuer alone counts", |b| {
        let authority = authority_of(b);
        authority.issuers.len() == 2
            && authority.record_signing.as_ref().is_some_and(|signing| signing.keys.len() == 1)
    })
    .await;
    let known = believed(&b);
    let value = signed_by(&before, &authority_id(), &old.encode_to_vec(), u64::MAX - 1);
    let refusals = b.view().refusals_of_records();
    attacker.put(&authority_id(), value).await;
    b.until("it is refused", |b| b.view().refusals_of_records() > refusals).await;
    assert_eq!(believed(&b), known);
    a.until("it is put right", |a| a.view().refused_records().is_empty()).await;
}

#[tokio::test]
async fn an_authority_that_is_made_where_all_know_signatures_demands_them() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let a = Daemon::start("a", store.clone(), place.path()).await;
    super::tests::remember(&a.served.registry, policy(), JoinPolicyValue::default().encode_to_vec()).await;
    a.served.init_authority(called(pb::InitAuthorityRequest::default())).await.unwrap();
    a.until("all is signed", |a| a.view().demands_signatures()).await;
    let stored = Attacker(store).stored(&policy()).await.unwrap();
    assert!(split(&stored.value).signature.is_some());
    assert!(a.view().records_to_sign().is_empty());
}

/// What stands in the store in place of a record does not keep a rotation from it.
#[tokio::test]
async fn a_record_that_is_forged_while_the_issuer_is_followed_is_signed_by_the_next_one() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    let before = believed(&b);
    for round in 0..3 {
        attacker.put(&policy(), Bytes::from_static(b"\x0a\x00")).await;
        a.served.rotate_authority(called(pb::RotateAuthorityRequest::default())).await.unwrap();
        attacker.put(&policy(), Bytes::from_static(b"\x0a\x00")).await;
        b.sees_all(&*attacker.0).await;
        b.until("the newest issuer alone counts", |b| {
            let authority = authority_of(b);
            authority.issuers.len() == round + 2
                && authority.record_signing.as_ref().is_some_and(|signing| signing.keys.len() == 1)
                && b.view().refused_records().is_empty()
        })
        .await;
        assert_eq!(believed(&b)[1..], before[1..], "round {round}");
    }
}

/// Whoever signs is known by anybody, and a signature that nobody can verify yet is none.
#[tokio::test]
async fn a_signature_from_before_signatures_counted_is_none() {
    let place = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let (a, attacker) = (Daemon::start("a", store.clone(), place.path()).await, Attacker(store.clone()));
    make_unprotected(&a).await;
    let issuer = a.served.signer.issuer(&authority_of(&a)).unwrap();
    let mut bogus = RecordSignature { number: u64::MAX, ..Default::default() };
    bogus.key = omnirelay_pki::certificate::key_of(issuer.certificate()).unwrap().as_bytes().to_vec();
    bogus.signature = vec![7; 70];
    attacker.put(&token(), join(&token_of("worker").encode_to_vec(), &bogus)).await;
    attacker.put(&authority_id(), join(&authority_of(&a).encode_to_vec(), &bogus)).await;
    a.sees_all(&*store).await;
    assert!(a.protect().await.records_protected);
    let stored = split(&attacker.stored(&token()).await.unwrap().value).signature.unwrap();
    assert!(stored.number < u64::MAX && stored.signature != bogus.signature, "{stored:?}");
    super::tests::remember(&a.served.registry, token(), token_of("gateway").encode_to_vec()).await;
    let late = Daemon::start("late", store, place.path()).await;
    assert_eq!(late.view().get(&token()).unwrap().value::<JoinTokenValue>().unwrap().role, "gateway");
}

/// An issuer that starts while others have not signed everything takes nothing away.
#[tokio::test]
async fn an_issuer_that_knows_nothing_of_a_record_leaves_it_for_a_while() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, _b) = mesh(place.path()).await;
    let forged = RecordId::new(JOIN_TOKEN, "ffffffffffffffff");
    drop(a);
    attacker.put(&forged, token_of("operator").encode_to_vec()).await;
    let a = Daemon::start("a", attacker.0.clone(), place.path()).await;
    a.until("it does not count", |a| a.view().refused_records().contains_key(&forged)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(attacker.stored(&forged).await.is_some(), "others may know it");
    a.until("it is taken away", |a| a.view().refused_records().is_empty()).await;
    assert!(attacker.stored(&forged).await.is_none());
}

/// What the trail in the store says of signed records against those, as a daemon checks it.
async fn compared(attacker: &Attacker, by: &Daemon) -> (SignedRecordTally, Vec<(String, String)>) {
    let head = by.view().head().revision.0;
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    let (mut written, mut found) = (WrittenRecords::default(), Vec::new());
    for record in attacker.0.scan(scan).await.unwrap().records {
        written.take(&record, &AuditValue::decode(record.value.clone()).unwrap());
    }
    let up_to = ReadPosition { head, since_ms: 0, pruned: &BTreeSet::new() };
    let compared =
        written.compare(&*attacker.0, by.view(), up_to, |finding| found.push(finding)).await.unwrap();
    (compared, found.into_iter().map(|finding| (finding.object, finding.what)).collect())
}

#[tokio::test]
async fn what_is_signed_and_written_beside_the_trail_is_told() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, b) = mesh(place.path()).await;
    b.until("all is signed", |b| b.view().is_all_signed()).await;
    b.sees_all(&*attacker.0).await;
    let (sound, found) = compared(&attacker, &b).await;
    assert_eq!((sound, found.as_slice()), (SignedRecordTally { as_written: 3, of_before: 0 }, &[][..]));
    assert!(a.view().unaudited_writes().is_empty() && b.view().unaudited_writes().is_empty());

    // Who cannot sign writes what stands there once more, and that says nothing.
    let same = attacker.stored(&policy()).await.unwrap().value;
    attacker.put(&policy(), same).await;
    b.sees_all(&*attacker.0).await;
    assert!(b.view().unaudited_writes().is_empty());
    assert_eq!(compared(&attacker, &b).await, (sound, Vec::new()));

    let issuer = a.served.signer.issuer(&authority_of(&a)).unwrap();
    drop(a);
    let (made, admin) = (RecordId::new(JOIN_TOKEN, "ffffffffffffffff"), token_of("operator").encode_to_vec());
    for id in [token(), made.clone()] {
        attacker.put(&id, signed_by(&issuer, &id, &admin, u64::MAX)).await;
    }
    b.sees_all(&*attacker.0).await;
    assert!(b.view().refused_records().is_empty(), "it is signed, and counts");
    let unaudited = b.view().unaudited_writes();
    let noted: Vec<(&RecordId, &str)> = unaudited.iter().map(|(id, write)| (id, &*write.writer)).collect();
    assert_eq!(noted, [(&token(), "worker-7"), (&made, "worker-7")]);
    let (_, found) = compared(&attacker, &b).await;
    let whats = [
        "it was written again after that, and no audit record says so",
        "no audit record says that it was written",
    ];
    for ((object, what), (id, expected)) in found.iter().zip([(token(), whats[0]), (made, whats[1])]) {
        assert_eq!(*object, id.to_string());
        assert!(what.starts_with(expected) && what.ends_with("by worker-7"), "{what}");
    }
    assert_eq!(found.len(), 2, "{found:?}");

    attacker.write(vec![Write::Delete { id: policy() }]).await;
    b.sees_all(&*attacker.0).await;
    let (_, found) = compared(&attacker, &b).await;
    let gone = (policy().to_string(), "it is gone from the store, and no audit record says so".to_owned());
    assert!(found.contains(&gone), "{found:?}");
}

/// A trail that was pruned, or is read from some time on, says nothing of what was written before.
#[tokio::test]
async fn what_is_older_than_the_trail_is_no_finding() {
    let place = tempfile::tempdir().unwrap();
    let (attacker, a, _b) = mesh(place.path()).await;
    a.until("all is signed", |a| a.view().is_all_signed()).await;
    let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
    for record in attacker.0.scan(scan).await.unwrap().records {
        attacker.write(vec![Write::Delete { id: record.id }]).await;
    }
    a.sees_all(&*attacker.0).await;
    let (older, found) = compared(&attacker, &a).await;
    assert_eq!((older, found.as_slice()), (SignedRecordTally { as_written: 0, of_before: 3 }, &[][..]));
}
