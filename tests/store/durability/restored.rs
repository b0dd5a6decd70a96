//! A store file that is not the one used last: revisions could be given out a second time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::{EmbeddedOptions, FILE_NAME};
use omnirelay_store::{
    Commit, CommitError, EmbeddedStore, Epoch, GroupId, LeaseOp, ManualClock, OpenGroup, OpenedGroup, Pulse,
    RecordId, RecordKind, Store, StoreError, Write,
};
use tempfile::TempDir;

use crate::harness::epoch;

/// A directory with a store that is opened and closed.
struct Place {
    dir: TempDir,
    clock: ManualClock,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: ManualClock::at(Millis(1_000_000)) }
    }

    fn open(&self) -> EmbeddedStore {
        self.clock.advance(Duration::from_millis(5));
        EmbeddedStore::open_with(self.dir.path(), self.clock.clone(), EmbeddedOptions::default()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(FILE_NAME)
    }

    fn copy(&self, to: &str) -> PathBuf {
        let copy = self.dir.path().join(to);
        std::fs::copy(self.file(), &copy).unwrap();
        copy
    }

    fn restore(&self, from: &Path) {
        std::fs::copy(from, self.file()).unwrap();
    }
}

async fn put(store: &EmbeddedStore, key: &str) {
    let write =
        Write::Put { id: RecordId::new(RecordKind::of("thing"), key), value: Bytes::new(), group: None };
    let epoch = epoch(store).await;
    store.commit(Commit { epoch, writes: vec![write], ..Commit::default() }).await.unwrap();
}

/// Wants a new epoch, and that no scope is granted in it at first.
async fn began_anew(store: &EmbeddedStore, clock: &ManualClock, before: Epoch, quarantine: Duration) {
    let beat = store.pulse(Pulse::default()).await.unwrap();
    let present = beat.epoch;
    assert_eq!(beat.quarantine_until, beat.now.after(quarantine));
    assert!(present > before);
    let open = |epoch| OpenGroup {
        epoch,
        id: GroupId("s".into()),
        ttl: Duration::from_secs(3600),
        secret: "secret".into(),
    };
    let old = store.open_group(open(before)).await;
    assert!(matches!(old, Err(StoreError::EpochChanged { current }) if current == present), "{old:?}");
    let OpenedGroup::Open(group) = store.open_group(open(present)).await.unwrap() else { panic!("held") };
    let acquire = || Commit {
        epoch: present,
        leases: vec![LeaseOp::Acquire { scope: "x".into(), holder: group.of.clone(), token_floor: 0 }],
        ..Commit::default()
    };
    let refused = store.commit(acquire()).await;
    assert!(matches!(refused, Err(CommitError::LeaseHeld { holder: None, .. })), "{refused:?}");
    clock.advance(quarantine);
    store.commit(acquire()).await.unwrap();
}

async fn open_session(store: &EmbeddedStore, ttl: Duration) {
    let (id, epoch) = (GroupId("session".into()), epoch(store).await);
    store.open_group(OpenGroup { epoch, id, ttl, secret: "secret".into() }).await.unwrap();
}

#[tokio::test]
async fn a_restart_is_no_new_epoch() {
    let place = Place::new();
    let first = epoch(&place.open()).await;
    for round in 0..3 {
        let store = place.open();
        assert_eq!(epoch(&store).await, first, "in round {round}");
        if round != 1 {
            put(&store, "a").await;
        }
    }
}

#[tokio::test]
async fn a_copy_from_an_earlier_run_begins_a_new_epoch() {
    let place = Place::new();
    let store = place.open();
    put(&store, "a").await;
    let before = epoch(&store).await;
    drop(store);
    let copy = place.copy("backup");
    put(&place.open(), "b").await;
    place.restore(&copy);
    let store = place.open();
    began_anew(&store, &place.clock, before, Duration::from_secs(60)).await;
    let after = epoch(&store).await;
    drop(store);
    assert_eq!(epoch(&place.open()).await, after, "once");
    place.restore(&copy);
    assert!(epoch(&place.open()).await > after, "and again with the same copy");
}

#[tokio::test]
async fn a_copy_from_the_same_run_begins_a_new_epoch() {
    let place = Place::new();
    let store = place.open();
    put(&store, "a").await;
    let before = epoch(&store).await;
    open_session(&store, Duration::from_secs(90)).await;
    // The session is in the log alone.
    let copies = [FILE_NAME, "registry.wal.0", "registry.wal.1"].map(|name| {
        let (file, copy) = (place.dir.path().join(name), place.dir.path().join(format!("copy of {name}")));
        std::fs::copy(&file, &copy).unwrap();
        (copy, file)
    });
    put(&store, "b").await;
    drop(store);
    for (copy, file) in &copies {
        std::fs::copy(copy, file).unwrap();
    }
    began_anew(&place.open(), &place.clock, before, Duration::from_secs(90)).await;
}

#[tokio::test]
async fn a_copy_that_went_on_elsewhere_begins_a_new_epoch() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let store = place.open();
    put(&store, "a").await;
    let before = epoch(&store).await;
    drop(store);
    elsewhere.restore(&place.file());
    let store = elsewhere.open();
    let moved = epoch(&store).await;
    assert!(moved > before, "it came without its lock file");
    for _ in 0..5 {
        put(&store, "b").await;
    }
    drop(store);
    place.restore(&elsewhere.file());
    assert!(epoch(&place.open()).await > moved);
}
