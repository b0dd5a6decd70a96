//! Losses by a new epoch, in paused time.

use crate::lab;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_scripted::{Faulty, Ill, Method, PausedClock};
use omnirelay_store::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Registry;
use super::audit_record::AUDIT;
use super::epoch_loss::EpochLoss;
use super::heartbeat::HeartbeatPace;
use super::lab::LabRegistry;

const THING: RecordKind = RecordKind::of("thing");
static MIRRORED: [RecordKind; 1] = [THING];
const SECOND: Duration = Duration::from_secs(1);

/// A registry on a store that can be put in the place of another.
struct Trial {
    registry: Arc<Registry>,
    path: Arc<Faulty>,
    /// What is put in its place: an older, empty sister on the same clock.
    next: Arc<MemoryStore>,
    _tasks: JoinSet<()>,
}

async fn epoch_of(store: &dyn Store) -> Epoch {
    store.pulse(Pulse::default()).await.unwrap().epoch
}

/// Writes as the record's owner.
async fn put(store: &dyn Store, key: &str, value: &str) {
    put_by(store, key, key, value).await;
}

async fn put_by(store: &dyn Store, writer: &str, key: &str, value: &str) {
    let epoch = epoch_of(store).await;
    let value = Bytes::copy_from_slice(value.as_bytes());
    let writes = vec![Write::Put { id: RecordId::new(THING, key), value, group: None }];
    let writer = writer.into();
    store.commit(Commit { epoch, writes, writer, ..Commit::default() }).await.unwrap();
}

impl Trial {
    async fn new() -> Self {
        let clock = PausedClock(Instant::now());
        let path = Faulty::over(Arc::new(MemoryStore::new(clock)));
        sleep(SECOND).await;
        let next = Arc::new(MemoryStore::new(clock));
        let registry = lab::registry("a", path.clone(), &MIRRORED);
        let pace = HeartbeatPace { renew_every: SECOND, grace: SECOND };
        let LabRegistry { registry, tasks } = LabRegistry::beating(registry, pace).await;
        Self { registry, path, next, _tasks: tasks }
    }

    /// Puts the next store in the place of the present one and waits until it is seen.
    async fn fail_over(&self) -> Epoch {
        sleep(SECOND).await;
        self.fail_over_at_once().await
    }

    async fn fail_over_at_once(&self) -> Epoch {
        let epoch = epoch_of(self.next.as_ref()).await;
        self.path.swap(self.next.clone());
        let mut heads = self.registry.view().follow_head();
        tokio::time::timeout(SECOND, heads.wait_for(|head| head.epoch == epoch)).await.unwrap().unwrap();
        epoch
    }

    fn told(&self) -> Vec<EpochLoss> {
        self.registry.losses().told(self.registry.view())
    }

    /// The value that the owner of a record would restore.
    fn lost(&self, key: &str) -> Option<Bytes> {
        let lost = self.registry.losses().of(self.registry.view(), &RecordId::new(THING, key));
        lost.map(|lost| lost.record.record.value.clone())
    }

    async fn audited(&self) -> usize {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 10 };
        self.next.scan(scan).await.unwrap().records.len()
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_are_gone_or_older_are_lost_until_someone_writes_them() {
    let t = Trial::new().await;
    for (key, value) in [("gone", "1"), ("older", "1"), ("older", "2"), ("same", "1"), ("kept", "1")] {
        put(t.path.as_ref(), key, value).await;
    }
    for (key, value) in [("older", "1"), ("same", "1"), ("kept", "1")] {
        put(t.next.as_ref(), key, value).await;
    }
    put(t.next.as_ref(), "new", "1").await;
    let before = t.registry.view().head().epoch;
    assert!(t.told().is_empty(), "the first load is no change");
    let epoch = t.fail_over().await;
    let told = t.told();
    let lost = BTreeMap::from([(THING, 2)]);
    let at = told[0].at;
    assert_eq!(told, [EpochLoss { epoch_before: before, epoch, at, lost, restored: 0, accepted: None }]);
    assert_eq!((t.lost("gone"), t.lost("older")), (Some("1".into()), Some("2".into())));
    assert_eq!((t.lost("same"), t.lost("kept"), t.lost("new")), (None, None, None));
    put_by(t.path.as_ref(), "operator's", "older", "3").await;
    sleep(SECOND).await;
    assert_eq!((t.told()[0].restored, t.lost("older")), (0, Some("2".into())), "its owner has not come yet");
    put(t.path.as_ref(), "older", "4").await;
    sleep(SECOND).await;
    assert_eq!((t.told()[0].restored, t.lost("older")), (1, None));
    let text = t.told()[0].to_string();
    assert!(text.contains("2 records were lost (2 thing), 1 restored"), "{text}");
    assert_eq!(t.registry.losses().totals().lost, BTreeMap::from([(THING, 2)]));
}

#[tokio::test(start_paused = true)]
async fn what_its_owner_or_who_deletes_it_did_in_the_new_epoch_is_the_last_word() {
    let t = Trial::new().await;
    for value in ["1", "2", "3"] {
        put(t.path.as_ref(), "x", value).await;
    }
    put(t.next.as_ref(), "x", "1").await;
    put(t.path.as_ref(), "y", "1").await;
    put(t.path.as_ref(), "y", "2").await;
    put(t.next.as_ref(), "y", "1").await;
    sleep(SECOND * 2).await;
    t.path.fall_ill([Method::Pulse], Ill::Fails);
    sleep(SECOND).await;
    put(t.next.as_ref(), "x", "its owner's").await;
    t.path.recover();
    t.fail_over_at_once().await;
    assert_eq!((t.lost("x"), t.lost("y")), (None, Some("2".into())));
    let told = t.told();
    assert_eq!((told[0].count(), told[0].restored), (2, 1));
    let epoch = epoch_of(t.next.as_ref()).await;
    let writes = vec![Write::Delete { id: RecordId::new(THING, "y") }];
    t.registry.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    assert_eq!(t.lost("y"), None, "who deletes the older copy has the last word");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_recorded_once_and_held_for_a_bounded_time() {
    let t = Trial::new().await;
    put(t.path.as_ref(), "x", "1").await;
    t.fail_over().await;
    t.registry.record_epochs().await.unwrap();
    t.registry.record_epochs().await.unwrap();
    assert_eq!(t.audited().await, 1);
    sleep(SECOND * 590).await;
    assert_eq!(t.lost("x"), Some("1".into()));
    sleep(SECOND * 20).await;
    assert_eq!((t.told().len(), t.lost("x")), (1, None), "told for longer than held");
    sleep(SECOND * 86_400).await;
    assert!(t.told().is_empty());
    assert_eq!(t.registry.losses().totals().changes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_record_stays_known_through_a_second_change() {
    let t = Trial::new().await;
    put(t.path.as_ref(), "x", "1").await;
    put(t.path.as_ref(), "x", "2").await;
    put(t.next.as_ref(), "x", "1").await;
    t.fail_over().await;
    let clock = PausedClock(Instant::now() - SECOND * 20);
    let third = Arc::new(MemoryStore::new(clock));
    let epoch = epoch_of(third.as_ref()).await;
    t.path.swap(third);
    let mut heads = t.registry.view().follow_head();
    heads.wait_for(|head| head.epoch == epoch).await.unwrap();
    assert_eq!(t.lost("x"), Some("2".into()), "the newest that was known");
    assert_eq!(t.told().len(), 2);
}
