//! A daemon's records beside its store and beside another daemon, on the memory store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::lab::{LabRegistry, registry};
use omnirelay_registry::watch::{ResetReason, Watch, WatchEvent};
use omnirelay_scripted::{Answer, Answered, Call, Script, Scripted};
use omnirelay_store::{Commit, MemoryStore, Record, RecordId, RecordKind, Version, Write};
use omnirelay_wire::fault::Fault;
use parking_lot::Mutex;

use crate::compared::ComparedRecords;
use crate::node_diff::{NodeDiff, RangeSource};
use crate::pb;
use crate::ranges::{CLAIMS_MAX, FORM, answer_ranges};
use crate::store_diff::compare_with_store;
use pb::state_difference::State;

const THING: RecordKind = RecordKind::of("thing");
const OTHER: RecordKind = RecordKind::of("other");

/// Store whose pages of records are not always what is in it.
struct AlteredStore {
    store: MemoryStore,
    /// What is told of a record instead, by key; `None`: nothing.
    altered: Mutex<BTreeMap<String, Option<Record>>>,
}

#[async_trait]
impl Script for AlteredStore {
    async fn pass(&self, call: Call) -> Answered {
        let kind = match &call {
            Call::Scan(scan) => Some(scan.kind.clone()),
            _ => None,
        };
        let mut answer = call.on(&self.store).await?;
        if let (Some(kind), Answer::Page(page)) = (kind, &mut answer) {
            for (key, told) in self.altered.lock().iter() {
                page.records.retain(|record| record.id.key != *key);
                page.records.extend(told.clone().filter(|told| told.id.kind == kind));
            }
            page.records.sort_by(|one, other| one.id.key.cmp(&other.id.key));
        }
        Ok(answer)
    }

    fn is_in_process(&self) -> bool {
        true
    }
}

fn altered_store() -> Arc<Scripted<AlteredStore>> {
    Arc::new(Scripted(AlteredStore { store: MemoryStore::system(), altered: Mutex::default() }))
}

async fn daemon(store: &Arc<Scripted<AlteredStore>>, node_id: &str) -> LabRegistry {
    LabRegistry::new(registry(node_id, store.clone(), &[THING, OTHER])).await
}

async fn commit(registry: &Registry, writes: Vec<Write>) {
    let (epoch, writer) = (registry.view().head().epoch, registry.node_id().into());
    registry.commit(Commit { epoch, writes, writer, ..Commit::default() }).await.unwrap();
}

fn put(kind: RecordKind, key: &str, value: &str) -> Write {
    Write::Put { id: RecordId::new(kind, key), value: Bytes::from(value.to_owned()), group: None }
}

async fn fill(registry: &Registry, count: usize) {
    let keys: Vec<String> = (0..count).map(|number| format!("key-{number:05}")).collect();
    for some in keys.chunks(200) {
        commit(registry, some.iter().map(|key| put(THING, key, "value")).collect()).await;
    }
}

async fn with_store(registry: &Registry) -> ComparedRecords {
    let mut found = ComparedRecords::listing(10);
    compare_with_store(registry, &mut found).await.unwrap();
    found
}

/// Each difference: the key, what it is, and both versions.
fn told(found: &ComparedRecords) -> Vec<(&str, State, u64, u64)> {
    let version = |record: &Option<pb::StateRecord>| record.as_ref().map_or(0, |record| record.version);
    found
        .differences
        .iter()
        .map(|one| (one.key.as_str(), one.state(), version(&one.here), version(&one.there)))
        .collect()
}

/// Has three records told otherwise than they are: one changed, one missing, one that is not there.
fn plant(store: &AlteredStore, registry: &Registry) {
    let held = registry.view().get(&RecordId::new(THING, "key-00001")).unwrap().record.clone();
    let changed = Record { value: Bytes::from_static(b"another"), version: Version(7), ..held.clone() };
    let more = Record { id: RecordId::new(THING, "more"), ..held };
    let mut altered = store.altered.lock();
    altered.insert("key-00001".to_owned(), Some(changed));
    altered.insert("key-00002".to_owned(), None);
    altered.insert("more".to_owned(), Some(more));
}

/// Another daemon of this process.
struct Beside<'a>(&'a Registry, AtomicU32);

impl RangeSource for Beside<'_> {
    fn node_id(&self) -> &str {
        self.0.node_id()
    }

    async fn ask(&self, question: pb::CompareRangesRequest) -> Result<pb::CompareRangesResponse, Fault> {
        self.1.fetch_add(1, Ordering::Relaxed);
        answer_ranges(self.0, question).await
    }
}

async fn beside(own: &Registry, other: &Registry) -> ComparedRecords {
    let mut found = ComparedRecords::listing(10);
    let diff = NodeDiff { registry: own, other: Beside(other, AtomicU32::new(0)) };
    diff.compare(&mut found).await.unwrap();
    found
}

#[tokio::test]
async fn what_is_the_same_has_no_difference() {
    let store = altered_store();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    // More than a page.
    fill(&a.registry, 5000).await;
    commit(&a.registry, vec![put(OTHER, "x", "1"), Write::Delete { id: RecordId::new(THING, "key-00003") }])
        .await;
    let found = with_store(&a.registry).await;
    assert_eq!((found.differing, found.unsettled, found.records), (0, 0, 5000));
    wait_for(b.registry.view(), a.registry.view().head().revision).await;
    let found = beside(&a.registry, &b.registry).await;
    assert_eq!((found.differing, found.unsettled, found.records, found.questions), (0, 0, 5000, 1));
}

#[tokio::test]
async fn a_difference_from_the_store_is_told_and_mended() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 300).await;
    let mut watch = Watch::begin(a.registry.clone(), THING, Box::new(|_| true), None);
    while !matches!(watch.next().await, WatchEvent::Synced { .. }) {}
    plant(&store, &a.registry);
    let found = with_store(&a.registry).await;
    let expected = [
        ("key-00001", State::Differs, 1, 7),
        ("key-00002", State::OnlyHere, 1, 0),
        ("more", State::OnlyThere, 0, 1),
    ];
    assert_eq!(told(&found), expected);

    a.registry.mend_view().await;
    assert_eq!(with_store(&a.registry).await.differing, 0);
    let held = a.registry.view().get(&RecordId::new(THING, "key-00001")).unwrap();
    assert_eq!(held.record.value, "another");
    assert!(matches!(watch.next().await, WatchEvent::Reset(ResetReason::ViewMended)));
    let mut count = 0;
    while let WatchEvent::Snapshot(_) = watch.next().await {
        count += 1;
    }
    assert_eq!(count, 300, "one is gone and one has come");
}

#[tokio::test]
async fn a_difference_from_another_daemon_is_told() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 2000).await;
    plant(&store, &a.registry);
    // It loads what is not so.
    let b = daemon(&store, "b").await;
    store.altered.lock().clear();
    let found = beside(&a.registry, &b.registry).await;
    let expected = [
        ("key-00001", State::Differs, 1, 7),
        ("key-00002", State::OnlyHere, 1, 0),
        ("more", State::OnlyThere, 0, 1),
    ];
    assert_eq!(told(&found), expected);
    assert!(found.questions < 8, "{}", found.questions);
    assert_eq!(with_store(&a.registry).await.differing, 0);
    assert_eq!(with_store(&b.registry).await.differing, 3);
    b.registry.mend_view().await;
    assert_eq!(beside(&a.registry, &b.registry).await.differing, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_meanwhile_is_no_difference() {
    let store = altered_store();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    fill(&a.registry, 500).await;
    let (is_over, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (writer, ended, made) = (a.registry.clone(), is_over.clone(), rounds.clone());
    let writing = tokio::spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            let round = u64::from(made.fetch_add(1, Ordering::Relaxed));
            let key = format!("key-{:05}", round * 7 % 500);
            let write = match round % 5 {
                0 => Write::Delete { id: RecordId::new(THING, key) },
                _ => put(THING, &key, &round.to_string()),
            };
            commit(&writer, vec![write]).await;
        }
    });
    for _ in 0..20 {
        let before = rounds.load(Ordering::Relaxed);
        for found in [with_store(&a.registry).await, with_store(&b.registry).await] {
            assert_eq!((found.differing, found.unsettled), (0, 0), "{:?}", found.differences);
        }
        let found = beside(&a.registry, &b.registry).await;
        assert_eq!(found.differing, 0, "{:?}", found.differences);
        while rounds.load(Ordering::Relaxed) < before + 10 {
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    writing.await.unwrap();
}

#[tokio::test]
async fn differences_are_counted_beyond_those_that_are_listed() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 300).await;
    for number in 0..100 {
        store.altered.lock().insert(format!("key-{number:05}"), None);
    }
    let found = with_store(&a.registry).await;
    assert_eq!((found.differing, found.differences.len()), (100, 10));
    let b = daemon(&store, "b").await;
    let found = beside(&a.registry, &b.registry).await;
    assert_eq!((found.differing, found.differences.len()), (100, 10));
}

#[tokio::test]
async fn a_question_that_asks_too_much_or_makes_no_sense_is_refused() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 10).await;
    let epoch = a.registry.view().head().epoch.0;
    let whole = || pb::RecordRange { hash: 0, depth: 0 };
    let claim = |range, length| pb::RangeClaim { range, fingerprints: vec![0; length] };
    let of = |claims, listed| pb::KindClaims { kind: THING.0.to_string(), claims, listed };
    let asked = |kinds| pb::CompareRangesRequest { form: FORM, epoch, kinds };
    let refused = [
        pb::CompareRangesRequest { form: FORM + 1, ..asked(Vec::new()) },
        asked(vec![of(vec![claim(Some(whole()), 16); CLAIMS_MAX + 1], Vec::new())]),
        asked(vec![of(Vec::new(), vec![whole(); CLAIMS_MAX + 1])]),
        asked(vec![of(Vec::new(), Vec::new()); 65]),
        asked(vec![of(vec![claim(None, 16)], Vec::new())]),
        asked(vec![of(vec![claim(Some(whole()), 15)], Vec::new())]),
        asked(vec![of(vec![claim(Some(whole()), 32)], Vec::new())]),
        asked(vec![of(Vec::new(), vec![pb::RecordRange { hash: 1, depth: 2 }])]),
        asked(vec![of(Vec::new(), vec![pb::RecordRange { hash: 0, depth: 17 }])]),
    ];
    for question in refused {
        let fault = answer_ranges(&a.registry, question.clone()).await.unwrap_err();
        assert_eq!(fault.reason, "INVALID_ARGUMENT", "{question:?}");
    }
    // Of another epoch nothing is told but that it is another; of a kind that is not held that it is not.
    let other = pb::CompareRangesRequest { epoch: epoch + 1, ..asked(vec![of(Vec::new(), vec![whole()])]) };
    assert!(answer_ranges(&a.registry, other).await.unwrap().kinds.is_empty());
    let unknown = pb::KindClaims { kind: "nothing".to_owned(), listed: vec![whole()], ..Default::default() };
    let answer = answer_ranges(&a.registry, asked(vec![unknown])).await.unwrap();
    assert!(!answer.kinds[0].held && answer.kinds[0].records.is_empty());
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    /// Daemon that says everything differs, whatever it is asked.
    struct Liar;
    impl RangeSource for Liar {
        fn node_id(&self) -> &str {
            "liar"
        }
        async fn ask(&self, question: pb::CompareRangesRequest) -> Result<pb::CompareRangesResponse, Fault> {
            let split = |range| pb::RangeAnswer {
                range,
                told: Some(pb::range_answer::Told::Fingerprints(vec![7; 256])),
            };
            let kinds = question.kinds.into_iter().map(|kind| pb::KindAnswers {
                kind: kind.kind,
                held: true,
                answers: kind.claims.into_iter().map(|claim| split(claim.range)).collect(),
                ..Default::default()
            });
            Ok(pb::CompareRangesResponse {
                epoch: question.epoch,
                kinds: kinds.collect(),
                ..Default::default()
            })
        }
    }
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 100).await;
    let diff = NodeDiff { registry: &a.registry, other: Liar };
    let fault = diff.compare(&mut ComparedRecords::listing(10)).await.unwrap_err();
    assert_eq!(fault.reason, "NODE_NOT_ASKED");
}
