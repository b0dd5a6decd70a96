//! Mutations: one demands what it has read first, whatever the view learns meanwhile; and what becomes of it in another
//! epoch, or when the view is behind.

use crate::lab;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use omnirelay_identity::caller::{Caller, IfMatch};
use omnirelay_scripted::{Faulty, Ill, Method, PausedClock, memory};
use omnirelay_store::{
    Commit, CommitOutcome, MemoryStore, Pulse, RecordId, RecordKind, Store, Version, Write,
};
use omnirelay_wire::fault::{Code, Fault};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerChange;
use omnirelay_wire::reasons;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::Registry;
use super::act::DecisionReader;
use super::heartbeat::HeartbeatPace;
use super::lab::LabRegistry;
use super::mutate::{ChangeForm, Mutation, MutationDecision};
use super::view::AppliedEntries;

const THING: RecordKind = RecordKind::of("thing");
static MIRRORED: [RecordKind; 1] = [THING];

async fn daemon() -> LabRegistry {
    over(Arc::new(MemoryStore::system())).await
}

async fn over(store: Arc<dyn Store>) -> LabRegistry {
    LabRegistry::new(lab::registry("a", store, &MIRRORED)).await
}

fn thing() -> RecordId {
    RecordId::new(THING, "x")
}

fn put(value: &str) -> Write {
    Write::Put { id: thing(), value: Bytes::from(value.to_owned()), group: None }
}

/// Somebody else changes the record, and the view learns of it, without a pause in between.
fn overtake(registry: &Registry, value: &str) {
    let commit = Commit {
        epoch: registry.view().head().epoch,
        writes: vec![put(value)],
        writer: "b".into(),
        ..Commit::default()
    };
    let committed = registry.store().commit(commit).now_or_never().expect("memory answers at once");
    let Ok(CommitOutcome::Done(entry)) = committed else { panic!("not committed: {committed:?}") };
    assert_eq!(registry.view().apply(std::iter::once(&*entry)), AppliedEntries::Yes);
}

fn version(registry: &Registry) -> u64 {
    registry.view().get(&thing()).map_or(0, |record| record.record.version.0)
}

async fn change(
    registry: &Registry,
    expected: Option<IfMatch>,
    decide: impl Fn(&DecisionReader<'_>) -> Vec<Write>,
) -> Result<PeerChange, Fault> {
    try_change(registry, expected, |reader| Ok(decide(reader))).await
}

async fn try_change(
    registry: &Registry,
    expected: Option<IfMatch>,
    decide: impl Fn(&DecisionReader<'_>) -> Result<Vec<Write>, Fault>,
) -> Result<PeerChange, Fault> {
    let caller = Caller::of_tests("local");
    let mutation = Mutation {
        caller: &caller,
        action: "things.change",
        object: thing(),
        also: &[],
        reason: "",
        expected,
        dry_run: false,
        request_hash: 0,
    };
    let decide = |reader: &DecisionReader<'_>| {
        let writes = decide(reader)?;
        Ok(MutationDecision { writes, changes: vec!["changed".to_owned()], answer: PeerChange::default() })
    };
    registry.mutate::<ChangeForm<_>>(mutation, decide).await
}

#[tokio::test]
async fn an_expected_version_that_is_overtaken_before_the_decision_reads_is_refused() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    overtake(registry, "first");
    let refused = change(registry, Some(IfMatch::Version(1)), |reader| {
        // The precondition was checked by now.
        overtake(registry, "overtakes");
        let read = reader.get(&thing()).unwrap();
        assert_eq!(read.record.version, Version(1), "what was checked is what is decided about");
        vec![put("made from the first")]
    });
    assert_eq!(refused.await.unwrap_err().reason, "VERSION_CONFLICT");
    assert_eq!(
        (version(registry), registry.view().get(&thing()).unwrap().record.value.as_ref()),
        (2, &b"overtakes"[..])
    );
}

#[tokio::test]
async fn a_record_that_is_read_twice_is_one_version_and_is_decided_again_when_overtaken() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    overtake(registry, "first");
    let tries = std::cell::Cell::new(0);
    let changed = change(registry, None, |reader| {
        tries.set(tries.get() + 1);
        let first = reader.get(&thing()).unwrap();
        if tries.get() == 1 {
            overtake(registry, "overtakes");
        }
        let again = reader.get(&thing()).unwrap();
        assert_eq!(first.record.version, again.record.version);
        vec![put(&format!("{} and more", String::from_utf8_lossy(&again.record.value)))]
    });
    changed.await.unwrap();
    assert_eq!(tries.get(), 2, "the first decision was about what is no more");
    assert_eq!(registry.view().get(&thing()).unwrap().record.value, "overtakes and more");
}

#[tokio::test]
async fn a_record_that_was_absent_at_first_must_still_be_absent() {
    let daemon = daemon().await;
    let registry = &daemon.registry;
    let refused = change(registry, Some(IfMatch::Version(0)), |reader| {
        overtake(registry, "overtakes");
        assert!(reader.get(&thing()).is_none(), "it was not there when it was checked");
        vec![put("created")]
    });
    assert_eq!(refused.await.unwrap_err().reason, "VERSION_CONFLICT");
    assert_eq!(registry.view().get(&thing()).unwrap().record.value, "overtakes");
}

const MS: Duration = Duration::from_millis(1);

/// Writes past every daemon.
async fn write(store: &dyn Store, writes: Vec<Write>) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    store.commit(Commit { epoch, writes, writer: "b".into(), ..Commit::default() }).await.unwrap();
}

/// Writes twice past a daemon that cannot read the log.
async fn fall_behind(store: &Faulty, inner: &MemoryStore, ill: Ill) {
    // The call under way hears of the second write; that of the third falls ill.
    store.fall_ill([Method::Log], ill);
    for value in ["second", "third"] {
        write(inner, vec![put(value)]).await;
        sleep(MS * 10).await;
    }
}

/// A store with a thing in it, the daemon over it, and a store of a later epoch.
async fn before_another_epoch() -> (Arc<Faulty>, LabRegistry, Arc<MemoryStore>) {
    let (store, clock) = (Faulty::over(memory()), PausedClock(Instant::now()));
    write(store.as_ref(), vec![put("first")]).await;
    let daemon = over(store.clone()).await;
    sleep(MS).await;
    (store, daemon, Arc::new(MemoryStore::new(clock)))
}

/// Changes what must be there.
async fn append(registry: &Registry, expected: Option<IfMatch>) -> Result<PeerChange, Fault> {
    let absent = || Fault::new(reasons::PEER_NOT_FOUND, "there is no thing");
    let decide = |reader: &DecisionReader<'_>| {
        let read = reader.get(&thing()).ok_or_else(absent)?;
        Ok(vec![put(&format!("{} and more", String::from_utf8_lossy(&read.record.value)))])
    };
    try_change(registry, expected, decide).await
}

#[tokio::test(start_paused = true)]
async fn a_change_that_meets_another_epoch_is_decided_again_in_it_unless_it_expects_a_version() {
    for (expected, reason) in
        [(None, None), (Some(IfMatch::Exists), None), (Some(IfMatch::Version(1)), Some("EPOCH_CHANGED"))]
    {
        let (store, daemon, next) = before_another_epoch().await;
        write(next.as_ref(), vec![put("copy")]).await;
        store.swap(next.clone());
        let changed = append(&daemon.registry, expected).await;
        assert_eq!(changed.err().map(|fault| fault.reason.into_owned()).as_deref(), reason, "{expected:?}");
        let value = next.scan(all_things()).await.unwrap().records.remove(0).value;
        assert_eq!(value, if reason.is_none() { "copy and more" } else { "copy" }, "{expected:?}");
    }
}

fn all_things() -> omnirelay_store::Scan {
    omnirelay_store::Scan { kind: THING, after: None, backwards: false, limit: 10 }
}

#[tokio::test(start_paused = true)]
async fn a_change_in_an_epoch_that_cannot_be_read_may_be_repeated() {
    let (store, daemon, next) = before_another_epoch().await;
    store.fall_ill([Method::Scan], Ill::Hangs);
    store.swap(next);
    let asked = Instant::now();
    let fault = append(&daemon.registry, None).await.unwrap_err();
    assert_eq!((fault.code, fault.reason.as_ref()), (Code::Unavailable, "STORE_UNAVAILABLE"));
    assert!(fault.message.contains("new epoch") && fault.message.contains("nothing was changed"), "{fault}");
    assert!(asked.elapsed() <= MS * 4000, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_an_epoch_has_lost_is_waited_for_and_called_gone_only_later() {
    let (store, daemon, next) = before_another_epoch().await;
    let registry = &daemon.registry;
    store.swap(next.clone());
    // The first to notice.
    let fault = append(registry, None).await.unwrap_err();
    assert_eq!(fault.code, Code::Unavailable, "{fault}");
    assert!(fault.message.contains("thing/x") && fault.message.contains("restored"), "{fault}");
    assert!(registry.is_stale(), "what is listed lacks it");
    let fault = append(registry, Some(IfMatch::Version(1))).await.unwrap_err();
    assert_eq!(fault.reason, "EPOCH_CHANGED", "versions begin anew, whoever restores it");
    let restored = async {
        sleep(MS * 300).await;
        write(next.as_ref(), vec![put("restored")]).await;
    };
    let (changed, ()) = tokio::join!(append(registry, None), restored);
    changed.unwrap();
    assert!(!registry.is_stale());
    assert_eq!(registry.view().get(&thing()).unwrap().record.value, "restored and more");
    write(next.as_ref(), vec![Write::Delete { id: thing() }]).await;
    sleep(MS * 10).await;
    assert_eq!(append(registry, None).await.unwrap_err().code, Code::NotFound, "somebody has deleted it");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_restores_is_gone_after_a_while() {
    let (store, daemon, next) = before_another_epoch().await;
    store.swap(next);
    while daemon.registry.view().get(&thing()).is_some() {
        // Nothing else asks the store here.
        let _ = append(&daemon.registry, None).await;
        sleep(MS).await;
    }
    assert!(daemon.registry.find(&thing()).await.is_err_and(|fault| fault.code == Code::Unavailable));
    sleep(MS * 10_000).await;
    assert!(!daemon.registry.is_stale());
    assert!(matches!(daemon.registry.find(&thing()).await, Ok(None)));
    assert_eq!(append(&daemon.registry, None).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_refused_for_what_the_store_says_and_not_for_what_the_view_shows() {
    let (inner, thing_now) = (memory(), |version| Some(IfMatch::Version(version)));
    let store = Faulty::over(inner.clone());
    write(inner.as_ref(), vec![put("first")]).await;
    let daemon = over(store.clone()).await;
    fall_behind(&store, inner.as_ref(), Ill::Hangs).await;
    assert_eq!(version(&daemon.registry), 2, "the view is behind");
    for expected in [1, 9] {
        let fault = append(&daemon.registry, thing_now(expected)).await.unwrap_err();
        assert_eq!(fault.reason, "VERSION_CONFLICT");
        assert_eq!(fault.details["actualVersion"], "3", "{fault}");
    }
    let fault = append(&daemon.registry, thing_now(3)).await.unwrap_err();
    assert_eq!(
        fault.code,
        Code::Unavailable,
        "it is the version, but what it is of is not known here: {fault}"
    );
    for ill in [Ill::Fails, Ill::Hangs, Ill::LosesReplies] {
        store.fall_ill([Method::Commit], ill);
        let fault = append(&daemon.registry, thing_now(1)).await.unwrap_err();
        assert_eq!(fault.reason, "STORE_UNAVAILABLE", "{ill:?}");
        assert!(!fault.details.contains_key("actualVersion"), "{ill:?}: {fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_expects_no_version_waits_for_a_view_that_is_behind() {
    let inner = memory();
    let store = Faulty::over(inner.clone());
    write(inner.as_ref(), vec![put("first")]).await;
    let daemon = over(store.clone()).await;
    fall_behind(&store, inner.as_ref(), Ill::Waits).await;
    assert_eq!(version(&daemon.registry), 2, "the view is behind");
    let well_again = async {
        sleep(MS * 1500).await;
        store.recover();
    };
    let (changed, ()) = tokio::join!(append(&daemon.registry, None), well_again);
    changed.unwrap();
    let value = daemon.registry.view().get(&thing()).map(|record| record.record.value.clone());
    assert_eq!(value.as_deref(), Some(&b"third and more"[..]));
    // And is told so when that takes longer than it can wait.
    fall_behind(&store, inner.as_ref(), Ill::Waits).await;
    let fault = append(&daemon.registry, None).await.unwrap_err();
    assert_eq!((fault.code, fault.reason.as_ref()), (Code::Unavailable, "STORE_UNAVAILABLE"), "{fault}");
}

const PACE: HeartbeatPace =
    HeartbeatPace { renew_every: Duration::from_millis(500), grace: Duration::from_secs(2) };

/// A daemon that cannot read of the log that the thing was made by another.
async fn before_it_is_heard(inner: &Arc<MemoryStore>) -> (Arc<Faulty>, LabRegistry) {
    let store = Faulty::over(inner.clone());
    let daemon = LabRegistry::beating(lab::registry("a", store.clone(), &MIRRORED), PACE).await;
    store.fall_ill([Method::Log], Ill::Waits);
    // The call under way hears of the first write.
    let other = RecordId::new(THING, "y");
    write(inner.as_ref(), vec![Write::Put { id: other, value: Bytes::new(), group: None }]).await;
    sleep(MS * 10).await;
    write(inner.as_ref(), vec![put("first")]).await;
    assert!(daemon.registry.view().get(&thing()).is_none(), "the view is behind");
    (store, daemon)
}

#[tokio::test(start_paused = true)]
async fn what_another_daemon_has_just_acknowledged_is_not_called_missing() {
    let inner = memory();
    for way in ["a change", "a read of one", "a look"] {
        let (store, daemon) = before_it_is_heard(&inner).await;
        let well_again = async {
            sleep(MS * 100).await;
            store.recover();
        };
        let absent = || Fault::new(reasons::PEER_NOT_FOUND, "there is no thing");
        let registry = &daemon.registry;
        let asked = async {
            match way {
                "a change" => append(registry, None).await.map(drop),
                "a read of one" => registry.find(&thing()).await?.map(drop).ok_or_else(absent),
                _ => registry.look_confirmed(|view| view.get(&thing()).map(drop).ok_or_else(absent)).await,
            }
        };
        let (found, ()) = tokio::join!(asked, well_again);
        assert_eq!(found.err().map(|fault| fault.to_string()), None, "{way}");
        write(inner.as_ref(), vec![Write::Delete { id: thing() }]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_cannot_be_confirmed_is_told_in_time() {
    let inner = memory();
    // The log alone stays away, and then the store does.
    for (ill, methods) in [("the log", vec![]), ("the store", vec![Method::Pulse])] {
        let (store, daemon) = before_it_is_heard(&inner).await;
        store.fall_ill(methods, Ill::Hangs);
        let asked = Instant::now();
        assert_eq!(append(&daemon.registry, None).await.unwrap_err().code, Code::NotFound, "{ill}");
        assert!(asked.elapsed() <= MS * 510, "{ill}: {:?}", asked.elapsed());
        sleep(MS * 2000).await;
        let asked = Instant::now();
        assert!(matches!(daemon.registry.find(&thing()).await, Ok(None)), "{ill}");
        assert!(asked.elapsed() <= MS * 510, "{ill}: {:?}", asked.elapsed());
        write(inner.as_ref(), vec![Write::Delete { id: thing() }]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_for_what_is_not_there_the_store_is_asked_twenty_times_a_second() {
    let store = Faulty::over(memory());
    let daemon = LabRegistry::beating(lab::registry("a", store.clone(), &MIRRORED), PACE).await;
    sleep(MS * 1000).await;
    let (before, begun) = (store.count(Method::Pulse), Instant::now());
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let registry = daemon.registry.clone();
        callers.spawn(async move {
            let mut told = 0;
            while begun.elapsed() < MS * 2000 {
                assert!(matches!(registry.find(&thing()).await, Ok(None)));
                told += 1;
                sleep(MS).await;
            }
            told
        });
    }
    let told: usize = callers.join_all().await.into_iter().sum();
    let pulses = store.count(Method::Pulse) - before;
    assert!(told > 1000 && pulses <= 2 * (20 + 2) + 2, "{told} were told, by {pulses} pulses");
    // And nothing else was asked.
    assert_eq!(store.count(Method::Commit), 0);
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_for_what_is_not_there_has_the_answer_at_once() {
    let store = Faulty::over(memory());
    let daemon = LabRegistry::beating(lab::registry("a", store.clone(), &MIRRORED), PACE).await;
    sleep(MS * 1100).await;
    let (asked, before) = (Instant::now(), store.count(Method::Pulse));
    assert_eq!(append(&daemon.registry, None).await.unwrap_err().code, Code::NotFound);
    assert!(asked.elapsed() <= MS * 5, "{:?}", asked.elapsed());
    assert_eq!(store.count(Method::Pulse) - before, 1);
}

/// The view is written while others look at it to see whether they have caught up. On threads of its own: those that
/// block each other for ever would keep any timer from being heard.
#[test]
fn many_who_change_the_same_thing_lose_nothing_and_come_to_an_end() {
    let (ended, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
        ended.send(runtime.block_on(change_at_once())).unwrap();
    });
    let (made, value) = outcome.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever");
    assert_eq!((value.matches(" and more").count(), made > 100), (made, true));
}

/// How many changes were made, and what came of them.
async fn change_at_once() -> (usize, String) {
    let store = Arc::new(MemoryStore::system());
    write(store.as_ref(), vec![put("first")]).await;
    let daemon = over(store.clone()).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let registry = daemon.registry.clone();
        callers.spawn(async move {
            let mut made = 0;
            for _ in 0..100 {
                match append(&registry, None).await {
                    Ok(_) => made += 1,
                    Err(fault) => assert_eq!(fault.reason, "STORE_UNAVAILABLE", "{fault}"),
                }
            }
            made
        });
    }
    let made = callers.join_all().await.into_iter().sum();
    let value = store.scan(all_things()).await.unwrap().records.remove(0).value;
    (made, String::from_utf8_lossy(&value).into_owned())
}
