//! The power goes at any point, and any part of what was not synced is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{EmbeddedStore, Store, SystemClock};

use super::disks::{Faults, Loss, SimDisk};
use super::{Chance, Counting, Ledger};
use crate::harness::epoch;

const ROUNDS: usize = 500;
/// A disk lives through this many power losses before a fresh one is taken.
const LOSSES_PER_DISK: usize = 10;
const WRITERS: u64 = 4;

pub(super) fn open(disk: &SimDisk) -> EmbeddedStore {
    // A cache that is too small, so that pages are written before the commit as well, and a log that is soon full.
    // In every second round callers write themselves, and batches are of one call.
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let callers_write = (OPENED.fetch_add(1, Ordering::Relaxed) / 2).is_multiple_of(2);
    let options = EmbeddedOptions { cache_bytes: 64 * 1024, segment_bytes: 16 * 1024, callers_write };
    EmbeddedStore::open_on(disk.clone(), SystemClock::start(), options).unwrap()
}

/// Counts on with all writers, each until its commit fails or it has made `steps`.
pub(super) async fn count_on(store: &Arc<EmbeddedStore>, ledger: &Ledger, steps: u64) {
    let writers = (0..WRITERS).map(|number| {
        let (store, ledger) = (Arc::clone(store), ledger.clone());
        async move {
            let Ok(mut counting) = Counting::resume(store.as_ref(), &format!("w{number}")).await else {
                return;
            };
            for _ in 0..steps {
                let result = store.commit(counting.commit()).await;
                if !ledger.note(&counting.id(), &result) {
                    return;
                }
                counting.count += 1;
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_the_power() {
    let mut chance = Chance::seeded("power_loss");
    let (mut made, mut unknown) = (0, 0);
    let (mut disk, mut ledger, mut epoch_before) = (SimDisk::new(), Ledger::default(), None);
    for round in 0..ROUNDS {
        if round % LOSSES_PER_DISK == 0 {
            (disk, ledger, epoch_before) = (SimDisk::new(), Ledger::default(), None);
        }
        let store = Arc::new(open(&disk));
        let found = epoch(store.as_ref()).await;
        assert_eq!(found, *epoch_before.get_or_insert(found), "what was there is no copy");
        let power_lost_at = Some(disk.operations() + 1 + chance.below(150));
        disk.set_faults(Faults { power_lost_at, ..Faults::default() });
        count_on(&store, &ledger, 200).await;
        drop(store);
        let loss = if chance.below(4) == 0 { Loss::All } else { Loss::AnyPart };
        disk = disk.after_power_loss(loss, &mut chance);
        let is_last = round % LOSSES_PER_DISK == LOSSES_PER_DISK - 1;
        // Mostly the power goes again before the store was ever closed.
        if !is_last && chance.below(3) > 0 {
            continue;
        }
        let store = open(&disk);
        assert_eq!(Some(epoch(&store).await), epoch_before, "what was there is no copy");
        ledger.check(&store).await;
        drop(store);
        if is_last {
            made += ledger.counts().0;
            unknown += ledger.counts().2;
        }
    }
    println!("{ROUNDS} power losses, {made} acknowledged commits, {unknown} of unknown outcome");
    assert!(made > ROUNDS && unknown > 0, "the power went while commits were made");
}

/// Whether a power loss after a few commits is noticed, on a disk that only says that it synced.
async fn a_lie_is_noticed(chance: &mut Chance) -> bool {
    let (disk, ledger) = (SimDisk::new(), Ledger::default());
    let store = Arc::new(open(&disk));
    disk.set_faults(Faults { lying_syncs: true, ..Faults::default() });
    count_on(&store, &ledger, 1 + chance.below(20)).await;
    disk.set_faults(Faults { power_lost_at: Some(0), ..Faults::default() });
    drop(store);
    let disk = disk.after_power_loss(Loss::All, chance);
    let checked = tokio::spawn(async move {
        let store = EmbeddedStore::open_on(disk, SystemClock::start(), EmbeddedOptions::default())
            .expect("all of it");
        ledger.check(&store).await;
    });
    checked.await.is_err()
}

#[tokio::test]
async fn the_check_would_notice_a_store_that_does_not_sync() {
    let mut chance = Chance::seeded("lying syncs");
    for round in 0..10 {
        assert!(a_lie_is_noticed(&mut chance).await, "round {round}");
    }
}
