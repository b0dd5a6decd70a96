//! A daemon's records beside its store and beside another daemon, on the memory store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_registry::Registry;
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::lab::{LabRegistry, registry};
use omnirelay_registry::view::ViewRecord;
use omnirelay_registry::watch::{ResetReason, Watch, WatchEvent};
use omnirelay_scripted::{Answer, Answered, Call, Script, Scripted};
use omnirelay_store::{
    Commit, GroupId, MemoryStore, OpenGroup, OpenedGroup, Pulse, Record, RecordId, RecordKind, Store as _,
    Version, Write,
};
use omnirelay_wire::fault::Fault;
use parking_lot::Mutex;

use crate::compared::ComparedRecords;
use crate::node_diff::{NodeDiff, RangeSource};
use crate::pb;
use omnirelay_nouns::range_questions::{CLAIMS_MAX, FORM};

use crate::ranges::answer_ranges;
use crate::store_diff::compare_with_store;
use pb::range_answer::Told;
use pb::state_difference::State;
use tokio::time::Instant;

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
            let altered = self.altered.lock();
            page.records.retain(|record| !altered.contains_key(&record.id.key));
            page.records.extend(altered.values().flatten().filter(|told| told.id.kind == kind).cloned());
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
        asked(vec![of(Vec::new(), Vec::new()); 2]),
        asked(vec![of(vec![claim(Some(whole()), 16); 2], Vec::new())]),
        asked(vec![of(Vec::new(), vec![whole(), pb::RecordRange { hash: 0, depth: 1 }])]),
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

/// Function that makes the answer of a question.
type Lie = fn(pb::KindClaims) -> pb::KindAnswers;

/// Daemon that answers each question by a function of it.
struct Liar(Lie);

impl RangeSource for Liar {
    fn node_id(&self) -> &str {
        "liar"
    }

    async fn ask(&self, question: pb::CompareRangesRequest) -> Result<pb::CompareRangesResponse, Fault> {
        let kinds = question.kinds.into_iter().map(self.0).collect();
        Ok(pb::CompareRangesResponse { epoch: question.epoch, revision: 1, kinds, ..Default::default() })
    }
}

fn lie(claims: pb::KindClaims, told: fn() -> Told) -> pb::KindAnswers {
    let answer = |claim: pb::RangeClaim| pb::RangeAnswer { range: claim.range, told: Some(told()) };
    let answers = claims.claims.into_iter().map(answer).collect();
    pb::KindAnswers { kind: claims.kind, held: true, answers, ..Default::default() }
}

/// All that each lie leads to is a refusal, soon.
#[tokio::test]
async fn what_another_daemon_says_is_not_believed_beyond_what_it_can_be() {
    fn listed(claims: pb::KindClaims, key: String, digits: usize) -> pb::KindAnswers {
        if claims.listed.is_empty() {
            return lie(claims, || Told::Digests(vec![7; 16]));
        }
        let record = Some(pb::StateRecord { digest: "a".repeat(digits), ..Default::default() });
        let records = vec![pb::RangedRecord { key, record }];
        pb::KindAnswers { kind: claims.kind, held: true, records, ..Default::default() }
    }
    let lies: [(Lie, &str); 8] = [
        (|claims| lie(claims, || Told::Fingerprints(vec![7; 256])), "about a range that was not asked"),
        (|claims| lie(claims, || Told::Fingerprints(vec![7; 255])), "15 bytes are left"),
        (|claims| lie(claims, || Told::Fingerprints(vec![7; 32])), "2 fingerprints"),
        (|claims| lie(claims, || Told::Digests(vec![7; 16 * 65])), "65 records of a range"),
        (
            |claims| pb::KindAnswers {
                kind: "nothing".to_owned(),
                ..lie(claims, || Told::Digests(Vec::new()))
            },
            "other kinds",
        ),
        (|claims| listed(claims, String::new(), 32), "cannot have"),
        (|claims| listed(claims, "x".repeat(513), 32), "cannot have"),
        (|claims| listed(claims, "x".to_owned(), 31), "cannot have"),
    ];
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 100).await;
    for (number, (lie, why)) in lies.into_iter().enumerate() {
        let diff = NodeDiff { registry: &a.registry, other: Liar(lie) };
        let compared = diff.compare(&mut ComparedRecords::listing(10)).await;
        // Ever deeper claims end where a range has a single hash.
        let why = if number == 0 { "single hash" } else { why };
        let fault = compared.unwrap_err();
        assert!(
            fault.reason == "NODE_NOT_ASKED" && fault.message.contains(why),
            "{number}: {}",
            fault.message
        );
    }
}

#[tokio::test]
async fn a_kind_that_the_other_one_does_not_hold_is_named() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 100).await;
    let other = Liar(|claims| pb::KindAnswers { kind: claims.kind, ..Default::default() });
    let mut found = ComparedRecords::listing(10);
    NodeDiff { registry: &a.registry, other }.compare(&mut found).await.unwrap();
    assert_eq!((found.records, found.differing), (0, 0));
    assert_eq!(found.not_compared, ["other", "thing"]);
}

/// Nobody else has the records of a group that is over; until housekeeping the view does.
#[tokio::test]
async fn what_ends_with_its_group_is_no_difference() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    let epoch = a.registry.view().head().epoch;
    let open = OpenGroup {
        epoch,
        id: GroupId("g".to_owned()),
        ttl: Duration::from_secs(60),
        secret: "s".to_owned(),
    };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("it is held") };
    let bound = Write::Put {
        id: RecordId::new(THING, "bound"),
        value: Bytes::from_static(b"1"),
        group: Some(group.of.clone()),
    };
    commit(&a.registry, vec![bound, put(THING, "unbound", "1")]).await;
    assert_eq!(with_store(&a.registry).await.records, 2);
    assert!(store.close_group(epoch, group.of).await.unwrap());
    let (view, told) = (a.registry.clone(), store.clone());
    // The beat that tells of it comes while it is compared.
    let beat = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let beat = told.pulse(Pulse::default()).await.unwrap();
        view.view().note_beat(&beat, Instant::now());
    });
    let found = with_store(&a.registry).await;
    assert_eq!((found.differing, found.records), (0, 2), "{:?}", found.differences);
    beat.await.unwrap();
    // One that has loaded since never had it.
    let b = daemon(&store, "b").await;
    let found = beside(&a.registry, &b.registry).await;
    assert_eq!((found.differing, found.records), (0, 1), "{:?}", found.differences);
}

/// A watch that comes back from before a mend begins anew; one of what is only followed misses nothing.
#[tokio::test]
async fn watches_are_told_of_a_mend_as_far_as_it_concerns_them() {
    let store = altered_store();
    let lab = registry("a", store.clone(), &[THING]).following(&[OTHER]);
    let a = LabRegistry::new(lab).await;
    fill(&a.registry, 10).await;
    let head = a.registry.view().head();
    let since = Some(head.cursor());
    let all = || Box::new(|_: &ViewRecord| true);
    let mut followed = Watch::begin(a.registry.clone(), OTHER, all(), since);
    let tag = a.registry.view().changed(&THING);
    commit(&a.registry, vec![put(OTHER, "x", "1")]).await;
    a.registry.mend_view().await;
    assert_ne!(a.registry.view().changed(&THING), tag);
    assert!(matches!(followed.next().await, WatchEvent::Added(step) if step.record.record.id.key == "x"));
    commit(&a.registry, vec![put(OTHER, "y", "1")]).await;
    assert!(matches!(followed.next().await, WatchEvent::Added(step) if step.record.record.id.key == "y"));

    let mut back = Watch::begin(a.registry.clone(), THING, all(), since);
    assert!(matches!(back.next().await, WatchEvent::Reset(ResetReason::ViewMended)));
    let head = a.registry.view().head();
    let mut later = Watch::begin(a.registry.clone(), THING, all(), Some(head.cursor()));
    commit(&a.registry, vec![put(THING, "z", "1")]).await;
    assert!(matches!(later.next().await, WatchEvent::Added(_)), "it comes from behind the mend");
}

/// Of each range the other one has more than is listed of as many ranges as have room by what is here.
#[tokio::test]
async fn a_whole_kind_that_is_missing_is_counted() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 12_800).await;
    let hidden = (0..12_800).map(|number| (format!("key-{number:05}"), None));
    *store.altered.lock() = hidden.collect();
    let b = daemon(&store, "b").await;
    assert_eq!(b.registry.view().held_count(&THING), 0);
    for (one, other) in [(&a, &b), (&b, &a)] {
        let found = beside(&one.registry, &other.registry).await;
        assert_eq!((found.differing, found.unsettled), (12_800, 0), "{} questions", found.questions);
    }
}

#[tokio::test]
async fn more_than_is_listed_at_once_is_said_to_be_more() {
    let store = altered_store();
    let a = daemon(&store, "a").await;
    fill(&a.registry, 5000).await;
    let epoch = a.registry.view().head().epoch.0;
    let whole = pb::RecordRange { hash: 0, depth: 0 };
    let listed = |listed| pb::CompareRangesRequest {
        form: FORM,
        epoch,
        kinds: vec![pb::KindClaims { kind: THING.0.to_string(), listed, ..Default::default() }],
    };
    let answer = answer_ranges(&a.registry, listed(vec![whole])).await.unwrap();
    assert!(answer.kinds[0].more && answer.kinds[0].records.is_empty());
    let half = (0..8).map(|digit: u64| pb::RecordRange { hash: digit << 60, depth: 1 }).collect();
    let answer = answer_ranges(&a.registry, listed(half)).await.unwrap();
    assert!(
        !answer.kinds[0].more && answer.kinds[0].records.len() > 2000,
        "{}",
        answer.kinds[0].records.len()
    );
}
