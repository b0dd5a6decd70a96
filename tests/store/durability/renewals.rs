//! What becomes of renewals, which wait for no sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{
    Commit, EmbeddedStore, Epoch, ExistingRecord, Group, GroupId, GroupRef, ManualClock, OpenGroup,
    OpenedGroup, Pulse, RecordId, RecordKind, Retention, Store, Write,
};

use super::Chance;
use super::disks::{Faults, Loss, SimDisk};
use crate::harness::epoch;
use crate::suite::{KEEP_ALL, origin};

const TTL: Duration = Duration::from_secs(90);

/// A store on a disk and a clock that outlive it.
struct Place {
    disk: SimDisk,
    clock: ManualClock,
    store: Option<Arc<EmbeddedStore>>,
}

impl Place {
    fn new() -> Self {
        let mut place = Self { disk: SimDisk::new(), clock: ManualClock::at(Millis(1_000_000)), store: None };
        place.open();
        place
    }

    /// One with a group of 90 s.
    async fn with_a_group() -> (Self, GroupRef) {
        let place = Self::new();
        let of = place.begin("g").await;
        (place, of)
    }

    fn open(&mut self) {
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        self.store = Some(Arc::new(EmbeddedStore::open_on(disk, clock, EmbeddedOptions::default()).unwrap()));
    }

    fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().unwrap()
    }

    fn now(&self) -> Millis {
        self.clock.advance(Duration::ZERO)
    }

    /// Ends the process as it is.
    fn kill(&mut self) {
        let found = self.disk.after_kill();
        // What the old one does from here on is done to a disk that is gone.
        self.disk.set_faults(Faults { power_lost_at: Some(0), ..Faults::default() });
        self.store = None;
        self.disk = found;
        self.open();
    }

    /// Ends the machine as it is.
    fn lose_power(&mut self, loss: Loss, chance: &mut Chance) {
        self.disk.set_faults(Faults { power_lost_at: Some(0), ..Faults::default() });
        self.store = None;
        self.disk = self.disk.after_power_loss(loss, chance);
        self.open();
    }

    async fn begin(&self, name: &str) -> GroupRef {
        begin(self.store(), name).await
    }

    /// Has the next sync fail, and the store open itself again: the batch that it was of is made all the same.
    async fn fail_a_sync(&self, faults: Faults) {
        self.disk.set_faults(Faults { failing: vec![0], failing_syncs: true, ..faults });
        self.begin("beside").await;
    }

    async fn renew(&self, of: &GroupRef) -> Option<Millis> {
        let (epoch, moved_since) = (Some(epoch_of(self).await), Millis(u64::MAX));
        let pulse = Pulse { epoch, renew: vec![of.clone()], moved_since, ..Pulse::default() };
        self.store().pulse(pulse).await.unwrap().renewed[0]
    }

    async fn commit(&self, writes: Vec<Write>) {
        let epoch = epoch_of(self).await;
        self.store().commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }

    async fn group(&self, of: &GroupRef) -> Group {
        let moved = self.store().pulse(Pulse::default()).await.unwrap().moved;
        moved.into_iter().find(|group| group.of == *of).unwrap()
    }
}

/// The epoch, asked for in a way that waits for no batch.
async fn epoch_of(place: &Place) -> Epoch {
    let pulse = Pulse { moved_since: Millis(u64::MAX), ..Pulse::default() };
    place.store().pulse(pulse).await.unwrap().epoch
}

async fn begin(store: &EmbeddedStore, name: &str) -> GroupRef {
    let (id, secret) = (GroupId(name.to_owned()), "secret".to_owned());
    let open = OpenGroup { epoch: epoch(store).await, id, ttl: TTL, secret };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("held") };
    group.of
}

#[tokio::test]
async fn a_renewal_waits_for_no_sync_and_outlives_the_process() {
    let (mut place, of) = Place::with_a_group().await;
    let syncs = place.disk.syncs();
    for _ in 0..10 {
        place.clock.advance(Duration::from_secs(30));
        let deadline = place.renew(&of).await.unwrap();
        assert_eq!(deadline, place.now().after(TTL));
    }
    assert_eq!(place.disk.syncs(), syncs);
    let renewed_at = place.now();
    place.clock.advance(Duration::from_secs(20));
    place.kill();
    let found = place.group(&of).await;
    assert_eq!((found.deadline, found.renewed_at), (renewed_at.after(TTL), renewed_at));
    place.clock.advance(Duration::from_secs(70));
    assert_eq!(place.renew(&of).await, None, "it has ended when it was to");
}

#[tokio::test]
async fn after_a_power_loss_a_group_ends_at_most_one_ttl_later_once() {
    let mut chance = Chance::seeded("renewals after a power loss");
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(80));
    place.renew(&of).await.unwrap();
    place.clock.advance(Duration::from_secs(10));
    place.lose_power(Loss::All, &mut chance);
    let spared = place.now().after(TTL);
    assert_eq!(place.group(&of).await.deadline, spared);
    for _ in 0..3 {
        place.clock.advance(Duration::from_secs(10));
        place.lose_power(Loss::AnyPart, &mut chance);
        assert_eq!(place.group(&of).await.deadline, spared, "not again before it is renewed");
    }
    let renewed = place.renew(&of).await.unwrap();
    place.lose_power(Loss::All, &mut chance);
    assert!(place.group(&of).await.deadline >= renewed);
    place.clock.advance(Duration::from_secs(5));
    place.renew(&of).await.unwrap();
    place.clock.advance(Duration::from_secs(5));
    place.lose_power(Loss::All, &mut chance);
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL), "it was renewed: once more");
}

#[tokio::test]
async fn after_a_clean_stop_even_the_machine_may_end() {
    let mut chance = Chance::seeded("renewals after a clean stop");
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(30));
    let deadline = place.renew(&of).await.unwrap();
    place.store = None;
    place.clock.advance(Duration::from_secs(30));
    place.lose_power(Loss::AnyPart, &mut chance);
    assert_eq!(place.group(&of).await.deadline, deadline);
    // From here on it is not left cleanly any more.
    place.clock.advance(Duration::from_secs(30));
    place.renew(&of).await.unwrap();
    place.lose_power(Loss::All, &mut chance);
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL));
}

#[tokio::test]
async fn without_the_file_of_the_renewals_nobody_ends_early() {
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(80));
    place.renew(&of).await.unwrap();
    place.disk.forget_renewals();
    place.kill();
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL));
}

#[tokio::test]
async fn a_group_whose_record_was_replaced_after_its_end_is_not_spared() {
    let mut place = Place::new();
    let (put_over, imported_over) = (place.begin("put over").await, place.begin("imported over").await);
    let id = |of: &GroupRef| RecordId::new(RecordKind::of("thing"), of.id.0.as_str());
    let bound = |of: &GroupRef| Write::Put { id: id(of), value: Bytes::new(), group: Some(of.clone()) };
    place.commit(vec![bound(&put_over), bound(&imported_over)]).await;
    let deadline = place.group(&put_over).await.deadline;
    place.clock.advance(TTL);
    let import = Write::Import {
        id: id(&imported_over),
        value: Bytes::new(),
        origin: origin(1, 1),
        existing: ExistingRecord::Keep,
    };
    place.commit(vec![Write::Put { id: id(&put_over), value: Bytes::new(), group: None }, import]).await;
    place.disk.forget_renewals();
    place.kill();
    for of in [put_over, imported_over] {
        assert_eq!(place.group(&of).await.deadline, deadline, "{of}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_ends_nobody_early() {
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(30));
    place.renew(&of).await.unwrap();
    // The machine has slept, which the store's clock finds out at its next start.
    place.disk.set_clock(3_600_000);
    place.clock.advance(Duration::from_secs(3600));
    place.kill();
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL));
}

#[tokio::test]
async fn a_clock_that_was_set_before_the_store_opened_itself_again_ends_nobody_early() {
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(30));
    place.renew(&of).await.unwrap();
    place.disk.set_clock(3_600_000);
    place.fail_a_sync(Faults::default()).await;
    place.clock.advance(Duration::from_secs(3600));
    place.kill();
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL));
}

#[tokio::test]
async fn a_clock_that_was_set_after_a_clean_stop_ends_nobody_early() {
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(30));
    place.renew(&of).await.unwrap();
    place.store = None;
    place.disk.set_clock(600_000);
    place.clock.advance(Duration::from_secs(600));
    place.open();
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL));
}

#[tokio::test]
async fn a_stop_after_a_failure_that_was_made_good_is_clean() {
    let mut chance = Chance::seeded("a stop after a failure");
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(30));
    let deadline = place.renew(&of).await.unwrap();
    place.fail_a_sync(Faults::default()).await;
    place.clock.advance(Duration::from_secs(30));
    place.store = None;
    place.lose_power(Loss::AnyPart, &mut chance);
    assert_eq!(place.group(&of).await.deadline, deadline);
}

#[tokio::test]
async fn on_a_full_disk_the_store_opens_itself_again_and_renewals_go_on_in_memory() {
    let (mut place, of) = Place::with_a_group().await;
    place.clock.advance(Duration::from_secs(80));
    place.fail_a_sync(Faults { bytes_max: Some(0), ..Faults::default() }).await;
    let deadline = place.renew(&of).await.unwrap();
    assert_eq!((deadline, place.group(&of).await.deadline), (place.now().after(TTL), deadline));
    place.disk.set_faults(Faults::default());
    place.clock.advance(Duration::from_secs(60));
    place.kill();
    assert_eq!(place.group(&of).await.deadline, place.now().after(TTL), "nobody knows how long it had");
}

#[tokio::test]
async fn another_time_to_live_outlives_the_machine() {
    for ttl in [TTL * 3, TTL / 3] {
        let (mut place, of) = Place::with_a_group().await;
        let (epoch, renew) = (Some(epoch_of(&place).await), vec![of.clone()]);
        let pulse = Pulse { epoch, renew, ttl: Some(ttl), ..Pulse::default() };
        let promised = place.store().pulse(pulse.clone()).await.unwrap().renewed;
        let syncs = place.disk.syncs();
        assert_eq!(place.store().pulse(pulse).await.unwrap().renewed, promised);
        assert_eq!(place.disk.syncs(), syncs, "what it is already is not written");
        place.lose_power(Loss::All, &mut Chance::seeded("another time to live"));
        let found = place.group(&of).await;
        assert_eq!((found.ttl, Some(found.deadline)), (ttl, promised[0]), "{ttl:?}");
    }
}

#[tokio::test]
async fn a_disk_that_has_failed_for_long_ends_nobody_who_could_not_be_heard() {
    let place = Place::new();
    let of = place.begin("g").await;
    let pulse = |epoch| {
        let renew = vec![of.clone()];
        Pulse { epoch: Some(epoch), renew, moved_since: Millis(u64::MAX), grace: TTL / 3, ttl: None }
    };
    let found = epoch_of(&place).await;
    place.store().pulse(pulse(found)).await.unwrap();
    place.disk.set_faults(Faults { power_lost_at: Some(0), ..Faults::default() });
    let id = GroupId("beside".to_owned());
    let open = OpenGroup { epoch: found, id, ttl: TTL, secret: "secret".to_owned() };
    assert!(place.store().open_group(open.clone()).await.is_err());
    place.clock.advance(TTL * 10);
    place.disk.set_faults(Faults::default());
    let begun = Instant::now();
    while place.store().open_group(open.clone()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it opens itself again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let beat = place.store().pulse(pulse(found)).await.unwrap();
    let grace = beat.grace.expect("nobody is judged before all had their grace to be heard");
    assert!(grace.from <= place.now() && place.now() < grace.until, "{grace:?}");
}

#[tokio::test]
async fn a_slot_is_not_taken_for_that_of_an_earlier_group() {
    let mut place = Place::new();
    let (one, other) = (place.begin("one").await, place.begin("other").await);
    for of in [&one, &other] {
        place.renew(of).await.unwrap();
    }
    place.clock.advance(2 * TTL);
    let keep = Retention { tombstone_age: Duration::ZERO, ..KEEP_ALL };
    for _ in 0..2 {
        place.store().housekeep(epoch(place.store()).await, keep).await.unwrap();
    }
    assert!(place.store().pulse(Pulse::default()).await.unwrap().moved.is_empty(), "both are collected");
    let (other, one) = (place.begin("other").await, place.begin("one").await);
    place.clock.advance(Duration::from_secs(60));
    let promised = [place.renew(&one).await.unwrap(), place.renew(&other).await.unwrap()];
    place.clock.advance(Duration::from_secs(60));
    place.kill();
    let found = [place.group(&one).await.deadline, place.group(&other).await.deadline];
    assert_eq!(found, promised);
}

/// A renewal that waits for the batch that it stands in, whose sync fails and is made good for.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_in_a_batch_that_failed_and_is_kept_outlives_the_process() {
    const SYNC: Duration = Duration::from_millis(200);
    let mut place = Place::new();
    let (held_up, of) = (place.begin("held up").await, place.begin("g").await);
    place.clock.advance(Duration::from_secs(30));
    let (first, second) =
        (Arc::clone(place.store.as_ref().unwrap()), Arc::clone(place.store.as_ref().unwrap()));
    place.disk.set_faults(Faults { sync_takes: SYNC, ..Faults::default() });
    let replacement = tokio::spawn(async move { begin(&first, "held up").await });
    tokio::time::sleep(SYNC / 4).await;
    // Both wait for the replacement, and then share a batch.
    let pulse = Pulse {
        epoch: Some(epoch_of(&place).await),
        renew: vec![held_up, of.clone()],
        moved_since: Millis(u64::MAX),
        ..Pulse::default()
    };
    let waiting = tokio::spawn({
        let store = Arc::clone(&second);
        async move { store.pulse(pulse).await.unwrap().renewed[1] }
    });
    let another = tokio::spawn(async move { begin(&second, "another").await });
    tokio::time::sleep(SYNC / 4).await;
    place.disk.set_faults(Faults {
        failing: vec![0],
        failing_syncs: true,
        sync_takes: SYNC,
        ..Faults::default()
    });
    replacement.await.unwrap();
    let promised = waiting.await.unwrap().expect("it lives");
    another.await.unwrap();
    place.disk.set_faults(Faults::default());
    place.kill();
    assert_eq!(place.group(&of).await.deadline, promised);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_under_way_moves_is_told_once_it_is_known() {
    const SYNC: Duration = Duration::from_millis(300);
    let place = Place::new();
    place.clock.advance(Duration::from_secs(30));
    place.disk.set_faults(Faults { sync_takes: SYNC, ..Faults::default() });
    let store = Arc::clone(place.store.as_ref().unwrap());
    let opening = tokio::spawn(async move { begin(&store, "g").await });
    tokio::time::sleep(SYNC / 3).await;
    let beat = place.store().pulse(Pulse::default()).await.unwrap();
    let of = opening.await.unwrap();
    assert!(beat.moved.iter().any(|group| group.of == of), "a later beat asks only what moved since");
}

/// A renewal of a life that is being replaced must not be promised: the barrier that keeps its leases is where its
/// deadline was when the replacement was decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_waits_for_what_becomes_of_its_group() {
    const SYNC: Duration = Duration::from_millis(300);
    let place = Place::new();
    let (of, other) = (place.begin("g").await, place.begin("other").await);
    place.clock.advance(Duration::from_secs(30));
    place.disk.set_faults(Faults { sync_takes: SYNC, ..Faults::default() });
    let begun = Instant::now();
    let store = Arc::clone(place.store.as_ref().unwrap());
    let replacement = tokio::spawn(async move { begin(&store, "g").await });
    tokio::time::sleep(SYNC / 3).await;
    assert!(place.renew(&other).await.is_some());
    assert!(begun.elapsed() < SYNC, "nothing happens to this one");
    assert_eq!(place.renew(&of).await, None, "it was replaced");
    assert!(begun.elapsed() >= SYNC, "that is known when the replacement is durable");
    replacement.await.unwrap();
}

#[tokio::test]
async fn no_end_of_process_or_machine_ends_a_group_early() {
    const ROUNDS: usize = 400;
    let mut chance = Chance::seeded("renewals");
    let mut place = Place::new();
    // The groups by their names: the deadline that was promised last, and whether it was renewed since it was spared.
    let mut known: BTreeMap<String, (GroupRef, Millis, bool)> = BTreeMap::new();
    let (mut kept, mut spared) = (0, 0);
    for _ in 0..ROUNDS {
        for _ in 0..chance.below(12) {
            place.clock.advance(Duration::from_millis(chance.below(20_000)));
            let name = format!("g{}", chance.below(6));
            let renewed = match known.get(&name) {
                Some((of, ..)) => place.renew(of).await.map(|deadline| (of.clone(), deadline)),
                None => None,
            };
            let (of, deadline) = match renewed {
                Some(renewed) => renewed,
                None => {
                    let of = place.begin(&name).await;
                    (of.clone(), place.group(&of).await.deadline)
                }
            };
            known.insert(name, (of, deadline, true));
        }
        place.clock.advance(Duration::from_millis(chance.below(20_000)));
        let exact = match chance.below(4) {
            0 => {
                place.store = None;
                place.lose_power(Loss::AnyPart, &mut chance);
                true
            }
            1 => {
                place.lose_power(Loss::AnyPart, &mut chance);
                false
            }
            _ => {
                place.kill();
                true
            }
        };
        for (of, promised, renewed) in known.values_mut() {
            let found = place.group(of).await.deadline;
            if exact || !*renewed {
                assert_eq!(found, *promised, "{of:?}");
                kept += 1;
            } else {
                assert_eq!(found, (*promised).max(place.now().after(TTL)), "{of:?}");
                (*promised, *renewed) = (found, false);
                spared += 1;
            }
        }
    }
    println!("{ROUNDS} ends: {kept} deadlines kept, {spared} spared");
    assert!(kept > ROUNDS && spared > ROUNDS / 10);
}
