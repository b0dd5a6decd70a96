//! Room that commits have taken: who waits for it, who is refused at once, and when it is forgotten.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_decisions::capacity::LimitKind;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::commit_judge::CommitPassage as _;
use omnirelay_registry::view::View;
use omnirelay_scripted::{Ill, Method};
use omnirelay_store::{
    CommitError, Epoch, ExistingRecord, RecordId, RecordOrigin, Revision, StoreError, Version, Write,
};
use tokio::time::{Instant, sleep, timeout};

use super::{CREATE, ENTER, JOIN, LimitedDaemon, MEMBER, MIRRORED, PASS, THING, declined};
use crate::added_use::{AddedUse, ShownBy};
use crate::ledger::{ADDITIONS_MAX, CommitRoom, NoRoom, RoomDemand, RoomLedger};

const SECOND: Duration = Duration::from_secs(1);

fn added(kind: LimitKind, record: RecordId, shown_by: ShownBy) -> AddedUse {
    AddedUse { kind, record, before: Version(0), amount: 1, shown_by, kept_for: SECOND * 30 }
}

/// One more record under this key.
fn thing(key: impl Into<String>) -> AddedUse {
    added(LimitKind::Records, RecordId::new(THING, key), ShownBy::Commit)
}

async fn take(
    ledger: &RoomLedger,
    view: &View,
    adds: Vec<AddedUse>,
    enforced: Vec<(LimitKind, u64)>,
) -> Result<CommitRoom, NoRoom> {
    let demand = RoomDemand { epoch: view.head().epoch, adds, enforced };
    ledger.take(view, &|_| 0, &demand).await
}

async fn attempt(daemon: &LimitedDaemon, action: &'static str, writes: Vec<Write>) {
    let act = DaemonAct::new(action, MIRRORED.to_vec(), WriteAuthority::Unfenced);
    daemon.lab.registry.attempt(&act, CommitPlan::default().write(writes)).await.unwrap();
}

fn import(key: &str, bytes: usize, existing: ExistingRecord) -> Write {
    let (version, revision, at) = (Version(1), Revision(1), Millis(1));
    let origin = RecordOrigin { version, revision, created_at: at, updated_at: at, writer: "b".into() };
    Write::Import { id: RecordId::new(THING, key), value: vec![b'i'; bytes].into(), origin, existing }
}

/// Whoever joins holds up all who join behind: nobody waits for hosts that were let in.
#[tokio::test(start_paused = true)]
async fn who_would_wait_for_nothing_is_refused_at_once() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("peers", 3);
    daemon.write(ENTER, MEMBER, "z", 1).await.unwrap();
    daemon.write(JOIN, PASS, "a", 1).await.unwrap();
    daemon.store.fall_ill([Method::Commit], Ill::Hangs);
    let unknown = daemon.write(JOIN, PASS, "b", 1).await;
    assert!(matches!(unknown, Err(CommitError::Store(StoreError::OutcomeUnknown(_)))), "{unknown:?}");
    daemon.store.recover();
    let asked = Instant::now();
    for key in ["c", "d", "e"] {
        let fault = declined(daemon.write(JOIN, PASS, key, 1).await);
        assert_eq!(fault.details["used"], "3");
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(daemon.refused(LimitKind::Peers), 3);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_refused_as_soon_as_nothing_can_be_given_back() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 1);
    daemon.store.fall_ill([Method::Commit], Ill::Hangs);
    let asked = Instant::now();
    let gone = timeout(SECOND / 4, daemon.write(CREATE, THING, "a", 1));
    let (gone, second) = tokio::join!(gone, daemon.write(CREATE, THING, "b", 1));
    assert!(gone.is_err(), "its caller goes away");
    declined(second);
    assert_eq!(asked.elapsed(), SECOND / 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_not_counted_by_what_has_become_of_it_since() {
    let daemon = LimitedDaemon::new().await;
    let under_way = |kind| daemon.ledger.under_way(daemon.lab.registry.view(), kind);
    daemon.enforce("records", 1);
    daemon.write(CREATE, THING, "a", 1).await.unwrap();
    attempt(&daemon, CREATE, vec![Write::Delete { id: RecordId::new(THING, "a") }]).await;
    daemon.write(CREATE, THING, "b", 1).await.unwrap();
    assert_eq!(under_way(LimitKind::Records), 0);

    // What is there stays as it is.
    daemon.settings.set("limits.records.mode", "observe");
    daemon.enforce("bytes", 10);
    attempt(&daemon, "snapshots.restore", vec![import("b", 9, ExistingRecord::Keep)]).await;
    assert_eq!(under_way(LimitKind::Bytes), 0);
    daemon.write(CREATE, THING, "c", 7).await.unwrap();
    // And the other way round it has the version that it had.
    daemon.enforce("bytes", 12);
    attempt(&daemon, "snapshots.restore", vec![import("b", 3, ExistingRecord::Replace)]).await;
    assert_eq!((under_way(LimitKind::Bytes), daemon.lab.registry.view().totals().bytes), (0, 12));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_counted_until_the_view_has_come_to_it() {
    let daemon = LimitedDaemon::new().await;
    let (ledger, view) = (RoomLedger::default(), daemon.lab.registry.view());
    daemon.write(CREATE, THING, "other", 1).await.unwrap();
    let under_way = || ledger.under_way(view, LimitKind::Records);
    let (epoch, head) = (view.head().epoch, view.head().revision);
    let made = async |key: &str, epoch: Epoch, revision: u64| {
        let room = take(&ledger, view, vec![thing(key)], Vec::new()).await.unwrap();
        Box::new(room).made(epoch, Revision(revision));
    };
    assert_eq!(under_way(), 0);
    made("shown", epoch, head.0).await;
    assert_eq!(under_way(), 0);
    made("next", epoch, head.0 + 1).await;
    made("later", epoch, head.0 + 2).await;
    assert_eq!(under_way(), 2);
    daemon.write(CREATE, THING, "other", 2).await.unwrap();
    assert_eq!(under_way(), 1);
    made("of another epoch", Epoch(epoch.0 + 1), head.0).await;
    assert_eq!(under_way(), 2);
    daemon.write(CREATE, THING, "other", 3).await.unwrap();
    assert_eq!(under_way(), 0);
}

/// A peer is registered by another commit than the one that lets its host in.
#[tokio::test(start_paused = true)]
async fn a_host_that_was_let_in_is_counted_until_it_is_shown_or_its_time_is_over() {
    let daemon = LimitedDaemon::new().await;
    daemon.settings.set("limits.peers.max", 9);
    let under_way = || daemon.ledger.under_way(daemon.lab.registry.view(), LimitKind::Peers);
    for key in ["a", "b"] {
        daemon.write(JOIN, PASS, key, 1).await.unwrap();
    }
    sleep(SECOND * 100).await;
    assert_eq!(under_way(), 2);
    daemon.write(ENTER, MEMBER, "a", 1).await.unwrap();
    assert_eq!(under_way(), 1);
    sleep(SECOND * 201).await;
    assert_eq!(under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_takes_room_as_records_are_by_then() {
    let daemon = LimitedDaemon::new().await;
    let (ledger, view) = (RoomLedger::default(), daemon.lab.registry.view());
    let host = || added(LimitKind::Peers, RecordId::new(MEMBER, "b"), ShownBy::Entry);
    let others = vec![thing("x"), thing("y")];
    let before = take(&ledger, view, others, Vec::new()).await.unwrap();
    let waits = take(&ledger, view, vec![thing("b"), host()], vec![(LimitKind::Records, 2)]);
    let meanwhile = async {
        sleep(SECOND / 4).await;
        daemon.write(ENTER, THING, "b", 1).await.unwrap();
        daemon.write(ENTER, MEMBER, "b", 1).await.unwrap();
        Box::new(before).not_made();
    };
    let (room, ()) = tokio::join!(waits, meanwhile);
    let room = room.unwrap();
    // So that the ledger looks at the view again.
    daemon.write(ENTER, THING, "other", 1).await.unwrap();
    let under_way = |kind| ledger.under_way(view, kind);
    assert_eq!(under_way(LimitKind::Records), 1, "its outcome is open");
    assert_eq!(under_way(LimitKind::Peers), 0, "the host is a peer");
    Box::new(room).not_made();
    assert_eq!(under_way(LimitKind::Records), 0);
}

/// As one that lets in a host and registers it.
#[tokio::test(start_paused = true)]
async fn a_record_counts_once_in_a_commit() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("peers", 1);
    let put =
        |kind| Write::Put { id: RecordId::new(kind, "a"), value: Bytes::from_static(b"v"), group: None };
    attempt(&daemon, JOIN, vec![put(PASS), put(MEMBER)]).await;
    assert_eq!(daemon.ledger.under_way(daemon.lab.registry.view(), LimitKind::Peers), 0);
    declined(daemon.write(JOIN, PASS, "b", 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_ledger_forgets_the_oldest_that_nobody_waits_for() {
    let daemon = LimitedDaemon::new().await;
    let (ledger, view) = (RoomLedger::default(), daemon.lab.registry.view());
    let under_way = || ledger.under_way(view, LimitKind::Records);
    let things = |of: &str, count: usize| (0..count).map(|at| thing(format!("{of}{at}"))).collect::<Vec<_>>();
    let oldest = take(&ledger, view, things("a", 1), Vec::new()).await.unwrap();
    drop(take(&ledger, view, things("b", ADDITIONS_MAX - 1), Vec::new()).await.unwrap());
    assert_eq!(under_way(), ADDITIONS_MAX as u64);
    let newer = take(&ledger, view, things("c", 1), Vec::new()).await.unwrap();
    assert_eq!(under_way(), 2, "those whose outcome is open stay");
    let newest = take(&ledger, view, things("d", ADDITIONS_MAX - 1), Vec::new()).await.unwrap();
    assert_eq!(under_way(), ADDITIONS_MAX as u64, "the oldest goes where all are open");
    for room in [oldest, newer, newest] {
        Box::new(room).not_made();
    }
    assert_eq!(under_way(), 0);
}
