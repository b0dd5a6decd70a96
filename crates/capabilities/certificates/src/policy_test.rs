//! The join policy as a document, and how it begins.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_nouns::document::DocumentSource;
use omnirelay_store::{Epoch, MemoryStore, Record, Revision, Version};

use super::*;
use crate::EnrollmentCalls;
use crate::identity_keeper::IdentityKeeper;
use crate::tests::{called, keeper, node, until};
use pb::certificate_service_server::CertificateService as _;
use pb::enrollment_service_server::EnrollmentService as _;

/// A policy that lets gateways in.
fn of_gateways(name: &str) -> pb::JoinPolicy {
    let (name, effect, roles) = (name.to_owned(), Effect::Allow as i32, vec!["gateway".to_owned()]);
    pb::JoinPolicy {
        rules: vec![pb::JoinRule { name, effect, roles, ..Default::default() }],
        ..Default::default()
    }
}

fn holds(view: &View) -> (Vec<String>, DocumentSource) {
    let state = DocumentState::of(&JoinPolicySchema, view.get(&JoinPolicySchema::id()).as_deref());
    (state.section.rules.into_iter().map(|rule| rule.name).collect(), state.source)
}

/// Once as a daemon of 0.3.0 writes it, and with another life.
#[test]
fn a_policy_that_an_earlier_version_stored_is_read_and_written_in_its_form() {
    let stored: &[u8] = b"\x0a\x11\x0a\x04edge\x10\x01\x22\x07gateway\x0a\x09\x0a\x05other\x10\x02";
    let next: &[u8] = b"\x0a\x14\x0a\x04edge\x10\x01\x22\x07gateway\x58\x90\x1c\x0a\x09\x0a\x05other\x10\x02";
    let read = JoinPolicyValue::decode(stored).unwrap();
    let holds = JoinPolicySchema::holding(&read).unwrap();
    assert_eq!(holds.rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(), ["edge", "other"]);
    let version = |section: JoinPolicyValue| DocumentVersion {
        number: 2,
        section,
        set_by: "alice".to_owned(),
        set_at: Default::default(),
        reason: "INC-7".to_owned(),
        rolled_back_to: 0,
    };
    assert_eq!(JoinPolicySchema::value(None, version(holds.clone())).encode_to_vec(), stored);
    let mut wanted = holds.clone();
    wanted.rules[0].lifetime_seconds = 3600;
    assert_eq!(JoinPolicySchema::value(Some(&read), version(wanted)).encode_to_vec(), next);
}

/// Nobody knows whom it would let in: it lets in nobody, and is no reason to let in whoever has a token.
#[test]
fn a_policy_that_cannot_be_read_lets_nobody_in() {
    let record = |value: &'static [u8]| {
        let record = Record {
            id: JoinPolicySchema::id(),
            value: Bytes::from_static(value),
            version: Version(3),
            revision: Revision(9),
            group: None,
            created_at: Millis(1),
            updated_at: Millis(1),
            writer: "a".into(),
            deleted: false,
        };
        ViewRecord::new(Epoch(1), record)
    };
    assert!(holding(Some(&record(b"\xff\xff"))).unwrap_err().is(reasons::AUTHORITY_UNREADABLE));
    assert_eq!(holding(None).unwrap().rules[0].name, "token");
    let edge = record(b"\x0a\x08\x0a\x04edge\x10\x01");
    assert_eq!(holding(Some(&edge)).unwrap().rules[0].name, "edge");
}

#[tokio::test]
async fn an_authority_that_is_asked_for_begins_with_the_policy_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let mut node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    Arc::get_mut(&mut node.served).unwrap().policy = Some(seed(of_gateways("edge")));
    let view = node.served.registry.view();
    assert_eq!(holds(view), (vec!["token".to_owned()], DocumentSource::BuiltIn));
    let made = node.served.init_authority(called(pb::InitAuthorityRequest::default())).await.unwrap();
    let made = made.into_inner();
    let line = "joinPolicy.rules: token -> edge".to_owned();
    assert!(
        made.changes.contains(&line),
        "the audit trail says who may join from now on: {:?}",
        made.changes
    );
    node.served.registry.ready_for(&made.cursor).await.unwrap();
    assert_eq!(holds(view), (vec!["edge".to_owned()], DocumentSource::Registry));
}

#[tokio::test]
async fn an_authority_that_a_daemon_makes_begins_with_it_too_and_once() {
    let (place, store) = (tempfile::tempdir().unwrap(), Arc::new(MemoryStore::system()));
    let mut tasks = tokio::task::JoinSet::new();
    let mut views = Vec::new();
    for (name, policy) in [("node-1", "one"), ("node-2", "two"), ("node-3", "three")] {
        let keeper = IdentityKeeper {
            makes_authority: true,
            join_policy: Some(seed(of_gateways(policy))),
            ..keeper(name, store.clone(), place.path()).await
        };
        keeper.load();
        views.push((keeper.registry.clone(), policy.to_owned()));
        tasks.spawn(async move { keeper.run().await });
    }
    let held = || views.iter().map(|(registry, _)| holds(registry.view())).collect::<Vec<_>>();
    until("each knows the policy", || held().iter().all(|(_, source)| *source == DocumentSource::Registry))
        .await;
    let held = held();
    assert!(held.iter().all(|one| *one == held[0]), "{held:?}");
    let made = views[0].0.view().get(&JoinPolicySchema::id()).unwrap();
    assert_eq!(made.record.version.0, 1);
    let writer = made.record.writer.to_string();
    let (_, named) = views.iter().find(|(registry, _)| registry.node_id() == writer).unwrap();
    assert_eq!(held[0].0.concat(), *named, "of the daemon that made the authority");
}

#[tokio::test]
async fn a_change_says_the_version_that_it_becomes() {
    let place = tempfile::tempdir().unwrap();
    let node = node("node-1", Arc::new(MemoryStore::system()), place.path()).await;
    let enrollment = EnrollmentCalls(node.served.clone());
    // It says what holds anyway, as a policy that somebody has set.
    let JoinPolicyValue { rules, .. } = JoinPolicySchema::built_in();
    let asked = pb::SetJoinPolicyRequest { rules, dry_run: true, ..Default::default() };
    let tried = enrollment.set_join_policy(called(asked.clone())).await.unwrap().into_inner();
    assert_eq!((tried.changes, tried.policy.unwrap().version), (vec!["version: 0 -> 1".to_owned()], 1));
    let keyed = || {
        let mut request = called(pb::SetJoinPolicyRequest { dry_run: false, ..asked.clone() });
        let caller = Caller { idempotency_key: Some("key-1".to_owned()), ..Caller::of_tests("alice") };
        request.extensions_mut().insert(caller);
        request
    };
    for what in ["at first", "repeated"] {
        let done = enrollment.set_join_policy(keyed()).await.unwrap().into_inner();
        assert_eq!(done.policy.unwrap().version, 1, "{what}");
    }
}
