//! A store file that was there and is gone: no first start, and nothing that passes in silence.

use std::path::Path;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::{EmbeddedOptions, FILE_NAME, MissingFileAction, OpenError};
use omnirelay_store::{
    AcceptedLoss, Commit, EmbeddedStore, Epoch, ManualClock, Pulse, RecordId, RecordKind, Store, Write,
};
use redb::{Database, TableDefinition};

use crate::harness::epoch;

/// A directory in which a registry was used, and its epoch.
async fn used() -> (tempfile::TempDir, Epoch) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let epoch = epoch(&store).await;
    let id = RecordId::new(RecordKind::of("thing"), "x");
    let writes = vec![Write::Put { id, value: Bytes::from_static(b"x"), group: None }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    (dir, epoch)
}

fn remove(dir: &Path) {
    std::fs::remove_file(dir.join(FILE_NAME)).unwrap();
}

fn empty(dir: &Path) {
    std::fs::write(dir.join(FILE_NAME), b"").unwrap();
}

/// Leaves what version 0.1 left.
fn forget_mark(dir: &Path) {
    std::fs::remove_file(dir.join("registry.made")).unwrap();
    let lock = dir.join("registry.lock");
    let text = std::fs::read(&lock).unwrap();
    std::fs::write(&lock, &text[..34]).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_that_is_gone_is_a_loss_that_must_be_accepted() {
    for (what, lose) in [("missing", remove as fn(&Path)), ("empty", empty)] {
        for (version, made) in [("this version", true), ("version 0.1", false)] {
            let (dir, before) = used().await;
            lose(dir.path());
            if !made {
                forget_mark(dir.path());
            }
            let left = names(dir.path());
            let refused = EmbeddedStore::open(dir.path()).err().map(|error| error.to_string());
            let refused = refused.unwrap_or_else(|| panic!("{what}, {version}: made anew in silence"));
            assert!(refused.contains(&format!("is {what}")), "{refused}");
            assert!(refused.contains("--accept-data-loss"), "{refused}");
            assert_eq!(names(dir.path()), left, "{what}, {version}: it is as it was");
            let store = EmbeddedStore::open_or(dir.path(), MissingFileAction::AcceptLoss).unwrap();
            let beat = store.pulse(Pulse::default()).await.unwrap();
            assert!(beat.epoch > before, "{what}, {version}");
            assert!(beat.quarantine_until > beat.now, "{what}, {version}");
            let lost = if made { before } else { Epoch(0) };
            let lost = AcceptedLoss { epoch: lost, everything: true };
            assert_eq!(store.accepted_loss(), Some(lost), "{what}, {version}");
            drop(store);
            let store = EmbeddedStore::open(dir.path()).unwrap();
            assert_eq!((epoch(&store).await, store.accepted_loss()), (beat.epoch, None), "{what}, {version}");
        }
    }
}

/// A database of another program.
fn foreign(path: &Path) {
    const OTHERS: TableDefinition<'_, u64, u64> = TableDefinition::new("others");
    let transaction = Database::create(path).unwrap().begin_write().unwrap();
    transaction.open_table(OTHERS).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
}

/// A store of which no more than the beginning was made.
fn half_made(path: &Path) {
    drop(Database::create(path).unwrap());
}

#[tokio::test]
async fn a_file_without_the_registry_that_was_there_is_refused_untouched() {
    for (what, make) in [("foreign", foreign as fn(&Path)), ("half made", half_made)] {
        for (version, made) in [("this version", true), ("version 0.1", false)] {
            let (dir, before) = used().await;
            let path = dir.path().join(FILE_NAME);
            remove(dir.path());
            make(&path);
            if !made {
                forget_mark(dir.path());
            }
            let content = std::fs::read(&path).unwrap();
            // What it holds may be somebody's: that a registry is given up is no word about it.
            for missing in [MissingFileAction::Refuse, MissingFileAction::AcceptLoss] {
                let refused = EmbeddedStore::open_or(dir.path(), missing).err();
                let damaged = matches!(refused, Some(OpenError::Damaged { .. }));
                assert!(damaged, "{what}, {version}, {missing:?}: {refused:?}");
                assert!(std::fs::read(&path).unwrap() == content, "{what}, {version}: it was written to");
            }
            remove(dir.path());
            let store = EmbeddedStore::open_or(dir.path(), MissingFileAction::AcceptLoss).unwrap();
            assert!(epoch(&store).await > before, "{what}, {version}");
        }
    }
}

#[tokio::test]
async fn the_epoch_is_above_the_lost_one_under_a_clock_that_went_back() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Millis(5_000_000_000_000)));
    let open = |clock: ManualClock| EmbeddedStore::open_with(dir.path(), clock, EmbeddedOptions::default());
    let before = epoch(&open(clock).unwrap()).await;
    remove(dir.path());
    assert!(matches!(open(ManualClock::at(Millis(1))), Err(OpenError::Lost { .. })));
    let store = EmbeddedStore::open_or(dir.path(), MissingFileAction::AcceptLoss).unwrap();
    assert!(epoch(&store).await > before);
}

#[test]
fn a_first_start_is_no_loss() {
    type Leave = fn(&Path);
    let cases: [(&str, Leave); 5] = [
        ("an empty directory", |_| {}),
        ("a database without anything in it", |dir| half_made(&dir.join(FILE_NAME))),
        ("one that was used with Redis", |dir| {
            std::fs::write(dir.join("omnirelayd.lock"), "").unwrap();
            std::fs::write(dir.join("session-secret"), "secret\n").unwrap();
            std::fs::create_dir(dir.join("audit")).unwrap();
        }),
        ("a first start that was killed before its first note", |dir| {
            std::fs::write(dir.join("registry.lock"), "").unwrap();
            std::fs::write(dir.join("registry.new"), "half").unwrap();
        }),
        ("a first start that was killed before the file had its name", |dir| {
            drop(EmbeddedStore::open(dir).unwrap());
            std::fs::remove_file(dir.join("registry.made")).unwrap();
            std::fs::rename(dir.join(FILE_NAME), dir.join("registry.new")).unwrap();
        }),
    ];
    for (what, leave) in cases {
        for missing in [MissingFileAction::Refuse, MissingFileAction::AcceptLoss] {
            let dir = tempfile::tempdir().unwrap();
            leave(dir.path());
            let store = EmbeddedStore::open_or(dir.path(), missing);
            let lost = store.map(|store| store.accepted_loss()).map_err(|error| error.to_string());
            assert_eq!(lost, Ok(None), "{what}");
        }
    }
}
