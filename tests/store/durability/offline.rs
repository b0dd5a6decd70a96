//! Checking a store that no daemon uses, and giving its room back.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::{FILE_NAME, OpenError, StoreReport, check, compact};
use omnirelay_store::{
    Commit, EmbeddedStore, ExistingRecord, GroupId, Idempotency, IdempotencyKey, ORIGIN_MAX, OpenGroup,
    OpenedGroup, RecordId, RecordKind, RecordOrigin, Revision, Scan, Store, Version, Write,
};
use redb::{Database, ReadableTable as _, TableDefinition};

use crate::harness::epoch;
use crate::suite::origin;

const THING: RecordKind = RecordKind::of("thing");
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");

/// The report of a store that nobody uses. What another test starts has its files as well, until it is another program.
fn checked(dir: &Path) -> StoreReport {
    let begun = Instant::now();
    loop {
        match check(dir) {
            Err(OpenError::Held { .. }) if begun.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            report => return report.unwrap(),
        }
    }
}

/// Everything that a store can hold, some of it in the log alone.
async fn fill(dir: &Path) -> EmbeddedStore {
    let store = EmbeddedStore::open(dir).unwrap();
    let epoch = epoch(&store).await;
    let open = OpenGroup { epoch, id: GroupId("g".into()), ttl: Duration::from_secs(60), secret: "s".into() };
    let OpenedGroup::Open(group) = store.open_group(open).await.unwrap() else { panic!("held") };
    let put = |key: String, group| Write::Put {
        id: RecordId::new(THING, key),
        value: Bytes::from(vec![7; 5000]),
        group,
    };
    for number in 0..50_u32 {
        let key = IdempotencyKey { principal: "p".into(), method: "m".into(), id: number.to_string() };
        let commit = Commit {
            epoch,
            writes: vec![put(number.to_string(), (number % 2 == 0).then(|| group.of.clone()))],
            idempotency: Some(Idempotency { key, request_hash: 1, answer: Bytes::new() }),
            ..Commit::default()
        };
        store.commit(commit).await.unwrap();
    }
    for number in 0..10_u32 {
        let writes = vec![Write::Delete { id: RecordId::new(THING, number.to_string()) }];
        store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }
    store
}

fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

/// What a process leaves that is killed now.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in content(dir) {
        std::fs::write(copy.path().join(name), bytes).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_sound_store_is_told_of_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = fill(dir.path()).await;
    assert!(matches!(check(dir.path()), Err(OpenError::Held { .. })), "somebody uses it");
    let copy = killed(dir.path());
    drop(store);
    for dir in [dir.path(), copy.path()] {
        let before = content(dir);
        let report = checked(dir);
        assert!(content(dir) == before, "something was written");
        let found = &report.inventory;
        assert_eq!(found.findings, Vec::<String>::new());
        assert!(report.is_sound);
        assert_eq!((found.records[&THING], found.tombstones, report.groups), (40, 10, 1));
        assert_eq!((found.log_entries, found.answers), (60, 50));
    }
    assert!(checked(copy.path()).batches_in_log > 50);
    assert_eq!(checked(dir.path()).batches_in_log, 0);
}

#[tokio::test]
async fn records_of_another_registry_are_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let epoch = epoch(&store).await;
    let id = |key: &str| RecordId::new(THING, key);
    let ahead = |revision| RecordOrigin { updated_at: Millis(ORIGIN_MAX), ..origin(7, revision) };
    let import = |key, revision| Write::Import {
        id: id(key),
        value: Bytes::new(),
        origin: ahead(revision),
        existing: ExistingRecord::Keep,
    };
    let writes = vec![import("a", 1_000), Write::Put { id: id("b"), value: Bytes::new(), group: None }];
    for writes in [writes, vec![import("c", 3)], vec![Write::Delete { id: id("c") }]] {
        store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }
    let copy = killed(dir.path());
    drop(store);
    for dir in [dir.path(), copy.path()] {
        let report = checked(dir);
        assert_eq!((report.inventory.findings, report.head), (Vec::new(), Revision(1_003)));
        assert_eq!((report.inventory.records[&THING], report.inventory.tombstones), (2, 1));
        let store = EmbeddedStore::open(dir).unwrap();
        let scan = Scan { kind: THING, after: None, backwards: false, limit: 1 };
        let found = store.scan(scan).await.unwrap().records.remove(0);
        assert_eq!((found.version, found.revision), (Version(7), Revision(1_000)));
        assert_eq!((found.updated_at, &*found.writer), (Millis(ORIGIN_MAX), &*ahead(1).writer));
    }
}

/// Changes the rows of a closed store.
fn spoil(dir: &Path, table: TableDefinition<'_, &[u8], &[u8]>, prefix: &[u8], row: Option<&[u8]>) {
    let database = Database::open(dir.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(table).unwrap();
        let key = {
            let found = rows.range(prefix..).unwrap().next().unwrap().unwrap();
            found.0.value().to_vec()
        };
        match row {
            Some(row) => drop(rows.insert(key.as_slice(), row).unwrap()),
            None => drop(rows.remove(key.as_slice()).unwrap()),
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn what_does_not_agree_is_found() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 8] = [
        ("the row of `thing/", |dir| spoil(dir, ROWS, &[6], Some(&[255]))),
        ("would outlive its group", |dir| spoil(dir, ROWS, &[4], None)),
        ("is of group `g#1`, which is not there", |dir| spoil(dir, ROWS, &[1], None)),
        ("no housekeeping would find the tombstone", |dir| spoil(dir, ROWS, &[5], None)),
        ("there are 49 answers, and 50 are noted", |dir| spoil(dir, ROWS, &[7], None)),
        ("there are 59 log entries, and 60 are noted", |dir| spoil(dir, LOG, &[], None)),
        ("log entry 1", |dir| spoil(dir, LOG, &[], Some(&[255]))),
        ("stands behind 4", |dir| spoil(dir, LOG, &5_u64.to_be_bytes(), None)),
    ];
    for (what, spoil) in cases {
        let dir = tempfile::tempdir().unwrap();
        drop(fill(dir.path()).await);
        spoil(dir.path());
        let report = checked(dir.path());
        let found = report.inventory.findings;
        assert!(found.iter().any(|finding| finding.contains(what)), "{what}: {found:?}");
    }
}

#[tokio::test]
async fn what_a_store_does_not_use_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = fill(dir.path()).await;
    let epoch = epoch(&store).await;
    drop(store);
    let (before, after) = compact(dir.path()).unwrap();
    assert!(after < before, "{before} -> {after}");
    let report = checked(dir.path());
    assert_eq!((report.file_bytes + report.log_bytes, report.epoch), (after, epoch));
    assert_eq!(report.inventory.findings, Vec::<String>::new());
    assert_eq!(report.inventory.records[&THING], 40);
    drop(fill(dir.path()).await);
}

#[test]
fn where_no_store_is_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(check(dir.path()), Err(OpenError::Io { .. })));
    assert!(matches!(compact(dir.path()), Err(OpenError::Io { .. })));
    assert_eq!(content(dir.path()), []);
}
