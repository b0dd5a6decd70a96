//! The disk fails now and then, or is full; the store says so and goes on.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{
    CommitError, EmbeddedStore, ManualClock, OpenGroup, OpenedGroup, Precondition, Pulse, Store, StoreError,
};

use super::disks::{Faults, Loss, SimDisk};
use super::power_loss::{count_on, open};
use super::{Chance, Counting, Ledger};
use crate::harness::epoch;

const ROUNDS: usize = 30;

/// Counts until a commit is made again; panics if that takes longer than any pause of the store.
async fn recover(store: &Arc<EmbeddedStore>, ledger: &Ledger) {
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        // Reading opens a failed file again as well.
        let Ok(counting) = Counting::resume(store.as_ref(), "w0").await else { continue };
        let result = store.commit(counting.commit()).await;
        if ledger.note(&counting.id(), &result) {
            return;
        }
    }
    panic!("the store did not go on");
}

async fn fail_now_and_then(name: &str, failing_syncs: bool) {
    let mut chance = Chance::seeded(name);
    let (mut made, mut not_made) = (0, 0);
    for _ in 0..ROUNDS {
        let (mut disk, ledger) = (SimDisk::new(), Ledger::default());
        let store = Arc::new(open(&disk));
        for _ in 0..3 {
            let at = disk.operations() + 1 + chance.below(if failing_syncs { 40 } else { 120 });
            disk.set_faults(Faults { failing: vec![at], failing_syncs, ..Faults::default() });
            count_on(&store, &ledger, 30).await;
            recover(&store, &ledger).await;
            ledger.check(store.as_ref()).await;
        }
        drop(store);
        disk = disk.after_power_loss(Loss::AnyPart, &mut chance);
        ledger.check(&open(&disk)).await;
        made += ledger.counts().0;
        not_made += ledger.counts().1;
    }
    println!("{made} acknowledged commits, {not_made} refused");
    assert!(made > ROUNDS && not_made > 0, "the disk failed while commits were made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_operation_is_told_truly_and_the_store_goes_on() {
    fail_now_and_then("failing", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_that_forgets_its_writes_loses_nothing() {
    fail_now_and_then("failing_syncs", true).await;
}

async fn fill(promises_room: bool) {
    let (disk, ledger) = (SimDisk::new(), Ledger::default());
    let store = Arc::new(open(&disk));
    count_on(&store, &ledger, 5).await;
    let before = ledger.counts().0;
    // Room for the other segment of the log, and for little more.
    let full = Faults { bytes_max: Some(disk.bytes() + 20 * 1024), promises_room, ..Faults::default() };
    disk.set_faults(full);
    count_on(&store, &ledger, 20_000).await;
    let (made, not_made, unknown) = ledger.counts();
    assert!(
        made > before && not_made > 0 && unknown == 0,
        "{made} made, {not_made} refused, {unknown} unknown"
    );

    // What was written to the file meanwhile can have made room in the log once more.
    let refused = loop {
        let counting = Counting::resume(store.as_ref(), "w0").await.unwrap();
        let result = store.commit(counting.commit()).await;
        if !ledger.note(&counting.id(), &result) {
            break result;
        }
        count_on(&store, &ledger, 20_000).await;
    };
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Full(_)))), "{refused:?}");
    ledger.check(store.as_ref()).await;

    disk.set_faults(Faults::default());
    recover(&store, &ledger).await;
    count_on(&store, &ledger, 20).await;
    ledger.check(store.as_ref()).await;
    drop(store);
    ledger.check(&open(&disk)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_writing_goes_on_when_there_is_room() {
    fill(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_promised_too_much_room_is_full_as_well() {
    fill(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_leaves_no_group() {
    let disk = SimDisk::new();
    let store = Arc::new(open(&disk));
    let epoch = epoch(store.as_ref()).await;
    let open_group = |secret: &str| {
        let open = OpenGroup {
            epoch,
            id: omnirelay_store::GroupId("s".into()),
            ttl: Duration::from_secs(60),
            secret: secret.into(),
        };
        store.open_group(open)
    };
    // No segment of the log takes it, nor the first one once more.
    disk.set_faults(Faults { failing: vec![0, 0, 0], ..Faults::default() });
    let failed = open_group("lost").await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    let opened = loop {
        tokio::time::sleep(Duration::from_millis(40)).await;
        // Another secret would have to wait, if the first had opened the group.
        if let Ok(opened) = open_group("another").await {
            break opened;
        }
    };
    let omnirelay_store::OpenedGroup::Open(group) = opened else { panic!("{opened:?}") };
    assert_eq!(group.of.instance, 1);
    let live = omnirelay_store::Commit {
        epoch,
        preconditions: vec![Precondition::GroupLive(group.of)],
        ..Default::default()
    };
    store.commit(live).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_beside_a_commit_whose_sync_failed_is_remembered() {
    const SYNC: Duration = Duration::from_millis(200);
    let (disk, clock) = (SimDisk::new(), ManualClock::at(Millis(1_000_000)));
    let store = EmbeddedStore::open_on(disk.clone(), clock.clone(), EmbeddedOptions::default()).unwrap();
    let id = omnirelay_store::GroupId("s".into());
    let epoch = epoch(&store).await;
    let open = OpenGroup { epoch, id, ttl: Duration::from_secs(2), secret: "secret".into() };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("held") };
    clock.advance(Duration::from_millis(500));
    disk.set_faults(Faults { failing: vec![0], failing_syncs: true, sync_takes: SYNC, ..Faults::default() });
    let counting = Counting { epoch, writer: "w".into(), count: 0 };
    let renewal = async {
        tokio::time::sleep(SYNC / 3).await;
        let pulse = Pulse { epoch: Some(epoch), renew: vec![group.of.clone()], ..Pulse::default() };
        store.pulse(pulse).await
    };
    let (made, beat) = tokio::join!(store.commit(counting.commit()), renewal);

    made.expect("a commit that is in the file");
    let told = beat.expect("a beat").renewed[0].expect("a deadline");
    assert_eq!(told, group.deadline.after(Duration::from_millis(500)));
    let known = store.pulse(Pulse::default()).await.unwrap().moved;
    assert_eq!(known[0].deadline, told, "nobody else is granted its scopes before");
}
