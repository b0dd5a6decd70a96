//! The write-ahead log beside the store file: what becomes of the store when either of them is not the one of before.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::{
    BatchNote, EmbeddedOptions, FILE_NAME, FoundNote, MissingFileAction, OpenError, check,
};
use omnirelay_store::{
    AcceptedLoss, Commit, EmbeddedStore, Epoch, ManualClock, Pulse, RecordId, RecordKind, Scan, Store,
    Version, Write,
};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::harness::epoch;

const THING: RecordKind = RecordKind::of("thing");
const SEGMENTS: [&str; 2] = ["registry.wal.0", "registry.wal.1"];
const ASIDE: &str = "registry.redb.0.1";
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

async fn put(store: &EmbeddedStore, key: &str) {
    let write = Write::Put { id: RecordId::new(THING, key), value: Bytes::from(vec![7; 300]), group: None };
    let epoch = epoch(store).await;
    store.commit(Commit { epoch, writes: vec![write], ..Commit::default() }).await.unwrap();
}

async fn keys(store: &EmbeddedStore) -> Vec<String> {
    let page = store.scan(Scan { kind: THING, after: None, backwards: false, limit: 1000 }).await.unwrap();
    page.records.into_iter().map(|record| record.id.key).collect()
}

/// Copies what a process leaves that is killed now; without the lock it is a copy that was made elsewhere.
fn copy(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

const FILE: &[&str] = &[FILE_NAME];
const LOG: &[&str] = &SEGMENTS;
const BOTH: &[&str] = &[FILE_NAME, SEGMENTS[0], SEGMENTS[1]];
const ALL: &[&str] = &[FILE_NAME, SEGMENTS[0], SEGMENTS[1], "registry.lock", "registry.made"];

/// A directory of a store that was killed: `first` is in the file, `second` and `third` are in the log alone. What it was
/// when only `second` was in the log is kept beside it, and what it was before.
struct Killed {
    dir: TempDir,
    older: TempDir,
    oldest: TempDir,
}

impl Killed {
    async fn new() -> Self {
        let dirs = || tempfile::tempdir().unwrap();
        let (live, dir, older, oldest) = (dirs(), dirs(), dirs(), dirs());
        let store = EmbeddedStore::open(live.path()).unwrap();
        put(&store, "zeroth").await;
        copy(live.path(), oldest.path(), ALL);
        put(&store, "first").await;
        drop(store);
        let store = EmbeddedStore::open(live.path()).unwrap();
        put(&store, "second").await;
        copy(live.path(), older.path(), ALL);
        put(&store, "third").await;
        copy(live.path(), dir.path(), ALL);
        Self { dir, older, oldest }
    }

    /// The epoch of all of them, of a copy: opening one would change it.
    async fn epoch(&self) -> Epoch {
        let dir = tempfile::tempdir().unwrap();
        copy(self.path(), dir.path(), ALL);
        epoch(&EmbeddedStore::open(dir.path()).unwrap()).await
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

#[tokio::test]
async fn what_only_the_log_has_is_there_after_a_kill() {
    let killed = Killed::new().await;
    for _ in 0..2 {
        let store = EmbeddedStore::open(killed.path()).unwrap();
        assert_eq!(keys(&store).await, ["first", "second", "third", "zeroth"]);
        assert_eq!(store.pulse(Pulse::default()).await.unwrap().quarantine_until, Millis(0));
    }
}

#[tokio::test]
async fn a_log_that_lacks_what_was_acknowledged_is_a_loss_that_must_be_accepted() {
    let flip = |path: &Path| {
        let segment = path.join(SEGMENTS[0]);
        let mut bytes = std::fs::read(&segment).unwrap();
        // In the first frame; there is another one behind it.
        bytes[100] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    };
    type Lose<'a> = &'a dyn Fn(&Killed);
    let cases: [(&str, Lose<'_>, &[&str]); 5] = [
        ("deleted", &|killed| copy(&killed.path().join("nowhere"), killed.path(), LOG), &["first", "zeroth"]),
        (
            "emptied",
            &|killed| SEGMENTS.iter().for_each(|name| std::fs::write(killed.path().join(name), b"").unwrap()),
            &["first", "zeroth"],
        ),
        ("older", &|killed| copy(killed.older.path(), killed.path(), LOG), &["first", "second", "zeroth"]),
        ("much older", &|killed| copy(killed.oldest.path(), killed.path(), LOG), &["first", "zeroth"]),
        ("damaged", &|killed| flip(killed.path()), &["first", "zeroth"]),
    ];
    for (what, lose, left) in cases {
        let killed = Killed::new().await;
        let before = killed.epoch().await;
        lose(&killed);
        for _ in 0..2 {
            let refused = EmbeddedStore::open(killed.path()).err();
            assert!(matches!(refused, Some(OpenError::Behind { .. })), "{what}: {refused:?}");
            let text = refused.unwrap().to_string();
            assert!(
                text.contains("lacks its newest changes") && text.contains("--accept-data-loss"),
                "{text}"
            );
        }
        let store = EmbeddedStore::open_or(killed.path(), MissingFileAction::AcceptLoss).unwrap();
        let beat = store.pulse(Pulse::default()).await.unwrap();
        assert!(beat.epoch > before && beat.quarantine_until > beat.now, "{what}: {beat:?}");
        assert_eq!(
            (store.accepted_loss(), keys(&store).await),
            (
                Some(AcceptedLoss { epoch: before, everything: false }),
                left.iter().map(ToString::to_string).collect()
            ),
            "{what}"
        );
        put(&store, "later").await;
        drop(store);
        let store = EmbeddedStore::open(killed.path()).unwrap();
        assert_eq!((epoch(&store).await, store.accepted_loss()), (beat.epoch, None), "{what}");
    }
}

#[tokio::test]
async fn a_file_that_is_gone_is_lost_whatever_the_log_has() {
    for (what, lose) in [
        ("missing", (|path: &Path| std::fs::remove_file(path).unwrap()) as fn(&Path)),
        ("empty", |path| std::fs::write(path, b"").unwrap()),
    ] {
        let killed = Killed::new().await;
        lose(&killed.path().join(FILE_NAME));
        let refused = EmbeddedStore::open(killed.path()).err();
        assert!(matches!(refused, Some(OpenError::Lost { .. })), "{what}: {refused:?}");
        let store = EmbeddedStore::open_or(killed.path(), MissingFileAction::AcceptLoss).unwrap();
        assert_eq!(keys(&store).await, Vec::<String>::new(), "{what}");
        drop(store);
        let store = EmbeddedStore::open(killed.path()).unwrap();
        assert_eq!(keys(&store).await, Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn an_older_copy_begins_a_new_epoch_with_what_the_copy_has() {
    type Of = fn(&Killed) -> &TempDir;
    type Names = &'static [&'static str];
    let cases: [(&str, Of, Names, Names); 3] = [
        // The log goes on from it, or would by chance: whoever restores a file wants what it has.
        ("the file alone", |killed| &killed.oldest, FILE, &[]),
        ("file and log", |killed| &killed.oldest, BOTH, &["zeroth"]),
        ("file and log of the same run", |killed| &killed.older, BOTH, &["first", "second", "zeroth"]),
    ];
    for (what, of, names, left) in cases {
        let killed = Killed::new().await;
        let before = killed.epoch().await;
        copy(of(&killed).path(), killed.path(), names);
        let store = match EmbeddedStore::open(killed.path()) {
            Ok(store) => store,
            // The file is the one of before, and only its log is older: that may be a loss as well.
            Err(OpenError::Behind { .. }) if what.ends_with("of the same run") => {
                EmbeddedStore::open_or(killed.path(), MissingFileAction::AcceptLoss).unwrap()
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let beat = store.pulse(Pulse::default()).await.unwrap();
        assert!(beat.epoch > before && beat.quarantine_until > beat.now, "{what}: {beat:?}");
        assert_eq!(keys(&store).await, left, "{what}");
        drop(store);
        let store = EmbeddedStore::open(killed.path()).unwrap();
        assert_eq!((epoch(&store).await, keys(&store).await.len()), (beat.epoch, left.len()), "{what}: once");
    }
}

#[tokio::test]
async fn an_older_file_has_what_it_had_after_a_clean_stop_too() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(&EmbeddedStore::open(dir.path()).unwrap(), "first").await;
    copy(dir.path(), backup.path(), FILE);
    for key in ["second", "third"] {
        put(&EmbeddedStore::open(dir.path()).unwrap(), key).await;
    }
    copy(backup.path(), dir.path(), FILE);
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(keys(&store).await, ["first"]);
    assert!(store.pulse(Pulse::default()).await.unwrap().quarantine_until > Millis(0));
}

#[tokio::test]
async fn a_store_that_was_moved_without_its_lock_keeps_all_and_begins_a_new_epoch() {
    let (killed, elsewhere) = (Killed::new().await, tempfile::tempdir().unwrap());
    copy(killed.path(), elsewhere.path(), BOTH);
    let before = epoch(&EmbeddedStore::open(killed.path()).unwrap()).await;
    let store = EmbeddedStore::open(elsewhere.path()).unwrap();
    assert!(epoch(&store).await > before);
    assert_eq!(keys(&store).await, ["first", "second", "third", "zeroth"]);
}

fn schema(path: &Path) -> u32 {
    let database = Database::open(path).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    let rows = transaction.open_table(ROWS).unwrap();
    let row = rows.get([0, 0].as_slice()).unwrap().unwrap();
    u32::from_be_bytes(row.value().try_into().unwrap())
}

const NOTE: &str = "registry.lock";
/// How long the note of version 0.2 is, which has no checksum.
const NOTE_0_2: usize = 85;

/// Opens a store whose note was changed, and says what it holds, or why it is refused.
async fn opened_with_note(
    killed: &Killed,
    note: &[u8],
    missing: MissingFileAction,
) -> Result<Vec<String>, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    copy(killed.path(), dir.path(), ALL);
    std::fs::write(dir.path().join(NOTE), note).unwrap();
    if let MissingFileAction::Refuse = missing {
        let (checked, opened) = (check(dir.path()).err(), EmbeddedStore::open(dir.path()).err());
        assert_eq!(checked.map(|error| error.to_string()), opened.map(|error| error.to_string()), "{note:?}");
    }
    let store = EmbeddedStore::open_or(dir.path(), missing)?;
    Ok(keys(&store).await)
}

#[tokio::test]
async fn no_flipped_bit_of_the_note_drops_what_only_the_log_has() {
    let killed = Killed::new().await;
    let note = std::fs::read(killed.path().join(NOTE)).unwrap();
    let all = ["first", "second", "third", "zeroth"];
    let mut refused = 0;
    for at in 0..note.len() {
        let mut flipped = note.clone();
        flipped[at] ^= 1 << (at % 8);
        match opened_with_note(&killed, &flipped, MissingFileAction::Refuse).await {
            Ok(keys) => assert_eq!(keys, all, "byte {at}"),
            Err(OpenError::Note { path }) => {
                refused += 1;
                assert!(path.ends_with(NOTE), "{path:?}");
                assert_eq!(
                    opened_with_note(&killed, &flipped, MissingFileAction::AcceptLoss).await.unwrap(),
                    all,
                    "byte {at}"
                );
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused >= 34, "{refused} were refused");
}

#[tokio::test]
async fn a_note_of_version_0_2_is_read_and_gets_a_checksum() {
    let killed = Killed::new().await;
    let path = killed.path().join(NOTE);
    let note = std::fs::read(&path).unwrap();
    let left: [(&str, Vec<u8>); 2] = [
        ("by version 0.2 alone", note[..NOTE_0_2].to_vec()),
        // It writes over the lines that it knows, and leaves the checksum of what was there before.
        ("by version 0.2 after this one", [&note[..NOTE_0_2], b"crc32 00000000\n".as_slice()].concat()),
    ];
    for (what, left) in left {
        std::fs::write(&path, &left).unwrap();
        let before = killed.epoch().await;
        let store = EmbeddedStore::open(killed.path()).unwrap();
        assert_eq!(keys(&store).await, ["first", "second", "third", "zeroth"], "{what}");
        assert_eq!(epoch(&store).await, before, "{what}");
        drop(store);
        let written = std::fs::read(&path).unwrap();
        assert!(
            written.len() > NOTE_0_2 && matches!(BatchNote::read(&written), FoundNote::Note(_)),
            "{what}"
        );
    }
}

/// Makes of a closed store what version 0.1 would have left of it.
fn as_0_1_left_it(dir: &Path) {
    let database = Database::open(dir.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(ROWS).unwrap().insert([0, 0].as_slice(), 1_u32.to_be_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    SEGMENTS.iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
    let lock = dir.join("registry.lock");
    let text = std::fs::read(&lock).unwrap();
    std::fs::write(&lock, &text[..34]).unwrap();
}

#[tokio::test]
async fn a_file_of_version_0_1_is_kept_aside_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let before = epoch(&store).await;
    put(&store, "first").await;
    drop(store);
    as_0_1_left_it(dir.path());
    // A copy that was cut short by a crash.
    std::fs::write(dir.path().join("registry.redb.0.new"), b"half of it").unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!((epoch(&store).await, keys(&store).await), (before, vec!["first".to_owned()]));
    put(&store, "second").await;
    drop(store);
    assert_eq!((schema(&dir.path().join(FILE_NAME)), schema(&dir.path().join(ASIDE))), (2, 1));
    let back = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join(ASIDE), back.path().join(FILE_NAME)).unwrap();
    let store = EmbeddedStore::open(back.path()).unwrap();
    assert_eq!(keys(&store).await, ["first"], "what was kept aside is whole");
    assert_eq!(keys(&EmbeddedStore::open(dir.path()).unwrap()).await, ["first", "second"]);
}

/// A log of so little room that every few commits fill a segment.
const SMALL: EmbeddedOptions =
    EmbeddedOptions { cache_bytes: 64 * 1024, segment_bytes: 8 * 1024, callers_write: true };

#[tokio::test]
async fn what_is_in_log_and_file_is_read_as_one() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Millis(1_000)));
    let store = EmbeddedStore::open_with(dir.path(), clock.clone(), SMALL).unwrap();
    let mut there = std::collections::BTreeSet::new();
    for number in 0..300_u32 {
        let key = format!("{:03}", number * 7 % 100);
        if number % 3 == 0 && there.remove(&key) {
            let writes = vec![Write::Delete { id: RecordId::new(THING, key.clone()) }];
            store.commit(Commit { epoch: epoch(&store).await, writes, ..Commit::default() }).await.unwrap();
        } else {
            put(&store, &key).await;
            there.insert(key);
        }
        if number % 10 != 0 {
            continue;
        }
        for backwards in [false, true] {
            let scan = Scan { kind: THING, after: Some("030".into()), backwards, limit: 1000 };
            let page = store.scan(scan).await.unwrap();
            let found = page.records.into_iter().filter(|record| !record.deleted).map(|record| record.id.key);
            let mut wanted: Vec<_> = there
                .iter()
                .filter(|key| (key.as_str() > "030") != backwards && *key != "030")
                .cloned()
                .collect();
            if backwards {
                wanted.reverse();
            }
            assert_eq!(found.collect::<Vec<_>>(), wanted, "after {number}, backwards: {backwards}");
        }
    }
    drop(store);
    let store = EmbeddedStore::open_with(dir.path(), clock, SMALL).unwrap();
    let page = store.scan(Scan { kind: THING, after: None, backwards: false, limit: 1000 }).await.unwrap();
    let live = page.records.iter().filter(|record| !record.deleted).count();
    assert_eq!(live, there.len());
    assert!(page.records.iter().all(|record| record.version > Version(0)));
}

#[tokio::test]
async fn a_commit_that_is_longer_than_the_log_is_made() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Millis(1_000)));
    let open = || EmbeddedStore::open_with(dir.path(), clock.clone(), SMALL).unwrap();
    let store = open();
    for (number, bytes) in [(0, 900_000), (1, 10), (2, 900_000), (3, 10)] {
        let id = RecordId::new(THING, format!("{number}"));
        let writes = vec![Write::Put { id, value: Bytes::from(vec![3; bytes]), group: None }];
        store.commit(Commit { epoch: epoch(&store).await, writes, ..Commit::default() }).await.unwrap();
    }
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path(), ALL);
    let killed = EmbeddedStore::open_with(copied.path(), clock.clone(), SMALL).unwrap();
    assert_eq!(keys(&killed).await, ["0", "1", "2", "3"]);
    for number in 0..200 {
        put(&store, &format!("{}", number % 4)).await;
    }
    drop(store);
    let long: u64 = SEGMENTS.iter().map(|name| dir.path().join(name).metadata().unwrap().len()).sum();
    assert!(long < 3 * 1024 * 1024, "the log is short again: {long} bytes");
    assert_eq!(keys(&open()).await, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn the_log_of_a_store_that_is_written_to_does_not_grow() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Millis(1_000)));
    let store = EmbeddedStore::open_with(dir.path(), clock, SMALL).unwrap();
    let lengths = || SEGMENTS.map(|name| dir.path().join(name).metadata().unwrap().len());
    for number in 0..100 {
        put(&store, &format!("{}", number % 4)).await;
    }
    let before = lengths();
    for number in 0..500 {
        put(&store, &format!("{}", number % 4)).await;
    }
    assert_eq!(lengths(), before);
    assert!(
        store.log(omnirelay_store::Revision(0), 1000, Duration::ZERO).await.unwrap().entries.len() == 600
    );
}
