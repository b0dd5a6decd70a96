//! Outages of the store: what a daemon knows, says and asks while it is ill, in paused time.

use crate::lab;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_scripted::{
    Answer, Answered, Call, EVERY_CALL, Faulty, Ill, Method, PausedClock, Script, Scripted, memory,
};
use omnirelay_store::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::follow::follow_log;
use super::heartbeat::{BeatOutcome, HeartbeatPace, beat_heart};
use super::lab::LabRegistry;

const THING: RecordKind = RecordKind::of("thing");
static MIRRORED: [RecordKind; 1] = [THING];
const TTL: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);
const KEEP: Retention = Retention {
    log_age: Duration::from_secs(3600),
    log_entries_max: 1000,
    tombstone_age: Duration::from_secs(3600),
    idempotency_age: Duration::from_secs(3600),
    idempotency_entries_max: 1000,
};

/// A registry that follows its store, beats its heart and keeps house, while the value lives.
async fn daemon(store: Arc<dyn Store>, node_id: &str) -> LabRegistry {
    let LabRegistry { registry, mut tasks } =
        LabRegistry::new(lab::registry(node_id, store, &MIRRORED)).await;
    tasks.spawn(registry.clone().keep_house(KEEP, Duration::from_secs(5)));
    let heart = registry.clone();
    tasks.spawn(async move {
        let pace = HeartbeatPace { renew_every: TTL / 4, grace: TTL };
        let drop_over = |heard| {
            if let BeatOutcome::Over(over) = heard {
                over.iter().for_each(|group| heart.held_groups().drop(group));
            }
        };
        beat_heart(&heart, pace, drop_over).await;
    });
    LabRegistry { registry, tasks }
}

impl LabRegistry {
    async fn open(&self, id: &str) -> GroupRef {
        let epoch = self.registry.view().head().epoch;
        let open = OpenGroup { epoch, id: GroupId(id.to_owned()), ttl: TTL, secret: id.to_owned() };
        let asked = Instant::now();
        let OpenedGroup::Open(group) = self.registry.store().open_group(open).await.unwrap() else {
            panic!("`{id}` is held");
        };
        self.registry.held_groups().keep(&group, epoch, asked);
        group.of
    }

    async fn put(&self, key: &str, group: Option<&GroupRef>) {
        let id = RecordId::new(THING, key);
        let writes = vec![Write::Put { id, value: Bytes::from_static(b"x"), group: group.cloned() }];
        let epoch = self.registry.view().head().epoch;
        self.registry.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }

    fn keys(&self) -> Vec<String> {
        let records = self.registry.view().list(&THING).records;
        records.iter().map(|record| record.record.id.key.clone()).collect()
    }

    /// Waits until the view is of this epoch.
    async fn in_epoch(&self, epoch: Epoch) {
        let mut heads = self.registry.view().follow_head();
        heads.wait_for(|head| head.epoch == epoch).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_stale_within_a_second_of_the_first_call_without_an_answer() {
    for (place, ill) in [Ill::Hangs, Ill::Fails].into_iter().enumerate() {
        for offset in [0, 90, 250, 499] {
            let store = Faulty::over(memory());
            let a = daemon(store.clone(), "a").await;
            sleep(MS * (5000 + offset)).await;
            assert_eq!(a.registry.view().silence(), None);
            store.fall_ill(EVERY_CALL, ill);
            let begun = Instant::now();
            while a.registry.view().silence().is_none() {
                sleep(MS * 10).await;
            }
            let took = begun.elapsed();
            assert!(took <= MS * 910, "case {place}, at {offset}: after {took:?}");
            assert!(a.registry.view().silence().unwrap() >= took, "the age is that of the last answer");
            sleep(MS * 60_000).await;
            assert!(a.registry.view().silence().unwrap() >= MS * 60_000);
            store.recover();
            sleep(MS * 1000).await;
            assert_eq!(a.registry.view().silence().map(|age| age > MS * 500), None, "case {place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_for_long_costs_few_calls_and_holds_up_nothing() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    let calls = || EVERY_CALL.map(|call| store.count(call)).iter().sum::<usize>();
    store.fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(MS * 30_000).await;
    let before = calls();
    sleep(MS * 600_000).await;
    let per_second = (calls() - before) / 600;
    assert!(per_second <= 3, "{per_second} calls a second");
    assert!(store.most_at_once() <= 4, "{} calls at once", store.most_at_once());
    store.recover();
    sleep(MS * 3000).await;
    a.put("x", None).await;
    assert_eq!((a.keys(), a.tasks.len()), (vec!["x".to_owned()], 3));
}

#[tokio::test(start_paused = true)]
async fn a_log_call_that_hangs_is_asked_again_when_the_store_is_back() {
    let shared = memory();
    let store = Faulty::over(shared.clone());
    let (a, b) = (daemon(store.clone(), "a").await, daemon(shared, "b").await);
    store.fall_ill(EVERY_CALL, Ill::Hangs);
    // The call under way hears of this; the next one hangs.
    b.put("x", None).await;
    sleep(MS * 3000).await;
    b.put("y", None).await;
    store.recover();
    sleep(MS * 1100).await;
    assert_eq!(a.keys(), ["x", "y"], "long before the hanging call would have been given up");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_alone_is_given_up_and_said() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    store.fall_ill([Method::Log, Method::Scan], Ill::Hangs);
    a.put("x", None).await;
    sleep(MS * 30_000).await;
    assert!(a.registry.view().silence().is_some(), "what is shown may be old");
    store.recover();
    sleep(MS * 10_000).await;
    assert_eq!(a.registry.view().silence(), None);
}

/// A store whose log never reaches back.
struct Forgetful(Arc<Faulty>);

#[tonic::async_trait]
impl Script for Forgetful {
    async fn pass(&self, mut call: Call) -> Answered {
        if let Call::Log { wait, .. } = &mut call {
            *wait = Duration::ZERO;
        }
        let mut answer = call.on(&*self.0).await?;
        if let Answer::Log(page) = &mut answer {
            page.compacted = true;
            page.entries.clear();
        }
        Ok(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_always_too_short_is_not_loaded_without_pause() {
    let counted = Faulty::over(memory());
    let store = Arc::new(Scripted(Forgetful(counted.clone())));
    let registry = Arc::new(lab::registry("a", store, &MIRRORED));
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_log(registry));
    sleep(MS * 60_000).await;
    let loads = counted.count(Method::Scan);
    assert!((20..=40).contains(&loads), "{loads} loads in a minute");
}

#[tokio::test(start_paused = true)]
async fn bound_records_outlive_a_silence_of_all_and_a_grace() {
    let store = Faulty::over(memory());
    let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.open("a").await;
    let (group, closed) = (b.open("b").await, b.open("c").await);
    b.put("x", Some(&group)).await;
    b.put("y", Some(&closed)).await;
    sleep(TTL * 2).await;
    assert_eq!(a.keys(), ["x", "y"]);
    store.fall_ill(EVERY_CALL, Ill::Hangs);
    drop(b);
    for _ in 0..300 {
        sleep(TTL / 20).await;
        assert_eq!(a.keys(), ["x", "y"], "while the store is silent");
    }
    store.recover();
    sleep(TTL / 2).await;
    let epoch = a.registry.view().head().epoch;
    let close_late = store.close_group(epoch, closed).await.unwrap();
    assert!(!close_late, "the session is over for its holder");
    a.open("a").await;
    sleep(TTL / 2).await;
    assert_eq!(a.keys(), ["x", "y"], "while its holder may come back");
    sleep(TTL * 2).await;
    assert!(a.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_closed_in_a_grace_is_over_at_once() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    a.open("a").await;
    sleep(TTL).await;
    store.fall_ill(EVERY_CALL, Ill::Fails);
    sleep(TTL * 2).await;
    store.recover();
    sleep(TTL / 4).await;
    let group = a.open("a").await;
    a.put("x", Some(&group)).await;
    sleep(TTL / 3).await;
    assert_eq!(a.keys(), ["x"]);
    assert!(a.registry.view().spares_all(), "a grace");
    assert!(store.close_group(group_epoch(&a), group).await.unwrap());
    sleep(TTL / 4 + MS).await;
    assert!(a.registry.view().spares_all(), "still a grace");
    assert!(a.keys().is_empty());
}

fn group_epoch(daemon: &LabRegistry) -> Epoch {
    daemon.registry.view().head().epoch
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_confirmed_in_time_is_never_renewed() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    let group = a.open("a").await;
    sleep(TTL * 2).await;
    // The store goes on renewing, but its holder does not know.
    store.fall_ill([Method::Pulse], Ill::LosesReplies);
    sleep(TTL + MS * 100).await;
    store.recover();
    sleep(MS * 600).await;
    assert!(a.registry.held_groups().all().is_empty(), "it is given up, although it is live");
    let wanted = vec![Precondition::GroupLive(group)];
    let epoch = group_epoch(&a);
    store.commit(Commit { epoch, preconditions: wanted, ..Commit::default() }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_is_loaded_at_once_although_the_log_call_hangs() {
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    a.open("a").await;
    a.put("x", None).await;
    sleep(MS * 5000).await;
    let next = memory_later(MS).await;
    let epoch = next.pulse(Pulse::default()).await.unwrap().epoch;
    store.swap(next);
    tokio::time::timeout(MS * 700, a.in_epoch(epoch)).await.expect("soon");
    assert!(a.keys().is_empty() && a.registry.held_groups().all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_call_that_was_lost_alone_is_asked_again_soon() {
    let inner = memory();
    let ill = Faulty::over(inner.clone());
    let (a, b) = (daemon(ill.clone(), "a").await, daemon(inner, "b").await);
    ill.fall_ill([Method::Log], Ill::Hangs);
    b.put("x", None).await;
    sleep(MS * 100).await;
    assert_eq!(a.keys(), ["x"], "by the call that was under way");
    ill.recover();
    b.put("y", None).await;
    sleep(MS * 3000).await;
    assert_eq!(a.keys(), ["x", "y"], "although the call after it is never answered");
    let calls = ill.count(Method::Log);
    sleep(MS * 15_000).await;
    assert_eq!(ill.count(Method::Log), calls, "one that only waits is left alone");
}

/// An empty store in another epoch.
async fn memory_later(by: Duration) -> Arc<MemoryStore> {
    let clock = PausedClock(Instant::now());
    sleep(by).await;
    Arc::new(MemoryStore::new(clock))
}

#[tokio::test(start_paused = true)]
async fn epochs_that_come_and_go_are_loaded_at_a_bounded_pace() {
    let (one, other) = (memory(), memory_later(MS).await);
    let store = Faulty::over(one.clone());
    let a = daemon(store.clone(), "a").await;
    a.put("x", None).await;
    for _ in 0..100 {
        store.swap(other.clone());
        sleep(MS * 300).await;
        store.swap(one.clone());
        sleep(MS * 300).await;
    }
    let loads = store.count(Method::Scan);
    assert!((20..=250).contains(&loads), "{loads} loads in a minute");
    let told = a.registry.losses().told(a.registry.view());
    assert!(told.len() <= 8, "the oldest are told no more");
    sleep(MS * 5000).await;
    assert_eq!((a.keys(), a.registry.view().silence()), (vec!["x".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_store_is_never_behind() {
    let begun = Instant::now();
    let store = Faulty::over(memory());
    let a = daemon(store.clone(), "a").await;
    store.fall_ill([Method::Pulse], Ill::AnswersLate);
    for _ in 0..40 {
        sleep(MS * 100).await;
        let (known, is) = (a.registry.view().now(), PausedClock(begun).now());
        assert!(known >= is, "{known:?} is what a leader goes by, and it is {is:?}");
    }
}
