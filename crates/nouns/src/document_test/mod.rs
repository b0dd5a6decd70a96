//! Documents on the memory store, by one that only this test has.

mod quota;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_identity::trust::{HasAuthority, MeshTrust};
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_registry::watch::{Watch, WatchEvent};
use omnirelay_store::{MemoryStore, RecordKind, Store};
use omnirelay_wire::rpc::RpcMethod;
use omnirelay_wire::rpc::config_service::{ROLLBACK_TRANSPORT_POLICY, SET_TRANSPORT_POLICY};

use super::*;
use crate::feed::framed;
use crate::seed::SeedDriver;
use quota::{QUOTA, Quota, QuotaChange, QuotaSchema};

type Quotas = Document<QuotaSchema>;

fn quota(calls_max: u32) -> Quota {
    Quota { calls_max }
}

async fn on(store: &Arc<MemoryStore>, node: &str) -> (Quotas, LabRegistry) {
    let store: Arc<dyn Store> = store.clone();
    let lab = LabRegistry::new(lab::registry(node, store, &[QUOTA])).await;
    (Document { registry: lab.registry.clone(), schema: QuotaSchema { configured: None } }, lab)
}

async fn quotas() -> (Quotas, LabRegistry) {
    on(&Arc::new(MemoryStore::system()), "node-1").await
}

/// A request of somebody who has seen this version, with the reason that others are told.
fn asked<'a>(caller: &'a Caller, rpc: RpcMethod, seen: Option<u64>, reason: &str) -> MutationRequest<'a> {
    let (id, reason) = ("mesh".to_owned(), reason.to_owned());
    MutationRequest { caller, rpc, id, reason, expected_version: seen, dry_run: false, hash: 1 }
}

async fn seen(of: &Quotas, done: Result<QuotaChange, Fault>) -> Result<QuotaChange, Fault> {
    let done = done?;
    of.registry.ready_for(&done.cursor).await.unwrap();
    Ok(done)
}

async fn set(of: &Quotas, wanted: &Quota, seen_version: Option<u64>) -> Result<QuotaChange, Fault> {
    let caller = Caller::of_tests("alice");
    let asked = asked(&caller, SET_TRANSPORT_POLICY, seen_version, "more room");
    seen(of, of.set(&asked, wanted, QuotaChange::of).await).await
}

async fn roll_back(of: &Quotas, to: u64) -> Result<QuotaChange, Fault> {
    let caller = Caller::of_tests("bob");
    let asked = asked(&caller, ROLLBACK_TRANSPORT_POLICY, None, "INC-7");
    seen(of, of.roll_back(&asked, to, QuotaChange::of).await).await
}

async fn kept(of: &Quotas) -> Vec<quota::QuotaVersion> {
    of.read("").await.unwrap().value.map(|value| value.versions.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_rollback_is_a_version_that_says_what_it_brings_back() {
    let (quotas, _lab) = quotas().await;
    assert_eq!((quotas.state().section, quotas.state().source), (quota(10), DocumentSource::BuiltIn));
    assert_eq!(roll_back(&quotas, 0).await.unwrap_err().reason, "INVALID_ARGUMENT", "nothing is kept");
    let done = set(&quotas, &quota(20), None).await.unwrap();
    assert_eq!((done.version, done.changes), (1, vec!["callsMax: 10 -> 20".to_owned()]));
    let done = set(&quotas, &quota(30), None).await.unwrap();
    assert_eq!((done.version, done.changes), (2, vec!["callsMax: 20 -> 30".to_owned()]));
    let again = set(&quotas, &quota(30), None).await.unwrap();
    assert!(!again.changed && again.version == 2 && again.changes.is_empty(), "{again:?}");
    let done = roll_back(&quotas, 0).await.unwrap();
    assert_eq!((done.version, done.rolled_back_to), (3, 1));
    assert_eq!(done.changes, ["callsMax: 30 -> 20"]);
    let told: Vec<_> = kept(&quotas)
        .await
        .into_iter()
        .map(|kept| (kept.version, kept.calls_max(), kept.set_by, kept.reason, kept.rolled_back_to))
        .collect();
    let row = |version, calls, by: &str, why: &str, to| (version, calls, by.to_owned(), why.to_owned(), to);
    let expected = [
        row(1, 20, "alice", "more room", 0),
        row(2, 30, "alice", "more room", 0),
        row(3, 20, "bob", "INC-7", 1),
    ];
    assert_eq!(told, expected);
    assert_eq!((quotas.state().section, quotas.state().version), (quota(20), 3));
    let differences = quotas.read("").await.unwrap().differences();
    let expected = [(3, "callsMax: 30 -> 20"), (2, "callsMax: 20 -> 30")];
    assert_eq!(differences, expected.map(|(number, line)| (number, vec![line.to_owned()])));
}

#[tokio::test]
async fn those_who_watch_are_told_what_holds_from_now_on() {
    let (quotas, _lab) = quotas().await;
    let topic = Quotas::topic();
    let mut teller = topic.teller();
    let mut watch = Watch::begin_all(quotas.registry.clone(), topic.kinds.clone(), Box::new(|_| true), None);
    while !matches!(watch.next().await, WatchEvent::Synced { .. }) {}
    let mut told = Vec::new();
    for calls in [20, 30] {
        set(&quotas, &quota(calls), None).await.unwrap();
    }
    roll_back(&quotas, 1).await.unwrap();
    while told.len() < 3 {
        let happened = watch.next().await;
        let (frame, shown) = framed(&happened);
        let Some(event) = teller.event(frame, shown) else { continue };
        told.push((event.what, event.data.readiness.unwrap_or_default().name));
    }
    let expected = [("added", "20"), ("modified", "30"), ("modified", "20")];
    assert_eq!(told, expected.map(|(what, calls)| (what, calls.to_owned())));
}

#[tokio::test]
async fn of_two_that_have_seen_one_version_one_changes_it() {
    let store = Arc::new(MemoryStore::system());
    let ((one, _lab), (other, _other)) = (on(&store, "node-1").await, on(&store, "node-2").await);
    let done = set(&one, &quota(20), Some(0)).await.unwrap();
    other.registry.ready_for(&done.cursor).await.unwrap();
    let (first, second) = (quota(30), quota(40));
    let both = join_all([set(&one, &first, Some(1)), set(&other, &second, Some(1))]).await;
    let (done, refused): (Vec<_>, Vec<_>) = both.into_iter().partition(Result::is_ok);
    let refused: Vec<_> = refused.into_iter().filter_map(Result::err).map(|fault| fault.reason).collect();
    assert_eq!((done.len(), refused.as_slice()), (1, ["VERSION_CONFLICT".into()].as_slice()));
    assert_eq!(kept(&one).await.len(), 2);
    // Who has seen nothing overwrites nothing by mistake, and who says nothing takes it as it is.
    assert_eq!(set(&one, &quota(50), Some(0)).await.unwrap_err().reason, "VERSION_CONFLICT");
    assert_eq!(set(&one, &quota(50), None).await.unwrap().version, 3);
}

#[tokio::test]
async fn what_may_not_hold_changes_nothing_nor_does_a_trial() {
    let (quotas, _lab) = quotas().await;
    assert_eq!(quotas.validate(&quota(20)).unwrap(), 20);
    for section in [quota(0), quota(1001)] {
        let judged = quotas.validate(&section).unwrap_err();
        let refused = set(&quotas, &section, None).await.unwrap_err();
        assert_eq!((refused.reason, &refused.message), ("INVALID_ARGUMENT".into(), &judged.message));
    }
    let caller = Caller::of_tests("alice");
    let trial = MutationRequest { dry_run: true, ..asked(&caller, SET_TRANSPORT_POLICY, None, "") };
    let done = quotas.set(&trial, &quota(20), QuotaChange::of).await.unwrap();
    assert_eq!((done.version, done.dry_run, done.changed), (1, true, true));
    assert_eq!(done.changes, ["callsMax: 10 -> 20"]);
    assert!(kept(&quotas).await.is_empty());
}

#[tokio::test]
async fn as_many_versions_are_kept_as_the_schema_says() {
    let (quotas, _lab) = quotas().await;
    for calls in 11..=17 {
        set(&quotas, &quota(calls), None).await.unwrap();
    }
    let numbers: Vec<u64> = kept(&quotas).await.iter().map(|kept| kept.version).collect();
    assert_eq!(numbers, [4, 5, 6, 7]);
    let gone = roll_back(&quotas, 3).await.unwrap_err();
    assert_eq!(gone.message, "there is no version 3 of the quota; kept are 4, 5, 6, 7");
    assert_eq!(roll_back(&quotas, 4).await.unwrap().version, 8);
    assert_eq!(quotas.state().section, quota(14));
}

#[tokio::test]
async fn what_the_configuration_says_holds_until_the_registry_has_one() {
    let (mut quotas, _lab) = quotas().await;
    quotas.schema.configured = Some(quota(70));
    let state = quotas.state();
    assert_eq!((state.section, state.source, state.version), (quota(70), DocumentSource::Configuration, 0));
    set(&quotas, &quota(80), None).await.unwrap();
    let state = quotas.state();
    assert_eq!((state.section, state.source, state.version), (quota(80), DocumentSource::Registry, 1));
}

/// Driver of a daemon whose configuration names this quota, in a mesh that has an authority from when `has` says so.
fn seeding(of: &Quotas, calls_max: u32, has: &Arc<AtomicBool>) -> SeedDriver<DocumentSeed<QuotaSchema>> {
    let has = has.clone();
    let says = move || if has.load(Ordering::Relaxed) { HasAuthority::Yes } else { HasAuthority::No };
    SeedDriver {
        registry: of.registry.clone(),
        trust: Arc::new(MeshTrust::default().asking(says)),
        is_restored: |_| true,
        action: "quota.seed",
        named: Live::fixed(vec![calls_max])
            .map(|all| all.into_iter().map(|max| DocumentSeed(quota(max))).collect()),
    }
}

#[tokio::test]
async fn of_many_daemons_that_start_at_once_one_begins_the_record() {
    let (store, has) = (Arc::new(MemoryStore::system()), Arc::new(AtomicBool::new(false)));
    let names: Vec<String> = (1..=20).map(|number| format!("node-{number}")).collect();
    let daemons = join_all(names.iter().map(|name| on(&store, name))).await;
    let seeds: Vec<_> =
        daemons.iter().zip(100..).map(|((quotas, _), calls)| seeding(quotas, calls, &has)).collect();
    join_all(seeds.iter().map(SeedDriver::look)).await;
    assert!(kept(&daemons[0].0).await.is_empty(), "there is no authority yet");
    has.store(true, Ordering::Relaxed);
    let again = join_all(seeds.iter().map(SeedDriver::look)).await;
    assert_eq!(again, vec![None; 20], "each has seen that it is there");
    // One that comes later, with another file.
    let (late, _lab) = on(&store, "node-21").await;
    seeding(&late, 200, &has).look().await;
    let versions = kept(&late).await;
    assert_eq!((versions.len(), versions[0].version, late.state().version), (1, 1, 1));
    let place = names.iter().position(|name| *name == versions[0].set_by).unwrap();
    assert_eq!(versions[0].calls_max(), 100 + u32::try_from(place).unwrap(), "by whom its writer says");
    set(&late, &quota(20), None).await.unwrap();
    seeds[0].look().await;
    assert_eq!(kept(&late).await.len(), 2, "what somebody has set stays");
}

#[tokio::test]
async fn nothing_is_begun_before_what_was_lost_is_back() {
    let (quotas, _lab) = quotas().await;
    let has = Arc::new(AtomicBool::new(true));
    let seed = SeedDriver { is_restored: |_| false, ..seeding(&quotas, 100, &has) };
    assert!(seed.look().await.is_some(), "it looks again");
    assert!(kept(&quotas).await.is_empty());
}
